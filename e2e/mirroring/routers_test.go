package mirroring

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	pairs      = 8   // routers with a mirror and a shadow of its own
	perRouter  = 300 // requests
	concurrent = 16
)

// routerBody is the body of a router's i-th request, of a size of its own.
func routerBody(router string, i int) string {
	return fmt.Sprintf("%s/%d;%s", router, i, testbed.Payload(i*37%5000))
}

// load sends perRouter requests to each router from concurrent clients, all
// routers mixed.
func load(t *testing.T, client *http.Client, traefik *testbed.Traefik, routers []string) {
	t.Helper()
	type job struct {
		router string
		i      int
	}
	jobs := make(chan job)
	var clients sync.WaitGroup
	for range concurrent {
		clients.Go(func() {
			for j := range jobs {
				// Every third body without its length, which is another way
				// through the plugin.
				var body io.Reader = strings.NewReader(routerBody(j.router, j.i))
				if j.i%3 == 0 {
					body = io.MultiReader(body)
				}
				req, err := http.NewRequestWithContext(t.Context(), "POST", traefik.URL(fmt.Sprintf("/%s/%d", j.router, j.i)), body)
				if err != nil {
					t.Error(err)
					continue
				}
				req.Host = testbed.HostOf(j.router)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					continue
				}
				answer, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := `{"upstream":"live"}`; err != nil || resp.StatusCode != http.StatusOK || string(answer) != want {
					t.Errorf("%s/%d: answer %s %q (%v), want 200 %s", j.router, j.i, resp.Status, answer, err, want)
				}
			}
		})
	}
	for i := range perRouter {
		for _, router := range routers {
			jobs <- job{router, i}
		}
	}
	close(jobs)
	clients.Wait()
}

// check complains unless the upstream got every request of each router once for
// each marker, with its own body, and nothing else.
func check(t *testing.T, u *testbed.Upstream, who string, want map[string][]string) {
	t.Helper()
	expected := map[string]string{} // by marker and target
	for router, markers := range want {
		for i := range perRouter {
			for _, marker := range markers {
				expected[fmt.Sprintf("%s /%s/%d", marker, router, i)] = routerBody(router, i)
			}
		}
	}
	for _, r := range recorded(t, u, len(expected)) {
		key := r.Header.Get(testbed.MarkerHeader) + " " + r.RequestURI
		body, ok := expected[key]
		delete(expected, key)
		if !ok {
			t.Errorf("%s got %q, which is not for it or was there before", who, key)
		} else if !bytes.Equal(r.Body, []byte(body)) {
			t.Errorf("%s got %q with body %.60q, want %.60q", who, key, r.Body, body)
		}
	}
}

// However many mirrors are at work at once, each request is at its own shadow,
// once, with its own body. After that nothing is left of it all.
func TestManyRoutersAndMirrors(t *testing.T) {
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shared := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shared"})
	first := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "first"})
	second := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "second"})
	options := func(u *testbed.Upstream) testbed.Values {
		return testbed.Values{"url": u.URL(), "maxInFlight": 4 * perRouter, "timeout": "60s"}
	}

	dynamic := billing(live)
	var routers []string
	shadows := map[string]*testbed.Upstream{}
	upstreams := []*testbed.Upstream{live, shared, first, second}
	for i := range pairs {
		name := fmt.Sprintf("ledger-%d", i)
		shadows[name] = testbed.RunUpstream(t, testbed.UpstreamOptions{Name: name})
		upstreams = append(upstreams, shadows[name])
		dynamic.Mirror(name, options(shadows[name])).Router(name, testbed.RuleOf(name), "billing", name)
		routers = append(routers, name)
	}
	dynamic.Mirror("shared", options(shared)).
		Router("north", testbed.RuleOf("north"), "billing", "shared").
		Router("south", testbed.RuleOf("south"), "billing", "shared").
		Mirror("first", options(first)).
		Mirror("second", options(second)).
		Router("chain", testbed.RuleOf("chain"), "billing", "first", "second")
	routers = append(routers, "north", "south", "chain")

	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "INFO", Dynamic: dynamic})
	client := traefik.Client()
	stop := func() {
		client.CloseIdleConnections()
		for _, u := range upstreams {
			u.Stop()
		}
	}

	// Counted after a warm-up: what is made once stays.
	for _, router := range routers {
		expect(t, traefik, http.StatusOK, head("GET", "/warm-up", testbed.HostOf(router)))
	}
	for _, u := range upstreams[1:] {
		arrived(t, u, 1)
	}
	stop()
	descriptors, goroutines := settled(t, traefik)
	for _, u := range upstreams {
		if err := u.Restart(); err != nil {
			t.Fatal(err)
		}
		u.Reset()
	}

	load(t, client, traefik, routers)

	want := map[string][]string{}
	for _, router := range routers {
		want[router] = []string{""}
	}
	check(t, live, "live", want)
	for name, u := range shadows {
		check(t, u, name, map[string][]string{name: {testbed.Marker(name)}})
	}
	check(t, shared, "shared", map[string][]string{"north": {testbed.Marker("shared")}, "south": {testbed.Marker("shared")}})
	check(t, first, "first", map[string][]string{"chain": {testbed.Marker("first")}})
	check(t, second, "second", map[string][]string{"chain": {testbed.Marker("second")}})

	stop()
	testbed.Eventually(t, patience, func() error {
		d, err := traefik.Descriptors()
		if err != nil {
			return err
		}
		g, err := traefik.Goroutines(t.Context())
		if err != nil {
			return err
		}
		if d > descriptors+2 || g > goroutines+2 {
			return fmt.Errorf("%d descriptors and %d goroutines, %d and %d before the load", d, g, descriptors, goroutines)
		}
		return nil
	})
}

// settled returns Traefik's figures once two looks in a row agree.
func settled(t *testing.T, traefik *testbed.Traefik) (descriptors, goroutines int) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		d, err := traefik.Descriptors()
		if err != nil {
			return err
		}
		g, err := traefik.Goroutines(t.Context())
		if err != nil {
			return err
		}
		same := d == descriptors && g == goroutines
		descriptors, goroutines = d, g
		if !same {
			return fmt.Errorf("%d descriptors and %d goroutines, and still changing", d, g)
		}
		return nil
	})
	return descriptors, goroutines
}
