package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// RepoRoot returns the absolute path of the plugin's repository: the nearest
// folder that holds e2e/traefik/go.mod, looked for upwards from this source
// file and, for a binary built with -trimpath or moved to another machine,
// from the working directory.
func RepoRoot() (string, error) {
	var from []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		from = append(from, filepath.Dir(file))
	}
	if wd, err := os.Getwd(); err == nil {
		from = append(from, wd)
	}
	for _, dir := range from {
		for {
			if _, err := os.Stat(filepath.Join(dir, "e2e", "traefik", "go.mod")); err == nil {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New("testbed: no repository above this package's source or the working directory")
}

// PluginDir returns the folder with the source of the plugin that is tested: the
// one that MIRROR_DIR names, such as a copy that was broken to see the tests fail,
// or, where that is not set, this repository.
func PluginDir() (string, error) {
	if dir := os.Getenv("MIRROR_DIR"); dir != "" {
		return dir, nil
	}
	return RepoRoot()
}

// modulePath returns the path that the go.mod in dir declares.
func modulePath(dir string) (string, error) {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("testbed: plugin source: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "module" {
			return strings.Trim(fields[1], `"`), nil
		}
	}
	return "", fmt.Errorf("testbed: no module line in %s", f.Name())
}
