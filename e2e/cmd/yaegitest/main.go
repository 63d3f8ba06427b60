// Yaegitest runs the tests of the plugin's module in a directory as Traefik
// runs the plugin: interpreted by Yaegi. Further arguments, -run and the like,
// go to yaegi test. It fails when a test does, and when none ran.
//
// With -race before the directory the interpreter is built with the race
// detector, which sees what interpreted code does as well, since every access of
// it is one of the interpreter's. A race fails the run, also one that the same
// code does not have when it is compiled, such as that of a select in two
// goroutines. A report names places in the interpreter; the test that was running
// tells where to look. One race is not reported, see race.go.
//
// With -host as well, it runs the tests of the module in the directory compiled, as go
// test -race does: they load the plugin into an interpreter themselves. What go test takes
// follows. But for the one race it is go test -race.
//
// Test files that import paerser, which decodes labels as Traefik does, stay
// out, for paerser cannot be interpreted.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// notInterpreted begins the import paths that keep a test file out.
const notInterpreted = "github.com/traefik/paerser"

// toolsDir is where go.mod names the interpreter, relative to the plugin.
const toolsDir = "e2e/tools"

// A goPackage is what go list says about a package.
type goPackage struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func main() {
	args := os.Args[1:]
	race := len(args) > 0 && args[0] == "-race"
	if race {
		args = args[1:]
	}
	hosts := race && len(args) > 0 && args[0] == "-host"
	if hosts {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: yaegitest [-race] DIR [flags of yaegi test]\n       yaegitest -race -host DIR [flags and packages of go test]")
		os.Exit(2)
	}
	var err error
	if hosts {
		err = host(args[0], args[1:])
	} else {
		err = run(args[0], race, args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "yaegitest:", err)
		os.Exit(1)
	}
}

// run copies the module in dir into a GOPATH of its own, the only place where
// yaegi test looks, and tests its packages there.
func run(dir string, race bool, flags []string) error {
	packages, err := list(dir)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "yaegitest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)

	yaegi := filepath.Join(tmp, "yaegi")
	if err := buildYaegi(dir, yaegi, race); err != nil {
		return err
	}

	var tested []goPackage
	for _, p := range packages {
		tests, err := copyPackage(p, filepath.Join(tmp, "src", filepath.FromSlash(p.ImportPath)))
		if err != nil {
			return err
		}
		if tests > 0 {
			tested = append(tested, p)
		}
	}
	if len(tested) == 0 {
		return fmt.Errorf("no tests in %s", dir)
	}
	var failed []error
	for _, p := range tested {
		if err := test(yaegi, tmp, p.ImportPath, flags); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.ImportPath, err))
		}
	}
	return errors.Join(failed...)
}

// list returns the packages of the module in dir; vendored ones and nested
// modules are not among them.
func list(dir string) ([]goPackage, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

// copyPackage copies what of p can be interpreted, and returns how many test
// files that is.
func copyPackage(p goPackage, to string) (tests int, err error) {
	for _, name := range p.GoFiles {
		if err := copyFile(filepath.Join(p.Dir, name), filepath.Join(to, name)); err != nil {
			return 0, err
		}
	}
	// Yaegi reads one package from a directory: there is no p_test beside p.
	for _, name := range p.XTestGoFiles {
		fmt.Printf("not interpreted: %s: it is in package %s_test\n", name, filepath.Base(p.ImportPath))
	}
	for _, name := range p.TestGoFiles {
		from := filepath.Join(p.Dir, name)
		banned, err := imports(from, notInterpreted)
		if err != nil {
			return 0, err
		}
		if banned {
			fmt.Printf("not interpreted: %s: it imports %s\n", name, notInterpreted)
			continue
		}
		if err := copyFile(from, filepath.Join(to, name)); err != nil {
			return 0, err
		}
		tests++
	}
	testdata := filepath.Join(p.Dir, "testdata")
	if _, err := os.Stat(testdata); err != nil {
		return tests, nil
	}
	return tests, os.CopyFS(filepath.Join(to, "testdata"), os.DirFS(testdata))
}

// imports reports whether the Go file imports path or a package below it.
func imports(file, path string) (bool, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return false, err
	}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return false, err
		}
		if p == path || strings.HasPrefix(p, path+"/") {
			return true, nil
		}
	}
	return false, nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

// result matches what go test prints for a test that is not a subtest.
var result = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): `)

// test runs the tests of one package and fails when one does. The interpreter
// exits with 0 where it finds no tests, so they are counted.
func test(yaegi, gopath, importPath string, flags []string) error {
	args := append([]string{"test", "-v", "-timeout", "25m"}, flags...)
	cmd := exec.Command(yaegi, append(args, importPath)...)
	cmd.Env = append(os.Environ(), "GOPATH="+gopath, "GO111MODULE=off", "GOFLAGS=")
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(os.Stdout, &out)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	counts := map[string]int{}
	for _, m := range result.FindAllStringSubmatch(out.String(), -1) {
		counts[m[1]]++
	}
	if counts["FAIL"] > 0 {
		return fmt.Errorf("%d tests failed", counts["FAIL"])
	}
	if counts["PASS"] == 0 {
		return errors.New("no test ran and passed")
	}
	fmt.Printf("%s: %d tests passed interpreted, %d skipped\n", importPath, counts["PASS"], counts["SKIP"])
	return nil
}
