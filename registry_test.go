package mirror

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// A routed is the middleware of one router, and the shadow behind it.
type routed struct {
	handler http.Handler
	shadow  *shadow
}

func (r *routed) ServeHTTP(rw http.ResponseWriter, req *http.Request) { r.handler.ServeHTTP(rw, req) }

// instance builds the middleware as Traefik does on a reload, under a context
// that the next one cancels.
func instance(t *testing.T, name, url string, set func(*Config)) (h *routed, cancel func()) {
	t.Helper()
	config := CreateConfig()
	config.set("url", url)
	if set != nil {
		set(config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		forget(name)
	})
	handler, err := New(ctx, echoLive, config, name)
	if err != nil {
		t.Fatal(err)
	}
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	return &routed{handler: handler, shadow: mirrors[name].shadow}, cancel
}

// shortGrace makes removed mirrors go soon.
func shortGrace(t *testing.T, grace time.Duration) {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	before := removalGrace
	removalGrace = grace
	t.Cleanup(func() {
		mirrorsMu.Lock()
		defer mirrorsMu.Unlock()
		removalGrace = before
	})
}

// shortKeep makes mirrors that were removed be forgotten soon.
func shortKeep(t *testing.T, kept time.Duration) {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	before := keepRemoved
	keepRemoved = kept
	t.Cleanup(func() {
		mirrorsMu.Lock()
		defer mirrorsMu.Unlock()
		keepRemoved = before
	})
}

// handClockOf returns a function that sets the package's clock ahead, by so much more each
// time, and does what is due then. When the test is over the clock is right again.
func handClockOf(t *testing.T) (advance func(time.Duration)) {
	t.Cleanup(func() {
		mirrorsMu.Lock()
		by := time.Duration(ahead.Swap(0))
		for _, r := range removals {
			r.since = r.since.Add(-by)
			r.due = r.due.Add(-by)
		}
		for _, m := range removed {
			m.removedAt = m.removedAt.Add(-by)
		}
		mirrorsMu.Unlock()
		removeUnused()
	})
	return func(by time.Duration) {
		ahead.Add(int64(by))
		removeUnused()
	}
}

// awaitAbandoned waits until so many routers use the mirror: a context that has ended tells
// in a goroutine of its own.
func awaitAbandoned(t *testing.T, name string, users int) {
	t.Helper()
	eventually(t, "the routers to be gone", func() bool {
		mirrorsMu.Lock()
		defer mirrorsMu.Unlock()
		m := mirrors[name]
		n := 0
		if m != nil && m.shadow != nil {
			n = m.shadow.users
		}
		if m != nil && m.fault != nil {
			n = m.fault.users
		}
		return n == users
	})
}

func registered(name string) bool {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	return mirrors[name] != nil
}

func isRemoved(name string) bool {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	m := mirrors[name]
	return m != nil && !m.removedAt.IsZero() && m.shadow == nil && m.fault == nil
}

func TestRoutersOfOneMiddlewareShareItsMirror(t *testing.T) {
	shadow := startUpstream(t)
	release := shadow.hang(t)
	set := func(c *Config) { c.set("maxInFlight", "2") }
	first, _ := instance(t, t.Name(), shadow.URL, set)
	second, _ := instance(t, t.Name(), shadow.URL, set)
	if first.shadow != second.shadow {
		t.Fatalf("two routers of one middleware have two shadows")
	}
	for i := 0; i < 3; i++ {
		serve(first, postInvoice())
		serve(second, postInvoice())
	}
	shadow.wait(t, 2)
	if full := first.shadow.mirror.counts.full.Load(); full != 4 {
		t.Errorf("%d dropped, want 4: the bound is for both routers together", full)
	}
	release()
}

func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	shortGrace(t, 500*time.Millisecond)
	shadow := startUpstream(t)
	before, cancel := instance(t, t.Name(), shadow.URL, nil)
	serve(before, postInvoice())
	settled(t, t.Name())
	// Traefik cancels the old instances before it makes the new.
	cancel()
	after, _ := instance(t, t.Name(), shadow.URL, nil)
	time.Sleep(time.Second) // past the grace
	if after.shadow != before.shadow || !registered(t.Name()) {
		t.Fatalf("the reload replaced a mirror whose options did not change")
	}
	serve(after, postInvoice())
	if n := settled(t, t.Name()).counts.answers(); n != 2 {
		t.Errorf("mirrored %d, want 2: the count goes on", n)
	}
}

// Changes that come faster than the grace: a timer of an earlier one must not
// end the mirror while a later one has let go of it for a moment.
func TestMirrorOutlivesManyReloads(t *testing.T) {
	shortGrace(t, 2*time.Second)
	shadow := startUpstream(t)
	first, cancel := instance(t, t.Name(), shadow.URL, nil)
	for i := 0; i < 6; i++ {
		cancel()
		time.Sleep(500 * time.Millisecond) // within the grace, most of the time nobody's
		var h *routed
		h, cancel = instance(t, t.Name(), shadow.URL, nil)
		if h.shadow != first.shadow {
			t.Fatalf("reload %d replaced a mirror whose options did not change", i)
		}
	}
}

func TestReloadWithOtherOptionsKeepsTheCounts(t *testing.T) {
	old, next := startUpstream(t), startUpstream(t)
	before, cancel := instance(t, t.Name(), old.URL, nil)
	serve(before, postInvoice())
	cancel()
	after, _ := instance(t, t.Name(), next.URL, nil)
	if after.shadow == before.shadow || after.shadow.mirror != before.shadow.mirror {
		t.Fatalf("want another shadow of the same mirror")
	}
	// A request that is under way in the replaced instance is mirrored as it began.
	serve(before, postInvoice())
	serve(after, postInvoice())
	settled(t, t.Name())
	if n, m := len(old.snapshot()), len(next.snapshot()); n != 2 || m != 1 {
		t.Errorf("the shadows got %d and %d requests, want 2 and 1", n, m)
	}
	if n := after.shadow.mirror.counts.answers(); n != 3 {
		t.Errorf("mirrored %d, want 3 over both", n)
	}
}

func TestRemovedMirrorLetsGo(t *testing.T) {
	shortGrace(t, 20*time.Millisecond)
	shadow := startUpstream(t)
	cancels := []func(){}
	for i := 0; i < 3; i++ {
		h, cancel := instance(t, t.Name(), shadow.URL, nil)
		cancels = append(cancels, cancel)
		serve(h, postInvoice())
	}
	settled(t, t.Name())
	for i, cancel := range cancels {
		if isRemoved(t.Name()) {
			t.Fatalf("the mirror was gone with %d of 3 routers still there", 3-i)
		}
		cancel()
	}
	eventually(t, "the mirror to be removed", func() bool { return isRemoved(t.Name()) })
}

// A router that is gone for a while, as of a container that starts anew, finds the account
// as it was, if it is back within the hour and what is compared is the same.
func TestRemovedMirrorGoesOnCountingWhenItIsBack(t *testing.T) {
	tests := []struct {
		name     string
		away     time.Duration
		options  map[string]string // when it is back
		mirrored int64             // then, before any request
		compared int64
		previous bool // the comparison of before is a previous one
	}{
		{"soon, with the same options", 14 * time.Second, nil, 3, 3, false},
		{"just within the hour", time.Hour - time.Second, nil, 3, 3, false},
		{"after an hour", time.Hour, nil, 0, 0, false},
		{"after a day", 24 * time.Hour, nil, 0, 0, false},
		{"with another rule", 14 * time.Second, map[string]string{"compare.ignore": "$.total"}, 3, 3, false},
		{"with another share", time.Minute, map[string]string{"percent": "99.999999"}, 3, 3, false},
		{"with another epoch", 14 * time.Second, map[string]string{"compare.epoch": "build 4711"}, 3, 0, true},
		{"without comparing", 14 * time.Second, map[string]string{"compare": "false"}, 3, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			captureLog(t)
			advance := handClockOf(t)
			shadow := startUpstream(t)
			report := reporterFor(t)
			before, cancel := instance(t, t.Name(), shadow.URL, func(c *Config) { c.set("compare.body", "json") })
			for i := 0; i < 3; i++ {
				serve(before, postInvoice())
			}
			settled(t, t.Name())
			was := reported(t, report)
			if was.Removed != nil || was.Mirrored != 3 || was.Comparison.Compared != 3 {
				t.Fatalf("reported %+v, want 3 that are mirrored and compared", was)
			}
			gone := clock()
			cancel()
			awaitAbandoned(t, t.Name(), 0)
			advance(removalGrace - 2*time.Second)
			if r := reported(t, report); r.Removed != nil || r.Shadow != shadow.URL {
				t.Errorf("reported %+v within the grace, want it as it was", r)
			}
			advance(2 * time.Second)
			r := reported(t, report)
			if r.Removed == nil || r.Removed.Before(gone) || r.Removed.After(gone.Add(5*time.Second)) {
				t.Fatalf("removed: %v, want what the clock said when its router went, %s", r.Removed, gone)
			}
			if r.Shadow != "" || r.Mirrored != 3 || r.Comparison.Compared != 3 || !r.Since.Equal(was.Since) || !r.Comparison.Since.Equal(was.Comparison.Since) {
				t.Errorf("reported %+v, want what it counted, and no shadow", r)
			}
			if !before.shadow.retired.Load() {
				t.Error("the shadow is not retired")
			}
			advance(tt.away - removalGrace)

			after, _ := instance(t, t.Name(), shadow.URL, func(c *Config) {
				if tt.options["compare"] == "" {
					c.set("compare.body", "json")
				}
				setOptions(c, tt.options)
			})
			if after.shadow == before.shadow {
				t.Error("the shadow is that of before, which is retired")
			}
			r = reported(t, report)
			if r.Removed != nil || r.Shadow != shadow.URL || r.Mirrored != tt.mirrored || (r.Since.Equal(was.Since)) != (tt.mirrored > 0) {
				t.Errorf("reported %+v when it is back, want %d mirrored", r, tt.mirrored)
			}
			if tt.options["compare"] == "false" {
				if r.Comparison != nil {
					t.Errorf("there is a comparison: %+v", r.Comparison)
				}
			} else if c := r.Comparison; c.Compared != tt.compared || (c.Previous != nil) != tt.previous || c.Since.Equal(was.Comparison.Since) != (tt.compared > 0) {
				t.Errorf("the comparison is %+v when it is back, want %d compared", c, tt.compared)
			}
			for i := 0; i < 2; i++ {
				serve(after, postInvoice())
			}
			settled(t, t.Name())
			r = reported(t, report)
			if r.Mirrored != tt.mirrored+2 || r.LostTotal != 0 || r.Comparison != nil && r.Comparison.Compared != tt.compared+2 {
				t.Errorf("reported %+v after two more, want %d mirrored and %d compared", r, tt.mirrored+2, tt.compared+2)
			}
		})
	}
}

// What is under way when the mirror is removed, and what comes to its handlers later, counts
// where it would have, once.
func TestRemovedMirrorCountsWhatIsUnderWay(t *testing.T) {
	captureLog(t)
	advance := handClockOf(t)
	shadow := startUpstream(t)
	report := reporterFor(t)
	set := func(c *Config) { c.set("compare", "true") }
	before, cancel := instance(t, t.Name(), shadow.URL, set)
	serve(before, postInvoice())
	settled(t, t.Name())
	release := shadow.hang(t)
	serve(before, postInvoice())
	serve(before, postInvoice())
	shadow.wait(t, 3)
	cancel()
	awaitAbandoned(t, t.Name(), 0)
	advance(14 * time.Second)
	serve(before, postInvoice()) // as Traefik's old handler does to the end of a keep-alive connection
	if r := reported(t, report); r.Removed == nil || r.InFlight != 3 || r.Mirrored != 1 {
		t.Errorf("reported %+v, want it removed, with three in flight", r)
	}
	after, _ := instance(t, t.Name(), shadow.URL, set)
	serve(after, postInvoice())
	release()
	settled(t, t.Name())
	if r := reported(t, report); r.Removed != nil || r.InFlight != 0 || r.Mirrored != 5 || r.LostTotal != 0 || r.Comparison.Compared != 5 {
		t.Errorf("reported %+v, want 5 that are mirrored and compared, each once", r)
	}
	if n := len(shadow.snapshot()); n != 5 {
		t.Errorf("the shadow got %d requests, want 5", n)
	}
}

// Names that come and go do not pile up, and leave no goroutine.
func TestOnlySoManyRemovedMirrorsAreKept(t *testing.T) {
	captureLog(t)
	advance := handClockOf(t)
	before := runtime.NumGoroutine()
	const more = 5
	name := func(i int) string { return t.Name() + strconv.Itoa(i) }
	for i := 0; i < mostRemoved+more; i++ {
		set := func(c *Config) {}
		if i%3 == 0 {
			set = func(c *Config) { c.set("timeout", "soon") }
		}
		_, cancel := instance(t, name(i), "http://billing-next:8080", set)
		cancel()
		awaitAbandoned(t, name(i), 0)
		advance(14 * time.Second)
		if !isRemoved(name(i)) {
			t.Fatalf("%s is not removed", name(i))
		}
	}
	for i := 0; i < mostRemoved+more; i++ {
		if kept := registered(name(i)); kept != (i >= more) {
			t.Errorf("%s is kept: %t, want the newest %d", name(i), kept, mostRemoved)
		}
	}
	// One that comes back makes room, and is not forgotten with the others.
	_, cancel := instance(t, name(more), "http://billing-next:8080", nil)
	_, cancelOther := instance(t, name(0), "http://billing-next:8080", nil)
	cancelOther()
	awaitAbandoned(t, name(0), 0)
	advance(14 * time.Second)
	if !registered(name(more+1)) || !isRemoved(name(0)) {
		t.Error("one was forgotten though there is room")
	}
	advance(2 * time.Hour)
	for i := 0; i < mostRemoved+more; i++ {
		if kept := registered(name(i)); kept != (i == more) {
			t.Errorf("%s is kept: %t after two hours, want the one that is used only", name(i), kept)
		}
	}
	cancel()
	awaitAbandoned(t, name(more), 0)
	advance(14 * time.Second)
	advance(time.Hour)
	mirrorsMu.Lock()
	if len(removed) != 0 || len(removals) != 0 || !nextDue.IsZero() {
		t.Errorf("%d are kept, %d are to be removed, and the timer is set for %s; want nothing", len(removed), len(removals), nextDue)
	}
	mirrorsMu.Unlock()
	eventually(t, "no more goroutines than before", func() bool { return runtime.NumGoroutine() <= before })
}

// The timer does it too, without anybody who asks.
func TestRemovedMirrorIsForgottenInTime(t *testing.T) {
	shortGrace(t, 10*time.Millisecond)
	shortKeep(t, 300*time.Millisecond)
	_, cancel := instance(t, t.Name(), "http://billing-next:8080", nil)
	cancel()
	eventually(t, "the mirror to be removed", func() bool { return isRemoved(t.Name()) })
	eventually(t, "the mirror to be forgotten", func() bool { return !registered(t.Name()) })
}

// A middleware that becomes one that serves the report is no mirror that was removed.
func TestMirrorThatBecomesTheReportIsForgotten(t *testing.T) {
	serving := func(c *Config) { c.set("serve", "true") }
	tests := []struct {
		name string
		do   func(t *testing.T, advance func(time.Duration))
	}{
		{"a mirror", func(t *testing.T, advance func(time.Duration)) {
			reload(t, func(c *Config) { c.set("url", "http://billing-next:8080") })
			reload(t, serving)
			awaitAbandoned(t, t.Name(), 0)
			advance(removalGrace)
		}},
		{"one that was removed", func(t *testing.T, advance func(time.Duration)) {
			reload(t, func(c *Config) { c.set("url", "http://billing-next:8080") })
			reloading[t.Name()]()
			awaitAbandoned(t, t.Name(), 0)
			advance(removalGrace)
			if !isRemoved(t.Name()) {
				t.Error("the mirror is not removed")
			}
			reload(t, serving)
		}},
		{"one with a mistake", func(t *testing.T, _ func(time.Duration)) {
			reload(t, func(c *Config) { c.set("url", "nowhere") })
			reload(t, serving)
		}},
		{"a report with a mistake", func(t *testing.T, advance func(time.Duration)) {
			reload(t, func(c *Config) { serving(c); c.set("url", "nowhere") })
			reloading[t.Name()]()
			awaitAbandoned(t, t.Name(), 0)
			advance(removalGrace)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			startReloading(t)
			captureLog(t)
			tt.do(t, handClockOf(t))
			if registered(t.Name()) {
				t.Error("it is there as a mirror")
			}
		})
	}
	t.Run("and back", func(t *testing.T) {
		startReloading(t)
		advance := handClockOf(t)
		reload(t, func(c *Config) { c.set("url", "http://billing-next:8080") })
		reload(t, serving)
		reload(t, func(c *Config) { c.set("url", "http://billing-next:8080") })
		reloading[t.Name()]()
		awaitAbandoned(t, t.Name(), 0)
		advance(removalGrace)
		if !isRemoved(t.Name()) {
			t.Error("the mirror is not kept as removed")
		}
	})
}

// Days of reloads, some of which leave the mirror without a router for a moment, as a change
// of Traefik's does, and never for as long as the grace.
func TestMirrorWithARouterIsNeverForgotten(t *testing.T) {
	captureLog(t)
	advance := handClockOf(t)
	shadow := startUpstream(t)
	first, cancel := instance(t, t.Name(), shadow.URL, nil)
	end := clock().Add(3 * 24 * time.Hour)
	n := int64(0)
	for i := 0; clock().Before(end); i++ {
		before := cancel
		if i%3 < 2 {
			before()
			awaitAbandoned(t, t.Name(), 0)
			advance(time.Duration(3*i%10) * time.Second)
		}
		config := CreateConfig()
		config.set("url", shadow.URL)
		ctx, end := context.WithCancel(context.Background())
		h, err := New(ctx, echoLive, config, t.Name())
		if err != nil {
			t.Fatal(err)
		}
		cancel = end
		before()
		awaitAbandoned(t, t.Name(), 1)
		serve(h, postInvoice())
		n++
		// Now and then the next change comes soon, and the removal of before is due in the
		// middle of it.
		advance([]time.Duration{time.Second, 4 * time.Minute, time.Second, 25 * time.Minute, 2 * time.Hour}[i%5])
		if m := settled(t, t.Name()); m.shadow != first.shadow || isRemoved(t.Name()) || m.counts.answers() != n {
			t.Fatalf("after %d reloads it is another mirror, or removed, or it has counted %d, want %d", i, m.counts.answers(), n)
		}
	}
	if n < 100 || first.shadow.retired.Load() {
		t.Errorf("%d reloads; the shadow is retired: %t", n, first.shadow.retired.Load())
	}
	cancel()
	awaitAbandoned(t, t.Name(), 0)
	advance(removalGrace)
	if !isRemoved(t.Name()) {
		t.Error("it is not removed when its router is gone")
	}
}

// What is known of the last second, and of sequences, is not lost with the routers.
func TestRemovedMirrorKeepsItsRateAndItsSequence(t *testing.T) {
	captureLog(t)
	advance := handClockOf(t)
	shadow := startUpstream(t)
	report := reporterFor(t)
	set := inSequence("compare", "true", "maxRate", "1000", "compare.control", "http://127.0.0.1:1")
	before, cancel := instance(t, t.Name(), shadow.URL, set)
	serve(before, of("C-1007", http.MethodGet, "/invoices/1"))
	serve(before, of("", http.MethodGet, "/invoices/2"))
	m := settled(t, t.Name())
	lose(before.shadow.sequencer, of("C-2001", http.MethodPost, "/invoices"))
	limit := m.limit
	cancel()
	awaitAbandoned(t, t.Name(), 0)
	advance(14 * time.Second)
	r := reported(t, report)
	if s := r.Sequence; s == nil || s.By != "header:"+customerHeader || s.Unordered != 1 || s.LostValues != 1 || s.Waiting != 0 {
		t.Errorf("the report of the removed mirror says %+v of the sequence", s)
	}
	if c := r.Comparison.Control; c == nil || c.URL != "http://127.0.0.1:1" {
		t.Errorf("the report of the removed mirror says %+v of the control", c)
	}
	// The dispatcher ends, as half a minute later, and nothing waits for it any more.
	old := before.shadow.sequencer
	old.intake <- stop
	eventually(t, "the dispatcher to end", func() bool { return old.ended.Load() })
	after, _ := instance(t, t.Name(), shadow.URL, set)
	if m.limit != limit || after.shadow.limit != limit || m.limit == nil {
		t.Error("it has another limiter when it is back")
	}
	if len(old.intake) != 0 || after.shadow.sequencer.before != nil {
		t.Error("the new dispatcher waits for one that has ended")
	}
	serve(after, of("C-2001", http.MethodGet, "/invoices/3"))
	serve(after, of("C-1007", http.MethodGet, "/invoices/4"))
	settled(t, t.Name())
	r = reported(t, report)
	if r.Skipped[compare.SequenceLost] != 1 || r.Sequence.LostValues != 1 || r.Sequence.Unordered != 1 || r.Comparison.Compared != 3 {
		t.Errorf("skipped %v, sequence %+v, %d compared; want what was lost before to be known", r.Skipped, r.Sequence, r.Comparison.Compared)
	}
}

func TestCancelledInstanceGoesOnServing(t *testing.T) {
	shadow := startUpstream(t)
	h, cancel := instance(t, t.Name(), shadow.URL, nil)
	cancel()
	for i := 0; i < 3; i++ {
		if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated {
			t.Errorf("client got %d, want 201", rec.Code)
		}
	}
	shadow.wait(t, 3)
}

func TestManyReloadsLeaveOneShadow(t *testing.T) {
	shadow := startUpstream(t)
	cancel := func() {}
	for i := 0; i < 100; i++ {
		var h *routed
		cancel()
		h, cancel = instance(t, t.Name(), shadow.URL, func(c *Config) { c.set("maxInFlight", strconv.Itoa(200+i%2)) })
		serve(h, postInvoice())
	}
	m := settled(t, t.Name())
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	if m.shadow.users < 1 || m.counts.answers() != 100 {
		t.Errorf("users %d, mirrored %d; want at least 1 and 100", m.shadow.users, m.counts.answers())
	}
}
