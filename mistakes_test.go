package mirror

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// reload builds the middleware named after the test as Traefik does on a change,
// once for each router, and lets go of the instances before.
func reload(t *testing.T, set func(*Config)) []http.Handler {
	t.Helper()
	reloading[t.Name()]()
	ctx, cancel := context.WithCancel(context.Background())
	reloading[t.Name()] = cancel
	var routers []http.Handler
	for i := 0; i < 3; i++ {
		config := CreateConfig()
		set(config)
		h, err := New(ctx, echoLive, config, t.Name())
		if err != nil {
			t.Fatalf("New: %v", err)
		}
		routers = append(routers, h)
	}
	return routers
}

// reloading ends the instances of a test.
var reloading = map[string]context.CancelFunc{}

func startReloading(t *testing.T) {
	reloading[t.Name()] = func() {}
	t.Cleanup(func() {
		reloading[t.Name()]()
		forget(t.Name())
	})
}

func TestMistakeLeavesLiveAlone(t *testing.T) {
	startReloading(t)
	book := captureLog(t)
	shadow := startUpstream(t)
	report := reporterFor(t)
	good := func(c *Config) { c.set("url", shadow.URL) }
	bad := func(c *Config) {
		c.set("url", shadow.URL)
		c.set("precent", 10)
		c.set("timeout", "soon")
	}
	serveAll := func(routers []http.Handler) {
		t.Helper()
		for _, h := range routers {
			if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated || rec.Body.String() != invoice {
				t.Errorf("client got %d %q, want 201 and the invoice", rec.Code, rec.Body)
			}
		}
		settled(t, t.Name())
	}

	serveAll(reload(t, good))
	before := mirrorCalled(t, t.Name()).shadow
	// Twice, as an unrelated change of the configuration has it.
	for i := 0; i < 2; i++ {
		routers := reload(t, bad)
		if fmt.Sprintf("%p", routers[0]) != fmt.Sprintf("%p", echoLive) {
			t.Errorf("got a %T in front of live, want live", routers[0])
		}
		serveAll(routers)
	}
	if !before.retired.Load() {
		t.Errorf("the shadow keeps its connections though its options are not to be used any more")
	}
	want := "mirror: middleware " + t.Name() + `: mirrors nothing and passes every request on to live until its options are put right: ` +
		`timeout: "soon": takes a duration above 0, such as 500ms or 5s, or a number of seconds; precent: there is no such option; the nearest is percent`
	if got := book.lines(); len(got) != 1 || got[0] != want {
		t.Errorf("logged %q, want one line:\n%s", got, want)
	}
	r := reported(t, report)
	if r.ConfigErrors != 2 || len(r.Mistakes) != 2 || r.Shadow != "" || r.Mirrored != 3 {
		t.Errorf("report: %d mistakes, %q, shadow %q, %d mirrored; want 2, none and 3", r.ConfigErrors, r.Mistakes, r.Shadow, r.Mirrored)
	}
	metrics := get(report, "/metrics").Body.String()
	if !strings.Contains(metrics, `mirror_config_errors{middleware="`+t.Name()+`"} 2`) || strings.Contains(metrics, `mirror_info{middleware="`+t.Name()) {
		t.Errorf("metrics: %s", metrics)
	}

	// Another mistake is another line.
	serveAll(reload(t, func(c *Config) { c.set("url", 5) }))
	if got := book.lines(); len(got) != 2 || !strings.Contains(got[1], `url: "5"`) {
		t.Errorf("logged %q, want a second line about url", got)
	}

	// Corrected, it goes on, and nothing tells of the mistakes any more.
	serveAll(reload(t, good))
	r = reported(t, report)
	if len(shadow.snapshot()) != 6 || r.ConfigErrors != 0 || len(r.Mistakes) != 0 || r.Shadow != shadow.URL || r.Percent != 100 || r.Mirrored != 6 {
		t.Errorf("the shadow got %d requests, report %+v; want 6", len(shadow.snapshot()), r)
	}
	metrics = get(report, "/metrics").Body.String()
	for _, want := range []string{`mirror_config_errors{middleware="` + t.Name() + `"} 0`, `mirror_info{middleware="` + t.Name() + `",url="` + shadow.URL + `",percent="100"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics have no %s", want)
		}
	}
	if n := len(book.lines()); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	// The same mistake once more is news again.
	reload(t, bad)
	if got := book.lines(); len(got) != 3 || got[2] != want {
		t.Errorf("logged %q, want a third line", got)
	}
}

// One that is mistaken to the end has counted as much as another. Its mistakes are nobody's
// any more, and are news if it comes back with them.
func TestMistakenMirrorIsRemovedWithItsRouters(t *testing.T) {
	startReloading(t)
	book := captureLog(t)
	advance := handClockOf(t)
	shadow := startUpstream(t)
	report := reporterFor(t)
	serve(reload(t, func(c *Config) { c.set("url", shadow.URL) })[0], postInvoice())
	settled(t, t.Name())
	nowhere := func(c *Config) { c.set("url", "nowhere") }
	reload(t, func(c *Config) { c.set("url", "nowhere at all") })
	reload(t, nowhere)
	awaitAbandoned(t, t.Name(), 3)
	advance(removalGrace)
	if r := reported(t, report); r.Removed != nil || r.ConfigErrors != 1 {
		t.Fatalf("reported %+v while routers name it, want a mistake", r)
	}
	reloading[t.Name()]()
	awaitAbandoned(t, t.Name(), 0)
	advance(removalGrace)
	if r := reported(t, report); r.Removed == nil || r.ConfigErrors != 0 || len(r.Mistakes) != 0 || r.Mirrored != 1 {
		t.Errorf("reported %+v, want it removed, without mistakes, and with what it counted", r)
	}
	before := len(book.lines())
	reload(t, nowhere)
	if r := reported(t, report); r.Removed != nil || r.ConfigErrors != 1 || r.Mirrored != 1 {
		t.Errorf("reported %+v when it is back, want the mistake, and what it counted", r)
	}
	if n := len(book.lines()); n != before+1 {
		t.Errorf("%d lines when it is back, want one", n-before)
	}
	reloading[t.Name()]()
	awaitAbandoned(t, t.Name(), 0)
	advance(removalGrace)
	advance(keepRemoved)
	if registered(t.Name()) {
		t.Error("it is there after an hour, want it forgotten")
	}
}

func TestUnlikelyOptionsAreLoggedOnceAndWork(t *testing.T) {
	startReloading(t)
	book := captureLog(t)
	shadow := startUpstream(t)
	for i := 0; i < 2; i++ {
		routers := reload(t, func(c *Config) {
			c.set("url", shadow.URL)
			c.set("methods", "POST,PSOT")
			c.set("timeout", 5000)
		})
		serve(routers[0], postInvoice())
		settled(t, t.Name())
	}
	if n := len(shadow.snapshot()); n != 2 {
		t.Errorf("the shadow got %d requests, want 2", n)
	}
	if got := book.lines(); len(got) != 1 || !strings.Contains(got[0], `mirrors, but this is hardly what is meant: methods: "PSOT"`) || !strings.Contains(got[0], "timeout: 1h23m20s") {
		t.Errorf("logged %q, want one line about methods and timeout", got)
	}
}

func TestMistakenReportAnswersWithItsMistakes(t *testing.T) {
	startReloading(t)
	book := captureLog(t)
	routers := reload(t, func(c *Config) {
		c.set("serve", true)
		c.set("url", "http://audit:hunter2@billing-next")
		c.set("customRequestHeaders", "hunter2")
	})
	want := "mirror: middleware " + t.Name() + `: answers 500 until its options are put right: ` +
		`url: "http://…@billing-next": takes nothing beside serve: a middleware mirrors, or it serves the report; ` +
		`customRequestHeaders: text of 7 bytes: takes nothing beside serve: a middleware mirrors, or it serves the report`
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
		rec := serve(routers[0], httptest.NewRequest(method, "/mirror/", nil))
		if h := rec.Header(); rec.Code != http.StatusInternalServerError || rec.Body.String() != want+"\n" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %d %q %q, want 500 and %q", method, rec.Code, h, rec.Body, want)
		}
	}
	if got := book.lines(); len(got) != 1 || got[0] != want {
		t.Errorf("logged %q, want %q", got, want)
	}
	// Another report shows it, as long as it is there.
	if r := reported(t, reporterFor(t)); r.ConfigErrors != 2 {
		t.Errorf("reported %+v, want two mistakes", r)
	}
	routers = reload(t, func(c *Config) { c.set("serve", true) })
	if rec := get(routers[0], "/mirror/"); rec.Code != http.StatusOK || registered(t.Name()) {
		t.Errorf("corrected: %d, registered as a mirror: %t; want 200 and no", rec.Code, registered(t.Name()))
	}
}

// The name is somebody's choice too.
func TestLineAboutMistakesHasNoControlCharacters(t *testing.T) {
	book := captureLog(t)
	name := "bad\nERR " + t.Name() + "\x1b[31m" + strings.Repeat("x", 10000)
	book.about = t.Name()
	t.Cleanup(func() { forget(name) })
	config := CreateConfig()
	config.set("url\r\n", "x")
	if _, err := New(context.Background(), echoLive, config, name); err != nil {
		t.Fatal(err)
	}
	if got := book.lines(); len(got) != 1 || !strings.HasPrefix(got[0], `mirror: middleware bad\nERR `) || len(got[0]) > maxMistakes {
		t.Errorf("logged %q, want one bounded line", got)
	}
}

// A reload that changes one option alone puts another shadow in place.
func TestReloadWithOneOtherOption(t *testing.T) {
	captureLog(t)
	file := authorityFile(t)
	for option, value := range changes(t) {
		if value == nil {
			continue
		}
		t.Run(option, func(t *testing.T) {
			startReloading(t)
			set := func(c *Config) { c.Options = base(file).Options }
			reload(t, set)
			before := mirrorCalled(t, t.Name()).shadow
			reload(t, set)
			if mirrorCalled(t, t.Name()).shadow != before {
				t.Fatal("a reload that changes nothing has replaced the shadow")
			}
			reload(t, func(c *Config) {
				set(c)
				c.set(option, value)
			})
			if after := mirrorCalled(t, t.Name()).shadow; after == before || after == nil || !before.retired.Load() {
				t.Error("the shadow is as it was before the change")
			}
		})
	}
}
