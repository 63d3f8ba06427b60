package report

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// A series is a line of Prometheus's text format.
var series = regexp.MustCompile(`^([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)+)\} (-?[0-9.e+-]+)$`)

// exposed are the metrics of a document: series by name and labels, and the
// kind of each family. It fails where the text is not as Prometheus takes it.
func exposed(t *testing.T, d *Document) (values map[string]string, kinds map[string]string) {
	t.Helper()
	var out bytes.Buffer
	if err := WriteMetrics(&out, d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "\n") {
		t.Error("the last line has no end")
	}
	values = map[string]string{}
	kinds = map[string]string{}
	help := ""
	family := ""
	for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		words := strings.SplitN(line, " ", 4)
		if words[0] == "#" && words[1] == "HELP" {
			help = words[2]
			continue
		}
		if words[0] == "#" {
			family = words[2]
			if words[1] != "TYPE" || help != family || kinds[family] != "" {
				t.Errorf("%q is not the one TYPE after the one HELP of its family", line)
			}
			kinds[family] = words[3]
			continue
		}
		m := series.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a series: %q", line)
			continue
		}
		name := m[1]
		if kinds[family] == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				name = strings.TrimSuffix(name, suffix)
			}
		}
		key := m[1] + "{" + m[2] + "}"
		if name != family || values[key] != "" {
			t.Errorf("%q is twice, or is not among its family, %s", line, family)
		}
		values[key] = m[3]
	}
	return values, kinds
}

func TestMetricsHaveEveryNumber(t *testing.T) {
	m := billing()
	m.State.Paused = true
	m.Sequence = &Sequence{By: "header:X-Customer-Id", Waiting: 3, LongestWait: 1.25, Unordered: 17, LostValues: 2}
	m.Control = &Control{Paused: true}
	m.Controls = compare.ControlCounts{Answered: 12000, Failed: 31, Paused: 400}
	values, kinds := exposed(t, documentOf(m, reports()))
	for key, want := range map[string]string{
		`mirror_eligible_requests_total{middleware="shadow-billing@docker"}`:                                          "124513",
		`mirror_mirrored_requests_total{middleware="shadow-billing@docker"}`:                                          "12471",
		`mirror_mirrored_requests_total{middleware="shadow-reports@file"}`:                                            "7",
		`mirror_dropped_requests_total{middleware="shadow-billing@docker",reason="sampling"}`:                         "112030",
		`mirror_failed_requests_total{middleware="shadow-billing@docker",kind="timeout"}`:                             "3",
		`mirror_failed_requests_total{middleware="shadow-billing@docker",kind="connect"}`:                             "0",
		`mirror_shadow_responses_total{middleware="shadow-billing@docker",code="4xx"}`:                                "66",
		`mirror_request_body_bytes_total{middleware="shadow-billing@docker"}`:                                         "45123456",
		`mirror_shadow_response_body_bytes_total{middleware="shadow-billing@docker"}`:                                 "999",
		`mirror_in_flight_requests{middleware="shadow-billing@docker"}`:                                               "2",
		`mirror_paused{middleware="shadow-billing@docker"}`:                                                           "1",
		`mirror_sequence_waiting_requests{middleware="shadow-billing@docker"}`:                                        "3",
		`mirror_sequence_longest_wait_seconds{middleware="shadow-billing@docker"}`:                                    "1.25",
		`mirror_sequence_unordered_requests_total{middleware="shadow-billing@docker"}`:                                "17",
		`mirror_sequence_lost_values{middleware="shadow-billing@docker"}`:                                             "2",
		`mirror_sequence_waiting_requests{middleware="shadow-reports@file"}`:                                          "", // it has no sequenceBy
		`mirror_paused{middleware="shadow-reports@file"}`:                                                             "0",
		`mirror_endpoint_pairs_total{middleware="shadow-billing@docker",endpoint="GET /invoices/*",result="match"}`:   "12396",
		`mirror_endpoint_pairs_total{middleware="shadow-billing@docker",endpoint="GET /invoices/*",result="differs"}`: "4",
		`mirror_endpoint_pairs_total{middleware="shadow-billing@docker",endpoint="PUT /scans/*",result="skipped"}`:    "40",
		`mirror_endpoint_pairs_total{middleware="shadow-billing@docker",endpoint="(others)",result="differs"}`:        "0",
		`mirror_skipped_pairs_total{middleware="shadow-billing@docker",reason="too_large"}`:                           "40",
		`mirror_skipped_pairs_total{middleware="shadow-billing@docker",reason="stream"}`:                              "0",
		`mirror_comparison_state{middleware="shadow-billing@docker",state="differs"}`:                                 "1",
		`mirror_comparison_state{middleware="shadow-billing@docker",state="agrees"}`:                                  "0",
		`mirror_comparison_pairs{middleware="shadow-billing@docker",judgement="real"}`:                                "4",
		`mirror_comparison_pairs{middleware="shadow-billing@docker",judgement="noise"}`:                               "12420",
		`mirror_comparison_pairs{middleware="shadow-billing@docker",judgement="same"}`:                                "5",
		`mirror_differences{middleware="shadow-billing@docker",judgement="noise"}`:                                    "2",
		`mirror_differences{middleware="shadow-billing@docker",judgement="ignored"}`:                                  "0",
		`mirror_comparison_start_time_seconds{middleware="shadow-billing@docker"}`:                                    "1773322267",
		`mirror_control_pairs_total{middleware="shadow-billing@docker",result="answered"}`:                            "12000",
		`mirror_control_pairs_total{middleware="shadow-billing@docker",result="paused"}`:                              "400",
		`mirror_control_paused{middleware="shadow-billing@docker"}`:                                                   "1",
		`mirror_control_unfit_endpoints{middleware="shadow-billing@docker"}`:                                          "3",
		`mirror_shadow_request_duration_seconds_count{middleware="shadow-billing@docker"}`:                            "12",
		`mirror_shadow_request_duration_seconds_sum{middleware="shadow-billing@docker"}`:                              "0.372",
		`mirror_compared_live_request_duration_seconds_bucket{middleware="shadow-billing@docker",le="0.016384"}`:      "0",
		`mirror_compared_live_request_duration_seconds_bucket{middleware="shadow-billing@docker",le="0.032768"}`:      "12",
		`mirror_compared_live_request_duration_seconds_bucket{middleware="shadow-billing@docker",le="+Inf"}`:          "12",
	} {
		if got := values[key]; got != want {
			t.Errorf("%s: got %q, want %s", key, got, want)
		}
	}
	for family, want := range map[string]string{
		"mirror_eligible_requests_total": "counter", "mirror_in_flight_requests": "gauge", "mirror_shadow_request_duration_seconds": "histogram",
	} {
		if kinds[family] != want {
			t.Errorf("%s: got a %q, want a %s", family, kinds[family], want)
		}
	}
	for key := range values {
		if strings.Contains(key, "shadow-reports") && (strings.Contains(key, "compar") || strings.Contains(key, "pairs") || strings.Contains(key, "control") || strings.Contains(key, "differences")) {
			t.Errorf("%s, of a mirror that compares nothing", key)
		}
	}
	for family, kind := range kinds {
		if (kind == "counter") != strings.HasSuffix(family, "_total") {
			t.Errorf("%s is a %s", family, kind)
		}
	}
}

func TestMetricsSayWhatMirrorsAndWhatIsMistaken(t *testing.T) {
	good := billing()
	good.Percent = 12.5
	values, kinds := exposed(t, documentOf(good, mistakenMirror()))
	for key, want := range map[string]string{
		`mirror_info{middleware="shadow-billing@docker",url="http://billing-next:8080",percent="12.5"}`: "1",
		`mirror_config_errors{middleware="shadow-billing@docker"}`:                                      "0",
		`mirror_config_errors{middleware="shadow-ledger@docker"}`:                                       "2",
	} {
		if got := values[key]; got != want {
			t.Errorf("%s: got %q, want %s", key, got, want)
		}
	}
	for key := range values {
		if strings.HasPrefix(key, `mirror_info{middleware="shadow-ledger`) {
			t.Errorf("%s, though it mirrors nothing", key)
		}
	}
	if kinds["mirror_info"] != "gauge" || kinds["mirror_config_errors"] != "gauge" {
		t.Errorf("kinds %v, want gauges", kinds)
	}
}

func TestEveryReasonToDropHasASeries(t *testing.T) {
	values, _ := exposed(t, documentOf(reports()))
	for _, reason := range DropReasons {
		if got := values[`mirror_dropped_requests_total{middleware="shadow-reports@file",reason="`+reason+`"}`]; got != "0" {
			t.Errorf("%s: got %q, want 0", reason, got)
		}
	}
}

func TestBucketsAreCumulative(t *testing.T) {
	m := reports()
	m.ShadowLatency = took(3, time.Millisecond)
	for i, b := range took(4, 90*time.Millisecond).Buckets {
		m.ShadowLatency.Buckets[i].Count += b.Count
	}
	m.ShadowLatency.Count += 4
	values, _ := exposed(t, documentOf(m))
	last := -1
	seen := map[int]bool{}
	for _, b := range m.ShadowLatency.Buckets {
		bound := strconv.FormatFloat(b.Below, 'g', -1, 64)
		n, err := strconv.Atoi(values[`mirror_shadow_request_duration_seconds_bucket{middleware="shadow-reports@file",le="`+bound+`"}`])
		if err != nil || n < last {
			t.Errorf("le=%s: got %d after %d, %v", bound, n, last, err)
		}
		last = n
		seen[n] = true
	}
	if !seen[0] || !seen[3] || !seen[7] || len(seen) != 3 {
		t.Errorf("got the counts %v, want 0, 3 and 7", seen)
	}
}

func TestLabelsAreEscaped(t *testing.T) {
	m := reports()
	m.Name = "a\"} 1\nmirror_paused{middleware=\"b\\"
	values, _ := exposed(t, documentOf(m))
	if got := values[`mirror_mirrored_requests_total{middleware="a\"} 1\nmirror_paused{middleware=\"b\\"}`]; got != "7" {
		t.Errorf("got %q, want 7 under the escaped name, in %v", got, values)
	}
}

func TestMetricsOfNoMirrorAreFamiliesWithoutSeries(t *testing.T) {
	values, kinds := exposed(t, documentOf())
	if len(values) != 0 || len(kinds) != len(Metrics) {
		t.Errorf("got %d series in %d families, want none in %d", len(values), len(kinds), len(Metrics))
	}
}

// What the table has is what is written, in its order.
func TestMetricsAreThoseOfTheTable(t *testing.T) {
	m := billing()
	m.Sequence = &Sequence{By: "header:X-Customer-Id"}
	m.Control = &Control{}
	var out bytes.Buffer
	if err := WriteMetrics(&out, documentOf(m)); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	at := 0
	for _, f := range Metrics {
		head := "# HELP " + f.Name + " " + f.Help + "\n# TYPE " + f.Name + " " + f.Type + "\n" + f.Name
		i := strings.Index(text[at:], head)
		if i < 0 {
			t.Errorf("%s is not where it should be, or has no series", f.Name)
			continue
		}
		at += i + len(head)
		line := strings.SplitN(text[at:], "\n", 2)[0]
		var labels []string
		for _, match := range labelNames.FindAllStringSubmatch(line, -1) {
			if match[1] != "middleware" && match[1] != "le" {
				labels = append(labels, match[1])
			}
		}
		if got, want := strings.Join(labels, ","), strings.Join(f.Labels, ","); got != want {
			t.Errorf("%s has the labels %s, want %s", f.Name, got, want)
		}
	}
	if n := strings.Count(text, "# TYPE "); n != len(Metrics) {
		t.Errorf("%d families, want %d", n, len(Metrics))
	}
}

var labelNames = regexp.MustCompile(`([a-z]+)="`)

// A mirror is in one state, and its pairs are each of one judgement.
func TestJudgementsAreApart(t *testing.T) {
	for _, state := range States {
		m := billing()
		m.JudgedState = state
		values, _ := exposed(t, documentOf(m))
		for _, s := range States {
			want := "0"
			if s == state {
				want = "1"
			}
			if got := values[`mirror_comparison_state{middleware="shadow-billing@docker",state="`+s+`"}`]; got != want {
				t.Errorf("in the state %s: %s is %q, want %s", state, s, got, want)
			}
		}
		sum := 0
		for _, j := range PairJudgements {
			n, err := strconv.Atoi(values[`mirror_comparison_pairs{middleware="shadow-billing@docker",judgement="`+j+`"}`])
			if err != nil {
				t.Error(err)
			}
			sum += n
		}
		if sum != 12431 {
			t.Errorf("%d pairs, want 12431", sum)
		}
	}
}

func TestWhatIsNotComparedAnyMoreKeepsItsCounters(t *testing.T) {
	m := billing()
	m.Judged = nil
	m.Controls = compare.ControlCounts{Paused: 1}
	values, _ := exposed(t, documentOf(m))
	for key, want := range map[string]string{
		`mirror_endpoint_pairs_total{middleware="shadow-billing@docker",endpoint="PUT /scans/*",result="match"}`: "31",
		`mirror_skipped_pairs_total{middleware="shadow-billing@docker",reason="too_large"}`:                      "40",
		`mirror_compared_live_request_duration_seconds_count{middleware="shadow-billing@docker"}`:                "12",
		`mirror_control_pairs_total{middleware="shadow-billing@docker",result="paused"}`:                         "1",
		`mirror_comparison_state{middleware="shadow-billing@docker",state="differs"}`:                            "",
		`mirror_comparison_start_time_seconds{middleware="shadow-billing@docker"}`:                               "",
		`mirror_control_paused{middleware="shadow-billing@docker"}`:                                              "",
	} {
		if got := values[key]; got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}
