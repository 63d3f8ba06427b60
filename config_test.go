package mirror

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConfigDefaults(t *testing.T) {
	c := CreateConfig()
	c.URL = "http://billing-next:8080"
	o, err := c.parse()
	if err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
	if o.percent != 100 || o.sampleBy != "" || len(o.methods) != 0 || !o.mirrorBody || o.maxBodySize != 1<<20 || o.stream ||
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
		{"base path", func(c *Config) { c.URL = " https://billing-next:8443/v2%2Fx/ " }, func(o *options) bool {
			return o.target.Host == "billing-next:8443" && o.target.EscapedPath() == "/v2%2Fx/"
		}},
		{"IPv6 host", func(c *Config) { c.URL = "http://[::1]:8080" }, func(o *options) bool { return o.target.Port() == "8080" }},
		{"fraction of a percent", func(c *Config) { c.Percent = " 0.25 " }, func(o *options) bool { return o.percent == 0.25 }},
		{"header", func(c *Config) { c.SampleBy = "header: x-customer-id" }, func(o *options) bool { return o.sampleBy == "header:X-Customer-Id" }},
		{"cookie", func(c *Config) { c.SampleBy = "cookie:session" }, func(o *options) bool { return o.sampleBy == "cookie:session" }},
		{"client's address", func(c *Config) { c.SampleBy = "clientip" }, func(o *options) bool { return o.sampleBy == "clientIP" }},
		{"methods as a label has them", func(c *Config) { c.Methods = []string{"POST", " put ", " PATCH"} }, func(o *options) bool {
			return len(o.methods) == 3 && o.methods["PUT"] && o.methods["PATCH"]
		}},
		{"boolean as the decoder writes it", func(c *Config) { c.MirrorBody = "0" }, func(o *options) bool { return !o.mirrorBody }},
		{"no limit", func(c *Config) { c.MaxBodySize = "-1" }, func(o *options) bool { return o.maxBodySize == math.MaxInt64 }},
		{"no bodies", func(c *Config) { c.MaxBodySize = "0" }, func(o *options) bool { return o.maxBodySize == 0 }},
		{"stream", func(c *Config) { c.BodyMode = " Stream" }, func(o *options) bool { return o.stream }},
		{"seconds", func(c *Config) { c.Timeout = "7" }, func(o *options) bool { return o.timeout == 7*time.Second }},
		{"duration", func(c *Config) { c.Timeout = " 1m30s" }, func(o *options) bool { return o.timeout == 90*time.Second }},
		{"headers", func(c *Config) {
			c.CustomRequestHeaders = map[string]string{"authorization": "", "x-environment": "shadow"}
		}, func(o *options) bool {
			return len(o.removeHeaders) == 1 && o.removeHeaders[0] == "Authorization" && o.setHeaders.Get("X-Environment") == "shadow"
		}},
		{"no certificate check", func(c *Config) { c.TLS = &TLS{InsecureSkipVerify: "true", ServerName: " billing.internal "} }, func(o *options) bool {
			return o.tlsConfig.InsecureSkipVerify && o.tlsConfig.ServerName == "billing.internal"
		}},
		{"authority as a file", func(c *Config) { c.TLS = &TLS{RootCAs: []string{" " + authorityFile(t)}} }, func(o *options) bool {
			return o.tlsConfig.RootCAs != nil
		}},
		{"authority as text", func(c *Config) { c.TLS = &TLS{RootCAs: []string{certificate}} }, func(o *options) bool {
			return o.tlsConfig.RootCAs != nil
		}},
		{"compare without options", func(c *Config) { c.Compare = &Compare{} }, func(o *options) bool {
			r := o.compare
			return r.Body == "json" && len(r.Headers) == 0 && len(r.Ignore) == 0 && r.MaxBodySize == 64<<10 && r.Keep == 20 && r.Show == "hashes" && o.compareShare == 1
		}},
		{"compare with all options", func(c *Config) {
			c.Compare = &Compare{Body: " Exact", Headers: []string{" cache-control"}, Ignore: []string{"$.id", " $.lines[*].updatedAt "},
				MaxBodySize: "1MiB", Percent: "12.5", Keep: "0", Show: "NONE"}
		}, func(o *options) bool {
			r := o.compare
			return r.Body == "exact" && r.Headers[0] == "Cache-Control" && len(r.Ignore) == 2 && r.Ignore[1].String() == "$.lines[*].updatedAt" &&
				r.MaxBodySize == 1<<20 && r.Keep == 0 && r.Show == "none" && o.compareShare == 0.125
		}},
		{"client certificate as text", func(c *Config) { c.TLS = &TLS{CertFile: certificate, KeyFile: privateKey} }, func(o *options) bool {
			return len(o.tlsConfig.Certificates) == 1
		}},
	}
	for _, tt := range tests {
		c := CreateConfig()
		c.URL = "http://billing-next:8080"
		tt.set(c)
		o, err := c.parse()
		if err != nil {
			t.Errorf("%s: refused: %v", tt.name, err)
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
		want []string // all in the error
	}{
		{"no URL", func(c *Config) { c.URL = "" }, []string{"url: required"}},
		{"another scheme", func(c *Config) { c.URL = "ftp://billing-next" }, []string{`url: "ftp://billing-next"`, "http or https"}},
		{"no scheme", func(c *Config) { c.URL = "billing-next:8080" }, []string{"url: ", "http or https"}},
		{"no host", func(c *Config) { c.URL = "http:///v2" }, []string{"url: ", "a host"}},
		{"port out of range", func(c *Config) { c.URL = "http://billing-next:80800" }, []string{"url: "}},
		{"two ports", func(c *Config) { c.URL = "http://billing-next:8080:" }, []string{"url: "}},
		{"port not a number", func(c *Config) { c.URL = "http://billing-next:http" }, []string{"url: "}},
		{"query", func(c *Config) { c.URL = "http://billing-next/?dry=1" }, []string{"url: ", "query"}},
		{"fragment", func(c *Config) { c.URL = "http://billing-next/#top" }, []string{"url: "}},
		{"user name", func(c *Config) { c.URL = "http://audit:hunter2@billing-next" }, []string{"url: ", "customRequestHeaders.Authorization"}},
		{"user name, escape", func(c *Config) { c.URL = "http://audit:hunter2%@billing-next" }, []string{`url: "http://…@billing-next"`}},
		{"user name, port", func(c *Config) { c.URL = "http://audit:hunter2@billing-next:99999" }, []string{`url: "http://…@billing-next:99999"`}},
		{"user name, no colon", func(c *Config) { c.URL = "https//audit:hunter2@billing-next" }, []string{`url: "https//…@billing-next"`}},
		{"user name, no scheme", func(c *Config) { c.URL = "audit:hunter2@billing-next" }, []string{`url: "…@billing-next"`}},
		{"user name, query", func(c *Config) { c.URL = "http://audit:hunter2@billing-next?a=//" }, []string{"url: "}},
		{"percent above", func(c *Config) { c.Percent = "100.1" }, []string{`percent: "100.1"`, "0 to 100"}},
		{"percent below", func(c *Config) { c.Percent = "-1" }, []string{`percent: "-1"`}},
		{"percent not a number", func(c *Config) { c.Percent = "NaN" }, []string{`percent: "NaN"`}},
		{"percent with its sign", func(c *Config) { c.Percent = "10%" }, []string{`percent: "10%"`}},
		{"percent empty", func(c *Config) { c.Percent = "" }, []string{`percent: ""`}},
		{"sample by nothing known", func(c *Config) { c.SampleBy = "path" }, []string{`sampleBy: "path"`, "header:NAME, cookie:NAME or clientIP"}},
		{"sample by no name", func(c *Config) { c.SampleBy = "header:" }, []string{`sampleBy: "header:"`}},
		{"sample by a name with a space", func(c *Config) { c.SampleBy = "cookie:a b" }, []string{`sampleBy: "cookie:a b"`}},
		{"method with a space", func(c *Config) { c.Methods = []string{"POST PUT"} }, []string{`methods: "POST PUT"`}},
		{"method empty", func(c *Config) { c.Methods = []string{"POST", " "} }, []string{`methods: ""`}},
		{"boolean", func(c *Config) { c.MirrorBody = "yes" }, []string{`mirrorBody: "yes"`, "true or false"}},
		{"other boolean", func(c *Config) { c.PassHostHeader = "2" }, []string{`passHostHeader: "2"`}},
		{"size", func(c *Config) { c.MaxBodySize = "1 apple" }, []string{`maxBodySize: "1 apple"`, "512KiB"}},
		{"size below -1", func(c *Config) { c.MaxBodySize = "-2" }, []string{`maxBodySize: "-2"`}},
		{"body mode", func(c *Config) { c.BodyMode = "copy" }, []string{`bodyMode: "copy"`, "buffer or stream"}},
		{"none in flight", func(c *Config) { c.MaxInFlight = "0" }, []string{`maxInFlight: "0"`, "at least 1"}},
		{"in flight overflows", func(c *Config) { c.MaxInFlight = "99999999999" }, []string{"maxInFlight: "}},
		{"no time", func(c *Config) { c.Timeout = "0" }, []string{`timeout: "0"`, "above 0"}},
		{"negative time", func(c *Config) { c.Timeout = "-5s" }, []string{`timeout: "-5s"`}},
		{"negative pause", func(c *Config) { c.MaxPause = "-1s" }, []string{`maxPause: "-1s"`, "0 for no pauses"}},
		{"time without a number", func(c *Config) { c.Timeout = "soon" }, []string{`timeout: "soon"`, "500ms"}},
		{"what to compare", func(c *Config) { c.Compare = &Compare{Body: "yaml"} }, []string{`compare.body: "yaml"`, "json, exact or off"}},
		{"headers to compare", func(c *Config) { c.Compare = &Compare{Headers: []string{"X Total"}} }, []string{`compare.headers: "X Total"`}},
		{"paths to ignore", func(c *Config) { c.Compare = &Compare{Ignore: []string{"id"}} }, []string{`compare.ignore: "id"`, "$.lines[*].updatedAt"}},
		{"all ignored", func(c *Config) { c.Compare = &Compare{Ignore: []string{"$"}} }, []string{`compare.ignore: "$"`, "compare.body to off"}},
		{"answers without a limit", func(c *Config) { c.Compare = &Compare{MaxBodySize: "-1"} }, []string{`compare.maxBodySize: "-1"`, "has to have a limit"}},
		{"share to compare", func(c *Config) { c.Compare = &Compare{Percent: "101"} }, []string{`compare.percent: "101"`}},
		{"mismatches to keep", func(c *Config) { c.Compare = &Compare{Keep: "1001"} }, []string{`compare.keep: "1001"`, "0 to 1000"}},
		{"how to show values", func(c *Config) { c.Compare = &Compare{Show: "all"} }, []string{`compare.show: "all"`, "values, hashes or none"}},
		{"compare's unknown options", func(c *Config) {
			c.Compare = &Compare{Unknown: map[string]interface{}{"headrs": "a"}}
		}, []string{"compare.headrs: there is no such option", "compare.headers"}},
		{"serve", func(c *Config) { c.Serve = "page" }, []string{`serve: "page"`, "true or false"}},
		{"serve beside a URL and compare", func(c *Config) {
			c.Serve = "true"
			c.Compare = &Compare{}
			c.Percent = "half"
			c.Methods = []string{"GET", "HEAD"}
			c.TLS = &TLS{}
			c.CustomRequestHeaders = map[string]string{"Cookie": ""}
		}, []string{`url: "http://billing-next:8080": takes nothing beside serve`, `percent: "half"`, `methods: "GET,HEAD"`, "compare: ", "tls: ", "customRequestHeaders: "}},
		{"header name", func(c *Config) { c.CustomRequestHeaders = map[string]string{"X Env": "a"} }, []string{"customRequestHeaders.X Env"}},
		{"header value", func(c *Config) { c.CustomRequestHeaders = map[string]string{"X-Env": "a\r\nb: c"} }, []string{"customRequestHeaders.X-Env", "one line"}},
		{"no host", func(c *Config) { c.CustomRequestHeaders = map[string]string{"Host": ""} }, []string{"customRequestHeaders.Host", "a host"}},
		{"the marker", func(c *Config) { c.CustomRequestHeaders = map[string]string{"x-mirrored-by": ""} }, []string{"customRequestHeaders.x-mirrored-by", "loops"}},
		{"authority's file", func(c *Config) { c.TLS = &TLS{RootCAs: []string{"/no/such/ca.pem"}} }, []string{`tls.rootCAs: "/no/such/ca.pem"`}},
		{"authority that is none", func(c *Config) { c.TLS = &TLS{RootCAs: []string{"-----BEGIN RUBBISH-----"}} }, []string{"tls.rootCAs: "}},
		{"certificate without key", func(c *Config) { c.TLS = &TLS{CertFile: certificate} }, []string{"tls.keyFile: "}},
		{"key without certificate", func(c *Config) { c.TLS = &TLS{KeyFile: privateKey} }, []string{"tls.certFile: "}},
		{"key of another certificate", func(c *Config) { c.TLS = &TLS{CertFile: certificate, KeyFile: certificate} }, []string{"tls.certFile: ", "tls.keyFile"}},
		{"tls boolean", func(c *Config) { c.TLS = &TLS{InsecureSkipVerify: "maybe"} }, []string{`tls.insecureSkipVerify: "maybe"`}},
		{"unknown option", func(c *Config) { c.Unknown = map[string]interface{}{"maxbodysise": "1"} }, []string{"maxbodysise: there is no such option", "the nearest is maxBodySize"}},
		{"Traefik's own name for it", func(c *Config) { c.Unknown = map[string]interface{}{"mirrorBodies": "1"} }, []string{"the nearest is mirrorBody"}},
		{"unknown tls option", func(c *Config) { c.TLS = &TLS{Unknown: map[string]interface{}{"rootCA": "1"}} }, []string{"tls.rootCA: there is no such option", "the nearest is tls.rootCAs"}},
		{"several", func(c *Config) {
			c.URL = "nowhere"
			c.Percent = "101"
			c.Timeout = "x"
			c.Unknown = map[string]interface{}{"persent": 5}
		}, []string{"url: ", "percent: ", "timeout: ", "the nearest is percent"}},
	}
	for _, tt := range tests {
		c := CreateConfig()
		c.URL = "http://billing-next:8080"
		tt.set(c)
		_, err := New(context.Background(), echoLive, c, "billing@docker")
		if err == nil {
			t.Errorf("%s: accepted, want an error with %q", tt.name, tt.want)
			continue
		}
		for _, want := range append(tt.want, "billing@docker") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q, want %q in it", tt.name, err, want)
			}
		}
		for _, secret := range []string{"hunter2", "PRIVATE KEY"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: error %q gives a secret away", tt.name, err)
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

func TestFingerprintFollowsTheOptions(t *testing.T) {
	file := authorityFile(t)
	config := func(set func(*Config)) string {
		c := CreateConfig()
		c.URL = "https://billing-next"
		c.CustomRequestHeaders = map[string]string{"B": "2", "A": "1", "C": ""}
		c.TLS = &TLS{RootCAs: []string{file}}
		set(c)
		o, err := c.parse()
		if err != nil {
			t.Fatal(err)
		}
		return o.fingerprint
	}
	same := config(func(c *Config) {})
	for i := 0; i < 10; i++ {
		if again := config(func(c *Config) {}); again != same {
			t.Fatalf("equal options have different fingerprints:\n%s\n%s", same, again)
		}
	}
	changes := map[string]func(*Config){
		"url":         func(c *Config) { c.URL = "https://billing-next/v2" },
		"percent":     func(c *Config) { c.Percent = "50" },
		"headers":     func(c *Config) { c.CustomRequestHeaders["A"] = "9" },
		"server name": func(c *Config) { c.TLS.ServerName = "b" },
		"skip verify": func(c *Config) { c.TLS.InsecureSkipVerify = "true" },
	}
	for name, change := range changes {
		if config(change) == same {
			t.Errorf("%s: the fingerprint did not change", name)
		}
	}
	// A certificate that was renewed under its old name counts as a change.
	if err := os.WriteFile(file, []byte(certificate+"\n"+certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	if config(func(c *Config) {}) == same {
		t.Errorf("the file's contents changed and the fingerprint did not")
	}
}

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
