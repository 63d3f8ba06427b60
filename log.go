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
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// summaryInterval is how often a mirror that loses requests says so.
const summaryInterval = time.Minute

// How long what is logged is at most, in bytes. A line about options names all mistakes
// at once, and has a bound of its own.
const (
	maxLine    = 2 << 10
	maxRemark  = maxMistakes + maxLine
	maxProblem = 600 // what is said of one failure
)

// print logs a line about the mirror.
func (c *counts) print(text string) {
	writeLine(prefixOf(c.name)+c.tells(text), maxLine)
}

// tells has a text about the shadow be about the control, where the counts are its.
func (c *counts) tells(text string) string {
	if !c.ofControl {
		return text
	}
	return strings.ReplaceAll(text, "the shadow", "the control")
}

// writeLine writes one line of at most so many bytes to Traefik's log. Nothing else in
// this package writes anything anywhere: a certificate, an answer, a name or an option
// can hold line breaks, and what follows one would be a line that somebody else forged.
//
// Traefik logs what a plugin writes to standard error, where the log package writes, as
// errors, which are the only lines that its default level shows; it puts a time of its
// own before them.
func writeLine(text string, most int) {
	log.New(log.Writer(), "", 0).Print(oneLine(text, most))
}

// oneLine is the text with control characters, line separators and what turns the
// direction of writing escaped as in Go, and cut to so many bytes.
func oneLine(text string, most int) string {
	return cut(report.Visible(cut(text, most)), most)
}

// prefixOf is what the lines about a middleware begin with. Whoever writes the
// dynamic configuration chooses the name, line breaks and all.
func prefixOf(name string) string {
	quoted := strconv.Quote(cut(name, maxValue))
	return "mirror: middleware " + quoted[1:len(quoted)-1] + ": "
}

// logFailure logs the first failure after a time without losses. Those that follow are
// in the summaries, however many.
func (c *counts) logFailure(err error) {
	if c.reporting.CompareAndSwap(false, true) {
		c.print("the shadow failed: " + describe(err) + " (" + failureKind(err) + "); live is not affected. Summaries follow every " + c.interval.String() + " while there are losses")
		c.summarizeLater()
	}
}

// logFull logs that there was no place, if that is the first loss after a time without.
// It is called on the live path, so a goroutine of its own does it.
func (c *counts) logFull() {
	if c.reporting.CompareAndSwap(false, true) {
		go announceFull(c)
	}
}

func announceFull(c *counts) {
	defer func() { c.contain(recover()) }()
	c.print("no place in flight (full): requests are not mirrored until the shadow has answered some; live is not affected. Summaries follow every " + c.interval.String() + " while there are losses")
	c.summarizeLater()
}

// announceAllLost tells that nothing is compared any more: see lostValues. It runs in a
// goroutine of its own.
func announceAllLost(c *counts) {
	defer func() { c.contain(recover()) }()
	c.print("more changes were lost at once than can be noted: from now on no answers are compared (sequence_lost), until url, sequenceBy or compare.epoch changes; live is not affected")
}

// summarizeLater is called by the one that has set reporting.
func (c *counts) summarizeLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.summary = time.AfterFunc(c.interval, func() { c.summarize() })
}

// summarize logs the totals and goes on at intervals until an interval passes
// without a loss. It runs in the timer's goroutine, and resets that timer: a new one
// would keep the interpreted frames of all before it for as long as there are losses.
func (c *counts) summarize() {
	defer func() { c.contain(recover()) }()
	losses := fmt.Sprint(c.failed.Load(), c.full.Load(), c.paused.Load())
	c.mu.Lock()
	same := losses == c.told
	c.told = losses
	lastErr := c.lastErr
	c.lastErr = nil
	timer := c.summary
	c.mu.Unlock()
	if same {
		c.reporting.Store(false)
		return
	}
	mirrored, lost := c.losses()
	line := decimal(mirrored) + " mirrored"
	if c.ofControl {
		line = "of the requests to the control " + decimal(mirrored) + " answered"
	}
	line += ", " + report.Losses(mirrored, lost, decimal)
	if lastErr != nil {
		line += "; last error: " + describe(lastErr)
	}
	c.print(line)
	timer.Reset(c.interval)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// announceConsumed says once that there are bodies that another middleware has read.
// It is called on the live path, which must not wait for the log.
func (c *counts) announceConsumed() {
	if c.consumed.CompareAndSwap(false, true) {
		go tellConsumed(c)
	}
}

func tellConsumed(c *counts) {
	defer func() { c.contain(recover()) }()
	c.print("an earlier middleware has consumed the body of a request, as parsing a form does: live gets what is left of it, and there is nothing to mirror. This is said once; list the mirror before that middleware")
}

// contain takes what a goroutine or a timer of the plugin's has recovered, nil
// included: a panic there would end Traefik. It is a mistake of the plugin's, so it
// is logged.
func (c *counts) contain(v interface{}) {
	if v == nil {
		return
	}
	c.print(fmt.Sprintf("%s: %.200q; live is not affected", errPanic, fmt.Sprint(v)))
}

// describe says what went wrong, for the log, the report and the page, without quoting
// what the shadow sent: that may be a cookie or a customer's data.
func describe(err error) string {
	return oneLine(problem(err), maxProblem)
}

func problem(err error) string {
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
