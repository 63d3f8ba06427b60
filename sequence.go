package mirror

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

//lint:file-ignore SA4006 The interpreter receives, and looks up in a map, rightly only with two named results.

// With sequenceBy, copies with the same value reach the shadow one after the other, in
// the order in which they were handed over: live's, or with bodyMode stream that in which
// the bodies ended.
//
// The live path hands a copy to the dispatcher and not to the workers: a send to a channel
// with room for all places, as without the option. The dispatcher is a goroutine of the
// shadow's, and the only one that hands copies to its workers. A worker that is done with
// a copy, having judged its pair, gives it back to the dispatcher, which lets the next with
// the same value go, and gives the place in flight back. So a copy that waits keeps its
// place, and there is at most one event in the channel for each place.
//
// A value has a lane while one of its copies is under way; what comes meanwhile waits in
// the lane. Lanes are the mirror's and not the shadow's, so that other options do not let
// copies overtake those before: the dispatcher of the shadow before, and that of the new
// one, work on the same lanes. The first takes all that was handed over to it before the
// other begins, and the other takes nothing while there is more of that.

// A sequence is what the dispatchers of one mirror's shadows have in common.
type sequence struct {
	// lock has a token in it while somebody holds it. It guards lanes, turns, and what is
	// known of lost values. Dispatchers hold it, and who writes the report; live never does,
	// and who holds it waits for nothing. A channel, because interpreted it costs a tenth of
	// a Mutex.
	lock  chan bool
	lanes map[string]*valueLane   // by value; one for each that has a copy under way
	turns map[*http.Request]*turn // of the copies that wait or are under way

	waiting   atomic.Int64 // copies that wait; changed with lock held
	unordered atomic.Int64 // copies that had no value, since the start

	// Of the newest shadow with a sequencer; guarded by mirrorsMu.
	intake chan *http.Request // nil: there has been none
	passed chan bool
	ended  *atomic.Bool // its dispatcher has ended
	lost   *lostValues
	basis  string // what they are about
}

// A valueLane is the order of the copies with one value. One is under way.
type valueLane struct {
	waiting []*turn // the next first
}

// A turn is a copy's place in a sequence.
type turn struct {
	out   *http.Request
	by    *sequencer // of the shadow that the copy goes to
	value string     // "": it has none, and waits for nobody

	// Of one that waits.
	since  time.Time
	pauses int64 // that had begun by then
}

// A sequencer is a shadow's part in the sequence.
type sequencer struct {
	by       string             // as sampleValue takes it
	header   string             // the header that it names; "": it names something else
	most     int                // copies that one value may have, half of the places
	compares bool               // answers are compared
	copies   chan *http.Request // the shadow's
	lost     *lostValues

	// intake takes copies from live, and from workers those that they are done with. It
	// has room for as many as there can be places in flight, and for mostTokens.
	intake chan *http.Request
	roused atomic.Bool // takeNote is in it, and there is no need of another

	counts *counts
	pauses *atomic.Int64 // the shadow's: how many have begun
	held   atomic.Int64  // copies that wait or are under way
	over   atomic.Bool   // the shadow was retired long ago: what waits is lost
	ended  atomic.Bool   // and its dispatcher has ended

	passed chan bool // has a token once the dispatcher has taken what came before passOn

	// Of the shadow before; nil: there is none.
	before    chan bool
	intakeWas chan *http.Request

	// drop ends a copy that is not sent after all. It runs in a goroutine of its own.
	drop func(out *http.Request, why string)
}

// Why a copy that waits is not sent. The words are those of the report's reasons.
const (
	waitFull   = "full"
	waitPaused = "paused"
	waitLate   = report.Late
)

// passOn is what a dispatcher receives in place of a copy when there is another for newer
// options, which waits until it has.
var passOn = &http.Request{}

// takeNote is what a dispatcher receives when much is lost and no copy comes, as in a pause:
// it is to take note of what live has handed over. See lostValues.
var takeNote = &http.Request{}

// safeMethods are those of requests that change nothing (RFC 9110, section 9.2.1). All
// others are unsafe.
var safeMethods = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodOptions: true, http.MethodTrace: true}

// sequenceCopies has the shadow's copies go in sequences. It is called before there is
// one. mirrorsMu is held.
func sequenceCopies(s *shadow, o *options) {
	m := s.mirror
	if m.sequence == nil {
		m.sequence = &sequence{lock: make(chan bool, 1), lanes: map[string]*valueLane{}, turns: map[*http.Request]*turn{}}
	}
	seq := m.sequence
	q := &sequencer{
		by:       o.sequenceBy,
		most:     int(s.maxInFlight+1) / 2,
		compares: o.compare != nil,
		copies:   s.copies,
		intake:   make(chan *http.Request, cap(s.copies)),
		counts:   s.mirror.counts,
		pauses:   &s.pause.begun,
		passed:   make(chan bool, 1),
	}
	if kind, name, _ := strings.Cut(o.sequenceBy, ":"); kind == "header" && name != "Host" {
		q.header = name
	}
	q.drop = func(out *http.Request, why string) { dropWaiting(s, out, why) }
	// With other data, or values of another kind, nothing is known to be lost.
	basis := o.sequenceBy + " " + o.target.String()
	if o.compare != nil {
		basis += " " + o.compare.Epoch
	}
	if seq.intake != nil && !seq.ended.Load() {
		q.before = seq.passed
		q.intakeWas = seq.intake
		seq.intake <- passOn
	}
	if seq.basis != basis {
		seq.lost = newLostValues(o.compare != nil)
	}
	q.lost = seq.lost
	seq.intake = q.intake
	seq.passed = q.passed
	seq.ended = &q.ended
	seq.basis = basis
	s.sequence = seq
	s.sequencer = q
	s.intake = q.intake
	go startDispatcher(s)
}

// bodiesAwaitedBesides is bodiesAwaited without the copies that the dispatcher has.
func bodiesAwaitedBesides(s *shadow) int64 {
	return bodiesAwaited(s) - s.sequence.waiting.Load() - int64(len(s.intake))
}

// fullOfBodies is the count of those for which there is no place because bodies that have
// not come yet hold half of them; nil where some of those are copies that wait for their
// turn, and there is room.
func fullOfBodies(s *shadow) *atomic.Int64 {
	if s.sequencer != nil && bodiesAwaitedBesides(s) <= (s.maxInFlight+1)/2 {
		return nil
	}
	return &s.mirror.counts.full
}

// startDispatcher is dispatch, as startWorker is work.
var startDispatcher func(*shadow)

func init() { startDispatcher = dispatch }

// A dispatcher is what has to be put in order when it panics.
type dispatcher struct {
	shadow *shadow
	out    *http.Request // what it has received last
	busy   bool          // and has not passed on
	locks  bool          // it holds the lock
}

// dispatch is a shadow's dispatcher. It runs in a goroutine of its own until the shadow was
// retired long ago: see tendRetired.
func dispatch(s *shadow) {
	d := &dispatcher{shadow: s}
	defer func() { endDispatcher(d, recover()) }()
	dispatchCopies(d)
}

// dispatchCopies is one loop, with all that a usual copy needs in it, as sendCopies is.
func dispatchCopies(d *dispatcher) {
	s := d.shadow
	q := s.sequencer
	var (
		seq       = s.sequence
		lock      = seq.lock
		lanes     = seq.lanes
		turns     = seq.turns
		intake    = q.intake
		copies    = q.copies
		inFlight  = &s.mirror.inFlight
		held      = &q.held
		by        = q.by
		header    = q.header
		most      = q.most
		over      = &q.over
		compares  = q.compares
		some      = &q.lost.some
		handed    = q.lost.handed
		without   = &seq.unordered
		unordered = &turn{by: q} // of all copies without a value

		out       *http.Request
		token, ok bool
		values    []string
		value     string
		t         *turn
		l         *valueLane

		intakeWas = q.intakeWas
		heeds     = intakeWas != nil // there may be copies there that have come before
	)
	if q.before != nil {
		token, ok = <-q.before
		q.before <- token // this one may begin anew
	}
	for {
		out, ok = <-intake
		if out == stop || out == passOn {
			if len(q.passed) == 0 {
				q.passed <- true
			}
			if out == stop {
				q.ended.Store(true)
				return
			}
			continue
		}
		if out == takeNote {
			noteHanded(d)
			continue
		}
		d.out = out
		d.busy = true
		if heeds && len(intakeWas) > 0 {
			heeds = awaitEmpty(intakeWas)
		}
		lock <- true
		d.locks = true
		if len(handed) > 0 {
			takeHanded(q.lost)
		}
		t, ok = turns[out]
		if ok {
			// It comes back: it is over.
			delete(turns, out)
			if t.value != "" {
				if compares && out.Close && !safeMethods[out.Method] {
					addLost(q.lost, lostKey(t.value))
				}
				l, ok = lanes[t.value]
				if ok && len(l.waiting) > 0 {
					goOn(seq, t.value, l)
				} else {
					delete(lanes, t.value)
				}
			}
			d.busy = false
			d.locks = false
			token, ok = <-lock
			held.Add(-1)
			inFlight.Add(-1)
			continue
		}
		value = ""
		if header == "" {
			value = sampleValue(out, by)
		} else if values = out.Header[header]; len(values) > 0 {
			value = values[0]
		}
		held.Add(1)
		if value == "" {
			without.Add(1)
			turns[out] = unordered
		} else {
			t = &turn{out: out, by: q, value: value}
			l, ok = lanes[value]
			if over.Load() {
				loseTurn(t, waitLate)
				out = nil
			} else if !ok {
				turns[out] = t
				lanes[value] = &valueLane{}
				if compares && some.Load() {
					skipIfLost(t)
				}
			} else if len(l.waiting)+1 >= most {
				loseTurn(t, waitFull)
				out = nil
			} else {
				turns[out] = t
				wait(seq, l, t)
				out = nil
			}
		}
		d.busy = false
		d.locks = false
		token, ok = <-lock
		if out != nil {
			copies <- out
		}
	}
}

// mostLooks is how often awaitEmpty looks.
const mostLooks = 10_000

// awaitEmpty waits until the dispatcher of the shadow before has taken what was handed over
// to it, by requests that were on their way when the options changed. It reports false
// where nobody takes it any more.
func awaitEmpty(intake chan *http.Request) bool {
	for i := 0; len(intake) > 0; i++ {
		if i == mostLooks {
			return false
		}
		time.Sleep(10 * time.Microsecond)
	}
	return true
}

// wait has a copy wait until those before it in the lane are over. lock is held.
func wait(seq *sequence, l *valueLane, t *turn) {
	t.since = time.Now()
	t.pauses = t.by.pauses.Load()
	l.waiting = append(l.waiting, t)
	seq.waiting.Add(1)
}

// goOn lets the next copy of a lane go, and ends the lane where there is none. What has
// waited since before a pause, or for a shadow that was retired long ago, is lost. lock is
// held.
func goOn(seq *sequence, value string, l *valueLane) {
	for len(l.waiting) > 0 {
		t := l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
		seq.waiting.Add(-1)
		why := ""
		if t.by.over.Load() {
			why = waitLate
		} else if t.by.pauses.Load() != t.pauses {
			why = waitPaused
		}
		if why == "" {
			skipIfLost(t)
			t.by.copies <- t.out
			return
		}
		delete(seq.turns, t.out)
		loseTurn(t, why)
	}
	delete(seq.lanes, value)
}

// loseTurn drops a copy that has a place and is not sent. That it is lost is known at
// once: copies that are handed over after it come behind this.
func loseTurn(t *turn, why string) {
	if t.by.compares && !safeMethods[t.out.Method] {
		addLost(t.by.lost, lostKey(t.value))
	}
	t.by.held.Add(-1)
	go startDrop(t, why)
}

// startDrop runs the function of a turn's sequencer: a variable as startWorker is.
var startDrop func(*turn, string)

func init() { startDrop = dropTurn }

// dropTurn has nothing to tell of a panic: drop does.
func dropTurn(t *turn, why string) {
	defer func() { recover() }()
	t.by.drop(t.out, why)
}

// dropWaiting counts a copy that has waited in vain, or finds no room to wait, and gives its
// place back. It runs in a goroutine of its own, for it waits until live has been served
// where the body is large.
func dropWaiting(s *shadow, out *http.Request, why string) {
	counts := s.mirror.counts
	defer func() { counts.contain(recover()) }()
	defer func() { releasePlace(s.mirror) }()
	p := pairOf(out)
	switch why {
	case waitPaused:
		counts.paused.Add(1)
		if p != nil {
			abandon(p, compare.ShadowFailed)
			judge(s, p, out.Header, 0, errLeftAlone)
		}
	case waitLate:
		counts.fail(errLate)
	default:
		counts.full.Add(1)
		counts.logFull()
	}
	if p != nil {
		abandon(p, "") // nobody will ask for live's answer
	}
	if out.ContentLength > ownBody {
		awaitLive(out)
	}
}

// endDispatcher puts in order what a dispatcher leaves that has panicked with v, and
// starts another. What it had in hand is not sent.
func endDispatcher(d *dispatcher, v interface{}) {
	if v == nil {
		return
	}
	counts := d.shadow.mirror.counts
	defer func() { counts.contain(recover()) }()
	counts.contain(v)
	seq := d.shadow.sequence
	if !d.locks {
		seq.lock <- true
	}
	if d.busy {
		forgetTurn(d.shadow, d.out)
	}
	unlock(seq)
	go startDispatcher(d.shadow)
}

// forgetTurn ends what is known of a copy that is not sent, and gives its place back. lock
// is held.
func forgetTurn(s *shadow, out *http.Request) {
	seq := s.sequence
	if t := seq.turns[out]; t != nil {
		delete(seq.turns, out)
		if l := seq.lanes[t.value]; l != nil {
			goOn(seq, t.value, l)
		}
		t.by.held.Add(-1)
	}
	releasePlace(s.mirror)
}

// unlock gives the lock back.
func unlock(seq *sequence) {
	var token, ok bool
	token, ok = <-seq.lock
	_, _ = token, ok
}

// endCopy ends a copy that a worker has had, and gives its place back: with a sequencer,
// through the dispatcher. lost says that the shadow has not done what live has, as far as
// is known. Nothing of the copy is used after.
func endCopy(s *shadow, out *http.Request, lost bool) {
	if s.sequencer == nil {
		releasePlace(s.mirror)
		return
	}
	giveBack(s.intake, out, lost)
}

// giveBack gives a copy back to the dispatcher. On this way Close says whether it is lost.
func giveBack(intake chan *http.Request, out *http.Request, lost bool) {
	out.Close = lost
	intake <- out
}

// endUnsent is notMirrored for a copy that a worker has in hand.
func endUnsent(s *shadow, out *http.Request, reason *atomic.Int64, lost bool) {
	if s.sequencer == nil {
		notMirrored(s.mirror, reason)
		return
	}
	reason.Add(1)
	endCopy(s, out, lost)
}

// loseLateIntake counts copies that have come when the dispatcher of a retired shadow had
// ended, and gives their places back. It runs in the tender's goroutine.
func loseLateIntake(s *shadow) {
	var out *http.Request
	var ok bool
	for s.sequencer.ended.Load() && len(s.intake) > 0 {
		out, ok = <-s.intake
		if ok && out != stop && out != passOn && out != takeNote {
			s.mirror.counts.fail(errLate)
			endLate(s, out)
		}
	}
}

// endLate ends a copy that has come too late, whether its turn had begun or not.
func endLate(s *shadow, out *http.Request) {
	seq := s.sequence
	seq.lock <- true
	defer func() { unlock(seq) }()
	if q := s.sequencer; q.compares && !safeMethods[out.Method] {
		if value := sampleValue(out, q.by); value != "" {
			addLost(q.lost, lostKey(value))
		}
	}
	forgetTurn(s, out)
}

// holdsCopies reports whether copies for a retired shadow wait, or are under way. over says
// that those that wait are not to be sent any more.
func holdsCopies(q *sequencer, over bool) bool {
	if over && !q.over.Swap(true) {
		return true // the dispatcher may have one in hand that it took for one to send
	}
	return len(q.intake) > 0 || q.held.Load() > 0
}

// reportSequence says how the copies wait. mirrorsMu is held.
func reportSequence(by string, seq *sequence) *report.Sequence {
	r := &report.Sequence{By: by, Unordered: seq.unordered.Load()}
	seq.lock <- true
	defer func() { unlock(seq) }()
	r.Waiting = seq.waiting.Load()
	r.LongestWait = longestWait(seq).Seconds()
	takeHanded(seq.lost)
	r.LostValues = seq.lost.known
	return r
}

// longestWait is how long the copy has waited that has waited longest. lock is held.
func longestWait(seq *sequence) time.Duration {
	longest := time.Duration(0)
	if seq.waiting.Load() == 0 {
		return longest
	}
	now := time.Now()
	for _, l := range seq.lanes {
		if len(l.waiting) > 0 && now.Sub(l.waiting[0].since) > longest {
			longest = now.Sub(l.waiting[0].since)
		}
	}
	return longest
}

const (
	// mostLost is how many values that have lost an unsafe copy are remembered at least: the
	// newest.
	mostLost = 10_000

	// mostHanded is how many losses live may have handed over that nobody has taken note of.
	// A dispatcher is roused at half of them.
	mostHanded = 4096
)

// lostValues are the values that have lost an unsafe copy. The shadow lacks what it would
// have changed, so how it answers these clients from then on says nothing.
//
// Live hands a loss over before it is served, and meets no lock: a send to a channel with
// room, as with copies. A dispatcher takes note of all that was handed over before it looks
// at a copy that has come; so what a client sends after a loss, however soon, is known to
// come after it. Where there is no room, because no dispatcher has run for long, nobody
// knows any more who has lost a change, and from then on every value counts as one.
type lostValues struct {
	// handed has a hash for each loss that live has handed over. It has room for mostHanded,
	// and untold, which live adds to before it sends, sees to it that there are no more.
	handed chan string
	untold atomic.Int64

	all  atomic.Bool // there was no room: every value counts as lost
	some atomic.Bool // a value counts as lost

	// Hashes, for values may be credentials, in two generations: when the newer is full the
	// older is forgotten. All of it is guarded by the sequence's lock.
	newer, older map[string]bool
	known        int64 // values
}

// newLostValues returns none. handed says whether live will hand any over.
func newLostValues(handed bool) *lostValues {
	room := 0
	if handed {
		room = mostHanded
	}
	return &lostValues{handed: make(chan string, room), newer: map[string]bool{}, older: map[string]bool{}}
}

// lostKey is what is remembered of a value.
func lostKey(value string) string {
	sum := sha256.Sum256([]byte(value))
	return string(sum[:])
}

// takeHanded takes note of the losses that live has handed over. lock is held, so nobody
// else receives from the channel.
func takeHanded(lost *lostValues) {
	var key string
	var ok bool
	for len(lost.handed) > 0 {
		key, ok = <-lost.handed
		lost.untold.Add(-1)
		if ok {
			addLost(lost, key)
		}
	}
}

// noteHanded takes note of the losses when a dispatcher is told to.
func noteHanded(d *dispatcher) {
	q := d.shadow.sequencer
	q.roused.Store(false) // before it looks: what is handed over from now on may rouse again
	d.shadow.sequence.lock <- true
	d.locks = true
	takeHanded(q.lost)
	d.locks = false
	unlock(d.shadow.sequence)
}

// addLost notes that a value has lost an unsafe copy. lock is held.
func addLost(lost *lostValues, key string) {
	lost.some.Store(true)
	if lost.newer[key] {
		return
	}
	if !lost.older[key] {
		lost.known++
	}
	lost.newer[key] = true
	if len(lost.newer) == mostLost {
		lost.older = lost.newer
		lost.newer = map[string]bool{}
		lost.known = mostLost
	}
}

// isLost reports whether a value counts as one that has lost an unsafe copy. lock is held.
func isLost(lost *lostValues, key string) bool {
	return lost.all.Load() || lost.newer[key] || lost.older[key]
}

// skipIfLost has the pair of a copy that is about to be sent not be compared if its value
// has lost an unsafe copy. The shadow gets the copy all the same. lock is held.
func skipIfLost(t *turn) {
	if !t.by.compares || !t.by.lost.some.Load() {
		return
	}
	if p := pairOf(t.out); p != nil && isLost(t.by.lost, lostKey(t.value)) {
		p.unfit = compare.SequenceLost
		abandon(p, compare.SequenceLost)
	}
}

// lose notes that there is no copy of a request. It is called on the live path, and waits
// for nobody.
func lose(q *sequencer, req *http.Request) {
	if !q.compares || safeMethods[req.Method] {
		return
	}
	if value := sampleValue(req, q.by); value != "" {
		handOver(q, lostKey(value))
	}
}

// handOver is the part of lose for a request that has a value.
func handOver(q *sequencer, key string) {
	lost := q.lost
	n := lost.untold.Add(1)
	if n > mostHanded {
		lost.untold.Add(-1)
		loseAll(q)
		return
	}
	lost.handed <- key
	if n == mostHanded/2 && q.roused.CompareAndSwap(false, true) {
		q.intake <- takeNote // there is room: of mostTokens this is one
	}
}

// loseAll has every value count as lost, for good: what was not noted is not known.
func loseAll(q *sequencer) {
	q.lost.some.Store(true)
	if !q.lost.all.Swap(true) {
		go announceAllLost(q.counts)
	}
}

// losingFullTaker is fullTaker where a sequence has to know what is lost.
func losingFullTaker(m *middleware, take func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	s := m.shadow
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Body == http.NoBody && crowded(s) && bodiesAwaitedBesides(s) > s.maxInFlight/2 {
			return take(rw, req)
		}
		releasePlace(s.mirror)
		if excluded(s, req) == nil {
			lose(s.sequencer, req)
		}
		return dropFull(s, req)
	}
}

// losingProber is prober, likewise.
func losingProber(m *middleware, take, takeFull func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	s := m.shadow
	turn := &s.pause.turn
	paused := &s.mirror.counts.paused
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if turn.Load() {
			if s.mirror.inFlight.Add(1) > s.maxInFlight {
				return takeFull(rw, req)
			}
			return take(rw, req)
		}
		reason := reasonFor(s, req, paused)
		reason.Add(1)
		if reason == paused {
			lose(s.sequencer, req)
		}
		return false
	}
}

// loseForRate is dropForRate, likewise.
func loseForRate(s *shadow, req *http.Request) bool {
	if excluded(s, req) == nil {
		lose(s.sequencer, req)
	}
	return dropForRate(s, req)
}
