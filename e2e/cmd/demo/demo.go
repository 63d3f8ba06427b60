package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// options say how the demo runs.
type options struct {
	keep      bool      // leave everything running until the context ends
	commands  io.Reader // what the user types meanwhile
	colour    bool
	mirrorDir string // the plugin's source; empty means this repository
}

// errWrong says that the output shows something that is not as it should be.
var errWrong = errors.New("something above is not as it should be, see the lines with WRONG")

// A demo is what its sections share.
type demo struct {
	*printer
	opts                  options
	live, shadow, control *testbed.Upstream
	static                map[string]any
	dynamic               testbed.Dynamic
	traefik               *testbed.Traefik

	release func() // ends the shadow's hanging
	made    int    // calls so far
	wrong   bool   // something was not as it should be
}

// run shows everything and stops what it started. It ends with an error after
// the first section that shows something that is not as it should be.
func run(ctx context.Context, stdout io.Writer, opts options) error {
	d := &demo{printer: &printer{out: stdout, colour: opts.colour}, opts: opts}
	defer d.close()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	for _, section := range []func(context.Context) (conclusion string, err error){
		d.showMirroring, d.showShadowDown, d.showShadowHanging, d.showShadowBack, d.showComparing, d.showControl,
	} {
		conclusion, err := section(ctx)
		if err != nil {
			return err
		}
		if d.wrong {
			return errWrong
		}
		d.line("")
		d.note(green, conclusion)
	}
	if opts.keep {
		return d.keepRunning(ctx)
	}
	if err := d.stopTraefik(); err != nil {
		return err
	}
	d.line("\n%s", d.in(bold, "All as it should be. To try it by hand: make run"))
	return nil
}

// prepare starts the upstreams, and Traefik with the two files of the examples folder.
// Nothing in them is changed but addresses.
func (d *demo) prepare(ctx context.Context) (err error) {
	for _, u := range []struct {
		at     **testbed.Upstream
		answer billing
	}{
		{&d.live, billing{"billing", halfUp, euros}},
		{&d.shadow, billing{"billing-next", halfToEven, euros}},
		{&d.control, billing{"billing-old", halfUp, euros}},
	} {
		// Sizes and checksums are all that is shown of bodies.
		if *u.at, err = testbed.NewUpstream(testbed.UpstreamOptions{Name: u.answer.name, Handler: u.answer, BodyLimit: 1}); err != nil {
			return err
		}
	}
	root, err := testbed.RepoRoot()
	if err != nil {
		return err
	}
	if d.static, err = testbed.LoadYAML(filepath.Join(root, "examples", "traefik.yml")); err != nil {
		return err
	}
	if d.dynamic, err = testbed.LoadYAML(filepath.Join(root, "examples", "dynamic.yml")); err != nil {
		return err
	}
	// testbed gives Traefik a free port and writes the dynamic file: these two
	// are taken out, so that its own stand.
	for _, path := range [][]any{{"entryPoints", testbed.Web, "address"}, {"providers", "file", "filename"}} {
		if _, err = testbed.Take(d.static, path); err != nil {
			return fmt.Errorf("examples/traefik.yml: %w", err)
		}
	}
	d.dynamic.Service("billing", d.live.URL())
	d.set(d.shadow.URL(), "url")

	d.line("%s", d.in(bold, "Mirror in a real Traefik, configured by examples/traefik.yml and examples/dynamic.yml"))
	d.line("")
	d.note("", "Clients are served by billing, the live upstream. "+
		"The plugin sends a copy of each request to billing-next, the shadow, compares its answers with billing's, and throws them away.")
	return d.startTraefik(ctx)
}

// set sets an option of the example's mirror, for the next reload.
func (d *demo) set(value any, option ...string) {
	d.dynamic.Set(value, append([]string{"http", "middlewares", "shadow-billing", "plugin", testbed.MirrorKey}, option...)...)
}

func (d *demo) startTraefik(ctx context.Context) error {
	// Apart from Start, because it tells its own progress.
	_, err := testbed.Binary(ctx, nil)
	if err != nil {
		return err
	}
	defer d.waiting("starting Traefik")()
	d.traefik, err = testbed.Start(ctx, testbed.Options{
		Static:    d.static,
		Dynamic:   d.dynamic,
		MirrorDir: d.opts.mirrorDir,
		LogLevel:  "ERROR", // Traefik's default, and so what the example has
	})
	if err != nil {
		return err
	}
	return d.traefik.CheckRouters(ctx)
}

func (d *demo) stopTraefik() error {
	if d.traefik == nil {
		return nil
	}
	return d.traefik.Stop()
}

func (d *demo) close() {
	d.stopTraefik()
	for _, u := range []*testbed.Upstream{d.live, d.shadow, d.control} {
		if u != nil {
			u.Stop()
		}
	}
}

// makeCalls makes the calls one after the other. It fails only when ctx ends.
func (d *demo) makeCalls(ctx context.Context, calls ...call) ([]result, error) {
	defer d.waiting("sending requests")()
	var results []result
	for _, c := range calls {
		d.made++
		results = append(results, c.send(ctx, d.traefik.Client(), d.traefik.URL(""), fmt.Sprintf("demo-%03d", d.made)))
	}
	return results, ctx.Err()
}

// verdict is good, or the fault, which makes the demo fail.
func (d *demo) verdict(fault, good string) string {
	if fault == "" {
		return good
	}
	d.wrong = true
	return faultSign + fault
}

// fail tells a fault that is in no table.
func (d *demo) fail(format string, args ...any) {
	d.note(red, d.verdict(fmt.Sprintf(format, args...), ""))
}

func (d *demo) showMirroring(ctx context.Context) (string, error) {
	d.headline("1. What live gets, the shadow gets too")
	if err := d.exchange(ctx, "same", true, calls()...); err != nil {
		return "", err
	}
	d.line("")
	d.note(dim, "GOT is the body's size in bytes and the first 8 digits of its SHA-256 sum.")
	d.note(dim, "\"same\" means that method, URL and headers are equal too. STATUS is what the client gets.")
	return "Live got everything, and the shadow a copy of all but the bodies above maxBodySize.",
		d.checkAgreement(ctx, int64(len(mirroredCalls())))
}

// exchange makes the calls and prints what live and the shadow got of them; copied says
// whether the shadow should have got its copies.
func (d *demo) exchange(ctx context.Context, good string, copied bool, calls ...call) error {
	results, err := d.makeCalls(ctx, calls...)
	if err != nil {
		return err
	}
	if copied {
		d.until(ctx, 5*time.Second, "waiting for the copies", func() bool {
			return !slices.ContainsFunc(results, func(r result) bool { return !r.tooLarge && len(r.arrivals(d.shadow)) == 0 })
		})
		// A copy that should not be made would take as long as those that should.
		time.Sleep(300 * time.Millisecond)
	}
	if ctx.Err() == nil {
		d.tell(results, good, copied)
	}
	return ctx.Err()
}

// tell prints what live and the shadow got of the calls.
func (d *demo) tell(results []result, good string, copied bool) {
	rows := [][]string{{"REQUEST", "STATUS", "TIME", "LIVE GOT", "SHADOW GOT", "VERDICT"}}
	for _, r := range results {
		fault, good := r.liveFault(d.live), good
		if fault == "" && copied {
			fault = r.copyFault(d.live, d.shadow)
		}
		if r.tooLarge {
			good = "above maxBodySize"
		}
		rows = append(rows, []string{r.name, fmt.Sprint(r.status), fmt.Sprintf("%.1f ms", 1000*r.took.Seconds()),
			bodyOf(r.arrivals(d.live)), bodyOf(r.arrivals(d.shadow)), d.verdict(fault, good)})
	}
	d.table(rows)
}

const untouched = "Live answered every request at once, as it always does."

func (d *demo) showShadowDown(ctx context.Context) (string, error) {
	d.headline("2. The shadow is stopped: live does not notice")
	d.shadow.Stop()
	// For Traefik to hear of the connections that it kept: a copy on one of them would
	// fail in another way, and only the first failure is logged at once.
	time.Sleep(300 * time.Millisecond)
	if err := d.exchange(ctx, "live untouched", false, mirroredCalls()...); err != nil {
		return "", err
	}
	return untouched, d.showLog(ctx, "connection refused")
}

func (d *demo) showShadowHanging(ctx context.Context) (string, error) {
	d.headline("3. The shadow hangs, taking requests without ever answering: live does not notice")
	if err := d.shadow.Restart(); err != nil {
		return "", err
	}
	d.release = d.shadow.Hang()
	// The plugin logs the first failure and then a summary a minute: a fresh
	// Traefik has not logged its first one yet.
	if err := d.stopTraefik(); err != nil {
		return "", err
	}
	if err := d.startTraefik(ctx); err != nil {
		return "", err
	}
	d.note(dim, "Traefik was restarted: the plugin logs a first failure at once, and later ones once a minute.")
	d.line("")
	if err := d.exchange(ctx, "live untouched", true, mirroredCalls()...); err != nil {
		return "", err
	}
	return untouched, d.showLog(ctx, "timeout")
}

// showLog prints what the plugin logs about its shadow, which must contain want.
func (d *demo) showLog(ctx context.Context, want string) error {
	d.line("")
	told := d.until(ctx, 10*time.Second, "waiting for the plugin to log it, which takes until the example's timeout",
		func() bool { return strings.Contains(strings.Join(d.pluginLog(), "\n"), want) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.note("", "What the plugin wrote to Traefik's log about it:")
	for _, l := range d.pluginLog() {
		d.quote(l)
	}
	if !told {
		d.fail("no line there says %q", want)
	}
	return nil
}

// pluginLog returns what the plugin has logged, without what Traefik puts
// before and behind.
func (d *demo) pluginLog() []string {
	var lines []string
	for _, l := range strings.Split(d.traefik.Log(), "\n") {
		if i := strings.Index(l, "mirror: middleware "); i >= 0 {
			text, _, _ := strings.Cut(l[i:], " module=")
			lines = append(lines, text)
		}
	}
	return lines
}

func (d *demo) showShadowBack(ctx context.Context) (string, error) {
	d.headline("4. The shadow answers again: it gets its copies again")
	d.release()
	begun := time.Now()
	var last []result
	// A mirror may leave a shadow alone for a while after failures.
	d.until(ctx, 20*time.Second, "sending an invoice every quarter of a second until one is mirrored", func() bool {
		last, _ = d.makeCalls(ctx, jsonInvoice())
		return d.until(ctx, 250*time.Millisecond, "", func() bool { return len(last[0].arrivals(d.shadow)) > 0 })
	})
	took := time.Since(begun)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	d.tell(last, "same", true)
	return fmt.Sprintf("The shadow gets copies again, %.1f s after it came back, with nothing done to Traefik.", took.Seconds()), nil
}
