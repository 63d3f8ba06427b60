package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// The control is a second instance of live's version. It gets what the shadow gets, so
// that what live and the control differ in is known to differ without a release.
//
// It is a shadow like any other, with workers, connections and a pause of its own, but
// without options, counts in the report or a verdict of its own: the worker of the shadow
// that has a copy in hand makes another of it for the control, before it sends its own,
// and keeps its place in flight until both have answered. Live knows nothing of it.

// newControl returns the control of a mirror's shadow; nil if the options have none.
func newControl(m *mirror, o *options) *shadow {
	if o.control == nil || o.compare == nil {
		return nil
	}
	own := &mirror{name: m.name, counts: &counts{}, verdict: compare.NewVerdict()}
	own.counts.name = m.name
	own.counts.ofControl = true
	own.counts.interval = summaryInterval
	own.counts.since = time.Now()
	as := *o
	as.target = o.control
	as.control = nil
	as.sequenceBy = "" // the shadow's workers hand copies over in their order
	c := prepareShadow(own, &as)
	c.isControl = true
	return c
}

// controlOf returns the control of a shadow; nil if there is none. A shadow refers to it by
// an interface, for the interpreter gets types wrong that refer back to themselves in two
// ways.
func controlOf(s *shadow) *shadow {
	c, ok := s.control.(*shadow)
	if !ok {
		return nil
	}
	return c
}

// A third is the control's part of a pair. It is settled once, by the worker that asked
// the control, or by who has waited for that for too long. Whoever wins settled may write
// what is next, and then puts a token into done; whoever has seen it there may read it.
type third struct {
	settled atomic.Bool
	done    chan bool
	answer  *compare.Answer // nil: there is none; without a status: it has taken the request and not answered it
	fate    string          // one of compare's: see [compare.Triple]
}

// settleThird ends the control's part, the first time that it is called.
func settleThird(t *third, answer *compare.Answer, fate string) {
	if t.settled.CompareAndSwap(false, true) {
		t.answer = answer
		t.fate = fate
		t.done <- true
	}
}

// askControl has the control get what the shadow is about to get, if it is to have it. It
// runs in a worker of the shadow's, before anything of the copy is changed, and waits for
// nothing: what is under way to the control is never more than there is room for.
func askControl(s *shadow, out *http.Request) {
	p := pairOf(out)
	if p == nil || !s.controlMethods[out.Method] || notCompared(p) {
		return
	}
	body := p.request.Body
	if out.Body != nil && out.Body != http.NoBody && body == nil || len(out.Trailer) > 0 {
		return // its bytes are not at hand
	}
	p.third = &third{done: make(chan bool, 1)}
	c := controlOf(s)
	if len(c.pause.leftAlone) > 0 && !c.pause.turn.Load() {
		c.mirror.counts.paused.Add(1)
		settleThird(p.third, nil, compare.ControlPaused)
		return
	}
	if c.retired.Load() {
		settleThird(p.third, nil, compare.ControlFailed)
		return
	}
	if c.mirror.inFlight.Add(1) > 2*c.maxInFlight {
		releasePlace(c.mirror)
		settleThird(p.third, nil, compare.ControlFailed)
		return
	}
	// A pair of its own, of which live's side is settled: the control's worker has nothing
	// to compare.
	own := &pair{rules: p.rules, most: p.most, done: make(chan bool, 1), skip: compare.Internal, third: p.third, request: compare.Request{Method: p.request.Method, Path: p.request.Path}}
	own.settled.Store(true)
	own.done <- true
	again := out.Clone(context.WithValue(background, pairKey, own))
	if out.Body != nil && out.Body != http.NoBody {
		again.Body = io.NopCloser(bytes.NewReader(body))
	}
	c.copies <- again
}

// notCompared reports whether it is known already that the pair will not be compared.
func notCompared(p *pair) bool {
	if len(p.done) == 0 {
		return false
	}
	var token, ok bool
	token, ok = <-p.done
	p.done <- token && ok // for whoever else asks
	return p.skip != ""
}

// handControl settles the control's part of a pair: its answer is there, or is not, for
// the reason err. It runs in a worker of the control's.
func handControl(c *shadow, own *pair, res *http.Response, kept []byte, took time.Duration, err error) {
	answer := own.shadow
	own.shadow = nil
	switch {
	case errors.Is(err, errLeftAlone):
		settleThird(own.third, nil, compare.ControlPaused)
		return
	case err != nil && leftUnanswered(c, own, err):
		settleThird(own.third, &compare.Answer{Took: took}, compare.ControlFailed)
		return
	case err != nil || own.unfit != "":
		settleThird(own.third, nil, compare.ControlFailed)
		return
	}
	if answer == nil {
		answer = &compare.Answer{Status: res.StatusCode, Header: res.Header, Body: kept}
	}
	answer.Took = took
	settleThird(own.third, answer, compare.ControlAnswered)
}

// awaitControl waits until the control's part is settled. The control was asked before the
// shadow, and has no more time than that, so the wait ends without it only where a worker
// of the control's is missing.
func awaitControl(t *third, timeout time.Duration) {
	var giveUp *time.Timer
	if len(t.done) == 0 {
		giveUp = time.AfterFunc(timeout, func() { abandonControl(t) })
	}
	var token, ok bool
	token, ok = <-t.done
	t.done <- token && ok // for whoever else asks
	if giveUp != nil {
		giveUp.Stop()
	}
}

// abandonControl runs in the timer's goroutine, and has nothing to tell of a panic.
func abandonControl(t *third) {
	defer func() { recover() }()
	settleThird(t, nil, compare.ControlFailed)
}

// controlAgrees is asked of a pair that is the same to the byte, in what is compared. It
// waits for the control, and reports whether its answer is the same too, or there is none;
// and what became of it.
func controlAgrees(s *shadow, p *pair, unneeded map[string]bool) (same bool, fate string) {
	same = true
	fate = ""
	t := p.third
	awaitControl(t, s.timeout)
	fate = t.fate
	if a := t.answer; a != nil {
		same = a.Status == p.live.Status && a.Size == 0 && bytes.Equal(a.Body, p.live.Body) &&
			(reflect.DeepEqual(a.Header, p.live.Header) || sameHeaders(p.rules, p.live.Header, a.Header, unneeded))
	}
	return same, fate
}

// judgeControl compares live's answer with the control's, as judge does with the shadow's.
// request is the head of the request.
func judgeControl(p *pair, request http.Header) *compare.Triple {
	t := &compare.Triple{Fate: p.third.fate, Answer: p.third.answer}
	a := t.Answer
	if a == nil || a.Status == 0 {
		return t
	}
	if a.Status != p.live.Status && compare.IsConditional(request, p.live.Status, a.Status) {
		t.Fate = compare.ControlUnlike
		t.Answer = nil
		return t
	}
	t.Finding = compare.Judge(p.rules, &p.live, a)
	return t
}

// controlState is where the control is, whether it is left alone, and its last failure; "" if there is none.
func (s *shadow) controlState() (address string, paused bool, lastError string) {
	address = ""
	paused = false
	lastError = ""
	c := controlOf(s)
	if c == nil {
		return address, paused, lastError
	}
	address = c.address
	p := c.pause
	p.mu.Lock()
	paused = p.state != well
	p.mu.Unlock()
	counts := c.mirror.counts
	counts.mu.Lock()
	if counts.latest != nil {
		lastError = counts.tells(describe(counts.latest))
	}
	counts.mu.Unlock()
	return address, paused, lastError
}

// tripleOf returns what the control has answered to a pair that was judged; nil if there is
// no control. A mistake in comparing that costs the pair its control only.
func tripleOf(p *pair, request http.Header, finding *compare.Finding) *compare.Triple {
	if p.third == nil {
		return nil
	}
	t := &compare.Triple{Fate: compare.ControlFailed}
	if finding.Outcome != compare.Skipped {
		t = contained(p, request)
	}
	p.third = nil // an idle worker still holds the pair
	return t
}

// contained is judgeControl, and what it returns where that panics.
func contained(p *pair, request http.Header) (t *compare.Triple) {
	t = &compare.Triple{Fate: compare.ControlUnlike}
	defer func() { recover() }()
	t = judgeControl(p, request)
	return t
}
