package catalog

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const invoice = `{"invoice":"2026-00417","customer":"Meyer & Söhne","total":"119.00"}`

// alone is the environment of a machine that has Traefik and no Go: neither the
// source nor the modules of anything else can be found, or downloaded.
func alone(t *testing.T) []string {
	t.Helper()
	empty := t.TempDir()
	return []string{
		"HOME=" + empty, "XDG_CACHE_HOME=" + empty, "GOPATH=" + empty, "GOMODCACHE=" + empty, "GOCACHE=" + empty, "GOFLAGS=", "GOPROXY=off",
	}
}

// Traefik's local mode, from a folder that has the archive's contents only.
func TestPluginFromAnUnpackedArchiveMirrors(t *testing.T) {
	for _, d := range deliveries {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			d.unpack(t, d.archive(t), dir)
			mirrorsAnInvoice(t, dir, testbed.Options{MirrorDir: dir, Env: alone(t)})
		})
	}
}

// Traefik downloads, checks and unpacks the archive itself, told to as the Compose
// file of the example does.
func TestPluginFromTheCatalogMirrors(t *testing.T) {
	for _, d := range deliveries {
		t.Run(d.name, func(t *testing.T) {
			archive, dir, mod := d.archive(t), t.TempDir(), delivered(t)
			d.unpack(t, archive, dir)
			s := runService(t, mod.Path+"/"+mod.Version, archive)
			mirrorsAnInvoice(t, dir, testbed.Options{
				WithoutMirror: true, // the one in a folder
				Static:        testbed.Values{"experimental": testbed.Values{"plugins": composed(t, mod.Version)}},
				Env:           append(alone(t), s.env...),
			})
			s.checkRequests(t)
		})
	}
}

// pluginFlag is one of Traefik's, in a Compose file.
var pluginFlag = regexp.MustCompile(`--experimental\.plugins\.(\w+)\.(\w+)=(.*)`)

// composed returns the plugins that examples/docker/docker-compose.catalog.yml has
// Traefik load, in the version.
func composed(t *testing.T, version string) testbed.Values {
	t.Helper()
	root := testbed.MustRepoRoot(t)
	text, err := os.ReadFile(filepath.Join(root, "examples", "docker", "docker-compose.catalog.yml"))
	if err != nil {
		t.Fatal(err)
	}
	plugins := testbed.Values{}
	for _, flag := range pluginFlag.FindAllStringSubmatch(string(text), -1) {
		name, option, value := flag[1], flag[2], flag[3]
		if strings.HasPrefix(value, "${MIRROR_VERSION:") {
			value = version
		}
		plugin, _ := plugins[name].(testbed.Values)
		if plugin == nil {
			plugin = testbed.Values{}
			plugins[name] = plugin
		}
		plugin[option] = value
	}
	return plugins
}

// mirrorsAnInvoice runs Traefik with two routers, one that has the example of
// the delivery in dir and one with a shadow that is there, and mirrors a request.
func mirrorsAnInvoice(t *testing.T, dir string, opts testbed.Options) {
	t.Helper()
	manifest, err := ReadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	opts.Dynamic = testbed.Dynamic{}.
		Service("billing", live.URL()).
		Mirror("my-mirror", manifest.TestData).
		Router("example", "Host(`example.localhost`)", "billing", "my-mirror").
		Mirror("shadow-billing", testbed.Values{"url": shadow.URL()}).
		Router("invoices", "PathPrefix(`/invoices`)", "billing", "shadow-billing")
	traefik := testbed.MustServe(t, opts)

	resp, err := traefik.Client().Post(traefik.URL("/invoices"), "application/json", strings.NewReader(invoice))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the client got %s, want 200", resp.Status)
	}
	for _, upstream := range []struct {
		name string
		*testbed.Upstream
		marker string
	}{{"live", live, ""}, {"the shadow", shadow, "shadow-billing@file"}} {
		requests, err := upstream.Wait(testbed.Within(t, patience), 1)
		if err != nil {
			t.Fatalf("%s: %v", upstream.name, err)
		}
		got := requests[0]
		if string(got.Body) != invoice || got.RequestURI != "/invoices" || got.Header.Get(testbed.MarkerHeader) != upstream.marker {
			t.Errorf("%s got %s %q, X-Mirrored-By %q; want /invoices %q, %q", upstream.name, got.RequestURI, got.Body, got.Header.Get(testbed.MarkerHeader), invoice, upstream.marker)
		}
	}
}
