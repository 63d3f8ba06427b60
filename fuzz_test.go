package mirror

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "-1", "1MiB", "10 MB", "1.5KiB", "9223372036854775807", "1e3", "..", "-", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseSize(s)
		if ok && n < 0 {
			t.Errorf("parseSize(%q) = %d, below 0", s, n)
		}
		if again, okAgain := parseSize(strings.ToLower(s)); again != n || okAgain != ok {
			t.Errorf("parseSize(%q) depends on case: %d %v, %d %v", s, n, ok, again, okAgain)
		}
	})
}

func FuzzParseSampleBy(f *testing.F) {
	for _, s := range []string{"", "header:X-Customer-Id", "cookie:session", "clientIP", "clientIP:", "header:", "header:a:b", "HEADER: x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		by, ok := parseSampleBy(s)
		if !ok {
			return
		}
		if again, okAgain := parseSampleBy(by); again != by || !okAgain {
			t.Errorf("parseSampleBy(%q) = %q, which gives %q, %v", s, by, again, okAgain)
		}
		// Must not panic on any request.
		sampleValue(&http.Request{Header: http.Header{}, RemoteAddr: s}, by)
	})
}

// FuzzJoinedURL checks that a base path that is accepted goes in front of the
// request's path and changes nothing else of the URL.
func FuzzJoinedURL(f *testing.F) {
	for _, s := range []string{"", "/", "/v2", "/v2/", "/v%2F2", "/a b", "//", "/;x"} {
		for _, r := range []string{"/", "/invoices", "/a%2Fb?x=%zz;y", "//double", "/?"} {
			f.Add(s, r)
		}
	}
	f.Fuzz(func(t *testing.T, base, target string) {
		p := &parser{}
		u := p.target("http://billing-next:8080" + base)
		request, err := url.ParseRequestURI(target)
		if len(p.mistakes) > 0 || err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		out := &http.Request{URL: cloneOf(request), Header: http.Header{}}
		httputil.NewSingleHostReverseProxy(u).Director(out)
		if out.URL.Host != "billing-next:8080" || out.URL.RawQuery != request.RawQuery || out.URL.ForceQuery != request.ForceQuery {
			t.Errorf("%q and %q: got %v", base, target, out.URL)
		}
		want := strings.TrimSuffix(u.EscapedPath(), "/") + "/" + strings.TrimPrefix(request.EscapedPath(), "/")
		if got := out.URL.EscapedPath(); got != want && u.Path != "" {
			t.Errorf("%q and %q: got the path %q, want %q", base, target, got, want)
		}
	})
}

func cloneOf(u *url.URL) *url.URL {
	c := *u
	return &c
}
