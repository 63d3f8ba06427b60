package faults

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// metric returns the sum of the samples of the family that are about the
// middleware called name and have all the labels, each of the form kind="timeout".
// The configuration needs a router as [testbed.Dynamic.Report] adds.
func metric(t *testing.T, traefik *testbed.Traefik, name, family string, labels ...string) int {
	t.Helper()
	return metricIn(t, metrics(t, traefik), name, family, labels...)
}

// metrics returns all of them, as they are now. They are made once a second at most.
func metrics(t *testing.T, traefik *testbed.Traefik) string {
	t.Helper()
	text, err := traefik.Reported(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metricIn is metric for those that were read already.
func metricIn(t *testing.T, text, name, family string, labels ...string) int {
	t.Helper()
	sum := 0.0
	labels = append(labels, `middleware="`+testbed.Marker(name)+`"`)
samples:
	for line := range strings.Lines(text) {
		of, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(of, family+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(of, label) {
				continue samples
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		sum += n
	}
	return int(sum)
}

// waitMetric waits until a metric is what it should be.
func waitMetric(t *testing.T, traefik *testbed.Traefik, name string, want int, family string, labels ...string) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		if got := metric(t, traefik, name, family, labels...); got != want {
			return fmt.Errorf("%s: %s%q is %d, want %d", name, family, labels, got, want)
		}
		return nil
	})
}

// get asks the router for the target and complains unless live answers 2xx.
func get(t *testing.T, traefik *testbed.Traefik, router, target string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, traefik.URL(target), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = testbed.HostOf(router)
	resp, err := traefik.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s%s: live answered %s (%v), want 2xx", router, target, resp.Status, err)
	}
}

// getUntilPaused asks until the mirror leaves its shadow alone.
func getUntilPaused(t *testing.T, traefik *testbed.Traefik, router string) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		for range 10 {
			get(t, traefik, router, "/invoices/lost")
		}
		time.Sleep(20 * time.Millisecond) // the copies are under way yet
		if metric(t, traefik, router, "mirror_paused") != 1 {
			return fmt.Errorf("%s: the shadow fails and is not left alone", router)
		}
		return nil
	})
}
