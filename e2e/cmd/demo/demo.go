package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	opts    options
	example *example
	live    *testbed.Upstream
	shadow  *testbed.Upstream
	traefik *testbed.Traefik

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
	for _, section := range []func(context.Context) error{
		d.showMirroring, d.showShadowDown, d.showShadowHanging, d.showShadowBack, d.showComparing,
	} {
		if err := section(ctx); err != nil {
			return err
		}
		if d.wrong {
			return errWrong
		}
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

// prepare starts the upstreams and Traefik.
func (d *demo) prepare(ctx context.Context) (err error) {
	if d.example, err = loadExample(); err != nil {
		return err
	}
	// Sizes and checksums are all that is shown of bodies.
	const bodyLimit = 1
	if d.live, err = testbed.NewUpstream(testbed.UpstreamOptions{
		Name: "billing", Handler: billing{"billing", halfUp}, BodyLimit: bodyLimit,
	}); err != nil {
		return err
	}
	if d.shadow, err = testbed.NewUpstream(testbed.UpstreamOptions{
		Name: "billing-next", Handler: billing{"billing-next", halfToEven}, BodyLimit: bodyLimit,
	}); err != nil {
		return err
	}
	d.example.pointAt(d.live.URL(), d.shadow.URL())
	d.line("%s", d.in(bold, "Mirror in a real Traefik, configured by examples/traefik.yml and examples/dynamic.yml"))
	d.line("")
	d.note("", "Clients are served by billing, the live upstream. "+
		"The plugin sends a copy of each request to billing-next, the shadow, compares its answers with billing's, and throws them away.")
	return d.startTraefik(ctx)
}

func (d *demo) startTraefik(ctx context.Context) error {
	// Apart from Start, because it tells its own progress.
	_, err := testbed.Binary(ctx, nil)
	if err != nil {
		return err
	}
	defer d.waiting("starting Traefik")()
	d.traefik, err = testbed.Start(ctx, testbed.Options{
		Static:    d.example.static,
		Dynamic:   d.example.dynamic,
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
	for _, u := range []*testbed.Upstream{d.live, d.shadow} {
		if u != nil {
			u.Stop()
		}
	}
}

// makeCalls makes the calls one after the other.
func (d *demo) makeCalls(ctx context.Context, calls ...call) []result {
	defer d.waiting("sending requests")()
	var results []result
	for _, c := range calls {
		d.made++
		results = append(results, c.send(ctx, d.traefik.Client(), d.traefik.URL(""), fmt.Sprintf("demo-%03d", d.made)))
	}
	return results
}

// verdict is good, or the fault, which makes the demo fail.
func (d *demo) verdict(fault, good string) string {
	if fault == "" {
		return good
	}
	d.wrong = true
	return faultSign + fault
}

func (d *demo) showMirroring(ctx context.Context) error {
	d.headline("1. What live gets, the shadow gets too")
	results := d.makeCalls(ctx, calls()...)
	d.waitForCopies(ctx, results)
	// A copy that should not be made would take as long as those that should.
	time.Sleep(300 * time.Millisecond)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ok := d.compare(results)
	if err := d.checkAgreement(ctx, int64(len(mirroredCalls()))); err != nil {
		return err
	}
	d.line("")
	d.note(dim, "GOT is the body's size in bytes and the first 8 digits of its SHA-256 sum.")
	d.note(dim, "\"same\" means that method, URL and headers are equal too. STATUS is what the client gets.")
	d.conclusion(ok,
		"Live got everything, and the shadow a copy of all but the bodies above maxBodySize.",
		"Not every request was answered and mirrored as it should be.")
	return nil
}

// waitForCopies waits until the shadow has got all that it should.
func (d *demo) waitForCopies(ctx context.Context, results []result) {
	d.until(ctx, 5*time.Second, "waiting for the copies", func() bool {
		for _, r := range results {
			if !r.tooLarge && len(r.arrivals(d.shadow)) == 0 {
				return false
			}
		}
		return true
	})
}

// compare prints what live and shadow got of the calls and reports whether it
// is what it should be.
func (d *demo) compare(results []result) bool {
	rows := [][]string{{"REQUEST", "STATUS", "LIVE GOT", "SHADOW GOT", "VERDICT"}}
	ok := true
	for _, r := range results {
		good := "same"
		if r.tooLarge {
			good = "not mirrored: above maxBodySize"
		}
		fault := r.liveFault(d.live)
		if fault == "" {
			fault = r.copyFault(d.live, d.shadow)
		}
		ok = ok && fault == ""
		rows = append(rows, []string{r.name, fmt.Sprint(r.status), bodiesOf(r.arrivals(d.live)),
			bodiesOf(r.arrivals(d.shadow)), d.verdict(fault, good)})
	}
	d.table(rows)
	return ok
}

func (d *demo) showShadowDown(ctx context.Context) error {
	d.headline("2. The shadow is stopped: live does not notice")
	d.shadow.Stop()
	// For Traefik to hear of the connections that it kept: a copy on one of them would
	// fail in another way, and only the first failure is logged at once.
	time.Sleep(300 * time.Millisecond)
	return d.showLive(ctx, "down", "connection refused")
}

func (d *demo) showShadowHanging(ctx context.Context) error {
	d.headline("3. The shadow hangs, taking requests without ever answering: live does not notice")
	if err := d.shadow.Restart(); err != nil {
		return err
	}
	d.shadow.Reset()
	d.release = d.shadow.Hang()
	// The plugin logs the first failure and then a summary a minute: a fresh
	// Traefik has not logged its first one yet.
	if err := d.stopTraefik(); err != nil {
		return err
	}
	if err := d.startTraefik(ctx); err != nil {
		return err
	}
	d.note(dim, "Traefik was restarted: the plugin logs a first failure at once, and later ones once a minute.")
	d.line("")
	return d.showLive(ctx, "hangs", "timeout")
}

// showLive shows how live fares while the shadow does not answer, and what the
// plugin logs about it, which must contain logged.
func (d *demo) showLive(ctx context.Context, shadow, logged string) error {
	results := d.makeCalls(ctx, mirroredCalls()...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	rows := [][]string{{"REQUEST", "STATUS", "TIME", "LIVE GOT", "SHADOW", "VERDICT"}}
	ok := true
	for _, r := range results {
		fault := r.liveFault(d.live)
		ok = ok && fault == ""
		rows = append(rows, []string{r.name, fmt.Sprint(r.status), inMilliseconds(r.took),
			bodiesOf(r.arrivals(d.live)), shadow, d.verdict(fault, "live untouched")})
	}
	d.table(rows)
	d.line("")
	told := d.until(ctx, 10*time.Second, "waiting for the plugin to log it (the example's timeout is "+d.example.timeout+")",
		func() bool { return strings.Contains(strings.Join(d.pluginLog(), "\n"), logged) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.note("", "What the plugin wrote to Traefik's log about it:")
	for _, l := range d.pluginLog() {
		d.quote(l)
	}
	if !told {
		d.note(red, d.verdict(fmt.Sprintf("no line there says %q", logged), ""))
	}
	// A shadow that nothing was sent to cannot hold anybody up.
	if shadow == "hangs" && d.shadow.Count() == 0 {
		d.note(red, d.verdict("the shadow was sent nothing", ""))
		ok = false
	}
	d.conclusion(ok, "Live answered every request at once, as it always does.", "Live was affected by its shadow.")
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

func inMilliseconds(t time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(t.Microseconds())/1000)
}

func (d *demo) showShadowBack(ctx context.Context) error {
	d.headline("4. The shadow answers again: it gets its copies again")
	d.release()
	begun := time.Now()
	var last result
	// A mirror may leave a shadow alone for a while after failures.
	back := d.until(ctx, 20*time.Second, "sending an invoice every quarter of a second until one is mirrored", func() bool {
		last = d.makeCalls(ctx, jsonInvoice())[0]
		for begun := time.Now(); time.Since(begun) < 250*time.Millisecond && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
			if len(last.arrivals(d.shadow)) > 0 {
				return true
			}
		}
		return false
	})
	took := time.Since(begun)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ok := d.compare([]result{last}) && back
	d.conclusion(ok, fmt.Sprintf("The shadow gets copies again, %.1f s after it came back, with nothing done to Traefik.", took.Seconds()),
		"The shadow gets nothing, or not what it should.")
	return nil
}
