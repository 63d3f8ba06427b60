package mirror

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// failuresToPause is how many exchanges in a row have to fail before a
	// shadow counts as sick.
	failuresToPause = 10

	// firstPause is how long a sick shadow is left alone before it is tried
	// again. Each further pause is twice as long, up to the option maxPause.
	firstPause = time.Second

	// pausedPlaces is added to the requests in flight while the mirror pauses:
	// there is no free place then, and the live path need not ask about pauses.
	pausedPlaces = 1 << 40
)

// A pause leaves a sick shadow alone. From time to time one request, the probe,
// is let through; the pause ends with the first that the shadow answers.
type pause struct {
	mu       sync.Mutex
	failures int   // in a row
	mirrored int64 // how many were mirrored when the last failure came
	on       bool
	began    time.Time
	length   time.Duration // of the current wait for the next probe, jitter apart
	timer    *time.Timer
	probing  bool // the probe was let through

	probeDue atomic.Bool // the next request is to be the probe
}

// failed counts a request that the shadow did not answer, and begins a pause
// after too many.
func (s *shadow) failed(err error) {
	m := s.mirror
	m.counts.fail(err)
	if s.maxPause == 0 || s.retired.Load() {
		return
	}
	p := &m.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	// A success leaves no trace here, so that it costs nothing: it is seen by
	// the count of what was mirrored.
	if mirrored := m.counts.answers(); mirrored != p.mirrored {
		p.mirrored = mirrored
		p.failures = 0
	}
	p.failures++
	if p.on || p.failures < failuresToPause {
		return
	}
	p.on = true
	p.began = time.Now()
	p.length = firstPause
	m.inFlight.Add(pausedPlaces)
	m.counts.print(fmt.Sprintf("the shadow failed %d times in a row and is left alone, but for a probe at growing intervals; last error: %s", p.failures, describe(err)))
	s.waitToProbe()
}

// waitToProbe lets a probe through after the current wait, which is made up to
// a fifth longer or shorter so that replicas do not come back all at once.
// p.mu is held.
func (s *shadow) waitToProbe() {
	p := &s.mirror.pause
	if p.length > s.maxPause {
		p.length = s.maxPause
	}
	jitter := 0.8 + 0.4*rand.Float64()
	p.timer = time.AfterFunc(time.Duration(float64(p.length)*jitter), func() { s.allowProbe() })
}

func (s *shadow) allowProbe() {
	p := &s.mirror.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on {
		return
	}
	// Exchanges that were under way when the pause began would be taken for the
	// probe. They end within the timeout.
	if s.mirror.inFlight.Load() > pausedPlaces && time.Since(p.began) < s.timeout+time.Second {
		p.timer = time.AfterFunc(firstPause/10, func() { s.allowProbe() })
		return
	}
	p.probing = true
	p.probeDue.Store(true)
}

// landed is called at the end of an exchange while the mirror pauses: it ends
// the pause if the shadow has answered, and doubles the wait if a probe failed.
func (s *shadow) landed() {
	m := s.mirror
	p := &m.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on {
		return
	}
	if m.counts.answers() != p.mirrored {
		m.resume()
		m.counts.print(fmt.Sprintf("the shadow answers again and is mirrored to, after %s", time.Since(p.began).Round(time.Millisecond)))
		return
	}
	if p.probing {
		p.probing = false
		p.length *= 2
		s.waitToProbe()
	}
}

// resume ends the pause. p.mu is held.
func (m *mirror) resume() {
	p := &m.pause
	p.on = false
	p.failures = 0
	p.probing = false
	p.probeDue.Store(false)
	p.timer.Stop()
	m.inFlight.Add(-pausedPlaces)
}

// forgetPause ends a pause, if there is one, because the shadow that caused it
// is not the mirror's any more.
func (m *mirror) forgetPause() {
	p := &m.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures = 0
	if p.on {
		m.resume()
	}
}
