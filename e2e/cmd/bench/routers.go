package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	routersName     = "routers"
	reloadsPerRound = 4
)

// What the routers of this case have in front of live.
const (
	bare        = "no middleware"
	eachNothing = "a pass-through plugin each"
	eachMirror  = "a mirror each"
)

// A routersResult is what many routers cost. All Traefiks have loaded the plugin and
// one mirror, so that what each router adds is not mixed up with the interpreter.
type routersResult struct {
	routers    int
	contenders []*routersContender
}

type routersContender struct {
	name    string
	dynamic testbed.Dynamic
	traefik *testbed.Traefik

	reloads []float64 // microseconds of processor time a reload and router, by round

	// At rest, before the reloads and after them.
	before, after atRest
}

// atRest is what a Traefik holds that has nothing to do.
type atRest struct {
	heap, stacks, rss int64 // bytes, the heap after a collection
	goroutines        int
}

func (r *routersResult) named(name string) *routersContender {
	for _, c := range r.contenders {
		if c.name == name {
			return c
		}
	}
	return nil
}

// measureRouters loads as many routers into each Traefik and reloads them in turn.
func measureRouters(ctx context.Context, o options) (*routersResult, error) {
	live, err := newUpstream(true)
	if err != nil {
		return nil, err
	}
	defer live.server.Shutdown()
	nothing, err := testbed.PassThrough()
	if err != nil {
		return nil, err
	}
	r := &routersResult{routers: o.routers}
	defer func() {
		for _, c := range r.contenders {
			c.traefik.Stop()
		}
	}()
	for _, name := range []string{bare, eachNothing, eachMirror} {
		c := &routersContender{name: name, dynamic: manyRouters(name, live.url, o.routers)}
		opts := testbed.Options{Dynamic: c.dynamic, LogLevel: "ERROR", Plugins: []testbed.Plugin{nothing}}
		if c.traefik, err = testbed.Start(ctx, opts); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		r.contenders = append(r.contenders, c)
		if err := c.traefik.CheckRouters(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if c.before, err = c.rest(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for i := range o.rounds {
		for _, j := range rand.Perm(len(r.contenders)) {
			c := r.contenders[j]
			if err := c.reload(ctx, o.routers); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(o.progress, "  round %d  %-26s %7.1f µs a reload and router\n", i+1, c.name, c.reloads[i])
		}
	}
	select {
	case <-time.After(letGo):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, c := range r.contenders {
		if c.after, err = c.rest(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r, nil
}

// letGo is how long it takes at most until the plugin has let go of what a reload has
// replaced: it waits ten seconds, in case that it comes back.
const letGo = 12 * time.Second

// manyRouters is a configuration of many routers, each with a middleware of its own,
// and one more, which has a mirror in any case. Nobody listens where the shadow is:
// nothing is mirrored.
func manyRouters(name, live string, n int) testbed.Dynamic {
	const shadow = "http://127.0.0.1:1"
	d := testbed.Dynamic{}.Service("live", live).
		Mirror("mirror", testbed.Values{"url": shadow}).Router("first", "Path(`/first`)", "live", "mirror").
		Plugin("nothing", "passthrough", nil).Router("second", "Path(`/second`)", "live", "nothing")
	for i := range n {
		router, rule := fmt.Sprintf("router-%d", i), fmt.Sprintf("Path(`/%d`)", i)
		middleware := fmt.Sprintf("middleware-%d", i)
		switch name {
		case eachNothing:
			d.Plugin(middleware, "passthrough", nil).Router(router, rule, "live", middleware)
		case eachMirror:
			d.Mirror(middleware, testbed.Values{"url": shadow}).Router(router, rule, "live", middleware)
		default:
			d.Router(router, rule, "live")
		}
	}
	return d
}

// reload has Traefik apply one configuration after the other, in each of which one
// router has changed that has nothing to do with the others, and measures the
// processor time of all of it, from before the first until Traefik rests again.
func (c *routersContender) reload(ctx context.Context, routers int) error {
	began, err := processorTime(c.traefik)
	if err != nil {
		return err
	}
	for range reloadsPerRound {
		// The testbed puts a router with a new name into each.
		if err := c.traefik.Reload(ctx, c.dynamic); err != nil {
			return err
		}
	}
	ended, err := c.settle(ctx)
	if err != nil {
		return err
	}
	c.reloads = append(c.reloads, float64(ended-began)/float64(time.Microsecond)/reloadsPerRound/float64(routers))
	return nil
}

// settle returns Traefik's processor time once it takes next to none.
func (c *routersContender) settle(ctx context.Context) (time.Duration, error) {
	const (
		patience = 10 * time.Second
		pace     = 200 * time.Millisecond
	)
	last, err := processorTime(c.traefik)
	for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pace):
		}
		before := last
		if last, err = processorTime(c.traefik); last-before < pace/100 {
			break
		}
	}
	return last, err
}

// rest waits until Traefik has nothing to do, and looks what it holds.
func (c *routersContender) rest(ctx context.Context) (atRest, error) {
	if _, err := c.settle(ctx); err != nil {
		return atRest{}, err
	}
	// Twice, for what has a finalizer goes in the second collection.
	for range 2 {
		if _, err := c.traefik.HeapProfile(ctx); err != nil {
			return atRest{}, err
		}
	}
	figures, err := c.traefik.MemStats(ctx)
	if err != nil {
		return atRest{}, err
	}
	rss, err := c.traefik.RSS()
	if err != nil {
		return atRest{}, err
	}
	goroutines, err := c.traefik.Goroutines(ctx)
	return atRest{int64(figures.HeapAlloc), int64(figures.StackInuse), rss, goroutines}, err
}

// A figure is something that a Traefik at rest has.
type figure func(atRest) int64

func memory(a atRest) int64       { return a.heap + a.stacks }
func resident(a atRest) int64     { return a.rss }
func goroutinesOf(a atRest) int64 { return int64(a.goroutines) }

// each returns how much more one router with a middleware of this name holds than one
// without, before the reloads and after them.
func (r *routersResult) each(name string, f figure) (before, after float64) {
	c, without := r.named(name), r.named(bare)
	n := float64(r.routers)
	return float64(f(c.before)-f(without.before)) / n, float64(f(c.after)-f(without.after)) / n
}

// reloadsMore returns how much more processor time a reload takes for each router
// than for one with a pass-through plugin, formed round by round.
func (r *routersResult) reloadsMore() spread {
	var values []float64
	for i, took := range r.named(eachMirror).reloads {
		values = append(values, took-r.named(eachNothing).reloads[i])
	}
	return spreadOf(values)
}

func (r *routersResult) targets() []target {
	// What the reloads leave behind is held as well. A Traefik has some goroutines more
	// or less at any time, which are not the mirrors'.
	worst := func(f figure, unit float64) spread {
		before, after := r.each(eachMirror, f)
		v := math.Round(max(before, after)/unit*100) / 100
		return spread{v, v, v, v, v}
	}
	return []target{
		atMost("microseconds of processor time of a reload, for each router with a mirror", routersName, spreadOf(r.named(eachMirror).reloads), 250),
		atMost("KiB of heap and stacks at rest, for each mirror", routersName, worst(memory, 1<<10), 64),
		atMost("goroutines at rest, for each mirror", routersName, worst(goroutinesOf, 1), 1),
	}
}

func (r *report) routersTable(p *page) {
	if r.routers == nil {
		return
	}
	p.text("## %d routers", r.routers.routers)
	p.text("Each router names a middleware of its own. A reload changes one router that has nothing to do with them, and Traefik makes all middlewares anew; processor time is that of the whole of Traefik, divided by the number of routers, the median of %d rounds of %d reloads. With a mirror each it is, for a router, %s µs more than with a pass-through plugin each. What a router holds at rest more than one without a middleware is given before the reloads and after them; the heap is measured after a collection.", r.options.rounds, reloadsPerRound, r.routers.reloadsMore())
	var rows [][]string
	for _, c := range r.routers.contenders {
		row := []string{c.name, spreadOf(c.reloads).String() + " µs"}
		for _, f := range []figure{memory, resident} {
			before, after := r.routers.each(c.name, f)
			row = append(row, fmt.Sprintf("%.1f, %.1f KiB", before/(1<<10), after/(1<<10)))
		}
		before, after := r.routers.each(c.name, goroutinesOf)
		rows = append(rows, append(row, fmt.Sprintf("%.2f, %.2f", before, after)))
	}
	p.table(true, []string{"", "a reload, for each router", "heap and stacks", "resident memory", "goroutines"}, rows)
}
