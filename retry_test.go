package mirror

import (
	"io"
	"net/http"
	"testing"
)

// tries returns what Traefik's retry is to the mirror: it hands every try the
// client's body, in a NopCloser and never anew, and a copy of the request.
func tries(n int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		req.Body = io.NopCloser(req.Body)
		for i := 0; i < n; i++ {
			next.ServeHTTP(rw, req.Clone(req.Context()))
		}
	})
}

// A retry before the mirror does not cost live's last try the body: the tries
// that could not reach live have not read it, and no more has the mirror.
func TestRetriesBeforeTheMirrorHaveTheBody(t *testing.T) {
	tests := []struct {
		name   string
		set    func(*Config)
		length int64
	}{
		{"buffer", nil, int64(len(invoice))},
		{"buffer, chunked", nil, -1},
		{"comparing", func(c *Config) { c.set("compare.body", "json") }, int64(len(invoice))},
		{"comparing, chunked", func(c *Config) { c.set("compare.body", "json") }, -1},
		{"stream", func(c *Config) { c.set("bodyMode", "stream") }, int64(len(invoice))},
		{"stream, chunked", func(c *Config) { c.set("bodyMode", "stream") }, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			try := 0
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				if try++; try < 3 {
					req.Body.Close() // as a transport does that cannot connect
					return
				}
				echoLive(rw, req)
			})
			req := postInvoice()
			req.ContentLength = tt.length
			req.Body = &closeRecorder{Reader: req.Body}
			if rec := serve(tries(3, mirrorTo(t, shadow.URL, live, tt.set)), req); rec.Code != http.StatusCreated || rec.Body.String() != invoice {
				t.Errorf("client got %d %q, want 201 and the invoice", rec.Code, rec.Body)
			}
			shadow.wait(t, 1)
			m := settled(t, t.Name())
			if got := shadow.snapshot(); len(got) != 1 || got[0].body != invoice {
				t.Errorf("shadow got %+v, want one invoice", got)
			}
			if n := m.counts.incomplete.Load(); n != 2 {
				t.Errorf("%d tries counted as not read to their end, want 2", n)
			}
		})
	}
}

// Without a body there is nothing to keep for another try, and what a mirror
// before this one has buffered can be read at once.
func TestBodiesThatNobodyKeepsAreBuffered(t *testing.T) {
	shadow := startUpstream(t)
	unread := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusAccepted) })
	h := mirrorTo(t, shadow.URL, unread, nil)
	tests := []struct {
		name, method string
		body         io.ReadCloser
	}{
		{"none, behind a retry", http.MethodGet, io.NopCloser(http.NoBody)},
		{"none", http.MethodGet, nil},
		{"the client's", http.MethodPost, &closeRecorder{Reader: postInvoice().Body}},
		{"buffered before", http.MethodPost, postInvoice().Body},
	}
	for i, tt := range tests {
		req := postInvoice()
		req.Method, req.Body = tt.method, tt.body
		want := invoice
		if tt.method == http.MethodGet {
			req.ContentLength, want = 0, ""
		}
		if rec := serve(h, req); rec.Code != http.StatusAccepted {
			t.Errorf("%s: client got %d, want live's 202", tt.name, rec.Code)
		}
		if got := shadow.wait(t, i+1)[i]; got.body != want {
			t.Errorf("%s: shadow got %q, want %q although live read nothing", tt.name, got.body, want)
		}
	}
}
