package compare

import (
	"math/rand"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// Two versions that are as fast are never called slower or faster, however their latencies
// vary, and one that is slower now and then is so in the tail.
func TestSlowerIsSaidOnlyBeyondChance(t *testing.T) {
	const seed = 20261128 // the same each time: chance is what this is about
	r := rand.New(rand.NewSource(seed))
	service := func() time.Duration { return time.Duration(r.ExpFloat64()*20e6) + 2*time.Millisecond }
	tests := []struct {
		name    string
		n       int
		by      time.Duration // the shadow is slower, in each so many pairs
		each    int
		want    [3]int
		toldFor [3]bool
	}{
		{"as fast", 4000, 0, 1, [3]int{}, [3]bool{true, true, true}},
		{"20 ms slower", 4000, 20 * time.Millisecond, 1, [3]int{1, 1, 1}, [3]bool{true, true, true}},
		{"20 ms faster", 4000, -20 * time.Millisecond, 1, [3]int{-1, -1, -1}, [3]bool{true, true, true}},
		{"a second slower in three of a hundred", 4000, time.Second, 33, [3]int{0, 1, 1}, [3]bool{true, true, true}},
		{"a second slower, in few pairs", 120, time.Second, 1, [3]int{1, 1, 0}, [3]bool{true, true, false}},
		{"a second slower, in very few", 19, time.Second, 1, [3]int{}, [3]bool{}},
	}
	for _, test := range tests {
		a := &Account{Difference: &latency.Differences{}}
		for i := 0; i < test.n; i++ {
			live := service()
			shadow := service()
			if i%test.each == 0 {
				shadow += test.by
			}
			a.Difference.Add(shadow - live)
		}
		for i, q := range []float64{0.5, 0.9, 0.99} {
			sign, enough := a.Slower(q)
			if enough != test.toldFor[i] || sign != test.want[i] {
				t.Errorf("%s, %v: %d %v, want %d %v", test.name, q, sign, enough, test.want[i], test.toldFor[i])
			}
		}
	}
	if sign, enough := (&Account{}).Slower(0.5); sign != 0 || enough {
		t.Errorf("of nothing: %d %v", sign, enough)
	}
}
