package mirroring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
	"go.yaml.in/yaml/v3"
)

// A mistake is a configuration that is wrong, and what the plugin has to say about
// it: options by name, and values.
type mistake struct {
	name    string
	options testbed.Values
	says    []string
}

// inYAML is a mistake as a file has it. It is beside a url that is good.
func inYAML(t *testing.T, name, text string, says ...string) mistake {
	t.Helper()
	options := testbed.Values{}
	if err := yaml.Unmarshal([]byte(text), &options); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return mistake{name, options, says}
}

func mistakes(t *testing.T) []mistake {
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
	keyLines := strings.Join(strings.Split(string(otherKey), "\n")[1:], "\n")
	yml := func(name, text string, says ...string) mistake { return inYAML(t, name, text, says...) }
	return []mistake{
		yml("url-empty", `url: ""`, "url: required"),
		yml("url-blank", `url: "  "`, "url: required"),
		yml("url-null", "url: ", "url: required"),
		yml("url-relative", "url: /v2", `url: "/v2"`),
		yml("url-no-scheme", "url: billing-next:8080", `url: "billing-next:8080"`),
		yml("url-scheme", "url: ftp://billing-next", `url: "ftp://billing-next"`),
		yml("url-no-host", "url: http:///v2", `url: "http:///v2"`),
		yml("url-port", "url: http://billing-next:80800", `url: "http://billing-next:80800"`),
		yml("url-query", "url: http://billing-next/?token=geheim", `url: "http://billing-next/?…"`),
		yml("url-fragment", "url: http://billing-next/#a", `url: "http://billing-next/#a"`),
		yml("url-user", "url: http://meyer:geheim@billing-next", "url: has a user name"),
		yml("url-user-port", "url: http://meyer:geheim@billing-next:99999", `url: "http://…@billing-next:99999"`),
		yml("url-number", "url: 8080", `url: "8080"`),
		yml("url-list", "url: [http://billing-next]", `url: a list of "http://billing-next": takes an http`),
		yml("url-map", "url: {host: billing-next}", "url: a map: takes an http"),
		yml("rate-of-nothing", "maxRate: 0", `maxRate: "0"`, "a whole number of copies in any one second, from 1 to 100000"),
		yml("rate-in-parts", `maxRate: "0.5"`, `maxRate: "0.5"`),
		yml("rate-list", "maxRate: [10]", `maxRate: a list of "10"`),
		yml("rate-map", "maxRate: {every: 10}", "maxRate: a map"),
		yml("header-token", "customRequestHeaders: {X-Mirror-Token: north}", "customRequestHeaders.X-Mirror-Token", "guard against loops"),
		yml("percent-above", "percent: 100.1", `percent: "100.100000"`),
		yml("percent-below", `percent: "-1"`, `percent: "-1"`),
		yml("percent-number", "percent: 250", `percent: "250"`),
		yml("percent-huge", "percent: 99999999999999999999", `percent: "100000000000000000000"`),
		yml("percent-text", "percent: half", `percent: "half"`),
		yml("percent-nan", "percent: .nan", `percent: "NaN"`),
		yml("percent-sign", "percent: 50%", `percent: "50%"`),
		yml("percent-boolean", "percent: true", `percent: "true"`),
		yml("percent-list", "percent: [10]", `percent: a list of "10": takes a number`),
		yml("percent-lists", "percent: [10, 20.5]", `percent: a list of "10", "20.5": takes a number`),
		yml("percent-maps", "percent: [{GET: 10}]", "percent: a list: takes a number"),
		yml("percent-map", "percent: {GET: {of: {all: 10}}}", "percent: a map: takes a number"),
		yml("percent-twice", "{percent: 10, Percent: 20}", "percent: given twice, as Percent and as percent"),
		yml("sample-kind", "sampleBy: query:customer", `sampleBy: "query:customer"`),
		yml("sample-no-name", `sampleBy: "header:"`, `sampleBy: "header:"`),
		yml("sample-bad-name", "sampleBy: header:X Customer", `sampleBy: "header:X Customer"`),
		yml("sample-ip-name", "sampleBy: clientIP:4", `sampleBy: "clientIP:4"`),
		yml("sample-map", "sampleBy: {header: X-Customer}", "sampleBy: a map"),
		yml("sequence-kind", "sequenceBy: query:customer", `sequenceBy: "query:customer"`),
		yml("sequence-gaps", "{percent: 10, sequenceBy: clientIP}", `sequenceBy: "clientIP": takes percent: 100`),
		yml("methods-empty", "methods: POST,,PUT", `methods: ""`),
		yml("methods-blank", "methods: POST PUT", `methods: "POST PUT"`),
		yml("methods-map", "methods: {POST: true}", "methods: a map"),
		yml("methods-maps", "methods: [{POST: true}]", "methods: a list"),
		yml("body", "mirrorBody: never", `mirrorBody: "never"`),
		yml("body-list", "mirrorBody: [false]", `mirrorBody: a list of "false"`),
		yml("size-below", "maxBodySize: -2", `maxBodySize: "-2"`),
		yml("size-unit", "maxBodySize: 10MX", `maxBodySize: "10MX"`),
		yml("size-text", "maxBodySize: large", `maxBodySize: "large"`),
		yml("size-overflow", "maxBodySize: 9999999999GB", `maxBodySize: "9999999999GB"`),
		yml("mode", "bodyMode: streaming", `bodyMode: "streaming": takes buffer or stream`),
		yml("flight-zero", "maxInFlight: 0", `maxInFlight: "0"`),
		yml("flight-below", "maxInFlight: -5", `maxInFlight: "-5"`),
		yml("flight-fraction", "maxInFlight: 1.5", `maxInFlight: "1.500000"`),
		yml("timeout-zero", "timeout: 0", `timeout: "0"`),
		yml("timeout-below", "timeout: -1s", `timeout: "-1s"`),
		yml("timeout-unit", "timeout: 5 seconds", `timeout: "5 seconds"`),
		yml("timeout-map", "timeout: {seconds: 5}", "timeout: a map"),
		yml("pause", "maxPause: never", `maxPause: "never"`),
		yml("host-header", "passHostHeader: never", `passHostHeader: "never"`),
		yml("header-name", "customRequestHeaders: {X Ledger: geheim}", "customRequestHeaders.X Ledger: takes the name of a header"),
		yml("header-marker", `customRequestHeaders: {x-mirrored-by: ""}`, "customRequestHeaders.x-mirrored-by"),
		yml("header-lines", `customRequestHeaders: {X-Ledger: "geheim\r\nX-Total: 0"}`, "customRequestHeaders.X-Ledger: text of 18 bytes"),
		yml("header-block", "customRequestHeaders:\n  Authorization: |\n    Bearer geheim\n", "customRequestHeaders.Authorization: text of 14 bytes"),
		yml("header-twice", "customRequestHeaders: {x-a: geheim, X-A: 2}", "customRequestHeaders.x-a: given twice, as X-A and as x-a"),
		yml("header-list", "customRequestHeaders: {X-A: [geheim, b]}", "customRequestHeaders.X-A: a list"),
		yml("header-map", "customRequestHeaders: {X-A: {b: {c: geheim}}}", "customRequestHeaders.X-A: a map"),
		yml("header-null", "customRequestHeaders: {Authorization: }", `customRequestHeaders: "": takes names of headers`, "nothing after the colon"),
		yml("headers-list", "customRequestHeaders: ['Authorization: geheim']", "customRequestHeaders: a list: takes names of headers"),
		yml("headers-text", "customRequestHeaders: 'Authorization: geheim'", "customRequestHeaders: text of 21 bytes: takes names of headers"),
		{"tls-skip", tlsOption("insecureSkipVerify", "perhaps"), []string{`tls.insecureSkipVerify: "perhaps"`}},
		{"tls-ca-missing", tlsOption("rootCAs", "/nowhere/ca.pem"), []string{`tls.rootCAs: "/nowhere/ca.pem"`}},
		{"tls-ca-empty", tlsOption("rootCAs", empty), []string{"tls.rootCAs", empty}},
		{"tls-ca-device", tlsOption("rootCAs", "/dev/zero"), []string{`tls.rootCAs: "/dev/zero"`}},
		{"tls-ca-text", tlsOption("rootCAs", []string{"-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----"}), []string{"tls.rootCAs: text of 58 bytes"}},
		{"tls-ca-map", tlsOption("rootCAs", testbed.Values{"file": "/nowhere/ca.pem"}), []string{"tls.rootCAs: a map"}},
		{"tls-cert-alone", tlsOption("certFile", string(cert)), []string{"tls.keyFile"}},
		{"tls-key-alone", tlsOption("keyFile", string(otherKey)), []string{"tls.certFile"}},
		{"tls-key-lines", tlsOption("certFile", string(cert), "keyFile", keyLines), []string{"tls.keyFile: text of "}},
		{"tls-cert-missing", tlsOption("certFile", "/nowhere/a.pem", "keyFile", "/nowhere/a.key"), []string{`tls.certFile: "/nowhere/a.pem"`, `tls.keyFile: "/nowhere/a.key"`}},
		{"tls-pair", tlsOption("certFile", string(cert), "keyFile", string(otherKey)), []string{"tls.certFile"}},
		{"tls-server", tlsOption("serverName", "billing internal"), []string{`tls.serverName: "billing internal"`}},
		yml("tls-true", "tls: true", `tls: "true": takes its options`),
		yml("tls-list", "tls: [rootCAs: /nowhere/ca.pem]", "tls: a list: takes its options"),
		yml("compare-text", "compare: json", `compare: "json": takes true, false, or its options`),
		yml("compare-list", "compare: [json]", `compare: a list of "json"`),
		yml("compare-body", "compare: {body: xml}", `compare.body: "xml": takes json, exact or off`),
		yml("compare-control", "compare: {control: billing-old:8080}", `compare.control: "billing-old:8080": takes an http, https or h2c URL`),
		yml("compare-control-user", "compare: {control: 'http://meyer:geheim@billing-old'}", "compare.control: has a user name"),
		yml("compare-control-twice", "{url: http://billing-next, compare: {control: 'http://Billing-Next:80/'}}", `compare.control: "http://Billing-Next:80/": takes a URL other than url's`),
		yml("compare-control-methods", "compare: {control: 'http://billing-old', controlMethods: [GET POST]}", `compare.controlMethods: "GET POST": takes HTTP methods`),
		yml("compare-unknown", "compare: {fields: $.id}", "compare.fields: there is no such option"),
		yml("compare-ignore", "compare: {ignore: [{path: $.id}]}", "compare.ignore: a list: takes rules"),
		yml("compare-rule", "compare: {ignore: [$.id, GET /invoices/4711 $.id]}", `compare.ignore: "GET /invoices/4711 $.id": takes WHAT or METHOD PATH-PATTERN WHAT`, "at character 5"),
		yml("compare-place", "compare: {ignore: ['$.lines[0]']}", `compare.ignore: "$.lines[0]": takes a JSON path`, "at character 8"),
		yml("compare-unordered", "compare: {unordered: lines}", `compare.unordered: "lines": takes a JSON path`),
		yml("compare-tolerance", "compare: {tolerance: {$.total: 1}}", "compare.tolerance: a map: takes paths with how far numbers may be apart"),
		yml("compare-null", "compare: {nullIsMissing: sometimes}", `compare.nullIsMissing: "sometimes": takes true or false`),
		yml("serve", "serve: please", `serve: "please"`),
		yml("unknown", "maxBodysise: 1MiB", "maxBodysise", "nearest is maxBodySize"),
		yml("unknown-typo", "precent: 10", "precent", "nearest is percent"),
		yml("unknown-number", "percentage: 50", "percentage", "nearest is percent"),
		yml("unknown-map", "headers: {X-Ledger: geheim}", "headers: there is no such option"),
		yml("unknown-null", "{retries: , persent: 5}", "persent: there is no such option"),
		{"unknown-tls", tlsOption("rootCA", "/nowhere/ca.pem"), []string{"tls.rootCA", "nearest is tls.rootCAs"}},
		yml("mirroring", "{service: billing, mirrors: [{name: billing-next, percent: 10}]}", "mirrors: there is no such option: it is one of Traefik's own mirroring, and docs/migration.md says", "service: there is no such option: it is"),
		yml("several", "{url: ftp://billing-next, percent: 200, timeout: never, maxInFlight: [0], mirrorbody: never, retries: 3, tls: {insecureSkipVerify: perhaps, cipher: none}}",
			`url: "ftp://billing-next"`, `percent: "200"`, `timeout: "never"`, `maxInFlight: a list of "0"`, `mirrorBody: "never"`, "retries", `tls.insecureSkipVerify: "perhaps"`, "tls.cipher"),
	}
}

// inTOML are mistakes in a file in the other language.
var inTOML = map[string]struct{ text, says string }{
	"toml-percent-list":    {"percent = [10]", `percent: a list of "10": takes a number`},
	"toml-percent-inf":     {"percent = inf", `percent: "+Inf"`},
	"toml-percent-map":     {"percent = {GET = 10}", "percent: a map"},
	"toml-methods":         {"methods = [true]\nmaxInFlight = 0.5", `maxInFlight: "0.500000"`},
	"toml-headers-empty":   {"customRequestHeaders = {}", `customRequestHeaders: ""`},
	"toml-header-twice":    {"customRequestHeaders = {x-a = 'geheim', X-A = '2'}", "customRequestHeaders.x-a: given twice"},
	"toml-compare":         {"compare = 'json'", `compare: "json"`},
	"toml-twice":           {"Percent = 1\npercent = 2", "percent: given twice"},
	"toml-mirrors":         {"mirrors = [{name = 'billing-next'}]", "mirrors: there is no such option: it is one of Traefik's own"},
	"toml-unknown":         {"percents = 10", "percents: there is no such option; the nearest is percent"},
	"toml-tls-list":        {"tls = ['a']", `tls: a list of "a"`},
	"toml-compare-percent": {"[http.middlewares.toml-compare-percent.plugin.mirror.compare]\npercent = 101", `compare.percent: "101"`},
}

// inLabels are mistakes in labels, each beside a url that is good.
var inLabels = map[string]struct {
	labels map[string]string
	says   string
}{
	"label-percent":       {map[string]string{"percent": "ten"}, `percent: "ten"`},
	"label-empty":         {map[string]string{"percent": ""}, `percent: "": takes a number`},
	"label-index":         {map[string]string{"percent[0]": "10"}, `percent: a list of "10"`},
	"label-below":         {map[string]string{"percent.of": "10"}, "percent: a map"},
	"label-unknown":       {map[string]string{"precent": "10"}, "precent: there is no such option; the nearest is percent"},
	"label-unknown-below": {map[string]string{"tls.rootca": "/nowhere/ca.pem"}, "tls.rootca: there is no such option; the nearest is tls.rootCAs"},
	"label-deep":          {map[string]string{"compare.body.kind.of.it": "json"}, "compare.body: a map: takes json"},
	"label-compare":       {map[string]string{"compare": "json"}, `compare: "json": takes true, false`},
	"label-tls":           {map[string]string{"tls": "true"}, `tls: "true": takes its options`},
	"label-headers":       {map[string]string{"customRequestHeaders": "Authorization"}, "customRequestHeaders: text of 13 bytes: takes names of headers"},
	"label-header-below":  {map[string]string{"customRequestHeaders.X-A.b": "geheim"}, "customRequestHeaders.X-A: a map"},
	"label-header-colon":  {map[string]string{"customRequestHeaders.Authorization: Bearer geheim": ""}, "customRequestHeaders.Authorization…: takes the name"},
	"label-colon":         {map[string]string{"url: http://meyer:geheim@billing-next": ""}, "url…: there is no such option; the nearest is url"},
	"label-methods":       {map[string]string{"methods": "POST,PUT,"}, `methods: "": takes HTTP methods`},
	"label-mirrors":       {map[string]string{"mirrors[0].name": "billing-next", "mirrors[0].percent": "10"}, "mirrors: there is no such option: it is one of Traefik's own"},
	"label-timeout":       {map[string]string{"timeout": "5 s"}, `timeout: "5 s"`},
	"label-key":           {map[string]string{"tls.keyFile": strings.Repeat("MIGHAgEA", 20), "tls.certFile": "/nowhere/a.pem"}, "tls.keyFile: text of 160 bytes"},
	"label-serve":         {map[string]string{"serve": "yes please"}, `serve: "yes please"`},
}

// labelsFor are the labels of a container with a middleware and a router for it.
func labelsFor(name string, options map[string]string) map[string]string {
	labels := map[string]string{
		"traefik.http.routers." + name + ".rule":        testbed.RuleOf(name),
		"traefik.http.routers." + name + ".service":     "billing@file",
		"traefik.http.routers." + name + ".middlewares": name,
	}
	for option, value := range options {
		labels["traefik.http.middlewares."+name+".plugin.mirror."+option] = value
	}
	return labels
}

// Whatever is wrong with the options, live is served as without the plugin. Each
// middleware has one line that names its mistakes, and the report shows them, until
// they are corrected.
func TestMistakesLeaveLiveAlone(t *testing.T) {
	const good = "http://127.0.0.1:9"
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	b := &bench{live: live, shadow: shadow}
	engine := testbed.RunEngine(t)
	providers := engine.Providers()
	providers["file"] = testbed.Values{"filename": "", "directory": "dynamic"}

	says := map[string][]string{} // by middleware
	files := mistakes(t)
	wrong := func() testbed.Dynamic {
		d := b.dynamic(nil).Report().Mirror("no-options", nil).Router("no-options", testbed.RuleOf("no-options"), "billing", "no-options")
		for _, m := range files {
			d.Mirror(m.name, with(m.options, "url", good)).
				Router(m.name, testbed.RuleOf(m.name), "billing", m.name).
				Router("other-"+m.name, testbed.HostRule("other-"+testbed.HostOf(m.name)), "billing", m.name)
		}
		return d
	}
	for _, m := range files {
		says[testbed.Marker(m.name)] = m.says
	}
	says["no-options@file"] = []string{"url: required"}
	var toml strings.Builder
	for name, m := range inTOML {
		fmt.Fprintf(&toml, "[http.routers.%[1]s]\nrule = '%[2]s'\nservice = 'billing'\nmiddlewares = ['%[1]s']\n[http.middlewares.%[1]s.plugin.mirror]\nurl = '%[3]s'\n%[4]s\n", name, testbed.RuleOf(name), good, m.text)
		says[testbed.Marker(name)] = []string{m.says}
	}
	release, err := testbed.UsedRelease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	containers := map[string]map[string]string{}
	for name, m := range inLabels {
		// Until then Traefik asks Docker's engine by a version of its API that the test
		// bed's, as Docker's own of today, does not have.
		if !release.Has("v2.11.31", "v3.6.1") {
			break
		}
		options := map[string]string{"url": good}
		for option, value := range m.labels {
			options[option] = value
		}
		containers[name] = labelsFor(name, options)
		says[name+"@docker"] = []string{m.says}
	}
	engine.Run(containers)
	b.Traefik = testbed.RunTraefik(t, testbed.Options{
		Dynamic: wrong(), Static: testbed.Values{"providers": providers}, Env: []string{"DOCKER_HOST="},
		LogLevel: "ERROR", // below that Traefik itself logs the whole configuration, secrets and all
	})
	inTOMLFile := filepath.Join(b.Dir(), "dynamic", "mistakes.toml")
	if err := os.WriteFile(inTOMLFile, []byte(toml.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d middlewares with mistakes", len(says))

	// Served, each by every router that names it, with the body intact.
	for name := range says {
		short, _, _ := strings.Cut(name, "@")
		testbed.Eventually(t, patience, func() error { return served(b, live, testbed.HostOf(short)) })
	}
	for _, m := range files {
		if err := served(b, live, "other-"+testbed.HostOf(m.name)); err != nil {
			t.Error(err)
		}
	}
	check := func() {
		t.Helper()
		reported := reportedMistakes(t, b.Traefik)
		for name, want := range says {
			got := linesAbout(b.Traefik, name)
			if len(got) != 1 {
				t.Errorf("%s: %d lines, want 1: %q", name, len(got), got)
				continue
			}
			for _, text := range want {
				if !strings.Contains(got[0], text) {
					t.Errorf("%s: logged %q, want %q in it", name, got[0], text)
				}
				if shown := strings.Join(reported[name], "; "); !strings.Contains(shown, text) {
					t.Errorf("%s: the report has %q, want %q in it", name, shown, text)
				}
			}
		}
		metrics, err := b.Reported(t.Context(), "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		for name := range says {
			if mistaken := regexp.MustCompile(`mirror_config_errors\{middleware="` + name + `"\} [1-9]`); !mistaken.Match(metrics) {
				t.Errorf("%s: the metrics have no mirror_config_errors above 0", name)
			}
		}
		if all := b.Log() + string(metrics) + fmt.Sprint(reported); strings.Contains(all, "geheim") || strings.Contains(all, "PRIVATE KEY") || strings.Contains(all, "MIGHAgEA") {
			t.Error("a secret is shown in the log, the metrics or the report")
		}
	}
	check()
	expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
	recorded(t, shadow, 1)

	// An unrelated change makes all middlewares anew, and no line is logged again.
	if err := b.Reload(t.Context(), wrong().Router("another", testbed.RuleOf("another"), "billing")); err != nil {
		t.Fatal(err)
	}
	check()

	corrected := b.dynamic(nil).Report()
	for name := range says {
		if short, isFile := strings.CutSuffix(name, "@file"); isFile {
			corrected.Mirror(short, testbed.Values{"url": shadow.URL()}).Router(short, testbed.RuleOf(short), "billing", short)
		}
	}
	for name := range containers {
		containers[name] = labelsFor(name, map[string]string{"url": shadow.URL()})
	}
	engine.Run(containers)
	if err := os.Remove(inTOMLFile); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(t.Context(), corrected); err != nil {
		t.Fatal(err)
	}
	for name := range says {
		short, _, _ := strings.Cut(name, "@")
		testbed.Eventually(t, patience, func() error {
			expect(t, b.Traefik, http.StatusOK, sized("POST", "/corrected/"+short, testbed.HostOf(short), invoice))
			for _, r := range shadow.Requests() {
				if r.RequestURI == "/corrected/"+short && r.Header.Get(testbed.MarkerHeader) == name {
					return nil
				}
			}
			return fmt.Errorf("%s: the shadow got nothing since the options were corrected", name)
		})
	}
	for name, left := range reportedMistakes(t, b.Traefik) {
		if len(left) > 0 {
			t.Errorf("%s: the report still has %q", name, left)
		}
	}
}

// served returns an error unless live gets the request and answers it.
func served(b *bench, live *testbed.Upstream, host string) error {
	uri := "/served/" + host
	answers, err := testbed.Exchange(context.Background(), b.Addr(testbed.Web), []byte(sized("POST", uri, host, invoice)), testbed.RawOptions{})
	if err != nil || answers.Status() != http.StatusOK {
		return fmt.Errorf("%s: answered %d (%v), want 200", host, answers.Status(), err)
	}
	for _, r := range live.Requests() {
		if r.RequestURI == uri && string(r.Body) == invoice {
			return nil
		}
	}
	return fmt.Errorf("%s: live has not got the request with its body", host)
}

// reportedMistakes are those that report.json has, by middleware.
func reportedMistakes(t *testing.T, traefik *testbed.Traefik) map[string][]string {
	t.Helper()
	text, err := traefik.Reported(t.Context(), "/report.json")
	if err != nil {
		t.Fatal(err)
	}
	var d report.Document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, m := range d.Middlewares {
		all[m.Name] = m.Mistakes
	}
	return all
}

// linesAbout returns the lines at level ERROR in which the middleware's mistakes are
// named.
func linesAbout(traefik *testbed.Traefik, name string) []string {
	var about []string
	for _, line := range traefik.Mistakes() {
		// Traefik v2 writes the level as level=error, and quotes.
		if regexp.MustCompile(`( ERR |level=error ).*mirror: middleware ` + regexp.QuoteMeta(name) + `: `).MatchString(line) {
			about = append(about, strings.ReplaceAll(line, `\"`, `"`))
		}
	}
	return about
}

// Options that go from good to bad and back while requests come.
func TestReloadsToMistakesAndBackFailNoRequest(t *testing.T) {
	b := run(t, setup{})
	stop := make(chan struct{})
	var sent, failed int
	var said string
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			sent++
			answers, err := testbed.Exchange(t.Context(), b.Addr(testbed.Web), []byte(sized("POST", "/invoices", mirrorHost, invoice)), testbed.RawOptions{})
			if err != nil || answers.Status() != http.StatusOK {
				failed++
				said = fmt.Sprint(err)
			}
		}
	})
	for _, options := range []testbed.Values{{"precent": 10}, nil, {"percent": []int{10}}, {"compare": "json"}, {"compare": true}, {"tls": true}, {"customRequestHeaders": []string{"a"}}, {"url": testbed.Values{"a": "b"}}, nil} {
		if err := b.Reload(t.Context(), b.dynamic(options)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
	if failed > 0 || sent < 10 {
		t.Errorf("%d of %d requests failed: %s", failed, sent, said)
	}
	t.Logf("%d requests", sent)
	b.shadow.Reset()
	expect(t, b.Traefik, http.StatusOK, sized("POST", "/after", mirrorHost, invoice))
	if got := arrived(t, b.shadow, 1); got[len(got)-1].RequestURI != "/after" {
		t.Errorf("after it all the shadow got %s", testbed.Lines(got))
	}
}

// What Traefik's reader of files cannot take keeps it from the whole file, before any
// plugin is asked. It goes on with what it had before.
func TestWhatTraefikRefusesItselfLeavesLiveAlone(t *testing.T) {
	b := run(t, setup{})
	write := func(options, logged string) {
		t.Helper()
		text := "http:\n  middlewares:\n    shadow-billing:\n      plugin:\n        mirror:\n          url: " + b.shadow.URL() + "\n          " + options + "\n"
		if err := b.WriteDynamic(text); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitLog(testbed.Within(t, patience), logged); err != nil {
			t.Errorf("%s: %v", options, err)
		}
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
	}
	write("percent: [[10]]", "unsupported simple value type: slice")
	write("methods: [POST, null]", "unsupported simple value type: invalid")
	write("methods: [1, true]", "parse int: true")
	write("timeout: 2026-01-01", "field timeout uses unsupported type: struct")
	write("percent: 10\n          percent: 20", `percent\" already defined`)
	b.MustReload(t, b.dynamic(nil))
	expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))

	// This ends what watches the file, so it comes last: Traefik takes no change of
	// its files any more until it is started anew.
	write("customRequestHeaders: {'': a}", "Error in Go routine")
}
