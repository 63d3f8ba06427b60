package mirror

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/report"
)

const (
	// failuresToPause is how many exchanges in a row have to fail before a
	// shadow counts as sick.
	failuresToPause = 10

	// firstPause is how long a sick shadow is left alone before it is tried again.
	// Each further wait is twice as long, up to the option maxPause. So is the first
	// of a pause that begins within forgetPauses of the end of the one before: a
	// shadow that comes and goes is left alone for longer and longer.
	firstPause   = time.Second
	forgetPauses = time.Minute

	// pauseTick is how often it is looked whether the time of a probe has come,
	// while any shadow is left alone.
	pauseTick = firstPause / 10
)

// A sign is a flag that is up while there is a token in it. To look at it is to ask
// for its length. Interpreted, that costs the live path a third of what an atomic's
// Load does, and a worker's loop nothing at all. Whoever puts it up or takes it down
// holds the lock that guards it, so that neither ever waits.
type sign chan bool

func (s sign) put() {
	if len(s) == 0 {
		s <- true
	}
}

func (s sign) take() {
	var token, ok bool
	if len(s) > 0 {
		token, ok = <-s
	}
	_, _ = token, ok
}

// The states of a shadow.
const (
	well    = "well"
	waiting = "waiting" // left alone until the time of the next probe
	probing = "probing" // a copy may try whether it is well again, or is trying it
)

// A pause leaves a sick shadow alone. From time to time one copy, the probe, is sent
// all the same, and with the first that is answered the pause ends.
//
// The probe is the copy that a worker has in hand when it takes the turn. Until then
// any request may become it; so none can hold the turn and not be sent, and what live
// or the client do with the request does not matter to it.
type pause struct {
	// leftAlone is up while the state is not well: the live path looks at it.
	// troubled is up in that case too, and after a failure: then a worker has to
	// say how each of its exchanges ended. Both are changed with mu held.
	leftAlone sign
	troubled  sign

	// turn is true while a copy may become the probe.
	turn atomic.Bool

	// begun is how many pauses have begun: what has waited since before one is not sent.
	begun atomic.Int64

	mu       sync.Mutex
	state    string
	failures int           // in a row, while it is well
	began    time.Time     // the pause
	ended    time.Time     // the last one
	length   time.Duration // of the wait for the next probe, or of the last there was
	due      time.Time     // when the next probe may be sent
	told     time.Time     // when the last pause that the log tells of began
	tells    bool          // this pause is one of those
}

func newPause() *pause {
	return &pause{state: well, leftAlone: make(sign, 1), troubled: make(sign, 1)}
}

// answered notes that the shadow has answered at least with a head. probe says that
// this was the probe; other exchanges that end while the shadow is left alone began
// before, and say nothing about how it is now. It runs in a worker's goroutine.
func (s *shadow) answered(probe bool, now time.Time) {
	p := s.pause
	line := ""
	p.mu.Lock()
	if p.state == well {
		p.failures = 0
		p.troubled.take()
	} else if probe {
		p.state = well
		p.failures = 0
		p.ended = now
		p.leftAlone.take()
		p.troubled.take()
		if p.tells {
			line = fmt.Sprintf("the shadow answers again and is mirrored to, after %s", now.Sub(p.began).Round(time.Millisecond))
		}
	}
	p.mu.Unlock()
	if line != "" {
		s.mirror.counts.print(line)
	}
}

// failed notes an exchange in which not even the head of an answer came. After too
// many in a row the shadow is left alone, and after a probe for longer. It reports whether
// the shadow is left alone. It runs in a worker's goroutine.
func (s *shadow) failed(probe bool, err error, now time.Time) bool {
	if s.retired.Load() {
		return false
	}
	p := s.pause
	line := ""
	p.mu.Lock()
	if p.state == well {
		p.failures++
		p.troubled.put()
		if p.failures >= failuresToPause && s.maxPause > 0 {
			line = p.begin(s.maxPause, err, now)
			await(s)
		}
	} else if probe {
		p.wait(2*p.length, s.maxPause, now)
		await(s)
	}
	alone := p.state != well
	p.mu.Unlock()
	if line != "" {
		s.mirror.counts.print(line)
	}
	return alone
}

// notSent gives the turn back that a copy has taken which cannot be sent: the next may
// have it. It runs in a worker's goroutine.
func (s *shadow) notSent() {
	s.pause.turn.Store(true)
}

// begin has the shadow be left alone from now on, and returns the line that tells of
// it; "" if the log has told of another pause not long ago. mu is held.
func (p *pause) begin(most time.Duration, err error, now time.Time) string {
	length := firstPause
	if !p.ended.IsZero() && now.Sub(p.ended) < forgetPauses {
		length = 2 * p.length
	}
	p.began = now
	p.begun.Add(1)
	p.leftAlone.put()
	p.wait(length, most, now)
	p.tells = p.told.IsZero() || now.Sub(p.told) >= summaryInterval
	if !p.tells {
		return ""
	}
	p.told = now
	return fmt.Sprintf("the shadow failed %d times in a row and is left alone (paused), but for a probe at growing intervals; last error: %s", p.failures, describe(err))
}

// wait has the next probe be sent after length, but for a fifth more or less, so that
// replicas do not come back all at once. mu is held.
func (p *pause) wait(length, most time.Duration, now time.Time) {
	if length > most {
		length = most
	}
	p.state = waiting
	p.length = length
	p.due = now.Add(time.Duration((0.8 + 0.4*rand.Float64()) * float64(length)))
}

// openTurn lets a probe be sent, if the shadow waits for one and its time has come. It
// reports whether the shadow still waits.
func (p *pause) openTurn(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != waiting {
		return false
	}
	if now.Before(p.due) {
		return true
	}
	p.state = probing
	p.turn.Store(true)
	return false
}

// awaiting are the shadows that wait for the time of a probe, and alarm is the timer
// for all of them. It is made once: see tender.
var (
	awaitingMu sync.Mutex
	awaiting   []*shadow // guarded by awaitingMu
	alarm      *time.Timer
)

func init() {
	alarm = time.AfterFunc(time.Hour, func() { openTurns() })
	alarm.Stop()
}

// await has the alarm look after a shadow that waits. The pause's mu is held.
func await(s *shadow) {
	awaitingMu.Lock()
	defer awaitingMu.Unlock()
	awaiting = append(awaiting, s)
	if len(awaiting) == 1 {
		alarm.Reset(pauseTick)
	}
}

// openTurns runs in the alarm's goroutine.
func openTurns() {
	defer func() { recover() }()
	awaitingMu.Lock()
	all := awaiting
	awaiting = nil
	awaitingMu.Unlock()
	now := clock()
	var left []*shadow
	for _, s := range all {
		if !s.retired.Load() && s.pause.openTurn(now) {
			left = append(left, s)
		}
	}
	awaitingMu.Lock()
	defer awaitingMu.Unlock()
	awaiting = append(awaiting, left...)
	if len(awaiting) > 0 {
		alarm.Reset(pauseTick)
	}
}

// reportPause says whether the shadow is left alone.
func (s *shadow) reportPause(r *report.Middleware) {
	p := s.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	r.State.Paused = p.state != well
	if r.State.Paused {
		began := p.began
		r.State.PausedSince = &began
	}
}
