package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

// A handClock stands still but for a nanosecond whenever it is looked at, so that what is
// made at two moments is told apart, and goes when a test says so.
type handClock struct{ passed atomic.Int64 }

func (c *handClock) now() time.Time {
	return time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC).Add(time.Duration(c.passed.Add(1)))
}

func (c *handClock) advance(d time.Duration) { c.passed.Add(int64(d)) }

// reporterAt returns a middleware with serve that goes by the clock.
func reporterAt(t *testing.T, clock *handClock) http.Handler {
	t.Helper()
	h := reporterFor(t)
	h.(*reporter).editions = &editions{now: func() time.Time { return clock.now() }}
	return h
}

var reportPaths = []string{"/metrics", "/report.json", "/", "/?refresh=0"}

func TestReportIsMadeOnceASecondAtMost(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	shadow := startUpstream(t)
	m := comparingTo(t, shadow.URL, echoLive, nil)
	for _, path := range reportPaths {
		t.Run(path, func(t *testing.T) {
			clock.advance(time.Hour)
			name := strings.SplitN(t.Name(), "/", 2)[0]
			first := get(h, path).Body.String()
			steps := []struct {
				after time.Duration
				same  bool
			}{
				{0, true}, {500 * time.Millisecond, true}, {499 * time.Millisecond, true}, {2 * time.Millisecond, false},
				{0, true}, {time.Second, false}, {-time.Minute, false}, {0, true},
			}
			for i, step := range steps {
				before := mirrorCalled(t, name).counts.answers()
				serve(m, postInvoice())
				eventually(t, "the copy to be answered", func() bool { return mirrorCalled(t, name).counts.answers() == before+1 })
				clock.advance(step.after)
				next := get(h, path).Body.String()
				if (next == first) != step.same {
					t.Errorf("step %d: the same as before: %t, want %t", i, next == first, step.same)
				}
				first = next
			}
		})
	}
}

// However many ask at once, while requests are mirrored and the configuration is
// reloaded, they all get the one report of that second.
func TestReportIsMadeOnceForAllThatAsk(t *testing.T) {
	captureLog(t)
	clock := &handClock{}
	h := reporterAt(t, clock)
	shadow := startUpstream(t)
	stop := &atomic.Bool{}
	var traffic, readers sync.WaitGroup
	traffic.Add(2)
	go func() {
		defer func() { traffic.Done() }()
		for !stop.Load() {
			remake(t, t.Name(), shadow.URL, "1")
			remake(t, t.Name(), shadow.URL, "2")
		}
	}()
	m := comparingTo(t, shadow.URL, echoLive, nil)
	go func() {
		defer func() { traffic.Done() }()
		for !stop.Load() {
			serve(m, postInvoice())
		}
	}()
	for round := 0; round < 3; round++ {
		clock.advance(time.Minute)
		got := make([][]string, 8)
		for i := range got {
			readers.Add(1)
			go askAll(h, got, i, &readers)
		}
		readers.Wait()
		for i := range got {
			for j, text := range got[i] {
				if want := got[0][j%len(reportPaths)]; text != want {
					t.Fatalf("round %d, reader %d, %s: another report than the first got:\n%.300q\n%.300q", round, i, reportPaths[j%len(reportPaths)], text, want)
				}
			}
		}
	}
	stop.Store(true)
	traffic.Wait()
}

// remake makes the middleware called name anew with other options, and lets go of it.
func remake(t *testing.T, name, url, keep string) {
	config := CreateConfig()
	config.set("url", url)
	config.set("compare.examples", keep)
	if _, err := New(background, echoLive, config, name); err != nil {
		t.Error(err)
	}
}

// askAll asks five times for each form, and puts the answers in got[i].
func askAll(h http.Handler, got [][]string, i int, done *sync.WaitGroup) {
	defer func() { done.Done() }()
	for n := 0; n < 5; n++ {
		for _, path := range reportPaths {
			got[i] = append(got[i], get(h, path).Body.String())
		}
	}
}

func TestMetricsTakeNoSnapshotOfTheVerdict(t *testing.T) {
	h := reporterFor(t)
	shadow := startUpstream(t)
	m := comparingTo(t, shadow.URL, echoLive, nil)
	for i := 0; i < 3; i++ {
		serve(m, postInvoice())
		outcomes(t, t.Name(), int64(i+1))
	}
	for _, comparison := range []bool{false, true} {
		for _, r := range document(time.Now(), comparison).Middlewares {
			if r.Name != t.Name() {
				continue
			}
			if (r.Comparison != nil) != comparison || r.Compared[compare.Mismatch] != 3 || r.ComparedLive.Count != 3 || r.ComparedShadow.Count != 3 {
				t.Errorf("with what comparing has shown: %t; got %+v, compared %v, latencies of %d and %d; want 3 of each", comparison, r.Comparison, r.Compared, r.ComparedLive.Count, r.ComparedShadow.Count)
			}
		}
	}
	got := get(h, "/metrics").Body.String()
	for _, want := range []string{
		`mirror_endpoint_pairs_total{middleware="%s",endpoint="POST /*",result="differs"} 3`,
		`mirror_endpoint_pairs_total{middleware="%s",endpoint="(others)",result="differs"} 0`,
		`mirror_comparison_state{middleware="%s",state="early"} 1`,
		`mirror_comparison_pairs{middleware="%s",judgement="real"} 3`,
		`mirror_comparison_pairs{middleware="%s",judgement="same"} 0`,
		`mirror_differences{middleware="%s",judgement="real"} 1`,
	} {
		if want = fmt.Sprintf(want, t.Name()); !strings.Contains(got, want+"\n") {
			t.Errorf("the metrics lack %q", want)
		}
	}
}

// What report.json says of the comparison is what the metrics say next, though that was not
// judged anew for them.
func TestMetricsHaveWhatTheReportHasJudged(t *testing.T) {
	h := reporterFor(t)
	shadow := startUpstream(t)
	m := comparingTo(t, shadow.URL, echoLive, nil)
	for i := 0; i < 4; i++ {
		serve(m, postInvoice())
		outcomes(t, t.Name(), int64(i+1))
		c := reported(t, h).Comparison
		got := get(h, "/metrics").Body.String()
		for _, want := range []string{
			fmt.Sprintf(`mirror_comparison_pairs{middleware="%s",judgement="real"} %d`, t.Name(), c.Real),
			fmt.Sprintf(`mirror_comparison_state{middleware="%s",state="%s"} 1`, t.Name(), c.State),
		} {
			if c.Real != int64(i+1) || !strings.Contains(got, want+"\n") {
				t.Errorf("after %d pairs: %d are real, and the metrics have no %q", i+1, c.Real, want)
			}
		}
	}
}

// What depends on the request is right, though the report is the same for all.
func TestPageOfAQueryAndAPrefixIsItsOwn(t *testing.T) {
	clock := &handClock{}
	h := reporterAt(t, clock)
	mirrorTo(t, "http://billing-next:8080", echoLive, nil)
	tests := []struct {
		query, prefix string
		refresh       bool
		base          string
	}{
		{"", "", true, ""},
		{"refresh=0", "", false, ""},
		{"refresh=0&refresh=1", "/ops", false, "/ops/"},
		{"refresh=1", "/mirror", true, "/mirror/"},
		{"other=0", "", true, ""},
		{"refresh=%30", "/a\"><b", false, "/a%22%3e%3cb/"},
	}
	for i := 0; i < 2*len(tests); i++ {
		tt := tests[i%len(tests)]
		req := httptest.NewRequest(http.MethodGet, "/?"+tt.query, nil)
		if tt.prefix != "" {
			req.Header["X-Forwarded-Prefix"] = []string{tt.prefix}
		}
		text := serve(h, req).Body.String()
		base := ""
		if _, after, found := strings.Cut(text, `<base href="`); found {
			base, _, _ = strings.Cut(after, `"`)
		}
		if refresh := strings.Contains(text, `http-equiv="refresh"`); refresh != tt.refresh || base != tt.base || strings.Count(text, "</html>") != 1 {
			t.Errorf("?%s behind %q: loads itself anew: %t, links begin at %q, ends %d times; want %t, %q and once", tt.query, tt.prefix, refresh, base, strings.Count(text, "</html>"), tt.refresh, tt.base)
		}
	}
	if n := len(h.(*reporter).editions.document.forms); n != 2 {
		t.Errorf("%d forms are kept, want the 2 pages that these queries ask for", n)
	}
}

// Whoever asks for one page after the other takes no more of a processor than for so many a
// second, and is told to wait; the others get what was made.
func TestPagesOfOneEditionAreBounded(t *testing.T) {
	clock := &handClock{}
	h := reporterAt(t, clock)
	mirrorTo(t, "http://billing-next:8080", echoLive, nil)
	for i := 0; i < 3*maxForms; i++ {
		serve(h, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/?endpoint=%d&middleware=%d", i, i), nil))
	}
	if n := len(h.(*reporter).editions.document.forms); n != 1 {
		t.Errorf("what is not there makes %d pages, want one", n)
	}
	query := "/?refresh=0"
	for i := 0; i < 1<<len(pageSections) && i < maxForms/2; i++ {
		asked := query + "&middleware=" + url.QueryEscape(t.Name())
		for k, section := range pageSections {
			if i&(1<<k) != 0 {
				asked += "&open=" + section
			}
		}
		serve(h, httptest.NewRequest(http.MethodGet, asked, nil))
		serve(h, httptest.NewRequest(http.MethodGet, strings.Replace(asked, "refresh=0", "refresh=1", 1), nil))
	}
	made := len(h.(*reporter).editions.document.forms)
	if made <= maxForms/2 || made > maxForms {
		t.Fatalf("%d forms were made, want some %d and never more", made, maxForms)
	}
	// The rest of them is of other mirrors.
	busy := (*httptest.ResponseRecorder)(nil)
	for i := 0; i < maxForms && busy == nil; i++ {
		name := fmt.Sprintf("%s-%d", t.Name(), i)
		m := h.(*reporter).editions.document.document
		m.Middlewares = append(m.Middlewares, &report.Middleware{Name: name})
		if rec := serve(h, httptest.NewRequest(http.MethodGet, "/?middleware="+url.QueryEscape(name), nil)); rec.Code != http.StatusOK {
			busy = rec
		}
	}
	if busy == nil || busy.Code != http.StatusServiceUnavailable || busy.Header().Get("Retry-After") != "1" {
		t.Fatalf("beyond %d pages: %v, want 503 and Retry-After", maxForms, busy)
	}
	if rec := get(h, "/?refresh=0&middleware="+url.QueryEscape(t.Name())); rec.Code != http.StatusOK {
		t.Errorf("a page that was made is refused: %d", rec.Code)
	}
	clock.advance(editionAge)
	if rec := get(h, "/?middleware="+url.QueryEscape(t.Name())+"&open=time"); rec.Code != http.StatusOK {
		t.Errorf("a second later a page is refused: %d", rec.Code)
	}
}

// Where a mirror has been given other options, what was made before stands for nothing any
// more: a gate that is asked for a new build must not answer for the one before it.
func TestReportOfOtherOptionsIsMadeAnew(t *testing.T) {
	h := reporterAt(t, &handClock{})
	h.(*reporter).editions.changed = &optionsChanged
	said := func() string {
		var d report.Document
		if err := json.Unmarshal(get(h, "/report.json").Body.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		for _, m := range d.Middlewares {
			if m.Name == t.Name() {
				return m.Shadow + " " + strings.Join(m.Mistakes, "")
			}
		}
		return ""
	}
	remake(t, t.Name(), "http://billing-4711:8080", "1")
	if got := said(); got != "http://billing-4711:8080 " {
		t.Errorf("got %q", got)
	}
	remake(t, t.Name(), "http://billing-4712:8080", "1")
	if got := said(); got != "http://billing-4712:8080 " {
		t.Errorf("after a change: got %q", got)
	}
	config := CreateConfig()
	config.set("url", "billing")
	if _, err := New(background, echoLive, config, t.Name()); err != nil {
		t.Fatal(err)
	}
	if got := said(); !strings.HasPrefix(got, ` url: "billing"`) {
		t.Errorf("after a mistake: got %q", got)
	}
}

var pageSections = []string{"noise", "ignored", "time", "latency"}

func TestHeadOfTheReportIsThatOfGet(t *testing.T) {
	clock := &handClock{}
	server := httptest.NewServer(reporterAt(t, clock))
	defer server.Close()
	mirrorTo(t, "http://billing-next:8080", echoLive, nil)
	for _, path := range reportPaths {
		var heads []string
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, err := http.NewRequest(method, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || (len(body) == 0) != (method == http.MethodHead) {
				t.Errorf("%s %s: %d bytes (%v)", method, path, len(body), err)
			}
			res.Header.Del("Date")
			res.Header.Del("Content-Length") // net/http counts a short body only
			var head bytes.Buffer
			res.Header.Write(&head)
			heads = append(heads, fmt.Sprintln(res.StatusCode)+head.String())
		}
		if heads[0] != heads[1] || !strings.HasPrefix(heads[0], "200\n") {
			t.Errorf("%s: GET has the head %q, and HEAD %q", path, heads[0], heads[1])
		}
	}
}

// BenchmarkScrape is what Prometheus costs, with 25 mirrors of 20 endpoints each, of which
// one in five has differences: by what was judged before, and where every mirror is judged
// anew, as with new pairs after some seconds.
func BenchmarkScrape(b *testing.B) {
	mirrors := crowd(b)
	for _, anew := range []bool{false, true} {
		b.Run(fmt.Sprintf("anew=%t", anew), func(b *testing.B) {
			clock := &hours{}
			h := &reporter{editions: &editions{now: func() time.Time { return clock.next() }}}
			b.ReportAllocs()
			var size int
			for i := 0; i < b.N; i++ {
				if anew {
					b.StopTimer()
					for _, m := range mirrors {
						addInvoice(m, 0, i)
						m.verdict.Begin(m.options.compare) // has it forget what was judged
					}
					b.StartTimer()
				}
				size = get(h, "/metrics").Body.Len()
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

// crowd makes 25 mirrors that have compared.
func crowd(tb testing.TB) []*mirror {
	tb.Helper()
	var all []*mirror
	for i := 0; i < 25; i++ {
		config := CreateConfig()
		config.set("url", "http://billing-next:8080")
		config.set("compare.body", "json")
		name := fmt.Sprintf("shadow-%d@file", i)
		if _, err := New(context.Background(), echoLive, config, name); err != nil {
			tb.Fatal(err)
		}
		mirrorsMu.Lock()
		m := mirrors[name]
		mirrorsMu.Unlock()
		all = append(all, m)
		for n := 0; n < 20*30; n++ {
			addInvoice(m, n%20, n)
		}
	}
	tb.Cleanup(func() { forgetMirrors(all) })
	return all
}

func forgetMirrors(all []*mirror) {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	for _, m := range all {
		delete(mirrors, m.name)
	}
}

// addInvoice adds a pair of an endpoint to what a mirror has compared. One in five
// endpoints differs in three things.
func addInvoice(m *mirror, endpoint, n int) {
	rules := m.options.compare
	req := &compare.Request{Method: "GET", Path: fmt.Sprintf("/part%c/invoices/%d", 'a'+endpoint, n), At: time.Now()}
	header := http.Header{"Content-Type": {"application/json"}}
	live := &compare.Answer{Status: 200, Header: header, Body: []byte(fmt.Sprintf(`{"total":%d,"tax":%d,"due":"2026-11-27"}`, n, n)), Took: 20 * time.Millisecond}
	shadow := &compare.Answer{Status: 200, Header: header, Body: live.Body, Took: 25 * time.Millisecond}
	if endpoint%5 == 0 {
		shadow.Body = []byte(fmt.Sprintf(`{"total":%d,"tax":%d,"due":"2026-11-26"}`, n+1, 100*n+100))
	}
	m.verdict.Add(rules, req, live, shadow, compare.Judge(rules, live, shadow))
}
