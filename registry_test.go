package mirror

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"
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

func registered(name string) bool {
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	return mirrors[name] != nil
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
		if !registered(t.Name()) {
			t.Fatalf("the mirror was gone with %d of 3 routers still there", 3-i)
		}
		cancel()
	}
	eventually(t, "the mirror to be forgotten", func() bool { return !registered(t.Name()) })
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
