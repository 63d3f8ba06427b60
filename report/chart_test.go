package report

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRateChartBreaksWhereThereAreNoAnswers(t *testing.T) {
	since := before(100 * time.Second)
	at := func(seconds int) time.Time { return since.Add(time.Duration(seconds) * time.Second) }
	tests := []struct {
		name      string
		intervals []Interval
		path      string
		bottom    string
	}{
		{"all agree", []Interval{{Start: at(0), Same: 5}, {Start: at(10), Same: 5}}, "M0 0H10V0H20", "90%"},
		{"none agree", []Interval{{Start: at(0), Differ: 5}}, "M0 100H10", "0%"},
		{"a gap", []Interval{{Start: at(10), Same: 1}, {Start: at(50), Same: 1, Differ: 1}, {Start: at(60), Same: 2}}, "M10 0H20M50 50H60V0H70", "0%"},
		{"the last is under way", []Interval{{Start: at(95), Same: 1}}, "M95 0H100", "90%"},
		{"one in a thousand", []Interval{{Start: at(0), Same: 999, Differ: 1}}, "M0 10H10", "99%"},
		{"one in a hundred thousand", []Interval{{Start: at(0), Same: 99999, Differ: 1}}, "M0 1H10", "99.9%"},
		{"one in ten", []Interval{{Start: at(0), Same: 9, Differ: 1}}, "M0 20H10", "50%"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newRateChart(&Timeline{Width: 10, Intervals: test.intervals}, since, generated)
			if c.Path != test.path || c.Bottom != test.bottom || c.Top != "100%" {
				t.Errorf("got %s from %s, want %s from %s", c.Path, c.Bottom, test.path, test.bottom)
			}
			if len(c.Rows) != len(test.intervals) || len(c.Bars) != len(test.intervals) {
				t.Errorf("got %d rows and %d bars, want %d", len(c.Rows), len(c.Bars), len(test.intervals))
			}
		})
	}
}

func TestRateChartSaysTheSameInWords(t *testing.T) {
	c := newRateChart(&billingComparison().Timeline, before(time.Hour), generated)
	want := "From 2026-03-12T13:31:07Z to 2026-03-12T14:31:07Z, in intervals of 10m0s. At the lowest, 99% of the answers of an interval were the same; at most, an interval had 8,031 answers."
	if c.Summary != want {
		t.Errorf("got  %s\nwant %s", c.Summary, want)
	}
	row := rateRow{At: "2026-03-12T13:41:07Z", Same: "396", Differ: "4", Share: "99%"}
	if c.Rows[1] != row {
		t.Errorf("got %+v, want %+v", c.Rows[1], row)
	}
	ticks := []tick{{At: "0%", Anchor: "start", Label: "13:31"}, {At: "50%", Anchor: "middle", Label: "14:01"}, {At: "100%", Anchor: "end", Label: "14:31 UTC"}}
	if !reflect.DeepEqual(c.Ticks, ticks) {
		t.Errorf("got %+v, want %+v", c.Ticks, ticks)
	}
}

func TestShortIntervalsOfALongTimeAreSeen(t *testing.T) {
	since := before(72 * time.Hour)
	c := newRateChart(&Timeline{Width: 10, Intervals: []Interval{{Start: before(time.Hour), Same: 3}}}, since, generated)
	if c.Bars[0].Width != "0.4%" || c.Bars[0].Height != "100%" || c.Ticks[0].Label != "9 Mar 14:31" {
		t.Errorf("got %+v from %s, want a bar of 0.4%% from 9 Mar", c.Bars[0], c.Ticks[0].Label)
	}
}

func TestThereIsNoChartOfNothing(t *testing.T) {
	if c := newRateChart(&Timeline{Width: 10}, before(time.Hour), generated); c != nil {
		t.Errorf("rate: got %+v, want none", c)
	}
	if c := newRateChart(&billingComparison().Timeline, generated, generated); c != nil {
		t.Errorf("rate over no time: got %+v, want none", c)
	}
	if c := newSpreadChart(took(0, 0), took(0, 0)); c != nil {
		t.Errorf("spread: got %+v, want none", c)
	}
	if c := newLatencyView(nil, nil, nil); c != nil {
		t.Errorf("latency: got %+v, want none", c)
	}
}

func TestSpreadChartCoversTheBucketsInUse(t *testing.T) {
	// 3 ms lie between 2.048 and 4.096 ms, 20 ms between 16.384 and 32.768 ms.
	c := newSpreadChart(took(4, 3*time.Millisecond), took(2, 20*time.Millisecond))
	if want := "M0 100L25 0L50 0L75 0L100 0"; c.Live != want {
		t.Errorf("live: got %s, want %s", c.Live, want)
	}
	if want := "M0 100L25 100L50 100L75 100L100 0"; c.Shadow != want {
		t.Errorf("shadow: got %s, want %s", c.Shadow, want)
	}
	if first, last := c.Rows[0], c.Rows[len(c.Rows)-1]; first.Below != "2.0 ms" || first.Live != "0%" || last.Below != "33 ms" || last.Shadow != "100%" {
		t.Errorf("got rows from %+v to %+v, want from 2.0 ms to 33 ms", first, last)
	}
	if !strings.HasPrefix(c.Summary, "Live: half of 4 answers took at most 2.9 ms, 90% at most 2.9 ms") || !strings.Contains(c.Summary, " The shadow: half of 2 answers ") {
		t.Errorf("got %s", c.Summary)
	}
	alone := newSpreadChart(nil, took(2, 20*time.Millisecond))
	if alone.Live != "" || alone.Rows[0].Live != "" || alone.Shadow != "M0 100L100 0" {
		t.Errorf("without live: got %q and %q, want no live", alone.Live, alone.Shadow)
	}
}

// What is slower than the last bound never comes to 100%, and what is faster than
// the first begins above 0.
func TestSpreadChartGoesNoFurtherThanTheBounds(t *testing.T) {
	c := newSpreadChart(took(1, 10*time.Microsecond), took(1, time.Minute))
	if !strings.HasPrefix(c.Live, "M0 0L") || !strings.HasSuffix(c.Shadow, "L100 100") {
		t.Errorf("got %s and %s", c.Live, c.Shadow)
	}
}

func TestLatencyAxisHasRoundDurations(t *testing.T) {
	tests := []struct {
		from, to float64
		want     string
	}{
		{0.000256, 16.777216, "1 ms, 10 ms, 100 ms, 1 s, 10 s"},
		{0.001024, 0.065536, "3 ms, 10 ms, 30 ms"},
		{0.004096, 0.032768, "5 ms, 10 ms, 20 ms"},
		{0.000256, 0.000512, "300 µs, 400 µs, 500 µs"},
		{0.131072, 0.262144, "200 ms"},
	}
	for _, test := range tests {
		var labels []string
		for _, tick := range latencyTicks(test.from, test.to) {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, ", "); got != test.want {
			t.Errorf("%v to %v s: got %s, want %s", test.from, test.to, got, test.want)
		}
	}
	if got := latencyTicks(0.001, 0.1)[1]; got.At != "50%" || got.Anchor != "middle" {
		t.Errorf("got %+v, want 10 ms in the middle", got)
	}
}

func TestQuantilesHaveBarsToCompareThemBy(t *testing.T) {
	live := &Latency{P50: 0.01, P90: 0.02, P99: 0.04}
	shadow := &Latency{P50: 0.02, P90: 0.03, P99: 0.08}
	got := newQuantileRows(live, shadow, &Quantiles{P50: 0.01, P90: -0.002, P99: 0})
	want := []quantileRow{
		{Name: "p50", Live: "10 ms", LiveBar: "12.5%", Shadow: "20 ms", ShadowBar: "25%", Difference: "10 ms slower"},
		{Name: "p90", Live: "20 ms", LiveBar: "25%", Shadow: "30 ms", ShadowBar: "37.5%", Difference: "2.0 ms faster"},
		{Name: "p99", Live: "40 ms", LiveBar: "50%", Shadow: "80 ms", ShadowBar: "100%", Difference: "the same"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := newQuantileRows(nil, &Latency{}, nil)[2]; got.Live != "" || got.ShadowBar != "0%" || got.Difference != "" {
		t.Errorf("of nothing: got %+v", got)
	}
}
