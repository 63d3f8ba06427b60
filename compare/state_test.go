package compare

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// agreed is an account of so many pairs at one endpoint, the shadow's answers having taken
// longer by less.
func alikeAccount(pairs int64, live, less time.Duration) *Account {
	e := Endpoint{Name: "GET /invoices/*", Compared: pairs, Live: &latency.Histogram{}, Shadow: &latency.Histogram{}, Difference: &latency.Differences{}}
	for i := int64(0); i < pairs; i++ {
		e.Live.Add(live)
		e.Shadow.Add(live + less)
		e.Difference.Add(less)
	}
	return &Account{Minimum: 100, Compared: pairs, Live: e.Live, Shadow: e.Shadow, Difference: e.Difference, Endpoints: []Endpoint{e}}
}

// Each allowance has its limit, and allows nothing else.
func TestAllowances(t *testing.T) {
	now := time.Now()
	const ms = time.Millisecond
	share := func(of float64) Allowance { return Allowance{Share: of} }
	tests := []struct {
		name    string
		pairs   int64
		set     func(*Account)
		allowed Allowances
		want    string
		says    string // in a reason
	}{
		{"nothing asked", 100, func(_ *Account) {}, Allowances{}, StateAgrees, ""},
		{"fewer pairs", 40, func(_ *Account) {}, Allowances{Minimum: 40}, StateAgrees, ""},
		{"one too few of fewer", 39, func(_ *Account) {}, Allowances{Minimum: 40}, StateEarly, "39 of 40 pairs"},
		{"more pairs", 200, func(_ *Account) {}, Allowances{Minimum: 201}, StateEarly, "200 of 201 pairs"},
		{"fewer pairs than an endpoint takes", 19, func(_ *Account) {}, Allowances{Minimum: 1}, StateEarly, "19 of 20 requests"},

		{"as many real ones", 1000, func(a *Account) { a.Real = 3 }, Allowances{Real: Allowance{Pairs: 3}}, StateAgrees, ""},
		{"one real one too many", 1000, func(a *Account) { a.Real = 4 }, Allowances{Real: Allowance{Pairs: 3}}, StateDiffers, ""},
		{"such a share of real ones", 1000, func(a *Account) { a.Real = 5 }, Allowances{Real: share(0.005)}, StateAgrees, ""},
		{"a larger one", 1000, func(a *Account) { a.Real = 6 }, Allowances{Real: share(0.005)}, StateDiffers, ""},
		{"29 of 100 are 29%", 100, func(a *Account) { a.Real = 29 }, Allowances{Real: share(0.29)}, StateAgrees, ""},
		{"30 of 100 are more", 100, func(a *Account) { a.Real = 30 }, Allowances{Real: share(0.29)}, StateDiffers, ""},
		{"real ones are not undecided", 1000, func(a *Account) { a.Real = 1 }, Allowances{Undecided: share(1)}, StateDiffers, ""},

		{"as many undecided", 1000, func(a *Account) { a.Undecided = 3 }, Allowances{Undecided: Allowance{Pairs: 3}}, StateAgrees, ""},
		{"one undecided too many", 1000, func(a *Account) { a.Undecided = 4 }, Allowances{Undecided: Allowance{Pairs: 3}}, StateUndecided, "4 pairs differ"},
		{"such a share of undecided", 1000, func(a *Account) { a.Undecided = 20 }, Allowances{Undecided: share(0.02)}, StateAgrees, ""},
		{"undecided ones are not real", 1000, func(a *Account) { a.Undecided = 1 }, Allowances{Real: share(1)}, StateUndecided, "1 pairs differ"},
		{"allowed, and as the control", 1000, func(a *Account) {
			a.Undecided = 1
			a.Differences = []Group{{Endpoint: "GET /invoices/*", Key: "$.total", Alike: true}}
		}, Allowances{Undecided: share(0.02)}, StateAgrees, ""},
		{"as the control, in none that is allowed", 1000, func(a *Account) {
			a.Real = 1
			a.Differences = []Group{{Endpoint: "GET /invoices/*", Key: "$.total", Alike: true}}
		}, Allowances{Real: share(1), Undecided: share(0.02)}, StateUndecided, "the control differs from live in the same way"},

		{"what was left out is not allowed", 1000, func(a *Account) {
			a.Endpoints = append(a.Endpoints, Endpoint{Name: "PUT /scans/*", Dropped: map[string]int64{"too_large": 30}})
		}, Allowances{Real: share(1), Undecided: share(1)}, StateUndecided, "PUT /scans/*: never compared (too_large)"},
		{"old pairs are not", 1000, func(a *Account) {
			a.MaxAge = 10 * time.Minute
			a.Latest = now.Add(-11 * time.Minute)
		}, Allowances{Real: share(1), Undecided: share(1)}, StateUndecided, "no pair for 11m0s"},

		{"slower by less", 500, func(_ *Account) {}, Allowances{Slower: &Slower{By: 45 * ms}}, StateAgrees, ""},
		{"slower by more", 500, func(_ *Account) {}, Allowances{Slower: &Slower{By: 35 * ms}}, StateDiffers, "slower than live's, pair by pair, and 35ms is allowed"},
		{"slower, and few pairs", 499, func(_ *Account) {}, Allowances{Slower: &Slower{By: time.Hour}}, StateEarly, "499 of 500 pairs"},
		{"slower, and fewer pairs asked for", 499, func(_ *Account) {}, Allowances{Minimum: 10, Slower: &Slower{By: time.Hour}}, StateEarly, "499 of 500 pairs"},
		{"slower, and more pairs asked for", 600, func(_ *Account) {}, Allowances{Minimum: 601, Slower: &Slower{By: time.Hour}}, StateEarly, "600 of 601 pairs"},
		{"three times as slow", 500, func(_ *Account) {}, Allowances{Slower: &Slower{Ratio: 3.3}}, StateAgrees, ""},
		{"more than twice as slow", 500, func(_ *Account) {}, Allowances{Slower: &Slower{Ratio: 2}}, StateDiffers, "and 2 times that is allowed"},
		{"slower, and real ones that are allowed", 500, func(a *Account) { a.Real = 1 }, Allowances{Real: share(1), Slower: &Slower{By: 35 * ms}}, StateDiffers, "slower"},
	}
	for _, test := range tests {
		a := alikeAccount(test.pairs, 20*ms, 40*ms)
		test.set(a)
		state, reasons := a.StateWith(now, nil, &test.allowed)
		if said := strings.Join(reasons, "; "); state != test.want || !strings.Contains(said, test.says) || (test.says == "") != (said == "") {
			t.Errorf("%s: %s %q, want %s and %q", test.name, state, reasons, test.want, test.says)
		}
	}
	a := alikeAccount(100, ms, 0)
	if state, reasons := a.StateWith(now, []string{"9 of 100 copies were lost", "paused"}, &Allowances{Real: share(1), Undecided: share(1)}); state != StateUndecided || len(reasons) != 2 {
		t.Errorf("in doubt for two reasons: %s %q", state, reasons)
	}
}

// One endpoint is judged by its own pairs: their number, what they differ in, how long they
// took and how old they are.
func TestAnEndpointIsJudgedByItself(t *testing.T) {
	now := time.Now()
	clock = func() time.Time { return now }
	defer func() { clock = time.Now }()
	r := rules(t)
	r.Minimum = 100
	r.MaxAge = 10 * time.Minute
	v := begun(r)
	answered := func(body string, took time.Duration) *Answer {
		a := jsonAnswer(body)
		a.Took = took
		return a
	}
	pair := func(path, shadow string, less time.Duration) {
		l, s := answered(`{"paid":true}`, 20*time.Millisecond), answered(shadow, 20*time.Millisecond+less)
		f := Judge(r, l, s)
		if f.Outcome != Match {
			v.Add(r, &Request{Method: "GET", Path: path, At: now}, l, s, f)
			return
		}
		v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: path, At: now}, Status: 200, Live: l.Took, Shadow: s.Took}
		v.AddMatches()
	}
	for i := 0; i < 500; i++ {
		pair(fmt.Sprint("/invoices/", i), `{"paid":true}`, 5*time.Millisecond)
	}
	now = now.Add(11 * time.Minute)
	for i := 0; i < 500; i++ {
		pair(fmt.Sprint("/accounts/", i), `{"paid":true}`, 90*time.Millisecond)
	}
	pair("/accounts/1", `{"paid":false}`, 90*time.Millisecond)
	for i := 0; i < 12; i++ {
		pair(fmt.Sprint("/dunning/", i), `{"paid":true}`, 0)
	}
	for i := 0; i < 30; i++ {
		v.Drop("PUT", fmt.Sprint("/scans/", i), "too_large")
	}
	pairs := Allowance{Pairs: 1}
	tests := []struct {
		endpoint string
		allowed  Allowances
		state    string
		says     string
	}{
		{"GET /accounts/*", Allowances{}, StateDiffers, ""},
		{"GET /accounts/*", Allowances{Real: pairs}, StateAgrees, ""},
		{"GET /accounts/*", Allowances{Real: pairs, Slower: &Slower{By: 60 * time.Millisecond}}, StateDiffers, "slower"},
		{"GET /accounts/*", Allowances{Real: pairs, Slower: &Slower{By: 120 * time.Millisecond}}, StateAgrees, ""},
		{"GET /invoices/*", Allowances{}, StateUndecided, "no pair for 11m0s"},
		{"GET /*/*", Allowances{}, StateEarly, "12 of 100 pairs"},
		{"PUT /scans/*", Allowances{}, StateNone, ""},
	}
	all := v.Snapshot().Account
	for _, test := range tests {
		one := all.Of(test.endpoint)
		if one == nil {
			t.Fatalf("there is no %s, but %+v", test.endpoint, all.Endpoints)
		}
		state, reasons := one.StateWith(now, nil, &test.allowed)
		if said := strings.Join(reasons, "; "); state != test.state || !strings.Contains(said, test.says) || (test.says == "") != (said == "") {
			t.Errorf("%s with %+v: %s %q, want %s and %q", test.endpoint, test.allowed, state, reasons, test.state, test.says)
		}
	}
	if left := all.Of("PUT /scans/*").LeftOut(); len(left) != 1 || !strings.Contains(left[0], "never compared (too_large)") {
		t.Errorf("left out: %q", left)
	}
	if n := len(all.Of("GET /invoices/*").Differences); n != 0 {
		t.Errorf("an endpoint has %d differences of another's", n)
	}
	if n := len(all.Of("GET /accounts/*").Differences); n != 1 {
		t.Errorf("%d differences, want the one", n)
	}
	if all.Of("GET /accounts") != nil || all.Of("") != nil {
		t.Error("there is an endpoint that nobody asked for")
	}
	// All together are as slow as the slower half.
	if by := all.Difference.Quantile(0.99); by < 80*time.Millisecond || by > 100*time.Millisecond {
		t.Errorf("slower by %s, want 90ms within a sixteenth", by)
	}
}

func TestWaitsGoByTheTrafficOfLate(t *testing.T) {
	now := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	interval := func(ago time.Duration, pairs int64) Interval { return Interval{Start: now.Add(-ago), Compared: pairs} }
	endpoint := func(name string, pairs int64) Endpoint { return Endpoint{Name: name, Compared: pairs} }
	tests := []struct {
		name      string
		intervals []Interval
		endpoints []Endpoint
		of        string
		allowed   Allowances
		want      time.Duration
	}{
		{"one in a second, 40 missing", []Interval{interval(60*time.Second, 60)}, []Endpoint{endpoint("GET /invoices", 60)}, "", Allowances{}, 40 * time.Second},
		{"more asked for", []Interval{interval(60*time.Second, 60)}, []Endpoint{endpoint("GET /invoices", 60)}, "", Allowances{Minimum: 120}, 60 * time.Second},
		{"enough", []Interval{interval(60*time.Second, 120)}, []Endpoint{endpoint("GET /invoices", 120)}, "", Allowances{}, 0},
		{"what came long ago does not count", []Interval{interval(5*time.Hour, 5000), interval(20*time.Second, 10)}, []Endpoint{endpoint("GET /invoices", 5010)}, "", Allowances{Minimum: 5020}, 20 * time.Second},
		{"nothing of late", []Interval{interval(5*time.Hour, 50)}, []Endpoint{endpoint("GET /invoices", 50)}, "", Allowances{}, 0},
		{"nothing at all", nil, nil, "", Allowances{}, 0},
		{"all in this moment", []Interval{interval(0, 50)}, []Endpoint{endpoint("GET /invoices", 50)}, "", Allowances{}, 0},
		{"an endpoint that has a tenth", []Interval{interval(100*time.Second, 1000)}, []Endpoint{endpoint("GET /invoices", 900), endpoint("POST /invoices", 100)}, "POST /invoices", Allowances{Minimum: 200}, 100 * time.Second},
		{"an endpoint that is waited for", []Interval{interval(100*time.Second, 110)}, []Endpoint{endpoint("GET /invoices", 100), endpoint("POST /invoices", 10)}, "", Allowances{}, 100 * time.Second},
		{"many, and few in a second", []Interval{interval(100*time.Second, 1)}, []Endpoint{endpoint("GET /invoices", 1)}, "", Allowances{Minimum: 1e15}, 1e6 * time.Second},
	}
	for _, test := range tests {
		a := &Account{Minimum: 100, Width: 10 * time.Second, Intervals: test.intervals, Endpoints: test.endpoints}
		for i := range test.endpoints {
			a.Compared += test.endpoints[i].Compared
		}
		of := a
		if test.of != "" {
			of = a.Of(test.of)
		}
		if got := a.Wait(now, of, &test.allowed).Round(time.Second); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
