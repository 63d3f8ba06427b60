// Package streams tests bodyMode: stream, and gRPC with it, through the real
// Traefik.
package streams

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// patience bounds waits for what should come at once. It is long because only
// a test that fails waits for its end.
const patience = 20 * time.Second

// Three routers lead to the same live upstream: one that mirrors in stream mode,
// one that mirrors in buffer mode, and one without any middleware.
const (
	streamHost = "stream.example.com"
	bufferHost = "buffer.example.com"
	plainHost  = "plain.example.com"
)

const invoice = `{"invoice":"2024-00117","customer":"Meyer & Söhne","total":"119.00"}`

// A bench is a Traefik with the three routers, and the two upstreams.
type bench struct {
	*testbed.Traefik
	live, shadow *testbed.Upstream
}

// run starts a bench whose mirroring routers have the options, and whose live
// upstream answers by handler, which reads bodies as they arrive; nil reads
// them to their end.
func run(t *testing.T, options testbed.Values, handler http.HandlerFunc, traefik testbed.Options) *bench {
	t.Helper()
	if handler == nil {
		handler = func(rw http.ResponseWriter, req *http.Request) { io.Copy(io.Discard, req.Body) }
	}
	b := &bench{
		live:   testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Streaming: true, Handler: handler}),
		shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"}),
	}
	traefik.Dynamic = routers(b.live.URL(), b.shadow.URL(), options)
	b.Traefik = testbed.MustServe(t, traefik)
	return b
}

// routers is the configuration of the three routers.
func routers(live, shadow string, options testbed.Values) testbed.Dynamic {
	d := testbed.Dynamic{}.Service("billing", live).Router("plain", testbed.HostRule(plainHost), "billing")
	for mode, h := range map[string]string{"stream": streamHost, "buffer": bufferHost} {
		values := testbed.Values{"url": shadow, "bodyMode": mode}
		for name, value := range options {
			values[name] = value
		}
		d.Mirror("shadow-"+mode, values).Router(mode, testbed.HostRule(h), "billing", "shadow-"+mode)
	}
	return d
}

// recorded waits for the request to be with the upstream and returns it.
func recorded(t *testing.T, u *testbed.Upstream, target string) testbed.Request {
	t.Helper()
	var found testbed.Request
	testbed.Eventually(t, patience, func() error {
		got := u.Requests()
		i := slices.IndexFunc(got, testbed.To(target))
		if i < 0 {
			return fmt.Errorf("no %s among %s", target, testbed.Lines(got))
		}
		found = got[i]
		return nil
	})
	return found
}

var probes atomic.Int64

// copies returns what the shadow has got by the time at which it has a request
// that is sent now, without that one. A copy that it should not get, made
// earlier, is among them. It fails the test if no such request is mirrored,
// which is so when all places in flight have been lost.
func (b *bench) copies(t *testing.T) []testbed.Request {
	t.Helper()
	var got []testbed.Request
	probe, next := "", time.Time{}
	testbed.Eventually(t, patience, func() error {
		// One that found no place does not come any more, so another follows.
		if time.Now().After(next) {
			probe, next = fmt.Sprintf("/health/%d", probes.Add(1)), time.Now().Add(200*time.Millisecond)
			if resp, err := b.get(t, streamHost, probe); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("probe: %v, %v", resp, err)
			}
		}
		got = b.shadow.Requests()
		if !slices.ContainsFunc(got, testbed.To(probe)) {
			return fmt.Errorf("the shadow did not get the probe %s, but %s", probe, testbed.Lines(got))
		}
		return nil
	})
	return slices.DeleteFunc(got, func(r testbed.Request) bool { return strings.HasPrefix(r.RequestURI, "/health/") })
}

// nothingMirrored fails the test if the shadow got anything, or cannot get
// anything any more.
func (b *bench) nothingMirrored(t *testing.T) {
	t.Helper()
	if got := b.copies(t); len(got) > 0 {
		t.Errorf("the shadow got %s, want nothing", testbed.Lines(got))
	}
}

func (b *bench) get(t *testing.T, host, target string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(t.Context(), "GET", b.URL(target), nil)
	if err != nil {
		return nil, err
	}
	req.Host = host
	resp, err := b.Client().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return resp, err
}

// sameBody fails the test unless the upstream got the body, whole.
func sameBody(t *testing.T, who string, got testbed.Request, want string) {
	t.Helper()
	if got.BodySize != int64(len(want)) || got.BodySHA256 != sha256.Sum256([]byte(want)) || got.BodyErr != nil {
		t.Errorf("%s got %d bytes of %s (%v), want the %d that were sent", who, got.BodySize, got.RequestURI, got.BodyErr, len(want))
	}
}

// An upload is a request whose body is sent piece by piece.
type upload interface {
	// send sends the pieces; it returns when they have left.
	send(pieces ...string)
	// finish ends the body and returns the answer's status.
	finish() int
	// abort leaves, whether the body has ended or not.
	abort()
}

// A transport says how uploads travel. A known length is announced.
type transport struct {
	name  string
	known bool
	open  func(t *testing.T, b *bench, host, target string, length int) upload
}

var transports = []transport{
	{"HTTP/1.1 chunked", false, openRaw(false, false)},
	{"HTTP/1.1 with Content-Length", true, openRaw(true, false)},
	{"HTTP/1.1 over TLS, chunked", false, openRaw(false, true)},
	{"HTTP/2 without a length", false, openHTTP2(false)},
	{"HTTP/2 with a length", true, openHTTP2(true)},
}

// A rawUpload is one over HTTP/1.1, on a connection of its own.
type rawUpload struct {
	net.Conn
	t     *testing.T
	br    *bufio.Reader
	known bool
}

func openRaw(known, secure bool) func(*testing.T, *bench, string, string, int) upload {
	return func(t *testing.T, b *bench, host, target string, length int) upload {
		t.Helper()
		framing := "Transfer-Encoding: chunked"
		if known {
			framing = "Content-Length: " + strconv.Itoa(length)
		}
		u := dial(t, b, secure)
		u.known = known
		u.say("POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + framing + "\r\n\r\n")
		return u
	}
}

func dial(t *testing.T, b *bench, secure bool) *rawUpload {
	t.Helper()
	var conn net.Conn
	var err error
	if secure {
		conn, err = tls.Dial("tcp", b.Addr(testbed.WebSecure), &tls.Config{RootCAs: b.CA().Pool(), ServerName: "localhost"})
	} else {
		conn, err = net.Dial("tcp", b.Addr(testbed.Web))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(3 * patience))
	return &rawUpload{Conn: conn, t: t, br: bufio.NewReader(conn)}
}

func (u *rawUpload) say(text string) {
	u.t.Helper()
	if _, err := io.WriteString(u, text); err != nil {
		u.t.Fatalf("sending %.80q: %v", text, err)
	}
}

func (u *rawUpload) send(pieces ...string) {
	u.t.Helper()
	var text strings.Builder
	for _, piece := range pieces {
		switch {
		case u.known:
			text.WriteString(piece)
		case piece != "": // in chunks it would be the end
			fmt.Fprintf(&text, "%x\r\n%s\r\n", len(piece), piece)
		}
	}
	u.say(text.String())
}

func (u *rawUpload) finish() int {
	u.t.Helper()
	if !u.known {
		u.say("0\r\n\r\n")
	}
	return u.hear().StatusCode
}

// hear returns the next answer.
func (u *rawUpload) hear() *http.Response {
	u.t.Helper()
	resp, err := http.ReadResponse(u.br, &http.Request{Method: "POST"})
	if err != nil {
		u.t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

func (u *rawUpload) abort() { u.Close() }

// An http2Upload is one over HTTP/2, on a connection shared with others.
type http2Upload struct {
	t      *testing.T
	body   *io.PipeWriter
	cancel context.CancelFunc
	answer chan any // an error or a status
	ended  chan bool
}

func openHTTP2(known bool) func(*testing.T, *bench, string, string, int) upload {
	return func(t *testing.T, b *bench, host, target string, length int) upload {
		t.Helper()
		r, w := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, "POST", b.SecureURL(target), r)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if known {
			req.ContentLength = int64(length)
		}
		u := &http2Upload{t: t, body: w, cancel: cancel, answer: make(chan any, 1), ended: make(chan bool)}
		go func() {
			defer close(u.ended)
			resp, err := b.Client().Do(req)
			switch {
			case err != nil:
				u.answer <- err
			case resp.ProtoMajor != 2:
				u.answer <- fmt.Errorf("answered by %s", resp.Proto)
			default:
				u.answer <- resp.StatusCode
			}
			if err == nil {
				resp.Body.Close()
			}
			r.Close()
		}()
		return u
	}
}

func (u *http2Upload) send(pieces ...string) {
	u.t.Helper()
	for _, piece := range pieces {
		if _, err := io.WriteString(u.body, piece); err != nil {
			u.t.Fatalf("sending %.80q: %v", piece, err)
		}
	}
}

func (u *http2Upload) finish() int {
	u.t.Helper()
	u.body.Close()
	answer := testbed.Await(u.t, patience, "the answer", u.answer)
	status, ok := answer.(int)
	if !ok {
		u.t.Fatal(answer)
	}
	return status
}

func (u *http2Upload) abort() {
	u.cancel()
	testbed.Await(u.t, patience, "the end of the aborted request", u.ended)
}

// pieces cuts a body into pieces of size bytes, or, with 0, of random sizes
// from 1 byte to 64 KiB of which small ones are as likely as large ones.
func pieces(body string, size int) []string {
	var list []string
	for len(body) > 0 {
		n := size
		if n == 0 {
			n = 1 + rand.IntN(1<<rand.IntN(17))
		}
		n = min(n, len(body))
		list = append(list, body[:n])
		body = body[n:]
	}
	return list
}
