package report

import (
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/latency"
)

// generated is the time of the documents of these tests.
var generated = time.Date(2026, 3, 12, 14, 31, 7, 0, time.UTC)

func before(d time.Duration) time.Time { return generated.Add(-d) }

// took returns a latency of n exchanges that took as long as each other.
func took(n int, d time.Duration) *Latency {
	h := &latency.Histogram{}
	for i := 0; i < n; i++ {
		h.Add(d)
	}
	return NewLatency(h)
}

// billing is a mirror that compares, with four answers in 12,431 that differ.
func billing() *Middleware {
	failed := before(11 * time.Minute)
	m := &Middleware{
		Name: "shadow-billing@docker", Shadow: "http://billing-next:8080", Since: before(26 * time.Hour),
		State:    State{LastError: "no whole answer within the timeout", LastErrorAt: &failed},
		Mirrored: 12471,
		Dropped:  map[string]int64{"sampling": 112030, "too_large": 9, "method": 3011},
		Failed:   map[string]int64{"connect": 0, "timeout": 3, "tls": 0, "protocol": 0, "internal": 0},
		InFlight: 2,
		Answers:  map[string]int64{"1xx": 0, "2xx": 12401, "3xx": 0, "4xx": 66, "5xx": 4, "other": 0}, RequestBytes: 45123456, AnswerBytes: 999,
		ShadowLatency: took(12, 31*time.Millisecond), ComparedLive: took(12, 22*time.Millisecond), ComparedShadow: took(12, 30*time.Millisecond),
		Compared:   map[string]int64{compare.Match: 12427, compare.Mismatch: 4, compare.Skipped: 40},
		Skipped:    map[string]int64{compare.TooLarge: 40},
		Comparison: billingComparison(),
		Compares:   true,
		Pairs: map[string]compare.PairCounts{
			"GET /invoices/*": {Match: 12396, Differs: 4}, "PUT /scans/*": {Match: 31, Skipped: 40}, "(others)": {},
		},
		Judged: &compare.Judged{
			Since: before(time.Hour), Compared: 12431, Real: 4, Noise: 12420, Ignored: 2,
			Differences: map[string]int64{compare.Real: 1, compare.Noise: 2}, Controlled: true, Unfit: 3,
		},
		JudgedState: compare.StateDiffers,
	}
	m.AddLosses()
	return m
}

func billingComparison() *Comparison {
	since := before(time.Hour)
	index := 3
	c := &Comparison{
		Since: since, State: compare.StateDiffers, Reasons: []string{}, Show: compare.Values,
		Compared: 12431, Agreeing: 12427, Real: 4, Noise: 12427,
		Skipped: map[string]int64{compare.TooLarge: 40},
		Live:    took(12, 22*time.Millisecond), Shadow: took(12, 31*time.Millisecond), Difference: PairByPair{P50: 0.009, P90: 0.009, P99: -0.002, Slower: map[string]string{"p50": Slower, "p90": Chance, "p99": Faster}},
		Statuses: []StatusPair{{Live: 200, Shadow: 200, Count: 12362}, {Live: 404, Shadow: 404, Count: 67}, {Live: 200, Shadow: 500, Count: 2}},
		Endpoints: []Endpoint{
			{Endpoint: "GET /invoices/*", State: compare.StateDiffers, Compared: 12400, Real: 4, Noise: 12396, Live: Quantiles{P50: 0.022}, Shadow: Quantiles{P50: 0.031}},
			{Endpoint: "PUT /scans/*", State: compare.StateAgrees, Compared: 31, Noise: 31, Skipped: map[string]int64{compare.TooLarge: 40}},
		},
		Differences: []Difference{
			{
				Endpoint: "GET /invoices/*", Key: "$.lines[*].total", Judgement: compare.Real, Relation: "-0.01", Count: 4, Pairs: 10000, First: since, Last: before(3 * time.Minute),
				Examples: []Example{{
					At: before(3 * time.Minute), Path: "/invoices/2026-0042", RequestID: "7f3a-91", LiveStatus: 200, ShadowStatus: 200,
					Live: "178.50", Shadow: "178.49", Relation: "-0.01", Index: &index,
				}},
			},
			{Endpoint: "GET /invoices/*", Key: "$.requestId", Judgement: compare.Noise, Count: 12400, Pairs: 12400, Ignore: "$.requestId", First: since, Last: generated},
			{Endpoint: "PUT /scans/*", Key: "$.requestId", Judgement: compare.Noise, Count: 31, Pairs: 31, Ignore: "$.requestId", First: since, Last: generated},
		},
		Timeline: Timeline{Width: 600, Intervals: []Interval{
			{Start: since, Compared: 4000}, {Start: since.Add(10 * time.Minute), Compared: 400, Real: 4}, {Start: since.Add(50 * time.Minute), Compared: 8031},
		}},
	}
	c.Headline = c.headline("")
	return c
}

// reports is a mirror that does not compare.
func reports() *Middleware {
	m := &Middleware{
		Name: "shadow-reports@file", Shadow: "https://reports-next:8443", Since: before(time.Hour), Mirrored: 7,
		Dropped: map[string]int64{}, Failed: map[string]int64{}, Answers: map[string]int64{"2xx": 7},
		ShadowLatency: took(7, 5*time.Millisecond), ComparedLive: took(0, 0), ComparedShadow: took(0, 0), Compared: map[string]int64{}, Skipped: map[string]int64{},
	}
	m.AddLosses()
	return m
}

// fresh is a mirror that compares and has met no request.
func fresh() *Middleware {
	m := reports()
	m.Name = "shadow-customers@file"
	m.Mirrored = 0
	m.Answers = map[string]int64{}
	m.AddLosses()
	m.ShadowLatency = took(0, 0)
	m.Comparison = &Comparison{Since: before(time.Second), Show: compare.Hashes, State: compare.StateNone, Live: took(0, 0), Shadow: took(0, 0), Headline: "no answers compared yet"}
	return m
}

// mistakenMirror is one that mirrored until its options were spoilt.
func mistakenMirror() *Middleware {
	m := billing()
	m.Name = "shadow-ledger@docker"
	m.Shadow = ""
	m.Comparison = nil
	m.ConfigErrors = 2
	m.Mistakes = []string{
		`timeout: "2 s": takes a duration above 0, such as 500ms or 5s, or a number of seconds`,
		"maxBodysise: there is no such option; the nearest is maxBodySize",
	}
	return m
}

func documentOf(middlewares ...*Middleware) *Document {
	return &Document{Generated: generated, Middlewares: middlewares}
}
