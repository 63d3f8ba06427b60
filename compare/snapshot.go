package compare

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// Totals are what a verdict has counted since the start. They share nothing with it.
type Totals struct {
	// By outcome, and the skipped ones by reason.
	Outcomes, Skipped map[string]int64

	// Endpoints are all pairs, by the name that their endpoint had when they were counted.
	Endpoints map[string]PairCounts

	// Controls are the compared pairs of which there was a control, or should have been, by
	// what became of its part.
	Controls ControlCounts

	// Begun says that there have been rules, so that there may be pairs.
	Begun bool

	// Latency of the pairs that were compared.
	Live, Shadow *latency.Histogram
}

// A Snapshot is a verdict at one moment, for reports. It shares nothing with it.
type Snapshot struct {
	Totals *Totals

	// Account is what is known since the comparison began; nil without rules.
	Account *Account

	// Previous is the comparison before; nil if there was none.
	Previous *Epoch
}

// An Account is what is known of one comparison.
type Account struct {
	Since, Latest time.Time // Latest: of the last pair; zero: there is none
	Epoch         string    // as in Rules
	Show          string    // as in Rules
	Minimum       int64     // as in Rules
	MaxAge        time.Duration

	Compared int64
	Skipped  map[string]int64

	// Of the compared: pairs with a real difference; without one but with one that is
	// undecided; with noise only; and those that differ in nothing that is not ignored.
	Real, Undecided, Noise, Ignored int64

	Live, Shadow *latency.Histogram
	Difference   *latency.Differences // the shadow's latency less live's, pair by pair

	// Control is what the control did; nil: there is none.
	Control *Control

	Endpoints   []Endpoint   // the worst first, then the most frequent
	Differences []Group      // likewise
	Statuses    []StatusPair // most frequent first
	Intervals   []Interval
	Width       time.Duration // of an interval
}

// A Control is what the control of a comparison did. Its counts are of compared pairs.
type Control struct {
	Answered int64    // with whatever
	Failed   int64    // it was asked, and did not answer
	Paused   int64    // it was not asked, because it was left alone
	Unfit    []string // the endpoints of which it says nothing, and why
	Without  []string // the endpoints of which it answered nothing
}

// Agreeing are the pairs that do not really differ, and of which that is known.
func (a *Account) Agreeing() int64 { return a.Compared - a.Real - a.Undecided }

// An Endpoint is what is known of the answers to one sort of request.
type Endpoint struct {
	Name                            string // method and pattern, and of GraphQL the operation
	Compared                        int64
	Controlled                      int64 // of the compared: those that are judged with the control's answer
	Skipped                         map[string]int64
	Dropped                         map[string]int64 // requests that had no copy, by reason
	Real, Undecided, Noise, Ignored int64            // pairs, as in Account
	Live, Shadow                    *latency.Histogram
	Difference                      *latency.Differences // as in Account
	Latest                          time.Time            // of the last pair
}

// Requests are all that are known of. It calls nothing, for it is asked often.
func (e *Endpoint) Requests() int64 {
	n := e.Compared
	for _, k := range e.Skipped {
		n += k
	}
	for _, k := range e.Dropped {
		n += k
	}
	return n
}

// A StatusPair is how often live answered with one status and the shadow with
// the other; 0 and 0 are all pairs beyond those that are told apart.
type StatusPair struct {
	Live, Shadow int
	Count        int64
}

// A Group is a difference that was found in pairs of an endpoint.
type Group struct {
	Endpoint     string
	Key          string // as in Difference
	Relation     string // "" where there is none that nearly all pairs stand in
	Judgement    string // Real, Undecided, Noise or Ignored
	Count        int64  // of pairs that differ in it
	Pairs        int64  // of the endpoint in which the value is
	Controls     int64  // of ControlPairs: those in which the control's answer differs from live's in it
	ControlPairs int64  // of Pairs: those with a control
	Alike        bool   // it is undecided because the control differs in the same way
	Ignore       string // what to add to compare.ignore, if that can help
	First, Last  time.Time
	Examples     []Example
}

// An Epoch is a comparison that has ended, in short.
type Epoch struct {
	Name                             string
	Since, Until                     time.Time
	Compared, Real, Undecided, Noise int64
}

// Snapshot returns the verdict as it is now.
func (v *Verdict) Snapshot() *Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &Snapshot{Totals: v.totals(), Previous: v.previous}
	if a := v.account; a != nil {
		s.Account = a.snapshot(true)
		v.note(s.Account)
	}
	return s
}

// Totals returns what was counted, without what was found: the work and the memory do not
// grow with the differences, statuses and examples that are known.
func (v *Verdict) Totals() *Totals {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.totals()
}

// totals is Totals. mu is held.
func (v *Verdict) totals() *Totals {
	v.takeMatches()
	if v.account != nil {
		v.account.enter(v.ledger)
	}
	c := v.controls
	t := &Totals{
		Outcomes: copied(v.outcomes), Skipped: copied(v.skipped), Endpoints: map[string]PairCounts{},
		Controls: ControlCounts{Answered: c[ControlAnswered] + c[ControlStatus] + c[ControlUnlike], Failed: c[ControlFailed], Paused: c[ControlPaused]},
		Begun:    v.begun, Live: v.live.Clone(), Shadow: v.shadow.Clone(),
	}
	for name, n := range v.ledger.pairs {
		t.Endpoints[name] = *n
	}
	return t
}

// epoch is the account in short.
func (a *account) epoch(now time.Time) *Epoch {
	s := a.snapshot(false)
	return &Epoch{Name: a.rules.Epoch, Since: a.since, Until: now, Compared: s.Compared, Real: s.Real, Undecided: s.Undecided, Noise: s.Noise}
}

// snapshot returns what is known, judged. With whole it has all that is shown; without it
// it is in no order, and there are no latencies, no examples, no statuses, no relations
// and no time line, which are most of the work.
func (a *account) snapshot(whole bool) *Account {
	s := &Account{
		Since: a.since, Latest: a.latest, Epoch: a.rules.Epoch, Show: a.rules.Show, Minimum: a.rules.Minimum, MaxAge: a.rules.MaxAge,
		Skipped: map[string]int64{}, Live: &latency.Histogram{}, Shadow: &latency.Histogram{}, Difference: &latency.Differences{}, Width: a.width,
	}
	if a.rules.Control {
		s.Control = &Control{Unfit: []string{}, Without: []string{}}
	}
	names := &shownNames{account: a}
	byName := map[string]*Endpoint{}
	for _, e := range a.endpoints {
		name, pattern := names.of(e)
		shown := byName[name]
		if shown == nil {
			shown = &Endpoint{Name: name, Skipped: map[string]int64{}, Dropped: map[string]int64{}, Live: &latency.Histogram{}, Shadow: &latency.Histogram{}, Difference: &latency.Differences{}}
			byName[name] = shown
		}
		if whole {
			s.addTimes(shown, e)
		}
		s.addEndpoint(shown, e, pattern, names.known(e), a.rules, whole)
	}
	for _, e := range byName {
		s.Endpoints = append(s.Endpoints, *e)
		if s.Control != nil && e.Controlled == 0 && e.Compared > 0 {
			s.Control.Without = append(s.Control.Without, e.Name)
		}
	}
	if s.Control != nil {
		sort.Strings(s.Control.Unfit)
		sort.Strings(s.Control.Without)
	}
	if !whole {
		return s
	}
	s.addStatuses(a)
	sort.Slice(s.Endpoints, func(i, j int) bool { return beforeEndpoint(&s.Endpoints[i], &s.Endpoints[j]) })
	sort.Slice(s.Differences, func(i, j int) bool { return beforeGroup(&s.Differences[i], &s.Differences[j]) })
	return s
}

// addStatuses adds the pairs of statuses, and what is known of times.
func (a *Account) addStatuses(of *account) {
	a.Intervals = of.timeline()
	for pair, n := range of.statuses {
		if n == 0 {
			continue // all were taken back
		}
		a.Statuses = append(a.Statuses, StatusPair{Live: pair.live, Shadow: pair.shadow, Count: n})
	}
	sort.Slice(a.Statuses, func(i, j int) bool { return beforeStatus(a.Statuses[i], a.Statuses[j]) })
}

// addTimes adds how long the answers of an endpoint took.
func (a *Account) addTimes(shown *Endpoint, e *endpoint) {
	shown.Live.Merge(e.live)
	shown.Shadow.Merge(e.shadow)
	shown.Difference.Merge(e.difference)
	if e.latest.After(shown.Latest) {
		shown.Latest = e.latest
	}
	a.Live.Merge(e.live)
	a.Shadow.Merge(e.shadow)
	a.Difference.Merge(e.difference)
}

// addEndpoint adds what is known of an endpoint, judged, to the one that is shown and to
// the sums. path is what may be shown of its requests' paths; known says that this is all of
// its pattern.
func (a *Account) addEndpoint(shown *Endpoint, e *endpoint, path string, known bool, rules *Rules, whole bool) {
	shown.Compared += e.compared
	a.Compared += e.compared
	if len(e.skipped)+len(e.dropped) > 0 {
		addCounts(shown.Skipped, e.skipped)
		addCounts(a.Skipped, e.skipped)
		addCounts(shown.Dropped, e.dropped)
	}
	if a.Control != nil {
		a.addControl(shown, e)
	}
	judged := map[string]string{more: Undecided, others: Undecided}
	for id, g := range e.groups {
		evidence := g.evidence(e)
		judgement, relation, alike := g.judge(e, evidence)
		if g.key == others {
			judgement = Undecided
		}
		if rules.covers(e.method, e.path(), g.subject()) {
			judgement = Ignored
		}
		judged[id] = judgement
		if relation == "" && whole {
			relation = g.relation()
		}
		d := Group{
			Endpoint: shown.Name, Key: g.key, Relation: relation, Judgement: judgement, Count: g.count, Pairs: evidence.Present,
			Controls: evidence.ControlOnly + evidence.Both, ControlPairs: evidence.Triples, Alike: alike && judgement == Undecided,
			First: g.first, Last: g.last,
		}
		if whole {
			d.Ignore = g.ignoreLine()
			d.Examples = g.shownExamples(judgement, path, known)
		}
		a.Differences = append(a.Differences, d)
	}
	for _, k := range e.kinds {
		k.judged = worst(k.groups, judged)
		switch k.judged {
		case Real:
			shown.Real += k.count
			a.Real += k.count
		case Undecided:
			shown.Undecided += k.count
			a.Undecided += k.count
		case Noise:
			shown.Noise += k.count
			a.Noise += k.count
		default:
			shown.Ignored += k.count
			a.Ignored += k.count
		}
	}
}

// addControl adds what the control did at an endpoint.
func (a *Account) addControl(shown *Endpoint, e *endpoint) {
	c := a.Control
	strayed := e.control[ControlStatus]
	all := strayed + e.control[ControlAnswered]
	c.Answered += all + e.control[ControlUnlike]
	c.Failed += e.control[ControlFailed]
	c.Paused += e.control[ControlPaused]
	if e.unfit() {
		c.Unfit = append(c.Unfit, fmt.Sprintf("%s: %d of its %d answers have another status than live's", shown.Name, strayed, all))
		return
	}
	shown.Controlled += e.control[ControlAnswered]
}

// shownExamples are the examples of a group as they may be shown. What a rule covers is
// never shown. Names of parameters are a client's, who may write anything: as with words in
// paths, it is by how often somebody asks there that they are a service's.
func (g *group) shownExamples(judgement, path string, known bool) []Example {
	shown := []Example{}
	if judgement == Ignored {
		return shown
	}
	for _, x := range g.examples {
		if x.Path == "" {
			x.Path = path
			if !known {
				x.Query = []string{}
			}
		}
		shown = append(shown, x)
	}
	return shown
}

// severity orders judgements: what a pair is, is the worst of its differences.
var severity = map[string]int{Ignored: 1, Noise: 2, Undecided: 3, Real: 4}

func worst(groups []string, judged map[string]string) string {
	w := Ignored
	for _, id := range groups {
		j := judged[id]
		if j == "" {
			j = Undecided // it went together with others
		}
		if severity[j] > severity[w] {
			w = j
		}
	}
	return w
}

// ignoreLine returns the rule that covers a difference, or "" where there is none.
func (g *group) ignoreLine() string {
	subject := g.subject()
	if g.key == "status" && g.class == relationNoAnswer || len(g.key) > maxKey || g.key == others {
		return ""
	}
	if strings.HasPrefix(subject, "$") {
		p, err := ParsePath(subject)
		if err != nil || keyOf(p.steps) != subject {
			return "" // cut, or of a name that looks like several steps
		}
		return subject
	}
	if _, err := ParseRule(subject); err != nil {
		return ""
	}
	return subject
}

func beforeEndpoint(a, b *Endpoint) bool {
	if a.Real != b.Real {
		return a.Real > b.Real
	}
	if a.Undecided != b.Undecided {
		return a.Undecided > b.Undecided
	}
	if a.Compared != b.Compared {
		return a.Compared > b.Compared
	}
	return a.Name < b.Name
}

func beforeStatus(a, b StatusPair) bool {
	if a.Count != b.Count {
		return a.Count > b.Count
	}
	if a.Live != b.Live {
		return a.Live < b.Live
	}
	return a.Shadow < b.Shadow
}

func beforeGroup(a, b *Group) bool {
	if a.Judgement != b.Judgement {
		return severity[a.Judgement] > severity[b.Judgement]
	}
	if a.Count != b.Count {
		return a.Count > b.Count
	}
	if a.Endpoint != b.Endpoint {
		return a.Endpoint < b.Endpoint
	}
	if a.Key != b.Key {
		return a.Key < b.Key
	}
	return a.Relation < b.Relation
}

func copied(counts map[string]int64) map[string]int64 {
	c := map[string]int64{}
	for name, n := range counts {
		c[name] = n
	}
	return c
}
