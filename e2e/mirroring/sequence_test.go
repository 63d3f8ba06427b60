package mirroring

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
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
		if r.Header.Get(testbed.MarkerHeader) != testbed.Marker(middleware) {
			t.Errorf("%s %s is no copy", r.Method, r.RequestURI)
		}
	}
}

// What one customer sends reaches the shadow one after the other and in live's order, over
// whatever connections, while the options change and the shadow goes and comes back. A
// value of which a change was lost is not compared; nothing else differs.
func TestSequence(t *testing.T) {
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			u := &testbed.Upheaval{Host: mirrorHost, Books: testbed.NewUpheavalLedger(), Reloads: 20}
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Handler: &testbed.Ledger{}, CountOnly: true})
			u.Shadow = testbed.RunUpstream(t, testbed.UpstreamOptions{Handler: u.Books, CountOnly: true})
			configuration := func(n int) testbed.Dynamic {
				options := testbed.Values{"url": u.Shadow.URL(), "compare": true}
				for name, value := range u.Options(mode, n) {
					options[name] = value
				}
				return testbed.Dynamic{}.
					Service("billing", live.URL()).
					Mirror(middleware, options).
					Router("billing", testbed.HostRule(mirrorHost), "billing", middleware).
					Report()
			}
			traefik := testbed.MustServe(t, testbed.Options{Dynamic: configuration(0), TLS: true, LogLevel: "ERROR"})
			u.Plain, u.Secure = traefik.URL(""), traefik.SecureURL("")
			u.TLS = &tls.Config{RootCAs: traefik.CA().Pool()}
			u.Reload = func(ctx context.Context, n int) error { return traefik.Reload(ctx, configuration(n)) }
			if err := u.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			testbed.Eventually(t, time.Minute, func() error {
				if m := traefik.MustReport(t, middleware); m.InFlight != 0 || m.Sequence.Waiting != 0 {
					return fmt.Errorf("%d in flight, %d wait", m.InFlight, m.Sequence.Waiting)
				}
				return nil
			})
			u.Check(t, traefik.MustReport(t, middleware))
		})
	}
}
