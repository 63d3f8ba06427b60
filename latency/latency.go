// Package latency keeps how long things took, in a bounded amount of memory and
// to within a sixteenth of each value.
package latency

import (
	"math"
	"math/bits"
	"time"
)

const (
	// steps is into how many buckets each power of two is divided.
	steps = 8

	// powers of two above the first steps microseconds: the last bucket holds
	// everything from 2^29 µs, nearly nine minutes.
	powers = 27

	buckets = steps + powers*steps
)

// A Histogram counts durations. Its zero value is empty. It is not safe for use
// by several goroutines at once.
type Histogram struct {
	counts []int64 // nil while empty
	count  int64
	sum    time.Duration
}

// Add counts d. A negative one, which a clock that is set back makes, counts as 0.
func (h *Histogram) Add(d time.Duration) { h.AddAll([]time.Duration{d}) }

// AddAll counts each of list.
//
// It is Add in a loop of its own, because interpreted a call for each would cost more
// than all that it does.
func (h *Histogram) AddAll(list []time.Duration) {
	if h.counts == nil && len(list) > 0 {
		h.counts = make([]int64, buckets)
	}
	var (
		us       uint64
		power, i int
	)
	for _, d := range list {
		if d < 0 {
			d = 0
		}
		us = uint64(d / time.Microsecond)
		i = int(us)
		if us >= steps {
			power = bits.Len64(us) - 4 // 8 to 15 is power 0
			i = power*steps + int(us>>uint(power))
		}
		if i >= buckets {
			i = buckets - 1
		}
		h.counts[i]++
		h.sum += d
	}
	h.count += int64(len(list))
}

// Merge adds all that o counts.
func (h *Histogram) Merge(o *Histogram) {
	if o.counts == nil {
		return
	}
	if h.counts == nil {
		h.counts = make([]int64, buckets)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.count += o.count
	h.sum += o.sum
}

// Count returns how many durations were added, and Sum what they amount to.
func (h *Histogram) Count() int64 { return h.count }

// Sum returns what all durations amount to.
func (h *Histogram) Sum() time.Duration { return h.sum }

// Clone returns a copy that further additions do not change.
func (h *Histogram) Clone() *Histogram {
	return &Histogram{counts: append([]int64(nil), h.counts...), count: h.count, sum: h.sum}
}

// Quantile returns the duration that a share q, 0 to 1, of those added does not
// exceed, to within a sixteenth; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	return h.ranked(rank(q, h.count))
}

// rank is the place, the first of which is 1, that a share q of n is not behind.
func rank(q float64, n int64) int64 {
	if r := int64(math.Ceil(q * float64(n))); r > 1 {
		return r
	}
	return 1
}

// ranked returns the duration at a place in their order, the first of which is 1.
func (h *Histogram) ranked(rank int64) time.Duration {
	for i, n := range h.counts {
		rank -= n
		if rank <= 0 {
			return middle(i)
		}
	}
	return middle(buckets - 1)
}

// atLeast returns how many durations are in the bucket of d and in those above it.
func (h *Histogram) atLeast(d time.Duration) int64 {
	var n int64
	us := int64(d / time.Microsecond)
	for i, c := range h.counts {
		if i+1 == len(h.counts) || lower(i+1) > us {
			n += c
		}
	}
	return n
}

// Bounds are upper bounds of buckets for [Histogram.AtMost], in microseconds
// and ascending: powers of two, which this package counts exactly.
var Bounds = []int64{1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 23, 1 << 24}

// starts are, for each of Bounds, the bucket before which all counts of less are.
var starts []int

func init() {
	i := 0
	for _, bound := range Bounds {
		for lower(i) < bound {
			i++
		}
		starts = append(starts, i)
	}
}

// AtMost returns, for each of Bounds, how many of the durations are below it.
//
// Its loop calls nothing, because interpreted that would cost more than all that it does.
func (h *Histogram) AtMost() []int64 {
	below := make([]int64, len(Bounds))
	if h.count == 0 {
		return below
	}
	var n int64
	i := 0
	for b, start := range starts {
		for i < start {
			n += h.counts[i]
			i++
		}
		below[b] = n
	}
	return below
}

// lower returns the least duration, in microseconds, that counts in bucket i.
func lower(i int) int64 {
	if i < steps {
		return int64(i)
	}
	power := (i - steps) / steps
	return int64(steps+i%steps) << uint(power)
}

func middle(i int) time.Duration {
	if i < steps {
		return time.Duration(i) * time.Microsecond
	}
	width := int64(1) << uint((i-steps)/steps)
	return time.Duration(lower(i)*1000+width*500) * time.Nanosecond
}
