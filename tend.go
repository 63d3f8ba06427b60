package mirror

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// tendInterval is how often the workers of a shadow that has traffic are tended.
	tendInterval = 5 * time.Second

	// maxTendInterval is how often a retired shadow is tended when it has been so for a
	// while.
	maxTendInterval = 5 * time.Second

	// linger is how long one worker of a retired shadow stays, for the copies of requests
	// that are being served while the options change: those of other options would
	// overtake them by far if they had to wait for a worker to start.
	linger = 2 * time.Second

	// serveLate is how long a retired shadow still sends what comes late, from requests
	// that were on their way to the mirror when the options changed. After that such a
	// copy is lost, but not its place; and after abandonAfter no such request can be on
	// its way any more.
	serveLate    = 30 * time.Second
	abandonAfter = 15 * time.Minute

	// mostTokens is how many tokens are sent at once.
	mostTokens = 32
)

var errLate = errors.New("the options changed while the request was on its way to the mirror")

// A tending is what is known of a shadow for ending what is idle for long.
type tending struct {
	listed bool // in tended; guarded by tendedMu
	wanted bool // tend was called since tendAll began; guarded by tendedMu

	// The rest is guarded by the shadow's mu.
	due     time.Time
	served  int64         // copies, when it was tended last
	quiet   int           // how often it was tended since there was one
	delay   time.Duration // until a retired one is tended again
	retired time.Time     // since when it is so
}

// A lateness is what is left of a shadow that was retired: a channel that copies may
// come to yet.
type lateness struct {
	copies chan *http.Request
	shadow *shadow // where copies went in sequences; else nil
	mirror *mirror
	until  time.Time
}

// tended are the shadows that have something to end, late is what is left of retired
// ones, and tender is the timer that looks after both: one for all, made once. Interpreted, a function that a timer calls
// keeps the frames of whoever made the timer, and a timer that a timer's function made
// would keep those of all before it.
var (
	tendedMu sync.Mutex
	tended   []*shadow   // guarded by tendedMu
	late     []*lateness // guarded by tendedMu
	tender   *time.Timer
)

// tenderInterval is how often the timer looks, while there is anything to end.
const tenderInterval = time.Second

func init() {
	tender = time.AfterFunc(time.Hour, func() { tendAll() })
	tender.Stop()
}

// tend sees to it that what is idle for long ends: workers, and with them their
// connections. It is called whenever there is one more.
func tend(s *shadow) {
	tendedMu.Lock()
	defer tendedMu.Unlock()
	s.tending.wanted = true
	if s.tending.listed {
		return
	}
	s.tending.listed = true
	tended = append(tended, s)
	if len(tended) == 1 && len(late) == 0 {
		tender.Reset(tenderInterval)
	}
}

// tendAll runs in the timer's goroutine.
func tendAll() {
	defer func() { recover() }()
	tendedMu.Lock()
	all := append([]*shadow{}, tended...)
	for _, s := range all {
		s.tending.wanted = false
	}
	tendedMu.Unlock()
	now := time.Now()
	over := map[*shadow]bool{}
	for _, s := range all {
		over[s] = tendIfDue(s, now)
	}
	tendedMu.Lock()
	defer tendedMu.Unlock()
	forgetWhatIsOver(over, now)
	if len(tended)+len(late) > 0 {
		tender.Reset(tenderInterval)
	}
}

// forgetWhatIsOver takes from the lists what has nothing left to end. tendedMu is held.
func forgetWhatIsOver(over map[*shadow]bool, now time.Time) {
	var going []*shadow
	for _, s := range tended {
		if !over[s] || s.tending.wanted {
			going = append(going, s)
			continue
		}
		s.tending.listed = false
		if s.retired.Load() {
			l := &lateness{copies: s.copies, mirror: s.mirror, until: now.Add(abandonAfter)}
			if s.sequencer != nil {
				l.shadow = s
				s.intake <- stop
			}
			late = append(late, l)
		}
	}
	tended = going
	var left []*lateness
	for _, l := range late {
		loseLateCopies(l)
		if now.Before(l.until) {
			left = append(left, l)
		}
	}
	late = left
}

// loseLateCopies counts copies that have come too late, and gives their places back.
func loseLateCopies(l *lateness) {
	var out *http.Request
	var ok bool
	for len(l.copies) > 0 {
		out, ok = <-l.copies
		if ok && out != stop && out != rest {
			l.mirror.counts.fail(errLate)
			if l.shadow == nil {
				releasePlace(l.mirror)
			} else {
				endLate(l.shadow, out)
			}
		}
	}
	if l.shadow != nil {
		loseLateIntake(l.shadow)
	}
}

// tendIfDue tends the shadow if its time has come, and reports whether there is
// nothing left to end.
func tendIfDue(s *shadow, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.tending.due) {
		return false
	}
	return tendNow(s, now)
}

// tendNow is tendIfDue for one whose time has come. mu is held.
func tendNow(s *shadow, now time.Time) bool {
	if s.retired.Load() {
		return tendRetired(s, now)
	}
	s.tending.due = now.Add(s.interval)
	return tendIdle(s)
}

// tendIdle stops half of the workers that are idle, and all but one of them when there
// has been no copy since it was called last. That one gives way to a sentry after
// idleTimeout, and then there is nothing left to end. mu is held.
func tendIdle(s *shadow) bool {
	t := &s.tending
	s.mirror.counts.look()
	t.quiet++
	if served := s.mirror.counts.answers() + s.mirror.counts.failed.Load(); served != t.served {
		t.served = served
		t.quiet = 0
	}
	idle := len(s.idle)
	if len(s.copies) > 0 {
		idle = 0
	}
	if t.quiet == 0 {
		sendTokens(s, stop, idle/2)
	} else {
		sendTokens(s, stop, idle-1)
	}
	if t.quiet > int(idleTimeout/tendInterval) && s.workers.Load() == 1 && idle == 1 {
		sendTokens(s, rest, 1)
		t.quiet = 0
		return true
	}
	return false
}

// tendRetired ends the workers of a shadow that is not used any more, and starts one
// for a copy that comes late, from a request that was on its way to the mirror when
// the options changed. It reports whether that is over. mu is held.
func tendRetired(s *shadow, now time.Time) bool {
	t := &s.tending
	over := now.Sub(t.retired) > serveLate
	holds := s.sequencer != nil && holdsCopies(s.sequencer, over)
	s.over2.closeIdle()
	idle := len(s.idle)
	if now.Sub(t.retired) < linger || holds {
		idle--
	}
	if len(s.copies) == 0 {
		sendTokens(s, stop, idle)
	} else if s.workers.Load() == 0 && (!over || holds) {
		s.workers.Add(1)
		go startWorker(s)
	}
	if t.delay *= 2; t.delay > maxTendInterval {
		t.delay = maxTendInterval
	}
	t.due = now.Add(t.delay)
	return over && !holds && s.workers.Load() == 0
}

// sendTokens sends a token to n workers that wait, or to as many as there is room for.
// mu is held, and there were no tokens in the channel a moment ago.
func sendTokens(s *shadow, token *http.Request, n int) {
	for i := 0; i < n && i < mostTokens; i++ {
		s.copies <- token
	}
}

// retire lets go of the workers and the connections: those that are idle now, and
// the others when they have done what they have to do. A copy that comes after is
// sent all the same.
func (s *shadow) retire() {
	if s.retired.Swap(true) {
		return
	}
	startTendingRetired(s)
	tend(s)
	if c := controlOf(s); c != nil {
		c.retire()
	}
}

func startTendingRetired(s *shadow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	t := &s.tending
	t.retired = now
	t.delay = tenderInterval / 2
	tendRetired(s, now)
}
