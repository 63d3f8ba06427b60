package testbed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/semver"
)

// pins returns the folders below e2e that pin a Traefik.
func pins(t *testing.T) []string {
	t.Helper()
	root := MustRepoRoot(t)
	mods, err := filepath.Glob(filepath.Join(root, "e2e", "traefik*", "go.mod"))
	if err != nil || len(mods) < 2 {
		t.Fatalf("pins %q (%v), want the default one and older ones", mods, err)
	}
	var names []string
	for _, mod := range mods {
		names = append(names, filepath.Base(filepath.Dir(mod)))
	}
	return names
}

// A folder says by its name which release it pins, and no two share a binary.
func TestPins(t *testing.T) {
	folders := map[string]string{}
	for _, name := range pins(t) {
		p, err := readPin(name)
		if err != nil {
			t.Fatal(err)
		}
		if !semver.IsValid(p.version) || !strings.HasSuffix(p.module, "/"+semver.Major(p.version)) {
			t.Errorf("%s pins %s %s, want a release of that major version", name, p.module, p.version)
		}
		digits := strings.ReplaceAll(strings.TrimPrefix(semver.MajorMinor(p.version), "v"), ".", "")
		if name != defaultPin && name != defaultPin+digits {
			t.Errorf("%s pins %s, want it in %s", name, p.version, defaultPin+digits)
		}
		dir, err := p.cache(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := folders[dir]; ok {
			t.Errorf("%s and %s are both built into %s", name, other, dir)
		}
		folders[dir] = name
		if !strings.Contains(filepath.Base(dir), p.version) || !strings.Contains(filepath.Base(dir), p.toolchain) {
			t.Errorf("%s is built into %s, want %s and %s in the name", name, dir, p.version, p.toolchain)
		}
	}
}

// The releases that Traefik still publishes are built with the Go in use, and the
// old ones with their own.
func TestPinsToolchain(t *testing.T) {
	for _, name := range pins(t) {
		p, err := readPin(name)
		if err != nil {
			t.Fatal(err)
		}
		cmd := p.goCommand(t.Context(), p.dir, "build")
		want := "GOTOOLCHAIN=" + p.toolchain
		if got := cmd.Env[len(cmd.Env)-1] == want; got != (semver.Compare(p.version, "v3.6.0") < 0) {
			t.Errorf("%s: the last of the environment is %s, toolchain %q", name, cmd.Env[len(cmd.Env)-1], p.toolchain)
		}
	}
}

func TestPinThatIsNone(t *testing.T) {
	tests := []struct {
		pin  string
		says []string
	}{
		{"traefik10", []string{"TRAEFIK_PIN", filepath.Join("e2e", "traefik10", "go.mod")}},
		{"tools", []string{filepath.Join("e2e", "tools", "go.mod"), "does not require github.com/traefik/traefik"}},
	}
	for _, test := range tests {
		t.Setenv("TRAEFIK_BIN", "")
		t.Setenv("TRAEFIK_PIN", test.pin)
		_, err := Binary(t.Context(), t.Logf)
		for _, want := range test.says {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("TRAEFIK_PIN=%s: error %v, want %q in it", test.pin, err, want)
			}
		}
	}
}

func TestBinaryGivenBeforePin(t *testing.T) {
	want := script(t, "exit 0")
	t.Setenv("TRAEFIK_BIN", want)
	t.Setenv("TRAEFIK_PIN", "traefik10")
	if got, err := Binary(t.Context(), t.Logf); err != nil || got != want {
		t.Errorf("binary %q (%v), want %q", got, err, want)
	}
}

// script returns a program that runs the shell's text.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "traefik")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReleaseOfABuild(t *testing.T) {
	if os.Getenv("TRAEFIK_BIN") != "" {
		t.Setenv("TRAEFIK_BIN", "")
	}
	p, err := readPin(os.Getenv("TRAEFIK_PIN"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := UsedRelease(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Traefik != p.version || !strings.HasPrefix(got.Yaegi, "v0.") || !strings.HasPrefix(got.Go, "go1.") {
		t.Errorf("%+v, want Traefik %s with its Yaegi and Go", got, p.version)
	}
}

// What Traefik prints in answer to version.
func TestReleaseOfATraefikThatIsAsked(t *testing.T) {
	const published = `echo 'Version:      3.3.5
Codename:     saintnectaire
Go version:   go1.23.8
Built:        2025-03-31_09:58:14AM
OS/Arch:      linux/amd64'`
	tests := []struct {
		name, text string
		want       Release
		says       string
	}{
		{"published", published, Release{Traefik: "v3.3.5", Go: "go1.23.8"}, ""},
		{"a build that does not know", "echo 'Version:      dev'", Release{}, "does not tell its version"},
		{"no Traefik", "echo 'unknown command' >&2; exit 2", Release{}, "unknown command"},
	}
	for _, test := range tests {
		got, err := readRelease(t.Context(), script(t, test.text))
		if got != test.want || (test.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %+v (%v), want %+v and %q in the error", test.name, got, err, test.want, test.says)
		}
	}
}

func TestReleaseHas(t *testing.T) {
	since := []string{"v2.11.24", "v3.3.6"} // sanitizePath
	tests := []struct {
		traefik string
		want    bool
	}{
		{"v2.11.14", false}, {"v2.11.24", true}, {"v2.12.0", true},
		{"v3.0.0", false}, {"v3.3.5", false}, {"v3.3.6", true}, {"v3.7.13", true}, {"v3.10.0", true},
		{"v4.0.0", false},
	}
	for _, test := range tests {
		if got := (Release{Traefik: test.traefik}).Has(since...); got != test.want {
			t.Errorf("%s: %t, want %t", test.traefik, got, test.want)
		}
	}
	if got := (Release{Traefik: "v2.11.14"}).Has("v3.2.0"); got {
		t.Error("v2.11.14 has what came with v3.2.0, which has no equal in v2")
	}
}
