package mirroring

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// An own is a Traefik whose own mirroring takes everything to the shadow, to be held to
// what docs/migration.md says of it.
type own struct {
	*testbed.Traefik
	live, shadow *testbed.Upstream
}

// runOwn starts one. The shadow's service runs the middleware of the kind with the
// options, if there is one.
func runOwn(t *testing.T, kind string, options testbed.Values, change func(testbed.Dynamic)) *own {
	t.Helper()
	needServiceMiddlewares(t)
	o := &own{
		live:   testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"}),
		shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"}),
	}
	d := billing(o.live).Service("billing-next", o.shadow.URL()).
		Mirroring("billing-mirrored", "billing", 100, "billing-next").
		Router("mirrored", testbed.HostRule(mirrorHost), "billing-mirrored")
	if kind != "" {
		onService(d.Middleware("of-the-shadow", kind, options), "billing-next", "of-the-shadow")
	}
	if change != nil {
		change(d)
	}
	o.Traefik = testbed.MustServe(t, testbed.Options{Dynamic: d})
	return o
}

// From v3.7 on, a middleware of the shadow's service changes the copy and not live's
// request.
func TestOwnMirroringChangesTheCopy(t *testing.T) {
	for _, test := range []struct {
		name, kind string
		options    testbed.Values
		check      func(r testbed.Request) error
	}{
		{"headers", "headers", testbed.Values{"customRequestHeaders": testbed.Values{"Authorization": "", "X-Environment": "shadow", "Host": "billing-next.internal"}},
			func(r testbed.Request) error {
				if r.Header["Authorization"] != nil || r.Header.Get("X-Environment") != "shadow" || r.Host != "billing-next.internal" {
					return fmt.Errorf("%q for the host %s", r.Header, r.Host)
				}
				return nil
			}},
		{"path", "replacePathRegex", testbed.Values{"regex": "^/invoices/(.*)", "replacement": "/v2/bills/$1"},
			func(r testbed.Request) error {
				if r.RequestURI != "/v2/bills/2024-00117" {
					return errors.New(r.RequestURI)
				}
				return nil
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := runOwn(t, test.kind, test.options, nil)
			expect(t, o.Traefik, http.StatusOK, sized("POST", "/invoices/2024-00117", mirrorHost, invoice, "Authorization: Bearer k3y"))
			got, of := recorded(t, o.shadow, 1)[0], recorded(t, o.live, 1)[0]
			if err := test.check(got); err != nil || string(got.Body) != invoice {
				t.Errorf("the shadow got %v, body %q", err, got.Body)
			}
			if of.RequestURI != "/invoices/2024-00117" || of.Host != mirrorHost || of.Header.Get("Authorization") != "Bearer k3y" || of.Header["X-Environment"] != nil {
				t.Errorf("live got %s for the host %s, %q", of.RequestURI, of.Host, of.Header)
			}
		})
	}
}

// A copy starts when live has answered, a second shadow's when the first has, and
// neither does if the client has left by then.
func TestOwnMirroringIsOneAfterTheOther(t *testing.T) {
	second := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "second"})
	o := runOwn(t, "", nil, func(d testbed.Dynamic) {
		d.Service("second", second.URL()).Mirroring("billing-mirrored", "billing", 100, "billing-next", "second")
	})
	// held sends a request, and has the upstream hang until it has it; with leave until
	// the client is gone.
	held := func(hanging *testbed.Upstream, leave bool) (released time.Time) {
		t.Helper()
		hanging.Reset()
		release := hanging.Hang()
		t.Cleanup(release)
		c := dial(t, o.Traefik)
		c.say(head("GET", "/invoices", mirrorHost))
		recorded(t, hanging, 1)
		if leave {
			c.Close()
			if err := o.WaitLog(testbed.Within(t, patience), "No mirroring, request has been canceled"); err != nil {
				t.Error(err)
			}
			release()
			return time.Now()
		}
		released = time.Now()
		release()
		if resp := c.hear("GET"); resp.StatusCode != http.StatusOK {
			t.Errorf("answered %s", resp.Status)
		}
		return released
	}
	held(o.live, true)
	released := held(o.live, false)
	if r := recorded(t, o.shadow, 1)[0]; r.Arrived.Before(released) {
		t.Error("the shadow got its copy before live had answered")
	}
	recorded(t, second, 1)
	released = held(o.shadow, false)
	if r := recorded(t, second, 2)[1]; r.Arrived.Before(released) {
		t.Error("the second shadow got its copy before the first had answered")
	}
}

// Without a bound all copies go to a shadow that hangs; inFlightReq on its service is one.
func TestOwnMirroringBoundsCopies(t *testing.T) {
	const requests, amount = 12, 3
	for _, test := range []struct {
		name, kind string
		want       int
	}{
		{"without", "", requests},
		{"with inFlightReq", "inFlightReq", amount},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Copies follow live's answers, so the last is told by a mirror of its own
			// behind the one that is bounded.
			last := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "last"})
			o := runOwn(t, test.kind, testbed.Values{"amount": amount}, func(d testbed.Dynamic) {
				d.Service("last", last.URL()).Mirroring("billing-first", "billing-mirrored", 100, "last").
					Router("mirrored", testbed.HostRule(mirrorHost), "billing-first")
			})
			release := o.shadow.Hang()
			t.Cleanup(release)
			for range requests {
				expect(t, o.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
			}
			recorded(t, last, requests)
			if got := len(recorded(t, o.shadow, test.want)); got != test.want {
				t.Errorf("the shadow that hangs got %d copies, want %d", got, test.want)
			}
		})
	}
}

// circuitBreaker on the shadow's service leaves a shadow that fails alone.
func TestOwnMirroringLeavesAFailingShadowAlone(t *testing.T) {
	o := runOwn(t, "circuitBreaker", testbed.Values{"expression": "NetworkErrorRatio() > 0.5", "checkPeriod": "10ms", "fallbackDuration": "10m"}, nil)
	o.shadow.Handle(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }))
	sent := 0
	testbed.Eventually(t, patience, func() error {
		for range 10 {
			expect(t, o.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
			sent++
		}
		if spared := sent - o.shadow.Count(); spared < 50 {
			return fmt.Errorf("of %d requests %d had no copy, want 50", sent, spared)
		}
		return nil
	})
	if got := o.live.Count(); got != sent {
		t.Errorf("live got %d requests, want %d", got, sent)
	}
}

// With mirrorBody: false the copy announces the body that it does not have.
func TestOwnMirroringWithoutBodies(t *testing.T) {
	o := runOwn(t, "", nil, func(d testbed.Dynamic) {
		d.Set(false, "http", "services", "billing-mirrored", "mirroring", "mirrorBody")
	})
	for i, request := range []string{
		sized("POST", "/sized", mirrorHost, invoice),
		chunked("POST", "/chunked", mirrorHost, invoice, 10),
	} {
		expect(t, o.Traefik, http.StatusOK, request)
		r := recorded(t, o.shadow, i+1)[i]
		announced := r.ContentLength == int64(len(invoice)) || slices.Equal(r.TransferEncoding, []string{"chunked"})
		if !announced || r.BodySize != 0 || !errors.Is(r.BodyErr, io.ErrUnexpectedEOF) {
			t.Errorf("the shadow got a length of %d, %q and %d bytes (%v), want a body that is announced and does not come", r.ContentLength, r.TransferEncoding, r.BodySize, r.BodyErr)
		}
	}
}

// Labels cannot make it: Traefik ignores the container.
func TestOwnMirroringHasNoLabels(t *testing.T) {
	needServiceMiddlewares(t)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	traefik := runLabels(t, map[string]map[string]string{"billing": {
		"traefik.http.routers.invoices.rule":                               testbed.HostRule(mirrorHost),
		"traefik.http.routers.invoices.service":                            "billing-mirrored",
		"traefik.http.services.billing.loadBalancer.server.url":            live.URL(),
		"traefik.http.services.billing-mirrored.mirroring.service":         "billing",
		"traefik.http.services.billing-mirrored.mirroring.mirrors[0].name": "billing-next@file",
	}}, testbed.Options{})
	if err := traefik.WaitLog(testbed.Within(t, patience), `service \"billing-mirrored\" error: load-balancer is not defined`); err != nil {
		t.Error(err)
	}
	expect(t, traefik, http.StatusNotFound, head("GET", "/invoices", mirrorHost))
}

// A body that cannot be read is answered 500.
func TestOwnMirroringAnswers500(t *testing.T) {
	o := runOwn(t, "", nil, nil)
	c := dial(t, o.Traefik)
	c.say(head("POST", "/invoices", mirrorHost, "Transfer-Encoding: chunked") + "not a chunk\r\n")
	resp := c.hear("POST")
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("answered %s, want 500", resp.Status)
	}
}

// Live with the entry point's notAppendXForwardedFor gets no address of the client, and
// the copy has it: the plugin is not told.
func TestNotAppendXForwardedFor(t *testing.T) {
	needServiceMiddlewares(t)
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	m.add("default", nil)
	m.add("removed", testbed.Values{"customRequestHeaders": testbed.Values{"X-Forwarded-For": ""}})
	m.start(t, testbed.Options{Static: testbed.Values{"entryPoints": testbed.Values{testbed.Web: testbed.Values{
		"forwardedHeaders": testbed.Values{"notAppendXForwardedFor": true},
	}}}})
	for name, want := range map[string][]string{"default": {"127.0.0.1"}, "removed": nil} {
		expect(t, m.Traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf(name), invoice))
		if got := m.one(t, name).Header["X-Forwarded-For"]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: the copy has X-Forwarded-For %q, want %q", name, got, want)
		}
	}
	for _, r := range recorded(t, m.live, 2) {
		if got := r.Header["X-Forwarded-For"]; got != nil {
			t.Errorf("live got X-Forwarded-For %q", got)
		}
	}
}
