package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A value means the same in whatever type a provider delivers it.
func TestConfigTakesValuesOfAnyType(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		good func(*options) bool
	}{
		{"numbers", func(c *Config) {
			c.set("percent", 12.5)
			c.set("maxInFlight", float64(250))
			c.set("maxBodySize", int64(4096))
			c.set("timeout", uint8(3))
			c.set("maxPause", 0)
		}, func(o *options) bool {
			return o.percent == 12.5 && o.maxInFlight == 250 && o.maxBodySize == 4096 && o.timeout == 3*time.Second && o.maxPause == 0
		}},
		{"a number with an exponent", func(c *Config) { c.set("maxBodySize", 1e6) }, func(o *options) bool { return o.maxBodySize == 1000000 }},
		{"a number as a file's", func(c *Config) { c.set("percent", "0.250000") }, func(o *options) bool { return o.percent == 0.25 }},
		{"booleans", func(c *Config) {
			c.set("mirrorBody", false)
			c.set("passHostHeader", false)
			c.set("tls.insecureSkipVerify", true)
			c.set("url", "https://billing-next")
		}, func(o *options) bool { return !o.mirrorBody && !o.passHostHeader && o.tlsConfig.InsecureSkipVerify }},
		{"null is as good as nothing", func(c *Config) {
			for _, opt := range optionTable {
				if opt.name != "url" && opt.name != "compare" {
					c.Options[opt.name] = nil // those of groups by their whole names
				}
			}
		}, func(o *options) bool {
			return o.percent == 100 && o.mirrorBody && o.tlsConfig == nil && o.compare == nil
		}},
		{"a list of anything", func(c *Config) { c.set("methods", []interface{}{"POST", " put"}) }, func(o *options) bool { return o.methods["POST"] && o.methods["PUT"] }},
		{"a list in one text", func(c *Config) { c.set("methods", "POST, put") }, func(o *options) bool { return len(o.methods) == 2 && o.methods["PUT"] }},
		{"an empty list", func(c *Config) { c.set("methods", []interface{}{}) }, func(o *options) bool { return len(o.methods) == 0 }},
		{"an empty list as a file's", func(c *Config) { c.set("methods", "") }, func(o *options) bool { return len(o.methods) == 0 }},
		{"a comma in a list", func(c *Config) { c.set("compare.ignore", []interface{}{"$['a,b']"}) }, func(o *options) bool { return len(o.compare.Ignore) == 1 }},
		{"names in any case", func(c *Config) {
			c.set("PERCENT", 10)
			c.set("TLS.serverNAME", "billing.internal")
			c.set("Compare.EXAMPLES", 3)
			c.set("customrequestheaders.x-env", "shadow")
			c.set("url", "https://billing-next")
		}, func(o *options) bool {
			return o.percent == 10 && o.tlsConfig.ServerName == "billing.internal" && o.compare.Examples == 3 && o.setHeaders.Get("X-Env") == "shadow"
		}},
		{"whole names", func(c *Config) {
			c.Options["compare.examples"] = 3
			c.Options["customRequestHeaders.X-Env"] = "shadow"
		}, func(o *options) bool { return o.compare.Examples == 3 && o.setHeaders.Get("X-Env") == "shadow" }},
		{"a map of another type", func(c *Config) {
			c.Options["compare"] = map[interface{}]interface{}{"examples": 3, "headers": []interface{}{"Location"}}
		}, func(o *options) bool { return o.compare.Examples == 3 && o.compare.Headers[0] == "Content-Type" }},
		{"headers of any type", func(c *Config) {
			c.set("customRequestHeaders", map[string]interface{}{"X-Number": 7, "X-True": true, "Authorization": nil, "Cookie": ""})
		}, func(o *options) bool {
			return o.setHeaders.Get("X-Number") == "7" && o.setHeaders.Get("X-True") == "true" && fmt.Sprint(o.removeHeaders) == "[Authorization Cookie]"
		}},
		{"no headers", func(c *Config) { c.set("customRequestHeaders", map[string]interface{}{}) }, func(o *options) bool { return len(o.setHeaders) == 0 }},
		{"compare with nothing", func(c *Config) { c.Options["compare"] = nil }, comparesByDefault},
		{"compare true", func(c *Config) { c.set("compare", true) }, comparesByDefault},
		{"compare true in a text", func(c *Config) { c.set("compare", "True") }, comparesByDefault},
		{"compare with an empty map", func(c *Config) { c.set("compare", map[string]interface{}{}) }, comparesByDefault},
		{"compare with an empty map as a file's", func(c *Config) { c.set("compare", "") }, comparesByDefault},
		{"compare with an empty map as in a label", func(c *Config) { c.set("compare", "{}") }, comparesByDefault},
		{"compare with options that have nothing", func(c *Config) { c.set("compare.body", nil) }, comparesByDefault},
		{"compare false", func(c *Config) { c.set("compare", false) }, func(o *options) bool { return o.compare == nil }},
		{"compare false, and an option", func(c *Config) {
			c.set("compare", "false")
			c.Options["compare.examples"] = 3
		}, func(o *options) bool { return o.compare == nil }},
		{"tls with nothing", func(c *Config) { c.set("tls", "") }, func(o *options) bool { return o.tlsConfig == nil }},
	}
	for _, test := range tests {
		c := CreateConfig()
		c.set("url", "http://billing-next:8080")
		test.set(c)
		o := c.parse()
		if said := o.remark(); said != "" || !test.good(o) {
			t.Errorf("%s: said %q, got %+v", test.name, said, o)
		}
	}
}

func comparesByDefault(o *options) bool {
	r := o.compare
	return r != nil && r.Body == "json" && r.MaxBodySize == 64<<10 && r.Examples == 5 && r.Show == "hashes" && o.compareShare == 1
}

// What is allowed and hardly meant works, and is remarked on.
func TestUnlikelyOptionsAreRemarkedOn(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"a method that nobody knows", func(c *Config) { c.set("methods", "POST,PSOT") }, `methods: "PSOT" is no method`},
		{"a method of WebDAV", func(c *Config) { c.set("methods", "propfind") }, ""},
		{"ten minutes", func(c *Config) { c.set("timeout", "10m") }, ""},
		{"milliseconds without a unit", func(c *Config) { c.set("timeout", 5000) }, "timeout: 1h23m20s"},
		{"tls with http", func(c *Config) { c.set("tls.serverName", "billing.internal") }, "tls: has no effect with an http url"},
		{"tls with https", func(c *Config) {
			c.set("url", "https://billing-next")
			c.set("tls.serverName", "billing.internal")
		}, ""},
	}
	for _, test := range tests {
		c := CreateConfig()
		c.set("url", "http://billing-next:8080")
		test.set(c)
		o := c.parse()
		if said := o.remark(); o.mistaken > 0 || !strings.Contains(said, test.want) || (said == "") != (test.want == "") {
			t.Errorf("%s: %d mistakes, said %q, want %q", test.name, o.mistaken, said, test.want)
		}
	}
}

// However much is wrong, what is said of it fits on a line that a log takes, and
// every option is named.
func TestWhatIsSaidOfMistakesIsBounded(t *testing.T) {
	all := &Config{Options: map[string]interface{}{}}
	for _, opt := range optionTable {
		if opt.name != "serve" && !opt.group {
			all.Options[opt.name] = map[string]interface{}{"wrong": strings.Repeat("x", 10000)}
		}
	}
	all.set("tls", []string{"wrong"})
	all.set("compare", []string{"wrong"})
	all.set("customRequestHeaders", []string{"wrong"})
	said := all.parse().remark()
	for _, opt := range optionTable {
		if opt.name != "serve" && !strings.Contains(said, opt.name+": ") {
			t.Errorf("%s is not named in %q", opt.name, said)
		}
	}
	if len(said) > maxMistakes {
		t.Errorf("%d bytes for all options, want at most %d", len(said), maxMistakes)
	}

	many := &Config{Options: map[string]interface{}{}}
	for i := 0; i < 5000; i++ {
		many.Options[fmt.Sprintf("percentage-%d-%s", i, strings.Repeat("ä ", 100))] = "x"
	}
	o := many.parse()
	if said := o.remark(); o.mistaken != 5001 || len(said) > maxMistakes+200 || !strings.HasSuffix(said, " more") || strings.ContainsAny(said, "\r\n") {
		t.Errorf("%d mistakes in %d bytes that end with %q, want 5001 in at most %d", o.mistaken, len(said), said[len(said)-40:], maxMistakes+200)
	}
}

// changes has another value of each option: whoever adds an option adds it here.
func changes(t *testing.T) map[string]interface{} {
	other := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(other, []byte(certificate+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]interface{}{
		"url":                    "https://billing-next/v2",
		"percent":                50,
		"maxRate":                "50",
		"sampleBy":               "header:X-Customer-Id",
		"sequenceBy":             "header:X-Customer-Id",
		"methods":                "GET",
		"mirrorBody":             false,
		"maxBodySize":            "2MiB",
		"bodyMode":               "stream",
		"maxInFlight":            7,
		"timeout":                "6s",
		"maxPause":               "1s",
		"passHostHeader":         false,
		"customRequestHeaders":   map[string]interface{}{"A": "9"},
		"tls":                    nil, // its options
		"tls.serverName":         "billing.internal",
		"tls.insecureSkipVerify": true,
		"tls.rootCAs":            other,
		"tls.certFile":           certificate + "\n" + certificate,
		"tls.keyFile":            privateKey + "\n" + privateKey,
		"compare":                false,
		"compare.body":           "exact",
		"compare.headers":        "X-Total-Count",
		"compare.ignore":         "$.id",
		"compare.unordered":      "$.lines",
		"compare.tolerance":      "$.total=1%",
		"compare.nullIsMissing":  true,
		"compare.control":        "http://billing-old",
		"compare.controlMethods": "GET,POST",
		"compare.maxBodySize":    "1MiB",
		"compare.percent":        10,
		"compare.examples":       1,
		"compare.minimum":        7,
		"compare.maxAge":         "1h",
		"compare.epoch":          "build 4711",
		"compare.requestId":      "X-Trace",
		"compare.show":           "none",
		"compare.hashKey":        "horse battery staple",
		"serve":                  nil, // there is nothing beside it
	}
}

// base has all groups, so that any option can be changed alone.
func base(file string) *Config {
	c := CreateConfig()
	c.set("url", "https://billing-next")
	c.set("customRequestHeaders", map[string]interface{}{"B": "2", "A": "1", "C": "", "D": "", "E": nil, "Authorization": ""})
	c.set("tls", map[string]interface{}{"rootCAs": file, "certFile": certificate, "keyFile": privateKey})
	c.set("compare", true)
	return c
}

func TestEveryOptionIsPartOfTheFingerprint(t *testing.T) {
	file := authorityFile(t)
	fingerprint := func(c *Config) string {
		o := c.parse()
		if o.mistaken > 0 {
			t.Fatal(o.remark())
		}
		return o.fingerprint
	}
	same := fingerprint(base(file))
	for i := 0; i < 50; i++ {
		if again := fingerprint(base(file)); again != same {
			t.Fatalf("equal options have different fingerprints:\n%s\n%s", same, again)
		}
	}
	values := changes(t)
	for _, opt := range optionTable {
		value, listed := values[opt.name]
		if !listed {
			t.Errorf("%s: no other value is listed in changes", opt.name)
			continue
		}
		if value == nil {
			continue
		}
		c := base(file)
		c.set(opt.name, value)
		if fingerprint(c) == same {
			t.Errorf("%s: another value has the same fingerprint", opt.name)
		}
		if opt.def != "" && opt.name != "compare" {
			c := base(file)
			c.set(opt.name, opt.def)
			if fingerprint(c) != same {
				t.Errorf("%s: the default has another fingerprint when it is written down", opt.name)
			}
		}
	}
	// A certificate that was renewed under its old name counts as a change.
	if err := os.WriteFile(file, []byte(certificate+"\n"+certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	if fingerprint(base(file)) == same {
		t.Errorf("the file's contents changed and the fingerprint did not")
	}
}

// Messages name options as the table has them, and a group has to be read before
// what it holds.
func TestOptionTableIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, opt := range optionTable {
		group, _, nested := strings.Cut(opt.name, ".")
		if nested && !seen[group] || seen[opt.name] || opt.takes == "" || opt.read == nil {
			t.Errorf("%s: comes before its group, comes twice, or says not what it takes", opt.name)
		}
		seen[opt.name] = true
	}
}

// The same options are read once, whatever makes the middleware anew, unless they name
// files, whose contents may be others by now.
func TestOptionsAreReadOnce(t *testing.T) {
	shadow := startUpstream(t)
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		set   func(*Config)
		again bool // they are read again
	}{
		{"as they were", func(c *Config) { c.set("percent", "10") }, false},
		{"with a file", func(c *Config) { c.set("tls.rootCAs", file) }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			instance(t, t.Name(), shadow.URL, tt.set)
			before := optionsBefore(t.Name())
			instance(t, t.Name(), shadow.URL, tt.set)
			if again := optionsBefore(t.Name()) != before; again != tt.again {
				t.Errorf("read again: %t, want %t", again, tt.again)
			}
			instance(t, t.Name(), shadow.URL, func(c *Config) {
				tt.set(c)
				c.set("percent", "20")
			})
			if o := optionsBefore(t.Name()); o.percent != 20 {
				t.Errorf("percent %v after it has changed, want 20", o.percent)
			}
		})
	}
}
