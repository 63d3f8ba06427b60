package docs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

// quoted has each word as code.
func quoted(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

// The documentation has the metrics of the code, all of them, in its order, with the same
// meaning, and the values of their labels. Each has an anchor, to be linked to.
func TestMetricsAreThoseOfTheCode(t *testing.T) {
	page := readPage(t, "docs/metrics.md")

	var table strings.Builder
	table.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range report.Metrics {
		labels := ""
		if len(m.Labels) > 0 {
			labels = quoted(m.Labels)
		}
		fmt.Fprintf(&table, "| <a id=%q></a>`%s` | %s | %s | %s |\n", m.Name, m.Name, m.Type, labels, m.Help)
	}
	if !strings.Contains(page, "\n\n"+table.String()+"\n") {
		t.Errorf("docs/metrics.md lacks this table:\n%s", table.String())
	}

	words := map[report.Fate][]string{}
	for _, r := range report.Reasons {
		words[r.Fate] = append(words[r.Fate], r.Word)
	}
	for _, row := range []struct{ metric, label, values string }{
		{"mirror_lost_requests_total", "reason", quoted(report.LossReasons) + ". [What each means](troubleshooting.md#why-a-request-is-not-mirrored)"},
		{"mirror_dropped_requests_total", "reason", "Lost: " + quoted(words[report.Dropped]) + ". Left out: " + quoted(words[report.Unchosen]) + ". Not to be mirrored: " + quoted(words[report.Unfit])},
		{"mirror_failed_requests_total", "kind", quoted(report.FailureKinds)},
		{"mirror_shadow_responses_total", "code", quoted(report.AnswerClasses) + ". The last is 600 and above"},
		{"mirror_endpoint_pairs_total", "result", quoted(report.PairResults)},
		{"mirror_skipped_pairs_total", "reason", quoted(compare.Reasons) + ". [What each means](equality.md#what-is-skipped)"},
		{"mirror_comparison_state", "state", quoted(report.States) + ". [What each means](comparing.md#states)"},
		{"mirror_comparison_pairs", "judgement", quoted(report.PairJudgements) + ". [What each means](comparing.md#how-a-difference-is-judged)"},
		{"mirror_differences", "judgement", quoted(report.Judgements)},
		{"mirror_control_pairs_total", "result", quoted(report.ControlResults)},
	} {
		if want := fmt.Sprintf("| `%s` | `%s` | %s |\n", row.metric, row.label, row.values); !strings.Contains(page, want) {
			t.Errorf("docs/metrics.md lacks %q", want)
		}
	}
}
