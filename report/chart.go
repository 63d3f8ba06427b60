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

// An agreementChart is the share of pairs that really differ, and of those that are
// undecided, over time, and how many pairs there were.
type agreementChart struct {
	Real, Undecided []bar // in percent of the axis; the undecided stand on the real
	Volume          []bar
	Top, Middle     string // labels of the axis
	Ticks           []tick // of time
	Summary         string // for those who do not see it
	Rows            []agreementRow
}

// A bar is a rectangle, in percent.
type bar struct{ X, Y, Width, Height string }

// An agreementRow is one interval in words.
type agreementRow struct {
	At                        string // RFC 3339
	Compared, Real, Undecided string
	Share                     string // of those that agree
}

const (
	// leastBar is how wide a bar is at least, in percent: an interval of seconds in a day
	// is to be seen.
	leastBar = 0.4

	// leastHeight is how high one is at least that stands for anything.
	leastHeight = 2
)

// newAgreementChart draws a timeline from since to now. Its last interval is cut at now.
// It returns nil where there is nothing to draw.
func newAgreementChart(t *Timeline, since, now time.Time) *agreementChart {
	span := now.Sub(since).Seconds()
	if len(t.Intervals) == 0 || span <= 0 {
		return nil
	}
	worst, most := 0.0, int64(0)
	for _, i := range t.Intervals {
		worst = math.Max(worst, share(i.Real+i.Undecided, i.Compared))
		if i.Compared > most {
			most = i.Compared
		}
	}
	top := axisTop(worst)
	c := &agreementChart{Top: axisLabel(top), Middle: axisLabel(top / 2), Ticks: timeTicks(since, now)}
	for _, i := range t.Intervals {
		from := i.Start.Sub(since).Seconds() / span * 100
		wide := math.Max(math.Min(t.Width/span*100, 100-from), leastBar)
		real := height(share(i.Real, i.Compared) / top * 100)
		undecided := height(share(i.Undecided, i.Compared) / top * 100)
		if real > 0 {
			c.Real = append(c.Real, newBar(from, wide, 0, real))
		}
		if undecided > 0 {
			c.Undecided = append(c.Undecided, newBar(from, wide, real, undecided))
		}
		c.Volume = append(c.Volume, newBar(from, wide, 0, share(i.Compared, most)*100))
		c.Rows = append(c.Rows, agreementRow{
			At: stamp(i.Start), Compared: Count(i.Compared), Real: Count(i.Real), Undecided: Count(i.Undecided),
			Share: percent(i.Compared-i.Real-i.Undecided, i.Compared),
		})
	}
	c.Summary = fmt.Sprintf("From %s to %s, in intervals of %s. At the lowest, %s of the pairs of an interval agreed; at most, an interval had %s.",
		stamp(since), stamp(now), length(t.Width), lowest(t.Intervals), plural(most, "pair", "pairs"))
	return c
}

// height is that of a bar, so that what is there is seen.
func height(percent float64) float64 {
	if percent > 0 {
		return math.Max(percent, leastHeight)
	}
	return 0
}

// newBar is a bar that stands on another that is as high as on.
func newBar(x, width, on, height float64) bar {
	y := math.Max(100-on-height, 0)
	return bar{X: percentage(x), Width: percentage(width), Y: percentage(y), Height: percentage(height)}
}

// axisTop is the least round share that is not below the greatest.
func axisTop(worst float64) float64 {
	for _, top := range []float64{0.001, 0.01, 0.1, 0.5} {
		if worst <= top {
			return top
		}
	}
	return 1
}

func share(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}

// lowest is the lowest share of pairs that agree in an interval.
func lowest(intervals []Interval) string {
	low := intervals[0]
	for _, i := range intervals {
		if share(i.Real+i.Undecided, i.Compared) > share(low.Real+low.Undecided, low.Compared) {
			low = i
		}
	}
	return percent(low.Compared-low.Real-low.Undecided, low.Compared)
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

// A tailChart is which share of the exchanges took longer than a time, both on a
// logarithmic axis: so one answer in a thousand can be read as well as every second one.
type tailChart struct {
	Live    string // the lines, as wide and as high as 100 by 100; "" for none
	Shadow  string
	Shares  []tick // of the share, from the top; At is of the height
	Ticks   []tick // of time
	Summary string // for those who do not see it
	Rows    []tailRow
}

// A tailRow is one bucket in words.
type tailRow struct{ Beyond, Live, Shadow string }

// newTailChart draws how live's and the shadow's latencies are spread; live is
// nil where it is not measured.
func newTailChart(live, shadow *Latency) *tailChart {
	from, to := usedBuckets(live, shadow)
	if to <= from {
		return nil
	}
	most := shadow.Count
	if live != nil && live.Count > most {
		most = live.Count
	}
	decades := tailDecades(most)
	c := &tailChart{Shadow: tailLine(shadow, from, to, decades), Summary: tailSummary("The shadow", shadow)}
	if live != nil {
		c.Live = tailLine(live, from, to, decades)
		c.Summary = tailSummary("Live", live) + " " + c.Summary
	}
	for i := 0; i <= decades; i++ {
		c.Shares = append(c.Shares, tick{At: percentage(float64(i) / float64(decades) * 100), Label: axisLabel(math.Pow(10, float64(-i)))})
	}
	c.Ticks = latencyTicks(shadow.Buckets[from].Below, shadow.Buckets[to].Below)
	for i := from; i <= to; i++ {
		row := tailRow{Beyond: Duration(shadow.Buckets[i].Below), Shadow: percent(shadow.Count-shadow.Buckets[i].Count, shadow.Count)}
		if live != nil {
			row.Live = percent(live.Count-live.Buckets[i].Count, live.Count)
		}
		c.Rows = append(c.Rows, row)
	}
	return c
}

// tailDecades is how many powers of ten below everything the axis goes: as far as a share
// of so many exchanges can be.
func tailDecades(n int64) int {
	switch {
	case n > 2000:
		return 4
	case n > 200:
		return 3
	}
	return 2
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

// tailLine is the share that took longer than the bound of each bucket. It ends at the foot
// of the chart where nothing did.
func tailLine(l *Latency, from, to, decades int) string {
	path := &strings.Builder{}
	for i := from; i <= to; i++ {
		x := float64(i-from) / float64(to-from) * 100
		y := 100.0
		if left := share(l.Count-l.Buckets[i].Count, l.Count); left > 0 {
			y = math.Min(math.Log10(1/left)/float64(decades)*100, 100)
		}
		command := "L"
		if i == from {
			command = "M"
		}
		fmt.Fprintf(path, "%s%s %s", command, coordinate(x), coordinate(y))
		if y == 100 {
			break
		}
	}
	return path.String()
}

func tailSummary(who string, l *Latency) string {
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

// A quantileRow is one quantile of both latencies.
type quantileRow struct {
	Name       string
	Live       string // "" where it is not measured
	Shadow     string
	Difference string // pair by pair, in words; "" where it is not known
	Class      string // of that
}

// newQuantileRows returns p50, p90 and p99. live and difference are nil where
// they are not known.
func newQuantileRows(live, shadow *Latency, difference *PairByPair) []quantileRow {
	rows := []quantileRow{{Name: "p50", Shadow: Duration(shadow.P50)}, {Name: "p90", Shadow: Duration(shadow.P90)}, {Name: "p99", Shadow: Duration(shadow.P99)}}
	if live != nil {
		for i, seconds := range []float64{live.P50, live.P90, live.P99} {
			rows[i].Live = Duration(seconds)
		}
	}
	if difference != nil {
		for i, seconds := range []float64{difference.P50, difference.P90, difference.P99} {
			rows[i].Difference = signed(seconds, difference.Slower[rows[i].Name])
			if difference.Slower[rows[i].Name] == Slower {
				rows[i].Class = "slower"
			}
		}
	}
	return rows
}

// signed says in words what a quantile of the differences, in seconds, is, given what
// PairByPair.Slower has of it.
func signed(seconds float64, slower string) string {
	switch {
	case slower == Few:
		return "too few pairs to say"
	case slower == Chance:
		return "no difference beyond chance"
	case slower == Slower && seconds > 0:
		return Duration(seconds) + " slower"
	case slower == Faster && seconds < 0:
		return Duration(-seconds) + " faster"
	}
	return slower
}

// coordinate is a number of a path.
func coordinate(x float64) string { return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) }

// percentage is a length or position.
func percentage(x float64) string { return coordinate(x) + "%" }
