package docs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A staticConfig is a static configuration in a document: a block that is one,
// or the arguments that a Compose file or the Helm chart gives Traefik.
type staticConfig struct {
	*config
	tree map[string]any
}

func staticConfigs(t *testing.T) []staticConfig {
	t.Helper()
	var list []staticConfig
	for _, c := range configs(t, static, compose, arguments) {
		for _, tree := range c.trees {
			switch c.kind {
			case static:
				list = append(list, staticConfig{c, tree})
			case arguments:
				list = append(list, staticConfig{c, fromArguments(texts(tree["additionalArguments"]))})
			case compose:
				for name := range sub(tree, "services") {
					service := sub(tree, "services", name)
					image, _ := service["image"].(string)
					if strings.HasPrefix(image, "traefik:") && service["command"] != nil {
						list = append(list, staticConfig{c, fromArguments(texts(service["command"]))})
					}
				}
			}
		}
	}
	return list
}

// fromArguments returns command-line arguments as a file would have them.
func fromArguments(arguments []string) map[string]any {
	tree := testbed.Dynamic{}
	for _, argument := range arguments {
		option, value, given := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		path := strings.Split(option, ".")
		if !given {
			value = "true"
		}
		if value == "true" && sub(tree, path...) != nil {
			continue // the option is switched on by others below it
		}
		tree.Set(interpolate(value), path...)
	}
	return tree
}

// TestStaticBlocks starts a Traefik with each static configuration: it refuses
// an option that it does not know.
func TestStaticBlocks(t *testing.T) {
	begun := map[string]bool{}
	for _, s := range staticConfigs(t) {
		t.Run(s.String(), func(t *testing.T) {
			opts := testbed.Options{WithoutMirror: true, Env: []string{"DOCKER_HOST="}}
			plugin, err := testbed.PluginDir()
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range usePlugins(t, s) {
				opts.Plugins = append(opts.Plugins, testbed.Plugin{Key: key, Dir: plugin})
			}
			replaceAddresses(s.tree)
			text, err := yaml.Marshal(s.tree)
			if err != nil {
				t.Fatal(err)
			}
			if begun[string(text)] {
				return // with all that is left to replace it equals one before
			}
			begun[string(text)] = true
			opts.Static = s.tree
			traefik, err := testbed.Start(t.Context(), opts)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			if err := traefik.Stop(); err != nil {
				t.Errorf("%s: %v", s, err)
			}
		})
	}
}

// documentedVersion is what stands for a version of the plugin: a placeholder, a
// version, or a variable.
var documentedVersion = regexp.MustCompile(`^(vX\.Y\.Z|v\d+\.\d+\.\d+|)$`)

// usePlugins returns the names that the configuration has for the plugin, and
// has it loaded from a folder: there is no catalog here.
func usePlugins(t *testing.T, s staticConfig) []string {
	t.Helper()
	experimental := sub(s.tree, "experimental")
	local := map[string]any{}
	for name := range sub(experimental, "plugins") {
		plugin := sub(experimental, "plugins", name)
		if version := fmt.Sprint(plugin["version"]); plugin["version"] == nil || !documentedVersion.MatchString(version) {
			t.Errorf("%s: plugin %s has version %q, want vX.Y.Z or a version", s, name, version)
		}
		delete(plugin, "version")
		local[name] = plugin
	}
	for name, plugin := range sub(experimental, "localPlugins") {
		local[name] = plugin
	}
	if len(local) == 0 {
		return nil
	}
	delete(experimental, "plugins")
	experimental["localPlugins"] = local
	for name := range local {
		if got, want := sub(local, name)["moduleName"], modulePath(t); got != want {
			t.Errorf("%s: plugin %s has moduleName %v, want %s", s, name, got, want)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return slices.Collect(maps.Keys(local))
}

// replaceAddresses puts the entry points beside the testbed's own, each on a free
// port, and has no engine or file asked that is not the test's.
func replaceAddresses(tree map[string]any) {
	points := map[string]any{}
	for name := range sub(tree, "entryPoints") {
		point := sub(tree, "entryPoints", name)
		if point["address"] != nil {
			point["address"] = "127.0.0.1:0"
		}
		points["documented-"+name] = point
	}
	if len(points) > 0 {
		tree["entryPoints"] = points
	}
	providers := sub(tree, "providers")
	if file := sub(providers, "file"); file != nil {
		delete(file, "filename")
		delete(file, "directory")
	}
	for _, name := range []string{"docker", "swarm"} {
		switch provider := providers[name].(type) {
		case string: // only switched on
			providers[name] = map[string]any{"endpoint": "tcp://127.0.0.1:1"}
		case map[string]any:
			provider["endpoint"] = "tcp://127.0.0.1:1"
		}
	}
}
