package compare

import (
	"crypto/sha256"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// How much is kept for one middleware, whatever the traffic.
const (
	maxGroups    = 200 // differences of different things
	maxKinds     = 300 // combinations of them in one pair
	maxEndpoints = 100 // methods and paths
	maxStatuses  = 100 // pairs of statuses
	maxIntervals = 60  // of the time line
)

// firstInterval is how long the intervals of the time line are at first. When
// they are too many, each two become one.
const firstInterval = 10 * time.Second

// other is what counts where there are too many to tell apart.
const other = "(others)"

// more stands for what was not looked for in a pair, because it had enough
// differences already. It is no noise: nobody knows what it is.
const more = "(more)"

// A Verdict adds up what is found about the pairs of one middleware. Its methods
// may be called from several goroutines. None is called on the live path.
type Verdict struct {
	mu sync.Mutex

	// Of the pairs that the account does not have: those that were added before it
	// began, and those judged by other rules.
	outcomes map[string]int64
	skipped  map[string]int64
	live     *latency.Histogram
	shadow   *latency.Histogram

	account *account
}

// An account is what is known since the rules are as they are.
type account struct {
	rules      *Rules
	since      time.Time
	outcomes   map[string]int64
	skipped    map[string]int64
	live       *latency.Histogram
	shadow     *latency.Histogram
	difference *latency.Differences // the shadow's latency less live's
	statuses   map[statuses]int64
	groups     map[string]*group
	kinds      map[string]*kind
	endpoints  map[string]int64 // pairs compared
	intervals  []Interval
	until      time.Time     // the end of the last interval
	width      time.Duration // of an interval
	kept       []Kept        // the latest mismatches, the newest first
}

type statuses struct{ live, shadow int }

// A group is what is known about the differences of one thing.
type group struct {
	key         string
	count       int64
	endpoints   map[string]bool
	first, last time.Time
	example     Difference
	where       string

	// How often a side had another value than in the pair before, and how often
	// two numbers were close to each other.
	liveMoves, shadowMoves, close int64
	liveLast, shadowLast          string
}

// A kind is the pairs that differ in the same things.
type kind struct {
	keys  []string
	count int64
}

// A Kept is one mismatch, as it may be shown.
type Kept struct {
	At                       time.Time
	Method, Path             string
	LiveStatus, ShadowStatus int
	Live, Shadow             time.Duration // how long the answers took
	Differences              []Shown
}

// A Shown is a difference as it may be shown.
type Shown struct {
	Key, Live, Shadow string
}

// An Interval is a part of the time line.
type Interval struct {
	Start               time.Time
	Matched, Mismatched int64
}

// NewVerdict returns a verdict without anything in it, and without rules: see
// [Verdict.Begin].
func NewVerdict() *Verdict {
	return &Verdict{outcomes: map[string]int64{}, skipped: map[string]int64{}, live: &latency.Histogram{}, shadow: &latency.Histogram{}}
}

// Begin starts a new account under the rules; nil ends the last one. Pairs that
// were judged by other rules, and are added later, count in the totals only.
func (v *Verdict) Begin(rules *Rules) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.account != nil {
		v.takeOver(v.account)
	}
	v.account = nil
	if rules == nil {
		return
	}
	v.account = &account{
		rules:      rules,
		since:      time.Now(),
		outcomes:   map[string]int64{},
		skipped:    map[string]int64{},
		live:       &latency.Histogram{},
		shadow:     &latency.Histogram{},
		difference: &latency.Differences{},
		statuses:   map[statuses]int64{},
		groups:     map[string]*group{},
		kinds:      map[string]*kind{},
		endpoints:  map[string]int64{},
		width:      firstInterval,
	}
}

// takeOver adds what an account has that ends to the totals since the start.
func (v *Verdict) takeOver(a *account) {
	for outcome, n := range a.outcomes {
		v.outcomes[outcome] += n
	}
	for reason, n := range a.skipped {
		v.skipped[reason] += n
	}
	v.live.Merge(a.live)
	v.shadow.Merge(a.shadow)
}

// Add counts a pair that was judged, or skipped, under the rules.
//
// It and what it calls for every pair are short, with what only some need in
// functions of their own: see the notes on interpreted code in mirror.go.
func (v *Verdict) Add(rules *Rules, req *Request, live, shadow *Answer, f *Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if a := v.account; a == nil || a.rules != rules {
		v.addToTotals(live, shadow, f)
	} else if f.Outcome == Skipped {
		a.outcomes[Skipped]++
		a.skipped[f.Reason]++
	} else {
		a.add(req, live, shadow, f)
	}
}

// addToTotals counts a pair that is not the account's.
func (v *Verdict) addToTotals(live, shadow *Answer, f *Finding) {
	v.outcomes[f.Outcome]++
	if f.Outcome == Skipped {
		v.skipped[f.Reason]++
		return
	}
	v.live.Add(live.Took)
	v.shadow.Add(shadow.Took)
}

func (a *account) add(req *Request, live, shadow *Answer, f *Finding) {
	a.outcomes[f.Outcome]++
	a.live.Add(live.Took)
	a.shadow.Add(shadow.Took)
	a.difference.Add(shadow.Took - live.Took)
	s := statuses{live: live.Status, shadow: shadow.Status}
	if a.statuses[s] == 0 && len(a.statuses) >= maxStatuses {
		s = statuses{} // the others
	}
	a.statuses[s]++
	where := endpoint(req)
	if a.endpoints[where] == 0 && len(a.endpoints) >= maxEndpoints {
		where = other
	}
	a.endpoints[where]++
	now := time.Now()
	if !now.Before(a.until) {
		a.nextInterval(now)
	}
	if f.Outcome == Match {
		a.intervals[len(a.intervals)-1].Matched++
		return
	}
	a.addMismatch(req, live, shadow, f, where, now)
}

func (a *account) addMismatch(req *Request, live, shadow *Answer, f *Finding, where string, now time.Time) {
	a.intervals[len(a.intervals)-1].Mismatched++
	keys := a.addDifferences(f, where, now)
	if f.More {
		keys = append(keys, more)
	}
	a.addKind(keys)
	a.keep(req, live, shadow, f)
}

// addKind counts a pair that differs in the things that the keys name. Kinds go
// by the hash of the keys, which together may be long.
func (a *account) addKind(keys []string) {
	sum := sha256.Sum256([]byte(strings.Join(keys, "\n")))
	name := string(sum[:])
	if a.kinds[name] == nil && len(a.kinds) >= maxKinds {
		name = other
		keys = []string{other}
	}
	if a.kinds[name] == nil {
		a.kinds[name] = &kind{keys: keys}
	}
	a.kinds[name].count++
}

// addDifferences counts each thing that differs, and returns them sorted. Those
// that are not told apart count once.
func (a *account) addDifferences(f *Finding, where string, now time.Time) []string {
	seen := map[string]bool{}
	var keys []string
	for _, d := range f.Differences {
		key := d.Key
		if a.groups[key] == nil && len(a.groups) >= maxGroups {
			key = other
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		g := a.groups[key]
		if g == nil {
			g = &group{key: key, endpoints: map[string]bool{}, first: now}
			a.groups[key] = g
		}
		keys = append(keys, g.key) // the group's own, so that it is kept once
		g.add(d, where, now)
	}
	sort.Strings(keys)
	return keys
}

func (g *group) add(d Difference, where string, now time.Time) {
	g.count++
	g.endpoints[where] = true
	g.last = now
	g.example = d
	g.where = where
	if d.Live.identity() != g.liveLast {
		g.liveMoves++
	}
	if d.Shadow.identity() != g.shadowLast {
		g.shadowMoves++
	}
	g.liveLast = d.Live.identity()
	g.shadowLast = d.Shadow.identity()
	if closeNumbers(d.Live, d.Shadow) {
		g.close++
	}
}

// keep keeps the mismatch, and lets go of the oldest.
func (a *account) keep(req *Request, live, shadow *Answer, f *Finding) {
	if a.rules.Keep == 0 {
		return
	}
	k := Kept{
		// Copies: what they are parts of may be much longer.
		At: req.At, Method: strings.Clone(cut(req.Method, 20)), Path: strings.Clone(a.shownPath(req)),
		LiveStatus: live.Status, ShadowStatus: shadow.Status, Live: live.Took, Shadow: shadow.Took,
	}
	for i, d := range f.Differences {
		if i == maxKeptDifferences {
			break
		}
		k.Differences = append(k.Differences, Shown{Key: d.Key, Live: d.Live.Shown(a.rules.Show), Shadow: d.Shadow.Shown(a.rules.Show)})
	}
	if f.More || len(f.Differences) > maxKeptDifferences {
		k.Differences = append(k.Differences, Shown{Key: more, Live: "not listed", Shadow: "not listed"})
	}
	kept := append([]Kept{k}, a.kept...)
	if len(kept) > a.rules.Keep {
		kept = kept[:a.rules.Keep]
	}
	a.kept = kept
}

// maxKeptDifferences is how many differences are kept of one mismatch.
const maxKeptDifferences = 20

// shownPath is the request's path as it may be shown: whole, or without what may
// say which customer's or which invoice it is.
func (a *account) shownPath(req *Request) string {
	if a.rules.Show == Values {
		return cut(req.Path, maxKey)
	}
	return template(req.Path)
}

// nextInterval makes the last interval the one that now is in.
func (a *account) nextInterval(now time.Time) {
	for !now.Before(a.until) {
		if len(a.intervals) == maxIntervals {
			a.widen()
		} else {
			a.intervals = append(a.intervals, Interval{Start: a.since.Add(now.Sub(a.since) / a.width * a.width)})
		}
		a.until = a.intervals[len(a.intervals)-1].Start.Add(a.width)
	}
}

// widen makes intervals twice as long.
func (a *account) widen() {
	a.width *= 2
	var wide []Interval
	for _, narrow := range a.intervals {
		narrow.Start = a.since.Add(narrow.Start.Sub(a.since) / a.width * a.width)
		n := len(wide)
		if n > 0 && wide[n-1].Start.Equal(narrow.Start) {
			wide[n-1].Matched += narrow.Matched
			wide[n-1].Mismatched += narrow.Mismatched
			continue
		}
		wide = append(wide, narrow)
	}
	a.intervals = wide
}

// endpoint is the method and path of a request without what differs from one
// request to the next of the same kind.
func endpoint(req *Request) string {
	return cut(req.Method, 20) + " " + template(req.Path)
}

// template is a path with * for each part that has a digit or is long: numbers,
// identifiers, names.
func template(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if len(part) > 24 || strings.ContainsAny(part, "0123456789@%") && !version(part) {
			parts[i] = "*"
		}
	}
	if len(parts) > 12 {
		parts = append(parts[:12], "…")
	}
	return strings.Join(parts, "/")
}

// version reports whether a part of a path is that of an API's version: v1, v12.
func version(part string) bool {
	return len(part) >= 2 && len(part) <= 3 && part[0] == 'v' && strings.Trim(part[1:], "0123456789") == ""
}
