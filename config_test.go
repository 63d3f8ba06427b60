package mirror

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

func TestConfigDefaults(t *testing.T) {
	c := CreateConfig()
	c.set("url", "http://billing-next:8080")
	o := c.parse()
	if o.mistaken > 0 {
		t.Fatalf("the defaults are refused: %s", o.remark())
	}
	if o.percent != 100 || o.sampleBy != "" || o.sequenceBy != "" || len(o.methods) != 0 || !o.mirrorBody || o.maxBodySize != 1<<20 || o.stream ||
		o.maxInFlight != 100 || o.timeout != 5*time.Second || o.maxPause != 30*time.Second || !o.passHostHeader || o.tlsConfig != nil {
		t.Errorf("got %+v, want the documented defaults", o)
	}
}

func TestConfigAcceptsWhatTheDocumentationSays(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		good func(*options) bool
	}{
		{"base path", func(c *Config) { c.set("url", " https://billing-next:8443/v2%2Fx/ ") }, func(o *options) bool {
			return o.target.Host == "billing-next:8443" && o.target.EscapedPath() == "/v2%2Fx/"
		}},
		{"IPv6 host", func(c *Config) { c.set("url", "http://[::1]:8080") }, func(o *options) bool { return o.target.Port() == "8080" }},
		{"fraction of a percent", func(c *Config) { c.set("percent", " 0.25 ") }, func(o *options) bool { return o.percent == 0.25 }},
		{"rate", func(c *Config) { c.set("maxRate", " 25 ") }, func(o *options) bool { return o.maxRate == 25 }},
		{"rate as a number", func(c *Config) { c.set("maxRate", 25) }, func(o *options) bool { return o.maxRate == 25 }},
		{"no rate", func(c *Config) { c.set("maxRate", "") }, func(o *options) bool { return o.maxRate == 0 }},
		{"header", func(c *Config) { c.set("sampleBy", "header: x-customer-id") }, func(o *options) bool { return o.sampleBy == "header:X-Customer-Id" }},
		{"cookie", func(c *Config) { c.set("sampleBy", "cookie:session") }, func(o *options) bool { return o.sampleBy == "cookie:session" }},
		{"a sequence", func(c *Config) { c.set("sequenceBy", "header: x-customer-id") }, func(o *options) bool { return o.sequenceBy == "header:X-Customer-Id" }},
		{"a sequence in a sample", func(c *Config) {
			c.set("percent", 10)
			c.set("sampleBy", "cookie:session")
			c.set("sequenceBy", "Cookie: session")
		}, func(o *options) bool { return o.sequenceBy == "cookie:session" }},
		{"client's address", func(c *Config) { c.set("sampleBy", "clientip") }, func(o *options) bool { return o.sampleBy == "clientIP" }},
		{"methods as a label has them", func(c *Config) { c.set("methods", []string{"POST", " put ", " PATCH"}) }, func(o *options) bool {
			return len(o.methods) == 3 && o.methods["PUT"] && o.methods["PATCH"]
		}},
		{"boolean as the decoder writes it", func(c *Config) { c.set("mirrorBody", "0") }, func(o *options) bool { return !o.mirrorBody }},
		{"no limit", func(c *Config) { c.set("maxBodySize", "-1") }, func(o *options) bool { return o.maxBodySize == math.MaxInt64 }},
		{"no bodies", func(c *Config) { c.set("maxBodySize", "0") }, func(o *options) bool { return o.maxBodySize == 0 }},
		{"stream", func(c *Config) { c.set("bodyMode", " Stream") }, func(o *options) bool { return o.stream }},
		{"seconds", func(c *Config) { c.set("timeout", "7") }, func(o *options) bool { return o.timeout == 7*time.Second }},
		{"duration", func(c *Config) { c.set("timeout", " 1m30s") }, func(o *options) bool { return o.timeout == 90*time.Second }},
		{"headers", func(c *Config) {
			c.set("customRequestHeaders", map[string]string{"authorization": "", "x-environment": "shadow"})
		}, func(o *options) bool {
			return len(o.removeHeaders) == 1 && o.removeHeaders[0] == "Authorization" && o.setHeaders.Get("X-Environment") == "shadow"
		}},
		{"no certificate check", func(c *Config) {
			c.set("tls.insecureSkipVerify", "true")
			c.set("tls.serverName", " billing.internal ")
		}, func(o *options) bool {
			return o.tlsConfig.InsecureSkipVerify && o.tlsConfig.ServerName == "billing.internal"
		}},
		{"authority as a file", func(c *Config) { c.set("tls.rootCAs", []string{" " + authorityFile(t)}) }, func(o *options) bool {
			return o.tlsConfig.RootCAs != nil
		}},
		{"authority as text", func(c *Config) { c.set("tls.rootCAs", []string{certificate}) }, func(o *options) bool {
			return o.tlsConfig.RootCAs != nil
		}},
		{"compare without options", func(c *Config) { c.set("compare", map[string]interface{}{}) }, func(o *options) bool {
			r := o.compare
			return r.Body == "json" && len(r.Headers) == len(compare.DefaultHeaders) && len(r.Ignore) == 0 && !r.NullIsMissing && r.MaxBodySize == 64<<10 && r.Examples == 5 && r.Minimum == 100 && r.MaxAge == 10*time.Minute && o.requestID == "X-Request-Id" && r.Show == "hashes" && o.compareShare == 1
		}},
		{"compare with all options", func(c *Config) {
			c.set("compare.body", " Exact")
			c.set("compare.headers", []string{" x-total-count", "location"})
			c.set("compare.ignore", []string{"$.id", " GET /invoices/* $.lines[*].updatedAt "})
			c.set("compare.unordered", "$.tags, $.lines by sku")
			c.set("compare.tolerance", []interface{}{"$.total=0.005", "$..rate=1%"})
			c.set("compare.nullIsMissing", true)
			c.set("compare.maxBodySize", "1MiB")
			c.set("compare.percent", "12.5")
			c.set("compare.examples", "0")
			c.set("compare.minimum", "7")
			c.set("compare.maxAge", "1h")
			c.set("compare.epoch", " build 4711 ")
			c.set("compare.requestId", "x-trace")
			c.set("compare.show", "NONE")
			c.set("compare.hashKey", " horse battery staple ")
		}, func(o *options) bool {
			r := o.compare
			return r.Body == "exact" && r.Headers[len(r.Headers)-1] == "X-Total-Count" && len(r.Headers) == len(compare.DefaultHeaders)+1 && len(r.Ignore) == 2 && r.Ignore[1].String() == "GET /invoices/* $.lines[*].updatedAt" &&
				len(r.Unordered) == 2 && len(r.Tolerance) == 2 && r.NullIsMissing &&
				r.MaxBodySize == 1<<20 && r.Examples == 0 && r.Minimum == 7 && r.MaxAge == time.Hour && r.Epoch == "build 4711" && o.requestID == "X-Trace" && r.Show == "none" && r.HashKey == "horse battery staple" && o.compareShare == 0.125
		}},
		{"no headers", func(c *Config) { c.set("compare.headers", " None") }, func(o *options) bool { return len(o.compare.Headers) == 0 }},
		{"no headers but these", func(c *Config) { c.set("compare.headers", "location,none,x-total-count,Location") }, func(o *options) bool {
			return len(o.compare.Headers) == 2 && o.compare.Headers[0] == "Location" && o.compare.Headers[1] == "X-Total-Count"
		}},
		{"client certificate as text", func(c *Config) {
			c.set("tls.certFile", certificate)
			c.set("tls.keyFile", privateKey)
		}, func(o *options) bool {
			return len(o.tlsConfig.Certificates) == 1
		}},
	}
	for _, tt := range tests {
		c := CreateConfig()
		c.set("url", "http://billing-next:8080")
		tt.set(c)
		o := c.parse()
		if o.mistaken > 0 {
			t.Errorf("%s: refused: %s", tt.name, o.remark())
			continue
		}
		if !tt.good(o) {
			t.Errorf("%s: got %+v", tt.name, o)
		}
	}
}

func TestConfigRefusesMistakes(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		want []string // all in what is said of it
	}{
		{"no URL", func(c *Config) { c.set("url", "") }, []string{"url: required"}},
		{"another scheme", func(c *Config) { c.set("url", "ftp://billing-next") }, []string{`url: "ftp://billing-next"`, "http, https or h2c"}},
		{"no scheme", func(c *Config) { c.set("url", "billing-next:8080") }, []string{"url: ", "http, https or h2c"}},
		{"no host", func(c *Config) { c.set("url", "http:///v2") }, []string{"url: ", "a host"}},
		{"port out of range", func(c *Config) { c.set("url", "http://billing-next:80800") }, []string{"url: "}},
		{"two ports", func(c *Config) { c.set("url", "http://billing-next:8080:") }, []string{"url: "}},
		{"port not a number", func(c *Config) { c.set("url", "http://billing-next:http") }, []string{"url: "}},
		{"query", func(c *Config) { c.set("url", "http://billing-next/?token=s3cret") }, []string{`url: "http://billing-next/?…"`, "query"}},
		{"fragment", func(c *Config) { c.set("url", "http://billing-next/#top") }, []string{"url: "}},
		{"user name", func(c *Config) { c.set("url", "http://audit:hunter2@billing-next") }, []string{"url: ", "customRequestHeaders.Authorization"}},
		{"user name, escape", func(c *Config) { c.set("url", "http://audit:hunter2%@billing-next") }, []string{`url: "http://…@billing-next"`}},
		{"user name, port", func(c *Config) { c.set("url", "http://audit:hunter2@billing-next:99999") }, []string{`url: "http://…@billing-next:99999"`}},
		{"user name, no colon", func(c *Config) { c.set("url", "https//audit:hunter2@billing-next") }, []string{`url: "https//…@billing-next"`}},
		{"user name, no scheme", func(c *Config) { c.set("url", "audit:hunter2@billing-next") }, []string{`url: "…@billing-next"`}},
		{"user name, query", func(c *Config) { c.set("url", "http://audit:hunter2@billing-next?a=//") }, []string{"url: "}},
		{"percent above", func(c *Config) { c.set("percent", "100.1") }, []string{`percent: "100.1"`, "0 to 100"}},
		{"percent below", func(c *Config) { c.set("percent", "-1") }, []string{`percent: "-1"`}},
		{"percent not a number", func(c *Config) { c.set("percent", "NaN") }, []string{`percent: "NaN"`}},
		{"percent with its sign", func(c *Config) { c.set("percent", "10%") }, []string{`percent: "10%"`}},
		{"percent empty", func(c *Config) { c.set("percent", "") }, []string{`percent: ""`}},
		{"rate of nothing", func(c *Config) { c.set("maxRate", "0") }, []string{`maxRate: "0"`, "a whole number of copies in any one second, from 1 to 100000"}},
		{"rate below nothing", func(c *Config) { c.set("maxRate", "-1") }, []string{`maxRate: "-1"`}},
		{"rate in parts", func(c *Config) { c.set("maxRate", 2.5) }, []string{`maxRate: "2.5"`}},
		{"rate with a unit", func(c *Config) { c.set("maxRate", "100/s") }, []string{`maxRate: "100/s"`}},
		{"rate above any", func(c *Config) { c.set("maxRate", "100001") }, []string{`maxRate: "100001"`}},
		{"header that guards against loops", func(c *Config) { c.set("customRequestHeaders", map[string]string{"x-mirror-token": "1"}) }, []string{"customRequestHeaders.x-mirror-token: takes any name but X-Mirrored-By and X-Mirror-Token"}},
		{"sample by nothing known", func(c *Config) { c.set("sampleBy", "path") }, []string{`sampleBy: "path"`, "header:NAME, cookie:NAME or clientIP"}},
		{"a sequence by nothing known", func(c *Config) { c.set("sequenceBy", "path") }, []string{`sequenceBy: "path"`, "header:NAME, cookie:NAME or clientIP"}},
		{"a sequence with gaps", func(c *Config) {
			c.set("percent", 10)
			c.set("sequenceBy", "clientIP")
		}, []string{`sequenceBy: "clientIP": takes percent: 100, or a sampleBy that is the same`}},
		{"a sequence in a sample by another", func(c *Config) {
			c.set("percent", 10)
			c.set("sampleBy", "header:X-Customer-Id")
			c.set("sequenceBy", "clientIP")
		}, []string{`sequenceBy: "clientIP": takes percent: 100, or a sampleBy that is the same`}},
		{"sample by no name", func(c *Config) { c.set("sampleBy", "header:") }, []string{`sampleBy: "header:"`}},
		{"sample by a name with a space", func(c *Config) { c.set("sampleBy", "cookie:a b") }, []string{`sampleBy: "cookie:a b"`}},
		{"method with a space", func(c *Config) { c.set("methods", []string{"POST PUT"}) }, []string{`methods: "POST PUT"`}},
		{"method empty", func(c *Config) { c.set("methods", []string{"POST", " "}) }, []string{`methods: ""`}},
		{"boolean", func(c *Config) { c.set("mirrorBody", "yes") }, []string{`mirrorBody: "yes"`, "true or false"}},
		{"other boolean", func(c *Config) { c.set("passHostHeader", "2") }, []string{`passHostHeader: "2"`}},
		{"size", func(c *Config) { c.set("maxBodySize", "1 apple") }, []string{`maxBodySize: "1 apple"`, "512KiB"}},
		{"size below -1", func(c *Config) { c.set("maxBodySize", "-2") }, []string{`maxBodySize: "-2"`}},
		{"body mode", func(c *Config) { c.set("bodyMode", "copy") }, []string{`bodyMode: "copy"`, "buffer or stream"}},
		{"none in flight", func(c *Config) { c.set("maxInFlight", "0") }, []string{`maxInFlight: "0"`, "at least 1"}},
		{"in flight overflows", func(c *Config) { c.set("maxInFlight", "99999999999") }, []string{"maxInFlight: "}},
		{"no time", func(c *Config) { c.set("timeout", "0") }, []string{`timeout: "0"`, "above 0"}},
		{"negative time", func(c *Config) { c.set("timeout", "-5s") }, []string{`timeout: "-5s"`}},
		{"negative pause", func(c *Config) { c.set("maxPause", "-1s") }, []string{`maxPause: "-1s"`, "0 for no pauses"}},
		{"time without a number", func(c *Config) { c.set("timeout", "soon") }, []string{`timeout: "soon"`, "500ms"}},
		{"what to compare", func(c *Config) { c.set("compare.body", "yaml") }, []string{`compare.body: "yaml"`, "json, exact or off"}},
		{"headers to compare", func(c *Config) { c.set("compare.headers", []string{"X Total"}) }, []string{`compare.headers: "X Total"`, "or none for none of those"}},
		{"rules", func(c *Config) { c.set("compare.ignore", []string{"$.id", "id"}) }, []string{`compare.ignore: "id"`, "$.lines[*].updatedAt", "at character 1"}},
		{"a rule for one invoice", func(c *Config) { c.set("compare.ignore", "GET /invoices/4711 $.id") }, []string{`compare.ignore: "GET /invoices/4711 $.id"`, "at character 5", "/invoices/*"}},
		{"a rule with a comma in a label", func(c *Config) { c.set("compare.ignore", "$['a,b']") }, []string{`compare.ignore: "$['a"`, `compare.ignore: "b']"`, "at character 2"}},
		{"all ignored", func(c *Config) { c.set("compare.ignore", []string{"$"}) }, []string{`compare.ignore: "$"`, "the word body", "compare.body: off"}},
		{"sets", func(c *Config) { c.set("compare.unordered", "$.lines by") }, []string{`compare.unordered: "$.lines by"`}},
		{"tolerances", func(c *Config) { c.set("compare.tolerance", "$.total:0.1") }, []string{`compare.tolerance: "$.total:0.1"`, "there is no ="}},
		{"null", func(c *Config) { c.set("compare.nullIsMissing", "maybe") }, []string{`compare.nullIsMissing: "maybe"`, "true or false"}},
		{"answers without a limit", func(c *Config) { c.set("compare.maxBodySize", "-1") }, []string{`compare.maxBodySize: "-1"`, "has to have a limit"}},
		{"share to compare", func(c *Config) { c.set("compare.percent", "101") }, []string{`compare.percent: "101"`}},
		{"examples to keep", func(c *Config) { c.set("compare.examples", "51") }, []string{`compare.examples: "51"`, "0 to 50"}},
		{"a minimum of nothing", func(c *Config) { c.set("compare.minimum", "0") }, []string{`compare.minimum: "0"`, "at least 1"}},
		{"an age of nothing", func(c *Config) { c.set("compare.maxAge", "0") }, []string{`compare.maxAge: "0"`, "a duration above 0"}},
		{"an epoch that is long", func(c *Config) { c.set("compare.epoch", strings.Repeat("build ", 20)) }, []string{"compare.epoch: ", "at most 100 bytes"}},
		{"an epoch of two lines", func(c *Config) { c.set("compare.epoch", "a\nb") }, []string{"compare.epoch: ", "on one line"}},
		{"a request id with a space", func(c *Config) { c.set("compare.requestId", "X Id") }, []string{`compare.requestId: "X Id"`, "the name of a header"}},
		{"how to show values", func(c *Config) { c.set("compare.show", "all") }, []string{`compare.show: "all"`, "values, hashes or none"}},
		{"a short key for hashes", func(c *Config) { c.set("compare.hashKey", "hunter2") }, []string{"compare.hashKey: text of 7 bytes: takes", "of 16 bytes or more"}},
		{"a key for hashes in lines", func(c *Config) { c.set("compare.hashKey", "correct hunter2\nhorse battery") }, []string{"compare.hashKey: text of 29 bytes: takes", "on one line"}},
		{"several keys for hashes", func(c *Config) { c.set("compare.hashKey", []string{"hunter2"}) }, []string{"compare.hashKey: a list: takes"}},
		{"a key for hashes beside serve", func(c *Config) {
			c.set("serve", true)
			c.set("compare.hashKey", "hunter2 horse battery")
		}, []string{"compare.hashKey: text of 21 bytes: takes nothing beside serve"}},
		{"compare's unknown options", func(c *Config) {
			c.set("compare.headrs", "a")
		}, []string{"compare.headrs: there is no such option", "compare.headers"}},
		{"serve", func(c *Config) { c.set("serve", "page") }, []string{`serve: "page"`, "true or false"}},
		{"serve beside a URL and compare", func(c *Config) {
			c.set("serve", "true")
			c.set("compare", map[string]interface{}{})
			c.set("percent", "half")
			c.set("methods", []string{"GET", "HEAD"})
			c.set("tls", map[string]interface{}{})
			c.set("customRequestHeaders", map[string]string{"Cookie": ""})
		}, []string{`url: "http://billing-next:8080": takes nothing beside serve`, `percent: "half"`, `methods: a list of "GET", "HEAD"`, "compare: ", "tls: ", "customRequestHeaders: "}},
		{"header name", func(c *Config) { c.set("customRequestHeaders", map[string]string{"X Env": "a"}) }, []string{"customRequestHeaders.X Env: takes the name of a header"}},
		{"header value", func(c *Config) { c.set("customRequestHeaders", map[string]string{"X-Env": "a\r\nb: c"}) }, []string{"customRequestHeaders.X-Env", "one line"}},
		{"no host", func(c *Config) { c.set("customRequestHeaders", map[string]string{"Host": ""}) }, []string{"customRequestHeaders.Host", "a host"}},
		{"the marker", func(c *Config) { c.set("customRequestHeaders", map[string]string{"x-mirrored-by": ""}) }, []string{"customRequestHeaders.x-mirrored-by", "loops"}},
		{"authority's file", func(c *Config) { c.set("tls.rootCAs", []string{"/no/such/ca.pem"}) }, []string{`tls.rootCAs: "/no/such/ca.pem"`}},
		{"authority that is none", func(c *Config) { c.set("tls.rootCAs", []string{"-----BEGIN RUBBISH-----"}) }, []string{"tls.rootCAs: "}},
		{"certificate without key", func(c *Config) { c.set("tls.certFile", certificate) }, []string{"tls.keyFile: "}},
		{"key without certificate", func(c *Config) { c.set("tls.keyFile", privateKey) }, []string{"tls.certFile: "}},
		{"key of another certificate", func(c *Config) {
			c.set("tls.certFile", certificate)
			c.set("tls.keyFile", certificate)
		}, []string{"tls.certFile: ", "tls.keyFile"}},
		{"tls boolean", func(c *Config) { c.set("tls.insecureSkipVerify", "maybe") }, []string{`tls.insecureSkipVerify: "maybe"`}},
		{"unknown option", func(c *Config) { c.set("maxbodysise", "1") }, []string{"maxbodysise: there is no such option", "the nearest is maxBodySize"}},
		{"Traefik's own name for it", func(c *Config) { c.set("mirrorBodies", "1") }, []string{"the nearest is mirrorBody"}},
		{"unknown tls option", func(c *Config) { c.set("tls.rootCA", "1") }, []string{"tls.rootCA: there is no such option", "the nearest is tls.rootCAs"}},
		{"a list for one value", func(c *Config) { c.set("percent", []interface{}{int64(10)}) }, []string{`percent: a list of "10": takes a number`}},
		{"a list of lists", func(c *Config) { c.set("percent", []interface{}{[]interface{}{10}}) }, []string{"percent: a list: takes a number"}},
		{"a map for one value", func(c *Config) { c.set("url", map[string]interface{}{"a": "b"}) }, []string{"url: a map: takes an http, https or h2c URL"}},
		{"a map for a list", func(c *Config) { c.set("methods", map[string]interface{}{"a": "b"}) }, []string{"methods: a map: takes HTTP methods"}},
		{"a list of maps", func(c *Config) { c.set("methods", []interface{}{map[string]interface{}{"a": "b"}}) }, []string{"methods: a list: takes HTTP methods"}},
		{"something else for one value", func(c *Config) { c.set("timeout", time.Now()) }, []string{"timeout: neither text, number nor boolean: takes a duration"}},
		{"one value for compare", func(c *Config) { c.set("compare", "json") }, []string{`compare: "json": takes true, false, or its options`}},
		{"a list for compare", func(c *Config) { c.set("compare", []interface{}{"json"}) }, []string{`compare: a list of "json": takes true, false, or its options`}},
		{"one value for tls", func(c *Config) { c.set("tls", true) }, []string{`tls: "true": takes its options`}},
		{"a list for tls", func(c *Config) { c.set("tls", []interface{}{}) }, []string{"tls: a list: takes its options"}},
		{"one value for headers", func(c *Config) { c.set("customRequestHeaders", "Authorization") }, []string{"customRequestHeaders: text of 13 bytes: takes names of headers"}},
		{"what Traefik leaves of a header without a value", func(c *Config) { c.set("customRequestHeaders", "") }, []string{`customRequestHeaders: "": takes names of headers`, "drops those that have nothing after the colon"}},
		{"a list for headers", func(c *Config) { c.set("customRequestHeaders", []interface{}{"Authorization: s3cret"}) }, []string{"customRequestHeaders: a list: takes names of headers"}},
		{"a map for a header", func(c *Config) { c.set("customRequestHeaders.X-Env", map[string]interface{}{"a": "s3cret"}) }, []string{"customRequestHeaders.X-Env: a map: takes a text on one line"}},
		{"a header of many lines", func(c *Config) { c.set("customRequestHeaders.Authorization", "Bearer s3cret\n") }, []string{"customRequestHeaders.Authorization: text of 14 bytes: takes a text on one line"}},
		{"a header with a control character", func(c *Config) { c.set("customRequestHeaders.X-Env", "s3cret\x01") }, []string{"customRequestHeaders.X-Env: text of 7 bytes"}},
		{"a header twice", func(c *Config) {
			c.set("customRequestHeaders", map[string]interface{}{"x-a": "s3cret", "X-A": "2"})
		}, []string{"customRequestHeaders.x-a: given twice, as X-A and as x-a"}},
		{"an option twice", func(c *Config) {
			c.set("Percent", "10")
			c.set("percent", "20")
		}, []string{"percent: given twice, as Percent and as percent"}},
		{"a group twice", func(c *Config) {
			c.set("compare.body", "json")
			c.set("Compare.body", "exact")
		}, []string{"compare: given twice, as Compare and as compare"}},
		{"an option within a group twice", func(c *Config) {
			c.set("tls.serverName", "a")
			c.set("tls.servername", "b")
		}, []string{"tls.serverName: given twice, as tls.serverName and as tls.servername"}},
		{"Traefik's own mirroring", func(c *Config) {
			c.set("service", "billing")
			c.set("mirrors", []interface{}{map[string]interface{}{"name": "billing-next", "percent": "10"}})
		}, []string{"mirrors: there is no such option: it is one of Traefik's own mirroring, and docs/migration.md", "service: there is no such option: it is"}},
		{"a label with a colon", func(c *Config) { c.set("customRequestHeaders.Authorization: Bearer s3cret", "") }, []string{"customRequestHeaders.Authorization…: takes the name of a header"}},
		{"a URL with a colon", func(c *Config) { c.set("url: http://audit:hunter2@billing-next", "") }, []string{"url…: there is no such option; the nearest is url"}},
		{"a name with a line break", func(c *Config) { c.set("per\ncent", "") }, []string{"per…: there is no such option"}},
		{"a key as a name", func(c *Config) { c.set(strings.Repeat("MIGHAgEAMBMG", 5), "") }, []string{"a name of 60 bytes: there is no such option"}},
		{"a key in many lines where a file is expected", func(c *Config) { c.set("tls.keyFile", keyLines) }, []string{"tls.keyFile: text of 186 bytes"}},
		{"a key in one line where a file is expected", func(c *Config) { c.set("tls.keyFile", strings.ReplaceAll(keyLines, "\n", "")) }, []string{"tls.keyFile: text of 184 bytes"}},
		{"a line of a key as an authority", func(c *Config) { c.set("tls.rootCAs", keyLines) }, []string{"tls.rootCAs: text of 186 bytes"}},
		{"a key where a number is expected", func(c *Config) { c.set("percent", keyLines) }, []string{"percent: text of 186 bytes"}},
		{"a key where a host is expected", func(c *Config) { c.set("tls.serverName", keyLines) }, []string{"tls.serverName: text of 186 bytes"}},
		{"a key among methods", func(c *Config) { c.set("methods", "GET,"+keyLines) }, []string{"methods: text of 186 bytes"}},
		{"a URL with a password where a number is expected", func(c *Config) { c.set("timeout", "http://audit:hunter2@billing-next") }, []string{`timeout: "http://…@billing-next"`}},
		{"a list of a URL with a password", func(c *Config) { c.set("url", []interface{}{"http://audit:hunter2@billing-next"}) }, []string{`url: a list of "http://…@billing-next"`}},
		{"control characters", func(c *Config) { c.set("percent", "1\x1b[31m0") }, []string{`percent: "1\x1b[31m0"`}},
		{"a device as a file", func(c *Config) { c.set("tls.rootCAs", "/dev/zero") }, []string{`tls.rootCAs: "/dev/zero": takes a file`}},
		{"a folder as a file", func(c *Config) { c.set("tls.rootCAs", "/") }, []string{`tls.rootCAs: "/": takes a file`}},
		{"several", func(c *Config) {
			c.set("url", "nowhere")
			c.set("percent", "101")
			c.set("timeout", "x")
			c.set("persent", 5)
		}, []string{"url: ", "percent: ", "timeout: ", "the nearest is percent"}},
	}
	for _, tt := range tests {
		c := CreateConfig()
		c.set("url", "http://billing-next:8080")
		tt.set(c)
		o := c.parse()
		said := o.remark()
		if o.mistaken == 0 {
			t.Errorf("%s: accepted, want %q", tt.name, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: said %q, want %q in it", tt.name, said, want)
			}
		}
		for _, secret := range []string{"hunter2", "PRIVATE KEY", "s3cret", "MIGHAgEA", "CgYIKoZI"} {
			if strings.Contains(said, secret) {
				t.Errorf("%s: %q gives a secret away", tt.name, said)
			}
		}
	}
}

func TestParseSize(t *testing.T) {
	tests := []struct {
		in   string
		want int64 // -1: refused
	}{
		{"0", 0}, {"1048576", 1 << 20}, {"9223372036854775807", math.MaxInt64}, {"-1", math.MaxInt64},
		{"512KiB", 512 << 10}, {"1MiB", 1 << 20}, {"1.5 MiB", 3 << 19}, {"10MB", 10e6}, {"10kb", 10e3}, {"2GiB", 2 << 30}, {"3TB", 3e12}, {"7B", 7},
		{"", -1}, {"KiB", -1}, {"-2", -1}, {"-1KiB", -1}, {"1e3", -1}, {"0x10", -1}, {"1_000", -1}, {"1.5", -1}, {"0.1B", -1},
		{"9999999TiB", -1}, {"1K", -1}, {"1 M", -1}, {"Inf", -1}, {"NaN", -1}, {"..KiB", -1}, {"1.2.3MB", -1}, {"9223372036854775808", -1},
	}
	for _, tt := range tests {
		got, ok := parseSize(tt.in)
		if !ok {
			got = -1
		}
		if got != tt.want {
			t.Errorf("parseSize(%q) = %d, want %d", tt.in, got, tt.want)
		}
	}
}

// keyLines is a key without the lines that say so.
var keyLines = strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(privateKey, "-----BEGIN PRIVATE KEY-----", ""), "-----END PRIVATE KEY-----", ""))

func authorityFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A certificate authority and its key, made for these tests and good until 2124.
const (
	certificate = `-----BEGIN CERTIFICATE-----
MIIBVjCB/aADAgECAgEqMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMTD0JpbGxpbmcg
VGVzdCBDQTAgFw0yNDAxMDEwMDAwMDBaGA8yMTI0MDEwMTAwMDAwMFowGjEYMBYG
A1UEAxMPQmlsbGluZyBUZXN0IENBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
ztkPDKB0AeVaIzUqs2MJVyYmDZfGpTcXIdKAK7QuDsYES4IOiJ+JWWLNxodz9g64
gn0R1LbfECr3zBa+5oE8BKMyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU
abxGNRIY8LqusY5NNKWKwXCqJ5gwCgYIKoZIzj0EAwIDSAAwRQIhAM6BMssPWfou
nTe4JiZZUZ7gg9Q9A/OH0XgWdhU5F0Q6AiBVekV0oKw4Giz7ynQEORuyMe9l34rj
R1nz925c9Z2D7g==
-----END CERTIFICATE-----`
	privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgv9O10PK/kTVCk/cm
CNUzk1+/JKCeFm9twwnMo7hcO5GhRANCAATO2Q8MoHQB5VojNSqzYwlXJiYNl8al
Nxch0oArtC4OxgRLgg6In4lZYs3Gh3P2DriCfRHUtt8QKvfMFr7mgTwE
-----END PRIVATE KEY-----`
)
