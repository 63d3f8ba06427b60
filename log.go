package mirror

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/latency"
	"github.com/trafficshadow/mirror/report"
)

// summaryInterval is how often a mirror that loses requests says so.
const summaryInterval = time.Minute

// counts is what became of a mirror's requests, and the log's account of it:
// a line for the first loss, then a summary at intervals for as long as there
// are more, however many.
type counts struct {
	name     string
	interval time.Duration // summaryInterval

	since    time.Time    // when counting began
	mirrored atomic.Int64 // the shadow answered
	failed   atomic.Int64 // the shadow did not, or not wholly

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
	grpc    atomic.Int64
	marked  atomic.Int64 // came with markerHeader

	reporting atomic.Bool // a first line was logged, and the timer for a summary runs

	mu        sync.Mutex
	lastErr   error  // since the last summary
	told      string // the last summary's figures
	latest    error  // the last of all
	latestAt  time.Time
	earlier   mark             // before the failures of late began
	later     mark             // later by recentWindow or more
	kinds     map[string]int64 // failures, by kind
	statuses  map[int]int64    // answers that are not 2xx, by the first digit
	successes int64            // answers that are, as last reported
	took      latency.Histogram
	sent      int64 // bytes of bodies, while somebody looks
	read      int64 // bytes of answers, while somebody looks
}

// A mark is what was counted at a moment.
type mark struct {
	at       time.Time
	answered int64
	failed   int64
}

// recentWindow is how far the marks are apart, at least: what the shadow did since
// the earlier one is what it did of late.
const recentWindow = 5 * time.Minute

// fail counts a request that the shadow did not answer.
func (c *counts) fail(err error) {
	kind := failureKind(err)
	c.mu.Lock()
	if now := time.Now(); now.Sub(c.later.at) > recentWindow {
		c.earlier = c.later
		c.later = mark{at: now, answered: c.answers(), failed: c.failed.Load()}
	}
	c.failed.Add(1)
	if c.kinds == nil {
		c.kinds = map[string]int64{}
	}
	c.kinds[kind]++
	c.lastErr = err
	c.latest = err
	c.latestAt = time.Now()
	c.mu.Unlock()
	if c.reporting.CompareAndSwap(false, true) {
		c.print("the shadow failed: " + describe(err) + "; live is not affected. Summaries follow every " + c.interval.String() + " while there are losses")
		c.summarizeLater()
	}
}

// answers returns how many requests the shadow has answered.
func (c *counts) answers() int64 {
	return c.mirrored.Load() % watchedCount
}

// watch has exchanges be measured from now on.
func (c *counts) watch() {
	if c.mirrored.Load() < watchedCount {
		c.mirrored.Add(watchedCount)
	}
}

// answered counts an answer whose status is not 2xx. Those that are need no
// count of their own: they are the rest.
func (c *counts) answered(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.statuses == nil {
		c.statuses = map[int]int64{}
	}
	c.statuses[status/100]++
}

// measured counts what an exchange came to: its length, and the bytes of the two
// bodies.
func (c *counts) measured(took time.Duration, sent, read int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took.Add(took)
	if sent > 0 {
		c.sent += sent
	}
	c.read += read
}

// noPlace counts a request that found as many in flight as may be. It is called
// on the live path, which must not wait for the log.
func (c *counts) noPlace() {
	c.full.Add(1)
	if c.reporting.CompareAndSwap(false, true) {
		go announceFull(c)
	}
}

func announceFull(c *counts) {
	c.print("no place in flight: requests are not mirrored until the shadow has answered some; live is not affected. Summaries follow every " + c.interval.String() + " while there are losses")
	c.summarizeLater()
}

func (c *counts) summarizeLater() {
	time.AfterFunc(c.interval, func() { c.summarize() })
}

// summarize logs the totals and goes on at intervals until an interval passes
// without a loss.
func (c *counts) summarize() {
	losses := fmt.Sprint(c.failed.Load(), c.full.Load(), c.paused.Load())
	c.mu.Lock()
	same := losses == c.told
	c.told = losses
	lastErr := c.lastErr
	c.lastErr = nil
	c.mu.Unlock()
	if same {
		c.reporting.Store(false)
		return
	}
	line := fmt.Sprintf("%d mirrored, %d dropped (%d no place in flight, %d while left alone, %d body too large, %d body not read to its end), %d failed",
		c.answers(), c.full.Load()+c.paused.Load()+c.large.Load()+c.incomplete.Load(),
		c.full.Load(), c.paused.Load(), c.large.Load(), c.incomplete.Load(), c.failed.Load())
	if lastErr != nil {
		line += "; last error: " + describe(lastErr)
	}
	c.print(line)
	c.summarizeLater()
}

// print writes a line to Traefik's log. Traefik logs what a plugin writes to
// standard error, where the log package writes, as errors, which are the only
// lines that its default level shows; it puts a time of its own before them.
func (c *counts) print(line string) {
	log.New(log.Writer(), "", 0).Print("mirror: middleware " + c.name + ": " + line)
}

// describe says what went wrong without quoting what the shadow sent: that may
// be a cookie or a customer's data.
func describe(err error) string {
	var (
		dial     *net.OpError
		protocol textproto.ProtocolError
		cert     *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return "no whole answer within the timeout"
	case errors.As(err, &dial) || errors.As(err, &cert):
		return err.Error()
	case errors.As(err, &protocol):
		return "malformed header in the answer"
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "the shadow closed the connection before the end of its answer"
	}
	text, _, _ := strings.Cut(err.Error(), `"`)
	return text
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
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded):
		return report.Timeout
	case errors.As(err, &network) && network.Op == "dial":
		return report.Connect
	case errors.As(err, &cert) || errors.As(err, &record) || strings.Contains(err.Error(), "tls: "):
		return report.TLS
	}
	return report.Protocol
}
