package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// optionsInObjects are options as a Middleware has them, with what the plugin says of
// them; "" where it mirrors. The API server keeps their types: null too, which Traefik
// drops from files.
var optionsInObjects = []struct{ name, options, says string }{
	{"compare-null", "{compare: null}", ""},
	{"compare-empty", "{compare: {}}", ""},
	{"compare-true", "{compare: true}", ""},
	{"header-null", "{customRequestHeaders: {Authorization: null, X-Number: 7}}", ""},
	{"nulls", "{percent: null, methods: null, tls: null, customRequestHeaders: null}", ""},
	{"exponent", "{maxBodySize: 1.0e+6, percent: 1e2}", ""},
	{"empty", "{customRequestHeaders: {}, methods: [], tls: {}}", ""},

	{"url-number", "{url: 8080}", `url: "8080": takes an http`},
	{"url-null", "{url: null}", "url: required"},
	{"url-user", "{url: 'http://meyer:geheim@billing-next'}", "url: has a user name"},
	{"url-list", "{url: ['http://meyer:geheim@billing-next']}", `url: a list of "http://…@billing-next"`},
	{"percent-list", "{percent: [10]}", `percent: a list of "10": takes a number`},
	{"percent-nested", "{percent: [[10, null], [{a: [1]}]]}", "percent: a list: takes a number"},
	{"percent-nothing", "{percent: [null]}", "percent: a list: takes a number"},
	{"percent-map", "{percent: {of: {GET: {all: 10}}}}", "percent: a map"},
	{"percent-huge", "{percent: 1.0e+30}", `percent: "1000000000000000000000000000000"`},
	{"percent-boolean", "{percent: true}", `percent: "true"`},
	{"percent-twice", "{percent: 10, Percent: 20}", "percent: given twice, as Percent and as percent"},
	{"flight-fraction", "{maxInFlight: 0.5}", `maxInFlight: "0.5"`},
	{"methods-mixed", "{methods: [POST, 5, {a: b}]}", "methods: a list: takes HTTP methods"},
	{"methods-null", "{methods: [POST, null]}", "methods: a list: takes HTTP methods"},
	{"mode-boolean", "{bodyMode: true}", `bodyMode: "true"`},
	{"compare-text", "{compare: 'on'}", `compare: "on": takes true, false`},
	{"compare-list", "{compare: [body]}", `compare: a list of "body"`},
	{"compare-unknown", "{compare: {paths: [$.id]}}", "compare.paths: there is no such option"},
	{"compare-nested", "{compare: {ignore: [{path: $.id}]}}", "compare.ignore: a list"},
	{"tls-boolean", "{tls: false}", `tls: "false": takes its options`},
	{"tls-list", "{tls: {rootCAs: [[a]]}}", "tls.rootCAs: a list"},
	{"tls-key", "{tls: {certFile: /nowhere/a.pem, keyFile: \"MIGHAgEAMBMGByqGSM49\\nAgEGCCqGSM49AwEHBG0w\"}}", "tls.keyFile: text of 41 bytes"},
	{"header-list", "{customRequestHeaders: [{Authorization: geheim}]}", "customRequestHeaders: a list: takes names"},
	{"header-nested", "{customRequestHeaders: {Authorization: {value: geheim}}}", "customRequestHeaders.Authorization: a map"},
	{"header-twice", "{customRequestHeaders: {x-a: geheim, X-A: '2'}}", "customRequestHeaders.x-a: given twice"},
	{"header-line", "{customRequestHeaders: {Authorization: \"Bearer geheim\\n\"}}", "customRequestHeaders.Authorization: text of 14 bytes"},
	{"mirrors", "{mirrors: [{name: billing-next, percent: 10}]}", "mirrors: there is no such option: it is one of Traefik's own"},
	{"unknown", "{precent: 10}", "precent: there is no such option; the nearest is percent"},
	{"serve-text", "{serve: please}", `serve: "please"`},
}

// Whatever is wrong with the options of a Middleware, the IngressRoutes that name it
// are served.
func TestMistakesInObjectsLeaveLiveAlone(t *testing.T) {
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	c := runCluster(t)
	c.apply(t, services(t, live)...)
	for _, m := range optionsInObjects {
		middleware := parse(t, `
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: `+m.name+`, namespace: default}
spec: {plugin: {`+testbed.MirrorKey+`: `+m.options+`}}
`)
		if opts := options(t, middleware); !strings.Contains(m.options, "url:") {
			opts["url"] = shadow.URL()
		}
		c.apply(t, middleware, routeTo(t, m.name))
	}
	traefik := runTraefik(t, c, testbed.Options{LogLevel: "ERROR"})
	for _, m := range optionsInObjects {
		path := "/mistakes/" + m.name
		testbed.Eventually(t, patience, func() error {
			if status, body := try(t, traefik, "POST", path, http.Header{"Authorization": {"Bearer k3y"}}); status != http.StatusOK {
				return fmt.Errorf("%s: answered %d %q, want 200", m.name, status, body)
			}
			return nil
		})
		var lines []string
		for _, line := range traefik.Mistakes() {
			if strings.Contains(line, "middleware default-"+m.name+"@kubernetescrd: ") {
				lines = append(lines, line)
			}
		}
		if m.says == "" {
			if len(lines) != 0 {
				t.Errorf("%s: logged %q, want nothing", m.name, lines)
			}
			testbed.Eventually(t, patience, func() error {
				for _, r := range shadow.Requests() {
					if r.RequestURI == path {
						if strings.Contains(m.options, "Authorization: null") && r.Header.Get("Authorization") != "" {
							t.Errorf("%s: the shadow got Authorization", m.name)
						}
						return nil
					}
				}
				return fmt.Errorf("%s: the shadow got nothing", m.name)
			})
			continue
		}
		if len(lines) != 1 || !strings.Contains(lines[0], m.says) {
			t.Errorf("%s: logged %q, want one line with %q", m.name, lines, m.says)
		}
	}
	if log := traefik.Log(); strings.Contains(log, "geheim") || strings.Contains(log, "MIGHAgEA") {
		t.Errorf("a secret is in the log: %s", log)
	}
}

// routeTo returns a route to live that names the middleware, for paths that end with
// its name.
func routeTo(t *testing.T, middleware string) *unstructured.Unstructured {
	t.Helper()
	return parse(t, "apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nmetadata: {name: "+middleware+", namespace: default}\n"+
		"spec:\n  routes:\n    - kind: Rule\n      match: Path(`/mistakes/"+middleware+"`)\n      middlewares: [{name: "+middleware+"}]\n      services: [{name: billing, port: 8080}]\n")
}
