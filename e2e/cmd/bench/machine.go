package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// thisMachine describes what the figures were measured on.
func thisMachine() string {
	model := procField("/proc/cpuinfo", "model name")
	if model == "" {
		model = runtime.GOARCH
	}
	text := fmt.Sprintf("%d cores of %s", runtime.NumCPU(), model)
	var kib int64
	if _, err := fmt.Sscan(procField("/proc/meminfo", "MemTotal"), &kib); err == nil {
		text += fmt.Sprintf(", %.0f GiB of memory", float64(kib)/(1<<20))
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	text += ", " + strings.TrimSpace(runtime.GOOS+" "+string(kernel))
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		text += ", load before the first run " + strings.Fields(string(load))[0]
	}
	return text
}

// procField returns the value of the first line "name: value" of a file in
// /proc, "" where there is none.
func procField(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// commitOf says which commit is checked out in a folder.
func commitOf(ctx context.Context, dir string) (string, error) {
	// Of the folder that git is asked about, not of one that it finds above.
	if _, err := os.Stat(filepath.Join(dir, ".traefik.yml")); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*").Output()
	if err != nil {
		return "", fmt.Errorf("which commit %s is: %w", dir, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// traefikVersion returns the version of the Traefik that is measured and of the
// Go that built it.
func traefikVersion(ctx context.Context) (string, error) {
	bin, err := testbed.Binary(ctx, nil)
	if err != nil {
		return "", err
	}
	info, err := buildinfo.ReadFile(bin)
	if err != nil {
		return "", err
	}
	const module = "github.com/traefik/traefik/v3"
	version := "of unknown version"
	if info.Main.Path == module {
		version = info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			version = dep.Version
		}
	}
	return "Traefik " + version + ", built by " + info.GoVersion, nil
}
