package testbed

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CopyPlugin copies what Traefik loads of the plugin in dir, its packages without
// their tests, into the folder to: a copy to break, to see the tests fail. An empty
// dir means [PluginDir].
func CopyPlugin(dir, to string) error {
	if dir == "" {
		var err error
		if dir, err = PluginDir(); err != nil {
			return err
		}
	}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			switch name {
			case ".git", "bin", "docs", "e2e", "examples", "vendor":
				return fs.SkipDir
			}
			return nil
		}
		source := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if !source && name != "go.mod" && name != ".traefik.yml" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o644)
	})
	if err != nil {
		return fmt.Errorf("testbed: copying the plugin: %w", err)
	}
	return nil
}
