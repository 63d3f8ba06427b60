package mirror

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A router whose middleware mirrors to the router itself.
func TestCopyThatComesBackDoesNotReachLive(t *testing.T) {
	tests := []struct {
		name   string
		set    func(*Config)
		method string
	}{
		{"with a body", nil, http.MethodPost},
		{"without a body", nil, http.MethodGet},
		{"compared", func(c *Config) { c.set("compare", "true") }, http.MethodPost},
		{"only a share is mirrored", func(c *Config) { c.set("percent", "99.9999") }, http.MethodPost},
		{"only some methods are mirrored", func(c *Config) { c.set("methods", "GET,POST") }, http.MethodPost},
		{"at a limited rate", func(c *Config) { c.set("maxRate", "1000") }, http.MethodGet},
		{"as a stream", func(c *Config) { c.set("bodyMode", "stream") }, http.MethodPost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			book := captureLog(t)
			var served atomic.Int64
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				served.Add(1)
				echoLive(rw, req)
			})
			router := &lateHandler{}
			server := httptest.NewServer(router)
			t.Cleanup(server.Close)
			router.set(mirrorTo(t, server.URL, live, tt.set))
			for i := 1; i <= 3; i++ {
				req, err := http.NewRequest(tt.method, server.URL+"/invoices", strings.NewReader(invoice))
				if err != nil {
					t.Fatal(err)
				}
				if tt.method == http.MethodGet {
					req.Body = http.NoBody
					req.ContentLength = 0
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusCreated {
					t.Errorf("client got %s, want live's 201", res.Status)
				}
			}
			m := settled(t, t.Name())
			eventually(t, "all copies have come back", func() bool { return m.counts.loop.Load() == 3 && m.counts.answers() == 3 })
			if served.Load() != 3 || m.counts.marked.Load() != 0 {
				t.Errorf("live served %d, %d counted as marked; want 3 and none", served.Load(), m.counts.marked.Load())
			}
			if statuses := m.counts.statuses; statuses[5] != 3 {
				t.Errorf("copies were answered %v, want three times 508", statuses)
			}
			eventually(t, "a line about it", func() bool { return len(book.lines()) > 0 })
			if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], server.URL) || !strings.Contains(lines[0], "508") {
				t.Errorf("logged %q, want one line that says where url leads", lines)
			}
		})
	}
}

// Copies of other middlewares, and requests that a client has marked, pass.
func TestOnlyItsOwnCopyIsALoop(t *testing.T) {
	tests := []struct {
		name, token string
		wantCode    int
	}{
		{"none", "", http.StatusCreated},
		{"another middleware's", tokenFor("shadow-ledger@docker"), http.StatusCreated},
		{"a guess", "0123456789abcdef0123456789abcdef", http.StatusCreated},
		{"its own", tokenFor(t.Name()), http.StatusLoopDetected},
	}
	captureLog(t)
	h := mirrorTo(t, startUpstream(t).URL, echoLive, nil)
	for _, tt := range tests {
		req := postInvoice()
		req.Header.Set(markerHeader, t.Name())
		if tt.token != "" {
			req.Header.Set(tokenHeader, tt.token)
		}
		if rec := serve(h, req); rec.Code != tt.wantCode {
			t.Errorf("%s: %d, want %d", tt.name, rec.Code, tt.wantCode)
		}
	}
	if m := settled(t, t.Name()); m.counts.marked.Load() != 3 || m.counts.loop.Load() != 1 {
		t.Errorf("%d counted as marked, %d as loop; want 3 and 1", m.counts.marked.Load(), m.counts.loop.Load())
	}
}

// Requests that are not chosen pass the mirror by, and copies must not.
func TestCopyThatIsNotChosenDoesNotReachLiveEither(t *testing.T) {
	captureLog(t)
	for _, options := range []map[string]string{{"percent": "0"}, {"methods": "DELETE"}} {
		h := mirrorTo(t, "http://billing-next:8080", echoLive, func(c *Config) { setOptions(c, options) })
		req := postInvoice()
		req.Header.Set(markerHeader, t.Name())
		req.Header.Set(tokenHeader, tokenFor(t.Name()))
		if rec := serve(h, req); rec.Code != http.StatusLoopDetected {
			t.Errorf("%v: %d, want 508", options, rec.Code)
		}
	}
}

// Without random numbers a token can be worked out, so a request that has one is no proof.
func TestTokensThatCanBeGuessedAreNotBelieved(t *testing.T) {
	before := secret
	defer func() { secret = before }()
	secret = nil
	h := mirrorTo(t, startUpstream(t).URL, echoLive, nil)
	req := postInvoice()
	req.Header.Set(markerHeader, t.Name())
	req.Header.Set(tokenHeader, tokenFor(t.Name()))
	if rec := serve(h, req); rec.Code != http.StatusCreated {
		t.Errorf("%d, want live's 201", rec.Code)
	}
}

func TestTokensAreSecretAndDiffer(t *testing.T) {
	a, b := tokenFor("shadow-billing@docker"), tokenFor("shadow-ledger@docker")
	if a == b || len(a) != 32 || a != tokenFor("shadow-billing@docker") {
		t.Errorf("tokens %q and %q, want two of 32 digits that stay the same", a, b)
	}
	before := secret
	defer func() { secret = before }()
	secret = newSecret()
	if tokenFor("shadow-billing@docker") == a {
		t.Errorf("another process has the same token, %q", a)
	}
}

// A lateHandler is one that is made after its server.
type lateHandler struct {
	mu sync.Mutex
	h  http.Handler
}

func (l *lateHandler) set(h http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.h = h
}

func (l *lateHandler) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	l.mu.Lock()
	h := l.h
	l.mu.Unlock()
	h.ServeHTTP(rw, req)
}
