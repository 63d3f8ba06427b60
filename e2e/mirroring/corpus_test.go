package mirroring

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A corpusCase is a request as bytes.
type corpusCase struct {
	name    string
	request string

	// sanitized says that the request has a route only where Traefik cleans its
	// path.
	sanitized bool

	// bareQuery says that the target ends in a question mark, which the proxy of
	// Traefik v2 takes from live's request. The shadow has it as the client sent it.
	bareQuery bool

	// ofHop is the line of a header that is for one hop, and which the proxy of older
	// Traefiks leaves in live's request where Connection does not name it. The shadow
	// does not have it, as live does not in newer ones.
	ofHop string

	// beside is the line of a header that only one of live and shadow may have over
	// HTTP/2. Over HTTP/1.1 net/http adds it to an empty one, over HTTP/2 only older Go
	// does; the copy has it, since its headers are made before either is chosen.
	beside string
}

// corpus are requests for the host h.
func corpus(h string) []corpusCase {
	allBytes := make([]byte, 256)
	for i := range allBytes {
		allBytes[i] = byte(i)
	}
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	zip.Write([]byte(invoice))
	zip.Close()
	const json = "Content-Type: application/json"

	return []corpusCase{
		// Methods.
		{name: "GET", request: head("GET", "/invoices", h)},
		{name: "HEAD", request: head("HEAD", "/invoices", h)},
		{name: "OPTIONS", request: head("OPTIONS", "/invoices", h, "Origin: https://shop.example.com", "Access-Control-Request-Method: PUT")},
		{name: "TRACE", request: head("TRACE", "/invoices", h)},
		{name: "DELETE", request: head("DELETE", "/invoices/2024-00117", h)},
		{name: "DELETE with a body", request: sized("DELETE", "/invoices", h, `{"ids":["2024-00117"]}`, json)},
		{name: "GET with a body", request: sized("GET", "/invoices/_search", h, `{"customer":"Meyer"}`, json)},
		{name: "HEAD with a body", request: sized("HEAD", "/invoices", h, `{"customer":"Meyer"}`, json)},
		{name: "PUT", request: sized("PUT", "/invoices/2024-00117", h, invoice, json)},
		{name: "PATCH", request: sized("PATCH", "/invoices/2024-00117", h, `[{"op":"remove","path":"/total"}]`, "Content-Type: application/json-patch+json")},
		{name: "PURGE", request: head("PURGE", "/invoices/2024-00117", h)},
		{name: "PROPFIND", request: sized("PROPFIND", "/invoices", h, `<propfind xmlns="DAV:"><allprop/></propfind>`, "Content-Type: application/xml", "Depth: 1")},
		{name: "a method nobody knows", request: sized("SETTLE", "/invoices/2024-00117", h, invoice, json)},
		{name: "a method in lower case", request: head("settle", "/invoices/2024-00117", h)},

		// Bodies with a length.
		{name: "POST", request: sized("POST", "/invoices", h, invoice, json)},
		{name: "empty POST", request: sized("POST", "/invoices/2024-00117/send", h, "")},
		{name: "POST without body or length", request: head("POST", "/invoices/2024-00117/send", h)},
		{name: "one byte", request: sized("POST", "/invoices", h, "1")},
		{name: "all byte values", request: sized("POST", "/invoices", h, string(allBytes), "Content-Type: application/octet-stream")},
		{name: "64 KiB", request: sized("POST", "/invoices", h, testbed.Payload(64<<10), "Content-Type: text/csv")},
		{name: "900 KiB", request: sized("POST", "/invoices", h, testbed.Payload(900<<10), "Content-Type: text/csv")},
		{name: "a compressed body", request: sized("POST", "/invoices", h, zipped.String(), json, "Content-Encoding: gzip")},
		{name: "a form", request: sized("POST", "/invoices", h, "customer=Meyer+%26+S%C3%B6hne&total=119.00", "Content-Type: application/x-www-form-urlencoded")},

		// Bodies without one.
		{name: "chunked", request: chunked("POST", "/invoices", h, invoice, 1000, json)},
		{name: "chunked, all byte values", request: chunked("POST", "/invoices", h, string(allBytes), 100)},
		{name: "chunked, empty", request: chunked("POST", "/invoices", h, "", 1)},
		{name: "GET chunked, empty", request: chunked("GET", "/invoices", h, "", 1)},
		{name: "many tiny chunks", request: chunked("POST", "/invoices", h, testbed.Payload(3000), 1)},
		{name: "chunked, 900 KiB", request: chunked("PUT", "/invoices", h, testbed.Payload(900<<10), 7001)},
		{name: "chunk extensions", request: head("POST", "/invoices", h, "Transfer-Encoding: chunked") +
			fmt.Sprintf("%x;signature=ab12;last\r\n%s\r\n0;end\r\n\r\n", len(invoice), invoice)},
		{name: "announced trailers", request: head("POST", "/invoices", h, "Transfer-Encoding: chunked", "Trailer: X-Checksum, X-Signature") +
			chunks(invoice, 20) + "0\r\nX-Checksum: 9f86d081\r\nX-Signature: ab12\r\n\r\n"},
		{name: "unannounced trailers", request: head("POST", "/invoices", h, "Transfer-Encoding: chunked") +
			chunks(invoice, 20) + "0\r\nX-Checksum: 9f86d081\r\n\r\n"},
		{name: "announced trailers that do not come", request: chunked("POST", "/invoices", h, invoice, 20, "Trailer: X-Checksum")},
		{name: "trailers after an empty body", request: head("POST", "/invoices", h, "Transfer-Encoding: chunked", "Trailer: X-Checksum") +
			"0\r\nX-Checksum: 9f86d081\r\n\r\n"},

		// HTTP/1.0.
		{name: "HTTP/1.0", request: "GET /invoices HTTP/1.0\r\nHost: " + h + "\r\n\r\n"},
		{name: "HTTP/1.0 with a body", request: fmt.Sprintf("POST /invoices HTTP/1.0\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", h, len(invoice), invoice)},
		{name: "HTTP/1.0 kept alive", request: "GET /invoices HTTP/1.0\r\nHost: " + h + "\r\nConnection: keep-alive\r\n\r\n"},

		// Headers.
		{name: "duplicate headers", request: head("GET", "/invoices", h, "X-Ledger: north", "Accept: text/csv", "X-Ledger: south", "Accept: application/json")},
		{name: "empty headers", request: head("GET", "/invoices", h, "X-Ledger:", "X-Ledger: ", "If-Match:")},
		{name: "lower-case headers", request: head("GET", "/invoices", h, "x-ledger: north", "accept: text/csv", "x-REQUEST-id: 7f3a")},
		{name: "header values beyond ASCII", request: head("GET", "/invoices", h, "X-Customer: Meyer & S\xc3\xb6hne", "X-Latin: S\xf6hne")},
		{name: "white space around values", request: head("GET", "/invoices", h, "X-Ledger: \t north \t", "X-Total:119.00")},
		{name: "a long header", request: head("GET", "/invoices", h, "X-Ledger: "+testbed.Payload(20 << 10)[:8])},
		{name: "cookie twice", request: head("GET", "/invoices", h, "Cookie: session=9f86d081", "Cookie: ledger=north; tenant=")},
		{name: "authorization and cookies", request: sized("POST", "/invoices", h, invoice, "Authorization: Bearer eyJhbGciOi.J9", "Cookie: session=9f86d081; theme=dark", json)},
		{name: "no User-Agent", request: head("GET", "/invoices", h, "Accept: */*")},
		{name: "an empty User-Agent", request: head("GET", "/invoices", h, "User-Agent:")},
		{name: "a User-Agent", request: head("GET", "/invoices", h, "User-Agent: billing-batch/4.1")},
		{name: "Accept-Encoding given", request: head("GET", "/invoices", h, "Accept-Encoding: br;q=1.0, gzip;q=0.5")},
		{name: "Accept-Encoding empty", request: head("GET", "/invoices", h, "Accept-Encoding:"), beside: "accept-encoding: gzip"},
		{name: "a range", request: head("GET", "/invoices/2024-00117.pdf", h, "Range: bytes=0-99", "If-Range: \"ab12\"")},
		{name: "HEAD of a range", request: head("HEAD", "/invoices/2024-00117.pdf", h, "Range: bytes=0-99")},
		{name: "conditions and dates", request: head("GET", "/invoices", h, "If-None-Match: W/\"ab12\"", "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", "Date: Mon, 01 Jan 2024 00:00:00 GMT")},
		{name: "a Via and a Forwarded", request: head("GET", "/invoices", h, "Via: 1.1 gateway", "Forwarded: for=192.0.2.7;proto=https")},
		{name: "a Referer and a traceparent", request: head("GET", "/invoices", h, "Referer: https://shop.example.com/", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")},

		{name: "an idempotency key", request: sized("POST", "/invoices", h, invoice, "Idempotency-Key: 2024-00117", json)},
		{name: "an idempotency key without a body", request: sized("POST", "/invoices", h, "", "Idempotency-Key: 2024-00117")},
		{name: "an old idempotency key, chunked and empty", request: chunked("PUT", "/invoices", h, "", 1, "X-Idempotency-Key: 2024-00117")},

		// Headers of one hop.
		{name: "Connection names headers", request: head("GET", "/invoices", h, "Connection: X-Ledger, close", "X-Ledger: north", "X-Total: 119.00")},
		{name: "Connection names the marker", request: sized("POST", "/invoices", h, invoice, "Connection: X-Mirrored-By, X-Forwarded-For")},
		{name: "Connection names what the proxy adds", request: head("GET", "/invoices", h, "Connection: X-Forwarded-Proto, X-Real-Ip, X-Forwarded-Host, Accept-Encoding, User-Agent")},
		{name: "Connection twice", request: head("GET", "/invoices", h, "Connection: X-Ledger", "Connection: keep-alive, x-total", "X-Ledger: north", "X-Total: 119.00")},
		{name: "TE trailers", request: head("GET", "/invoices", h, "TE: trailers", "Connection: TE")},
		{name: "TE others", request: head("GET", "/invoices", h, "TE: deflate;q=0.5")},
		{name: "Proxy-Authorization", request: head("GET", "/invoices", h, "Proxy-Authorization: Basic YmlsbGluZzpzZWNyZXQ=", "Proxy-Connection: keep-alive")},
		{name: "Keep-Alive", request: head("GET", "/invoices", h, "Connection: keep-alive", "Keep-Alive: timeout=5, max=100")},
		{name: "Upgrade without Connection", request: sized("POST", "/invoices", h, invoice, "Upgrade: websocket")},
		{name: "HTTP2-Settings", request: head("GET", "/invoices", h, "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), ofHop: "Http2-Settings: AAMAAABkAAQAAP__"},

		// X-Forwarded-For and its like: the default entry point strips them, one
		// that trusts its clients keeps them.
		{name: "X-Forwarded-For", request: head("GET", "/invoices", h, "X-Forwarded-For: 192.0.2.7")},
		{name: "X-Forwarded-For twice", request: head("GET", "/invoices", h, "X-Forwarded-For: 192.0.2.7, 198.51.100.2", "X-Forwarded-For: 203.0.113.9")},
		{name: "X-Forwarded-For empty", request: head("GET", "/invoices", h, "X-Forwarded-For:")},
		{name: "the other X-Forwarded headers", request: head("GET", "/invoices", h, "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example.com", "X-Forwarded-Port: 8443", "X-Forwarded-Prefix: /v1", "X-Real-Ip: 192.0.2.7")},

		// Targets.
		{name: "an escaped slash", request: head("GET", "/invoices/2024%2F00117", h)},
		{name: "escapes in either case", request: head("GET", "/invoices/%c3%B6/%7emeyer/%21", h)},
		{name: "UTF-8 escapes", request: head("GET", "/kunden/S%C3%B6hne%20%26%20Co/%E2%82%AC?name=S%C3%B6hne&betrag=%E2%82%AC5", h)},
		{name: "raw UTF-8", request: head("GET", "/kunden/S\xc3\xb6hne?name=S\xc3\xb6hne", h)},
		{name: "characters that need no escape", request: head("GET", "/invoices/a:b@c!$&'()*+,=~-._", h)},
		{name: "a bad escape in the query", request: head("GET", "/invoices?discount=10%zz&b=%", h)},
		{name: "a semicolon in the query", request: head("GET", "/invoices?from=1;to=2&page=3", h)},
		{name: "a semicolon in the path", request: head("GET", "/invoices;ledger=north/2024", h)},
		{name: "a bare question mark", bareQuery: true, request: head("GET", "/invoices?", h)},
		{name: "odd queries", request: head("GET", "/invoices?&&a=&=b&a=2?b/c&+x=%20", h)},
		{name: "double slashes", request: head("GET", "//invoices//2024//", h)},
		{name: "dot segments", request: head("GET", "/invoices/./2023/../2024/..", h)},
		{name: "escaped dot segments", request: head("GET", "/invoices/%2e%2e/2024/%2E", h)},
		{name: "a very long query", request: head("GET", "/invoices?ids="+strings.Repeat("2024-00117,", 3000), h)},
		{name: "the root", request: head("GET", "/", h)},
		{name: "absolute form", request: head("GET", "http://"+h+"/invoices/a%2Fb?paid=no&&x=%20", h)},
		{name: "absolute form, another Host header", request: head("POST", "http://"+h+"/invoices", "shop.example.com", "Content-Length: 0")},
		{name: "absolute form without a path", sanitized: true, request: head("GET", "http://"+h, h)},
		{name: "a Host with a port", request: head("GET", "/invoices", h+":8080")},
		{name: "a Host in upper case", request: head("GET", "/invoices", strings.ToUpper(h))},

		// Expectations.
		{name: "Expect", request: sized("POST", "/invoices", h, invoice, "Expect: 100-continue")},
		{name: "Expect, chunked", request: chunked("POST", "/invoices", h, invoice, 30, "Expect: 100-continue")},
		{name: "Expect, 900 KiB", request: sized("POST", "/invoices", h, testbed.Payload(900<<10), "Expect: 100-continue")},
		{name: "Expect without a body", request: head("GET", "/invoices", h, "Expect: 100-continue")},
	}
}

// Every request of the corpus goes through two Traefiks, alike but for the
// middleware, to the same live upstream.
func TestCorpus(t *testing.T) { testbed.InBothModes(t, testCorpus) }

func testCorpus(t *testing.T, options testbed.Values) {
	release := testbed.MustUsedRelease(t)
	// Releases before these do not clean paths and do not know the option.
	sanitizes := release.Has("v2.11.24", "v3.3.6")
	trusting := testbed.Values{"forwardedHeaders": testbed.Values{"insecure": true}}
	if sanitizes {
		trusting["http"] = testbed.Values{"sanitizePath": false}
	}
	entryPoints := []struct {
		name      string
		options   testbed.Values
		sanitizes bool
	}{
		{"default entry point", testbed.Values{}, sanitizes},
		{"trusting entry point", trusting, false},
	}
	for _, point := range entryPoints {
		t.Run(point.name, func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: http.HandlerFunc(receipt)})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", Handler: http.HandlerFunc(receipt)})
			static := testbed.Values{"entryPoints": testbed.Values{testbed.Web: point.options}}
			without := testbed.MustServe(t, testbed.Options{Static: static, WithoutMirror: true, Dynamic: testbed.Dynamic{}.
				Service("billing", live.URL()).
				Router("all", "PathPrefix(`/`)", "billing")})
			mirrored := testbed.MustServe(t, testbed.Options{Static: static, Dynamic: testbed.Dynamic{}.
				Service("billing", live.URL()).
				Mirror(middleware, with(options, "url", shadow.URL())).
				Router("all", "PathPrefix(`/`)", "billing", middleware)})
			for _, c := range corpus(mirrorHost) {
				if c.sanitized && !point.sanitizes {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					live.Reset()
					shadow.Reset()
					wantAnswers := expect(t, without, http.StatusCreated, c.request)
					want := recorded(t, live, 1)[0]
					live.Reset()
					gotAnswers := exchange(t, mirrored, c.request)
					got := recorded(t, live, 1)[0]
					copied := recorded(t, shadow, 1)[0]

					compareAnswers(t, c.request, gotAnswers, wantAnswers)
					compareLive(t, got, want)
					compareCopy(t, copied, c.asCopied(got, release), middleware)
				})
			}
		})
	}
}

// asCopied returns what the shadow has of the request that live has got, by what Traefik
// makes of live's alone.
func (c corpusCase) asCopied(live testbed.Request, release testbed.Release) testbed.Request {
	live.Fields = slices.Clone(live.Fields)
	if c.bareQuery && !release.Has("v3.0.0") {
		live.RequestURI += "?"
		for i, f := range live.Fields {
			if f.Name == ":path" {
				live.Fields[i].Value += "?"
			}
		}
	}
	if c.ofHop == "" || release.Has("v2.11.57", "v3.7.13") {
		return live
	}
	name, _, _ := strings.Cut(c.ofHop, ": ")
	live.RawHead = bytes.Replace(live.RawHead, []byte(c.ofHop+"\r\n"), nil, 1)
	live.Fields = slices.DeleteFunc(live.Fields, func(f testbed.Field) bool { return f.Name == strings.ToLower(name) })
	return live
}

// receipt answers with what came, so that whatever the upstream sees otherwise
// the client does too.
func receipt(rw http.ResponseWriter, req *http.Request) {
	var body bytes.Buffer
	body.ReadFrom(req.Body)
	rw.Header().Set("Content-Type", "application/json")
	rw.Header()["X-Receipt"] = []string{req.Method, req.RequestURI}
	rw.Header().Add("Set-Cookie", "ledger=north; Path=/")
	rw.WriteHeader(http.StatusCreated)
	json.NewEncoder(rw).Encode(map[string]any{"host": req.Host, "bytes": body.Len(), "sum": sha256.Sum256(body.Bytes())})
}

// compareAnswers allows one thing: the client that asked to be told to go on may be
// told so once or twice. Traefik does so when the body is first read, and again when
// live says so, and leaves out the one if it comes after the other. Without the
// middleware the two race: net/http's transport lets the body go before it hands on
// the answer that allows it. In buffer mode the body is read first.
func compareAnswers(t *testing.T, request string, got, want *testbed.Answers) {
	t.Helper()
	if strings.Contains(request, "Expect: 100-continue\r\n") && len(want.Informational) > 0 {
		for who, answers := range map[string]*testbed.Answers{"with": got, "without": want} {
			if n := len(answers.Informational); n != 1 && n != 2 {
				t.Errorf("%d informational answers %s the middleware, want 1 or 2", n, who)
			}
			for _, resp := range answers.Informational {
				if resp.StatusCode != http.StatusContinue {
					t.Errorf("informational answer %s %s the middleware, want 100", resp.Status, who)
				}
			}
		}
		sameFinal(t, got, want)
		return
	}
	sameAnswers(t, got, want)
}

// compareLive allows one thing: a body that came in chunks has a length now,
// unless trailers are announced, which cannot follow a body that has one. Those
// that are not announced the plugin never sees: net/http adds them to the
// request it read, of which Traefik hands on a copy.
func compareLive(t *testing.T, got, want testbed.Request) {
	t.Helper()
	framed := want
	if want.ContentLength < 0 && len(want.Trailer) == 0 {
		framed.ContentLength, framed.TransferEncoding = want.BodySize, nil
		framed.HeadEnds = want.Fields != nil && want.BodySize == 0
	}
	if g, w := framing(got), framing(framed); g != w {
		t.Errorf("live got %s, want %s", g, w)
	}
	compareRequests(t, "live", got, want, unframed(got), unframed(want))
}

// compareCopy allows two things: the copy is marked, once, with a token beside it, and does not have Expect,
// for its body is there. The spelling of one header is left open: without a body,
// net/http sends a request twice for an Idempotency-Key, and only one that is spelled
// otherwise escapes it.
func compareCopy(t *testing.T, got, want testbed.Request, name string) {
	t.Helper()
	line := onWire(got, testbed.MarkerHeader) + ": " + testbed.Marker(name)
	headers := got.RawHeaders()
	if i := slices.Index(headers, line); i < 0 {
		t.Errorf("the shadow got no %q but %q", line, headers)
	} else {
		headers = slices.Delete(headers, i, i+1)
	}
	headers = slices.DeleteFunc(headers, func(line string) bool { return strings.HasPrefix(line, onWire(got, tokenHeader)+": ") })
	if g, w := framing(got), framing(want); g != w {
		t.Errorf("the shadow got %s, live %s", g, w)
	}
	wantHeaders := slices.DeleteFunc(want.RawHeaders(), func(line string) bool { return strings.HasPrefix(line, onWire(want, "Expect")+": ") })
	compareRequests(t, "the shadow", got, want, spelled(headers), spelled(wantHeaders))
}

// onWire is a header's name as net/http spells it in the protocol of the request.
func onWire(r testbed.Request, name string) string {
	if r.Fields != nil {
		return strings.ToLower(name)
	}
	return name
}

// spelled returns header lines in the order of their names, with the
// idempotency keys in their usual spelling.
func spelled(lines []string) []string {
	name := func(line string) string { return line[:strings.IndexByte(line, ':')] }
	for i, line := range lines {
		if n := name(line); n == "idempotency-key" || n == "x-idempotency-key" {
			lines[i] = http.CanonicalHeaderKey(n) + line[len(n):]
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(name(a), name(b)) })
	return lines
}

func compareRequests(t *testing.T, who string, got, want testbed.Request, gotHeaders, wantHeaders []string) {
	t.Helper()
	if got.Method != want.Method || got.RequestURI != want.RequestURI || got.Host != want.Host || got.Proto != want.Proto {
		t.Errorf("%s got %s %q for %q, want %s %q for %q", who, got.Method, got.RequestURI, got.Host, want.Method, want.RequestURI, want.Host)
	}
	if g, w := pseudoFields(got), pseudoFields(want); g != w {
		t.Errorf("%s got %s, want %s", who, g, w)
	}
	if !slices.Equal(gotHeaders, wantHeaders) {
		t.Errorf("%s got headers\n%q\nwant\n%q", who, gotHeaders, wantHeaders)
	}
	if got.BodySize != want.BodySize || got.BodySHA256 != want.BodySHA256 || got.BodyErr != nil {
		t.Errorf("%s got body %.100q of %d bytes (%v), want %.100q of %d", who, got.Body, got.BodySize, got.BodyErr, want.Body, want.BodySize)
	}
	if fmt.Sprintf("%q", got.Trailer) != fmt.Sprintf("%q", want.Trailer) {
		t.Errorf("%s got trailers %q, want %q", who, got.Trailer, want.Trailer)
	}
}

// framing is how a request says where it ends.
func framing(r testbed.Request) string {
	return fmt.Sprintf("length %d, transfer encoding %q, ended by its head %t", r.ContentLength, r.TransferEncoding, r.HeadEnds)
}

// unframed returns the header lines, as they were on the wire, that do not say
// where the body ends.
func unframed(r testbed.Request) []string {
	return slices.DeleteFunc(r.RawHeaders(), func(line string) bool {
		return strings.HasPrefix(line, onWire(r, "Content-Length")+":") || strings.HasPrefix(line, "Transfer-Encoding:")
	})
}

// pseudoFields shows the pseudo-header fields of an HTTP/2 request, by their names.
func pseudoFields(r testbed.Request) string {
	fields := []string{}
	for _, f := range r.Fields {
		if strings.HasPrefix(f.Name, ":") {
			fields = append(fields, f.String())
		}
	}
	slices.Sort(fields)
	return fmt.Sprintf("%q", fields)
}

// A client that holds its body back until it is told to go on is told so.
func TestClientThatWaitsToGoOn(t *testing.T) { testbed.InBothModes(t, testClientThatWaitsToGoOn) }

func testClientThatWaitsToGoOn(t *testing.T, options testbed.Values) {
	b := run(t, setup{options: options})
	c := dial(t, b.Traefik)
	c.say(head("POST", "/invoices", mirrorHost, "Expect: 100-continue", "Content-Length: "+strconv.Itoa(len(invoice))))
	if resp := c.hear("POST"); resp.StatusCode != http.StatusContinue {
		t.Fatalf("answer %s, want 100", resp.Status)
	}
	c.say(invoice)
	resp := c.hear("POST")
	for resp.StatusCode == http.StatusContinue {
		resp = c.hear("POST")
	}
	if resp.StatusCode != http.StatusOK {
		t.Errorf("answer %s, want 200", resp.Status)
	}
	// The copy's body is there: nobody has to tell the mirror to go on.
	for u, want := range map[*testbed.Upstream]string{b.live: "100-continue", b.shadow: ""} {
		r := recorded(t, u, 1)[0]
		if string(r.Body) != invoice || r.Header.Get("Expect") != want {
			t.Errorf("got body %q and Expect %q, want %q and %q", r.Body, r.Header.Get("Expect"), invoice, want)
		}
	}
}
