// Package mirroring tests what the plugin does to live traffic, and what it
// sends to the shadow, through the real Traefik.
package mirroring

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
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

// The middleware that most tests use, by the name that Traefik gives a plugin,
// and the host of the router that has it. The router of plainHost leads to the
// same live upstream without any middleware.
const (
	middleware = "shadow-billing"
	mirrorHost = "billing.example.com"
	plainHost  = "plain.example.com"

	tokenHeader = "X-Mirror-Token"
)

const invoice = `{"invoice":"2024-00117","customer":"Meyer & Söhne","total":"119.00"}`

// A bench is a Traefik with one mirrored and one plain router before one live
// upstream.
type bench struct {
	*testbed.Traefik
	live, shadow *testbed.Upstream
}

// A setup says how a bench differs from the usual one.
type setup struct {
	options      testbed.Values // the middleware's, beside url
	live, shadow testbed.UpstreamOptions
	traefik      testbed.Options
}

func run(t *testing.T, s setup) *bench {
	t.Helper()
	s.live.Name, s.shadow.Name = "live", "shadow"
	b := &bench{live: testbed.RunUpstream(t, s.live), shadow: testbed.RunUpstream(t, s.shadow)}
	s.traefik.Dynamic = b.dynamic(s.options)
	b.Traefik = testbed.MustServe(t, s.traefik)
	return b
}

func (b *bench) dynamic(options testbed.Values) testbed.Dynamic {
	return billing(b.live).
		Mirror(middleware, with(options, "url", b.shadow.URL())).
		Router("mirrored", testbed.HostRule(mirrorHost), "billing", middleware)
}

// billing is a configuration with the live upstream as service "billing" and a
// plain router to it.
func billing(live *testbed.Upstream) testbed.Dynamic {
	return testbed.Dynamic{}.
		Service("billing", live.URL()).
		Router("plain", testbed.HostRule(plainHost), "billing")
}

// with returns a copy of options with one more, unless they have it.
func with(options testbed.Values, name string, value any) testbed.Values {
	all := testbed.Values{name: value}
	for name, value := range options {
		all[name] = value
	}
	return all
}

// head returns a request's head up to and including its last line end; the
// lines follow the Host header.
func head(method, target, host string, lines ...string) string {
	return method + " " + target + " HTTP/1.1\r\n" + strings.Join(append([]string{"Host: " + host}, lines...), "\r\n") + "\r\n\r\n"
}

// sized is head and body with a Content-Length.
func sized(method, target, host, body string, lines ...string) string {
	return head(method, target, host, append(lines, "Content-Length: "+strconv.Itoa(len(body)))...) + body
}

// chunked is head and body in chunks of at most size bytes.
func chunked(method, target, host, body string, size int, lines ...string) string {
	return head(method, target, host, append(lines, "Transfer-Encoding: chunked")...) + chunks(body, size) + "0\r\n\r\n"
}

// chunks returns the body in chunks without the last, empty one.
func chunks(body string, size int) string {
	var b strings.Builder
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String()
}

// exchange sends the bytes to the entry point "web" and returns the answers.
func exchange(t *testing.T, traefik *testbed.Traefik, request string) *testbed.Answers {
	t.Helper()
	answers, err := testbed.Exchange(t.Context(), traefik.Addr(testbed.Web), []byte(request), testbed.RawOptions{})
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	return answers
}

// expect is exchange for requests that are answered with a known status.
func expect(t *testing.T, traefik *testbed.Traefik, status int, request string) *testbed.Answers {
	t.Helper()
	answers := exchange(t, traefik, request)
	if answers.Status() != status {
		body, _ := answers.Body()
		t.Fatalf("%.80q: answered %d %q, want %d", request, answers.Status(), body, status)
	}
	return answers
}

// recorded waits for n requests in all at the upstream and returns them, the
// probes of copies apart.
func recorded(t *testing.T, u *testbed.Upstream, n int) []testbed.Request {
	t.Helper()
	requests := arrived(t, u, n)
	if len(requests) != n {
		t.Fatalf("the upstream got %d requests, want %d: %s", len(requests), n, testbed.Lines(requests))
	}
	return requests
}

// arrived is recorded for n requests or more.
func arrived(t *testing.T, u *testbed.Upstream, n int) []testbed.Request {
	t.Helper()
	var got []testbed.Request
	for all := n; len(got) < n; all++ {
		requests, err := u.Wait(testbed.Within(t, patience), all)
		got = slices.DeleteFunc(requests, isProbe)
		if err != nil {
			t.Fatalf("%v: %s", err, testbed.Lines(got))
		}
		all = max(all, len(requests))
	}
	return got
}

func isProbe(r testbed.Request) bool { return strings.HasPrefix(r.RequestURI, "/health/") }

var probes atomic.Int64

// copies returns what the shadow has got by the time at which it has a request
// that is sent now, without that one. A copy that it should not get, made
// earlier, is among them.
func (b *bench) copies(t *testing.T) []testbed.Request {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		probe := fmt.Sprintf("/health/%d", probes.Add(1))
		exchange(t, b.Traefik, head("GET", probe, mirrorHost))
		// Long enough for it to arrive: one that comes later would be in the way
		// of what the test counts next.
		for again := time.Now().Add(2 * time.Second); time.Now().Before(again); time.Sleep(5 * time.Millisecond) {
			if got := b.shadow.Requests(); slices.ContainsFunc(got, testbed.To(probe)) {
				return slices.DeleteFunc(got, isProbe)
			}
		}
		// It found no place; the next may.
		if time.Now().After(deadline) {
			t.Fatalf("the shadow did not get the probe %s, but %s", probe, testbed.Lines(b.shadow.Requests()))
		}
	}
}

// fill hangs the shadow and sends requests until n of them are with it, which
// shows that there are n places, and fails the test when there are more. The
// shadow has forgotten what it had got before. It answers after release.
func (b *bench) fill(t *testing.T, n int) (release func()) {
	t.Helper()
	b.shadow.Reset()
	release = b.shadow.Hang()
	t.Cleanup(release)
	send := func() {
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/fill", mirrorHost, invoice))
	}
	testbed.Eventually(t, patience, func() error {
		send()
		if got := b.shadow.Count(); got < n {
			return fmt.Errorf("%d requests are with the shadow, want %d", got, n)
		}
		return nil
	})
	for range 5 {
		send()
	}
	if got := b.shadow.Count(); got != n {
		t.Errorf("%d requests are with the shadow, want %d", got, n)
	}
	return release
}

// from returns the requests that the middleware called name sent.
func from(requests []testbed.Request, name string) []testbed.Request {
	return slices.DeleteFunc(slices.Clone(requests), func(r testbed.Request) bool {
		return r.Header.Get(testbed.MarkerHeader) != testbed.Marker(name)
	})
}

// sameAnswers complains about every difference that a client could see between
// two answers, dates apart.
func sameAnswers(t *testing.T, got, want *testbed.Answers) {
	t.Helper()
	if len(got.Informational) != len(want.Informational) {
		t.Errorf("%d informational answers, want %d", len(got.Informational), len(want.Informational))
	} else {
		for i := range got.Informational {
			sameAnswer(t, "informational answer", got.Informational[i], want.Informational[i])
		}
	}
	sameFinal(t, got, want)
}

func sameFinal(t *testing.T, got, want *testbed.Answers) {
	t.Helper()
	if len(got.Final) != len(want.Final) {
		t.Fatalf("%d final answers, want %d", len(got.Final), len(want.Final))
	}
	if len(want.Final) == 0 {
		return // the connection was closed instead
	}
	sameAnswer(t, "answer", got.First(), want.First())
	gotBody, gotErr := got.Body()
	wantBody, wantErr := want.Body()
	if !bytes.Equal(gotBody, wantBody) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Errorf("answer's body %.200q of %d bytes (%v), want %.200q of %d (%v)", gotBody, len(gotBody), gotErr, wantBody, len(wantBody), wantErr)
	}
}

func sameAnswer(t *testing.T, what string, got, want *http.Response) {
	t.Helper()
	if g, w := describe(got), describe(want); g != w {
		t.Errorf("%s\n%s\nwant\n%s", what, g, w)
	}
}

// describe is an answer without its body and date.
func describe(resp *http.Response) string {
	header := resp.Header.Clone()
	header.Del("Date")
	return fmt.Sprintf("%s %s, length %d, encoding %q, close %t, header %q, trailer %q",
		resp.Proto, resp.Status, resp.ContentLength, resp.TransferEncoding, resp.Close, header, resp.Trailer)
}

// A client is a connection on which a test says and hears what it wants, when
// it wants.
type client struct {
	net.Conn
	t  *testing.T
	br *bufio.Reader
}

// dial connects to the entry point "web".
func dial(t *testing.T, traefik *testbed.Traefik) *client {
	t.Helper()
	conn, err := net.Dial("tcp", traefik.Addr(testbed.Web))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return &client{Conn: conn, t: t, br: bufio.NewReader(conn)}
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("sending %.80q: %v", text, err)
	}
}

// hear returns the next answer; its body is read as the test reads it.
func (c *client) hear(method string) *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

// hearLine returns the next line of what is no HTTP any more.
func (c *client) hearLine() string {
	c.t.Helper()
	line, err := c.br.ReadString('\n')
	if err != nil {
		c.t.Fatalf("reading a line: %v after %q", err, line)
	}
	return strings.TrimSpace(line)
}
