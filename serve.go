package mirror

import (
	"bytes"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// watchedCount is added to the count of what was mirrored once there is a
// middleware that serves the report: until then nobody could look at what is
// only measured for it. Whether somebody does costs an exchange no more than a
// comparison of the number that it has at hand.
const watchedCount = 1 << 62

// watched says that there is a middleware that serves the report. It is guarded
// by mirrorsMu.
var watched bool

// watch has all mirrors measure what only the report has.
func watch() {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	watched = true
	for _, m := range mirrors {
		m.counts.watch()
	}
}

// A reporter is a middleware with serve. It answers every request itself, with
// what there is to know about all mirrors of this Traefik.
type reporter struct{}

func newReporter() http.Handler {
	watch()
	return &reporter{}
}

// ServeHTTP answers with the report, in the form that the end of the path names:
// metrics, report.json or, with a slash there, the page.
func (r *reporter) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		rw.Header().Set("Allow", "GET, HEAD")
		http.Error(rw, "mirror: the report takes GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	path := clientPath(req)
	var body bytes.Buffer
	var err error
	h := rw.Header()
	switch {
	case strings.HasSuffix(path, "/metrics"):
		h.Set("Content-Type", report.MetricsType)
		err = report.WriteMetrics(&body, document())
	case strings.HasSuffix(path, "/report.json"):
		h.Set("Content-Type", "application/json")
		err = report.WriteJSON(&body, document())
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
		err = report.WritePage(&body, document(), req.URL.Query(), base)
	default:
		// The page's links are relative to its folder. So is this, because the
		// path that the client used may have been stripped of its beginning.
		folder := &url.URL{Path: path[strings.LastIndex(path, "/")+1:] + "/"}
		h.Set("Location", folder.String())
		rw.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	if err != nil {
		http.Error(rw, "mirror: the report cannot be written: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	rw.Write(body.Bytes())
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

// document returns what there is to know about all mirrors.
func document() *report.Document {
	mirrorsMu.Lock()
	all := make([]*mirror, 0, len(mirrors))
	shadows := map[string]*shadow{}
	for name, m := range mirrors {
		all = append(all, m)
		shadows[name] = m.shadow
	}
	mirrorsMu.Unlock()
	sort.Slice(all, func(i, j int) bool { return all[i].name < all[j].name })
	d := &report.Document{Generated: time.Now(), Middlewares: []*report.Middleware{}}
	for _, m := range all {
		d.Middlewares = append(d.Middlewares, m.report(shadows[m.name]))
	}
	return d
}

// report returns what there is to know about the mirror.
func (m *mirror) report(s *shadow) *report.Middleware {
	c := &m.counts
	r := &report.Middleware{Name: m.name, Since: c.since, Dropped: c.dropped(), Failed: map[string]int64{}, Answers: map[string]int64{}}
	if s != nil {
		r.Shadow = s.address
	}
	m.reportPause(r)
	if r.InFlight = m.inFlight.Load(); r.InFlight >= pausedPlaces {
		r.InFlight -= pausedPlaces
	}
	c.mu.Lock()
	c.report(r)
	c.mu.Unlock()
	for _, reason := range report.EligibleReasons {
		r.Eligible += r.Dropped[reason]
	}
	for _, n := range r.Failed {
		r.Eligible += n
	}
	r.Eligible += r.Mirrored
	r.AddVerdict(m.verdict.Snapshot())
	return r
}

func (m *mirror) reportPause(r *report.Middleware) {
	m.pause.mu.Lock()
	defer m.pause.mu.Unlock()
	r.State.Paused = m.pause.on
	if m.pause.on {
		began := m.pause.began
		r.State.PausedSince = &began
	}
}

// dropped returns what was not mirrored, by reason.
func (c *counts) dropped() map[string]int64 {
	return map[string]int64{
		"method":            c.method.Load(),
		"sampling":          c.sampled.Load(),
		"upgrade":           c.upgrade.Load(),
		"connect":           c.connect.Load(),
		"grpc":              c.grpc.Load(),
		"marked":            c.marked.Load(),
		"full":              c.full.Load(),
		"paused":            c.paused.Load(),
		"too_large":         c.large.Load(),
		"body_error":        c.unread.Load(),
		"stream_incomplete": c.incomplete.Load(),
	}
}

// report fills in what mu guards, which is held.
func (c *counts) report(r *report.Middleware) {
	for _, kind := range report.FailureKinds {
		r.Failed[kind] = c.kinds[kind]
	}
	// Answers that are 2xx are the rest of those mirrored. One of another class
	// counts there before it counts as mirrored, so the rest may be too small for
	// a moment, and no counter may ever go back.
	rest := c.answers()
	for _, name := range report.AnswerClasses {
		r.Answers[name] = 0
	}
	for class, n := range c.statuses {
		name := "other"
		if class >= 1 && class <= 5 {
			name = strconv.Itoa(class) + "xx"
		}
		r.Answers[name] += n
		rest -= n
		r.Mirrored += n
	}
	if rest > c.successes {
		c.successes = rest
	}
	r.Answers["2xx"] = c.successes
	r.Mirrored += c.successes
	r.RequestBytes = c.sent
	r.AnswerBytes = c.read
	r.ShadowLatency = report.NewLatency(&c.took)
	if c.latest != nil {
		r.State.LastError = describe(c.latest)
		at := c.latestAt
		r.State.LastErrorAt = &at
		r.State.Recent.Failed = c.failed.Load() - c.earlier.failed
		r.State.Recent.Answered = c.answers() - c.earlier.answered
		if r.State.Recent.Since = c.earlier.at; c.earlier.at.IsZero() {
			r.State.Recent.Since = c.since
		}
	}
}
