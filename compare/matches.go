package compare

import "time"

//lint:file-ignore SA4006 The interpreter receives rightly only with two named results.

// MostMatches is how many pairs may wait in Verdict.Matches before somebody has to add
// them up: whoever finds so many there after a send of his own calls AddMatches.
const MostMatches = 64

// A Matched is a pair whose answers are the same to the byte, in what is compared of
// them, once both are whole.
type Matched struct {
	Rules   *Rules // those that it was judged by
	Request Request
	Status  int
	Live    time.Duration // how long live's answer took
	Shadow  time.Duration // and the shadow's
	Control string        // what became of the control's part, as in Triple; "": there is none

	Answer *Answer // of one in BodyOfEvery pairs live's, to see what is in it
}

// BodyOfEvery is of how many matched pairs one has live's body with it.
const BodyOfEvery = 8

// AddMatches adds up the pairs in Matches.
//
// Most pairs match. To send one on a channel costs a worker next to nothing,
// interpreted, and to add up many in one loop less than to add each in a call of its
// own. Whoever reads the verdict, or adds another pair, adds those first, so nobody
// sees the difference.
func (v *Verdict) AddMatches() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.takeMatches()
}

// takeMatches is AddMatches with mu held. Its loop has the variables of all that is done
// for a pair, because interpreted a call costs more than that.
func (v *Verdict) takeMatches() {
	if len(v.Matches) == 0 {
		return
	}
	var (
		a            = v.account
		m            *Matched
		ok           bool
		path         string
		e            *endpoint
		touched      []*endpoint
		n, strays    int64
		s            statuses
		live, shadow []time.Duration
	)
	for len(v.Matches) > 0 {
		m, ok = <-v.Matches
		v.outcomes[Match]++
		live = append(live, m.Live)
		shadow = append(shadow, m.Shadow)
		if a == nil || a.rules.Basis != m.Rules.Basis {
			strays++
			continue
		}
		path = m.Request.Method + " " + m.Request.Path + " " + m.Request.Operation
		e, ok = a.names[path]
		if !ok {
			e = a.endpointFor(&m.Request, m.Status)
		}
		if len(e.liveTook) == 0 {
			touched = append(touched, e)
		}
		e.compared++
		e.matched++
		if m.Control != "" {
			e.control[m.Control]++
			v.controls[m.Control]++
		}
		e.liveTook = append(e.liveTook, m.Live)
		e.shadowTook = append(e.shadowTook, m.Shadow)
		e.latest = m.Request.At
		if m.Answer != nil && len(e.groups) > 0 {
			e.notePresence(m.Answer.Header, m.Answer.Body, BodyOfEvery)
		}
		s = statuses{live: m.Status, shadow: m.Status}
		n = a.statuses[s]
		if n == 0 && len(a.statuses) >= maxStatuses {
			s = statuses{} // the others
			n = a.statuses[s]
		}
		a.statuses[s] = n + 1
		if !m.Request.At.Before(a.until) {
			a.nextInterval(m.Request.At)
		}
		a.intervals[len(a.intervals)-1].compared++
		a.latest = m.Request.At
	}
	v.changes++
	v.live.AddAll(live)
	v.shadow.AddAll(shadow)
	if strays > 0 {
		v.ledger.enter(others, &PairCounts{Match: strays})
	}
	if len(touched) > 0 {
		if a.latest.After(a.answered) {
			a.answered = a.latest
		}
	}
	for _, with := range touched {
		with.takeTimes()
	}
}

// takeTimes adds what matched pairs took to the endpoint's histograms.
func (e *endpoint) takeTimes() {
	e.live.AddAll(e.liveTook)
	e.shadow.AddAll(e.shadowTook)
	less := e.liveTook // which is not needed any more
	for i, took := range e.shadowTook {
		less[i] = took - less[i]
	}
	e.difference.AddAll(less)
	e.liveTook = nil
	e.shadowTook = nil
}
