package latency

import "time"

// Differences counts differences of durations, which may be negative. Its zero
// value is empty. It is not safe for use by several goroutines at once.
type Differences struct {
	above, below Histogram // of 0 and more, and of less
}

// Add counts d.
func (s *Differences) Add(d time.Duration) { s.AddAll([]time.Duration{d}) }

// AddAll counts each of list.
func (s *Differences) AddAll(list []time.Duration) {
	var above, below []time.Duration
	for _, d := range list {
		if d < 0 {
			below = append(below, -d)
		} else {
			above = append(above, d)
		}
	}
	a, b := &s.above, &s.below
	a.AddAll(above)
	b.AddAll(below)
}

// Merge adds all that o counts.
func (s *Differences) Merge(o *Differences) {
	a, b := &s.above, &s.below
	a.Merge(&o.above)
	b.Merge(&o.below)
}

// Quantile is that of a [Histogram].
func (s *Differences) Quantile(q float64) time.Duration {
	above, below := &s.above, &s.below
	count := below.count + above.count
	if count == 0 {
		return 0
	}
	place := rank(q, count)
	if place <= below.count {
		// The least difference is the largest below 0.
		return -below.ranked(below.count - place + 1)
	}
	return above.ranked(place - below.count)
}

// Clone returns a copy that further additions do not change.
func (s *Differences) Clone() *Differences {
	above, below := &s.above, &s.below
	return &Differences{above: *above.Clone(), below: *below.Clone()}
}

// Count returns how many differences were added.
func (s *Differences) Count() int64 { return s.above.count + s.below.count }

// Beyond returns how many differences are d or more, and how many are -d or less, to
// within a sixteenth of d.
func (s *Differences) Beyond(d time.Duration) (above, below int64) {
	a, b := &s.above, &s.below
	above = a.atLeast(d)
	below = b.atLeast(d)
	return above, below
}
