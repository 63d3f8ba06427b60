package mirroring

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// An invoice that is created and read at once is there at a shadow that is slower than
// live, with sequenceBy.
func TestSequenceOfCreateAndRead(t *testing.T) {
	const pairs = 150
	books := &testbed.Ledger{Slowest: 14 * time.Millisecond}
	b := run(t, setup{
		options: testbed.Values{"sequenceBy": "header:" + testbed.CustomerHeader, "compare": true, "maxInFlight": 1000},
		live:    testbed.UpstreamOptions{Handler: &testbed.Ledger{}},
		shadow:  testbed.UpstreamOptions{Handler: books},
	})
	clients := &testbed.Bookkeeping{
		Customers: 1, Each: 2 * pairs, URLs: []string{b.URL("")}, Host: mirrorHost,
		Transports: []http.RoundTripper{b.Client().Transport},
	}
	if err := clients.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, time.Minute, func() error {
		wrong, count := books.Wrong()
		if len(wrong) > 0 || count < 2*pairs {
			return fmt.Errorf("%d of %d came, %d out of order: %.500q", count, 2*pairs, len(wrong), wrong)
		}
		return nil
	})
	for _, r := range b.shadow.Requests() {
		if r.Header.Get(markerHeader) != marker(middleware) {
			t.Errorf("%s %s is no copy", r.Method, r.RequestURI)
		}
	}
}

// What one customer sends reaches the shadow one after the other and in live's order, over
// whatever connections, while the options change and the shadow goes and comes back. A
// value of which a change was lost is not compared; nothing else differs.
func TestSequence(t *testing.T) {
	const customers, each = 200, 50
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			books := &testbed.Ledger{Slowest: 4 * time.Millisecond}
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Handler: &testbed.Ledger{}, CountOnly: true})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Handler: books, CountOnly: true})
			configuration := func(n int) testbed.Dynamic {
				return testbed.Dynamic{}.
					Service("billing", live.URL()).
					Mirror(middleware, testbed.Values{
						"url": shadow.URL(), "sequenceBy": "header:" + testbed.CustomerHeader, "bodyMode": mode,
						"maxBodySize": "10KiB", "maxInFlight": 2000, "compare": true, "timeout": fmt.Sprintf("%dms", 20000+n),
					}).
					Router("billing", host(mirrorHost), "billing", middleware).
					Report()
			}
			traefik := runTraefik(t, testbed.Options{Dynamic: configuration(0), TLS: true, LogLevel: "ERROR"})
			restart, others := sync.Once{}, sync.WaitGroup{}
			secure := &tls.Config{RootCAs: traefik.CA().Pool()}
			clients := &testbed.Bookkeeping{
				Customers: customers, Each: each, Host: mirrorHost,
				Large: func(customer, number int) bool { return customer%3 == 0 && number == 11+customer%5*2 },
				URLs:  []string{traefik.URL(""), traefik.URL(""), traefik.SecureURL("")},
				Transports: []http.RoundTripper{
					&http.Transport{MaxIdleConnsPerHost: customers}, &http.Transport{DisableKeepAlives: true},
					&http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true},
				},
				Sent: func(n int) {
					if n > customers*each/2 {
						restart.Do(func() {
							others.Go(func() {
								shadow.Stop()
								time.Sleep(50 * time.Millisecond)
								if err := shadow.Restart(); err != nil {
									t.Error(err)
								}
							})
						})
					}
				},
			}
			done := make(chan struct{})
			others.Go(func() {
				for n := 1; ; n++ {
					select {
					case <-done:
						return
					case <-time.After(500 * time.Millisecond):
						if err := traefik.Reload(t.Context(), configuration(n/2)); err != nil { // each other one with the same options
							t.Error(err)
							return
						}
					}
				}
			})
			err := clients.Run(t.Context())
			close(done)
			others.Wait()
			if err != nil {
				t.Fatal(err)
			}
			testbed.Eventually(t, time.Minute, func() error {
				if m := traefik.MustReport(t, middleware); m.InFlight != 0 || m.Sequence.Waiting != 0 {
					return fmt.Errorf("%d in flight, %d wait", m.InFlight, m.Sequence.Waiting)
				}
				return nil
			})
			m := traefik.MustReport(t, middleware)
			wrong, count := books.Wrong()
			if len(wrong) > 0 {
				t.Errorf("%d of %d copies came out of order: %.2000q", len(wrong), count, wrong)
			}
			if m.Eligible != customers*each || m.Mirrored == 0 {
				t.Errorf("%d eligible of %d, %d mirrored", m.Eligible, customers*each, m.Mirrored)
			}
			if m.Skipped["sequence_lost"] == 0 || m.Compared["match"] == 0 || m.Sequence.LostValues < customers/3 {
				t.Errorf("%v compared, skipped for %v, %d values lost", m.Compared, m.Skipped, m.Sequence.LostValues)
			}
			for _, d := range m.Comparison.Differences {
				if d.Relation != "no answer" {
					t.Errorf("%s %s %s: %d times", d.Endpoint, d.Key, d.Relation, d.Count)
				}
			}
			t.Logf("%d copies; compared %v, skipped %v, lost %v; %d values lost", count, m.Compared, m.Skipped, m.Lost, m.Sequence.LostValues)
		})
	}
}
