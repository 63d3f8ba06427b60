package mirror

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The ways to a shadow over HTTP/1.1. What can be seen from outside is the same on both.
var schemes = []string{"http", "https"}

// listenOver returns a listener on the loopback that speaks http or https, or h2, which
// is https with HTTP/2.
func listenOver(t *testing.T, scheme string) net.Listener {
	t.Helper()
	var ln net.Listener
	var err error
	if scheme == "https" || scheme == "h2" {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.StartTLS()
		config := &tls.Config{Certificates: server.TLS.Certificates}
		if scheme == "h2" {
			config.NextProtos = []string{"h2"}
		}
		server.Close()
		ln, err = tls.Listen("tcp", "127.0.0.1:0", config)
	} else {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// A scripted shadow answers with bytes of the test's choosing, and keeps what it gets
// as it came.
type scripted struct {
	answer func(n int) string // to the nth request of all, from 1
	closes bool               // the connection after each answer, whatever that says
	early  bool               // it answers when it has the head, and reads no body
	stalls chan struct{}      // where it is not nil, it does nothing more with a head until then

	url string

	mu          sync.Mutex
	connections int
	open        map[net.Conn]bool
	requests    []string // each as it came, head and body
}

// startScripted has s speak http or https until the test ends.
func startScripted(t *testing.T, scheme string, s *scripted) *scripted {
	t.Helper()
	ln := listenOver(t, scheme)
	s.url = scheme + "://" + ln.Addr().String()
	s.open = map[net.Conn]bool{}
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for conn := range s.open {
			conn.Close()
		}
	})
	go acceptScripted(ln, s)
	return s
}

func acceptScripted(ln net.Listener, s *scripted) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.connections++
		s.open[conn] = true
		s.mu.Unlock()
		go converse(s, conn)
	}
}

func converse(s *scripted, conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	raw := &bytes.Buffer{}
	r := bufio.NewReader(io.TeeReader(conn, raw))
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			if raw.Len() > 0 {
				s.note(raw.String())
			}
			return
		}
		if s.stalls != nil {
			<-s.stalls
			return
		}
		if !s.early {
			io.Copy(io.Discard, req.Body)
		}
		n := s.note(string(raw.Next(raw.Len() - r.Buffered())))
		io.WriteString(conn, s.answer(n))
		if s.closes {
			return
		}
	}
}

// note keeps a request, and returns how many there are.
func (s *scripted) note(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
	return len(s.requests)
}

func (s *scripted) seen() (connections int, requests []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	connections = s.connections
	requests = append([]string{}, s.requests...)
	return connections, requests
}

// always is the script that has one answer.
func always(answer string) func(int) string { return func(int) string { return answer } }

const bookedAnswer = "HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\nbooked"

// bodyless returns a request without a body.
func bodyless(method string) *http.Request {
	return httptest.NewRequest(method, "/invoices/2026-0042", nil)
}

// mirrorOver is mirrorTo for a shadow that has httptest's certificate, if it has one.
func mirrorOver(t *testing.T, url string, next http.Handler, set func(*Config)) http.Handler {
	t.Helper()
	return mirrorTo(t, url, next, func(c *Config) {
		if strings.HasPrefix(url, "https:") {
			c.set("tls.insecureSkipVerify", "true")
		}
		if set != nil {
			set(c)
		}
	})
}

// oneWorker has the mirror called name have no more than the worker that it begins
// with, so that each copy finds the connection of the one before. It is called before
// the first copy.
func oneWorker(t *testing.T, name string) *mirror {
	t.Helper()
	m := mirrorCalled(t, name)
	m.shadow.maxInFlight = 0 // workers see it when they have a copy; live has the option's
	return m
}

// answeredWith returns how many answers had a status of this first digit, other
// than 2.
func answeredWith(m *mirror, digit int) int64 {
	m.counts.mu.Lock()
	defer m.counts.mu.Unlock()
	return m.counts.statuses[digit]
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			shadow := startUpstreamOver(t, scheme)
			shadow.answer = func(rw http.ResponseWriter, req *http.Request) {
				http.Redirect(rw, req, "/again", http.StatusTemporaryRedirect)
			}
			h := mirrorOver(t, shadow.URL, echoLive, nil)
			serve(h, postInvoice())
			m := settled(t, t.Name())
			if n := len(shadow.snapshot()); n != 1 || m.counts.answers() != 1 {
				t.Errorf("shadow got %d requests, %d counted as mirrored; want 1 and 1", n, m.counts.answers())
			}
		})
	}
}

func TestConnectionsAreKept(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			shadow := startScripted(t, scheme, &scripted{answer: always(bookedAnswer)})
			h := mirrorOver(t, shadow.url, echoLive, nil)
			for i := 0; i < 50; i++ {
				serve(h, postInvoice())
				settled(t, t.Name())
			}
			// A worker that has just given its place back may not be idle yet, and then the
			// next request has another one, which dials: on a busy machine some do.
			if n, requests := shadow.seen(); n > 5 || len(requests) != 50 {
				t.Errorf("50 requests one after the other, of which the shadow got %d, took %d connections, want them kept", len(requests), n)
			}
		})
	}
}

// A shadow that closes what it kept open, as one that restarts does, costs no copy.
func TestConnectionsThatTheShadowClosedAreNotUsed(t *testing.T) {
	tests := []struct {
		name string
		idle time.Duration // for the news to arrive
		n    int
		lost int64 // at most
	}{
		// The end of a connection may be on its way still when the next copy leaves: one
		// in a thousand is lost here, and on a busy machine one in a hundred.
		{"at once", 0, 200, 20},
		{"after some time", 100 * time.Millisecond, 5, 0},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startScripted(t, scheme, &scripted{answer: always(bookedAnswer), closes: true})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				oneWorker(t, t.Name())
				for i := 0; i < tt.n; i++ {
					serve(h, postInvoice())
					settled(t, t.Name())
					time.Sleep(tt.idle)
				}
				m := settled(t, t.Name())
				failed := m.counts.failed.Load()
				n, requests := shadow.seen()
				if failed > tt.lost || m.counts.answers() != int64(len(requests)) || n != len(requests) || failed+int64(n) != int64(tt.n) {
					t.Errorf("of %d requests the shadow got %d on %d connections, %d are counted as answered and %d as failed; want %d lost at most, and the others each on a connection of its own",
						tt.n, len(requests), n, m.counts.answers(), failed, tt.lost)
				}
			})
		}
	}
}

// What a misbehaving shadow sends on each connection is an answer or a failure, never
// trouble for live, and no place in flight is lost.
func TestShadowThatMisbehavesIsCountedAndLetGo(t *testing.T) {
	tests := []struct {
		name, answer string
		wantFailed   int64
	}{
		{"closes at once", "", 1},
		{"rubbish", "SSH-2.0-OpenSSH_9.2\r\n", 1},
		{"header without a colon", "HTTP/1.1 200 OK\r\nSet-Cookie session=s3cret\r\n\r\n", 1},
		{"body shorter than announced", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 1},
		{"large body shorter than announced", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nshort", 1},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nshort", 1},
		{"broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 1},
		{"switches protocols unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 1},
		{"informational answers without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50), 1},
		{"informational answers, and no other", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 5), 1},
		{"header without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 2*maxAnswerHeader/1000), 1},
		{"line without end", "HTTP/1.1 200 OK\r\nX-Filler: " + strings.Repeat("x", 2*maxAnswerHeader), 1},
		{"500", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 0},
		{"body larger than is read", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxAnswer+1), 0},
		{"body without a length", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 99999), 0},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				book := captureLog(t)
				shadow := startScripted(t, scheme, &scripted{answer: always(tt.answer), closes: true})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated || rec.Body.String() != invoice {
					t.Errorf("client got %d %q, want live's answer", rec.Code, rec.Body)
				}
				m := settled(t, t.Name())
				if failed := m.counts.failed.Load(); failed != tt.wantFailed || m.counts.answers() != 1-tt.wantFailed {
					t.Errorf("failed %d, mirrored %d; want %d and %d", failed, m.counts.answers(), tt.wantFailed, 1-tt.wantFailed)
				}
				lines := book.lines()
				if len(lines) != int(tt.wantFailed) {
					t.Errorf("logged %q, want %d lines", lines, tt.wantFailed)
				}
				if strings.Contains(strings.Join(lines, ""), "s3cret") {
					t.Errorf("logged %q, which quotes the shadow's answer", lines)
				}
			})
		}
	}
}

func TestTimeoutEndsTheExchange(t *testing.T) {
	tests := []struct {
		name string
		body string
	}{
		{"before the answer", invoice},
		{"while a large body is written", strings.Repeat("scan", 2<<20)},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				book := captureLog(t)
				stalls := make(chan struct{})
				t.Cleanup(func() { close(stalls) })
				shadow := startScripted(t, scheme, &scripted{stalls: stalls})
				h := mirrorOver(t, shadow.url, echoLive, func(c *Config) {
					c.set("timeout", "50ms")
					c.set("maxBodySize", "-1")
				})
				serve(h, httptest.NewRequest(http.MethodPut, "/invoices/7/scan", strings.NewReader(tt.body)))
				m := settled(t, t.Name())
				if m.counts.failed.Load() != 1 {
					t.Errorf("failed %d, want 1", m.counts.failed.Load())
				}
				if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], "no whole answer within the timeout") {
					t.Errorf("logged %q, want one line about the timeout", lines)
				}
			})
		}
	}
}

// A shadow that dies under a kept connection must not be sent the request
// again, which net/http's transport would do.
func TestNothingIsRetried(t *testing.T) {
	tests := []struct{ method, header string }{
		{"GET", ""}, {"HEAD", ""}, {"OPTIONS", ""}, {"POST", "Idempotency-Key"}, {"DELETE", "Idempotency-Key"},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.method+tt.header, func(t *testing.T) {
				captureLog(t)
				requests := &atomic.Int64{}
				ln := listenOver(t, scheme)
				go answerOnceThenHangUp(ln, requests)
				h := mirrorOver(t, scheme+"://"+ln.Addr().String(), echoLive, nil)
				for i := 0; i < 2; i++ {
					req := bodyless(tt.method)
					if tt.header != "" {
						req.Header.Set(tt.header, "2026-0042")
					}
					serve(h, req)
					settled(t, t.Name())
				}
				if n := requests.Load(); n != 2 {
					t.Errorf("2 requests reached the shadow %d times", n)
				}
			})
		}
	}
}

// answerOnceThenHangUp answers the first request of each connection, and closes
// it when it has read the second.
func answerOnceThenHangUp(ln net.Listener, requests *atomic.Int64) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go answerFirst(conn, requests)
	}
}

func answerFirst(conn net.Conn, requests *atomic.Int64) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for answered := false; ; answered = true {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		requests.Add(1)
		if answered {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// Whether an answer leaves the connection for the next exchange, and that this one
// gets its own answer. Between two answers of the table's the shadow sends another.
func TestAnswerKeepsOrEndsTheConnection(t *testing.T) {
	const hint = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
	line := "X-Filler: " + strings.Repeat("x", 1012) + "\r\n" // 1 KiB
	tests := []struct {
		name, method, answer string
		kept                 bool
		failed               int64 // of the two
	}{
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, 0},
		{"HEAD with a length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n", true, 0},
		{"HEAD with a short length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", true, 0},
		{"HEAD in chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, 0},
		{"204", "DELETE", "HTTP/1.1 204 No Content\r\n\r\n", true, 0},
		{"204 with a length", "DELETE", "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n", true, 0},
		{"304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4711\r\n\r\n", true, 0},
		{"as much as is read at once", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat("x", 4096), true, 0},
		{"one byte more", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n" + strings.Repeat("x", 4097), true, 0},
		{"100 KB", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000), true, 0},
		{"chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbooked\r\n0\r\n\r\n", true, 0},
		{"chunks and a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n6\r\nbooked\r\n0\r\nX-Sum: 9f86\r\n\r\n", true, 0},
		{"a head of 200 KiB", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat(line, 200) + "Content-Length: 6\r\n\r\nbooked", true, 0},
		{"a head of 300 KiB", "GET", "HTTP/1.1 200 OK\r\n" + strings.Repeat(line, 300) + "Content-Length: 6\r\n\r\nbooked", false, 2},
		{"5 answers before the last", "POST", strings.Repeat(hint, 5) + bookedAnswer, true, 0},
		{"6 answers before the last", "POST", strings.Repeat(hint, 6) + bookedAnswer, false, 2},
		{"100 Continue that nobody waits for", "POST", "HTTP/1.1 100 Continue\r\n\r\n" + bookedAnswer, true, 0},
		{"switching protocols", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, 2},
		{"switching protocols after a hint", "GET", hint + "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, 2},
		{"Connection: close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nbooked", false, 0},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nbooked", false, 0},
		{"HTTP/1.0 that is kept", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 6\r\n\r\nbooked", true, 0},
		{"larger than is read, with a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + strings.Repeat("x", 5000000), false, 0},
		{"larger than is read, in chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("100000\r\n"+strings.Repeat("x", 1<<20)+"\r\n", 5) + "0\r\n\r\n", false, 0},
		{"a large one in chunks of a byte", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 1<<20) + "0\r\n\r\n", true, 0},
	}
	const other = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startScripted(t, scheme, &scripted{answer: func(n int) string {
					if n == 2 {
						return other
					}
					return tt.answer
				}})
				h := mirrorOver(t, shadow.url, echoLive, func(c *Config) { c.set("timeout", "2m") })
				oneWorker(t, t.Name())
				for i := 1; i <= 3; i++ {
					if i == 2 {
						serve(h, bodyless("GET"))
					} else {
						serve(h, bodyless(tt.method))
					}
					settled(t, t.Name())
				}
				m := settled(t, t.Name())
				if m.counts.failed.Load() != tt.failed || m.counts.answers() != 3-tt.failed || answeredWith(m, 5) != 1 {
					t.Errorf("%d failed and %d were answered, %d of them with 503; want %d, %d and 1",
						m.counts.failed.Load(), m.counts.answers(), answeredWith(m, 5), tt.failed, 3-tt.failed)
				}
				connections, requests := shadow.seen()
				if kept := connections == 1; len(requests) != 3 || kept != tt.kept {
					t.Errorf("%d requests came on %d connections, want 3 and the first connection kept: %t", len(requests), connections, tt.kept)
				}
			})
		}
	}
}

// What comes behind an answer belongs to no request: it is not taken for the answer to
// the next one, and not logged.
func TestBytesBehindAnAnswerEndTheConnection(t *testing.T) {
	tests := []struct{ name, answer string }{
		{"behind a body", bookedAnswer},
		{"behind an empty one", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"behind chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nbooked\r\n0\r\n\r\n"},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				book := captureLog(t)
				book.about = ""
				shadow := startScripted(t, scheme, &scripted{answer: always(tt.answer + "HTTP/1.1 500 Internal Server Error\r\nSet-Cookie: session=s3cret\r\nContent-Length: 0\r\n\r\n")})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				oneWorker(t, t.Name())
				const n = 100
				for i := 0; i < n; i++ {
					serve(h, postInvoice())
					settled(t, t.Name())
				}
				m := settled(t, t.Name())
				if m.counts.answers() != n || answeredWith(m, 5) != 0 {
					t.Errorf("%d of %d answered, %d with what came behind an answer", m.counts.answers(), n, answeredWith(m, 5))
				}
				if connections, _ := shadow.seen(); connections != n {
					t.Errorf("%d connections for %d requests, want one each", connections, n)
				}
				if text := strings.Join(book.lines(), "\n"); strings.Contains(text, "s3cret") || strings.Contains(text, t.Name()) {
					t.Errorf("logged %q", text)
				}
			})
		}
	}
}

// A shadow that refuses a large body answers before it has read it, and closes. That
// ends the writing, and the answer counts.
func TestAnswerBeforeTheBodyWasReadIsAnAnswer(t *testing.T) {
	captureLog(t)
	// With TLS it may see the end of the connection first.
	shadow := startScripted(t, "http", &scripted{
		answer: always("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
		early:  true, closes: true,
	})
	h := mirrorOver(t, shadow.url, echoLive, func(c *Config) { c.set("maxBodySize", "-1") })
	scan := strings.Repeat("scan", 2<<20)
	const n = 5
	for i := 0; i < n; i++ {
		serve(h, httptest.NewRequest(http.MethodPut, "/invoices/7/scan", strings.NewReader(scan)))
		settled(t, t.Name())
	}
	m := settled(t, t.Name())
	if answeredWith(m, 4) != n || m.counts.failed.Load() != 0 {
		t.Errorf("%d answered with 413 and %d failed, want %d and 0", answeredWith(m, 4), m.counts.failed.Load(), n)
	}
}

// After a while a connection is not used any more, though the shadow would keep it:
// its name may have moved to another address.
func TestConnectionsAreUsedForALimitedTime(t *testing.T) {
	tests := []struct {
		name string
		age  time.Duration
		want int
	}{{"past it, at every fourth use", time.Nanosecond, 3}, {"within it", time.Hour, 1}}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				shadow := startScripted(t, scheme, &scripted{answer: always(bookedAnswer)})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				oneWorker(t, t.Name()).shadow.maxAge = tt.age
				for i := 0; i < 10; i++ {
					serve(h, postInvoice())
					settled(t, t.Name())
				}
				if n, _ := shadow.seen(); n != tt.want {
					t.Errorf("10 requests took %d connections, want %d", n, tt.want)
				}
			})
		}
	}
}

// The lines of the head that the shadow gets, and how the body is framed.
func TestHeadOfACopy(t *testing.T) {
	trailing := func(req *http.Request) {
		req.ContentLength = -1
		req.TransferEncoding = []string{"chunked"}
		req.Trailer = http.Header{"X-Checksum": {"9f86d081"}}
	}
	without := func(method string) func(*http.Request) {
		return func(req *http.Request) {
			req.Method = method
			req.Body = http.NoBody
			req.ContentLength = 0
		}
	}
	shadowsHost := func(c *Config) { c.set("passHostHeader", "false") }
	const noLength = "\r\nContent-Length:"
	const noChunks = "\r\nTransfer-Encoding:"
	tests := []struct {
		name, base string
		set        func(*Config)
		alter      func(*http.Request)
		has        []string // HOST stands for the shadow's
		hasNot     []string
	}{
		{"a body", "", nil, func(*http.Request) {},
			[]string{"POST /invoices HTTP/1.1\r\n", "\r\nHost: example.com\r\n", "\r\nContent-Length: " + strconv.Itoa(len(invoice)) + "\r\n", "\r\n\r\n" + invoice}, []string{noChunks, "\r\nUser-Agent:", "\r\nConnection:"}},
		{"POST without a body", "", nil, without("POST"), []string{"\r\nContent-Length: 0\r\n"}, []string{noChunks}},
		{"PUT without a body", "", nil, without("PUT"), []string{"\r\nContent-Length: 0\r\n"}, []string{noChunks}},
		{"PATCH without a body", "", nil, without("PATCH"), []string{"\r\nContent-Length: 0\r\n"}, []string{noChunks}},
		{"GET", "", nil, without("GET"), nil, []string{noLength, noChunks}},
		{"HEAD", "", nil, without("HEAD"), nil, []string{noLength, noChunks}},
		{"DELETE", "", nil, without("DELETE"), nil, []string{noLength, noChunks}},
		{"OPTIONS", "", nil, without("OPTIONS"), nil, []string{noLength, noChunks}},
		{"a method of their own", "", nil, without("PURGE"), []string{"PURGE /invoices HTTP/1.1\r\n"}, []string{noLength, noChunks}},
		{"a User-Agent", "", nil, func(req *http.Request) { req.Header["User-Agent"] = []string{"billing/1"} }, []string{"\r\nUser-Agent: billing/1\r\n"}, nil},
		{"several User-Agents", "", nil, func(req *http.Request) { req.Header["User-Agent"] = []string{"billing/1", "billing/2"} }, []string{"\r\nUser-Agent: billing/1\r\n"}, []string{"billing/2"}},
		{"an empty User-Agent", "", nil, func(req *http.Request) { req.Header["User-Agent"] = []string{""} }, nil, []string{"\r\nUser-Agent:"}},
		{"User-Agent without a value", "", nil, func(req *http.Request) { req.Header["User-Agent"] = []string{} }, nil, []string{"\r\nUser-Agent:"}},
		{"Expect ends here", "", nil, func(req *http.Request) { req.Header["Expect"] = []string{"100-continue"} }, []string{"\r\n\r\n" + invoice}, []string{"\r\nExpect:"}},
		{"a Content-Length that is not the body's", "", nil, func(req *http.Request) { req.Header["Content-Length"] = []string{"7"} }, []string{"\r\nContent-Length: " + strconv.Itoa(len(invoice)) + "\r\n"}, []string{"Content-Length: 7"}},
		{"no Host, as with HTTP/1.0", "", nil, func(req *http.Request) { req.Host = "" }, []string{"\r\nHost: HOST\r\n"}, nil},
		{"the shadow's Host", "", shadowsHost, func(*http.Request) {}, []string{"\r\nHost: HOST\r\n"}, []string{"example.com"}},
		{"a base path", "/v2", nil, func(req *http.Request) { req.URL.RawQuery = "draft=1"; req.RequestURI += "?draft=1" }, []string{"POST /v2/invoices?draft=1 HTTP/1.1\r\n"}, nil},
		{"trailers", "", nil, trailing,
			[]string{"\r\nHost: example.com\r\n", "\r\nTransfer-Encoding: chunked\r\n", "\r\nTrailer: X-Checksum\r\n", invoice + "\r\n0\r\nX-Checksum: 9f86d081\r\n\r\n"}, []string{noLength, "\r\nUser-Agent:"}},
		{"trailers, and the shadow's Host", "", shadowsHost, trailing, []string{"\r\nHost: HOST\r\n", "X-Checksum: 9f86d081\r\n\r\n"}, []string{"example.com"}},
		{"trailers and a base path", "/v2", nil, trailing, []string{"POST /v2/invoices HTTP/1.1\r\n", "\r\nHost: example.com\r\n", "X-Checksum: 9f86d081\r\n\r\n"}, nil},
		{"trailers of a client that ends its connection", "", nil, func(req *http.Request) {
			trailing(req)
			req.Close = true
		}, []string{"X-Checksum: 9f86d081\r\n\r\n"}, []string{"\r\nConnection:"}},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startScripted(t, scheme, &scripted{answer: always("HTTP/1.1 204 No Content\r\n\r\n")})
				h := mirrorOver(t, shadow.url+tt.base, echoLive, tt.set)
				req := postInvoice()
				tt.alter(req)
				serve(h, req)
				m := settled(t, t.Name())
				_, requests := shadow.seen()
				if len(requests) != 1 {
					t.Fatalf("shadow got %q, want one request; %d failed: %v", requests, m.counts.failed.Load(), m.counts.lastErr)
				}
				for _, want := range tt.has {
					want = strings.Replace(want, "HOST", shadow.url[len(scheme+"://"):], 1)
					if !strings.Contains(requests[0], want) {
						t.Errorf("shadow got %q, want %q in it", requests[0], want)
					}
				}
				for _, no := range tt.hasNot {
					if strings.Contains(requests[0], no) {
						t.Errorf("shadow got %q, want no %q in it", requests[0], no)
					}
				}
			})
		}
	}
}

// Another plugin may set what net/http's server has looked at to something else. Nothing
// of it becomes a line of the head, or a request of its own.
func TestNothingIsInjectedIntoACopy(t *testing.T) {
	const lines = " HTTP/1.1\r\nX-Injected: 1\r\n\r\nDELETE /invoices HTTP/1.1\r\nHost: billing\r\nX-Injected: 2\r\n\r\n"
	tests := []struct {
		name  string
		alter func(*http.Request)
	}{
		{"query", func(req *http.Request) { req.URL.RawQuery = "a=b" + lines }},
		// As Traefik's own middlewares do that change the path.
		{"query, and RequestURI from it", func(req *http.Request) {
			req.URL.RawQuery = "a=b" + lines
			req.RequestURI = req.URL.RequestURI()
		}},
		{"line feed alone", func(req *http.Request) {
			req.URL.RawQuery = "a=b HTTP/1.1\nX-Injected: 1"
			req.RequestURI = req.URL.RequestURI()
		}},
		{"opaque URL", func(req *http.Request) {
			req.URL.Opaque = "/invoices" + lines
			req.RequestURI = req.URL.RequestURI()
		}},
		{"path", func(req *http.Request) {
			req.URL.Path = "/invoices" + lines
			req.URL.RawPath = "/invoices" + lines
			req.RequestURI = req.URL.RequestURI()
		}},
		{"method", func(req *http.Request) { req.Method = "GET /invoices" + lines }},
		{"method with a space", func(req *http.Request) { req.Method = "GET /other" }},
		{"empty method", func(req *http.Request) { req.Method = "" }},
		{"Host", func(req *http.Request) { req.Host = "billing\r\nX-Injected: 1" }},
		{"Host with a space", func(req *http.Request) { req.Host = "billing X-Injected: 1" }},
		{"Host with NUL", func(req *http.Request) { req.Host = "billing\x00" }},
		{"header", func(req *http.Request) { req.Header["X-Note"] = []string{"a\r\nX-Injected: 1"} }},
		{"header's name", func(req *http.Request) { req.Header["X-Note: a\r\nX-Injected"] = []string{"1"} }},
		{"User-Agent", func(req *http.Request) { req.Header["User-Agent"] = []string{"billing/1\r\nX-Injected: 1"} }},
		{"trailer", func(req *http.Request) { req.Trailer = http.Header{"X-Sum": {"a\r\nX-Injected: 1"}} }},
		{"trailer's name", func(req *http.Request) { req.Trailer = http.Header{"X-Sum\r\nX-Injected: 1\r\nX-Note": {"1"}} }},
		{"Host, with trailers", func(req *http.Request) {
			req.Host = "billing\r\nX-Injected: 1"
			req.Trailer = http.Header{"X-Sum": {"9f86"}}
		}},
		{"query, with trailers", func(req *http.Request) {
			req.URL.RawQuery = "a=b" + lines
			req.Trailer = http.Header{"X-Sum": {"9f86"}}
		}},
	}
	for _, scheme := range schemes {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startScripted(t, scheme, &scripted{answer: always(bookedAnswer)})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				m := mirrorCalled(t, t.Name())
				const n = 3 // as a worker remembers a Host that it has looked at
				for i := 0; i < n; i++ {
					req := postInvoice()
					tt.alter(req)
					if req.Trailer != nil {
						req.ContentLength = -1
						req.TransferEncoding = []string{"chunked"}
					}
					if rec := serve(h, req); rec.Code != http.StatusCreated {
						t.Errorf("client got %d, want 201", rec.Code)
					}
					settled(t, t.Name())
				}
				_, requests := shadow.seen()
				if len(requests) > n {
					t.Errorf("of %d requests the shadow made %d: %q", n, len(requests), requests)
				}
				for _, request := range requests {
					if strings.Contains(request, "\nX-Injected") || strings.HasPrefix(request, "DELETE") {
						t.Errorf("shadow got %q", request)
					}
				}
				serve(h, postInvoice())
				settled(t, t.Name())
				if _, after := shadow.seen(); len(after) != len(requests)+1 || m.counts.answers() == 0 {
					t.Errorf("shadow got %d requests after that, want the next one", len(after)-len(requests))
				}
			})
		}
	}
}

func TestShadowURLNamesWhatIsDialled(t *testing.T) {
	tests := []struct{ url, dials, names string }{
		{"http://billing-next", "billing-next:80", "billing-next"},
		{"http://billing-next:", "billing-next:80", "billing-next:"},
		{"http://billing-next:8080/v2", "billing-next:8080", "billing-next:8080"},
		{"https://billing-next", "billing-next:443", "billing-next"},
		{"https://billing-next:8443", "billing-next:8443", "billing-next:8443"},
		{"h2c://billing-next", "billing-next:80", "billing-next"},
		{"h2c://billing-next:50051", "billing-next:50051", "billing-next:50051"},
		{"http://192.0.2.7", "192.0.2.7:80", "192.0.2.7"},
		{"http://[2001:db8::7]", "[2001:db8::7]:80", "[2001:db8::7]"},
		{"http://[2001:db8::7]:8080", "[2001:db8::7]:8080", "[2001:db8::7]:8080"},
		{"http://bücher.example", "xn--bcher-kva.example:80", "xn--bcher-kva.example"},
		{"https://BÜCHER.example:8443", "xn--bcher-kva.example:8443", "xn--bcher-kva.example:8443"},
		{"http://[fe80::1%25eth0]", "[fe80::1%eth0]:80", "[fe80::1]"},
		{"https://[fe80::1%25eth0]:8443", "[fe80::1%eth0]:8443", "[fe80::1]:8443"},
	}
	for _, tt := range tests {
		target, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		if dials, names := hostsOf(target); dials != tt.dials || names != tt.names {
			t.Errorf("%s: dials %s and names %s, want %s and %s", tt.url, dials, names, tt.dials, tt.names)
		}
	}
}

func TestShadowWithAnIPv6Address(t *testing.T) {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no IPv6: %v", err)
		return
	}
	t.Cleanup(func() { ln.Close() })
	s := &scripted{answer: always(bookedAnswer), open: map[net.Conn]bool{}}
	go acceptScripted(ln, s)
	h := mirrorOver(t, "http://"+ln.Addr().String(), echoLive, func(c *Config) { c.set("passHostHeader", "false") })
	serve(h, postInvoice())
	settled(t, t.Name())
	if _, requests := s.seen(); len(requests) != 1 || !strings.Contains(requests[0], "\r\nHost: "+ln.Addr().String()+"\r\n") {
		t.Errorf("shadow got %q, want one request, with its address as the Host", requests)
	}
}

// A writeCounter is a connection that counts what is written to it.
type writeCounter struct{ writes, bytes int }

func (c *writeCounter) Read(_ []byte) (int, error) { return 0, io.EOF }
func (c *writeCounter) Write(p []byte) (int, error) {
	c.writes++
	c.bytes += len(p)
	return len(p), nil
}
func (c *writeCounter) Close() error                       { return nil }
func (c *writeCounter) LocalAddr() net.Addr                { return nil }
func (c *writeCounter) RemoteAddr() net.Addr               { return nil }
func (c *writeCounter) SetDeadline(_ time.Time) error      { return nil }
func (c *writeCounter) SetReadDeadline(_ time.Time) error  { return nil }
func (c *writeCounter) SetWriteDeadline(_ time.Time) error { return nil }

func TestLargeBodyGoesOutInOneWrite(t *testing.T) {
	scan := []byte(strings.Repeat("scan", 16<<10))
	counter := &writeCounter{}
	out := copyOf(postInvoice(), scan, background)
	if err := writeBody(&connection{conn: counter}, out); err != nil {
		t.Fatal(err)
	}
	if counter.writes != 1 || counter.bytes != len(scan) {
		t.Errorf("%d bytes in %d writes, want %d in one", counter.bytes, counter.writes, len(scan))
	}
}

// The one copy of a body is the one that live reads too: the way to the shadow makes
// no other.
func TestBodyIsNotCopiedForTheShadow(t *testing.T) {
	shadow := startSink(t, true)
	done := http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {})
	h := mirrorOver(t, "http://"+shadow.addr, done, nil)
	const size = 64 << 10
	const rounds, n = 10, 10
	scan := strings.Repeat("scan", size/4)
	rec := &httptest.ResponseRecorder{}
	before, after := &runtime.MemStats{}, &runtime.MemStats{}
	// The least of the rounds, since what other tests have left running allocates
	// too. A copy would be in all of them.
	least := uint64(math.MaxUint64)
	for round := 0; round < rounds; round++ {
		runtime.ReadMemStats(before)
		for i := 0; i < n; i++ {
			h.ServeHTTP(rec, httptest.NewRequest(http.MethodPut, "/invoices/7/scan", strings.NewReader(scan)))
			settled(t, t.Name())
		}
		runtime.ReadMemStats(after)
		if each := (after.TotalAlloc - before.TotalAlloc) / n; each < least {
			least = each
		}
	}
	t.Logf("%d bytes allocated for a body of %d", least, size)
	if m := mirrorCalled(t, t.Name()); m.counts.answers() != rounds*n || shadow.received.Load() != rounds*n*size {
		t.Fatalf("%d answered, and the shadow got %d bytes; want %d and %d", m.counts.answers(), shadow.received.Load(), rounds*n, rounds*n*size)
	}
	// What is not the body: the request's head, and the frames of the interpreter.
	if least > size+size/2 {
		t.Errorf("%d bytes allocated for each request, want the body of %d once", least, size)
	}
}

// A sink is a shadow that allocates nothing for a body.
type sink struct {
	addr     string
	received *atomic.Int64 // bytes of bodies
	open     *atomic.Int64 // connections
	gate     chan struct{} // it answers once this is closed
}

// startSink starts one whose gate is open, or not.
func startSink(t *testing.T, open bool) *sink {
	t.Helper()
	ln := listenOver(t, "http")
	s := &sink{addr: ln.Addr().String(), received: &atomic.Int64{}, open: &atomic.Int64{}, gate: make(chan struct{})}
	if open {
		close(s.gate)
	}
	go acceptSink(ln, s)
	return s
}

func acceptSink(ln net.Listener, s *sink) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.open.Add(1)
		go drainSink(conn, s)
	}
}

func drainSink(conn net.Conn, s *sink) {
	answerAll(conn, s)
	conn.Close()
	s.open.Add(-1)
}

func answerAll(conn net.Conn, s *sink) {
	r := bufio.NewReaderSize(conn, 512)
	answer := []byte(bookedAnswer)
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if bytes.HasPrefix(line, []byte("Content-Length: ")) {
				fmt.Sscan(string(line[len("Content-Length: "):]), &length)
			}
		}
		n, err := r.Discard(length)
		s.received.Add(int64(n))
		if err != nil {
			return
		}
		<-s.gate
		conn.Write(answer)
	}
}
