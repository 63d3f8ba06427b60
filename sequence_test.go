package mirror

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const customerHeader = "X-Customer-Id"

// of returns a request of a customer.
func of(customer, method, path string) *http.Request {
	var body io.Reader
	if method != http.MethodGet {
		body = strings.NewReader(invoice)
	}
	req := httptest.NewRequest(method, path, body)
	if body == nil {
		req.Body = http.NoBody // as net/http's server has it
	}
	if customer != "" {
		req.Header.Set(customerHeader, customer)
	}
	return req
}

// inSequence sets sequenceBy, and other options.
func inSequence(more ...string) func(*Config) {
	return func(c *Config) {
		c.set("sequenceBy", "header:"+customerHeader)
		for i := 0; i < len(more); i += 2 {
			c.set(more[i], more[i+1])
		}
	}
}

// hangFor has the upstream keep back its answers to the paths that begin with prefix until
// release is called.
func (u *upstream) hangFor(t *testing.T, prefix string) (release func()) {
	gate := make(chan struct{})
	u.mu.Lock()
	u.answer = func(_ http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.RequestURI, prefix) {
			<-gate
		}
	}
	u.mu.Unlock()
	once := &sync.Once{}
	release = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(release)
	return release
}

// got says of an upstream's requests which they are, in their order.
func (u *upstream) got() string {
	var list []string
	for _, r := range u.snapshot() {
		list = append(list, r.method+" "+r.uri)
	}
	return strings.Join(list, ", ")
}

func sequenceCalled(t *testing.T, name string) *sequence {
	t.Helper()
	m := mirrorCalled(t, name)
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	return m.sequence
}

// awaitWaiting waits until so many copies wait for their turn.
func awaitWaiting(t *testing.T, seq *sequence, n int64) {
	t.Helper()
	eventually(t, strconv.FormatInt(n, 10)+" that wait", func() bool { return seq.waiting.Load() == n })
}

// nothingIsLeft waits until no place is taken, and fails the test if a lane or a turn is
// left then.
func nothingIsLeft(t *testing.T, name string) *mirror {
	t.Helper()
	m := settled(t, name)
	seq := sequenceCalled(t, name)
	seq.lock <- true
	lanes, turns := len(seq.lanes), len(seq.turns)
	unlock(seq)
	if lanes > 0 || turns > 0 || seq.waiting.Load() != 0 {
		t.Errorf("%d lanes and %d turns are left, and %d wait, with nothing in flight", lanes, turns, seq.waiting.Load())
	}
	return m
}

// What one customer sends reaches the shadow one after the other; others do not wait.
func TestSequenceIsKeptByValue(t *testing.T) {
	tests := []struct {
		name    string
		options []string
		length  int64 // as the client says it
	}{
		{"buffer", nil, int64(len(invoice))},
		{"buffer, chunked", nil, -1},
		{"buffer, comparing", []string{"compare", "true"}, int64(len(invoice))},
		{"buffer, chunked, comparing", []string{"compare", "true"}, -1},
		{"rate", []string{"maxRate", "1000"}, int64(len(invoice))},
		{"no bodies", []string{"mirrorBody", "false"}, int64(len(invoice))},
		{"stream", []string{"bodyMode", "stream"}, int64(len(invoice))},
		{"stream, chunked", []string{"bodyMode", "stream"}, -1},
		{"stream, comparing", []string{"bodyMode", "stream", "compare", "true"}, int64(len(invoice))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			release := shadow.hangFor(t, "/a/1")
			h := mirrorTo(t, shadow.URL, echoLive, inSequence(tt.options...))
			seq := sequenceCalled(t, t.Name())
			serve(h, of("C-1007", http.MethodPost, "/a/1"))
			serve(h, of("C-1007", http.MethodGet, "/a/2"))
			put := of("C-1007", http.MethodPut, "/a/3")
			put.ContentLength = tt.length
			serve(h, put)
			shadow.wait(t, 1)
			awaitWaiting(t, seq, 2)
			serve(h, of("C-2001", http.MethodGet, "/b/1"))
			shadow.wait(t, 2)
			serve(h, of("", http.MethodGet, "/c/1"))
			shadow.wait(t, 3)
			serve(h, of("", http.MethodGet, "/c/2"))
			shadow.wait(t, 4)
			m := mirrorCalled(t, t.Name())
			if got, want := shadow.got(), "POST /a/1, GET /b/1, GET /c/1, GET /c/2"; got != want {
				t.Errorf("while the first has no answer, the shadow got %s, want %s", got, want)
			}
			if n := m.inFlight.Load(); n < 3 {
				t.Errorf("%d places are taken by a copy under way and two that wait", n)
			}
			if r := reportSequence(m.shadow.sequencer.by, seq); r.Waiting != 2 || r.LongestWait <= 0 || r.Unordered != 2 || r.By != "header:"+customerHeader {
				t.Errorf("the report says %+v", r)
			}
			release()
			nothingIsLeft(t, t.Name())
			if got, want := shadow.got(), "POST /a/1, GET /b/1, GET /c/1, GET /c/2, GET /a/2, PUT /a/3"; got != want {
				t.Errorf("the shadow got %s, want %s", got, want)
			}
			if r := reportSequence(m.shadow.sequencer.by, seq); r.Waiting != 0 || r.LongestWait != 0 {
				t.Errorf("the report says %+v when all is over", r)
			}
		})
	}
}

// A cookie, the host and the client's address are values, too.
func TestSequenceByOtherThanHeaders(t *testing.T) {
	for _, by := range []string{"cookie:session", "header:Host", "clientIP"} {
		t.Run(by, func(t *testing.T) {
			shadow := startUpstream(t)
			release := shadow.hangFor(t, "/1")
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("sequenceBy", by) })
			for _, path := range []string{"/1", "/2"} {
				req := of("", http.MethodGet, path)
				req.AddCookie(&http.Cookie{Name: "session", Value: "s1"})
				serve(h, req)
			}
			shadow.wait(t, 1)
			awaitWaiting(t, sequenceCalled(t, t.Name()), 1)
			other := of("", http.MethodGet, "/3")
			other.Host = "billing.example"
			other.RemoteAddr = "198.51.100.7:40000"
			other.AddCookie(&http.Cookie{Name: "session", Value: "s2"})
			serve(h, other)
			shadow.wait(t, 2)
			release()
			nothingIsLeft(t, t.Name())
			if got, want := shadow.got(), "GET /1, GET /3, GET /2"; got != want {
				t.Errorf("the shadow got %s, want %s", got, want)
			}
		})
	}
}

func TestOneValueHasHalfOfThePlaces(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	release := shadow.hangFor(t, "/a")
	h := mirrorTo(t, shadow.URL, echoLive, inSequence("maxInFlight", "6"))
	seq := sequenceCalled(t, t.Name())
	m := mirrorCalled(t, t.Name())
	for i := 1; i <= 5; i++ {
		serve(h, of("C-1007", http.MethodPost, "/a/"+strconv.Itoa(i)))
		want := int64(i)
		if want > 3 {
			want = 3
		}
		eventually(t, "a place, or none", func() bool { return m.inFlight.Load() == want && m.counts.full.Load() == int64(i)-want })
	}
	awaitWaiting(t, seq, 2)
	for i := 1; i <= 3; i++ {
		serve(h, of("C-200"+strconv.Itoa(i), http.MethodGet, "/b"))
	}
	shadow.wait(t, 4)
	release()
	nothingIsLeft(t, t.Name())
	if n := m.counts.full.Load(); n != 2 {
		t.Errorf("%d copies found no place, want 2 of the value that had three", n)
	}
	if got := len(shadow.snapshot()); got != 6 {
		t.Errorf("the shadow got %d requests, want 6", got)
	}
}

// Of what waits when a pause begins nothing is sent, also when the pause is over.
func TestWhatWaitsWhenAPauseBeginsIsNotSent(t *testing.T) {
	captureLog(t)
	for _, ended := range []bool{false, true} {
		t.Run("ended "+strconv.FormatBool(ended), func(t *testing.T) {
			shadow := startUpstream(t)
			release := shadow.hangFor(t, "/1")
			h := mirrorTo(t, shadow.URL, echoLive, inSequence("compare", "true"))
			m := mirrorCalled(t, t.Name())
			for i := 1; i <= 4; i++ {
				serve(h, of("C-1007", http.MethodGet, "/"+strconv.Itoa(i)))
			}
			shadow.wait(t, 1)
			awaitWaiting(t, sequenceCalled(t, t.Name()), 3)
			s := m.shadow
			for i := 0; i < failuresToPause; i++ {
				s.failed(false, io.EOF, time.Now())
			}
			if ended {
				s.answered(true, time.Now())
				serve(h, of("C-1007", http.MethodGet, "/5")) // this one has come after
				awaitWaiting(t, sequenceCalled(t, t.Name()), 4)
			}
			release()
			nothingIsLeft(t, t.Name())
			want := "GET /1"
			if ended {
				want = "GET /1, GET /5"
			}
			if got := shadow.got(); got != want {
				t.Errorf("the shadow got %s, want %s", got, want)
			}
			if n := m.counts.paused.Load(); n != 3 {
				t.Errorf("%d counted as paused, want 3", n)
			}
		})
	}
}

// A customer of whom the shadow has not got a change is not compared any more. Others are.
func TestValueThatHasLostAChangeIsNotCompared(t *testing.T) {
	captureLog(t)
	refused := func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.RequestURI, "/lost") {
			if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
				conn.Close()
			}
			return
		}
		io.WriteString(rw, "{}")
	}
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		rw.Header().Set("Date", "now")
		io.WriteString(rw, "{}")
	})
	large := func(h http.Handler, length int64) {
		req := of("C-1007", http.MethodPost, "/lost")
		req.Body = io.NopCloser(strings.NewReader(strings.Repeat("9", 2000)))
		req.ContentLength = length
		serve(h, req)
	}
	tests := []struct {
		name string
		more []string
		lose func(t *testing.T, h http.Handler, m *mirror)
		lost bool
	}{
		{"too large", nil, func(_ *testing.T, h http.Handler, _ *mirror) { large(h, 2000) }, true},
		{"too large, of unknown length", nil, func(_ *testing.T, h http.Handler, _ *mirror) { large(h, -1) }, true},
		{"too large, streaming", []string{"bodyMode", "stream"}, func(_ *testing.T, h http.Handler, _ *mirror) { large(h, -1) }, true},
		{"not read to its end", []string{"bodyMode", "stream"}, func(_ *testing.T, h http.Handler, m *mirror) {
			serveRefusing(m.shadow, of("C-1007", http.MethodPost, "/lost"))
		}, true},
		{"failed", nil, func(t *testing.T, h http.Handler, m *mirror) {
			serve(h, of("C-1007", http.MethodDelete, "/lost"))
			eventually(t, "a failure", func() bool { return m.counts.failed.Load() == 1 })
		}, true},
		{"no place", nil, func(_ *testing.T, h http.Handler, m *mirror) {
			m.inFlight.Add(1000)
			serve(h, of("C-1007", http.MethodPatch, "/lost"))
			m.inFlight.Add(-1000)
		}, true},
		{"no place over HTTP/2", nil, func(_ *testing.T, h http.Handler, m *mirror) {
			m.inFlight.Add(1000)
			req := of("C-1007", http.MethodPatch, "/lost")
			req.ProtoMajor = 2
			serve(h, req)
			m.inFlight.Add(-1000)
		}, true},
		{"paused", nil, func(_ *testing.T, h http.Handler, m *mirror) {
			for i := 0; i < failuresToPause; i++ {
				m.shadow.failed(false, io.EOF, time.Now())
			}
			serve(h, of("C-1007", http.MethodPost, "/lost"))
			m.shadow.answered(true, time.Now())
		}, true},
		{"above the rate", []string{"maxRate", "1000"}, func(_ *testing.T, h http.Handler, m *mirror) {
			exhaustRate(m.limit)
			serve(h, of("C-1007", http.MethodPost, "/lost"))
			replenishRate(m.limit)
		}, true},
		{"a read that failed", nil, func(t *testing.T, h http.Handler, m *mirror) {
			serve(h, of("C-1007", http.MethodGet, "/lost"))
			eventually(t, "a failure", func() bool { return m.counts.failed.Load() == 1 })
		}, false},
		{"another's", nil, func(_ *testing.T, h http.Handler, _ *mirror) {
			req := of("C-3003", http.MethodPost, "/lost")
			req.ContentLength = 2000
			req.Body = io.NopCloser(strings.NewReader(strings.Repeat("9", 2000)))
			serve(h, req)
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.answer = refused
			h := mirrorTo(t, shadow.URL, live, inSequence(append([]string{"compare.headers", "none", "maxBodySize", "1000"}, tt.more...)...))
			m := mirrorCalled(t, t.Name())
			serve(h, of("C-1007", http.MethodPost, "/invoices"))
			settled(t, t.Name())
			tt.lose(t, h, m)
			settled(t, t.Name())
			before := m.verdict.Totals()
			serve(h, of("C-1007", http.MethodGet, "/invoices/1"))
			serve(h, of("C-1007", http.MethodPost, "/invoices"))
			serve(h, of("C-2001", http.MethodGet, "/invoices/1"))
			nothingIsLeft(t, t.Name())
			after := m.verdict.Totals()
			var want int64
			if tt.lost {
				want = 2
			}
			if got := after.Skipped["sequence_lost"]; got != want {
				t.Errorf("%d pairs are skipped as sequence_lost, want %d; %v", got, want, after.Skipped)
			}
			if got := after.Outcomes["match"] - before.Outcomes["match"]; got != 3-want {
				t.Errorf("%d more pairs match, want %d; %v", got, 3-want, after.Outcomes)
			}
		})
	}
}

// serveRefusing has live answer a request whose body it does not read.
func serveRefusing(s *shadow, req *http.Request) {
	refusing := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusForbidden) })
	m := &middleware{next: refusing, shadow: s, maxBodySize: 1000, compareShare: 1}
	s.mirror.inFlight.Add(1)
	streamer(m)(httptest.NewRecorder(), req)
}

// Of the values that have lost a change the newest 10,000 are known, and not many more.
func TestLostValuesAreBounded(t *testing.T) {
	lost := newLostValues(true)
	const n = 25_000
	for i := 0; i < n; i++ {
		addLost(lost, lostKey("C-"+strconv.Itoa(i)))
		addLost(lost, lostKey("C-"+strconv.Itoa(i)))
	}
	remembered := 0
	for i := 0; i < n; i++ {
		known := isLost(lost, lostKey("C-"+strconv.Itoa(i)))
		if known {
			remembered++
		} else if i >= n-mostLost {
			t.Fatalf("the value %d of %d is forgotten", i, n)
		}
	}
	if remembered > 2*mostLost || int64(remembered) != lost.known {
		t.Errorf("%d values are remembered, and %d said to be; want no more than %d", remembered, lost.known, 2*mostLost)
	}
}

// What a client sends right after a change that was lost is not compared, however soon it
// comes, and whatever others do at the same time. Those who have lost none are compared.
func TestLossIsKnownToWhatComesNext(t *testing.T) {
	captureLog(t)
	tests := []struct {
		name    string
		options []string
		length  int64 // as the client says it
	}{
		{"buffer", nil, 2000},
		{"buffer, chunked", nil, -1},
		{"stream", []string{"bodyMode", "stream"}, 2000},
		{"stream, chunked", []string{"bodyMode", "stream"}, -1},
	}
	const clients, rounds = 16, 12
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.answer = func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "{}") }
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				io.Copy(io.Discard, req.Body)
				io.WriteString(rw, "{}")
			})
			h := mirrorTo(t, shadow.URL, live, inSequence(append([]string{"compare.headers", "none", "maxBodySize", "1000", "maxInFlight", "1000"}, tt.options...)...))
			var clientsDone sync.WaitGroup
			for i := 0; i < clients; i++ {
				clientsDone.Add(1)
				go loseAndGoOn(h, strconv.Itoa(i), rounds, tt.length, &clientsDone)
			}
			clientsDone.Wait()
			m := nothingIsLeft(t, t.Name())
			totals := m.verdict.Totals()
			if got := totals.Skipped["sequence_lost"]; got != 2*clients*rounds {
				t.Errorf("%d pairs are skipped as sequence_lost, want the two after each of %d losses; %v", got, clients*rounds, totals.Skipped)
			}
			if got := totals.Outcomes["match"]; got != clients*rounds {
				t.Errorf("%d pairs match, want the %d of those who have lost none; %v", got, clients*rounds, totals.Outcomes)
			}
			r := reportSequence(m.shadow.sequencer.by, sequenceCalled(t, t.Name()))
			if r.LostValues != clients*rounds {
				t.Errorf("%d values are said to have lost a change, want %d", r.LostValues, clients*rounds)
			}
		})
	}
}

// loseAndGoOn has customers send a change that is too large to be mirrored, and more at
// once; in between another asks, who has lost nothing.
func loseAndGoOn(h http.Handler, client string, rounds int, length int64, done *sync.WaitGroup) {
	defer func() { done.Done() }()
	for i := 0; i < rounds; i++ {
		customer := "C-" + client + "-" + strconv.Itoa(i)
		large := of(customer, http.MethodPost, "/invoices")
		large.Body = io.NopCloser(strings.NewReader(strings.Repeat("9", 2000)))
		large.ContentLength = length
		serve(h, large)
		serve(h, of(customer, http.MethodGet, "/invoices/1"))
		serve(h, of("D-"+client, http.MethodGet, "/invoices/1"))
		serve(h, of(customer, http.MethodPost, "/invoices"))
	}
}

// Whatever is lost, and whoever holds the lock, live does not wait for it.
func TestLiveMeetsNoLockWhenAChangeIsLost(t *testing.T) {
	captureLog(t)
	tests := []struct {
		name string
		more []string
		lose func(h http.Handler, m *mirror)
	}{
		{"too large", nil, func(h http.Handler, _ *mirror) {
			req := of("C-1007", http.MethodPost, "/lost")
			req.Body = io.NopCloser(strings.NewReader(strings.Repeat("9", 2000)))
			req.ContentLength = 2000
			serve(h, req)
		}},
		{"no place", nil, func(h http.Handler, m *mirror) {
			m.inFlight.Add(1000)
			serve(h, of("C-1007", http.MethodPost, "/lost"))
			m.inFlight.Add(-1000)
		}},
		{"paused", nil, func(h http.Handler, m *mirror) {
			for i := 0; i < failuresToPause; i++ {
				m.shadow.failed(false, io.EOF, time.Now())
			}
			serve(h, of("C-1007", http.MethodPost, "/lost"))
			m.shadow.answered(true, time.Now())
		}},
		{"above the rate", []string{"maxRate", "1000"}, func(h http.Handler, m *mirror) {
			exhaustRate(m.limit)
			serve(h, of("C-1007", http.MethodPost, "/lost"))
			replenishRate(m.limit)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			shadow.answer = func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "{}") }
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { io.WriteString(rw, "{}") })
			h := mirrorTo(t, shadow.URL, live, inSequence(append([]string{"compare.headers", "none", "maxBodySize", "1000"}, tt.more...)...))
			m := mirrorCalled(t, t.Name())
			seq := sequenceCalled(t, t.Name())
			served := make(chan bool, 1)
			seq.lock <- true
			go func() {
				defer func() { served <- true }()
				tt.lose(h, m)
				serve(h, of("C-1007", http.MethodGet, "/invoices/1"))
			}()
			eventually(t, "live to be served while somebody holds the lock", func() bool { return len(served) > 0 })
			unlock(seq)
			nothingIsLeft(t, t.Name())
			if totals := m.verdict.Totals(); totals.Skipped["sequence_lost"] != 1 {
				t.Errorf("the pair after the loss is not skipped: %v, %v", totals.Outcomes, totals.Skipped)
			}
		})
	}
}

// While nobody takes note of what is lost, live can hand over so much. What is more makes
// every value count as lost, whoever it was that has lost a change; until other data is
// compared.
func TestMoreLossesThanThereIsRoomFor(t *testing.T) {
	tests := []struct {
		name    string
		losses  int
		outcome string
		known   int64
	}{
		{"all that there is room for", mostHanded, "match", mostHanded},
		{"one more", mostHanded + 1, "skipped", mostHanded},
		{"many more", 2 * mostHanded, "skipped", mostHanded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			logged := captureLog(t)
			shadow := startUpstream(t)
			shadow.answer = func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "{}") }
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { io.WriteString(rw, "{}") })
			h := mirrorTo(t, shadow.URL, live, inSequence("compare.headers", "none"))
			m := mirrorCalled(t, t.Name())
			seq := sequenceCalled(t, t.Name())
			seq.lock <- true
			for i := 0; i < tt.losses; i++ {
				lose(m.shadow.sequencer, of("C-"+strconv.Itoa(i), http.MethodDelete, "/invoices/1"))
			}
			unlock(seq)
			serve(h, of("D-1", http.MethodGet, "/invoices/1"))
			nothingIsLeft(t, t.Name())
			totals := m.verdict.Totals()
			if totals.Outcomes[tt.outcome] != 1 || totals.Outcomes["match"]+totals.Skipped["sequence_lost"] != 1 {
				t.Errorf("the pair of one who has lost nothing: %v, %v; want %s", totals.Outcomes, totals.Skipped, tt.outcome)
			}
			if r := reportSequence(m.shadow.sequencer.by, seq); r.LostValues != tt.known {
				t.Errorf("%d values are known to have lost a change, want %d", r.LostValues, tt.known)
			}
			lines := 0
			if tt.losses > mostHanded {
				lines = 1
			}
			eventually(t, "a line, where not all could be noted", func() bool { return len(logged.lines()) >= lines })
			if got := logged.lines(); len(got) != lines || lines > 0 && !strings.Contains(got[0], "more changes were lost at once than can be noted") {
				t.Errorf("the log says %q, want %d lines", got, lines)
			}
			after := mirrorTo(t, shadow.URL, live, inSequence("compare.headers", "none", "compare.epoch", "copied again"))
			before := m.verdict.Totals().Outcomes["match"]
			serve(after, of("D-1", http.MethodGet, "/invoices/1"))
			nothingIsLeft(t, t.Name())
			if got := m.verdict.Totals().Outcomes["match"] - before; got != 1 {
				t.Errorf("with other data %d pairs match, want 1", got)
			}
		})
	}
}

// A dispatcher that gets no copies, as in a pause, takes note of what is lost all the same.
func TestLossesAreNotedWithoutCopies(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	mirrorTo(t, shadow.URL, echoLive, inSequence("compare", "true"))
	q := mirrorCalled(t, t.Name()).shadow.sequencer
	for round := 0; round < 4; round++ {
		for i := 0; i < mostHanded/2; i++ {
			lose(q, of("C-"+strconv.Itoa(round)+"-"+strconv.Itoa(i), http.MethodPost, "/invoices"))
		}
		eventually(t, "the dispatcher to take note", func() bool { return len(q.lost.handed) == 0 && q.lost.untold.Load() == 0 })
	}
	if q.lost.all.Load() {
		t.Error("all values count as lost, though there was room for each loss")
	}
	if r := reportSequence(q.by, sequenceCalled(t, t.Name())); r.LostValues != 4*mostHanded/2 {
		t.Errorf("%d values have lost a change, want %d", r.LostValues, 4*mostHanded/2)
	}
}

// What comes by new options waits for what is under way by those before.
func TestSequenceIsKeptOverAReload(t *testing.T) {
	shadow := startUpstream(t)
	release := shadow.hangFor(t, "/a/1")
	before := mirrorTo(t, shadow.URL, echoLive, inSequence())
	serve(before, of("C-1007", http.MethodPost, "/a/1"))
	shadow.wait(t, 1)
	serve(before, of("C-1007", http.MethodGet, "/a/2"))
	after := mirrorTo(t, shadow.URL, echoLive, inSequence("timeout", "6s"))
	serve(after, of("C-1007", http.MethodGet, "/a/3"))
	serve(before, of("C-1007", http.MethodGet, "/a/4")) // it was on its way to the mirror
	again := mirrorTo(t, shadow.URL, echoLive, inSequence("timeout", "7s", "maxInFlight", "500"))
	awaitWaiting(t, sequenceCalled(t, t.Name()), 3)
	serve(again, of("C-1007", http.MethodGet, "/a/5"))
	serve(again, of("C-2001", http.MethodGet, "/b/1"))
	shadow.wait(t, 2)
	awaitWaiting(t, sequenceCalled(t, t.Name()), 4)
	if got, want := shadow.got(), "POST /a/1, GET /b/1"; got != want {
		t.Errorf("while the first has no answer, the shadow got %s, want %s", got, want)
	}
	release()
	nothingIsLeft(t, t.Name())
	got := shadow.got()
	if got != "POST /a/1, GET /b/1, GET /a/2, GET /a/3, GET /a/4, GET /a/5" && got != "POST /a/1, GET /b/1, GET /a/2, GET /a/4, GET /a/3, GET /a/5" {
		t.Errorf("the shadow got %s", got)
	}
}

// A shadow that was retired long ago has its lanes end: what waits is lost.
func TestLanesOfARetiredShadowEnd(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	release := shadow.hangFor(t, "/a/1")
	before := mirrorTo(t, shadow.URL, echoLive, inSequence())
	m := mirrorCalled(t, t.Name())
	s := m.shadow
	serve(before, of("C-1007", http.MethodPost, "/a/1"))
	serve(before, of("C-1007", http.MethodGet, "/a/2"))
	awaitWaiting(t, sequenceCalled(t, t.Name()), 1)
	after := mirrorTo(t, shadow.URL, echoLive, inSequence("timeout", "6s"))
	serve(after, of("C-1007", http.MethodGet, "/a/3"))
	awaitWaiting(t, sequenceCalled(t, t.Name()), 2)
	s.mu.Lock()
	s.tending.retired = time.Now().Add(-serveLate - time.Second)
	over := tendRetired(s, time.Now())
	s.mu.Unlock()
	if over {
		t.Error("the shadow is said to be over with a copy under way and one that waits")
	}
	serve(before, of("C-1007", http.MethodGet, "/a/4"))
	eventually(t, "the late one to be lost", func() bool { return m.counts.failed.Load() == 1 })
	release()
	nothingIsLeft(t, t.Name())
	if got, want := shadow.got(), "POST /a/1, GET /a/3"; got != want {
		t.Errorf("the shadow got %s, want %s", got, want)
	}
	if n := m.counts.failed.Load(); n != 2 {
		t.Errorf("%d are lost, want the two that came late or waited", n)
	}
	eventually(t, "its workers to end", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return tendRetired(s, time.Now())
	})
	// A copy that comes even later gives its place back.
	m.inFlight.Add(1)
	l := &lateness{copies: s.copies, shadow: s, mirror: m}
	s.intake <- stop
	eventually(t, "the dispatcher to end", func() bool { return s.sequencer.ended.Load() })
	s.copies <- of("", http.MethodGet, "/a/5")
	m.inFlight.Add(1)
	s.intake <- of("C-1007", http.MethodPost, "/a/6")
	loseLateCopies(l)
	eventually(t, "the place of one that came much too late", func() bool { return m.inFlight.Load() == 0 })
}

// A mistake in the dispatcher costs what it had in hand, and no more.
func TestDispatcherThatPanicsIsReplaced(t *testing.T) {
	captureLog(t)
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, inSequence())
	m := mirrorCalled(t, t.Name())
	m.inFlight.Add(1)
	m.shadow.intake <- nil // it has no header to look at
	serve(h, of("C-1007", http.MethodGet, "/1"))
	serve(h, of("C-1007", http.MethodGet, "/2"))
	shadow.wait(t, 2)
	nothingIsLeft(t, t.Name())
}

// A client that goes on and on leaves nothing behind.
func TestValuesThatNeverComeBackLeaveNothing(t *testing.T) {
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, inSequence())
	m := mirrorCalled(t, t.Name())
	for i := 0; i < 300; i++ {
		serve(h, of("C-"+strconv.Itoa(i), http.MethodGet, "/invoices"))
		if i%20 == 19 {
			awaitNoneInFlight(t, m)
		}
	}
	nothingIsLeft(t, t.Name())
	if n := m.shadow.sequencer.held.Load(); n != 0 {
		t.Errorf("%d copies are held", n)
	}
}
