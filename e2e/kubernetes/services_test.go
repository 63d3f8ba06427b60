package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// serviceAnnotation returns the annotation that the README gives the Service.
func serviceAnnotation(t *testing.T) (name, value string) {
	t.Helper()
	command := block(t, "sh", "kubectl annotate service billing")
	fields := strings.Fields(command)
	name, value, ok := strings.Cut(fields[len(fields)-1], "=")
	if !ok {
		t.Fatalf("README.md annotates with %q", command)
	}
	return name, value
}

// annotated are the objects of services with live's annotated as in the README.
func annotated(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured {
	t.Helper()
	list := services(t, live)
	name, value := serviceAnnotation(t)
	list[0].SetAnnotations(map[string]string{name: value})
	return list
}

// plainIngress is the example's without a mirror of its own.
func plainIngress(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	const annotation = "traefik.ingress.kubernetes.io/router.middlewares"
	ingress := object(t, "ingress.yaml")
	annotations := ingress.GetAnnotations()
	if annotations[annotation] == "" {
		t.Fatalf("ingress.yaml has no %s", annotation)
	}
	delete(annotations, annotation)
	ingress.SetAnnotations(annotations)
	return ingress
}

func plainRoute(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	route := object(t, "ingressroute.yaml")
	routes, _, _ := unstructured.NestedSlice(route.Object, "spec", "routes")
	delete(routes[0].(map[string]any), "middlewares")
	if err := unstructured.SetNestedSlice(route.Object, routes, "spec", "routes"); err != nil {
		t.Fatal(err)
	}
	return route
}

// toService is a route to a TraefikService of the name.
func toService(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	route := plainRoute(t)
	routes, _, _ := unstructured.NestedSlice(route.Object, "spec", "routes")
	routes[0].(map[string]any)["services"] = []any{map[string]any{"kind": "TraefikService", "name": name}}
	if err := unstructured.SetNestedSlice(route.Object, routes, "spec", "routes"); err != nil {
		t.Fatal(err)
	}
	return route
}

// weighted is a TraefikService whose one part is live, with more about that.
func weighted(t *testing.T, name, more string) *unstructured.Unstructured {
	t.Helper()
	return parse(t, `
apiVersion: traefik.io/v1alpha1
kind: TraefikService
metadata: {name: `+name+`, namespace: default}
spec:
  weighted:
    services:
      - {name: billing, port: 8080, weight: 1, `+more+`}
`)
}

// A mirror on the service, in each of the places where Kubernetes objects can have it.
func TestMirrorOnAService(t *testing.T) {
	for _, tt := range []struct {
		name     string
		objects  func(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured
		mirrored bool
	}{
		{"the IngressRoute's service", func(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured {
			return append(services(t, live), object(t, "ingressroute-service.yaml"))
		}, true},
		{"the annotation of the Service, by an Ingress", func(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured {
			return append(annotated(t, live), plainIngress(t))
		}, true},
		{"the annotation of the Service, by an IngressRoute", func(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured {
			return append(annotated(t, live), plainRoute(t))
		}, false},
		{"a part of a weighted TraefikService", func(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured {
			return append(services(t, live), weighted(t, "billing-weighted", "middlewares: [{name: shadow-billing}]"), toService(t, "billing-weighted"))
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			middleware := object(t, "middleware.yaml")
			options(t, middleware)["url"] = shadow.URL()
			// Another route, so that there is a copy to wait for.
			other := object(t, "ingressroute.yaml")
			other.SetName("other")
			routes, _, _ := unstructured.NestedSlice(other.Object, "spec", "routes")
			routes[0].(map[string]any)["match"] = "Host(`" + billingHost + "`) && PathPrefix(`/reminders`)"
			if err := unstructured.SetNestedSlice(other.Object, routes, "spec", "routes"); err != nil {
				t.Fatal(err)
			}
			c := runCluster(t)
			c.apply(t, tt.objects(t, live)...)
			c.apply(t, middleware, other)
			traefik := runTraefik(t, c, testbed.Options{})
			served(t, traefik)
			testbed.Eventually(t, patience, func() error {
				status, body := try(t, traefik, http.MethodOptions, "/reminders", nil)
				if status != http.StatusOK {
					return fmt.Errorf("answered %d %q, want 200", status, body)
				}
				return nil
			})

			in := customer(t, 0, 10)
			in.Set("Authorization", "Bearer k3y")
			request(t, traefik, http.MethodGet, "/invoices/2024-00117", in)
			want := []string{"/reminders/1"}
			if tt.mirrored {
				want = []string{"/invoices/2024-00117", "/reminders/1"}
				recorded(t, shadow, 1)
			}
			request(t, traefik, http.MethodGet, "/reminders/1", in)
			for i, r := range recorded(t, shadow, len(want)) {
				if r.RequestURI != want[i] || r.Header.Get(testbed.MarkerHeader) != mirrorName || r.Header.Get("Authorization") != "" {
					t.Errorf("the shadow got %s, marker %q, Authorization %q; want %s from %s", r.RequestURI, r.Header.Get(testbed.MarkerHeader), r.Header.Get("Authorization"), want[i], mirrorName)
				}
			}
		})
	}
}

// Traefik's own mirroring can change the copy: each of its mirrors has middlewares.
func TestOwnMirroringChangesTheCopy(t *testing.T) {
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	c := runCluster(t)
	c.apply(t, services(t, live)...)
	for _, o := range services(t, shadow)[:2] {
		o.SetName(strings.Replace(o.GetName(), "billing", "billing-next", 1))
		if o.GetKind() == "EndpointSlice" {
			o.SetLabels(map[string]string{"kubernetes.io/service-name": "billing-next"})
		}
		c.apply(t, o)
	}
	c.apply(t, parse(t, `
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: shadow-headers, namespace: default}
spec: {headers: {customRequestHeaders: {Authorization: "", X-Mirrored-By: billing-mirrored}}}
`), parse(t, `
apiVersion: traefik.io/v1alpha1
kind: TraefikService
metadata: {name: billing-mirrored, namespace: default}
spec:
  mirroring:
    name: billing
    port: 8080
    mirrors:
      - {name: billing-next, port: 8080, percent: 100, middlewares: [{name: shadow-headers}]}
`), toService(t, "billing-mirrored"))
	traefik := runTraefik(t, c, testbed.Options{})
	served(t, traefik)
	request(t, traefik, http.MethodGet, "/invoices/2024-00117", http.Header{"Authorization": {"Bearer k3y"}})
	has := func(u *testbed.Upstream, marker, authorization string) func() error {
		return func() error {
			for _, r := range u.Requests() {
				if r.Method == http.MethodGet && r.Header.Get(testbed.MarkerHeader) == marker && r.Header.Get("Authorization") == authorization {
					return nil
				}
			}
			return fmt.Errorf("nothing came with marker %q and Authorization %q", marker, authorization)
		}
	}
	testbed.Eventually(t, patience, has(shadow, "billing-mirrored", ""))
	testbed.Eventually(t, patience, has(live, "", "Bearer k3y"))
}

// Two TraefikServices with the same Service, of which one has the mirror, are at odds
// about one service of Traefik's, as the README warns.
func TestPartsThatDifferAreOneService(t *testing.T) {
	if text := readExample(t, "README.md"); !strings.Contains(text, "`Name collision`") {
		t.Error("README.md does not say what Traefik logs")
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	c := runCluster(t)
	c.apply(t, services(t, live)...)
	c.apply(t, object(t, "middleware.yaml"), toService(t, "billing-weighted"),
		weighted(t, "billing-weighted", "middlewares: [{name: shadow-billing}]"), weighted(t, "billing-other", "passHostHeader: true"))
	traefik := runTraefik(t, c, testbed.Options{})
	served(t, traefik)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := traefik.WaitLog(ctx, `Name collision: service "default-billing-8080" is defined more than once`); err != nil {
		t.Error(err)
	}
}
