package mirror

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// rateWindow is a second, and a hundredth more: copies that leave on time may still
// arrive a little closer together.
const rateWindow = 1010 * time.Millisecond

// mostRate is the largest maxRate. When the last so many copies were sent is kept.
const mostRate = 100_000

// started is what the times of copies are counted from, with a clock that nobody sets.
var started = time.Now()

// A limiter keeps a mirror's copies to a number in any one second. It outlives changes
// of the options, since a second does.
type limiter struct {
	// mu guards sent and next. Workers hold it, and whoever changes the number; the live
	// path never does.
	mu   sync.Mutex
	sent []time.Duration // a ring: when each of the last copies was sent, since started
	next int             // the oldest of them

	// oldest is when that was. Another may be sent once a second has gone by since.
	oldest atomic.Int64
}

// newLimiter returns one for n copies in any one second.
func newLimiter(n int) *limiter {
	l := &limiter{}
	l.resize(n)
	return l
}

// resize changes the number. What was sent within the last second still counts.
func (l *limiter) resize(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == n {
		return
	}
	var ordered []time.Duration
	for i := range l.sent {
		ordered = append(ordered, l.sent[(l.next+i)%len(l.sent)])
	}
	if len(ordered) > n {
		ordered = ordered[len(ordered)-n:]
	}
	l.sent = make([]time.Duration, n)
	for i := range l.sent {
		l.sent[i] = -rateWindow
	}
	copy(l.sent[n-len(ordered):], ordered)
	l.next = 0
	l.oldest.Store(int64(l.sent[0]))
}

// take reports whether a copy may be sent now, and counts it if so. It is called by a
// worker that has one to send.
func (l *limiter) take(now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now-l.sent[l.next] < rateWindow {
		return false
	}
	l.sent[l.next] = now
	l.next++
	if l.next == len(l.sent) {
		l.next = 0
	}
	l.oldest.Store(int64(l.sent[l.next]))
	return true
}

// limited is a taker that drops a request while no more copies may be sent, before its
// body is read. A worker asks again when it has the copy in hand: only then is it known
// when it is sent.
func limited(m *middleware, limit *limiter, take func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	oldest := &limit.oldest
	intake := m.shadow.intake
	simple := m.shadow.rules == nil
	drop := dropForRate
	if m.shadow.sequencer != nil {
		drop = loseForRate
	}
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if int64(time.Since(started))-oldest.Load() < int64(rateWindow) {
			return drop(m.shadow, req)
		}
		if simple && req.Body == http.NoBody {
			intake <- req.Clone(background) // as in mirroring
			return false
		}
		return take(rw, req)
	}
}

// dropForRate counts a request that has a place, and of which there is no copy because
// of maxRate: unless it is one that is never mirrored.
func dropForRate(s *shadow, req *http.Request) bool {
	notMirrored(s.mirror, reasonFor(s, req, &s.mirror.counts.rate))
	return false
}

// dropCopyForRate is for a copy that a worker has in hand.
func dropCopyForRate(w *worker, out *http.Request) {
	s := w.shadow
	if w.probes {
		w.probes = false
		s.notSent()
	}
	if p := pairOf(out); p != nil {
		abandon(p, "") // nobody will ask for live's answer
	}
	if out.ContentLength > ownBody {
		awaitLive(out)
	}
	out.Body = http.NoBody
	w.busy = false
	endUnsent(s, out, &s.mirror.counts.rate, true)
}
