package mirror

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// workersOf returns how many workers a shadow has.
func workersOf(s *shadow) int {
	return int(s.workers.Load())
}

// awaitIdle waits until all workers of a shadow wait for a copy, n of them.
func awaitIdle(t *testing.T, s *shadow, n int) {
	t.Helper()
	eventually(t, strconv.Itoa(n)+" idle workers", func() bool { return workersOf(s) == n && len(s.idle) == n && len(s.copies) == 0 })
}

// tendedByHand has nobody but the test tend a shadow's workers. It is called before the
// first copy.
func tendedByHand(s *shadow) *shadow {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interval = time.Hour
	s.tending.due = time.Now().Add(time.Hour)
	return s
}

// tendByHand does what the timer would, and reports whether there is nothing left to
// end.
func tendByHand(s *shadow) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return tendNow(s, time.Now())
}

// heap returns how many bytes are in use.
func heap() int64 {
	m := &runtime.MemStats{}
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
	runtime.ReadMemStats(m)
	return int64(m.HeapAlloc)
}

// grown returns by how much the heap has grown since before. What another test has left
// comes and goes meanwhile, so it looks again while that is more than most: what leaks
// stays.
func grown(before, most int64) int64 {
	n := heap() - before
	for deadline := time.Now().Add(20 * time.Second); n > most && time.Now().Before(deadline); n = heap() - before {
		time.Sleep(100 * time.Millisecond)
	}
	return n
}

// startWorkers has n workers there, idle, each with a connection, by n exchanges that
// hang for a while.
func startWorkers(t *testing.T, u *upstream, h http.Handler, m *mirror, n int) {
	t.Helper()
	release := u.hang(t)
	before := len(u.snapshot())
	for i := 0; i < n; i++ {
		serve(h, postInvoice())
	}
	u.wait(t, before+n)
	release()
	settled(t, m.name)
}

func TestWorkersStartOnDemand(t *testing.T) {
	tests := []struct {
		name               string
		places, hung, want int
	}{
		{"no request", 5, 0, 1},
		{"one", 5, 1, 2},
		{"some", 5, 3, 4},
		{"all but one of the places", 5, 4, 5},
		{"as many as places", 5, 5, 5},
		{"more than places", 5, 20, 5},
		{"one place", 1, 3, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			captureLog(t)
			shadow := startUpstream(t)
			release := shadow.hang(t)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", strconv.Itoa(tt.places)) })
			s := tendedByHand(mirrorCalled(t, t.Name()).shadow)
			for i := 0; i < tt.hung; i++ {
				serve(h, postInvoice())
			}
			idle := 1
			if tt.hung >= tt.places {
				idle = 0
			}
			shadow.wait(t, tt.want-idle)
			eventually(t, "one that is idle, unless all places are taken", func() bool { return len(s.idle) == idle })
			if n := workersOf(s); n != tt.want {
				t.Errorf("%d workers with %d requests hung and %d places, want %d", n, tt.hung, tt.places, tt.want)
			}
			release()
			settled(t, t.Name())
			awaitIdle(t, s, tt.want)
			// They are used again, and are enough.
			if tt.hung == 0 {
				return
			}
			for i := 0; i < 3*tt.want; i++ {
				serve(h, postInvoice())
				settled(t, t.Name())
				awaitIdle(t, s, tt.want)
			}
		})
	}
}

// What traffic has left behind goes when there is less of it: half of the idle
// workers, then all but one, and that one's connection at last.
func TestWorkersEndWhenThereIsLessToDo(t *testing.T) {
	shadow := startSink(t, false)
	h := mirrorTo(t, "http://"+shadow.addr, echoLive, nil)
	m := mirrorCalled(t, t.Name())
	s := tendedByHand(m.shadow)
	for i := 0; i < 20; i++ {
		serve(h, postInvoice())
	}
	eventually(t, "20 exchanges", func() bool { return shadow.received.Load() == int64(20*len(invoice)) })
	close(shadow.gate)
	settled(t, t.Name())
	awaitIdle(t, s, 21)
	if n := shadow.open.Load(); n != 20 {
		t.Errorf("%d connections after 20 exchanges at once, want 20", n)
	}
	tendByHand(s)
	awaitIdle(t, s, 11)
	serve(h, postInvoice())
	settled(t, t.Name())
	awaitIdle(t, s, 11)
	tendByHand(s)
	awaitIdle(t, s, 6)
	tendByHand(s) // without a copy since
	awaitIdle(t, s, 1)
	eventually(t, "one connection at most", func() bool { return shadow.open.Load() <= 1 })

	oneWorker(t, t.Name()) // so that the one that has a connection is the last
	serve(h, postInvoice())
	settled(t, t.Name())
	for i := 0; i <= int(idleTimeout/tendInterval); i++ {
		tendByHand(s)
		awaitIdle(t, s, 1)
	}
	if n := shadow.open.Load(); n != 1 {
		t.Errorf("%d connections when the last worker has not been idle for %s, want one", n, idleTimeout)
	}
	if !tendByHand(s) {
		t.Errorf("there is something left to end, want nothing")
	}
	eventually(t, "the last connection to be closed", func() bool { return shadow.open.Load() == 0 })
	serve(h, postInvoice())
	settled(t, t.Name())
	if n := m.counts.answers(); n != 23 {
		t.Errorf("%d answered, want all 23", n)
	}
}

func TestWorkersThatAreBusyGoOn(t *testing.T) {
	shadow := startUpstream(t)
	release := shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, nil)
	m := mirrorCalled(t, t.Name())
	tendedByHand(m.shadow)
	for i := 0; i < 5; i++ {
		serve(h, postInvoice())
	}
	shadow.wait(t, 5)
	for i := 0; i < 10; i++ {
		tendByHand(m.shadow)
	}
	release()
	settled(t, t.Name())
	if m.counts.answers() != 5 {
		t.Errorf("%d answered, want 5", m.counts.answers())
	}
	awaitIdle(t, m.shadow, 6)
}

// A mirror costs one goroutine until it has traffic, and none once it is gone.
func TestGoroutinesOfAMirror(t *testing.T) {
	shortGrace(t, 0)
	tests := []struct {
		name    string
		traffic int
		ends    bool // the shadow ends each connection with its answer
	}{{"no traffic", 0, false}, {"traffic", 30, false}, {"connections that end", 30, true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.Config.SetKeepAlivesEnabled(!tt.ends)
			before := runtime.NumGoroutine()
			h, cancel := instance(t, t.Name(), shadow.URL, nil)
			if n := runtime.NumGoroutine() - before; n > 1 {
				t.Errorf("%d goroutines for a mirror without traffic, want one at most", n)
			}
			if tt.traffic > 0 {
				startWorkers(t, shadow, h, h.shadow.mirror, tt.traffic)
			}
			cancel()
			eventually(t, "no worker", func() bool { return workersOf(h.shadow) == 0 })
			eventually(t, "no goroutine of the mirror, nor of its connections", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}

// A copy that comes when its shadow has been replaced is served all the same, while
// the workers end or when the last one has.
func TestCopiesOfARetiredShadowAreServed(t *testing.T) {
	old, next := startUpstream(t), startUpstream(t)
	before, cancel := instance(t, t.Name(), old.URL, nil)
	serve(before, postInvoice())
	m := settled(t, t.Name())
	cancel()
	instance(t, t.Name(), next.URL, nil)
	s := before.shadow
	if !s.retired.Load() {
		t.Fatal("the shadow is not retired")
	}
	const n = 50
	for i := 0; i < n; i++ { // while it is being retired
		serve(before, postInvoice())
	}
	settled(t, t.Name())
	for i := 0; i < n; i++ { // after the last worker
		eventually(t, "no worker", func() bool {
			tendByHand(s)
			return workersOf(s) == 0
		})
		serve(before, postInvoice())
		eventually(t, "the late copy to be served", func() bool {
			tendByHand(s)
			return m.inFlight.Load() == 0
		})
	}
	if got := len(old.snapshot()); got != 2*n+1 || m.counts.answers() != 2*n+1 {
		t.Errorf("the replaced shadow got %d copies and %d are counted, want %d", got, m.counts.answers(), 2*n+1)
	}
	if n := len(next.snapshot()); n != 0 {
		t.Errorf("the new shadow got %d copies, want none", n)
	}
	eventually(t, "no worker", func() bool {
		tendByHand(s)
		return workersOf(s) == 0
	})
}

// Copies that are sent at any moment of a retirement, many times.
func TestCopiesDuringRetirementAreServed(t *testing.T) {
	shadow := startUpstream(t)
	for i := 0; i < 100; i++ {
		name := t.Name() + strconv.Itoa(i)
		h, _ := instance(t, name, shadow.URL, nil)
		m := mirrorCalled(t, name)
		sent := make(chan bool, 4)
		for j := 0; j < 4; j++ {
			go sendSome(h, 5, sent)
		}
		h.shadow.retire()
		for j := 0; j < 4; j++ {
			<-sent
		}
		eventually(t, "all to be served", func() bool {
			tendByHand(h.shadow)
			return m.inFlight.Load() == 0
		})
		if m.counts.answers() != 20 {
			t.Fatalf("turn %d: %d of 20 answered", i, m.counts.answers())
		}
	}
}

func sendSome(h http.Handler, n int, sent chan bool) {
	for i := 0; i < n; i++ {
		serve(h, postInvoice())
	}
	sent <- true
}

// A worker that panics is replaced, and gives its place back.
func TestWorkersSurvivePanics(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	const places = 10
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
		c.set("maxInFlight", strconv.Itoa(places))
		c.set("maxPause", "0")
	})
	m := mirrorCalled(t, t.Name())
	s := tendedByHand(m.shadow)
	director := s.director
	s.joins = true
	s.director = func(req *http.Request) {
		if req.Header.Get("X-Panic") != "" {
			panic("no invoices on Sundays")
		}
		director(req)
	}
	sent := make(chan bool, 4)
	for i := 0; i < 4; i++ {
		go panicSometimes(h, m, 100, sent)
	}
	for i := 0; i < 4; i++ {
		<-sent
	}
	settled(t, t.Name())
	if panics, answered := m.counts.failed.Load(), m.counts.answers(); panics != 200 || answered != 200 {
		t.Errorf("%d panics and %d answered, want 200 of each", panics, answered)
	}
	eventually(t, "all workers to be idle", func() bool { return len(s.idle) == workersOf(s) })
	if n := workersOf(s); n < 1 || n > places {
		t.Errorf("%d workers, want between 1 and %d", n, places)
	}
	// All places are there.
	release := shadow.hang(t)
	before := len(shadow.snapshot())
	for i := 0; i < places+3; i++ {
		serve(h, postInvoice())
	}
	shadow.wait(t, before+places)
	if n := m.inFlight.Load(); n != places {
		t.Errorf("%d in flight, want all %d places", n, places)
	}
	release()
	settled(t, t.Name())
}

// panicSometimes sends n requests, every other of which makes a worker panic, and
// none without a place.
func panicSometimes(h http.Handler, m *mirror, n int, sent chan bool) {
	for i := 0; i < n; i++ {
		for m.inFlight.Load() > 5 {
			time.Sleep(time.Millisecond)
		}
		req := postInvoice()
		if i%2 == 0 {
			req.Header.Set("X-Panic", "1")
		}
		serve(h, req)
	}
	sent <- true
}

// A worker that waits holds a little: its connection, and nothing of the body that it
// has sent last.
func TestIdleWorkersHoldNoBodies(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
	}{
		{"buffer", nil},
		{"stream", func(c *Config) { c.set("bodyMode", "stream") }},
		{"comparing", func(c *Config) { c.set("compare.body", "json") }},
	}
	scan := strings.Repeat("scan", 1<<18)
	// Interpreted, a frame is ten times as large as it is compiled.
	most := int64(2 << 20)
	if !natively {
		most = 4 << 20
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			small := heldByIdle(t, tt.name+" small", invoice, tt.set, most)
			large := heldByIdle(t, tt.name+" large", scan, tt.set, most)
			t.Logf("100 idle workers, their connections and the other ends hold %d bytes after bodies of %d, and %d after 1 MiB", small, len(invoice), large)
			if large > most {
				t.Errorf("%d bytes held after 100 bodies of 1 MiB, want no more than %d", large, most)
			}
		})
	}
}

// heldByIdle returns how many bytes 100 workers hold that have sent this body.
func heldByIdle(t *testing.T, name, body string, set func(*Config), most int64) int64 {
	t.Helper()
	shadow := startSink(t, false)
	done := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { drainBody(req) })
	h := mirrorNamedTo(t, name, "http://"+shadow.addr, done, func(c *Config) {
		c.set("maxInFlight", "100")
		c.set("timeout", "5m") // 100 MiB are much for a busy machine
		if set != nil {
			set(c)
		}
	})
	m := mirrorCalled(t, name)
	tendedByHand(m.shadow)
	before := heap()
	for i := 0; i < 100; i++ {
		put(h, body)
	}
	eventually(t, "all bodies at the shadow", func() bool { return shadow.received.Load() == int64(100*len(body)) })
	close(shadow.gate)
	settled(t, name)
	awaitIdle(t, m.shadow, 100)
	if n := m.counts.answers(); n != 100 {
		t.Errorf("%d answered, want 100", n)
	}
	return grown(before, most)
}

// put sends a body. It is a function of its own so that no frame of the test's holds
// the request.
func put(h http.Handler, body string) {
	serve(h, httptest.NewRequest(http.MethodPut, "/invoices/7/scan", strings.NewReader(body)))
}

// drainBody reads a request's body without allocating for it.
func drainBody(req *http.Request) {
	part := make([]byte, 4096)
	for {
		if _, err := req.Body.Read(part); err != nil {
			return
		}
	}
}

// Workers that are started by workers, generation after generation, leave nothing
// behind; nor do those that panic.
func TestGenerationsOfWorkersLeaveNothingBehind(t *testing.T) {
	captureLog(t)
	shadow := startSink(t, true)
	done := http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {})
	h := mirrorTo(t, "http://"+shadow.addr, done, func(c *Config) { c.set("maxPause", "0") })
	m := mirrorCalled(t, t.Name())
	s := tendedByHand(m.shadow)
	director := s.director
	s.joins = true
	s.director = func(req *http.Request) {
		if req.Header.Get("X-Panic") != "" {
			panic("no invoices on Sundays")
		}
		director(req)
	}
	tests := []struct {
		name        string
		generations int
		next        func()
	}{
		// Each copy starts one more worker, and the token ends one of the two.
		{"stopped", 2000, func() {
			h.ServeHTTP(&httptest.ResponseRecorder{}, postInvoice())
			settled(t, s.mirror.name)
			awaitIdle(t, s, 2)
			s.copies <- stop
			awaitIdle(t, s, 1)
		}},
		{"panicked", 200, func() { // the interpreter writes a line for each
			req := postInvoice()
			req.Header.Set("X-Panic", "1")
			h.ServeHTTP(&httptest.ResponseRecorder{}, req)
			settled(t, s.mirror.name)
			eventually(t, "one that is idle", func() bool { return len(s.idle) == workersOf(s) })
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := 0; i < 50; i++ { // what is made once
				tt.next()
			}
			before := heap()
			for i := 0; i < tt.generations; i++ {
				tt.next()
			}
			more := grown(before, 100<<10)
			t.Logf("%d bytes more after %d generations", more, tt.generations)
			if more > 100<<10 {
				t.Errorf("%d bytes more after %d generations, want less than 100 KiB", more, tt.generations)
			}
		})
	}
}

// Tokens to stop and copies come in any order: there is always a worker that receives.
func TestTokensNeverEndTheLastWorker(t *testing.T) {
	shadow := startSink(t, true)
	done := http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {})
	h := mirrorTo(t, "http://"+shadow.addr, done, func(c *Config) { c.set("maxInFlight", "50") })
	m := mirrorCalled(t, t.Name())
	s := m.shadow
	const senders = 4
	const each = 300
	sent := make(chan bool, senders)
	ended := make(chan bool, 2)
	over := &atomic.Bool{}
	for i := 0; i < 2; i++ {
		go sendStops(s, over, ended)
	}
	for i := 0; i < senders; i++ {
		go sendWithPlace(h, m, each, sent)
	}
	for i := 0; i < senders; i++ {
		<-sent
	}
	settled(t, t.Name())
	over.Store(true)
	<-ended
	<-ended
	if m.counts.answers() != senders*each || m.counts.failed.Load() != 0 || m.counts.full.Load() != 0 {
		t.Errorf("%d of %d answered, %d failed, %d without a place", m.counts.answers(), senders*each, m.counts.failed.Load(), m.counts.full.Load())
	}
	eventually(t, "all tokens to be taken", func() bool { return len(s.copies) == 0 && len(s.idle) == workersOf(s) })
	if n := workersOf(s); n < 1 {
		t.Errorf("%d workers, want one at least", n)
	}
}

// sendStops sends tokens, as many as there are idle workers and no more, as tending
// does, until over.
func sendStops(s *shadow, over *atomic.Bool, ended chan bool) {
	for !over.Load() {
		s.mu.Lock()
		if len(s.copies) == 0 {
			sendTokens(s, stop, len(s.idle))
		}
		s.mu.Unlock()
		runtime.Gosched()
	}
	ended <- true
}

func sendWithPlace(h http.Handler, m *mirror, n int, sent chan bool) {
	for i := 0; i < n; i++ {
		for m.inFlight.Load() > 20 {
			runtime.Gosched()
		}
		h.ServeHTTP(&httptest.ResponseRecorder{}, postInvoice())
	}
	sent <- true
}

// A send to the workers never waits: there is room for a copy of everybody who can have
// a place, and for as many tokens as are sent at once.
func TestSendsToTheWorkersNeverWait(t *testing.T) {
	for _, places := range []int{1, 2, 50} {
		t.Run(strconv.Itoa(places), func(t *testing.T) {
			captureLog(t)
			shadow := startUpstream(t)
			mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", strconv.Itoa(places)) })
			s := mirrorCalled(t, t.Name()).shadow
			if room := cap(s.copies); room < 2*places+mostTokens {
				t.Errorf("room for %d, want it for %d copies and %d tokens", room, 2*places, mostTokens)
			}
			// A sentry that gives way is idle for a moment beside the worker.
			if room := cap(s.idle); room < places+1 {
				t.Errorf("room for %d idle workers, want it for %d", room, places+1)
			}
		})
	}
}

// With all places taken and no worker that receives, live does not wait, and tending
// does not either.
func TestLiveDoesNotWaitForWorkers(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	release := shadow.hang(t)
	const places = 5
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", strconv.Itoa(places)) })
	m := mirrorCalled(t, t.Name())
	s := tendedByHand(m.shadow)
	// No worker more than there is, so that the others' copies stay in the channel.
	oneWorker(t, t.Name())
	for i := 0; i < places; i++ {
		serve(h, postInvoice())
	}
	shadow.wait(t, 1)
	eventually(t, "all copies but one in the channel", func() bool { return len(s.copies) == places-1 })
	for i := 0; i < places+1; i++ {
		sent := make(chan bool, 1)
		go sendOneStop(s, sent)
		<-sent
	}
	for i := 0; i < 10; i++ {
		if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated {
			t.Errorf("client got %d, want 201", rec.Code)
		}
		tendByHand(s)
	}
	release()
	settled(t, t.Name())
	if m.counts.answers() != places {
		t.Errorf("%d answered, want %d", m.counts.answers(), places)
	}
	awaitIdle(t, s, 1)
}

func sendOneStop(s *shadow, sent chan bool) {
	s.copies <- stop
	sent <- true
}
