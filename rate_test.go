package mirror

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// exhaustRate has no copy be sent any more, however slow the test is.
func exhaustRate(l *limiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.sent {
		l.sent[i] = time.Hour
	}
	l.oldest.Store(int64(time.Hour))
}

func replenishRate(l *limiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.sent {
		l.sent[i] = -rateWindow
	}
	l.oldest.Store(int64(-rateWindow))
}

// mostInASecond is the largest number of these times, which ascend, in one second.
func mostInASecond(times []time.Duration) int {
	most := 0
	first := 0
	for i := range times {
		for times[i]-times[first] > time.Second {
			first++
		}
		if n := i - first + 1; n > most {
			most = n
		}
	}
	return most
}

func TestRateIsNeverExceededInAnySecond(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, n := range []int{1, 2, 7, 100} {
		l := newLimiter(n)
		var sent []time.Duration
		now := time.Duration(0)
		for i := 0; i < 5000; i++ {
			// Bursts, a steady flow, and times of silence.
			if random.IntN(5*n) == 0 {
				now += time.Duration(random.IntN(1500)) * time.Millisecond
			} else {
				now += time.Duration(random.IntN(3)) * time.Second / time.Duration(2*n)
			}
			if l.take(now) {
				sent = append(sent, now)
			}
		}
		if most := mostInASecond(sent); most != n {
			t.Errorf("at most %d copies in a second, want %d", most, n)
		}
	}
}

func TestChangedRateCountsWhatWasSentBefore(t *testing.T) {
	tests := []struct {
		name          string
		before, after int
		sent, want    int // copies within one second, before the change and after it
	}{
		{"more", 3, 5, 3, 2},
		{"fewer", 5, 3, 5, 0},
		{"fewer, and not all of them sent", 5, 3, 2, 1},
		{"the same", 4, 4, 3, 1},
	}
	for _, tt := range tests {
		l := newLimiter(tt.before)
		for i := 0; i < tt.sent; i++ {
			if !l.take(time.Duration(i)) {
				t.Errorf("%s: copy %d of %d was refused before the change", tt.name, i+1, tt.sent)
			}
		}
		l.resize(tt.after)
		got := 0
		for i := 0; i < 10; i++ {
			if l.take(500 * time.Millisecond) {
				got++
			}
		}
		if got != tt.want {
			t.Errorf("%s: %d copies after the change, want %d", tt.name, got, tt.want)
		}
	}
}

// Other options have another shadow, and what was sent within the last second still
// counts.
func TestRateOutlivesAChangeOfTheOptions(t *testing.T) {
	shadow := startUpstream(t)
	with := func(timeout, rate string) *mirror {
		mirrorTo(t, shadow.URL, echoLive, func(c *Config) { setOptions(c, map[string]string{"timeout": timeout, "maxRate": rate}) })
		return mirrorCalled(t, t.Name())
	}
	m := with("5s", "2")
	first := m.shadow
	for i := 0; i < 2; i++ {
		if !m.limit.take(0) {
			t.Fatalf("copy %d of 2 is refused", i+1)
		}
	}
	if m = with("6s", "3"); m.shadow == first || m.shadow.limit != m.limit {
		t.Fatal("the shadow is the one of before, or has another limiter than the mirror")
	}
	if !m.limit.take(0) || m.limit.take(0) {
		t.Error("with 3 in place of 2, want that one more may be sent, and no other")
	}
	if m = with("7s", ""); m.shadow.limit != nil {
		t.Error("without the option there is a limiter")
	}
}

// A request that is above the rate has its body left unread, and takes no place.
func TestRequestAboveTheRateIsLeftAlone(t *testing.T) {
	shadow := startUpstream(t)
	mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxRate", "1") })
	m := mirrorCalled(t, t.Name())
	exhaustRate(m.limit)
	req := postInvoice()
	body := req.Body
	same := false
	h := mirrorTo(t, shadow.URL, http.HandlerFunc(func(rw http.ResponseWriter, got *http.Request) {
		same = got.Body == body
		echoLive(rw, got)
	}), func(c *Config) { c.set("maxRate", "1") })
	if rec := serve(h, req); rec.Body.String() != invoice || !same {
		t.Errorf("client got %q, live the client's body: %v; want the invoice, and it", rec.Body, same)
	}
	if n := settled(t, t.Name()).counts.rate.Load(); n != 1 {
		t.Errorf("%d counted as rate, want 1", n)
	}
	replenishRate(m.limit)
	serve(h, postInvoice())
	shadow.wait(t, 1)
}

// The worker has the last word: copies that were on their way while the rate was not
// used up may all arrive at once. Compared or not, nothing of them is left.
func TestCopyAboveTheRateIsDroppedByTheWorker(t *testing.T) {
	for _, compared := range []string{"false", "true"} {
		shadow := startUpstream(t)
		name := t.Name() + compared
		config := CreateConfig()
		setOptions(config, map[string]string{"url": shadow.URL, "maxRate": "1", "compare": compared, "bodyMode": "stream"})
		ctx, cancel := context.WithCancel(context.Background())
		var m *mirror
		live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			exhaustRate(m.limit) // after the live path has asked, before the body has come
			echoLive(rw, req)
		})
		h, err := New(ctx, live, config, name)
		if err != nil {
			t.Fatal(err)
		}
		m = mirrorCalled(t, name)
		if rec := serve(h, postInvoice()); rec.Body.String() != invoice {
			t.Errorf("client got %q, want the invoice", rec.Body)
		}
		settled(t, name)
		if n := m.counts.rate.Load(); n != 1 || len(shadow.snapshot()) != 0 {
			t.Errorf("compare %s: %d counted as rate, %d at the shadow; want 1 and none", compared, n, len(shadow.snapshot()))
		}
		for outcome, pairs := range m.verdict.Snapshot().Totals.Outcomes {
			if pairs != 0 {
				t.Errorf("compare %s: %d pairs are %s, want none", compared, pairs, outcome)
			}
		}
		cancel()
	}
}

// Several middlewares at once, each with many clients: every request is either at the
// shadow or counted, and no shadow gets more than its middleware may send in that time.
func TestRateHoldsUnderLoad(t *testing.T) {
	all := &sync.WaitGroup{}
	for i := 0; i < 3; i++ {
		loadAtRate(t, all, t.Name()+string(rune('a'+i)))
	}
	all.Wait()
}

// loadAtRate has clients send to a middleware that may send 20 copies a second, and
// checks what has come of it when the test is over.
func loadAtRate(t *testing.T, all *sync.WaitGroup, name string) {
	const clients, each = 8, 40
	shadow := &timedShadow{began: time.Now()}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { shadow.note() }))
	t.Cleanup(server.Close)
	config := CreateConfig()
	setOptions(config, map[string]string{"url": server.URL, "maxRate": "20"})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	h, err := New(ctx, echoLive, config, name)
	if err != nil {
		t.Fatal(err)
	}
	all.Add(clients)
	for c := 0; c < clients; c++ {
		go sendEach(all, h, each)
	}
	t.Cleanup(func() { shadow.check(t, name, clients*each) })
}

func sendEach(all *sync.WaitGroup, h http.Handler, n int) {
	defer func() { all.Done() }()
	for i := 0; i < n; i++ {
		serve(h, postInvoice())
		serve(h, httptest.NewRequest(http.MethodGet, "/invoices/2026-0042", http.NoBody))
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
	}
}

// A timedShadow counts the requests that have come since it began.
type timedShadow struct {
	began time.Time
	mu    sync.Mutex
	count int64 // guarded by mu
}

func (s *timedShadow) note() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
}

// check holds what has come to what may be sent in as many seconds as have begun.
func (s *timedShadow) check(t *testing.T, name string, requests int) {
	m := settled(t, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.count + m.counts.rate.Load() + m.counts.full.Load(); got != int64(2*requests) {
		t.Errorf("%s: %d at the shadow, %d above the rate, %d without a place; want %d in all", name, s.count, m.counts.rate.Load(), m.counts.full.Load(), 2*requests)
	}
	elapsed := time.Since(s.began)
	if most := 20 * (1 + int64(elapsed/rateWindow)); s.count < 20 || s.count > most {
		t.Errorf("%s: %d at the shadow in %s; want 20 to %d", name, s.count, elapsed, most)
	}
}
