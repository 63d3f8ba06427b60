package catalog

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/modfile"
)

// updates is .github/dependabot.yml.
type updates struct {
	Version int
	Updates []struct {
		Ecosystem   string `yaml:"package-ecosystem"`
		Directories []string
		Ignore      []struct {
			Name string `yaml:"dependency-name"`
		}
	}
}

// held match the modules that no update may move: they are what Traefik has.
var held = regexp.MustCompile(`^github\.com/(traefik/(yaegi|traefik/.*|paerser)|mitchellh/mapstructure)$`)

func TestEveryModuleIsKeptUpToDate(t *testing.T) {
	modules := map[string]string{}
	for _, name := range files(t) {
		if path.Base(name) == "go.mod" && !strings.HasPrefix(name, "vendor/") {
			modules[path.Dir("/"+name)] = read(t, name)
		}
	}
	if len(modules) < 3 {
		t.Fatalf("found %d modules only", len(modules))
	}
	if err := checkUpdates(read(t, ".github/dependabot.yml"), modules); err != nil {
		t.Errorf(".github/dependabot.yml: %v", err)
	}
}

// checkUpdates wants every module in one entry, with the modules held back that
// it requires and that must not move, and the workflows in another. modules are
// the texts of all go.mod by their folders.
func checkUpdates(config string, modules map[string]string) error {
	var u updates
	if err := yaml.Unmarshal([]byte(config), &u); err != nil {
		return err
	}
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	if u.Version != 2 {
		mistake("version is %d, want 2", u.Version)
	}
	seen := map[string]int{}
	workflows := false
	for _, entry := range u.Updates {
		if entry.Ecosystem == "github-actions" {
			workflows = workflows || slices.Contains(entry.Directories, "/")
			continue
		}
		var ignored []string
		for _, i := range entry.Ignore {
			ignored = append(ignored, i.Name)
		}
		for _, pattern := range entry.Directories {
			dirs := matching(pattern, modules)
			if len(dirs) == 0 {
				mistake("%s has no go.mod", pattern)
			}
			for _, dir := range dirs {
				seen[dir]++
				if err := checkHeld(modules[dir], ignored); err != nil {
					mistake("%s: %w", dir, err)
				}
			}
		}
	}
	for dir := range modules {
		if seen[dir] != 1 {
			mistake("%s/go.mod is named %d times, want once", strings.TrimSuffix(dir, "/"), seen[dir])
		}
	}
	if !workflows {
		mistake("the workflows' actions are not named")
	}
	return errors.Join(mistakes...)
}

// matching returns the modules' folders that a pattern names, in which * stands
// for anything but a slash.
func matching(pattern string, modules map[string]string) []string {
	var dirs []string
	for dir := range modules {
		if found, err := path.Match(pattern, dir); found && err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// checkHeld returns an error if go.mod requires what must not move and is not
// ignored.
func checkHeld(gomod string, ignored []string) error {
	mod, err := modfile.ParseLax("go.mod", []byte(gomod), nil)
	if err != nil {
		return err
	}
	for _, required := range mod.Require {
		if held.MatchString(required.Mod.Path) && !matchesAny(ignored, required.Mod.Path) {
			return fmt.Errorf("%s would be updated", required.Mod.Path)
		}
	}
	return nil
}

// matchesAny reports whether one of the patterns matches, in which * stands for
// anything, slashes too.
func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
		return regexp.MustCompile("^" + expression + "$").MatchString(name)
	})
}

func TestCheckUpdates(t *testing.T) {
	const good = `version: 2
updates:
  - package-ecosystem: gomod
    directories: [/, /e2e]
    ignore:
      - dependency-name: github.com/traefik/yaegi
      - dependency-name: github.com/traefik/paerser
  - package-ecosystem: gomod
    directories: [/e2e/traefik*]
    ignore: [{dependency-name: "*"}]
  - package-ecosystem: github-actions
    directories: [/]
`
	modules := map[string]string{
		"/":              "module example.com/mirror\n\nrequire github.com/traefik/paerser v0.2.2\n",
		"/e2e":           "module example.com/mirror/e2e\n\nrequire github.com/traefik/yaegi v0.16.1\n",
		"/e2e/traefik30": "module example.com/mirror/e2e/traefik30\n\nrequire github.com/traefik/traefik/v3 v3.0.0\n",
		"/e2e/traefik":   "module example.com/mirror/e2e/traefik\n\nrequire github.com/traefik/traefik/v3 v3.7.13\n",
	}
	if err := checkUpdates(good, modules); err != nil {
		t.Errorf("refused: %v", err)
	}
	for _, tt := range []struct{ name, old, text, want string }{
		{"another version", "version: 2", "version: 1", "version is 1"},
		{"a module that is not named", "[/, /e2e]", "[/]", "/e2e/go.mod is named 0 times"},
		{"a module that is named twice", "[/, /e2e]", "[/, /e2e, /e2e]", "/e2e/go.mod is named 2 times"},
		{"a module that no pattern names", "/e2e/traefik*", "/e2e/traefik", "/e2e/traefik30/go.mod is named 0 times"},
		{"a folder without a module", "[/, /e2e]", "[/, /e2e, /e2e/old]", "/e2e/old has no go.mod"},
		{"the interpreter would move", "github.com/traefik/yaegi", "github.com/acme/yaegi", "/e2e: github.com/traefik/yaegi would be updated"},
		{"Traefik would move", `"*"`, "github.com/traefik/yaegi", "/e2e/traefik: github.com/traefik/traefik/v3 would be updated"},
		{"no actions", "github-actions", "gitsubmodule", "the workflows' actions are not named"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, checkUpdates(strings.Replace(good, tt.old, tt.text, 1), modules), tt.want)
		})
	}
}
