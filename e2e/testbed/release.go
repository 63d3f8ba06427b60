package testbed

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/mod/semver"
)

// A Release says which Traefik a binary is, and what it was built with.
type Release struct {
	Traefik string // such as v3.7.13
	Yaegi   string // such as v0.16.1; empty where the binary does not tell
	Go      string // such as go1.26.8
}

func (r Release) String() string {
	yaegi := r.Yaegi
	if yaegi == "" {
		yaegi = "of unknown version"
	}
	return fmt.Sprintf("Traefik %s with Yaegi %s, built with %s", r.Traefik, yaegi, r.Go)
}

// Has reports whether the release has what came with the releases since, of
// which there is one for each major version that has it at all:
//
//	release.Has("v2.11.24", "v3.3.6")
func (r Release) Has(since ...string) bool {
	for _, first := range since {
		if semver.Major(first) == semver.Major(r.Traefik) {
			return semver.Compare(r.Traefik, first) >= 0
		}
	}
	return false
}

// HasH2C reports whether the net/http that the release was built with lets the plugin
// speak HTTP/2 without TLS.
func (r Release) HasH2C() bool {
	return semver.Compare("v"+strings.TrimPrefix(r.Go, "go"), "v1.24") >= 0
}

// UsedRelease returns the release of the Traefik that [Start] runs, which is
// [Binary]'s.
func UsedRelease(ctx context.Context) (Release, error) {
	bin, err := Binary(ctx, nil)
	if err != nil {
		return Release{}, err
	}
	return readRelease(ctx, bin)
}

// readRelease returns what the go command has written into the binary. In the
// builds that Traefik publishes that lacks Traefik's own version, and a script
// that starts Traefik has nothing of it; these are asked.
func readRelease(ctx context.Context, bin string) (Release, error) {
	var release Release
	if info, err := buildinfo.ReadFile(bin); err == nil && isTraefik(info.Main.Path) {
		release = Release{Traefik: info.Main.Version, Go: info.GoVersion}
		for _, dep := range info.Deps {
			if dep.Path == "github.com/traefik/yaegi" {
				release.Yaegi = dep.Version
			}
		}
	}
	if semver.IsValid(release.Traefik) {
		return release, nil
	}
	out, err := exec.CommandContext(ctx, bin, "version").Output()
	if err != nil {
		return Release{}, fmt.Errorf("testbed: %s version: %w%s", bin, err, complaint(err))
	}
	for _, line := range strings.Split(string(out), "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); name {
		case "Version":
			release.Traefik = "v" + strings.TrimPrefix(value, "v")
		case "Go version":
			release.Go = value
		}
	}
	if !semver.IsValid(release.Traefik) {
		return Release{}, fmt.Errorf("testbed: %s does not tell its version: %q", bin, out)
	}
	return release, nil
}
