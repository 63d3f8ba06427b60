package mirror

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// flushDelay is how long a part of an answer may wait for more of it: as long as
// Traefik's own proxy lets it by default (responseForwarding.flushInterval of a
// service's loadBalancer). Sooner would be too soon: behind Traefik's compress, a flush
// decides how the answer is sent. A variable for the tests.
var flushDelay = 100 * time.Millisecond

// A recorder is the ResponseWriter that live writes to where its answer is compared.
// Everything goes straight to the client's; what the pair keeps of it is in pair.go.
//
// The interpreter shows compiled code none of its methods but those of
// http.ResponseWriter, so nothing behind it can flush. It flushes by itself where
// Traefik's proxy, a httputil.ReverseProxy, would: after each part of an answer of
// unknown length, and flushDelay after a head, or a part of an answer of known length,
// that is not followed by more. So for the client there is no difference.
//
// It needs no lock. Its fields are live's goroutine's alone, and so is the client's
// ResponseWriter while live is in one of the methods: a late flush runs in its timer's
// goroutine, and the timer runs only between live's calls. Each begins with halt, which
// stops it, or waits for the flush that it has begun, as ReverseProxy's own writes do.
//
//yaegivet:allow it flushes by itself
type recorder struct {
	rw   http.ResponseWriter
	pair *pair
	req  *http.Request // its context ends when the client is gone

	begun        bool   // the final head is written
	one          int64  // the length of the body, in bytes, while it may come in one piece; else -1
	left         int64  // of a body that comes in several; -1: unknown
	whole        []byte // the body that did come in one; what comes in several the pair has
	flushesParts bool   // a proxy would flush each part of it
	noBody       bool   // no body follows, whatever the head says
	returned     bool   // live's handler returned, and did not panic
	broken       bool   // the client is gone

	late    *time.Timer // runs: there is something to flush. nil: it does not run
	flushed chan bool   // has a token once a late flush is over

	// noLateFlush ends late flushes for good: live has the header map in hand again,
	// or its answer is over. To flush may change that map (Traefik's compress does)
	// and read it (net/http does), and a map that two goroutines use ends Traefik.
	noLateFlush bool
}

// Header returns the client's header map. After the head, live asks for it to set
// trailers, and then has it to itself.
func (r *recorder) Header() http.Header {
	if r.begun {
		r.noLateFlush = true
		if r.late != nil {
			flushBeforeTrailers(r)
		}
	}
	return r.rw.Header()
}

// flushBeforeTrailers ends the wait for a late flush. In an answer of unknown length
// what waits is flushed now: net/http sends trailers only behind a head that says that
// there is more to come.
func flushBeforeTrailers(r *recorder) {
	if halt(r) && r.flushesParts {
		http.NewResponseController(r.rw).Flush()
	}
}

// WriteHeader passes the head on, and notes what it says. The pair has a copy, for the
// map is live's and, after the answer, the server's. Informational answers may come from
// a goroutine of the proxy's, which by then has not sent the final head.
func (r *recorder) WriteHeader(status int) {
	if r.begun || status < http.StatusOK {
		writeOtherHeader(r, status)
		return
	}
	r.begun = true
	p := r.pair
	h := r.rw.Header().Clone()
	p.live.Status = status
	p.live.Header = h
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if n <= 0 || n > p.most || bodiless[status] || !plainTypes[h.Get("Content-Type")] {
		noteUnusual(r, h, status, n, err)
	} else {
		r.one = n
	}
	r.rw.WriteHeader(status)
	if r.one > 0 {
		r.late = startLate(r, flushDelay)
	} else if r.left != 0 {
		flushLater(r)
	}
}

// writeOtherHeader is WriteHeader for what is no final head: an informational one, an
// offer to upgrade that live takes, and one too many.
func writeOtherHeader(r *recorder, status int) {
	if !r.begun && status == http.StatusSwitchingProtocols {
		r.begun = true
		abandon(r.pair, compare.Stream)
	}
	r.rw.WriteHeader(status)
}

// bodiless are the statuses of answers that have no body, whatever their heads say.
var bodiless = map[int]bool{http.StatusNoContent: true, http.StatusNotModified: true}

// noteUnusual is for a head that announces anything but a body of known length that is
// kept. n is the length that it announces, unless there is an err.
func noteUnusual(r *recorder, h http.Header, status int, n int64, err error) {
	r.left = -1
	if err == nil && n >= 0 {
		r.left = n
	}
	if r.pair.most < 0 || bodiless[status] {
		r.left = 0
		r.noBody = true
	}
	// A server's answer has a date (RFC 9110, section 6.6.1). One that is made here,
	// such as that a password is wrong or that live cannot be reached, gets it only
	// when it leaves, and would be sent in chunks were it flushed.
	r.flushesParts = !r.noBody && (eventStream(h) || r.left < 0 && h["Date"] != nil)
	if eventStream(h) {
		abandon(r.pair, compare.Stream)
	}
}

func eventStream(h http.Header) bool {
	t := h["Content-Type"]
	return len(t) > 0 && strings.HasPrefix(t[0], eventStreamType)
}

// Write passes b on, keeps it once the client has taken it, and flushes where there may
// be more to come that the client should not have to wait for.
func (r *recorder) Write(b []byte) (int, error) {
	if r.late != nil && !r.late.Stop() {
		awaitFlush(r)
	}
	r.late = nil
	if r.one != int64(len(b)) {
		return writePart(r, b)
	}
	n, err := r.rw.Write(b)
	if err == nil { // else the body is not whole, and never will be
		r.whole = bytes.Clone(b)
		r.one = -1
	}
	return n, err
}

// writePart is Write for a part of the body that is not all of it.
func writePart(r *recorder, b []byte) (int, error) {
	if !r.begun {
		r.WriteHeader(http.StatusOK)
		if r.late != nil {
			halt(r)
		}
	}
	n, err := r.rw.Write(b)
	if r.noBody { // the answer to a HEAD takes no body, whoever writes one
		return n, err
	}
	if err != nil {
		r.broken = true
	}
	if r.one > 0 {
		r.left = r.one
		r.one = -1
	}
	keepPart(r.pair, b, r.left)
	if r.left > 0 {
		r.left -= int64(n)
	}
	if r.flushesParts {
		http.NewResponseController(r.rw).Flush()
	} else if r.left != 0 {
		flushLater(r)
	}
	return n, err
}

// flushLater sees to it that what was written is flushed if live is silent for long:
// at once where the length is not known, as with ReverseProxy.
func flushLater(r *recorder) {
	if r.noLateFlush || r.late != nil {
		return
	}
	if r.flushesParts {
		r.late = startLate(r, 0)
	} else {
		r.late = startLate(r, flushDelay)
	}
}

// startLate starts the timer of a late flush. No flush is under way then.
func startLate(r *recorder, delay time.Duration) *time.Timer {
	r.flushed = make(chan bool, 1)
	return time.AfterFunc(delay, func() { lateFlush(r) })
}

// lateFlush runs in the timer's goroutine. A ResponseWriter that panics when it is
// flushed is none of the plugin's business, so nobody is told.
func lateFlush(r *recorder) {
	defer func() {
		recover()
		r.flushed <- true
	}()
	http.NewResponseController(r.rw).Flush()
}

// halt stops the timer of a late flush, or waits for the flush that it has begun. It
// reports whether what was written is still to be flushed.
func halt(r *recorder) bool {
	stopped := r.late.Stop()
	r.late = nil
	if !stopped {
		awaitFlush(r)
	}
	return stopped
}

func awaitFlush(r *recorder) {
	var token, ok bool
	token, ok = <-r.flushed
	_, _ = token, ok
}

// Hijack hands the connection over, as the client's ResponseWriter does.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.noLateFlush = true
	if r.late != nil {
		halt(r)
	}
	abandon(r.pair, compare.Stream)
	return http.NewResponseController(r.rw).Hijack()
}

// serveRecorded has live serve the request and records its answer.
func serveRecorded(p *pair, next http.Handler, rw http.ResponseWriter, req *http.Request) {
	r := &recorder{rw: rw, pair: p, req: req, one: -1}
	// Deferred, because live may end in a panic: net/http's way to cut a
	// connection, which passes through here unharmed.
	defer func() { end(r) }()
	next.ServeHTTP(r, req)
	r.returned = true
}

// end settles live's side when it has answered.
func end(r *recorder) {
	if r.whole == nil || !r.returned {
		endUnusual(r)
		return
	}
	p := r.pair
	if p.settled.CompareAndSwap(false, true) {
		p.live.Took = time.Since(p.request.At)
		p.live.Body = r.whole
		p.done <- true
	}
}

// endUnusual is end for anything but an answer whose body came in one piece.
func endUnusual(r *recorder) {
	if r.late != nil && halt(r) && r.returned && hasTrailers(r.rw.Header()) {
		// Or net/http would announce a length, and there would be no trailers.
		http.NewResponseController(r.rw).Flush()
	}
	// To a client that is gone it is not live that answers but its proxy, with 499.
	if !r.returned || r.broken || r.left > 0 || r.one > 0 || r.req.Context().Err() != nil {
		abandon(r.pair, compare.LiveBroken)
		return
	}
	if !r.begun && !r.pair.settled.Load() { // live wrote nothing: that is a 200
		r.pair.live.Status = http.StatusOK
		r.pair.live.Header = r.rw.Header().Clone()
	}
	settleAnswered(r.pair)
}

// hasTrailers reports whether there are trailers that were not announced.
func hasTrailers(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}
