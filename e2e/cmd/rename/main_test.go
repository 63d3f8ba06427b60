package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	const from, to = "example.com/old/mirror", "example.com/acme/shadow"
	for _, test := range []struct {
		text, want string
		n          int
	}{
		{"module example.com/old/mirror\n", "module example.com/acme/shadow\n", 1},
		{"example.com/old/mirror/e2e, https://example.com/old/mirror.", "example.com/acme/shadow/e2e, https://example.com/acme/shadow.", 2},
		{"example.com/old/mirror-site example.com/old/mirrors", "example.com/old/mirror-site example.com/old/mirrors", 0},
		{"plugins-local/src/example.com/old/mirror", "plugins-local/src/example.com/acme/shadow", 1},
		{"nothing", "nothing", 0},
	} {
		if got, n := replace(test.text, from, to); got != test.want || n != test.n {
			t.Errorf("replace(%q) = %q, %d; want %q, %d", test.text, got, n, test.want, test.n)
		}
	}
}

func TestRunRewritesTrackedFilesOnly(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":       "module example.com/old/mirror\n\ngo 1.22\n",
		".traefik.yml": "import: example.com/old/mirror\n",
		"e2e/go.mod":   "module example.com/old/mirror/e2e\n",
		"icon.png":     "\x00example.com/old/mirror",
		"notes.txt":    "example.com/old/mirror",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "go.mod", ".traefik.yml", "e2e/go.mod", "icon.png"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}

	if err := run(dir, "example.com/acme/mirror"); err != nil {
		t.Fatal(err)
	}

	for name, want := range map[string]string{
		"go.mod":       "module example.com/acme/mirror\n\ngo 1.22\n",
		".traefik.yml": "import: example.com/acme/mirror\n",
		"e2e/go.mod":   "module example.com/acme/mirror/e2e\n",
		"icon.png":     "\x00example.com/old/mirror",
		"notes.txt":    "example.com/old/mirror",
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q (%v), want %q", name, got, err, want)
		}
	}
	if err := run(dir, "not a path"); err == nil {
		t.Error("a path with spaces was accepted")
	}
}

func TestPackageIsNamedWhereThePathDoesNot(t *testing.T) {
	const before = "displayName: Mirror\nimport: example.com/old/mirror\nsummary: s\n"
	tests := []struct{ to, want string }{
		{"example.com/acme/mirror", before},
		{"example.com/acme/traffic-mirror", "displayName: Mirror\nimport: example.com/old/mirror\nbasePkg: mirror\nsummary: s\n"},
	}
	manifest := filepath.Join(t.TempDir(), ".traefik.yml")
	for _, tt := range tests {
		// Twice: what an earlier renaming added is not added again.
		for range 2 {
			if _, err := os.Stat(manifest); err != nil {
				if err := os.WriteFile(manifest, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := namePackage(manifest, tt.to); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(manifest); err != nil || string(got) != tt.want {
				t.Errorf("%s: the manifest is %q (%v), want %q", tt.to, got, err, tt.want)
			}
		}
	}
}
