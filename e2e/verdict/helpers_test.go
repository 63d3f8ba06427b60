// Package verdict tests what the plugin finds out by comparing and counting,
// through the real Traefik: that it is right, that it says nothing that it was
// told to keep to itself, and that live does not notice.
package verdict

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

const (
	// patience bounds waits for what should come soon. It is long because only a
	// test that fails waits for its end.
	patience = 40 * time.Second

	// workers is how many connections the load comes on.
	workers = 12

	middleware = "shadow-billing"
)

// upstream starts an upstream that answers by handler; with nil, with its name.
func upstream(t *testing.T, name string, handler http.HandlerFunc) *testbed.Upstream {
	t.Helper()
	opts := testbed.UpstreamOptions{Name: name}
	if handler != nil { // or it would be an interface that is not nil
		opts.Handler = handler
	}
	return testbed.RunUpstream(t, opts)
}

// settled waits until the middleware has nothing under way, and returns what is
// known of it then.
func settled(t *testing.T, traefik *testbed.Traefik, name string) *report.Middleware {
	t.Helper()
	var r *report.Middleware
	testbed.Eventually(t, patience, func() error {
		if r = traefik.MustReport(t, name); r.InFlight > 0 {
			return fmt.Errorf("%s: %d under way", name, r.InFlight)
		}
		return nil
	})
	return r
}

// reported returns what the report router answers at path.
func reported(t *testing.T, traefik *testbed.Traefik, path string) string {
	t.Helper()
	text, err := traefik.Reported(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request of the router called name, with the trailer that the header
// announces, if it does.
func send(traefik *testbed.Traefik, name, method, target string, header http.Header, body io.Reader) (answer, error) {
	req, err := http.NewRequest(method, traefik.URL(target), body)
	if err != nil {
		return answer{}, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	req.Host = testbed.HostOf(name)
	for _, name := range req.Header["Trailer"] {
		req.Trailer = http.Header{name: {"9f86d081"}}
	}
	resp, err := traefik.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// get is send for requests that are to be answered with 200.
func get(t *testing.T, traefik *testbed.Traefik, name, target string) answer {
	t.Helper()
	a, err := send(traefik, name, http.MethodGet, target, nil, nil)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("%s%s: answered %d %.200q (%v), want 200", name, target, a.status, a.body, err)
	}
	return a
}

// inParallel calls f for 0 to n-1, on as many connections as there are workers,
// and fails the test with the first complaints.
func inParallel(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var next, failed atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil && failed.Add(1) <= 5 {
					t.Errorf("request %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	if n := failed.Load(); n > 0 {
		t.Fatalf("%d requests failed, want none", n)
	}
}

// writeJSON answers with a JSON text.
func writeJSON(rw http.ResponseWriter, text string) {
	rw.Header().Set("Content-Type", "application/json")
	io.WriteString(rw, text)
}

// number is the last part of a request's path.
func number(req *http.Request) string {
	return req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
}
