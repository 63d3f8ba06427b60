package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"
)

// A standIn is the folder of a pin that its go.mod names in place of a module
// that the module proxy does not have, or not whole:
//
//	replace github.com/go-acme/lego/v5 => ./lego
//
// One with a go.mod is all of the module. One without takes the place of those
// files and folders at the top of the module that have the same names, and the
// rest is the proxy's, of the version that the pin requires. The pin's go.sum
// has that version's checksum, although the go command, to which the module is a
// folder, does not ask for it there: go mod tidy takes it out.
type standIn struct {
	name string         // of the folder
	mod  module.Version // the proxy's, where the folder is a part of it
	sum  string         // mod's checksum
	hash string         // of the files in the folder
}

// part reports whether the rest of the module is the proxy's.
func (s standIn) part() bool { return s.mod.Path != "" }

// readStandIns returns those of the pin in dir.
func readStandIns(dir string, file *modfile.File, sums []byte) ([]standIn, error) {
	required := map[string]module.Version{}
	for _, require := range file.Require {
		required[require.Mod.Path] = require.Mod
	}
	var standIns []standIn
	for _, replace := range file.Replace {
		if replace.New.Version != "" {
			continue // by another module of the proxy's
		}
		s := standIn{name: strings.TrimPrefix(replace.New.Path, "./")}
		if s.name == replace.New.Path || !filepath.IsLocal(s.name) {
			return nil, fmt.Errorf("%s stands for %s, and is no folder of the pin", replace.New.Path, replace.Old.Path)
		}
		var err error
		if s.hash, err = dirhash.HashDir(filepath.Join(dir, s.name), s.name, dirhash.Hash1); err != nil {
			return nil, fmt.Errorf("the stand-in for %s: %w", replace.Old.Path, err)
		}
		if _, err := os.Stat(filepath.Join(dir, s.name, "go.mod")); errors.Is(err, fs.ErrNotExist) {
			s.mod = required[replace.Old.Path]
			if s.sum = checksum(sums, s.mod); s.sum == "" {
				return nil, fmt.Errorf("%s is a part of %s %s, of which go.sum has no checksum; go mod download -json prints it", replace.New.Path, replace.Old.Path, s.mod.Version)
			}
		}
		standIns = append(standIns, s)
	}
	return standIns, nil
}

// checksum returns what a go.sum has for the files of the module.
func checksum(sums []byte, mod module.Version) string {
	for _, line := range strings.Split(string(sums), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == mod.Path && f[1] == mod.Version {
			return f[2]
		}
	}
	return ""
}

// layOut makes of the folder work the module that is built: the pin's go.mod and
// go.sum, and its stand-ins. What was in the folder before is removed.
func (p pin) layOut(ctx context.Context, work string) error {
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	for _, s := range p.standIns {
		to := filepath.Join(work, s.name)
		if s.part() {
			if err := p.layOutRest(ctx, s, work, to); err != nil {
				return fmt.Errorf("%s %s: %w", s.mod.Path, s.mod.Version, err)
			}
		}
		if err := os.CopyFS(to, os.DirFS(filepath.Join(p.dir, s.name))); err != nil {
			return err
		}
	}
	// Last, so that the go command did not take the folder for this module while
	// its stand-ins were not there.
	if err := os.WriteFile(filepath.Join(work, "go.sum"), p.sum, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(work, "go.mod"), p.mod, 0o644)
}

// layOutRest copies what s has not of its module from the module cache to the
// folder to.
func (p pin) layOutRest(ctx context.Context, s standIn, work, to string) error {
	from, err := p.download(ctx, work, s.mod, s.sum)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		if _, err := os.Lstat(filepath.Join(p.dir, s.name, entry.Name())); err == nil {
			continue
		}
		source, target := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		if entry.IsDir() {
			if err := os.CopyFS(target, os.DirFS(source)); err != nil {
				return err
			}
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// download returns the module's folder in the module cache, and an error if its
// checksum is another.
func (p pin) download(ctx context.Context, dir string, mod module.Version, sum string) (string, error) {
	out, err := p.goCommand(ctx, dir, "mod", "download", "-json", mod.String()).Output()
	var got struct{ Dir, Sum, Error string }
	if json.Unmarshal(out, &got) == nil && got.Error != "" {
		return "", errors.New(got.Error)
	}
	if err != nil {
		return "", fmt.Errorf("go mod download: %w%s", err, complaint(err))
	}
	if got.Sum != sum {
		return "", fmt.Errorf("the checksum is %s, the pin's go.sum has %s", got.Sum, sum)
	}
	return got.Dir, nil
}
