package faults

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	// The two mirrors of the table: one leaves a sick shadow alone, as mirrors
	// do; the other goes on, so that every request meets the fault.
	pausing  = "shadow-billing"
	restless = "shadow-restless"

	maxInFlight = 20
	places      = 2 * maxInFlight // of both

	// larger is the size of bodies in the second round, in bytes.
	larger = 100 << 10

	// What a place takes at most: its connection; its goroutine, the two of its
	// connection, and those of a dial (the dial itself, its lookup or
	// handshake).
	descriptorsPerPlace = 1
	goroutinesPerPlace  = 5

	// What comes and goes whatever the plugin does: the test's own look at the
	// API, lookups, connections to live that the warm-up did not need.
	slack = 16

	// mostMemory bounds the growth, in bytes: what the Go heap grows by under any
	// load, with a factor, and far below what hundreds of stuck requests would
	// take. The bodies that places hold come on top.
	mostMemory = 64 << 20
)

var faults = []struct {
	name     string
	shadow   func(*testing.T) *shadow
	answers  bool // the mirror takes it for an answer: no failure, no pause
	begins   bool // for the beginning of one: failures, but no pause
	size     int  // of bodies; 0: 1 KiB in one round and 100 KiB in the other
	requests int  // per router and round; 0: 200
}{
	{name: "refused", shadow: refused},
	{name: "unknown-host", shadow: unknownHost},
	{name: "full-backlog", shadow: fullBacklog},
	{name: "never-answers", shadow: silent},
	{name: "never-reads", shadow: neverReads, size: 900 << 10, requests: 60},
	{name: "resets", shadow: resets},
	{name: "closes-in-header", shadow: answering(says("HTTP/1.1 200 OK\r\nContent-Ty"), false)},
	{name: "endless-header", shadow: answering(says("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Ledger: 2024-00117\r\n", 100)), true)},
	{name: "endless-header-line", shadow: answering(says("HTTP/1.1 200 OK\r\nX-Ledger: "+strings.Repeat("2024-00117", 400)), true)},
	{name: "endless-body", shadow: answering(endlessBody(), true), answers: true, requests: 60},
	{name: "drips", shadow: drips, begins: true},
	{name: "short-body", begins: true, shadow: answering(says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}"), false)},
	{name: "garbage", shadow: answering(says("\x00\x01\x02 220 billing-next ESMTP\r\n\xff\xfe"), false)},
	{name: "endless-1xx", shadow: answering(says(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), true)},
	{name: "101-unasked", shadow: answering(says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ledger\r\n\r\n"), false)},
	{name: "500", answers: true, shadow: upstream(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "the ledger is closed", http.StatusInternalServerError)
	})},
	{name: "307-to-itself", answers: true, shadow: upstream(func(rw http.ResponseWriter, req *http.Request) {
		http.Redirect(rw, req, req.RequestURI, http.StatusTemporaryRedirect)
	})},
	{name: "unknown-authority", shadow: badCertificate(24*time.Hour, false)},
	{name: "expired-certificate", shadow: badCertificate(-time.Hour, true)},
	{name: "plain-on-tls", shadow: plainOnTLS},
	{name: "tls-on-plain", shadow: tlsOnPlain},
	{name: "panic-in-plugin", shadow: panics},
}

// endlessBody writes a head to each connection and then more and more body.
func endlessBody() func(net.Conn) error {
	piece := strings.Repeat("2024-00117;Meyer & Soehne;119.00\n", 2000)
	return func(conn net.Conn) error {
		if err := says("HTTP/1.1 200 OK\r\n\r\n")(conn); err != nil {
			return err
		}
		for {
			if err := says(piece)(conn); err != nil {
				return err
			}
		}
	}
}

// Whatever the shadow does, live gets every request once and whole, its client
// gets live's answer as soon as ever, and what Traefik takes of the machine is
// bounded by the places in flight, not by the number of requests. Healed, the
// shadow is mirrored to again.
func TestLiveDoesNotNoticeTheShadow(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel() // most of it waits for timeouts
			size, n := max(fault.size, 1<<10), fault.requests
			if n == 0 {
				n = 200
			}
			shadow, live := fault.shadow(t), runLive(t)
			mirror := func(maxPause string) testbed.Values {
				timeout := "1s"
				if fault.answers && fault.name != "endless-body" { // one that takes longer would be a failure
					timeout = "20s"
				}
				options := testbed.Values{"url": shadow.url, "maxInFlight": maxInFlight, "timeout": timeout, "maxPause": maxPause}
				for name, value := range shadow.options {
					options[name] = value
				}
				return options
			}
			traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", MirrorDir: shadow.plugin, Dynamic: testbed.Dynamic{}.
				Service("billing", live.URL()).
				Mirror(pausing, mirror("1s")).
				Mirror(restless, mirror("0")).
				Router("plain", testbed.RuleOf("plain"), "billing").
				Router(pausing, testbed.RuleOf(pausing), "billing", pausing).
				Router(restless, testbed.RuleOf(restless), "billing", restless)})
			load := newLoad(t, traefik, live, size)
			load.header = shadow.header

			// Connections that live's side keeps are not the shadow's.
			load.run(t, 100, "plain")
			base := measure(t, traefik)
			_, liveBefore := live.Connections()

			stop := watch(t, traefik)
			first := load.run(t, n, "plain", pausing, restless)
			if fault.begins {
				waitLogged(t, traefik, pausing, "") // whatever it is that is lost first
			} else if !fault.answers {
				waitLogged(t, traefik, pausing, "is left alone")
			}
			// Larger than what the buffers of a connection take at once.
			load.size = max(size, larger)
			second := load.run(t, n, "plain", pausing, restless)
			most := stop()
			load.check(t)

			plain := median(append(first["plain"], second["plain"]...))
			for _, name := range []string{pausing, restless} {
				got := median(append(first[name], second[name]...))
				// Generous, because figures belong to the benchmark: this shows that
				// live does not wait for a shadow, which would take a second.
				if limit := 5*plain + 5*time.Millisecond; got > limit {
					t.Errorf("%s: half of the requests took more than %s, want at most %s; without a mirror it is %s", name, got, limit, plain)
				}
			}
			if limit := base.descriptors + places*descriptorsPerPlace + slack; most.descriptors > limit {
				t.Errorf("%d descriptors, want at most %d; %d before", most.descriptors, limit, base.descriptors)
			}
			if limit := base.goroutines + places*goroutinesPerPlace + slack; most.goroutines > limit {
				t.Errorf("%d goroutines, want at most %d; %d before", most.goroutines, limit, base.goroutines)
			}
			// Live's own bodies take as much again, and the collector lets the heap
			// double.
			if limit := base.rss + mostMemory + 4*int64(places*load.size); most.rss > limit {
				t.Errorf("%d MB of memory, want at most %d; %d before", most.rss>>20, limit>>20, base.rss>>20)
			}
			// The first failure and the pause; no line per request.
			for name, limit := range map[string]int{pausing: 2, restless: 1} {
				if fault.answers && fault.name != "endless-body" {
					limit = 0
				} else if fault.begins {
					limit = 1
				}
				if lines := logged(traefik, name); len(lines) > limit && !onlyFull(lines) {
					t.Errorf("%s: %d lines in the log, want at most %d: %q", name, len(lines), limit, lines)
				}
			}
			if shadow.most != nil {
				if times := shadow.most(); times != 1 {
					t.Errorf("the shadow got a request %d times, want each once", times)
				}
			}
			after := settle(t, traefik, base, func() int {
				_, liveNow := live.Connections()
				kept := max(0, liveNow-liveBefore)
				if fault.answers {
					kept += shadow.open()
				}
				return kept
			})
			t.Logf("%-20s descriptors %d, most %d, after %d; goroutines %d, most %d, after %d; MB %d, most %d; median %s without, %s with a mirror", fault.name,
				base.descriptors, most.descriptors, after.descriptors, base.goroutines, most.goroutines, after.goroutines, base.rss>>20, most.rss>>20,
				plain.Round(10*time.Microsecond), median(append(first[pausing], second[pausing]...)).Round(10*time.Microsecond))

			if shadow.heal == nil {
				return
			}
			shadow.heal()
			load.header = nil
			testbed.Eventually(t, patience, func() error {
				for _, name := range []string{pausing, restless} {
					if err := load.send(name); err != nil {
						t.Fatal(err)
					}
				}
				if p, r := shadow.got(pausing), shadow.got(restless); p < 3 || r < 3 {
					return fmt.Errorf("the healed shadow got %d requests of %s and %d of %s, want some of both", p, pausing, r, restless)
				}
				return nil
			})
			load.check(t)
			if lines := logged(traefik, pausing); len(lines) > 5 {
				t.Errorf("%d lines in the log, want at most 5: %q", len(lines), lines)
			}
		})
	}
}

// onlyFull reports whether the log says nothing but that there was no place in
// flight, which a slow machine may make of any load.
func onlyFull(lines []string) bool {
	return len(lines) == 1 && strings.Contains(lines[0], "no place in flight")
}

// A dead shadow is left alone but for probes, whose intervals double; the log
// has a line for the beginning and a line for the end.
func TestPauseSparesADeadShadow(t *testing.T) {
	ward := runWard(t, func(net.Conn, <-chan struct{}) {}) // closes at once
	live := runLive(t)
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: testbed.Dynamic{}.
		Service("billing", live.URL()).
		Mirror(pausing, testbed.Values{"url": ward.URL(), "maxInFlight": maxInFlight, "timeout": "1s"}).
		Router(pausing, testbed.RuleOf(pausing), "billing", pausing)})
	load := newLoad(t, traefik, live, 1<<10)

	// A time before the pause began, though not by much.
	began, looked := time.Now(), time.Now()
	testbed.Eventually(t, patience, func() error {
		began, looked = looked, time.Now()
		load.run(t, workers, pausing)
		if lines := logged(traefik, pausing); len(lines) < 2 {
			return fmt.Errorf("logged %q, want a failure and a pause", lines)
		}
		return nil
	})
	// Ten failures begin the pause; what had a place by then goes on.
	// Nothing is sent meanwhile, so that this is no probe.
	tried := -1
	testbed.Eventually(t, patience, func() error {
		was := tried
		time.Sleep(500 * time.Millisecond)
		if tried = ward.Count(); tried != was {
			return fmt.Errorf("%d connections, and still more", tried)
		}
		return nil
	})
	if most := 10 + maxInFlight; tried > most {
		t.Errorf("%d connections before the pause, want at most %d", tried, most)
	}
	sent := 0
	var probes [2]time.Duration // since the pause began
	for i := range probes {
		testbed.Eventually(t, patience, func() error {
			load.run(t, workers, pausing)
			sent += workers
			if got := ward.Count() - tried; got <= i {
				return fmt.Errorf("%d connections while the shadow was left alone, want a probe", got)
			}
			return nil
		})
		probes[i] = time.Since(began)
	}
	if got := ward.Count() - tried; got != len(probes) {
		t.Errorf("%d connections while the shadow was left alone, want the %d probes", got, len(probes))
	}
	// Waits of one and two seconds, each a fifth shorter at most. A busy machine
	// makes them longer, never shorter.
	if least := 2400 * time.Millisecond; probes[1] < least {
		t.Errorf("the second probe came after %s of pause, want %s or more", probes[1], least)
	}
	if sent < 50 {
		t.Errorf("%d requests during the pause, want 50 or more for the probes to mean something", sent)
	}
	if lines := logged(traefik, pausing); len(lines) != 2 {
		t.Errorf("%d lines in the log, want one for the failure and one for the pause: %q", len(lines), lines)
	}

	ward.well.Store(true)
	testbed.Eventually(t, patience, func() error {
		load.run(t, 1, pausing)
		if got := ward.count(pausing); got < 20 {
			return fmt.Errorf("the healed shadow got %d requests, want 20", got)
		}
		return nil
	})
	load.check(t)
	lines := logged(traefik, pausing)
	if len(lines) != 3 || !strings.Contains(lines[2], "answers again") {
		t.Errorf("logged %q, want one more line, for the end of the pause", lines)
	}
}
