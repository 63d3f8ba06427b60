package observability

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/model"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

func TestPrometheusHasWhatTheReportSays(t *testing.T) {
	s := runScene(t, &billing{}, &billing{halfToEven: true, failsAtCreditNotes: true})
	p := runPrometheus(t, s)
	s.send(t, 800)
	m := s.settled(t, 800)
	if m.Compared["mismatch"] == 0 || m.Compared["match"] == 0 || m.Answers["4xx"] == 0 || m.Answers["5xx"] == 0 || m.RequestBytes == 0 {
		t.Fatalf("the traffic is not what it should be: %+v", m)
	}
	s.shadow.Stop()
	s.send(t, 50)
	m = s.settled(t, 850)
	if m.Failed["connect"] == 0 || m.Dropped["paused"] == 0 || !m.State.Paused {
		t.Fatalf("the shadow is not known to be gone: %+v", m)
	}

	want := seriesOf(m)
	eventually(t, func() error { return sameSeries(p.series(), want) })
}

func TestPrometheusHasWhatTheReportSaysOfAControl(t *testing.T) {
	s := runScene(t, &billing{}, &billing{halfToEven: true})
	s.addControl(t, &billing{failsAtCreditNotes: true, traces: true})
	p := runPrometheus(t, s)
	s.send(t, 800)
	m := s.settled(t, 800)
	if m.Comparison.Control == nil || m.Comparison.Control.Answered != 800 {
		t.Fatalf("the control is not asked: %+v", m.Comparison.Control)
	}
	want := seriesOf(m)
	eventually(t, func() error { return sameSeries(p.series(), want) })
}

// byEndpoint is the one family whose series are of names that the traffic makes.
const byEndpoint = "mirror_endpoint_pairs_total"

// sumByResult puts the series of all endpoints together.
func sumByResult(series map[string]float64) map[string]float64 {
	all := map[string]float64{}
	for name, value := range series {
		if strings.HasPrefix(name, byEndpoint+"{") {
			name = endpointLabel.ReplaceAllString(name, "")
		}
		all[name] += value
	}
	return all
}

var endpointLabel = regexp.MustCompile(`endpoint="[^"]*", `)

// seriesOf returns the series that stand for what the report says, with their
// values.
// Pairs by endpoint are put together.
func seriesOf(m *report.Middleware) map[string]float64 {
	all := map[string]float64{}
	add := func(name string, value float64, labels ...string) {
		metric := model.Metric{"__name__": model.LabelValue(name), "middleware": model.LabelValue(m.Name)}
		for i := 0; i < len(labels); i += 2 {
			metric[model.LabelName(labels[i])] = model.LabelValue(labels[i+1])
		}
		all[metric.String()] = value
	}
	by := func(name, label string, counts map[string]int64) {
		for value, n := range counts {
			add(name, float64(n), label, value)
		}
	}
	histogram := func(name string, l *report.Latency) {
		for _, b := range l.Buckets {
			add(name+"_bucket", float64(b.Count), "le", strconv.FormatFloat(b.Below, 'g', -1, 64))
		}
		add(name+"_bucket", float64(l.Count), "le", "+Inf")
		add(name+"_count", float64(l.Count))
		add(name+"_sum", l.Sum)
	}
	paused := 0.0
	if m.State.Paused {
		paused = 1
	}
	add("mirror_config_errors", float64(m.ConfigErrors))
	add("mirror_info", 1, "url", m.Shadow, "percent", strconv.FormatFloat(m.Percent, 'g', -1, 64))
	add("mirror_eligible_requests_total", float64(m.Eligible))
	add("mirror_mirrored_requests_total", float64(m.Mirrored))
	by("mirror_lost_requests_total", "reason", m.Lost)
	by("mirror_dropped_requests_total", "reason", m.Dropped)
	by("mirror_failed_requests_total", "kind", m.Failed)
	by("mirror_shadow_responses_total", "code", m.Answers)
	add("mirror_request_body_bytes_total", float64(m.RequestBytes))
	add("mirror_shadow_response_body_bytes_total", float64(m.AnswerBytes))
	add("mirror_in_flight_requests", float64(m.InFlight))
	add("mirror_paused", paused)
	if q := m.Sequence; q != nil {
		add("mirror_sequence_waiting_requests", float64(q.Waiting))
		add("mirror_sequence_longest_wait_seconds", q.LongestWait)
		add("mirror_sequence_unordered_requests_total", float64(q.Unordered))
		add("mirror_sequence_lost_values", float64(q.LostValues))
	}
	add(byEndpoint, float64(m.Compared[compare.Match]), "result", "match")
	add(byEndpoint, float64(m.Compared[compare.Mismatch]), "result", "differs")
	add(byEndpoint, float64(m.Compared[compare.Skipped]), "result", "skipped")
	by("mirror_skipped_pairs_total", "reason", m.Skipped)
	c := m.Comparison
	for _, state := range report.States {
		is := 0.0
		if state == c.State {
			is = 1
		}
		add("mirror_comparison_state", is, "state", state)
	}
	known := map[string]float64{}
	for _, d := range c.Differences {
		known[d.Judgement]++
	}
	for _, judgement := range report.Judgements {
		add("mirror_differences", known[judgement], "judgement", judgement)
	}
	by("mirror_comparison_pairs", "judgement", map[string]int64{
		compare.Real: c.Real, compare.Undecided: c.Undecided, compare.Noise: c.Noise, compare.Ignored: c.Ignored,
		"same": c.Agreeing - c.Noise - c.Ignored,
	})
	add("mirror_comparison_start_time_seconds", float64(c.Since.Unix()))
	if c.Control != nil {
		by("mirror_control_pairs_total", "result", map[string]int64{"answered": c.Control.Answered, "failed": c.Control.Failed, "paused": c.Control.Skipped})
		add("mirror_control_paused", 0)
		add("mirror_control_unfit_endpoints", float64(len(c.Control.Unfit)))
	}
	histogram("mirror_shadow_request_duration_seconds", m.ShadowLatency)
	histogram("mirror_compared_live_request_duration_seconds", m.ComparedLive)
	histogram("mirror_compared_shadow_request_duration_seconds", m.ComparedShadow)
	return all
}

// sameSeries says in what the two differ, those by endpoint put together.
func sameSeries(got, want map[string]float64) error {
	got = sumByResult(got)
	var mistakes []string
	for name, value := range want {
		if g, ok := got[name]; !ok || g != value {
			mistakes = append(mistakes, fmt.Sprintf("%s is %v (there: %t), want %v", name, g, ok, value))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			mistakes = append(mistakes, name+" is nothing that the report says")
		}
	}
	if len(mistakes) == 0 {
		return nil
	}
	slices.Sort(mistakes)
	return fmt.Errorf("%s", strings.Join(mistakes, "\n"))
}

// The counts of Prometheus's client libraries have a shape of their own, which
// promtool knows: names, units, types and help.
func TestMetricsAreAsPromtoolWantsThem(t *testing.T) {
	s := runScene(t, &billing{}, &billing{})
	s.addControl(t, &billing{})
	s.send(t, 20)
	s.settled(t, 20)
	metrics := s.get(t, "/mirror/metrics")
	for _, want := range []string{"mirror_eligible_requests_total", "mirror_compared_live_request_duration_seconds_bucket", byEndpoint, "mirror_control_pairs_total"} {
		if !strings.Contains(string(metrics), "\n"+want+"{") {
			t.Errorf("there is no %s in\n%s", want, metrics)
		}
	}
	if out, err := promtool(t, "", metrics, "check", "metrics"); err != nil || out != "" {
		t.Errorf("promtool check metrics: %v\n%s\nabout\n%s", err, out, metrics)
	}
}

// Only pairs have series that traffic adds, of endpoints, and no more than the others and a
// hundred that are told apart. Nothing of a client's is in their names.
func TestTrafficAddsFewSeries(t *testing.T) {
	knowsEverything := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, http.StatusOK, map[string]any{"quantity": 2})
	})
	s := runScene(t, knowsEverything, knowsEverything)
	p := runPrometheus(t, s)
	before := p.series()

	const n = 300
	for i := range n {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.traefik.URL(fmt.Sprintf("/invoices/%d/lines/%d?customer=%d", i, i, i)), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = fmt.Sprintf("customer-%d.example.com", i)
		req.Header.Set("User-Agent", fmt.Sprintf("till/%d", i))
		req.Header.Set("X-Customer", fmt.Sprint(i))
		if i%3 == 0 {
			req.Method = fmt.Sprintf("METHOD%d", i)
		}
		do(t, s.client, req)
	}
	s.settled(t, n)
	p.awaitScraped(n)
	var added []string
	for series := range p.series() {
		if _, there := before[series]; !there {
			added = append(added, series)
		}
	}
	slices.Sort(added)
	if len(added) < 100 || len(added) > 3*100 {
		t.Errorf("%d different requests have added %d series, want many, and 300 at most", n, len(added))
	}
	for _, series := range added {
		if !ofEndpoint.MatchString(series) {
			t.Errorf("%s was added", series)
		}
	}
}

// ofEndpoint is a series of an endpoint of the traffic above.
var ofEndpoint = regexp.MustCompile(`^` + byEndpoint + `\{endpoint="(GET|METHOD\d+) /(invoices|\*)/\*/(lines|\*)/\*", middleware="shadow-billing@file", result="(match|differs|skipped)"\}$`)

// Traefik's proxy answers 499 for live to a client that is not there any more.
func TestClientThatLeavesIsNoMismatch(t *testing.T) {
	leave := make(chan func(), 1)
	live := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		(<-leave)()
		<-req.Context().Done() // Traefik has noticed
	})
	s := runScene(t, live, &billing{})
	client, cancel := context.WithCancel(t.Context())
	leave <- cancel
	req, err := http.NewRequestWithContext(client, "GET", s.traefik.URL("/invoices/2024-00117"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := s.client.Do(req); err == nil {
		resp.Body.Close()
		t.Errorf("the client was answered %s, want it to be gone", resp.Status)
	}
	m := s.settled(t, 1)
	if m.Mirrored != 1 || m.Compared["skipped"] != 1 || m.Skipped["live_broken"] != 1 {
		t.Errorf("%d mirrored, compared %v, skipped %v; want one that is skipped as live_broken", m.Mirrored, m.Compared, m.Skipped)
	}
}

func TestReportIsForThoseWhoMaySeeIt(t *testing.T) {
	s := runScene(t, &billing{}, &billing{})
	tests := []struct {
		name, url, from, password string
		want                      int
	}{
		{"whoever may", s.url("/mirror/metrics"), "127.0.0.1", s.password, http.StatusOK},
		{"no password", s.url("/mirror/metrics"), "127.0.0.1", "", http.StatusUnauthorized},
		{"the wrong password", s.url("/mirror/report.json"), "127.0.0.1", "secret", http.StatusUnauthorized},
		{"an address that is not allowed", s.url("/mirror/"), "127.0.0.2", s.password, http.StatusForbidden},
		{"a client", s.traefik.URL("/mirror/metrics"), "127.0.0.1", s.password, http.StatusNotFound},
		{"a client's request on the entry point", s.url("/invoices/2024-00117"), "127.0.0.1", s.password, http.StatusNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", test.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.password != "" {
				req.SetBasicAuth(user, test.password)
			}
			if got, body := do(t, testbed.ClientAt(test.from), req); got != test.want {
				t.Errorf("answered %d %.200q, want %d", got, body, test.want)
			}
		})
	}
	if eligible := s.settled(t, 0).Eligible; eligible != 0 {
		t.Errorf("%d requests for the report count as eligible", eligible)
	}
	if s.live.Count() != 0 {
		t.Errorf("live got %d requests for the report", s.live.Count())
	}
}
