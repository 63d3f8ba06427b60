package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// yaegiModule is the interpreter's.
const yaegiModule = "github.com/traefik/yaegi"

// typeCache is the declaration in yaegiModule's interp/type.go of the function
// that looks up, and on the first use sets, the reflect.Type of an interpreted
// type. It does so without a lock, and so races with itself where goroutines use
// a method for the first time at once, whatever the interpreted code is:
//
//	type Book struct{}
//	func (b *Book) Write(p *Page) {}
//	...
//	for i := 0; i < 8; i++ {
//		go func() { defer func() { ledger.book.Write(page) }() }()
//	}
//
// All of them set it to the same type. Interpreted code cannot avoid that, for
// each method of it is used a first time, so with the race detector this function
// is built unwatched, and no other: TestRacesAreSeen has the programs. A race
// between interpreted variables is never in it.
const typeCache = "\nfunc (t *itype) refType(ctx *refTypeContext) reflect.Type {"

// buildYaegi builds the yaegi command that the plugin in dir is tested with.
func buildYaegi(dir, to string, race bool) error {
	args := []string{"build", "-C", filepath.Join(dir, toolsDir), "-o", to}
	if race {
		modfile, err := unwatchTypeCache(filepath.Join(dir, toolsDir), to+"-race")
		if err != nil {
			return fmt.Errorf("race detector: %w", err)
		}
		// Without -trimpath the build's cache would know the copy by where it is,
		// which is elsewhere each time.
		args = append(args, "-race", "-trimpath", "-modfile", modfile)
	}
	build := exec.Command("go", append(args, yaegiModule+"/cmd/yaegi")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building yaegi: %w", err)
	}
	return nil
}

// host runs go test -race in dir, whose go.mod names the interpreter, with one that is built
// like that.
func host(dir string, args []string) error {
	tmp, err := os.MkdirTemp("", "yaegitest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	modfile, err := unwatchTypeCache(dir, filepath.Join(tmp, "race"))
	if err != nil {
		return fmt.Errorf("race detector: %w", err)
	}
	test := exec.Command("go", append([]string{"test", "-C", dir, "-race", "-trimpath", "-modfile", modfile}, args...)...)
	test.Stdout = os.Stdout
	test.Stderr = os.Stderr
	return test.Run()
}

// unwatchTypeCache copies the interpreter to the folder at, keeps the race detector
// from watching typeCache there, and returns a go.mod that takes the copy. (An
// overlay would be simpler, but go build takes none for what is in its module cache.)
func unwatchTypeCache(module, at string) (modfile string, err error) {
	list := exec.Command("go", "list", "-C", module, "-m", "-f", "{{.Dir}}", yaegiModule)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", yaegiModule, err)
	}
	original, fork := string(bytes.TrimSpace(out)), filepath.Join(at, "yaegi")
	if err := copyFile(filepath.Join(original, "go.mod"), filepath.Join(fork, "go.mod")); err != nil {
		return "", err
	}
	for _, part := range []string{"cmd", "extract", "internal", "interp", "stdlib"} {
		if err := os.CopyFS(filepath.Join(fork, part), os.DirFS(filepath.Join(original, part))); err != nil {
			return "", err
		}
	}
	file := filepath.Join(fork, "interp", "type.go")
	source, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(typeCache)); n != 1 {
		return "", fmt.Errorf("%s declares refType as known here %d times, want once: another version of the interpreter?", file, n)
	}
	source = bytes.Replace(source, []byte(typeCache), []byte("\n//go:norace"+typeCache), 1)
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return "", err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(module, name), filepath.Join(at, name)); err != nil {
			return "", err
		}
	}
	modfile = filepath.Join(at, "go.mod")
	edit := exec.Command("go", "mod", "edit", "-replace", yaegiModule+"="+fork, modfile)
	edit.Stderr = os.Stderr
	return modfile, edit.Run()
}
