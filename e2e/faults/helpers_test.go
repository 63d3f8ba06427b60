// Package faults tests that live traffic does not notice what goes wrong around
// it: shadows that fail in every way that a network allows, and clients that do
// not keep to the protocol. Everything runs in the real Traefik.
package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	// patience bounds waits for what should come soon. It is long because only a
	// test that fails waits for its end.
	patience = 40 * time.Second

	// workers is how many connections the load comes on.
	workers = 8
)

// runLive starts a live upstream that tells every client its own answer.
func runLive(t *testing.T) *testbed.Upstream {
	t.Helper()
	return testbed.RunUpstream(t, testbed.UpstreamOptions{
		Name:      "live",
		BodyLimit: 256, // the checksum is that of the whole body
		Handler:   http.HandlerFunc(testbed.Book),
	})
}

// A load is traffic with bodies of which each is unique.
type load struct {
	traefik *testbed.Traefik
	live    *testbed.Upstream
	size    int         // of each body, in bytes
	header  http.Header // of each request
	client  *http.Client

	sent atomic.Int64
	mu   sync.Mutex
	sums map[[sha256.Size]byte]bool // of the bodies that were sent
}

func newLoad(t *testing.T, traefik *testbed.Traefik, live *testbed.Upstream, size int) *load {
	transport := &http.Transport{MaxConnsPerHost: workers, MaxIdleConnsPerHost: workers, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &load{
		traefik: traefik, live: live, size: size,
		client: &http.Client{Transport: transport, Timeout: patience},
		sums:   map[[sha256.Size]byte]bool{},
	}
}

// run sends n requests to each router, in turns, and returns how long each took.
// The test fails unless every one gets live's answer to it.
func (l *load) run(t *testing.T, n int, routers ...string) map[string][]time.Duration {
	t.Helper()
	var (
		took   = map[string][]time.Duration{}
		mu     sync.Mutex
		next   atomic.Int64
		failed atomic.Int64
		group  sync.WaitGroup
	)
	for range workers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n*len(routers) {
					return
				}
				router := routers[i%len(routers)]
				start := time.Now()
				err := l.send(router)
				d := time.Since(start)
				if err != nil {
					if failed.Add(1) <= 5 {
						t.Errorf("%s: %v", router, err)
					}
					continue
				}
				mu.Lock()
				took[router] = append(took[router], d)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if n := failed.Load(); n > 0 {
		t.Fatalf("%d live requests failed, want none", n)
	}
	return took
}

// send sends one invoice and complains unless live's answer to it comes back.
func (l *load) send(router string) error {
	id := l.sent.Add(1)
	body := fmt.Appendf(nil, `{"invoice":"2024-%06d","customer":"Meyer & Söhne","total":"119.00","note":"`, id)
	body = append(body, bytes.Repeat([]byte("x"), max(0, l.size-len(body)-2))...)
	body = append(body, `"}`...)
	l.mu.Lock()
	l.sums[sha256.Sum256(body)] = true
	l.mu.Unlock()

	target := fmt.Sprintf("/invoices/%d", id)
	if err := testbed.CheckBooked(l.client, l.traefik.URL(target), testbed.HostOf(router), l.header, body); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}

// check fails the test unless live got every body that was sent exactly once,
// and nothing else.
func (l *load) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	got := map[[sha256.Size]byte]int{}
	for _, r := range l.live.Requests() {
		got[r.BodySHA256]++
		if !l.sums[r.BodySHA256] || r.BodyErr != nil {
			t.Errorf("live got %s with a body that was not sent, of %d bytes (%v)", r.RequestURI, r.BodySize, r.BodyErr)
		}
	}
	for sum := range l.sums {
		if got[sum] != 1 {
			t.Errorf("live got a request %d times, want once", got[sum])
		}
	}
}

// Figures are what a Traefik takes of its machine.
type figures struct {
	descriptors, goroutines int
	rss                     int64 // bytes
}

func measure(t *testing.T, traefik *testbed.Traefik) figures {
	t.Helper()
	f, err := look(t.Context(), traefik)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func look(ctx context.Context, traefik *testbed.Traefik) (f figures, err error) {
	if f.goroutines, err = traefik.Goroutines(ctx); err != nil {
		return f, err
	}
	if f.descriptors, err = traefik.Descriptors(); err != nil {
		return f, err
	}
	f.rss, err = traefik.RSS()
	return f, err
}

// watch measures until it is told to stop, and returns the largest figures.
func watch(t *testing.T, traefik *testbed.Traefik) (stop func() figures) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	most := make(chan figures, 1)
	go func() {
		var m figures
		for ctx.Err() == nil {
			// One that fails because the watch was ended counts for nothing.
			if f, err := look(ctx, traefik); err == nil {
				m = figures{max(m.descriptors, f.descriptors), max(m.goroutines, f.goroutines), max(m.rss, f.rss)}
			}
			select {
			case <-time.After(40 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		most <- m
	}()
	return func() figures {
		t.Helper()
		cancel()
		m := <-most
		if m == (figures{}) {
			t.Fatal("nothing was measured")
		}
		return m
	}
}

// settle waits until Traefik takes no more of the machine than it did at base,
// but for the connections that it may keep for later.
func settle(t *testing.T, traefik *testbed.Traefik, base figures, kept func() int) figures {
	t.Helper()
	const stray = 4 // a connection of the client's or to live that base did not have yet
	var now figures
	testbed.Eventually(t, patience, func() error {
		now = measure(t, traefik)
		kept := kept()
		if limit := base.descriptors + kept + stray; now.descriptors > limit {
			return fmt.Errorf("%d descriptors, want at most %d: %d before and %d connections kept", now.descriptors, limit, base.descriptors, kept)
		}
		if limit := base.goroutines + 2*kept + 2*stray; now.goroutines > limit {
			return fmt.Errorf("%d goroutines, want at most %d: %d before and %d connections kept", now.goroutines, limit, base.goroutines, kept)
		}
		return nil
	})
	return now
}

// logged returns the lines that the middleware called name has logged.
func logged(traefik *testbed.Traefik, name string) []string {
	var list []string
	for line := range strings.Lines(traefik.Log()) {
		if _, text, found := strings.Cut(line, "mirror: middleware "+testbed.Marker(name)+": "); found {
			list = append(list, strings.TrimSpace(text))
		}
	}
	return list
}

// waitLogged waits until the middleware called name has logged text.
func waitLogged(t *testing.T, traefik *testbed.Traefik, name, text string) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		lines := logged(traefik, name)
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, text) }) {
			return fmt.Errorf("%s has logged %q, want a line with %q", name, lines, text)
		}
		return nil
	})
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// from returns how many of the requests the middleware called name sent.
func from(requests []testbed.Request, name string) int {
	n := 0
	for _, r := range requests {
		if r.Header.Get(testbed.MarkerHeader) == testbed.Marker(name) {
			n++
		}
	}
	return n
}
