package report

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

func TestHeadlinesSayInOneLineWhatCounts(t *testing.T) {
	tests := []struct {
		name       string
		comparison Comparison
		want       string
	}{
		{"nothing yet", Comparison{State: compare.StateNone}, "no answers compared yet"},
		{"none could be", Comparison{State: compare.StateNone, Skipped: map[string]int64{compare.Stream: 1200}}, "none of 1,200 answers could be compared"},
		{"early", Comparison{State: compare.StateEarly, Compared: 12, Agreeing: 12}, "12 answers are too few to say"},
		{"one", Comparison{State: compare.StateEarly, Compared: 1, Agreeing: 1}, "1 answer is too few to say"},
		{"early, and wrong", Comparison{State: compare.StateEarly, Compared: 12, Real: 10}, "12 answers are too few to say; 10 of them really differ"},
		{"differs", Comparison{State: compare.StateDiffers, Compared: 12431, Agreeing: 12427, Real: 4}, "4 of 12,431 answers really differ (0.03%)"},
		{"one differs", Comparison{State: compare.StateDiffers, Compared: 100, Agreeing: 97, Real: 1, Undecided: 2}, "1 of 100 answers really differs (1%), 2 more cannot be decided"},
		{"undecided", Comparison{State: compare.StateUndecided, Compared: 1200, Undecided: 1200}, "1,200 of 1,200 answers differ in what cannot be decided (100%)"},
		{"undecided for another reason", Comparison{State: compare.StateUndecided, Compared: 1200, Agreeing: 1200, Reasons: []string{"the shadow is left alone (paused)"}}, "100% of 1,200 answers agree, but the shadow is left alone (paused)"},
		{"agrees", Comparison{State: compare.StateAgrees, Compared: 1200, Agreeing: 1200}, "100% of 1,200 answers agree"},
		{"agrees but for noise", Comparison{State: compare.StateAgrees, Compared: 1200, Agreeing: 1200, Noise: 1200}, "100% of 1,200 answers agree, 1,200 of them but for noise"},
	}
	for _, test := range tests {
		c := test.comparison
		if got := c.headline(""); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
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

// What a verdict holds arrives in the document.
func TestDocumentsHaveWhatComparingHasShown(t *testing.T) {
	rules := &compare.Rules{Body: compare.JSON, MaxBodySize: 1 << 16, Examples: 5, Minimum: 2, Show: compare.Values, Epoch: "build 4711"}
	v := compare.NewVerdict()
	v.Begin(rules)
	header := http.Header{"Content-Type": {"application/json"}}
	live := &compare.Answer{Status: 200, Header: header, Body: []byte(`{"total":178.50}`), Took: 20 * time.Millisecond}
	shadow := &compare.Answer{Status: 200, Header: header, Body: []byte(`{"total":178.49}`), Took: 40 * time.Millisecond}
	alike := &compare.Answer{Status: 200, Header: header, Body: live.Body, Took: shadow.Took}
	request := &compare.Request{Method: "GET", Path: "/invoices/2026-0042", At: generated, ID: "7f3a-91"}
	for i := 0; i < 40; i++ {
		answer := alike
		if i == 7 {
			answer = shadow
		}
		v.Add(rules, request, live, answer, compare.Judge(rules, live, answer))
	}
	v.Add(rules, request, live, nil, compare.Skip(compare.ShadowFailed))

	m := reports()
	m.AddVerdict(v.Snapshot(), generated)
	c := m.Comparison
	if c.State != compare.StateDiffers || c.Compared != 40 || c.Agreeing != 39 || c.Real != 1 || c.Show != compare.Values || c.Epoch != "build 4711" {
		t.Errorf("got %+v, want one of 40 that really differs", c)
	}
	if want := "1 of 40 answers really differs (2.5%)"; c.Headline != want {
		t.Errorf("headline: got %q, want %q", c.Headline, want)
	}
	if len(c.Differences) != 1 || len(c.Differences[0].Examples) != 1 {
		t.Fatalf("differences: got %+v, want one with an example", c.Differences)
	}
	d := c.Differences[0]
	if d.Endpoint != "GET /invoices/*" || d.Key != "$.total" || d.Judgement != compare.Real || d.Count != 1 || d.Pairs != 40 || d.Ignore != "$.total" {
		t.Errorf("got %+v, want $.total of GET /invoices/*, real", d)
	}
	if e := d.Examples[0]; e.Live != "178.50" || e.Shadow != "178.49" || e.Path != "/invoices/2026-0042" || e.RequestID != "7f3a-91" {
		t.Errorf("got %+v, want the pair", e)
	}
	if len(c.Endpoints) != 1 || c.Endpoints[0].Endpoint != "GET /invoices/*" || c.Endpoints[0].Compared != 40 || c.Endpoints[0].Skipped[compare.ShadowFailed] != 1 || c.Endpoints[0].State != compare.StateDiffers {
		t.Errorf("endpoints: got %+v, want the one", c.Endpoints)
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

// A shadow that is ill of late leaves nothing that agrees.
func TestIllShadowsLeaveItUndecided(t *testing.T) {
	rules := &compare.Rules{Body: compare.JSON, MaxBodySize: 1 << 16, Minimum: 2}
	v := compare.NewVerdict()
	v.Begin(rules)
	answer := &compare.Answer{Status: 200, Header: http.Header{}, Body: []byte("{}")}
	for i := 0; i < 40; i++ {
		v.Add(rules, &compare.Request{Method: "GET", Path: "/invoices"}, answer, answer, compare.Judge(rules, answer, answer))
	}
	removedAt := before(time.Minute)
	for what, spoil := range map[string]func(*Middleware){
		"agrees":    func(_ *Middleware) {},
		"paused":    func(m *Middleware) { m.State.Paused = true },
		"fails too": func(m *Middleware) { m.State.Failing = true },
		"no router": func(m *Middleware) { m.Removed = &removedAt },
	} {
		m := reports()
		spoil(m)
		m.AddVerdict(v.Snapshot(), generated)
		c := m.Comparison
		if what == "agrees" && c.State != compare.StateAgrees || what != "agrees" && (c.State != compare.StateUndecided || !strings.Contains(c.Headline, what)) {
			t.Errorf("%s: got %s, %q", what, c.State, c.Headline)
		}
	}
}

func TestJSONHasNoListThatIsNull(t *testing.T) {
	v := compare.NewVerdict()
	v.Begin(&compare.Rules{Show: compare.Hashes})
	m := reports()
	m.AddVerdict(v.Snapshot(), generated)
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
		if value == nil && name != "previous" && name != "enoughIn" {
			t.Errorf("%s is null", name)
		}
	}
}

// Whether a router uses the middleware is said by one field, which is always there.
func TestJSONSaysWhetherAMirrorIsRemoved(t *testing.T) {
	gone := before(14 * time.Second)
	for want, m := range map[string]*Middleware{
		`"removed": null`:                   {},
		`"removed": "2026-03-12T14:30:53Z"`: {Removed: &gone},
	} {
		var out bytes.Buffer
		if err := WriteJSON(&out, documentOf(m)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}
