package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// What may be said of a difference where chance has a say in it.
const (
	suspect  = compare.Real + " or " + compare.Undecided  // of a mistake
	harmless = compare.Noise + " or " + compare.Undecided // of what is none
)

// A change is something in which answers of a version are not as the book has them.
type change struct {
	key      string // of the difference that it makes; "": it makes none
	relation string // of that; "": any
	apart    bool   // that is told only with a control: it is judged apart from others of its key

	// What is to be said of the difference, without a control and with one. Where several
	// are possible both are in it.
	alone, controlled string

	// skipped is the reason for which pairs with it are not compared.
	skipped string

	// do makes the change, and returns what is in the answer now in place of what was right;
	// "": nothing.
	do edit
}

type edit func(s *instance, a *reply) string

// A release is two versions of the billing service, what is asked of them, and what is to
// be said of the newer one. What is not said of it here follows from what the versions
// write down of each of their answers.
type release struct {
	name            string
	mirror, compare testbed.Values // options
	ask             ask            // nil: invoices
	n, then         int            // so many requests at a time, 0: 120; and then so many one by one

	noise []change         // of both versions: what each instance makes anew
	old   []change         // of the one that is live, which is right
	other []change         // of the new one, which is right too
	wrong []change         // of the new one
	in    int              // so many of its answers are wrong; 0: all
	at    func(i int) bool // which may be; nil: all

	witness []change // of the control alone
	swapped bool     // the control is of the new version by mistake

	state            string           // where it does not follow from the differences
	reasons          []string         // what each begins with
	skipped, dropped map[string]int64 // besides those that follow
}

// requests are how many the release is asked.
func (r *release) requests() int { return r.n + r.then }

// instances of the service.
const (
	live    = "live"
	shadow  = "shadow"
	control = "control"
)

// An instance of the billing service is one that runs.
type instance struct {
	name string
	is   *release
	new  bool // its version
	book book

	mu     sync.Mutex
	random *rand.Rand
	ids    map[int]string

	// said is what it has written down of its answer to each request: what is in it
	// in place of what is right.
	said map[int]map[*change]string
}

// chance is what each instance has of its own.
func (s *instance) chance(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func (s *instance) uuid() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, b := s.random.Uint64(), s.random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff)
}

// id is the identifier of a draft, made when it is first asked for.
func (s *instance) id(draft int) string {
	made := s.uuid()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids[draft] == "" {
		s.ids[draft] = made
	}
	return s.ids[draft]
}

// mistaken are the requests that the new version answers wrongly.
func (r *release) mistaken(b book) map[int]bool {
	var all []int
	for i := range r.requests() {
		if r.at == nil || r.at(i) {
			all = append(all, i)
		}
	}
	if r.in > 0 {
		b.entry("mistakes", 0).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:r.in]
	}
	chosen := map[int]bool{}
	for _, i := range all {
		chosen[i] = true
	}
	return chosen
}

// answer is what the instance answers the i-th request, and what it knows of it.
func (s *instance) answer(i int, wrong bool) (*reply, map[*change]string) {
	a := s.book.answer(s.is.ask(i), i)
	said := map[*change]string{}
	lists := [][]change{s.is.noise, s.is.old}
	if s.name == control {
		lists = append(lists, s.is.witness)
	}
	if s.new {
		lists[1] = s.is.other
		if wrong {
			lists = append(lists, s.is.wrong)
		}
	}
	for _, changes := range lists {
		for k := range changes {
			if text := changes[k].do(s, a); text != "" {
				said[&changes[k]] = text
			}
		}
	}
	return a, said
}

// A trial is a release while it runs, with a control or without.
type trial struct {
	*release
	name       string
	controlled bool
	book       book
	mistaken   map[int]bool
	instances  map[string]*instance
	traefik    *testbed.Traefik
	stand      *stand
}

// A stand is the machines on which the instances run.
type stand struct {
	machines map[string]*testbed.Upstream
	mu       sync.Mutex
	trials   map[string]*trial
}

// Headers of a request that say of which trial it is, and which of its requests.
const (
	trialHeader  = "X-Trial"
	numberHeader = "X-Number"
)

func newStand(t *testing.T) *stand {
	s := &stand{machines: map[string]*testbed.Upstream{}, trials: map[string]*trial{}}
	for _, name := range []string{live, shadow, control} {
		s.machines[name] = s.run(t, name)
	}
	return s
}

// run runs another machine for the instances of that name.
func (s *stand) run(t *testing.T, name string) *testbed.Upstream {
	t.Helper()
	handler := func(rw http.ResponseWriter, req *http.Request) {
		s.mu.Lock()
		tr := s.trials[req.Header.Get(trialHeader)]
		s.mu.Unlock()
		i, err := strconv.Atoi(req.Header.Get(numberHeader))
		if tr == nil || err != nil {
			http.Error(rw, "of no trial", http.StatusBadRequest)
			return
		}
		tr.serve(name, i, rw, req)
	}
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: name, Handler: http.HandlerFunc(handler), CountOnly: true})
}

// trial returns a release that is to run, its mistakes and its noise from the seed.
func (s *stand) trial(r *release, seed uint64, controlled bool) *trial {
	if r.ask == nil {
		r.ask = invoices
	}
	if r.n == 0 {
		r.n = 120
	}
	sum := fnv.New64a()
	fmt.Fprint(sum, seed, r.name)
	tr := &trial{release: r, name: r.name, controlled: controlled, book: book(sum.Sum64()), instances: map[string]*instance{}, stand: s}
	if controlled {
		tr.name += "-controlled"
	}
	r.complete()
	tr.mistaken = r.mistaken(tr.book)
	for k, name := range []string{live, shadow, control} {
		tr.instances[name] = &instance{
			name: name, is: r, new: name == shadow || name == control && r.swapped, book: tr.book,
			random: rand.New(rand.NewPCG(uint64(tr.book), uint64(k))), ids: map[int]string{}, said: map[int]map[*change]string{},
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trials[tr.name] = tr
	return tr
}

// complete fills in what is said of mistakes and of noise where there is a control.
func (r *release) complete() {
	for judgement, changes := range map[string][]change{compare.Real: r.wrong, compare.Noise: r.noise} {
		for k := range changes {
			if changes[k].controlled == "" {
				changes[k].controlled = judgement
			}
		}
	}
}

// serve answers the i-th request on a machine.
func (tr *trial) serve(machine string, i int, rw http.ResponseWriter, req *http.Request) {
	s := tr.instances[machine]
	a, said := s.answer(i, tr.mistaken[i])
	s.mu.Lock()
	s.said[i] = said
	s.mu.Unlock()
	rw.Header()["X-Instance"] = []string{machine}
	if a.does != nil {
		a.does(rw, req)
		return
	}
	maps.Copy(rw.Header(), a.header)
	text := a.write(a.body)
	if a.coded != nil {
		text = a.coded(text)
	}
	rw.WriteHeader(a.status)
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		rw.Write(text)
	}
}

// configure adds the mirror and the router.
func (tr *trial) configure(d testbed.Dynamic) {
	d.Service(tr.name, tr.stand.machines[live].URL())
	tr.reconfigure(d, nil, nil).Router(tr.name, testbed.RuleOf(tr.name), tr.name, tr.name)
}

// reconfigure sets the mirror, with options besides the release's.
func (tr *trial) reconfigure(d testbed.Dynamic, mirror, comparing testbed.Values) testbed.Dynamic {
	rules := testbed.Values{"body": "json"}
	if tr.controlled {
		rules["control"] = tr.stand.machines[control].URL()
		rules["controlMethods"] = []string{"GET", "HEAD", "POST", "PUT", "DELETE"}
	}
	maps.Copy(rules, tr.compare)
	maps.Copy(rules, comparing)
	options := testbed.Values{"url": tr.stand.machines[shadow].URL(), "maxInFlight": 1000, "timeout": "30s", "compare": rules}
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
	req.Header.Set(trialHeader, tr.name)
	req.Header.Set(numberHeader, strconv.Itoa(i))
	req.Host = testbed.HostOf(tr.name)
	resp, err := tr.traefik.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if r.leaves {
		_, err = io.ReadFull(resp.Body, make([]byte, 1))
		return err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Header.Get("X-Instance") != live {
		return fmt.Errorf("%s %s: answered %d by %q (%v), want the answer of live", r.method, r.target, resp.StatusCode, resp.Header.Get("X-Instance"), err)
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

// A finding is a difference as the report lists it.
type finding struct{ endpoint, key, relation string }

// A truth is what the instances have written down, put together.
type truth struct {
	pairs   int64
	wrong   int64 // pairs
	skipped map[string]int64
	claims  map[finding]*claim
	each    [][]*claim // of every pair that differs in anything
}

// A claim is a difference that there is, and what has to be said of it.
type claim struct {
	finding
	judgement string // one or several
	count     int64
	controls  int64 // triples in which the control differs from live

	got         map[string]int64 // by judgement
	gotControls int64
}

// truth puts together what the instances know.
func (tr *trial) truth() *truth {
	all := &truth{skipped: maps.Clone(tr.skipped), claims: map[finding]*claim{}}
	if all.skipped == nil {
		all.skipped = map[string]int64{}
	}
	saysLive, saysShadow := tr.instances[live].said, tr.instances[shadow].said
	for i := range tr.requests() {
		r := tr.ask(i)
		differ := tr.differ(saysLive[i], saysShadow[i])
		skipped := ""
		for _, c := range differ {
			if c.skipped != "" {
				skipped = r.endpoint + " " + c.skipped
			}
		}
		if skipped != "" {
			all.skipped[skipped]++
			continue
		}
		all.pairs++
		var claims []*claim
		wrong := false
		for _, c := range differ {
			f := tr.finding(r.endpoint, c)
			if all.claims[f] == nil {
				all.claims[f] = &claim{finding: f, judgement: tr.judgementOf(c), got: map[string]int64{}}
			}
			if !slices.Contains(claims, all.claims[f]) {
				all.claims[f].count++
				claims = append(claims, all.claims[f])
			}
			for k := range tr.wrong {
				if c == &tr.wrong[k] {
					wrong = true
					all.claims[f].judgement = tr.judgementOf(c) // whatever else is there
				}
			}
		}
		if wrong {
			all.wrong++
		}
		if len(claims) > 0 {
			all.each = append(all.each, claims)
		}
	}
	for _, n := range tr.skipped {
		all.pairs -= n
	}
	for _, n := range tr.dropped {
		all.pairs -= n
	}
	return all
}

// finding is the difference that a change makes at an endpoint.
func (tr *trial) finding(endpoint string, c *change) finding {
	if c.apart && !tr.controlled {
		return finding{endpoint, c.key, ""}
	}
	return finding{endpoint, c.key, c.relation}
}

func (tr *trial) judgementOf(c *change) string {
	if tr.controlled {
		return c.controlled
	}
	return c.alone
}

// witnessed counts, for each claim of noise, the triples in which the control differs from
// live.
func (tr *trial) witnessed(all *truth) {
	for i := range tr.requests() {
		counted := map[*claim]bool{}
		for _, c := range tr.differ(tr.instances[live].said[i], tr.instances[control].said[i]) {
			of := all.claims[tr.finding(tr.ask(i).endpoint, c)]
			if of != nil && !counted[of] {
				of.controls++
				counted[of] = true
			}
		}
	}
}

// differ returns the changes in which two answers are not the same.
func (tr *trial) differ(a, b map[*change]string) []*change {
	var list []*change
	for _, changes := range [][]change{tr.noise, tr.old, tr.other, tr.wrong} {
		for k := range changes {
			c := &changes[k]
			if c.key == "" && c.skipped == "" || a[c] == b[c] {
				continue
			}
			// A mistake takes the place of noise.
			list = slices.DeleteFunc(list, func(other *change) bool { return other.key == c.key })
			list = append(list, c)
		}
	}
	return list
}

// of returns the claim that a difference in the report belongs to; nil if there is none.
func (all *truth) of(d *report.Difference) *claim {
	if c := all.claims[finding{d.Endpoint, d.Key, d.Relation}]; c != nil {
		return c
	}
	return all.claims[finding{d.Endpoint, d.Key, ""}]
}

// may reports whether a judgement is one of those that are possible.
func may(be, judgement string) bool { return slices.Contains(strings.Split(be, " or "), judgement) }

// check compares what the report says of the release with what its instances know.
func (tr *trial) check(t *testing.T, m *report.Middleware, page node, metrics map[string]string) {
	t.Helper()
	c := m.Comparison
	for _, s := range tr.instances {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	all := tr.truth()

	// The two that must never be.
	if all.wrong > 0 && (c.State == compare.StateAgrees || c.State == compare.StateNone) {
		t.Errorf("WRONG AND GREEN: %d answers are wrong, and the release %s", all.wrong, c.State)
	}
	if len(tr.wrong) == 0 && tr.controlled && c.State == compare.StateDiffers {
		t.Errorf("RIGHT AND RED: no answer is wrong, and the release %s", c.State)
	}

	// Differences.
	for k := range c.Differences {
		d := &c.Differences[k]
		if found := all.of(d); found == nil {
			t.Errorf("%s of %s (%s) is %s in %d of %d pairs, want no difference", d.Key, d.Endpoint, d.Relation, d.Judgement, d.Count, d.Pairs)
		} else {
			found.got[d.Judgement] += d.Count
			found.gotControls += d.ControlCount
		}
	}
	if tr.controlled {
		tr.checkControl(t, c, all)
	}
	for _, want := range all.claims {
		if tr.controlled && want.judgement == compare.Real && want.count < fewest {
			want.judgement += " or " + compare.Undecided
		}
		count := int64(0)
		for judgement, n := range want.got {
			count += n
			if !may(want.judgement, judgement) {
				t.Errorf("%s of %s (%s) is %s in %d pairs, want %s in %d", want.key, want.endpoint, want.relation, judgement, n, want.judgement, want.count)
			}
		}
		if count != want.count {
			t.Errorf("%s of %s (%s) in %d pairs %v, want %d", want.key, want.endpoint, want.relation, count, want.got, want.count)
		}
	}

	tr.checkCounts(t, c, all)
	tr.checkState(t, c)
	checkVerdict(t, metrics, m)
	badge := map[string]string{
		compare.StateAgrees: "Agrees", compare.StateDiffers: "Differs", compare.StateUndecided: "Undecided", compare.StateEarly: "Too early",
	}[c.State]
	if got := page.badge(); got != badge {
		t.Errorf("the page says %q, want %q", got, badge)
	}
	if got := page.all("p", "verdict")[0].text(); got != c.Headline {
		t.Errorf("the page says %q, want %q", got, c.Headline)
	}
	if got, want := page.title(), badge+": "+tr.name+"@file – Mirror report"; got != want {
		t.Errorf("the page's title is %q, want %q", got, want)
	}
}

// checkControl compares what the report says of the control.
func (tr *trial) checkControl(t *testing.T, c *report.Comparison, all *truth) {
	t.Helper()
	if c.Control == nil {
		t.Fatal("the report says nothing of the control")
	}
	if tr.witness != nil {
		return
	}
	if c.Control.Answered != all.pairs || c.Control.Failed != 0 {
		t.Errorf("the control answered %d times and failed %d times, want %d and none", c.Control.Answered, c.Control.Failed, all.pairs)
	}
	if len(tr.wrong) > 0 {
		return
	}
	tr.witnessed(all)
	for _, want := range all.claims {
		if want.gotControls != want.controls {
			t.Errorf("the control differs from live in %s of %s in %d triples, want %d", want.key, want.endpoint, want.gotControls, want.controls)
		}
	}
}

// fewest is how many answers it takes at least that are wrong in the same thing for a
// control to tell for sure.
const fewest = 10

var severity = map[string]int{compare.Noise: 1, compare.Undecided: 2, compare.Real: 3}

// checkCounts compares the numbers of pairs, what is said of their differences given.
func (tr *trial) checkCounts(t *testing.T, c *report.Comparison, all *truth) {
	t.Helper()
	type counts struct{ compared, agreeing, real, undecided, noise int64 }
	got := counts{c.Compared, c.Agreeing, c.Real, c.Undecided, c.Noise}
	want := counts{compared: all.pairs}
	for _, claims := range all.each {
		worst := ""
		for _, of := range claims {
			if len(of.got) > 1 {
				t.Errorf("%s of %s (%s) is judged in parts %v, and a pair does not say which it has", of.key, of.endpoint, of.relation, of.got)
			}
			for judgement := range of.got {
				if severity[judgement] > severity[worst] {
					worst = judgement
				}
			}
		}
		switch worst {
		case compare.Real:
			want.real++
		case compare.Undecided:
			want.undecided++
		case compare.Noise:
			want.noise++
		}
	}
	want.agreeing = want.compared - want.real - want.undecided
	if got != want {
		t.Errorf("pairs %+v, want %+v", got, want)
	}
	skipped, dropped := map[string]int64{}, map[string]int64{}
	for _, e := range c.Endpoints {
		for reason, n := range e.Skipped {
			skipped[e.Endpoint+" "+reason] = n
		}
		for reason, n := range e.Dropped {
			dropped[e.Endpoint+" "+reason] = n
		}
	}
	same(t, "skipped", skipped, all.skipped)
	same(t, "dropped", dropped, tr.dropped)
}

// checkState compares the state, and what is said in words, with what was found.
func (tr *trial) checkState(t *testing.T, c *report.Comparison) {
	t.Helper()
	want, headline := compare.StateAgrees, fmt.Sprintf("100%% of %s answers agree", report.Count(c.Compared))
	switch {
	case tr.state == compare.StateEarly:
		want, headline = tr.state, fmt.Sprintf("%s answers are too few to say", report.Count(c.Compared))
	case c.Real > 0:
		want, headline = compare.StateDiffers, fmt.Sprintf("%s of %s answers really differ", report.Count(c.Real), report.Count(c.Compared))
	case c.Undecided > 0:
		want, headline = compare.StateUndecided, fmt.Sprintf("%s of %s answers differ", report.Count(c.Undecided), report.Count(c.Compared))
	case tr.state != "":
		want = tr.state
	}
	if c.State != want || !strings.HasPrefix(c.Headline, headline) {
		t.Errorf("%s, %q, want %s, %q", c.State, c.Headline, want, headline)
	}
	for i, want := range tr.reasons {
		if i >= len(c.Reasons) || !strings.HasPrefix(c.Reasons[i], want) {
			t.Errorf("reasons %q, want %q", c.Reasons, tr.reasons)
		}
	}
}

// seedVariable is where the environment has a run's seed.
const seedVariable = "VERDICT_SEED"

// runSeed is what a run takes its chances from: another one each time, or what the
// environment has, to repeat a run.
func runSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("again with %s=%d", seedVariable, seed)
	return seed
}

// What the report says of a new version is what the version itself knows: which of its
// answers are wrong, and at which endpoints. Where that cannot be known the report says so.
func TestVerdictsOfReleasesAreRight(t *testing.T) {
	seed := runSeed(t)
	s := newStand(t)
	config := testbed.Dynamic{}.Report()
	var trials []*trial
	for _, r := range releases() {
		for _, controlled := range []bool{false, true} {
			tr := s.trial(r, seed, controlled)
			tr.configure(config)
			trials = append(trials, tr)
		}
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config})
	for _, tr := range trials {
		tr.traefik = traefik
		tr.load(t)
	}
	said := map[string]*report.Middleware{}
	testbed.Eventually(t, patience, func() error {
		var d report.Document
		if err := json.Unmarshal([]byte(reported(t, traefik, "/report.json")), &d); err != nil {
			return err
		}
		var busy []error
		for _, m := range d.Middlewares {
			said[strings.TrimSuffix(m.Name, "@file")] = m
			if m.InFlight > 0 {
				busy = append(busy, fmt.Errorf("%s: %d under way", m.Name, m.InFlight))
			}
		}
		return errors.Join(busy...)
	})
	metrics := readMetrics(t, reported(t, traefik, "/metrics"))
	for _, tr := range trials {
		t.Run(tr.name, func(t *testing.T) { tr.check(t, said[tr.name], mirrorPage(t, traefik, tr.name), metrics) })
	}
}

// runTrial runs one release alone.
func runTrial(t *testing.T, r *release) (*trial, testbed.Dynamic) {
	t.Helper()
	tr := newStand(t).trial(r, runSeed(t), false)
	config := testbed.Dynamic{}.Report()
	tr.configure(config)
	tr.traefik = testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config})
	tr.load(t)
	return tr, config
}
