package mirror

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// sumHeader is the checksum of the body that the client sent.
const sumHeader = "X-Sum"

func sum(body string) string {
	h := sha256.Sum256([]byte(body))
	return hex.EncodeToString(h[:])
}

// A countingLive counts how often each path is asked for, and with what body.
type countingLive struct {
	mu     sync.Mutex
	served map[string]int
	wrong  []string // bodies that are not what the client sent
	broken int      // bodies that could not be read to their end
}

func newCountingLive() *countingLive { return &countingLive{served: map[string]int{}} }

// take notes a request, read to its end.
func (l *countingLive) take(req *http.Request) error {
	body, err := io.ReadAll(req.Body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served[req.RequestURI]++
	if err != nil {
		l.broken++
	} else if got := sum(string(body)); got != req.Header.Get(sumHeader) {
		l.wrong = append(l.wrong, req.RequestURI)
	}
	return err
}

// book is what live does where nothing else is said.
func (l *countingLive) book(rw http.ResponseWriter, req *http.Request) {
	if err := l.take(req); err != nil {
		http.Error(rw, "live could not read the body", http.StatusTeapot)
		return
	}
	rw.WriteHeader(http.StatusCreated)
	io.WriteString(rw, "booked "+req.Header.Get(sumHeader))
}

// A onceMode is a way in which a middleware mirrors.
type onceMode struct {
	name     string
	options  map[string]string
	stream   bool // live reads the client's bytes as they come
	bodyless bool // the shadow gets no body, and live's is left alone
}

var onceModes = []onceMode{
	{name: "buffer"},
	{name: "stream", options: map[string]string{"bodyMode": "stream"}, stream: true},
	{name: "compared", options: map[string]string{"compare.body": "json"}},
	{name: "compared stream", options: map[string]string{"compare.body": "json", "bodyMode": "stream"}, stream: true},
	{name: "no body", options: map[string]string{"mirrorBody": "false"}, bodyless: true},
	{name: "compared, no body", options: map[string]string{"mirrorBody": "false", "compare.body": "json"}, bodyless: true},
	{name: "no body, stream", options: map[string]string{"mirrorBody": "false", "bodyMode": "stream"}, stream: true, bodyless: true},
}

// How many copies the shadow gets of a request.
const (
	none     = 0
	one      = 1
	upToOne  = 2 // it is not promised, but there is never a second one
	ifRead   = 3 // one, but where live's reading is what is copied and it does not read
	ifWhole  = 4 // one where the body is not mirrored, for it cannot be
	ifStream = 5 // one where it may stream
)

// wanted returns the least and the most copies of a request.
func (m *onceMode) wanted(copies int) (least, most int) {
	streams := m.stream && !m.bodyless
	if copies == one || copies == ifRead && !streams || copies == ifWhole && m.bodyless || copies == ifStream && m.stream {
		return 1, 1
	}
	if copies == upToOne {
		return 0, 1
	}
	return 0, 0
}

// A onceState is what a request is like, or what it meets.
type onceState struct {
	name    string
	options map[string]string
	method  string // POST, where it is empty
	body    string
	chunked bool
	header  http.Header
	before  func(*http.Request)                                      // what another middleware makes of the request
	prepare func(*onceBench)                                         // what happens before it
	live    func(*countingLive, http.ResponseWriter, *http.Request)  // instead of book
	copies  int                                                      // at the shadow
	status  func(*onceMode) (status int, served bool, readable bool) // 201, once, readable where it is nil
	answer  func(*onceMode, string) string                           // to a client: "booked …" where it is nil
}

// A onceBench is one mode with one state.
type onceBench struct {
	t      *testing.T
	shadow *upstream
	live   *countingLive
	h      http.Handler
	m      *mirror
	cancel func()
	end    func() // what ends a state that goes on, at the end
}

func (b *onceBench) request(path string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Header.Set(sumHeader, sum(""))
	return req
}

// fill takes the only place.
func fill(b *onceBench) {
	b.end = b.shadow.hang(b.t)
	serve(b.h, b.request("/fill"))
	b.shadow.wait(b.t, 1)
}

// sicken makes the shadow fail until it is left alone.
func sicken(b *onceBench) {
	heal := failing(b.shadow)
	for i := 0; i < failuresToPause; i++ {
		serve(b.h, b.request("/sick"))
		settled(b.t, b.t.Name())
	}
	if !paused(b.m) {
		b.t.Fatalf("after %d failures in a row the shadow is not left alone", failuresToPause)
	}
	holdProbe(b.m)
	heal()
}

// exhaust has all copies be sent that may be in this second.
func exhaust(b *onceBench) { exhaustRate(b.m.limit) }

func cancelled(b *onceBench) { b.cancel() }

// replace retires the shadow, as a change of the options does.
func replace(b *onceBench) {
	config := CreateConfig()
	setOptions(config, map[string]string{"url": b.shadow.URL, "timeout": "59s"})
	ctx, cancel := context.WithCancel(context.Background())
	b.t.Cleanup(cancel)
	b.cancel()
	if _, err := New(ctx, http.NotFoundHandler(), config, b.t.Name()); err != nil {
		b.t.Fatal(err)
	}
}

// gone has the router gone for longer than the shadow is kept.
func gone(b *onceBench) {
	shortGrace(b.t, time.Millisecond)
	b.cancel()
	eventually(b.t, "the mirror to be removed", func() bool { return isRemoved(b.t.Name()) })
}

// forgotten has the router gone for longer than the mirror is kept.
func forgotten(b *onceBench) {
	shortGrace(b.t, time.Millisecond)
	shortKeep(b.t, time.Millisecond)
	b.cancel()
	eventually(b.t, "the mirror to be forgotten", func() bool { return !registered(b.t.Name()) })
}

// refused is the status of a body that cannot be read: the mirror's where it reads
// the body, and otherwise live's, to which it is as it would be without the mirror.
func refused(status int) func(*onceMode) (int, bool, bool) {
	return func(m *onceMode) (int, bool, bool) {
		if m.stream || m.bodyless {
			return http.StatusTeapot, true, false
		}
		return status, false, false
	}
}

func broken(err error) func(*http.Request) {
	return func(req *http.Request) { req.Body = &failingBody{data: invoice[:10], err: err} }
}

// aborted is what a client sees of a live that panics.
func aborted(*onceMode) (int, bool, bool) { return 0, true, true }

var (
	large    = strings.Repeat("2026-0042;Meyer;119.00\n", 9000) // 207,000 bytes
	tooLarge = strings.Repeat("2026-0042;Meyer;119.00\n", 100)  // 2,300 bytes
)

const onceLimit = "1000" // bytes

var onceStates = []onceState{
	{name: "eligible", body: invoice, copies: one},
	{name: "chunked", body: invoice, chunked: true, copies: one},
	{name: "large", body: large, copies: one},
	{name: "large and chunked", body: large, chunked: true, copies: one},
	{name: "without a body", method: "GET", copies: one},
	{name: "an empty body in chunks", chunked: true, copies: one},
	{name: "HEAD", method: "HEAD", copies: one, answer: func(*onceMode, string) string { return "" }},
	{name: "too large, of known length", options: map[string]string{"maxBodySize": onceLimit}, body: tooLarge, copies: ifWhole},
	{name: "too large, of unknown length", options: map[string]string{"maxBodySize": onceLimit}, body: tooLarge, chunked: true, copies: ifWhole},
	{name: "no place", options: map[string]string{"maxInFlight": "1"}, prepare: fill, body: invoice},
	{name: "no place, chunked", options: map[string]string{"maxInFlight": "1"}, prepare: fill, body: invoice, chunked: true},
	{name: "paused", prepare: sicken, body: invoice},
	{name: "marked", header: http.Header{markerHeader: {"another@docker"}}, body: invoice},
	{name: "upgrade", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, body: invoice},
	{name: "an offer of HTTP/2", header: http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAEAAEAA"}}, body: invoice, copies: one},
	{name: "an offer of TLS", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"TLS/1.2, HTTP/1.1"}}, method: "GET", copies: one},
	{name: "a streaming call", header: http.Header{"Content-Type": {"application/connect+json"}}, body: invoice, copies: ifStream},
	{name: "above maxRate", options: map[string]string{"maxRate": "1"}, prepare: exhaust, body: invoice},
	{name: "above maxRate, without a body", options: map[string]string{"maxRate": "1"}, prepare: exhaust, method: "GET"},
	{name: "below maxRate", options: map[string]string{"maxRate": "100000"}, body: invoice, copies: one},
	{name: "below maxRate, without a body", options: map[string]string{"maxRate": "100000"}, method: "GET", copies: one},
	{name: "gRPC", header: http.Header{"Content-Type": {"application/grpc"}}, body: invoice, copies: ifStream},
	{name: "CONNECT", before: func(req *http.Request) { req.Method = http.MethodConnect }, body: invoice},
	{name: "not sampled", options: map[string]string{"percent": "0"}, body: invoice},
	{name: "not of these methods", options: map[string]string{"methods": "PUT"}, body: invoice},
	{name: "context cancelled", prepare: cancelled, body: invoice, copies: one},
	{name: "replaced by other options", prepare: replace, body: invoice, copies: upToOne},
	{name: "removed", prepare: gone, body: invoice, copies: upToOne},
	{name: "forgotten", prepare: forgotten, body: invoice, copies: upToOne},
	{name: "behind a retry", before: func(req *http.Request) { req.Body = io.NopCloser(req.Body) }, body: invoice, copies: one},
	{name: "behind a retry, chunked", before: func(req *http.Request) { req.Body = io.NopCloser(req.Body) }, body: invoice, chunked: true, copies: one},
	{name: "behind a retry, too large", options: map[string]string{"maxBodySize": onceLimit}, before: func(req *http.Request) { req.Body = io.NopCloser(req.Body) }, body: tooLarge, chunked: true, copies: ifWhole},
	{name: "buffered before", before: bufferBefore, body: invoice, copies: one},
	{name: "a body that breaks off", before: broken(io.ErrUnexpectedEOF), body: invoice, copies: ifWhole, status: refused(http.StatusBadRequest)},
	{name: "a body that breaks off, in chunks", before: broken(errors.New("invalid byte in chunk length")), body: invoice, chunked: true, copies: ifWhole, status: refused(http.StatusBadRequest)},
	{name: "a body above somebody's limit", before: broken(&http.MaxBytesError{Limit: 10}), body: invoice, copies: ifWhole, status: refused(http.StatusRequestEntityTooLarge)},
	{name: "live reads nothing", body: invoice, copies: ifRead, live: func(l *countingLive, rw http.ResponseWriter, req *http.Request) {
		l.mu.Lock()
		l.served[req.RequestURI]++
		l.mu.Unlock()
		rw.WriteHeader(http.StatusCreated)
		io.WriteString(rw, "booked "+req.Header.Get(sumHeader))
	}},
	{name: "live panics", body: invoice, copies: one, status: aborted, live: func(l *countingLive, _ http.ResponseWriter, req *http.Request) {
		l.take(req)
		panic(http.ErrAbortHandler)
	}},
	{name: "live is slower than the shadow may be", options: map[string]string{"timeout": "500ms"}, body: invoice, copies: one, live: func(l *countingLive, rw http.ResponseWriter, req *http.Request) {
		l.book(rw, req)
		http.NewResponseController(rw).Flush()
		time.Sleep(600 * time.Millisecond)
	}},
	{name: "an event stream is asked for", header: http.Header{"Accept": {"text/event-stream"}}, method: "GET", copies: one},
	{name: "an event stream is answered", body: invoice, copies: one, live: func(l *countingLive, rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		l.book(rw, req)
	}},
	{name: "a large answer in parts", options: map[string]string{"compare.maxBodySize": "1KiB"}, body: invoice, copies: one,
		live: func(l *countingLive, rw http.ResponseWriter, req *http.Request) {
			l.book(rw, req)
			for i := 0; i < 9; i++ {
				io.WriteString(rw, large[:10000])
			}
		},
		answer: func(_ *onceMode, booked string) string { return booked + strings.Repeat(large[:10000], 9) }},
	{name: "a large answer of known length", options: map[string]string{"compare.maxBodySize": "1KiB"}, method: "GET", copies: one,
		live: func(l *countingLive, rw http.ResponseWriter, req *http.Request) {
			rw.Header().Set("Content-Length", "207071")
			l.book(rw, req)
			io.WriteString(rw, large)
		},
		answer: func(_ *onceMode, booked string) string { return booked + large }},
	{name: "the connection is taken over", method: "GET", copies: one, live: func(l *countingLive, rw http.ResponseWriter, req *http.Request) {
		l.take(req)
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			http.Error(rw, err.Error(), http.StatusNotImplemented)
			return
		}
		io.WriteString(conn, "HTTP/1.1 201 Created\r\nConnection: close\r\n\r\nbooked "+req.Header.Get(sumHeader))
		conn.Close()
	}},
}

// bufferBefore is what Traefik's buffering middleware makes of a body.
func bufferBefore(req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	req.ContentLength = int64(len(body))
	req.TransferEncoding = nil
}

// Whatever the mode, whatever a request is like and whatever it meets, live gets it
// once, whole, and the client gets live's answer to it; and the shadow gets it once
// and whole or not at all.
func TestLiveIsServedOnce(t *testing.T) {
	for i := range onceModes {
		for j := range onceStates {
			mode, state := &onceModes[i], &onceStates[j]
			t.Run(mode.name+"/"+state.name, func(t *testing.T) { serveOnce(t, mode, state) })
		}
	}
}

func serveOnce(t *testing.T, mode *onceMode, state *onceState) {
	captureLog(t)
	b := &onceBench{t: t, shadow: startUpstream(t), live: newCountingLive(), end: func() {}}
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if state.live != nil && req.RequestURI == "/invoices" {
			state.live(b.live, rw, req)
			return
		}
		b.live.book(rw, req)
	})
	config := CreateConfig()
	setOptions(config, map[string]string{"url": b.shadow.URL, "timeout": "1m"})
	setOptions(config, mode.options)
	for name, value := range state.options {
		if !strings.HasPrefix(name, "compare.") || mode.options["compare.body"] != "" {
			setOptions(config, map[string]string{name: value})
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		forget(t.Name())
	})
	var err error
	if b.h, err = New(ctx, live, config, t.Name()); err != nil {
		t.Fatal(err)
	}
	b.cancel = cancel
	b.m = mirrorCalled(t, t.Name())
	if state.prepare != nil {
		state.prepare(b)
	}

	status, answer := ask(t, b.h, state)

	b.end()
	awaitNoneInFlight(t, b.m)
	wantStatus, wantServed, readable := http.StatusCreated, true, true
	if state.status != nil {
		wantStatus, wantServed, readable = state.status(mode)
	}
	wantAnswer := "booked " + sum(state.body)
	if state.answer != nil {
		wantAnswer = state.answer(mode, wantAnswer)
	}
	if status != wantStatus || status == http.StatusCreated && answer != wantAnswer {
		t.Errorf("the client got %d and %.80q, want %d and %.80q", status, answer, wantStatus, wantAnswer)
	}
	b.live.mu.Lock()
	served, wrong, unread := b.live.served["/invoices"], b.live.wrong, b.live.broken
	b.live.mu.Unlock()
	if (served != 1 || !wantServed) && (served != 0 || wantServed) {
		t.Errorf("live was asked %d times, want it asked: %t", served, wantServed)
	}
	if len(wrong) != 0 || (unread == 0) != (readable || !wantServed) {
		t.Errorf("live got bodies that nobody sent for %q, and %d that broke off", wrong, unread)
	}
	wantBody := state.body
	if mode.bodyless {
		wantBody = ""
	}
	copies := 0
	for _, got := range b.shadow.snapshot() {
		if got.uri != "/invoices" {
			continue
		}
		copies++
		if got.body != wantBody || got.header.Get(sumHeader) != sum(state.body) {
			t.Errorf("the shadow got %d bytes, %.40q, want %d bytes, %.40q", len(got.body), got.body, len(wantBody), wantBody)
		}
	}
	if least, most := mode.wanted(state.copies); copies < least || copies > most {
		t.Errorf("the shadow got %d copies, want %d to %d", copies, least, most)
	}
}

// ask sends the state's request through a server and returns the answer; a status
// of 0 says that there was none.
func ask(t *testing.T, h http.Handler, state *onceState) (status int, answer string) {
	t.Helper()
	addr := front(t, hangingUp(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if state.before != nil {
			state.before(req)
		}
		h.ServeHTTP(rw, req)
	})))
	method := state.method
	if method == "" {
		method = http.MethodPost
	}
	var body io.Reader
	if state.body != "" || state.chunked {
		body = strings.NewReader(state.body)
	}
	if state.chunked {
		body = io.MultiReader(body) // its length is not seen
	}
	req, err := http.NewRequest(method, "http://"+addr+"/invoices", body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range state.header {
		req.Header[name] = values
	}
	req.Header.Set(sumHeader, sum(state.body))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("the answer broke off after %d bytes: %v", len(all), err)
	}
	return res.StatusCode, string(all)
}
