package compare

import (
	"math"
	"strconv"
	"strings"
)

const (
	// noisePairs is how many pairs it takes to call a difference noise.
	noisePairs = 20

	// noiseShare is the share of the pairs that have to differ in it.
	noiseShare = 0.9
)

// identity tells values apart.
func (v Value) identity() string {
	if v.hash != "" {
		return v.hash
	}
	return v.Kind + v.Text
}

// noise reports whether the difference is one of a value that is made anew for
// each answer, such as an identifier or a time: it is there in nearly every pair
// of the endpoints that have it, and hardly any value comes twice. Numbers that
// are close to each other are not noise but a calculation that differs, unless
// they are times.
func (g *group) noise(key string, pairs int64) bool {
	if !strings.HasPrefix(key, "$") && !strings.HasPrefix(key, "header ") {
		return false
	}
	return pairs >= noisePairs && float64(g.count) >= noiseShare*float64(pairs) &&
		float64(g.liveMoves) >= noiseShare*float64(g.count) && float64(g.shadowMoves) >= noiseShare*float64(g.count) &&
		float64(g.close) < 0.5*float64(g.count)
}

// closeNumbers reports whether both are numbers, or text that is one, less than
// a fiftieth apart, and not times since 1970.
func closeNumbers(live, shadow Value) bool {
	a, err := strconv.ParseFloat(strings.Trim(live.Text, `"`), 64)
	if err != nil {
		return false
	}
	b, err := strconv.ParseFloat(strings.Trim(shadow.Text, `"`), 64)
	if err != nil || unixTime(a) && unixTime(b) {
		return false
	}
	return math.Abs(a-b) <= math.Max(math.Abs(a), math.Abs(b))/50
}

// unixTime reports whether n may be a time from 2001 to 2096, in seconds or
// thousandths, millionths or billionths of one.
func unixTime(n float64) bool {
	return n >= 1e9 && n < 4e9 || n >= 1e12 && n < 4e12 || n >= 1e15 && n < 4e15 || n >= 1e18 && n < 4e18
}

// addPath returns the line of compare.ignore for a difference, or "" where there
// is none: statuses, headers and whole bodies cannot be ignored by a path.
func addPath(key string) string {
	if !strings.HasPrefix(key, "$.") && !strings.HasPrefix(key, "$[") {
		return ""
	}
	p, err := ParsePath(key)
	if err != nil || len(key) > maxKey || keyOf(p.steps) != key {
		return "" // cut, or of a name that looks like several steps
	}
	return key
}
