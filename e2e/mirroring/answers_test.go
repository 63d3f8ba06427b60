package mirroring

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// An answerCase is a request, which is for mirrorHost, and live's answer to it as
// bytes.
type answerCase struct {
	name    string
	request string
	answer  string

	closes   bool // live closes the connection after it
	broken   bool // the answer ends too early: how much of it arrives is a matter of timing
	sniffed  bool // in Traefik v2 the type depends on whether the head leaves before the body has begun
	framing  bool // whether the client gets it in chunks is a matter of timing
	notHTTP2 bool // the request cannot be made by an HTTP/2 client
}

// dated are header lines that any server sends.
const dated = "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n"

func answers() []answerCase {
	get := head("GET", "/invoices", mirrorHost)
	compressed := func(w func(io.Writer) io.WriteCloser) string {
		var b bytes.Buffer
		c := w(&b)
		io.WriteString(c, invoice)
		c.Close()
		return b.String()
	}
	zipped := compressed(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
	deflated := compressed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
	ok := func(header, body string) string {
		return "HTTP/1.1 200 OK\r\n" + header + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
	}
	inChunks := func(header, body, trailer string) string {
		return "HTTP/1.1 200 OK\r\n" + header + "Transfer-Encoding: chunked\r\n\r\n" + chunks(body, 10_000) + "0\r\n" + trailer + "\r\n"
	}
	cases := []answerCase{
		{name: "empty, in chunks", framing: true, request: get, answer: inChunks(dated, "", "")},
		{name: "trailers, announced", request: get, answer: inChunks(dated+"Trailer: X-Checksum, X-Signature\r\n", invoice, "X-Checksum: 9f86d081\r\nX-Signature: ab12\r\n")},
		{name: "trailers, unannounced", request: get, answer: inChunks(dated, invoice, "X-Checksum: 9f86d081\r\n")},
		{name: "trailers, some announced", request: get, answer: inChunks(dated+"Trailer: X-Checksum\r\n", invoice, "X-Checksum: 9f86d081\r\nX-Signature: ab12\r\n")},
		{name: "trailers, announced and not sent", request: get, answer: inChunks(dated+"Trailer: X-Checksum\r\n", invoice, "")},
		{name: "trailers without a body", request: get, answer: inChunks(dated+"Trailer: X-Checksum\r\n", "", "X-Checksum: 9f86d081\r\n")},
		{name: "trailers without a body, unannounced", request: get, answer: inChunks(dated, "", "X-Checksum: 9f86d081\r\n")},
		{name: "early hints", request: get, answer: "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.js>; rel=preload\r\n\r\n" + ok(dated, invoice)},
		{name: "processing, then an error", request: get, answer: "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 409 Conflict\r\n" + dated + "Content-Length: 2\r\n\r\n{}"},
		{name: "told to go on", request: sized("POST", "/invoices", mirrorHost, invoice, "Expect: 100-continue"), answer: ok(dated, invoice)},
		{name: "HEAD with a length", request: head("HEAD", "/invoices", mirrorHost), answer: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 1000\r\n\r\n"},
		{name: "HEAD in chunks", request: head("HEAD", "/invoices", mirrorHost), answer: "HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\n\r\n"},
		{name: "HEAD without a length", request: head("HEAD", "/invoices", mirrorHost), answer: "HTTP/1.1 200 OK\r\n" + dated + "\r\n"},
		{name: "204", request: head("DELETE", "/invoices/1", mirrorHost), answer: "HTTP/1.1 204 No Content\r\n" + dated + "\r\n"},
		{name: "205", request: get, answer: "HTTP/1.1 205 Reset Content\r\n" + dated + "Content-Length: 0\r\n\r\n"},
		{name: "304", request: head("GET", "/invoices", mirrorHost, `If-None-Match: "ab12"`), answer: "HTTP/1.1 304 Not Modified\r\n" + dated + "Etag: \"ab12\"\r\n\r\n"},
		{name: "304 with a length", request: head("GET", "/invoices", mirrorHost, `If-None-Match: "ab12"`), answer: "HTTP/1.1 304 Not Modified\r\n" + dated + "Content-Length: 1000\r\n\r\n"},
		{name: "a range", request: head("GET", "/invoices", mirrorHost, "Range: bytes=2-5"), answer: "HTTP/1.1 206 Partial Content\r\n" + dated + "Content-Range: bytes 2-5/68\r\nContent-Length: 4\r\n\r\nnvoi"},
		{name: "two ranges", request: head("GET", "/invoices", mirrorHost, "Range: bytes=2-5,8-9"), answer: strings.Replace(ok("Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: multipart/byteranges; boundary=ab\r\n",
			"--ab\r\nContent-Range: bytes 2-5/68\r\n\r\nnvoi\r\n--ab\r\nContent-Range: bytes 8-9/68\r\n\r\n:\"\r\n--ab--\r\n"), "200 OK", "206 Partial Content", 1)},
		{name: "416", request: head("GET", "/invoices", mirrorHost, "Range: bytes=999-"), answer: "HTTP/1.1 416 Range Not Satisfiable\r\n" + dated + "Content-Range: bytes */68\r\nContent-Length: 0\r\n\r\n"},
		{name: "gzip", request: head("GET", "/invoices", mirrorHost, "Accept-Encoding: gzip"), answer: ok(dated+"Content-Encoding: gzip\r\n", zipped)},
		{name: "gzip in chunks", request: head("GET", "/invoices", mirrorHost, "Accept-Encoding: gzip"), answer: inChunks(dated+"Content-Encoding: gzip\r\n", zipped, "")},
		{name: "gzip unasked", request: get, answer: ok(dated+"Content-Encoding: gzip\r\n", zipped)},
		{name: "gzip that is none", broken: true, request: get, answer: ok(dated+"Content-Encoding: gzip\r\n", invoice)},
		{name: "deflate", request: head("GET", "/invoices", mirrorHost, "Accept-Encoding: deflate"), answer: ok(dated+"Content-Encoding: deflate\r\n", deflated)},
		{name: "an encoding nobody knows", request: head("GET", "/invoices", mirrorHost, "Accept-Encoding: br"), answer: ok(dated+"Content-Encoding: br\r\n", "\x8b\x02\x80{}\x03")},
		{name: "compressible", request: head("GET", "/invoices", mirrorHost, "Accept-Encoding: gzip"), answer: ok(dated, strings.Repeat(invoice+" ", 30))},
		{name: "compressible, in chunks", request: head("GET", "/invoices", mirrorHost, "Accept-Encoding: gzip"), answer: inChunks(dated, strings.Repeat(invoice+" ", 300), "")},
		{name: "events", request: head("GET", "/events", mirrorHost, "Accept: text/event-stream"), answer: inChunks("Content-Type: text/event-stream\r\n", "data: 1\n\ndata: 2\n\n", "")},
		{name: "events, unasked", request: get, answer: inChunks("Content-Type: text/event-stream\r\n", "data: 1\n\ndata: 2\n\n", "")},
		{name: "events with a length", request: get, answer: ok("Content-Type: text/event-stream\r\n", "data: 1\n\ndata: 2\n\n")},
		{name: "HTTP/1.0 client", notHTTP2: true, request: "GET /invoices HTTP/1.0\r\nHost: " + mirrorHost + "\r\n\r\n", answer: ok(dated, invoice)},
		{name: "HTTP/1.0 client, in chunks", notHTTP2: true, request: "GET /invoices HTTP/1.0\r\nHost: " + mirrorHost + "\r\n\r\n", answer: inChunks(dated, invoice, "")},
		{name: "HTTP/1.0 client that keeps the connection", notHTTP2: true, request: "GET /invoices HTTP/1.0\r\nHost: " + mirrorHost + "\r\nConnection: keep-alive\r\n\r\n", answer: ok(dated, invoice)},
		{name: "HTTP/1.0 server", closes: true, request: get, answer: "HTTP/1.0 200 OK\r\n" + dated + "\r\n" + invoice},
		{name: "until the connection closes", closes: true, request: get, answer: "HTTP/1.1 200 OK\r\n" + dated + "Connection: close\r\n\r\n" + invoice},
		{name: "duplicate headers", request: get, answer: ok(dated+"Set-Cookie: session=1; HttpOnly\r\nSet-Cookie: theme=dark\r\nX-Ledger: north\r\nSet-Cookie: session=1; HttpOnly\r\nX-Ledger:\r\n", invoice)},
		{name: "large headers", request: get, answer: ok(dated+strings.Repeat("X-Ledger: "+strings.Repeat("2024-00117;", 180)+"\r\n", 50), invoice)},
		{name: "no type", request: get, answer: ok("Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n", "<!DOCTYPE html><p>2024-00117")},
		{name: "no type, in chunks", sniffed: true, request: get, answer: inChunks("Date: Mon, 01 Jan 2024 00:00:00 GMT\r\n", invoice, "")},
		{name: "an empty type", request: get, answer: ok("Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type:\r\n", invoice)},
		{name: "no date", request: get, answer: ok("Content-Type: application/json\r\n", invoice)},
		{name: "500", request: get, answer: "HTTP/1.1 500 Internal Server Error\r\n" + dated + "Content-Length: 2\r\n\r\n{}"},
		{name: "503, in chunks", request: sized("POST", "/invoices", mirrorHost, invoice), answer: "HTTP/1.1 503 Busy\r\n" + dated + "Retry-After: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
		{name: "a redirect", request: get, answer: "HTTP/1.1 302 Found\r\n" + dated + "Location: /invoices/1\r\nContent-Length: 0\r\n\r\n"},
		{name: "a status nobody knows", request: get, answer: "HTTP/1.1 799 Odd\r\n" + dated + "Content-Length: 2\r\n\r\n{}"},
		{name: "101 unasked", closes: true, request: get, answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ledger\r\n\r\n"},
		{name: "no answer", closes: true, request: get, answer: ""},
		{name: "no HTTP", closes: true, request: get, answer: "220 billing ESMTP\r\n"},
		{name: "broken off in the head", closes: true, request: get, answer: "HTTP/1.1 200 OK\r\nContent-Ty"},
		{name: "broken off", broken: true, closes: true, request: get, answer: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 10000\r\n\r\n" + invoice},
		{name: "broken off, in chunks", broken: true, closes: true, request: get, answer: "HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\n\r\n" + chunks(invoice, 10)},
		{name: "broken off, large", broken: true, closes: true, request: get, answer: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 10000000\r\n\r\n" + testbed.Payload(1<<20)},
	}
	for _, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 5 << 20} {
		header := strings.Replace(dated, "application/json", "text/csv", 1)
		cases = append(cases,
			answerCase{name: fmt.Sprintf("%d bytes", size), request: get, answer: ok(header, testbed.Payload(size))},
			answerCase{name: fmt.Sprintf("%d bytes in chunks", size), framing: size == 0, request: get, answer: inChunks(header, testbed.Payload(size), "")})
	}
	return cases
}

// answering is an upstream that has the answer of the case whose index the
// request's query names.
func answering(t *testing.T, cases []answerCase) *testbed.RawUpstream {
	return testbed.RunRawUpstream(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Header.Get("Expect") != "" {
				io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			}
			io.Copy(io.Discard, req.Body)
			var i int
			if _, err := fmt.Sscanf(req.URL.RawQuery, "case=%d", &i); err != nil {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nerror page")
				continue
			}
			if io.WriteString(conn, cases[i].answer); cases[i].closes {
				return
			}
		}
	})
}

// A chain is what a router has before and after the mirror.
type chain struct {
	name          string
	before, after []string

	// framing says that a middleware behind the mirror takes the length of an
	// answer away and flushes nothing, which the mirror cannot tell from an answer
	// that goes on: the client may get it in chunks.
	framing bool

	// answers says that a middleware behind the mirror answers without a look at
	// the body.
	answers bool
}

var chains = []chain{
	{name: "alone"},
	{name: "behind-compress", before: []string{"compress"}},
	{name: "behind-buffering", before: []string{"buffering"}},
	{name: "behind-retry", before: []string{"retry"}},
	{name: "behind-headers", before: []string{"headers"}},
	{name: "behind-errors", before: []string{"errors"}},
	{name: "before-compress", after: []string{"compress"}, framing: true},
	{name: "before-buffering", after: []string{"buffering"}, framing: true},
	{name: "before-retry", after: []string{"retry"}},
	{name: "before-headers", after: []string{"headers"}},
	{name: "before-errors", after: []string{"errors"}},
	{name: "before-auth", after: []string{"auth"}, answers: true},
	{name: "before-redirect", after: []string{"redirect"}, answers: true},
	{name: "between", before: []string{"headers", "compress"}, after: []string{"retry", "errors"}},
}

// comparingModes are the mirrors that each chain has, by what their routers are
// called.
var comparingModes = map[string]testbed.Values{
	"buffer": {"bodyMode": "buffer"},
	"stream": {"bodyMode": "stream"},
}

// hostOf is the host of the router with the chain and, unless mode is "plain", a
// mirror that compares answers.
func hostOf(mode string, c chain) string { return mode + "-" + c.name + ".example.com" }

// chained is the configuration of all chains, in all modes.
func chained(live, shadow string) testbed.Dynamic {
	d := testbed.Dynamic{}.
		Service("billing", live).
		Service("pages", live).
		Report().
		Middleware("compress", "compress", testbed.Values{}).
		Middleware("buffering", "buffering", testbed.Values{"maxRequestBodyBytes": 100 << 20}).
		Middleware("retry", "retry", testbed.Values{"attempts": 2}).
		Middleware("headers", "headers", testbed.Values{"customResponseHeaders": testbed.Values{"X-Frame-Options": "DENY", "Server": ""}}).
		Middleware("errors", "errors", testbed.Values{"status": []string{"500-599"}, "service": "pages", "query": "/{status}.html"}).
		Middleware("auth", "basicAuth", testbed.Values{"users": []string{"auditor:$2y$05$f4Blw8wTtTXw8x3rfrNFVeAxlz/JKUuy3dWpSGlHPxnDFhyNJsLGC"}}).
		Middleware("redirect", "redirectRegex", testbed.Values{"regex": "^http(.*)", "replacement": "https://moved.example.com"})
	for _, c := range chains {
		d.Router("plain-"+c.name, testbed.HostRule(hostOf("plain", c)), "billing", slices.Concat(c.before, c.after)...)
		for mode, options := range comparingModes {
			name := mode + "-" + c.name
			values := testbed.Comparing()
			for option, value := range options {
				values[option] = value
			}
			d.Mirror(name, with(values, "url", shadow)).
				Router(name, testbed.HostRule(hostOf(mode, c)), "billing", slices.Concat(c.before, []string{name}, c.after)...)
		}
	}
	return d
}

// Whatever live answers, and whatever other middlewares make of it, a client gets
// the same from a router that has answers compared as from one without. The
// shadow answers as live does, so nothing may be found to differ.
func TestAnswersThatAreComparedAreUntouched(t *testing.T) {
	cases := answers()
	live, shadow := answering(t, cases), answering(t, cases)
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", TLS: true, Dynamic: chained(live.URL(), shadow.URL())})
	for i := range cases {
		cases[i].sniffed = cases[i].sniffed && !traefik.Release().Has("v3.0.0")
	}
	for _, c := range chains {
		t.Run(c.name, func(t *testing.T) {
			for i, test := range cases {
				t.Run(test.name, func(t *testing.T) {
					ask := func(mode string) (*testbed.Answers, error) {
						request := strings.Replace(test.request, mirrorHost, hostOf(mode, c), 1)
						request = strings.Replace(request, " HTTP/", fmt.Sprintf("?case=%d HTTP/", i), 1)
						return testbed.Exchange(t.Context(), traefik.Addr(testbed.Web), []byte(request), testbed.RawOptions{})
					}
					for mode := range comparingModes {
						if mode == "buffer" && c.answers && waits(test.request) {
							continue // the client is asked for the body, and so is not refused before it sends it
						}
						var got, want *testbed.Answers
						var gotErr, wantErr error
						unlessSlow(t, func() bool {
							want, wantErr = ask("plain")
							got, gotErr = ask(mode)
							return framedOtherwise(got, want)
						})
						if (gotErr == nil) != (wantErr == nil) {
							t.Fatalf("%s: %v, without a mirror %v", mode, gotErr, wantErr)
						}
						sameAsPlain(t, c, test, got, want)
					}
				})
			}
		})
	}
	t.Run("HTTP2", func(t *testing.T) {
		for _, c := range chains {
			for i, test := range cases {
				if test.notHTTP2 || test.broken || test.sniffed {
					continue
				}
				framing := c.framing || test.framing
				for mode := range comparingModes {
					var got, want string
					unlessSlow(t, func() bool {
						want = askHTTP2(t, traefik, hostOf("plain", c), i, test, framing)
						got = askHTTP2(t, traefik, hostOf(mode, c), i, test, framing)
						return got != want
					})
					if got != want {
						t.Errorf("%s, %s, %s: answer\n%s\nwant\n%s", c.name, mode, test.name, got, want)
					}
				}
			}
		}
	})
	for mode := range comparingModes {
		checkNothingDiffers(t, traefik, mode+"-alone")
	}
}

// unlessSlow asks, which reports whether the answers differ, and asks again where they
// do only if that took so long that Traefik's proxy may have flushed the one and not
// the other. Answers that differ and were quick differ.
func unlessSlow(t *testing.T, ask func() (differ bool)) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		began := time.Now()
		differ := ask()
		if took := time.Since(began); differ && took >= flushTime {
			return fmt.Errorf("the answers differ, and took %s, too long to tell anything", took)
		}
		return nil
	})
}

// framedOtherwise reports whether one answer has a length and the other has not.
func framedOtherwise(got, want *testbed.Answers) bool {
	g, w := got.First(), want.First()
	return g != nil && w != nil && (g.ContentLength < 0) != (w.ContentLength < 0)
}

// sameAsPlain complains about differences between answers that are not a matter
// of timing.
func sameAsPlain(t *testing.T, c chain, test answerCase, got, want *testbed.Answers) {
	t.Helper()
	switch {
	case test.broken:
		gotBody, _ := got.Body()
		wantBody, _ := want.Body()
		if got.Status() != want.Status() && got.Status() != 0 && want.Status() != 0 || !bytes.HasPrefix(gotBody, wantBody) && !bytes.HasPrefix(wantBody, gotBody) {
			t.Errorf("answer %d with %d bytes, want %d with %d", got.Status(), len(gotBody), want.Status(), len(wantBody))
		}
	case test.sniffed:
		for _, a := range []*testbed.Answers{got, want} {
			a.First().Header.Del("Content-Type")
			unframe(a.First())
		}
		sameAnswers(t, got, want)
	case waits(test.request):
		compareAnswers(t, test.request, got, want)
	case (c.framing || test.framing) && len(want.Final) > 0 && len(got.Final) > 0:
		for _, a := range []*testbed.Answers{got, want} {
			unframe(a.First())
		}
		sameAnswers(t, got, want)
	default:
		sameAnswers(t, got, want)
	}
}

// waits reports whether the client waits to be told that it is to send the body.
func waits(request string) bool { return strings.Contains(request, "Expect: 100-continue\r\n") }

// askHTTP2 makes the request of the case by HTTP/2 and describes the answer.
func askHTTP2(t *testing.T, traefik *testbed.Traefik, host string, i int, test answerCase, framing bool) string {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(test.request)))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(req.Body)
	out, err := http.NewRequestWithContext(t.Context(), req.Method, traefik.SecureURL(req.URL.Path+fmt.Sprintf("?case=%d", i)), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	out.Header, out.Host = req.Header, host
	resp, err := traefik.Client().Do(out)
	if err != nil {
		return "no answer"
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if framing {
		unframe(resp)
	}
	return fmt.Sprintf("%s, %d bytes %.100q (%v)", describe(resp), len(got), got, err)
}

// unframe forgets how the answer says where its body ends.
func unframe(resp *http.Response) {
	resp.Header.Del("Content-Length")
	resp.ContentLength, resp.TransferEncoding = 0, nil
}

// checkNothingDiffers waits for all pairs of the middleware, and fails the test
// if one of them was found to differ, or if hardly any was looked at.
func checkNothingDiffers(t *testing.T, traefik *testbed.Traefik, name string) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		if n := traefik.MustReport(t, name).InFlight; n > 0 {
			return fmt.Errorf("%s: %d pairs under way", name, n)
		}
		return nil
	})
	r := traefik.MustReport(t, name)
	if r.Compared["mismatch"] > 0 || r.Compared["match"] < 80 || r.Skipped["internal"] > 0 {
		t.Errorf("%s: %v compared, skipped for %v, differences %+v; want matches only", name, r.Compared, r.Skipped, r.Comparison.Differences)
	}
	t.Logf("%s: %v compared, skipped for %v", name, r.Compared, r.Skipped)
}

// What live sends bit by bit the client has bit by bit: the next is not sent
// before the client has the last, and the first not before it has the head. The
// shadow, meanwhile, does not answer at all.
func TestAnswersThatTrickle(t *testing.T) {
	tests := []struct {
		name, accept, contentType string
		known, dateless           bool
	}{
		{name: "NDJSON", contentType: "application/x-ndjson"},
		{name: "NDJSON of a server without a clock", contentType: "application/x-ndjson", dateless: true},
		{name: "JSON", contentType: "application/json"},
		{name: "events", contentType: "text/event-stream", accept: "text/event-stream"},
		{name: "events, unasked", contentType: "text/event-stream"},
		{name: "a known length", contentType: "text/csv", known: true},
		{name: "a known length, of events", contentType: "text/event-stream", known: true},
	}
	const lines = 4
	line := func(i int) string { return fmt.Sprintf("data: invoice %d\n", i) }
	heard := make(chan struct{})
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		var n int
		fmt.Sscanf(req.URL.RawQuery, "case=%d", &n)
		test := tests[n]
		rw.Header().Set("Content-Type", test.contentType)
		if test.dateless {
			rw.Header()["Date"] = nil
		}
		if test.known {
			rw.Header().Set("Content-Length", fmt.Sprint(lines*len(line(0))))
		}
		rw.WriteHeader(http.StatusOK)
		for i := range lines {
			http.NewResponseController(rw).Flush()
			select {
			case <-heard:
			case <-req.Context().Done():
				return
			}
			io.WriteString(rw, line(i))
		}
	})})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	t.Cleanup(shadow.Hang())
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: chained(live.URL(), shadow.URL())})
	for _, c := range chains {
		if c.answers || slices.Contains(slices.Concat(c.before, c.after), "buffering") {
			continue // nothing comes bit by bit, with a mirror or without
		}
		for n, test := range tests {
			if t.Failed() {
				return // each of the others would take as long
			}
			t.Run(c.name+"/"+test.name, func(t *testing.T) {
				for _, mode := range []string{"plain", "buffer", "stream"} {
					client := dial(t, traefik)
					client.say(head("GET", fmt.Sprintf("/events?case=%d", n), hostOf(mode, c), "Accept: "+test.accept))
					body := bufio.NewReader(client.hear("GET").Body)
					for i := range lines {
						heard <- struct{}{}
						if got, err := body.ReadString('\n'); err != nil || got != line(i) {
							t.Fatalf("%s: %q (%v), want %q", mode, got, err, line(i))
						}
					}
					if rest, err := io.ReadAll(body); err != nil || len(rest) > 0 {
						t.Errorf("%s: %q (%v) after the last line", mode, rest, err)
					}
					client.Close()
				}
			})
		}
	}
}
