package compare

import "time"

// judgedAge is how old a judgement may be before new pairs have it made anew, for those
// who only want to know what it is.
const judgedAge = 5 * time.Second

// A Judged is what is known of the comparison that runs, as it was judged last, in numbers.
type Judged struct {
	Since  time.Time
	Latest time.Time // the last pair came; zero: there is none

	// Pairs, as in Account.
	Compared, Real, Undecided, Noise, Ignored int64

	// Differences are how many are known, by judgement.
	Differences map[string]int64

	// Unfit are how many endpoints there are of which the control says nothing; Controlled
	// says that there is one.
	Unfit      int64
	Controlled bool

	state   string // of a shadow that is well, when the latest pair came
	maxAge  time.Duration
	at      time.Time // when this was judged
	changes int64     // the verdict's, then
}

// ControlCounts are pairs by what became of the control's part.
type ControlCounts struct {
	Answered int64 // with whatever
	Failed   int64 // it was asked, and did not answer
	Paused   int64 // it was not asked, because it was left alone
}

// Same are the pairs that differ in nothing.
func (j *Judged) Same() int64 { return j.Compared - j.Real - j.Undecided - j.Noise - j.Ignored }

// State is that of [Account.State]: only of a comparison that agrees it matters what is
// wrong now.
func (j *Judged) State(now time.Time, ill string) string {
	if j.state == StateAgrees && (ill != "" || j.maxAge > 0 && now.Sub(j.Latest) > j.maxAge) {
		return StateUndecided
	}
	return j.state
}

// Judged returns what was judged last, by a Snapshot or for this; nil without rules. It is
// judged anew if that is some seconds old and there is something new.
func (v *Verdict) Judged() *Judged {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.account
	if a == nil {
		return nil
	}
	v.takeMatches()
	if j := v.judged; j == nil || j.changes != v.changes && !recent(j.at, clock()) {
		v.note(a.snapshot(false))
	}
	j := *v.judged
	j.Latest = a.latest
	return &j
}

// recent reports whether a judgement is not too old yet, nor from a time to come because the
// clock was set back.
func recent(at, now time.Time) bool { return !now.Before(at) && now.Sub(at) < judgedAge }

// note keeps what was judged, in numbers. mu is held.
func (v *Verdict) note(a *Account) {
	j := &Judged{
		Since: a.Since, Latest: a.Latest, Compared: a.Compared, Real: a.Real, Undecided: a.Undecided, Noise: a.Noise, Ignored: a.Ignored,
		Differences: map[string]int64{}, maxAge: a.MaxAge, at: clock(), changes: v.changes,
	}
	for i := range a.Differences {
		j.Differences[a.Differences[i].Judgement]++
	}
	if c := a.Control; c != nil {
		j.Controlled = true
		j.Unfit = int64(len(c.Unfit))
	}
	j.state, _ = a.State(a.Latest, "")
	v.judged = j
}
