package mirror

import "time"

const (
	slotLength   = 10 * time.Second
	recentWindow = 5 * time.Minute // how long what the shadow did is told by slots

	// How much a judgement of the shadow takes at least: the latest few, or so much time
	// and, if there are as many in recentWindow, enough requests.
	recentFew    = 20
	recentMinute = time.Minute
	recentEnough = 100
)

// A slot is what the shadow did in slotLength.
type slot struct {
	began    time.Time
	answered int64
	failed   int64
}

func (s *slot) requests() int64 { return s.answered + s.failed }

// recently is how the shadow did in the last minutes. The mu of its counts guards it.
//
// The workers count answers in atomic numbers and know nothing of slots. How much those
// numbers have grown goes into the slot of the moment at which somebody looks: at every
// failure, for every report, and every few seconds while there is traffic (tendIdle). So
// what was answered before a quiet time is in a slot before it.
type recently struct {
	slots    []slot // the oldest first; only those in which there was anything
	answered int64  // all answers that there were when somebody looked last
}

// look takes down that there are so many answers by now, and so many more failures.
func (r *recently) look(now time.Time, answered, failures int64) {
	fresh := slot{began: now, answered: answered - r.answered, failed: failures}
	r.answered = answered
	last := len(r.slots) - 1
	if last >= 0 && now.Before(r.slots[last].began) {
		r.setBack(now)
	}
	if fresh.requests() == 0 {
		return
	}
	if last < 0 || now.Sub(r.slots[last].began) >= slotLength {
		r.forget(now)
		r.slots = append(r.slots, fresh)
		return
	}
	r.slots[last].answered += fresh.answered
	r.slots[last].failed += fresh.failed
}

// forget drops the slots before recentWindow, so there are never more than fit in it.
func (r *recently) forget(now time.Time) {
	for len(r.slots) > 0 && now.Sub(r.slots[0].began) >= recentWindow {
		r.slots = append([]slot{}, r.slots[1:]...)
	}
}

// setBack moves all slots so that the newest begins now: the clock was set back.
func (r *recently) setBack(now time.Time) {
	by := r.slots[len(r.slots)-1].began.Sub(now)
	for i := range r.slots {
		r.slots[i].began = r.slots[i].began.Add(-by)
	}
}

// judge reports whether the shadow is failing, and returns the requests that say so. It
// is failing where more than one in a hundred requests failed in the last minute, or
// more than one in ten of the latest twenty: the first sees a few among many, and the
// second does not wait until what went well before the last minute is out of it. One
// failure alone says nothing. Where a minute has fewer than a hundred requests, as much of
// recentWindow counts as it takes.
func (r *recently) judge(now time.Time) (slot, bool) {
	var minute, latest slot
	for i := len(r.slots) - 1; i >= 0; i-- {
		s := r.slots[i]
		age := now.Sub(s.began)
		if age >= recentWindow {
			break
		}
		if latest.requests() < recentFew {
			latest.add(s)
		}
		if minute.requests() < recentEnough || age < recentMinute {
			minute.add(s)
		}
	}
	if latest.failed > 1 && latest.failed*10 > latest.requests() {
		return latest, true
	}
	return minute, minute.failed > 1 && minute.failed*100 > minute.requests()
}

// add adds what an earlier slot has.
func (s *slot) add(earlier slot) {
	s.began = earlier.began
	s.answered += earlier.answered
	s.failed += earlier.failed
}
