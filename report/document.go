// Package report says how mirrors fare: as a document for scripts, as metrics
// for Prometheus, and as a page for people. All three are made from one
// [Document], so they agree.
package report

import (
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/latency"
)

// A Document is everything that is known about all mirrors, at one moment. As
// JSON it is report.json. Durations are in seconds, shares from 0 to 1.
type Document struct {
	Generated time.Time `json:"generated"`

	// Instance is the one Traefik that speaks, of several behind a load balancer perhaps, and
	// for itself only; Since is when it started.
	Instance string    `json:"instance"`
	Since    time.Time `json:"since"`

	Middlewares []*Middleware `json:"middlewares"` // by name
}

// A Middleware is what is known about one mirror. Its counts outlive reloads.
type Middleware struct {
	Name    string    `json:"name"`
	Shadow  string    `json:"shadow"`  // its URL; "" where nothing is mirrored because of Mistakes, or it is Removed
	Percent float64   `json:"percent"` // of the requests that are eligible, 0 to 100
	Since   time.Time `json:"since"`   // when counting began
	State   State     `json:"state"`

	// Removed is since when no router uses the middleware, if that is longer than a reload
	// takes; else null. It stays for an hour, and if a router uses it again within that
	// time, with the same options, it goes on counting.
	Removed *time.Time `json:"removed"`

	// Mistakes are those in the options. While there are any, nothing is mirrored, and
	// live serves every request. ConfigErrors is how many there are, which may be more
	// than fit in Mistakes.
	ConfigErrors int      `json:"configErrors"`
	Mistakes     []string `json:"mistakes"`

	// Eligible are the requests that could be mirrored and whose mirroring is over:
	// Mirrored, Lost, and those that percent left out, Dropped["sampling"]. The others in
	// Dropped are not eligible. What Reasons has says why, and is in Dropped or Failed.
	Eligible int64            `json:"eligible"`
	Mirrored int64            `json:"mirrored"` // the shadow answered, whatever
	Dropped  map[string]int64 `json:"dropped"`  // by reason: no copy was sent
	Failed   map[string]int64 `json:"failed"`   // by reason: the shadow did not answer, or not wholly

	// Lost are those of Dropped and Failed that were to be mirrored. LostTotal is their
	// sum: so many of Mirrored and LostTotal together were lost.
	Lost      map[string]int64 `json:"lost"`
	LostTotal int64            `json:"lostTotal"`

	InFlight int64 `json:"inFlight"` // under way

	Sequence *Sequence `json:"sequence"` // null without sequenceBy

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

	// Before are the copies that were over when the comparison began, and Account is what
	// Comparison is made of; nil where that is. The gate judges of it anew.
	Before  Copies           `json:"-"`
	Account *compare.Account `json:"-"`

	// Control is what is known of the control beside what comparing has shown: URL, Paused
	// and LastError; nil where there is none.
	Control *Control `json:"-"`

	// What only metrics have: whether answers are compared, or were; the pairs since the
	// start by endpoint, and by what became of the control's part; and what was judged last
	// of the comparison that runs, with its state; nil where none does.
	Compares    bool                          `json:"-"`
	Pairs       map[string]compare.PairCounts `json:"-"`
	Controls    compare.ControlCounts         `json:"-"`
	Judged      *compare.Judged               `json:"-"`
	JudgedState string                        `json:"-"`
}

// Copies are requests that were to be mirrored.
type Copies struct {
	Mirrored int64 // the shadow answered
	Lost     int64 // no copy was sent, or it got no whole answer
}

// A State is what a mirror does now.
type State struct {
	Paused      bool       `json:"paused"` // the shadow is left alone, but for probes
	PausedSince *time.Time `json:"pausedSince"`
	LastError   string     `json:"lastError"` // "" if there was none
	LastErrorAt *time.Time `json:"lastErrorAt"`

	// Failing says that the shadow fails too often of late: more than one in a hundred
	// requests of the last minute, or more than one in ten of the latest twenty. Recent
	// are the requests that say whether it is: those, or where there were few, as many of
	// the last five minutes as it takes.
	Failing bool   `json:"failing"`
	Recent  Recent `json:"recent"`
}

// A Sequence says how copies fare that wait for one another.
type Sequence struct {
	By          string  `json:"by"`          // as the option has it
	Waiting     int64   `json:"waiting"`     // copies that wait for the one before
	LongestWait float64 `json:"longestWait"` // for how long the oldest of them has
	Unordered   int64   `json:"unordered"`   // requests without the value, since the start
	LostValues  int64   `json:"lostValues"`  // values that have lost an unsafe copy, of those remembered
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

// A Comparison is what comparing answers has shown since it began.
type Comparison struct {
	Since    time.Time `json:"since"`
	State    string    `json:"state"`    // none, early, differs, undecided or agrees
	Headline string    `json:"headline"` // in one line
	Reasons  []string  `json:"reasons"`  // why it is not a better state
	Epoch    string    `json:"epoch"`    // what people call the time since then
	Previous *Epoch    `json:"previous"` // the comparison before; null if there was none
	Show     string    `json:"show"`     // how values are shown: values, hashes or none

	// Compared are pairs of answers, and the next five are of those: that agree; that
	// really differ; that differ in what is undecided; in noise only; and in nothing that
	// no rule covers. Agreeing are all but the real and the undecided.
	Compared  int64            `json:"compared"`
	Agreeing  int64            `json:"agreeing"`
	Real      int64            `json:"real"`
	Undecided int64            `json:"undecided"`
	Noise     int64            `json:"noise"`
	Ignored   int64            `json:"ignored"`
	Skipped   map[string]int64 `json:"skipped"` // by reason

	// Of the requests that were to be mirrored since it began: so many were, and so many
	// were lost.
	Mirrored int64 `json:"mirrored"`
	Lost     int64 `json:"lost"`

	Live       *Latency   `json:"live"`
	Shadow     *Latency   `json:"shadow"`
	Difference PairByPair `json:"difference"` // the shadow's less live's, pair by pair

	// EnoughIn is in how many seconds there are pairs enough, at the rate so far; null
	// where there are already, or none come.
	EnoughIn *float64 `json:"enoughIn"`

	Control *Control `json:"control,omitempty"` // absent where there is none

	Endpoints   []Endpoint   `json:"endpoints"`   // the worst first
	Differences []Difference `json:"differences"` // likewise
	Statuses    []StatusPair `json:"statuses"`
	Timeline    Timeline     `json:"timeline"`
}

// A Control is a second instance of live's version. Answered and Failed are of the pairs
// that were compared.
type Control struct {
	URL       string   `json:"url"`
	Answered  int64    `json:"answered"`
	Failed    int64    `json:"failed"`    // it was asked, and did not answer
	Skipped   int64    `json:"skipped"`   // it was not asked, because it was left alone
	Paused    bool     `json:"paused"`    // it is left alone now, but for probes
	LastError string   `json:"lastError"` // "" if there was none
	Unfit     []string `json:"unfit"`     // the endpoints of which it says nothing, and why
	Without   []string `json:"without"`   // the endpoints that are judged without one, those of Unfit among them
}

// An Epoch is a comparison that has ended.
type Epoch struct {
	Name      string    `json:"name"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until"`
	Compared  int64     `json:"compared"`
	Real      int64     `json:"real"`
	Undecided int64     `json:"undecided"`
	Noise     int64     `json:"noise"`
}

// An Endpoint is what is known of the answers to one sort of request. Its counts are of
// pairs, as in Comparison.
type Endpoint struct {
	Endpoint   string           `json:"endpoint"`
	State      string           `json:"state"` // as in Comparison
	Compared   int64            `json:"compared"`
	Controlled int64            `json:"controlled"` // of the compared: judged with the control's answer
	Real       int64            `json:"real"`
	Undecided  int64            `json:"undecided"`
	Noise      int64            `json:"noise"`
	Skipped    map[string]int64 `json:"skipped"` // by reason
	Dropped    map[string]int64 `json:"dropped"` // requests that had no copy, by reason
	Live       Quantiles        `json:"live"`
	Shadow     Quantiles        `json:"shadow"`
}

// Quantiles are of durations, which may be negative.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}

// A PairByPair is how much longer the shadow took than live, in quantiles of the
// differences of pairs.
type PairByPair struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`

	// Slower says of p50, p90 and p99 whether the shadow is slower beyond chance: "slower",
	// "faster", "chance" or, where there are too few pairs to say, "few".
	Slower map[string]string `json:"slower"`
}

// What PairByPair.Slower has.
const (
	Slower = "slower"
	Faster = "faster"
	Chance = "chance"
	Few    = "few"
)

// A StatusPair is how often live answered with one status and the shadow with
// the other.
type StatusPair struct {
	Live   int   `json:"live"`
	Shadow int   `json:"shadow"`
	Count  int64 `json:"count"`
}

// A Difference is one thing in which answers of an endpoint differ.
type Difference struct {
	Endpoint  string `json:"endpoint"`
	Key       string `json:"key"`       // status, header NAME, body, or a JSON path
	Judgement string `json:"judgement"` // real, undecided, noise or ignored
	Relation  string `json:"relation"`  // how the values stand to each other; "" where it is not one for all
	Count     int64  `json:"count"`     // of the pairs that differ in it
	Pairs     int64  `json:"pairs"`     // of the endpoint in which the value is

	// With a control: of the pairs in which the value is, those that have one, and of those
	// the ones in which the control differs from live in it.
	ControlCount int64 `json:"controlCount"`
	ControlPairs int64 `json:"controlPairs"`

	Ignore   string    `json:"ignore"` // for compare.ignore, or ""
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Examples []Example `json:"examples"` // spread over the time between
}

// An Example is one pair that differs in something.
type Example struct {
	At           time.Time `json:"at"`
	Path         string    `json:"path"`
	Query        []string  `json:"query"` // the names of its parameters
	Curl         string    `json:"curl"`  // the command that repeats it; "" where that is not shown
	RequestID    string    `json:"requestId"`
	LiveStatus   int       `json:"liveStatus"`
	ShadowStatus int       `json:"shadowStatus"`
	Live         string    `json:"live"`
	Shadow       string    `json:"shadow"`
	Relation     string    `json:"relation"`
	Index        *int      `json:"index"` // of the first list on the way to the values; null if there is none
}

// A Timeline is the pairs over time. There are no intervals without pairs.
type Timeline struct {
	Width     float64    `json:"width"` // of an interval
	Intervals []Interval `json:"intervals"`
}

// An Interval is a part of a timeline. Its pairs are what they are judged to be now.
type Interval struct {
	Start     time.Time `json:"start"`
	Compared  int64     `json:"compared"`
	Real      int64     `json:"real"`
	Undecided int64     `json:"undecided"`
}

// AnswerClasses are the classes of the shadow's answers; other are statuses that
// no standard has, of 600 and above.
var AnswerClasses = []string{"1xx", "2xx", "3xx", "4xx", "5xx", "other"}

// Outcomes are those of comparisons, in the order in which reports have them.
var Outcomes = []string{compare.Match, compare.Mismatch, compare.Skipped}

// NewLatency returns what a histogram has.
func NewLatency(h *latency.Histogram) *Latency {
	l := NewBuckets(h)
	l.P50 = h.Quantile(0.5).Seconds()
	l.P90 = h.Quantile(0.9).Seconds()
	l.P99 = h.Quantile(0.99).Seconds()
	return l
}

// NewBuckets returns what a histogram has, but for quantiles, which cost more than the rest;
// of nil, what an empty one has.
func NewBuckets(h *latency.Histogram) *Latency {
	if h == nil {
		h = &latency.Histogram{}
	}
	l := &Latency{Count: h.Count(), Sum: h.Sum().Seconds()}
	for i, n := range h.AtMost() {
		l.Buckets = append(l.Buckets, Bucket{Below: float64(latency.Bounds[i]) / 1e6, Count: n})
	}
	return l
}

// AddCounts fills in how many pairs of answers there were since the start, how long both
// sides took, without quantiles, and what was judged last of the comparison that runs; nil:
// none does.
func (m *Middleware) AddCounts(t *compare.Totals, j *compare.Judged, now time.Time) {
	m.addPairs(t)
	m.ComparedLive = NewBuckets(t.Live)
	m.ComparedShadow = NewBuckets(t.Shadow)
	m.Judged = j
	if j != nil {
		m.JudgedState = j.State(now, m.ill())
	}
}

func (m *Middleware) addPairs(t *compare.Totals) {
	m.Compares = t.Begun
	m.Pairs = t.Endpoints
	m.Controls = t.Controls
	m.Compared = map[string]int64{}
	for _, outcome := range Outcomes {
		m.Compared[outcome] = t.Outcomes[outcome]
	}
	m.Skipped = map[string]int64{}
	for _, reason := range compare.Reasons {
		m.Skipped[reason] = t.Skipped[reason]
	}
}

// AddVerdict fills in what comparing has shown at a moment, the totals included.
func (m *Middleware) AddVerdict(s *compare.Snapshot, now time.Time) {
	m.addPairs(s.Totals)
	m.ComparedLive = NewLatency(s.Totals.Live)
	m.ComparedShadow = NewLatency(s.Totals.Shadow)
	if s.Account == nil {
		return
	}
	m.Account = s.Account
	m.Comparison = newComparison(s.Account, now, m.ill())
	m.Comparison.Mirrored = m.Mirrored - m.Before.Mirrored
	m.Comparison.Lost = m.LostTotal - m.Before.Lost
	if c := s.Account.Control; c != nil && m.Control != nil {
		m.Comparison.Control = &Control{
			URL: m.Control.URL, Answered: c.Answered, Failed: c.Failed, Skipped: c.Paused, Paused: m.Control.Paused, LastError: m.Control.LastError,
			Unfit: c.Unfit, Without: c.Without,
		}
	}
	if p := s.Previous; p != nil {
		m.Comparison.Previous = &Epoch{Name: p.Name, Since: p.Since, Until: p.Until, Compared: p.Compared, Real: p.Real, Undecided: p.Undecided, Noise: p.Noise}
	}
}

// ill says why there is no telling how the shadow would answer now; "" if it is well, and
// asked.
func (m *Middleware) ill() string {
	switch {
	case m.Removed != nil:
		return "no router uses the middleware any more"
	case m.ConfigErrors > 0:
		return "nothing is mirrored: the options have a mistake"
	case m.State.Paused:
		return "the shadow is left alone (paused)"
	case m.State.Failing:
		return "the shadow fails too often of late"
	}
	return ""
}

func newComparison(a *compare.Account, now time.Time, ill string) *Comparison {
	c := &Comparison{
		Since: a.Since, Epoch: a.Epoch, Show: a.Show,
		Compared: a.Compared, Agreeing: a.Agreeing(), Real: a.Real, Undecided: a.Undecided, Noise: a.Noise, Ignored: a.Ignored,
		Skipped: map[string]int64{},
		Live:    NewLatency(a.Live), Shadow: NewLatency(a.Shadow),
		Difference: pairByPair(a),
		Timeline:   Timeline{Width: a.Width.Seconds(), Intervals: []Interval{}},
		Statuses:   []StatusPair{}, Endpoints: []Endpoint{}, Differences: []Difference{},
	}
	for _, reason := range compare.Reasons {
		c.Skipped[reason] = a.Skipped[reason]
	}
	for _, s := range a.Statuses {
		c.Statuses = append(c.Statuses, StatusPair{Live: s.Live, Shadow: s.Shadow, Count: s.Count})
	}
	for i := range a.Endpoints {
		c.Endpoints = append(c.Endpoints, newEndpoint(&a.Endpoints[i]))
	}
	for i := range a.Differences {
		c.Differences = append(c.Differences, newDifference(&a.Differences[i]))
	}
	for _, i := range a.Intervals {
		c.Timeline.Intervals = append(c.Timeline.Intervals, Interval{Start: i.Start, Compared: i.Compared, Real: i.Real, Undecided: i.Undecided})
	}
	c.State, c.Reasons = a.State(now, ill)
	if c.Reasons == nil {
		c.Reasons = []string{}
	}
	if c.State == compare.StateEarly {
		if wait := a.Wait(now, a, &compare.Allowances{}); wait > 0 {
			seconds := wait.Seconds()
			c.EnoughIn = &seconds
		}
	}
	c.Headline = c.headline(ill)
	return c
}

func pairByPair(a *compare.Account) PairByPair {
	d := PairByPair{Slower: map[string]string{}}
	d.P50 = a.Difference.Quantile(0.5).Seconds()
	d.P90 = a.Difference.Quantile(0.9).Seconds()
	d.P99 = a.Difference.Quantile(0.99).Seconds()
	d.Slower["p50"] = slowerIn(a, 0.5)
	d.Slower["p90"] = slowerIn(a, 0.9)
	d.Slower["p99"] = slowerIn(a, 0.99)
	return d
}

// slowerIn is what PairByPair.Slower has for a quantile.
func slowerIn(a *compare.Account, q float64) string {
	sign, enough := a.Slower(q)
	switch {
	case !enough:
		return Few
	case sign > 0:
		return Slower
	case sign < 0:
		return Faster
	}
	return Chance
}

func newEndpoint(e *compare.Endpoint) Endpoint {
	return Endpoint{
		Endpoint: e.Name, State: e.State(), Compared: e.Compared, Controlled: e.Controlled, Real: e.Real, Undecided: e.Undecided, Noise: e.Noise,
		Skipped: e.Skipped, Dropped: e.Dropped, Live: quantiles(e.Live), Shadow: quantiles(e.Shadow),
	}
}

func quantiles(h *latency.Histogram) Quantiles {
	return Quantiles{P50: h.Quantile(0.5).Seconds(), P90: h.Quantile(0.9).Seconds(), P99: h.Quantile(0.99).Seconds()}
}

func newDifference(g *compare.Group) Difference {
	d := Difference{
		Endpoint: g.Endpoint, Key: g.Key, Judgement: g.Judgement, Relation: g.Relation, Count: g.Count, Pairs: g.Pairs, ControlCount: g.Controls, ControlPairs: g.ControlPairs,
		Ignore: g.Ignore, First: g.First, Last: g.Last, Examples: []Example{},
	}
	for i := range g.Examples {
		e := &g.Examples[i]
		x := Example{
			At: e.At, Path: e.Path, Query: append([]string{}, e.Query...), Curl: e.Curl, RequestID: e.RequestID, LiveStatus: e.LiveStatus, ShadowStatus: e.ShadowStatus,
			Live: e.Live, Shadow: e.Shadow, Relation: e.Relation,
		}
		if e.Index >= 0 {
			index := e.Index
			x.Index = &index
		}
		d.Examples = append(d.Examples, x)
	}
	return d
}

// headline says in one line what a person needs to decide. Its first number is what the
// state is about.
// ill is what is wrong with the shadow, as in the reasons.
func (c *Comparison) headline(ill string) string {
	compared := plural(c.Compared, "answer", "answers")
	switch c.State {
	case compare.StateNone:
		skipped := total(c.Skipped)
		switch {
		case ill != "":
			return "no answers compared yet: " + ill
		case skipped > 0:
			return "none of " + plural(skipped, "answer", "answers") + " could be compared"
		}
		return "no answers compared yet"
	case compare.StateEarly:
		text := Count(c.Compared) + " " + word(c.Compared, "answer is", "answers are") + " too few to say"
		if c.Real > 0 {
			return text + "; " + Count(c.Real) + " of them really " + word(c.Real, "differs", "differ")
		}
		return text
	case compare.StateDiffers:
		text := Count(c.Real) + " of " + compared + " really " + word(c.Real, "differs", "differ") + " (" + percent(c.Real, c.Compared) + ")"
		if c.Undecided > 0 {
			text += ", " + Count(c.Undecided) + " more cannot be decided"
		}
		return text
	case compare.StateUndecided:
		if c.Undecided == 0 {
			return percent(c.Agreeing, c.Compared) + " of " + compared + " agree, but " + c.Reasons[0]
		}
		return Count(c.Undecided) + " of " + compared + " " + word(c.Undecided, "differs", "differ") + " in what cannot be decided (" + percent(c.Undecided, c.Compared) + ")"
	}
	text := percent(c.Agreeing, c.Compared) + " of " + compared + " agree"
	if c.Noise > 0 {
		text += ", " + Count(c.Noise) + " of them but for noise"
	}
	return text
}
