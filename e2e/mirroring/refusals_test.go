package mirroring

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A refusal is a configuration that New must refuse, and what the error has to
// say about it: options by name, and values.
type refusal struct {
	name    string
	options testbed.Values
	says    []string
}

func refusals(t *testing.T) []refusal {
	ca, other := newCA(t), newCA(t)
	cert, _, err := ca.Issue("mirror")
	if err != nil {
		t.Fatal(err)
	}
	_, otherKey, err := other.Issue("mirror")
	if err != nil {
		t.Fatal(err)
	}
	tlsOption := func(pairs ...any) testbed.Values {
		options := testbed.Values{}
		for i := 0; i < len(pairs); i += 2 {
			options[pairs[i].(string)] = pairs[i+1]
		}
		return testbed.Values{"tls": options}
	}
	empty := file(t, "empty.pem", nil)
	return []refusal{
		{"url-empty", testbed.Values{"url": ""}, []string{"url: required"}},
		{"url-blank", testbed.Values{"url": "  "}, []string{"url: required"}},
		{"url-relative", testbed.Values{"url": "/v2"}, []string{`url: "/v2"`}},
		{"url-no-scheme", testbed.Values{"url": "billing-next:8080"}, []string{`url: "billing-next:8080"`}},
		{"url-scheme", testbed.Values{"url": "ftp://billing-next"}, []string{`url: "ftp://billing-next"`}},
		{"url-no-host", testbed.Values{"url": "http:///v2"}, []string{`url: "http:///v2"`}},
		{"url-port", testbed.Values{"url": "http://billing-next:80800"}, []string{`url: "http://billing-next:80800"`}},
		{"url-query", testbed.Values{"url": "http://billing-next/?a=1"}, []string{`url: "http://billing-next/?a=1"`}},
		{"url-fragment", testbed.Values{"url": "http://billing-next/#a"}, []string{`url: "http://billing-next/#a"`}},
		{"url-user", testbed.Values{"url": "http://meyer:geheim@billing-next"}, []string{"url: has a user name"}},
		{"url-user-port", testbed.Values{"url": "http://meyer:geheim@billing-next:99999"}, []string{`url: "http://…@billing-next:99999"`}},
		{"percent-above", testbed.Values{"percent": "100.1"}, []string{`percent: "100.1"`}},
		{"percent-below", testbed.Values{"percent": "-1"}, []string{`percent: "-1"`}},
		{"percent-number", testbed.Values{"percent": 250}, []string{`percent: "250"`}},
		{"percent-text", testbed.Values{"percent": "half"}, []string{`percent: "half"`}},
		{"percent-nan", testbed.Values{"percent": "NaN"}, []string{`percent: "NaN"`}},
		{"percent-sign", testbed.Values{"percent": "50%"}, []string{`percent: "50%"`}},
		{"sample-kind", testbed.Values{"sampleBy": "query:customer"}, []string{`sampleBy: "query:customer"`}},
		{"sample-no-name", testbed.Values{"sampleBy": "header:"}, []string{`sampleBy: "header:"`}},
		{"sample-bad-name", testbed.Values{"sampleBy": "header:X Customer"}, []string{`sampleBy: "header:X Customer"`}},
		{"sample-ip-name", testbed.Values{"sampleBy": "clientIP:4"}, []string{`sampleBy: "clientIP:4"`}},
		{"methods-empty", testbed.Values{"methods": "POST,,PUT"}, []string{`methods: ""`}},
		{"methods-blank", testbed.Values{"methods": "POST PUT"}, []string{`methods: "POST PUT"`}},
		{"body", testbed.Values{"mirrorBody": "yes"}, []string{`mirrorBody: "yes"`}},
		{"size-below", testbed.Values{"maxBodySize": "-2"}, []string{`maxBodySize: "-2"`}},
		{"size-unit", testbed.Values{"maxBodySize": "10MX"}, []string{`maxBodySize: "10MX"`}},
		{"size-text", testbed.Values{"maxBodySize": "large"}, []string{`maxBodySize: "large"`}},
		{"size-overflow", testbed.Values{"maxBodySize": "9999999999GB"}, []string{`maxBodySize: "9999999999GB"`}},
		{"flight-zero", testbed.Values{"maxInFlight": 0}, []string{`maxInFlight: "0"`}},
		{"flight-below", testbed.Values{"maxInFlight": "-5"}, []string{`maxInFlight: "-5"`}},
		{"flight-fraction", testbed.Values{"maxInFlight": "1.5"}, []string{`maxInFlight: "1.5"`}},
		{"timeout-zero", testbed.Values{"timeout": "0"}, []string{`timeout: "0"`}},
		{"timeout-below", testbed.Values{"timeout": "-1s"}, []string{`timeout: "-1s"`}},
		{"timeout-unit", testbed.Values{"timeout": "5 seconds"}, []string{`timeout: "5 seconds"`}},
		{"host-header", testbed.Values{"passHostHeader": "no"}, []string{`passHostHeader: "no"`}},
		{"header-name", testbed.Values{"customRequestHeaders": testbed.Values{"X Ledger": "north"}}, []string{"customRequestHeaders.X Ledger", `"north"`}},
		{"header-marker", testbed.Values{"customRequestHeaders": testbed.Values{"x-mirrored-by": ""}}, []string{"customRequestHeaders.x-mirrored-by"}},
		{"header-lines", testbed.Values{"customRequestHeaders": testbed.Values{"X-Ledger": "north\r\nX-Total: 0"}}, []string{"customRequestHeaders.X-Ledger"}},
		{"tls-skip", tlsOption("insecureSkipVerify", "perhaps"), []string{`tls.insecureSkipVerify: "perhaps"`}},
		{"tls-ca-missing", tlsOption("rootCAs", "/nowhere/ca.pem"), []string{`tls.rootCAs: "/nowhere/ca.pem"`}},
		{"tls-ca-empty", tlsOption("rootCAs", empty), []string{"tls.rootCAs", empty}},
		{"tls-ca-text", tlsOption("rootCAs", []string{"-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----"}), []string{"tls.rootCAs"}},
		{"tls-cert-alone", tlsOption("certFile", string(cert)), []string{"tls.keyFile"}},
		{"tls-key-alone", tlsOption("keyFile", string(otherKey)), []string{"tls.certFile"}},
		{"tls-cert-missing", tlsOption("certFile", "/nowhere/a.pem", "keyFile", "/nowhere/a.key"), []string{`tls.certFile: "/nowhere/a.pem"`, `tls.keyFile: "/nowhere/a.key"`}},
		{"tls-pair", tlsOption("certFile", string(cert), "keyFile", string(otherKey)), []string{"tls.certFile"}},
		{"unknown", testbed.Values{"maxBodysise": "1MiB"}, []string{"maxBodysise", "nearest is maxBodySize"}},
		{"unknown-number", testbed.Values{"percentage": 50}, []string{"percentage", "nearest is percent"}},
		{"unknown-map", testbed.Values{"headers": testbed.Values{"X-Ledger": "north"}}, []string{"headers"}},
		{"unknown-tls", tlsOption("rootCA", "/nowhere/ca.pem"), []string{"tls.rootCA", "nearest is tls.rootCAs"}},
		{"several", testbed.Values{"url": "ftp://billing-next", "percent": "200", "timeout": "never", "maxInFlight": "0", "mirrorbody": "yes", "retries": 3, "tls": testbed.Values{"insecureSkipVerify": "perhaps", "cipher": "none"}},
			[]string{`url: "ftp://billing-next"`, `percent: "200"`, `timeout: "never"`, `maxInFlight: "0"`, `mirrorBody: "yes"`, "retries", `tls.insecureSkipVerify: "perhaps"`, "tls.cipher"}},
	}
}

// Each mistake keeps its own router from being served, and no other. Corrected,
// it is served at once.
func TestRefusals(t *testing.T) {
	const good = "http://127.0.0.1:9"
	tests := refusals(t)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	b := &bench{live: live, shadow: shadow}
	dynamic := b.dynamic(nil)
	for _, test := range tests {
		dynamic.Mirror(test.name, with(test.options, "url", good)).Router(test.name, host(at(test.name)), "billing", test.name)
	}
	dynamic.Mirror("no-options", nil).Router("no-options", host(at("no-options")), "billing", "no-options")
	tests = append(tests, refusal{"no-options", nil, []string{"url: required"}})
	b.Traefik = testbed.RunTraefik(t, loaded(testbed.Options{Dynamic: dynamic}))

	routers, err := b.Routers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			said := append(test.says, "middleware "+marker(test.name)+": ")
			reasons := strings.Join(routers[test.name].Errors, "\n")
			line := logLine(b.Traefik, marker(test.name))
			for _, want := range said {
				if !strings.Contains(reasons, want) {
					t.Errorf("Traefik's API says %q, want %q in it", reasons, want)
				}
				if !strings.Contains(line, escape(want)) {
					t.Errorf("Traefik's log says %q, want %q in it", line, want)
				}
			}
			if strings.Contains(reasons+line, "geheim") || strings.Contains(reasons+line, "PRIVATE KEY") {
				t.Errorf("a secret is shown: %s", reasons)
			}
			if status := routers[test.name].Status; status != "disabled" {
				t.Errorf("the router is %s, want disabled", status)
			}
			expect(t, b.Traefik, http.StatusNotFound, sized("POST", "/invoices", at(test.name), invoice))
		})
	}
	if n := live.Count(); n > 0 {
		t.Errorf("live got %s", lines(live.Requests()))
	}
	expect(t, b.Traefik, http.StatusOK, head("GET", "/invoices", plainHost))
	expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
	recorded(t, shadow, 1)

	corrected := b.dynamic(nil)
	for _, test := range tests {
		corrected.Mirror(test.name, testbed.Values{"url": shadow.URL()}).Router(test.name, host(at(test.name)), "billing", test.name)
	}
	b.MustReload(t, corrected)
	for _, test := range tests {
		expect(t, b.Traefik, http.StatusOK, sized("POST", fmt.Sprintf("/corrected/%s", test.name), at(test.name), invoice))
	}
	for _, r := range recorded(t, shadow, 1+len(tests))[1:] {
		if want := "/corrected/" + strings.TrimSuffix(r.Header.Get(markerHeader), "@file"); r.RequestURI != want {
			t.Errorf("the shadow got %s from %s, want %s", r.RequestURI, r.Header.Get(markerHeader), want)
		}
	}
}

// logLine returns the line of Traefik's log that refuses the middleware.
func logLine(traefik *testbed.Traefik, name string) string {
	// Traefik v2 writes the level as level=error.
	re := regexp.MustCompile(`(?m)^.* (?:ERR|level=error) .*middleware ` + regexp.QuoteMeta(name) + `: .*$`)
	return re.FindString(traefik.Log())
}

// escape is text as it is within a quoted value of Traefik's log.
func escape(text string) string { return strings.ReplaceAll(text, `"`, `\"`) }
