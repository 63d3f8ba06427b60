package testbed

import (
	"os"
	"path/filepath"
	"testing"
)

// What MIRROR_DIR names is loaded and copied in place of the repository, unless a
// test says itself what to load.
func TestPluginThatIsTested(t *testing.T) {
	root := MustRepoRoot(t)
	folder := func(name string) string {
		dir := t.TempDir()
		for _, file := range []string{".traefik.yml", name} {
			if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	broken, own := folder("broken.go"), folder("own.go")
	tests := []struct {
		name, environment, option string
		want, wantFile            string
	}{
		{"neither", "", "", root, "mirror.go"},
		{"MIRROR_DIR", broken, "", broken, "broken.go"},
		{"a test's own", "", own, own, "own.go"},
		{"both", broken, own, own, "own.go"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("MIRROR_DIR", test.environment)
			plugins, err := Options{MirrorDir: test.option}.plugins()
			if err != nil || len(plugins) != 1 || plugins[0].Dir != test.want {
				t.Errorf("loaded %v (%v), want the one in %s", plugins, err, test.want)
			}
			to := t.TempDir()
			if err := CopyPlugin(test.option, to); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(to, test.wantFile)); err != nil {
				t.Errorf("copied another: %v", err)
			}
		})
	}
}
