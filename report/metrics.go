package report

import (
	"bytes"
	"encoding/json"
	"io"
	"sort"
	"strconv"
	"strings"
)

// MetricsType is the media type of [WriteMetrics]: Prometheus's text format.
const MetricsType = "text/plain; version=0.0.4; charset=utf-8"

// WriteJSON writes the document as JSON.
func WriteJSON(w io.Writer, d *Document) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(d)
}

// WriteMetrics writes the counts and latencies in Prometheus's text format.
//
// Every series has the label middleware; beside it there are only labels whose
// values this package knows, and those of mirror_info, which are options, so traffic
// adds no series.
func WriteMetrics(w io.Writer, d *Document) error {
	m := &metrics{document: d}
	m.gauge("mirror_config_errors", "Mistakes in the options. While there are any, nothing is mirrored, and live serves every request.",
		func(r *Middleware) int64 { return int64(r.ConfigErrors) })
	m.info()
	m.counter("mirror_eligible_requests_total", "Requests that could be mirrored and whose mirroring is over: mirrored, lost, or left out by percent.",
		func(r *Middleware) int64 { return r.Eligible })
	m.counter("mirror_mirrored_requests_total", "Requests that the shadow answered, with whatever status.",
		func(r *Middleware) int64 { return r.Mirrored })
	m.counters("mirror_lost_requests_total", "Requests that were to be mirrored and were not, by reason: dropped, or failed. What percent leaves out is not among them.",
		"reason", LossReasons, func(r *Middleware) map[string]int64 { return r.Lost })
	m.counters("mirror_dropped_requests_total", "Requests of which no copy was sent, by reason; method, upgrade, connect_method, grpc, marked and sampling are no losses.",
		"reason", DropReasons, func(r *Middleware) map[string]int64 { return r.Dropped })
	m.counters("mirror_failed_requests_total", "Requests that the shadow did not answer, or not wholly, by kind of failure.",
		"kind", FailureKinds, func(r *Middleware) map[string]int64 { return r.Failed })
	m.counters("mirror_shadow_responses_total", "Answers of the shadow, by class of status.",
		"code", AnswerClasses, func(r *Middleware) map[string]int64 { return r.Answers })
	m.counter("mirror_request_body_bytes_total", "Bytes of request bodies that the shadow got, since there is a middleware that serves this.",
		func(r *Middleware) int64 { return r.RequestBytes })
	m.counter("mirror_shadow_response_body_bytes_total", "Bytes of bodies that the shadow answered with, since there is a middleware that serves this.",
		func(r *Middleware) int64 { return r.AnswerBytes })
	m.gauge("mirror_in_flight_requests", "Requests that are being mirrored.",
		func(r *Middleware) int64 { return r.InFlight })
	m.sequences()
	m.gauge("mirror_paused", "Whether the shadow is left alone because it keeps failing: 1 or 0.",
		func(r *Middleware) int64 { return paused(r) })
	m.counters("mirror_compared_requests_total", "Pairs of answers, by outcome.",
		"result", Outcomes, func(r *Middleware) map[string]int64 { return r.Compared })
	m.counters("mirror_compare_skipped_requests_total", "Pairs of answers that were not compared, by reason.",
		"reason", nil, func(r *Middleware) map[string]int64 { return r.Skipped })
	m.histogram("mirror_shadow_request_duration_seconds", "How long the shadow took to answer, to the end of its answer, since there is a middleware that serves this.",
		func(r *Middleware) *Latency { return r.ShadowLatency })
	m.histogram("mirror_compared_live_request_duration_seconds", "How long live took to answer, to the end of its answer, for pairs that were compared.",
		func(r *Middleware) *Latency { return r.ComparedLive })
	m.histogram("mirror_compared_shadow_request_duration_seconds", "How long the shadow took to answer, to the end of its answer, for pairs that were compared.",
		func(r *Middleware) *Latency { return r.ComparedShadow })
	_, err := w.Write(m.out.Bytes())
	return err
}

func paused(r *Middleware) int64 {
	if r.State.Paused {
		return 1
	}
	return 0
}

// metrics writes one family after the other.
type metrics struct {
	document *Document
	out      bytes.Buffer
}

func (m *metrics) head(name, help, kind string) {
	m.out.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

func (m *metrics) sample(name, labels string, value string) {
	m.out.WriteString(name + "{" + labels + "} " + value + "\n")
}

// info says of each mirror that it is on, and with what.
func (m *metrics) info() {
	m.head("mirror_info", "Always 1, for each middleware that mirrors: to what URL, and what share of the requests.", "gauge")
	for _, r := range m.document.Middlewares {
		if r.Shadow != "" {
			m.sample("mirror_info", label("middleware", r.Name)+","+label("url", r.Shadow)+","+label("percent", strconv.FormatFloat(r.Percent, 'g', -1, 64)), "1")
		}
	}
}

// sequences says how copies wait for one another, where they do.
func (m *metrics) sequences() {
	m.sequence("mirror_sequence_waiting_requests", "Copies that wait for the one before with the same value, and keep their places in flight meanwhile.", "gauge",
		func(s *Sequence) string { return strconv.FormatInt(s.Waiting, 10) })
	m.sequence("mirror_sequence_longest_wait_seconds", "For how long the copy has waited that waits longest; 0 where none waits.", "gauge",
		func(s *Sequence) string { return strconv.FormatFloat(s.LongestWait, 'g', -1, 64) })
	m.sequence("mirror_sequence_unordered_requests_total", "Copies of requests without the value, which wait for none.", "counter",
		func(s *Sequence) string { return strconv.FormatInt(s.Unordered, 10) })
	m.sequence("mirror_sequence_lost_values", "Values that have lost a copy that may have changed something, of those remembered: their later pairs are skipped as sequence_lost.", "gauge",
		func(s *Sequence) string { return strconv.FormatInt(s.LostValues, 10) })
}

func (m *metrics) sequence(name, help, kind string, value func(*Sequence) string) {
	m.head(name, help, kind)
	for _, r := range m.document.Middlewares {
		if r.Sequence != nil {
			m.sample(name, label("middleware", r.Name), value(r.Sequence))
		}
	}
}

func (m *metrics) counter(name, help string, value func(*Middleware) int64) {
	m.single(name, help, "counter", value)
}

func (m *metrics) gauge(name, help string, value func(*Middleware) int64) {
	m.single(name, help, "gauge", value)
}

func (m *metrics) single(name, help, kind string, value func(*Middleware) int64) {
	m.head(name, help, kind)
	for _, r := range m.document.Middlewares {
		m.sample(name, label("middleware", r.Name), strconv.FormatInt(value(r), 10))
	}
}

// counters writes a series for each of the label's values: those given, or, with
// none given, all that there are.
func (m *metrics) counters(name, help, by string, order []string, values func(*Middleware) map[string]int64) {
	m.head(name, help, "counter")
	for _, r := range m.document.Middlewares {
		all := values(r)
		names := order
		if names == nil {
			for value := range all {
				names = append(names, value)
			}
			sort.Strings(names)
		}
		for _, value := range names {
			m.sample(name, label("middleware", r.Name)+","+label(by, value), strconv.FormatInt(all[value], 10))
		}
	}
}

func (m *metrics) histogram(name, help string, value func(*Middleware) *Latency) {
	m.head(name, help, "histogram")
	for _, r := range m.document.Middlewares {
		of := label("middleware", r.Name)
		l := value(r)
		for _, b := range l.Buckets {
			m.sample(name+"_bucket", of+","+label("le", strconv.FormatFloat(b.Below, 'g', -1, 64)), strconv.FormatInt(b.Count, 10))
		}
		m.sample(name+"_bucket", of+","+label("le", "+Inf"), strconv.FormatInt(l.Count, 10))
		m.sample(name+"_sum", of, strconv.FormatFloat(l.Sum, 'g', -1, 64))
		m.sample(name+"_count", of, strconv.FormatInt(l.Count, 10))
	}
}

// escapes are those of label values.
var escapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func label(name, value string) string { return name + `="` + escapes.Replace(value) + `"` }
