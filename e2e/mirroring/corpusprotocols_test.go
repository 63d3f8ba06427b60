package mirroring

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/e2e/testbed/http3client"
)

// Why HTTP/2 and HTTP/3 cannot carry a request of HTTP/1.1's (RFC 9113, sections 8.2
// and 8.3; RFC 9114, sections 4.2 and 4.3).
var (
	errVersion    = errors.New("a request has no version but the protocol's")
	errTarget     = errors.New("a target is a path, and the host has a field of its own")
	errConnection = errors.New("a header that is about the connection makes a request malformed")
	errTe         = errors.New("te may say trailers and nothing else")
	errExtension  = errors.New("there are no chunks, so nothing to extend")
	errSpace      = errors.New("white space around a value makes a request malformed")
)

// unsayable are the requests of the corpus that HTTP/2 and HTTP/3 cannot carry. All
// others are sent over them too.
var unsayable = map[string]error{
	"HTTP/1.0":                             errVersion,
	"HTTP/1.0 with a body":                 errVersion,
	"HTTP/1.0 kept alive":                  errVersion,
	"chunk extensions":                     errExtension,
	"white space around values":            errSpace,
	"Connection names headers":             errConnection,
	"Connection names the marker":          errConnection,
	"Connection names what the proxy adds": errConnection,
	"Connection twice":                     errConnection,
	"TE trailers":                          errConnection,
	"TE others":                            errTe,
	"Proxy-Authorization":                  errConnection,
	"Keep-Alive":                           errConnection,
	"Upgrade without Connection":           errConnection,
	"HTTP2-Settings":                       errConnection,
	"absolute form":                        errTarget,
	"absolute form, another Host header":   errTarget,
	"absolute form without a path":         errTarget,
}

// aboutConnection are the headers that HTTP/2 and HTTP/3 do not have, in lower case.
var aboutConnection = []string{"connection", "proxy-connection", "keep-alive", "upgrade"}

// framed is what a client of HTTP/2 or HTTP/3 sends to say what the bytes do.
func framed(request string) (testbed.FramedRequest, error) {
	var f testbed.FramedRequest
	text, rest, _ := strings.Cut(request, "\r\n\r\n")
	lines := strings.Split(text, "\r\n")
	first := strings.Split(lines[0], " ")
	if len(first) != 3 {
		return f, fmt.Errorf("no request line: %q", lines[0])
	}
	if first[2] != "HTTP/1.1" {
		return f, errVersion
	}
	if first[1] != "*" && !strings.HasPrefix(first[1], "/") {
		return f, errTarget
	}
	authority, length := "", 0
	var fields []testbed.Field
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		name = strings.ToLower(name)
		value, blank := strings.CutPrefix(value, " ")
		if value != strings.Trim(value, " \t") || !blank && value != "" {
			return f, errSpace
		}
		switch {
		case name == "host":
			authority = value
		case name == "transfer-encoding":
			f.Open = true
		case slices.Contains(aboutConnection, name):
			return f, errConnection
		case name == "te" && value != "trailers":
			return f, errTe
		default:
			if name == "content-length" {
				length, _ = strconv.Atoi(value)
			}
			fields = append(fields, testbed.Field{Name: name, Value: value})
		}
	}
	f.Fields = append([]testbed.Field{{Name: ":method", Value: first[0]}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: authority}, {Name: ":path", Value: first[1]}}, fields...)
	if !f.Open {
		f.Body = []byte(rest[:length])
		return f, nil
	}
	for {
		line, after, _ := strings.Cut(rest, "\r\n")
		if strings.Contains(line, ";") {
			return f, errExtension
		}
		size, err := strconv.ParseInt(line, 16, 64)
		if err != nil {
			return f, err
		}
		rest = after
		if size == 0 {
			break
		}
		f.Body = append(f.Body, rest[:size]...)
		rest = rest[size+2:]
	}
	for _, line := range strings.Split(strings.TrimSpace(rest), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			f.Trailers = append(f.Trailers, testbed.Field{Name: strings.ToLower(name), Value: value})
		}
	}
	return f, nil
}

// framedCorpus are requests for the host h that only HTTP/2 and HTTP/3 can carry.
func framedCorpus(h string) map[string]testbed.FramedRequest {
	request := func(method, target string, fields ...string) testbed.FramedRequest {
		f := testbed.FramedRequest{Fields: []testbed.Field{{Name: ":method", Value: method}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: h}, {Name: ":path", Value: target}}}
		for _, field := range fields {
			name, value, _ := strings.Cut(field, ": ")
			f.Fields = append(f.Fields, testbed.Field{Name: name, Value: value})
		}
		return f
	}
	open := func(f testbed.FramedRequest) testbed.FramedRequest {
		f.Open = true
		return f
	}
	with := func(f testbed.FramedRequest, body string, pieces int, trailers ...testbed.Field) testbed.FramedRequest {
		f.Body, f.Pieces, f.Trailers = []byte(body), pieces, trailers
		return f
	}
	checksum := testbed.Field{Name: "x-checksum", Value: "9f86d081"}
	return map[string]testbed.FramedRequest{
		"cookies in crumbs":            request("GET", "/invoices", "cookie: session=9f86d081", "cookie: ledger=north", "accept: text/csv", "cookie: tenant=;theme=dark"),
		"te trailers":                  request("GET", "/invoices", "te: trailers"),
		"te trailers with a body":      with(request("POST", "/invoices", "te: trailers"), invoice, 0),
		"a body without a length":      with(request("POST", "/invoices", "content-type: application/json"), invoice, 0),
		"a body in pieces":             with(request("PUT", "/invoices", "content-length: "+strconv.Itoa(len(invoice))), invoice, 7),
		"GET, open":                    open(request("GET", "/invoices")),
		"HEAD, open":                   open(request("HEAD", "/invoices")),
		"DELETE, open":                 open(request("DELETE", "/invoices/2024-00117")),
		"POST, open":                   open(request("POST", "/invoices/2024-00117/send")),
		"a length of 0, open":          open(request("POST", "/invoices/2024-00117/send", "content-length: 0")),
		"trailers that are announced":  with(request("POST", "/invoices", "trailer: x-checksum"), invoice, 20, checksum),
		"trailers out of the blue":     with(request("POST", "/invoices"), invoice, 20, checksum),
		"trailers, and no body":        with(request("POST", "/invoices", "trailer: x-checksum"), "", 0, checksum),
		"a Host beside the authority":  request("GET", "/invoices", "host: "+h),
		"a space in the query":         request("GET", "/invoices?customer=Meyer & Co"),
		"a fragment of another origin": request("GET", "/invoices", "origin: null", "referer: https://shop.example.com/#2"),
		"a priority":                   request("GET", "/invoices", "priority: u=1, i"),
		"a name that is an alias":      request("GET", "/invoices", "x_ledger: north", "x.ledger: south"),
	}
}

// unservable are the requests of framedCorpus that net/http's server refuses over HTTP/1.1,
// live's and the shadow's alike, and why.
var unservable = map[string]string{
	"a space in the query": "it ends the target in a request line",
}

// A corpusClient sends requests to Traefik over one protocol.
type corpusClient struct {
	name  string
	major int
	addr  string
	dial  func(ctx context.Context) (framedClient, error) // nil: bytes of HTTP/1.1
}

type framedClient interface {
	Exchange(ctx context.Context, request testbed.FramedRequest) (*testbed.FramedAnswer, error)
	Close() error
}

// ask sends a request without a body, which is answered with 200.
func (c corpusClient) ask(t *testing.T, method, target, host string) {
	t.Helper()
	if c.dial == nil {
		answers, err := testbed.Exchange(t.Context(), c.addr, []byte(head(method, target, host)), testbed.RawOptions{})
		if err != nil || answers.Status() != http.StatusOK {
			t.Fatalf("%s %s: answered %d (%v), want 200", method, target, answers.Status(), err)
		}
		return
	}
	conn, err := c.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request, err := framed(head(method, target, host))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := conn.Exchange(t.Context(), request)
	if err != nil || answer.Status() != "200" {
		t.Fatalf("%s %s: answered %s (%v), want 200", method, target, answer, err)
	}
}

func corpusClients(traefik *testbed.Traefik) []corpusClient {
	config := &tls.Config{RootCAs: traefik.CA().Pool(), ServerName: "localhost"}
	clients := []corpusClient{
		{name: "HTTP1", major: 1, addr: traefik.Addr(testbed.Web)},
		{name: "HTTP2", major: 2, dial: func(ctx context.Context) (framedClient, error) {
			return testbed.DialHTTP2(ctx, traefik.Addr(testbed.WebSecure), config)
		}},
		{name: "h2c", major: 2, dial: func(ctx context.Context) (framedClient, error) {
			return testbed.DialHTTP2(ctx, traefik.Addr(testbed.Web), nil)
		}},
		{name: "HTTP3", major: 3, dial: func(ctx context.Context) (framedClient, error) {
			return http3client.Dial(ctx, traefik.Addr(testbed.WebSecure), config)
		}},
	}
	return slices.DeleteFunc(clients, func(c corpusClient) bool {
		return !slices.ContainsFunc(clientProtocols(), func(p protocol) bool { return p.major == c.major })
	})
}

// An upstreamKind is a protocol to upstreams, live's and the shadow's alike.
type upstreamKind struct {
	name   string
	scheme string
	opts   testbed.UpstreamOptions
}

func upstreamKinds(t *testing.T, ca *testbed.CA) []upstreamKind {
	t.Helper()
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	kinds := []upstreamKind{
		{"http", "http", testbed.UpstreamOptions{}},
		{"https", "https", testbed.UpstreamOptions{HTTP2: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}},
	}
	// Older net/http has no h2c for a plugin to use.
	if version.Compare(testbed.MustUsedRelease(t).Go, "go1.24") >= 0 {
		kinds = append(kinds, upstreamKind{"h2c", "h2c", testbed.UpstreamOptions{HTTP2: true}})
	}
	return kinds
}

// A pairing is a pair of routers, one of which has a mirror, with upstreams of their own.
type pairing struct {
	name         string // also of the mirror
	plain, host  string // of the routers
	live, shadow *testbed.Upstream
	kind         upstreamKind
	release      testbed.Release
}

func (p *pairing) url(u *testbed.Upstream) string { return p.kind.scheme + "://" + u.Addr() }

// The corpus, sent over every protocol that clients have, to upstreams of every
// protocol. Over each the copy is what live gets. What Traefik makes of a request of
// one protocol for another, it makes for both: the shadow is of live's protocol here.
func TestCorpusOverProtocols(t *testing.T) {
	ca := newCA(t)
	dynamic := testbed.Dynamic{}.Set(testbed.Values{"insecureSkipVerify": true}, "http", "serversTransports", "trusting")
	modes := map[string]testbed.Values{"mirroring": {}, "comparing": testbed.Comparing()}
	var pairings []*pairing
	for _, kind := range upstreamKinds(t, ca) {
		for mode, options := range modes {
			kind.opts.Handler = http.HandlerFunc(acknowledge)
			name := kind.name + "-" + mode
			p := &pairing{name: name, plain: "plain-" + testbed.HostOf(name), host: testbed.HostOf(name), kind: kind}
			kind.opts.Name = "live"
			p.live = testbed.RunUpstream(t, kind.opts)
			kind.opts.Name = "shadow"
			p.shadow = testbed.RunUpstream(t, kind.opts)
			options = with(options, "url", p.url(p.shadow))
			if kind.scheme == "https" {
				options["tls"] = testbed.Values{"rootCAs": string(ca.PEM())}
			}
			service := testbed.Values{"servers": []any{testbed.Values{"url": p.url(p.live)}}, "serversTransport": "trusting"}
			dynamic.Set(testbed.Values{"loadBalancer": service}, "http", "services", name).
				Mirror(name, options).
				Router("plain-"+name, testbed.HostRule(p.plain), name).
				Router(name, testbed.HostRule(p.host), name, name)
			pairings = append(pairings, p)
		}
	}
	opts := withHTTP3(testbed.Options{Dynamic: dynamic})
	opts.Static = trusting(opts.Static)
	traefik := testbed.RunTraefik(t, opts) // mustMirror sees which of the mirrors is on
	for _, p := range pairings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.release = traefik.Release()
			p.mustMirror(t, traefik)
			for _, client := range corpusClients(traefik) {
				if client.dial == nil && p.kind.scheme == "http" {
					continue // that is TestCorpus
				}
				t.Run(client.name, func(t *testing.T) { p.test(t, client) })
			}
		})
	}
}

// trusting has both entry points pass on what clients say, and leave paths as they are.
func trusting(static any) testbed.Values {
	point := testbed.Values{"forwardedHeaders": testbed.Values{"insecure": true}}
	all := static.(testbed.Values)["entryPoints"].(testbed.Values)
	secure := all[testbed.WebSecure].(testbed.Values)
	secure["forwardedHeaders"] = point["forwardedHeaders"]
	return testbed.Values{"entryPoints": testbed.Values{testbed.Web: point, testbed.WebSecure: secure}}
}

// mustMirror ends the test where there are no copies at all, rather than wait for each.
func (p *pairing) mustMirror(t *testing.T, traefik *testbed.Traefik) {
	t.Helper()
	expect(t, traefik, http.StatusCreated, head("GET", "/invoices", p.host))
	recorded(t, p.shadow, 1)
}

func (p *pairing) test(t *testing.T, client corpusClient) {
	if client.dial == nil {
		plain := corpus(p.plain)
		for i, c := range corpus(p.host) {
			t.Run(c.name, func(t *testing.T) {
				send := func(request string) *testbed.Answers {
					answers, err := testbed.Exchange(t.Context(), client.addr, []byte(request), testbed.RawOptions{})
					if err != nil || answers.Status() != http.StatusCreated {
						t.Fatalf("%.80q: answered %d (%v), want 201", request, answers.Status(), err)
					}
					return answers
				}
				var got, want *testbed.Answers
				p.compare(t, c, func() { want = send(plain[i].request) }, func() { got = send(c.request) })
				compareAnswers(t, c.request, got, want)
			})
		}
		return
	}

	type sayable struct {
		corpusCase
		plain, mirrored testbed.FramedRequest
	}
	var all []sayable
	plain := corpus(p.plain)
	for i, c := range corpus(p.host) {
		mirrored, err := framed(c.request)
		if !errors.Is(err, unsayable[c.name]) {
			t.Errorf("%s: %v, and listed as: %v", c.name, err, unsayable[c.name])
		}
		if err == nil {
			without, _ := framed(plain[i].request)
			all = append(all, sayable{c, without, mirrored})
		}
	}
	without := framedCorpus(p.plain)
	for name, request := range framedCorpus(p.host) {
		if p.kind.scheme == "http" && unservable[name] != "" {
			continue
		}
		all = append(all, sayable{corpusCase{name: name}, without[name], request})
	}

	var conn framedClient
	t.Cleanup(func() {
		if conn != nil {
			conn.Close()
		}
	})
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			send := func(request testbed.FramedRequest) *testbed.FramedAnswer {
				var err error
				if conn == nil {
					if conn, err = client.dial(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				answer, err := conn.Exchange(t.Context(), request)
				if err != nil || answer.Status() != "201" {
					conn.Close()
					conn = nil
					t.Fatalf("%.200q: answered %s (%v), want 201", request.Fields, answer, err)
				}
				if strings.Contains(c.request, "Expect: 100-continue\r\n") {
					answer.Informational = nil // see compareAnswers
				}
				return answer
			}
			var got, want *testbed.FramedAnswer
			p.compare(t, c.corpusCase, func() { want = send(c.plain) }, func() { got = send(c.mirrored) })
			if got.String() != want.String() {
				t.Errorf("answer\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// compare has a request sent to both routers and compares what came of it.
func (p *pairing) compare(t *testing.T, c corpusCase, sendPlain, send func()) {
	t.Helper()
	p.live.Reset()
	p.shadow.Reset()
	sendPlain()
	want := p.renamed(recorded(t, p.live, 1)[0])
	p.live.Reset()
	send()
	got := inOrder(recorded(t, p.live, 1)[0])
	compareLive(t, got, want)
	copied, wantCopy := inOrder(recorded(t, p.shadow, 1)[0]), inOrder(c.asCopied(got, p.release))
	for _, r := range []*testbed.Request{&copied, &wantCopy} {
		r.Fields = slices.DeleteFunc(r.Fields, func(f testbed.Field) bool { return f.String() == c.beside })
	}
	compareCopy(t, copied, wantCopy, p.name)
}

// renamed is the request to the router without the mirror, as if it were to the other.
func (p *pairing) renamed(r testbed.Request) testbed.Request {
	rename := strings.NewReplacer(p.plain, p.host, strings.ToUpper(p.plain), strings.ToUpper(p.host)).Replace
	r.Host, r.RequestURI = rename(r.Host), rename(r.RequestURI)
	if r.RawHead != nil {
		r.RawHead = []byte(rename(string(r.RawHead)))
	}
	for i, f := range r.Fields {
		r.Fields[i].Value = rename(f.Value)
	}
	return inOrder(r)
}

// inOrder has the fields of an HTTP/2 request in the order of their names: net/http
// sends them in an order that it draws for each.
func inOrder(r testbed.Request) testbed.Request {
	slices.SortStableFunc(r.Fields, func(a, b testbed.Field) int { return strings.Compare(a.Name, b.Name) })
	return r
}

// acknowledge answers with what came, but not with the host, which is another without
// the mirror.
func acknowledge(rw http.ResponseWriter, req *http.Request) {
	var body bytes.Buffer
	body.ReadFrom(req.Body)
	rw.Header()["X-Receipt"] = []string{req.Method, strconv.Itoa(len(req.RequestURI))}
	rw.Header().Add("Set-Cookie", "ledger=north; Path=/")
	rw.WriteHeader(http.StatusCreated)
	json.NewEncoder(rw).Encode(map[string]any{"bytes": body.Len(), "sum": sha256.Sum256(body.Bytes())})
}

// What the table says that cannot be sent is in the corpus.
func TestUnsayableRequestsAreOfTheCorpus(t *testing.T) {
	for name := range unsayable {
		if !slices.ContainsFunc(corpus(mirrorHost), func(c corpusCase) bool { return c.name == name }) {
			t.Errorf("%q is not in the corpus", name)
		}
	}
	for name := range unservable {
		if _, ok := framedCorpus(mirrorHost)[name]; !ok {
			t.Errorf("%q is not in the corpus of frames", name)
		}
	}
}
