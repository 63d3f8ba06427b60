package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	limitedName     = "descriptors"
	descriptorLimit = 1024
	limitedRate     = 500 // requests per second
	limitedSize     = 20e3
)

// A limitedResult is what a competitor did with few descriptors and a shadow
// that hangs.
type limitedResult struct {
	competitor   competitor
	sent, failed int
	descriptors  int
	peak         int64
}

// measureLimited runs the competitors that mirror side by side.
func measureLimited(ctx context.Context, o options) ([]limitedResult, error) {
	var contenders []*contender
	defer func() {
		for _, cont := range contenders {
			cont.halt()
			cont.stop()
		}
	}()
	for _, comp := range []competitor{own, plugin} {
		cont, err := newContender(ctx, o, comp, hung, descriptorLimit)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", comp, err)
		}
		contenders = append(contenders, cont)
	}
	results := make([]limitedResult, len(contenders))
	errs := make([]error, len(contenders))
	var wg sync.WaitGroup
	for i, cont := range contenders {
		wg.Go(func() { results[i], errs[i] = cont.runLimited(ctx, o.limited) })
	}
	wg.Wait()
	for i, r := range results {
		if errs[i] != nil {
			return nil, fmt.Errorf("%s: %w", r.competitor, errs[i])
		}
		fmt.Fprintf(o.progress, "  %-20s %d sent, %d failed, at most %d descriptors, %s of memory\n", r.competitor, r.sent, r.failed, r.descriptors, mebibytes(r.peak))
	}
	return results, ctx.Err()
}

func (cont *contender) runLimited(ctx context.Context, d time.Duration) (limitedResult, error) {
	// Where Traefik accepts no more, clients wait: not for long, or they would
	// run out of descriptors themselves.
	client := newClient(2 * time.Second)
	defer client.CloseIdleConnections()
	client.Transport = &leaving{kept: client.Transport}
	var r round
	err := cont.counted(&r, func() (int, int) {
		latencies, failed := fixedRate(ctx, client, cont.traefik.URL("/"), limitedSize, limitedRate, d)
		return len(latencies), failed
	})
	result := limitedResult{competitor: cont.competitor, sent: r.sent, failed: r.failed, descriptors: cont.descriptors}
	if err != nil {
		return result, err
	}
	result.peak, err = cont.traefik.PeakRSS()
	return result, err
}

// leaving closes the connection after every fifth request: a Traefik without
// descriptors still serves the clients that are connected, but in production
// they come and go.
type leaving struct {
	kept http.RoundTripper
	n    atomic.Int64
}

func (l *leaving) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.n.Add(1)%5 == 0 {
		req = req.Clone(req.Context())
		req.Close = true
	}
	return l.kept.RoundTrip(req)
}

// CloseIdleConnections is what http.Client looks for.
func (l *leaving) CloseIdleConnections() { l.kept.(*http.Transport).CloseIdleConnections() }
