package verdict

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// A fault is something in which the shadow's answer is not live's, and what is to be said
// of it.
type fault struct{ judgement, endpoint, key string }

// doubted is what is real, or undecided at the least.
const doubted = "doubted"

// A version of the billing service answers the i-th request, and knows what is wrong with
// the answer.
type version func(rw http.ResponseWriter, req *http.Request, i int) []fault

// answers is a version all of whose answers have these faults.
func answers(body func(i int) string, faults ...fault) version {
	return func(rw http.ResponseWriter, _ *http.Request, i int) []fault {
		writeJSON(rw, body(i))
		return faults
	}
}

// sometimes is a version that is wrong in some answers, and right in the others.
func sometimes(when func(i int) bool, wrong, right version) version {
	return func(rw http.ResponseWriter, req *http.Request, i int) []fault {
		if when(i) {
			return wrong(rw, req, i)
		}
		return right(rw, req, i)
	}
}

func every(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }

// A request is what a client asks for.
type request struct {
	method, target string // "": GET
	header         http.Header
	body           string
	leaves         bool // before it has all of the answer
}

// invoices asks for one invoice after the other.
func invoices(i int) request { return request{target: fmt.Sprint("/invoices/", i)} }

func posts(target string) func(int) request {
	return func(i int) request {
		return request{method: "POST", target: target, header: http.Header{"Content-Type": {"application/json"}}, body: fmt.Sprintf(`{"invoice":%d}`, i)}
	}
}

// either has the i-th request be the first's or the second's, in turn.
func either(first, second func(int) request) func(int) request {
	return func(i int) request {
		if i%2 == 0 {
			return first(i)
		}
		return second(i)
	}
}

// A release is two versions of the billing service, what is asked of them, and what is to
// be said of the newer one.
type release struct {
	name            string
	mirror, compare testbed.Values // options
	ask             func(i int) request
	n, then         int // so many requests at a time, and then so many one by one

	live, shadow version

	state, headline string
	reasons         []string          // what each begins with
	endpoints       map[string]string // states
	skipped         map[string]int64
	dropped         map[string]int64
}

func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// A book has identifiers of drafts, each made when it is first asked for.
type book struct {
	mu  sync.Mutex
	ids map[int]string
}

func (b *book) id(draft int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids == nil {
		b.ids = map[int]string{}
	}
	if b.ids[draft] == "" {
		b.ids[draft] = newUUID()
	}
	return b.ids[draft]
}

func draftOf(b *book, shift func(i int) int) func(int) string {
	return func(i int) string { return fmt.Sprintf(`{"invoice":%d,"id":%q}`, i, b.id(shift(i))) }
}

func itself(i int) int { return i }

func accounts(b *book, draft int) func(int) string {
	return func(int) string { return fmt.Sprintf(`{"account":7,"draft":%q}`, b.id(draft)) }
}

// large answers with more than is compared, and each time with something else.
func large(rw http.ResponseWriter, _ *http.Request, _ int) []fault {
	writeJSON(rw, fmt.Sprintf(`{"export":%q,"made":%q}`, testbed.Payload(3000), newUUID()))
	return nil
}

// half answers with the half of what it promised, and waits for the client to leave.
func half(rw http.ResponseWriter, req *http.Request, _ int) []fault {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Length", "2000")
	rw.Write(make([]byte, 1000))
	http.NewResponseController(rw).Flush()
	<-req.Context().Done()
	return nil
}

func events(rw http.ResponseWriter, _ *http.Request, _ int) []fault {
	rw.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(rw, "data: %s\n\n", newUUID())
	return nil
}

func operation(i int) string { return []string{"Invoices", "Customers", "Payments", "Drafts"}[i%4] }

func releases() []*release {
	total := func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":"%d.%02d"}`, i, 1000+i*37, i%100) }
	good := answers(total)
	mixed := answers(func(i int) string {
		return fmt.Sprintf(`{"data":{"n":%d,"total":%d},"extensions":{"requestId":%q}}`, i, 100+i, newUUID())
	})
	requestID := func(i int) fault {
		return fault{compare.Noise, "POST /graphql " + operation(i), "$.extensions.requestId"}
	}
	names := strings.Fields("Meyer Lindqvist OBrien Yamada Dubois Kowalski Rossi Garcia Novak Jansen Hansen Weber Silva Popescu Horvat Nagy Virtanen Murphy Costa Schmid")
	odd := func(i int) bool { return i%2 == 1 }
	drafts := fault{compare.Noise, "POST /drafts", "$.id"}
	b5, s5, s12 := &book{}, &book{}, &book{}

	return []*release{
		{name: "no-mistake", ask: invoices, n: 120, live: good, shadow: good, state: compare.StateAgrees,
			headline: "100% of 120 answers agree", endpoints: map[string]string{"GET /invoices/*": compare.StateAgrees}},
		{name: "total-times-100", ask: invoices, n: 120, live: good,
			shadow: answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":"%d%02d"}`, i, 1000+i*37, i%100) },
				fault{compare.Undecided, "GET /invoices/*", "$.total"}),
			state: compare.StateUndecided, headline: "120 of 120 answers differ in what cannot be decided (100%)", reasons: []string{"120 pairs differ in what cannot be told from noise"},
			endpoints: map[string]string{"GET /invoices/*": compare.StateUndecided}},
		{name: "flag-turned-round", ask: invoices, n: 120,
			live:   answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"paid":%t}`, i, odd(i)) }),
			shadow: answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"paid":%t}`, i, !odd(i)) }, fault{compare.Real, "GET /invoices/*", "$.paid"}),
			state:  compare.StateDiffers, headline: "120 of 120 answers really differ (100%)"},
		{name: "names-in-lower-case", ask: invoices, n: 120,
			live: answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"customer":%q}`, i, names[i%20]) }),
			shadow: answers(func(i int) string {
				return fmt.Sprintf(`{"invoice":%d,"customer":%q}`, i, strings.ToLower(names[i%20]))
			}, fault{compare.Undecided, "GET /invoices/*", "$.customer"}),
			state: compare.StateUndecided},
		{name: "one-too-many", ask: invoices, n: 120,
			live:   answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"lines":%d}`, i, i%20+1) }),
			shadow: answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"lines":%d}`, i, i%20+2) }, fault{doubted, "GET /invoices/*", "$.lines"}),
			state:  doubted},
		{name: "rounded-otherwise-now-and-then", ask: invoices, n: 120, live: good,
			shadow: sometimes(every(15), answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":"%d.%02d"}`, i, 999+i*37, i%100) },
				fault{compare.Real, "GET /invoices/*", "$.total"}), good),
			state: compare.StateDiffers, headline: "8 of 120 answers really differ (6.66%)"},
		{name: "identifiers-made-anew", ask: posts("/drafts"), n: 120, live: answers(draftOf(&book{}, itself)), shadow: answers(draftOf(&book{}, itself), drafts),
			state: compare.StateAgrees, headline: "100% of 120 answers agree, 120 of them but for noise"},
		{name: "another-s-draft", n: 200, then: 1, ask: func(i int) request {
			if i < 200 {
				return posts("/drafts")(i)
			}
			return request{target: "/accounts/7"}
		},
			live:   sometimes(func(i int) bool { return i < 200 }, answers(draftOf(b5, itself)), answers(accounts(b5, 3))),
			shadow: sometimes(func(i int) bool { return i < 200 }, answers(draftOf(s5, itself), drafts), answers(accounts(s5, 5), fault{compare.Real, "GET /*/*", "$.draft"})),
			state:  compare.StateDiffers, headline: "1 of 201 answers really differs (0.49%)"},
		{name: "drafts-given-twice", ask: posts("/drafts"), n: 100, then: 25, live: answers(draftOf(&book{}, itself)),
			shadow: sometimes(func(i int) bool { return i < 100 }, answers(draftOf(s12, itself), drafts),
				answers(draftOf(s12, func(i int) int { return i - 100 }), fault{doubted, "POST /drafts", "$.id"})),
			state: doubted},
		{name: "trace-in-some-answers", ask: invoices, n: 120,
			live: sometimes(every(10), answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"traceId":%q}`, i, newUUID()) }), good),
			shadow: sometimes(every(10), answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"traceId":%q}`, i, newUUID()) },
				fault{compare.Undecided, "GET /invoices/*", "$.traceId"}), good),
			state: compare.StateUndecided, headline: "12 of 120 answers differ in what cannot be decided (10%)"},
		{name: "fails-now-and-then", ask: invoices, n: 120, live: good,
			shadow: sometimes(every(60), func(rw http.ResponseWriter, _ *http.Request, _ int) []fault {
				http.Error(rw, "no such table", http.StatusInternalServerError)
				return []fault{{compare.Real, "GET /invoices/*", "status"}}
			}, good),
			state: compare.StateDiffers, headline: "2 of 120 answers really differ (1.66%)"},
		{name: "graphql", n: 160, ask: func(i int) request {
			return request{method: "POST", target: "/graphql", header: http.Header{"Content-Type": {"application/json"}},
				body: fmt.Sprintf(`{"operationName":%q,"query":"query %s { a }","variables":{"n":%d}}`, operation(i), operation(i), i)}
		},
			live: mixed,
			shadow: func(rw http.ResponseWriter, req *http.Request, i int) []fault {
				if i%32 == 0 { // of Invoices
					writeJSON(rw, fmt.Sprintf(`{"data":{"n":%d,"total":%d},"extensions":{"requestId":%q}}`, i, 101+i, newUUID()))
					return []fault{requestID(i), {compare.Real, "POST /graphql Invoices", "$.data.total"}}
				}
				mixed(rw, req, i)
				return []fault{requestID(i)}
			},
			state: compare.StateDiffers, headline: "5 of 160 answers really differ (3.12%)",
			endpoints: map[string]string{"POST /graphql Invoices": compare.StateDiffers, "POST /graphql Customers": compare.StateAgrees,
				"POST /graphql Payments": compare.StateAgrees, "POST /graphql Drafts": compare.StateAgrees}},
		{name: "answers-too-large", n: 200, ask: either(invoices, func(i int) request { return request{target: fmt.Sprint("/exports/", i)} }),
			compare: testbed.Values{"maxBodySize": "2KiB"}, live: sometimes(odd, large, good), shadow: sometimes(odd, large, good),
			state: compare.StateUndecided, headline: "100% of 100 answers agree, but GET /exports/*: never compared (too_large)", reasons: []string{"GET /exports/*: never compared (too_large)"},
			endpoints: map[string]string{"GET /invoices/*": compare.StateAgrees, "GET /exports/*": compare.StateUndecided}, skipped: map[string]int64{"GET /exports/* too_large": 100}},
		{name: "uploads-too-large", n: 200, ask: either(invoices, func(i int) request {
			return request{method: "PUT", target: fmt.Sprint("/scans/", i), body: testbed.Payload(3000)}
		}),
			mirror: testbed.Values{"maxBodySize": "2KiB"}, live: good, shadow: good,
			state: compare.StateUndecided, headline: "100% of 100 answers agree, but PUT /scans/*: never compared (too_large)", reasons: []string{"PUT /scans/*: never compared (too_large)"},
			endpoints: map[string]string{"GET /invoices/*": compare.StateAgrees, "PUT /scans/*": compare.StateUndecided}, dropped: map[string]int64{"PUT /scans/* too_large": 100}},
		{name: "streams-and-clients-that-leave", n: 240, ask: func(i int) request {
			switch i % 4 {
			case 0:
				return request{target: fmt.Sprint("/events/", i), header: http.Header{"Accept": {"text/event-stream"}}}
			case 1:
				return request{target: fmt.Sprint("/reports/", i), leaves: true}
			}
			return invoices(i)
		},
			live: func(rw http.ResponseWriter, req *http.Request, i int) []fault {
				return []version{events, half, good, good}[i%4](rw, req, i)
			},
			shadow: sometimes(every(4), events, good),
			state:  compare.StateAgrees, headline: "100% of 120 answers agree",
			endpoints: map[string]string{"GET /invoices/*": compare.StateAgrees}, skipped: map[string]int64{"GET /events/* stream": 60, "GET /reports/* live_broken": 60}},
		{name: "too-early", ask: invoices, n: 12, live: good,
			shadow: sometimes(every(2), func(rw http.ResponseWriter, _ *http.Request, _ int) []fault {
				http.NotFound(rw, nil)
				return []fault{{compare.Real, "GET /*/*", "status"}}
			}, good),
			state: compare.StateEarly, headline: "12 answers are too few to say; 6 of them really differ", reasons: []string{"12 of 100 pairs that it takes"}},
		{name: "too-early-at-an-endpoint", n: 120, ask: func(i int) request {
			if i%10 == 0 {
				return posts("/drafts")(i)
			}
			return invoices(i)
		}, live: good, shadow: good, state: compare.StateEarly, headline: "120 answers are too few to say", reasons: []string{"POST /*: 12 of 20 requests that it takes"}},
	}
}

// A trial is a release while it runs.
type trial struct {
	*release
	traefik *testbed.Traefik
	shadows *testbed.Upstream

	mu          sync.Mutex
	differences map[fault]int64
	pairs       map[string]int64 // by the worst of what is wrong with the shadow's answer
}

var severity = map[string]int{compare.Noise: 1, compare.Undecided: 2, doubted: 3, compare.Real: 4}

// note counts what the shadow knows of its answer.
func (tr *trial) note(faults []fault) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	worst := ""
	for _, f := range faults {
		tr.differences[f]++
		if severity[f.judgement] > severity[worst] {
			worst = f.judgement
		}
	}
	tr.pairs[worst]++
}

const numberHeader = "X-Number"

func numberOf(req *http.Request) int {
	i, _ := strconv.Atoi(req.Header.Get(numberHeader))
	return i
}

// configure adds the release's upstreams, its mirror and its router.
func (tr *trial) configure(t *testing.T, d testbed.Dynamic) {
	t.Helper()
	live := upstream(t, "live", func(rw http.ResponseWriter, req *http.Request) { tr.live(rw, req, numberOf(req)) })
	tr.shadows = upstream(t, "shadow", func(rw http.ResponseWriter, req *http.Request) { tr.note(tr.shadow(rw, req, numberOf(req))) })
	tr.reconfigure(d.Service(tr.name, live.URL()), nil, nil).Router(tr.name, host(tr.name), tr.name, tr.name)
}

// reconfigure sets the mirror, with options besides the release's.
func (tr *trial) reconfigure(d testbed.Dynamic, mirror, comparing testbed.Values) testbed.Dynamic {
	rules := testbed.Values{"body": "json"}
	maps.Copy(rules, tr.compare)
	maps.Copy(rules, comparing)
	options := testbed.Values{"url": tr.shadows.URL(), "maxInFlight": 1000, "timeout": "30s", "compare": rules}
	maps.Copy(options, tr.mirror)
	maps.Copy(options, mirror)
	return d.Mirror(tr.name, options)
}

// send makes the i-th request.
func (tr *trial) send(i int) error {
	r := tr.ask(i)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, tr.traefik.URL(r.target), strings.NewReader(r.body))
	if err != nil {
		return err
	}
	maps.Copy(req.Header, r.header)
	req.Header.Set(numberHeader, strconv.Itoa(i))
	req.Host = at(tr.name)
	resp, err := tr.traefik.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if r.leaves {
		_, err = io.ReadFull(resp.Body, make([]byte, 1))
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: answered %d (%v), want 200", r.method, r.target, resp.StatusCode, err)
	}
	return nil
}

// load makes all requests.
func (tr *trial) load(t *testing.T) {
	t.Helper()
	inParallel(t, tr.n, tr.send)
	if tr.then > 0 {
		settled(t, tr.traefik, tr.name)
	}
	for i := range tr.then {
		if err := tr.send(tr.n + i); err != nil {
			t.Fatal(err)
		}
	}
}

// check compares what the report says of the release with what its upstreams know.
func (tr *trial) check(t *testing.T, c *report.Comparison, page node) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	total := int64(tr.n + tr.then)
	skipped, dropped := map[string]int64{}, map[string]int64{}
	states := map[string]string{}
	for _, e := range c.Endpoints {
		states[e.Endpoint] = e.State
		for reason, n := range e.Skipped {
			skipped[e.Endpoint+" "+reason] = n
			total -= n
		}
		for reason, n := range e.Dropped {
			dropped[e.Endpoint+" "+reason] = n
			total -= n
		}
	}
	same(t, "skipped", skipped, tr.skipped)
	same(t, "dropped", dropped, tr.dropped)
	for endpoint, want := range tr.endpoints {
		if states[endpoint] != want {
			t.Errorf("%s %s, want %s: %v", endpoint, states[endpoint], want, states)
		}
	}

	// Pairs.
	agreeing := total - tr.pairs[compare.Real] - tr.pairs[doubted] - tr.pairs[compare.Undecided]
	doubt := c.Real+c.Undecided == tr.pairs[compare.Real]+tr.pairs[compare.Undecided]+tr.pairs[doubted]
	exact := tr.pairs[doubted] > 0 || c.Real == tr.pairs[compare.Real] && c.Undecided == tr.pairs[compare.Undecided]
	if c.Compared != total || !doubt || !exact || c.Noise != tr.pairs[compare.Noise] || c.Agreeing != agreeing {
		t.Errorf("%d compared, %d agree, %d really differ, %d undecided, %d noise; want %d compared, %d agree, and %v", c.Compared, c.Agreeing, c.Real, c.Undecided, c.Noise, total, agreeing, tr.pairs)
	}

	// Differences.
	got := map[fault]int64{}
	for _, d := range c.Differences {
		f := fault{d.Judgement, d.Endpoint, d.Key}
		if d.Judgement != compare.Noise && tr.differences[fault{doubted, d.Endpoint, d.Key}] > 0 {
			f.judgement = doubted
		}
		got[f] += d.Count
	}
	if !maps.Equal(got, tr.differences) {
		t.Errorf("differences %v, want %v", got, tr.differences)
	}

	// What is said of it, everywhere.
	good := c.State == tr.state || tr.state == doubted && (c.State == compare.StateDiffers || c.State == compare.StateUndecided)
	if !good || !strings.HasPrefix(c.Headline, tr.headline) {
		t.Errorf("%s, %q, want %s, %q", c.State, c.Headline, tr.state, tr.headline)
	}
	for i, want := range tr.reasons {
		if i >= len(c.Reasons) || !strings.HasPrefix(c.Reasons[i], want) {
			t.Errorf("reasons %q, want %q", c.Reasons, tr.reasons)
		}
	}
	section := page.mirror(t, tr.name)
	badge := map[string]string{
		compare.StateAgrees: "Agrees", compare.StateDiffers: "Differs", compare.StateUndecided: "Undecided", compare.StateEarly: "Too early",
	}[c.State]
	if got := section.all("span", "status")[0].text(); got != badge {
		t.Errorf("the page says %q, want %q", got, badge)
	}
	if got := section.all("p", "verdict")[0].text(); got != c.Headline {
		t.Errorf("the page says %q, want %q", got, c.Headline)
	}
}

// What the report says of a new version is what the version itself knows: which of its
// answers are wrong, and at which endpoints. Where that cannot be known the report says so.
func TestVerdictsOfReleasesAreRight(t *testing.T) {
	var trials []*trial
	config := testbed.Dynamic{}.Report()
	for _, r := range releases() {
		tr := newTrial(r)
		tr.configure(t, config)
		trials = append(trials, tr)
	}
	traefik := runTraefik(t, testbed.Options{LogLevel: "ERROR", Dynamic: config})
	for _, tr := range trials {
		tr.traefik = traefik
		tr.load(t)
	}
	said := map[string]*report.Comparison{}
	for _, tr := range trials {
		said[tr.name] = settled(t, traefik, tr.name).Comparison
	}
	page := readPage(t, reported(t, traefik, "/"))
	for _, tr := range trials {
		t.Run(tr.name, func(t *testing.T) { tr.check(t, said[tr.name], page) })
	}
}

func newTrial(r *release) *trial {
	return &trial{release: r, differences: map[fault]int64{}, pairs: map[string]int64{}}
}

// runTrial runs one release alone.
func runTrial(t *testing.T, r *release) (*trial, testbed.Dynamic) {
	t.Helper()
	tr := newTrial(r)
	config := testbed.Dynamic{}.Report()
	tr.configure(t, config)
	tr.traefik = runTraefik(t, testbed.Options{LogLevel: "ERROR", Dynamic: config})
	tr.load(t)
	return tr, config
}

// invoiceRelease is a release without a mistake.
func invoiceRelease(n int) *release {
	good := answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":%d}`, i, 100+i) })
	return &release{name: "billing", ask: invoices, n: n, live: good, shadow: good}
}

// A verdict that was good says nothing any more when the shadow has died.
func TestShadowThatDiesForGoodIsNoAgreement(t *testing.T) {
	tr, _ := runTrial(t, invoiceRelease(1000))
	if c := settled(t, tr.traefik, tr.name).Comparison; c.State != compare.StateAgrees || c.Compared != 1000 {
		t.Fatalf("%s, %d compared, want that 1000 agree: %q", c.State, c.Compared, c.Reasons)
	}
	tr.shadows.Stop()
	for i := range 30 {
		if err := tr.send(i); err != nil {
			t.Fatal(err)
		}
	}
	r := settled(t, tr.traefik, tr.name)
	c := r.Comparison
	if !r.State.Paused || c.State != compare.StateUndecided || len(c.Reasons) == 0 || !strings.Contains(c.Headline, "paused") {
		t.Errorf("paused %t, %s, %q, %q; want undecided, because it is paused", r.State.Paused, c.State, c.Headline, c.Reasons)
	}
	if c.Compared != 1000 || c.Agreeing != 1000 {
		t.Errorf("%d of %d agree, want 1000 of 1000", c.Agreeing, c.Compared)
	}
}

// A verdict without a new pair for long is none any more.
func TestOldVerdictIsNoAgreement(t *testing.T) {
	r := invoiceRelease(120)
	r.compare = testbed.Values{"maxAge": "2s"}
	tr, _ := runTrial(t, r)
	eventually(t, func() error {
		if c := tr.traefik.MustReport(t, tr.name).Comparison; c.State != compare.StateUndecided || len(c.Reasons) != 1 || !strings.HasPrefix(c.Reasons[0], "no pair for ") {
			return fmt.Errorf("%s, %q, want undecided for want of a pair", c.State, c.Reasons)
		}
		return nil
	})
	if err := tr.send(1); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if c := tr.traefik.MustReport(t, tr.name).Comparison; c.State != compare.StateAgrees || c.Compared != 121 {
			if err := tr.send(1); err != nil {
				t.Fatal(err)
			}
			return fmt.Errorf("%s, %d compared, want that all agree again", c.State, c.Compared)
		}
		return nil
	})
}

// Only what answers are compared with, and how, begins the comparison anew. Rules and all
// else go with what was compared before.
func TestReloadsGoOnCounting(t *testing.T) {
	r := invoiceRelease(100)
	r.shadow = sometimes(every(4), answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d,"total":%d}`, i, 99+i) }, fault{compare.Real, "GET /invoices/*", "$.total"}), r.live)
	tr, config := runTrial(t, r)
	first := settled(t, tr.traefik, tr.name).Comparison
	other := upstream(t, "another shadow", func(rw http.ResponseWriter, req *http.Request) { tr.shadow(rw, req, numberOf(req)) })
	tests := []struct {
		name           string
		mirror, rules  testbed.Values
		anew           bool
		real, agreeing int64 // of the 100 before
	}{
		{"ignore", nil, testbed.Values{"ignore": "$.total"}, false, 0, 100},
		{"ignore no more", nil, nil, false, 25, 75},
		{"sampling and limits", testbed.Values{"percent": 50, "maxRate": 100, "timeout": "7s", "maxInFlight": 50}, nil, false, 25, 75},
		{"how it is shown", nil, testbed.Values{"show": "values", "examples": 1, "percent": 50}, false, 25, 75},
		{"how long it holds", nil, testbed.Values{"minimum": 10, "maxAge": "1h"}, false, 25, 75},
		{"another build", nil, testbed.Values{"epoch": "build 4711"}, true, 25, 75},
		{"another limit", nil, testbed.Values{"maxBodySize": "1KiB"}, true, 25, 75},
		{"bodies as bytes", nil, testbed.Values{"body": "exact"}, true, 25, 75},
		{"another shadow", testbed.Values{"url": other.URL()}, nil, true, 25, 75},
	}
	if first.Compared != 100 || first.Real != 25 {
		t.Fatalf("%d compared, %d really differ, want 100 and 25: %+v", first.Compared, first.Real, first.Differences)
	}
	epoch := ""
	for _, test := range tests {
		before := tr.traefik.MustReport(t, tr.name).Comparison
		tr.traefik.MustReload(t, tr.reconfigure(config, test.mirror, test.rules))
		var c *report.Comparison
		eventually(t, func() error {
			c = settled(t, tr.traefik, tr.name).Comparison
			if began := !c.Since.Equal(before.Since); began != test.anew {
				return fmt.Errorf("%s: begun anew: %t, want %t", test.name, began, test.anew)
			}
			return nil
		})
		if !test.anew {
			if c.Compared != 100 || c.Real != test.real || c.Agreeing != test.agreeing {
				t.Errorf("%s: %d compared, %d really differ, %d agree; want 100, %d and %d", test.name, c.Compared, c.Real, c.Agreeing, test.real, test.agreeing)
			}
			continue
		}
		if p := c.Previous; c.Compared != 0 || c.State != compare.StateNone || p == nil || p.Compared != 100 || p.Real != 25 || p.Name != epoch {
			t.Errorf("%s: %s, %d compared, the one before %+v; want none, and 100 of %q before", test.name, c.State, c.Compared, p, epoch)
		}
		epoch = c.Epoch
		if want, _ := test.rules["epoch"].(string); epoch != want {
			t.Errorf("%s: the comparison is called %q, want %q", test.name, epoch, want)
		}
		inParallel(t, 100, tr.send)
		if c := settled(t, tr.traefik, tr.name).Comparison; c.Compared != 100 || c.Real != 25 {
			t.Errorf("%s: %d compared after it, %d really differ, want 100 and 25", test.name, c.Compared, c.Real)
		}
	}
}

// A path may name a customer, or be a key to something. It is shown as far as it is the
// endpoint's pattern, and only with compare.show: values as it is.
func TestPathsAreShownAsPatterns(t *testing.T) {
	private := []string{"erika", "abcdefghijklmnopqrstuv", "mustermann", "4711"}
	for _, show := range []string{"hashes", "none", "values"} {
		t.Run(show, func(t *testing.T) {
			r := invoiceRelease(150)
			r.compare = testbed.Values{"show": show}
			r.ask = func(i int) request {
				return request{target: []string{"/customers/erika-example/invoices", "/reset/abcdefghijklmnopqrstuv", "/customers/4711/mustermann", "/customers/erika.example@example.com/invoices"}[min(i%30, 3)]}
			}
			r.shadow = answers(func(i int) string { return fmt.Sprintf(`{"invoice":%d}`, i) })
			tr, _ := runTrial(t, r)
			c := settled(t, tr.traefik, tr.name).Comparison
			if c.Compared != 150 || c.Agreeing != 0 {
				t.Fatalf("%d compared, %d agree, want 150 that differ", c.Compared, c.Agreeing)
			}
			page, document := reported(t, tr.traefik, "/"), reported(t, tr.traefik, "/report.json")
			var d report.Document
			if err := json.Unmarshal([]byte(document), &d); err != nil {
				t.Fatal(err)
			}
			for _, text := range private {
				shown := strings.Contains(page+document, text)
				if shown != (show == "values") {
					t.Errorf("%q is shown: %t", text, shown)
				}
			}
			if !strings.Contains(page, "GET /customers/*/invoices") || !strings.Contains(document, "GET /customers/*/invoices") {
				t.Errorf("the endpoint is not named: %+v", c.Endpoints)
			}
		})
	}
}
