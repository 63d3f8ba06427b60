package mirror

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// Traefik builds every instance of the middleware anew on each change of its
// configuration, related or not. What has to outlive that is kept here, by
// middleware name: one interpreter serves the plugin for as long as Traefik
// runs, so these variables are shared by all instances.
var (
	mirrorsMu sync.Mutex
	mirrors   = map[string]*mirror{}
)

// removalGrace is how long a mirror that no router uses stays as it is: on a change
// Traefik lets go of all instances before it makes the new ones. Then it is removed: its
// shadow goes, and what it has counted is kept for keepRemoved since its last router went.
// Tests set both, with mirrorsMu held.
var (
	removalGrace = 10 * time.Second
	keepRemoved  = time.Hour
)

// mostRemoved is how many removed mirrors are kept, the newest, so that names that come
// and go do not pile up.
const mostRemoved = 100

// removed are the mirrors that were removed and are kept, the longest so first; guarded
// by mirrorsMu.
var removed []*mirror

// ahead is by how much clock is ahead of the time. Only tests set it.
var ahead atomic.Int64

// clock returns the time, for what goes by long times and is not on the live path.
func clock() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }

// A mirror is what all routers that name one middleware share, whatever
// becomes of its options.
type mirror struct {
	name     string
	inFlight atomic.Int64 // places taken
	counts   *counts
	verdict  *compare.Verdict
	limit    *limiter  // nil: there has not been a maxRate, or there is none; guarded by mirrorsMu
	sequence *sequence // nil: there has not been a sequenceBy; guarded by mirrorsMu

	options *options // the newest; guarded by mirrorsMu

	// For the newest options; guarded by mirrorsMu. There is a shadow or a fault, not
	// both, and neither where the mirror is removed.
	shadow  *shadow
	percent float64
	fault   *fault
	told    string // what was said of them

	// removedAt is when the last router went, if the mirror is removed; else it is zero.
	// serves says that the name is now that of a middleware that serves the report, or is
	// to do so. Both are guarded by mirrorsMu.
	removedAt time.Time
	serves    bool
}

// A fault takes the place of the shadow where the options are mistaken. It has the
// mirror's name and not the mirror, for the interpreter gets types wrong that refer back
// to themselves in two ways: "value of type … is not assignable to type …".
type fault struct {
	name      string
	counts    *counts // the mirror's
	remark    string
	mistaken  int      // how many mistakes there are
	mistakes  []string // as many of them as fit on a line
	users     int      // instances of the middleware that have it; guarded by mirrorsMu
	abandoned int      // how often the last of them went; guarded by mirrorsMu
}

// acquire returns the shadow of the middleware called name until ctx is done.
// It is the one that other routers have and that was there before a reload, if
// the options are the same. A mirror that was removed goes on with a new one.
func acquire(ctx context.Context, name string, o *options) *shadow {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	m := mirrorNamed(name)
	dropOther(m, o)
	m.fault = nil
	m.serves = false
	m.options = o
	m.percent = o.percent
	if m.shadow == nil {
		limitRate(m, o.maxRate)
		m.shadow = newShadow(m, o)
		if m.verdict.Begin(o.compare) {
			m.counts.begin()
		}
		optionsChanged.Add(1)
	}
	s := m.shadow
	s.users++
	context.AfterFunc(ctx, func() { release(s) })
	return s
}

// mirrorNamed returns the mirror of this name for a router that uses it from now on, a new
// one if there is none yet. mirrorsMu is held.
func mirrorNamed(name string) *mirror {
	m := mirrors[name]
	if m == nil {
		m = &mirror{name: name, counts: &counts{}, verdict: compare.NewVerdict()}
		m.counts.name = name
		m.counts.interval = summaryInterval
		m.counts.since = clock()
		mirrors[name] = m
	}
	if !m.removedAt.IsZero() {
		m.removedAt = time.Time{}
		unlist(m)
	}
	return m
}

// acquireFault has the middleware called name be mistaken, as its options say, until
// ctx is done or options that are good come. What it has counted stays. It returns the
// mirror.
func acquireFault(ctx context.Context, name string, o *options) *mirror {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	m := mirrorNamed(name)
	dropOther(m, o)
	m.verdict.Begin(nil)
	optionsChanged.Add(1)
	m.serves = o.serve
	m.options = o
	if m.fault == nil || m.fault.remark != o.remark() {
		m.fault = &fault{name: name, counts: m.counts, remark: o.remark(), mistaken: o.mistaken, mistakes: o.mistakes}
	}
	f := m.fault
	f.users++
	context.AfterFunc(ctx, func() { releaseFault(f) })
	return m
}

// limitRate gives the mirror a limiter for n copies in any one second, or none for 0.
// mirrorsMu is held.
func limitRate(m *mirror, n int) {
	switch {
	case n == 0:
		m.limit = nil
	case m.limit == nil:
		m.limit = newLimiter(n)
	default:
		m.limit.resize(n)
	}
}

// optionsBefore returns the newest options of the middleware called name; nil if there
// are none yet.
func optionsBefore(name string) *options {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	if m := mirrors[name]; m != nil {
		return m.options
	}
	return nil
}

// tell logs what there is to say of a mirror's options, unless it has been said.
func tell(m *mirror, remark string) {
	if before := swapRemark(m, remark); remark != "" && remark != before {
		writeLine(prefixOf(m.name)+remark, maxRemark)
	}
}

// swapRemark notes what is said of the options, and returns what was said before.
func swapRemark(m *mirror, remark string) string {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	before := m.told
	m.told = remark
	return before
}

// forgetMirror forgets the mirror of a middleware that has become one that serves the
// report: at once if it has no shadow, and else when that is removed.
func forgetMirror(name string) {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	m := mirrors[name]
	if m == nil {
		return
	}
	m.serves = true
	if m.shadow == nil {
		delete(mirrors, name)
		unlist(m)
	}
}

// dropOther retires the mirror's shadow if it is for other options, or these are
// mistaken. mirrorsMu is held.
//
// It is a function of its own because of the interpreter: the frame of a function
// that is called refers to the caller's, and a closure keeps its frame. The one in
// newTransport would keep acquire's, with the old shadow still in a slot, and so
// each shadow would keep all that were before it.
func dropOther(m *mirror, o *options) {
	if m.shadow != nil && (m.shadow.fingerprint != o.fingerprint || o.mistaken > 0) {
		m.shadow.retire()
		m.shadow = nil
	}
}

// release takes back one acquire. Once nobody has acquired the shadow for
// removalGrace, it lets go of its connections and, if no other has taken its
// place, its mirror is removed. It runs in a goroutine of the context's.
func release(s *shadow) {
	defer func() { s.mirror.counts.contain(recover()) }()
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	s.users--
	if s.users == 0 {
		s.abandoned++
		removeLater(&removal{shadow: s, times: s.abandoned})
	}
}

// releaseFault takes back one acquireFault. A mirror that is mistaken to the end is
// removed like any other. It runs in a goroutine of the context's.
func releaseFault(f *fault) {
	defer func() { f.counts.contain(recover()) }()
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	f.users--
	if f.users == 0 {
		f.abandoned++
		removeLater(&removal{fault: f, times: f.abandoned})
	}
}

// A removal is of a shadow or a fault that nobody uses, unless somebody does by then:
// on a change Traefik lets go of all instances before it makes the new ones.
type removal struct {
	shadow *shadow
	fault  *fault // nil where shadow is not
	times  int    // how often it had been abandoned when this was noted
	since  time.Time
	due    time.Time
}

// removals are those to come, and remover is the timer for all of them, and for removed
// mirrors to be forgotten, made once (see tender): a timer for each would cost a change of
// the configuration more than all else that is done with a mirror whose options are as they
// were.
var (
	removals []*removal // guarded by mirrorsMu
	nextDue  time.Time  // when remover is set for; zero: it is not; guarded by mirrorsMu
	remover  *time.Timer
)

func init() {
	remover = time.AfterFunc(time.Hour, func() { removeUnused() })
	remover.Stop()
}

// removeLater notes a removal. mirrorsMu is held.
func removeLater(r *removal) {
	r.since = clock()
	r.due = r.since.Add(removalGrace)
	removals = append(removals, r)
	if nextDue.IsZero() || r.due.Before(nextDue) {
		nextDue = r.due
		remover.Reset(removalGrace)
	}
}

// removeUnused removes, and forgets, what is due. It runs in the timer's goroutine.
func removeUnused() {
	defer func() { recover() }()
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	now := clock()
	var left []*removal
	for _, r := range removals {
		if now.Before(r.due) {
			left = append(left, r)
		} else if s := r.shadow; s == nil {
			removeFault(r)
		} else if s.users == 0 && s.abandoned == r.times {
			removeShadow(s, r.since)
		}
	}
	removals = left
	for len(removed) > 0 && !now.Before(removed[0].removedAt.Add(keepRemoved)) {
		forgetRemoved(removed[0])
	}
	setRemover(now)
}

// setRemover sets the timer for what is due next, if there is anything. mirrorsMu is held.
func setRemover(now time.Time) {
	nextDue = time.Time{}
	for _, r := range removals {
		if nextDue.IsZero() || r.due.Before(nextDue) {
			nextDue = r.due
		}
	}
	if len(removed) > 0 {
		if due := removed[0].removedAt.Add(keepRemoved); nextDue.IsZero() || due.Before(nextDue) {
			nextDue = due
		}
	}
	if !nextDue.IsZero() {
		// A little late, so that those that follow closely are done at once.
		remover.Reset(nextDue.Sub(now) + removalGrace/10)
	}
}

// removeShadow ends a shadow that nobody has used since a moment, and removes its mirror if
// it was the newest. mirrorsMu is held.
func removeShadow(s *shadow, since time.Time) {
	m := s.mirror
	defer func() { m.counts.contain(recover()) }()
	if m.shadow == s && mirrors[m.name] == m {
		m.shadow = nil
		keep(m, since)
	}
	s.retire()
}

// removeFault removes a mirror whose fault nobody has acquired since it was abandoned for
// the last time. mirrorsMu is held.
func removeFault(r *removal) {
	f := r.fault
	if f.users > 0 || f.abandoned != r.times {
		return
	}
	if m := mirrors[f.name]; m != nil && m.fault == f {
		m.fault = nil
		keep(m, r.since)
	}
}

// keep keeps a mirror that no router has used since a moment: its counts, what comparing
// has shown, when its last copies were sent, and which values have lost one. Copies that
// are under way yet count there too. Its mistakes are told again if it comes back with them.
// mirrorsMu is held.
func keep(m *mirror, since time.Time) {
	if m.serves {
		delete(mirrors, m.name)
		return
	}
	m.removedAt = since
	m.told = ""
	removed = append(removed, m)
	if len(removed) > mostRemoved {
		forgetRemoved(removed[0])
	}
}

// forgetRemoved forgets a mirror that was removed. mirrorsMu is held.
func forgetRemoved(m *mirror) {
	unlist(m)
	if mirrors[m.name] == m {
		delete(mirrors, m.name)
	}
}

// unlist takes a mirror from those that were removed. mirrorsMu is held.
func unlist(m *mirror) {
	var left []*mirror
	for _, other := range removed {
		if other != m {
			left = append(left, other)
		}
	}
	removed = left
}
