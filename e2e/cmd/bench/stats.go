package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A metric is one figure of a round.
type metric func(round) float64

func processor(r round) float64 { return r.processor }
func perSecond(r round) float64 { return r.perSecond }
func p50(r round) float64       { return r.p50 }
func p99(r round) float64       { return r.p99 }
func allocated(r round) float64 { return r.bytes }
func objects(r round) float64   { return r.objects }

// A spread is a median with the smallest and the largest value.
type spread struct{ median, least, most float64 }

// competitors returns those that were measured, in their order.
func (c caseResult) competitors() []competitor {
	var list []competitor
	for comp := range lastCompetitor {
		if c.contenders[comp] != nil {
			list = append(list, comp)
		}
	}
	return list
}

// of returns the spread of a metric over the rounds of a competitor.
func (c caseResult) of(comp competitor, m metric) spread {
	var values []float64
	for _, r := range c.contenders[comp].rounds {
		values = append(values, m(r))
	}
	return spreadOf(values)
}

// ratio returns the spread of a metric of a to that of b, formed round by round:
// what disturbs a whole round does not show in it.
func (c caseResult) ratio(a, b competitor, m metric) spread {
	var values []float64
	for i, r := range c.contenders[a].rounds {
		values = append(values, m(r)/m(c.contenders[b].rounds[i]))
	}
	return spreadOf(values)
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

func (s spread) String() string {
	if s.least == s.most {
		return fmt.Sprintf("%.2f", s.median)
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median, s.least, s.most)
}

// percentile returns the latency, in milliseconds, that p percent do not exceed.
func percentile(latencies []time.Duration, p float64) float64 {
	if len(latencies) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(latencies))
	i := int(math.Ceil(float64(len(sorted))*p/100)) - 1
	return float64(sorted[max(0, i)]) / float64(time.Millisecond)
}

// total counts over all rounds of a competitor.
func (cont *contender) total() (t round) {
	for _, r := range cont.rounds {
		t.sent += r.sent
		t.failed += r.failed
		t.mirrored += r.mirrored
	}
	return t
}
