package examples

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func driveLoadBalancedShadow(t *testing.T, _ *testbed.Traefik) {
	live, one, two := runUpstream(t, "billing"), runUpstream(t, "billing-next-1"), runUpstream(t, "billing-next-2")
	inner := testbed.FreeAddress(t)
	traefik := runTraefik(t, folder(t, "load-balanced-shadow", "traefik.yml"), map[string]string{innerAddress: inner})
	load(t, traefik, "load-balanced-shadow", map[string]string{
		liveAddress: live.Addr(), shadowAddress: one.Addr(), secondAddress: two.Addr(), innerAddress: inner,
	})
	p := &pair{t: t, traefik: traefik, client: testbed.ClientAt("127.0.0.2"), one: one, two: two}

	if ones, twos := p.mirror(10); ones != 5 || twos != 5 {
		t.Errorf("the shadow's servers got %d and %d copies of 10, want 5 each", ones, twos)
	}
	for _, r := range append(bookings(one), bookings(two)...) {
		if string(r.Body) != invoice {
			t.Errorf("the shadow got body %q, want %q", r.Body, invoice)
		}
		if got := r.Header.Get(testbed.MarkerHeader); got != "shadow-billing@file" {
			t.Errorf("the shadow got marker %q", got)
		}
		// The client, as live got it too, and Traefik itself.
		if got, want := r.Header.Get("X-Forwarded-For"), "127.0.0.2, 127.0.0.1"; got != want {
			t.Errorf("the shadow got X-Forwarded-For %q, want %q", got, want)
		}
	}

	// A dead server is taken out, and then no copy is lost.
	one.Stop()
	p.awaitHealth(one, "DOWN")
	if ones, twos := p.mirror(10); ones != 0 || twos != 10 {
		t.Errorf("the shadow's servers got %d and %d copies of 10, want 0 and 10 with the first down", ones, twos)
	}
	if err := one.Restart(); err != nil {
		t.Fatal(err)
	}
	p.awaitHealth(one, "UP")
	if ones, twos := p.mirror(10); ones == 0 || twos == 0 {
		t.Errorf("the shadow's servers got %d and %d copies of 10, want some each after the first's return", ones, twos)
	}

	// No client gets to the shadow's router, which has every path.
	if got := status(t, p.client, "GET", traefik.URL("/health"), ""); got != http.StatusNotFound {
		t.Errorf("a client was answered %d for a path that only the shadow serves, want 404", got)
	}
}

// A pair is the two servers of the shadow, behind Traefik.
type pair struct {
	t        *testing.T
	traefik  *testbed.Traefik
	client   *http.Client
	one, two *testbed.Upstream
}

// mirror sends n invoices and returns how many copies each server has got, once
// they have all.
func (p *pair) mirror(n int) (ones, twos int) {
	p.t.Helper()
	p.one.Reset()
	p.two.Reset()
	for i := range n {
		if got := status(p.t, p.client, "POST", p.traefik.URL("/invoices/"+strconv.Itoa(i)), invoice); got != http.StatusOK {
			p.t.Fatalf("answered %d, want 200", got)
		}
	}
	testbed.Eventually(p.t, patience, func() error {
		if ones, twos = len(bookings(p.one)), len(bookings(p.two)); ones+twos != n {
			return fmt.Errorf("the shadow's servers got %d and %d copies, want %d in all", ones, twos, n)
		}
		return nil
	})
	return ones, twos
}

// bookings are the requests that the server got, health checks apart.
func bookings(u *testbed.Upstream) []testbed.Request {
	var got []testbed.Request
	for _, r := range u.Requests() {
		if r.Method == "POST" {
			got = append(got, r)
		}
	}
	return got
}

// awaitHealth waits until Traefik finds the server up or down.
func (p *pair) awaitHealth(server *testbed.Upstream, want string) {
	p.t.Helper()
	testbed.Eventually(p.t, patience, func() error {
		resp, err := http.Get(p.traefik.APIURL("/api/http/services/billing-next@file"))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var service struct{ ServerStatus map[string]string }
		if err := json.NewDecoder(resp.Body).Decode(&service); err != nil {
			return err
		}
		if got := service.ServerStatus[server.URL()]; got != want {
			return fmt.Errorf("Traefik finds the shadow's first server %q, want %s", got, want)
		}
		return nil
	})
}
