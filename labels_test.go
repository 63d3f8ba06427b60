package mirror

import (
	"strings"
	"testing"

	labelparser "github.com/traefik/paerser/parser"
)

// This file is left out of the interpreted run: paerser cannot be interpreted.

func TestConfigFromLabels(t *testing.T) {
	labels := map[string]string{
		prefix + "url":                                "http://billing-next:8080/v2",
		prefix + "percent":                            "12.5",
		prefix + "sampleBy":                           "header:X-Customer-Id",
		prefix + "sequenceBy":                         "header:x-customer-id",
		prefix + "methods":                            "POST, PUT , PATCH",
		prefix + "mirrorBody":                         "true",
		prefix + "maxbodysize":                        "512KiB", // case does not matter
		prefix + "maxInFlight":                        "250",
		prefix + "timeout":                            "3",
		prefix + "passHostHeader":                     "false",
		prefix + "customRequestHeaders.Authorization": "",
		prefix + "customRequestHeaders.X-Environment": "shadow",
		prefix + "tls.serverName":                     "billing.internal",
		prefix + "tls.insecureSkipVerify":             "true",
		prefix + "tls.rootCAs":                        authorityFile(t) + " , " + authorityFile(t),
		prefix + "compare.ignore":                     "$.id, GET /invoices/* header Vary",
		prefix + "compare.unordered":                  "$.tags,$.lines by sku",
		prefix + "compare.tolerance":                  "$.total=0.005, $.rate=1%",
		prefix + "compare.nullismissing":              "true",
		prefix + "compare.headers":                    "x-total-count,Location",
		prefix + "compare.maxBodySize":                "128KiB",
		prefix + "compare.show":                       "none",
	}
	o := decodeLabels(t, labels).parse()
	if o.mistaken > 0 {
		t.Fatal(o.remark())
	}
	if o.target.String() != "http://billing-next:8080/v2" || o.percent != 12.5 || o.sampleBy != "header:X-Customer-Id" || o.sequenceBy != o.sampleBy ||
		len(o.methods) != 3 || !o.methods["PUT"] || !o.methods["PATCH"] || !o.mirrorBody || o.maxBodySize != 512<<10 ||
		o.maxInFlight != 250 || o.timeout.Seconds() != 3 || o.passHostHeader {
		t.Errorf("got %+v", o)
	}
	if o.setHeaders.Get("X-Environment") != "shadow" || len(o.removeHeaders) != 1 || o.removeHeaders[0] != "Authorization" {
		t.Errorf("headers to set %v, to remove %v; want X-Environment and Authorization", o.setHeaders, o.removeHeaders)
	}
	if o.tlsConfig.ServerName != "billing.internal" || !o.tlsConfig.InsecureSkipVerify || o.tlsConfig.RootCAs == nil {
		t.Errorf("tls: got %+v", o.tlsConfig)
	}
	if r := o.compare; r == nil || len(r.Ignore) != 2 || r.Ignore[1].String() != "GET /invoices/* header Vary" || r.Headers[len(r.Headers)-1] != "X-Total-Count" ||
		len(r.Unordered) != 2 || len(r.Tolerance) != 2 || !r.NullIsMissing || r.MaxBodySize != 128<<10 || r.Show != "none" || r.Body != "json" || o.compareShare != 1 {
		t.Errorf("compare: got %+v", r)
	}
}

func TestConfigFromTheFewestLabels(t *testing.T) {
	o := decodeLabels(t, map[string]string{prefix + "url": "http://billing-next"}).parse()
	if o.mistaken > 0 {
		t.Fatal(o.remark())
	}
	if o.percent != 100 || o.maxBodySize != 1<<20 || !o.mirrorBody || o.compare != nil {
		t.Errorf("got %+v, want the defaults", o)
	}
}

// What Traefik makes of labels that mean something else than they say, or nothing.
func TestConfigFromUnusualLabels(t *testing.T) {
	tests := []struct {
		name   string
		labels map[string]string
		says   string // in what is said of it; "": nothing is
		good   func(*options) bool
	}{
		{"compare without options", map[string]string{"compare": "true"}, "", func(o *options) bool { return o.compare != nil }},
		{"compare with nothing", map[string]string{"compare": ""}, "", func(o *options) bool { return o.compare != nil }},
		{"compare with braces", map[string]string{"compare": "{}"}, "", func(o *options) bool { return o.compare != nil }},
		{"compare off", map[string]string{"compare": "false"}, "", func(o *options) bool { return o.compare == nil }},
		{"a list by numbers", map[string]string{"methods[0]": "POST", "methods[1]": "PUT"}, "", func(o *options) bool { return len(o.methods) == 2 }},
		{"a header twice, of which Traefik keeps one", map[string]string{"customRequestHeaders.x-a": "1", "customRequestHeaders.X-A": "2"}, "", func(o *options) bool { return o.setHeaders.Get("X-A") == "1" }},
		{"an option below an option", map[string]string{"percent.of": "10"}, "percent: a map: takes a number", nil},
		{"a list for one value", map[string]string{"percent[0]": "10"}, `percent: a list of "10": takes a number`, nil},
		{"Traefik's own mirroring", map[string]string{"mirrors[0].name": "billing-next"}, "mirrors: there is no such option: it is one of Traefik's own", nil},
		{"no name for a header", map[string]string{"customRequestHeaders": "Authorization"}, "customRequestHeaders: text of 13 bytes: takes names of headers", nil},
		{"a header below a header", map[string]string{"customRequestHeaders.X-A.b": "1"}, "customRequestHeaders.X-A: a map: takes a text on one line", nil},
		{"a colon for =", map[string]string{"url: http://audit:hunter2@billing-next.default.svc": ""}, "url…: there is no such option; the nearest is url", nil},
		{"an empty value", map[string]string{"percent": ""}, `percent: "": takes a number from 0 to 100`, nil},
		{"one more comma", map[string]string{"methods": "POST,"}, `methods: "": takes HTTP methods`, nil},
	}
	for _, test := range tests {
		labels := map[string]string{prefix + "url": "http://billing-next"}
		for name, value := range test.labels {
			labels[prefix+name] = value
		}
		o := decodeLabels(t, labels).parse()
		if said := o.remark(); test.says == "" && said != "" || !strings.Contains(said, test.says) || strings.Contains(said, "hunter2") {
			t.Errorf("%s: said %q, want %q in it", test.name, said, test.says)
			continue
		}
		if test.good != nil && !test.good(o) {
			t.Errorf("%s: got %+v", test.name, o)
		}
	}
}

const prefix = "traefik.http.middlewares.billing.plugin.mirror."

// decodeLabels returns the plugin's Config as labels make it: with the parser that
// Traefik reads them with, into what Traefik keeps of a plugin's options. Traefik's
// decoder then puts all of them into Config's one field.
func decodeLabels(t *testing.T, labels map[string]string) *Config {
	t.Helper()
	type middleware struct {
		Plugin map[string]map[string]interface{}
	}
	type middlewares struct{ Middlewares map[string]*middleware }
	var traefik struct{ HTTP *middlewares }
	if err := labelparser.Decode(labels, &traefik, "traefik", "traefik.http"); err != nil {
		t.Fatalf("decoding labels: %v", err)
	}
	return &Config{Options: traefik.HTTP.Middlewares["billing"].Plugin["mirror"]}
}
