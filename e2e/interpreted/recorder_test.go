package interpreted

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fragileWriter is what Traefik's compress hands the mirror: a ResponseWriter
// for one goroutine at a time, whose Flush changes the header map. It notes each
// use that another one overlaps, which in Traefik ends the process ("concurrent
// map writes"). It is compiled, as Traefik is, so that the plugin reaches Flush.
type fragileWriter struct {
	header   http.Header
	body     strings.Builder
	inUse    atomic.Int64
	overlaps atomic.Int64
}

func (w *fragileWriter) use(f func()) {
	if w.inUse.Add(1) > 1 {
		w.overlaps.Add(1)
	}
	f()
	w.inUse.Add(-1)
}

func (w *fragileWriter) Header() http.Header { return w.header }
func (w *fragileWriter) WriteHeader(int)     { w.use(func() {}) }

func (w *fragileWriter) Write(b []byte) (int, error) {
	w.use(func() {
		time.Sleep(time.Millisecond) // so that a flush that does not wait for its end meets it
		w.body.Write(b)
	})
	return len(b), nil
}

func (w *fragileWriter) Flush() {
	w.use(func() {
		w.header.Del("Content-Length")
		w.header.Set("Content-Encoding", "br")
		time.Sleep(time.Millisecond)
	})
}

// While live has the header map in hand, as Traefik's proxy has for trailers, no
// flush of the mirror's comes, whatever live has written.
func TestNoFlushComesWhileLiveHasTheHeader(t *testing.T) {
	const (
		part = "2026-0042;119.00\n"
		hold = 30 * time.Millisecond // longer than any flush is put off
	)
	tests := []struct {
		name          string
		header        http.Header
		before, after int // parts that live writes before it sets trailers, and after
	}{
		{"all of a known length", http.Header{"Content-Length": {"34"}}, 2, 0},
		{"a part of a known length", http.Header{"Content-Length": {"34"}}, 1, 1},
		{"a head", http.Header{"Content-Length": {"34"}}, 0, 2},
		{"a part of unknown length", nil, 1, 1},
		{"a part of unknown length from a server", http.Header{"Date": {"Fri, 27 Nov 2026 20:15:00 GMT"}}, 1, 1},
		{"an event", http.Header{"Content-Type": {"text/event-stream"}}, 1, 1},
	}
	for _, e := range engines {
		for _, tt := range tests {
			t.Run(e.name+"/"+tt.name, func(t *testing.T) {
				answered := make(chan struct{}, 1)
				live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
					w := req.Context().Value(writerKey{}).(*fragileWriter)
					for name, values := range tt.header {
						rw.Header()[name] = values
					}
					rw.WriteHeader(http.StatusOK)
					for range tt.before {
						io.WriteString(rw, part)
					}
					h := rw.Header()
					w.use(func() {
						for end := time.Now().Add(hold); time.Now().Before(end); time.Sleep(hold / 60) {
							h.Set(http.TrailerPrefix+"X-Checksum", "9f86d081")
						}
					})
					for range tt.after {
						io.WriteString(rw, part)
					}
				})
				h := e.make(t, live, settings{"url": responder(t, kinds[0], answered)}.with(compared))
				// More than once, for where a flush falls is a matter of chance.
				for try := range 5 {
					w := &fragileWriter{header: http.Header{}}
					req := newSource(kinds[0]).next()
					h.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), writerKey{}, w)))
					<-answered
					if n := w.overlaps.Load(); n != 0 {
						t.Errorf("try %d: the writer was used %d times while live was using it", try, n)
					}
					if got, want := w.body.String(), strings.Repeat(part, tt.before+tt.after); got != want {
						t.Errorf("try %d: the client got %q, want %q", try, got, want)
					}
				}
			})
		}
	}
}

// writerKey is the context's key for the ResponseWriter behind the mirror's.
type writerKey struct{}

var _ http.Flusher = (*fragileWriter)(nil)
