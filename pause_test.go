package mirror

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// failing makes the shadow's exchanges fail as a crashed service's do.
func failing(u *upstream) (recover func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = func(rw http.ResponseWriter, _ *http.Request) {
		if conn, _, err := rw.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.answer = nil
	}
}

func TestSickShadowIsLeftAloneUntilItAnswers(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	heal := failing(shadow)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	m := mirrorCalled(t, t.Name())
	for i := 0; i < failuresToPause; i++ {
		serve(h, postInvoice())
		settledOrPaused(t, m)
	}
	if !paused(m) {
		t.Fatalf("after %d failures in a row the shadow is not left alone", failuresToPause)
	}
	holdProbe(m)
	for i := 0; i < 50; i++ {
		if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated {
			t.Fatalf("client got %d, want 201", rec.Code)
		}
	}
	if n := len(shadow.snapshot()); n != failuresToPause {
		t.Errorf("shadow got %d requests, want none after the first %d", n, failuresToPause)
	}
	if n := m.counts.paused.Load(); n != 50 || m.counts.full.Load() != 0 {
		t.Errorf("%d dropped by the pause and %d for want of a place, want 50 and 0", n, m.counts.full.Load())
	}
	// One probe, and no more while it is out.
	m.shadow.allowProbe()
	for i := 0; i < 50; i++ {
		serve(h, postInvoice())
	}
	settledOrPaused(t, m)
	if n := len(shadow.snapshot()); n != failuresToPause+1 {
		t.Errorf("shadow got %d requests, want %d and one probe", n, failuresToPause)
	}
	eventually(t, "a wait twice as long after a probe that failed", func() bool { return nextWait(m) == 2*firstPause })
	heal()
	eventually(t, "the next probe to be due", func() bool { return m.pause.probeDue.Load() })
	serve(h, postInvoice())
	settled(t, t.Name())
	if m.counts.answers() != 1 {
		t.Errorf("mirrored %d, want the probe", m.counts.answers())
	}
	serve(h, postInvoice())
	if n := settled(t, t.Name()).counts.answers(); n != 2 {
		t.Errorf("mirrored %d after the pause, want 2", n)
	}
	// The end of the pause is logged when the places are free already.
	eventually(t, "three lines", func() bool { return len(book.lines()) >= 3 })
	text := strings.Join(book.lines(), "\n")
	if len(book.lines()) != 3 || strings.Count(text, "is left alone") != 1 || strings.Count(text, "answers again") != 1 {
		t.Errorf("logged:\n%s\nwant the first failure, the pause and its end, once each", text)
	}
}

func TestFailuresAmongSuccessesDoNotPause(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	for i := 0; i < 5; i++ {
		heal := failing(shadow)
		for j := 0; j < failuresToPause-1; j++ {
			serve(h, postInvoice())
			settled(t, t.Name())
		}
		heal()
		serve(h, postInvoice())
		settled(t, t.Name())
	}
}

func TestPauseCanBeTurnedOff(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	failing(shadow)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.MaxPause = "0" })
	for i := 0; i < 3*failuresToPause; i++ {
		serve(h, postInvoice())
		settled(t, t.Name())
	}
	if n := len(shadow.snapshot()); n != 3*failuresToPause {
		t.Errorf("shadow got %d requests, want all %d", n, 3*failuresToPause)
	}
}

func TestServerErrorsAreAnswers(t *testing.T) {
	shadow := startUpstream(t)
	shadow.answer = func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) }
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	for i := 0; i < 2*failuresToPause; i++ {
		serve(h, postInvoice())
		settled(t, t.Name())
	}
	if n := mirrorCalled(t, t.Name()).counts.answers(); n != 2*failuresToPause {
		t.Errorf("mirrored %d, want %d: 500 is an answer", n, 2*failuresToPause)
	}
}

func TestProbeWithoutABodyGivesItsTurnAway(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	heal := failing(shadow)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	m := mirrorCalled(t, t.Name())
	for i := 0; i < failuresToPause; i++ {
		serve(h, postInvoice())
		settledOrPaused(t, m)
	}
	heal()
	eventually(t, "a probe to be due", func() bool { return m.pause.probeDue.Load() })
	req := postInvoice()
	req.ContentLength = 1000 // more than comes
	if rec := serve(h, req); rec.Code != http.StatusBadRequest {
		t.Fatalf("client got %d, want 400", rec.Code)
	}
	serve(h, postInvoice())
	if n := settled(t, t.Name()).counts.answers(); n != 1 {
		t.Errorf("mirrored %d, want the second to be the probe", n)
	}
}

func TestOtherOptionsEndThePause(t *testing.T) {
	captureLog(t)
	sick, well := startUpstream(t), startUpstream(t)
	failing(sick)
	before, cancel := instance(t, t.Name(), sick.URL, nil)
	m := before.shadow.mirror
	for i := 0; i < failuresToPause; i++ {
		serve(before, postInvoice())
		settledOrPaused(t, m)
	}
	cancel()
	after, _ := instance(t, t.Name(), well.URL, nil)
	serve(after, postInvoice())
	well.wait(t, 1)
	settled(t, t.Name())
	// What the replaced instance still finds out is no longer of interest.
	for i := 0; i < 2*failuresToPause; i++ {
		serve(before, postInvoice())
		settled(t, t.Name())
	}
}

func TestHungShadowIsLeftAlone(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	release := shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
		c.Timeout = "100ms"
		c.MaxInFlight = "20"
	})
	m := mirrorCalled(t, t.Name())
	for i := 0; i < 20; i++ {
		serve(h, postInvoice())
	}
	eventually(t, "the pause", func() bool { return paused(m) })
	release()
	eventually(t, "its end", func() bool {
		serve(h, postInvoice())
		time.Sleep(10 * time.Millisecond)
		return !paused(m)
	})
}

// holdProbe keeps the time of the next probe from coming.
func holdProbe(m *mirror) {
	m.pause.mu.Lock()
	defer m.pause.mu.Unlock()
	m.pause.timer.Stop()
}

func nextWait(m *mirror) time.Duration {
	m.pause.mu.Lock()
	defer m.pause.mu.Unlock()
	return m.pause.length
}

func paused(m *mirror) bool {
	m.pause.mu.Lock()
	defer m.pause.mu.Unlock()
	return m.pause.on
}

// settledOrPaused waits until nothing is in flight.
func settledOrPaused(t *testing.T, m *mirror) {
	t.Helper()
	eventually(t, "no request in flight", func() bool {
		n := m.inFlight.Load()
		return n == 0 || n == pausedPlaces
	})
}
