package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/latency"
	"github.com/trafficshadow/mirror/report"
)

// counts is what became of a mirror's requests. Each is counted once it is over, and in
// one place only: as answered, as failed, or for the reason why no copy was sent.
//
// The live path and the workers add to the atomic counts without a lock. The rest is
// guarded by mu, which the live path never takes.
type counts struct {
	since     time.Time    // when counting began
	succeeded atomic.Int64 // the shadow answered 2xx
	otherwise atomic.Int64 // it answered with another status: as many as statuses has; added to under mu
	failed    atomic.Int64 // it did not answer, or not wholly: as many as kinds has; added to under mu

	// Dropped or refused, though eligible.
	full       atomic.Int64 // dropped: no place in flight
	paused     atomic.Int64 // dropped: the shadow is sick and left alone
	large      atomic.Int64 // dropped: body above maxBodySize
	incomplete atomic.Int64 // dropped: live did not read the body to its end (bodyMode: stream)
	unread     atomic.Int64 // refused: the client's body could not be read

	// Not eligible, by what the head says, or not chosen.
	method  atomic.Int64
	sampled atomic.Int64
	upgrade atomic.Int64
	connect atomic.Int64
	rate    atomic.Int64 // maxRate copies were sent within the last second
	grpc    atomic.Int64
	duplex  atomic.Int64 // another protocol that answers before the body ends
	marked  atomic.Int64 // came with markerHeader
	loop    atomic.Int64 // a copy that has come back

	mu       sync.Mutex
	latest   error // the last failure
	latestAt time.Time
	recent   recently
	kinds    map[string]int64  // failures, by kind
	statuses map[int]int64     // answers that are not 2xx, by the first digit
	took     latency.Histogram // of exchanges, while somebody looks
	before   report.Copies     // what there was when the comparison began
	sent     int64             // bytes of bodies, while somebody looks
	read     int64             // bytes of answers, while somebody looks

	// What log.go keeps.
	name      string
	ofControl bool          // they are a control's
	interval  time.Duration // summaryInterval
	consumed  atomic.Bool   // it was logged that somebody else reads bodies
	reporting atomic.Bool   // a first loss was logged, and the timer for a summary runs
	summary   *time.Timer   // runs summarize while reporting is true; guarded by mu
	lastErr   error         // the last failure since the last summary; guarded by mu
	told      string        // the last summary's losses; guarded by mu
}

// watched holds a token once there is a middleware that serves the report. Until then
// nobody could look at how long exchanges take and how long bodies are, so that is not
// measured. Every worker asks, for every copy. mirrorsMu guards it.
var watched = make(sign, 1)

// watch has all mirrors measure from now on what only the report has.
func watch() {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	watched.put()
}

// answers returns how many requests the shadow has answered.
func (c *counts) answers() int64 {
	return c.succeeded.Load() + c.otherwise.Load()
}

// countStatus counts an answer whose status is not 2xx. It runs in a worker.
func countStatus(c *counts, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statuses == nil {
		c.statuses = map[int]int64{}
	}
	c.statuses[status/100]++
	c.otherwise.Add(1)
}

// measure counts what an exchange came to: its length, and the bytes of the two bodies.
// It runs in a worker, while somebody looks.
func measure(c *counts, took time.Duration, sent, read int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := &c.took
	all.Add(took)
	if sent > 0 {
		c.sent += sent
	}
	c.read += read
}

// fail counts a request that the shadow did not answer, and logs the first.
func (c *counts) fail(err error) {
	c.addFailure(err)
	c.logFailure(err)
}

func (c *counts) addFailure(err error) {
	kind := failureKind(err)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed.Add(1)
	recent := &c.recent
	recent.look(now, c.answers(), 1)
	if c.kinds == nil {
		c.kinds = map[string]int64{}
	}
	c.kinds[kind]++
	c.latest = err
	c.latestAt = now
	c.lastErr = err
}

// look takes down what was answered by now.
func (c *counts) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent := &c.recent
	recent.look(time.Now(), c.answers(), 0)
}

// dropped returns of what no copy was sent, by reason.
func (c *counts) dropped() map[string]int64 {
	return map[string]int64{
		"method":            c.method.Load(),
		"sampling":          c.sampled.Load(),
		"upgrade":           c.upgrade.Load(),
		"connect_method":    c.connect.Load(),
		"grpc":              c.grpc.Load(),
		"duplex":            c.duplex.Load(),
		"marked":            c.marked.Load(),
		"loop":              c.loop.Load(),
		"rate":              c.rate.Load(),
		"full":              c.full.Load(),
		"paused":            c.paused.Load(),
		"too_large":         c.large.Load(),
		"body_error":        c.unread.Load(),
		"stream_incomplete": c.incomplete.Load(),
	}
}

// begin is for when a comparison begins: what is lost from then on is told apart from what
// was lost before.
func (c *counts) begin() {
	mirrored, lost := c.losses()
	before := report.Copies{Mirrored: mirrored}
	for _, n := range lost {
		before.Lost += n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.before = before
}

// losses returns what was lost, by reason, and how many requests were mirrored.
func (c *counts) losses() (mirrored int64, lost map[string]int64) {
	m := &report.Middleware{Mirrored: c.answers(), Dropped: c.dropped(), Failed: map[string]int64{}}
	c.mu.Lock()
	for kind, n := range c.kinds {
		m.Failed[kind] = n
	}
	c.mu.Unlock()
	m.AddLosses()
	return m.Mirrored, m.Lost
}

// failureKind says what kind of failure err is.
func failureKind(err error) string {
	var (
		network *net.OpError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	// errors.As and not a type assertion: interpreted, that panics on an error
	// whose type is an empty struct, as context.DeadlineExceeded's is.
	switch {
	case errors.Is(err, errPanic):
		return report.Internal
	case errors.Is(err, errLate):
		return report.Late
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return report.Timeout
	case errors.As(err, &network) && network.Op == "dial":
		return report.Connect
	case errors.As(err, &cert) || errors.As(err, &record) || strings.Contains(err.Error(), "tls: "):
		return report.TLS
	}
	return report.Protocol
}
