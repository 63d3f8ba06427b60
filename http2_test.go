package mirror

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The ways to a shadow over HTTP/2.
var schemes2 = []string{"h2", "h2c"}

// What is used here of the frames of HTTP/2 (RFC 9113, section 6).
const (
	dataFrame     = 0
	headersFrame  = 1
	resetFrame    = 3
	settingsFrame = 4
	pingFrame     = 6
	goAwayFrame   = 7

	endStream  = 1 // a flag
	endHeaders = 4 // a flag
	ack        = 1 // a flag

	protocolError = 1
	internalError = 2
	refusedStream = 7
)

// A framed shadow speaks HTTP/2, frame by frame, as the test says.
type framed struct {
	// answer is called for the nth request of all, from 1, when its head has come. It
	// returns false for a connection that is to go silent.
	answer func(conn net.Conn, stream uint32, n int) bool

	url string

	mu          sync.Mutex
	connections int
	open        map[net.Conn]bool
	requests    []frames
}

// frames is what has come of a request: the flags of its head, and of its data.
type frames struct {
	connection int // which one, from 1
	stream     uint32
	head       byte
	data       []byte
}

// startFramed has f speak until the test ends.
func startFramed(t *testing.T, scheme string, f *framed) *framed {
	t.Helper()
	ln := listenOver(t, scheme)
	f.url = strings.Replace(scheme, "h2", "https", 1) + "://" + ln.Addr().String()
	if scheme == "h2c" {
		f.url = "h2c://" + ln.Addr().String()
	}
	f.open = map[net.Conn]bool{}
	t.Cleanup(func() {
		ln.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		for conn := range f.open {
			conn.Close()
		}
	})
	go acceptFramed(ln, f)
	return f
}

func acceptFramed(ln net.Listener, f *framed) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.connections++
		n := f.connections
		f.open[conn] = true
		f.mu.Unlock()
		go converseFramed(f, conn, n)
	}
}

func converseFramed(f *framed, conn net.Conn, connection int) {
	defer func() {
		conn.Close()
		f.mu.Lock()
		delete(f.open, conn)
		f.mu.Unlock()
	}()
	r := bufio.NewReader(conn)
	if _, err := r.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return
	}
	writeFrame(conn, settingsFrame, 0, 0, "")
	speaks := true
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(r, head); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return
		}
		if !speaks {
			continue
		}
		stream := binary.BigEndian.Uint32(head[5:])
		switch head[3] {
		case settingsFrame:
			if head[4] != ack {
				writeFrame(conn, settingsFrame, ack, 0, "")
			}
		case pingFrame:
			if head[4] != ack {
				writeFrame(conn, pingFrame, ack, 0, string(payload))
			}
		case headersFrame:
			speaks = f.answer(conn, stream, f.note(frames{connection: connection, stream: stream, head: head[4]}))
		case dataFrame:
			f.noteData(connection, stream, head[4])
		}
	}
}

func (f *framed) note(r frames) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	return len(f.requests)
}

func (f *framed) noteData(connection int, stream uint32, flags byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.requests {
		if f.requests[i].connection == connection && f.requests[i].stream == stream {
			f.requests[i].data = append(f.requests[i].data, flags)
		}
	}
}

func (f *framed) seen() (open int, requests []frames) {
	f.mu.Lock()
	defer f.mu.Unlock()
	open = len(f.open)
	requests = append([]frames{}, f.requests...)
	return open, requests
}

// writeFrame writes a frame. In one write, for those of several goroutines may come at
// once.
func writeFrame(conn net.Conn, kind, flags byte, stream uint32, payload string) {
	n := len(payload)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[5:], stream)
	conn.Write(append(head, payload...))
}

// code is the payload of a frame that has an error's code at its end.
func code(before string, n byte) string { return before + "\x00\x00\x00" + string([]byte{n}) }

const status200 = "\x88" // HPACK: the eighth of its table

// field is a header in HPACK, as it is.
func field(name, value string) string {
	return "\x00" + string([]byte{byte(len(name))}) + name + string([]byte{byte(len(value))}) + value
}

// answerAll200 answers with a head and no body.
func answerEmpty(conn net.Conn, stream uint32, _ int) bool {
	writeFrame(conn, headersFrame, endHeaders|endStream, stream, status200)
	return true
}

// A request without a body ends with its head, as live's does. What follows a head in
// frames of data is a body, though it be empty, and not every server takes one.
func TestRequestWithoutABodyEndsWithItsHead(t *testing.T) {
	tests := []struct {
		method, contentType string
		inData              bool
	}{
		{"GET", "", false}, {"HEAD", "", false}, {"DELETE", "", false}, {"OPTIONS", "", false}, {"PURGE", "", false},
		{"POST", "", false}, {"PUT", "", false}, {"PATCH", "", false},
		// A call without messages, which a gRPC server takes in no other form.
		{"POST", "application/grpc", true},
	}
	for _, scheme := range schemes2 {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.method+tt.contentType, func(t *testing.T) {
				shadow := startFramed(t, scheme, &framed{answer: answerEmpty})
				h := mirrorOver(t, shadow.url, echoLive, func(c *Config) { c.set("bodyMode", "stream") })
				req := bodyless(tt.method)
				if tt.contentType != "" {
					req.Header.Set("Content-Type", tt.contentType)
				}
				serve(h, req)
				m := settled(t, t.Name())
				_, requests := shadow.seen()
				if len(requests) != 1 || m.counts.answers() != 1 {
					t.Fatalf("the shadow got %v and answered %d, want one: %v", requests, m.counts.answers(), m.counts.lastErr)
				}
				if tt.inData {
					eventually(t, "the end in a frame of data", func() bool {
						_, requests = shadow.seen()
						n := len(requests[0].data)
						return requests[0].head&endStream == 0 && n > 0 && requests[0].data[n-1]&endStream != 0
					})
				} else if requests[0].head&endStream == 0 {
					t.Errorf("the head has the flags %b, and frames of data follow: %v", requests[0].head, requests[0].data)
				}
			})
		}
	}
}

// What the shadow has got, and may have acted on, is not sent to it again, whatever it
// does then: net/http would, on another connection.
func TestNothingIsSentTwiceOverHTTP2(t *testing.T) {
	reset := func(n byte) func(net.Conn, uint32) {
		return func(conn net.Conn, stream uint32) { writeFrame(conn, resetFrame, 0, stream, code("", n)) }
	}
	tests := []struct {
		name string
		do   func(conn net.Conn, stream uint32)
	}{
		{"protocol error", reset(protocolError)},
		{"internal error", reset(internalError)},
		{"goes away, with none done", func(conn net.Conn, _ uint32) { writeFrame(conn, goAwayFrame, 0, 0, code("\x00\x00\x00\x00", 0)) }},
		{"goes away, with that done", func(conn net.Conn, stream uint32) {
			writeFrame(conn, goAwayFrame, 0, 0, code("\x00\x00\x00"+string([]byte{byte(stream)}), 0))
			conn.Close()
		}},
		{"hangs up", func(conn net.Conn, _ uint32) { conn.Close() }},
		{"talks nonsense", func(conn net.Conn, _ uint32) { io.WriteString(conn, strings.Repeat("nonsense", 10)) }},
	}
	for _, scheme := range schemes2 {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startFramed(t, scheme, &framed{answer: func(conn net.Conn, stream uint32, n int) bool {
					if n%2 == 1 {
						return answerEmpty(conn, stream, n)
					}
					tt.do(conn, stream)
					return true
				}})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				for _, method := range []string{"GET", "GET", "DELETE", "DELETE", "POST", "POST"} {
					serve(h, bodyless(method))
					settled(t, t.Name())
				}
				m := settled(t, t.Name())
				if _, requests := shadow.seen(); len(requests) != 6 || m.counts.answers() != 3 || m.counts.failed.Load() != 3 {
					t.Errorf("6 requests reached the shadow %d times, %d were answered and %d failed; want 6, 3 and 3: %v",
						len(requests), m.counts.answers(), m.counts.failed.Load(), m.counts.lastErr)
				}
			})
		}
	}
}

// A stream that the server refuses it has done nothing with, and says so.
func TestRefusedStreamIsSentAgain(t *testing.T) {
	for _, scheme := range schemes2 {
		t.Run(scheme, func(t *testing.T) {
			shadow := startFramed(t, scheme, &framed{answer: func(conn net.Conn, stream uint32, n int) bool {
				if n == 2 {
					writeFrame(conn, resetFrame, 0, stream, code("", refusedStream))
					return true
				}
				return answerEmpty(conn, stream, n)
			}})
			h := mirrorOver(t, shadow.url, echoLive, nil)
			serve(h, bodyless("GET"))
			settled(t, t.Name())
			serve(h, bodyless("GET"))
			m := settled(t, t.Name())
			if _, requests := shadow.seen(); len(requests) != 3 || m.counts.answers() != 2 || m.counts.failed.Load() != 0 {
				t.Errorf("2 requests reached the shadow %d times, %d were answered and %d failed; want 3, 2 and 0", len(requests), m.counts.answers(), m.counts.failed.Load())
			}
		})
	}
}

// forgetPings has net/http be one that cannot ping.
func forgetPings(x *multiplexer) {
	x.pings = false
	field := reflect.ValueOf(x.origin).Elem().FieldByName("HTTP2")
	field.Set(reflect.Zero(field.Type()))
}

// A connection that swallows what is sent on it, as one does behind a firewall that has
// forgotten it, is given up: the shadow is found again on another.
func TestConnectionThatGoesSilentIsGivenUp(t *testing.T) {
	tests := []struct {
		name     string
		maxPause string
		alter    func(*multiplexer)
	}{
		{"never left alone", "0", func(*multiplexer) {}},
		{"left alone", "1s", func(*multiplexer) {}},
		{"never left alone, without pings", "0", forgetPings},
		{"left alone, without pings", "1s", forgetPings},
	}
	for _, scheme := range schemes2 {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startFramed(t, scheme, &framed{answer: func(conn net.Conn, stream uint32, n int) bool {
					return n != 2 && answerEmpty(conn, stream, n)
				}})
				h := mirrorOver(t, shadow.url, echoLive, func(c *Config) {
					c.set("timeout", "300ms")
					c.set("maxPause", tt.maxPause)
				})
				m := mirrorCalled(t, t.Name())
				tt.alter(m.shadow.over2)
				serve(h, bodyless("GET"))
				settled(t, t.Name())
				serve(h, bodyless("GET"))
				settled(t, t.Name())
				if m.counts.answers() != 1 || m.counts.failed.Load() != 1 {
					t.Fatalf("%d answered and %d failed, want the second to fail", m.counts.answers(), m.counts.failed.Load())
				}
				eventually(t, "an answer on another connection", func() bool {
					serve(h, bodyless("GET"))
					settled(t, t.Name())
					return m.counts.answers() > 1
				})
			})
		}
	}
}

// With more in flight than the server lets a connection have, there are more
// connections; and none of the copies waits for ever.
func TestMoreInFlightThanStreams(t *testing.T) {
	for _, scheme := range schemes2 {
		for _, limit := range []int64{1, 2, 10} {
			t.Run(scheme+"/"+string([]byte{'0' + byte(limit/10), '0' + byte(limit%10)}), func(t *testing.T) {
				captureLog(t)
				shadow := startLimited(t, scheme, limit)
				h := mirrorOver(t, shadow.URL, echoLive, func(c *Config) { c.set("timeout", "10s") })
				m := mirrorCalled(t, t.Name())
				for round := 0; round < 5; round++ {
					for i := 0; i < 100; i++ {
						if i%2 == 0 {
							serve(h, bodyless("GET"))
						} else {
							serve(h, postInvoice())
						}
					}
					settled(t, t.Name())
				}
				if n := m.counts.answers(); n != 500 {
					t.Errorf("%d of 500 answered: %v", n, m.counts.lastErr)
				}
			})
		}
	}
}

// startLimited starts a shadow that takes no more than so many streams a connection.
func startLimited(t *testing.T, scheme string, limit int64) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		time.Sleep(5 * time.Millisecond)
	}))
	config := reflect.ValueOf(u.Config).Elem().FieldByName("HTTP2")
	limits := reflect.New(config.Type().Elem())
	limits.Elem().FieldByName("MaxConcurrentStreams").SetInt(limit)
	config.Set(limits)
	if scheme == "h2c" {
		speakH2C(u.Config)
		u.Start()
		u.URL = strings.Replace(u.URL, "http:", "h2c:", 1)
	} else {
		u.EnableHTTP2 = true
		u.StartTLS()
	}
	t.Cleanup(u.Close)
	return u
}

// After a while new connections take over, though the shadow would keep the old ones:
// its name may have moved to another address. The old ones end when they have been idle
// for a moment.
func TestConnectionsOverHTTP2AreUsedForALimitedTime(t *testing.T) {
	tests := []struct {
		name string
		age  time.Duration
		want int // connections
	}{{"past it", time.Nanosecond, 10}, {"within it", time.Hour, 1}}
	for _, scheme := range schemes2 {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				shadow := startFramed(t, scheme, &framed{answer: answerEmpty})
				h := mirrorOver(t, shadow.url, echoLive, nil)
				m := mirrorCalled(t, t.Name())
				m.shadow.over2.maxAge = tt.age
				for i := 0; i < 10; i++ {
					serve(h, bodyless("GET"))
					settled(t, t.Name())
				}
				_, requests := shadow.seen()
				connections := map[int]bool{}
				for _, r := range requests {
					connections[r.connection] = true
				}
				if len(requests) != 10 || len(connections) != tt.want || m.counts.failed.Load() != 0 {
					t.Errorf("10 requests, of which the shadow got %d, took %d connections, want %d", len(requests), len(connections), tt.want)
				}
				eventually(t, "all connections to end", func() bool {
					open, _ := shadow.seen()
					return open == 0
				})
			})
		}
	}
}

// While an exchange is under way on an old connection it goes on there.
func TestExchangeThatIsUnderWayOutlivesItsConnectionsAge(t *testing.T) {
	for _, scheme := range schemes2 {
		t.Run(scheme, func(t *testing.T) {
			shadow := startUpstreamOver(t, scheme)
			release := shadow.hang(t)
			h := mirrorOver(t, shadow.URL, echoLive, nil)
			m := mirrorCalled(t, t.Name())
			m.shadow.over2.maxAge = time.Nanosecond
			for i := 1; i <= 5; i++ {
				serve(h, postInvoice())
				shadow.wait(t, i)
			}
			release()
			settled(t, t.Name())
			remotes := map[string]bool{}
			for _, r := range shadow.snapshot() {
				remotes[r.remote] = true
				if r.body != invoice || r.proto != "HTTP/2.0" {
					t.Errorf("the shadow got %q over %s, want the invoice over HTTP/2.0", r.body, r.proto)
				}
			}
			if len(remotes) != 5 || m.counts.answers() != 5 {
				t.Errorf("%d answered on %d connections, want 5 on 5", m.counts.answers(), len(remotes))
			}
		})
	}
}

// The servers behind a name may change what they speak, and those of one name may speak
// different protocols for a while.
func TestProtocolOfAShadowMayChange(t *testing.T) {
	captureLog(t)
	old := &atomic.Bool{}
	shadow := &upstream{}
	shadow.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		shadow.mu.Lock()
		defer shadow.mu.Unlock()
		shadow.requests = append(shadow.requests, received{body: string(body), proto: req.Proto})
	}))
	shadow.EnableHTTP2 = true
	shadow.TLS = &tls.Config{GetConfigForClient: func(_ *tls.ClientHelloInfo) (*tls.Config, error) {
		config := shadow.TLS.Clone()
		config.GetConfigForClient = nil
		if old.Load() {
			config.NextProtos = []string{"http/1.1"}
		}
		return config, nil
	}}
	shadow.StartTLS()
	t.Cleanup(shadow.Close)
	h := mirrorOver(t, shadow.URL, echoLive, nil)
	m := oneWorker(t, t.Name())
	m.shadow.maxAge = time.Nanosecond
	m.shadow.over2.maxAge = time.Nanosecond
	n := 0
	for _, proto := range []string{"HTTP/2.0", "HTTP/1.1", "HTTP/2.0", "HTTP/1.1"} {
		old.Store(proto == "HTTP/1.1")
		for i := 0; i < 8; i++ {
			serve(h, postInvoice())
			settled(t, t.Name())
			n++
			got := shadow.snapshot()
			if len(got) != n || got[n-1].body != invoice {
				t.Fatalf("the shadow got %d requests, the last over %s, want %d: %v", len(got), got[len(got)-1].proto, n, m.counts.lastErr)
			}
			// A connection of HTTP/1.1 is used for up to four exchanges more.
			if i > 4 && got[n-1].proto != proto {
				t.Errorf("the shadow got a request over %s, want %s", got[n-1].proto, proto)
			}
		}
	}
	if m.counts.failed.Load() != 0 {
		t.Errorf("%d failed, want none: %v", m.counts.failed.Load(), m.counts.lastErr)
	}
}

// The copy that the shadow gets over HTTP/2.
func TestCopyOverHTTP2(t *testing.T) {
	tests := []struct {
		name  string
		base  string
		set   func(*Config)
		alter func(*http.Request)
		check func(got received, addr string) bool
	}{
		{"a body", "", nil, func(*http.Request) {}, func(got received, _ string) bool {
			return got.method == "POST" && got.uri == "/invoices" && got.host == "example.com" && got.body == invoice && got.length == int64(len(invoice))
		}},
		{"a base path and a query", "/v2", nil, func(req *http.Request) { req.URL.RawQuery = "draft=1"; req.RequestURI += "?draft=1" }, func(got received, _ string) bool {
			return got.uri == "/v2/invoices?draft=1" && got.body == invoice
		}},
		{"the shadow's Host", "", func(c *Config) { c.set("passHostHeader", "false") }, func(*http.Request) {}, func(got received, addr string) bool {
			return got.host == addr
		}},
		{"no User-Agent", "", nil, func(*http.Request) {}, func(got received, _ string) bool {
			return got.header["User-Agent"] == nil
		}},
		// Nobody has to be asked whether to send the body, which is there.
		{"Expect ends here", "", nil, func(req *http.Request) { req.Header.Set("Expect", "100-continue") }, func(got received, _ string) bool {
			return got.header["Expect"] == nil && got.body == invoice
		}},
		{"trailers", "", nil, func(req *http.Request) {
			req.ContentLength = -1
			req.TransferEncoding = []string{"chunked"}
			req.Trailer = http.Header{"X-Checksum": {"9f86d081"}}
		}, func(got received, _ string) bool {
			return got.body == invoice && got.trailer.Get("X-Checksum") == "9f86d081"
		}},
		{"a large body", "", nil, func(req *http.Request) {
			req.Body = io.NopCloser(strings.NewReader(large))
			req.ContentLength = int64(len(large))
		}, func(got received, _ string) bool { return got.body == large }},
	}
	for _, scheme := range schemes2 {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				captureLog(t)
				shadow := startUpstreamOver(t, scheme)
				h := mirrorOver(t, shadow.URL+tt.base, echoLive, tt.set)
				req := postInvoice()
				tt.alter(req)
				serve(h, req)
				m := settled(t, t.Name())
				got := shadow.snapshot()
				if len(got) != 1 || got[0].proto != "HTTP/2.0" || !tt.check(got[0], shadow.Listener.Addr().String()) {
					t.Errorf("the shadow got %+v; %v", got, m.counts.lastErr)
				}
			})
		}
	}
}

// Nothing of what a shadow says gets into a log, however wrong it is.
func TestNothingThatAShadowSaysOverHTTP2IsLogged(t *testing.T) {
	const secret = "session=s3cret"
	tests := []struct {
		name   string
		answer string // to h2c's preface; "": as do says
		do     func(conn net.Conn, stream uint32)
	}{
		{"HTTP/1.1", "HTTP/1.1 200 OK\r\nSet-Cookie: " + secret + "\r\n\r\n", nil},
		{"an invalid header's name", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, headersFrame, endHeaders|endStream, stream, status200+field("Set-Cookie "+secret, "1"))
		}},
		{"an invalid header's value", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, headersFrame, endHeaders|endStream, stream, status200+field("set-cookie", secret+"\r\n"))
		}},
		{"a status that is no number", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, headersFrame, endHeaders|endStream, stream, field(":status", secret))
		}},
		{"no status", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, headersFrame, endHeaders|endStream, stream, field("set-cookie", secret))
		}},
		{"a length that is no number", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, headersFrame, endHeaders, stream, status200+field("content-length", secret))
		}},
		{"going away", "", func(conn net.Conn, _ uint32) {
			writeFrame(conn, goAwayFrame, 0, 0, code("\x00\x00\x00\x00", internalError)+secret)
			conn.Close()
		}},
		{"more than its length", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, headersFrame, endHeaders, stream, status200+field("content-length", "1"))
			writeFrame(conn, dataFrame, endStream, stream, secret)
			writeFrame(conn, dataFrame, endStream, stream, secret)
		}},
		{"data before a head", "", func(conn net.Conn, stream uint32) { writeFrame(conn, dataFrame, endStream, stream, secret) }},
		{"data that nobody asked for", "", func(conn net.Conn, stream uint32) {
			answerEmpty(conn, stream, 0)
			writeFrame(conn, dataFrame, endStream, stream+2, secret)
		}},
		{"a frame of no kind", "", func(conn net.Conn, stream uint32) {
			writeFrame(conn, 99, 0, stream, secret)
			answerEmpty(conn, stream, 0)
		}},
	}
	for _, scheme := range schemes2 {
		for _, tt := range tests {
			t.Run(scheme+"/"+tt.name, func(t *testing.T) {
				book := captureLog(t)
				book.about = ""
				h := reporterFor(t)
				shadow := startFramed(t, scheme, &framed{answer: func(conn net.Conn, stream uint32, _ int) bool {
					if tt.do == nil {
						io.WriteString(conn, tt.answer)
						return false
					}
					tt.do(conn, stream)
					return true
				}})
				m := mirrorOver(t, shadow.url, echoLive, func(c *Config) { c.set("timeout", "300ms") })
				for i := 0; i < 3; i++ {
					serve(m, postInvoice())
					settled(t, t.Name())
				}
				if _, requests := shadow.seen(); len(requests) == 0 {
					t.Error("the shadow got no request")
				}
				if text := strings.Join(book.lines(), "\n"); strings.Contains(text, "s3cret") {
					t.Errorf("logged %q", text)
				}
				if r := reported(t, h); strings.Contains(r.State.LastError, "s3cret") {
					t.Errorf("the report says %q", r.State.LastError)
				}
			})
		}
	}
}

// What a Traefik that was built with an older Go has is less than this.
func TestOlderGoHasNoHTTP2ToConfigure(t *testing.T) {
	older := &struct{ ForceAttemptHTTP2 bool }{}
	if configureHTTP2(older, time.Second) || speakH2C(older) {
		t.Error("something was configured that is not there")
	}
	newer := &http.Transport{}
	if !configureHTTP2(newer, time.Second) || !speakH2C(newer) {
		t.Error("nothing was configured")
	}
}

// No exchange has its connection pinged so often that a gRPC server takes offence.
func TestPingsDependOnTheTimeout(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		time.Second: 2 * time.Second, 5 * time.Second: 2 * time.Second, 30 * time.Second: 10 * time.Second,
	} {
		transport := &http.Transport{}
		configureHTTP2(transport, timeout)
		config := reflect.ValueOf(transport).Elem().FieldByName("HTTP2").Elem()
		if got := time.Duration(config.FieldByName("SendPingTimeout").Int()); got != want {
			t.Errorf("timeout %s: a ping after %s, want %s", timeout, got, want)
		}
	}
}

func TestH2CIsAMistakeWithAnOlderGo(t *testing.T) {
	captureLog(t)
	before := canH2C
	t.Cleanup(func() { canH2C = before })
	for _, can := range []bool{true, false} {
		canH2C = can
		config := CreateConfig()
		config.set("url", "h2c://billing-next:50051")
		o := config.parse()
		if can && o.mistaken != 0 {
			t.Errorf("refused: %s", o.remark())
		}
		if want := `url: "h2c://billing-next:50051": takes an http or https URL: h2c needs a Traefik that was built with Go 1.24 or newer`; !can && (o.mistaken != 1 || !strings.Contains(o.remark(), want)) {
			t.Errorf("%d mistakes, %q, want %q", o.mistaken, o.remark(), want)
		}
	}
}

// Connections that had their time leave nothing behind, and those of options that have
// changed end.
func TestConnectionsOverHTTP2LeaveNothingBehind(t *testing.T) {
	shadow := startFramed(t, "h2", &framed{answer: answerEmpty})
	h := mirrorOver(t, shadow.url, echoLive, nil)
	m := mirrorCalled(t, t.Name())
	m.shadow.over2.maxAge = time.Nanosecond
	send := func(n int) {
		for i := 0; i < n; i++ {
			serve(h, postInvoice())
			settled(t, t.Name())
		}
	}
	ended := func() bool {
		open, _ := shadow.seen()
		return open == 0
	}
	send(20)
	eventually(t, "the connections to end", ended)
	before := heap()
	send(200)
	eventually(t, "the connections to end", ended)
	// 200 transports, and what the interpreter keeps of each, would be several times that.
	const most = 1 << 20
	if n := grown(before, most); n > most {
		t.Errorf("%d bytes more after 200 connections", n)
	}
	m.shadow.over2.mu.Lock()
	m.shadow.over2.maxAge = time.Hour
	m.shadow.over2.mu.Unlock()
	send(1)
	m.shadow.retire()
	eventually(t, "the last connection to end", ended)
}

// While they wait for the next copy, workers hold no body of the last.
func TestIdleWorkersHoldNoBodiesOverHTTP2(t *testing.T) {
	gate := make(chan bool)
	received := &atomic.Int64{}
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		n, _ := io.Copy(io.Discard, req.Body)
		received.Add(n)
		<-gate
	}))
	u.EnableHTTP2 = true
	u.StartTLS()
	t.Cleanup(u.Close)
	done := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { drainBody(req) })
	h := mirrorOver(t, u.URL, done, nil)
	m := mirrorCalled(t, t.Name())
	tendedByHand(m.shadow)
	const n, most = 20, 6 << 20
	scan := strings.Repeat("scan", 1<<18)
	before := heap()
	for i := 0; i < n; i++ {
		put(h, scan)
	}
	eventually(t, "all bodies at the shadow", func() bool { return received.Load() == int64(n*len(scan)) })
	close(gate)
	settled(t, t.Name())
	awaitIdle(t, m.shadow, n+1)
	if held := grown(before, most); held > most {
		t.Errorf("%d idle workers hold %d bytes after bodies of 1 MiB, want %d at most", n, held, most)
	}
}

func TestLimitIsReadFromTheFirstFrame(t *testing.T) {
	const head = "\x04\x00\x00\x00\x00\x00" // settings, no flags, of the connection
	tests := []struct {
		name, frame string
		want        int64 // 0: an error
	}{
		{"no settings", "\x00\x00\x00" + head, math.MaxInt64},
		{"a limit", "\x00\x00\x06" + head + "\x00\x03\x00\x00\x00\x80", 128},
		{"among others", "\x00\x00\x12" + head + "\x00\x04\x00\x00\xff\xff\x00\x03\x00\x00\x00\x0a\x00\x05\x00\x00\x40\x00", 10},
		{"none for now", "\x00\x00\x06" + head + "\x00\x03\x00\x00\x00\x00", 1},
		{"the largest", "\x00\x00\x06" + head + "\x00\x03\xff\xff\xff\xff", math.MaxUint32},
		{"a part", "\x00\x00\x05" + head + "\x00\x03\x00\x00\x00", 0},
		{"cut off", "\x00\x00\x06" + head + "\x00\x03", 0},
		{"too large", "\xff\xff\xfc" + head, 0},
		{"another frame", "\x00\x00\x00\x07\x00\x00\x00\x00\x00", 0},
		{"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\n\r\n", 0},
		{"nothing", "", 0},
	}
	for _, tt := range tests {
		got, err := readLimit(strings.NewReader(tt.frame))
		if got != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%s: %d (%v), want %d", tt.name, got, err, tt.want)
		}
	}
}
