package testbed

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Eventually returns when check does not complain any more, and fails the test
// with its last complaint when that takes longer than patience.
func Eventually(tb testing.TB, patience time.Duration, check func() error) {
	tb.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after %s: %v", patience, err)
		}
	}
}

// Payload returns n bytes of ledger lines that do not repeat within any short
// distance, so that a lost, doubled or exchanged piece shows.
func Payload(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%08d;Meyer & Soehne;119.00\n", i)
	}
	return b.String()[:n]
}
