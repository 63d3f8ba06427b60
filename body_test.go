package mirror

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// consumed is a form that a middleware before the mirror has parsed: its values are
// in the request, its body is at its end, and its length is still announced.
func consumed(t *testing.T) *http.Request {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/invoices", strings.NewReader("customer=C-1007&total=119.00"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Body = &closeRecorder{Reader: req.Body}
	if err := req.ParseForm(); err != nil {
		t.Fatal(err)
	}
	return req
}

// A body that an earlier middleware has consumed is none that cannot be read: live
// gets the request as it would without the mirror, and the log says what is wrong.
func TestBodyThatWasConsumedBeforeIsLeftToLive(t *testing.T) {
	for i := range onceModes {
		mode := &onceModes[i]
		t.Run(mode.name, func(t *testing.T) {
			book := captureLog(t)
			shadow := startUpstream(t)
			var req, got *http.Request
			var total string
			var length, read int64
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, live *http.Request) {
				got = live
				total = live.FormValue("total")
				length = live.ContentLength
				read, _ = io.Copy(io.Discard, live.Body)
				rw.WriteHeader(http.StatusCreated)
			}), func(c *Config) {
				setOptions(c, mode.options)
				setOptions(c, map[string]string{"maxInFlight": "1"})
			})
			for try := 1; try <= 3; try++ {
				got = nil
				req = consumed(t)
				if rec := serve(h, req); rec.Code != http.StatusCreated {
					t.Errorf("try %d: the client got %d %q, want live's 201", try, rec.Code, rec.Body)
				}
				if got != req || total != "119.00" || length != int64(len("customer=C-1007&total=119.00")) || read != 0 {
					t.Errorf("try %d: live got the client's request: %t, total %q, length %d, %d bytes; want all as the middleware left it", try, got == req, total, length, read)
				}
				settled(t, t.Name())
			}
			if mode.bodyless {
				return // nothing of it is the mirror's business
			}
			if n := len(shadow.snapshot()); n != 0 {
				t.Errorf("the shadow got %d copies, want none without its body", n)
			}
			if mode.stream {
				return // it is live that reads the body, or does not
			}
			eventually(t, "a line", func() bool { return len(book.lines()) > 0 })
			text := strings.Join(book.lines(), "\n")
			if !strings.Contains(text, "earlier middleware") || !strings.Contains(text, "consumed") || strings.Contains(text, "could not be read") {
				t.Errorf("logged %q, want a line that says that an earlier middleware has consumed the body", text)
			}
		})
	}
}

// A body that breaks off after its first bytes was not consumed by anybody.
func TestBodyThatBreaksOffIsNotTakenForConsumed(t *testing.T) {
	for i := range onceModes {
		mode := &onceModes[i]
		if mode.stream || mode.bodyless {
			continue
		}
		t.Run(mode.name, func(t *testing.T) {
			book := captureLog(t)
			shadow := startUpstream(t)
			served := 0
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }), func(c *Config) { setOptions(c, mode.options) })
			for _, body := range []*failingBody{{data: invoice[:1], err: io.EOF}, {err: io.ErrUnexpectedEOF}} {
				req := postInvoice()
				req.Body = body
				if rec := serve(h, req); rec.Code != http.StatusBadRequest || served != 0 {
					t.Errorf("%q, %v: the client got %d, live %d requests, want 400 and none", body.data, body.err, rec.Code, served)
				}
			}
			settled(t, t.Name())
			if text := strings.Join(book.lines(), "\n"); strings.Contains(text, "consumed") {
				t.Errorf("logged %q, which blames a middleware", text)
			}
		})
	}
}

// Whatever framing an earlier middleware has left beside a length, live and the
// shadow get a body of known length, and no chunks.
func TestChunksBesideALengthAreCleared(t *testing.T) {
	for i := range onceModes {
		mode := &onceModes[i]
		if mode.bodyless {
			continue
		}
		t.Run(mode.name, func(t *testing.T) {
			shadow := startUpstream(t)
			served := 0
			var length int64
			var encoding []string
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, live *http.Request) {
				served++
				length = live.ContentLength
				encoding = live.TransferEncoding
				echoLive(rw, live)
			}), func(c *Config) { setOptions(c, mode.options) })
			req := postInvoice()
			req.TransferEncoding = []string{"chunked"}
			if rec := serve(h, req); rec.Body.String() != invoice {
				t.Errorf("the client got %d %q, want live's answer", rec.Code, rec.Body)
			}
			// Streamed, live's request is left as it came.
			if served != 1 || length != int64(len(invoice)) || len(encoding) != 0 && !mode.stream {
				t.Errorf("live got %d requests, length %d, encoding %q; want 1, %d and none", served, length, encoding, len(invoice))
			}
			got := shadow.wait(t, 1)[0]
			if got.body != invoice || got.length != int64(len(invoice)) || len(got.encoding) != 0 {
				t.Errorf("the shadow got %q, length %d, encoding %q; want the invoice, %d and none", got.body, got.length, got.encoding, len(invoice))
			}
			settled(t, t.Name())
		})
	}
}

// A panickingBody panics when its beginning has been read.
type panickingBody struct{ data string }

func (p *panickingBody) Read(b []byte) (int, error) {
	if p.data == "" {
		panic("the body is broken")
	}
	n := copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

func (p *panickingBody) Close() error { return nil }

// panics serves the request and reports whether that panicked.
func panics(h http.Handler, req *http.Request) (panicked bool) {
	defer func() {
		if recover() != nil {
			panicked = true
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), req)
	return false
}

// A panic in a body's Read goes where it would go without the mirror, and takes no
// place with it.
func TestPanicInABodyTakesNoPlace(t *testing.T) {
	bodies := []struct {
		name   string
		length int64
		retry  bool
	}{
		{"known length", int64(len(invoice)), false},
		{"unknown length", -1, false},
		{"behind a retry", int64(len(invoice)), true},
	}
	for i := range onceModes {
		mode := &onceModes[i]
		for _, tt := range bodies {
			t.Run(mode.name+"/"+tt.name, func(t *testing.T) {
				shadow := startUpstream(t)
				h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
					setOptions(c, mode.options)
					setOptions(c, map[string]string{"maxInFlight": "1"})
				})
				for try := 1; try <= 3; try++ {
					req := postInvoice()
					req.ContentLength = tt.length
					req.Body = &panickingBody{data: invoice[:10]}
					if tt.retry {
						req.Body = io.NopCloser(req.Body)
					}
					if !panics(h, req) {
						t.Errorf("try %d: no panic, want the one that there is without the mirror", try)
					}
					settled(t, t.Name())
				}
				before := len(shadow.snapshot())
				if !mode.bodyless && before != 0 {
					t.Errorf("the shadow got %d copies of bodies that broke off, want none", before)
				}
				if rec := serve(h, postInvoice()); rec.Body.String() != invoice {
					t.Errorf("the client got %d %q, want live's answer", rec.Code, rec.Body)
				}
				shadow.wait(t, before+1)
				settled(t, t.Name())
			})
		}
	}
}

// A length without a body, as a middleware before the mirror may leave it, reaches
// live as it is, and takes no place.
func TestLengthWithoutABodyReachesLive(t *testing.T) {
	for i := range onceModes {
		mode := &onceModes[i]
		t.Run(mode.name, func(t *testing.T) {
			captureLog(t)
			shadow := startUpstream(t)
			var got *http.Request
			var bodiless bool
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, live *http.Request) {
				got = live
				bodiless = live.Body == nil || live.Body == http.NoBody
				rw.WriteHeader(http.StatusCreated)
			}), func(c *Config) {
				setOptions(c, mode.options)
				setOptions(c, map[string]string{"maxInFlight": "1"})
			})
			for try := 1; try <= 3; try++ {
				got = nil
				req := postInvoice()
				req.Body = nil
				if try == 3 {
					req.Body = http.NoBody
				}
				rec := httptest.NewRecorder()
				if panics(answering(h, rec), req) {
					t.Fatalf("try %d: a panic on the live path", try)
				}
				if got != req || !bodiless || got.ContentLength != int64(len(invoice)) || rec.Code != http.StatusCreated {
					t.Errorf("try %d: live got the client's request: %t, without a body: %t; the client got %d; want all as without the mirror", try, got == req, bodiless, rec.Code)
				}
				settled(t, t.Name())
			}
			for _, got := range shadow.snapshot() {
				if got.length != 0 || got.body != "" {
					t.Errorf("the shadow got a length of %d, want none", got.length)
				}
			}
			if m := mirrorCalled(t, t.Name()); m.counts.failed.Load() != 0 {
				t.Errorf("%d copies failed, want none", m.counts.failed.Load())
			}
			if n := len(shadow.snapshot()); n > 3 {
				t.Errorf("the shadow got %d copies of 3 requests", n)
			}
		})
	}
}

// answering is h with another client.
func answering(h http.Handler, rec *httptest.ResponseRecorder) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { h.ServeHTTP(rec, req) })
}
