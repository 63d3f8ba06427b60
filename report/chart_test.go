package report

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

func TestAgreementChartPlotsWhatDiffers(t *testing.T) {
	since := before(100 * time.Second)
	at := func(seconds int) time.Time { return since.Add(time.Duration(seconds) * time.Second) }
	tests := []struct {
		name            string
		intervals       []Interval
		real, undecided []bar
		top             string
	}{
		{"all agree", []Interval{{Start: at(0), Compared: 5}, {Start: at(10), Compared: 5}}, nil, nil, "0.1%"},
		{"none agree", []Interval{{Start: at(0), Compared: 5, Real: 5}}, []bar{{"0%", "0%", "10%", "100%"}}, nil, "100%"},
		{"one on the other", []Interval{{Start: at(50), Compared: 10, Real: 1, Undecided: 4}}, []bar{{"50%", "80%", "10%", "20%"}}, []bar{{"50%", "0%", "10%", "80%"}}, "50%"},
		{"the last is under way", []Interval{{Start: at(95), Compared: 1, Undecided: 1}}, nil, []bar{{"95%", "0%", "5%", "100%"}}, "100%"},
		{"one in a thousand", []Interval{{Start: at(0), Compared: 1000, Real: 1}}, []bar{{"0%", "0%", "10%", "100%"}}, nil, "0.1%"},
		{"so few that it would not be seen", []Interval{{Start: at(0), Compared: 100, Real: 100}, {Start: at(10), Compared: 1000, Real: 1}}, []bar{{"0%", "0%", "10%", "100%"}, {"10%", "98%", "10%", "2%"}}, nil, "100%"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newAgreementChart(&Timeline{Width: 10, Intervals: test.intervals}, since, generated)
			if !reflect.DeepEqual(c.Real, test.real) || !reflect.DeepEqual(c.Undecided, test.undecided) || c.Top != test.top {
				t.Errorf("got %v and %v up to %s, want %v and %v up to %s", c.Real, c.Undecided, c.Top, test.real, test.undecided, test.top)
			}
			if len(c.Rows) != len(test.intervals) || len(c.Volume) != len(test.intervals) {
				t.Errorf("got %d rows and %d bars, want %d", len(c.Rows), len(c.Volume), len(test.intervals))
			}
		})
	}
}

func TestAgreementChartSaysTheSameInWords(t *testing.T) {
	c := newAgreementChart(&billingComparison().Timeline, before(time.Hour), generated)
	want := "From 2026-03-12T13:31:07Z to 2026-03-12T14:31:07Z, in intervals of 10m0s. At the lowest, 99% of the pairs of an interval agreed; at most, an interval had 8,031 pairs."
	if c.Summary != want {
		t.Errorf("got  %s\nwant %s", c.Summary, want)
	}
	row := agreementRow{At: "2026-03-12T13:41:07Z", Compared: "400", Real: "4", Undecided: "0", Share: "99%"}
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
	c := newAgreementChart(&Timeline{Width: 10, Intervals: []Interval{{Start: before(time.Hour), Compared: 3}}}, since, generated)
	if c.Volume[0].Width != "0.4%" || c.Volume[0].Height != "100%" || c.Ticks[0].Label != "9 Mar 14:31" {
		t.Errorf("got %+v from %s, want a bar of 0.4%% from 9 Mar", c.Volume[0], c.Ticks[0].Label)
	}
}

func TestThereIsNoChartOfNothing(t *testing.T) {
	if c := newAgreementChart(&Timeline{Width: 10}, before(time.Hour), generated); c != nil {
		t.Errorf("agreement: got %+v, want none", c)
	}
	if c := newAgreementChart(&billingComparison().Timeline, generated, generated); c != nil {
		t.Errorf("agreement over no time: got %+v, want none", c)
	}
	if c := newTailChart(took(0, 0), took(0, 0)); c != nil {
		t.Errorf("tail: got %+v, want none", c)
	}
	if c := newLatencyView(nil, nil, nil, newLook(documentOf(), nil)); c != nil {
		t.Errorf("latency: got %+v, want none", c)
	}
}

func TestTailChartCoversTheBucketsInUse(t *testing.T) {
	// 3 ms lie between 2.048 and 4.096 ms, 20 ms between 16.384 and 32.768 ms.
	c := newTailChart(took(4, 3*time.Millisecond), took(2, 20*time.Millisecond))
	if want := "M0 0L25 100"; c.Live != want {
		t.Errorf("live: got %s, want %s", c.Live, want)
	}
	if want := "M0 0L25 0L50 0L75 0L100 100"; c.Shadow != want {
		t.Errorf("shadow: got %s, want %s", c.Shadow, want)
	}
	if first, last := c.Rows[0], c.Rows[len(c.Rows)-1]; first.Beyond != "2.0 ms" || first.Live != "100%" || last.Beyond != "33 ms" || last.Shadow != "0%" {
		t.Errorf("got rows from %+v to %+v, want from 2.0 ms to 33 ms", first, last)
	}
	if !strings.HasPrefix(c.Summary, "Live: half of 4 answers took at most 2.9 ms, 90% at most 2.9 ms") || !strings.Contains(c.Summary, " The shadow: half of 2 answers ") {
		t.Errorf("got %s", c.Summary)
	}
	alone := newTailChart(nil, took(2, 20*time.Millisecond))
	if alone.Live != "" || alone.Rows[0].Live != "" || alone.Shadow != "M0 0L100 100" {
		t.Errorf("without live: got %q and %q, want no live", alone.Live, alone.Shadow)
	}
}

// One answer in a thousand stands as far from the foot as one in ten from one in a hundred.
func TestTailChartShowsTheTail(t *testing.T) {
	h := &latency.Histogram{}
	for i := 0; i < 3000; i++ {
		d := 3 * time.Millisecond
		switch {
		case i%1000 == 0:
			d = 100 * time.Millisecond
		case i%100 == 0:
			d = 12 * time.Millisecond
		}
		h.Add(d)
	}
	c := newTailChart(nil, NewLatency(h))
	if want := "M0 0L16.67 50L33.33 50L50 75L66.67 75L83.33 75L100 100"; c.Shadow != want {
		t.Errorf("got %s, want %s", c.Shadow, want)
	}
	var shares []string
	for _, s := range c.Shares {
		shares = append(shares, s.At+" "+s.Label)
	}
	if got := strings.Join(shares, ", "); got != "0% 100%, 25% 10%, 50% 1%, 75% 0.1%, 100% 0.01%" {
		t.Errorf("shares at %s", got)
	}
}

// What is slower than the last bound never comes to the foot, and what is faster than
// the first begins below everything.
func TestTailChartGoesNoFurtherThanTheBounds(t *testing.T) {
	c := newTailChart(took(1, 10*time.Microsecond), took(1, time.Minute))
	if c.Live != "M0 100" || !strings.HasSuffix(c.Shadow, "L100 0") {
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

// A difference of latencies is called one only beyond chance, and only of enough pairs.
func TestQuantilesSayWhoIsSlowerPairByPair(t *testing.T) {
	live := &Latency{P50: 0.01, P90: 0.02, P99: 0.04}
	shadow := &Latency{P50: 0.02, P90: 0.03, P99: 0.08}
	tests := []struct {
		difference PairByPair
		want       [3]string
	}{
		{PairByPair{P50: 0.01, P90: 0.02, P99: 0.04, Slower: map[string]string{"p50": Slower, "p90": Slower, "p99": Few}}, [3]string{"10 ms slower", "20 ms slower", "too few pairs to say"}},
		{PairByPair{P50: -0.002, P90: 0.02, P99: 0.04, Slower: map[string]string{"p50": Faster, "p90": Chance, "p99": Faster}}, [3]string{"2.0 ms faster", "no difference beyond chance", "faster"}},
	}
	for _, test := range tests {
		rows := newQuantileRows(live, shadow, &test.difference)
		for i, want := range test.want {
			if rows[i].Difference != want || rows[i].Live == "" || rows[i].Shadow == "" || (rows[i].Class == "slower") != strings.HasSuffix(want, "slower") {
				t.Errorf("%s: got %+v, want %s", rows[i].Name, rows[i], want)
			}
		}
	}
	if got := newQuantileRows(nil, &Latency{}, nil)[2]; got.Live != "" || got.Shadow != "0 µs" || got.Difference != "" {
		t.Errorf("of nothing: got %+v", got)
	}
}
