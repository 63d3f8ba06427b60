package catalog

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func TestMain(m *testing.M) {
	ServeChild()
	os.Exit(m.Run())
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testbed.MustRepoRoot(t), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files returns the names of the files that are committed or could be: what git
// ignores is not among them, nor what is deleted.
func files(t *testing.T) []string {
	t.Helper()
	out, err := git(t.Context(), testbed.MustRepoRoot(t), "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	if err != nil {
		t.Fatalf("the tests of this package need a git checkout: %v", err)
	}
	var names []string
	for _, name := range strings.Split(strings.TrimSuffix(out, "\x00"), "\x00") {
		if info, err := os.Lstat(filepath.Join(testbed.MustRepoRoot(t), name)); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// tags returns the tags of the checkout, the newest version first.
func tags(t *testing.T) []string {
	t.Helper()
	out, err := git(t.Context(), testbed.MustRepoRoot(t), "tag", "--list", "--sort=-version:refname")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// version is a release that the deliveries in these tests are of.
const version = "v0.0.1"

// delivered is the module in the last commit, whose path may be another than the
// one here: make rename changes it.
func delivered(t *testing.T) module.Version {
	t.Helper()
	text, err := git(t.Context(), testbed.MustRepoRoot(t), "show", "HEAD:go.mod")
	if err != nil {
		t.Fatal(err)
	}
	return module.Version{Path: modfile.ModulePath([]byte(text)), Version: version}
}

// A delivery is a form in which a plugin comes from the catalog.
type delivery struct {
	name    string
	archive func(t *testing.T) string // the file
	unpack  func(t *testing.T, archive, dir string)
	vendor  bool // it has the vendor folder
}

var deliveries = []delivery{
	{
		name: "GitHub's archive",
		archive: func(t *testing.T) string {
			return write(t, func(ctx context.Context, f *os.File) error { return Archive(ctx, testbed.MustRepoRoot(t), f) })
		},
		unpack: func(t *testing.T, archive, dir string) {
			if err := Unpack(archive, dir); err != nil {
				t.Fatal(err)
			}
		},
		vendor: true,
	},
	{
		name: "Go's module zip",
		archive: func(t *testing.T) string {
			return write(t, func(_ context.Context, f *os.File) error { return ModuleZip(testbed.MustRepoRoot(t), delivered(t), f) })
		},
		unpack: func(t *testing.T, archive, dir string) {
			if err := modzip.Unzip(dir, delivered(t), archive); err != nil {
				t.Fatal(err)
			}
		},
	},
}

// write returns the name of a file that fill has filled.
func write(t *testing.T, fill func(ctx context.Context, f *os.File) error) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := fill(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// tree writes the files, by their names, into a folder of their own.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// refused complains unless err says what it should.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("accepted, want an error with %q", want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("refused with %q, want %q in it", err, want)
	}
}
