package verdict

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

// Options of compare, and what they leave of the differences of the answers below.
func TestWhatIsComparedIsWhatTheOptionsSay(t *testing.T) {
	const xml = `<invoice><line sku="A-1">119.00</line><line sku="B-2">59.50</line></invoice>`
	type reply struct {
		status       int
		header, body string // lines of headers
	}
	answers := map[string]struct{ live, shadow reply }{
		"/invoices/4711": {
			reply{200, "Content-Type: application/json\nEtag: \"a\"\nX-Request-Id: 1\nSet-Cookie: session=a; HttpOnly", `{"id":1,"total":119.00,"tags":["a","b"],"lines":[{"sku":"A","qty":1},{"sku":"B","qty":2}],"note":null}`},
			reply{200, "Content-Type: application/json\nEtag: \"b\"\nX-Request-Id: 2\nSet-Cookie: session=b", `{"id":2,"total":119.01,"tags":["b","a"],"lines":[{"sku":"C","qty":9},{"sku":"A","qty":1},{"sku":"B","qty":2}]}`},
		},
		"/receipts/4711": {
			reply{201, "Content-Type: application/xml\nLocation: /receipts/1\nCache-Control: no-store", xml},
			reply{201, "Content-Type: application/xml\nCache-Control: public", strings.Replace(xml, "59.50", "59.49", 1)},
		},
		"/gone/4711":  {reply{410, "Content-Type: text/plain", "gone"}, reply{404, "Content-Type: text/plain", "gone"}},
		"/equal/4711": {reply{200, "Content-Type: application/json\nX-Request-Id: 1", `{"id":1}`}, reply{200, "Content-Type: application/json\nX-Request-Id: 2", `{"id":1}`}},
	}
	answer := func(side func(path string) reply) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/known" && side("/gone/4711").status == 410 {
				rw.WriteHeader(http.StatusNotModified)
				return
			}
			r := side(req.URL.Path)
			for line := range strings.Lines(r.header) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				rw.Header().Add(name, value)
			}
			rw.WriteHeader(max(r.status, 200))
			fmt.Fprint(rw, r.body)
		}
	}
	live := upstream(t, "live", answer(func(path string) reply { return answers[path].live }))
	shadow := upstream(t, "shadow", answer(func(path string) reply { return answers[path].shadow }))
	all := []string{
		"$.id", "$.invoice.line[*].#text", "$.lines[*]", "$.note", "$.tags", "$.total", "cookie session", "header Cache-Control", "header Location", "status",
	}
	without := func(keys ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(key string) bool { return slices.Contains(keys, key) })
	}
	tests := []struct {
		name    string
		options testbed.Values
		want    []string
	}{
		{"defaults", testbed.Values{"body": "json"}, all},
		{"no-headers", testbed.Values{"headers": "none"}, without("cookie session", "header Cache-Control", "header Location")},
		{"one-header", testbed.Values{"headers": []string{"none", "location"}}, without("cookie session", "header Cache-Control")},
		{"more-headers", testbed.Values{"headers": "X-Request-Id"}, append(slices.Clone(all), "header X-Request-Id")},
		{"as-bytes", testbed.Values{"body": "exact"}, append(without("$.id", "$.invoice.line[*].#text", "$.lines[*]", "$.note", "$.tags", "$.total"), "body")},
		{"ignoring", testbed.Values{"ignore": []string{"$.id", "GET /invoices/* $.total", "header Location", "cookie *", "status 4xx/404"}}, without("$.id", "$.total", "header Location", "cookie session", "status")},
		{"ignoring-elsewhere", testbed.Values{"ignore": []string{"POST /invoices/* $.id", "GET /invoices $.id", "GET /receipts/* $.total", "status 404/410"}}, all},
		{"ignoring-endpoints", testbed.Values{"ignore": "* /invoices/** all,GET /receipts/* body,GET /gone/* all"}, []string{"header Cache-Control", "header Location"}},
		{"sets", testbed.Values{"unordered": "$.tags, $.lines by sku"}, without("$.tags")},
		{"tolerant", testbed.Values{"tolerance": "$.total=0.01", "nullIsMissing": true}, without("$.total", "$.note")},
	}
	config := testbed.Dynamic{}.Service("billing", live.URL()).Report()
	for _, test := range tests {
		test.options["show"] = "values"
		config.Mirror(test.name, testbed.Values{"url": shadow.URL(), "compare": test.options}).Router(test.name, testbed.RuleOf(test.name), "billing", test.name)
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config})
	for _, test := range tests {
		for path := range answers {
			if _, err := send(traefik, test.name, "GET", path, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := send(traefik, test.name, "GET", "/known", http.Header{"If-None-Match": {`"a"`}}, nil); err != nil {
			t.Fatal(err)
		}
		r := settled(t, traefik, test.name)
		found := map[string]bool{}
		for _, d := range r.Comparison.Differences {
			if d.Judgement != compare.Ignored {
				found[d.Key] = true
			}
		}
		slices.Sort(test.want)
		if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, test.want) {
			t.Errorf("%s: differ\n%q, want\n%q", test.name, got, test.want)
		}
		if r.Skipped["conditional"] != 1 || r.Compared["skipped"] != 1 || r.Compared["match"] == 0 && test.name != "more-headers" {
			t.Errorf("%s: %v compared, skipped for %v; want one that is conditional", test.name, r.Compared, r.Skipped)
		}
	}
}
