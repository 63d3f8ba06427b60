package latency

import "time"

// Differences counts differences of durations, which may be negative. Its zero
// value is empty. It is not safe for use by several goroutines at once.
type Differences struct {
	above, below Histogram // of 0 and more, and of less
}

// Add counts d.
func (s *Differences) Add(d time.Duration) {
	if d < 0 {
		s.below.Add(-d)
		return
	}
	s.above.Add(d)
}

// Quantile is that of a [Histogram].
func (s *Differences) Quantile(q float64) time.Duration {
	count := s.below.count + s.above.count
	if count == 0 {
		return 0
	}
	place := rank(q, count)
	if place <= s.below.count {
		// The least difference is the largest below 0.
		return -s.below.ranked(s.below.count - place + 1)
	}
	return s.above.ranked(place - s.below.count)
}

// Clone returns a copy that further additions do not change.
func (s *Differences) Clone() *Differences {
	return &Differences{above: *s.above.Clone(), below: *s.below.Clone()}
}
