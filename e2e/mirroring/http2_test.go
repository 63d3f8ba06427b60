package mirroring

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A shadowProtocol is a way in which shadows are reached.
type shadowProtocol struct {
	name   string
	tls    bool
	http2  bool
	scheme string
	proto  string
}

var shadowProtocols = []shadowProtocol{
	{"http", false, false, "http", "HTTP/1.1"},
	{"https", true, false, "https", "HTTP/1.1"},
	{"https-http2", true, true, "https", "HTTP/2.0"},
	{"h2c", false, true, "h2c", "HTTP/2.0"}, // the last: see protocolsOf
}

// protocolsOf are those that the plugin speaks in the Traefik under test.
func protocolsOf(t *testing.T) []shadowProtocol {
	t.Helper()
	if testbed.MustUsedRelease(t).HasH2C() {
		return shadowProtocols
	}
	return shadowProtocols[:len(shadowProtocols)-1]
}

// runShadow starts a shadow that speaks p, and returns the options for it.
func (p shadowProtocol) runShadow(t *testing.T, handler http.Handler) (*testbed.Upstream, testbed.Values) {
	t.Helper()
	opts := testbed.UpstreamOptions{Name: "shadow", Handler: handler, HTTP2: p.http2}
	options := testbed.Values{}
	if p.tls {
		ca := newCA(t)
		cert, err := ca.Certificate("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		options["tls"] = testbed.Values{"rootCAs": string(ca.PEM())}
	}
	u := testbed.RunUpstream(t, opts)
	options["url"] = p.scheme + "://" + u.Addr()
	return u, options
}

// What the shadow gets by each protocol: a request without a body ends with its head, as
// live's does, and none waits for a 100 Continue, which this shadow never sends.
func TestProtocolsOfTheShadow(t *testing.T) {
	// As Traefik's own mirroring behind this one: a body that may be there, and is not,
	// is an error.
	strict := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.ContentLength < 0 {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	dynamic := billing(live)
	shadows := map[string]*testbed.Upstream{}
	protocols := protocolsOf(t)
	for _, p := range protocols {
		u, options := p.runShadow(t, strict)
		shadows[p.name] = u
		dynamic.Mirror(p.name, options).Router(p.name, testbed.RuleOf(p.name), "billing", p.name)
	}
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: dynamic})
	tests := []struct {
		name, body string
		request    func(host string) string
	}{
		{"GET", "", func(host string) string { return head("GET", "/invoices/2024-00117", host) }},
		{"HEAD", "", func(host string) string { return head("HEAD", "/invoices/2024-00117", host) }},
		{"DELETE", "", func(host string) string { return head("DELETE", "/invoices/2024-00117", host) }},
		{"OPTIONS", "", func(host string) string { return head("OPTIONS", "/invoices", host) }},
		{"POST without a body", "", func(host string) string { return sized("POST", "/invoices", host, "") }},
		{"POST", invoice, func(host string) string { return sized("POST", "/invoices", host, invoice) }},
		{"POST of 300 KiB", testbed.Payload(300 << 10), func(host string) string { return sized("POST", "/invoices", host, testbed.Payload(300<<10)) }},
		{"Expect", invoice, func(host string) string { return sized("POST", "/invoices", host, invoice, "Expect: 100-continue") }},
	}
	for _, p := range protocols {
		for _, test := range tests {
			t.Run(p.name+"/"+test.name, func(t *testing.T) {
				shadow := shadows[p.name]
				shadow.Reset()
				expect(t, traefik, http.StatusOK, test.request(testbed.HostOf(p.name)))
				r := recorded(t, shadow, 1)[0]
				if r.Proto != p.proto || string(r.Body) != test.body || r.ContentLength != int64(len(test.body)) || r.Header.Get("Expect") != "" {
					t.Errorf("the shadow got %s %s with %d bytes of a length of %d and Expect %q; want %d bytes over %s",
						r.Proto, r.Method, r.BodySize, r.ContentLength, r.Header.Get("Expect"), len(test.body), p.proto)
				}
			})
		}
	}
	if strings.Contains(traefik.Log(), "the shadow failed") {
		t.Error("the log tells of a failure")
	}
}

// A server that lets a connection have few streams gets all copies all the same.
func TestShadowWithFewStreams(t *testing.T) {
	ca := newCA(t)
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	dynamic := billing(live)
	limits := []int{1, 2, 10}
	got := map[int]*atomic.Int64{}
	for _, limit := range limits {
		name := fmt.Sprintf("streams-%d", limit)
		n := &atomic.Int64{}
		got[limit] = n
		server := &http.Server{
			HTTP2:     &http.HTTP2Config{MaxConcurrentStreams: limit},
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				io.Copy(io.Discard, req.Body)
				time.Sleep(20 * time.Millisecond)
				n.Add(1)
			}),
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go server.ServeTLS(listener, "", "")
		t.Cleanup(func() { server.Close() })
		// Places for two rounds: the shadow has counted a copy before its place is free again.
		options := testbed.Values{"url": "https://" + listener.Addr().String(), "maxInFlight": 200, "timeout": "20s", "tls": testbed.Values{"rootCAs": string(ca.PEM())}}
		dynamic.Mirror(name, options).Router(name, testbed.RuleOf(name), "billing", name)
	}
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: dynamic})
	for _, limit := range limits {
		name := fmt.Sprintf("streams-%d", limit)
		t.Run(name, func(t *testing.T) {
			const clients, each = 100, 3
			for round := range each {
				var done sync.WaitGroup
				for range clients {
					done.Add(1)
					go func() {
						defer done.Done()
						expect(t, traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf(name), invoice))
					}()
				}
				done.Wait()
				testbed.Eventually(t, patience, func() error {
					if n, want := got[limit].Load(), int64((round+1)*clients); n != want {
						return fmt.Errorf("the shadow got %d requests, want %d", n, want)
					}
					return nil
				})
			}
		})
	}
}

// Whatever a shadow answers, and however wrong, nothing of it is in Traefik's log, even
// at DEBUG.
func TestNothingOfTheShadowsAnswersIsLogged(t *testing.T) {
	const secret = "session-s3cret"
	ca := newCA(t)
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	// over1 answers each request, and what comes behind the answer belongs to none.
	over1 := func(conn net.Conn) {
		for r := bufio.NewReader(conn); ; {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokSet-Cookie: "+secret+"\r\n")
		}
	}
	malformed := func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nSet-Cookie "+secret+"\r\n\r\n")
		}
	}
	over2 := func(do func(f *http2.Framer, stream uint32)) func(conn net.Conn) {
		return func(conn net.Conn) {
			r := bufio.NewReader(conn)
			if _, err := r.Discard(len(http2.ClientPreface)); err != nil {
				return
			}
			f := http2.NewFramer(conn, r)
			f.WriteSettings()
			for {
				frame, err := f.ReadFrame()
				if err != nil {
					return
				}
				if h, ok := frame.(*http2.HeadersFrame); ok {
					do(f, h.StreamID)
				}
			}
		}
	}
	fields := func(pairs ...string) []byte {
		var b bytes.Buffer
		e := hpack.NewEncoder(&b)
		for i := 0; i < len(pairs); i += 2 {
			e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return b.Bytes()
	}
	answer := func(f *http2.Framer, stream uint32, end bool, pairs ...string) {
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: fields(pairs...), EndHeaders: true, EndStream: end})
	}
	goesAway := over2(func(f *http2.Framer, _ uint32) { f.WriteGoAway(0, http2.ErrCodeInternal, []byte(secret)) })
	badName := over2(func(f *http2.Framer, stream uint32) {
		answer(f, stream, true, ":status", "200", "Set Cookie "+secret, "1")
	})
	badStatus := over2(func(f *http2.Framer, stream uint32) { answer(f, stream, true, ":status", secret) })
	surplus := over2(func(f *http2.Framer, stream uint32) {
		answer(f, stream, false, ":status", "200", "content-length", "2")
		f.WriteData(stream, true, []byte(secret))
		f.WriteData(stream, true, []byte(secret))
	})
	unknown := over2(func(f *http2.Framer, stream uint32) {
		f.WriteRawFrame(99, 0, stream, []byte(secret))
		answer(f, stream, true, ":status", "204")
	})
	type logCase struct {
		name, scheme string
		offers       []string
		answer       func(net.Conn)
	}
	tests := []logCase{
		{"http-surplus", "http", nil, over1},
		{"http-malformed", "http", nil, malformed},
		{"https-surplus", "https", []string{"http/1.1"}, over1},
		{"https-malformed", "https", []string{"http/1.1"}, malformed},
		{"https-no-alpn", "https", nil, over1},
		{"h2-goes-away", "https", []string{"h2"}, goesAway},
		{"h2-bad-name", "https", []string{"h2"}, badName},
		{"h2-bad-status", "https", []string{"h2"}, badStatus},
		{"h2-surplus", "https", []string{"h2"}, surplus},
		{"h2-unknown-frame", "https", []string{"h2"}, unknown},
		{"h2c-goes-away", "h2c", nil, goesAway},
		{"h2c-bad-name", "h2c", nil, badName},
		{"h2c-surplus", "h2c", nil, surplus},
		{"h2c-http1", "h2c", nil, malformed},
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	dynamic := billing(live)
	shadows := map[string]*testbed.RawUpstream{}
	if !testbed.MustUsedRelease(t).HasH2C() {
		tests = slices.DeleteFunc(tests, func(test logCase) bool { return test.scheme == "h2c" })
	}
	for _, test := range tests {
		shadow := testbed.RunRawUpstream(t, func(conn net.Conn) {
			if test.scheme == "https" {
				conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: test.offers})
			}
			test.answer(conn)
		})
		shadows[test.name] = shadow
		options := testbed.Values{"url": test.scheme + "://" + shadow.Addr(), "timeout": "1s", "tls": testbed.Values{"rootCAs": string(ca.PEM())}}
		dynamic.Mirror(test.name, options).Router(test.name, testbed.RuleOf(test.name), "billing", test.name)
	}
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: dynamic})
	for range 5 {
		for _, test := range tests {
			expect(t, traefik, http.StatusOK, head("GET", "/invoices/2024-00117", testbed.HostOf(test.name)))
		}
	}
	for name, shadow := range shadows {
		testbed.Eventually(t, patience, func() error {
			if shadow.Count() == 0 {
				return fmt.Errorf("%s: the shadow was not reached", name)
			}
			return nil
		})
	}
	// What is wrong ends its connection at once; the lines for that are there when these
	// failures are.
	for _, name := range []string{"http-malformed", "https-malformed", "h2-bad-status", "h2-goes-away"} {
		if err := traefik.WaitLog(testbed.Within(t, patience), "middleware "+testbed.Marker(name)+": the shadow failed"); err != nil {
			t.Error(err)
		}
	}
	for _, line := range strings.Split(traefik.Log(), "\n") {
		if strings.Contains(line, "s3cret") {
			t.Errorf("the log has %.300q", line)
		}
	}
}

// In a Traefik that was built with an older Go, h2c is a mistake, and live is served.
func TestH2CNeedsANewerGo(t *testing.T) {
	b := run(t, setup{})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", HTTP2: true})
	dynamic := billing(b.live).
		Mirror("h2c", testbed.Values{"url": "h2c://" + shadow.Addr()}).
		Router("h2c", testbed.RuleOf("h2c"), "billing", "h2c")
	if err := b.Reload(t.Context(), dynamic); err != nil {
		t.Fatal(err)
	}
	expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf("h2c"), invoice))
	recorded(t, b.live, 1)
	if b.Release().HasH2C() {
		recorded(t, shadow, 1)
		return
	}
	if err := b.WaitLog(testbed.Within(t, patience), "h2c needs a Traefik that was built with Go 1.24 or newer"); err != nil {
		t.Error(err)
	}
	if n := shadow.Count(); n != 0 {
		t.Errorf("the shadow got %d requests, want none", n)
	}
}
