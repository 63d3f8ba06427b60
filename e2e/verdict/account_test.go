package verdict

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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

// A side is what an upstream answers a request of some kind with.
type side struct {
	status int // 0: 200
	body   func(i int) string
	header func(i int) http.Header
	zipped bool
	does   func(rw http.ResponseWriter, req *http.Request) // in place of an answer
}

// A kind is requests that are to be treated alike.
type kind struct {
	name   string
	n      int
	router string

	// The request.
	method string // "": POST
	header http.Header
	size   int  // of the body; 0: a small one
	chunks bool // the length of the body is not announced

	live, shadow side
	cut          bool // the client gets no whole answer

	// What is to become of it.
	dropped  string // why it is not mirrored
	failed   string // how the shadow fails
	outcome  string // match, mismatch, or why it is not compared
	key      string // what differs
	liveHas  func(i int) string
	shadowIs func(i int) string // nil: the values are another with each request
}

func (k *kind) verb() string {
	if k.method == "" {
		return http.MethodPost
	}
	return k.method
}

func invoiceOf(amount string) func(i int) string {
	return func(i int) string {
		return fmt.Sprintf(`{"id":"%d","invoice":%d,"customer":"Meyer & Söhne","lines":[{"article":"A-1","amount":%d.%s},{"article":"B-2","amount":7}],"total":119.00}`, rand.Int64(), i, i, amount)
	}
}

// otherwise is the same as invoiceOf("05"), written in another way.
func otherwise(i int) string {
	return fmt.Sprintf(`{ "total": 119.0, "lines": [ {"amount":%d.050, "article":"A-1"}, {"amount":7e0,"article":"B-2"} ], "customer":"Meyer \u0026 S\u00f6hne", "invoice":%d, "id":"%d" }`, i, i, rand.Int64())
}

func text(s string) func(int) string { return func(int) string { return s } }

func fields(pairs ...string) func(int) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return func(int) http.Header { return h }
}

// abort closes the connection in the middle of an answer.
func abort(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "2000")
	rw.Write(make([]byte, 1000))
	http.NewResponseController(rw).Flush()
	panic(http.ErrAbortHandler)
}

func hang(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// kinds are what comes in. Their numbers are those of the account.
func kinds() []*kind {
	const match = "match"
	json := http.Header{"Content-Type": {"application/json"}}
	good := side{body: invoiceOf("05")}
	large := side{body: text(`["` + testbed.Payload(compareLimit) + `"]`)}
	is := func(s string) func(int) string { return func(int) string { return s } }
	list := []*kind{
		{name: "same", n: 2500, live: good, shadow: good, outcome: match},
		{name: "same-elsewhere", n: 2000, router: "invoicing", live: good, shadow: good, outcome: match},
		{name: "otherwise", n: 1000, live: good, shadow: side{body: otherwise}, outcome: match},
		{name: "head", n: 200, method: "HEAD", live: good, shadow: good, outcome: match},
		{name: "get", n: 500, method: "GET", live: good, shadow: good, outcome: match},
		{name: "zipped", n: 300, live: good, shadow: side{body: invoiceOf("05"), zipped: true}, outcome: match},
		{name: "trailer", n: 100, chunks: true, header: http.Header{"Trailer": {"X-Checksum"}}, live: good, shadow: good, outcome: match},
		{name: "not-found", n: 200, live: side{status: 404, body: text(`{}`)}, shadow: side{status: 404, body: text(`{ }`)}, outcome: match},
		{name: "unavailable", n: 100, live: side{status: 503, body: text("busy")}, shadow: side{status: 503, body: text("busy")}, outcome: match},
		{name: "moved", n: 50, live: side{status: 302, header: fields("Location", "/x"), body: text("")}, shadow: side{status: 302, body: text("")}, outcome: "mismatch", key: "header Location", liveHas: is("/x"), shadowIs: is("missing")},

		{name: "rounded", n: 300, live: good, shadow: side{body: invoiceOf("04")}, outcome: "mismatch", key: "$.lines[*].amount",
			liveHas: func(i int) string { return fmt.Sprintf("%d.05", i) }, shadowIs: func(i int) string { return fmt.Sprintf("%d.04", i) }},
		{name: "fewer", n: 100, live: good, shadow: side{body: func(i int) string {
			return strings.Replace(invoiceOf("05")(i), `"customer":"Meyer & Söhne",`, "", 1)
		}}, outcome: "mismatch", key: "$.customer", liveHas: is(`"Meyer & Söhne"`), shadowIs: is("missing")},
		{name: "fails", n: 150, live: good, shadow: side{status: 500, body: text("oops")}, outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("500")},
		{name: "healed", n: 50, live: side{status: 500, body: text("oops")}, shadow: good, outcome: "mismatch", key: "status", liveHas: is("500"), shadowIs: is("200")},
		{name: "ledger", n: 60, live: side{body: invoiceOf("05"), header: fields("X-Ledger", "north")}, shadow: side{body: invoiceOf("05"), header: fields("X-Ledger", "south", "X-Ledger", "west")},
			outcome: "mismatch", key: "header X-Ledger", liveHas: is("north"), shadowIs: is("south, west")},
		{name: "text", n: 40, live: side{body: text("settled"), header: fields("Content-Type", "text/plain")}, shadow: side{body: text("settles"), header: fields("Content-Type", "text/plain")},
			outcome: "mismatch", key: "body", liveHas: is(`text/plain, 7 bytes, from byte 6: "d"`), shadowIs: is(`text/plain, 7 bytes, from byte 6: "s"`)},

		{name: "large-answers", n: 100, method: "GET", live: large, shadow: large, outcome: match},
		{name: "other-large-answers", n: 20, method: "GET", live: large, shadow: side{body: text(`["` + testbed.Payload(compareLimit+1) + `"]`)}, outcome: "too_large"},
		{name: "large-shadow", n: 50, method: "GET", live: good, shadow: large, outcome: "mismatch", key: "body"},
		{name: "large-live", n: 20, method: "GET", live: large, shadow: good, outcome: "mismatch", key: "body"},
		{name: "zip-bomb", n: 20, method: "GET", live: good, shadow: side{body: large.body, zipped: true}, outcome: "mismatch", key: "body"},
		{name: "encoded", n: 40, live: side{body: text("a"), header: fields("Content-Encoding", "br")}, shadow: side{body: text("b"), header: fields("Content-Encoding", "br")}, outcome: "encoding"},
		{name: "events", n: 60, header: http.Header{"Accept": {"text/event-stream"}}, live: good, shadow: good, outcome: "stream"},
		{name: "events-unasked", n: 40, live: side{body: text("data: 1\n\n"), header: fields("Content-Type", "text/event-stream")}, shadow: good, outcome: "stream"},
		{name: "live-breaks", n: 30, cut: true, live: side{does: abort}, shadow: good, outcome: "live_broken"},
		{name: "live-hangs-up", n: 20, live: side{status: 502, does: hangUp}, shadow: good, outcome: "mismatch", key: "status", liveHas: is("502"), shadowIs: is("200")},
		{name: "hangs", n: 30, live: good, shadow: side{does: hang}, failed: "timeout", outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("missing")},
		{name: "hangs-up", n: 60, live: good, shadow: side{does: hangUp}, failed: "protocol", outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("missing")},
		{name: "breaks", n: 30, live: good, shadow: side{does: abort}, failed: "protocol", outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("missing")},

		{name: "method", n: 200, method: "DELETE", dropped: "method"},
		{name: "marked", n: 50, header: http.Header{"X-Mirrored-By": {"edge"}}, dropped: "marked"},
		{name: "grpc", n: 50, header: http.Header{"Content-Type": {"application/grpc"}}, dropped: "grpc"},
		{name: "upgrade", n: 50, method: "GET", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"ledger/1"}}, dropped: "upgrade"},
		{name: "large", n: 50, size: limit + 1, dropped: "too_large"},
		{name: "large-in-chunks", n: 30, size: limit + 1, chunks: true, dropped: "too_large"},

		{name: "upload", n: 900, router: "uploads", size: 9000, live: good, shadow: good, outcome: match},
		{name: "upload-in-chunks", n: 300, router: "uploads", size: 9000, chunks: true, live: good, shadow: good, outcome: match},
		{name: "upload-rounded", n: 100, router: "uploads", live: good, shadow: side{body: invoiceOf("04")}, outcome: "mismatch", key: "$.lines[*].amount",
			liveHas: func(i int) string { return fmt.Sprintf("%d.05", i) }, shadowIs: func(i int) string { return fmt.Sprintf("%d.04", i) }},
		{name: "upload-large", n: 60, router: "uploads", size: limit + 1, dropped: "too_large"},
		{name: "upload-delete", n: 60, router: "uploads", method: "DELETE", live: good, shadow: good, outcome: match},
	}
	for _, k := range list {
		if k.router == "" {
			k.router = "billing"
		}
		if k.live.body == nil {
			k.live.body = good.body
		}
		if k.header == nil && k.method == "" {
			k.header = json
		}
	}
	return list
}

func (k *kind) mirror() string {
	if k.router == "uploads" {
		return uploads
	}
	return middleware
}

// A plan is who is what: the i-th request is of the i-th kind in it.
type plan struct {
	kinds    []*kind
	requests []*kind
	served   map[string]*atomic.Int64 // bytes of the shadow's answers that are whole, by mirror
}

func newPlan() *plan {
	p := &plan{kinds: kinds(), served: map[string]*atomic.Int64{middleware: {}, uploads: {}}}
	for _, k := range p.kinds {
		for range k.n {
			p.requests = append(p.requests, k)
		}
	}
	shuffle := rand.New(rand.NewPCG(1, 2))
	shuffle.Shuffle(len(p.requests), func(i, j int) { p.requests[i], p.requests[j] = p.requests[j], p.requests[i] })
	return p
}

func (p *plan) kind(req *http.Request) (*kind, int) {
	i, err := strconv.Atoi(number(req))
	if err != nil || i >= len(p.requests) {
		return p.kinds[0], 0
	}
	return p.requests[i], i
}

// answer has the side answer, and returns how many bytes of body were sent.
func (s side) answer(rw http.ResponseWriter, req *http.Request, i int) int {
	if s.does != nil {
		s.does(rw, req)
		return 0
	}
	body := []byte(s.body(i))
	rw.Header().Set("Content-Type", "application/json")
	if s.header != nil {
		maps.Copy(rw.Header(), s.header(i))
	}
	if s.zipped {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		w.Write(body)
		w.Close()
		body = zipped.Bytes()
		rw.Header().Set("Content-Encoding", "gzip")
	}
	if s.status != 0 {
		rw.WriteHeader(s.status)
	}
	n, _ := rw.Write(body)
	if req.Method == http.MethodHead {
		return 0
	}
	return n
}

func (p *plan) live(rw http.ResponseWriter, req *http.Request) {
	k, i := p.kind(req)
	k.live.answer(rw, req, i)
}

func (p *plan) shadow(rw http.ResponseWriter, req *http.Request) {
	k, i := p.kind(req)
	p.served[k.mirror()].Add(int64(k.shadow.answer(rw, req, i)))
}

// send makes the i-th request, and complains about a wrong answer.
func (p *plan) send(traefik *testbed.Traefik, i int) error {
	k := p.requests[i]
	payload := fmt.Sprintf(`{"invoice":%d,"note":"%s"}`, i, testbed.Payload(k.size))
	var body io.Reader = strings.NewReader(payload)
	if k.chunks {
		body = io.MultiReader(body) // its length is not known
	}
	if k.verb() == http.MethodGet || k.verb() == http.MethodHead {
		body = nil
	}
	header := http.Header{"X-Customer": {fmt.Sprint("C-", i%100)}}
	maps.Copy(header, k.header)
	a, err := send(traefik, k.router, k.verb(), fmt.Sprintf("/invoices/%d", i), header, body)
	if k.cut {
		if err == nil {
			return fmt.Errorf("%s: a whole answer, want one that breaks off", k.name)
		}
		return nil
	}
	status := k.live.status
	if status == 0 {
		status = 200
	}
	if err != nil || a.status != status {
		return fmt.Errorf("%s: answered %d %.100q (%v), want %d", k.name, a.status, a.body, err, status)
	}
	return nil
}

// An expectation is the account of one mirror as it is to be.
type expectation struct {
	eligible, mirrored                 int64
	dropped, failed, compared, skipped map[string]int64
	answers, differences               map[string]int64
	requestBytes                       int64
	statuses                           map[string]int64
	endpoints                          map[string]*expectation // of those, compared, skipped and dropped
}

func newExpectation() *expectation {
	e := &expectation{endpoints: map[string]*expectation{}}
	for _, m := range []*map[string]int64{&e.dropped, &e.failed, &e.compared, &e.skipped, &e.answers, &e.differences, &e.statuses} {
		*m = map[string]int64{}
	}
	return e
}

// expect adds n requests of a kind.
func (e *expectation) expect(k *kind, n int64) {
	if k.dropped != "" {
		e.dropped[k.dropped] += n
		if k.dropped == "sampling" || slices.Contains(report.LossReasons, k.dropped) {
			e.eligible += n
		}
		return
	}
	e.eligible += n
	status := k.shadow.status
	if status == 0 {
		status = 200
	}
	if k.failed != "" {
		e.failed[k.failed] += n
	} else {
		e.mirrored += n
		e.answers[fmt.Sprintf("%dxx", status/100)] += n
	}
	switch k.outcome {
	case "match", "mismatch":
		e.compared[k.outcome] += n
		liveStatus := k.live.status
		if liveStatus == 0 {
			liveStatus = 200
		}
		if k.failed != "" {
			status = 0
		}
		e.statuses[fmt.Sprintf("%d/%d", liveStatus, status)] += n
	default:
		e.compared["skipped"] += n
		e.skipped[k.outcome] += n
	}
	if k.key != "" {
		e.differences[k.key] += n
	}
}

// expectAt adds the requests of a kind to an endpoint. Those that are dropped for a reason
// of the endpoint's are known of there.
func (e *expectation) expectAt(name string, k *kind) {
	if k.dropped != "" && k.dropped != "too_large" {
		return
	}
	if e.endpoints[name] == nil {
		e.endpoints[name] = newExpectation()
	}
	e.endpoints[name].expect(k, int64(k.n))
}

// same complains where got has other counts than want; what is 0 may be missing.
func same(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	nonzero := func(m map[string]int64) map[string]int64 {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(_ string, n int64) bool { return n == 0 })
		return m
	}
	if g, w := nonzero(got), nonzero(want); !maps.Equal(g, w) {
		t.Errorf("%s: %v, want %v", what, g, w)
	}
}

// check compares the report with what is to be in it.
func (e *expectation) check(t *testing.T, r *report.Middleware) {
	t.Helper()
	if r.Eligible != e.eligible || r.Mirrored != e.mirrored {
		t.Errorf("%s: %d eligible, %d mirrored, want %d and %d", r.Name, r.Eligible, r.Mirrored, e.eligible, e.mirrored)
	}
	same(t, r.Name+": dropped", r.Dropped, e.dropped)
	same(t, r.Name+": failed", r.Failed, e.failed)
	same(t, r.Name+": answers", r.Answers, e.answers)
	same(t, r.Name+": compared", r.Compared, e.compared)
	same(t, r.Name+": skipped", r.Skipped, e.skipped)
	c := r.Comparison
	if c.Compared != e.compared["match"]+e.compared["mismatch"] || c.Real != e.compared["mismatch"] || c.Agreeing != c.Compared-c.Real || c.Undecided+c.Noise != 0 {
		t.Errorf("%s: %d compared, %d agree, %d really differ, %d undecided, %d noise; want %v, and all that differ really", r.Name, c.Compared, c.Agreeing, c.Real, c.Undecided, c.Noise, e.compared)
	}
	if c.State != compare.StateDiffers {
		t.Errorf("%s: state %s, want %s", r.Name, c.State, compare.StateDiffers)
	}
	e.checkEndpoints(t, r)
	differences, statuses := map[string]int64{}, map[string]int64{}
	for _, d := range c.Differences {
		if d.Judgement == compare.Ignored {
			continue
		}
		differences[d.Key] += d.Count
	}
	for _, s := range c.Statuses {
		statuses[fmt.Sprintf("%d/%d", s.Live, s.Shadow)] += s.Count
	}
	same(t, r.Name+": differences", differences, e.differences)
	same(t, r.Name+": statuses", statuses, e.statuses)
	var agree, differ int64
	for _, i := range c.Timeline.Intervals {
		agree, differ = agree+i.Compared-i.Real-i.Undecided, differ+i.Real+i.Undecided
	}
	if agree != e.compared["match"] || differ != e.compared["mismatch"] {
		t.Errorf("%s: %d and %d on the time line, want %v", r.Name, agree, differ, e.compared)
	}
	if r.RequestBytes != e.requestBytes {
		t.Errorf("%s: %d bytes of requests, want the %d that the shadow got", r.Name, r.RequestBytes, e.requestBytes)
	}
	pairs := c.Compared
	if r.ShadowLatency.Count != r.Mirrored || r.ComparedLive.Count != pairs || r.ComparedShadow.Count != pairs || c.Live.Count != pairs || c.Shadow.Count != pairs {
		t.Errorf("%s: latencies of %d, %d, %d, %d and %d, want %d and %d", r.Name, r.ShadowLatency.Count, r.ComparedLive.Count, r.ComparedShadow.Count, c.Live.Count, c.Shadow.Count, r.Mirrored, pairs)
	}
}

// checkEndpoints compares what the report says of each endpoint with what is to be in it.
func (e *expectation) checkEndpoints(t *testing.T, r *report.Middleware) {
	t.Helper()
	got := map[string]report.Endpoint{}
	compared := int64(0)
	for _, endpoint := range r.Comparison.Endpoints {
		got[endpoint.Endpoint] = endpoint
		compared += endpoint.Compared
	}
	if compared != r.Comparison.Compared {
		t.Errorf("%s: %d compared by endpoint, want %d", r.Name, compared, r.Comparison.Compared)
	}
	for name, want := range e.endpoints {
		endpoint := got[name]
		if endpoint.Compared != want.compared["match"]+want.compared["mismatch"] || endpoint.Real != want.compared["mismatch"] || endpoint.Undecided+endpoint.Noise != 0 {
			t.Errorf("%s: %s: %d compared, %d really differ, %d undecided, %d noise; want %v", r.Name, name, endpoint.Compared, endpoint.Real, endpoint.Undecided, endpoint.Noise, want.compared)
		}
		same(t, r.Name+": "+name+": skipped", endpoint.Skipped, want.skipped)
		same(t, r.Name+": "+name+": dropped", endpoint.Dropped, want.dropped)
	}
}

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

// kindOf is the kind of the request that the target is of.
func (p *plan) kindOf(target string) (*kind, int) {
	i, err := strconv.Atoi(target[strings.LastIndex(target, "/")+1:])
	if err != nil || i >= len(p.requests) {
		return p.kinds[0], -1
	}
	return p.requests[i], i
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

// checkForms fails the test unless the page and the metrics say what report.json
// says.
func checkForms(t *testing.T, traefik *testbed.Traefik, names ...string) {
	t.Helper()
	metrics := readMetrics(t, reported(t, traefik, "/metrics"))
	for _, name := range names {
		r := traefik.MustReport(t, name)
		checkMetrics(t, metrics, r)
		checkVerdict(t, metrics, r)
		checkPage(t, mirrorPage(t, traefik, name, everything...), r)
	}
}

func checkMetrics(t *testing.T, metrics map[string]string, r *report.Middleware) {
	t.Helper()
	want := map[string]int64{
		"mirror_eligible_requests_total{}":                         r.Eligible,
		"mirror_mirrored_requests_total{}":                         r.Mirrored,
		"mirror_request_body_bytes_total{}":                        r.RequestBytes,
		"mirror_shadow_response_body_bytes_total{}":                r.AnswerBytes,
		"mirror_in_flight_requests{}":                              0,
		"mirror_paused{}":                                          0,
		"mirror_shadow_request_duration_seconds_count{}":           r.ShadowLatency.Count,
		`mirror_shadow_request_duration_seconds_bucket{le="+Inf"}`: r.ShadowLatency.Count,
	}
	for label, counts := range map[string]map[string]int64{
		"mirror_lost_requests_total{reason":    r.Lost,
		"mirror_dropped_requests_total{reason": r.Dropped,
		"mirror_failed_requests_total{kind":    r.Failed,
		"mirror_shadow_responses_total{code":   r.Answers,
	} {
		for value, n := range counts {
			want[fmt.Sprintf("%s=%q}", label, value)] = n
		}
	}
	for series, n := range want {
		series = full(strings.TrimSuffix(series, "}"), r.Name)
		if got := metrics[series]; got != fmt.Sprint(n) {
			t.Errorf("metrics: %s is %q, want %d", series, got, n)
		}
	}
}

func checkPage(t *testing.T, page node, r *report.Middleware) {
	t.Helper()
	facts := map[string]string{"Mirrored": report.Count(r.Mirrored), "Lost": "none", "In flight": "0"}
	if lost := r.Eligible - r.Mirrored - r.Dropped["sampling"]; lost > 0 {
		facts["Lost"] = report.Count(lost) + " of " + report.Count(lost+r.Mirrored)
	}
	if n := r.Dropped["sampling"]; n > 0 {
		facts["Sampled out"] = report.Count(n)
	}
	for class, n := range r.Answers {
		if n > 0 {
			facts["Answers "+class] = report.Count(n)
		}
	}
	got := page.facts()
	for name, want := range facts {
		if got[name] != want {
			t.Errorf("the page of %s: %s is %q, want %q", r.Name, name, got[name], want)
		}
	}
	tallies := map[string]string{}
	for _, counts := range []map[string]int64{r.Failed, r.Dropped} {
		for reason, n := range counts {
			title := "Not to be mirrored"
			if slices.Contains(report.LossReasons, reason) {
				title = "Lost"
			}
			if n > 0 {
				tallies[title+": "+reason] = report.Count(n)
			}
		}
	}
	if r.Comparison == nil {
		if got := page.tallies(); !maps.Equal(got, tallies) {
			t.Errorf("the page of %s: losses %v, want %v", r.Name, got, tallies)
		}
		return
	}
	for reason, n := range r.Comparison.Skipped {
		if n > 0 {
			tallies["Mirrored, but not compared: "+reason] = report.Count(n)
		}
	}
	if got := page.tallies(); !maps.Equal(got, tallies) {
		t.Errorf("the page of %s: losses %v, want %v", r.Name, got, tallies)
	}
	if got := page.all("p", "verdict")[0].text(); got != r.Comparison.Headline {
		t.Errorf("the page of %s: %q, want %q", r.Name, got, r.Comparison.Headline)
	}
	differences := page.differences()
	if len(differences) != len(r.Comparison.Differences) {
		t.Errorf("the page of %s: %d differences %v, want %d", r.Name, len(differences), differences, len(r.Comparison.Differences))
	}
	for _, d := range r.Comparison.Differences {
		if got := differences[strings.TrimSpace(d.Endpoint+" "+d.Key+" "+d.Relation)]; !strings.HasPrefix(got, report.Count(d.Count)+" of ") {
			t.Errorf("the page of %s: %s of %s in %q, want %d", r.Name, d.Key, d.Endpoint, got, d.Count)
		}
	}
	cells := int64(0)
	for _, cell := range page.all("td", "number") {
		if n, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimPrefix(cell.text(), "≠ "), ",", ""), 10, 64); err == nil && (hasClass(cell.Node, "same") || hasClass(cell.Node, "other")) {
			cells += n
		}
	}
	if cells != r.Comparison.Compared {
		t.Errorf("the page of %s: %d pairs of statuses, want %d", r.Name, cells, r.Comparison.Compared)
	}
}
