// Rename gives the plugin another module path, for who publishes it under a
// repository of their own: it rewrites every occurrence in the files that git
// tracks, and prints what to do next.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: rename DIR MODULE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "rename:", err)
		os.Exit(1)
	}
}

func run(dir, to string) error {
	if err := module.CheckPath(to); err != nil {
		return err
	}
	gomod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	from := modfile.ModulePath(gomod)
	if from == "" {
		return fmt.Errorf("go.mod in %s names no module", dir)
	}
	if from == to {
		return fmt.Errorf("the module is %s already", to)
	}
	files, err := tracked(dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("git tracks no file in %s", dir)
	}
	changed := 0
	for _, name := range files {
		n, err := rewrite(filepath.Join(dir, name), from, to)
		if err != nil {
			return err
		}
		if n > 0 {
			fmt.Printf("%4d  %s\n", n, name)
			changed++
		}
	}
	if err := namePackage(filepath.Join(dir, ".traefik.yml"), to); err != nil {
		return err
	}
	fmt.Printf("%s is now %s, in %d files.\n\n", from, to, changed)
	fmt.Print(next(from, to))
	return nil
}

// tracked returns the names, relative to dir, of the regular files that git
// tracks there and that are still there.
func tracked(dir string) ([]string, error) {
	cmd := exec.Command("git", "-C", dir, "ls-files", "-z")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var files []string
	for _, name := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			files = append(files, name)
		}
	}
	return files, nil
}

// rewrite replaces from in the file and returns how often. Files that are not
// text are left alone.
func rewrite(file, from, to string) (int, error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	old, err := os.ReadFile(file)
	if err != nil || bytes.IndexByte(old, 0) >= 0 {
		return 0, err
	}
	text, n := replace(string(old), from, to)
	if n == 0 {
		return 0, nil
	}
	return n, os.WriteFile(file, []byte(text), info.Mode().Perm())
}

// replace replaces from in text where it is a module path of its own, and not
// the beginning of a longer name: mirror, but not mirror-site.
func replace(text, from, to string) (string, int) {
	var b strings.Builder
	n := 0
	for {
		before, after, found := strings.Cut(text, from)
		b.WriteString(before)
		if !found {
			return b.String(), n
		}
		if continues(after) {
			b.WriteString(from)
		} else {
			b.WriteString(to)
			n++
		}
		text = after
	}
}

// continues reports whether rest goes on with the name that comes before it.
func continues(rest string) bool {
	if rest == "" {
		return false
	}
	c := rest[0]
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// packageName is what the plugin's package is called under any path.
const packageName = "mirror"

// namePackage says in the plugin's manifest how the package is called, where
// Traefik would not find out: it takes the path's last element for the name.
func namePackage(manifest, to string) error {
	old, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	var lines []string
	for _, line := range strings.Split(string(old), "\n") {
		if strings.HasPrefix(line, "basePkg:") {
			continue
		}
		lines = append(lines, line)
		if strings.HasPrefix(line, "import:") && strings.ReplaceAll(path.Base(to), "-", "_") != packageName {
			lines = append(lines, "basePkg: "+packageName)
		}
	}
	return os.WriteFile(manifest, []byte(strings.Join(lines, "\n")), 0o644)
}

// next is what remains to be done by hand.
func next(from, to string) string {
	var b strings.Builder
	b.WriteString("Next:\n")
	step := func(format string, args ...any) { fmt.Fprintf(&b, "  - "+format+"\n", args...) }
	step("make vendor, make test")
	step("git diff, then git commit -am 'Rename to %s'", to)
	if !strings.HasPrefix(to, "github.com/") {
		step("mind that the Traefik plugin catalog reads GitHub only; elsewhere the plugin runs in local mode")
		return b.String()
	}
	step("git remote set-url origin https://%s", to)
	step("on GitHub: turn issues on and add the topic traefik-plugin, by which the catalog finds the repository")
	step("git tag vX.Y.Z, git push --tags; the catalog offers tags of that form only")
	return b.String()
}
