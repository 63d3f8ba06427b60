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

// removalGrace is how long a mirror that no router uses is kept. On a change
// Traefik lets go of all instances before it makes the new ones.
var removalGrace = 10 * time.Second

// A mirror is what all routers that name one middleware share, whatever
// becomes of its options.
type mirror struct {
	name     string
	inFlight atomic.Int64 // places taken, and pausedPlaces during a pause
	counts   counts
	pause    pause
	verdict  *compare.Verdict

	shadow *shadow // for the newest options; guarded by mirrorsMu
}

// acquire returns the shadow of the middleware called name until ctx is done.
// It is the one that other routers have and that was there before a reload, if
// the options are the same.
func acquire(ctx context.Context, name string, o *options) *shadow {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	m := mirrors[name]
	if m == nil {
		m = &mirror{name: name, verdict: compare.NewVerdict()}
		m.counts.name = name
		m.counts.interval = summaryInterval
		m.counts.since = time.Now()
		if watched {
			m.counts.watch()
		}
		mirrors[name] = m
	}
	dropOther(m, o)
	if m.shadow == nil {
		m.shadow = newShadow(m, o)
		m.verdict.Begin(o.compare)
	}
	s := m.shadow
	s.users++
	context.AfterFunc(ctx, func() { release(s) })
	return s
}

// dropOther retires the mirror's shadow if it is for other options. mirrorsMu is
// held.
//
// It is a function of its own because of the interpreter: the frame of a function
// that is called refers to the caller's, and a closure keeps its frame. The one in
// newTransport would keep acquire's, with the old shadow still in a slot, and so
// each shadow would keep all that were before it.
func dropOther(m *mirror, o *options) {
	if m.shadow != nil && m.shadow.fingerprint != o.fingerprint {
		m.shadow.retire()
		m.forgetPause()
		m.shadow = nil
	}
}

// release takes back one acquire. Once nobody has acquired the shadow for
// removalGrace, it lets go of its connections and, if no other has taken its
// place, its name is forgotten.
func release(s *shadow) {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	s.users--
	if s.users > 0 {
		return
	}
	s.abandoned++
	times := s.abandoned
	time.AfterFunc(removalGrace, func() {
		mirrorsMu.Lock()
		defer mirrorsMu.Unlock()
		// Nobody may use it just now because another change is being applied.
		if s.users > 0 || s.abandoned != times {
			return
		}
		if s.mirror.shadow == s && mirrors[s.mirror.name] == s.mirror {
			delete(mirrors, s.mirror.name)
			s.mirror.forgetPause()
		}
		s.retire()
	})
}
