package report

import (
	"encoding/json"
	"io"
	"sort"
	"strconv"
	"strings"

	"github.com/trafficshadow/mirror/compare"
)

// MetricsType is the media type of [WriteMetrics]: Prometheus's text format.
const MetricsType = "text/plain; version=0.0.4; charset=utf-8"

// WriteJSON writes the document as JSON.
func WriteJSON(w io.Writer, d *Document) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// A Metric is a family of series, as Prometheus and the documentation have it.
type Metric struct {
	Name   string
	Type   string   // counter, gauge or histogram
	Labels []string // besides middleware, which all have
	Help   string
}

// Metrics are all of them, in the order in which they are written.
var Metrics = []*Metric{
	{"mirror_config_errors", "gauge", nil, "Mistakes in the options. While there are any, nothing is mirrored, and live serves every request."},
	{"mirror_info", "gauge", []string{"url", "percent"}, "Always 1, for each middleware that mirrors: to what URL, and what share of the requests."},

	{"mirror_eligible_requests_total", "counter", nil, "Requests that could be mirrored and whose mirroring is over: mirrored, lost, or left out by percent or maxRate."},
	{"mirror_mirrored_requests_total", "counter", nil, "Requests that the shadow answered, with whatever status."},
	{"mirror_lost_requests_total", "counter", []string{"reason"}, "Requests that were to be mirrored and were not: dropped, or failed."},
	{"mirror_dropped_requests_total", "counter", []string{"reason"}, "Requests of which no copy was sent: lost ones, ones that were left out, and ones that cannot be mirrored."},
	{"mirror_failed_requests_total", "counter", []string{"kind"}, "Requests that the shadow did not answer, or not wholly. All of them are lost."},
	{"mirror_shadow_responses_total", "counter", []string{"code"}, "Answers of the shadow, by class of status."},
	{"mirror_request_body_bytes_total", "counter", nil, "Bytes of request bodies that the shadow got, since there is a middleware that serves this."},
	{"mirror_shadow_response_body_bytes_total", "counter", nil, "Bytes of bodies that the shadow answered with, since there is a middleware that serves this."},
	{"mirror_shadow_request_duration_seconds", "histogram", nil, "How long the shadow took to answer, to the end of its answer, since there is a middleware that serves this."},
	{"mirror_in_flight_requests", "gauge", nil, "Requests that are being mirrored."},
	{"mirror_paused", "gauge", nil, "Whether the shadow is left alone because it keeps failing: 1 or 0."},

	{"mirror_sequence_waiting_requests", "gauge", nil, "With sequenceBy: copies that wait for the one before with the same value, and keep their places in flight meanwhile."},
	{"mirror_sequence_longest_wait_seconds", "gauge", nil, "With sequenceBy: for how long the copy has waited that waits longest; 0 where none waits."},
	{"mirror_sequence_unordered_requests_total", "counter", nil, "With sequenceBy: requests without the value, whose copies wait for none."},
	{"mirror_sequence_lost_values", "gauge", nil, "With sequenceBy: values that have lost a copy that may have changed something, of those remembered. Their later pairs are skipped as sequence_lost."},

	{"mirror_endpoint_pairs_total", "counter", []string{"endpoint", "result"}, "With compare: pairs of answers, by what was found when they came. Pairs that differ in noise only are among those that differ."},
	{"mirror_skipped_pairs_total", "counter", []string{"reason"}, "With compare: pairs of answers that were not compared."},
	{"mirror_compared_live_request_duration_seconds", "histogram", nil, "With compare: how long live took to answer, to the end of its answer, in pairs that were compared."},
	{"mirror_compared_shadow_request_duration_seconds", "histogram", nil, "With compare: how long the shadow took to answer, to the end of its answer, in pairs that were compared."},
	{"mirror_comparison_state", "gauge", []string{"state"}, "With compare: 1 for the state that the comparison is in, 0 for the others. New pairs are judged every 5 seconds at most."},
	{"mirror_comparison_pairs", "gauge", []string{"judgement"}, "With compare: pairs of the comparison that runs, each by the worst of its differences; same are those without any. Judged like the state."},
	{"mirror_differences", "gauge", []string{"judgement"}, "With compare: how many differences are known, of an endpoint and a key each. Judged like the state."},
	{"mirror_comparison_start_time_seconds", "gauge", nil, "With compare: when the comparison that runs began, in seconds since 1970."},

	{"mirror_control_pairs_total", "counter", []string{"result"}, "With compare.control: pairs that were compared, by what became of the control's part."},
	{"mirror_control_paused", "gauge", nil, "With compare.control: whether the control is left alone because it keeps failing: 1 or 0."},
	{"mirror_control_unfit_endpoints", "gauge", nil, "With compare.control: endpoints of which the control says nothing, because its answers have another status than live's. Judged like the state."},
}

var metricOf = map[string]*Metric{}

// The values of labels that are always the same ones, in the order in which they are
// written. Those of reason, kind and code are in other variables of this package.
var (
	PairResults    = []string{"match", "differs", "skipped"}
	States         = []string{compare.StateNone, compare.StateEarly, compare.StateDiffers, compare.StateUndecided, compare.StateAgrees}
	PairJudgements = []string{compare.Real, compare.Undecided, compare.Noise, compare.Ignored, "same"}
	Judgements     = []string{compare.Real, compare.Undecided, compare.Noise, compare.Ignored}
	ControlResults = []string{compare.ControlAnswered, compare.ControlFailed, compare.ControlPaused}
)

// bounds are those of buckets, as labels have them.
var bounds []string

func init() {
	for _, f := range Metrics {
		metricOf[f.Name] = f
	}
	for _, b := range NewBuckets(nil).Buckets {
		bounds = append(bounds, strconv.FormatFloat(b.Below, 'g', -1, 64))
	}
}

// WriteMetrics writes the counts and latencies, and what was judged last, in Prometheus's
// text format.
//
// Every series has the label middleware. Beside it there are labels whose values this
// package knows; those of mirror_info, which are options; and endpoints, of which there
// are no more than a verdict counts. So traffic adds a bounded number of series.
//
// A scrape writes thousands of lines, interpreted, so they are gathered in loops that do
// little else, and joined by one call.
func WriteMetrics(w io.Writer, d *Document) error {
	m := &metrics{all: d.Middlewares}
	for _, r := range m.all {
		m.of = append(m.of, "{"+label("middleware", r.Name))
		if r.Shadow != "" {
			m.info = append(m.info, "mirror_info{"+label("middleware", r.Name)+","+label("url", r.Shadow)+","+label("percent", strconv.FormatFloat(r.Percent, 'g', -1, 64))+"} 1\n")
		}
	}
	m.numbers("mirror_config_errors", func(r *Middleware) int64 { return int64(r.ConfigErrors) })
	m.begin("mirror_info")
	m.parts = append(m.parts, m.info...)
	m.requests()
	m.sequences()
	m.pairs()
	m.judged()
	m.controls()
	_, err := io.WriteString(w, strings.Join(m.parts, ""))
	return err
}

// none is the value of a mirror that has no series of a metric.
const none = -1

// metrics writes one family after the other.
type metrics struct {
	all   []*Middleware
	of    []string // of each, the beginning of its labels
	info  []string
	parts []string // what is written
}

func (m *metrics) begin(name string) {
	f := metricOf[name]
	m.parts = append(m.parts, "# HELP ", name, " ", f.Help, "\n# TYPE ", name, " ", f.Type, "\n")
}

func (m *metrics) requests() {
	m.numbers("mirror_eligible_requests_total", func(r *Middleware) int64 { return r.Eligible })
	m.numbers("mirror_mirrored_requests_total", func(r *Middleware) int64 { return r.Mirrored })
	m.counts("mirror_lost_requests_total", LossReasons, func(r *Middleware) map[string]int64 { return r.Lost })
	m.counts("mirror_dropped_requests_total", DropReasons, func(r *Middleware) map[string]int64 { return r.Dropped })
	m.counts("mirror_failed_requests_total", FailureKinds, func(r *Middleware) map[string]int64 { return r.Failed })
	m.counts("mirror_shadow_responses_total", AnswerClasses, func(r *Middleware) map[string]int64 { return r.Answers })
	m.numbers("mirror_request_body_bytes_total", func(r *Middleware) int64 { return r.RequestBytes })
	m.numbers("mirror_shadow_response_body_bytes_total", func(r *Middleware) int64 { return r.AnswerBytes })
	m.histogram("mirror_shadow_request_duration_seconds", func(r *Middleware) *Latency { return r.ShadowLatency })
	m.numbers("mirror_in_flight_requests", func(r *Middleware) int64 { return r.InFlight })
	m.numbers("mirror_paused", func(r *Middleware) int64 { return flag(r.State.Paused) })
}

// sequences says how copies wait for one another, where they do.
func (m *metrics) sequences() {
	m.sequence("mirror_sequence_waiting_requests", func(s *Sequence) int64 { return s.Waiting })
	m.begin("mirror_sequence_longest_wait_seconds")
	for i, r := range m.all {
		if r.Sequence != nil {
			m.parts = append(m.parts, "mirror_sequence_longest_wait_seconds", m.of[i], "} ", strconv.FormatFloat(r.Sequence.LongestWait, 'g', -1, 64), "\n")
		}
	}
	m.sequence("mirror_sequence_unordered_requests_total", func(s *Sequence) int64 { return s.Unordered })
	m.sequence("mirror_sequence_lost_values", func(s *Sequence) int64 { return s.LostValues })
}

func (m *metrics) sequence(name string, value func(*Sequence) int64) {
	m.numbers(name, func(r *Middleware) int64 {
		if r.Sequence == nil {
			return none
		}
		return value(r.Sequence)
	})
}

// pairs says what became of pairs, where answers are compared or were.
func (m *metrics) pairs() {
	m.endpoints()
	m.counts("mirror_skipped_pairs_total", compare.Reasons, func(r *Middleware) map[string]int64 {
		if !r.Compares {
			return nil
		}
		return r.Skipped
	})
	m.histogram("mirror_compared_live_request_duration_seconds", func(r *Middleware) *Latency { return ifCompares(r, r.ComparedLive) })
	m.histogram("mirror_compared_shadow_request_duration_seconds", func(r *Middleware) *Latency { return ifCompares(r, r.ComparedShadow) })
}

func ifCompares(r *Middleware, l *Latency) *Latency {
	if !r.Compares {
		return nil
	}
	return l
}

func (m *metrics) endpoints() {
	const name = "mirror_endpoint_pairs_total"
	m.begin(name)
	parts := m.parts
	for i, r := range m.all {
		if !r.Compares {
			continue
		}
		var names []string
		for endpoint := range r.Pairs {
			names = append(names, endpoint)
		}
		sort.Strings(names)
		for _, endpoint := range names {
			n := r.Pairs[endpoint]
			of := name + m.of[i] + "," + label("endpoint", endpoint) + `,result="`
			parts = append(parts,
				of, `match"} `, strconv.FormatInt(n.Match, 10), "\n",
				of, `differs"} `, strconv.FormatInt(n.Differs, 10), "\n",
				of, `skipped"} `, strconv.FormatInt(n.Skipped, 10), "\n")
		}
	}
	m.parts = parts
}

// judged says what was judged last of comparisons that run.
func (m *metrics) judged() {
	m.counts("mirror_comparison_state", States, func(r *Middleware) map[string]int64 {
		if r.Judged == nil {
			return nil
		}
		return map[string]int64{r.JudgedState: 1}
	})
	m.counts("mirror_comparison_pairs", PairJudgements, func(r *Middleware) map[string]int64 {
		j := r.Judged
		if j == nil {
			return nil
		}
		return map[string]int64{compare.Real: j.Real, compare.Undecided: j.Undecided, compare.Noise: j.Noise, compare.Ignored: j.Ignored, "same": j.Same()}
	})
	m.counts("mirror_differences", Judgements, func(r *Middleware) map[string]int64 {
		if r.Judged == nil {
			return nil
		}
		return r.Judged.Differences
	})
	m.numbers("mirror_comparison_start_time_seconds", func(r *Middleware) int64 {
		if r.Judged == nil {
			return none
		}
		return r.Judged.Since.Unix()
	})
}

// controls says how controls do, where there are any or were.
func (m *metrics) controls() {
	m.counts("mirror_control_pairs_total", ControlResults, func(r *Middleware) map[string]int64 {
		c := r.Controls
		if r.Control == nil && c.Answered+c.Failed+c.Paused == 0 {
			return nil
		}
		return map[string]int64{compare.ControlAnswered: c.Answered, compare.ControlFailed: c.Failed, compare.ControlPaused: c.Paused}
	})
	m.numbers("mirror_control_paused", func(r *Middleware) int64 {
		if r.Control == nil {
			return none
		}
		return flag(r.Control.Paused)
	})
	m.numbers("mirror_control_unfit_endpoints", func(r *Middleware) int64 {
		if r.Judged == nil || !r.Judged.Controlled {
			return none
		}
		return r.Judged.Unfit
	})
}

func flag(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// numbers writes a series for each mirror that has one.
func (m *metrics) numbers(name string, value func(*Middleware) int64) {
	m.begin(name)
	parts := m.parts
	for i, r := range m.all {
		if n := value(r); n != none {
			parts = append(parts, name, m.of[i], "} ", strconv.FormatInt(n, 10), "\n")
		}
	}
	m.parts = parts
}

// counts writes, for each mirror that has any, a series for each of the label's values.
func (m *metrics) counts(name string, order []string, values func(*Middleware) map[string]int64) {
	m.begin(name)
	parts := m.parts
	by := "," + metricOf[name].Labels[0] + `="`
	for i, r := range m.all {
		all := values(r)
		if all == nil {
			continue
		}
		of := name + m.of[i] + by
		for _, value := range order {
			parts = append(parts, of, value, `"} `, strconv.FormatInt(all[value], 10), "\n")
		}
	}
	m.parts = parts
}

func (m *metrics) histogram(name string, value func(*Middleware) *Latency) {
	m.begin(name)
	parts := m.parts
	for i, r := range m.all {
		l := value(r)
		if l == nil {
			continue
		}
		of := name + "_bucket" + m.of[i] + `,le="`
		for k, b := range l.Buckets {
			parts = append(parts, of, bounds[k], `"} `, strconv.FormatInt(b.Count, 10), "\n")
		}
		parts = append(parts, of, `+Inf"} `, strconv.FormatInt(l.Count, 10), "\n",
			name, "_sum", m.of[i], "} ", strconv.FormatFloat(l.Sum, 'g', -1, 64), "\n",
			name, "_count", m.of[i], "} ", strconv.FormatInt(l.Count, 10), "\n")
	}
	m.parts = parts
}

// escapes are those of label values.
var escapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func label(name, value string) string { return name + `="` + escapes.Replace(value) + `"` }
