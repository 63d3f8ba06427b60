package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// runSlow starts a shadow that answers a request each time something is sent to the
// channel.
func runSlow(t *testing.T) (shadow *testbed.Upstream, answer chan<- bool) {
	t.Helper()
	gate := make(chan bool)
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-gate:
		case <-req.Context().Done():
		}
	})}), gate
}

// A mirror whose options have changed is about another shadow. What the old one
// answers yet says nothing about the new one: neither that it is well, nor that its
// failures are not in a row.
func TestLateAnswersAreNotTheNewShadows(t *testing.T) {
	const (
		router  = "shadow-billing"
		pending = 3
	)
	tests := []struct {
		name string

		// before and after are how many requests the new shadow fails before the old one
		// answers its last ones and after.
		before, after int
	}{
		{"while the new shadow is left alone", 10, 0},
		{"while the new shadow fails", 9, 1},
		{"between the new shadow's failures", 5, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			old, answer := runSlow(t)
			next := runWard(t, func(net.Conn, <-chan struct{}) {}) // closes at once
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			mirroringTo := func(url string) testbed.Dynamic {
				return testbed.Dynamic{}.
					Service("billing", live.URL()).
					Report().
					Mirror(router, testbed.Values{"url": url, "timeout": "5m", "maxPause": "5m"}).
					Router(router, testbed.RuleOf(router), "billing", router)
			}
			traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: mirroringTo(old.URL())})
			for range pending {
				get(t, traefik, router, "/invoices/old")
			}
			testbed.Eventually(t, patience, func() error {
				if got := old.Count(); got < pending {
					return fmt.Errorf("%d of %d requests are with the old shadow", got, pending)
				}
				return nil
			})
			traefik.MustReload(t, mirroringTo(next.URL()))

			failed := 0
			fail := func(n int) {
				t.Helper()
				for range n {
					get(t, traefik, router, "/invoices/new")
				}
				failed += n
				waitMetric(t, traefik, router, failed, "mirror_failed_requests_total")
			}
			fail(test.before)
			waitMetric(t, traefik, router, test.before/10, "mirror_paused")
			for i := range pending {
				answer <- true
				waitMetric(t, traefik, router, i+1, "mirror_mirrored_requests_total")
			}
			waitMetric(t, traefik, router, 0, "mirror_in_flight_requests") // it is all over
			fail(test.after)
			waitMetric(t, traefik, router, 0, "mirror_in_flight_requests")
			if metric(t, traefik, router, "mirror_paused") != 1 {
				t.Errorf("the new shadow failed %d times in a row and is not left alone, since the old one has answered", failed)
			}
			// Those that follow are dropped, but for a probe now and then: not ten of them.
			for range 15 {
				get(t, traefik, router, "/invoices/more")
			}
			if got := metric(t, traefik, router, "mirror_failed_requests_total"); got >= failed+10 {
				t.Errorf("the new shadow, which failed %d times in a row, was then asked %d times", failed, got-failed)
			}
		})
	}
}

// A shadow that fails, answers once, and fails again, has not recovered: it is left
// alone for longer each time, and the log does not tell of each time.
func TestShadowThatFlaps(t *testing.T) {
	const (
		router = "shadow-billing"
		flaps  = 8

		// A first failure, a first pause and its end, and then what is said at intervals.
		mostLines = 8
	)
	var well atomic.Bool // for one answer
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if well.CompareAndSwap(true, false) {
			io.WriteString(rw, `{"invoice":"2026-0042"}`)
			return
		}
		if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
			conn.Close()
		}
	})})
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: testbed.Dynamic{}.
		Service("billing", live.URL()).
		Report().
		Mirror(router, testbed.Values{"url": shadow.URL(), "maxPause": "4s"}).
		Router(router, testbed.RuleOf(router), "billing", router)})
	var last time.Duration // of the pauses, at most
	for range flaps {
		getUntilPaused(t, traefik, router)
		paused := time.Now()
		waitMetric(t, traefik, router, 0, "mirror_in_flight_requests") // or one of them would get the answer
		well.Store(true)
		testbed.Eventually(t, patience, func() error {
			time.Sleep(20 * time.Millisecond)
			get(t, traefik, router, "/invoices/probe")
			if well.Load() {
				return fmt.Errorf("the shadow, which is well, is left alone")
			}
			return nil
		})
		last = time.Since(paused)
	}
	if lines := logged(traefik, router); len(lines) > mostLines {
		t.Errorf("%d lines in the log about a shadow that flapped %d times, want at most %d:\n%s", len(lines), flaps, mostLines, strings.Join(lines, "\n"))
	}
	// The first pause lasts a second, a fifth longer or shorter, and so does each where
	// they do not grow. A busy machine makes them longer, never shorter.
	if least := 1500 * time.Millisecond; last < least {
		t.Errorf("pause %d lasted %s, want %s or more", flaps, last.Round(time.Millisecond), least)
	}
}
