package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// number sends the request n times, one after the other.
func number(t *testing.T, h http.Handler, n int, set func(*http.Request)) {
	t.Helper()
	for i := 0; i < n; i++ {
		req := postInvoice()
		set(req)
		serve(h, req)
		eventually(t, "the exchange to end", func() bool { return mirrorCalled(t, t.Name()).inFlight.Load() == 0 })
	}
}

// Each reason for which no copy is sent has another number, so that none can pass for
// another.
func TestEachReasonIsCountedAsItself(t *testing.T) {
	captureLog(t)
	h := reporterFor(t)
	shadow := startUpstream(t)
	m := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
		c.set("methods", []string{"POST", "CONNECT"})
		c.set("maxRate", "2")
		c.set("maxBodySize", "100")
		c.set("maxInFlight", "1")
	})
	number(t, m, 1, func(_ *http.Request) {})
	number(t, m, 2, func(req *http.Request) { req.Method = http.MethodDelete })
	number(t, m, 3, func(req *http.Request) {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
	})
	number(t, m, 4, func(req *http.Request) { req.Method = http.MethodConnect })
	number(t, m, 5, func(req *http.Request) { req.Header.Set("Content-Type", "application/grpc") })
	number(t, m, 6, func(req *http.Request) { req.Header.Set(markerHeader, "edge") })
	number(t, m, 7, func(req *http.Request) { req.ContentLength = 101 })
	number(t, m, 11, func(req *http.Request) { req.Header.Set("Content-Type", "application/connect+json") })
	number(t, m, 12, func(req *http.Request) {
		req.Header.Set(markerHeader, t.Name())
		req.Header.Set(tokenHeader, tokenFor(t.Name()))
	})
	number(t, m, 8, func(req *http.Request) { req.Body = &closeRecorder{Reader: &brokenBody{}} })
	release := shadow.hang(t)
	for i := 0; i < 10; i++ { // one is under way, nine find no place
		serve(m, postInvoice())
	}
	release()
	awaitNoneInFlight(t, mirrorCalled(t, t.Name()))
	exhaustRate(mirrorCalled(t, t.Name()).limit)
	number(t, m, 13, func(_ *http.Request) {})
	checkDropped(t, reported(t, h), map[string]int64{
		"method": 2, "upgrade": 3, "connect_method": 4, "grpc": 5, "duplex": 11, "marked": 6, "loop": 12, "sampling": 0, "rate": 13,
		"full": 9, "paused": 0, "too_large": 7, "body_error": 8, "stream_incomplete": 0,
	})
	if r := reported(t, h); r.LostTotal != 24 || r.Lost["full"] != 9 || r.Lost["too_large"] != 7 || r.Lost["body_error"] != 8 {
		t.Errorf("lost %v, %d in all; want 9 full, 7 too_large, 8 body_error", r.Lost, r.LostTotal)
	}
}

func TestBodiesThatLiveDoesNotReadAreCounted(t *testing.T) {
	h := reporterFor(t)
	shadow := startUpstream(t)
	deaf := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusUnauthorized) })
	m := mirrorTo(t, shadow.URL, deaf, func(c *Config) { c.set("bodyMode", "stream") })
	number(t, m, 3, func(req *http.Request) {
		req.Body = io.NopCloser(strings.NewReader(strings.Repeat("invoice", 20000)))
		req.ContentLength = 140000
	})
	checkDropped(t, reported(t, h), map[string]int64{
		"method": 0, "upgrade": 0, "connect_method": 0, "grpc": 0, "marked": 0, "sampling": 0,
		"full": 0, "paused": 0, "too_large": 0, "body_error": 0, "stream_incomplete": 3,
	})
}

func checkDropped(t *testing.T, r *report.Middleware, want map[string]int64) {
	t.Helper()
	for reason, n := range r.Dropped {
		if n != want[reason] {
			t.Errorf("%d dropped as %s, want %d", n, reason, want[reason])
		}
	}
	for reason := range want {
		if _, known := r.Dropped[reason]; !known {
			t.Errorf("no %s among the reasons for a drop: %v", reason, r.Dropped)
		}
	}
}

func TestEachFailureIsCountedAsItself(t *testing.T) {
	captureLog(t)
	h := reporterFor(t)
	mirrorTo(t, "http://billing-next:8080", echoLive, nil)
	c := mirrorCalled(t, t.Name()).counts
	c.interval = time.Hour
	tests := []struct {
		n   int
		err error
	}{
		{2, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}},
		{3, context.DeadlineExceeded},
		{4, errors.New("remote error: tls: bad certificate")},
		{5, io.ErrUnexpectedEOF},
		{6, errLate},
		{7, fmt.Errorf("%w: index out of range", errPanic)},
	}
	for _, tt := range tests {
		for i := 0; i < tt.n; i++ {
			c.fail(tt.err)
		}
	}
	r := reported(t, h)
	want := map[string]int64{"connect": 2, "timeout": 3, "tls": 4, "protocol": 5, "late": 6, "internal": 7}
	if fmt.Sprint(r.Failed) != fmt.Sprint(want) {
		t.Errorf("failed %v, want %v", r.Failed, want)
	}
	if r.LostTotal != 27 || r.Eligible != 27 || r.Lost["late"] != 6 || !strings.HasPrefix(r.State.LastError, "panic in the plugin") {
		t.Errorf("%d lost (%v) of %d, last error %q; want 27, 6 of them late, of 27, and the panic", r.LostTotal, r.Lost, r.Eligible, r.State.LastError)
	}
	metrics := get(h, "/metrics").Body.String()
	for reason, n := range want {
		for _, series := range []string{"mirror_lost_requests_total{middleware=%q,reason=%q} %d\n", "mirror_failed_requests_total{middleware=%q,kind=%q} %d\n"} {
			if line := fmt.Sprintf(series, t.Name(), reason, n); !strings.Contains(metrics, line) {
				t.Errorf("the metrics lack %q", line)
			}
		}
	}
}

// What is measured is measured on the side that it is told of, in full.
func TestLatenciesAndBytesAreThoseOfTheirSide(t *testing.T) {
	h := reporterFor(t)
	shadow := startUpstream(t)
	const answer = `{"status":"booked"}`
	shadow.answer = func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(200 * time.Millisecond)
		io.WriteString(rw, answer)
	}
	live := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		io.WriteString(rw, answer)
	})
	m := comparingTo(t, shadow.URL, live, nil)
	for i := 0; i < 3; i++ {
		serve(m, postInvoice())
		outcomes(t, t.Name(), int64(i+1))
	}
	r := reported(t, h)
	// A sleep lasts as long as it says at least. A quantile is told to a sixteenth.
	tests := []struct {
		name  string
		took  *report.Latency
		least float64
	}{
		{"live", r.ComparedLive, 0.05}, {"the shadow", r.ComparedShadow, 0.2}, {"all copies", r.ShadowLatency, 0.2},
		{"live, of the comparison", r.Comparison.Live, 0.05}, {"the shadow, of the comparison", r.Comparison.Shadow, 0.2},
	}
	for _, tt := range tests {
		if tt.took.Count != 3 || tt.took.Sum < 3*tt.least || tt.took.P50 < tt.least*15/16 || tt.took.P99 < tt.took.P50 {
			t.Errorf("%s: %d took %v s, half of them %v s; want 3, each at least %v s", tt.name, tt.took.Count, tt.took.Sum, tt.took.P50, tt.least)
		}
	}
	if r.RequestBytes != 180 || r.AnswerBytes != 57 {
		t.Errorf("%d bytes sent and %d read, want 3 invoices of 60 and 3 answers of 19", r.RequestBytes, r.AnswerBytes)
	}
}

// Nothing is measured before somebody can look at it, and everything is from then on.
func TestMeasuringBeginsWithTheFirstThatLooks(t *testing.T) {
	shadow := startUpstream(t)
	m := mirrorTo(t, shadow.URL, echoLive, nil)
	number(t, m, 2, func(_ *http.Request) {})
	h := reporterFor(t)
	number(t, m, 3, func(_ *http.Request) {})
	if r := reported(t, h); r.Mirrored != 5 || r.Answers["2xx"] != 5 || r.ShadowLatency.Count != 3 || r.RequestBytes != 180 {
		t.Errorf("%d mirrored, %v, %d measured with %d bytes; want 5, and 3 with 180", r.Mirrored, r.Answers, r.ShadowLatency.Count, r.RequestBytes)
	}
}

// With the race detector, this sees each lock that the report's numbers have.
func TestReportIsReadDuringTrafficAndReloads(t *testing.T) {
	captureLog(t)
	h := reporterFor(t)
	shadow := startUpstream(t)
	calls := &atomic.Int64{}
	shadow.answer = func(rw http.ResponseWriter, _ *http.Request) {
		switch calls.Add(1) % 4 {
		case 0:
			rw.WriteHeader(http.StatusNotFound)
		case 1:
			rw.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
				conn.Close() // the shadow breaks off
			}
		}
	}
	m := comparingTo(t, shadow.URL, echoLive, nil)
	var all sync.WaitGroup
	send := func() { serve(m, postInvoice()) }
	read := func() {
		for _, path := range []string{"/report.json", "/?refresh=0", "/metrics", "/mismatches.ndjson", "/gate?max-slower=20%25&max-lost=1"} {
			get(h, path)
		}
	}
	name := t.Name()
	counts := mirrorCalled(t, name).counts
	look := func() { document(time.Now(), true); counts.look() }
	add := func() {
		for i := 0; i < 100; i++ {
			counts.losses()
		}
		counts.begin()
	}
	change := func() { remake(t, name, shadow.URL, fmt.Sprint(calls.Load()%7)); newReporter("report@file") }
	for i := 0; i < 3; i++ {
		all.Add(5)
		go repeatedly(&all, send)
		go repeatedly(&all, read)
		go repeatedly(&all, look)
		go repeatedly(&all, add)
		go repeatedly(&all, change)
	}
	all.Wait()
	mirror := settled(t, t.Name())
	if r := reported(t, h); r.Eligible != 90 || r.Mirrored != mirror.counts.answers() || r.Mirrored+r.LostTotal != 90 {
		t.Errorf("%d eligible, %d mirrored, %d lost; want every one of 90 once", r.Eligible, r.Mirrored, r.LostTotal)
	}
}

// repeatedly runs f thirty times.
func repeatedly(done *sync.WaitGroup, f func()) {
	defer func() { done.Done() }()
	for i := 0; i < 30; i++ {
		f()
	}
}

// The pause is read while it begins.
func TestPauseIsReadDuringTraffic(t *testing.T) {
	captureLog(t)
	h := reporterFor(t)
	shadow := startUpstream(t)
	shadow.Close()
	m := mirrorTo(t, shadow.URL, echoLive, nil)
	var all sync.WaitGroup
	send := func() { serve(m, postInvoice()) }
	read := func() { get(h, "/report.json"); get(h, "/metrics") }
	all.Add(2)
	go repeatedly(&all, send)
	go repeatedly(&all, read)
	all.Wait()
	eventually(t, "the pause", func() bool { return reported(t, h).State.Paused })
}

// Middlewares with serve that are made at once wait for one another, not for a reader of
// the token, of which there is none.
func TestMeasuringBeginsOnceForManyThatLook(t *testing.T) {
	reporterFor(t) // which forgets at the end that anybody looks
	for round := 0; round < 300; round++ {
		if len(watched) > 0 {
			_, ok := <-watched
			_ = ok
		}
		gate := make(chan bool)
		begun := &atomic.Int64{}
		for i := 0; i < 4; i++ {
			go watchBehind(gate, begun)
		}
		close(gate)
		eventually(t, "all to have begun", func() bool { return begun.Load() == 4 })
		if len(watched) != 1 {
			t.Fatalf("round %d: %d tokens, want 1", round, len(watched))
		}
	}
}

func watchBehind(gate chan bool, begun *atomic.Int64) {
	_, ok := <-gate
	_ = ok
	watch()
	begun.Add(1)
}
