package mirror

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// What Traefik's proxy sends to live: RequestURI, if it is one, and else the URL.
func TestShadowGetsTheURLThatLiveGets(t *testing.T) {
	tests := []struct {
		name       string
		requestURI string
		url        *url.URL
		want       string
		wantBased  string // below the base path /v2
	}{
		{"both as the client sent it", "/invoices?page=2", &url.URL{Path: "/invoices", RawQuery: "page=2"}, "/invoices?page=2", "/v2/invoices?page=2"},
		{"RequestURI rewritten alone", "/rewritten?tenant=north", &url.URL{Path: "/invoices", RawQuery: "page=2"}, "/rewritten?tenant=north", "/v2/rewritten?tenant=north"},
		{"URL rewritten alone", "/invoices?page=2", &url.URL{Path: "/rewritten", RawQuery: "tenant=north"}, "/invoices?page=2", "/v2/invoices?page=2"},
		{"RequestURI taken away", "", &url.URL{Path: "/rewritten", RawQuery: "tenant=north"}, "/rewritten?tenant=north", "/v2/rewritten?tenant=north"},
		{"RequestURI that is none", "invoices", &url.URL{Path: "/rewritten"}, "/rewritten", "/v2/rewritten"},
		{"escapes in RequestURI alone", "/a%2Fb/%c3%B6", &url.URL{Path: "/a/b/ö"}, "/a%2Fb/%c3%B6", "/v2/a%2Fb/%c3%B6"},
		{"the whole URL", "http://billing.example/invoices?page=2", &url.URL{Scheme: "http", Host: "billing.example", Path: "/invoices", RawQuery: "page=2"}, "/invoices?page=2", "/v2/invoices?page=2"},
		{"semicolons in the query", "/invoices;v=1?from=1;to=2", &url.URL{Path: "/invoices;v=1", RawQuery: "from=1;to=2"}, "/invoices;v=1?from=1&to=2", "/v2/invoices;v=1?from=1&to=2"},
		{"an opaque URL", "/invoices", &url.URL{Opaque: "//elsewhere/ledger"}, "/invoices", "/v2/invoices"},
		{"a path that its raw form does not fit", "/x", &url.URL{Path: "/invoices", RawPath: "/led%67er"}, "/x", "/v2/x"},
		{"the server itself", "*", &url.URL{Path: "*"}, "*", "*"},
	}
	for _, tt := range tests {
		for _, base := range []string{"", "/v2"} {
			for _, scheme := range []string{"http", "https"} {
				shadow := startUpstreamOver(t, scheme)
				h := mirrorTo(t, shadow.URL+base, echoLive, func(c *Config) {
					if scheme == "https" {
						c.set("tls", map[string]string{"insecureSkipVerify": "true"})
					}
				})
				req := httptest.NewRequest(http.MethodGet, "/invoices", http.NoBody)
				req.RequestURI = tt.requestURI
				u := *tt.url
				req.URL = &u
				serve(h, req)
				want := tt.want
				if base != "" {
					want = tt.wantBased
				}
				if got := settledAt(t, shadow); got != want {
					t.Errorf("%s, %s%s: the shadow got %s, want %s", tt.name, scheme, base, got, want)
				}
				if *req.URL != *tt.url || req.RequestURI != tt.requestURI {
					t.Errorf("%s: live's URL was changed to %v", tt.name, req.URL)
				}
			}
		}
	}
}

// settledAt is what has reached the shadow once nothing is in flight.
func settledAt(t *testing.T, shadow *upstream) string {
	settled(t, t.Name())
	got := shadow.snapshot()
	if len(got) != 1 {
		return "nothing"
	}
	return got[0].uri
}
