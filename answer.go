package mirror

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// flushDelay is how long a part of an answer of known length may wait for more
// of it: as long as Traefik's own proxy lets it wait.
const flushDelay = 100 * time.Millisecond

// A comparing middleware is one with compare, and bodyMode buffer: it records
// what live answers while the client gets it.
type comparing struct {
	m *middleware
}

// ServeHTTP is the live path. Nothing in it waits for the shadow.
func (c *comparing) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	m := c.m
	p := newPair(m, req)
	if p == nil {
		m.ServeHTTP(rw, req)
		return
	}
	if eligible(m, req) && !handOverCompared(m, rw, req, p) {
		return
	}
	if !p.sent {
		m.next.ServeHTTP(rw, req)
		return
	}
	serveRecorded(p, m.next, rw, req)
}

// handOverCompared is handOver for a request whose answers are compared. It is
// a function of its own so that the others do not pay for it.
func handOverCompared(m *middleware, rw http.ResponseWriter, req *http.Request, p *pair) bool {
	if m.inFlight.Add(1) > m.maxInFlight && !isProbe(m) {
		return true
	}
	var body []byte
	if m.mirrorBody && req.Body != http.NoBody {
		var err error
		if body, err = takeBody(req, m.maxBodySize); err != nil {
			return dropUntaken(m, rw, req, err)
		}
	}
	p.sent = true
	go send(m.shadow, outgoing(m.shadow, req), body, p)
	return true
}

// A pair is live's and the shadow's answer to one request.
type pair struct {
	rules   *compare.Rules
	request compare.Request
	head    bool // the request is a HEAD: answers have no body
	sent    bool // the shadow gets the request

	// Live's side is settled once: when it is whole, or when it is clear that it
	// will not be compared. What it is may be read once done is closed.
	settled atomic.Bool
	done    chan struct{}
	live    *compare.Answer
	skip    string // why the answers are not compared; "" where they are

	// The shadow's side belongs to the shadow's goroutine.
	shadow *compare.Answer
	large  bool
}

// newPair returns the pair for a request whose answers are to be compared, and
// nil for one that is not in the share that is. Where the request says that its
// answer will stream, the pair is settled already.
func newPair(m *middleware, req *http.Request) *pair {
	if m.compareShare < 1 && rand.Float64() >= m.compareShare {
		return nil
	}
	p := &pair{
		rules:   m.shadow.rules,
		request: compare.Request{Method: req.Method, Path: req.URL.Path, At: time.Now()},
		head:    req.Method == http.MethodHead,
		done:    make(chan struct{}),
	}
	if streams(req.Header) {
		p.settle(nil, compare.Stream)
	}
	return p
}

// streams reports whether a request asks for an answer that goes on: server-sent
// events, or a gRPC call.
func streams(h http.Header) bool {
	if accept := h["Accept"]; len(accept) > 0 && strings.Contains(accept[0], "text/event-stream") {
		return true
	}
	t := h["Content-Type"]
	return len(t) > 0 && grpcType.MatchString(t[0])
}

// settle ends live's side of the pair, the first time that it is called. Closing
// a channel waits for nobody.
func (p *pair) settle(live *compare.Answer, skip string) {
	if p.settled.CompareAndSwap(false, true) {
		p.live = live
		p.skip = skip
		close(p.done)
	}
}

// serveRecorded has live serve the request and records its answer.
func serveRecorded(p *pair, next http.Handler, rw http.ResponseWriter, req *http.Request) {
	if p.settled.Load() {
		next.ServeHTTP(rw, req)
		return
	}
	r := &recorder{pair: p, rw: rw, began: time.Now()}
	// Deferred, because live may end in a panic: net/http's way to cut a
	// connection, which passes through here unharmed.
	defer func() { r.end() }()
	next.ServeHTTP(r, req)
	r.returned = true
}

// A recorder is the ResponseWriter that live writes to where its answer is
// recorded. Everything goes straight to the client's.
//
// The interpreter shows compiled code none of its methods but those of
// http.ResponseWriter and Hijack, so nothing behind it can flush. It flushes by
// itself where Traefik's own proxy, a ReverseProxy, would: after each write of an
// answer of unknown length, and soon after a head or a part of one that is not
// followed by more. For a client there is no difference.
//
//yaegivet:allow it flushes by itself
type recorder struct {
	pair  *pair
	rw    http.ResponseWriter
	began time.Time

	// mu is for the flush that comes late, and for informational answers, which
	// come from a goroutine of the proxy's. The shadow never holds it.
	mu       sync.Mutex
	answer   *compare.Answer // nil until the head of the final answer
	left     int64           // of the body, in bytes; -1: unknown
	bodyless bool
	pending  *time.Timer // to flush what was written; nil if all is
	over     bool
	returned bool // live's handler returned, and did not panic
	broken   bool // the client is gone
}

// Header returns the client's header map. Asked for it after the head has gone
// out, it is for trailers, which net/http sends only behind a head that says that
// there is more to come.
func (r *recorder) Header() http.Header {
	if r.answer != nil {
		r.mu.Lock()
		if r.pending != nil {
			r.flush()
		}
		r.mu.Unlock()
	}
	return r.rw.Header()
}

// WriteHeader passes the head on and notes what it says.
func (r *recorder) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if status >= 200 || status == http.StatusSwitchingProtocols {
		if r.answer == nil {
			r.begin(status)
		}
	}
	r.rw.WriteHeader(status)
	if r.answer != nil && r.left != 0 {
		r.flushLater()
	}
}

// begin notes the head of the final answer.
func (r *recorder) begin(status int) {
	h := r.rw.Header()
	r.answer = &compare.Answer{Status: status, Header: http.Header{}}
	for _, name := range r.pair.rules.Kept {
		if values := h[name]; values != nil {
			r.answer.Header[name] = values
		}
	}
	r.left = -1
	if r.pair.head || status == http.StatusNoContent || status == http.StatusNotModified {
		r.left = 0
		r.bodyless = true
	} else if length := h["Content-Length"]; len(length) > 0 {
		if n, err := strconv.ParseInt(length[0], 10, 64); err == nil {
			r.left = n
		}
	}
	if status == http.StatusSwitchingProtocols || eventStream(h) {
		r.pair.settle(nil, compare.Stream)
	} else if r.left > r.pair.rules.MaxBodySize {
		r.pair.settle(nil, compare.TooLarge)
	}
}

func eventStream(h http.Header) bool {
	t := h["Content-Type"]
	return len(t) > 0 && strings.HasPrefix(t[0], "text/event-stream")
}

// Write passes b on, keeps it, and flushes where there may be more to come that
// the client should not have to wait for.
func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answer == nil {
		r.begin(http.StatusOK)
	}
	n, err := r.rw.Write(b)
	if err != nil && !r.bodyless { // the answer to a HEAD takes no body, whoever writes one
		r.broken = true
	}
	if !r.pair.settled.Load() {
		r.keep(b)
	}
	if r.left < 0 {
		r.flush()
		return n, err
	}
	r.left -= int64(n)
	if r.left > 0 {
		r.flushLater()
	}
	return n, err
}

// keep keeps a part of the body, and gives the pair up where there is too much.
func (r *recorder) keep(b []byte) {
	if r.bodyless {
		return
	}
	if int64(len(r.answer.Body)+len(b)) > r.pair.rules.MaxBodySize {
		r.answer.Body = nil
		r.pair.settle(nil, compare.TooLarge)
		return
	}
	if r.answer.Body == nil && r.left > 0 {
		r.answer.Body = make([]byte, 0, r.left)
	}
	r.answer.Body = append(r.answer.Body, b...)
}

// flush sends what was written on to the client. mu is held.
func (r *recorder) flush() {
	if r.pending != nil {
		r.pending.Stop()
		r.pending = nil
	}
	http.NewResponseController(r.rw).Flush()
}

// flushLater flushes unless that is done before, or the answer ends: soon where
// its length is unknown, as a ReverseProxy does, which then expects it to
// stream. mu is held.
func (r *recorder) flushLater() {
	if r.pending != nil {
		return
	}
	delay := flushDelay
	if r.left < 0 {
		delay = 0
	}
	r.pending = time.AfterFunc(delay, func() { r.flushNow() })
}

func (r *recorder) flushNow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && r.pending != nil {
		r.flush()
	}
}

// Hijack hands the connection over, as the client's ResponseWriter does.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.pair.settle(nil, compare.Stream)
	return http.NewResponseController(r.rw).Hijack()
}

// end settles live's side when it has answered.
func (r *recorder) end() {
	r.mu.Lock()
	r.over = true
	if r.pending != nil {
		r.pending.Stop()
	}
	r.mu.Unlock()
	if !r.returned || r.broken || r.left > 0 && !r.bodyless {
		r.pair.settle(nil, compare.LiveBroken)
		return
	}
	if r.answer == nil { // live wrote nothing: that is a 200
		r.answer = &compare.Answer{Status: http.StatusOK}
	}
	r.answer.Took = time.Since(r.began)
	r.pair.settle(r.answer, "")
}

// awaitAnswer waits until live's side is settled, and gives it up when that takes
// longer than the shadow may take.
func (p *pair) awaitAnswer(timeout time.Duration) {
	giveUp := time.AfterFunc(timeout, func() { p.settle(nil, compare.LiveSlow) })
	<-p.done
	giveUp.Stop()
}

// keep reads the shadow's answer to its end, as drain does, and keeps it.
func (p *pair) keep(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return drain(res)
	}
	// One byte above the limit tells too large from complete.
	kept := &bytes.Buffer{}
	n, err := io.CopyN(kept, res.Body, p.rules.MaxBodySize+1)
	if err != nil && err != io.EOF {
		res.Body.Close()
		return err
	}
	if err = drain(res); err != nil {
		return err
	}
	res.ContentLength += n
	p.large = n > p.rules.MaxBodySize
	p.shadow = &compare.Answer{Status: res.StatusCode, Header: res.Header, Body: kept.Bytes()}
	return nil
}

// judge compares the pair's answers and adds what it finds to the verdict. It
// runs in the shadow's goroutine, and a mistake in it must not look as if the
// shadow had failed.
func judge(s *shadow, p *pair, err error) {
	finding := compare.Skip(compare.Internal)
	defer func() {
		if recover() != nil {
			finding = compare.Skip(compare.Internal)
		}
		s.mirror.verdict.Add(p.rules, &p.request, p.live, p.shadow, finding)
	}()
	p.awaitAnswer(s.timeout)
	switch {
	case p.skip != "":
		finding = compare.Skip(p.skip)
	case err != nil:
		finding = compare.Skip(compare.ShadowFailed)
	case p.large:
		finding = compare.Skip(compare.TooLarge)
	default:
		finding = compare.Judge(p.rules, p.live, p.shadow)
	}
}
