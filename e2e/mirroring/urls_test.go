package mirroring

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A rewriter is a middleware that has a say in what a request is for, or in whether it
// gets to live.
type rewriter struct {
	name    string
	kind    string // of Traefik's own; "" is the plugin in testdata/rewrite
	options testbed.Values
	since   []string // the releases that have it; nil: all

	lines []string // that the client's requests have
	adds  string   // a header line that live gets by it

	requests []rewriting
}

// A rewriting is one request through a rewriter: its first line without the protocol,
// and what live gets of it.
type rewriting struct {
	request string
	live    string // "": live does not get it, the middleware answers

	// plain is what live gets without the middleware, where that is not what the
	// client has sent.
	plain string

	// bareQuery says that the target ends in a question mark, which the proxy of
	// Traefik v2 takes from live's request.
	bareQuery bool
}

// rewriters are all middlewares of Traefik's that a file can set up, but digestAuth,
// which is to the request as basicAuth is, and some that change neither requests nor
// whether they pass: those of Kubernetes only (URLRewrite, rewriteTarget and the like)
// write RequestURI and URL together, as replacePathRegex does.
func rewriters(auth *testbed.Upstream) []rewriter {
	same := func(requests ...string) []rewriting {
		list := []rewriting{}
		for _, request := range requests {
			list = append(list, rewriting{request: request, live: request})
		}
		return list
	}
	odd := []rewriting{
		{request: "GET /invoices/2024%2F00117?paid=no&&x=%20", live: "GET /invoices/2024%2F00117?paid=no&&x=%20"},
		{request: "GET /kunden/S%C3%B6hne/%E2%82%AC", live: "GET /kunden/S%C3%B6hne/%E2%82%AC"},
		{request: "GET /invoices?from=1;to=2", live: "GET /invoices?from=1&to=2", plain: "GET /invoices?from=1&to=2"},
		{request: "GET /invoices?", live: "GET /invoices?", bareQuery: true},
		{request: "GET /invoices?discount=10%zz&b=%", live: "GET /invoices?discount=10%zz&b=%"},
		{request: "GET //invoices//2024//", live: "GET //invoices//2024//"},
		{request: "GET http://HOST/invoices/a%2Fb?x", live: "GET /invoices/a%2Fb?x", plain: "GET /invoices/a%2Fb?x"},
		{request: "GET /", live: "GET /"},
	}
	return []rewriter{
		{name: "add-prefix", kind: "addPrefix", options: testbed.Values{"prefix": "/billing"}, requests: []rewriting{
			{request: "GET /invoices/2024%2F00117?paid=no&&x=%20", live: "GET /billing/invoices/2024%2F00117?paid=no&&x=%20"},
			{request: "GET /kunden/S%C3%B6hne/%E2%82%AC", live: "GET /billing/kunden/S%C3%B6hne/%E2%82%AC"},
			{request: "GET /invoices?from=1;to=2", live: "GET /billing/invoices?from=1&to=2", plain: "GET /invoices?from=1&to=2"},
			{request: "GET //invoices//2024//", live: "GET /billing//invoices//2024//"},
			{request: "GET http://HOST/invoices/a%2Fb?x", live: "GET /billing/invoices/a%2Fb?x", plain: "GET /invoices/a%2Fb?x"},
			{request: "GET /", live: "GET /billing/"},
		}},
		{name: "strip-prefix", kind: "stripPrefix", options: testbed.Values{"prefixes": []string{"/api"}}, adds: "X-Forwarded-Prefix: /api", requests: []rewriting{
			{request: "GET /api/invoices/2024%2F00117?paid=no&&x=%20", live: "GET /invoices/2024%2F00117?paid=no&&x=%20"},
			{request: "GET /api/kunden/S%C3%B6hne", live: "GET /kunden/S%C3%B6hne"},
			{request: "GET /api?from=1;to=2", live: "GET /?from=1&to=2", plain: "GET /api?from=1&to=2"},
			{request: "GET http://HOST/api/invoices/a%2Fb?x", live: "GET /invoices/a%2Fb?x", plain: "GET /api/invoices/a%2Fb?x"},
			{request: "GET /api/", live: "GET /"},
		}},
		{name: "strip-prefix-regex", kind: "stripPrefixRegex", options: testbed.Values{"regex": []string{"/v[0-9]+/[a-z]+"}}, adds: "X-Forwarded-Prefix: /v2/north", requests: []rewriting{
			{request: "GET /v2/north/invoices/2024%2F00117?page=2", live: "GET /invoices/2024%2F00117?page=2"},
			{request: "GET /v2/north", live: "GET /"},
		}},
		{name: "replace-path", kind: "replacePath", options: testbed.Values{"path": "/kunden/S%C3%B6hne%2FCo"}, requests: []rewriting{
			{request: "GET /invoices/2024%2F00117?page=2", live: "GET /kunden/S%C3%B6hne%2FCo?page=2"},
			{request: "GET /?a=1;b=2", live: "GET /kunden/S%C3%B6hne%2FCo?a=1&b=2", plain: "GET /?a=1&b=2"},
		}},
		{name: "replace-path-regex", kind: "replacePathRegex", options: testbed.Values{"regex": "^/old/(.*)$", "replacement": "/invoices/$1"}, requests: []rewriting{
			{request: "GET /old/2024%2F00117?page=2", live: "GET /invoices/2024%2F00117?page=2"},
			{request: "GET /old/S%C3%B6hne?a=1;b=2", live: "GET /invoices/S%C3%B6hne?a=1&b=2", plain: "GET /old/S%C3%B6hne?a=1&b=2"},
			{request: "GET /new/2024", live: "GET /new/2024"},
		}},
		{name: "replace-with-a-query", kind: "replacePathRegex", options: testbed.Values{"regex": "^/invoices/(.*)$", "replacement": "/invoices?number=$1"}, requests: []rewriting{
			{request: "GET /invoices/2024-00117", live: "GET /invoices%3Fnumber=2024-00117"},
		}},
		{name: "headers", kind: "headers", options: testbed.Values{"customRequestHeaders": testbed.Values{"X-Environment": "canary", "X-Ledger": ""}}, lines: []string{"X-Ledger: north"}, adds: "X-Environment: canary", requests: odd},
		{name: "host", kind: "headers", options: testbed.Values{"customRequestHeaders": testbed.Values{"Host": "billing.internal"}}, adds: "Host: billing.internal", requests: odd},
		{name: "buffering", kind: "buffering", options: testbed.Values{"maxRequestBodyBytes": 1 << 20, "memRequestBodyBytes": 1 << 20}, requests: odd},
		{name: "chain", kind: "chain", options: testbed.Values{"middlewares": []string{"strip-prefix", "add-prefix"}}, adds: "X-Forwarded-Prefix: /api", requests: []rewriting{
			{request: "GET /api/invoices/2024%2F00117?page=2", live: "GET /billing/invoices/2024%2F00117?page=2"},
		}},
		{name: "compress", kind: "compress", options: testbed.Values{}, requests: odd},
		{name: "content-type", kind: "contentType", since: []string{"v3.0.0"}, options: testbed.Values{}, requests: odd},
		{name: "retry", kind: "retry", options: testbed.Values{"attempts": 2}, requests: odd},
		{name: "circuit-breaker", kind: "circuitBreaker", options: testbed.Values{"expression": "NetworkErrorRatio() > 0.99"}, requests: odd},
		{name: "in-flight", kind: "inFlightReq", options: testbed.Values{"amount": 100}, requests: odd},
		{name: "rate-limit", kind: "rateLimit", options: testbed.Values{"average": 0}, requests: odd},
		{name: "errors", kind: "errors", options: testbed.Values{"status": []string{"500-599"}, "service": "billing", "query": "/{status}"}, requests: odd},
		{name: "client-certificate", kind: "passTLSClientCert", options: testbed.Values{"pem": true}, requests: odd},
		{name: "grpc-web", kind: "grpcWeb", since: []string{"v3.0.0"}, options: testbed.Values{"allowOrigins": []string{"*"}}, requests: odd},
		{name: "allow-list", kind: "ipAllowList", options: testbed.Values{"sourceRange": []string{"127.0.0.1"}}, requests: odd},
		{name: "encoded-characters", kind: "encodedCharacters", since: []string{"v3.7.0"}, options: testbed.Values{"allowEncodedSlash": true}, requests: slices.Concat(odd, []rewriting{
			{request: "GET /invoices/2024%3F"},
		})},
		{name: "basic-auth", kind: "basicAuth", options: testbed.Values{"users": []string{"release:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"}, "removeHeader": true, "headerField": "X-User"},
			lines: []string{"Authorization: Basic cmVsZWFzZTp0ZXN0"}, adds: "X-User: release", requests: odd},
		{name: "forward-auth", kind: "forwardAuth", options: testbed.Values{"address": auth.URL() + "/ask", "authResponseHeaders": []string{"X-User"}}, adds: "X-User: release", requests: odd},
		{name: "redirect", kind: "redirectRegex", options: testbed.Values{"regex": "^http://[^/]+/old/(.*)", "replacement": "http://billing.example.com/$1"}, requests: []rewriting{
			{request: "GET /old/2024%2F00117"},
			{request: "GET /new/2024%2F00117", live: "GET /new/2024%2F00117"},
		}},
		{name: "redirect-scheme", kind: "redirectScheme", options: testbed.Values{"scheme": "https"}, requests: []rewriting{
			{request: "GET /invoices?page=2"},
		}},

		// Other plugins. Traefik's proxy sends what RequestURI says, and where that is
		// empty or none, what URL says; that of v2 then sends "/", whatever URL says.
		{name: "request-uri", options: testbed.Values{"requestURI": "/rewritten/a%2Fb?tenant=north&&x=%20"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/a%2Fb?tenant=north&&x=%20"},
		}},
		{name: "url", options: testbed.Values{"path": "/rewritten", "rawQuery": "tenant=north"}, requests: same("GET /invoices/2024?page=2", "GET /kunden/S%C3%B6hne")},
		{name: "query", options: testbed.Values{"rawQuery": "tenant=north"}, requests: same("GET /invoices/2024%2F00117?page=2")},
		{name: "both", options: testbed.Values{"requestURI": "/rewritten/uri", "path": "/rewritten/url", "rawQuery": "tenant=north"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/uri"},
		}},
		{name: "only-url", since: []string{"v3.0.0"}, options: testbed.Values{"path": "/rewritten/S\u00f6hne", "rawQuery": "a=1&b=%20", "clear": []string{"RequestURI"}}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/S%C3%B6hne?a=1&b=%20"},
		}},
		{name: "no-uri", since: []string{"v3.0.0"}, options: testbed.Values{"clear": []string{"RequestURI"}}, requests: same("GET /invoices/2024%2F00117?page=2", "GET //invoices//2024")},
		{name: "unparsable", since: []string{"v3.0.0"}, options: testbed.Values{"requestURI": "/rewritten/%zz", "path": "/rewritten/url"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/url?page=2"},
		}},
		{name: "no-slash", since: []string{"v3.0.0"}, options: testbed.Values{"requestURI": "rewritten", "path": "/rewritten/url"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/url?page=2"},
		}},
		{name: "bad-query", options: testbed.Values{"requestURI": "/rewritten?discount=10%zz;b=%"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten?discount=10%zz&b=%"},
		}},
		// Whether a bare question mark is sent is for URL alone to say.
		{name: "question-mark", options: testbed.Values{"requestURI": "/rewritten?"}, requests: []rewriting{
			{request: "GET /invoices", live: "GET /rewritten"},
			{request: "GET /invoices?", live: "GET /rewritten?", bareQuery: true},
		}},
		{name: "no-question-mark", options: testbed.Values{"requestURI": "/rewritten"}, requests: []rewriting{
			{request: "GET /invoices?", live: "GET /rewritten?", bareQuery: true},
			{request: "GET /invoices?page=2", live: "GET /rewritten"},
		}},
		{name: "spaces", options: testbed.Values{"requestURI": "/rewritten by hand"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten%20by%20hand"},
		}},
		{name: "absolute", options: testbed.Values{"requestURI": "http://shop.example.com/rewritten/a%2Fb?tenant=north"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/a%2Fb?tenant=north"},
		}},
		{name: "raw-path", since: []string{"v3.0.0"}, options: testbed.Values{"path": "/rewritten/a/b", "rawPath": "/other%2Fb", "clear": []string{"RequestURI"}}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/a/b?page=2"},
		}},
		{name: "right-raw-path", since: []string{"v3.0.0"}, options: testbed.Values{"path": "/rewritten/a/b", "rawPath": "/rewritten/a%2Fb", "clear": []string{"RequestURI"}}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten/a%2Fb?page=2"},
		}},
		{name: "no-path", since: []string{"v3.0.0"}, options: testbed.Values{"clear": []string{"RequestURI", "Path"}}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /?page=2"},
		}},
		// Older proxies send Opaque.
		{name: "opaque", since: []string{"v3.7.13"}, options: testbed.Values{"opaque": "//shop.example.com/opaque"}, requests: same("GET /invoices/2024%2F00117?page=2")},
		{name: "only-opaque", since: []string{"v3.7.13"}, options: testbed.Values{"opaque": "//shop.example.com/opaque", "path": "/rewritten", "clear": []string{"RequestURI"}}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "GET /rewritten?page=2"},
		}},
		{name: "url-host", options: testbed.Values{"urlHost": "shop.example.com"}, requests: same("GET /invoices?page=2")},
		{name: "request-host", options: testbed.Values{"host": "billing.internal"}, adds: "Host: billing.internal", requests: same("GET /invoices?page=2")},
		{name: "method", options: testbed.Values{"method": "REPORT"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "REPORT /invoices?page=2"},
		}},
		{name: "asterisk", options: testbed.Values{"requestURI": "*", "method": "OPTIONS"}, requests: []rewriting{
			{request: "GET /invoices?page=2", live: "OPTIONS *"},
		}},
	}
}

// The mirrors of each router in the tests of URLs: over HTTP/1.1 and HTTP/2, with and
// without a base path.
var urlMirrors = []struct{ name, scheme, base string }{
	{"http", "http", ""},
	{"http-base", "http", "/v2"},
	{"https", "https", ""},
	{"https-base", "https", "/v2/"},
}

// A urlBench is a Traefik whose routers have all of urlMirrors.
type urlBench struct {
	*testbed.Traefik
	live, auth *testbed.Upstream
	shadows    map[string]*testbed.Upstream // by scheme
}

// runURLs starts it with the routers that add adds, which names the mirrors' middlewares
// where it wants them.
func runURLs(t *testing.T, opts testbed.Options, add func(d testbed.Dynamic, mirrors []string, auth *testbed.Upstream)) *urlBench {
	t.Helper()
	ca := newCA(t)
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	b := &urlBench{
		live: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"}),
		auth: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "auth", CountOnly: true, Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			rw.Header().Set("X-User", "release")
		})}),
		shadows: map[string]*testbed.Upstream{
			"http":  testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"}),
			"https": testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "secure shadow", HTTP2: true, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}),
		},
	}
	dynamic := billing(b.live)
	names := []string{}
	for _, m := range urlMirrors {
		options := testbed.Values{"url": b.shadows[m.scheme].URL() + m.base}
		if m.scheme == "https" {
			options["tls"] = testbed.Values{"rootCAs": string(ca.PEM())}
		}
		dynamic.Mirror(m.name, options)
		names = append(names, m.name)
	}
	dynamic.Router("mirrors", testbed.RuleOf("mirrors"), "billing", names...)
	add(dynamic, names, b.auth)
	point := testbed.Values{}
	if testbed.MustUsedRelease(t).Has("v2.11.24", "v3.3.6") {
		point["http"] = testbed.Values{"sanitizePath": false}
	}
	entryPoints := testbed.Values{testbed.Web: point}
	if static, ok := opts.Static.(testbed.Values); ok {
		entryPoints[testbed.WebSecure] = static["entryPoints"].(testbed.Values)[testbed.WebSecure]
	}
	opts.Static = testbed.Values{"entryPoints": entryPoints}
	opts.Plugins = []testbed.Plugin{{Key: "rewrite", Dir: "testdata/rewrite"}}
	opts.Dynamic = dynamic
	b.Traefik = testbed.MustServe(t, opts)
	return b
}

// based is the first line of a request, without the protocol, with the base path of a mirror in front of its path.
func based(base, line string) string {
	method, target, _ := strings.Cut(line, " ")
	if target == "*" {
		return line
	}
	return method + " " + strings.TrimSuffix(base, "/") + target
}

// send sends the request to the router at the host and returns what came of it: see
// collect.
func (b *urlBench) send(t *testing.T, host, request string, wantLive, wantCopies bool, headers ...string) (*testbed.Request, map[string]testbed.Request) {
	t.Helper()
	return b.collect(t, request, wantLive, wantCopies, func() {
		method, target, _ := strings.Cut(strings.Replace(request, "HOST", host, 1), " ")
		answers := exchange(t, b.Traefik, head(method, target, host, headers...))
		if wantLive && answers.Status() != http.StatusOK {
			body, _ := answers.Body()
			t.Fatalf("%s: answered %d %q", request, answers.Status(), body)
		}
	})
}

// collect returns what live got of a request that is sent, nil for nothing, and what
// the shadows got, by the names of the mirrors.
func (b *urlBench) collect(t *testing.T, what string, wantLive, wantCopies bool, send func()) (*testbed.Request, map[string]testbed.Request) {
	t.Helper()
	b.live.Reset()
	for _, shadow := range b.shadows {
		shadow.Reset()
	}
	send()
	// A copy that should not come has come when one that is sent later has.
	exchange(t, b.Traefik, head("GET", "/health/urls", testbed.HostOf("mirrors")))
	probe := func(r testbed.Request) bool { return strings.HasSuffix(r.RequestURI, "/health/urls") }
	copies := map[string]testbed.Request{}
	for _, m := range urlMirrors {
		var got []testbed.Request
		testbed.Eventually(t, patience, func() error {
			all := from(b.shadows[m.scheme].Requests(), m.name)
			got = slices.DeleteFunc(slices.Clone(all), probe)
			if len(got) == len(all) || wantCopies && len(got) == 0 {
				return fmt.Errorf("%s: the shadow got %s from %s", what, testbed.Lines(all), m.name)
			}
			return nil
		})
		if (len(got) == 1) != wantCopies || len(got) > 1 {
			t.Errorf("%s: the shadow got %s from %s, want one: %t", what, testbed.Lines(got), m.name, wantCopies)
		}
		if len(got) > 0 {
			copies[m.name] = got[0]
		}
	}
	live := slices.DeleteFunc(b.live.Requests(), probe)
	if (len(live) == 1) != wantLive || len(live) > 1 {
		t.Fatalf("%s: live got %s, want one: %t", what, testbed.Lines(live), wantLive)
	}
	if len(live) == 0 {
		return nil, copies
	}
	return &live[0], copies
}

// Whatever a middleware makes of a request, a shadow whose mirror is behind it gets
// what live gets, and one whose mirror is before it gets what the mirror has seen.
func TestURLIsTheOneThatLiveGets(t *testing.T) {
	release := testbed.MustUsedRelease(t)
	var all []rewriter
	b := runURLs(t, testbed.Options{}, func(d testbed.Dynamic, mirrors []string, auth *testbed.Upstream) {
		all = slices.DeleteFunc(rewriters(auth), func(r rewriter) bool { return r.since != nil && !release.Has(r.since...) })
		for _, r := range all {
			if r.kind == "" {
				d.Plugin(r.name, "rewrite", r.options)
			} else {
				d.Middleware(r.name, r.kind, r.options)
			}
			d.Router(r.name+"-mirrors", testbed.RuleOf(r.name+"-mirrors"), "billing", append([]string{r.name}, mirrors...)...)
			d.Router("mirrors-"+r.name, testbed.RuleOf("mirrors-"+r.name), "billing", append(slices.Clone(mirrors), r.name)...)
		}
	})
	for _, r := range all {
		for _, w := range r.requests {
			if w.bareQuery && !release.Has("v3.0.0") {
				continue
			}
			if w.plain == "" {
				w.plain = w.request
			}
			t.Run(r.name+"/before the mirror/"+w.request, func(t *testing.T) {
				live, copies := b.send(t, testbed.HostOf(r.name+"-mirrors"), w.request, w.live != "", w.live != "", r.lines...)
				if live == nil {
					return
				}
				checkLine(t, "live", *live, w.live)
				checkAdded(t, "live", *live, r.adds, true)
				for _, m := range urlMirrors {
					checkLine(t, m.name, copies[m.name], based(m.base, w.live))
					checkAdded(t, m.name, copies[m.name], r.adds, true)
				}
				// And nothing else is otherwise.
				if c := copies["http"]; c.RawHead != nil {
					compareCopy(t, c, *live, "http")
				}
			})
			t.Run(r.name+"/behind the mirror/"+w.request, func(t *testing.T) {
				live, copies := b.send(t, testbed.HostOf("mirrors-"+r.name), w.request, w.live != "", true, r.lines...)
				if live != nil {
					checkLine(t, "live", *live, w.live)
					checkAdded(t, "live", *live, r.adds, true)
				}
				for _, m := range urlMirrors {
					checkLine(t, m.name, copies[m.name], based(m.base, w.plain))
					checkAdded(t, m.name, copies[m.name], r.adds, false)
				}
			})
		}
	}
}

func checkLine(t *testing.T, who string, r testbed.Request, want string) {
	t.Helper()
	if got := r.Method + " " + r.RequestURI; got != want {
		t.Errorf("%s got %s, want %s", who, got, want)
	}
}

// checkAdded complains if a request has the header line and should not, or the other
// way round.
func checkAdded(t *testing.T, who string, r testbed.Request, line string, want bool) {
	t.Helper()
	name, value, _ := strings.Cut(line, ": ")
	got := r.Header.Get(name)
	if name == "Host" {
		got = r.Host
	}
	if name != "" && (got == value) != want {
		t.Errorf("%s got %s %q, want %q: %t", who, name, got, value, want)
	}
}

// The target of a request that is for no path has none in front of it either.
func TestAsteriskIsNoPath(t *testing.T) {
	b := runURLs(t, withHTTP3(testbed.Options{}), func(testbed.Dynamic, []string, *testbed.Upstream) {})
	for _, client := range corpusClients(b.Traefik) {
		for _, method := range []string{"GET", "OPTIONS"} {
			t.Run(client.name+"/"+method, func(t *testing.T) {
				// For HTTP/1.1 and HTTP/2 net/http's server answers OPTIONS itself. Older
				// Traefiks do not serve h2c by it.
				passes := method == "GET" || client.major == 3 || client.name == "h2c" && !b.Release().Has("v3.6.0")
				live, copies := b.collect(t, method, passes, passes, func() { client.ask(t, method, "*", testbed.HostOf("mirrors")) })
				if live != nil {
					checkLine(t, "live", *live, method+" *")
				}
				for name, c := range copies {
					checkLine(t, name, c, method+" *")
				}
			})
		}
	}
}
