package mirror

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The tests run compiled and interpreted by Yaegi, so what the package avoids
// for the interpreter's sake they avoid too.

// A received is a request as it reached an upstream.
type received struct {
	method, uri, host, body string
	header, trailer         http.Header
	length                  int64
	encoding                []string
	proto                   string
	remote                  string // the other end of its connection
}

// An upstream records what reaches it. While hung it reads and does not answer.
type upstream struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
	answer   func(http.ResponseWriter, *http.Request)
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	return startUpstreamOver(t, "http")
}

// startUpstreamOver starts one that speaks http, https, h2 (which is HTTP/2 with https)
// or h2c.
func startUpstreamOver(t *testing.T, scheme string) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		u.mu.Lock()
		u.requests = append(u.requests, received{
			method: req.Method, uri: req.RequestURI, host: req.Host, body: string(body),
			header: req.Header, trailer: req.Trailer, length: req.ContentLength, encoding: req.TransferEncoding,
			proto: req.Proto, remote: req.RemoteAddr,
		})
		answer := u.answer
		u.mu.Unlock()
		if answer != nil {
			answer(rw, req)
			return
		}
		io.WriteString(rw, `{"status":"booked by the shadow"}`)
	}))
	switch scheme {
	case "https":
		u.StartTLS()
	case "h2":
		u.EnableHTTP2 = true
		u.StartTLS()
	case "h2c":
		speakH2C(u.Config)
		u.Start()
		u.URL = strings.Replace(u.URL, "http:", "h2c:", 1)
	default:
		u.Start()
	}
	t.Cleanup(u.Close)
	return u
}

// hang makes the upstream keep its answers back until release is called.
func (u *upstream) hang(t *testing.T) (release func()) {
	gate := make(chan struct{})
	u.mu.Lock()
	u.answer = func(rw http.ResponseWriter, req *http.Request) { <-gate }
	u.mu.Unlock()
	once := &sync.Once{}
	release = func() {
		once.Do(func() {
			u.mu.Lock()
			u.answer = nil
			u.mu.Unlock()
			close(gate)
		})
	}
	t.Cleanup(release)
	return release
}

func (u *upstream) snapshot() []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]received{}, u.requests...)
}

// wait returns the requests once there are n of them.
func (u *upstream) wait(t *testing.T, n int) []received {
	t.Helper()
	eventually(t, "requests at the shadow", func() bool { return len(u.snapshot()) >= n })
	return u.snapshot()
}

// eventually fails the test if cond does not become true in good time.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited a minute in vain for: %s", what)
}

// settled waits until the mirror called name has nothing in flight, and returns it.
func settled(t *testing.T, name string) *mirror {
	t.Helper()
	m := mirrorCalled(t, name)
	awaitNoneInFlight(t, m)
	return m
}

// awaitNoneInFlight waits until a mirror has nothing in flight.
func awaitNoneInFlight(t *testing.T, m *mirror) {
	t.Helper()
	eventually(t, "no request in flight", func() bool { return m.inFlight.Load() == 0 })
}

func mirrorCalled(t *testing.T, name string) *mirror {
	t.Helper()
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	m := mirrors[name]
	if m == nil {
		t.Fatalf("no mirror is registered as %q", name)
	}
	return m
}

// echoLive answers as the live upstream of the tests does: 201 and the body.
var echoLive = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusTeapot)
		return
	}
	rw.WriteHeader(http.StatusCreated)
	rw.Write(body)
})

// mirrorTo returns the middleware, named after the test, in front of next.
func mirrorTo(t *testing.T, url string, next http.Handler, set func(*Config)) http.Handler {
	t.Helper()
	return mirrorNamedTo(t, t.Name(), url, next, set)
}

// mirrorNamedTo returns the middleware called name in front of next.
func mirrorNamedTo(t *testing.T, name, url string, next http.Handler, set func(*Config)) http.Handler {
	t.Helper()
	config := CreateConfig()
	config.set("url", url)
	if set != nil {
		set(config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		forget(name)
	})
	h, err := New(ctx, next, config, name)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if o := config.parse(); o.mistaken > 0 {
		t.Fatal(o.remark())
	}
	return h
}

// set sets an option as it is delivered: one whose name has a dot in a map within
// the map.
func (c *Config) set(name string, value interface{}) {
	if c.Options == nil {
		c.Options = map[string]interface{}{}
	}
	group, inner, nested := strings.Cut(name, ".")
	if !nested {
		c.Options[name] = value
		return
	}
	within, _ := c.Options[group].(map[string]interface{})
	if within == nil {
		within = map[string]interface{}{}
		c.Options[group] = within
	}
	within[inner] = value
}

// called returns the handler, and fails the test at its end unless it was called n
// times: what a handler asserts says nothing where it never runs.
func called(t *testing.T, n int64, h http.HandlerFunc) http.Handler {
	t.Helper()
	calls := &atomic.Int64{}
	t.Cleanup(func() {
		if calls.Load() != n {
			t.Errorf("live was called %d times, want %d", calls.Load(), n)
		}
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		calls.Add(1)
		h(rw, req)
	})
}

// forget removes a mirror at once, so that a test can run again.
func forget(name string) {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	unlist(mirrors[name])
	delete(mirrors, name)
}

const invoice = `{"invoice":"2026-0042","customer":"C-1007","total":"119.00"}`

func postInvoice() *http.Request {
	return httptest.NewRequest(http.MethodPost, "/invoices", strings.NewReader(invoice))
}

func serve(h http.Handler, req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	return rec
}

// A logbook is what was logged during a test about its own mirror. Another test's,
// whose summary is due a minute after its first loss, is none of its business.
type logbook struct {
	about string
	mu    sync.Mutex
	buf   bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, line := range strings.Split(l.buf.String(), "\n") {
		if strings.Contains(line, l.about) {
			lines = append(lines, line)
		}
	}
	return lines
}

// captureLog diverts the log to the book it returns until the test ends.
func captureLog(t *testing.T) *logbook {
	l := &logbook{about: "middleware " + t.Name() + ": "}
	before := log.Writer()
	log.SetOutput(l)
	t.Cleanup(func() { log.SetOutput(before) })
	return l
}

// hangingUp serves h, and where that panics it closes the connection, as net/http's
// server does. The server logs the stack besides, for each panic.
func hangingUp(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		defer func() {
			if recover() == nil {
				return
			}
			if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
				conn.Close()
			}
		}()
		h.ServeHTTP(rw, req)
	})
}

// setOptions sets options by the names that users write.
func setOptions(c *Config, options map[string]string) {
	for name, value := range options {
		c.set(name, value)
	}
}
