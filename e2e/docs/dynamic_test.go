package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// TestDynamicBlocks has one Traefik serve each block of dynamic configuration in
// turn: those for files, Kubernetes objects in the form for files, the labels of
// Compose files as Docker's engine tells them, and the one that the catalog shows.
func TestDynamicBlocks(t *testing.T) {
	engine := testbed.RunEngine(t)
	traefik := testbed.RunTraefik(t, testbed.Options{
		LogLevel: "ERROR", // so that the end of the log is about the block that failed
		Static: testbed.Values{
			"entryPoints": documentedEntryPoints(t),
			"providers":   engine.Providers(),
		},
		// Set, it would be asked in place of endpoint.
		Env: []string{"DOCKER_HOST="},
	})
	files := standIns(t)
	for _, c := range configs(t, dynamic) {
		t.Run(c.String(), func(t *testing.T) {
			for _, tree := range c.trees {
				loadDynamic(t, traefik, c, files.in(tree))
			}
		})
	}
	t.Run(manifest, func(t *testing.T) {
		c := &config{Block: Block{Path: manifest, Line: 1}}
		loadDynamic(t, traefik, c, files.in(manifestExample(t)))
	})
	for _, c := range configs(t, kubernetes) {
		t.Run(c.String(), func(t *testing.T) {
			tree, err := fromObjects(c.trees)
			if err != nil {
				t.Fatalf("%s: %v", c, err)
			}
			loadDynamic(t, traefik, c, files.in(tree))
		})
	}
	for _, c := range configs(t, compose) {
		t.Run(c.String(), func(t *testing.T) {
			for _, tree := range c.trees {
				loadLabels(t, traefik, engine, c, containers(tree, files))
			}
		})
	}
}

// manifest is what the plugin catalog reads; it shows users its testData as the
// configuration to begin with.
const manifest = ".traefik.yml"

func manifestExample(t *testing.T) map[string]any {
	t.Helper()
	tree, err := testbed.LoadYAML(filepath.Join(testbed.MustRepoRoot(t), manifest))
	if err != nil {
		t.Fatal(err)
	}
	options := sub(tree, "testData")
	if options == nil {
		t.Fatalf("%s has no testData", manifest)
	}
	plugin := map[string]any{"plugin": map[string]any{testbed.MirrorKey: options}}
	return map[string]any{"http": map[string]any{"middlewares": map[string]any{"catalog": plugin}}}
}

// loadDynamic fails the test unless Traefik serves all of the configuration.
func loadDynamic(t *testing.T, traefik *testbed.Traefik, c *config, tree map[string]any) {
	t.Helper()
	config := testbed.Dynamic(tree)
	useMiddlewares(config, slices.Collect(maps.Keys(sub(tree, "http", "middlewares"))))
	if err := traefik.Reload(t.Context(), config); err != nil {
		t.Fatalf("%s: %v", c, err)
	}
	if err := traefik.CheckRouters(t.Context()); err != nil {
		t.Errorf("%s: %v", c, err)
	}
}

// useMiddlewares adds a router for each middleware: Traefik makes only those
// that a router names.
func useMiddlewares(config testbed.Dynamic, names []string) {
	for i, name := range names {
		config.Router(fmt.Sprintf("documented-%d", i), fmt.Sprintf("Path(`/.documented/%d`)", i), "ping@internal", name)
	}
}

// documentedEntryPoints are those that static configurations in the documents
// name, since a dynamic one may be on them, each on a free port.
func documentedEntryPoints(t *testing.T) map[string]any {
	t.Helper()
	points := map[string]any{}
	for _, s := range staticConfigs(t) {
		for name := range sub(s.tree, "entryPoints") {
			if name != testbed.Web && name != testbed.API { // the testbed's own
				points[name] = map[string]any{"address": "127.0.0.1:0"}
			}
		}
	}
	return points
}

// certificateFiles stand in for the files that configurations name, which are
// not there.
type certificateFiles map[string]string // by option, in lower case

func standIns(t *testing.T) certificateFiles {
	t.Helper()
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("mirror")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := certificateFiles{}
	for option, content := range map[string][]byte{"rootcas": ca.PEM(), "cafiles": ca.PEM(), "certfile": cert, "keyfile": key} {
		files[option] = filepath.Join(dir, option+".pem")
		if err := os.WriteFile(files[option], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// in puts the files in the place of those that the configuration names. A label
// has its whole path in one key.
func (f certificateFiles) in(tree map[string]any) map[string]any {
	return mapTexts(tree, func(keys []string, text string) string {
		key := strings.ToLower(keys[len(keys)-1])
		key = key[strings.LastIndex(key, ".")+1:]
		if file, ok := f[key]; ok && !strings.HasPrefix(text, "-----BEGIN") {
			return file
		}
		return text
	}).(map[string]any)
}
