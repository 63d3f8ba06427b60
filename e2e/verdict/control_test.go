package verdict

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// A controlledRelease is a release with a second instance of the older version.
type controlledRelease struct {
	name                  string
	ask                   func(i int) request
	live, shadow, control func(rw http.ResponseWriter, req *http.Request, i int)
	options               testbed.Values // of compare

	state string
	want  []string // the differences: judgement, key and relation; * is any
	says  string   // what the page says of the control
}

func body(text func(i int) string) func(http.ResponseWriter, *http.Request, int) {
	return func(rw http.ResponseWriter, _ *http.Request, i int) { writeJSON(rw, text(i)) }
}

func problem(code int, text func(i int) string) func(http.ResponseWriter, *http.Request, int) {
	return func(rw http.ResponseWriter, _ *http.Request, i int) {
		rw.Header().Set("Content-Type", "application/problem+json")
		rw.WriteHeader(code)
		fmt.Fprint(rw, text(i))
	}
}

func controlledReleases() []*controlledRelease {
	total := body(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":"%d.%02d"}`, i, 1000+i*37, i%100) })
	wrong := body(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":"%d%02d"}`, i, 1000+i*37, i%100) })
	names := strings.Fields("Meyer Lindqvist OBrien Yamada Dubois Kowalski Rossi Garcia Novak Jansen Hansen Weber Silva Popescu Horvat Nagy Virtanen Murphy Costa Schmid")
	name := func(edit func(string) string) func(http.ResponseWriter, *http.Request, int) {
		return body(func(i int) string { return fmt.Sprintf(`{"customer":%q}`, edit(names[i%20])) })
	}
	itself := func(s string) string { return s }
	missing := problem(404, func(int) string { return fmt.Sprintf(`{"title":"not found","instance":"urn:uuid:%s"}`, newUUID()) })
	trace := body(func(i int) string {
		at := time.Now().UTC().Format(time.RFC3339)
		if i%10 == 0 {
			return fmt.Sprintf(`{"invoice":%d,"at":%q,"traceId":%q}`, i, at, newUUID())
		}
		return fmt.Sprintf(`{"invoice":%d,"at":%q}`, i, at)
	})
	began := time.Now().UTC().Truncate(time.Second)
	expires := func(days int, late int) func(http.ResponseWriter, *http.Request, int) {
		return body(func(i int) string {
			at := began.AddDate(0, 0, 30+days).Add(time.Duration(i*60+late*(i%3)) * time.Second)
			return fmt.Sprintf(`{"expiresAt":%q}`, at.Format(time.RFC3339))
		})
	}
	mixed := body(func(i int) string {
		return fmt.Sprintf(`{"data":{"n":%d},"extensions":{"requestId":%q}}`, i, newUUID())
	})
	failing := func(rw http.ResponseWriter, req *http.Request, i int) {
		if i%4 == 0 {
			http.Error(rw, "no database", http.StatusServiceUnavailable)
			return
		}
		total(rw, req, i)
	}
	return []*controlledRelease{
		{name: "no-mistake", ask: invoices, live: total, shadow: total, control: total, state: compare.StateAgrees, says: "120 of 120 requests answered"},
		{name: "total-times-100", ask: invoices, live: total, shadow: wrong, control: total, state: compare.StateDiffers, want: []string{"real $.total ×100"}},
		{name: "names-in-lower-case", ask: invoices, live: name(itself), shadow: name(strings.ToLower), control: name(itself), state: compare.StateDiffers, want: []string{"real $.customer case"}},
		{name: "errors-with-an-identifier", ask: invoices, live: missing, shadow: missing, control: missing, state: compare.StateAgrees, want: []string{"noise $.instance "}},
		{name: "traces-and-times", ask: invoices, live: trace, shadow: trace, control: trace, state: compare.StateAgrees, want: []string{"noise $.traceId "}},
		{name: "errors-of-both", ask: invoices, live: total, shadow: failing, control: failing, state: compare.StateUndecided, want: []string{"undecided status 200/503"}},
		{name: "control-of-the-new-version", ask: invoices, live: total, shadow: wrong, control: wrong, state: compare.StateUndecided, want: []string{"undecided $.total ×100"}},
		{name: "a-day-short", ask: invoices, live: expires(0, 0), shadow: expires(-1, 1), control: expires(0, 2), state: compare.StateDiffers, want: []string{"real $.expiresAt −1 day"}},
		{name: "graphql", live: mixed, shadow: mixed, control: mixed, options: testbed.Values{"controlMethods": "POST"}, state: compare.StateAgrees, want: []string{"noise $.extensions.requestId ", "noise $.extensions.requestId ", "noise $.extensions.requestId ", "noise $.extensions.requestId "},
			ask: func(i int) request {
				return request{method: "POST", target: "/graphql", header: http.Header{"Content-Type": {"application/json"}}, body: fmt.Sprintf(`{"operationName":%q,"query":"query %s { a }"}`, operation(i), operation(i))}
			}},
		{name: "another-method", ask: posts("/drafts"), live: total, shadow: wrong, control: total, state: compare.StateUndecided, want: []string{"undecided $.total ×100"}, says: "Judged without a control: POST /drafts."},
		{name: "control-without-data", ask: invoices, live: total, shadow: wrong, control: missing, state: compare.StateUndecided, want: []string{"undecided $.total ×100"}, says: "The control is unfit at GET /invoices/*: 120 of its 120 answers have another status than live's."},
		{name: "control-is-down", ask: invoices, live: total, shadow: wrong, state: compare.StateUndecided, want: []string{"undecided $.total ×100"}, says: "Controlpaused"},
	}
}

func posts(target string) ask {
	return func(i int) request {
		return request{method: "POST", target: target, header: http.Header{"Content-Type": {"application/json"}}, body: fmt.Sprintf(`{"invoice":%d}`, i)}
	}
}

func operation(i int) string { return operations[i%len(operations)] }

func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func numberOf(req *http.Request) int {
	i, _ := strconv.Atoi(req.Header.Get(numberHeader))
	return i
}

func (r *controlledRelease) send(traefik *testbed.Traefik, i int) error {
	ask := r.ask(i)
	if ask.method == "" {
		ask.method = http.MethodGet
	}
	header := http.Header{numberHeader: {fmt.Sprint(i)}}
	maps.Copy(header, ask.header)
	_, err := send(traefik, r.name, ask.method, ask.target, header, strings.NewReader(ask.body))
	return err
}

// serving is an upstream that answers as a version does.
func serving(t *testing.T, name string, v func(http.ResponseWriter, *http.Request, int)) *testbed.Upstream {
	t.Helper()
	return upstream(t, name, func(rw http.ResponseWriter, req *http.Request) { v(rw, req, numberOf(req)) })
}

// With a second instance of live's version noise and mistakes are told apart, and where
// the control cannot tell, the report says so.
func TestVerdictsOfReleasesWithAControl(t *testing.T) {
	config := testbed.Dynamic{}.Report()
	releases := controlledReleases()
	for _, r := range releases {
		url := "http://127.0.0.1:1"
		if r.control != nil {
			url = serving(t, "control", r.control).URL()
		}
		rules := testbed.Values{"control": url}
		maps.Copy(rules, r.options)
		config.Service(r.name, serving(t, "live", r.live).URL()).
			Mirror(r.name, testbed.Values{"url": serving(t, "shadow", r.shadow).URL(), "maxInFlight": 1000, "timeout": "30s", "compare": rules}).
			Router(r.name, testbed.RuleOf(r.name), r.name, r.name)
	}
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: config})
	said := map[string]*report.Comparison{}
	for _, r := range releases {
		inParallel(t, 120, func(i int) error { return r.send(traefik, i) })
		said[r.name] = settled(t, traefik, r.name).Comparison
	}
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) { r.check(t, said[r.name], mirrorPage(t, traefik, r.name).text()) })
	}
}

func (r *controlledRelease) check(t *testing.T, c *report.Comparison, page string) {
	t.Helper()
	var got []string
	for _, d := range c.Differences {
		if d.Key == "$.at" && d.Judgement == compare.Noise {
			continue // by chance, at the turn of a second
		}
		got = append(got, d.Judgement+" "+d.Key+" "+d.Relation)
	}
	if c.State != r.state || fmt.Sprint(got) != fmt.Sprint(r.want) {
		t.Errorf("%s %q %q, want %s %q: %+v", c.State, c.Reasons, got, r.state, r.want, c.Control)
	}
	if c.Control == nil || c.Control.URL == "" || !strings.Contains(page, "; "+c.Control.URL) || !strings.Contains(page, r.says) {
		t.Errorf("control %+v, want that the page says %q: %q", c.Control, r.says, page)
	}
	alike := r.state == compare.StateUndecided && (strings.HasSuffix(r.name, "of-both") || strings.HasSuffix(r.name, "new-version"))
	if asks := strings.Contains(strings.Join(c.Reasons, ";"), "is it live's version, with live's data?"); asks != alike {
		t.Errorf("reasons %q, want the question what the control is: %t", c.Reasons, alike)
	}
}

// A control that is slow costs live nothing, and a place in flight for as long as timeout
// at most.
func TestSlowControlHoldsUpNobody(t *testing.T) {
	var asked atomic.Int64
	hanging := upstream(t, "control", func(_ http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		<-req.Context().Done()
	})
	answer := func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, `{"n":1}`) }
	live, shadow := upstream(t, "live", answer), upstream(t, "shadow", answer)
	config := testbed.Dynamic{}.Report().Service(middleware, live.URL()).
		Mirror(middleware, testbed.Values{"url": shadow.URL(), "timeout": "2s", "compare": testbed.Values{"control": hanging.URL()}}).
		Router(middleware, testbed.RuleOf(middleware), middleware, middleware)
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: config})
	for range 5 {
		get(t, traefik, middleware, "/invoices/7")
	}
	// Live and the shadow have answered all of them while the control has none.
	testbed.Eventually(t, patience, func() error {
		if r := traefik.MustReport(t, middleware); r.Mirrored != 5 || asked.Load() != 5 {
			return fmt.Errorf("%d mirrored, the control got %d, want 5", r.Mirrored, asked.Load())
		}
		return nil
	})
	r := settled(t, traefik, middleware)
	if c := r.Comparison; c.Compared != 5 || c.Agreeing != 5 || c.Control.Failed != 5 || c.Control.Answered != 0 || r.LostTotal != 0 {
		t.Errorf("%d of %d agree, %d lost, control %+v; want all of 5 to agree, and 5 failures of the control's", c.Agreeing, c.Compared, r.LostTotal, c.Control)
	}
}
