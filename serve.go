package mirror

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// A reporter is a middleware with serve. It answers every request itself, with
// what there is to know about all mirrors of this Traefik.
type reporter struct{ editions *editions }

func newReporter(name string) http.Handler {
	forgetMirror(name)
	watch()
	return &reporter{editions: newest}
}

// A mistaken is a middleware with serve and a mistake in its options. The handler
// behind it is none that could answer in its place.
type mistaken struct{ remark string }

func (m *mistaken) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Cache-Control", "no-store")
	http.Error(rw, m.remark, http.StatusInternalServerError)
}

// mistakenHandler returns what the middleware called name is while its options are
// mistaken: next itself, unless it is one that serves the report.
func mistakenHandler(ctx context.Context, next http.Handler, o *options, name string) http.Handler {
	tell(acquireFault(ctx, name, o), o.remark())
	if o.serve {
		return &mistaken{remark: oneLine(prefixOf(name)+o.remark(), maxRemark)}
	}
	return next
}

// ServeHTTP answers with the report, in the form that the end of the path names:
// metrics, report.json, mismatches.ndjson or, with a slash there, the page. The gate answers
// a question about it.
func (r *reporter) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	path := clientPath(req)
	gate := strings.HasSuffix(path, "/gate")
	if req.Method != http.MethodGet && req.Method != http.MethodHead && !(gate && req.Method == http.MethodPost) {
		takes := "the report takes GET and HEAD"
		rw.Header().Set("Allow", "GET, HEAD")
		if gate {
			takes = "the gate takes GET, HEAD and POST"
			rw.Header().Set("Allow", "GET, HEAD, POST")
		}
		http.Error(rw, "mirror: "+takes, http.StatusMethodNotAllowed)
		return
	}
	if gate {
		r.gate(rw, req)
		return
	}
	var body []byte
	var err error
	h := rw.Header()
	switch {
	case strings.HasSuffix(path, "/metrics"):
		h.Set("Content-Type", report.MetricsType)
		body, err = r.editions.form(formMetrics)
	case strings.HasSuffix(path, "/report.json"):
		h.Set("Content-Type", "application/json")
		body, err = r.editions.form(formJSON)
	case strings.HasSuffix(path, "/mismatches.ndjson"):
		r.mismatches(rw, req)
		return
	case strings.HasSuffix(path, "/"):
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", report.PagePolicy)
		// StripPrefix makes / of a path with a slash at its end and of one without,
		// whose links would be relative to another folder.
		base := ""
		if prefix := stripped(req); path == "/" && prefix != "" {
			base = prefix + "/"
			h.Set("Content-Security-Policy", report.BasePolicy)
		}
		body, err = r.page(req, base)
	default:
		// The page's links are relative to its folder. So is this, because the
		// path that the client used may have been stripped of its beginning.
		folder := &url.URL{Path: path[strings.LastIndex(path, "/")+1:] + "/"}
		h.Set("Location", folder.String())
		rw.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	if errors.Is(err, errBusy) {
		h.Set("Retry-After", "1")
		http.Error(rw, "mirror: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		http.Error(rw, "mirror: the report cannot be written: "+err.Error(), http.StatusInternalServerError)
		return
	}
	guardAnswer(h)
	rw.Write(body)
}

// guardAnswer has nobody keep an answer, or take it for something else.
func guardAnswer(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}

// mismatches answers with the examples that are asked for.
func (r *reporter) mismatches(rw http.ResponseWriter, req *http.Request) {
	all, d, err := r.editions.allMismatches()
	if err != nil {
		http.Error(rw, "mirror: the examples cannot be written: "+err.Error(), http.StatusInternalServerError)
		return
	}
	values, err := report.ReadQuery(req.URL.RawQuery)
	if err != nil {
		http.Error(rw, "mirror: "+errQuery.Error(), http.StatusBadRequest)
		return
	}
	choice := d.Choose(values)
	if choice.Mistake != "" {
		status := http.StatusBadRequest
		if choice.Unknown {
			status = http.StatusNotFound
		}
		http.Error(rw, "mirror: "+choice.Mistake, status)
		return
	}
	guardAnswer(rw.Header())
	rw.Header().Set("Content-Type", report.MismatchesType)
	for _, m := range all {
		if choice.Has(m) {
			rw.Write(m.Lines)
		}
	}
}

// page returns the page that the request's query asks for, with links that begin at base.
func (r *reporter) page(req *http.Request, base string) ([]byte, error) {
	body, err := r.editions.page(req.URL.Query())
	if err != nil || base == "" {
		return body, err
	}
	return report.WithBase(body, base)
}

// clientPath is the path that the client used, as far as can be known, where
// nothing is left of it.
func clientPath(req *http.Request) string {
	if req.URL.Path == "" {
		return stripped(req)
	}
	return req.URL.Path
}

// stripped is what Traefik's StripPrefix has taken from the path, one prefix after
// the other.
func stripped(req *http.Request) string {
	prefix := strings.Join(req.Header["X-Forwarded-Prefix"], "")
	if !strings.HasPrefix(prefix, "/") || strings.HasPrefix(prefix, "//") {
		return ""
	}
	return strings.TrimSuffix(prefix, "/")
}

// document returns what there is to know about all mirrors: with what comparing has
// shown, for the page and report.json; without, for metrics, which have counters and what
// was judged last.
func document(now time.Time, comparison bool) *report.Document {
	mirrorsMu.Lock()
	all := make([]*mirror, 0, len(mirrors))
	states := map[string]*report.Middleware{}
	for name, m := range mirrors {
		all = append(all, m)
		states[name] = m.configured()
	}
	mirrorsMu.Unlock()
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	d := &report.Document{Generated: now, Instance: instanceName, Since: instanceSince, Middlewares: []*report.Middleware{}}
	for _, m := range all {
		d.Middlewares = append(d.Middlewares, m.report(states[m.name], comparison))
	}
	return d
}

// configured returns what the options say: the shadow, or the mistakes, or that the
// mirror is removed. mirrorsMu is held.
func (m *mirror) configured() *report.Middleware {
	r := &report.Middleware{Name: m.name, Mistakes: []string{}}
	if m.shadow != nil {
		r.Shadow = m.shadow.address
		r.Percent = m.percent
		m.shadow.reportPause(r)
		if m.shadow.control != nil {
			address, paused, lastError := m.shadow.controlState()
			r.Control = &report.Control{URL: address, Paused: paused, LastError: lastError}
		}
		if q := m.shadow.sequencer; q != nil {
			r.Sequence = reportSequence(q.by, m.shadow.sequence)
		}
	}
	if !m.removedAt.IsZero() {
		m.reportRemoved(r)
	}
	if m.fault != nil {
		r.ConfigErrors = m.fault.mistaken
		r.Mistakes = m.fault.mistakes
	}
	return r
}

// reportRemoved says since when no router uses the mirror, and what it has of a control
// and of sequences yet. mirrorsMu is held.
func (m *mirror) reportRemoved(r *report.Middleware) {
	at := m.removedAt
	r.Removed = &at
	o := m.options
	if o.mistaken > 0 {
		return
	}
	if o.control != nil {
		r.Control = &report.Control{URL: o.control.String()}
	}
	if o.sequenceBy != "" {
		r.Sequence = reportSequence(o.sequenceBy, m.sequence)
	}
}

// report adds what there is to know about the mirror to what the options say.
func (m *mirror) report(r *report.Middleware, comparison bool) *report.Middleware {
	c := m.counts
	r.Since = c.since
	r.Dropped = c.dropped()
	r.Failed = map[string]int64{}
	r.Answers = map[string]int64{}
	r.InFlight = m.inFlight.Load()
	c.mu.Lock()
	c.report(r)
	all := &c.took
	took := all.Clone()
	c.mu.Unlock()
	r.AddLosses()
	if comparison {
		r.ShadowLatency = report.NewLatency(took)
		r.AddVerdict(m.verdict.Snapshot(), time.Now())
	} else {
		r.ShadowLatency = report.NewBuckets(took)
		r.AddCounts(m.verdict.Totals(), m.verdict.Judged(), time.Now())
	}
	return r
}

// report fills in what was counted of answers and failures. mu is held, so that the
// numbers of a report agree with one another.
func (c *counts) report(r *report.Middleware) {
	for _, kind := range report.FailureKinds {
		r.Failed[kind] = c.kinds[kind]
	}
	for _, name := range report.AnswerClasses {
		r.Answers[name] = 0
	}
	r.Answers["2xx"] = c.succeeded.Load()
	for class, n := range c.statuses {
		name := "other"
		if class >= 1 && class <= 5 {
			name = strconv.Itoa(class) + "xx"
		}
		r.Answers[name] += n
	}
	for _, n := range r.Answers {
		r.Mirrored += n
	}
	r.Before = c.before
	r.RequestBytes = c.sent
	r.AnswerBytes = c.read
	if c.latest != nil {
		r.State.LastError = describe(c.latest)
		at := c.latestAt
		r.State.LastErrorAt = &at
	}
	now := time.Now()
	recent := &c.recent
	recent.look(now, c.answers(), 0)
	late, failing := recent.judge(now)
	r.State.Failing = failing
	r.State.Recent = report.Recent{Since: late.began, Answered: late.answered, Failed: late.failed}
}
