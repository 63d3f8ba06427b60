package verdict

import (
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	auditor  = "auditor"
	password = "ledger-2024"
)

// guarded is the report on an entry point of its own, for those who know the
// password, below the path /mirror, which strip takes away; nil: nothing does.
func guarded(strip testbed.Values) testbed.Dynamic {
	sum := sha1.Sum([]byte(password))
	d := testbed.Dynamic{}.
		Middleware("auth", "basicAuth", testbed.Values{"users": []string{auditor + ":{SHA}" + base64.StdEncoding.EncodeToString(sum[:])}}).
		Mirror("report", testbed.Values{"serve": true})
	names := []string{"auth", "report"}
	if strip != nil {
		d.Middleware("strip", "stripPrefix", strip)
		names = []string{"auth", "strip", "report"}
	}
	return d.Router("report", "PathPrefix(`/mirror`)", "noop@internal", names...).
		Set([]string{"operations"}, "http", "routers", "report", "entryPoints")
}

// The report is where it was put, whole, and for nobody else.
func TestReportOnAnEntryPointOfItsOwn(t *testing.T) {
	prefixes := []string{"/mirror"}
	for name, strip := range map[string]testbed.Values{
		"stripped":                  {"prefixes": prefixes},
		"stripped, but for a slash": {"prefixes": prefixes, "forceSlash": true}, // the default of Traefik v2
		"not stripped":              nil,
	} {
		t.Run(name, func(t *testing.T) {
			addr := testbed.FreeAddress(t)
			live, shadow := upstream(t, "live", nil), upstream(t, "shadow", nil)
			traefik := testbed.MustServe(t, testbed.Options{
				LogLevel: "ERROR",
				Static:   testbed.Values{"entryPoints": testbed.Values{"operations": testbed.Values{"address": addr}}},
				Dynamic: guarded(strip).
					Service("billing", live.URL()).
					Mirror(middleware, testbed.Values{"url": shadow.URL(), "compare": testbed.Values{"body": "json"}}).
					Router("billing", testbed.RuleOf("billing"), "billing", middleware),
			})
			get(t, traefik, "billing", "/invoices/1")
			ask := func(method, target, password string) (*http.Response, string) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+target, nil)
				if err != nil {
					t.Fatal(err)
				}
				if password != "" {
					req.SetBasicAuth(auditor, password)
				}
				resp, err := traefik.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp, string(body)
			}

			for target, kind := range map[string]string{
				"/mirror/":            "text/html; charset=utf-8",
				"/mirror/?refresh=0":  "text/html; charset=utf-8",
				"/mirror/report.json": "application/json",
				"/mirror/metrics":     "text/plain; version=0.0.4; charset=utf-8",
			} {
				resp, body := ask("GET", target, password)
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind || !strings.Contains(body, testbed.Marker(middleware)) {
					t.Errorf("GET %s: %s, %q, %.200q; want 200, %s and %s in it", target, resp.Status, resp.Header, body, kind, middleware)
				}
				head, nothing := ask("HEAD", target, password)
				if head.StatusCode != 200 || head.Header.Get("Content-Type") != kind || nothing != "" {
					t.Errorf("HEAD %s: %s, %q, %d bytes of body; want 200, %s and no body", target, head.Status, head.Header, len(nothing), kind)
				}
				for _, wrong := range []string{"", "guessed"} {
					if resp, body := ask("GET", target, wrong); resp.StatusCode != http.StatusUnauthorized || strings.Contains(body, middleware) {
						t.Errorf("GET %s with password %q: %s, %.100q; want 401", target, wrong, resp.Status, body)
					}
				}
				for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
					if resp, _ := ask(method, target, password); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
						t.Errorf("%s %s: %s, Allow %q; want 405 and GET, HEAD", method, target, resp.Status, resp.Header.Get("Allow"))
					}
				}
			}

			// Wherever one comes in, all that the page links to is there.
			for _, target := range []string{"/mirror", "/mirror/", "/mirror/?refresh=0"} {
				at, err := url.Parse("http://" + addr + target)
				if err != nil {
					t.Fatal(err)
				}
				resp, body := ask("GET", at.RequestURI(), password)
				for range 3 {
					if to, err := resp.Location(); err == nil {
						at = to
						resp, body = ask("GET", at.RequestURI(), password)
					}
				}
				if resp.StatusCode != 200 {
					t.Errorf("%s: leads to %s, which answers %s", target, at, resp.Status)
					continue
				}
				page := readPage(t, body)
				base := at
				for _, b := range page.all("base", "") {
					base = base.ResolveReference(hrefOf(t, b))
				}
				links := 0
				for _, link := range page.all("a", "") {
					to := base.ResolveReference(hrefOf(t, link))
					if resp, _ := ask("GET", to.RequestURI(), password); resp.StatusCode != 200 || to.Host != addr {
						t.Errorf("%s: links to %s, which answers %s", target, to, resp.Status)
					}
					links++
				}
				if links < 3 {
					t.Errorf("%s: %d links, want those to report.json, the metrics and itself", target, links)
				}
			}

			// Not on the other entry points.
			if a, err := send(traefik, "report", "GET", "/mirror/", nil, nil); err != nil || a.status != http.StatusNotFound {
				t.Errorf("on the entry point web: %d (%v), want 404", a.status, err)
			}
		})
	}
}

func hrefOf(t *testing.T, n node) *url.URL {
	t.Helper()
	for _, a := range n.Attr {
		if a.Key == "href" {
			u, err := url.Parse(a.Val)
			if err != nil {
				t.Fatal(err)
			}
			return u
		}
	}
	return &url.URL{}
}

// A middleware serves the report or it mirrors. One that is to do both, or has
// another mistake beside serve, answers with what is wrong.
func TestServeWithAMistakeAnswersWithIt(t *testing.T) {
	tests := []struct {
		name    string
		options testbed.Values
		says    []string
	}{
		{"url", testbed.Values{"serve": true, "url": "http://billing-next:8080"}, []string{`url: "http://billing-next:8080": takes nothing beside serve`}},
		{"compare", testbed.Values{"serve": "true", "compare": testbed.Values{"body": "json"}}, []string{"compare: a map: takes nothing beside serve"}},
		{"both", testbed.Values{"serve": true, "url": "http://billing-next:8080", "compare": testbed.Values{"examples": 1}}, []string{"url: ", "compare: "}},
		{"header", testbed.Values{"serve": true, "customRequestHeaders": testbed.Values{"Authorization": "geheim"}}, []string{"customRequestHeaders: a map: takes nothing beside serve"}},
		{"unknown", testbed.Values{"serve": true, "title": "Billing"}, []string{"title: there is no such option"}},
		{"list", testbed.Values{"serve": true, "percent": []int{10}}, []string{`percent: a list of "10": takes nothing beside serve`}},
	}
	d := testbed.Dynamic{}.Report()
	for _, test := range tests {
		d.Mirror(test.name, test.options).Router(test.name, testbed.RuleOf(test.name), "noop@internal", test.name)
	}
	traefik := testbed.RunTraefik(t, testbed.Options{Dynamic: d, LogLevel: "ERROR"})
	for _, test := range tests {
		a, err := send(traefik, test.name, "GET", "/mirror/", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusInternalServerError || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: answered %d %v, want 500, text that is not kept", test.name, a.status, a.header)
		}
		var logged []string
		for _, line := range traefik.Mistakes() {
			if strings.Contains(line, "middleware "+test.name+"@file: ") {
				logged = append(logged, line)
			}
		}
		said := strings.TrimSpace(a.body)
		if len(logged) != 1 || !strings.Contains(logged[0], said) || strings.Contains(said, "geheim") {
			t.Errorf("%s: answered %q and logged %q, want the same in one line", test.name, said, logged)
		}
		for _, want := range append(test.says, "mirror: middleware "+test.name+"@file: answers 500 ") {
			if !strings.Contains(said, want) {
				t.Errorf("%s: answered %q, want %q in it", test.name, said, want)
			}
		}
		if m := traefik.MustReport(t, test.name); m.ConfigErrors == 0 {
			t.Errorf("%s: the report of another middleware does not have its mistake", test.name)
		}
	}
}
