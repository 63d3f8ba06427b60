package verdict

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// checkForms fails the test unless the page and the metrics say what report.json
// says.
func checkForms(t *testing.T, traefik *testbed.Traefik, names ...string) {
	t.Helper()
	metrics := readMetrics(t, reported(t, traefik, "/metrics"))
	for _, name := range names {
		r := traefik.MustReport(t, name)
		checkMetrics(t, metrics, r)
		checkVerdict(t, metrics, r)
		checkPage(t, mirrorPage(t, traefik, name, everything...), r)
	}
}

func checkMetrics(t *testing.T, metrics map[string]string, r *report.Middleware) {
	t.Helper()
	want := map[string]int64{
		"mirror_eligible_requests_total{}":                         r.Eligible,
		"mirror_mirrored_requests_total{}":                         r.Mirrored,
		"mirror_request_body_bytes_total{}":                        r.RequestBytes,
		"mirror_shadow_response_body_bytes_total{}":                r.AnswerBytes,
		"mirror_in_flight_requests{}":                              0,
		"mirror_paused{}":                                          0,
		"mirror_shadow_request_duration_seconds_count{}":           r.ShadowLatency.Count,
		`mirror_shadow_request_duration_seconds_bucket{le="+Inf"}`: r.ShadowLatency.Count,
	}
	for label, counts := range map[string]map[string]int64{
		"mirror_lost_requests_total{reason":    r.Lost,
		"mirror_dropped_requests_total{reason": r.Dropped,
		"mirror_failed_requests_total{kind":    r.Failed,
		"mirror_shadow_responses_total{code":   r.Answers,
	} {
		for value, n := range counts {
			want[fmt.Sprintf("%s=%q}", label, value)] = n
		}
	}
	for series, n := range want {
		series = full(strings.TrimSuffix(series, "}"), r.Name)
		if got := metrics[series]; got != fmt.Sprint(n) {
			t.Errorf("metrics: %s is %q, want %d", series, got, n)
		}
	}
}

func checkPage(t *testing.T, page node, r *report.Middleware) {
	t.Helper()
	facts := map[string]string{"Mirrored": report.Count(r.Mirrored), "Lost": "none", "In flight": "0"}
	if lost := r.Eligible - r.Mirrored - r.Dropped["sampling"]; lost > 0 {
		facts["Lost"] = report.Count(lost) + " of " + report.Count(lost+r.Mirrored)
	}
	if n := r.Dropped["sampling"]; n > 0 {
		facts["Sampled out"] = report.Count(n)
	}
	for class, n := range r.Answers {
		if n > 0 {
			facts["Answers "+class] = report.Count(n)
		}
	}
	got := page.facts()
	for name, want := range facts {
		if got[name] != want {
			t.Errorf("the page of %s: %s is %q, want %q", r.Name, name, got[name], want)
		}
	}
	tallies := map[string]string{}
	for _, counts := range []map[string]int64{r.Failed, r.Dropped} {
		for reason, n := range counts {
			title := "Not to be mirrored"
			if slices.Contains(report.LossReasons, reason) {
				title = "Lost"
			}
			if n > 0 {
				tallies[title+": "+reason] = report.Count(n)
			}
		}
	}
	if r.Comparison == nil {
		if got := page.tallies(); !maps.Equal(got, tallies) {
			t.Errorf("the page of %s: losses %v, want %v", r.Name, got, tallies)
		}
		return
	}
	for reason, n := range r.Comparison.Skipped {
		if n > 0 {
			tallies["Mirrored, but not compared: "+reason] = report.Count(n)
		}
	}
	if got := page.tallies(); !maps.Equal(got, tallies) {
		t.Errorf("the page of %s: losses %v, want %v", r.Name, got, tallies)
	}
	if got := page.all("p", "verdict")[0].text(); got != r.Comparison.Headline {
		t.Errorf("the page of %s: %q, want %q", r.Name, got, r.Comparison.Headline)
	}
	differences := page.differences()
	if len(differences) != len(r.Comparison.Differences) {
		t.Errorf("the page of %s: %d differences %v, want %d", r.Name, len(differences), differences, len(r.Comparison.Differences))
	}
	for _, d := range r.Comparison.Differences {
		if got := differences[strings.TrimSpace(d.Endpoint+" "+d.Key+" "+d.Relation)]; !strings.HasPrefix(got, report.Count(d.Count)+" of ") {
			t.Errorf("the page of %s: %s of %s in %q, want %d", r.Name, d.Key, d.Endpoint, got, d.Count)
		}
	}
	cells := int64(0)
	for _, cell := range page.all("td", "number") {
		if n, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimPrefix(cell.text(), "≠ "), ",", ""), 10, 64); err == nil && (hasClass(cell.Node, "same") || hasClass(cell.Node, "other")) {
			cells += n
		}
	}
	if cells != r.Comparison.Compared {
		t.Errorf("the page of %s: %d pairs of statuses, want %d", r.Name, cells, r.Comparison.Compared)
	}
}
