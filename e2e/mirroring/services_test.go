package mirroring

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// needServiceMiddlewares skips the test in a Traefik whose services have none.
func needServiceMiddlewares(t *testing.T) {
	t.Helper()
	if release := testbed.MustUsedRelease(t); !release.Has("v3.7.0") {
		t.Skipf("%s has no middlewares on services", release)
	}
}

// onService has the service run the middlewares.
func onService(d testbed.Dynamic, service string, middlewares ...string) testbed.Dynamic {
	return d.Set(middlewares, "http", "services", service, "middlewares")
}

// On a service, the mirror sees what the middlewares of every router have made of the
// request, and so the copy is what live gets; what they refuse has none.
func TestMirrorOnAService(t *testing.T) {
	needServiceMiddlewares(t)
	basic := func(user string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user))
	}
	tests := []struct {
		router, kind string
		options      testbed.Values
		lines        []string
		status       int
		target, want string
	}{
		{router: "plain", target: "/invoices?page=2", want: "/invoices?page=2"},
		{router: "strip", kind: "stripPrefix", options: testbed.Values{"prefixes": []string{"/billing"}},
			target: "/billing/invoices/2024%2F00117", want: "/invoices/2024%2F00117"},
		{router: "add", kind: "addPrefix", options: testbed.Values{"prefix": "/v2"}, target: "/invoices?", want: "/v2/invoices?"},
		{router: "replace", kind: "replacePathRegex", options: testbed.Values{"regex": "^/bills/(.*)", "replacement": "/invoices/$1"},
			target: "/bills/2024-00117", want: "/invoices/2024-00117"},
		{router: "headers", kind: "headers", options: testbed.Values{"customRequestHeaders": testbed.Values{"X-Tenant": "meyer", "X-Api-Key": ""}},
			lines: []string{"X-Api-Key: 8d2a"}, target: "/invoices", want: "/invoices"},
		{router: "authenticated", kind: "basicAuth", options: testbed.Values{"users": []string{"release:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"}, "headerField": "X-User"},
			lines: []string{basic("release:test")}, target: "/invoices", want: "/invoices"},
		{router: "refused", kind: "basicAuth", options: testbed.Values{"users": []string{"release:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"}},
			lines: []string{basic("release:wrong")}, status: http.StatusUnauthorized, target: "/invoices"},
		{router: "too-large", kind: "buffering", options: testbed.Values{"maxRequestBodyBytes": 10},
			status: http.StatusRequestEntityTooLarge, target: "/invoices"},
	}
	for _, options := range []testbed.Values{{}, {"bodyMode": "stream"}, {"mirrorBody": false}, testbed.Comparing()} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			d := onService(billing(live), "billing", middleware).
				Mirror(middleware, with(options, "url", shadow.URL())).Report()
			for _, test := range tests {
				var chain []string
				if test.kind != "" {
					d.Middleware(test.router, test.kind, test.options)
					chain = []string{test.router}
				}
				d.Router(test.router, testbed.RuleOf(test.router), "billing", chain...)
			}
			traefik := testbed.MustServe(t, testbed.Options{Dynamic: d})

			mirrored := 0
			for _, test := range tests {
				status := test.status
				if status == 0 {
					status = http.StatusOK
				}
				expect(t, traefik, status, sized("POST", test.target, testbed.HostOf(test.router), invoice, test.lines...))
				if status != http.StatusOK {
					continue
				}
				mirrored++
				got, of := recorded(t, shadow, mirrored)[mirrored-1], recorded(t, live, mirrored)[mirrored-1]
				if of.RequestURI != test.want || got.RequestURI != test.want {
					t.Errorf("%s: live got %q and the shadow %q, want %q", test.router, of.RequestURI, got.RequestURI, test.want)
				}
				if name := got.Header.Get(testbed.MarkerHeader); name != testbed.Marker(middleware) {
					t.Errorf("%s: the shadow got marker %q, want %q", test.router, name, testbed.Marker(middleware))
				}
				got.Header.Del(testbed.MarkerHeader)
				got.Header.Del(tokenHeader)
				if options["mirrorBody"] == false {
					of.Header.Set("Content-Length", "0")
				} else if string(got.Body) != invoice {
					t.Errorf("%s: the shadow got body %q, want %q", test.router, got.Body, invoice)
				}
				if got.Host != of.Host || !maps.EqualFunc(got.Header, of.Header, slices.Equal) {
					t.Errorf("%s: the shadow got for %s\n%q\nlive for %s\n%q", test.router, got.Host, got.Header, of.Host, of.Header)
				}
			}
			testbed.Eventually(t, patience, func() error { // the shadow's last answer may still be on its way
				if m := traefik.MustReport(t, middleware); m.Mirrored != int64(mirrored) {
					return fmt.Errorf("the report has %d mirrored, want %d of one mirror for all routers", m.Mirrored, mirrored)
				}
				return nil
			})
		})
	}
}

// A router's retry is before a mirror on the service, and makes copies as one that is
// listed before it; on the service after the mirror, it makes none.
func TestRetryAndAMirrorOnAService(t *testing.T) {
	needServiceMiddlewares(t)
	const requests = 6 // Traefik takes the servers in turn
	for _, test := range []struct {
		name              string
		onRouter, service []string
		everyTry          bool
	}{
		{"on the router", []string{"retry"}, []string{middleware}, true},
		{"after the mirror", nil, []string{middleware, "retry"}, false},
	} {
		t.Run("retry "+test.name, func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			down := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live, down"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			down.Stop()
			b := &bench{live: live, shadow: shadow}
			d := testbed.Dynamic{}.Service("billing", live.URL(), down.URL()).
				Middleware("retry", "retry", testbed.Values{"attempts": 3}).
				Mirror(middleware, testbed.Values{"url": shadow.URL()}).
				Router("mirrored", testbed.HostRule(mirrorHost), "billing", test.onRouter...)
			b.Traefik = testbed.MustServe(t, testbed.Options{Dynamic: onService(d, "billing", test.service...)})

			for range requests {
				expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
			}
			bodies := b.copies(t)
			if len(bodies) != requests {
				t.Errorf("of %d requests with a body the shadow got %d copies, want one each", requests, len(bodies))
			}
			for _, r := range append(bodies, live.Requests()...) {
				if r.Method == "POST" && string(r.Body) != invoice {
					t.Errorf("the body %q came, want %q", r.Body, invoice)
				}
			}
			shadow.Reset()
			for range requests {
				expect(t, b.Traefik, http.StatusOK, head("GET", "/invoices", mirrorHost))
			}
			arrived(t, shadow, requests)
			got := b.copies(t)
			if (len(got) > requests) != test.everyTry {
				t.Errorf("of %d requests without a body the shadow got %d copies, want one for each try %t", requests, len(got), test.everyTry)
			}
		})
	}
}

// A mirror on a service has the requests of that service alone, wherever the service is
// among others, and works on each kind.
func TestMirrorOnServicesOfServices(t *testing.T) {
	needServiceMiddlewares(t)
	const requests = 8
	weighted := func(d testbed.Dynamic) testbed.Dynamic {
		return d.Set(testbed.Values{"weighted": testbed.Values{"services": []testbed.Values{
			{"name": "billing", "weight": 3}, {"name": "billing-old", "weight": 1},
		}}}, "http", "services", "both")
	}
	failover := func(d testbed.Dynamic) testbed.Dynamic {
		d.Set(testbed.Values{"path": "/health/live"}, "http", "services", "billing", "loadBalancer", "healthCheck")
		return d.Set(testbed.Values{"failover": testbed.Values{"service": "billing", "fallback": "billing-old"}}, "http", "services", "both")
	}
	mirroring := func(d testbed.Dynamic) testbed.Dynamic { return d.Mirroring("both", "billing", 100, "billing-old") }
	for _, test := range []struct {
		name  string
		both  func(testbed.Dynamic) testbed.Dynamic
		on    string
		live  int // of the requests, what the mirrored service gets
		other int // and the other
		want  int // copies
	}{
		{"weighted, on the whole", weighted, "both", 6, 2, 8},
		{"weighted, on one part", weighted, "billing", 6, 2, 6},
		{"failover, on the whole", failover, "both", 8, 0, 8},
		{"failover, on the one with the health check", failover, "billing", 8, 0, 8},
		{"mirroring, on the whole", mirroring, "both", 8, 8, 8},
		{"mirroring, on live", mirroring, "billing", 8, 8, 8},
		{"mirroring, on the shadow", mirroring, "billing-old", 8, 8, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			other := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "other"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			d := test.both(billing(live).Service("billing-old", other.URL())).
				Mirror(middleware, testbed.Values{"url": shadow.URL()}).
				Router("mirrored", testbed.HostRule(mirrorHost), "both")
			traefik := testbed.MustServe(t, testbed.Options{Dynamic: onService(d, test.on, middleware)})
			for range requests {
				expect(t, traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
			}
			for who, want := range map[*testbed.Upstream]int{live: test.live, other: test.other, shadow: test.want} {
				for _, r := range recorded(t, who, want) {
					if string(r.Body) != invoice {
						t.Errorf("the body %q came, want %q", r.Body, invoice)
					}
					if got := r.Header.Get(testbed.MarkerHeader); (got == testbed.Marker(middleware)) != (who == shadow) {
						t.Errorf("a marker %q came to live, other or shadow", got)
					}
				}
			}
		})
	}
}

// A request that passes the mirror twice, on its router and on its service, is copied
// twice; and so with two services, one of which is in the other.
func TestAMirrorThatIsPassedTwiceCopiesTwice(t *testing.T) {
	needServiceMiddlewares(t)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	d := onService(billing(live), "billing", middleware).
		Mirror(middleware, testbed.Values{"url": shadow.URL()}).
		Router("mirrored", testbed.HostRule(mirrorHost), "billing", middleware)
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: d})
	expect(t, traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
	recorded(t, live, 1)
	for _, r := range recorded(t, shadow, 2) {
		if string(r.Body) != invoice {
			t.Errorf("the shadow got body %q, want %q", r.Body, invoice)
		}
	}
}

// Traefik's API has the middleware in the service, and not the service in the
// middleware; and with a middleware that there is not, no router to the service.
func TestWhatTheAPISaysOfAMirrorOnAService(t *testing.T) {
	needServiceMiddlewares(t)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	d := onService(billing(live), "billing", middleware).Mirror(middleware, testbed.Values{"url": "http://127.0.0.1:9"})
	traefik := testbed.RunTraefik(t, testbed.Options{Dynamic: d})
	ask := func(path string) (answer struct{ Middlewares, UsedBy, Error []string }) {
		t.Helper()
		resp, err := traefik.Client().Get(traefik.APIURL("/api/http/" + path + "@file"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return answer
	}
	if got := ask("services/billing"); !slices.Equal(got.Middlewares, []string{middleware}) || !slices.Equal(got.UsedBy, []string{"plain@file"}) {
		t.Errorf("the service has %+v, want its middleware and its router", got)
	}
	if got := ask("middlewares/" + middleware).UsedBy; len(got) > 0 {
		t.Errorf("the middleware is used by %q, want none", got)
	}
	if err := traefik.CheckRouters(t.Context()); err != nil {
		t.Error(err)
	}

	if err := traefik.Reload(t.Context(), onService(d, "billing", "shadow-biling")); err != nil {
		t.Fatal(err)
	}
	expect(t, traefik, http.StatusNotFound, head("GET", "/invoices", plainHost))
	const reason = `middleware "shadow-biling@file" does not exist`
	if got := ask("services/billing").Error; !strings.Contains(strings.Join(got, "\n"), reason) {
		t.Errorf("the service has the errors %q, want %s", got, reason)
	}
}

// By labels: one for the service, and the middleware's.
func TestMirrorOnAServiceByLabels(t *testing.T) {
	needServiceMiddlewares(t)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	traefik := runLabels(t, map[string]map[string]string{"billing": {
		"traefik.http.routers.public.rule":                                                         testbed.HostRule("public.example.com") + " && PathPrefix(`/billing`)",
		"traefik.http.routers.public.middlewares":                                                  "strip-billing",
		"traefik.http.routers.internal.rule":                                                       testbed.HostRule("internal.example.com"),
		"traefik.http.middlewares.strip-billing.stripPrefix.prefixes":                              "/billing",
		"traefik.http.services.billing.loadBalancer.server.url":                                    live.URL(),
		"traefik.http.services.billing.middlewares":                                                middleware,
		"traefik.http.middlewares.shadow-billing.plugin.mirror.url":                                shadow.URL(),
		"traefik.http.middlewares.shadow-billing.plugin.mirror.customRequestHeaders.Authorization": "",
	}}, testbed.Options{})
	for i, request := range []string{
		sized("POST", "/billing/invoices", "public.example.com", invoice, "Authorization: Bearer k3y"),
		sized("POST", "/invoices", "internal.example.com", invoice, "Authorization: Bearer k3y"),
	} {
		expect(t, traefik, http.StatusOK, request)
		got := recorded(t, shadow, i+1)[i]
		if got.RequestURI != "/invoices" || string(got.Body) != invoice || got.Header.Get(testbed.MarkerHeader) != middleware+"@docker" || got.Header.Get("Authorization") != "" {
			t.Errorf("the shadow got %s, marker %q, Authorization %q, body %q", got.RequestURI, got.Header.Get(testbed.MarkerHeader), got.Header.Get("Authorization"), got.Body)
		}
	}
	recorded(t, live, 2)
}

// Before v3.7 Traefik takes nothing of a file that has the mirror on a service, and
// nothing of a container, as the page on compatibility says.
func TestMirrorOnAServiceBeforeItWasPossible(t *testing.T) {
	release := testbed.MustUsedRelease(t)
	if release.Has("v3.7.0") {
		t.Skipf("%s has middlewares on services", release)
	}
	const refused = "field not found, node: middlewares"
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	opts := testbed.Options{Dynamic: billing(live)}
	engine := testbed.RunEngine(t)
	labels := release.Has("v2.11.31", "v3.6.1") // they ask Docker's engine as the test bed's answers
	if labels {
		engine.Run(map[string]map[string]string{"billing": {
			"traefik.http.routers.labels.rule":                      testbed.HostRule("labels.example.com"),
			"traefik.http.services.billing.loadBalancer.server.url": live.URL(),
			"traefik.http.services.billing.middlewares":             middleware,
		}})
		opts.Static, opts.Env = testbed.Values{"providers": engine.Providers()}, []string{"DOCKER_HOST="}
	}
	traefik := testbed.MustServe(t, opts)
	if labels {
		if err := traefik.WaitLog(testbed.Within(t, patience), refused); err != nil {
			t.Fatal(err)
		}
		expect(t, traefik, http.StatusNotFound, head("GET", "/invoices", "labels.example.com"))
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reloaded := make(chan error, 1)
	go func() {
		reloaded <- traefik.Reload(ctx, onService(billing(live), "billing", middleware).Router("later", testbed.HostRule("later.example.com"), "billing"))
	}()
	testbed.Eventually(t, patience, func() error {
		if got := strings.Count(traefik.Log(), refused); got == 0 || labels && got < 2 {
			return fmt.Errorf("%d lines with %s", got, refused)
		}
		return nil
	})
	cancel()
	if err := <-reloaded; err == nil {
		t.Error("Traefik serves what it was to refuse")
	}
	expect(t, traefik, http.StatusOK, head("GET", "/invoices", plainHost))
}
