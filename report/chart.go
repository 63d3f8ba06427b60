package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The geometry of charts is in percent of their width, and of the height of
// their plot, so that they stretch while their text keeps its size.

// A tick is a mark on an axis.
type tick struct {
	At     string // in percent of the axis; "12.5%"
	Anchor string // which end of the label is there, as SVG has it
	Label  string
}

// A rateChart is the share of answers that are the same over time, and how many there
// were.
type rateChart struct {
	Path    string // the share; as wide and as high as 100 by 100
	Bars    []bar  // how many answers there were
	Top     string // labels of the ends and the middle of the axis of the share
	Middle  string
	Bottom  string
	Ticks   []tick // of time
	Summary string // for those who do not see it
	Rows    []rateRow
}

// A bar is a rectangle, in percent.
type bar struct{ X, Y, Width, Height string }

// A rateRow is one interval in words.
type rateRow struct {
	At     string // RFC 3339
	Same   string
	Differ string
	Share  string
}

// leastBar is how wide a bar is at least, in percent: an interval of seconds in
// a day is to be seen.
const leastBar = 0.4

// newRateChart draws a timeline from since to now. Its last interval is cut at
// now.
func newRateChart(t *Timeline, since, now time.Time) *rateChart {
	span := now.Sub(since).Seconds()
	if len(t.Intervals) == 0 || span <= 0 {
		return nil
	}
	least, most := 1.0, int64(0)
	for _, i := range t.Intervals {
		least = math.Min(least, share(i.Same, i.Same+i.Differ))
		if i.Same+i.Differ > most {
			most = i.Same + i.Differ
		}
	}
	bottom := axisBottom(least)
	c := &rateChart{Top: "100%", Middle: axisLabel((1 + bottom) / 2), Bottom: axisLabel(bottom), Ticks: timeTicks(since, now)}
	path := &strings.Builder{}
	end := math.Inf(-1)
	for _, i := range t.Intervals {
		n := i.Same + i.Differ
		from := i.Start.Sub(since).Seconds() / span * 100
		to := math.Min(from+t.Width/span*100, 100)
		y := (1 - share(i.Same, n)) / (1 - bottom) * 100
		// Where an interval without pairs lies between, the line is broken.
		if from-end < t.Width/span*50 {
			fmt.Fprintf(path, "V%s", coordinate(y))
		} else {
			fmt.Fprintf(path, "M%s %s", coordinate(from), coordinate(y))
		}
		fmt.Fprintf(path, "H%s", coordinate(to))
		end = to
		height := float64(n) / float64(most) * 100
		c.Bars = append(c.Bars, bar{
			X: percentage(from), Width: percentage(math.Max(to-from, leastBar)), Y: percentage(100 - height), Height: percentage(height),
		})
		c.Rows = append(c.Rows, rateRow{
			At: stamp(i.Start), Same: Count(i.Same), Differ: Count(i.Differ), Share: percent(i.Same, n),
		})
	}
	c.Path = path.String()
	c.Summary = fmt.Sprintf("From %s to %s, in intervals of %s. At the lowest, %s of the answers of an interval were the same; at most, an interval had %s.",
		stamp(since), stamp(now), length(t.Width), lowest(t.Intervals), plural(most, "answer", "answers"))
	return c
}

func share(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// lowest is the lowest share of answers that are the same in an interval.
func lowest(intervals []Interval) string {
	low := intervals[0]
	for _, i := range intervals {
		if share(i.Same, i.Same+i.Differ) < share(low.Same, low.Same+low.Differ) {
			low = i
		}
	}
	return percent(low.Same, low.Same+low.Differ)
}

// axisBottom is where the axis of the share begins: as high as leaves some room
// below the least share, so that one answer in a thousand is to be seen.
func axisBottom(least float64) float64 {
	if least == 1 {
		return 0.9
	}
	for _, bottom := range []float64{0.999, 0.99, 0.9, 0.5} {
		if least >= bottom+(1-bottom)/10 {
			return bottom
		}
	}
	return 0
}

func axisLabel(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e5)/1e3, 'f', -1, 64) + "%"
}

// timeTicks are the ends and the middle of a time axis.
func timeTicks(from, to time.Time) []tick {
	layout := "15:04"
	if to.Sub(from) < 10*time.Minute {
		layout = "15:04:05"
	}
	if to.Sub(from) > 20*time.Hour {
		layout = "2 Jan 15:04"
	}
	return []tick{
		{At: "0%", Anchor: "start", Label: from.UTC().Format(layout)},
		{At: "50%", Anchor: "middle", Label: from.Add(to.Sub(from) / 2).UTC().Format(layout)},
		{At: "100%", Anchor: "end", Label: to.UTC().Format(layout) + " UTC"},
	}
}

// A spreadChart is which share of the exchanges took less than a time, on a
// logarithmic axis.
type spreadChart struct {
	Live    string // the lines, as wide and as high as 100 by 100; "" for none
	Shadow  string
	Ticks   []tick // of time
	Summary string // for those who do not see it
	Rows    []spreadRow
}

// A spreadRow is one bucket in words.
type spreadRow struct{ Below, Live, Shadow string }

// newSpreadChart draws how live's and the shadow's latencies are spread; live is
// nil where it is not measured.
func newSpreadChart(live, shadow *Latency) *spreadChart {
	from, to := usedBuckets(live, shadow)
	if to <= from {
		return nil
	}
	c := &spreadChart{Shadow: spreadLine(shadow, from, to), Summary: spreadSummary("The shadow", shadow)}
	if live != nil {
		c.Live = spreadLine(live, from, to)
		c.Summary = spreadSummary("Live", live) + " " + c.Summary
	}
	c.Ticks = latencyTicks(shadow.Buckets[from].Below, shadow.Buckets[to].Below)
	for i := from; i <= to; i++ {
		row := spreadRow{Below: Duration(shadow.Buckets[i].Below), Shadow: percent(shadow.Buckets[i].Count, shadow.Count)}
		if live != nil {
			row.Live = percent(live.Buckets[i].Count, live.Count)
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

// usedBuckets returns the last bucket below which there is nothing, or the
// first of all, and the first below which there is everything, or the last.
func usedBuckets(live, shadow *Latency) (int, int) {
	all := shadow.Count
	if live != nil {
		all += live.Count
	}
	from, to := 0, len(shadow.Buckets)-1
	if all == 0 {
		to = from
	}
	for i := range shadow.Buckets {
		n := shadow.Buckets[i].Count
		if live != nil {
			n += live.Buckets[i].Count
		}
		if n == 0 {
			from = i
		}
		if n == all && i < to {
			to = i
		}
	}
	return from, to
}

func spreadLine(l *Latency, from, to int) string {
	path := &strings.Builder{}
	for i := from; i <= to; i++ {
		x := float64(i-from) / float64(to-from) * 100
		command := "L"
		if i == from {
			command = "M"
		}
		fmt.Fprintf(path, "%s%s %s", command, coordinate(x), coordinate(100-100*share(l.Buckets[i].Count, l.Count)))
	}
	return path.String()
}

func spreadSummary(who string, l *Latency) string {
	return fmt.Sprintf("%s: half of %s took at most %s, 90%% at most %s, 99%% at most %s.",
		who, plural(l.Count, "answer", "answers"), Duration(l.P50), Duration(l.P90), Duration(l.P99))
}

// tickDigits are which multiples of powers of ten an axis may have, from few to
// many.
var tickDigits = [][]float64{{1}, {1, 3}, {1, 2, 5}, {1, 2, 3, 4, 5, 6, 7, 8, 9}}

// latencyTicks are round durations between the two, in seconds: at least three,
// where there are as many.
func latencyTicks(from, to float64) []tick {
	var ticks []tick
	for _, digits := range tickDigits {
		ticks = nil
		for power := -6; power <= 2; power++ {
			for _, digit := range digits {
				x := math.Log(digit*math.Pow(10, float64(power))/from) / math.Log(to/from) * 100
				if x >= 0 && x <= 100 {
					ticks = append(ticks, tick{At: percentage(x), Anchor: anchor(x), Label: shortDuration(digit, power)})
				}
			}
		}
		if len(ticks) >= 3 {
			break
		}
	}
	return ticks
}

// anchor keeps labels at the ends of an axis from standing out.
func anchor(x float64) string {
	if x < 8 {
		return "start"
	}
	if x > 92 {
		return "end"
	}
	return "middle"
}

// shortDuration is one digit times a power of ten seconds.
func shortDuration(digit float64, power int) string {
	if power < -3 {
		return strconv.FormatFloat(digit*math.Pow(10, float64(power+6)), 'f', 0, 64) + " µs"
	}
	if power < 0 {
		return strconv.FormatFloat(digit*math.Pow(10, float64(power+3)), 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(digit*math.Pow(10, float64(power)), 'f', 0, 64) + " s"
}

// A quantileRow is one quantile of both latencies, with bars to compare them by.
type quantileRow struct {
	Name       string
	Live       string // "" where it is not measured
	LiveBar    string // its length, "37.5%"
	Shadow     string
	ShadowBar  string
	Difference string // "" where it is not known
}

// newQuantileRows returns p50, p90 and p99. live and difference are nil where
// they are not known.
func newQuantileRows(live, shadow *Latency, difference *Quantiles) []quantileRow {
	most := shadow.P99
	if live != nil {
		most = math.Max(most, live.P99)
	}
	if most == 0 {
		most = 1
	}
	rows := []quantileRow{
		{Name: "p50", Shadow: Duration(shadow.P50), ShadowBar: percentage(shadow.P50 / most * 100)},
		{Name: "p90", Shadow: Duration(shadow.P90), ShadowBar: percentage(shadow.P90 / most * 100)},
		{Name: "p99", Shadow: Duration(shadow.P99), ShadowBar: percentage(shadow.P99 / most * 100)},
	}
	if live != nil {
		for i, seconds := range []float64{live.P50, live.P90, live.P99} {
			rows[i].Live = Duration(seconds)
			rows[i].LiveBar = percentage(seconds / most * 100)
		}
	}
	if difference != nil {
		for i, seconds := range []float64{difference.P50, difference.P90, difference.P99} {
			rows[i].Difference = signed(seconds)
		}
	}
	return rows
}

// signed is a difference of durations, in seconds, with what it means.
func signed(seconds float64) string {
	if math.Abs(seconds) < 1e-6 {
		return "the same"
	}
	if seconds < 0 {
		return Duration(-seconds) + " faster"
	}
	return Duration(seconds) + " slower"
}

// coordinate is a number of a path.
func coordinate(x float64) string { return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) }

// percentage is a length or position.
func percentage(x float64) string { return coordinate(x) + "%" }
