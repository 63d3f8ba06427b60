package catalog

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// Traefik downloads the archive at each start without a volume for plugins.
const maxArchive = 2 << 20

func TestArchiveIsSmall(t *testing.T) {
	for _, d := range deliveries {
		info, err := os.Stat(d.archive(t))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxArchive {
			t.Errorf("%s has %d bytes, want %d at most", d.name, info.Size(), maxArchive)
		}
	}
}

func TestModuleZipIsOneThatTheGoCommandTakes(t *testing.T) {
	mod := delivered(t)
	checked, err := modzip.CheckZip(mod, deliveries[1].archive(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := checked.Err(); err != nil {
		t.Error(err)
	}
	prefix := mod.Path + "@" + mod.Version + "/"
	for _, name := range []string{"mirror.go", "go.mod", "LICENSE", "README.md", ManifestName} {
		if !slices.Contains(checked.Valid, prefix+name) {
			t.Errorf("%s is not in it", name)
		}
	}
	for _, name := range checked.Valid {
		if strings.HasPrefix(name, prefix+"e2e/") {
			t.Errorf("%s is in it, though it is another module's", name)
		}
	}
}

func TestEverySystemCanHaveTheFiles(t *testing.T) {
	if err := CheckNames(files(t)); err != nil {
		t.Error(err)
	}
}

func TestCheckNames(t *testing.T) {
	if err := CheckNames([]string{".ci/run", "mirror.go", "docs/flow.svg", "e2e/go.mod"}); err != nil {
		t.Errorf("refused: %v", err)
	}
	for _, tt := range []struct{ name, other, want string }{
		{"docs/live:shadow.svg", "mirror.go", "invalid char"},
		{"aux.go", "mirror.go", "disallowed as path element"},
		{"docs/COM1", "mirror.go", "disallowed as path element"},
		{"docs/flow.", "mirror.go", "trailing dot"},
		{"Makefile", "makefile", "one file where the case"},
	} {
		refused(t, CheckNames([]string{tt.other, tt.name}), tt.want)
	}
}

func TestCheckVendor(t *testing.T) {
	// What GitHub delivers has the vendor folder.
	good := t.TempDir()
	deliveries[0].unpack(t, deliveries[0].archive(t), good)
	modules := filepath.Join(good, "vendor", "modules.txt")
	text, err := os.ReadFile(modules)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckVendor(t.Context(), good); err != nil {
		t.Errorf("refused: %v", err)
	}

	t.Run("a file that lists other versions", func(t *testing.T) {
		changed := strings.Replace(string(text), "github.com/traefik/paerser v0.2.2", "github.com/traefik/paerser v0.2.1", 1)
		if err := os.WriteFile(modules, []byte(changed), 0o644); err != nil {
			t.Fatal(err)
		}
		refused(t, CheckVendor(t.Context(), good), "inconsistent vendoring")
	})
	t.Run("a package that is missing", func(t *testing.T) {
		if err := os.WriteFile(modules, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(good, "vendor", "github.com", "traefik", "paerser", "parser")); err != nil {
			t.Fatal(err)
		}
		refused(t, CheckVendor(t.Context(), good), "paerser/parser")
	})
	t.Run("no vendor folder", func(t *testing.T) {
		files := plugin(t, "go.mod", "go 1.22", "go 1.22\n\nrequire github.com/traefik/paerser v0.2.2")
		refused(t, CheckVendor(t.Context(), tree(t, files)), "there is no vendor folder")
	})
	t.Run("nothing required", func(t *testing.T) {
		if err := CheckVendor(t.Context(), tree(t, plugin(t, "", "", ""))); err != nil {
			t.Errorf("refused: %v", err)
		}
	})
}

func TestArchiveNeedsACommit(t *testing.T) {
	plain, empty := t.TempDir(), t.TempDir()
	if out, err := exec.Command("git", "-C", empty, "init", "--quiet").CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	for name, dir := range map[string]string{"no checkout": plain, "no commit": empty} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			refused(t, Archive(t.Context(), dir, &archive), "the plugin is tested as it is delivered, from the last commit, and there is none in "+dir)
			if archive.Len() > 0 {
				t.Errorf("%d bytes were written", archive.Len())
			}
			refused(t, ModuleZip(dir, module.Version{Path: "github.com/acme/request-id", Version: version}, &archive), "the module zip of "+dir)
		})
	}
}
