package testbed

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// An Upheaval is load on a mirror with sequenceBy while all that can change does: 200
// customers send 50 requests each to a [Ledger], over HTTP/1.1 with and without kept
// connections and over HTTP/2; one change of every third customer is too large to be
// mirrored; the options change again and again, and halfway the shadow stops and comes back.
//
//	u := &testbed.Upheaval{…}
//	err := u.Run(ctx)       // with the mirror's options as [Upheaval.Options] has them
//	…                       // wait until nothing is under way
//	u.Check(t, m)           // with the report about the mirror
type Upheaval struct {
	Plain, Secure string      // where the mirror is, over HTTP/1.1 and over HTTP/2
	TLS           *tls.Config // of clients that go to Secure
	Host          string      // that clients ask for; "" is that of the URL

	Shadow *Upstream // whose handler is Books
	Books  *Ledger

	// Reload has the options number n take effect. The number is the same twice in a row.
	Reload  func(ctx context.Context, n int) error
	Reloads int // how often, about; spread over all requests

	pace pace
}

const (
	upheavalCustomers = 200
	upheavalEach      = 50
	upheavalRequests  = upheavalCustomers * upheavalEach
	upheavalLimit     = "10KiB" // of a body that is mirrored
)

// large says which change of a customer is too large to be mirrored.
func (u *Upheaval) large(customer, number int) bool {
	return customer%3 == 0 && number == 11+customer%5*2
}

// upheavalLarge is how many such there are.
const upheavalLarge = (upheavalCustomers + 2) / 3

// NewUpheavalLedger returns the shadow's books, which take their time now and then.
func NewUpheavalLedger() *Ledger { return &Ledger{Slowest: 4 * time.Millisecond} }

// Options returns the mirror's options number n, but for its url and compare: each number
// has others, with which it does the same.
func (u *Upheaval) Options(bodyMode string, n int) map[string]string {
	return map[string]string{
		"sequenceBy": "header:" + CustomerHeader, "bodyMode": bodyMode, "maxBodySize": upheavalLimit,
		"maxInFlight": "5000", "timeout": fmt.Sprintf("%dms", 20000+n),
	}
}

// Run sends everything, and returns the first thing that a client should not have seen, or
// that went wrong with the reloads or the restart. What is mirrored may not be over then.
func (u *Upheaval) Run(ctx context.Context) error {
	kept := &http.Transport{MaxIdleConnsPerHost: upheavalCustomers}
	unkept := &http.Transport{DisableKeepAlives: true}
	over2 := &http.Transport{TLSClientConfig: u.TLS, ForceAttemptHTTP2: true}
	defer kept.CloseIdleConnections()
	defer over2.CloseIdleConnections()

	// By requests and not by time, so that a slow machine has no more of them.
	reload := make(chan struct{}, 1)
	halfway := make(chan struct{})
	clients := &Bookkeeping{
		Customers: upheavalCustomers, Each: upheavalEach, Host: u.Host, Large: u.large,
		URLs: []string{u.Plain, u.Plain, u.Secure}, Transports: []http.RoundTripper{kept, unkept, over2},
		Before: func() { u.pace.await(u.Books) },
		Sent: func(n int) {
			if n%(upheavalRequests/u.Reloads) == 0 {
				select {
				case reload <- struct{}{}:
				default: // the last has not begun yet
				}
			}
			if n == upheavalRequests/2 {
				close(halfway)
			}
		},
	}
	var others sync.WaitGroup
	var reloaded, restarted error
	others.Go(func() {
		for n := 1; reloaded == nil; n++ {
			if _, more := <-reload; !more {
				return
			}
			reloaded = u.Reload(ctx, n/2)
		}
	})
	done := make(chan struct{})
	others.Go(func() {
		select {
		case <-done:
			return
		case <-halfway:
		}
		u.Shadow.Stop()
		time.Sleep(50 * time.Millisecond)
		restarted = u.Shadow.Restart()
	})
	err := clients.Run(ctx)
	close(reload)
	close(done)
	others.Wait()
	return errors.Join(err, reloaded, restarted)
}

// Check fails the test for what is wrong once nothing is under way any more; m is the
// report about the mirror. What one customer has sent has reached the shadow one after the
// other and in live's order, no place is lost, a customer of whom a change was lost is not
// compared, and whoever is compared differs in nothing but that the shadow was away.
func (u *Upheaval) Check(tb testing.TB, m *report.Middleware) {
	tb.Helper()
	wrong, count := u.Books.Wrong()
	if len(wrong) > 0 {
		tb.Errorf("%d of %d copies came out of order: %.2000q", len(wrong), count, wrong)
	}
	if m.InFlight != 0 || m.Sequence.Waiting != 0 {
		tb.Errorf("%d places are taken, and %d copies wait, with nothing under way", m.InFlight, m.Sequence.Waiting)
	}
	lost := int64(0)
	for _, n := range m.Lost {
		lost += n
	}
	if m.Eligible != upheavalRequests || m.Mirrored == 0 || m.Mirrored+lost != upheavalRequests {
		tb.Errorf("%d eligible, %d mirrored, lost %v; want %d in all", m.Eligible, m.Mirrored, m.Lost, upheavalRequests)
	}
	if m.Lost["too_large"] == 0 || m.Lost["too_large"] > upheavalLarge {
		tb.Errorf("lost %v, want up to %d as too large", m.Lost, upheavalLarge)
	}
	if m.Skipped["sequence_lost"] == 0 || m.Compared["match"] == 0 || m.Sequence.LostValues < upheavalLarge {
		tb.Errorf("%v compared, skipped for %v, %d values lost", m.Compared, m.Skipped, m.Sequence.LostValues)
	}
	for _, d := range m.Comparison.Differences {
		if d.Relation != "no answer" {
			tb.Errorf("%s %s %s: %d times", d.Endpoint, d.Key, d.Relation, d.Count)
		}
	}
	tb.Logf("%d copies; compared %v, skipped %v, lost %v; %d values lost", count, m.Compared, m.Skipped, m.Lost, m.Sequence.LostValues)
}

// A pace keeps clients from running far ahead of a shadow that is slower than live: what
// waits longer than an old configuration is honoured would be lost, and nothing be seen of
// its order.
type pace struct {
	mu      sync.Mutex
	sent    int
	without int       // of those, how many have no copy that is still to come, as far as is known
	seen    int       // by the shadow
	since   time.Time // when that changed
}

// ahead is how many copies may be on their way: some for each customer, so that they wait
// for one another.
const ahead = 2 * upheavalCustomers

// await returns when another request may be sent. What is lost never comes: when the shadow
// has got nothing for long, also on a machine that is busy, all that is missing counts as lost.
func (p *pace) await(books *Ledger) {
	const (
		patience = 2 * time.Second
		look     = 20 * time.Millisecond
	)
	for !p.may(books.Count(), patience) {
		time.Sleep(look)
	}
}

// may reports whether another request may be sent, and counts it if so.
func (p *pace) may(seen int, patience time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); seen > p.seen {
		p.seen, p.since = seen, now
	} else if now.Sub(p.since) > patience {
		p.without, p.since = p.sent-p.seen, now
	}
	if p.sent-p.without-p.seen >= ahead {
		return false
	}
	p.sent++
	return true
}
