package latency

import (
	"fmt"
	"time"
)

// Of a hundred answers one is slow. Quantiles are to within a sixteenth.
func ExampleHistogram() {
	h := &Histogram{}
	for i := 1; i <= 99; i++ {
		h.Add(10 * time.Millisecond)
	}
	h.Add(2 * time.Second)

	fmt.Println(h.Count(), "answers in", h.Sum())
	fmt.Println("half within", h.Quantile(0.5))
	fmt.Println("all within", h.Quantile(1))
	// Output:
	// 100 answers in 2.99s
	// half within 9.728ms
	// all within 2.031616s
}
