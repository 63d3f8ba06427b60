package mirror

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// comparingTo is mirrorTo with compare on.
func comparingTo(t *testing.T, url string, next http.Handler, set func(*Config)) http.Handler {
	t.Helper()
	return mirrorTo(t, url, next, func(c *Config) {
		c.set("compare.show", "values")
		if set != nil {
			set(c)
		}
	})
}

// proxyTo is what Traefik has behind a middleware: the standard library's
// reverse proxy, flushing at intervals.
func proxyTo(t *testing.T, upstream string) http.Handler {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(u)
	p.FlushInterval = 100 * time.Millisecond
	return p
}

// front serves the handler on a port of its own.
func front(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// exchangeRaw sends the bytes and returns all that comes back until the
// connection is closed, dates apart.
func exchangeRaw(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, request)
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%.60q: %v after %q", request, err, all)
	}
	return unchunked(t, dates.ReplaceAllString(string(all), ""))
}

// unchunked is the answer without what chunks it came in, which is a matter of
// chance.
func unchunked(t *testing.T, answer string) string {
	t.Helper()
	head, rest, _ := strings.Cut(answer, "\r\n\r\n")
	if strings.HasPrefix(head, "HTTP/1.1 1") {
		return head + "\r\n\r\n" + unchunked(t, rest)
	}
	if !strings.Contains(head, "Transfer-Encoding: chunked") {
		return answer
	}
	r := bufio.NewReader(strings.NewReader(rest))
	body, err := io.ReadAll(httputil.NewChunkedReader(r))
	if err != nil {
		t.Fatalf("%v in %q", err, rest)
	}
	trailer, _ := io.ReadAll(r)
	return head + "\r\n\r\n" + string(body) + "\r\ntrailer: " + string(trailer)
}

var dates = regexp.MustCompile("Date: [^\r]*\r\n")

// outcomes waits until n pairs were judged and returns what became of them.
func outcomes(t *testing.T, name string, n int64) *compare.Snapshot {
	t.Helper()
	m := mirrorCalled(t, name)
	var s *compare.Snapshot
	eventually(t, "pairs that are judged", func() bool {
		s = m.verdict.Snapshot()
		return s.Totals.Outcomes[compare.Match]+s.Totals.Outcomes[compare.Mismatch]+s.Totals.Outcomes[compare.Skipped] >= n
	})
	return s
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, text)
	w.Close()
	return b.String()
}

// A client gets the same bytes whether or not live's answer is recorded.
func TestClientCannotTellThatAnswersAreRecorded(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: billing\r\nConnection: close\r\n\r\n"
	long := strings.Repeat("2026-0042;119.00\n", 20000)
	tests := []struct {
		name    string
		request string
		answer  func(http.ResponseWriter, *http.Request)
		want    string // outcome, and reason
	}{
		{"a length", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			io.WriteString(rw, invoice)
		}, "match"},
		{"nothing", get, func(rw http.ResponseWriter, _ *http.Request) {}, "match"},
		{"chunks", get, func(rw http.ResponseWriter, _ *http.Request) {
			for i := 0; i < 3; i++ {
				fmt.Fprintf(rw, `{"invoice":%d}`, i)
				rw.(http.Flusher).Flush()
			}
		}, "match"},
		{"large", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", fmt.Sprint(len(long)))
			io.WriteString(rw, long)
		}, "match"},
		{"large in chunks", get, func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, long) }, "match"},
		{"trailers", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Trailer", "X-Checksum")
			io.WriteString(rw, invoice)
			rw.Header().Set("X-Checksum", "9f86d081")
		}, "match"},
		{"trailers that are not announced", get, func(rw http.ResponseWriter, _ *http.Request) {
			io.WriteString(rw, invoice)
			rw.(http.Flusher).Flush()
			rw.Header().Set(http.TrailerPrefix+"X-Checksum", "9f86d081")
		}, "match"},
		{"trailers without a body", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Trailer", "X-Checksum")
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			rw.Header().Set("X-Checksum", "9f86d081")
		}, "match"},
		{"trailers that are not announced, without a body", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			rw.Header().Set(http.TrailerPrefix+"X-Checksum", "9f86d081")
		}, "match"},
		{"early hints", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Link", "</style.css>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			rw.Header().Del("Link")
			rw.Header().Set("Content-Length", "2")
			io.WriteString(rw, "ok")
		}, "match"},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: billing\r\nConnection: close\r\n\r\n", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "4711")
		}, "match"},
		{"HEAD that writes a body", "HEAD / HTTP/1.1\r\nHost: billing\r\nConnection: close\r\n\r\n", func(rw http.ResponseWriter, _ *http.Request) {
			io.WriteString(rw, invoice)
		}, "match"},
		{"204", get, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) }, "match"},
		{"204 with a length, which it must not have", get, func(rw http.ResponseWriter, _ *http.Request) {
			conn, _, err := rw.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
			conn.Close()
		}, "match"},
		{"304", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Etag", `"ab12"`)
			rw.WriteHeader(http.StatusNotModified)
		}, "match"},
		{"a range", "GET / HTTP/1.1\r\nHost: billing\r\nRange: bytes=3-9\r\nConnection: close\r\n\r\n", func(rw http.ResponseWriter, req *http.Request) {
			http.ServeContent(rw, req, "invoice.json", time.Unix(1790000000, 0), strings.NewReader(invoice))
		}, "match"},
		{"compressed", "GET / HTTP/1.1\r\nHost: billing\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			rw.Header().Set("Content-Type", "application/json")
			io.WriteString(rw, zipped(invoice))
		}, "match"},
		{"many headers", get, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Add("Set-Cookie", "a=1")
			rw.Header().Add("Set-Cookie", "b=2")
			rw.Header()["X-Ledger"] = []string{"", "north"}
			rw.WriteHeader(http.StatusTeapot)
		}, "match"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, long) }, "match"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			live := httptest.NewServer(http.HandlerFunc(test.answer))
			defer live.Close()
			plain := front(t, proxyTo(t, live.URL))
			recorded := front(t, comparingTo(t, live.URL, proxyTo(t, live.URL), nil))
			want := exchangeRaw(t, plain, test.request)
			got := exchangeRaw(t, recorded, test.request)
			if got != want {
				t.Errorf("recorded, the client gets\n%.600q\nand otherwise\n%.600q", got, want)
			}
			s := outcomes(t, t.Name(), 1)
			if s.Totals.Outcomes[compare.Match] != 1 && test.want == "match" || test.want != "match" && s.Totals.Skipped[strings.TrimPrefix(test.want, "skipped")] != 1 {
				t.Errorf("outcomes %v, skipped %v, want one %s; %+v", s.Totals.Outcomes, s.Totals.Skipped, test.want, s.Account.Differences)
			}
		})
	}
}

// What live writes reaches the client before live writes more.
func TestRecordedAnswersFlow(t *testing.T) {
	tests := []struct {
		name, kind, accept string
		length             bool
	}{
		{"server-sent events", "text/event-stream", "", false},
		{"server-sent events that were asked for", "text/event-stream", "text/event-stream", false},
		{"chunks", "application/x-ndjson", "", false},
		{"a known length", "application/json", "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			step := make(chan bool)
			live := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				rw.Header().Set("Content-Type", test.kind)
				if test.length {
					rw.Header().Set("Content-Length", "33")
				}
				rw.WriteHeader(http.StatusOK)
				rw.(http.Flusher).Flush()
				for i := 0; i < 3; i++ {
					if req.Header.Get(markerHeader) == "" {
						<-step
					}
					fmt.Fprintf(rw, "data: %02d\n\n\n", i)
					rw.(http.Flusher).Flush()
				}
			}))
			defer live.Close()
			defer close(step) // or live would never end, should the test have to
			addr := front(t, comparingTo(t, live.URL, proxyTo(t, live.URL), nil))
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			accept := ""
			if test.accept != "" {
				accept = "Accept: " + test.accept + "\r\n"
			}
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: billing\r\n"+accept+"\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no head before the first event: %v", err)
			}
			event := make([]byte, 11)
			for i := 0; i < 3; i++ {
				step <- true
				if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != fmt.Sprintf("data: %02d\n\n\n", i) {
					t.Fatalf("event %d: %q and %v, before live went on", i, event, err)
				}
			}
			s := outcomes(t, t.Name(), 1)
			if stream := test.kind == "text/event-stream"; stream != (s.Totals.Skipped[compare.Stream] == 1) || stream == (s.Totals.Outcomes[compare.Match] == 1) {
				t.Errorf("outcomes %v, skipped %v", s.Totals.Outcomes, s.Totals.Skipped)
			}
		})
	}
}

// What a handler in this Traefik answers is not flushed, and so has a length; what
// a server sends without one comes in chunks.
func TestAnswersMadeHereKeepTheirLength(t *testing.T) {
	shadow := startUpstream(t)
	tests := []struct {
		name string
		date []string
		want int64
	}{
		{"made here", nil, int64(len("Bad Gateway"))},
		{"sent by a server", []string{"Mon, 01 Jan 2024 00:00:00 GMT"}, -1},
	}
	for _, test := range tests {
		live := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if test.date != nil {
				rw.Header()["Date"] = test.date
			}
			rw.WriteHeader(http.StatusBadGateway)
			io.WriteString(rw, "Bad Gateway")
		})
		url := "http://" + front(t, comparingTo(t, shadow.URL, live, nil))
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if length := res.ContentLength; length != test.want {
			t.Errorf("%s: length %d, want %d", test.name, length, test.want)
		}
	}
}

func TestAnswersThatDoNotEndAreNotCompared(t *testing.T) {
	shadow := startUpstream(t)
	tests := []struct {
		name, want string
		live       func(http.ResponseWriter, *http.Request)
	}{
		{"live panics", compare.LiveBroken, func(_ http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }},
		{"live falls short", compare.LiveBroken, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "50")
			io.WriteString(rw, "short")
		}},
		{"live is slower than the shadow may be", compare.LiveSlow, func(_ http.ResponseWriter, req *http.Request) { time.Sleep(600 * time.Millisecond) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := comparingTo(t, shadow.URL, http.HandlerFunc(test.live), func(c *Config) { c.set("timeout", "200ms") })
			func() {
				defer func() { recover() }()
				serve(h, postInvoice())
			}()
			if s := outcomes(t, t.Name(), 1); s.Totals.Skipped[test.want] != 1 {
				t.Errorf("outcomes %v, skipped %v, want one %s", s.Totals.Outcomes, s.Totals.Skipped, test.want)
			}
			settled(t, t.Name())
		})
	}
}

func TestAnswerToAClientThatLeftIsNotCompared(t *testing.T) {
	shadow := startUpstream(t)
	client, leave := context.WithCancel(context.Background())
	h := comparingTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		leave()
		rw.WriteHeader(499) // as Traefik's proxy does
	}), nil)
	serve(h, postInvoice().WithContext(client))
	if s := outcomes(t, t.Name(), 1); s.Totals.Skipped[compare.LiveBroken] != 1 {
		t.Errorf("outcomes %v, skipped %v, want one %s", s.Totals.Outcomes, s.Totals.Skipped, compare.LiveBroken)
	}
}

// A shadow that streams where live does not has not failed, and is not compared, with
// whatever was there before it.
func TestShadowThatStreamsIsNotCompared(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			shadow := startUpstreamOver(t, scheme)
			end := make(chan bool)
			defer close(end)
			length := strconv.Itoa(len(invoice))
			answer := func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				rw.Header().Set("Content-Length", length)
				rw.WriteHeader(http.StatusOK)
				io.WriteString(rw, invoice)
			}
			shadow.answer = answer
			h := comparingTo(t, shadow.URL, http.HandlerFunc(answer), func(c *Config) {
				c.set("timeout", "300ms")
				if scheme == "https" {
					c.set("tls.insecureSkipVerify", "true")
				}
			})
			serve(h, getInvoice())
			outcomes(t, t.Name(), 1)
			shadow.mu.Lock()
			shadow.answer = func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				rw.WriteHeader(http.StatusOK)
				http.NewResponseController(rw).Flush()
				<-end
			}
			shadow.mu.Unlock()
			serve(h, getInvoice())
			s := outcomes(t, t.Name(), 2)
			m := settled(t, t.Name())
			if s.Totals.Outcomes[compare.Match] != 1 || s.Totals.Skipped[compare.Stream] != 1 || m.counts.answers() != 2 {
				t.Errorf("outcomes %v, skipped %v, %d mirrored; want a match, one skipped as a stream, and both mirrored", s.Totals.Outcomes, s.Totals.Skipped, m.counts.answers())
			}
		})
	}
}

// Answers whose bodies are the same can still differ in a header.
func TestHeadersDifferThoughBodiesDoNot(t *testing.T) {
	tests := []struct {
		name, kind, region, want string
	}{
		{"the same", "application/json", "north", compare.Match},
		{"another region", "application/json", "south", compare.Mismatch},
		{"none", "application/json", "", compare.Mismatch},
		{"another type", "text/plain", "north", compare.Mismatch},
		{"the same type, written otherwise", "Application/JSON", "north", compare.Match},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shadow := startUpstream(t)
			answer := func(kind, region string) http.HandlerFunc {
				return func(rw http.ResponseWriter, _ *http.Request) {
					rw.Header().Set("Content-Type", kind)
					rw.Header().Set("Content-Length", strconv.Itoa(len(invoice)))
					if region != "" {
						rw.Header().Set("X-Region", region)
					}
					rw.WriteHeader(http.StatusOK)
					io.WriteString(rw, invoice)
				}
			}
			shadow.answer = answer(test.kind, test.region)
			h := comparingTo(t, shadow.URL, answer("application/json", "north"), func(c *Config) { c.set("compare.headers", "X-Region") })
			serve(h, getInvoice())
			if s := outcomes(t, t.Name(), 1); s.Totals.Outcomes[test.want] != 1 {
				t.Errorf("outcomes %v, want one %s", s.Totals.Outcomes, test.want)
			}
		})
	}
}

// An answer that the client does not take is none that live has given.
func TestAnswerThatTheClientDoesNotTakeIsNotCompared(t *testing.T) {
	shadow := startUpstream(t)
	shadow.answer = booked
	for _, length := range []string{strconv.Itoa(len(invoice)), ""} {
		h := comparingTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			if length != "" {
				rw.Header().Set("Content-Length", length)
			}
			rw.WriteHeader(http.StatusCreated)
			io.WriteString(rw, invoice)
		}), nil)
		before := outcomes(t, t.Name(), 0).Totals.Skipped[compare.LiveBroken]
		h.ServeHTTP(&goneClient{header: http.Header{}}, postInvoice())
		awaitNoneInFlight(t, mirrorCalled(t, t.Name()))
		if s := outcomes(t, t.Name(), 1); s.Totals.Skipped[compare.LiveBroken] != before+1 {
			t.Errorf("length %q: outcomes %v, skipped %v; want one more %s", length, s.Totals.Outcomes, s.Totals.Skipped, compare.LiveBroken)
		}
	}
}

// A goneClient takes nothing.
type goneClient struct{ header http.Header }

func (c *goneClient) Header() http.Header         { return c.header }
func (c *goneClient) Write(_ []byte) (int, error) { return 0, io.ErrClosedPipe }
func (c *goneClient) WriteHeader(_ int)           {}

// However long live takes over an answer that was given up, and however many such
// answers there are, they are not kept.
func TestAnswersThatLiveDoesNotEndAreLetGoOf(t *testing.T) {
	const n = 50
	shadow := startUpstream(t)
	part := []byte(strings.Repeat("2026-0042;119.00\n", 36000)) // 612,000 bytes
	end := make(chan bool)
	served := &sync.WaitGroup{}
	h := comparingTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Write(part)
		<-end
	}), func(c *Config) {
		c.set("timeout", "1s")
		c.set("maxPause", "0") // a busy machine may miss that time, too
		c.set("maxInFlight", strconv.Itoa(n))
		c.set("compare.maxBodySize", "1MiB")
	})
	served.Add(n)
	before := heapInUse()
	for i := 0; i < n; i++ {
		go serveNobody(h, served)
	}
	if s := outcomes(t, t.Name(), n); s.Totals.Skipped[compare.LiveSlow]+s.Totals.Skipped[compare.ShadowFailed] != n {
		t.Errorf("skipped %v, want %d for live that is slow", s.Totals.Skipped, n)
	}
	settled(t, t.Name())
	eventually(t, "answers that are let go of", func() bool {
		return int64(heapInUse())-int64(before) < int64(n*len(part)/2)
	})
	close(end)
	served.Wait()
}

func serveNobody(h http.Handler, served *sync.WaitGroup) {
	h.ServeHTTP(&nobody{header: http.Header{}}, postInvoice())
	served.Done()
}

// nobody is a client that keeps nothing.
type nobody struct{ header http.Header }

func (c *nobody) Header() http.Header         { return c.header }
func (c *nobody) Write(b []byte) (int, error) { return len(b), nil }
func (c *nobody) WriteHeader(_ int)           {}

// A shadow that has failed does not wait for live with its place in flight.
func TestFailedShadowDoesNotWaitForLive(t *testing.T) {
	shadow := startUpstream(t)
	shadow.Close()
	end := make(chan bool)
	served := make(chan bool)
	h := comparingTo(t, shadow.URL, http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { <-end }), func(c *Config) { c.set("timeout", "1m") })
	go serveThenTell(h, postInvoice(), served)
	if s := outcomes(t, t.Name(), 1); s.Totals.Skipped[compare.ShadowFailed] != 1 {
		t.Errorf("skipped %v, want one %s", s.Totals.Skipped, compare.ShadowFailed)
	}
	settled(t, t.Name())
	close(end)
	<-served
}

// What live says without a word is compared as what it is: 200, and its headers.
func TestAnswersWithoutAWordAreCompared(t *testing.T) {
	shadow := startUpstream(t)
	shadow.answer = func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("X-Region", "eu-north") }
	h := comparingTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Region", "eu-north")
	}), func(c *Config) { c.set("compare.headers", []string{"X-Region"}) })
	serve(h, postInvoice())
	if s := outcomes(t, t.Name(), 1); s.Totals.Outcomes[compare.Match] != 1 {
		t.Errorf("outcomes %v, differences %+v; want a match", s.Totals.Outcomes, s.Account.Differences)
	}
}

// A client that takes events, among others, gets what live has.
func TestClientsThatTakeEventsToo(t *testing.T) {
	tests := []struct{ accept, want string }{
		{"text/event-stream", compare.Skipped},
		{"text/event-stream;q=1", compare.Skipped},
		{"application/json, text/event-stream", compare.Match},
		{"text/event-stream, */*", compare.Match},
	}
	shadow := startUpstream(t)
	shadow.answer = booked
	for _, test := range tests {
		t.Run(test.accept, func(t *testing.T) {
			h := comparingTo(t, shadow.URL, echoLive, nil)
			req := postInvoice()
			req.Header.Set("Accept", test.accept)
			serve(h, req)
			if s := outcomes(t, t.Name(), 1); s.Totals.Outcomes[test.want] != 1 {
				t.Errorf("outcomes %v, skipped %v; want one %s", s.Totals.Outcomes, s.Totals.Skipped, test.want)
			}
		})
	}
}

// booked answers an invoice as echoLive does.
func booked(rw http.ResponseWriter, _ *http.Request) {
	rw.Header()["Content-Type"] = nil // which is not guessed then
	rw.WriteHeader(http.StatusCreated)
	io.WriteString(rw, invoice)
}

// In stream mode live's time is that after the body, as the shadow's is: what a
// client takes to send it is neither's.
func TestTimeOfTheUploadIsNotLives(t *testing.T) {
	shadow := startUpstream(t)
	shadow.answer = booked
	h := comparingTo(t, shadow.URL, echoLive, func(c *Config) { c.set("bodyMode", "stream") })
	r, w := io.Pipe()
	req := postInvoice()
	req.ContentLength = -1
	req.Body = r
	served := make(chan bool)
	go serveThenTell(h, req, served)
	began := time.Now()
	time.Sleep(time.Second)
	io.WriteString(w, invoice)
	upload := time.Since(began)
	w.Close()
	<-served
	s := outcomes(t, t.Name(), 1)
	// Less than the upload alone, which it would be more than.
	if took := s.Account.Live.Sum(); s.Totals.Outcomes[compare.Match] != 1 || took >= upload {
		t.Errorf("outcomes %v, live took %s of %s of upload; want a match and less", s.Totals.Outcomes, took, upload)
	}
}

func TestShadowThatFailsIsNotCompared(t *testing.T) {
	shadow := startUpstream(t)
	shadow.Close()
	h := comparingTo(t, shadow.URL, echoLive, nil)
	serve(h, postInvoice())
	if s := outcomes(t, t.Name(), 1); s.Totals.Skipped[compare.ShadowFailed] != 1 {
		t.Errorf("outcomes %v, skipped %v, want one %s", s.Totals.Outcomes, s.Totals.Skipped, compare.ShadowFailed)
	}
}

// The shadow rounds otherwise: found with the path and both values, in both
// modes.
func TestDifferencesAreFound(t *testing.T) {
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.answer = func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				io.WriteString(rw, `{"customer":"C-1007","lines":[{"vat":22.61}]}`)
			}
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				io.Copy(io.Discard, req.Body)
				rw.Header().Set("Content-Type", "application/json")
				io.WriteString(rw, `{"lines":[{"vat":22.60}],`)
				io.WriteString(rw, `"customer":"C-1007"}`)
			})
			h := comparingTo(t, shadow.URL, live, func(c *Config) { c.set("bodyMode", mode) })
			for i := 0; i < 20; i++ {
				if rec := serve(h, postInvoice()); rec.Body.String() != `{"lines":[{"vat":22.60}],"customer":"C-1007"}` {
					t.Fatalf("the client got %q", rec.Body.String())
				}
			}
			s := outcomes(t, t.Name(), 20)
			d := s.Account.Differences
			if len(d) != 1 || d[0].Key != "$.lines[*].vat" || d[0].Count != 20 || d[0].Endpoint != "POST /invoices" || d[0].Judgement != compare.Real || d[0].Examples[0].Live != "22.60" || d[0].Examples[0].Shadow != "22.61" {
				t.Errorf("found %+v, want $.lines[*].vat, 22.60 and 22.61, 20 times", d)
			}
			if s.Totals.Live.Count() != 20 || s.Totals.Shadow.Quantile(0.5) <= 0 {
				t.Errorf("latencies: %d, live %s, shadow %s", s.Totals.Live.Count(), s.Totals.Live.Quantile(0.5), s.Totals.Shadow.Quantile(0.5))
			}
		})
	}
}

func TestOnlyAShareIsCompared(t *testing.T) {
	shadow := startUpstream(t)
	h := comparingTo(t, shadow.URL, echoLive, func(c *Config) { c.set("compare.percent", "30") })
	for i := 0; i < 300; i++ {
		serve(h, postInvoice())
		settled(t, t.Name())
	}
	s := mirrorCalled(t, t.Name()).verdict.Snapshot()
	if n := s.Totals.Outcomes[compare.Mismatch]; n < 45 || n > 150 || len(shadow.snapshot()) != 300 {
		t.Errorf("%d of %d were compared, want about 90 of 300", n, len(shadow.snapshot()))
	}
}

// Each instance compares its own pairs: under the interpreter instances have
// been seen to take what is others'.
func TestInstancesDoNotMixTheirPairs(t *testing.T) {
	var wait sync.WaitGroup
	for n := 0; n < 6; n++ {
		shadow := startUpstream(t)
		name := fmt.Sprintf("%s-%d", t.Name(), n)
		body := fmt.Sprintf(`{"tenant":%d}`, n)
		answer := func(rw http.ResponseWriter, req *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			io.WriteString(rw, body)
		}
		shadow.answer = answer
		h := namedMirror(t, name, shadow.URL, http.HandlerFunc(answer))
		wait.Add(1)
		go hammer(&wait, h, 60)
	}
	wait.Wait()
	for n := 0; n < 6; n++ {
		s := outcomes(t, fmt.Sprintf("%s-%d", t.Name(), n), 60)
		if s.Totals.Outcomes[compare.Match] != 60 {
			t.Errorf("instance %d: outcomes %v, %+v; want 60 matches", n, s.Totals.Outcomes, s.Account.Differences)
		}
	}
}

func hammer(wait *sync.WaitGroup, h http.Handler, n int) {
	for i := 0; i < n; i++ {
		serve(h, postInvoice())
	}
	wait.Done()
}

// namedMirror returns a middleware of that name with compare on.
func namedMirror(t *testing.T, name, url string, next http.Handler) http.Handler {
	t.Helper()
	config := CreateConfig()
	config.set("url", url)
	config.set("compare", true)
	config.set("timeout", "1m") // as in TestInstancesDoNotMixRequests
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		forget(name)
	})
	h, err := New(ctx, next, config, name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A part of an answer that comes after it was given up takes no memory, and neither
// does what was kept before, though the client has not taken it yet.
func TestAnswerThatWasGivenUpIsNotKept(t *testing.T) {
	p := newPair(&compare.Rules{MaxBodySize: 64 << 10}, postInvoice())
	client := &slowReader{header: http.Header{}, reads: make(chan bool)}
	written := make(chan bool)
	go writeInvoices(&recorder{pair: p, rw: client, req: postInvoice()}, written)
	client.reads <- true
	<-written
	eventually(t, "the second part to be on its way", func() bool { return client.writes.Load() == 2 })
	if got := keptBody(p); got != "2026-0042;119.00\n" {
		t.Errorf("kept %q, want the first part", got)
	}
	abandon(p, compare.LiveSlow)
	if got := keptBody(p); got != "" {
		t.Errorf("kept %q while the client does not read, want nothing", got)
	}
	client.reads <- true
	<-written
	if got := keptBody(p); got != "" {
		t.Errorf("kept %q, want nothing", got)
	}
	if got, want := client.body.String(), "2026-0042;119.00\n2026-0043;59.50\n"; got != want {
		t.Errorf("the client gets %q, want %q", got, want)
	}
}

// A slowReader is a client that takes a part only when it is told to.
type slowReader struct {
	header http.Header
	body   bytes.Buffer
	writes atomic.Int64
	reads  chan bool
}

func (c *slowReader) Header() http.Header { return c.header }
func (c *slowReader) WriteHeader(_ int)   {}
func (c *slowReader) Write(b []byte) (int, error) {
	c.writes.Add(1)
	<-c.reads
	return c.body.Write(b)
}

func writeInvoices(rw http.ResponseWriter, written chan<- bool) {
	io.WriteString(rw, "2026-0042;119.00\n")
	written <- true
	io.WriteString(rw, "2026-0043;59.50\n")
	written <- true
}

func keptBody(p *pair) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.live.Body)
}

// Large answers are compared by length and sum, within the bounds of what is read.
func TestLargeAnswersAreComparedWithoutBeingKept(t *testing.T) {
	long := strings.Repeat("2026-0042;119.00\n", 6000) // 102,000 bytes
	whole := strings.Repeat("2026-0042;119.00\n", 250000)
	tests := []struct {
		name, live, shadow, want string
		length                   bool
	}{
		{"the same", long, long, compare.Match, true},
		{"the same, in chunks", long, long, compare.Match, false},
		{"of the same length", long + "a", long + "b", compare.TooLarge, true},
		{"of another length", long, long + "b", compare.TooLarge, false},
		{"only the shadow's", invoice, long, "longer than compare.maxBodySize", true},
		{"only live's", long, invoice, "not longer than compare.maxBodySize", true},
		{"only live's, in chunks", long, invoice, "not longer than compare.maxBodySize", false},
		{"larger than is read", whole, whole, compare.TooLarge, true},
		{"larger than is read, in chunks", whole, whole, compare.TooLarge, false},
		{"only the shadow's is larger than is read", invoice, whole, "longer than compare.maxBodySize", false},
		{"only live's is larger than is read", whole, invoice, "not longer than compare.maxBodySize", true},
		{"only live's is larger than is read, in chunks", whole, invoice, "not longer than compare.maxBodySize", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.answer = says(test.shadow, test.length)
			h := comparingTo(t, shadow.URL, says(test.live, test.length), nil)
			if rec := serve(h, getInvoice()); rec.Body.String() != test.live {
				t.Errorf("the client got %d bytes, want %d", rec.Body.Len(), len(test.live))
			}
			s := outcomes(t, t.Name(), 1)
			if test.want == compare.TooLarge {
				if s.Totals.Skipped[compare.TooLarge] != 1 {
					t.Errorf("outcomes %v, skipped %v; want one %s", s.Totals.Outcomes, s.Totals.Skipped, test.want)
				}
			} else if test.want == compare.Match {
				if s.Totals.Outcomes[compare.Match] != 1 {
					t.Errorf("outcomes %v, skipped %v, want a match", s.Totals.Outcomes, s.Totals.Skipped)
				}
			} else if d := s.Account.Differences; len(d) != 1 || d[0].Key != "body" || d[0].Relation != test.want || d[0].Judgement != compare.Real {
				t.Errorf("outcomes %v, skipped %v, %+v; want %s", s.Totals.Outcomes, s.Totals.Skipped, d, test.want)
			}
		})
	}
}

// A limit above what is read of answers otherwise counts.
func TestAnswersAreComparedUpToALargeLimit(t *testing.T) {
	long := strings.Repeat("2026-0042;119.00\n", 250000)
	for _, length := range []bool{true, false} {
		for _, end := range []string{"", "2026-0043;59.50\n"} {
			want := compare.Match
			if end != "" {
				want = compare.Mismatch
			}
			t.Run(fmt.Sprintf("%t %s", length, want), func(t *testing.T) {
				shadow := startUpstream(t)
				shadow.answer = says(long+end, length)
				serve(comparingTo(t, shadow.URL, says(long, length), func(c *Config) { c.set("compare.maxBodySize", "8MiB") }), getInvoice())
				if s := outcomes(t, t.Name(), 1); s.Totals.Outcomes[want] != 1 {
					t.Errorf("outcomes %v, skipped %v, want a %s", s.Totals.Outcomes, s.Totals.Skipped, want)
				}
			})
		}
	}
}

// says answers with text, in parts, of which the length is announced or not.
func says(text string, length bool) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/plain")
		if length {
			rw.Header().Set("Content-Length", strconv.Itoa(len(text)))
		}
		rw.WriteHeader(http.StatusOK)
		for part := 0; part < len(text); part += 32 << 10 {
			end := part + 32<<10
			if end > len(text) {
				end = len(text)
			}
			io.WriteString(rw, text[part:end])
		}
	}
}

// A shadow that takes requests and does not answer them, while it answers others, has
// answered otherwise than live.
func TestShadowThatDoesNotAnswerDiffers(t *testing.T) {
	half := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "2000")
		rw.Write(make([]byte, 1000))
		http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	hang := func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }
	live := func(t *testing.T) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			switch req.URL.Path {
			case "/slow":
				for mirrorCalled(t, t.Name()).verdict.Totals().Skipped[compare.ShadowFailed] == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			case "/bad":
				rw.WriteHeader(http.StatusBadGateway)
				return
			}
			echoLive(rw, req)
		}
	}
	for _, scheme := range schemes {
		tests := []struct {
			name, path string
			answer     http.HandlerFunc
			others     int // requests that the shadow answers meanwhile
			want       string
		}{
			{"half an answer", "/", half, 0, compare.Mismatch},
			{"closes the connection", "/", hangUp, 0, compare.Mismatch},
			{"hangs, and answers others", "/", hang, 2, compare.Mismatch},
			{"hangs, whatever it is asked", "/", hang, 0, compare.Skipped},
			{"hangs, and live is slower than that", "/slow", hang, 2, compare.Skipped},
			{"closes the connection, and live did too", "/bad", hangUp, 0, compare.Skipped},
		}
		for _, test := range tests {
			t.Run(scheme+"/"+test.name, func(t *testing.T) {
				captureLog(t)
				shadow := startUpstreamOver(t, scheme)
				shadow.answer = func(rw http.ResponseWriter, req *http.Request) {
					if req.URL.Path == "/others" {
						echoLive(rw, req)
					} else {
						test.answer(rw, req)
					}
				}
				h := comparingTo(t, shadow.URL, live(t), func(c *Config) {
					c.set("timeout", "2s")
					if scheme == "https" {
						c.set("tls.insecureSkipVerify", "true")
					}
				})
				req := getInvoice()
				req.URL.Path = test.path
				req.RequestURI = test.path
				served := make(chan bool, 1)
				go func() {
					serve(h, req)
					served <- true
				}()
				shadow.wait(t, 1)
				for i := 0; i < test.others; i++ {
					other := getInvoice()
					other.URL.Path = "/others"
					other.RequestURI = "/others"
					serve(h, other)
				}
				<-served
				s := outcomes(t, t.Name(), int64(1+test.others))
				if o := s.Totals.Outcomes; o[test.want] != 1 || o[compare.Match] != int64(test.others) {
					t.Fatalf("outcomes %v, skipped %v; want one %s, and %d that are the same", o, s.Totals.Skipped, test.want, test.others)
				}
				if test.want == compare.Skipped && s.Totals.Skipped[compare.ShadowFailed] != 1 {
					t.Errorf("skipped %v, want %s", s.Totals.Skipped, compare.ShadowFailed)
				}
				if d := s.Account.Differences; test.want == compare.Mismatch && (len(d) != 1 || d[0].Key != "status" || d[0].Relation != "no answer" || d[0].Judgement != compare.Real) {
					t.Errorf("found %+v, want a status that is missing", d)
				}
			})
		}
	}
}

// One that answers nobody is down, and left alone: that says nothing of the version. Until
// then, though, it may be one that answers others.
func TestShadowThatAnswersNobodyIsNotCompared(t *testing.T) {
	for _, maxPause := range []string{"0", "1h"} {
		t.Run("maxPause "+maxPause, func(t *testing.T) {
			captureLog(t)
			shadow := startUpstream(t)
			answers := atomic.Bool{}
			shadow.answer = func(rw http.ResponseWriter, req *http.Request) {
				if !answers.Load() {
					panic(http.ErrAbortHandler)
				}
				echoLive(rw, req)
			}
			h := comparingTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxPause", maxPause) })
			sent := int64(0)
			check := func(mismatch, match, skipped int64) {
				t.Helper()
				a := outcomes(t, t.Name(), sent).Account
				if a.Real != mismatch || a.Agreeing() != match || a.Skipped[compare.ShadowFailed] != skipped {
					t.Errorf("after %d requests: %d differ, %d agree, skipped %v; want %d that differ, %d that agree, %d skipped", sent, a.Real, a.Agreeing(), a.Skipped, mismatch, match, skipped)
				}
			}
			send := func(n int) {
				t.Helper()
				for i := 0; i < n; i++ {
					serve(h, getInvoice())
					sent++
					outcomes(t, t.Name(), sent)
				}
			}
			send(failuresToPause - 1)
			check(failuresToPause-1, 0, 0)
			answers.Store(true)
			send(1)
			check(failuresToPause-1, 1, 0)
			answers.Store(false)
			if maxPause == "0" { // it is never left alone
				send(mostUnanswered + 1)
				check(failuresToPause-1+mostUnanswered+1, 1, 0)
			} else {
				send(failuresToPause)
				check(failuresToPause-1, 1, failuresToPause)
			}
		})
	}
}

// Each server makes its own ETag, so only one of the two knows the client's copy.
func TestConditionalRequestsAreNotCompared(t *testing.T) {
	tests := []struct {
		name, header string
		shadow       int
		want         string
	}{
		{"one knows the copy", "If-None-Match", http.StatusOK, compare.Skipped},
		{"both know it", "If-None-Match", http.StatusNotModified, compare.Match},
		{"an error", "If-None-Match", http.StatusInternalServerError, compare.Mismatch},
		{"nobody asked", "Accept", http.StatusOK, compare.Mismatch},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.answer = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(test.shadow) }
			h := comparingTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotModified) }), nil)
			req := getInvoice()
			req.Header.Set(test.header, `"ab12"`)
			serve(h, req)
			s := outcomes(t, t.Name(), 1)
			if s.Totals.Outcomes[test.want] != 1 || test.want == compare.Skipped && s.Totals.Skipped[compare.Conditional] != 1 {
				t.Errorf("outcomes %v, skipped %v; want one %s", s.Totals.Outcomes, s.Totals.Skipped, test.want)
			}
		})
	}
}

// Answers with the same body are the same, whatever the headers that are not compared, and
// however often they change.
func TestHeadersThatAreNotComparedDoNotMatter(t *testing.T) {
	shadow := startUpstream(t)
	n := &atomic.Int64{}
	answer := func(more string) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			h := rw.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Content-Length", strconv.Itoa(len(invoice)))
			h.Set("X-Request-Id", strconv.FormatInt(n.Add(1), 10))
			h.Set("Etag", strconv.FormatInt(n.Add(1), 10))
			h.Add("Set-Cookie", "session="+strconv.FormatInt(n.Add(1), 10)+"; HttpOnly")
			if req.URL.Path == "/open" {
				h.Add("Set-Cookie", "open=1"+more)
			}
			rw.WriteHeader(http.StatusOK)
			io.WriteString(rw, invoice)
		}
	}
	shadow.answer = answer("")
	h := comparingTo(t, shadow.URL, answer("; Secure"), nil)
	for i := 0; i < 20; i++ {
		req := getInvoice()
		if i == 13 {
			req.URL.Path = "/open"
			req.RequestURI = "/open"
		}
		serve(h, req)
		settled(t, t.Name())
	}
	s := outcomes(t, t.Name(), 20)
	if d := s.Account.Differences; s.Totals.Outcomes[compare.Match] != 19 || len(d) != 1 || d[0].Key != "cookie open" || d[0].Examples[0].Live != "attributes: secure" {
		t.Errorf("outcomes %v, %+v; want 19 matches and one cookie", s.Totals.Outcomes, d)
	}
}

// However much of the shadow's answer is kept, all of it is read and counted.
func TestKeptAnswerIsReadToItsEnd(t *testing.T) {
	for _, size := range []int{0, 4, 10, 11, 5000} {
		p := &pair{rules: &compare.Rules{MaxBodySize: 10}}
		body := strings.NewReader(strings.Repeat("9", size))
		res := &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(body)}
		if whole, err := p.keep(res); !whole || err != nil || res.ContentLength != int64(size) || body.Len() > 0 || (p.shadow.Size == int64(size)) != (size == 0 || size > 10) || (p.shadow.Size == 0) != (string(p.shadow.Body) == strings.Repeat("9", size)) {
			t.Errorf("%d bytes: %v, %d counted, %d left, kept %q of %d", size, err, res.ContentLength, body.Len(), p.shadow.Body, p.shadow.Size)
		}
	}
}

// The messages of a gRPC call are not compared, whatever they are.
func TestCallsAreNotCompared(t *testing.T) {
	shadow := startUpstream(t)
	h := comparingTo(t, shadow.URL, echoLive, func(c *Config) { c.set("bodyMode", "stream") })
	req := postInvoice()
	req.Header.Set("Content-Type", "application/grpc+proto")
	serve(h, req)
	if s := outcomes(t, t.Name(), 1); s.Totals.Skipped[compare.Stream] != 1 {
		t.Errorf("outcomes %v, skipped %v, want one %s", s.Totals.Outcomes, s.Totals.Skipped, compare.Stream)
	}
}
