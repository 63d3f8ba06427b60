package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRequestIsServedByLiveAndCopiedToTheShadow(t *testing.T) {
	tests := []struct {
		name, method, target, body string
		wantURI                    string
	}{
		{"invoice", "POST", "/invoices", invoice, "/invoices"},
		{"no body", "GET", "/invoices/2026-0042", "", "/invoices/2026-0042"},
		{"custom method", "PURGE", "/invoices", "", "/invoices"},
		{"body on DELETE", "DELETE", "/invoices/7", "reason=duplicate", "/invoices/7"},
		{"escaped slash", "GET", "/customers/a%2Fb/invoices", "", "/customers/a%2Fb/invoices"},
		{"malformed escape in the query", "GET", "/invoices?note=%zz", "", "/invoices?note=%zz"},
		{"semicolon in the query", "GET", "/invoices?a=1;b=2", "", "/invoices?a=1&b=2"},
		{"bare question mark", "GET", "/invoices?", "", "/invoices?"},
		{"double slash", "GET", "http://billing.example//invoices//7", "", "//invoices//7"},
		{"64 KiB", "PUT", "/invoices/7/scan", strings.Repeat("\x00\xffscan", 1<<14), "/invoices/7/scan"},
	}
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	for i, tt := range tests {
		var body io.Reader
		if tt.body != "" {
			body = strings.NewReader(tt.body)
		}
		rec := serve(h, httptest.NewRequest(tt.method, tt.target, body))
		if rec.Code != http.StatusCreated || rec.Body.String() != tt.body {
			t.Errorf("%s: client got %d and %d bytes, want 201 and live's %d", tt.name, rec.Code, rec.Body.Len(), len(tt.body))
		}
		got := shadow.wait(t, i+1)[i]
		if got.method != tt.method || got.uri != tt.wantURI || got.body != tt.body {
			t.Errorf("%s: shadow got %s %s with %d bytes, want %s %s with %d", tt.name, got.method, got.uri, len(got.body), tt.method, tt.wantURI, len(tt.body))
		}
		if marker := got.header.Values(markerHeader); len(marker) != 1 || marker[0] != t.Name() {
			t.Errorf("%s: shadow got %s %q, want the middleware's name once", tt.name, markerHeader, marker)
		}
	}
}

func TestRequestsThatAreNeverMirroredPassUntouched(t *testing.T) {
	tests := []struct {
		name  string
		set   func(*Config)
		alter func(*http.Request)
	}{
		{"WebSocket", nil, func(r *http.Request) {
			r.Header.Set("Connection", "keep-alive, Upgrade")
			r.Header.Set("Upgrade", "websocket")
		}},
		{"CONNECT", nil, func(r *http.Request) { r.Method = http.MethodConnect }},
		{"gRPC", nil, func(r *http.Request) { r.Header.Set("Content-Type", "application/grpc") }},
		{"gRPC with a subtype", nil, func(r *http.Request) { r.Header.Set("Content-Type", "Application/gRPC+proto") }},
		{"gRPC with a parameter", nil, func(r *http.Request) { r.Header.Set("Content-Type", "application/grpc;v=1") }},
		{"mirrored once already", nil, func(r *http.Request) { r.Header.Set("X-Mirrored-By", "another@docker") }},
		{"marked with an empty name", nil, func(r *http.Request) { r.Header["X-Mirrored-By"] = []string{""} }},
		{"another method", func(c *Config) { c.set("methods", []string{"PUT", " patch"}) }, func(*http.Request) {}},
		{"not in the sample", func(c *Config) { c.set("percent", "0") }, func(*http.Request) {}},
		{"longer than the limit", func(c *Config) { c.set("maxBodySize", strconv.Itoa(len(invoice)-1)) }, func(*http.Request) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			req := postInvoice()
			tt.alter(req)
			body, header := req.Body, req.Header.Clone()
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, got *http.Request) {
				if got != req || got.Body != body || len(got.Header) != len(header) {
					t.Errorf("live got another request or body than the client sent")
				}
				echoLive(rw, got)
			}), tt.set)
			if rec := serve(h, req); rec.Body.String() != invoice {
				t.Errorf("client got %q, want live's answer", rec.Body)
			}
			m := settled(t, t.Name())
			if n := len(shadow.snapshot()); n != 0 || m.counts.failed.Load() != 0 {
				t.Errorf("shadow got %d requests, %d failed, want none", n, m.counts.failed.Load())
			}
		})
	}
}

func TestRequestsThatOnlyLookExceptionalAreMirrored(t *testing.T) {
	tests := []struct{ name, header, value string }{
		{"Upgrade that Connection does not name", "Upgrade", "websocket"},
		{"Connection that names no upgrade", "Connection", "X-Trace"},
		{"gRPC-Web", "Content-Type", "application/grpc-web+proto"},
		{"short content type", "Content-Type", "text/csv"},
		{"header without a value", "Content-Type", ""},
	}
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	for i, tt := range tests {
		req := postInvoice()
		req.Header.Set(tt.header, tt.value)
		if tt.value == "" {
			req.Header[tt.header] = []string{} // as another plugin may leave it
			req.Header["Accept-Encoding"] = []string{}
		}
		serve(h, req)
		if got := shadow.wait(t, i+1)[i]; got.body != invoice {
			t.Errorf("%s: shadow got %q, want the invoice", tt.name, got.body)
		}
	}
}

func TestLiveGetsAFreshBodyOfKnownLength(t *testing.T) {
	shadow := startUpstream(t)
	tests := []struct {
		name   string
		length int64
	}{{"Content-Length", int64(len(invoice))}, {"chunked", -1}}
	for i, tt := range tests {
		original := &closeRecorder{Reader: strings.NewReader(invoice)}
		req := postInvoice()
		req.ContentLength = tt.length
		if tt.length < 0 {
			req.TransferEncoding = []string{"chunked"}
		}
		req.Body = original
		h := mirrorTo(t, shadow.URL, called(t, 1, func(_ http.ResponseWriter, live *http.Request) {
			if !original.closed {
				t.Errorf("%s: the client's body was not closed", tt.name)
			}
			if live.ContentLength != int64(len(invoice)) || len(live.TransferEncoding) != 0 {
				t.Errorf("%s: live got length %d, encoding %q; want %d and none", tt.name, live.ContentLength, live.TransferEncoding, len(invoice))
			}
			if body, err := io.ReadAll(live.Body); string(body) != invoice || err != nil {
				t.Errorf("%s: live read %q, %v; want the invoice", tt.name, body, err)
			}
		}), nil)
		serve(h, req)
		if got := shadow.wait(t, i+1)[i]; got.length != int64(len(invoice)) || got.body != invoice {
			t.Errorf("%s: shadow got length %d and %q, want %d and the invoice", tt.name, got.length, got.body, len(invoice))
		}
	}
}

// A closeRecorder is a body that knows whether it was closed.
type closeRecorder struct {
	Reader io.Reader
	closed bool
}

func (c *closeRecorder) Read(p []byte) (int, error) { return c.Reader.Read(p) }
func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

func TestLiveIsServedWhileTheShadowHangs(t *testing.T) {
	shadow := startUpstream(t)
	release := shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", "3") })
	for i := 0; i < 10; i++ {
		if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated {
			t.Fatalf("request %d: client got %d, want 201", i, rec.Code)
		}
	}
	shadow.wait(t, 3)
	m := mirrorCalled(t, t.Name())
	if full := m.counts.full.Load(); full != 7 {
		t.Errorf("%d dropped for want of a place, want 7", full)
	}
	release()
	settled(t, t.Name())
	serve(h, postInvoice())
	if n := len(shadow.wait(t, 4)); n != 4 {
		t.Errorf("shadow got %d requests, want 3 and, once they were answered, 1 more", n)
	}
}

func TestDroppedRequestKeepsItsBodyUnread(t *testing.T) {
	shadow := startUpstream(t)
	shadow.hang(t)
	var reached io.ReadCloser
	h := mirrorTo(t, shadow.URL, called(t, 2, func(_ http.ResponseWriter, req *http.Request) {
		reached = req.Body
	}), func(c *Config) { c.set("maxInFlight", "1") })
	serve(h, postInvoice())
	dropped := postInvoice()
	body := dropped.Body
	serve(h, dropped)
	if reached != body {
		t.Error("the dropped request's body was replaced")
	}
	if text, err := io.ReadAll(body); string(text) != invoice || err != nil {
		t.Errorf("of its body there is left %q, and %v; want the invoice", text, err)
	}
}

func TestShadowOutlivesTheLiveRequest(t *testing.T) {
	shadow := startUpstream(t)
	release := shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	ctx, cancel := context.WithCancel(context.Background())
	serve(h, postInvoice().WithContext(ctx))
	cancel()
	shadow.wait(t, 1)
	release()
	if m := settled(t, t.Name()); m.counts.answers() != 1 || m.counts.failed.Load() != 0 {
		t.Errorf("mirrored %d, failed %d; want 1 and 0", m.counts.answers(), m.counts.failed.Load())
	}
}

func TestShadowIsSparedWhatLiveDoesToTheRequest(t *testing.T) {
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		req.Header.Set("X-Customer", "changed")
		req.Header.Del("X-Tenant")
		req.URL.Path = "/changed"
		req.Body.Close()
	}), nil)
	for i := 0; i < 200; i++ {
		req := postInvoice()
		req.Header.Set("X-Customer", "C-1007")
		req.Header.Set("X-Tenant", "eu")
		serve(h, req)
	}
	settled(t, t.Name())
	for _, got := range shadow.snapshot() {
		if got.uri != "/invoices" || got.header.Get("X-Customer") != "C-1007" || got.header.Get("X-Tenant") != "eu" || got.body != invoice {
			t.Fatalf("shadow got %s %v %q, want what the client sent", got.uri, got.header, got.body)
		}
	}
}

func TestUnreadableBodyIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		length int64
		want   int
	}{
		{"cut short", io.ErrUnexpectedEOF, 100, http.StatusBadRequest},
		{"malformed chunk", errors.New("invalid byte in chunk length"), -1, http.StatusBadRequest},
		{"limited in front of us", &http.MaxBytesError{Limit: 10}, 100, http.StatusRequestEntityTooLarge},
		{"limited, chunked", &http.MaxBytesError{Limit: 10}, -1, http.StatusRequestEntityTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				t.Errorf("live was called")
			}), func(c *Config) { c.set("maxInFlight", "1") })
			for i := 0; i < 3; i++ {
				req := postInvoice()
				req.ContentLength = tt.length
				original := &failingBody{data: invoice[:10], err: tt.err}
				req.Body = original
				if rec := serve(h, req); rec.Code != tt.want {
					t.Errorf("client got %d, want %d", rec.Code, tt.want)
				}
				if !original.closed {
					t.Errorf("the client's body was not closed")
				}
			}
			m := settled(t, t.Name())
			if n := len(shadow.snapshot()); n != 0 || m.counts.unread.Load() != 3 {
				t.Errorf("shadow got %d requests, %d counted as unreadable; want 0 and 3", n, m.counts.unread.Load())
			}
		})
	}
}

// A failingBody ends in an error.
type failingBody struct {
	data   string
	err    error
	closed bool
}

func (f *failingBody) Read(p []byte) (int, error) {
	n := copy(p, f.data)
	f.data = f.data[n:]
	if n == 0 {
		return 0, f.err
	}
	return n, nil
}

func (f *failingBody) Close() error {
	f.closed = true
	return nil
}

func TestBodyOfUnknownLength(t *testing.T) {
	const limit = 1000
	tests := []struct {
		name     string
		size     int
		mirrored bool
	}{
		{"empty", 0, true}, {"one byte", 1, true}, {"at the limit", limit, true},
		{"one above", limit + 1, false}, {"far above", 300 * limit, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
				c.set("maxBodySize", strconv.Itoa(limit))
				c.set("maxInFlight", "1")
			})
			data := strings.Repeat("x", tt.size)
			req := postInvoice()
			req.ContentLength = -1
			req.TransferEncoding = []string{"chunked"}
			req.Body = io.NopCloser(bytes.NewReader([]byte(data)))
			if rec := serve(h, req); rec.Body.String() != data {
				t.Errorf("live got %d bytes, want %d", rec.Body.Len(), tt.size)
			}
			m := settled(t, t.Name())
			got := shadow.snapshot()
			if !tt.mirrored {
				if len(got) != 0 || m.counts.large.Load() != 1 {
					t.Errorf("shadow got %d requests, %d counted as too large; want 0 and 1", len(got), m.counts.large.Load())
				}
				return
			}
			if len(got) != 1 || got[0].body != data {
				t.Errorf("shadow got %d requests, want the body once", len(got))
			}
		})
	}
}

// The memory of a large body is live's too: its place is taken until both are done.
func TestLargeBodyKeepsItsPlaceUntilLiveIsServed(t *testing.T) {
	tests := []struct {
		name     string
		size     int
		length   int64
		mirrored int64
		held     int64
	}{
		{"small", 1000, 1000, 1, 0},
		{"large", ownBody + 1, ownBody + 1, 1, 1},
		{"too large, length unknown", 200000, -1, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxBodySize", "100000") })
			m := mirrorCalled(t, t.Name())
			ctx, served := context.WithCancel(context.Background())
			req := postInvoice().WithContext(ctx)
			req.ContentLength = tt.length
			req.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", tt.size)))
			serve(h, req)
			eventually(t, "the exchange to end", func() bool {
				return m.counts.answers() == tt.mirrored && m.inFlight.Load() == tt.held
			})
			time.Sleep(20 * time.Millisecond)
			if n := m.inFlight.Load(); n != tt.held {
				t.Errorf("%d places taken while live holds the body, want %d", n, tt.held)
			}
			served()
			settled(t, t.Name())
		})
	}
}

func TestTrailersAreAsTheyWouldBeWithoutTheMiddleware(t *testing.T) {
	tests := []struct {
		name      string
		announced http.Header
	}{{"announced", http.Header{"X-Checksum": nil}}, {"unannounced", nil}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			live := called(t, 1, func(_ http.ResponseWriter, req *http.Request) {
				if len(req.Trailer) != len(tt.announced) || req.Trailer.Get("X-Checksum") != "" || req.ContentLength != -1 {
					t.Errorf("before the body: trailer %v, length %d; want %v, -1", req.Trailer, req.ContentLength, tt.announced)
				}
				body, err := io.ReadAll(req.Body)
				if string(body) != invoice || err != nil {
					t.Errorf("live read %q, %v", body, err)
				}
				if got := req.Trailer.Get("X-Checksum"); got != "9f2c" {
					t.Errorf("after the body: checksum %q, want 9f2c", got)
				}
			})
			h := mirrorTo(t, shadow.URL, live, nil)
			req := postInvoice()
			req.ContentLength = -1
			req.TransferEncoding = []string{"chunked"}
			req.Trailer = tt.announced.Clone()
			// net/http's server sets the values at the body's end.
			var end io.Reader = &trailerReader{req: req, values: http.Header{"X-Checksum": {"9f2c"}}}
			req.Body = io.NopCloser(io.MultiReader(strings.NewReader(invoice), end))
			serve(h, req)
			got := shadow.wait(t, 1)[0]
			if got.body != invoice {
				t.Errorf("shadow got %q, want the invoice", got.body)
			}
		})
	}
}

func TestAnnouncedLengthIsNotBelievedWithoutALimit(t *testing.T) {
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxBodySize", "-1") })
	req := postInvoice()
	req.ContentLength = 1 << 50
	req.Body = &failingBody{data: invoice, err: io.ErrUnexpectedEOF}
	if rec := serve(h, req); rec.Code != http.StatusBadRequest {
		t.Errorf("client got %d, want 400", rec.Code)
	}
}

func TestWithoutMirrorBodyLiveStreams(t *testing.T) {
	shadow := startUpstream(t)
	req := postInvoice()
	req.Header.Set("Expect", "100-continue")
	original := req.Body
	h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, live *http.Request) {
		if live.Body != original || live.Header.Get("Expect") == "" {
			t.Errorf("live did not get the client's own body and headers")
		}
		echoLive(rw, live)
	}), func(c *Config) {
		c.set("mirrorBody", "false")
		c.set("maxBodySize", "0")
	})
	if rec := serve(h, req); rec.Body.String() != invoice {
		t.Errorf("client got %q, want the invoice", rec.Body)
	}
	got := shadow.wait(t, 1)[0]
	if got.body != "" || got.length != 0 || got.header.Get("Expect") != "" || got.method != "POST" {
		t.Errorf("shadow got %s with length %d, Expect %q; want POST without body", got.method, got.length, got.header.Get("Expect"))
	}
}

func TestWriterIsPassedAsItCame(t *testing.T) {
	shadow := startUpstream(t)
	rec := httptest.NewRecorder()
	h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		flusher, ok := rw.(http.Flusher)
		if !ok {
			t.Fatalf("the writer cannot flush")
		}
		flusher.Flush()
	}), nil)
	h.ServeHTTP(rec, postInvoice())
	settled(t, t.Name())
	if !rec.Flushed {
		t.Errorf("the flush did not reach the client's writer")
	}
}

// Several instances, under load: a body must reach its own shadow and no other.
func TestInstancesDoNotMixRequests(t *testing.T) {
	const instances, requests = 8, 250
	shadows := make([]*upstream, instances)
	handlers := make([]http.Handler, instances)
	for i := range shadows {
		shadows[i] = startUpstream(t)
		config := CreateConfig()
		config.set("url", shadows[i].URL)
		config.set("maxInFlight", strconv.Itoa(requests))
		config.set("timeout", "1m") // however busy the machine is
		h, err := New(context.Background(), echoLive, config, t.Name()+strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		handlers[i] = h
	}
	t.Cleanup(func() {
		for i := 0; i < instances; i++ {
			forget(t.Name() + strconv.Itoa(i))
		}
	})
	wg := &sync.WaitGroup{}
	for i := range handlers {
		wg.Add(1)
		go bookInvoices(t, handlers[i], i, requests, wg)
	}
	wg.Wait()
	for i := range shadows {
		m := settled(t, t.Name()+strconv.Itoa(i))
		if n := m.counts.answers(); n != requests {
			t.Errorf("instance %d mirrored %d, want %d", i, n, requests)
		}
		seen := map[string]bool{}
		for _, got := range shadows[i].snapshot() {
			if !strings.HasPrefix(got.body, "tenant "+strconv.Itoa(i)+" ") || got.uri != "/"+url.PathEscape(got.body) {
				t.Fatalf("shadow %d got %s with body %q", i, got.uri, got.body)
			}
			if seen[got.body] {
				t.Fatalf("shadow %d got %q twice", i, got.body)
			}
			seen[got.body] = true
		}
	}
}

func bookInvoices(t *testing.T, h http.Handler, tenant, n int, wg *sync.WaitGroup) {
	defer wg.Done()
	for j := 0; j < n; j++ {
		body := "tenant " + strconv.Itoa(tenant) + " invoice " + strconv.Itoa(j)
		req := httptest.NewRequest("POST", "/"+url.PathEscape(body), strings.NewReader(body))
		if rec := serve(h, req); rec.Body.String() != body {
			t.Errorf("tenant %d: client got %q, want %q", tenant, rec.Body, body)
		}
	}
}
