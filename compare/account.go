package compare

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// How much is kept of one comparison, whatever the traffic.
const (
	maxEndpoints = 100    // and the others
	maxGroups    = 50     // differences of an endpoint, and the others
	maxKinds     = 100    // combinations of them in one pair, of an endpoint
	maxRelations = 8      // of one difference
	maxRequests  = 50     // of one difference, whose live value is remembered
	maxSeen      = 10_000 // tokens that were in answers, in each of two generations
	maxNew       = 1000   // of them of one answer
	maxToken     = 64     // bytes of one; of a longer one a hash is kept
	maxStatuses  = 100    // pairs of statuses
	maxNames     = 1000   // paths whose endpoint is remembered: to find it anew costs more
)

// clock tells the time. A variable for the tests.
var clock = time.Now

// others is what counts where there are too many to tell apart.
const others = "(others)"

// notFound is the endpoint of what live has not found, where no other endpoint is known
// for it: what scanners ask for must not take the place of what there is.
const notFound = "(not found)"

// more stands for what was not looked for in a pair, because it had enough
// differences already. Nobody knows what it is.
const more = "(more)"

// An account is what is known since the comparison began. The verdict's lock guards it.
type account struct {
	rules     *Rules
	since     time.Time
	latest    time.Time // of the last pair that was compared
	answered  time.Time // when the latest request came that the shadow has answered
	endpoints map[string]*endpoint
	namer     *namer
	names     map[string]*endpoint // by method and path
	seen      *seen
	statuses  map[statuses]int64
	intervals []*interval
	until     time.Time     // the end of the last interval
	width     time.Duration // of an interval
}

type statuses struct{ live, shadow int }

// An endpoint is what is known of the answers to requests of one sort: the first
// dimension of everything.
type endpoint struct {
	method, pattern, operation string // pattern as namer keeps it

	compared, matched int64
	skipped           map[string]int64
	dropped           map[string]int64 // requests that had no copy, for a reason of their own
	live, shadow      *latency.Histogram
	difference        *latency.Differences // the shadow's latency less live's
	latest            time.Time            // of the last pair that was compared
	groups            map[string]*group    // by key and sort
	unshown           map[string]*group    // those that only the control differs in, so far
	control           map[string]int64     // pairs, by what became of the control's part
	kinds             map[string]*kind
	maps              map[string]map[string]bool // by the place of each, the names that are not *
	lookAgain         int64                      // see makeRoom

	// Pairs that are not in the ledger yet: those of fresh, and of matched those that
	// entered does not have.
	fresh   PairCounts
	entered int64

	// Of matched pairs that wait to be added to the histograms.
	liveTook, shadowTook []time.Duration
}

// A kind is the pairs that differ in the same things. into is no *kind, for that would be one
// type too many that refers back to itself: see yaegivet.
type kind struct {
	groups []string
	count  int64
	into   interface{} // the *kind that has taken its place; nil: none
	judged string      // by the latest snapshot
}

func newAccount(rules *Rules) *account {
	return &account{
		rules:     rules,
		since:     clock(),
		endpoints: map[string]*endpoint{},
		namer:     newNamer(),
		names:     map[string]*endpoint{},
		seen:      newSeen(),
		statuses:  map[statuses]int64{},
		width:     firstInterval,
	}
}

// follow has the account go on by other rules. What was kept to be shown by those before,
// and may not be by these, goes.
func (a *account) follow(rules *Rules) {
	named := rules.named()
	hides := rules.hidesMore(a.rules)
	for _, e := range a.endpoints {
		e.keepNames(named)
		for _, g := range e.groups {
			if rules.HashKey != a.rules.HashKey {
				g.forgetHashes()
			}
			if rules.Show != a.rules.Show || rules.HashKey != a.rules.HashKey || g.key == "body" && len(a.rules.Ignore) == 0 && len(rules.Ignore) > 0 {
				g.examples = nil
				g.every = 1
			}
			if hides {
				g.forgetCurl()
			}
		}
	}
	a.rules = rules
}

func newEndpoint(method, pattern, operation string) *endpoint {
	return &endpoint{
		method: method, pattern: pattern, operation: operation,
		skipped: map[string]int64{}, dropped: map[string]int64{},
		live: &latency.Histogram{}, shadow: &latency.Histogram{}, difference: &latency.Differences{},
		groups: map[string]*group{}, unshown: map[string]*group{}, control: map[string]int64{}, kinds: map[string]*kind{}, maps: map[string]map[string]bool{},
	}
}

// endpointOf returns the endpoint of a request. The paths that are remembered are dropped
// all at once when they are too many, or when endpoints are merged.
func (a *account) endpointOf(req *Request) *endpoint {
	path := req.Method + " " + req.Path + " " + req.Operation
	if e := a.names[path]; e != nil {
		return e
	}
	method := cut(req.Method, 20)
	pattern, crowded := a.namer.pattern(method, req.Path)
	for _, place := range crowded {
		if a.thinOut(place, method) {
			pattern, _ = a.namer.pattern(method, req.Path)
		}
	}
	e := a.endpointNamed(method, pattern, cut(req.Operation, 100))
	if len(a.names) >= maxNames {
		a.names = map[string]*endpoint{}
	}
	if len(path) <= 4*maxKey {
		a.names[path] = e
	}
	return e
}

// endpointFor is endpointOf for a request that live has answered with the status. Only what
// live knows makes an endpoint.
func (a *account) endpointFor(req *Request, status int) *endpoint {
	if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		return a.endpointOf(req)
	}
	path := req.Method + " " + req.Path + " " + req.Operation
	if e := a.names[path]; e != nil {
		return e
	}
	method := cut(req.Method, 20)
	if pattern, known := a.namer.known(method, req.Path); known {
		if e := a.endpoints[nameOf(method, pattern, cut(req.Operation, 100))]; e != nil {
			return e
		}
	}
	if a.endpoints[notFound] == nil {
		a.endpoints[notFound] = newEndpoint("", notFound, "")
	}
	return a.endpoints[notFound]
}

func (a *account) endpointNamed(method, pattern, operation string) *endpoint {
	name := nameOf(method, pattern, operation)
	e := a.endpoints[name]
	if e == nil && len(a.endpoints) >= maxEndpoints {
		method = ""
		pattern = others
		operation = ""
		name = others
		e = a.endpoints[others]
	}
	if e == nil {
		e = newEndpoint(strings.Clone(method), strings.Clone(pattern), strings.Clone(operation))
		a.endpoints[name] = e
	}
	return e
}

// nameOf is the name by which an endpoint is kept.
func nameOf(method, pattern, operation string) string {
	if operation != "" {
		return method + " " + pattern + " " + operation
	}
	return method + " " + pattern
}

// path is the endpoint's pattern as rules have it.
func (e *endpoint) path() string {
	if e.operation != "" {
		return e.pattern + " " + e.operation
	}
	return e.pattern
}

// wordPairs returns, for the beginning of each endpoint's pattern up to each of its parts,
// in how many pairs it was. A request without a pair counts too.
func (a *account) wordPairs() map[string]int64 {
	pairs := map[string]int64{}
	for _, e := range a.endpoints {
		n := e.requests()
		at := e.method + " "
		for _, part := range strings.Split(strings.TrimPrefix(e.pattern, "/"), "/") {
			at += "/" + part
			pairs[at] += n
		}
	}
	return pairs
}

func total(counts map[string]int64) int64 {
	var sum int64
	for _, n := range counts {
		sum += n
	}
	return sum
}

// requests are all that are known of. It calls nothing, for it is asked often.
func (e *endpoint) requests() int64 {
	n := e.compared
	for _, k := range e.skipped {
		n += k
	}
	for _, k := range e.dropped {
		n += k
	}
	return n
}

// shownNames finds the names of endpoints as they may be shown.
type shownNames struct {
	account *account
	pairs   map[string]int64 // those of wordPairs; nil: nobody has needed them
}

// of returns the name of an endpoint, and its pattern, as they may be shown. Where it has
// had many requests there is nothing to find out: each of its words was in as many.
func (s *shownNames) of(e *endpoint) (name, pattern string) {
	if e.pattern == others || e.pattern == notFound {
		return e.pattern, "/" + anything
	}
	pattern = e.pattern
	if e.requests() < clearPairs {
		if s.pairs == nil {
			s.pairs = s.account.wordPairs()
		}
		pattern = shownPattern(e.method, e.pattern, s.pairs)
	}
	return nameOf(e.method, pattern, e.operation), pattern
}

// known reports whether so many requests had the whole of an endpoint's pattern that all of
// it may be shown.
func (s *shownNames) known(e *endpoint) bool {
	if e.pattern == others || e.pattern == notFound {
		return false
	}
	if e.requests() >= clearPairs {
		return true
	}
	if s.pairs == nil {
		s.pairs = s.account.wordPairs()
	}
	return s.pairs[nameOf(e.method, e.pattern, "")] >= clearPairs
}

// thinOut looks at a place of paths that has many words. If too many of them are seldom,
// they are identifiers, and what is kept of them is merged.
func (a *account) thinOut(place, method string) bool {
	s := a.namer.places[place]
	pairs := a.wordPairs()
	var seldom []string
	for word := range s.words {
		if pairs[place+"/"+word] < clearPairs {
			seldom = append(seldom, word)
		}
	}
	if len(seldom) <= maxSiblings {
		return false
	}
	s.many = true
	for _, word := range seldom {
		delete(s.words, word)
		a.merge(method, place+"/"+word, place+"/"+anything)
	}
	a.names = map[string]*endpoint{}
	return true
}

// merge has all endpoints whose names begin with from begin with into.
func (a *account) merge(method, from, into string) {
	for name, e := range a.endpoints {
		if name != from && !strings.HasPrefix(name, from+"/") && !strings.HasPrefix(name, from+" ") {
			continue
		}
		delete(a.endpoints, name)
		below := strings.TrimPrefix(method+" "+e.pattern, from)
		merged := a.endpointNamed(method, into[len(method)+1:]+below, e.operation)
		merged.add(e)
	}
}

// add adds what another endpoint has counted.
func (e *endpoint) add(o *endpoint) {
	e.compared += o.compared
	e.matched += o.matched
	e.entered += o.entered
	left := &e.fresh
	left.add(&o.fresh)
	addCounts(e.skipped, o.skipped)
	addCounts(e.dropped, o.dropped)
	e.live.Merge(o.live)
	e.shadow.Merge(o.shadow)
	e.difference.Merge(o.difference)
	if o.latest.After(e.latest) {
		e.latest = o.latest
	}
	e.addMaps(o)
	for id, g := range o.groups {
		if e.groups[id] == nil && e.unshown[id] == nil && len(e.groups) < maxGroups {
			e.groups[id] = g
		} else {
			e.group(id, g.key, g.class).merge(g)
		}
	}
	for id, g := range o.unshown {
		if known := e.groupOfControl(id, g.key, g.class); known != nil {
			known.testimony().add(g.witness)
		}
	}
	addCounts(e.control, o.control)
	for _, k := range o.kinds {
		k.into = e.addKind(k.groups, k.count)
	}
}

func addCounts(to, from map[string]int64) {
	for name, n := range from {
		to[name] += n
	}
}

// add counts a pair that was judged.
//
// It returns the outcome: a pair that differs in nothing but what rules cover matches.
func (a *account) add(req *Request, live, shadow *Answer, f *Finding, t *Triple) string {
	e := a.endpointFor(req, statusOf(live, f))
	if f.Outcome == Skipped {
		e.skipped[f.Reason]++
		e.fresh.Skipped++
		return Skipped
	}
	now := clock()
	a.latest = now
	if shadow.Status != 0 && req.At.After(a.answered) {
		a.answered = req.At
	}
	e.compared++
	e.latest = now
	e.live.Add(live.Took)
	e.shadow.Add(shadow.Took)
	e.difference.Add(shadow.Took - live.Took)
	a.countStatuses(live.Status, shadow.Status)
	in := a.latestInterval(now)
	in.compared++
	if f.Outcome == Match {
		e.matched++
		e.notePresence(live.Header, live.Body, 1)
		if t != nil {
			a.addControl(e, live, shadow, nil, t)
		}
		return Match
	}
	in.note(a.addDifferences(e, req, live, shadow, f, t, now), 1)
	if a.rules.coverAll(e, f) {
		e.fresh.Match++
		return Match
	}
	e.fresh.Differs++
	return Mismatch
}

// statusOf is live's status; 0 where nobody knows it. Where both answers were not looked at,
// live may be answering yet.
func statusOf(live *Answer, f *Finding) int {
	looked := f.Outcome != Skipped || f.Reason == TooLarge || f.Reason == Encoding || f.Reason == TooComplex
	if live == nil || !looked {
		return 0
	}
	return live.Status
}

// retract undoes what add did for a pair without an answer, but for its latencies.
func (a *account) retract(req *Request, status int) {
	e := a.endpointFor(req, status)
	id := "status\n" + relationNoAnswer
	g := e.groups[id]
	if g == nil || e.compared == 0 {
		return
	}
	g.count--
	if len(g.examples) > 0 {
		g.examples = g.examples[:len(g.examples)-1]
	}
	if g.count == 0 {
		delete(e.groups, id)
	}
	if g.witness != nil {
		e.retractTriple(g.witness, g.count)
	}
	k := e.addKind([]string{id}, -1)
	e.compared--
	e.skipped[ShadowFailed]++
	a.statuses[statuses{live: status}]--
	if !a.takeBack(k) {
		a.takeBack(crowd)
	}
}

// retractTriple undoes what was counted of a pair's control, if there are more triples that
// differ than pairs are left.
func (e *endpoint) retractTriple(w *witness, pairs int64) {
	if w.shadowOnly+w.both <= pairs {
		return
	}
	if w.shadowOnly > 0 {
		w.shadowOnly--
		e.control[ControlAnswered]--
		return
	}
	w.both--
	w.same--
	e.control[ControlFailed]--
}

// coverAll reports whether rules cover all that a pair differs in.
func (r *Rules) coverAll(e *endpoint, f *Finding) bool {
	if len(r.Ignore) == 0 || f.More {
		return false
	}
	for i := range f.Differences {
		if !r.covers(e.method, e.path(), f.Differences[i].Subject()) {
			return false
		}
	}
	return true
}

func (a *account) countStatuses(live, shadow int) {
	s := statuses{live: live, shadow: shadow}
	if a.statuses[s] == 0 && len(a.statuses) >= maxStatuses {
		s = statuses{} // the others
	}
	a.statuses[s]++
}

// addDifferences counts each thing in which a pair differs, and that it differs in all of
// them: that is its kind.
func (a *account) addDifferences(e *endpoint, req *Request, live, shadow *Answer, f *Finding, t *Triple, now time.Time) *kind {
	e.notePresence(live.Header, live.Body, 1)
	a.makeRoom(e, f)
	counted := map[string]bool{}
	var differing map[string]*sided
	controlled := e.control[ControlAnswered] > 0 || t != nil && t.Answer != nil
	if t != nil {
		differing = map[string]*sided{}
	} else if a.rules.Control {
		differing = map[string]*sided{}
		t = &Triple{} // of an endpoint that has none
	}
	var ids []string
	for i := range f.Differences {
		d := &f.Differences[i]
		m := a.look(req, d)
		var s *side
		if differing != nil {
			s = newSide(d, m.made, m.form)
		}
		class := classOf(d, m.mixed, nil)
		if controlled {
			class = classOf(d, m.mixed, s)
		}
		key := e.folded(d.Key)
		g := e.group(key+"\n"+class, key, class)
		if counted[g.id] {
			continue
		}
		counted[g.id] = true
		ids = append(ids, g.id)
		g.add(a.rules, req, live, shadow, d, m, now)
		if differing != nil && g.id != others {
			differing[g.id] = &sided{group: g, side: s}
		}
	}
	if t != nil {
		a.addControl(e, live, shadow, differing, t)
	}
	a.seen.next()
	if f.More {
		ids = append(ids, more)
	}
	sort.Strings(ids)
	return e.addKind(ids, 1)
}

// addKind counts pairs that differ in the same things. Kinds go by the hash of their
// groups, which together may be long. Those that there is no room for are undecided.
func (e *endpoint) addKind(ids []string, n int64) *kind {
	sum := sha256.Sum256([]byte(strings.Join(ids, "\x00")))
	name := string(sum[:])
	if e.kinds[name] == nil && len(e.kinds) >= maxKinds {
		name = others
		ids = []string{more}
	}
	k := e.kinds[name]
	if k == nil {
		k = &kind{groups: ids}
		e.kinds[name] = k
	}
	k.count += n
	return k
}

// group returns what is known of a difference, or of those that there is no room for.
func (e *endpoint) group(id, key, class string) *group {
	g := e.groups[id]
	if g == nil && len(e.groups) >= maxGroups {
		id = others
		key = others
		class = ""
		g = e.groups[others]
	}
	if g == nil {
		g = e.unshown[id]
		delete(e.unshown, id)
	}
	if g == nil {
		g = newGroup(id, key, class)
	}
	e.groups[id] = g
	return g
}

// notePresence notes, for each thing that differs in answers of the endpoint, whether it
// is in one: weight answers are like this.
func (e *endpoint) notePresence(h http.Header, body []byte, weight int64) {
	for _, g := range e.groups {
		g.looked += weight
		if g.isIn(h, body) {
			g.present += weight
		}
	}
}

// A look is what is found out about a difference by what else was seen.
type look struct {
	form  bool // both values have the form of what is made anew
	made  bool // and are new, as far as can be seen
	sure  bool // and look as if they were
	mixed bool // the shadow's value belongs to another of live's
}

// look finds out whether the values of a difference are new: that they are made anew
// for each answer, do not stand in the request, and were in no answer before.
func (a *account) look(req *Request, d *Difference) look {
	m := d.mark
	l := look{form: m.made, made: m.made, sure: m.random}
	for i, token := range m.live {
		if req.has(token) || req.has(m.shadow[i]) {
			l.made = false
		}
		before, partner := a.seen.pair(token, m.shadow[i])
		if before {
			l.made = false
		}
		if partner {
			l.mixed = true
		}
	}
	return l
}

// has reports whether a token stands in the request.
func (r *Request) has(token string) bool {
	return strings.Contains(r.Target, token) || bytes.Contains(r.Body, []byte(token))
}

// seen are the tokens that were in answers, each with its partner on the other side, in
// two generations: when the newer one is full the older one is forgotten. Those of the
// answer that is looked at are not among them yet: it may name what it has made twice.
type seen struct{ older, newer, now map[string]string }

func newSeen() *seen {
	return &seen{older: map[string]string{}, newer: map[string]string{}, now: map[string]string{}}
}

// pair notes that a token of the shadow's stands where live has another. It reports
// whether either was in an answer before, and whether the shadow's stood for another of
// live's, in this answer or before.
func (s *seen) pair(live, shadow string) (before, mixed bool) {
	live = short(live)
	shadow = short(shadow)
	partner, known := s.of("s" + shadow)
	_, liveKnown := s.of("l" + live)
	before = known || liveKnown
	if !known {
		partner, known = s.now["s"+shadow]
	}
	mixed = known && partner != live
	if !known && len(s.now) < maxNew {
		s.now["s"+shadow] = live
		s.now["l"+live] = shadow
	}
	return before, mixed
}

// next is for when the answer has been looked at.
func (s *seen) next() {
	for token, partner := range s.now {
		s.put(token, partner)
	}
	if len(s.now) > 0 {
		s.now = map[string]string{}
	}
}

// short stands for a token: itself, or a hash of one that is long.
func short(token string) string {
	if len(token) <= maxToken {
		return token
	}
	sum := sha256.Sum256([]byte(token))
	return string(sum[:])
}

func (s *seen) of(token string) (string, bool) {
	partner, ok := s.newer[token]
	if !ok {
		partner, ok = s.older[token]
	}
	return partner, ok
}

func (s *seen) put(token, partner string) {
	if len(s.newer) >= 2*maxSeen {
		s.older = s.newer
		s.newer = map[string]string{}
	}
	s.newer[strings.Clone(token)] = strings.Clone(partner)
}

// identity of a request: two with the same are equal, as far as what a client asks for
// goes.
func identity(req *Request) string {
	if req.Target == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(req.Method + "\n" + req.Target + "\n" + strings.Join(req.Authorization, "\n") + "\n" + strings.Join(req.Cookie, "\n")))
	return hex.EncodeToString(sum[:8])
}
