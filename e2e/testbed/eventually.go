package testbed

import (
	"context"
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

// Await returns what comes from the channel, and fails the test when that takes
// longer than patience.
func Await[T any](tb testing.TB, patience time.Duration, what string, c <-chan T) T {
	tb.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		tb.Fatalf("%s: nothing after %s", what, patience)
		panic("unreachable")
	}
}

// Within returns the test's context, which ends after d.
func Within(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(tb.Context(), d)
	tb.Cleanup(cancel)
	return ctx
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
