package mirror

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestShadowRequestHeaders(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		sent http.Header
		want http.Header // a nil value: absent
	}{
		{"hop-by-hop headers end here", nil,
			http.Header{"Connection": {"close, X-Session"}, "X-Session": {"s"}, "Keep-Alive": {"9"}, "Te": {"trailers, deflate"}, "Proxy-Authorization": {"Basic eA=="}},
			http.Header{"Connection": nil, "X-Session": nil, "Keep-Alive": nil, "Te": {"trailers"}, "Proxy-Authorization": nil}},
		{"the marker cannot be removed", nil,
			http.Header{"Connection": {"X-Mirrored-By"}},
			http.Header{"X-Mirrored-By": {"TestShadowRequestHeaders/the_marker_cannot_be_removed"}}},
		{"the client's address is appended", nil,
			http.Header{"X-Forwarded-For": {"203.0.113.7"}}, http.Header{"X-Forwarded-For": {"203.0.113.7, 192.0.2.1"}}},
		{"values stay separate and in order", nil,
			http.Header{"X-Line": {"b", "", "a"}}, http.Header{"X-Line": {"b", "", "a"}}},
		{"Accept-Encoding as Traefik asks for it", nil, http.Header{}, http.Header{"Accept-Encoding": {"gzip"}}},
		{"the client's Accept-Encoding", nil, http.Header{"Accept-Encoding": {"br"}}, http.Header{"Accept-Encoding": {"br"}}},
		{"no User-Agent stays none", nil, http.Header{}, http.Header{"User-Agent": nil}},
		{"set", func(c *Config) {
			c.CustomRequestHeaders = map[string]string{"x-environment": "shadow", "X-Line": "one"}
		},
			http.Header{"X-Line": {"a", "b"}}, http.Header{"X-Environment": {"shadow"}, "X-Line": {"one"}}},
		{"removed though the transport would add them", func(c *Config) {
			c.CustomRequestHeaders = map[string]string{"User-Agent": "", "Accept-Encoding": ""}
		},
			http.Header{"User-Agent": {"curl/8"}, "Accept-Encoding": {"gzip"}}, http.Header{"User-Agent": nil, "Accept-Encoding": nil}},
		{"a range is asked for as it is", nil, http.Header{"Range": {"bytes=0-9"}}, http.Header{"Accept-Encoding": nil}},
		{"removed", func(c *Config) {
			c.CustomRequestHeaders = map[string]string{"authorization": "", "Cookie": "", "X-Forwarded-For": ""}
		},
			http.Header{"Authorization": {"Bearer x"}, "Cookie": {"session=1"}},
			http.Header{"Authorization": nil, "Cookie": nil, "X-Forwarded-For": nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				for name := range tt.sent {
					if strings.Join(req.Header[name], "|") != strings.Join(tt.sent[name], "|") {
						t.Errorf("live got %s %q, want %q as sent", name, req.Header[name], tt.sent[name])
					}
				}
			}), tt.set)
			req := postInvoice()
			for name, value := range tt.sent {
				req.Header[name] = value
			}
			serve(h, req)
			got := shadow.wait(t, 1)[0]
			for name, want := range tt.want {
				if strings.Join(got.header[name], "|") != strings.Join(want, "|") || len(got.header[name]) != len(want) {
					t.Errorf("shadow got %s %q, want %q", name, got.header[name], want)
				}
			}
		})
	}
}

func TestShadowAddress(t *testing.T) {
	tests := []struct {
		name, base, target string
		set                func(*Config)
		wantURI, wantHost  string // wantHost "": the shadow's own
	}{
		{"no base path", "", "/invoices", nil, "/invoices", "example.com"},
		{"slash", "/", "/invoices", nil, "/invoices", "example.com"},
		{"base path", "/v2", "/invoices?a=1", nil, "/v2/invoices?a=1", "example.com"},
		{"base path with a slash", "/v2/", "/invoices", nil, "/v2/invoices", "example.com"},
		{"escapes on both sides", "/v%2F2", "/a%2Fb", nil, "/v%2F2/a%2Fb", "example.com"},
		{"root", "/v2", "/", nil, "/v2/", "example.com"},
		{"the shadow's Host", "", "/invoices", func(c *Config) { c.PassHostHeader = "false" }, "/invoices", ""},
		{"a Host of its own", "", "/invoices", func(c *Config) { c.CustomRequestHeaders = map[string]string{"host": "shadow.example"} }, "/invoices", "shadow.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL+tt.base, echoLive, tt.set)
			req := postInvoice()
			req.URL, _ = req.URL.Parse(tt.target)
			serve(h, req)
			got := shadow.wait(t, 1)[0]
			wantHost := tt.wantHost
			if wantHost == "" {
				wantHost = strings.TrimPrefix(shadow.URL, "http://")
			}
			if got.uri != tt.wantURI || got.host != wantHost {
				t.Errorf("shadow got %s for host %s, want %s for %s", got.uri, got.host, tt.wantURI, wantHost)
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	shadow := startUpstream(t)
	shadow.answer = func(rw http.ResponseWriter, req *http.Request) {
		http.Redirect(rw, req, "/again", http.StatusTemporaryRedirect)
	}
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	serve(h, postInvoice())
	m := settled(t, t.Name())
	if n := len(shadow.snapshot()); n != 1 || m.counts.answers() != 1 {
		t.Errorf("shadow got %d requests, %d counted as mirrored; want 1 and 1", n, m.counts.answers())
	}
}

func TestConnectionsAreKept(t *testing.T) {
	shadow := startUpstream(t)
	opened := &atomic.Int64{}
	addresses := &sync.Map{}
	shadow.answer = func(rw http.ResponseWriter, req *http.Request) {
		if _, known := addresses.LoadOrStore(req.RemoteAddr, true); !known {
			opened.Add(1)
		}
	}
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	for i := 0; i < 50; i++ {
		serve(h, postInvoice())
		settled(t, t.Name())
	}
	if n := opened.Load(); n > 2 {
		t.Errorf("50 requests one after the other took %d connections, want them kept", n)
	}
}

// A shadow that closes what it kept open, as one that restarts does, costs no copy.
func TestConnectionsThatTheShadowClosedAreNotUsed(t *testing.T) {
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	for i := 1; i <= 5; i++ {
		serve(h, postInvoice())
		m := settled(t, t.Name())
		if n := m.counts.answers(); n != int64(i) {
			t.Fatalf("mirrored %d of %d", n, i)
		}
		shadow.CloseClientConnections()
		time.Sleep(500 * time.Millisecond) // for the news to arrive
	}
}

// A misbehaving shadow answers each connection with bytes of its choosing.
func TestShadowThatMisbehavesIsCountedAndLetGo(t *testing.T) {
	tests := []struct {
		name, answer string
		wantFailed   int64
	}{
		{"closes at once", "", 1},
		{"rubbish", "SSH-2.0-OpenSSH_9.2\r\n", 1},
		{"header without a colon", "HTTP/1.1 200 OK\r\nSet-Cookie session=s3cret\r\n\r\n", 1},
		{"body shorter than announced", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 1},
		{"broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 1},
		{"switches protocols unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 1},
		{"informational answers without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 50), 1},
		{"header without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 2*maxAnswerHeader/1000), 1},
		{"500", "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 0},
		{"body larger than is read", "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", maxAnswer+1), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			book := captureLog(t)
			ln := answerWith(t, tt.answer)
			h := mirrorTo(t, "http://"+ln.Addr().String(), echoLive, nil)
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

// answerWith serves each connection the same bytes once a request has begun.
func answerWith(t *testing.T, answer string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go answerConnections(ln, answer)
	return ln
}

func answerConnections(ln net.Listener, answer string) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go answerConnection(conn, answer)
	}
}

func answerConnection(conn net.Conn, answer string) {
	defer conn.Close()
	if answer == "" {
		return
	}
	if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		io.Copy(io.Discard, req.Body)
		io.WriteString(conn, answer)
	}
}

func TestTimeoutEndsTheExchange(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.Timeout = "50ms" })
	serve(h, postInvoice())
	m := settled(t, t.Name())
	if m.counts.failed.Load() != 1 {
		t.Errorf("failed %d, want 1", m.counts.failed.Load())
	}
	if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], "no whole answer within the timeout") {
		t.Errorf("logged %q, want one line about the timeout", lines)
	}
}

func TestPanicInTheShadowLegIsContained(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.MaxInFlight = "1" })
	m := mirrorCalled(t, t.Name())
	mirrored := m.shadow.mirrored
	m.shadow.mirrored = nil
	for i := 1; i <= 3; i++ {
		if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated {
			t.Errorf("client got %d, want 201", rec.Code)
		}
		settled(t, t.Name())
	}
	if m.counts.failed.Load() != 3 {
		t.Errorf("failed %d, want 3", m.counts.failed.Load())
	}
	if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], "panic in the plugin") {
		t.Errorf("logged %q, want one line that names the panic", lines)
	}
	m.shadow.mirrored = mirrored
	serve(h, postInvoice())
	shadow.wait(t, 4)
	settled(t, t.Name())
}

// A shadow that dies under a kept connection must not be sent the request
// again, which net/http's transport would do.
func TestNothingIsRetried(t *testing.T) {
	tests := []struct{ method, header string }{
		{"GET", ""}, {"HEAD", ""}, {"OPTIONS", ""}, {"POST", "Idempotency-Key"}, {"DELETE", "Idempotency-Key"},
	}
	for _, tt := range tests {
		t.Run(tt.method+tt.header, func(t *testing.T) {
			captureLog(t)
			requests := &atomic.Int64{}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			go answerOnceThenHangUp(ln, requests)
			h := mirrorTo(t, "http://"+ln.Addr().String(), echoLive, nil)
			for i := 0; i < 2; i++ {
				req := postInvoice()
				req.Method = tt.method
				req.Body = http.NoBody
				req.ContentLength = 0
				if tt.header != "" {
					req.Header.Set(tt.header, "2026-0042")
				}
				serve(h, req)
				settled(t, t.Name())
				// Let the transport take the connection back.
				time.Sleep(20 * time.Millisecond)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("2 requests reached the shadow %d times", n)
			}
		})
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
