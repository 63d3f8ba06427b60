package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// billed answers with an invoice of that total, as both versions of a service do.
func billed(total string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"total":%q}`, total)
	})
}

// agreeingMirror is a middleware named after the test whose shadow, at that address, answers as
// live does, after that many pairs.
func agreeingMirror(t *testing.T, shadow string, pairs int64, set func(*Config)) http.Handler {
	t.Helper()
	m := comparingTo(t, "http://"+shadow, billed("1546.94"), set)
	before := mirrorCalled(t, t.Name()).counts.answers()
	for i := before; i < before+pairs; i++ {
		serve(m, postInvoice())
		outcomes(t, t.Name(), i+1)
	}
	settled(t, t.Name())
	return m
}

// gated returns what the gate answers.
func gated(t *testing.T, h http.Handler, req *http.Request) (*httptest.ResponseRecorder, *report.Gate) {
	t.Helper()
	rec := serve(h, req)
	g := &report.Gate{}
	if err := json.Unmarshal(rec.Body.Bytes(), g); err != nil {
		t.Fatalf("%s %s: %d %q: %v", req.Method, req.URL, rec.Code, rec.Body.String(), err)
	}
	return rec, g
}

func TestGateIsServed(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	agreeingMirror(t, front(t, billed("1546.94")), 25, nil)
	const form, hook = "application/x-www-form-urlencoded", "application/json"
	tests := []struct {
		method, query, kind, body string
		status                    int
		retry                     bool
	}{
		{"GET", "min=25", "", "", 200, false},
		{"GET", "", "", "", 503, true},
		{"GET", "min=25&max-lost=0%", "", "", 200, false},
		{"GET", "min=25&minimum=25", "", "", 400, false},
		{"GET", "min=25&max-real=%zz", "", "", 400, false},
		{"GET", "min=26&always200=true", "", "", 200, true},
		{"POST", "min=25", "", "", 200, false},
		{"POST", "", form, "min=25", 200, false},
		{"POST", "", form + "; charset=utf-8", "min=25&max-real=0.5%", 200, false},
		{"POST", "", form, "min=0", 400, false},
		{"POST", "min=25", form, "min=25", 400, false},
		{"POST", "", form, "min=%zz", 400, false},
		{"POST", "", form, "min=" + strings.Repeat("2", maxForm), 400, false},
		{"POST", "min=25", hook, `{"name":"billing","phase":"Progressing"}`, 200, false},
		{"GET", "min=25", form, "min=0", 200, false},
	}
	for _, test := range tests {
		req := httptest.NewRequest(test.method, "/mirror/gate?middleware="+t.Name()+"&"+test.query, strings.NewReader(test.body))
		req.Header.Set("Content-Type", test.kind)
		rec, g := gated(t, h, req)
		header := rec.Header()
		if rec.Code != test.status || (header.Get("Retry-After") != "") != test.retry || header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s, %.40s: %d, %v; want %d", test.method, test.query, test.body, rec.Code, header, test.status)
		}
		if g.Pass != (test.status == 200 && !test.retry) || g.Instance != instanceName || !g.Since.Equal(instanceSince) || test.status != 400 && (g.Middleware != t.Name() || g.Compared != 25) {
			t.Errorf("%s %s: %+v", test.method, test.query, g)
		}
	}
	for _, method := range []string{"PUT", "DELETE", "OPTIONS", "PATCH"} {
		rec := serve(h, httptest.NewRequest(method, "/mirror/gate", nil))
		if rec.Code != 405 || rec.Header().Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: %d, allows %q", method, rec.Code, rec.Header().Get("Allow"))
		}
	}
	if rec := serve(h, httptest.NewRequest(http.MethodPost, "/mirror/report.json", nil)); rec.Code != 405 || rec.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST of the report: %d, allows %q", rec.Code, rec.Header().Get("Allow"))
	}
	if rec := serve(h, httptest.NewRequest(http.MethodHead, "/gate?min=25&middleware="+t.Name(), nil)); rec.Code != 200 {
		t.Errorf("HEAD: %d, want 200", rec.Code)
	}
}

// A release that differs is told from one that does not, and one whose options are wrong
// passes no gate.
func TestGateRefuses(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	asking := func() *http.Request {
		clock.advance(time.Second)
		return httptest.NewRequest(http.MethodGet, "/mirror/gate?min=25&middleware="+t.Name(), nil)
	}
	m := comparingTo(t, "http://"+front(t, billed("154694")), billed("1546.94"), nil)
	for i := int64(0); i < 25; i++ {
		serve(m, postInvoice())
		outcomes(t, t.Name(), i+1)
	}
	if rec, g := gated(t, h, asking()); rec.Code != 409 || g.Pass || g.State != "differs" || g.Real != 25 || !strings.Contains(strings.Join(g.Reasons, " "), "POST /invoices $.total") {
		t.Errorf("one that differs: %d %+v", rec.Code, g)
	}
	mirrorTo(t, "http://billing-next:8080", echoLive, nil)
	if rec, g := gated(t, h, asking()); rec.Code != 409 || g.Pass || !strings.Contains(g.Headline, "answers are not compared") {
		t.Errorf("one that is not compared: %d %+v", rec.Code, g)
	}
	config := CreateConfig()
	config.set("url", "http://billing-next:8080")
	config.set("precent", "10")
	if _, err := New(context.Background(), echoLive, config, t.Name()); err != nil {
		t.Fatal(err)
	}
	if rec, g := gated(t, h, asking()); rec.Code != 409 || g.Pass || !strings.Contains(g.Headline, "precent") {
		t.Errorf("one with a mistake: %d %+v", rec.Code, g)
	}
}

// What was lost before a comparison began is not its own, and what is lost after counts.
func TestGateCountsLossesOfTheComparison(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	shadow := front(t, billed("1546.94"))
	ask := func() *report.Gate {
		clock.advance(time.Second)
		_, g := gated(t, h, httptest.NewRequest(http.MethodGet, "/mirror/gate?min=20&max-lost=0&middleware="+t.Name(), nil))
		return g
	}
	build := func(epoch string) func(*Config) {
		return func(c *Config) {
			c.set("compare.epoch", epoch)
			c.set("maxBodySize", "1KiB")
		}
	}
	lose := func(m http.Handler) {
		serve(m, httptest.NewRequest(http.MethodPost, "/invoices", strings.NewReader(strings.Repeat("x", 2000))))
		settled(t, t.Name())
	}
	m := agreeingMirror(t, shadow, 20, build("build 1"))
	lose(m)
	if g := ask(); g.Pass || g.Mirrored != 20 || g.Lost != 1 || !strings.Contains(g.Headline, "1 of 21 copies since the comparison began is lost") {
		t.Errorf("one lost: %+v", g)
	}
	m = agreeingMirror(t, shadow, 21, build("build 2"))
	if g := ask(); !g.Pass || g.Mirrored != 21 || g.Lost != 0 || g.Epoch != "build 2" {
		t.Errorf("lost before: %+v", g)
	}
	if c := reported(t, h).Comparison; c.Mirrored != 21 || c.Lost != 0 {
		t.Errorf("the report says that %d were mirrored, and %d lost", c.Mirrored, c.Lost)
	}
	lose(m)
	if g := ask(); g.Pass || g.Mirrored != 21 || g.Lost != 1 {
		t.Errorf("lost after: %+v", g)
	}
	// Options that do not begin it anew leave it at that.
	agreeingMirror(t, shadow, 1, func(c *Config) {
		build("build 2")(c)
		c.set("compare.examples", "3")
	})
	if g := ask(); g.Pass || g.Mirrored != 22 || g.Lost != 1 {
		t.Errorf("after a change of another option: %+v", g)
	}
}

// However often it is asked, what it judges of is made once a second, and is the report's.
func TestGateJudgesTheReportOfThatSecond(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	m := agreeingMirror(t, front(t, billed("1546.94")), 20, nil)
	for _, step := range []struct {
		after time.Duration
		same  bool
	}{{0, true}, {999 * time.Millisecond, true}, {2 * time.Millisecond, false}} {
		_, before := gated(t, h, httptest.NewRequest(http.MethodGet, "/mirror/gate?middleware="+t.Name(), nil))
		clock.advance(step.after)
		serve(m, postInvoice())
		outcomes(t, t.Name(), before.Compared+1)
		settled(t, t.Name())
		_, next := gated(t, h, httptest.NewRequest(http.MethodGet, "/mirror/gate?min=5&middleware="+t.Name(), nil))
		if (next.Generated.Equal(before.Generated) && next.Compared == before.Compared) != step.same {
			t.Errorf("%s later: of %s with %d pairs, before of %s with %d", step.after, next.Generated, next.Compared, before.Generated, before.Compared)
		}
		d := &report.Document{}
		if err := json.Unmarshal(get(h, "/report.json").Body.Bytes(), d); err != nil || !d.Generated.Equal(next.Generated) {
			t.Errorf("the report is of %s, and the gate of %s (%v)", d.Generated, next.Generated, err)
		}
	}
}
