package mirror

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

// comparer is the taker where answers are compared, with bodyMode buffer. It serves the
// client itself, through a recorder, but for the few requests that are not compared.
func comparer(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	withBody := bodyComparer(m)
	bodiless := bodilessComparer(m)
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Body == http.NoBody {
			return bodiless(rw, req)
		}
		return withBody(rw, req)
	}
}

// bodilessComparer is comparer for requests without a body.
func bodilessComparer(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	next := m.next
	rules := m.shadow.rules
	intake := m.shadow.intake
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Header["Upgrade"] != nil || req.Method == http.MethodConnect {
			return compareUnusual(m, rw, req)
		}
		if strings.HasPrefix(req.Header.Get("Accept"), eventStreamType) {
			return compareUnusual(m, rw, req)
		}
		p := &pair{rules: rules, most: rules.MaxBodySize, done: make(chan bool, 1), request: compare.Request{Method: req.Method, Path: req.URL.Path, At: time.Now()}}
		if req.Method == http.MethodHead {
			p.most = -1
		}
		intake <- req.Clone(context.WithValue(background, pairKey, p))
		serveRecorded(p, next, rw, req)
		return true
	}
}

// bodyComparer is comparer for requests that have a body, or may have one. What it does
// itself is for those that bodySender does itself.
func bodyComparer(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	next := m.next
	rules := m.shadow.rules
	intake := m.shadow.intake
	most := m.shadow.smallBody
	excludedType := m.shadow.excluded
	if natively || !m.shadow.mirrorBody {
		most = 0
	}
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.ContentLength <= 0 || req.ContentLength > most || req.Body == nil || delicate[reflect.TypeOf(req.Body)] ||
			req.Header["Upgrade"] != nil || req.Method == http.MethodConnect || excludedType.MatchString(req.Header.Get("Content-Type")) ||
			strings.HasPrefix(req.Header.Get("Accept"), eventStreamType) {
			return compareUnusual(m, rw, req)
		}
		body, err := readBody(req, most)
		if err != nil {
			return notTaken(m, rw, req, body, err)
		}
		p := &pair{rules: rules, most: rules.MaxBodySize, done: make(chan bool, 1), request: compare.Request{Method: req.Method, Path: req.URL.Path, At: time.Now(), Body: body}}
		out := req.Clone(context.WithValue(background, pairKey, p))
		out.Body = io.NopCloser(bytes.NewReader(body))
		intake <- out
		serveRecorded(p, next, rw, req)
		return true
	}
}

// compareUnusual does what bodyComparer's function does for any request.
func compareUnusual(m *middleware, rw http.ResponseWriter, req *http.Request) bool {
	body, answered, taken := takeBody(m, rw, req)
	if !taken {
		return answered
	}
	p := newPair(m.shadow.rules, req)
	if streams(req.Header) {
		abandon(p, compare.Stream)
	}
	p.request.Body = body
	m.shadow.intake <- copyOf(req, body, context.WithValue(contextFor(req, body), pairKey, p))
	if p.settled.Load() {
		return false
	}
	serveRecorded(p, m.next, rw, req)
	return true
}

// The reasons for which requests have no copy that are their endpoint's: as long as
// they are dropped it is not known how the shadow answers there.
const (
	droppedLarge      = "too_large"
	droppedUnread     = "body_error"
	droppedIncomplete = "stream_incomplete"
)

// dropRequest counts a request with a place that is not mirrored, and gives the place
// back. Where the reason is its endpoint's, the verdict hears of it.
func dropRequest(s *shadow, req *http.Request, reason *atomic.Int64) {
	notMirrored(s.mirror, reason)
	if s.rules != nil {
		noteReason(s, req, reason)
	}
}

func noteReason(s *shadow, req *http.Request, reason *atomic.Int64) {
	counts := s.mirror.counts
	if reason == &counts.large {
		noteDropped(s, req, droppedLarge)
	} else if reason == &counts.incomplete {
		noteDropped(s, req, droppedIncomplete)
	} else if reason == &counts.full && s.sequencer != nil {
		lose(s.sequencer, req)
	}
}

// noteDropped tells the verdict of a request that has no copy, where answers are
// compared. It is called on the live path, which must not wait for the verdict's lock.
func noteDropped(s *shadow, req *http.Request, reason string) {
	if s.rules != nil {
		if s.sequencer != nil {
			lose(s.sequencer, req)
		}
		go tellDropped(s.mirror, req.Method, req.URL.Path, reason)
	}
}

func tellDropped(m *mirror, method, path, reason string) {
	defer func() { m.counts.contain(recover()) }()
	m.verdict.Drop(method, path, reason)
}

// sharer has the share of the requests be compared that the options say.
func sharer(share float64, take, comparing func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if rand.Float64() < share {
			return comparing(rw, req)
		}
		return take(rw, req)
	}
}

// compared draws whether a request is in the share whose answers are compared.
func compared(m *middleware) bool {
	return m.compareShare >= 1 || rand.Float64() < m.compareShare
}

// A pair is live's and the shadow's answer to one request.
type pair struct {
	rules   *compare.Rules
	request compare.Request
	most    int64           // how much of live's body is kept, in bytes; -1: the request is a HEAD, whose answer has none
	live    compare.Answer  // what is kept of live's answer
	shadow  *compare.Answer // the worker's; nil until it has come

	// Live's side is settled once: when it is whole, or when it is clear that it will
	// not be compared. Whoever wins settled may write skip, and then puts a token into
	// done; whoever has seen it there may read live and skip.
	settled atomic.Bool
	done    chan bool
	skip    string // why the answers are not compared; "" where they are

	// mu guards live.Body while live is still answering. It is never held over anything
	// that can wait, so that whoever gives the pair up frees it at once. The rest of
	// live is live's goroutine's until the pair is settled.
	mu sync.Mutex

	// Of a body that comes in several parts: how many bytes there were, and the sum of one
	// that is too large to be kept; nil: there is none. live's goroutine's.
	size int64
	sum  *maphash.Hash

	uploaded time.Duration // how long live took to read the body; bodyMode: stream. Set before the copy is handed over

	third *third // the control's part; nil: there is none. The worker's

	unfit string // why the shadow's answer, though it is one, is not compared; "" where it is. The worker's; before that the dispatcher's
}

// pairKey is where a copy's context has its pair. A pointer, because the interpreter
// erases the types of keys.
var pairKey = new(int)

// pairOf returns the pair that the copy is a part of; nil if there is none.
func pairOf(out *http.Request) *pair {
	p, ok := out.Context().Value(pairKey).(*pair)
	if !ok {
		return nil
	}
	return p
}

// newPair returns the pair for a request whose answers are to be compared. Where most
// requests pass, its few lines are written out: a call would cost twice as much.
func newPair(rules *compare.Rules, req *http.Request) *pair {
	p := &pair{rules: rules, most: rules.MaxBodySize, done: make(chan bool, 1), request: compare.Request{Method: req.Method, Path: req.URL.Path, At: time.Now()}}
	if req.Method == http.MethodHead {
		p.most = -1
	}
	return p
}

// eventStreamType is the content type of server-sent events.
const eventStreamType = "text/event-stream"

// streams reports whether a request asks for an answer that goes on: server-sent
// events and nothing else, or a call whose answer may come before its end.
func streams(h http.Header) bool {
	if accept := h.Get("Accept"); strings.HasPrefix(accept, eventStreamType) && !strings.Contains(accept, ",") {
		return true
	}
	return earlyAnswered.MatchString(h.Get("Content-Type"))
}

// keepPart keeps a part of a body that comes in several. announced bytes were still to
// come; -1: nobody knows. Of a body that is too large to be kept its sum is kept; of one
// that is larger than what is read of the shadow's, not even that.
func keepPart(p *pair, b []byte, announced int64) {
	before := p.size
	p.size += int64(len(b))
	if tooMuch(p, p.size) {
		settleLarge(p)
		return
	}
	p.mu.Lock()
	if !p.settled.Load() {
		if p.size > p.rules.MaxBodySize || before+announced > p.rules.MaxBodySize {
			sumPart(p, b)
		} else {
			appendPart(p, b, announced)
		}
	}
	p.mu.Unlock()
}

// appendPart makes room for all of the body, where its length is known. mu is held.
func appendPart(p *pair, b []byte, announced int64) {
	if p.live.Body == nil && announced > 0 {
		p.live.Body = make([]byte, 0, announced)
	}
	p.live.Body = append(p.live.Body, b...)
}

// sumPart adds a part to the sum of a body that is not kept. mu is held.
func sumPart(p *pair, b []byte) {
	if p.sum == nil {
		p.sum = compare.NewSum()
		p.sum.Write(p.live.Body)
		p.live.Body = nil
	}
	p.sum.Write(b)
}

// settle ends live's side of the pair, the first time that it is called, which it
// reports. The channel has room for the one token.
func settle(p *pair, skip string) bool {
	if !p.settled.CompareAndSwap(false, true) {
		return false
	}
	p.skip = skip
	p.done <- true
	return true
}

// settleAnswered ends live's side with its whole answer.
func settleAnswered(p *pair) {
	if p.settled.CompareAndSwap(false, true) {
		p.live.Took = time.Since(p.request.At)
		if p.sum != nil {
			p.live.Size = p.size
			p.live.Sum = p.sum.Sum64()
		}
		p.done <- true
	}
}

// tooMuch reports whether a body of n bytes is larger than what is read of the shadow's.
func tooMuch(p *pair, n int64) bool { return n > maxAnswer && n > p.rules.MaxBodySize }

// settleLarge ends live's side with an answer that goes on, of which it is known that it is
// too large. The place in flight is not kept until its end, so it has taken longer than
// is noted.
func settleLarge(p *pair) {
	if p.settled.CompareAndSwap(false, true) {
		forgetBody(p)
		p.live.Took = time.Since(p.request.At)
		p.live.Size = -1
		p.done <- true
	}
}

// abandon settles live's side before it is there, or because it will never be, and
// frees what was kept of it. It waits for nobody, whatever live and its client do.
func abandon(p *pair, why string) {
	if settle(p, why) {
		forgetBody(p)
	}
}

// forgetBody frees what is kept of live's body. What live still writes is not kept: see
// keepPart.
func forgetBody(p *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live.Body = nil
}

// awaitAnswer waits until live's side is settled, and gives it up when that takes
// longer than the shadow may take.
func awaitAnswer(p *pair, timeout time.Duration) {
	var giveUp *time.Timer
	if len(p.done) == 0 {
		giveUp = time.AfterFunc(timeout, func() { abandonSlow(p) })
	}
	var token, ok bool
	token, ok = <-p.done
	p.done <- token && ok // for whoever else asks
	if giveUp != nil {
		giveUp.Stop()
	}
}

// abandonSlow runs in the timer's goroutine, and has nothing to tell of a panic.
func abandonSlow(p *pair) {
	defer func() { recover() }()
	abandon(p, compare.LiveSlow)
}

// keep reads the shadow's answer to its end, as drain does, and keeps it, or its sum if it
// is too large.
func (p *pair) keep(res *http.Response) (bool, error) {
	// One byte above the limit tells too large from complete. Not a bytes.Buffer,
	// which makes room for twice of what it has.
	kept, err := io.ReadAll(io.LimitReader(res.Body, p.rules.MaxBodySize+1))
	if err != nil {
		return false, err
	}
	answer := &compare.Answer{Status: res.StatusCode, Header: res.Header, Body: kept}
	whole := true
	n := int64(len(kept))
	if n > p.rules.MaxBodySize {
		sum := compare.NewSum()
		sum.Write(kept)
		more, err := io.CopyN(sum, res.Body, maxAnswer)
		n += more
		answer.Body = nil
		answer.Size = n
		answer.Sum = sum.Sum64()
		if err == nil { // there may be more
			whole = false
			answer.Size = -1
		} else if err != io.EOF {
			return false, err
		}
	}
	res.ContentLength = n
	p.shadow = answer
	return whole, nil
}

// sameBody reports whether the bodies are the same. It is a function of its own so that
// no worker's frame holds live's, which may be large, until the next copy comes.
func sameBody(p *pair, shadow []byte) bool { return bytes.Equal(p.live.Body, shadow) }

// mostUnneeded is how many names of headers a worker remembers.
const mostUnneeded = 200

// sameHeaders reports whether two answers differ in no header that is compared, though not
// all their lines are the same. Headers that are not compared it adds to unneeded, so that
// a worker that leaves those out need not ask again.
func sameHeaders(r *compare.Rules, live, shadow http.Header, unneeded map[string]bool) bool {
	for _, h := range []http.Header{live, shadow} {
		for name := range h {
			if len(unneeded) < mostUnneeded && !r.NeedsHeader(name) {
				unneeded[name] = true
			}
		}
	}
	return r.SameHeaders(live, shadow)
}

// judge compares the pair's answers, the shadow's having taken that long or not come
// for the reason err, and adds what it finds to the verdict. It runs in the worker's
// goroutine, which has seen itself whether both are the same to the byte. A mistake in
// it must not look as if the shadow had failed.
func judge(s *shadow, p *pair, request http.Header, took time.Duration, err error) {
	if p.shadow != nil {
		p.shadow.Took = took
	}
	finding := compare.Skip(compare.Internal)
	unanswered := false
	defer func() {
		if recover() != nil {
			finding = compare.Skip(compare.Internal)
			unanswered = false
		}
		t := tripleOf(p, request, finding)
		if unanswered && s.maxPause > 0 { // else it is never left alone, and nothing is taken back
			s.unanswered.add(s.mirror, p, finding, t)
		} else {
			addJudged(s.mirror, p, finding, t)
		}
		// An idle worker still holds the pair.
		forgetBody(p)
		p.request.Body = nil
		p.shadow = nil
	}()
	missing := err != nil && leftUnanswered(s, p, err)
	// Where the shadow's side is nothing to compare, there is no need to wait.
	if err != nil && !missing {
		abandon(p, compare.ShadowFailed)
	} else if p.unfit != "" {
		abandon(p, p.unfit)
	}
	awaitAnswer(p, s.timeout)
	if p.third != nil {
		awaitControl(p.third, s.timeout)
	}
	switch {
	case p.skip != "":
		finding = compare.Skip(p.skip)
	case p.unfit == compare.SequenceLost:
		finding = compare.Skip(p.unfit)
	case missing && noUpstream(&p.live):
		finding = compare.Skip(compare.ShadowFailed)
	case missing:
		p.live.Took -= p.uploaded
		p.shadow = &compare.Answer{Took: took}
		finding = compare.NoAnswer(&p.live)
		unanswered = true
	case err != nil:
		finding = compare.Skip(compare.ShadowFailed)
	case p.unfit != "":
		finding = compare.Skip(p.unfit)
	case p.live.Status != p.shadow.Status && compare.IsConditional(request, p.live.Status, p.shadow.Status):
		finding = compare.Skip(compare.Conditional)
	default:
		p.live.Took -= p.uploaded
		finding = compare.Judge(p.rules, &p.live, p.shadow)
	}
}

// addJudged adds a pair to the verdict, with what the control has answered if there is one.
func addJudged(m *mirror, p *pair, finding *compare.Finding, t *compare.Triple) {
	if t == nil {
		m.verdict.Add(p.rules, &p.request, &p.live, p.shadow, finding)
	} else {
		m.verdict.AddTriple(p.rules, &p.request, &p.live, p.shadow, finding, t)
	}
}

// unanswered are the latest requests that the shadow has taken and not answered. If it
// answers another after them, that is how it answers. If a pause begins, it is down, and
// they say nothing of it: the verdict takes them back.
type unanswered struct {
	mu   sync.Mutex // held over the verdict's lock, so that nothing is taken back before it is there
	list []unansweredPair
	down bool // it is left alone, and has answered nobody since

	// hung is the end of the last exchange in which it answered no later request at all.
	// What came before that and timed out is part of the same.
	hung time.Time
}

type unansweredPair struct {
	rules   *compare.Rules
	request compare.Request
	status  int // live's
}

// mostUnanswered is how many are remembered. A pause begins long before there are as many.
const mostUnanswered = 100

// add adds a pair without an answer to the verdict. It runs in a worker's goroutine, like
// the others.
func (u *unanswered) add(m *mirror, p *pair, finding *compare.Finding, t *compare.Triple) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.down || len(u.list) >= mostUnanswered {
		finding = compare.Skip(compare.ShadowFailed)
	} else {
		request := p.request
		request.Body = nil
		u.list = append(u.list, unansweredPair{rules: p.rules, request: request, status: p.live.Status})
	}
	addJudged(m, p, finding, t)
}

// alone reports whether a request that came at a moment, and has timed out now, is one of
// few: others that came later were answered.
func (u *unanswered) alone(came, now time.Time, others bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !others {
		u.hung = now
	}
	return others && came.After(u.hung)
}

// stand is for when the shadow has answered.
func (u *unanswered) stand() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = nil
	u.down = false
}

// retract is for when it is down.
func (u *unanswered) retract(m *mirror) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.list {
		p := &u.list[i]
		m.verdict.Retract(p.rules, &p.request, p.status)
	}
	u.list = nil
	u.down = true
}

// noUpstream reports whether an answer is not live's own, which has not answered either:
// what Traefik makes has no date.
func noUpstream(live *compare.Answer) bool {
	return live.Status == http.StatusBadGateway || live.Status == http.StatusGatewayTimeout || live.Status >= 500 && live.Header["Date"] == nil
}

// neverSent matches what http.Transport says of a request that the shadow did not get.
var neverSent = regexp.MustCompile(`handshake|^net/http: (invalid|can't write)`)

// leftUnanswered reports whether the shadow has taken the request and not answered it, or
// not to the end. What never reached it says nothing of it. Neither does a time-out that
// live would not have kept either, or in which the shadow answered no later request: it
// hangs, whatever it is asked.
func leftUnanswered(s *shadow, p *pair, err error) bool {
	var network *net.OpError
	if errors.Is(err, errLeftAlone) || errors.Is(err, errHead) || errors.As(err, &network) && network.Op == "dial" || neverSent.MatchString(err.Error()) {
		return false
	}
	switch failureKind(err) {
	case report.Timeout:
		others := s.mirror.verdict.AnsweredSince(p.request.At)
		return s.unanswered.alone(p.request.At, time.Now(), others) && len(p.done) > 0
	case report.Protocol:
		return true
	}
	return false
}
