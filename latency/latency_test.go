package latency

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"
	"time"
)

func TestQuantilesAreWithinASixteenth(t *testing.T) {
	tests := []struct {
		name string
		draw func() time.Duration
	}{
		{"a fast service", func() time.Duration { return time.Duration(200+rand.IntN(900)) * time.Microsecond }},
		{"a slow one", func() time.Duration { return time.Duration(100+rand.IntN(9000)) * time.Millisecond }},
		{"with a long tail", func() time.Duration { return time.Duration(math.Exp(rand.NormFloat64()*2+8)) * time.Microsecond }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := &Histogram{}
			var all []time.Duration
			var sum time.Duration
			for i := 0; i < 2000; i++ {
				d := test.draw()
				h.Add(d)
				all = append(all, d)
				sum += d
			}
			sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
			if h.Count() != 2000 || h.Sum() != sum {
				t.Errorf("%d durations of %s, want 2000 of %s", h.Count(), h.Sum(), sum)
			}
			for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
				got, want := h.Quantile(q), all[int(math.Max(0, math.Ceil(q*2000)-1))]
				if d := float64(got-want) / float64(want); d > 1.0/16 || d < -1.0/16 {
					t.Errorf("quantile %v: %s, want %s", q, got, want)
				}
			}
		})
	}
}

func TestEdges(t *testing.T) {
	h := &Histogram{}
	if got := h.Quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: %s, want 0", got)
	}
	if got := h.AtMost(); len(got) != len(Bounds) || got[0] != 0 || got[len(got)-1] != 0 {
		t.Errorf("buckets of nothing: %v, want zeros", got)
	}
	for _, d := range []time.Duration{-time.Second, 0, 7 * time.Microsecond, 8 * time.Microsecond, 1000 * time.Hour} {
		h.Add(d)
	}
	if got := h.Quantile(0); got != 0 {
		t.Errorf("least: %s, want 0", got)
	}
	if got := h.Quantile(1); got < 8*time.Minute {
		t.Errorf("greatest: %s, want that of the last bucket, over 8 minutes", got)
	}
}

// Every duration counts in the bucket that holds it, and below each bound that
// is above it.
func TestBucketsMeetWithoutGaps(t *testing.T) {
	bucket := func(d time.Duration) int {
		h := &Histogram{}
		h.Add(d)
		for i, n := range h.counts {
			if n == 1 {
				return i
			}
		}
		return -1
	}
	for i := 1; i < buckets; i++ {
		us := lower(i)
		if got := bucket(time.Duration(us) * time.Microsecond); got != i {
			t.Fatalf("%d µs count in bucket %d, want %d", us, got, i)
		}
		if got := bucket(time.Duration(us-1) * time.Microsecond); got != i-1 {
			t.Fatalf("%d µs count in bucket %d, want %d", us-1, got, i-1)
		}
	}
	h := &Histogram{}
	for _, us := range []int64{255, 256, 257, 1023, 1024, 40000} {
		h.Add(time.Duration(us) * time.Microsecond)
	}
	below := h.AtMost()
	for i, want := range []int64{1, 3, 4, 5, 5, 5, 5, 5, 6} {
		if below[i] != want {
			t.Errorf("below %d µs: %d, want %d", Bounds[i], below[i], want)
		}
	}
}

func TestMergedHistogramsHaveTheDurationsOfBoth(t *testing.T) {
	both, more := &Histogram{}, &Histogram{}
	both.Merge(more) // nothing to nothing
	if got := both.Quantile(0.5); got != 0 || both.Count() != 0 {
		t.Errorf("median %s of %d, want 0 of 0", got, both.Count())
	}
	more.Add(time.Second)
	more.Add(time.Second)
	both.Merge(more)
	both.Add(time.Millisecond)
	if both.Count() != 3 || both.Sum() != 2*time.Second+time.Millisecond || both.Quantile(0.5) < 900*time.Millisecond {
		t.Errorf("%d durations, %s in all, median %s; want 3, 2.001s and about 1s", both.Count(), both.Sum(), both.Quantile(0.5))
	}
	if more.Count() != 2 {
		t.Errorf("the other has %d durations, want 2 as before", more.Count())
	}
}

func TestDifferencesMayBeNegative(t *testing.T) {
	s := &Differences{}
	if got := s.Quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: %s, want 0", got)
	}
	for _, ms := range []int{-300, -200, -100, 0, 100, 200, 300} {
		s.Add(time.Duration(ms) * time.Millisecond)
	}
	for i, want := range []int{-300, -200, -100, 0, 100, 200, 300} {
		got := s.Quantile(float64(i)/6).Seconds() * 1000
		if math.Abs(got-float64(want)) > math.Abs(float64(want))/16 {
			t.Errorf("quantile %d/7: %v ms, want %d", i+1, got, want)
		}
	}
}
