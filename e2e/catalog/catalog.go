// Package catalog tells what the Traefik plugin catalog would say to a release.
//
// The rules are those of the catalog's validator, github.com/traefik/piceus, and
// of its download service, github.com/traefik/plugin-service. The validator opens
// an issue in the repository for the first rule that is broken, and imports
// nothing until somebody closes it.
//
// The catalog delivers a plugin in one of two forms, and a release has to work in
// both: as GitHub's archive of the tag where go.mod requires anything, since that
// has the vendor folder ([Archive]), and otherwise as the module zip of the Go
// proxy, which has neither vendor nor nested modules ([ModuleZip]).
package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// Check returns the first rule that the plugin breaks whose files, as they are
// delivered, are in dir. repository is where they come from, such as
// github.com/trafficshadow/mirror.
//
// It loads the plugin and calls its New in a process of its own, which has to
// call [ServeChild] at its start: a plugin that ends the process or opens a
// socket there breaks a rule and not the caller.
func Check(ctx context.Context, dir, repository string) error {
	if err := checkReadme(dir); err != nil {
		return err
	}
	manifest, err := ReadManifest(dir)
	if err != nil {
		return err
	}
	mod, err := readModule(dir)
	if err != nil {
		return err
	}
	if err := checkModule(mod, manifest); err != nil {
		return err
	}
	if err := checkRepository(repository, mod.Module.Mod.Path, manifest); err != nil {
		return err
	}
	if err := runChild(ctx, dir, mod.Module.Mod.Path); err != nil {
		return fmt.Errorf("failed to run the plugin with Yaegi: %w", err)
	}
	return nil
}

// checkReadme wants one of the names at which GitHub finds the text that the
// catalog shows.
func checkReadme(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := strings.ToLower(entry.Name())
		if name == "readme" || strings.HasPrefix(name, "readme.") {
			return nil
		}
	}
	return errors.New("failed to get the readme file: there is none")
}

func readModule(dir string) (*modfile.File, error) {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("missing go.mod")
	}
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return nil, err
	}
	if mod.Module == nil {
		return nil, errors.New("go.mod names no module")
	}
	// Traefik refuses to load what does not pass this.
	if err := module.CheckPath(mod.Module.Mod.Path); err != nil {
		return nil, err
	}
	return mod, nil
}

// forbidden are parts of the module paths that a plugin cannot require: it runs
// inside them.
var forbidden = []string{
	"github.com/containous/yaegi", "github.com/containous/traefik", "github.com/containous/maesh",
	"github.com/traefik/yaegi", "github.com/traefik/traefik", "github.com/traefik/mesh",
}

func checkModule(mod *modfile.File, manifest *Manifest) error {
	for _, required := range mod.Require {
		for _, part := range forbidden {
			if strings.Contains(required.Mod.Path, part) {
				return fmt.Errorf("a plugin cannot have a dependence to: %s", required.Mod.Path)
			}
		}
	}
	underscored := func(s string) string { return strings.ReplaceAll(s, "-", "_") }
	if !strings.HasPrefix(underscored(manifest.Import), underscored(mod.Module.Mod.Path)) {
		return fmt.Errorf("the import %q must be related to the module name %q", manifest.Import, mod.Module.Mod.Path)
	}
	// Traefik itself compares without the underscores.
	if !strings.HasPrefix(manifest.Import, mod.Module.Mod.Path) {
		return fmt.Errorf("the import %q must begin with the module name %q", manifest.Import, mod.Module.Mod.Path)
	}
	return nil
}

func checkRepository(repository, modulePath string, manifest *Manifest) error {
	if !strings.HasPrefix(modulePath, repository) {
		return fmt.Errorf("unsupported plugin: the module name (%s) doesn't contain the GitHub repository name (%s)", modulePath, repository)
	}
	if !strings.HasPrefix(manifest.Import, repository) {
		return fmt.Errorf("unsupported plugin: the import name (%s) doesn't contain the GitHub repository name (%s)", manifest.Import, repository)
	}
	return nil
}

// basePackage is the name of the plugin's package, under which Traefik looks for
// New and CreateConfig.
func basePackage(m *Manifest) string {
	if m.BasePkg != "" {
		return m.BasePkg
	}
	return strings.ReplaceAll(path.Base(m.Import), "-", "_")
}
