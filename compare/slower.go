package compare

import (
	"math"
	"time"
)

// How many pairs it takes to say something of a quantile of their latencies.
var enoughFor = map[float64]int64{0.5: 20, 0.9: 100, 0.99: SlowMinimum}

// Slower says whether the shadow is slower than live by more than chance, pair by pair, in
// the quantile q of the differences: 0.5, 0.9 or 0.99. It returns 1 if it is, -1 if it is
// faster, 0 if there is no telling, and whether there are enough pairs to ask.
//
// Two versions that are as fast as each other differ too, and as often one way as the other.
// So the pairs in which the shadow is slower by that quantile or more are held against those
// in which it is faster by as much: a coin that is fair shows such numbers less than once in
// a thousand times where it is said to be slower.
func (a *Account) Slower(q float64) (sign int, enough bool) {
	least := enoughFor[q]
	if a.Difference == nil || a.Difference.Count() < least {
		return 0, false
	}
	// The median of the differences is near 0 where neither is faster: there all count.
	by := time.Microsecond
	if d := a.Difference.Quantile(q); q > 0.5 {
		by = time.Duration(math.Abs(float64(d)))
	}
	slower, faster := a.Difference.Beyond(by)
	switch {
	case atLeast(slower, slower+faster) < unlikely:
		return 1, true
	case atLeast(faster, slower+faster) < unlikely:
		return -1, true
	}
	return 0, true
}
