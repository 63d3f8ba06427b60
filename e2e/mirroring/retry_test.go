package mirroring

import (
	"crypto/sha256"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// One of live's two servers is down, and Traefik's retry tries the other, which
// must get the whole body, wherever in the list the mirror is. The shadow gets
// one copy of each request.
func TestRetriesHaveTheBody(t *testing.T) {
	const requests = 6 // Traefik takes the servers in turn
	modes := map[string]testbed.Values{
		"buffer":              {},
		"buffer, comparing":   testbed.Comparing(),
		"stream":              {"bodyMode": "stream"},
		"no body to the copy": {"mirrorBody": false},
	}
	orders := map[string][]string{
		"retry before the mirror": {"retry", middleware},
		"retry after the mirror":  {middleware, "retry"},
	}
	framings := map[string]string{
		"sized":   sized("POST", "/invoices", mirrorHost, invoice),
		"chunked": chunked("POST", "/invoices", mirrorHost, invoice, 10),
		"large":   sized("POST", "/invoices", mirrorHost, testbed.Payload(1<<20)),
	}
	for mode, options := range modes {
		for order, chain := range orders {
			t.Run(mode+"/"+order, func(t *testing.T) {
				live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
				down := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live, down"})
				shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
				down.Stop()
				traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: testbed.Dynamic{}.
					Service("billing", live.URL(), down.URL()).
					Middleware("retry", "retry", testbed.Values{"attempts": 3}).
					Mirror(middleware, with(with(options, "url", shadow.URL()), "maxBodySize", "2MiB")).
					Router("mirrored", testbed.HostRule(mirrorHost), "billing", chain...).
					Report()})
				want := map[[sha256.Size]byte]int{}
				for _, body := range []string{invoice, invoice, testbed.Payload(1 << 20)} {
					want[sha256.Sum256([]byte(body))] += requests
				}
				sent := 0
				for _, request := range framings {
					for range requests {
						expect(t, traefik, 200, request)
						sent++
					}
				}
				sums := func(u *testbed.Upstream) map[[sha256.Size]byte]int {
					got := map[[sha256.Size]byte]int{}
					for _, r := range recorded(t, u, sent) {
						got[r.BodySHA256]++
					}
					return got
				}
				same := func(who string, got map[[sha256.Size]byte]int) {
					for sum, n := range want {
						if got[sum] != n {
							t.Errorf("%s got %d bodies of one kind, want %d of %d in all", who, got[sum], n, sent)
						}
					}
				}
				same("live", sums(live))
				if options["mirrorBody"] != false {
					same("the shadow", sums(shadow))
				}
			})
		}
	}
}
