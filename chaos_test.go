package mirror

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	chaosTime    = 10 * time.Second // MIRROR_CHAOS is another
	chaosClients = 8
	chaosRouters = 6
	chaosReload  = 150 * time.Millisecond
)

// chaosNames are the middlewares; each has two routers.
var chaosNames = []string{"TestChaos-billing@docker", "TestChaos-ledger@docker", "TestChaos-customers@file"}

// A chaosRouter has a handler that each reload replaces.
type chaosRouter struct {
	mu sync.Mutex
	h  http.Handler
}

func (r *chaosRouter) set(h http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h = h
}

func (r *chaosRouter) get() http.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.h
}

// A chaosShadow comes and goes, and answers as it likes.
type chaosShadow struct {
	ln    net.Listener
	mood  atomic.Int64
	mu    sync.Mutex
	conns map[net.Conn]bool
	gone  bool
	times map[string]int // copies, by path
	wrong []string
}

// What the shadow does with a request, or a connection.
const (
	moodAnswer = iota
	moodRefuse
	moodHang
	moodBreakOff
	moodGarbage
	moodError
	moodTooMuch
	moodSlow
	moods
)

func startChaosShadow(t *testing.T) *chaosShadow {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &chaosShadow{ln: ln, conns: map[net.Conn]bool{}, times: map[string]int{}}
	go acceptChaos(s)
	return s
}

func acceptChaos(s *chaosShadow) {
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			return
		}
		if s.mood.Load() == moodRefuse || !s.keep(conn) {
			conn.Close()
			continue
		}
		go serveChaos(s, conn)
	}
}

// keep notes a connection, to be closed when the shadow goes.
func (s *chaosShadow) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return false
	}
	s.conns[conn] = true
	return true
}

// hangUp closes all connections.
func (s *chaosShadow) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *chaosShadow) stop() {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	s.ln.Close()
	s.hangUp()
}

// take notes a copy: its body is the one that its header tells of, or none, where
// bodies are not mirrored.
func (s *chaosShadow) take(req *http.Request, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[req.RequestURI]++
	if body != "" && sum(body) != req.Header.Get(sumHeader) || req.Header.Get(markerHeader) == "" {
		s.wrong = append(s.wrong, req.RequestURI)
	}
}

func serveChaos(s *chaosShadow, conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		s.take(req, string(body))
		if !answerChaos(s, conn) {
			return
		}
	}
}

// answerChaos reports whether the connection goes on.
func answerChaos(s *chaosShadow, conn net.Conn) bool {
	const ok = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 19\r\n\r\n{\"status\":\"booked\"}"
	switch s.mood.Load() {
	case moodRefuse:
		return false
	case moodHang:
		io.Copy(io.Discard, conn) // until somebody hangs up
		return false
	case moodBreakOff:
		io.WriteString(conn, ok[:len(ok)-7])
		return false
	case moodGarbage:
		io.WriteString(conn, "\x16\x03\x01 220 billing-next ESMTP\r\n\r\n")
		return false
	case moodError:
		io.WriteString(conn, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
		return true
	case moodTooMuch:
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
		_, err := io.WriteString(conn, strings.Repeat("x", 200000))
		return err == nil
	case moodSlow:
		time.Sleep(30 * time.Millisecond)
	}
	_, err := io.WriteString(conn, ok)
	return err == nil
}

// chaosOptions are of every mode, with bounds that are met.
func chaosOptions(r *rand.Rand, url string) map[string]string {
	pick := func(values ...string) string { return values[r.IntN(len(values))] }
	options := map[string]string{
		"url":         url,
		"bodyMode":    pick("buffer", "stream"),
		"mirrorBody":  pick("true", "true", "true", "false"),
		"maxBodySize": pick("-1", "1MiB", "10KiB", "100"),
		"maxInFlight": pick("1", "3", "20", "100"),
		"timeout":     pick("50ms", "100ms", "300ms"),
		"maxPause":    pick("0", "100ms", "1s"),
		"percent":     pick("100", "100", "50", "0"),
	}
	if r.IntN(2) == 0 {
		options["compare.body"] = pick("json", "exact", "off")
		options["compare.maxBodySize"] = pick("100", "64KiB")
		options["compare.percent"] = pick("100", "50")
	}
	if r.IntN(4) == 0 {
		options["methods"] = "POST,PUT"
	}
	if r.IntN(4) == 0 {
		options["sampleBy"] = "header:X-Customer"
	}
	if r.IntN(2) == 0 && (options["percent"] == "100" || options["sampleBy"] != "") {
		options["sequenceBy"] = "header:X-Customer"
	}
	return options
}

// A chaos is the state of the test.
type chaos struct {
	t       *testing.T
	seed    uint64
	end     time.Time
	url     string
	live    *countingLive
	routers []*chaosRouter
	shadow  *chaosShadow
	sent    sync.Map     // path: true for one whose client stays
	asked   atomic.Int64 // of clients that stay

	mu      sync.Mutex
	mirrors map[*mirror]bool // all that there have been
}

// serveChaosLive is live: it answers, in one piece or in parts, or panics.
func serveChaosLive(c *chaos, rw http.ResponseWriter, req *http.Request) {
	switch req.Header.Get("X-Live") {
	case "abort":
		c.live.take(req)
		panic(http.ErrAbortHandler)
	case "panic":
		c.live.take(req)
		panic("live is broken")
	case "events":
		rw.Header().Set("Content-Type", "text/event-stream")
	case "parts":
		if err := c.live.take(req); err != nil {
			http.Error(rw, "live could not read the body", http.StatusTeapot)
			return
		}
		answer := "booked " + req.Header.Get(sumHeader)
		rw.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		rw.WriteHeader(http.StatusCreated)
		for i := 0; i < len(answer); i += 10 {
			io.WriteString(rw, answer[i:i+min10(len(answer)-i)])
			time.Sleep(time.Millisecond)
		}
		return
	case "slow":
		time.Sleep(60 * time.Millisecond)
	}
	c.live.book(rw, req)
}

// min10 is n, or 10 where n is more.
func min10(n int) int {
	if n < 10 {
		return n
	}
	return 10
}

// reloadChaos replaces the handlers of all routers, as Traefik does on a change of
// its configuration: the old context ends, and the old handlers serve on until the
// new ones are there, and to the end of what they have begun.
func reloadChaos(c *chaos, done chan bool) {
	r := rand.New(rand.NewPCG(c.seed, 1))
	cancel := func() {}
	options := make([]map[string]string, len(chaosNames))
	live := c.handler()
	for time.Now().Before(c.end) {
		for i := range options {
			// Most reloads change nothing of a middleware.
			if options[i] == nil || r.IntN(3) == 0 {
				url := "http://" + c.shadow.ln.Addr().String()
				if r.IntN(6) == 0 {
					url = "http://127.0.0.1:1" // nobody listens
				}
				options[i] = chaosOptions(r, url)
			}
		}
		c.shadow.mood.Store(int64(r.IntN(moods)))
		if r.IntN(3) == 0 {
			c.shadow.hangUp()
		}
		before := cancel
		early := r.IntN(2) == 0
		if early {
			before()
		}
		var ctx context.Context
		ctx, cancel = context.WithCancel(context.Background())
		away := r.IntN(2 * len(chaosNames)) // this one is not in the configuration
		for i, router := range c.routers {
			n := i % len(chaosNames)
			if n == away {
				router.set(live)
				continue
			}
			config := CreateConfig()
			setOptions(config, options[n])
			h, err := New(ctx, live, config, chaosNames[n])
			if err != nil {
				c.t.Errorf("seed %d: %v", c.seed, err)
				continue
			}
			router.set(h)
		}
		if !early {
			before()
		}
		c.noteMirrors()
		time.Sleep(chaosReload)
	}
	cancel()
	done <- true
}

func (c *chaos) handler() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { serveChaosLive(c, rw, req) })
}

func (c *chaos) noteMirrors() {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range chaosNames {
		if m := mirrors[name]; m != nil {
			c.mirrors[m] = true
		}
	}
}

// askChaos is a client: it sends one request after the other, and now and then it
// leaves in the middle of one.
func askChaos(c *chaos, n int, wg *sync.WaitGroup) {
	defer wg.Done()
	r := rand.New(rand.NewPCG(c.seed, uint64(100+n)))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for i := 0; time.Now().Before(c.end); i++ {
		path := "/" + strconv.Itoa(r.IntN(chaosRouters)) + "/clients/" + strconv.Itoa(n) + "/invoices/" + strconv.Itoa(i)
		body := ""
		if size := []int{0, 1, 50, 5000, 100000}[r.IntN(5)]; size > 0 {
			body = strings.Repeat(path+"\n", 1+size/len(path))
		}
		if r.IntN(6) == 0 {
			c.sent.Store(path, false)
			leaveChaos(c, path, body, r.IntN(3))
			continue
		}
		c.sent.Store(path, true)
		c.asked.Add(1)
		bookChaos(c, r, transport, path, body)
	}
}

// bookChaos sends a request whose client stays, and expects live's answer.
func bookChaos(c *chaos, r *rand.Rand, transport *http.Transport, path, body string) {
	live := ""
	if n := r.IntN(40); n < 5 {
		live = []string{"abort", "panic", "events", "parts", "slow"}[n]
	}
	var reader io.Reader
	method := http.MethodGet
	if live == "abort" || live == "panic" {
		method = http.MethodPost // a GET without an answer the client would send again
	}
	if body != "" {
		method = http.MethodPost
		reader = strings.NewReader(body)
		if r.IntN(2) == 0 {
			reader = io.MultiReader(reader) // its length is not seen
		}
	}
	req, err := http.NewRequest(method, c.url+path, reader)
	if err != nil {
		c.t.Errorf("seed %d: %v", c.seed, err)
		return
	}
	req.Header.Set("X-Live", live)
	req.Header.Set("X-Customer", strconv.Itoa(r.IntN(50)))
	req.Header.Set(sumHeader, sum(body))
	res, err := transport.RoundTrip(req)
	if live == "abort" || live == "panic" {
		if err == nil {
			res.Body.Close()
			c.t.Errorf("seed %d: %s: %d where live panics, want no answer", c.seed, path, res.StatusCode)
		}
		return
	}
	if err != nil {
		c.t.Errorf("seed %d: %s: %v", c.seed, path, err)
		return
	}
	answer, err := io.ReadAll(res.Body)
	res.Body.Close()
	if want := "booked " + sum(body); err != nil || res.StatusCode != http.StatusCreated || string(answer) != want {
		c.t.Errorf("seed %d: %s (live %q, %d bytes): %d %.100q, %v; want 201 %q", c.seed, path, live, len(body), res.StatusCode, answer, err, want)
	}
}

// leaveChaos is a client that leaves: before its body has come, or before it has
// the answer.
func leaveChaos(c *chaos, path, body string, how int) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
	if err != nil {
		c.t.Errorf("seed %d: %v", c.seed, err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: billing\r\nX-Live: slow\r\n%s: %s\r\nContent-Length: %d\r\n\r\n", path, sumHeader, sum(body), len(body))
	if how == 0 {
		io.WriteString(conn, body[:len(body)/2])
	} else if how == 1 {
		io.WriteString(conn, body)
	} else {
		io.WriteString(conn, body)
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		conn.Read(make([]byte, 10))
	}
}

// Everything that can go wrong at once: clients that leave, a live that panics, a
// shadow that comes and goes, reloads with other options all the time. Each request
// reaches live once, each client that stays gets live's answer, and in the end
// nothing is left of it all: no place taken, no goroutine, no name.
func TestChaos(t *testing.T) {
	captureLog(t)
	lasts := chaosTime
	if d, err := time.ParseDuration(os.Getenv("MIRROR_CHAOS")); err == nil {
		lasts = d
	}
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("MIRROR_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("MIRROR_SEED=%d MIRROR_CHAOS=%s", seed, lasts)
	shortGrace(t, 20*time.Millisecond)
	shortKeep(t, 200*time.Millisecond)
	before := runtime.NumGoroutine()

	c := &chaos{t: t, seed: seed, end: time.Now().Add(lasts), live: newCountingLive(), shadow: startChaosShadow(t), mirrors: map[*mirror]bool{}}
	for i := 0; i < chaosRouters; i++ {
		router := &chaosRouter{}
		router.set(c.handler())
		c.routers = append(c.routers, router)
	}
	server := httptest.NewServer(hangingUp(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		c.routers[int(req.RequestURI[1]-'0')].get().ServeHTTP(rw, req)
	})))
	c.url = server.URL
	reloaded := make(chan bool)
	go reloadChaos(c, reloaded)
	wg := &sync.WaitGroup{}
	wg.Add(chaosClients)
	for i := 0; i < chaosClients; i++ {
		go askChaos(c, i, wg)
	}
	wg.Wait()
	<-reloaded

	server.Close() // waits for what is being served
	for m := range c.mirrors {
		awaitNoneInFlight(t, m)
	}
	c.shadow.stop()
	for _, name := range chaosNames {
		eventually(t, name+" to be forgotten", func() bool { return !registered(name) })
	}
	for m := range c.mirrors {
		eventually(t, "no place taken", func() bool { return m.inFlight.Load() == 0 })
	}
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= before })
	c.check()
}

// check fails the test unless live got each request once, and the shadow got none
// twice and nothing that nobody sent.
func (c *chaos) check() {
	t := c.t
	c.live.mu.Lock()
	defer c.live.mu.Unlock()
	c.sent.Range(func(key, stays interface{}) bool {
		path := key.(string)
		if n := c.live.served[path]; n > 1 || n == 0 && stays.(bool) {
			t.Errorf("seed %d: live was asked %d times for %s, want once", c.seed, n, path)
		}
		return true
	})
	if len(c.live.wrong) > 0 {
		t.Errorf("seed %d: live got bodies that nobody sent for %.1000q", c.seed, c.live.wrong)
	}
	c.shadow.mu.Lock()
	defer c.shadow.mu.Unlock()
	for path, n := range c.shadow.times {
		if _, known := c.sent.Load(path); n != 1 || !known {
			t.Errorf("seed %d: the shadow was asked %d times for %s, want once at most", c.seed, n, path)
		}
	}
	if len(c.shadow.wrong) > 0 {
		t.Errorf("seed %d: the shadow got bodies that nobody sent for %.1000q", c.seed, c.shadow.wrong)
	}
	if len(c.shadow.times) == 0 || c.asked.Load() == 0 {
		t.Errorf("seed %d: %d requests and %d copies: nothing was tried", c.seed, c.asked.Load(), len(c.shadow.times))
	}
	t.Logf("%d requests whose clients stayed, %d copies, %d mirrors", c.asked.Load(), len(c.shadow.times), len(c.mirrors))
}
