// Package reloads tests that live traffic does not notice when the configuration
// changes while it flows, that no copy is lost or made twice by it, and that
// nothing is left of instances that were replaced. Everything runs in the real
// Traefik.
package reloads

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	// patience bounds waits for what should come soon, or 10 s after the last
	// reload, when a mirror that no router uses is removed. It is long because only
	// a test that fails waits for its end.
	patience = 60 * time.Second

	// workers is how many connections the load comes on.
	workers = 6

	revisionHeader = "X-Revision"
)

// eventuallyLetGo is testbed.Eventually for the connections of a mirror that is gone.
// Traefik v2 tells no plugin that its instance is, so with it they stay for as
// long as any idle connection does, which is 90 s.
func eventuallyLetGo(t *testing.T, traefik *testbed.Traefik, check func() error) {
	t.Helper()
	limit := patience
	if !traefik.Release().Has("v3.0.0") {
		limit += 90 * time.Second
	}
	testbed.Eventually(t, limit, check)
}

// runLive starts a live upstream that tells every client its own answer.
func runLive(t *testing.T) *testbed.Upstream {
	t.Helper()
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: http.HandlerFunc(testbed.Book)})
}

func runShadow(t *testing.T) *testbed.Upstream {
	t.Helper()
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
}

// A load is steady traffic on some connections to some routers in turns, with
// bodies of which each is unique.
type load struct {
	traefik *testbed.Traefik
	routers []string
	client  *http.Client
	stopped atomic.Bool
	done    sync.WaitGroup

	mu     sync.Mutex
	sent   map[string]map[string]string // router, target, body
	failed []error
}

func startLoad(t *testing.T, traefik *testbed.Traefik, routers ...string) *load {
	t.Helper()
	l := &load{traefik: traefik, routers: routers, sent: map[string]map[string]string{}}
	for _, router := range routers {
		l.sent[router] = map[string]string{}
	}
	transport := &http.Transport{MaxConnsPerHost: workers, MaxIdleConnsPerHost: workers, DisableCompression: true}
	l.client = &http.Client{Transport: transport, Timeout: patience}
	for worker := range workers {
		l.done.Go(func() {
			for i := 0; !l.stopped.Load(); i++ {
				l.send(routers[i%len(routers)], fmt.Sprintf("/invoices/%d-%d", worker, i))
				time.Sleep(5 * time.Millisecond) // steady, not as much as the machine can take
			}
		})
	}
	t.Cleanup(func() {
		l.stopped.Store(true)
		l.done.Wait()
		transport.CloseIdleConnections()
	})
	return l
}

func (l *load) send(router, target string) {
	body := fmt.Sprintf(`{"invoice":%q,"customer":"Meyer & Söhne","total":"119.00","note":%q}`, target, bytes.Repeat([]byte("x"), 500))
	l.mu.Lock()
	l.sent[router][target] = body
	l.mu.Unlock()
	if err := testbed.CheckBooked(l.client, l.traefik.URL(target), testbed.HostOf(router), nil, []byte(body)); err != nil {
		l.mu.Lock()
		l.failed = append(l.failed, fmt.Errorf("%s%s: %w", router, target, err))
		l.mu.Unlock()
	}
}

// stop ends the load and fails the test if a request failed.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.stopped.Store(true)
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.failed); n > 0 {
		t.Errorf("%d live requests failed, want none; the first: %v", n, l.failed[0])
	}
}

// count returns how many requests went to the router.
func (l *load) count(router string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent[router])
}

// wait returns when n more requests have gone to each router.
func (l *load) wait(t *testing.T, n int) {
	t.Helper()
	for _, router := range l.routers {
		want := l.count(router) + n
		testbed.Eventually(t, patience, func() error {
			if got := l.count(router); got < want {
				return fmt.Errorf("%d requests for %s, want %d", got, router, want)
			}
			return nil
		})
	}
}

// check fails the test unless the upstream got each request to the router once,
// with its body, or, where some may be missing, no more than once.
func (l *load) check(t *testing.T, what, router string, requests []testbed.Request, all bool) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	got := map[string]int{}
	for _, r := range requests {
		if r.Host != testbed.HostOf(router) {
			continue
		}
		got[r.RequestURI]++
		if want, sent := l.sent[router][r.RequestURI]; !sent || string(r.Body) != want {
			t.Errorf("%s got %s%s with the body %.80q, want %.80q", what, router, r.RequestURI, r.Body, want)
		}
	}
	lost, doubled := 0, 0
	for target := range l.sent[router] {
		switch n := got[target]; {
		case n == 0:
			lost++
		case n > 1:
			doubled++
		}
	}
	if doubled > 0 || all && lost > 0 {
		t.Errorf("%s lost %d of the %d requests for %s and got %d more than once, want each once", what, lost, len(l.sent[router]), router, doubled)
	}
}

// Figures are what a Traefik takes of its machine.
type figures struct {
	descriptors, goroutines int
	heap                    int64 // bytes in use after a collection
}

func (f figures) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %.1f MB of heap", f.descriptors, f.goroutines, float64(f.heap)/(1<<20))
}

func measure(t *testing.T, traefik *testbed.Traefik) figures {
	t.Helper()
	// It takes two collections to empty the pools.
	for range 2 {
		if _, err := traefik.HeapProfile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stats, err := traefik.MemStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	goroutines, err := traefik.Goroutines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	descriptors, err := traefik.Descriptors()
	if err != nil {
		t.Fatal(err)
	}
	return figures{descriptors, goroutines, int64(stats.HeapAlloc)}
}

// by returns the requests that the middleware called name sent.
func by(requests []testbed.Request, name string) []testbed.Request {
	return slices.DeleteFunc(slices.Clone(requests), func(r testbed.Request) bool {
		return r.Header.Get(testbed.MarkerHeader) != testbed.Marker(name)
	})
}
