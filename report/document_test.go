package report

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

func TestVerdictsSayInOneLineWhatCounts(t *testing.T) {
	tests := []struct {
		name                       string
		matched, mismatched, noise int64
		live, shadow               float64 // p99
		want                       string
	}{
		{"nothing yet", 0, 0, 0, 0, 0, "no answers compared yet"},
		{"all agree", 12431, 0, 0, 0.1, 0.1, "100% of 12,431 answers agree; no real differences; shadow p99 as fast as live's"},
		{"some differ", 12427, 4, 0, 0.1, 0.112, "99.96% of 12,431 answers agree; 4 real differences; shadow p99 12 ms slower"},
		{"one differs", 99, 1, 0, 0.1, 0.05, "99% of 100 answers agree; 1 real difference; shadow p99 50 ms faster"},
		{"one answer, which agrees", 1, 0, 0, 0.1, 0.1, "100% of 1 answer agrees; no real differences; shadow p99 as fast as live's"},
		{"one answer, which differs", 0, 1, 0, 0.1, 0.1, "0% of 1 answer agrees; 1 real difference; shadow p99 as fast as live's"},
		{"only noise", 0, 12431, 12431, 0.1, 0.1, "0% of 12,431 answers agree; 12,431 differ in noise only; no real differences; shadow p99 as fast as live's"},
		{"one in noise only", 9, 1, 1, 0.1, 0.1, "90% of 10 answers agree; 1 differs in noise only; no real differences; shadow p99 as fast as live's"},
		{"noise and more", 0, 2000, 1998, 1, 2.5, "0% of 2,000 answers agree; 1,998 differ in noise only; 2 real differences; shadow p99 1.5 s slower"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &Comparison{
				Compared: test.matched + test.mismatched, Matched: test.matched, Mismatched: test.mismatched, OnlyNoise: test.noise,
				Live: &Latency{P99: test.live}, Shadow: &Latency{P99: test.shadow},
			}
			if got := c.verdict(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestPercentagesAreRoundedDown(t *testing.T) {
	tests := []struct {
		n, of int64
		want  string
	}{
		{0, 0, "0%"}, {1, 0, "0%"}, {0, 7, "0%"}, {7, 7, "100%"}, {1, 2, "50%"}, {1, 3, "33.33%"}, {2, 3, "66.66%"},
		{57, 100, "57%"}, {29, 100, "29%"}, {9999, 10000, "99.99%"},
		{99996, 100000, "99.99%"}, {999999999, 1000000000, "99.99%"},
		{1, 10000, "0.01%"}, {1, 10001, "less than 0.01%"}, {1, 1000000000, "less than 0.01%"},
	}
	for _, test := range tests {
		if got := percent(test.n, test.of); got != test.want {
			t.Errorf("%d of %d: got %s, want %s", test.n, test.of, got, test.want)
		}
	}
}

func TestSlowerIsSaidOnlyWhereItIsMeasurable(t *testing.T) {
	tests := []struct {
		live, shadow float64
		want         string
	}{
		{0.1, 0.1, "shadow p99 as fast as live's"},
		{0.1, 0.105, "shadow p99 as fast as live's"}, // within a sixteenth, as quantiles are
		{0.0002, 0.001, "shadow p99 as fast as live's"},
		{0.0002, 0.0014, "shadow p99 1.2 ms slower"},
		{0.1, 0.2, "shadow p99 100 ms slower"},
		{0.2, 0.1, "shadow p99 100 ms faster"},
		{5, 1, "shadow p99 4.0 s faster"},
	}
	for _, test := range tests {
		if got := slower(test.live, test.shadow); got != test.want {
			t.Errorf("live %v, shadow %v: got %q, want %q", test.live, test.shadow, got, test.want)
		}
	}
}

func TestCountsHaveTheirThousandsSetApart(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 12431: "12,431", 999999: "999,999", 1234567890: "1,234,567,890",
		-7: "-7", -999: "-999", -1000: "-1,000", -123456: "-123,456",
	} {
		if got := Count(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestDurationsHaveTheUnitThatSuitsThem(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0 µs", -0.0000001: "0 µs", 0.00004: "40 µs", 0.0009994: "999 µs", 0.00099999: "1.0 ms", 0.0012: "1.2 ms",
		0.00994: "9.9 ms", 0.00996: "10 ms", 0.0124: "12 ms", 0.9994: "999 ms", 0.9996: "1.0 s", 1.25: "1.2 s", 90: "90.0 s", -0.012: "-12 ms",
	} {
		if got := Duration(seconds); got != want {
			t.Errorf("%v s: got %s, want %s", seconds, got, want)
		}
	}
}

// What a verdict holds arrives in the document, and the document as JSON has
// null only where there is nothing to say, and no list that is null.
func TestDocumentsHaveWhatComparingHasShown(t *testing.T) {
	rules := &compare.Rules{Body: compare.JSON, MaxBodySize: 1 << 16, Keep: 20, Show: compare.Values}
	v := compare.NewVerdict()
	v.Begin(rules)
	request := &compare.Request{Method: "GET", Path: "/invoices/2026-0042", At: generated}
	header := http.Header{"Content-Type": {"application/json"}}
	live := &compare.Answer{Status: 200, Header: header, Body: []byte(`{"total":178.50}`), Took: 20 * time.Millisecond}
	shadow := &compare.Answer{Status: 200, Header: header, Body: []byte(`{"total":178.49}`), Took: 40 * time.Millisecond}
	v.Add(rules, request, live, shadow, compare.Judge(rules, live, shadow))
	alike := &compare.Answer{Status: 200, Header: header, Body: live.Body, Took: shadow.Took}
	v.Add(rules, request, live, alike, compare.Judge(rules, live, alike))
	v.Add(rules, request, live, nil, compare.Skip(compare.ShadowFailed))

	m := reports()
	m.AddVerdict(v.Snapshot())
	c := m.Comparison
	if c.Compared != 2 || c.Matched != 1 || c.Mismatched != 1 || c.Agreement == nil || *c.Agreement != 0.5 || c.Show != compare.Values {
		t.Errorf("got %+v, want one of two matched, and values shown", c)
	}
	// Latencies are known to within a sixteenth.
	if want := "50% of 2 answers agree; 1 real difference; shadow p99 19 ms slower"; c.Verdict != want {
		t.Errorf("verdict: got %q, want %q", c.Verdict, want)
	}
	if len(c.Differences) != 1 || c.Differences[0].Key != "$.total" || c.Differences[0].Live != "178.50" || c.Differences[0].Where != "GET /invoices/*" {
		t.Errorf("differences: got %+v, want one of $.total", c.Differences)
	}
	if len(c.Mismatches) != 1 || c.Mismatches[0].Path != "/invoices/2026-0042" || len(c.Mismatches[0].Differences) != 1 {
		t.Errorf("mismatches: got %+v, want the one", c.Mismatches)
	}
	if m.Compared[compare.Skipped] != 1 || m.Skipped[compare.ShadowFailed] != 1 || c.Skipped[compare.ShadowFailed] != 1 {
		t.Errorf("skipped: got %v, %v and %v, want 1 for %s", m.Compared, m.Skipped, c.Skipped, compare.ShadowFailed)
	}
	for _, reason := range compare.Reasons {
		if _, ok := m.Skipped[reason]; !ok {
			t.Errorf("no count of pairs skipped as %s; want 0", reason)
		}
	}
}

func TestJSONHasNoListThatIsNull(t *testing.T) {
	v := compare.NewVerdict()
	v.Begin(&compare.Rules{Show: compare.Hashes})
	m := reports()
	m.AddVerdict(v.Snapshot())
	var out bytes.Buffer
	if err := WriteJSON(&out, documentOf(m)); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Middlewares []struct {
			Comparison map[string]interface{} `json:"comparison"`
		} `json:"middlewares"`
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if len(back.Middlewares) != 1 {
		t.Fatalf("got %d middlewares, want 1", len(back.Middlewares))
	}
	for name, value := range back.Middlewares[0].Comparison {
		if value == nil && name != "agreement" {
			t.Errorf("%s is null", name)
		}
	}
}
