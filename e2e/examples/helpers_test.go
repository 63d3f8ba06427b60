// Package examples drives every example of the examples folder in the real
// Traefik, and holds it to what its README promises.
package examples

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// patience bounds waits for what should come soon. It is long because only a
// test that fails waits for its end.
const patience = 20 * time.Second

const invoice = `{"invoice":"2024-00117","customer":"Meyer & Söhne","total":"119.00"}`

// The addresses in the files.
const (
	liveAddress   = "127.0.0.1:8081"
	shadowAddress = "127.0.0.1:8082"
	secondAddress = "127.0.0.1:8083" // another shadow, or the shadow's second server
	innerAddress  = "127.0.0.1:8001" // the entry point for copies
)

func folder(t *testing.T, elements ...string) string {
	t.Helper()
	root := testbed.MustRepoRoot(t)
	return filepath.Join(append([]string{root, "examples"}, elements...)...)
}

// runTraefik starts Traefik with the static configuration of the file, in which
// only addresses are replaced.
func runTraefik(t *testing.T, file string, addresses map[string]string) *testbed.Traefik {
	t.Helper()
	static := loadFile(t, file)
	// testbed gives Traefik a free port and writes the dynamic file: these two
	// are taken out, so that its own stand.
	for _, path := range [][]any{{"entryPoints", testbed.Web, "address"}, {"providers", "file", "filename"}} {
		if _, err := testbed.Take(static, path); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	replaceAddresses(t, file, static, addresses)
	return testbed.RunTraefik(t, testbed.Options{Static: static})
}

// load has Traefik serve the dynamic configuration of the example, in which only
// addresses are replaced.
func load(t *testing.T, traefik *testbed.Traefik, example string, addresses map[string]string) {
	t.Helper()
	loadNamed(t, traefik, example, "dynamic.yml", addresses)
}

// loadNamed is load for an example of several configurations.
func loadNamed(t *testing.T, traefik *testbed.Traefik, example, name string, addresses map[string]string) {
	t.Helper()
	file := folder(t, example, name)
	dynamic := loadFile(t, file)
	replaceAddresses(t, file, dynamic, addresses)
	traefik.MustReload(t, dynamic)
}

func loadFile(t *testing.T, file string) map[string]any {
	t.Helper()
	tree, err := testbed.LoadYAML(file)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

var localAddress = regexp.MustCompile(`(127\.0\.0\.1|localhost)?:\d+`)

// replaceAddresses replaces addresses wherever they are in the tree, and fails
// the test for one that is not there, and for one that stays as it is.
func replaceAddresses(t *testing.T, file string, tree any, addresses map[string]string) {
	t.Helper()
	used := map[string]bool{}
	mapTexts(tree, func(text string) string {
		return localAddress.ReplaceAllStringFunc(text, func(address string) string {
			if addresses[address] == "" {
				t.Errorf("%s has the address %s, which the test does not know", file, address)
			}
			used[address] = true
			return addresses[address]
		})
	})
	for address := range addresses {
		if !used[address] {
			t.Errorf("%s does not have the address %s", file, address)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// mapTexts returns the tree with every text in it, keys apart, replaced by what
// change makes of it.
func mapTexts(tree any, change func(string) string) any {
	switch at := tree.(type) {
	case map[string]any:
		for key, value := range at {
			at[key] = mapTexts(value, change)
		}
	case []any:
		for i, value := range at {
			at[i] = mapTexts(value, change)
		}
	case string:
		return change(at)
	}
	return tree
}

func runUpstream(t *testing.T, name string) *testbed.Upstream {
	t.Helper()
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: name})
}

// send makes a request at the entry point "web", and fails the test unless it is
// answered 200. headers are names and values in turn.
func send(t *testing.T, traefik *testbed.Traefik, method, target, body string, headers ...string) {
	t.Helper()
	if got := status(t, traefik.Client(), method, traefik.URL(target), body, headers...); got != http.StatusOK {
		t.Fatalf("%s %s: answered %d, want 200", method, target, got)
	}
}

func status(t *testing.T, client *http.Client, method, url, body string, headers ...string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

var lasts atomic.Int64

// copies waits until the shadow has got so many requests, and one that is sent
// now, which may overtake them, and returns all but the latter. A copy that it
// should not get, made earlier, is among them. sendLast sends a request that is
// mirrored, to a target that ends as it is told.
func copies(t *testing.T, shadow *testbed.Upstream, n int, sendLast func(end string)) []testbed.Request {
	t.Helper()
	end := fmt.Sprintf("/last-%d", lasts.Add(1))
	sendLast(end)
	var got []testbed.Request
	testbed.Eventually(t, patience, func() error {
		got = shadow.Requests()
		others := 0
		for _, r := range got {
			if !strings.Contains(r.RequestURI, "/last-") {
				others++
			}
		}
		if others < n {
			return fmt.Errorf("the shadow got %d requests, want %d: %s", others, n, testbed.Lines(got))
		}
		if !slices.ContainsFunc(got, func(r testbed.Request) bool { return strings.HasSuffix(r.RequestURI, end) }) {
			return fmt.Errorf("the shadow did not get the last request, but %s", testbed.Lines(got))
		}
		return nil
	})
	return slices.DeleteFunc(got, func(r testbed.Request) bool { return strings.Contains(r.RequestURI, "/last-") })
}

// only returns the one request that there should be.
func only(t *testing.T, who string, requests []testbed.Request) testbed.Request {
	t.Helper()
	if len(requests) != 1 {
		t.Fatalf("%s got %d requests, want one: %s", who, len(requests), testbed.Lines(requests))
	}
	return requests[0]
}

// same fails the test unless the requests are those wanted, in any order, each
// as method and target.
func same(t *testing.T, who string, requests []testbed.Request, want ...string) {
	t.Helper()
	var got []string
	for _, r := range requests {
		got = append(got, r.Method+" "+r.RequestURI)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", who, got, want)
	}
}
