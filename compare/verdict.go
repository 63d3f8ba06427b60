package compare

import (
	"sync"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// A Verdict adds up what is found about the pairs of one middleware. Its methods
// may be called from several goroutines. None is called on the live path.
type Verdict struct {
	mu sync.Mutex

	// Matches takes pairs that are the same to the byte: see [Verdict.AddMatches].
	Matches chan *Matched

	// Of all pairs since the start.
	outcomes map[string]int64
	skipped  map[string]int64
	controls map[string]int64 // of the compared ones, by what became of the control's part
	live     *latency.Histogram
	shadow   *latency.Histogram
	ledger   *ledger

	account  *account
	previous *Epoch // the one before, as it was when it ended

	begun   bool    // there have been rules
	changes int64   // how often the account was added to
	judged  *Judged // what was judged last of it; nil: nothing yet
}

// NewVerdict returns a verdict without anything in it, and without rules: see
// [Verdict.Begin].
func NewVerdict() *Verdict {
	return &Verdict{
		Matches:  make(chan *Matched, 2*MostMatches),
		outcomes: map[string]int64{}, skipped: map[string]int64{}, controls: map[string]int64{},
		live: &latency.Histogram{}, shadow: &latency.Histogram{}, ledger: newLedger(),
	}
}

// Begin has pairs be judged by the rules from now on; nil: by none. Where the rules have
// the same basis as before the account goes on, and what it has is seen by the new ones.
// Otherwise a new one begins. Pairs that were judged on another basis, and are added
// later, count in the totals only. It reports whether a new account begins.
func (v *Verdict) Begin(rules *Rules) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.takeMatches()
	v.judged = nil
	if rules != nil {
		v.begun = true
	}
	if rules != nil && v.account != nil && v.account.rules.Basis == rules.Basis {
		v.account.follow(rules)
		return false
	}
	if v.account != nil {
		v.previous = v.account.epoch(clock())
		v.account.enter(v.ledger)
	}
	v.account = nil
	if rules != nil {
		v.account = newAccount(rules)
	}
	return rules != nil
}

// Add counts a pair that was judged, or skipped, under the rules.
func (v *Verdict) Add(rules *Rules, req *Request, live, shadow *Answer, f *Finding) {
	v.AddTriple(rules, req, live, shadow, f, nil)
}

// AddTriple is Add for a pair whose request the control had too, or should have had; nil:
// it is none of those.
func (v *Verdict) AddTriple(rules *Rules, req *Request, live, shadow *Answer, f *Finding, t *Triple) {
	// Before the lock: in values of some kilobytes this takes milliseconds.
	f.findMarks(req.At)
	if t != nil && t.Finding != nil {
		t.Finding.findMarks(req.At)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.takeMatches()
	outcome := f.Outcome
	if a := v.account; a != nil && a.rules.Basis == rules.Basis {
		outcome = a.add(req, live, shadow, f, t)
		v.changes++
		if t != nil && t.Fate != "" && outcome != Skipped {
			v.controls[t.Fate]++
		}
	} else {
		v.ledger.enter(others, countOf(outcome))
	}
	v.outcomes[outcome]++
	if outcome == Skipped {
		v.skipped[f.Reason]++
	} else {
		v.live.Add(live.Took)
		v.shadow.Add(shadow.Took)
	}
}

// Retract takes a pair without an answer of the shadow's out of the account again: it
// has turned out that the shadow answers nobody, so the pair is skipped. What was counted
// since the start stays.
func (v *Verdict) Retract(rules *Rules, req *Request, status int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if a := v.account; a != nil && a.rules.Basis == rules.Basis {
		a.retract(req, status)
		v.changes++
	}
}

// AnsweredSince reports whether the shadow has answered a request, of those compared, that
// came after a moment.
func (v *Verdict) AnsweredSince(moment time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.takeMatches()
	return v.account != nil && v.account.answered.After(moment)
}

// Drop counts a request of which there was no pair, for a reason that is its endpoint's:
// its body was too large, or could not be read.
func (v *Verdict) Drop(method, path, reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.account != nil {
		v.account.endpointOf(&Request{Method: method, Path: path}).dropped[reason]++
		v.changes++
	}
}
