package mirror

import (
	"bufio"
	"bytes"
	"context"
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
// of it. Traefik's own proxy lets it wait for the flushInterval of live's service,
// which cannot be known here: 100 ms by default, but it may be none.
const flushDelay = time.Millisecond

// madeHereDelay is how long a part of an answer of unknown length may wait that no
// server sent, by all appearances, but a handler in this Traefik: those are whole
// before that, and flush nothing.
const madeHereDelay = 10 * time.Millisecond

// A comparing middleware is one with compare, and bodyMode buffer: it records
// what live answers while the client gets it.
type comparing struct {
	m *middleware
}

// ServeHTTP is the live path. Nothing in it waits for the shadow. What a pair
// costs only a request pays that is mirrored and compared.
func (c *comparing) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	m := c.m
	if !compared(m) {
		m.ServeHTTP(rw, req)
		return
	}
	if !eligible(m, req) || m.inFlight.Add(1) > m.maxInFlight && !isProbe(m) {
		m.next.ServeHTTP(rw, req)
		return
	}
	var body []byte
	if m.mirrorBody && req.Body != http.NoBody {
		var err error
		if body, err = takeBody(req, m.maxBodySize); err != nil {
			if dropUntaken(m, rw, req, err) {
				m.next.ServeHTTP(rw, req)
			}
			return
		}
	}
	p := newPair(m, req)
	go send(m.shadow, outgoing(m.shadow, req), body, p)
	serveRecorded(p, m.next, rw, req)
}

// compared draws whether a request is in the share whose answers are compared.
func compared(m *middleware) bool {
	return m.compareShare >= 1 || rand.Float64() < m.compareShare
}

// A pair is live's and the shadow's answer to one request.
type pair struct {
	rules   *compare.Rules
	request compare.Request
	head    bool // the request is a HEAD: answers have no body

	// Live's side is settled once: when it is whole, or when it is clear that it
	// will not be compared. What it is may be read once done is closed.
	settled  atomic.Bool
	done     chan struct{}
	live     *compare.Answer
	skip     string // why the answers are not compared; "" where they are
	recorder *recorder
	uploaded atomic.Int64 // how long live took to read the body, in nanoseconds; bodyMode: stream

	// The shadow's side belongs to the shadow's goroutine.
	shadow *compare.Answer
	large  bool
}

// newPair returns the pair for a request whose answers are to be compared. Where
// the request says that its answer will stream, the pair is settled already.
func newPair(m *middleware, req *http.Request) *pair {
	p := &pair{
		rules:   m.shadow.rules,
		request: compare.Request{Method: req.Method, Path: req.URL.Path, At: time.Now()},
		head:    req.Method == http.MethodHead,
		done:    make(chan struct{}),
	}
	p.recorder = &recorder{pair: p}
	if streams(req.Header) {
		settle(p, nil, compare.Stream)
	}
	return p
}

// streams reports whether a request asks for an answer that goes on: server-sent
// events and nothing else, or a gRPC call.
func streams(h http.Header) bool {
	if accept := h["Accept"]; len(accept) > 0 && strings.HasPrefix(accept[0], "text/event-stream") && !strings.Contains(accept[0], ",") {
		return true
	}
	t := h["Content-Type"]
	return len(t) > 0 && grpcType.MatchString(t[0])
}

// settle ends live's side of the pair, the first time that it is called, which it
// reports. Closing a channel waits for nobody.
func settle(p *pair, live *compare.Answer, skip string) bool {
	if !p.settled.CompareAndSwap(false, true) {
		return false
	}
	p.live = live
	p.skip = skip
	close(p.done)
	return true
}

// abandon settles live's side before it is there, and sees to it that nothing of
// it is kept any more: the pair no longer counts as in flight.
func abandon(p *pair, why string) {
	if settle(p, nil, why) {
		go letGo(p.recorder)
	}
}

// letGo waits while the client takes a part of the answer.
func letGo(r *recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = true
	if r.answer != nil {
		r.answer.Body = nil
	}
}

// serveRecorded has live serve the request and records its answer.
func serveRecorded(p *pair, next http.Handler, rw http.ResponseWriter, req *http.Request) {
	if p.settled.Load() {
		next.ServeHTTP(rw, req)
		return
	}
	r := p.recorder
	r.rw = rw
	r.client = req.Context()
	r.began = time.Now()
	// Deferred, because live may end in a panic: net/http's way to cut a
	// connection, which passes through here unharmed.
	defer func() { end(r) }()
	next.ServeHTTP(r, req)
	r.returned = true
}

// A recorder is the ResponseWriter that live writes to where its answer is
// recorded. Everything goes straight to the client's.
//
// The interpreter shows compiled code none of its methods but those of
// http.ResponseWriter and Hijack, so nothing behind it can flush. It flushes by
// itself where Traefik's own proxy, a ReverseProxy, would: after each write of an
// answer that it expects to go on, and soon after a head or a part of one that is
// not followed by more. For a client there is no difference.
//
// Its methods run for every answer that is compared. As on the live path, they are
// short, and what they call are functions.
//
//yaegivet:allow it flushes by itself
type recorder struct {
	pair   *pair
	rw     http.ResponseWriter
	client context.Context // ends when the client is gone
	began  time.Time

	// mu is for the flush that comes late, for informational answers, which come
	// from a goroutine of the proxy's, and for what is kept to be let go of. Nobody
	// waits for anything with it but live, for its client.
	mu       sync.Mutex
	answer   *compare.Answer // nil until the head of the final answer
	left     int64           // of the body, in bytes; -1: unknown; 0 until the head
	goesOn   bool            // a proxy would flush each part of it
	bodyless bool
	dropped  bool        // the answer is not kept, or not any more
	pending  *time.Timer // to flush what was written; nil if all is
	over     bool
	returned bool // live's handler returned, and did not panic
	broken   bool // the client is gone
}

// Header returns the client's header map.
func (r *recorder) Header() http.Header {
	if r.goesOn {
		flushBeforeTrailers(r)
	}
	return r.rw.Header()
}

// flushBeforeTrailers is called when live asks for the header map after the head
// of an answer that goes on: it is for trailers, which net/http sends only
// behind a head that says that there is more to come.
func flushBeforeTrailers(r *recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending != nil {
		flush(r)
	}
}

// WriteHeader passes the head on and notes what it says.
func (r *recorder) WriteHeader(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answer == nil && (status >= 200 || status == http.StatusSwitchingProtocols) {
		begin(r, status)
	}
	r.rw.WriteHeader(status)
	if r.left != 0 {
		flushLater(r)
	}
}

// begin notes the head of the final answer.
func begin(r *recorder, status int) {
	// What answers then is not live but its proxy, with 499, to nobody.
	if r.client.Err() != nil {
		r.broken = true
	}
	h := r.rw.Header()
	kept := http.Header{}
	for _, name := range r.pair.rules.Kept {
		if values := h[name]; values != nil {
			kept[name] = values
		}
	}
	r.answer = &compare.Answer{Status: status, Header: kept}
	r.left = -1
	if length := h["Content-Length"]; len(length) > 0 {
		if n, err := strconv.ParseInt(length[0], 10, 64); err == nil {
			r.left = n
		}
	}
	if status < 200 || status == http.StatusNoContent || status == http.StatusNotModified || r.pair.head ||
		r.left < 0 || r.left > r.pair.rules.MaxBodySize || eventStream(h) {
		beginUnusual(r, h, status)
	}
}

// beginUnusual is for a head that announces anything but a body that is kept.
func beginUnusual(r *recorder, h http.Header, status int) {
	if r.pair.head || status == http.StatusNoContent || status == http.StatusNotModified {
		r.left = 0
		r.bodyless = true
	}
	// A server's answer has a date (RFC 9110, section 6.6.1). One that is made here,
	// such as that a password is wrong or that live cannot be reached, gets it only
	// when it leaves, and would be sent in chunks were it flushed.
	r.goesOn = !r.bodyless && (eventStream(h) || r.left < 0 && h["Date"] != nil)
	if status == http.StatusSwitchingProtocols || eventStream(h) {
		giveUp(r, compare.Stream)
	} else if r.left > r.pair.rules.MaxBodySize {
		giveUp(r, compare.TooLarge)
	}
}

func eventStream(h http.Header) bool {
	t := h["Content-Type"]
	return len(t) > 0 && strings.HasPrefix(t[0], "text/event-stream")
}

// giveUp settles the pair before live has answered: its answer is not kept.
func giveUp(r *recorder, why string) {
	r.dropped = true
	r.answer.Body = nil
	settle(r.pair, nil, why)
}

// Write passes b on, keeps it, and flushes where there may be more to come that
// the client should not have to wait for.
func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answer == nil {
		begin(r, http.StatusOK)
	}
	n, err := r.rw.Write(b)
	if err != nil && !r.bodyless { // the answer to a HEAD takes no body, whoever writes one
		r.broken = true
	}
	if !r.dropped {
		keepPart(r, b)
	}
	if r.left != 0 {
		flushPart(r, n)
	}
	return n, err
}

// keepPart keeps a part of the body, and gives the pair up where there is too much.
func keepPart(r *recorder, b []byte) {
	a := r.answer
	if a.Body == nil && r.left == int64(len(b)) {
		a.Body = bytes.Clone(b) // it is all of it
	} else if !r.bodyless {
		appendPart(r, b)
	}
}

func appendPart(r *recorder, b []byte) {
	a := r.answer
	if int64(len(a.Body)+len(b)) > r.pair.rules.MaxBodySize {
		giveUp(r, compare.TooLarge)
		return
	}
	if r.pair.settled.Load() { // it took too long
		giveUp(r, compare.LiveSlow)
		return
	}
	if a.Body == nil && r.left > 0 {
		a.Body = make([]byte, 0, r.left)
	}
	a.Body = append(a.Body, b...)
}

// flushPart flushes after n bytes of the body, or sees to it, unless they are the
// last. mu is held.
func flushPart(r *recorder, n int) {
	if r.left > 0 {
		r.left -= int64(n)
	}
	if r.goesOn {
		flush(r)
	} else if r.left != 0 {
		flushLater(r)
	}
}

// flush sends what was written on to the client. mu is held.
func flush(r *recorder) {
	if r.pending != nil {
		r.pending.Stop()
		r.pending = nil
	}
	http.NewResponseController(r.rw).Flush()
}

// flushLater flushes unless that is done before, or the answer ends: at once where
// it is expected to go on, as a ReverseProxy does. mu is held.
func flushLater(r *recorder) {
	if r.pending != nil {
		return
	}
	delay := flushDelay
	if r.goesOn {
		delay = 0
	} else if r.left < 0 {
		delay = madeHereDelay
	}
	r.pending = time.AfterFunc(delay, func() { flushNow(r) })
}

func flushNow(r *recorder) {
	// It runs in a goroutine of its own, where a panic would end Traefik.
	defer func() { recover() }()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over && r.pending != nil {
		flush(r)
	}
}

// Hijack hands the connection over, as the client's ResponseWriter does.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	settle(r.pair, nil, compare.Stream)
	return http.NewResponseController(r.rw).Hijack()
}

// end settles live's side when it has answered.
func end(r *recorder) {
	r.mu.Lock()
	r.over = true
	if r.pending != nil {
		endPending(r)
	}
	if r.answer == nil && r.returned {
		begin(r, http.StatusOK) // live wrote nothing: that is a 200
	}
	r.mu.Unlock()
	if !r.returned || r.broken || r.left > 0 {
		settle(r.pair, nil, compare.LiveBroken)
		return
	}
	r.answer.Took = time.Since(r.began) - time.Duration(r.pair.uploaded.Load())
	settle(r.pair, r.answer, "")
}

// endPending ends the wait for a flush. mu is held.
func endPending(r *recorder) {
	if r.returned && hasTrailers(r.rw.Header()) {
		flush(r) // or net/http would announce a length, and there would be none
		return
	}
	r.pending.Stop()
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

// awaitAnswer waits until live's side is settled, and gives it up when that takes
// longer than the shadow may take.
func awaitAnswer(p *pair, timeout time.Duration) {
	if p.settled.Load() {
		<-p.done // what was settled can be read now
		return
	}
	giveUp := time.AfterFunc(timeout, func() { abandon(p, compare.LiveSlow) })
	<-p.done
	giveUp.Stop()
}

// keep reads the shadow's answer to its end, as drain does, and keeps it.
func (p *pair) keep(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return drain(res)
	}
	// One byte above the limit tells too large from complete. Not a bytes.Buffer,
	// which makes room for twice of what it has.
	kept, err := io.ReadAll(io.LimitReader(res.Body, p.rules.MaxBodySize+1))
	if err != nil {
		res.Body.Close()
		return err
	}
	n := int64(len(kept))
	if p.large = n > p.rules.MaxBodySize; p.large {
		if err = drain(res); err != nil {
			return err
		}
		n += res.ContentLength
	} else {
		res.Body.Close()
	}
	res.ContentLength = n
	p.shadow = &compare.Answer{Status: res.StatusCode, Header: res.Header, Body: kept}
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
	// Where the shadow's side is nothing to compare, there is no need to wait.
	if err != nil {
		abandon(p, compare.ShadowFailed)
	} else if p.large {
		abandon(p, compare.TooLarge)
	}
	awaitAnswer(p, s.timeout)
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
