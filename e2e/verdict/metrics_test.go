package verdict

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

// readMetrics returns the values of all series, by name and labels as they are written.
func readMetrics(t *testing.T, text string) map[string]string {
	t.Helper()
	metrics := map[string]string{}
	for line := range strings.Lines(text) {
		if series, value, found := strings.Cut(strings.TrimSpace(line), "} "); found && !strings.HasPrefix(line, "#") {
			metrics[series+"}"] = value
		}
	}
	if len(metrics) == 0 {
		t.Fatal("there are no metrics")
	}
	return metrics
}

// checkVerdict fails the test unless the metrics say of what was compared what report.json
// says.
func checkVerdict(t *testing.T, metrics map[string]string, r *report.Middleware) {
	t.Helper()
	for result, outcome := range map[string]string{"match": compare.Match, "differs": compare.Mismatch, "skipped": compare.Skipped} {
		sum := int64(0)
		for series, value := range metrics {
			if !strings.HasPrefix(series, fmt.Sprintf("mirror_endpoint_pairs_total{middleware=%q,", r.Name)) || !strings.HasSuffix(series, fmt.Sprintf(",result=%q}", result)) {
				continue
			}
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Errorf("metrics: %s is %q", series, value)
			}
			sum += n
		}
		if sum != r.Compared[outcome] {
			t.Errorf("metrics: %d pairs of all endpoints are %s, want %d", sum, result, r.Compared[outcome])
		}
	}
	c := r.Comparison
	if c == nil {
		return
	}
	want := map[string]int64{}
	for _, state := range report.States {
		want["mirror_comparison_state{state="+strconv.Quote(state)] = 0
	}
	want["mirror_comparison_state{state="+strconv.Quote(c.State)] = 1
	pairs := map[string]int64{compare.Real: c.Real, compare.Undecided: c.Undecided, compare.Noise: c.Noise, compare.Ignored: c.Ignored}
	differences := map[string]int64{}
	for _, d := range c.Differences {
		differences[d.Judgement]++
	}
	same := c.Compared
	for judgement, n := range pairs {
		want["mirror_comparison_pairs{judgement="+strconv.Quote(judgement)] = n
		want["mirror_differences{judgement="+strconv.Quote(judgement)] = differences[judgement]
		same -= n
	}
	want[`mirror_comparison_pairs{judgement="same"`] = same
	want["mirror_comparison_start_time_seconds{"] = c.Since.Unix()
	want["mirror_compared_live_request_duration_seconds_count{"] = r.ComparedLive.Count
	want["mirror_compared_shadow_request_duration_seconds_count{"] = r.ComparedShadow.Count
	for reason, n := range r.Skipped {
		want["mirror_skipped_pairs_total{reason="+strconv.Quote(reason)] = n
	}
	if c.Control != nil {
		want["mirror_control_unfit_endpoints{"] = int64(len(c.Control.Unfit))
		maps.Copy(want, map[string]int64{
			`mirror_control_pairs_total{result="answered"`: c.Control.Answered,
			`mirror_control_pairs_total{result="failed"`:   c.Control.Failed,
			`mirror_control_pairs_total{result="paused"`:   c.Control.Skipped,
		})
	}
	for series, n := range want {
		if got := metrics[full(series, r.Name)]; got != fmt.Sprint(n) {
			t.Errorf("metrics: %s is %q, want %d", full(series, r.Name), got, n)
		}
	}
}

// full is a series of a middleware: name{ or name{label="value" with all its labels.
func full(series, middleware string) string {
	name, labels, _ := strings.Cut(series, "{")
	if labels != "" {
		labels = "," + labels
	}
	return fmt.Sprintf("%s{middleware=%q%s}", name, middleware, labels)
}
