package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// A metric is one figure of a round.
type metric func(round) float64

func processor(r round) float64 { return r.processor }
func perSecond(r round) float64 { return r.perSecond }
func p50(r round) float64       { return r.p50 }
func p99(r round) float64       { return r.p99 }
func allocated(r round) float64 { return r.bytes }
func objects(r round) float64   { return r.objects }

// A spread is a median with the smallest and the largest value, and the interval
// that has the median of all rounds that might have been, with 95 % confidence: as
// many values in from either end as chance allows to lie on one side of it. Seven
// rounds make it all of them; with fewer than six there is no such interval, and low
// and high are the smallest and the largest too.
type spread struct{ median, least, most, low, high float64 }

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
		none := math.NaN()
		return spread{none, none, none, none, none}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	// Each value lies below the median with a probability of one half.
	below, in := distuv.Binomial{N: float64(n), P: 0.5}, 0
	for in+1 < n/2 && below.CDF(float64(in+1)) <= 0.025 {
		in++
	}
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1], sorted[in], sorted[n-1-in]}
}

func (s spread) String() string {
	if s.low == s.high {
		return fmt.Sprintf("%.2f", s.median)
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median, s.low, s.high)
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
