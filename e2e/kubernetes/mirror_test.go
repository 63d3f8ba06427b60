package kubernetes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mitchellh/mapstructure"
	"github.com/trafficshadow/mirror"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// services are what the examples expect to find in the cluster: live, and the
// class of the Ingress. An EndpointSlice of live leads to the address.
func services(t *testing.T, live *testbed.Upstream) []*unstructured.Unstructured {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(live.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return []*unstructured.Unstructured{
		parse(t, `
apiVersion: v1
kind: Service
metadata: {name: billing, namespace: default}
spec:
  selector: {app: billing}
  ports: [{port: 8080}]
`),
		parse(t, `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: billing-x7k2p
  namespace: default
  labels: {kubernetes.io/service-name: billing}
addressType: IPv4
endpoints: [{addresses: [`+host+`], conditions: {ready: true}}]
ports: [{name: "", port: `+port+`, protocol: TCP}]
`),
		parse(t, `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: traefik}
spec: {controller: traefik.io/ingress-controller}
`),
	}
}

func secret(t *testing.T, name, key, value string) *unstructured.Unstructured {
	t.Helper()
	return parse(t, `
apiVersion: v1
kind: Secret
metadata: {name: `+name+`, namespace: default}
data: {`+key+`: `+base64.StdEncoding.EncodeToString([]byte(value))+`}
`)
}

// runTraefik starts a Traefik with the cluster's objects.
func runTraefik(t *testing.T, c *cluster, opts testbed.Options) *testbed.Traefik {
	t.Helper()
	static, _ := opts.Static.(map[string]any)
	if static == nil {
		static = map[string]any{}
	}
	provider := map[string]any{"endpoint": c.URL}
	static["providers"] = map[string]any{"kubernetesCRD": provider, "kubernetesIngress": provider}
	opts.Static = static
	// Both would lead Traefik to a cluster of the developer's.
	opts.Env = append(opts.Env, "KUBECONFIG=", "KUBERNETES_SERVICE_HOST=")
	return testbed.RunTraefik(t, opts)
}

// served waits until the route of the examples is there. It asks with a method
// that the examples do not mirror.
func served(t *testing.T, traefik *testbed.Traefik) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		if status, body := try(t, traefik, "OPTIONS", "/invoices", nil); status != http.StatusOK {
			return fmt.Errorf("answered %d %q, want 200; Traefik's log:\n%s", status, body, traefik.LogTail(20))
		}
		return nil
	})
}

// place is a customer's from 0 to 100, as the plugin's README has it.
func place(id int) float64 {
	sum := sha256.Sum256(fmt.Append(nil, id))
	return float64(binary.BigEndian.Uint32(sum[:4])) * 100 / (1 << 32)
}

// customer returns one whose place is in the range.
func customer(t *testing.T, from, to float64) http.Header {
	t.Helper()
	for id := 4700; id < 6000; id++ {
		if place := place(id); place >= from && place < to {
			return http.Header{"X-Customer-Id": {fmt.Sprint(id)}}
		}
	}
	t.Fatalf("no customer from %v to %v", from, to)
	return nil
}

func TestMirror(t *testing.T) {
	for _, route := range []string{"ingressroute.yaml", "ingress.yaml"} {
		t.Run(route, func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			c := runCluster(t)
			c.apply(t, services(t, live)...)
			middleware := object(t, "middleware.yaml")
			options(t, middleware)["url"] = shadow.URL()
			c.apply(t, middleware, object(t, route))
			traefik := runTraefik(t, c, testbed.Options{})
			served(t, traefik)

			in, out := customer(t, 0, 10), customer(t, 10, 100)
			in.Set("Authorization", "Bearer k3y")
			in.Set("Cookie", "session=8f2a")
			for range 2 {
				request(t, traefik, "GET", "/invoices/2024-00117?draft=1", out)
				request(t, traefik, "POST", "/invoices", in)
				if got, want := request(t, traefik, "GET", "/invoices/2024-00117?draft=1", in), `{"upstream":"live"}`; got != want {
					t.Errorf("the client got %s, want %s", got, want)
				}
			}

			for _, r := range recorded(t, shadow, 2) {
				if got, want := r.Method+" "+r.RequestURI, "GET /invoices/2024-00117?draft=1"; got != want {
					t.Errorf("the shadow got %s, want %s", got, want)
				}
				for name, want := range map[string]string{
					"X-Customer-Id": in.Get("X-Customer-Id"), "Authorization": "", "Cookie": "",
					"X-Environment": "shadow", "X-Mirrored-By": mirrorName,
				} {
					if got := r.Header.Get(name); got != want {
						t.Errorf("the shadow got %s %q, want %q", name, got, want)
					}
				}
			}
			requests := live.Requests()
			last := requests[len(requests)-1]
			for name, want := range map[string]string{
				"Authorization": "Bearer k3y", "Cookie": "session=8f2a", "X-Environment": "", "X-Mirrored-By": "",
			} {
				if got := last.Header.Get(name); got != want {
					t.Errorf("live got %s %q, want %q", name, got, want)
				}
			}
		})
	}
}

// What the plugin gets after Traefik's provider has read the objects.
func TestOptionsReachThePlugin(t *testing.T) {
	const token, ca = "Bearer t0ken", "-----BEGIN CERTIFICATE-----\nauthority\n-----END CERTIFICATE-----\n"
	for _, tt := range []struct {
		file string
		want map[string]any
	}{
		{"middleware.yaml", map[string]any{
			"url":                  "http://billing-next.default.svc:8080",
			"percent":              10.0,
			"sampleBy":             "header:X-Customer-Id",
			"methods":              []any{"GET", "HEAD"},
			"maxBodySize":          "1MiB",
			"maxInFlight":          100.0,
			"timeout":              "2s",
			"customRequestHeaders": map[string]any{"Authorization": "", "Cookie": "", "X-Environment": "shadow"},
		}},
		{"middleware-tls.yaml", map[string]any{
			"url":                  "https://billing-next.default.svc:8443",
			"percent":              10.0,
			"methods":              []any{"GET", "HEAD"},
			"timeout":              "2s",
			"tls":                  map[string]any{"rootCAs": []any{ca}, "certFile": "/etc/mirror/tls.crt", "keyFile": "/etc/mirror/tls.key"},
			"customRequestHeaders": map[string]any{"Authorization": token, "Cookie": ""},
		}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			c := runCluster(t)
			c.apply(t, object(t, tt.file), secret(t, "billing-next-ca", "ca.crt", ca),
				secret(t, "billing-next-token", "authorization", token))
			traefik := runTraefik(t, c, testbed.Options{})

			got := decode(t, pluginOptions(t, traefik)).Options
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("the plugin gets\n%+v\nwant\n%+v", got, tt.want)
			}
		})
	}
}

// The options of middleware.yaml are good; with one misspelt, Kubernetes takes
// the object, and the plugin names the option and leaves live alone.
func TestMisspeltOptionIsNamedByThePlugin(t *testing.T) {
	const named = "maxBodysise: there is no such option; the nearest is maxBodySize"
	good := object(t, "middleware.yaml")
	if said := remark(t, options(t, good)); said != "" {
		t.Errorf("middleware.yaml: %s", said)
	}
	bad := parse(t, strings.Replace(readExample(t, "middleware.yaml"), "maxBodySize:", "maxBodysise:", 1))
	if said := remark(t, options(t, bad)); !strings.Contains(said, named) {
		t.Errorf("logged %q, want %s", said, named)
	}

	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	c := runCluster(t)
	c.apply(t, services(t, live)...)
	c.apply(t, bad, object(t, "ingressroute.yaml"))
	traefik := runTraefik(t, c, testbed.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := traefik.WaitLog(ctx, named); err != nil {
		t.Fatal(err)
	}
	served(t, traefik)

	// Put right, it works without more ado.
	c.apply(t, good)
	served(t, traefik)
}

func TestShadowWithSecrets(t *testing.T) {
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Certificate("127.0.0.1", "billing-next.default.svc")
	if err != nil {
		t.Fatal(err)
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", TLS: &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientCAs:    ca.Pool(),
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}})

	middleware := object(t, "middleware-tls.yaml")
	opts := options(t, middleware)
	opts["url"] = shadow.URL()
	opts["percent"] = int64(100)
	mounted := mountClientCertificate(t, ca)
	files := opts["tls"].(map[string]any)
	for _, option := range []string{"certFile", "keyFile"} {
		files[option] = filepath.Join(mounted, strings.TrimPrefix(files[option].(string), mountPath(t, "billing-next-client")+"/"))
	}

	c := runCluster(t)
	c.apply(t, services(t, live)...)
	c.apply(t, secret(t, "billing-next-ca", "ca.crt", string(ca.PEM())),
		secret(t, "billing-next-token", "authorization", "Bearer 0ld"))
	c.apply(t, middleware, object(t, "ingressroute.yaml"))
	traefik := runTraefik(t, c, testbed.Options{})
	served(t, traefik)
	header := http.Header{"Authorization": {"Bearer client"}, "Cookie": {"session=8f2a"}}

	shadow.Reset()
	request(t, traefik, "GET", "/invoices/2024-00117", header)
	got := recorded(t, shadow, 1)[0]
	if got := got.Header.Get("Authorization"); got != "Bearer 0ld" {
		t.Errorf("the shadow got Authorization %q, want the Secret's", got)
	}
	if got := got.Header.Get("Cookie"); got != "" {
		t.Errorf("the shadow got Cookie %q, want none", got)
	}
	if peer := got.TLS.PeerCertificates[0].Subject.CommonName; peer != "mirror.traefik.svc" {
		t.Errorf("the shadow was shown the certificate of %q, want mirror.traefik.svc", peer)
	}

	// The Secret changes, and so does what the shadow gets.
	c.apply(t, secret(t, "billing-next-token", "authorization", "Bearer n3w"))
	testbed.Eventually(t, patience, func() error {
		shadow.Reset()
		request(t, traefik, "GET", "/invoices/2024-00117", header)
		if got := recorded(t, shadow, 1)[0].Header.Get("Authorization"); got != "Bearer n3w" {
			return fmt.Errorf("the shadow got Authorization %q, want the changed Secret's", got)
		}
		return nil
	})

	// Without it there is no middleware, and without that no route.
	c.delete(secret(t, "billing-next-token", "authorization", ""))
	testbed.Eventually(t, patience, func() error {
		if status, _ := try(t, traefik, "GET", "/invoices/2024-00117", header); status != http.StatusNotFound {
			return fmt.Errorf("answered %d, want 404", status)
		}
		return nil
	})
}

// mountClientCertificate is a volume with the Secret that the README makes.
func mountClientCertificate(t *testing.T, ca *testbed.CA) string {
	t.Helper()
	cert, key, err := ca.Issue("mirror.traefik.svc")
	if err != nil {
		t.Fatal(err)
	}
	command := block(t, "sh", "kubectl create secret tls")
	if want := "secret tls billing-next-client -n traefik "; !strings.Contains(command, want) {
		t.Errorf("README.md makes no %s, which is what is mounted", want)
	}
	return mountVolume(t, map[string][]byte{"tls.crt": cert, "tls.key": key})
}

// mountPath is where the chart's values in the README mount the Secret.
func mountPath(t *testing.T, secret string) string {
	t.Helper()
	var values chartValues
	if err := yaml.UnmarshalStrict([]byte(block(t, "yaml", secret)), &values); err != nil {
		t.Fatal(err)
	}
	for _, v := range values.Volumes {
		if v.Name == secret && v.Type == "secret" {
			return v.MountPath
		}
	}
	t.Fatalf("README.md mounts no Secret %s", secret)
	return ""
}

func TestRemoval(t *testing.T) {
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	middleware, route := object(t, "middleware.yaml"), object(t, "ingressroute.yaml")
	options(t, middleware)["url"] = shadow.URL()
	c := runCluster(t)
	c.apply(t, services(t, live)...)
	c.apply(t, middleware, route)
	traefik := runTraefik(t, c, testbed.Options{})
	served(t, traefik)
	in := customer(t, 0, 10)

	// The middleware goes first, and the route with it.
	c.delete(middleware)
	testbed.Eventually(t, patience, func() error {
		if status, _ := try(t, traefik, "GET", "/invoices/1", in); status != http.StatusNotFound {
			return fmt.Errorf("answered %d, want 404", status)
		}
		return nil
	})

	// A route that does not name it needs it not.
	plain := route.DeepCopy()
	routes, _, _ := unstructured.NestedSlice(plain.Object, "spec", "routes")
	delete(routes[0].(map[string]any), "middlewares")
	if err := unstructured.SetNestedSlice(plain.Object, routes, "spec", "routes"); err != nil {
		t.Fatal(err)
	}
	c.apply(t, plain)
	served(t, traefik)
	request(t, traefik, "GET", "/invoices/2", in)

	// Back again, which shows that the request before had no copy. Traefik may
	// see the route before the middleware.
	c.apply(t, middleware, route)
	copied := func(uri string) bool {
		return slices.ContainsFunc(shadow.Requests(), func(r testbed.Request) bool { return r.RequestURI == uri })
	}
	testbed.Eventually(t, patience, func() error {
		if status, _ := try(t, traefik, "GET", "/invoices/3", in); status != http.StatusOK {
			return fmt.Errorf("answered %d, want 200", status)
		}
		if !copied("/invoices/3") {
			return fmt.Errorf("nothing is mirrored after the middleware has come back")
		}
		return nil
	})
	if copied("/invoices/2") {
		t.Error("a request was mirrored without the middleware")
	}
}

// pluginOptions returns the options of the middleware as Traefik hands them to
// the plugin.
func pluginOptions(t *testing.T, traefik *testbed.Traefik) map[string]any {
	t.Helper()
	var middleware struct {
		Plugin map[string]map[string]any `json:"plugin"`
	}
	testbed.Eventually(t, patience, func() error { return api(t, traefik, "/api/http/middlewares/"+mirrorName, &middleware) })
	return middleware.Plugin[testbed.MirrorKey]
}

// decode fills the plugin's Config as Traefik's builder of interpreted
// middlewares does (pkg/plugins/middlewareyaegi.go).
func decode(t *testing.T, options map[string]any) *mirror.Config {
	t.Helper()
	config := mirror.CreateConfig()
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		DecodeHook:       mapstructure.StringToSliceHookFunc(","),
		WeaklyTypedInput: true,
		Result:           config,
	})
	if err == nil {
		err = decoder.Decode(options)
	}
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// remark returns what the plugin logs about the options; "" if it logs nothing.
func remark(t *testing.T, options map[string]any) string {
	t.Helper()
	var said bytes.Buffer
	log.SetOutput(&said)
	defer log.SetOutput(os.Stderr)
	if _, err := mirror.New(t.Context(), http.NotFoundHandler(), decode(t, options), t.Name()); err != nil {
		t.Fatal(err)
	}
	return said.String()
}

// mountVolume lays out the files of a Secret or ConfigMap as the kubelet does:
// each is a link into a folder that is itself reached by a link.
func mountVolume(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	const data = "..2024_05_17_09_30_00.1"
	if err := os.Mkdir(filepath.Join(dir, data), 0o755); err != nil {
		t.Fatal(err)
	}
	link(t, data, filepath.Join(dir, "..data"))
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, data, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
		link(t, filepath.Join("..data", name), filepath.Join(dir, name))
	}
	return dir
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}
