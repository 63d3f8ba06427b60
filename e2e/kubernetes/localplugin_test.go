package kubernetes

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	corev1 "k8s.io/api/core/v1"
)

const module = "github.com/trafficshadow/mirror"

// The plugin from the ConfigMap, in each of the forms that the examples have.
func TestLocalPluginFromConfigMap(t *testing.T) {
	archive := pack(t, exampleDir(t))
	for name, pod := range map[string]func(*testing.T) pod{
		"values-local.yaml":      localPod,
		"values of older charts": olderChartPod,
		"deployment-patch.yaml":  patchedPod,
	} {
		t.Run(name, func(t *testing.T) {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			middleware := object(t, "middleware.yaml")
			options(t, middleware)["url"] = shadow.URL()
			c := runCluster(t)
			c.apply(t, services(t, live)...)
			c.apply(t, middleware, object(t, "ingressroute.yaml"))

			p := pod(t)
			traefik := runTraefik(t, c, testbed.Options{MirrorDir: p.start(t, archive), Static: p.static(t)})
			served(t, traefik)
			request(t, traefik, "GET", "/invoices", customer(t, 0, 10))
			recorded(t, shadow, 1)
		})
	}
}

// A ConfigMap has room for the plugin, and only what Traefik needs is in it.
func TestArchiveHoldsThePluginAndNothingElse(t *testing.T) {
	copied := copyPlugin(t)
	for _, name := range []string{"e2e/testbed/traefik.go", "examples/docker/billing/main.go", ".git/hook.go", "ledger/ledger_test.go"} {
		write(t, filepath.Join(copied, filepath.FromSlash(name)), "package none\n")
	}
	write(t, filepath.Join(copied, "bin", "tool"), strings.Repeat("x", 2<<20))
	write(t, filepath.Join(copied, "ledger", "ledger.go"), "package ledger\n")
	archive := pack(t, filepath.Join(copied, "examples", "kubernetes"))

	if size := len(archive.content); size >= corev1.MaxSecretSize {
		t.Errorf("the archive has %d bytes, and a ConfigMap holds %d", size, corev1.MaxSecretSize)
	}
	dir := localPod(t).start(t, archive)
	got := goFilesAndManifests(t, dir)
	want := slices.DeleteFunc(goFilesAndManifests(t, copied), func(name string) bool {
		return strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "e2e/") ||
			strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, ".git/")
	})
	if !slices.Equal(got, want) {
		t.Errorf("the archive holds\n%q\nwant\n%q", got, want)
	}
	if !slices.Contains(got, "ledger/ledger.go") || !slices.Contains(got, "mirror.go") || slices.Contains(got, "bin/tool") {
		t.Errorf("the archive holds %q", got)
	}
}

// A package in a folder of the plugin's comes along and is loaded.
func TestPackagesBelowThePluginAreLoaded(t *testing.T) {
	copied := copyPlugin(t)
	write(t, filepath.Join(copied, "ledger", "ledger.go"), `package ledger

import "fmt"

func Open() bool {
	fmt.Println("the ledger is open")
	return true
}
`)
	write(t, filepath.Join(copied, "ledger.go"), `package mirror

import "`+module+`/ledger"

var ledgerOpen = ledger.Open()
`)
	p := localPod(t)
	dir := p.start(t, pack(t, filepath.Join(copied, "examples", "kubernetes")))
	traefik := runTraefik(t, runCluster(t), testbed.Options{MirrorDir: dir, Static: p.static(t)})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := traefik.WaitLog(ctx, "the ledger is open"); err != nil {
		t.Error(err)
	}
}

// What is in vendor is for tests only: Traefik loads the plugin without it.
func TestPluginNeedsNoVendoredPackage(t *testing.T) {
	copied := copyPlugin(t)
	if err := os.RemoveAll(filepath.Join(copied, "vendor")); err != nil {
		t.Fatal(err)
	}
	p := localPod(t)
	dir := p.start(t, pack(t, filepath.Join(copied, "examples", "kubernetes")))
	c := runCluster(t)
	c.apply(t, object(t, "middleware.yaml"))
	traefik := runTraefik(t, c, testbed.Options{MirrorDir: dir, Static: p.static(t)})
	pluginOptions(t, traefik)
}

// The catalog is out of reach in this test, by a proxy that is not there. That
// Traefik asks it for the plugin shows that it understands the values, and that
// it does not start without the plugin.
func TestCatalogValuesNameThePlugin(t *testing.T) {
	static := readValues(t, "values-catalog.yaml").pod(t).static(t)
	traefik, err := testbed.Start(t.Context(), testbed.Options{
		WithoutMirror: true,
		Static:        static,
		Env:           []string{"HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY="},
	})
	if err == nil {
		traefik.Stop()
	}
	want := "unable to install plugin mirror: unable to download plugin " + module
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Traefik's start: %v, want an end with %s", err, want)
	}
	if abort := static["experimental"].(map[string]any)["abortOnPluginFailure"]; abort != "true" {
		t.Errorf("abortOnPluginFailure is %v, want true", abort)
	}
}

// A configMap is the one that the README's command makes.
type configMap struct {
	name, namespace string
	key             string
	content         []byte
}

var createConfigMap = regexp.MustCompile(`kubectl create configmap (\S+) -n (\S+) --from-file=(\S+) `)

// pack runs the README's command in the folder, which is examples/kubernetes of
// a repository, and returns the ConfigMap that its second command makes of it.
func pack(t *testing.T, dir string) configMap {
	t.Helper()
	made := createConfigMap.FindStringSubmatch(block(t, "sh", "kubectl create configmap"))
	if made == nil {
		t.Fatal("README.md has no command that makes the ConfigMap")
	}
	file := made[3]
	script := block(t, "sh", "tar -czf")
	if strings.Count(script, file) != 1 {
		t.Fatalf("README.md packs with\n%s\nwhich does not write %s", script, file)
	}
	archive := filepath.Join(t.TempDir(), path.Base(file))
	sh := exec.Command("sh", "-euc", strings.Replace(script, file, archive, 1))
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	return configMap{name: made[1], namespace: made[2], key: path.Base(file), content: content}
}

// start does what happens in the pod before Traefik starts, and returns the
// folder that Traefik then finds at the plugin's path.
func (p pod) start(t *testing.T, archive configMap) string {
	t.Helper()
	dirs := map[string]string{}
	for _, v := range p.volumes {
		switch {
		case v.ConfigMap != nil && v.ConfigMap.Name == archive.name && archive.namespace == "traefik":
			dirs[v.Name] = mountVolume(t, map[string][]byte{archive.key: archive.content})
		case v.ConfigMap != nil:
			t.Fatalf("volume %s: there is no ConfigMap %s in Traefik's namespace", v.Name, v.ConfigMap.Name)
		case v.EmptyDir != nil:
			dirs[v.Name] = t.TempDir()
		default:
			t.Fatalf("volume %s is of a kind that this test does not know", v.Name)
		}
	}
	for _, container := range p.init {
		p.runInit(t, container, dirs)
	}
	for _, mount := range p.mounts {
		// Traefik's image starts it in the root folder.
		if mount.MountPath == "/plugins-local/src/"+module {
			p.volume(t, mount.Name)
			return dirs[mount.Name]
		}
	}
	t.Fatalf("nothing is mounted where Traefik looks for %s, but %+v", module, p.mounts)
	return ""
}

// runInit runs the container's command with its mounts as folders here.
func (p pod) runInit(t *testing.T, container corev1.Container, dirs map[string]string) {
	t.Helper()
	args := slices.Clone(container.Command)
	for i, arg := range args {
		for _, mount := range container.VolumeMounts {
			p.volume(t, mount.Name)
			if arg == mount.MountPath || strings.HasPrefix(arg, mount.MountPath+"/") {
				args[i] = dirs[mount.Name] + strings.TrimPrefix(arg, mount.MountPath)
			}
		}
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("init container %s: %q: %v\n%s", container.Name, args, err, out)
	}
}

// copyPlugin copies what of the repository the plugin and its example are.
func copyPlugin(t *testing.T) string {
	t.Helper()
	from, to := repoRoot(t), t.TempDir()
	list := exec.Command("go", "list", "-f", "{{.Dir}}", "./...")
	list.Dir = from
	list.Env = append(os.Environ(), "GOWORK=off")
	packages, err := list.Output()
	if err != nil {
		t.Fatalf("go list in %s: %v", from, err)
	}
	files := []string{filepath.Join(from, "go.mod"), filepath.Join(from, ".traefik.yml")}
	for _, dir := range strings.Fields(string(packages)) {
		found, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%d files of Go in %s, error %v", len(found), dir, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(from, file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, name), string(text))
	}
	for _, dir := range []string{"vendor", "examples/kubernetes"} {
		if err := os.CopyFS(filepath.Join(to, dir), os.DirFS(filepath.Join(from, dir))); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// goFilesAndManifests returns the names of the files that make a plugin, below
// the folder and relative to it, in order.
func goFilesAndManifests(t *testing.T, dir string) []string {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(dir, func(file string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if base := entry.Name(); path.Ext(base) == ".go" || name == "go.mod" || name == ".traefik.yml" {
			names[filepath.ToSlash(name)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(names))
}
