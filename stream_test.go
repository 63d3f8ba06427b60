package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

func streamTo(t *testing.T, url string, next http.Handler, limit int) http.Handler {
	t.Helper()
	return mirrorTo(t, url, next, func(c *Config) {
		c.set("bodyMode", "stream")
		c.set("maxBodySize", strconv.Itoa(limit))
		c.set("maxInFlight", "1")
	})
}

// A retry or buffering middleware hands on a wrapped body where there is none,
// which nobody reads.
func TestStreamMirrorsRequestsWhoseMissingBodyIsWrapped(t *testing.T) {
	shadow := startUpstream(t)
	h := streamTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusAccepted) }), 1000)
	for i := 1; i <= 3; i++ {
		req := httptest.NewRequest(http.MethodGet, "/invoices", nil)
		req.Body = io.NopCloser(http.NoBody)
		if rec := serve(h, req); rec.Code != http.StatusAccepted {
			t.Fatalf("the client got %d, want live's 202", rec.Code)
		}
		shadow.wait(t, i)
		m := settled(t, t.Name())
		if n := m.counts.incomplete.Load(); n != 0 {
			t.Fatalf("%d counted as not read to their end, want none", n)
		}
	}
}

// A client that waits for live to have the first line before it sends the next.
func TestStreamReachesLiveBeforeTheClientGoesOn(t *testing.T) {
	for _, length := range []int64{-1, 3 * 14} {
		streamLineByLine(t, length)
	}
}

func streamLineByLine(t *testing.T, length int64) {
	t.Helper()
	shadow := startUpstream(t)
	arrived := make(chan string)
	h := streamTo(t, shadow.URL, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		buf := make([]byte, 100)
		for {
			n, err := req.Body.Read(buf)
			if n > 0 {
				arrived <- string(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}), 1000)
	r, w := io.Pipe()
	req := postInvoice()
	req.ContentLength = length
	req.Body = r
	served := make(chan bool)
	go serveThenTell(h, req, served)
	want := ""
	for i := 0; i < 3; i++ {
		line := fmt.Sprintf(`{"invoice":%d}`, i) + "\n"
		want += line
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		if got := <-arrived; got != line {
			t.Fatalf("live got %q, want %q before anything else was sent", got, line)
		}
	}
	w.Close()
	<-served
	if got := shadow.wait(t, 1)[0]; got.body != want || got.length != int64(len(want)) {
		t.Errorf("shadow got %q with length %d, want %q with its length", got.body, got.length, want)
	}
	settled(t, t.Name())
}

func serveThenTell(h http.Handler, req *http.Request, served chan bool) {
	h.ServeHTTP(httptest.NewRecorder(), req)
	served <- true
}

func TestStreamedCopyIsTheOriginal(t *testing.T) {
	const limit = ownBody + 1000 // on both sides of what counts as small
	shadow := startUpstream(t)
	h := streamTo(t, shadow.URL, echoLive, limit)
	mirrored, large := 0, 0
	for _, size := range []int{0, 1, 2, 511, 512, 513, 4096, ownBody, ownBody + 1, limit - 1, limit, limit + 1, 3 * limit} {
		for _, chunk := range []int{1, 7, 1000, limit} {
			if size/chunk > 3000 {
				continue // takes long
			}
			for _, known := range []bool{true, false} {
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(rand.IntN(256))
				}
				req := postInvoice()
				req.ContentLength = int64(size)
				if !known {
					req.ContentLength = -1
				}
				req.Body = io.NopCloser(&chunks{data: data, size: chunk})
				if rec := serve(h, req); !bytes.Equal(rec.Body.Bytes(), data) {
					t.Fatalf("size %d in chunks of %d: live did not get the client's bytes", size, chunk)
				}
				if size > limit {
					large++
					settled(t, t.Name())
					continue
				}
				mirrored++
				if got := shadow.wait(t, mirrored)[mirrored-1]; got.body != string(data) {
					t.Fatalf("size %d in chunks of %d, known length %v: shadow got %d other bytes", size, chunk, known, len(got.body))
				}
				settled(t, t.Name())
			}
		}
	}
	m := settled(t, t.Name())
	if n := m.counts.large.Load(); n != int64(large) || len(shadow.snapshot()) != mirrored {
		t.Errorf("%d counted as too large, %d at the shadow; want %d and %d", n, len(shadow.snapshot()), large, mirrored)
	}
}

// chunks is a body that arrives in pieces, and then in err or at its end.
type chunks struct {
	data []byte
	size int
	err  error
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		return 0, io.EOF
	}
	n := c.size
	if n > len(p) {
		n = len(p)
	}
	n = copy(p[:n], c.data)
	c.data = c.data[n:]
	return n, nil
}

func TestStreamThatDoesNotReachItsEndIsNotMirrored(t *testing.T) {
	tests := []struct {
		name   string
		length int64
		live   func(http.ResponseWriter, *http.Request)
		err    error
	}{
		{"client aborts, length known", 1000, nil, io.ErrUnexpectedEOF},
		{"client aborts, chunked", -1, nil, errors.New("connection reset")},
		{"live answers early, length known", int64(len(invoice)), func(rw http.ResponseWriter, req *http.Request) {
			io.ReadFull(req.Body, make([]byte, len(invoice)-1))
			rw.WriteHeader(http.StatusRequestEntityTooLarge)
		}, nil},
		{"live answers early, chunked", -1, func(rw http.ResponseWriter, req *http.Request) {
			rw.WriteHeader(http.StatusUnauthorized)
		}, nil},
		{"live panics, length known", int64(len(invoice)), func(rw http.ResponseWriter, req *http.Request) { panic("live") }, nil},
		{"live panics, chunked", -1, func(rw http.ResponseWriter, req *http.Request) { panic("live") }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			live := http.Handler(echoLive)
			if tt.live != nil {
				live = http.HandlerFunc(tt.live)
			}
			h := streamTo(t, shadow.URL, live, 1000)
			req := postInvoice()
			req.ContentLength = tt.length
			req.Body = io.NopCloser(&chunks{data: []byte(invoice), size: 10, err: tt.err})
			serveWhatever(h, req)
			m := settled(t, t.Name())
			if n := len(shadow.snapshot()); n != 0 || m.counts.incomplete.Load() != 1 {
				t.Errorf("shadow got %d requests, %d counted as incomplete; want 0 and 1", n, m.counts.incomplete.Load())
			}
		})
	}
}

func serveWhatever(h http.Handler, req *http.Request) {
	defer func() { recover() }()
	h.ServeHTTP(httptest.NewRecorder(), req)
}

// Not everything that reads a body of known length asks whether there is more.
func TestStreamIsCompleteWithItsLastByte(t *testing.T) {
	shadow := startUpstream(t)
	h := streamTo(t, shadow.URL, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		io.ReadFull(req.Body, make([]byte, len(invoice)))
	}), 1000)
	serve(h, postInvoice())
	if got := shadow.wait(t, 1)[0]; got.body != invoice {
		t.Errorf("shadow got %q, want the invoice", got.body)
	}
}

// A middleware before this one may hand on more than the length says. Live gets it, as
// it would without the mirror; the copy has the length that it announces.
func TestStreamedSmallBodyIsNoLongerThanAnnounced(t *testing.T) {
	shadow := startUpstream(t)
	h := streamTo(t, shadow.URL, echoLive, 1000)
	req := postInvoice()
	req.Body = io.NopCloser(&chunks{data: []byte(invoice + "surplus"), size: 5})
	if rec := serve(h, req); rec.Body.String() != invoice+"surplus" {
		t.Errorf("live got %q, want all", rec.Body)
	}
	if got := shadow.wait(t, 1)[0]; got.body != invoice || got.length != int64(len(invoice)) {
		t.Errorf("shadow got %q with length %d, want the invoice", got.body, got.length)
	}
	settled(t, t.Name())
}

func TestStreamLeavesLiveItsFraming(t *testing.T) {
	shadow := startUpstream(t)
	h := streamTo(t, shadow.URL, called(t, 1, func(_ http.ResponseWriter, req *http.Request) {
		if req.ContentLength != -1 || len(req.TransferEncoding) != 1 || req.Header.Get("Content-Type") == "" {
			t.Errorf("live got length %d, encoding %q; want -1 and chunked as the client sent", req.ContentLength, req.TransferEncoding)
		}
		io.Copy(io.Discard, req.Body)
	}), 1000)
	req := postInvoice()
	req.ContentLength = -1
	req.TransferEncoding = []string{"chunked"}
	req.Header.Set("Content-Type", "application/grpc+proto")
	serve(h, req)
	if got := shadow.wait(t, 1)[0]; got.body != invoice {
		t.Errorf("shadow got %q, want the call's messages", got.body)
	}
}

func TestStreamedRequestWithoutABody(t *testing.T) {
	shadow := startUpstream(t)
	h := streamTo(t, shadow.URL, echoLive, 1000)
	serve(h, httptest.NewRequest("GET", "/invoices/7", nil))
	if got := shadow.wait(t, 1)[0]; got.method != "GET" || got.length != 0 {
		t.Errorf("shadow got %s with length %d", got.method, got.length)
	}
}

func TestStreamWithNoPlaceInFlightIsNotCopied(t *testing.T) {
	shadow := startUpstream(t)
	shadow.hang(t)
	var second io.ReadCloser
	h := streamTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if second != nil && req.Body != second {
			t.Errorf("the body of a request that is not mirrored was replaced")
		}
		echoLive(rw, req)
	}), 1000)
	serve(h, postInvoice())
	shadow.wait(t, 1)
	req := postInvoice()
	second = req.Body
	if rec := serve(h, req); !strings.Contains(rec.Body.String(), "2026-0042") {
		t.Errorf("client got %q, want live's answer", rec.Body)
	}
}

// A copy that is dropped as too large takes the pair with it: nobody will ask for
// live's answer, so it need not be kept.
func TestTooLargeCopySettlesItsPair(t *testing.T) {
	comparingTo(t, "http://billing-next:8080", echoLive, func(c *Config) { c.set("bodyMode", "stream") })
	shared := mirrorCalled(t, t.Name())
	m := &middleware{next: echoLive, shadow: shared.shadow, maxBodySize: 10, compareShare: 1}
	p := newPair(shared.shadow.rules, postInvoice())
	shared.inFlight.Add(1)
	c := &bodyCopy{m: m, out: postInvoice(), buf: bytes.NewBufferString(invoice), pair: p}
	c.decide()
	if !p.settled.Load() || shared.inFlight.Load() != 0 {
		t.Errorf("settled %t with %d in flight, want it settled and none", p.settled.Load(), shared.inFlight.Load())
	}
}
