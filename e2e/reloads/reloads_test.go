package reloads

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// The mirrors of the storm. The first changes its options all the time, the
// second never does, the third, which is chained behind the first, comes and goes.
const (
	changing = "shadow-billing"
	steady   = "shadow-ledger"
	visiting = "shadow-archive"
	paused   = "shadow-down"

	billing = "billing"
	ledger  = "ledger"
)

// A town is a Traefik with two routers before one live upstream, each with a
// mirror of its own, in one of many configurations.
type town struct {
	live    *testbed.Upstream
	shadows map[string]*testbed.Upstream // by mirror; nil: a town without the middleware

	compares bool // answers are compared, by rules that change with the options
}

func newTown(t *testing.T, mirrored bool) *town {
	town := &town{live: runLive(t)}
	if mirrored {
		town.shadows = map[string]*testbed.Upstream{}
		for _, name := range []string{changing, steady, visiting, paused} {
			town.shadows[name] = runShadow(t)
		}
		town.shadows[paused].Stop()
	}
	return town
}

// configuration returns the n-th configuration of a storm. Of each four in a row
// one changes a mirror's options, one something unrelated, one adds a mirror and
// one removes it.
func (town *town) configuration(n int) testbed.Dynamic {
	config := testbed.Dynamic{}.
		Service("billing", town.live.URL()).
		Middleware("unrelated", "headers", testbed.Values{"customResponseHeaders": testbed.Values{"X-Unrelated": strconv.Itoa(n / 4)}}).
		Router("unrelated", testbed.RuleOf("unrelated"), "billing", "unrelated")
	// Traefik lets go of all instances before it makes new ones. The more of them
	// there are, the longer a mirror is nobody's in between.
	for i := range 30 {
		name := fmt.Sprintf("branch-%d", i)
		if town.shadows == nil {
			config.Router(name, testbed.RuleOf(name), "billing")
		} else {
			config.Router(name, testbed.RuleOf(name), "billing", steady)
		}
	}
	if town.shadows == nil {
		return config.
			Router(billing, testbed.RuleOf(billing), "billing").
			Router(ledger, testbed.RuleOf(ledger), "billing")
	}
	names := []string{changing}
	if visits(n) {
		names = append(names, visiting)
		config.Mirror(visiting, testbed.Values{"url": town.shadows[visiting].URL()})
	}
	changes := testbed.Values{
		"url":                  town.shadows[changing].URL(),
		"timeout":              fmt.Sprintf("%dms", 5000+revision(n)),
		"customRequestHeaders": testbed.Values{revisionHeader: strconv.Itoa(revision(n))},
	}
	stays := testbed.Values{"url": town.shadows[steady].URL()}
	if town.compares {
		changes["compare"] = testbed.Values{"ignore": fmt.Sprintf("$.revision%d", revision(n))}
		stays["compare"] = testbed.Values{"show": "values", "examples": 50}
		config.Report()
	}
	return config.
		Mirror(changing, changes).
		Mirror(steady, stays).
		Mirror(paused, testbed.Values{"url": town.shadows[paused].URL()}).
		Router(billing, testbed.RuleOf(billing), "billing", names...).
		Router(ledger, testbed.RuleOf(ledger), "billing", steady, paused)
}

func revision(n int) int { return (n + 3) / 4 }

func visits(n int) bool { return n%4 == 2 || n%4 == 3 }

// In a storm of reloads no live request fails, no copy is lost or made twice,
// and when it is over Traefik takes of its machine what it took before: no more
// than one without the middleware that went through the same.
func TestReloadStorm(t *testing.T) {
	const reloads = 200
	var without figures // by how much a Traefik without the middleware grows
	for _, name := range []string{"without-mirror", "mirrored", "comparing"} {
		t.Run(name, func(t *testing.T) {
			mirrored := name != "without-mirror"
			town := newTown(t, mirrored)
			if town.compares = name == "comparing"; town.compares {
				// The other one's answers all differ.
				town.shadows[changing].Handle(http.HandlerFunc(testbed.Book))
			}
			traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: town.configuration(0)})
			before := town.storm(t, traefik, reloads)
			// What a mirror that stays has for each of its few connections, and a few
			// that live may have got. A mirror that was removed is kept for 10 s.
			limit := figures{
				before.descriptors + max(0, without.descriptors) + 2*workers,
				before.goroutines + max(0, without.goroutines) + 4*workers,
				before.heap + max(0, without.heap) + 3<<20,
			}
			var after figures
			testbed.Eventually(t, patience, func() error {
				after = measure(t, traefik)
				if after.descriptors > limit.descriptors || after.goroutines > limit.goroutines || after.heap > limit.heap {
					return fmt.Errorf("after %d reloads Traefik takes %v, want at most %v; before it was %v, and without the middleware it grows by %v", reloads, after, limit, before, without)
				}
				return nil
			})
			t.Logf("before: %v; after: %v", before, after)
			if !mirrored {
				without = figures{after.descriptors - before.descriptors, after.goroutines - before.goroutines, after.heap - before.heap}
			}
		})
	}
}

// storm reloads n times under load, looks at what became of the requests, and
// returns Traefik's figures before.
func (town *town) storm(t *testing.T, traefik *testbed.Traefik, n int) (before figures) {
	t.Helper()
	load := startLoad(t, traefik, billing, ledger)
	load.wait(t, 100)
	if town.shadows != nil {
		testbed.Eventually(t, patience, func() error {
			if !strings.Contains(traefik.Log(), "is left alone") {
				return fmt.Errorf("%s does not leave its dead shadow alone", paused)
			}
			return nil
		})
	}
	before = measure(t, traefik)
	for i := 1; i <= n; i++ {
		if err := traefik.Reload(t.Context(), town.configuration(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := traefik.CheckRouters(t.Context()); err != nil {
		t.Fatal(err)
	}
	load.wait(t, 20)
	load.stop(t)
	load.check(t, "live", billing, town.live.Requests(), true)
	load.check(t, "live", ledger, town.live.Requests(), true)
	t.Logf("%d reloads, %d requests for %s and %d for %s", n, load.count(billing), billing, load.count(ledger), ledger)
	if town.shadows != nil {
		town.check(t, traefik, load, n)
	}
	return before
}

// check looks at what the storm made of the mirrors.
func (town *town) check(t *testing.T, traefik *testbed.Traefik, load *load, n int) {
	t.Helper()
	for mirror, router := range map[string]string{changing: billing, steady: ledger} {
		shadow := town.shadows[mirror]
		testbed.Eventually(t, patience, func() error {
			if got, want := len(shadow.Requests()), load.count(router); got < want {
				return fmt.Errorf("%s got %d requests, want %d; logged: %s", mirror, got, want, traefik.LogTail(5))
			}
			return nil
		})
		requests := shadow.Requests()
		load.check(t, mirror, router, requests, true)
		if got := len(by(requests, mirror)); got != len(requests) {
			t.Errorf("%d of the %d requests at %s say that they are its own, want all", got, len(requests), mirror)
		}
	}
	if town.compares {
		checkComparison(t, traefik, changing, "match", load.count(billing))
		checkComparison(t, traefik, steady, "mismatch", load.count(ledger))
	}
	visited := town.shadows[visiting].Requests()
	load.check(t, visiting, billing, visited, false)
	if len(visited) == 0 || len(visited) == load.count(billing) {
		t.Errorf("%s, which was there now and then, got %d requests of %d, want some", visiting, len(visited), load.count(billing))
	}

	// The options in force are those of the last configuration, and all were.
	seen := map[string]bool{}
	last := ""
	for _, r := range town.shadows[changing].Requests() {
		last = r.Header.Get(revisionHeader)
		seen[last] = true
	}
	if want := strconv.Itoa(revision(n)); last != want || len(seen) < revision(n)*3/4 {
		t.Errorf("the last request came from revision %s of the options, and %d revisions did send some; want the last from %s, and most to have sent", last, len(seen), want)
	}

	// Forgotten, it would find out again that its shadow is dead.
	text := traefik.Log()
	for _, line := range []string{": the shadow failed: ", "is left alone"} {
		if got := strings.Count(text, line); got != 1 {
			t.Errorf("%d lines with %q in the log, want one: %s, whose options did not change, is one mirror through all reloads", got, line, paused)
		}
	}
	if strings.Count(text, "mirror: middleware") != strings.Count(text, "mirror: middleware "+testbed.Marker(paused)) {
		t.Errorf("a mirror complains: %s", traefik.LogTail(10))
	}
	// n is such that the last configuration is without the visitor. The others'
	// idle connections are those of the present instances.
	const most = 4 * workers // the copies that the last instance had under way at once
	eventuallyLetGo(t, traefik, func() error {
		_, changingOpen := town.shadows[changing].Connections()
		_, visitingOpen := town.shadows[visiting].Connections()
		if visitingOpen > 0 || changingOpen > most {
			return fmt.Errorf("%d connections to %s, which was removed, and %d to %s, want none and at most %d", visitingOpen, visiting, changingOpen, changing, most)
		}
		return nil
	})
}

// checkComparison fails the test unless the mirror has found, since the start and
// through all reloads, the outcome of each of n pairs.
func checkComparison(t *testing.T, traefik *testbed.Traefik, mirror, outcome string, n int) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		if r := traefik.MustReport(t, mirror); r.Compared[outcome] != int64(n) || r.InFlight > 0 {
			return fmt.Errorf("%s: %v compared, skipped for %v, %d in flight; want %s %d times", mirror, r.Compared, r.Skipped, r.InFlight, outcome, n)
		}
		return nil
	})
}

// A mirror whose options a reload leaves as they were keeps its connection, and
// one whose options change shares its places with those that came before it.
func TestReloadsKeepConnectionsAndPlaces(t *testing.T) {
	const (
		middleware = "shadow-billing"
		places     = 3
		reloads    = 20
	)
	live, shadow := runLive(t), runShadow(t)
	config := func(unrelated int, timeout string) testbed.Dynamic {
		return testbed.Dynamic{}.
			Service("billing", live.URL()).
			Middleware("unrelated", "headers", testbed.Values{"customResponseHeaders": testbed.Values{"X-Unrelated": strconv.Itoa(unrelated)}}).
			Mirror(middleware, testbed.Values{"url": shadow.URL(), "maxInFlight": places, "timeout": timeout}).
			Router("unrelated", testbed.RuleOf("unrelated"), "billing", "unrelated").
			Router(billing, testbed.RuleOf(billing), "billing", middleware)
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config(0, "50s")})
	send := func(target string) {
		t.Helper()
		c := connect(t, traefik, target, target)
		defer c.Close()
		c.say(target)
		c.expect(target)
	}
	reach := func(n int) {
		t.Helper()
		testbed.Eventually(t, patience, func() error {
			if got := shadow.Count(); got < n {
				return fmt.Errorf("%d requests at the shadow, want %d", got, n)
			}
			return nil
		})
	}
	for i := 1; i <= reloads; i++ {
		send(fmt.Sprintf("/invoices/%d", i))
		reach(i)
		traefik.MustReload(t, config(i, "50s"))
	}
	// On a machine that is busy enough one may have been idle for too long.
	if made, _ := shadow.Connections(); made > reloads/4 {
		t.Errorf("%d connections for %d requests, one after the other, with a reload after each, want one", made, reloads)
	}

	shadow.Reset()
	t.Cleanup(shadow.Hang())
	for i, timeout := range []string{"50s", "51s", "52s"} { // the same, and others
		send(fmt.Sprintf("/hang/%d", i))
		reach(i + 1)
		traefik.MustReload(t, config(reloads+i, timeout))
	}
	for i := range 5 {
		send(fmt.Sprintf("/dropped/%d", i))
	}
	testbed.Eventually(t, patience, func() error {
		if !strings.Contains(traefik.Log(), "no place in flight") {
			return fmt.Errorf("there are places, want all %d taken by requests of instances before", places)
		}
		return nil
	})
	if got := shadow.Count(); got != places {
		t.Errorf("%d requests are with the shadow, want %d", got, places)
	}
}

// A router that is taken out of the configuration for longer than a reload takes, and is put
// back, finds the account as it was. In between the report says that it is removed, and that
// nothing is known of what would be now; and nothing else is left of it.
func TestRemovedMirrorGoesOnCountingWhenItIsBack(t *testing.T) {
	t.Parallel() // most of it waits
	const (
		middleware = "shadow-billing"
		pairs      = 60
		away       = 14 * time.Second
	)
	live := runLive(t)
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", Handler: http.HandlerFunc(testbed.Book)})
	config := func(routed bool) testbed.Dynamic {
		d := testbed.Dynamic{}.
			Service("billing", live.URL()).
			Mirror(middleware, testbed.Values{"url": shadow.URL(), "compare": testbed.Values{"minimum": pairs}}).
			Router(ledger, testbed.RuleOf(ledger), "billing").
			Report()
		if routed {
			d.Router(billing, testbed.RuleOf(billing), "billing", middleware)
		}
		return d
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config(false)})
	if !traefik.Release().Has("v3.0.0") {
		t.Skip("Traefik v2 tells no plugin that its instance is gone")
	}
	before := measure(t, traefik)
	send := func(router string, n int) {
		t.Helper()
		for i := range n {
			body := fmt.Sprintf(`{"invoice":"2026-%04d"}`, i)
			req, err := http.NewRequest(http.MethodPost, traefik.URL("/invoices"), strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Host = testbed.HostOf(router)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				t.Fatalf("live answered %d, want %d", resp.StatusCode, http.StatusCreated)
			}
		}
	}
	// expect fails the test unless the mirror has compared so many pairs since the moment
	// when it began, and is in that state.
	var began time.Time
	expect := func(when string, n int64, state string, removed bool) {
		t.Helper()
		testbed.Eventually(t, patience, func() error {
			r := traefik.MustReport(t, middleware)
			c := r.Comparison
			if c == nil {
				return fmt.Errorf("%s: there is no comparison in %+v", when, r)
			}
			if began.IsZero() {
				began = c.Since
			}
			if r.Mirrored != n || r.InFlight != 0 || r.LostTotal != 0 || c.Compared != n || c.Agreeing != n || c.State != state || !c.Since.Equal(began) || (r.Removed != nil) != removed {
				return fmt.Errorf("%s: %d mirrored, %d lost, %d of %d agree since %s, %s %q, removed: %v; want %d, %s, removed: %t", when, r.Mirrored, r.LostTotal, c.Agreeing, c.Compared, c.Since, c.State, c.Reasons, r.Removed, n, state, removed)
			}
			return nil
		})
	}

	traefik.MustReload(t, config(true))
	send(billing, pairs)
	expect("at first", pairs, "agrees", false)

	gone := time.Now()
	traefik.MustReload(t, config(false))
	send(ledger, 10) // live is served without the mirror
	expect("while its router is gone", pairs, "undecided", true)
	r := traefik.MustReport(t, middleware)
	if want := "no router uses the middleware any more"; !strings.Contains(r.Comparison.Headline, want) || r.Shadow != "" {
		t.Errorf("the headline is %q and the shadow %q, want %q in it and none", r.Comparison.Headline, r.Shadow, want)
	}
	if since := r.Removed.Sub(gone); since < -time.Second || since > away {
		t.Errorf("removed at %s, want when its router went, %s", r.Removed, gone)
	}
	eventuallyLetGo(t, traefik, func() error {
		if _, open := shadow.Connections(); open > 0 {
			return fmt.Errorf("%d connections to the shadow of a mirror that is removed, want none", open)
		}
		if after := measure(t, traefik); after.goroutines > before.goroutines+workers || after.heap > before.heap+2<<20 {
			return fmt.Errorf("with the mirror removed Traefik takes %v, want not much more than before it, %v", after, before)
		}
		return nil
	})
	time.Sleep(time.Until(gone.Add(away)))

	traefik.MustReload(t, config(true))
	expect("back", pairs, "agrees", false)
	send(billing, pairs)
	expect("back, and with as many again", 2*pairs, "agrees", false)
	if got := shadow.Count(); got != 2*pairs {
		t.Errorf("the shadow got %d requests, want %d", got, 2*pairs)
	}
	if text := traefik.Log(); strings.Contains(text, "mirror: middleware") {
		t.Errorf("the mirror complains: %s", traefik.LogTail(10))
	}
}

// However often the options change, nothing is kept of the instances that had
// others, whose connections, certificates and handlers would add up.
func TestReplacedInstancesAreLetGo(t *testing.T) {
	t.Parallel() // most of it waits
	const (
		reloads = 150
		most    = 3 << 19 // bytes; Traefik itself grows by some 500 KB
	)
	town := newTown(t, true)
	// Of four configurations in a row, the first is new in nothing but the
	// options of a mirror and a header.
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: town.configuration(0)})
	before := measure(t, traefik)
	for i := 1; i <= reloads; i++ {
		if err := traefik.Reload(t.Context(), town.configuration(4*i)); err != nil {
			t.Fatal(err)
		}
	}
	testbed.Eventually(t, patience, func() error {
		if after := measure(t, traefik); after.heap > before.heap+most {
			return fmt.Errorf("after %d changes of options Traefik takes %v, want at most %.1f MB more than the %v of before", reloads, after, float64(most)/(1<<20), before)
		}
		return nil
	})
}

// What is under way while its instance is replaced or removed is served, and
// mirrored, as if nothing had happened.
func TestRequestsOutliveTheirInstance(t *testing.T) {
	const middleware = "shadow-billing"
	body := strings.Repeat(`{"invoice":"2024-00117","customer":"Meyer & Söhne"}`, 20)
	tests := []struct {
		name  string
		after func(config testbed.Dynamic, shadow *testbed.Upstream, mode string) testbed.Dynamic // the reload
	}{
		{"replaced", func(config testbed.Dynamic, shadow *testbed.Upstream, mode string) testbed.Dynamic {
			return config.
				Mirror(middleware, testbed.Values{"url": shadow.URL(), "bodyMode": mode, "timeout": "21s"}).
				Router(billing, testbed.RuleOf(billing), "billing", middleware)
		}},
		{"unchanged", func(config testbed.Dynamic, shadow *testbed.Upstream, mode string) testbed.Dynamic {
			return config.
				Mirror(middleware, testbed.Values{"url": shadow.URL(), "bodyMode": mode, "timeout": "20s"}).
				Router(billing, testbed.RuleOf(billing), "billing", middleware)
		}},
		{"removed", func(config testbed.Dynamic, _ *testbed.Upstream, _ string) testbed.Dynamic {
			return config.Router(billing, testbed.RuleOf(billing), "billing")
		}},
	}
	for _, mode := range []string{"buffer", "stream"} {
		for _, test := range tests {
			t.Run(mode+"-"+test.name, func(t *testing.T) {
				t.Parallel() // most of it waits for what is left of the instance to go
				answer := make(chan struct{})
				live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
					if req.RequestURI == "/slow-answer" {
						<-answer
					}
					testbed.Book(rw, req)
				})})
				shadow := runShadow(t)
				config := func() testbed.Dynamic { return testbed.Dynamic{}.Service("billing", live.URL()) }
				traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config().
					Mirror(middleware, testbed.Values{"url": shadow.URL(), "bodyMode": mode, "timeout": "20s"}).
					Router(billing, testbed.RuleOf(billing), "billing", middleware)})

				// The shadow is slow to answer the one whose answer live is slow with
				// too, so that its exchange is under way as well.
				release := shadow.Hang()
				t.Cleanup(release)
				waiting := connect(t, traefik, "/slow-answer", body)
				waiting.say(body)
				for _, u := range []*testbed.Upstream{live, shadow} {
					testbed.Eventually(t, patience, func() error {
						if u.Count() != 1 {
							return fmt.Errorf("%d requests, want that with the slow answer", u.Count())
						}
						return nil
					})
				}
				uploading := connect(t, traefik, "/slow-upload", body)
				uploading.say(body[:len(body)/2])
				if mode == "stream" {
					// Live has it already, for all that the instance does with it.
					testbed.Eventually(t, patience, func() error {
						if live.Count() != 2 {
							return fmt.Errorf("%d requests at live, want that with the slow upload too", live.Count())
						}
						return nil
					})
				} else {
					uploading.taken(traefik)
				}

				traefik.MustReload(t, test.after(config(), shadow, mode))
				release()
				close(answer)
				waiting.expect("/slow-answer")
				uploading.say(body[len(body)/2:])
				uploading.expect("/slow-upload")

				for what, u := range map[string]*testbed.Upstream{"live": live, "the shadow": shadow} {
					testbed.Eventually(t, patience, func() error {
						if got := len(u.Requests()); got < 2 {
							return fmt.Errorf("%s got %d requests, want both", what, got)
						}
						return nil
					})
					for _, r := range u.Requests() {
						if string(r.Body) != body || r.BodyErr != nil {
							t.Errorf("%s got %s with %d bytes (%v), want all %d", what, r.RequestURI, r.BodySize, r.BodyErr, len(body))
						}
					}
					if got := u.Count(); got != 2 {
						t.Errorf("%s got %d requests, want each of both once", what, got)
					}
				}
				if text := traefik.Log(); strings.Contains(text, "mirror: middleware") {
					t.Errorf("the mirror complains: %s", traefik.LogTail(10))
				}
				if test.name == "unchanged" {
					return // it keeps its connections
				}
				// 10 s after its removal at the latest.
				eventuallyLetGo(t, traefik, func() error {
					if _, open := shadow.Connections(); open > 0 {
						return fmt.Errorf("%d connections to the shadow of the instance that is gone, want none", open)
					}
					return nil
				})
			})
		}
	}
}

// A client is a connection on which a request is under way.
type client struct {
	net.Conn
	t *testing.T
}

// connect sends a request's head, which announces the body.
func connect(t *testing.T, traefik *testbed.Traefik, target, body string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", traefik.Addr(testbed.Web))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	c := &client{conn, t}
	c.say("POST " + target + " HTTP/1.1\r\nHost: " + testbed.HostOf(billing) + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n")
	return c
}

func (c *client) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("sending %.80q: %v", text, err)
	}
}

// taken waits until an instance of the middleware reads the request's body.
func (c *client) taken(traefik *testbed.Traefik) {
	c.t.Helper()
	testbed.Eventually(c.t, patience, func() error {
		dump, err := traefik.GoroutineDump(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		for _, stack := range strings.Split(dump, "\n\n") {
			if strings.Contains(stack, "io.ReadFull") && strings.Contains(stack, "net/http.(*body).Read") || strings.Contains(stack, "io.ReadAll") && strings.Contains(stack, "net/http.(*body).Read") {
				return nil
			}
		}
		return fmt.Errorf("nobody reads the body of a request")
	})
}

// expect fails the test unless live's answer comes.
func (c *client) expect(target string) {
	c.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodPost})
	if err != nil {
		c.t.Fatalf("%s: %v", target, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated || !strings.HasPrefix(string(body), "booked ") {
		c.t.Fatalf("%s: answered %d %q (%v), want %d from live", target, resp.StatusCode, body, err, http.StatusCreated)
	}
}
