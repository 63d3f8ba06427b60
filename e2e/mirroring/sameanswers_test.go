package mirroring

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// flushTime is what Traefik's proxy lets a part of an answer of known length wait for
// more, and a head for a body. What is over before that has met no such flush.
const flushTime = 100 * time.Millisecond

// heardTime is how long live waits for the client to have what it has sent so far,
// where the client may not get it before there is more.
const heardTime = time.Second

// A part is a way of live's to wait before it goes on with an answer.
type part func(rw http.ResponseWriter, heard <-chan struct{}) (wasHeard bool)

// pausing flushes and waits.
func pausing(d time.Duration) part {
	return func(rw http.ResponseWriter, _ <-chan struct{}) bool {
		http.NewResponseController(rw).Flush()
		time.Sleep(d)
		return true
	}
}

// untilHeard flushes and waits until the client has the head, or heardTime where it
// does not get it, and no less than d.
func untilHeard(d time.Duration) part {
	return func(rw http.ResponseWriter, heard <-chan struct{}) bool {
		http.NewResponseController(rw).Flush()
		time.Sleep(d)
		select {
		case <-heard:
			return true
		case <-time.After(heardTime):
			return false
		}
	}
}

// A shape is a form that an answer of live's has.
type shape struct {
	name   string
	method string // "": GET
	header http.Header
	answer func(rw http.ResponseWriter, next func(part))

	// quick is for an answer whose shape depends on whether it is over within
	// flushTime: one that was not is asked for again.
	quick bool

	// unframed is for an answer that gets a length where Traefik's proxy ends before it
	// has flushed the head, with a mirror or without.
	unframed bool
}

func shapes() []shape {
	line := "2026-0042;Meyer & Soehne;119.00\r\n"
	small := strings.Repeat(line, 20)[:600]
	large := testbed.Payload(3 << 20)
	known := func(rw http.ResponseWriter, n int) {
		rw.Header().Set("Content-Type", "text/csv")
		rw.Header().Set("Content-Length", strconv.Itoa(n))
	}
	inTwo := func(body string, known bool, pause part) func(http.ResponseWriter, func(part)) {
		return func(rw http.ResponseWriter, next func(part)) {
			rw.Header().Set("Content-Type", "text/csv")
			if known {
				rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			io.WriteString(rw, body[:len(body)/2])
			next(pause)
			io.WriteString(rw, body[len(body)/2:])
		}
	}
	headFirst := func(body string, known bool, pause part) func(http.ResponseWriter, func(part)) {
		return func(rw http.ResponseWriter, next func(part)) {
			rw.Header().Set("Content-Type", "text/csv")
			if known {
				rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			rw.WriteHeader(http.StatusOK)
			next(pause)
			io.WriteString(rw, body)
		}
	}
	status := func(status int, header ...string) func(http.ResponseWriter, func(part)) {
		return func(rw http.ResponseWriter, _ func(part)) {
			for i := 0; i < len(header); i += 2 {
				rw.Header().Set(header[i], header[i+1])
			}
			rw.WriteHeader(status)
		}
	}
	events := func(rw http.ResponseWriter, next func(part)) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(rw, "data: invoice %d\n\n", i)
			next(untilHeard(0))
		}
	}
	return []shape{
		{name: "in one part", quick: true, answer: func(rw http.ResponseWriter, _ func(part)) {
			known(rw, len(small))
			io.WriteString(rw, small)
		}},
		{name: "in two parts, 30 ms apart", quick: true, answer: inTwo(small, true, pausing(30*time.Millisecond))},
		{name: "in two parts, 5 ms apart", quick: true, answer: inTwo(small, true, pausing(5*time.Millisecond))},
		{name: "in two large parts, 30 ms apart", quick: true, answer: inTwo(large[:4000], true, pausing(30*time.Millisecond))},
		{name: "in two parts, the first heard", answer: inTwo(small, true, untilHeard(0))},
		{name: "in two large parts, the first heard", answer: inTwo(large[:4000], true, untilHeard(0))},
		{name: "of unknown length, in one part", quick: true, answer: func(rw http.ResponseWriter, _ func(part)) {
			rw.Header().Set("Content-Type", "text/csv")
			io.WriteString(rw, large[:4000])
		}},
		{name: "of unknown length, in two parts, 30 ms apart", answer: inTwo(small, false, pausing(30*time.Millisecond))},
		{name: "of unknown length, in two parts, the first heard", answer: inTwo(small, false, untilHeard(0))},
		{name: "of unknown length, in two large parts, the first heard", answer: inTwo(large[:4000], false, untilHeard(0))},
		{name: "the head, and the body 50 ms later", quick: true, answer: headFirst(small, true, pausing(50*time.Millisecond))},
		{name: "the head, and the body 300 ms later", answer: headFirst(small, true, untilHeard(300*time.Millisecond))},
		{name: "the head, and a large body 300 ms later", answer: headFirst(large[:4000], true, untilHeard(300*time.Millisecond))},
		{name: "the head, and a body of unknown length 50 ms later", answer: headFirst(small, false, pausing(50*time.Millisecond))},
		{name: "the head, and a body of unknown length 300 ms later", answer: headFirst(small, false, untilHeard(300*time.Millisecond))},
		{name: "large", answer: func(rw http.ResponseWriter, _ func(part)) {
			known(rw, len(large))
			io.WriteString(rw, large)
		}},
		{name: "large, of unknown length", answer: func(rw http.ResponseWriter, _ func(part)) {
			rw.Header().Set("Content-Type", "text/csv")
			io.WriteString(rw, large)
		}},
		{name: "events", header: http.Header{"Accept": {"text/event-stream"}}, answer: events},
		{name: "events, unasked", answer: events},
		{name: "304", header: http.Header{"If-None-Match": {`"ab12"`}}, quick: true, answer: status(http.StatusNotModified, "Etag", `"ab12"`)},
		{name: "204", method: http.MethodDelete, quick: true, answer: status(http.StatusNoContent)},
		{name: "HEAD", method: http.MethodHead, quick: true, answer: status(http.StatusOK, "Content-Type", "text/csv", "Content-Length", "600")},
		{name: "HEAD of unknown length", unframed: true, method: http.MethodHead, quick: true, answer: status(http.StatusOK, "Content-Type", "text/csv")},
		{name: "a 500", quick: true, answer: status(http.StatusInternalServerError, "Content-Length", "0")},
		{name: "trailers, announced", answer: func(rw http.ResponseWriter, next func(part)) {
			rw.Header().Set("Trailer", "X-Checksum, X-Signature")
			inTwo(small, false, pausing(5*time.Millisecond))(rw, next)
			rw.Header().Set("X-Checksum", "9f86d081")
			rw.Header().Set("X-Signature", "ab12")
		}},
		{name: "trailers, unannounced", answer: func(rw http.ResponseWriter, next func(part)) {
			inTwo(small, false, pausing(5*time.Millisecond))(rw, next)
			rw.Header().Set(http.TrailerPrefix+"X-Checksum", "9f86d081")
		}},
		{name: "early hints", quick: true, answer: func(rw http.ResponseWriter, next func(part)) {
			rw.Header().Set("Link", "</invoices.css>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			rw.Header().Del("Link")
			inTwo(small, true, pausing(5*time.Millisecond))(rw, next)
		}},
	}
}

// A stage answers in the shapes that requests name, and knows how the answers went.
type stage struct {
	shapes []shape

	mu    sync.Mutex
	heard map[string]chan struct{} // by the request's id: the client has begun to get the answer
	early map[string]bool          // by the request's id: it had whenever live waited for it
}

func (s *stage) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	n, _ := strconv.Atoi(req.URL.Query().Get("shape"))
	id := req.URL.Query().Get("id")
	s.mu.Lock()
	heard := s.heard[id]
	s.early[id] = true
	s.mu.Unlock()
	s.shapes[n].answer(rw, func(p part) {
		if !p(rw, heard) {
			s.mu.Lock()
			s.early[id] = false
			s.mu.Unlock()
		}
	})
}

// attend expects the request with the id, and returns the function that says that its
// client has begun to get the answer.
func (s *stage) attend(id string) (begun func()) {
	heard := make(chan struct{})
	s.mu.Lock()
	s.heard[id] = heard
	s.mu.Unlock()
	return sync.OnceFunc(func() { close(heard) })
}

func (s *stage) wasEarly(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.early[id]
}

// inProtocols is a configuration of routers without a mirror and with one that compares,
// in each of comparingModes, alone and behind Traefik's compress. Their hosts are named
// after them: plain-alone, buffer-alone-compress.
func inProtocols(live, shadow string) testbed.Dynamic {
	d := testbed.Dynamic{}.Service("billing", live).Middleware("compress", "compress", testbed.Values{})
	for _, behind := range [][]string{nil, {"compress"}} {
		at := strings.Join(append([]string{"alone"}, behind...), "-")
		d.Router("plain-"+at, testbed.HostRule("plain-"+at+".example.com"), "billing", behind...)
		for mode, options := range comparingModes {
			name := mode + "-" + at
			values := with(options, "url", shadow)
			values["compare"] = testbed.Values{}
			values["maxPause"] = "0"
			d.Mirror(name, values).Router(name, testbed.HostRule(name+".example.com"), "billing", append(behind[:len(behind):len(behind)], name)...)
		}
	}
	return d
}

// Whatever shape live's answer has, and however it comes, a client gets the same from
// a router that has answers compared as from one without, and as early: by every
// protocol, and behind Traefik's compress, which changes what it sends when it is
// flushed.
func TestSameAnswersByEveryProtocol(t *testing.T) {
	s := &stage{shapes: shapes(), heard: map[string]chan struct{}{}, early: map[string]bool{}}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: s})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	traefik := testbed.MustServe(t, withHTTP3(testbed.Options{LogLevel: "ERROR", Dynamic: inProtocols(live.URL(), shadow.URL())}))
	for _, p := range clientProtocols() {
		for _, at := range []string{"alone", "alone-compress"} {
			t.Run(p.name+"/"+at, func(t *testing.T) {
				t.Parallel() // they wait most of the time
				transport := p.openTransport(t, traefik)
				for n, test := range s.shapes {
					t.Run(test.name, func(t *testing.T) {
						ask := func(mode string) (got received, early bool) {
							t.Helper()
							testbed.Eventually(t, patience, func() error {
								id := strconv.FormatInt(probes.Add(1), 10)
								req := p.request(t, traefik, test.method, fmt.Sprintf("/invoices?shape=%d&id=%s", n, id), mode+"-"+at+".example.com", test.header)
								began := time.Now()
								var err error
								if got, err = p.receive(testbed.Within(t, patience), transport, req, test.unframed, s.attend(id)); err != nil {
									t.Fatalf("%s: %v", mode, err)
								}
								// A machine that stops for a moment makes another shape of it.
								if took := time.Since(began); test.quick && took >= flushTime {
									return fmt.Errorf("the exchange takes %s, too long to tell anything", took)
								}
								early = s.wasEarly(id)
								return nil
							})
							return got, early
						}
						want, wantEarly := ask("plain")
						for mode := range comparingModes {
							got, early := ask(mode)
							if got != want {
								t.Errorf("%s: answer\n%s\nwant\n%s", mode, got, want)
							}
							if early != wantEarly {
								t.Errorf("%s: the client had what live had sent before there was more: %t, want %t", mode, early, wantEarly)
							}
						}
					})
				}
			})
		}
	}
}

// request makes a request of a client that takes brotli.
func (p protocol) request(t *testing.T, traefik *testbed.Traefik, method, target, host string, header http.Header) *http.Request {
	t.Helper()
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), method, p.url(traefik, target), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("Accept-Encoding", "br")
	return req
}
