package mirror

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
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

// failUntilPaused has a shadow that fails be left alone.
func failUntilPaused(t *testing.T, h http.Handler) {
	t.Helper()
	for i := 0; i < failuresToPause; i++ {
		serve(h, getInvoice())
		settled(t, t.Name())
	}
	if !paused(mirrorCalled(t, t.Name())) {
		t.Fatalf("after %d failures in a row the shadow is not left alone", failuresToPause)
	}
}

func TestSickShadowIsLeftAloneUntilItAnswers(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	heal := failing(shadow)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	m := mirrorCalled(t, t.Name())
	failUntilPaused(t, h)
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
	dueProbe(m)
	for i := 0; i < 50; i++ {
		serve(h, postInvoice())
	}
	settled(t, t.Name())
	if n := len(shadow.snapshot()); n != failuresToPause+1 {
		t.Errorf("shadow got %d requests, want %d and one probe", n, failuresToPause)
	}
	eventually(t, "a wait twice as long after a probe that failed", func() bool { return nextWait(m) == 2*firstPause })
	heal()
	eventually(t, "the next probe to be due", func() bool { return m.shadow.pause.turn.Load() })
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
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxPause", "0") })
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
	failUntilPaused(t, h)
	heal()
	eventually(t, "a probe to be due", func() bool { return m.shadow.pause.turn.Load() })
	req := postInvoice()
	req.ContentLength = 1000
	req.Body = &failingBody{data: invoice, err: io.ErrUnexpectedEOF}
	if rec := serve(h, req); rec.Code != http.StatusBadRequest {
		t.Fatalf("client got %d, want 400", rec.Code)
	}
	serve(h, postInvoice())
	if n := settled(t, t.Name()).counts.answers(); n != 1 {
		t.Errorf("mirrored %d, want the second to be the probe", n)
	}
}

// A pause is its shadow's: other options, with another shadow, begin without one, and
// what is found out late about the shadow before does not end theirs.
func TestPauseIsItsShadows(t *testing.T) {
	captureLog(t)
	slow, sick := startUpstream(t), startUpstream(t)
	answer := slow.hang(t)
	before, cancel := instance(t, t.Name(), slow.URL, nil)
	serve(before, postInvoice())
	slow.wait(t, 1)
	cancel()
	heal := failing(sick)
	after, _ := instance(t, t.Name(), sick.URL, nil)
	m := mirrorCalled(t, t.Name())
	for i := 0; i < failuresToPause; i++ {
		serve(after, postInvoice())
		eventually(t, "the exchange to end", func() bool { return m.inFlight.Load() == 1 })
	}
	if !paused(m) {
		t.Fatalf("after %d failures in a row the new shadow is not left alone", failuresToPause)
	}
	holdProbe(m)
	answer()
	settled(t, t.Name())
	if !paused(m) {
		t.Error("an answer of the shadow before has ended the pause")
	}
	heal()
	well, _ := instance(t, t.Name(), slow.URL, nil)
	serve(well, postInvoice())
	slow.wait(t, 2)
	settled(t, t.Name())
	if paused(m) {
		t.Error("other options have begun with a pause")
	}
}

// A request that cannot be sent, or not yet, does not keep the turn of the probe: the
// next has it at once.
func TestNextRequestIsTheProbeWhereOneCannotBeSent(t *testing.T) {
	tests := []struct {
		name    string
		options map[string]string
		first   func(t *testing.T, h http.Handler) (end func())
	}{
		{"an upload that does not end, streamed", map[string]string{"bodyMode": "stream"}, uploadSlowly(-1)},
		{"a large one, streamed", map[string]string{"bodyMode": "stream"}, uploadSlowly(200 << 10)},
		{"an upload that does not end", nil, uploadSlowly(-1)},
		{"a small one", nil, uploadSlowly(1 << 10)},
		{"one above the limit, in chunks", map[string]string{"maxBodySize": "10"}, func(_ *testing.T, h http.Handler) func() {
			req := postInvoice()
			req.ContentLength = -1
			serve(h, req)
			return func() {}
		}},
		{"an offer to upgrade", nil, func(_ *testing.T, h http.Handler) func() {
			req := httptest.NewRequest(http.MethodGet, "/events", nil)
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
			serve(h, req)
			return func() {}
		}},
		{"one that cannot be written", nil, func(t *testing.T, h http.Handler) func() {
			req := httptest.NewRequest(http.MethodGet, "/invoices", nil)
			req.Method = "GET /"
			serve(h, req)
			settled(t, t.Name())
			return func() {}
		}},
		{"a body that breaks off", nil, func(_ *testing.T, h http.Handler) func() {
			req := postInvoice()
			req.ContentLength = 1000
			req.Body = &failingBody{data: invoice, err: io.ErrUnexpectedEOF}
			serve(h, req)
			return func() {}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			captureLog(t)
			shadow := startUpstream(t)
			heal := failing(shadow)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { setOptions(c, tt.options) })
			m := mirrorCalled(t, t.Name())
			failUntilPaused(t, h)
			holdProbe(m)
			heal()
			dueProbe(m)
			end := tt.first(t, h)
			defer end()
			before := m.counts.answers()
			serve(h, getInvoice())
			eventually(t, "an answer to the next request", func() bool { return m.counts.answers() == before+1 })
			eventually(t, "the end of the pause", func() bool { return !paused(m) })
		})
	}
}

// While clients that send slowly hold all places, a request without a body is mirrored
// beside them, and can be the probe too.
func TestProbeHasAPlaceBesideSlowUploads(t *testing.T) {
	const places = 4
	captureLog(t)
	shadow := startUpstream(t)
	heal := failing(shadow)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", strconv.Itoa(places)) })
	m := mirrorCalled(t, t.Name())
	for i := 0; i < places; i++ {
		end := uploadSlowly(1<<10)(t, h)
		defer end()
	}
	for i := 0; i < failuresToPause; i++ {
		serve(h, getInvoice())
		eventually(t, "the exchange to end", func() bool { return m.inFlight.Load() == places && len(m.shadow.idle) > 0 })
	}
	if !paused(m) || m.counts.full.Load() != 0 {
		t.Fatalf("%s, and %d found no place; want all %d to have been sent, and the shadow left alone", stateOf(m), m.counts.full.Load(), failuresToPause)
	}
	holdProbe(m)
	heal()
	dueProbe(m)
	serve(h, getInvoice())
	eventually(t, "the end of the pause", func() bool { return !paused(m) })
}

func getInvoice() *http.Request {
	return httptest.NewRequest(http.MethodGet, "/invoices/2026-0042", nil)
}

// uploadSlowly sends a request whose body comes to its end when that is called.
func uploadSlowly(length int64) func(*testing.T, http.Handler) func() {
	return func(t *testing.T, h http.Handler) func() {
		body, client := io.Pipe()
		req := httptest.NewRequest(http.MethodPut, "/invoices/2026-0042/scan", body)
		req.ContentLength = length
		served := make(chan bool)
		go serveThenTell(h, req, served)
		io.WriteString(client, "scan") // which returns when somebody reads it
		return func() {
			client.CloseWithError(io.ErrUnexpectedEOF)
			<-served
		}
	}
}

// A probe ends with its exchange with the shadow, however long live takes.
func TestProbeEndsWithItsExchange(t *testing.T) {
	for _, options := range []map[string]string{nil, {"compare": "true", "timeout": "1m"}, {"bodyMode": "stream"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			captureLog(t)
			shadow := startUpstream(t)
			heal := failing(shadow)
			end := make(chan bool)
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				io.Copy(io.Discard, req.Body)
				if req.Method == http.MethodPut {
					<-end
				}
			})
			h := mirrorTo(t, shadow.URL, live, func(c *Config) { setOptions(c, options) })
			m := mirrorCalled(t, t.Name())
			failUntilPaused(t, h)
			holdProbe(m)
			heal()
			dueProbe(m)
			served := make(chan bool)
			client, leave := context.WithCancel(context.Background())
			defer leave()
			upload := httptest.NewRequest(http.MethodPut, "/invoices/2026-0042/scan", strings.NewReader(large)).WithContext(client)
			go serveThenTell(h, upload, served)
			eventually(t, "the end of the pause", func() bool { return !paused(m) })
			close(end)
			<-served
		})
	}
}

// Waits grow, up to the option, and go on growing for a shadow that comes and goes,
// until it was well for a while. The log tells of one such pause in a minute.
func TestPausesGrow(t *testing.T) {
	book := captureLog(t)
	mirrorTo(t, "http://billing-next:8080", echoLive, func(c *Config) { c.set("maxPause", "10s") })
	m := mirrorCalled(t, t.Name())
	s, p := m.shadow, m.shadow.pause
	now := time.Date(2026, 11, 27, 20, 15, 0, 0, time.UTC)
	failTenTimes := func() {
		for i := 0; i < failuresToPause; i++ {
			s.failed(false, io.ErrUnexpectedEOF, now)
		}
	}
	steps := []struct {
		name string
		do   func()
		want time.Duration // the wait, jitter apart; 0: the shadow is well
	}{
		{"nine failures", func() {
			for i := 1; i < failuresToPause; i++ {
				s.failed(false, io.ErrUnexpectedEOF, now)
			}
		}, 0},
		{"an answer, and nine more", func() {
			s.answered(false, now)
			for i := 1; i < failuresToPause; i++ {
				s.failed(false, io.ErrUnexpectedEOF, now)
			}
		}, 0},
		{"the tenth in a row", func() { s.failed(false, io.ErrUnexpectedEOF, now) }, time.Second},
		{"one that began before", func() { s.failed(false, io.ErrUnexpectedEOF, now) }, time.Second},
		{"an answer to one that began before", func() { s.answered(false, now) }, time.Second},
		{"a probe that fails", func() { s.failed(true, io.ErrUnexpectedEOF, now) }, 2 * time.Second},
		{"another", func() { s.failed(true, io.ErrUnexpectedEOF, now) }, 4 * time.Second},
		{"a probe that is answered", func() { s.answered(true, now) }, 0},
		{"ten failures soon after", func() { now = now.Add(time.Second); failTenTimes() }, 8 * time.Second},
		{"an answer, and ten failures", func() { s.answered(true, now); failTenTimes() }, 10 * time.Second},
		{"a probe that fails, at the longest", func() { s.failed(true, io.ErrUnexpectedEOF, now) }, 10 * time.Second},
		{"ten failures after it was well for long", func() {
			s.answered(true, now)
			now = now.Add(time.Minute)
			failTenTimes()
		}, time.Second},
	}
	for _, step := range steps {
		step.do()
		if well := stateOf(m) == well; well != (step.want == 0) || !well && p.length != step.want {
			t.Fatalf("%s: %s, and a wait of %s; want %s", step.name, stateOf(m), p.length, step.want)
		}
		if least, most := now.Add(step.want*8/10), now.Add(step.want*12/10); step.want > 0 && (p.due.Before(least) || p.due.After(most)) {
			t.Errorf("%s: the next probe is due in %s, want %s or a fifth more or less", step.name, p.due.Sub(now), step.want)
		}
		if (len(p.leftAlone) > 0) != (step.want > 0) {
			t.Errorf("%s: the live path takes the shadow to be left alone: %t", step.name, len(p.leftAlone) > 0)
		}
	}
	if lines := book.lines(); len(lines) != 3 {
		t.Errorf("logged %q, want the first pause, its end, and one that began a minute later", lines)
	}
}

// Hours in which the shadow is down: the waits for probes grow up to maxPause and never
// beyond, each ends with one probe, and there is no other request in between.
func TestWaitsForProbesNeverGrowBeyondMaxPause(t *testing.T) {
	tests := []struct {
		maxPause string // "": as it is by default
		longest  time.Duration
		probes   int
		reached  int // probes until the longest wait
	}{
		{"", 30 * time.Second, 100, 5}, {"10s", 10 * time.Second, 100, 4}, {"500ms", 500 * time.Millisecond, 20, 0}, {"3h", 3 * time.Hour, 40, 14},
	}
	for _, tt := range tests {
		t.Run(tt.longest.String(), func(t *testing.T) {
			captureLog(t)
			advance := handClockOf(t)
			shadow := startUpstream(t)
			heal := failing(shadow)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
				if tt.maxPause != "" {
					c.set("maxPause", tt.maxPause)
				}
			})
			m := mirrorCalled(t, t.Name())
			failUntilPaused(t, h)
			began := clock()
			wait := firstPause
			early := 0 // how often it was asked before the time
			for i := 0; i < tt.probes; i++ {
				if i == 0 && tt.longest < wait {
					wait = tt.longest
				}
				if got := nextWait(m); got != wait || (got == tt.longest) != (i >= tt.reached) {
					t.Fatalf("after %d probes and %s it waits for %s, want %s, and the longest from the probe %d on", i, clock().Sub(began), got, wait, tt.reached)
				}
				asked := len(shadow.snapshot())
				due := dueOf(m)
				if in := due.Sub(clock()); in > wait*12/10 {
					t.Fatalf("the next probe is due in %s, want %s or a fifth more at most", in, wait)
				}
				advance(due.Sub(clock()) / 2)
				openTurns()
				serve(h, getInvoice())
				settled(t, t.Name())
				if clock().Before(due) { // else the machine was too busy to ask before
					early++
					if n := len(shadow.snapshot()); n != asked {
						t.Fatalf("%d requests before the next probe was due, want none", n-asked)
					}
				}
				advance(due.Sub(clock()) + time.Millisecond)
				openTurns()
				serve(h, getInvoice())
				serve(h, getInvoice())
				eventually(t, "the next wait", func() bool { return dueOf(m).After(due) })
				settled(t, t.Name())
				if n := len(shadow.snapshot()); n != asked+1 {
					t.Fatalf("%d requests when the probe was due, want one", n-asked)
				}
				if wait *= 2; wait > tt.longest {
					wait = tt.longest
				}
			}
			if early < tt.probes/2 {
				t.Errorf("asked %d times of %d before the time", early, tt.probes)
			}
			// The first probe that is answered ends it, however long it was.
			heal()
			advance(tt.longest * 2)
			openTurns()
			serve(h, getInvoice())
			eventually(t, "the end of the pause", func() bool { return !paused(m) })
			settled(t, t.Name())
			// One that begins soon after waits for as long at once, and one that begins
			// later for a second again.
			failing(shadow)
			failUntilPaused(t, h)
			if got := nextWait(m); got != tt.longest {
				t.Errorf("a pause soon after begins with a wait of %s, want %s", got, tt.longest)
			}
			heal()
			advance(tt.longest * 2)
			openTurns()
			serve(h, getInvoice())
			eventually(t, "the end of the pause", func() bool { return !paused(m) })
			settled(t, t.Name())
			advance(forgetPauses)
			failing(shadow)
			failUntilPaused(t, h)
			if got := nextWait(m); got != firstPause && got != tt.longest || got > firstPause {
				t.Errorf("a pause after a minute begins with a wait of %s, want %s at most", got, firstPause)
			}
		})
	}
}

func TestHungShadowIsLeftAlone(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	release := shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
		c.set("timeout", "100ms")
		c.set("maxInFlight", "20")
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
	p := m.shadow.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = time.Now().Add(time.Hour)
}

// dueProbe has the time of the next probe come.
func dueProbe(m *mirror) { m.shadow.pause.openTurn(time.Now().Add(2 * time.Hour)) }

// dueOf is when the next probe may be sent.
func dueOf(m *mirror) time.Time {
	p := m.shadow.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.due
}

func nextWait(m *mirror) time.Duration {
	p := m.shadow.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.length
}

func stateOf(m *mirror) string {
	p := m.shadow.pause
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

func paused(m *mirror) bool { return stateOf(m) != well }
