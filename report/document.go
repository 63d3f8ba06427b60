// Package report says how mirrors fare: as a document for scripts, as metrics
// for Prometheus, and as a page for people. All three are made from one
// [Document], so they agree.
package report

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/latency"
)

// A Document is everything that is known about all mirrors, at one moment. As
// JSON it is report.json. Durations are in seconds, shares from 0 to 1.
type Document struct {
	Generated   time.Time     `json:"generated"`
	Middlewares []*Middleware `json:"middlewares"` // by name
}

// A Middleware is what is known about one mirror. Its counts outlive reloads.
type Middleware struct {
	Name   string    `json:"name"`
	Shadow string    `json:"shadow"` // its URL
	Since  time.Time `json:"since"`  // when counting began
	State  State     `json:"state"`

	// Eligible are the requests that could be mirrored and whose mirroring is
	// over: Mirrored, all in Failed, and those Dropped for a reason in
	// EligibleReasons.
	Eligible int64            `json:"eligible"`
	Mirrored int64            `json:"mirrored"` // the shadow answered, whatever
	Dropped  map[string]int64 `json:"dropped"`  // by reason, see DropReasons
	Failed   map[string]int64 `json:"failed"`   // by kind: the shadow did not answer, or not wholly
	InFlight int64            `json:"inFlight"` // under way

	// Answers are those of the shadow by class of status, see AnswerClasses.
	Answers map[string]int64 `json:"answers"`

	// Of the requests that were mirrored since somebody looks: since there is a
	// middleware with serve.
	RequestBytes  int64    `json:"requestBytes"`
	AnswerBytes   int64    `json:"answerBytes"`
	ShadowLatency *Latency `json:"shadowLatency"`

	// Compared are the pairs of answers by outcome, and Skipped the reasons, since
	// the start; ComparedLive and ComparedShadow are how long both sides took in
	// those that were compared. ShadowLatency is of more, and not to be held against
	// live's.
	Compared       map[string]int64 `json:"compared"`
	Skipped        map[string]int64 `json:"skipped"`
	ComparedLive   *Latency         `json:"comparedLiveLatency"`
	ComparedShadow *Latency         `json:"comparedShadowLatency"`

	Comparison *Comparison `json:"comparison"` // null where answers are not compared
}

// A State is what a mirror does now.
type State struct {
	Paused      bool       `json:"paused"` // the shadow is left alone, but for probes
	PausedSince *time.Time `json:"pausedSince"`
	LastError   string     `json:"lastError"` // "" if there was none
	LastErrorAt *time.Time `json:"lastErrorAt"`

	// Recent are the requests of about the last minutes before the last failure,
	// and since.
	Recent Recent `json:"recent"`
}

// Recent is how the shadow did of late.
type Recent struct {
	Since    time.Time `json:"since"`
	Answered int64     `json:"answered"`
	Failed   int64     `json:"failed"`
}

// A Latency is how long exchanges took.
type Latency struct {
	Count   int64    `json:"count"`
	Sum     float64  `json:"sum"`
	P50     float64  `json:"p50"`
	P90     float64  `json:"p90"`
	P99     float64  `json:"p99"`
	Buckets []Bucket `json:"buckets"`
}

// A Bucket counts what took less than a time.
type Bucket struct {
	Below float64 `json:"below"`
	Count int64   `json:"count"` // of this and all lower buckets
}

// A Comparison is what comparing answers has shown since the options of the
// middleware are as they are.
type Comparison struct {
	Since   time.Time `json:"since"`
	Verdict string    `json:"verdict"` // in one line
	Show    string    `json:"show"`    // how values are shown: values, hashes or none

	Compared   int64            `json:"compared"` // Matched and Mismatched
	Matched    int64            `json:"matched"`
	Mismatched int64            `json:"mismatched"`
	OnlyNoise  int64            `json:"onlyNoise"` // of Mismatched: nothing differs but noise
	Agreement  *float64         `json:"agreement"` // Matched of Compared; null if there are none
	Skipped    map[string]int64 `json:"skipped"`   // by reason

	Live       *Latency  `json:"live"`
	Shadow     *Latency  `json:"shadow"`
	Difference Quantiles `json:"difference"` // the shadow's less live's, pair by pair

	Statuses    []StatusPair `json:"statuses"`
	Differences []Difference `json:"differences"` // real ones first
	Ignore      []string     `json:"ignore"`      // lines for compare.ignore that take the noise away
	Timeline    Timeline     `json:"timeline"`
	Mismatches  []Mismatch   `json:"mismatches"` // the latest, newest first
}

// Quantiles are of durations, which may be negative.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

// A StatusPair is how often live answered with one status and the shadow with
// the other.
type StatusPair struct {
	Live   int   `json:"live"`
	Shadow int   `json:"shadow"`
	Count  int64 `json:"count"`
}

// A Difference is one thing in which answers differ.
type Difference struct {
	Key    string    `json:"key"` // status, header NAME, body, or a JSON path
	Count  int64     `json:"count"`
	Share  float64   `json:"share"` // of the pairs that could differ in it
	Noise  bool      `json:"noise"`
	Ignore string    `json:"ignore"` // for compare.ignore, or ""
	Where  string    `json:"where"`  // method and path of the latest
	Live   string    `json:"live"`
	Shadow string    `json:"shadow"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// A Timeline is the outcomes over time. There are no intervals without pairs.
type Timeline struct {
	Width     float64    `json:"width"` // of an interval
	Intervals []Interval `json:"intervals"`
}

// An Interval is a part of a timeline.
type Interval struct {
	Start      time.Time `json:"start"`
	Matched    int64     `json:"matched"`
	Mismatched int64     `json:"mismatched"`
}

// A Mismatch is one pair of answers that differ.
type Mismatch struct {
	At          time.Time `json:"at"`
	Method      string    `json:"method"`
	Path        string    `json:"path"`
	Live        Side      `json:"live"`
	Shadow      Side      `json:"shadow"`
	Differences []Values  `json:"differences"`
}

// A Side is one of the answers.
type Side struct {
	Status int     `json:"status"`
	Took   float64 `json:"took"`
}

// Values are what the two sides have at one place.
type Values struct {
	Key    string `json:"key"`
	Live   string `json:"live"`
	Shadow string `json:"shadow"`
}

// EligibleReasons are the reasons for which eligible requests are dropped;
// DropReasons are all, in the order in which reports have them.
var (
	EligibleReasons = []string{"sampling", "full", "paused", "too_large", "body_error", "stream_incomplete"}
	DropReasons     = append([]string{"method", "upgrade", "connect", "grpc", "marked"}, EligibleReasons...)
)

// AnswerClasses are the classes of the shadow's answers; other are statuses that
// no standard has, of 600 and above.
var AnswerClasses = []string{"1xx", "2xx", "3xx", "4xx", "5xx", "other"}

// The kinds of failure.
const (
	Connect  = "connect"  // no connection
	Timeout  = "timeout"  // no whole answer in time
	TLS      = "tls"      // no agreement on TLS, or no trust
	Protocol = "protocol" // no whole answer that is HTTP
	Internal = "internal" // the plugin's own mistake
)

// FailureKinds are all of them, in the order in which reports have them.
var FailureKinds = []string{Connect, Timeout, TLS, Protocol, Internal}

// Outcomes are those of comparisons, in the order in which reports have them.
var Outcomes = []string{compare.Match, compare.Mismatch, compare.Skipped}

// NewLatency returns what a histogram has.
func NewLatency(h *latency.Histogram) *Latency {
	l := &Latency{
		Count: h.Count(), Sum: h.Sum().Seconds(),
		P50: h.Quantile(0.5).Seconds(), P90: h.Quantile(0.9).Seconds(), P99: h.Quantile(0.99).Seconds(),
	}
	for i, n := range h.AtMost() {
		l.Buckets = append(l.Buckets, Bucket{Below: float64(latency.Bounds[i]) / 1e6, Count: n})
	}
	return l
}

// AddVerdict fills in what comparing has shown.
func (m *Middleware) AddVerdict(s *compare.Snapshot) {
	m.Compared = map[string]int64{}
	for _, outcome := range Outcomes {
		m.Compared[outcome] = s.Outcomes[outcome]
	}
	m.Skipped = map[string]int64{}
	for _, reason := range compare.Reasons {
		m.Skipped[reason] = s.Skipped[reason]
	}
	m.ComparedLive = NewLatency(s.Live)
	m.ComparedShadow = NewLatency(s.Shadow)
	if s.Account != nil {
		m.Comparison = newComparison(s.Account)
	}
}

func newComparison(a *compare.Account) *Comparison {
	c := &Comparison{
		Since: a.Since, Show: a.Show,
		Matched: a.Outcomes[compare.Match], Mismatched: a.Outcomes[compare.Mismatch], OnlyNoise: a.OnlyNoise,
		Skipped: map[string]int64{},
		Live:    NewLatency(a.Live), Shadow: NewLatency(a.Shadow),
		Difference: Quantiles{
			P50: a.Difference.Quantile(0.5).Seconds(), P90: a.Difference.Quantile(0.9).Seconds(), P99: a.Difference.Quantile(0.99).Seconds(),
		},
		Timeline: Timeline{Width: a.Width.Seconds(), Intervals: []Interval{}},
		Statuses: []StatusPair{}, Differences: []Difference{}, Ignore: []string{}, Mismatches: []Mismatch{},
	}
	c.Compared = c.Matched + c.Mismatched
	if c.Compared > 0 {
		share := float64(c.Matched) / float64(c.Compared)
		c.Agreement = &share
	}
	for _, reason := range compare.Reasons {
		c.Skipped[reason] = a.Skipped[reason]
	}
	for _, s := range a.Statuses {
		c.Statuses = append(c.Statuses, StatusPair{Live: s.Live, Shadow: s.Shadow, Count: s.Count})
	}
	for _, g := range a.Differences {
		c.Differences = append(c.Differences, Difference{
			Key: g.Key, Count: g.Count, Share: g.Share, Noise: g.Noise, Ignore: g.Ignore, Where: g.Where,
			Live: g.Live, Shadow: g.Shadow, First: g.First, Last: g.Last,
		})
		if g.Noise && g.Ignore != "" {
			c.Ignore = append(c.Ignore, g.Ignore)
		}
	}
	for _, i := range a.Intervals {
		c.Timeline.Intervals = append(c.Timeline.Intervals, Interval{Start: i.Start, Matched: i.Matched, Mismatched: i.Mismatched})
	}
	for _, k := range a.Kept {
		c.Mismatches = append(c.Mismatches, newMismatch(k))
	}
	c.Verdict = c.verdict()
	return c
}

func newMismatch(k compare.Kept) Mismatch {
	m := Mismatch{
		At: k.At, Method: k.Method, Path: k.Path, Differences: []Values{},
		Live:   Side{Status: k.LiveStatus, Took: k.Live.Seconds()},
		Shadow: Side{Status: k.ShadowStatus, Took: k.Shadow.Seconds()},
	}
	for _, d := range k.Differences {
		m.Differences = append(m.Differences, Values{Key: d.Key, Live: d.Live, Shadow: d.Shadow})
	}
	return m
}

// verdict says in one line what a person needs to decide.
func (c *Comparison) verdict() string {
	if c.Compared == 0 {
		return "no answers compared yet"
	}
	parts := []string{percent(c.Matched, c.Compared) + " of " + plural(c.Compared, "answer agrees", "answers agree")}
	if c.OnlyNoise > 0 {
		parts = append(parts, plural(c.OnlyNoise, "differs", "differ")+" in noise only")
	}
	if n := c.real(); n > 0 {
		parts = append(parts, plural(n, "real difference", "real differences"))
	} else {
		parts = append(parts, "no real differences")
	}
	return strings.Join(append(parts, slower(c.Live.P99, c.Shadow.P99)), "; ")
}

// real is how many pairs differ in something that is not noise.
func (c *Comparison) real() int64 { return c.Mismatched - c.OnlyNoise }

// plural is a count with what is counted.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// percent is a share that reads 100% only where it is all, and 0% only where it
// is none. It is rounded down, in whole numbers: 0.57 as a floating point number
// is a little less, and would be 56.99%.
func percent(n, of int64) string {
	if n == 0 || of == 0 {
		return "0%"
	}
	hundredths := n * 10000 / of
	if hundredths == 0 {
		return "less than 0.01%"
	}
	return strconv.FormatFloat(float64(hundredths)/100, 'f', -1, 64) + "%"
}

// slower says how the shadow's 99th percentile stands to live's.
func slower(live, shadow float64) string {
	d := shadow - live
	if math.Abs(d) < 0.001 || math.Abs(d) < live/16 {
		return "shadow p99 as fast as live's"
	}
	word := "slower"
	if d < 0 {
		word = "faster"
	}
	return "shadow p99 " + Duration(math.Abs(d)) + " " + word
}

// Count is a number with its thousands set apart.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Duration is a number of seconds as a person reads it.
func Duration(seconds float64) string {
	us := math.Round(seconds * 1e6)
	size := math.Abs(us)
	switch {
	case size < 1:
		return "0 µs" // and not -0
	case size < 1000:
		return strconv.FormatFloat(us, 'f', 0, 64) + " µs"
	case size < 9950: // which one digit less would make 10
		return strconv.FormatFloat(us/1e3, 'f', 1, 64) + " ms"
	case size < 999500:
		return strconv.FormatFloat(us/1e3, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(us/1e6, 'f', 1, 64) + " s"
}
