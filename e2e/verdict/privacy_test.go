package verdict

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// Values of bodies and headers have these in them: secret ones that only
// compare.show: values may show, those at ignored paths, which nothing may, and
// credentials, which are never shown but as hashes.
const (
	secret     = "geheim"
	digits     = "471100"
	ignored    = "DE0212030000"
	credential = "keks"
)

// confidential are answers to compare, by number.
var confidential = []struct {
	name         string
	live, shadow func(http.ResponseWriter)
}{
	{"values", says("application/json", `{"customer":"geheim-1","total":471100.1,"bank":{"iban":"DE0212030000-1"},"paid":true}`),
		says("application/json", `{"customer":"geheim-2","total":471100.2,"bank":{"iban":"DE0212030000-2"},"paid":"geheim"}`)},
	{"missing", says("application/json", `{"owner":{"name":"geheim-3","iban":"DE0212030000-3"},"lines":["geheim-4",471100]}`), says("application/json", `{}`)},
	{"other kinds", says("application/json", `{"bank":{"iban":"DE0212030000-4"},"lines":[{"iban":"DE0212030000-4"}]}`), says("application/json", `{"bank":"geheim-5","lines":{"a":"geheim-5"}}`)},
	{"the whole body", says("application/json", `[{"iban":"DE0212030000-5"}]`), says("application/json", `"geheim-6"`)},
	{"text", says("text/plain", "geheim-7 471100"), says("text/plain", "x geheim-8 471100")},
	{"an error page", says("application/json", `{"bank":{"iban":"DE0212030000-6"}}`), says("text/html", "<p>geheim-9")},
	{"JSON that is cut short", says("application/json", `{"bank":{"iban":"DE0212030000-7"}}`), says("application/json", `{"bank":{"iban":"DE0212030000-8"`)},
	{"JSON by another type", says("text/plain", `{"bank":{"iban":"DE0212030000-9"}}`), says("text/plain", `{"bank":{"iban":"DE0212030000-0"}}`)},
	{"headers", says("application/json", `{}`, "X-Ledger", "geheim-10", "Set-Cookie", "session=keks-1", "Www-Authenticate", "Bearer keks-2"),
		says("application/json", `{}`, "X-Ledger", "geheim-11", "Set-Cookie", "session=keks-3", "Www-Authenticate", "Bearer keks-4")},
	{"headers missing", says("application/json", `{}`, "X-Ledger", "geheim-12", "Set-Cookie", "session=keks-5"), says("application/json", `{}`)},
	{"statuses", says("application/json", `{"customer":"geheim-13"}`), func(rw http.ResponseWriter) { http.Error(rw, "geheim-14", 500) }},
	{"no HTTP", says("application/json", `{}`), raw("HTTP/1.1 geheim-15\r\n\r\n")},
	{"a bad header", says("application/json", `{}`), raw("HTTP/1.1 200 OK\r\nSet-Cookie keks-6\r\n\r\n")},
	{"a bad length", says("application/json", `{}`), raw("HTTP/1.1 200 OK\r\nContent-Length: geheim-16\r\n\r\n")},
	{"a bad chunk", says("application/json", `{}`), raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ngeheim-17\r\n")},
	{"a query", says("application/json", `{"customer":"geheim-19"}`), says("application/json", `{"customer":"geheim-20"}`)},
	{"another protocol", says("application/json", `{}`), raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: geheim-18\r\n\r\n")},
}

func says(kind, body string, header ...string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		rw.Header().Set("Content-Type", kind)
		for i := 0; i < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		fmt.Fprint(rw, body)
	}
}

func raw(text string) func(http.ResponseWriter) {
	return func(rw http.ResponseWriter) {
		if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
			fmt.Fprint(conn, text)
			conn.Close()
		}
	}
}

// What is not to be shown is nowhere: not on the page, in report.json or in the
// metrics, nor in what the plugin logs.
func TestNothingIsShownThatIsNotTo(t *testing.T) {
	at := func(req *http.Request) int {
		i, _ := strconv.Atoi(number(req))
		return i
	}
	live := upstream(t, "live", func(rw http.ResponseWriter, req *http.Request) { confidential[at(req)].live(rw) })
	shadow := upstream(t, "shadow", func(rw http.ResponseWriter, req *http.Request) { confidential[at(req)].shadow(rw) })
	tests := []struct {
		show   string // "": the default
		hidden []string
		shown  string
	}{
		{"", []string{secret, digits, ignored, credential}, "string #"},
		{"none", []string{secret, digits, ignored, credential}, "string"},
		{"values", []string{ignored, credential}, secret},
	}
	for _, test := range tests {
		t.Run("show "+test.show, func(t *testing.T) {
			rules := testbed.Values{"headers": "X-Ledger,Set-Cookie,Www-Authenticate", "ignore": "$..iban"}
			if test.show != "" {
				rules["show"] = test.show
			}
			// One Traefik each: what is hidden in one is shown in another.
			traefik := testbed.MustServe(t, testbed.Options{Dynamic: testbed.Dynamic{}.
				Service("billing", live.URL()).
				Report().
				Mirror(middleware, testbed.Values{"url": shadow.URL(), "compare": rules}).
				Router("billing", testbed.RuleOf("billing"), "billing", middleware)})
			header := http.Header{"Authorization": {"Bearer keks-7"}, "Cookie": {"session=keks-8"}, "X-Ledger": {"DE0212030000"}}
			for i := range confidential {
				method := "POST"
				if confidential[i].name == "a query" {
					method = "GET" // which can be repeated, so that there is a command for it
				}
				_, err := send(traefik, "billing", method, fmt.Sprintf("/invoices/%d?iban=%s&token=%s", i, ignored, credential), header, strings.NewReader(`{"iban":"DE0212030000","token":"keks-9"}`))
				if err != nil {
					t.Fatal(err)
				}
			}
			r := settled(t, traefik, middleware)
			// After some failures in a row nothing says that the shadow answers anybody.
			if n := r.Compared["mismatch"]; n < 14 || n > 17 || n+r.Compared["skipped"] != int64(len(confidential)) {
				t.Fatalf("%v compared, skipped for %v, want 14 that differ at least: %+v", r.Compared, r.Skipped, r.Comparison.Differences)
			}
			var logged strings.Builder
			for line := range strings.Lines(traefik.Log()) {
				if strings.Contains(line, "plugin=") {
					logged.WriteString(line)
				}
			}
			if !strings.Contains(logged.String(), "the shadow failed") {
				t.Errorf("the plugin has logged %q, want that the shadow failed", logged.String())
			}
			everything := map[string]string{"the log": logged.String()}
			for _, path := range []string{"/", "/?refresh=0", "/report.json", "/mismatches.ndjson", "/gate?always200=true&min=1&middleware=" + middleware, "/metrics"} {
				everything[path] = reported(t, traefik, path)
			}
			for where, text := range everything {
				for _, hidden := range test.hidden {
					if i := strings.Index(text, hidden); i >= 0 {
						t.Errorf("%s has %q: …%s…", where, hidden, text[max(0, i-150):min(len(text), i+50)])
					}
				}
			}
			if commands := strings.Count(everything["/mismatches.ndjson"], "curl -g"); (commands > 0) != (test.show == "values") {
				t.Errorf("%d commands that repeat a request", commands)
			}
			for _, where := range []string{"/", "/report.json", "/mismatches.ndjson"} {
				if !strings.Contains(everything[where], test.shown) {
					t.Errorf("%s does not have %q, so that this shows nothing", where, test.shown)
				}
			}
			if credentials := strings.Count(everything["/report.json"], "header #"); test.show != "none" && credentials < 2 {
				t.Errorf("%d hashes of credentials, want those of both sides at least", credentials)
			}
		})
	}
}

// The hostile are texts that become markup where they are not escaped.
var hostile = []string{
	`</script><script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onmouseover='alert(1)`,
	`</code></pre></details><svg onload=alert(1)>`,
	`{{.Generated}} {{template "page"}}`,
	`<!-- </style><style>*{display:none}`,
	`javascript:alert(1)`,
	"\u202e\u2066right to left",
	"a\x00b\x1b[31m",
}

// Text of strangers stays text, wherever the page has it.
func TestHostileValuesAreText(t *testing.T) {
	quoted := func(s string) string {
		text, _ := json.Marshal(s)
		return string(text)
	}
	book := func(side string) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			text := req.Header.Get("X-Text")
			if i, err := strconv.Atoi(text); err == nil {
				text = hostile[i]
			}
			visible := strings.Map(func(r rune) rune {
				if r < ' ' {
					return -1
				}
				return r
			}, text)
			rw.Header().Set("X-Ledger", side+visible)
			if strings.HasSuffix(req.URL.Path, "text") {
				rw.Header().Set("Content-Type", visible)
				fmt.Fprint(rw, side+text)
				return
			}
			writeJSON(rw, `{`+quoted(text)+`:`+quoted(side+text)+`,"lines":[{`+quoted(text)+`:`+quoted(text+side)+`}]}`)
		}
	}
	live, shadow := upstream(t, "live", book("live")), upstream(t, "shadow", book("shadow"))
	name := `shadow-<img src=x onerror=alert(1)>`
	config := testbed.Dynamic{}.Service("billing", live.URL()).Report()
	for _, name := range []string{middleware, name} {
		config.Mirror(name, testbed.Values{"url": shadow.URL(), "compare": testbed.Values{"show": "values", "headers": "X-Ledger", "examples": examples}})
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config.Router("billing", testbed.RuleOf("billing"), "billing", middleware, name)})
	load := func(text string, path string) {
		t.Helper()
		for range 25 { // enough for some to be judged
			for _, end := range []string{"", "text"} {
				if _, err := testbed.Exchange(t.Context(), traefik.Addr(testbed.Web),
					[]byte("GET /"+path+end+" HTTP/1.1\r\nHost: "+testbed.HostOf("billing")+"\r\nX-Text: "+text+"\r\n\r\n"), testbed.RawOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	load("harmless", "invoices/")
	settled(t, traefik, middleware)
	settled(t, traefik, name)
	reported(t, traefik, "/") // what is older is made anew
	harmless := parts(mirrorPage(t, traefik, middleware, everything...))
	if len(harmless) < 50 {
		t.Fatalf("the page has %v, so that this shows nothing", harmless)
	}

	for i, text := range hostile {
		load(strconv.Itoa(i), strings.NewReplacer(" ", "%20", "\x00", "%00", "\x1b", "%1b", "\u202e", "%E2%80%AE").Replace(text)+"/")
	}
	settled(t, traefik, middleware)
	settled(t, traefik, name)
	reported(t, traefik, "/")
	page := mirrorPage(t, traefik, middleware, everything...)
	for part, example := range parts(page) {
		if _, ok := harmless[part]; !ok {
			t.Errorf("there is %s on the page: %q", part, example)
		}
	}
	shown := page.text()
	for _, text := range hostile[:7] {
		if !strings.Contains(shown, text) {
			t.Errorf("%q is not on the page as it is", text)
		}
	}
	for _, unseen := range []string{"\u202e", "\u2066", "\x00", "\x1b"} {
		if strings.Contains(shown, unseen) {
			t.Errorf("the page has %q as it is", unseen)
		}
	}
}

// parts returns which elements a page has, with which attributes.
func parts(page node) map[string]string {
	found := map[string]string{}
	for d := range page.Descendants() {
		if d.Type == html.CommentNode {
			found["a comment"] = d.Data
		}
		if d.Type != html.ElementNode {
			continue
		}
		found["<"+d.Data+">"] = ""
		for _, a := range d.Attr {
			found["<"+d.Data+" "+a.Key+">"] = a.Val
			if a.Key == "href" && !strings.HasPrefix(a.Val, "?") {
				found["a link to "+a.Val] = a.Val
			}
		}
	}
	return found
}
