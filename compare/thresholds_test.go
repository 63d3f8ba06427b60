package compare

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"
)

// Each condition of the judgement by itself: two rows, or a few, that differ in nothing but
// that they are on either side of one threshold.
func TestThresholdsOfTheJudgement(t *testing.T) {
	// With none of it: a GET's value, one of many, that differs in all answers.
	alone := Evidence{Pairs: 100, Present: 100, Values: 11, Safe: true, Keys: 1}
	// With none of it: the shadow and the control each differ once in a while.
	controlled := Evidence{Pairs: 4, Present: 50, Values: 11, Safe: true, Keys: 1, Triples: 50, Shaped: true}
	tests := []struct {
		name string
		e    Evidence
		set  func(e *Evidence)
		want string
	}{
		{"nothing", alone, func(_ *Evidence) {}, Undecided},

		{"eleven values", alone, func(e *Evidence) { e.Values = 11 }, Undecided},
		{"ten values", alone, func(e *Evidence) { e.Values = 10 }, Real},
		{"ten values in 20 pairs", alone, func(e *Evidence) { e.Values, e.Pairs, e.Present = 10, 20, 20 }, Real},
		{"ten values in 19 pairs", alone, func(e *Evidence) { e.Values, e.Pairs, e.Present = 10, 19, 19 }, Undecided},
		{"eleven values in 20 pairs", alone, func(e *Evidence) { e.Values, e.Pairs, e.Present = 11, 20, 20 }, Undecided},
		{"live's side constant in 20 pairs", alone, func(e *Evidence) { e.Values, e.Pairs, e.Present = 1, 20, 20 }, Real},
		{"live's side constant in 19 pairs", alone, func(e *Evidence) { e.Values, e.Pairs, e.Present = 1, 19, 19 }, Undecided},

		{"90 of 100", alone, func(e *Evidence) { e.Pairs = 90 }, Undecided},
		{"89 of 100", alone, func(e *Evidence) { e.Pairs = 89 }, Real},
		{"18 of 20", alone, func(e *Evidence) { e.Pairs, e.Present = 18, 20 }, Undecided},
		{"17 of 20", alone, func(e *Evidence) { e.Pairs, e.Present = 17, 20 }, Real},
		{"one of one", alone, func(e *Evidence) { e.Pairs, e.Present = 1, 1 }, Undecided},
		{"one of two", alone, func(e *Evidence) { e.Pairs, e.Present = 1, 2 }, Real},

		{"made anew in all, of a POST", alone, func(e *Evidence) { e.Made, e.Safe = 100, false }, Noise},
		{"made anew in all but one, of a POST", alone, func(e *Evidence) { e.Made, e.Safe = 99, false }, Undecided},
		{"made anew in all but one, which is rare", alone, func(e *Evidence) { e.Pairs, e.Made, e.Safe = 89, 88, false }, Real},
		{"made anew in all, of a GET", alone, func(e *Evidence) { e.Made = 100 }, Undecided},
		{"made anew in all, of a GET whose value changes", alone, func(e *Evidence) { e.Made, e.Changes = 100, true }, Noise},
		{"not made anew, though it changes", alone, func(e *Evidence) { e.Changes = true }, Undecided},
		{"made anew, and now and then only", alone, func(e *Evidence) { e.Pairs, e.Made, e.Safe = 10, 10, false }, Noise},
		{"made anew, and of another's", alone, func(e *Evidence) { e.Made, e.Safe, e.Mixed = 100, false, 1 }, Real},
		{"made anew, and of another type", alone, func(e *Evidence) { e.Made, e.Safe, e.Structural = 100, false, true }, Real},
		{"structural, once", alone, func(e *Evidence) { e.Structural, e.Pairs, e.Present = true, 1, 1 }, Real},
		{"of another's, once", alone, func(e *Evidence) { e.Mixed, e.Pairs, e.Present = 1, 1, 1 }, Real},
		{"no answer, and made anew", alone, func(e *Evidence) { e.Made, e.Safe, e.NoAnswer = 100, false, true }, Real},

		// 2^-10 is below 0.001, 2^-9 is not.
		{"the shadow 10 times, the control never", controlled, func(e *Evidence) { e.ShadowOnly = 10 }, Real},
		{"the shadow 9 times, the control never", controlled, func(e *Evidence) { e.ShadowOnly = 9 }, Undecided},
		{"10 times, one of two keys", controlled, func(e *Evidence) { e.ShadowOnly, e.Keys = 10, 2 }, Undecided},
		{"11 times, one of two keys", controlled, func(e *Evidence) { e.ShadowOnly, e.Keys = 11, 2 }, Real},
		{"11 times, one of three keys", controlled, func(e *Evidence) { e.ShadowOnly, e.Keys = 11, 3 }, Undecided},
		{"10 times, and nobody has counted the keys", controlled, func(e *Evidence) { e.ShadowOnly, e.Keys = 10, 0 }, Real},
		// 20 heads or more of 24: 0.00077; 19 or more of 23: 0.0013.
		{"20 times, the control 4 times", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly = 20, 4 }, Real},
		{"19 times, the control 4 times", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly = 19, 4 }, Undecided},

		{"5 times of 100, the control never", controlled, func(e *Evidence) { e.ShadowOnly, e.Triples = 5, 100 }, Real},
		{"5 times of 99, the control never", controlled, func(e *Evidence) { e.ShadowOnly, e.Triples = 5, 99 }, Undecided},
		{"4 times of 100, the control never", controlled, func(e *Evidence) { e.ShadowOnly, e.Triples = 4, 100 }, Undecided},
		{"5 times of 100, the control once", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly, e.Triples = 5, 1, 100 }, Undecided},
		{"5 times of 100, both once", controlled, func(e *Evidence) { e.ShadowOnly, e.Both, e.Triples = 5, 1, 100 }, Undecided},
		{"5 times of 100, once made anew", controlled, func(e *Evidence) { e.ShadowOnly, e.Triples, e.Made = 5, 100, 1 }, Undecided},

		{"the control 3 times", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly = 3, 3 }, Noise},
		{"the control 2 times", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly = 3, 2 }, Undecided},
		{"the control 2 times, both once", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly, e.Both = 3, 2, 1 }, Noise},
		{"the control 3 times, of another shape", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly, e.Shaped = 3, 3, false }, Undecided},
		// 13 or more of 16: 0.0106; 14 or more of 17: 0.0064.
		{"13 times, the control 3 times", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly = 13, 3 }, Noise},
		{"14 times, the control 3 times", controlled, func(e *Evidence) { e.ShadowOnly, e.ControlOnly = 14, 3 }, Undecided},
		{"both in 2 of 2", controlled, func(e *Evidence) { e.Both, e.Triples = 2, 2 }, Noise},
		{"both in 2 of 3", controlled, func(e *Evidence) { e.Both, e.Triples = 2, 3 }, Undecided},

		{"structural, and the control never", controlled, func(e *Evidence) { e.Structural, e.ShadowOnly = true, 1 }, Real},
		{"structural, and the control too", controlled, func(e *Evidence) {
			e.Structural, e.ControlShowed, e.ShadowOnly, e.ControlOnly = true, true, 3, 3
		}, Noise},
		{"both in the same way", controlled, func(e *Evidence) { e.Both, e.Same = 40, 40 }, Undecided},
		{"both, each in its own way", controlled, func(e *Evidence) { e.Both = 40 }, Noise},
		{"no answer, and the control too", controlled, func(e *Evidence) { e.NoAnswer, e.ControlOnly, e.ShadowOnly = true, 20, 20 }, Real},
		{"no answer, nor of the control at once", controlled, func(e *Evidence) { e.NoAnswer, e.Both, e.Same = true, 20, 20 }, Undecided},
	}
	for _, test := range tests {
		e := test.e
		test.set(&e)
		if got := JudgeDifference(&e); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// The probability of heads is exact up to a thousand throws, and near enough beyond.
func TestAtLeast(t *testing.T) {
	tests := []struct {
		k, n  int64
		want  float64
		share float64 // that it may be off
	}{
		{0, 0, 1, 0}, {0, 10, 1, 0}, {-1, 10, 1, 0}, {1, 1, 0.5, 1e-9}, {10, 10, 1.0 / 1024, 1e-9}, {5, 9, 0.5, 1e-9}, {20, 24, 12951.0 / (1 << 24), 1e-9}, {11, 10, 0, 0},
		{500, 999, 0.5, 1e-5}, {550, 1000, exactly(550, 1000), 1e-5}, {550, 1001, exactly(550, 1001), 0.02}, {1090, 2000, exactly(1090, 2000), 0.05}, {2000, 4000, 1, 0}, // where it is likely nobody asks how likely

	}
	for _, test := range tests {
		got := atLeast(test.k, test.n)
		if math.Abs(got-test.want) > test.share*test.want {
			t.Errorf("%d or more of %d: %g, want %g", test.k, test.n, got, test.want)
		}
	}
}

// exactly is the probability by whole numbers.
func exactly(k, n int64) float64 {
	sum, term := new(big.Int), new(big.Int).Binomial(n, k)
	for i := k; i <= n; i++ {
		sum.Add(sum, term)
		term.Mul(term, big.NewInt(n-i)).Quo(term, big.NewInt(i+1))
	}
	share, _ := new(big.Rat).SetFrac(sum, new(big.Int).Lsh(big.NewInt(1), uint(n))).Float64()
	return share
}

// Each condition of the state by itself, with the number on either side of it.
func TestThresholdsOfTheState(t *testing.T) {
	now := time.Now()
	pairs := func(name string, n int64) Endpoint { return Endpoint{Name: name, Compared: n} }
	skipped := func(name string, n, left int64, reason string) Endpoint {
		return Endpoint{Name: name, Compared: n, Skipped: map[string]int64{reason: left}}
	}
	dropped := func(name string, n, left int64) Endpoint {
		return Endpoint{Name: name, Compared: n, Dropped: map[string]int64{"too_large": left}}
	}
	tests := []struct {
		name      string
		set       func(a *Account)
		endpoints []Endpoint
		want      string
		says      string
	}{
		{"99 pairs", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 99)}, StateEarly, "99 of 100"},
		{"100 pairs", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 100)}, StateAgrees, ""},
		{"no pair", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 0, 500, Encoding)}, StateNone, ""},
		{"19 requests of 379 to an endpoint", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 360), pairs("POST /invoices", 19)}, StateEarly, "POST /invoices: 19 of 20"},
		{"19 requests of 380 to an endpoint", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 361), pairs("POST /invoices", 19)}, StateAgrees, ""},
		{"20 requests of 120 to an endpoint", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 100), pairs("POST /invoices", 20)}, StateAgrees, ""},
		{"20 requests of 120, most of them skipped", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 100), skipped("GET /events", 1, 19, Stream)}, StateAgrees, ""},

		{"one real", func(a *Account) { a.Real = 1 }, []Endpoint{pairs("GET /invoices", 100)}, StateDiffers, ""},
		{"one real of 99", func(a *Account) { a.Real = 1 }, []Endpoint{pairs("GET /invoices", 99)}, StateEarly, "99 of 100"},
		{"one real and one undecided", func(a *Account) { a.Real, a.Undecided = 1, 1 }, []Endpoint{pairs("GET /invoices", 100)}, StateDiffers, ""},
		{"one undecided", func(a *Account) { a.Undecided = 1 }, []Endpoint{pairs("GET /invoices", 100)}, StateUndecided, "1 pairs differ"},
		{"all noise", func(a *Account) { a.Noise = 100 }, []Endpoint{pairs("GET /invoices", 100)}, StateAgrees, ""},
		{"all ignored", func(a *Account) { a.Ignored = 100 }, []Endpoint{pairs("GET /invoices", 100)}, StateAgrees, ""},

		{"20 requests never compared", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 1000), dropped("PUT /scans/*", 0, 20)}, StateUndecided, "PUT /scans/*: never compared (too_large)"},
		{"19 requests never compared", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 1000), dropped("PUT /scans/*", 0, 19)}, StateAgrees, ""},
		{"streams never compared", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 1000), skipped("GET /events", 0, 500, Stream)}, StateAgrees, ""},
		{"20 streams never compared, and one more", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 1000), {Name: "GET /events", Skipped: map[string]int64{Stream: 19, Encoding: 1}}}, StateUndecided, "GET /events: never compared (encoding)"},

		{"10 of 200 skipped", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 190, 10, Encoding)}, StateAgrees, ""},
		{"11 of 200 skipped", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 189, 11, Encoding)}, StateUndecided, "11 of 200 not compared (encoding)"},
		{"10 of 200 dropped", func(_ *Account) {}, []Endpoint{dropped("GET /invoices", 190, 10)}, StateAgrees, ""},
		{"11 of 200 dropped", func(_ *Account) {}, []Endpoint{dropped("GET /invoices", 189, 11)}, StateUndecided, "11 of 200 not compared (too_large)"},
		{"11 of 200 skipped and dropped", func(_ *Account) {}, []Endpoint{{Name: "GET /invoices", Compared: 189, Skipped: map[string]int64{Encoding: 6}, Dropped: map[string]int64{"body_error": 5}}}, StateUndecided, "11 of 200 not compared (encoding)"},
		{"broken by live", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 100, 100, LiveBroken)}, StateAgrees, ""},
		{"conditional", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 100, 100, Conditional)}, StateAgrees, ""},
		{"failed", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 189, 11, ShadowFailed)}, StateUndecided, "(shadow_error)"},
		{"slow", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 189, 11, LiveSlow)}, StateUndecided, "(live_slow)"},
		{"too complex", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 189, 11, TooComplex)}, StateUndecided, "(too_complex)"},
		{"too large", func(_ *Account) {}, []Endpoint{skipped("GET /invoices", 189, 11, TooLarge)}, StateUndecided, "(too_large)"},

		{"ten minutes old", func(a *Account) { a.Latest = now.Add(-10 * time.Minute) }, []Endpoint{pairs("GET /invoices", 100)}, StateAgrees, ""},
		{"a second more", func(a *Account) { a.Latest = now.Add(-601 * time.Second) }, []Endpoint{pairs("GET /invoices", 100)}, StateUndecided, "no pair for 10m1s"},
		{"old, and no limit", func(a *Account) {
			a.Latest = now.Add(-time.Hour)
			a.MaxAge = 0
		}, []Endpoint{pairs("GET /invoices", 100)}, StateAgrees, ""},

		{"20 of 400 are others", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 380), pairs(others, 20)}, StateAgrees, ""},
		{"21 of 400 are others", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 379), pairs(others, 21)}, StateUndecided, "not told apart"},
		{"half of them are not found", func(_ *Account) {}, []Endpoint{pairs("GET /invoices", 200), pairs(notFound, 200)}, StateAgrees, ""},
	}
	for _, test := range tests {
		a := Account{Minimum: 100, MaxAge: 10 * time.Minute, Latest: now, Endpoints: test.endpoints}
		for i := range test.endpoints {
			a.Compared += test.endpoints[i].Compared
		}
		test.set(&a)
		got, reasons := a.State(now, "")
		if said := strings.Join(reasons, "; "); got != test.want || !strings.Contains(said, test.says) || (test.says == "") != (said == "") {
			t.Errorf("%s: %s %q, want %s and %q", test.name, got, reasons, test.want, test.says)
		}
	}
	a := Account{Minimum: 100, Compared: 100, Endpoints: []Endpoint{pairs("GET /invoices", 100)}}
	if got, reasons := a.State(now, "the shadow is left alone (paused)"); got != StateUndecided || len(reasons) != 1 {
		t.Errorf("paused: %s %q, want undecided", got, reasons)
	}
}

func TestThresholdsOfAnEndpointsState(t *testing.T) {
	tests := []struct {
		e    Endpoint
		want string
	}{
		{Endpoint{Compared: 19}, StateEarly},
		{Endpoint{Compared: 20}, StateAgrees},
		{Endpoint{Compared: 19, Skipped: map[string]int64{Stream: 1}}, StateAgrees},
		{Endpoint{Compared: 1, Real: 1}, StateDiffers},
		{Endpoint{Compared: 20, Undecided: 1}, StateUndecided},
		{Endpoint{Compared: 190, Skipped: map[string]int64{Encoding: 10}}, StateAgrees},
		{Endpoint{Compared: 189, Skipped: map[string]int64{Encoding: 11}}, StateUndecided},
		{Endpoint{Skipped: map[string]int64{Stream: 20}}, StateNone},
		{Endpoint{Dropped: map[string]int64{"too_large": 20}}, StateUndecided},
	}
	for _, test := range tests {
		if got := test.e.State(); got != test.want {
			t.Errorf("%+v: %s, want %s", test.e, got, test.want)
		}
	}
}
