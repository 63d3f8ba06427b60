package mirror

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fragileWriter is what Traefik's compress hands the mirror: a ResponseWriter
// for one goroutine at a time, whose Flush changes the header map. It notes each
// use that another one overlaps, which in Traefik ends the process ("concurrent
// map writes").
type fragileWriter struct {
	header  http.Header
	body    strings.Builder
	status  int
	flushes int

	inUse    atomic.Int64
	overlaps atomic.Int64
}

func (w *fragileWriter) enter() {
	if w.inUse.Add(1) > 1 {
		w.overlaps.Add(1)
	}
}

func (w *fragileWriter) leave() { w.inUse.Add(-1) }

func (w *fragileWriter) Header() http.Header { return w.header }

func (w *fragileWriter) WriteHeader(status int) {
	w.enter()
	w.status = status
	w.leave()
}

func (w *fragileWriter) Write(b []byte) (int, error) {
	w.enter()
	time.Sleep(testFlushDelay) // so that a flush that does not wait for its end meets it
	w.body.Write(b)
	w.leave()
	return len(b), nil
}

func (w *fragileWriter) Flush() {
	w.enter()
	w.flushes++
	w.header.Del("Content-Length")
	w.header.Set("Content-Encoding", "br")
	w.header.Add("Vary", "Accept-Encoding")
	time.Sleep(testFlushDelay)
	w.leave()
}

// hold is how long live has the header map in hand in these tests: long enough for
// each flush that is on its way to come meanwhile.
const hold = 10 * testFlushDelay

// testFlushDelay takes flushDelay's place in these tests.
const testFlushDelay = time.Millisecond

// flushSoon has late flushes come after testFlushDelay until the test ends.
func flushSoon(t *testing.T) {
	before := flushDelay
	flushDelay = testFlushDelay
	t.Cleanup(func() { flushDelay = before })
}

// useHeader is live that sets trailers: it asks for the header map, and changes it
// for a while.
func (w *fragileWriter) useHeader(rw http.ResponseWriter) {
	h := rw.Header()
	w.enter()
	for end := time.Now().Add(hold); time.Now().Before(end); time.Sleep(testFlushDelay / 2) {
		h.Set(http.TrailerPrefix+"X-Checksum", "9f86d081")
	}
	w.leave()
}

// While live has the header map in hand, and while it writes, nothing of the mirror
// touches the client's ResponseWriter: it need not be safe for concurrent use, and
// an unlucky flush would end Traefik.
//
// Interpreted, a flush does not reach a ResponseWriter that is interpreted too, so
// there this shows the other calls only; e2e/interpreted has a compiled one.
func TestNothingTouchesTheWriterWhileLiveDoes(t *testing.T) {
	flushSoon(t)
	const half = "2026-0042;119.00\n"
	length := strconv.Itoa(2 * len(half))
	tests := []struct {
		name string
		live func(w *fragileWriter, rw http.ResponseWriter)
		want string
	}{
		{"trailers after all of a known length", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", length)
			rw.WriteHeader(http.StatusOK)
			io.WriteString(rw, half)
			io.WriteString(rw, half) // a write takes testFlushDelay: they are as far apart as that
			w.useHeader(rw)
		}, half + half},
		{"trailers in the middle of a known length", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", length)
			rw.WriteHeader(http.StatusOK)
			io.WriteString(rw, half)
			w.useHeader(rw)
			io.WriteString(rw, half)
		}, half + half},
		{"a map that is kept while more is written", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", length)
			rw.WriteHeader(http.StatusOK)
			h := rw.Header()
			io.WriteString(rw, half)
			w.enter()
			for end := time.Now().Add(hold); time.Now().Before(end); time.Sleep(testFlushDelay / 2) {
				h.Set(http.TrailerPrefix+"X-Checksum", "9f86d081")
			}
			w.leave()
			io.WriteString(rw, half)
		}, half + half},
		{"trailers after a head alone", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", length)
			rw.WriteHeader(http.StatusOK)
			w.useHeader(rw)
			io.WriteString(rw, half+half)
		}, half + half},
		{"trailers of an answer of unknown length that was made here", func(w *fragileWriter, rw http.ResponseWriter) {
			io.WriteString(rw, half)
			w.useHeader(rw)
			io.WriteString(rw, half)
		}, half + half},
		{"trailers of an answer of unknown length that a server sent", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Date", "Fri, 27 Nov 2026 20:15:00 GMT")
			rw.WriteHeader(http.StatusOK)
			w.useHeader(rw)
			io.WriteString(rw, half+half)
		}, half + half},
		{"trailers of server-sent events", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Content-Type", "text/event-stream")
			rw.WriteHeader(http.StatusOK)
			io.WriteString(rw, "data: 2026-0042\n\n")
			w.useHeader(rw)
			io.WriteString(rw, "data: 2026-0043\n\n")
		}, "data: 2026-0042\n\ndata: 2026-0043\n\n"},
		{"many small parts", func(w *fragileWriter, rw http.ResponseWriter) {
			rw.Header().Set("Content-Length", strconv.Itoa(40*len(half)))
			for i := 0; i < 40; i++ {
				io.WriteString(rw, half)
				time.Sleep(testFlushDelay * time.Duration(i%3) / 2)
			}
			w.useHeader(rw)
		}, strings.Repeat(half, 40)},
	}
	modes := []struct {
		name string
		set  func(*Config)
	}{
		{"buffer", nil},
		{"stream", func(c *Config) { c.set("bodyMode", "stream") }},
	}
	for _, tt := range tests {
		for _, mode := range modes {
			t.Run(tt.name+"/"+mode.name, func(t *testing.T) {
				shadow := startUpstream(t)
				var w *fragileWriter
				h := comparingTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
					io.Copy(io.Discard, req.Body)
					tt.live(w, rw)
				}), mode.set)
				// More than once, for where a flush falls is a matter of chance.
				for i := 0; i < 5; i++ {
					w = &fragileWriter{header: http.Header{}}
					h.ServeHTTP(w, postInvoice())
					// What comes late comes after the answer, too.
					w.enter()
					time.Sleep(hold)
					w.leave()
					if n := w.overlaps.Load(); n != 0 {
						t.Errorf("try %d: the writer was used %d times while live was using it", i, n)
					}
					if got := w.body.String(); got != tt.want {
						t.Errorf("try %d: the client got %q, want %q", i, got, tt.want)
					}
				}
				settled(t, t.Name())
			})
		}
	}
}

// A part that live does not follow up reaches the client all the same, whatever
// keeps a late flush from happening at a bad time.
func TestPartIsFlushedWhileLiveIsSilent(t *testing.T) {
	shadow := startUpstream(t)
	asked := make(chan bool)
	live := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", strconv.Itoa(len(invoice)))
		io.WriteString(rw, invoice[:10])
		<-asked
		io.WriteString(rw, invoice[10:])
	})
	res, err := http.Get("http://" + front(t, comparingTo(t, shadow.URL, live, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	part := make([]byte, 10)
	_, err = io.ReadFull(res.Body, part)
	close(asked)
	rest, _ := io.ReadAll(res.Body)
	if err != nil || string(part)+string(rest) != invoice {
		t.Errorf("the client got %q, then %q, and %v; want the invoice", part, rest, err)
	}
}
