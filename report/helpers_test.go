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
	return &Middleware{
		Name: "shadow-billing@docker", Shadow: "http://billing-next:8080", Since: before(26 * time.Hour),
		State:    State{LastError: "no whole answer within the timeout", LastErrorAt: &failed},
		Eligible: 124513, Mirrored: 12471,
		Dropped:  map[string]int64{"sampling": 112030, "too_large": 9, "method": 3011},
		Failed:   map[string]int64{"connect": 0, "timeout": 3, "tls": 0, "protocol": 0, "internal": 0},
		InFlight: 2,
		Answers:  map[string]int64{"1xx": 0, "2xx": 12401, "3xx": 0, "4xx": 66, "5xx": 4, "other": 0}, RequestBytes: 45123456, AnswerBytes: 999,
		ShadowLatency: took(12, 31*time.Millisecond), ComparedLive: took(12, 22*time.Millisecond), ComparedShadow: took(12, 30*time.Millisecond),
		Compared:   map[string]int64{compare.Match: 12427, compare.Mismatch: 4, compare.Skipped: 40},
		Skipped:    map[string]int64{compare.TooLarge: 40},
		Comparison: billingComparison(),
	}
}

func billingComparison() *Comparison {
	since := before(time.Hour)
	c := &Comparison{
		Since: since, Show: compare.Values, Compared: 12431, Matched: 12427, Mismatched: 4,
		Skipped: map[string]int64{compare.TooLarge: 40},
		Live:    took(12, 22*time.Millisecond), Shadow: took(12, 31*time.Millisecond), Difference: Quantiles{P50: 0.009, P90: 0.009, P99: -0.002},
		Statuses: []StatusPair{{Live: 200, Shadow: 200, Count: 12362}, {Live: 404, Shadow: 404, Count: 67}, {Live: 200, Shadow: 500, Count: 2}},
		Differences: []Difference{
			{Key: "$.lines[*].total", Count: 2, Share: 0.0004, Where: "GET /invoices/*", Live: "178.50", Shadow: "178.49", First: since, Last: before(3 * time.Minute)},
			{Key: "$.requestId", Count: 12431, Share: 1, Noise: true, Ignore: "$.requestId", Where: "GET /invoices/*", Live: `"9f86"`, Shadow: `"ab12"`, First: since, Last: generated},
		},
		Ignore: []string{"$.requestId"},
		Timeline: Timeline{Width: 600, Intervals: []Interval{
			{Start: since, Matched: 4000}, {Start: since.Add(10 * time.Minute), Matched: 396, Mismatched: 4}, {Start: since.Add(50 * time.Minute), Matched: 8031},
		}},
		Mismatches: []Mismatch{{
			At: before(3 * time.Minute), Method: "GET", Path: "/invoices/2026-0042", Live: Side{Status: 200, Took: 0.0213}, Shadow: Side{Status: 200, Took: 0.034},
			Differences: []Values{{Key: "$.lines[*].total", Live: "178.50", Shadow: "178.49"}},
		}},
	}
	c.Verdict = c.verdict()
	return c
}

// reports is a mirror that does not compare.
func reports() *Middleware {
	return &Middleware{
		Name: "shadow-reports@file", Shadow: "https://reports-next:8443", Since: before(time.Hour), Eligible: 7, Mirrored: 7,
		Dropped: map[string]int64{}, Failed: map[string]int64{}, Answers: map[string]int64{"2xx": 7},
		ShadowLatency: took(7, 5*time.Millisecond), ComparedLive: took(0, 0), ComparedShadow: took(0, 0), Compared: map[string]int64{}, Skipped: map[string]int64{},
	}
}

// fresh is a mirror that compares and has met no request.
func fresh() *Middleware {
	m := reports()
	m.Name = "shadow-customers@file"
	m.Mirrored = 0
	m.Answers = map[string]int64{}
	m.ShadowLatency = took(0, 0)
	m.Comparison = &Comparison{Since: before(time.Second), Show: compare.Hashes, Live: took(0, 0), Shadow: took(0, 0), Verdict: "no answers compared yet"}
	return m
}

func documentOf(middlewares ...*Middleware) *Document {
	return &Document{Generated: generated, Middlewares: middlewares}
}
