package verdict

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// The mirrors of the account: two that compare, of which the second mirrors
// bodies as they stream, and one that samples by customer, is chained behind the
// first, and whose shadow is down for a while.
const (
	uploads = "shadow-uploads"
	archive = "shadow-archive"

	limit        = 64 << 10 // of bodies
	compareLimit = 32 << 10 // of answers
)

// examples is how many of them are kept of each difference.
const examples = 50

// checkExamples looks at every example of what differs.
func (p *plan) checkExamples(t *testing.T, r *report.Middleware) {
	t.Helper()
	for _, d := range r.Comparison.Differences {
		if d.Judgement == compare.Ignored {
			continue
		}
		least := min(d.Count, examples/2)
		if d.Count <= examples {
			least = d.Count
		}
		if n := int64(len(d.Examples)); n < least || n > examples {
			t.Errorf("%s: %d examples of %s of %s, which differs %d times, want %d at least and %d at most", r.Name, n, d.Key, d.Endpoint, d.Count, least, examples)
		}
		seen := map[int]bool{}
		for _, x := range d.Examples {
			i, err := strconv.Atoi(x.Path[strings.LastIndex(x.Path, "/")+1:])
			if err != nil || seen[i] {
				t.Errorf("%s: an example of %q, seen before: %t (%v)", r.Name, x.Path, seen[i], err)
				continue
			}
			seen[i] = true
			k := p.requests[i]
			valued := k.shadowIs == nil || x.Live == k.liveHas(i) && x.Shadow == k.shadowIs(i)
			if k.outcome != "mismatch" || d.Endpoint != k.verb()+" /invoices/*" || d.Key != k.key || !valued {
				t.Errorf("%s: %s differs in %s: %s and %s; it is %s", d.Endpoint, x.Path, d.Key, x.Live, x.Shadow, k.name)
			}
			if x.At.Before(d.First.Add(-time.Minute)) || x.At.After(d.Last) {
				t.Errorf("%s: an example of %s at %s, want none but from %s to %s", r.Name, d.Key, x.At, d.First, d.Last)
			}
		}
	}
}

// Ten thousand requests of all kinds, on several routers, with reloads: each is
// in the account once, and the account is the upstreams' own. The page, the
// metrics and report.json say the same.
func TestEveryRequestIsInTheAccount(t *testing.T) {
	p := newPlan()
	live := upstream(t, "live", p.live)
	shadow := upstream(t, "shadow", p.shadow)
	stored := upstream(t, "archive", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNoContent) })
	rules := testbed.Values{"headers": "X-Ledger", "ignore": "$.id,* /down/* all", "maxBodySize": compareLimit, "examples": examples, "show": "values"}
	config := func(generation int) testbed.Dynamic {
		return testbed.Dynamic{}.
			Service("billing", live.URL()).
			Report().
			Middleware("unrelated", "headers", testbed.Values{"customResponseHeaders": testbed.Values{"X-Generation": fmt.Sprint(generation)}}).
			Mirror(middleware, testbed.Values{"url": shadow.URL(), "methods": "GET,HEAD,POST", "maxBodySize": limit, "timeout": "10s", "maxPause": 0, "maxInFlight": 5000, "compare": rules}).
			Mirror(uploads, testbed.Values{"url": shadow.URL(), "bodyMode": "stream", "maxBodySize": limit, "maxPause": 0, "compare": rules}).
			Mirror(archive, testbed.Values{"url": stored.URL(), "percent": 30, "sampleBy": "header:X-Customer"}).
			Router("billing", testbed.RuleOf("billing"), "billing", middleware, archive).
			Router("invoicing", testbed.RuleOf("invoicing"), "billing", middleware).
			Router("uploads", testbed.RuleOf("uploads"), "billing", uploads).
			Router("unrelated", testbed.RuleOf("unrelated"), "billing", "unrelated")
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config(0)})
	begun := time.Now()

	// All kinds, and reloads of what has nothing to do with them.
	reloaded := make(chan error, 1)
	go func() {
		var err error
		for i := 1; i <= 5 && err == nil; i++ {
			time.Sleep(300 * time.Millisecond)
			err = traefik.Reload(t.Context(), config(i))
		}
		reloaded <- err
	}()
	inParallel(t, len(p.requests), func(i int) error { return p.send(traefik, i) })
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	want := map[string]*expectation{middleware: newExpectation(), uploads: newExpectation()}
	passed, unfit := int64(0), int64(0) // what the archive's mirror got to see, and may mirror or may not
	for _, k := range p.kinds {
		want[k.mirror()].expect(k, int64(k.n))
		want[k.mirror()].expectAt(k.verb()+" /invoices/*", k)
		if k.router == "billing" && (k.dropped == "" || k.dropped == "method" || k.dropped == "too_large") {
			passed += int64(k.n)
		} else if k.router == "billing" {
			unfit += int64(k.n)
		}
	}

	// What the client's own HTTP would not do.
	raw := func(request string, opts testbed.RawOptions) *testbed.Answers {
		t.Helper()
		answers, err := testbed.Exchange(t.Context(), traefik.Addr(testbed.Web), []byte(request), opts)
		if err != nil {
			t.Fatal(err)
		}
		return answers
	}
	const odd = 5
	for range odd {
		a := raw("POST /x HTTP/1.1\r\nHost: "+testbed.HostOf("billing")+"\r\nContent-Length: 100\r\n\r\n{}", testbed.RawOptions{CloseWrite: true})
		if a.Status() != http.StatusBadRequest {
			t.Errorf("a body that breaks off: answered %d, want 400", a.Status())
		}
		raw("POST /x HTTP/1.1\r\nHost: "+testbed.HostOf("uploads")+"\r\nContent-Length: 100\r\n\r\n{}", testbed.RawOptions{Abort: true, Linger: 50 * time.Millisecond})
		raw("CONNECT "+testbed.HostOf("uploads")+":443 HTTP/1.1\r\nHost: "+testbed.HostOf("uploads")+":443\r\n\r\n", testbed.RawOptions{})
	}
	want[middleware].expect(&kind{dropped: "body_error"}, odd)
	want[uploads].expect(&kind{dropped: "stream_incomplete"}, odd)
	want[uploads].expect(&kind{dropped: "connect_method"}, odd)

	// Some while without the shadows. The first fails every request, the archive
	// is left alone after ten.
	testbed.Eventually(t, patience, func() error {
		if got := traefik.MustReport(t, uploads).Dropped; got["stream_incomplete"] < odd {
			return fmt.Errorf("dropped %v, want %d that are incomplete", got, odd)
		}
		return nil
	})
	settled(t, traefik, middleware)
	settled(t, traefik, archive)
	shadow.Stop()
	stored.Stop()
	const refused = 300
	inParallel(t, refused, func(i int) error {
		_, err := send(traefik, "billing", "POST", "/down/none", http.Header{"X-Customer": {fmt.Sprint("C-", i%100)}}, strings.NewReader("{}"))
		return err
	})
	r := settled(t, traefik, middleware)
	// A connection that the shadow has closed may be used once more.
	down := r.Failed["connect"] + r.Failed["protocol"] - want[middleware].failed["protocol"]
	if down != refused {
		t.Errorf("%d requests failed for want of a shadow, want %d: %v", down, refused, r.Failed)
	}
	e := want[middleware]
	protocol := e.failed["protocol"]
	e.failed["protocol"], e.failed["connect"] = r.Failed["protocol"], r.Failed["connect"]
	// On one that it has closed the shadow does not answer, which is ignored here.
	unanswered := refused - r.Skipped["shadow_error"]
	if unanswered < 0 || unanswered > r.Failed["protocol"]-protocol {
		t.Errorf("%d pairs skipped for want of a shadow, want %d: %v", r.Skipped["shadow_error"], refused, r.Failed)
	}
	e.eligible, e.compared["skipped"], e.skipped["shadow_error"] = e.eligible+refused, e.compared["skipped"]+refused-unanswered, e.skipped["shadow_error"]+refused-unanswered
	e.compared["match"] += unanswered
	e.statuses["200/0"] += unanswered
	passed += refused
	if r := settled(t, traefik, archive); !r.State.Paused || r.Dropped["paused"] == 0 {
		t.Errorf("%s: paused %t, dropped %v, want a pause", archive, r.State.Paused, r.Dropped)
	}

	// And with them again.
	for _, u := range []*testbed.Upstream{shadow, stored} {
		if err := u.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	same0 := int64(0)
	testbed.Eventually(t, patience, func() error {
		for range 20 {
			if _, err := send(traefik, "billing", "POST", "/up/none", http.Header{"X-Customer": {fmt.Sprint("C-", same0%100)}}, strings.NewReader("{}")); err != nil {
				return err
			}
			same0++
		}
		if traefik.MustReport(t, archive).State.Paused {
			return fmt.Errorf("%s still pauses", archive)
		}
		return nil
	})
	want[middleware].expect(p.kinds[0], same0)
	passed += same0
	t.Logf("%d requests in %s", int64(len(p.requests))+3*odd+refused+same0, time.Since(begun).Round(time.Second))

	for _, name := range []string{middleware, uploads} {
		for _, got := range shadow.Requests() {
			if k, _ := p.kindOf(got.RequestURI); got.Header.Get(testbed.MarkerHeader) == testbed.Marker(name) && k.failed == "" {
				want[name].requestBytes += got.BodySize
			}
		}
		r := settled(t, traefik, name)
		want[name].check(t, r)
		p.checkExamples(t, r)
		if served := p.served[name].Load(); r.AnswerBytes != served {
			t.Errorf("%s: %d bytes of answers, want the %d that the shadow sent", name, r.AnswerBytes, served)
		}
	}
	checkArchive(t, settled(t, traefik, archive), passed, unfit, stored)
	p.checkUpstreams(t, live, shadow)
	checkForms(t, traefik, middleware, uploads, archive)
}

// checkArchive looks at the mirror that samples and pauses.
func checkArchive(t *testing.T, r *report.Middleware, passed, unfit int64, stored *testbed.Upstream) {
	t.Helper()
	// What may not be mirrored is looked for among what was chosen: the rest of it
	// counts as not chosen.
	passed += unfit - r.Dropped["marked"] - r.Dropped["grpc"] - r.Dropped["upgrade"]
	failed := r.Failed["connect"] + r.Failed["protocol"]
	if r.Eligible != passed || r.Eligible != r.Mirrored+failed+r.Dropped["sampling"]+r.Dropped["paused"] {
		t.Errorf("%s: %d eligible, want %d; %d mirrored, failed %v, dropped %v", r.Name, r.Eligible, passed, r.Mirrored, r.Failed, r.Dropped)
	}
	requests := stored.Requests()
	if r.Mirrored != int64(len(requests)) || r.Answers["2xx"] != r.Mirrored {
		t.Errorf("%s: %d mirrored, answers %v, want the %d that its shadow got", r.Name, r.Mirrored, r.Answers, len(requests))
	}
	if r.Comparison != nil || r.Compared["match"]+r.Compared["mismatch"]+r.Compared["skipped"] != 0 {
		t.Errorf("%s: %v compared, want nothing", r.Name, r.Compared)
	}
	customers := map[string]bool{}
	for _, got := range requests {
		customers[got.Header.Get("X-Customer")] = true
	}
	if n := len(customers); n < 15 || n > 45 {
		t.Errorf("%s: requests of %d customers of 100, want about 30", r.Name, n)
	}
}

// checkUpstreams looks for each request at the upstreams: live has it once, and
// the shadow once if it is to be mirrored.
func (p *plan) checkUpstreams(t *testing.T, live, shadow *testbed.Upstream) {
	t.Helper()
	count := func(u *testbed.Upstream) map[int]int {
		n := map[int]int{}
		for _, r := range u.Requests() {
			if _, i := p.kindOf(r.RequestURI); i >= 0 {
				n[i]++
			}
		}
		return n
	}
	atLive, atShadow := count(live), count(shadow)
	wrong := 0
	for i, k := range p.requests {
		want := 1
		if k.dropped != "" {
			want = 0
		}
		if atLive[i] == 1 && atShadow[i] == want {
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("request %d, which is %s, is at live %d times and at the shadow %d times, want once and %d", i, k.name, atLive[i], atShadow[i], want)
		}
	}
}
