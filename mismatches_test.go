package mirror

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// exampleLines are the examples that are served for a query, those of the middleware named after the
// test.
func exampleLines(t *testing.T, h http.Handler, query string) []map[string]interface{} {
	t.Helper()
	rec := get(h, "/mirror/mismatches.ndjson?"+query)
	if rec.Code != 200 || rec.Header().Get("Content-Type") != report.MismatchesType || rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Fatalf("%s: %d, %v", query, rec.Code, rec.Header())
	}
	var list []map[string]interface{}
	for _, line := range strings.Split(rec.Body.String(), "\n") {
		if line == "" {
			continue
		}
		var x map[string]interface{}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if x["middleware"] == t.Name() {
			list = append(list, x)
		}
	}
	return list
}

// A request's example has its query and, with its values, the command that repeats it; nothing
// that says who asked.
func TestMismatchesAreServed(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	m := comparingTo(t, "http://"+front(t, billed("154694")), billed("1546.94"), nil)
	if n := len(exampleLines(t, h, "middleware="+t.Name())); n != 0 {
		t.Errorf("%d examples of nothing", n)
	}
	clock.advance(time.Second)
	for i, method := range []string{"GET", "POST"} {
		req := httptest.NewRequest(method, "/invoices/4711?currency=EUR&token=keks-1", strings.NewReader(""))
		req.Header.Set("Authorization", "Bearer keks-2")
		req.Header.Set("Cookie", "session=keks-3")
		req.Header.Set("X-Request-Id", "7f3a-91")
		serve(m, req)
		outcomes(t, t.Name(), int64(i+1))
	}
	settled(t, t.Name())
	list := exampleLines(t, h, "middleware="+t.Name())
	if len(list) != 2 {
		t.Fatalf("%d examples, want 2: %v", len(list), list)
	}
	const curl = `curl -g --path-as-is -H "Authorization: $AUTHORIZATION" -H "Cookie: $COOKIE" "$BASE"'/invoices/4711?currency=EUR&token=LEFT-OUT'`
	for _, x := range list {
		want := map[string]interface{}{"key": "$.total", "relation": "×100", "path": "/invoices/4711", "requestId": "7f3a-91", "live": `"1546.94"`, "shadow": `"154694"`, "curl": ""}
		if x["endpoint"] == "GET /*/*" {
			want["curl"] = curl
		}
		for name, value := range want {
			if x[name] != value {
				t.Errorf("%s: %s is %q, want %q", x["endpoint"], name, x[name], value)
			}
		}
		if names, _ := x["query"].([]interface{}); len(names) != 2 || names[0] != "currency" || names[1] != "token" {
			t.Errorf("the query is %v, want currency and token", x["query"])
		}
	}
	all := get(h, "/mirror/mismatches.ndjson").Body.String() + get(h, "/mirror/report.json").Body.String() + get(h, "/mirror/").Body.String()
	if i := strings.Index(all, "keks"); i >= 0 {
		t.Errorf("a credential is shown: …%s…", all[i-100:i+50])
	}
	judgement, _ := list[0]["judgement"].(string)
	for _, word := range []string{"real", "undecided", "noise"} {
		if n := len(exampleLines(t, h, "judgement="+word+"&middleware="+t.Name())); (n > 0) != (word == judgement) {
			t.Errorf("%d are %s, and all are %s", n, word, judgement)
		}
	}
	tests := []struct {
		method, query string
		status        int
	}{
		{"GET", "middleware=shadow-biling", 404},
		{"GET", "judgement=green", 400},
		{"GET", "judgement=%zz", 400},
		{"GET", "show=values", 400},
		{"HEAD", "", 200},
		{"POST", "", 405},
	}
	for _, test := range tests {
		if rec := serve(h, httptest.NewRequest(test.method, "/mismatches.ndjson?"+test.query, nil)); rec.Code != test.status {
			t.Errorf("%s %s: %d, want %d", test.method, test.query, rec.Code, test.status)
		}
	}
}

// Like the report, they are made once a second at most.
func TestMismatchesAreMadeOnceASecond(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	m := comparingTo(t, "http://"+front(t, billed("154694")), billed("1546.94"), nil)
	ask := func(i int64) int {
		serve(m, postInvoice())
		outcomes(t, t.Name(), i)
		return len(exampleLines(t, h, "middleware="+t.Name()))
	}
	counts := []int{ask(1), ask(2)}
	clock.advance(time.Second)
	counts = append(counts, ask(3))
	if counts[0] != 1 || counts[1] != 1 || counts[2] != 3 {
		t.Errorf("%v examples after each pair, the last a second later; want 1, 1 and 3", counts)
	}
}
