package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
	mirrorreport "github.com/trafficshadow/mirror/report"
)

// hungRequests bounds the saturated run of Traefik's own mirroring with a shadow
// that hangs: it keeps every request, with a descriptor, for ever.
const hungRequests = 1500

// A round is what one competitor did in one round of a case.
type round struct {
	sent, failed, mirrored int

	processor float64 // microseconds of Traefik's per request, at the fixed rate
	p50, p99  float64 // milliseconds, at the fixed rate
	perSecond float64 // saturated: requests per second
	bytes     float64 // allocated per request, at the fixed rate
	objects   float64 // likewise
}

// A contender is a competitor in a case.
type contender struct {
	competitor competitor
	shadow     *upstream // what counts the mirrored requests; nil unless the shadow is healthy

	opts    testbed.Options
	traefik *testbed.Traefik
	stop    func() // the upstreams

	rounds      []round
	latencies   []time.Duration // of all rounds
	descriptors int             // the most at any time
	goroutines  int             // the most at the end of a round
	peak        int64           // bytes

	outcomes map[string]int64 // of the comparisons; nil unless answers are compared
}

// A caseResult is what all competitors did in a case.
type caseResult struct {
	benchCase
	contenders map[competitor]*contender
}

// measure runs all competitors of a case in turn.
func measure(ctx context.Context, o options, c benchCase) (caseResult, error) {
	result := caseResult{c, map[competitor]*contender{}}
	defer func() {
		for _, cont := range result.contenders {
			cont.halt()
			cont.stop()
		}
	}()
	competitors := c.competitors(o)
	for _, comp := range competitors {
		cont, err := newContender(ctx, o, comp, c.shadow, 0)
		if err != nil {
			return result, fmt.Errorf("%s: %w", comp, err)
		}
		result.contenders[comp] = cont
	}
	for i := range o.rounds {
		// In random order: nobody always has to follow the same one.
		for _, j := range rand.Perm(len(competitors)) {
			cont := result.contenders[competitors[j]]
			if err := cont.run(ctx, o, c, i > 0); err != nil {
				return result, fmt.Errorf("%s: %w", cont.competitor, err)
			}
			r := cont.rounds[i]
			fmt.Fprintf(o.progress, "  round %d  %-20s %7.0f µs/request  %7.0f requests/s  p50 %.2f ms  p99 %.2f ms  %d sent, %d failed, %d mirrored\n",
				i+1, cont.competitor, r.processor, r.perSecond, r.p50, r.p99, r.sent, r.failed, r.mirrored)
		}
	}
	for _, cont := range result.contenders {
		if err := cont.judge(ctx); err != nil {
			return result, fmt.Errorf("%s: %w", cont.competitor, err)
		}
	}
	return result, nil
}

// judge asks the report what became of the comparisons.
func (cont *contender) judge(ctx context.Context) error {
	if !cont.competitor.compares() {
		return nil
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if cont.outcomes, err = cont.askOutcomes(ctx); err != nil {
			return err
		}
		var n int64
		for _, of := range cont.outcomes {
			n += of
		}
		if n >= int64(cont.total().mirrored) || time.Now().After(deadline) {
			return nil
		}
	}
}

func (cont *contender) askOutcomes(ctx context.Context) (map[string]int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cont.traefik.URL(reportPath), nil)
	if err != nil {
		return nil, err
	}
	res, err := cont.traefik.Client().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var doc mirrorreport.Document
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", reportPath, res.Status, err)
	}
	for _, m := range doc.Middlewares {
		if m.Name == mirrorName {
			return m.Compared, nil
		}
	}
	return nil, fmt.Errorf("%s has no %s", reportPath, mirrorName)
}

// newContender starts a competitor and its upstreams. limit is Traefik's limit
// of descriptors, 0 for none.
func newContender(ctx context.Context, o options, comp competitor, state string, limit int) (*contender, error) {
	live, err := newUpstream(true)
	if err != nil {
		return nil, err
	}
	shadowURL, shadow, stopShadow, err := newShadow(state, comp != differing)
	if err != nil {
		live.server.Shutdown()
		return nil, err
	}
	cont := &contender{competitor: comp, shadow: shadow, stop: func() {
		// Idle connections are ours to let go: Traefik is gone by now.
		live.server.Shutdown()
		stopShadow()
	}}
	if cont.opts, err = comp.traefik(o, live.url, shadowURL); err == nil {
		cont.opts.DescriptorLimit = limit
		err = cont.start(ctx)
	}
	if err != nil {
		cont.stop()
		return nil, err
	}
	return cont, nil
}

func (cont *contender) start(ctx context.Context) error {
	t, err := testbed.Start(ctx, cont.opts)
	if err != nil {
		return err
	}
	if err := t.CheckRouters(ctx); err != nil {
		t.Stop()
		return err
	}
	cont.traefik = t
	return nil
}

// halt ends Traefik. It is not asked to: one whose own mirroring waits for a
// shadow that hangs would go on waiting.
func (cont *contender) halt() {
	select {
	case <-cont.traefik.Exited(): // its number may be another's by now
	default:
		if p, err := os.FindProcess(cont.traefik.PID()); err == nil {
			p.Kill()
			<-cont.traefik.Exited()
		}
	}
	cont.traefik.Stop() // removes what it leaves
}

// run measures one round. warm says that the Traefik has served requests before.
func (cont *contender) run(ctx context.Context, o options, c benchCase, warm bool) error {
	keepsAll := cont.competitor == own && c.shadow == hung
	if keepsAll && warm {
		// What it keeps of the round before is no part of this one.
		cont.halt()
		if err := cont.start(ctx); err != nil {
			return err
		}
	}
	client := newClient(10 * time.Second)
	defer client.CloseIdleConnections()
	// Connections are opened, and the heap grows, before anything is measured.
	warmUp := o.duration / 10
	if keepsAll || !warm {
		warmUp = o.duration / 4
	}
	var r round
	if err := cont.counted(&r, func() (int, int) {
		latencies, failed := fixedRate(ctx, client, cont.traefik.URL("/"), c.size, c.rate, warmUp)
		return len(latencies), failed
	}); err != nil {
		return err
	}

	if err := cont.atFixedRate(ctx, o, c, client, &r); err != nil {
		return err
	}
	if err := cont.saturated(ctx, o, c, keepsAll, &r); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := cont.traefik.Goroutines(ctx)
	if err != nil {
		return err
	}
	peak, err := cont.traefik.PeakRSS()
	if err != nil {
		return err
	}
	cont.goroutines, cont.peak = max(cont.goroutines, n), max(cont.peak, peak)
	cont.rounds = append(cont.rounds, r)
	return nil
}

// counted sends, waits for the shadow, and counts what was sent, what failed and
// what was mirrored. Meanwhile it watches the descriptors.
func (cont *contender) counted(r *round, send func() (sent, failed int)) error {
	var before int64
	if cont.shadow != nil {
		before = cont.shadow.count.Load()
	}
	done := make(chan struct{})
	var watched sync.WaitGroup
	watched.Go(func() { cont.watch(done) })
	sent, failed := send()
	close(done)
	watched.Wait()
	if cont.shadow != nil && cont.competitor.mirrors() {
		r.mirrored += cont.shadow.settle(before, sent)
	}
	r.sent += sent
	r.failed += failed
	if sent == 0 {
		return fmt.Errorf("no request was sent")
	}
	return nil
}

// watch looks how many descriptors Traefik has open until done is closed.
func (cont *contender) watch(done <-chan struct{}) {
	for {
		if n, err := cont.traefik.Descriptors(); err == nil {
			cont.descriptors = max(cont.descriptors, n)
		}
		select {
		case <-done:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// atFixedRate measures processor time, latency and allocations.
func (cont *contender) atFixedRate(ctx context.Context, o options, c benchCase, client *http.Client, r *round) error {
	// The question for the figures allocates too: asked twice, it tells how much.
	asked, err := cont.traefik.MemStats(ctx)
	if err != nil {
		return err
	}
	before, err := cont.traefik.MemStats(ctx)
	if err != nil {
		return err
	}
	began, err := processorTime(cont.traefik)
	if err != nil {
		return err
	}
	var latencies []time.Duration
	if err := cont.counted(r, func() (int, int) {
		var failed int
		latencies, failed = fixedRate(ctx, client, cont.traefik.URL("/"), c.size, c.rate, o.duration)
		return len(latencies), failed
	}); err != nil {
		return err
	}
	ended, err := processorTime(cont.traefik)
	if err != nil {
		return err
	}
	after, err := cont.traefik.MemStats(ctx)
	if err != nil {
		return err
	}
	n := float64(len(latencies))
	r.processor = float64(ended-began) / float64(time.Microsecond) / n
	r.bytes = float64(after.TotalAlloc-before.TotalAlloc-(before.TotalAlloc-asked.TotalAlloc)) / n
	r.objects = float64(after.Mallocs-before.Mallocs-(before.Mallocs-asked.Mallocs)) / n
	r.p50, r.p99 = percentile(latencies, 50), percentile(latencies, 99)
	cont.latencies = append(cont.latencies, latencies...)
	return nil
}

// saturated measures how many requests per second the competitor can do, the
// shadow's part included: time runs until the shadow has its last request, or a
// competitor that puts mirroring off would seem the faster for it.
func (cont *contender) saturated(ctx context.Context, o options, c benchCase, keepsAll bool, r *round) error {
	atMost := 0
	if keepsAll {
		atMost = hungRequests
	}
	var sent int
	began := time.Now()
	var ended time.Time
	if err := cont.counted(r, func() (int, int) {
		var failed int
		sent, failed = saturate(ctx, cont.traefik.Addr(testbed.Web), cont.traefik.URL("/"), c.size, o.duration/2, atMost)
		ended = time.Now()
		return sent, failed
	}); err != nil {
		return err
	}
	if cont.shadow != nil {
		if last := time.Unix(0, cont.shadow.last.Load()); last.After(ended) {
			ended = last
		}
	}
	r.perSecond = float64(sent) / ended.Sub(began).Seconds()
	return nil
}
