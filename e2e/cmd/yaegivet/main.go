// Yaegivet prints what breaks when Yaegi v0.16.1 interprets the package in a
// directory, or with DIR/... the packages under it, tests, vendor and nested
// modules excepted. It exits with 1 when there is anything.
package main

import (
	"errors"
	"fmt"
	"go/token"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/packages"

	"github.com/trafficshadow/mirror/e2e/yaegivet"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: yaegivet DIR | DIR/...")
		os.Exit(2)
	}
	findings, err := check(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "yaegivet:", err)
		os.Exit(2)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

// check returns what breaks in the packages that the argument names, a line
// each, in the order of the source.
func check(arg string) ([]string, error) {
	dir, pattern := arg, "."
	if parent, found := strings.CutSuffix(arg, "/..."); found {
		dir, pattern = parent, "./..."
	}
	pkgs, err := packages.Load(&packages.Config{
		Mode: packages.LoadSyntax | packages.NeedModule,
		Dir:  dir,
		Env:  append(os.Environ(), "GOWORK=off"),
	}, pattern)
	if err != nil {
		return nil, err
	}
	if len(pkgs) == 0 {
		return nil, fmt.Errorf("no package in %s", arg)
	}
	var broken []error
	for _, p := range pkgs {
		for _, e := range p.Errors {
			broken = append(broken, e)
		}
	}
	if len(broken) > 0 {
		return nil, errors.Join(broken...)
	}
	graph, err := checker.Analyze([]*analysis.Analyzer{yaegivet.Analyzer}, pkgs, nil)
	if err != nil {
		return nil, err
	}
	type finding struct {
		at      token.Position
		message string
	}
	var found []finding
	for _, action := range graph.Roots {
		if action.Err != nil {
			return nil, action.Err
		}
		for _, d := range action.Diagnostics {
			found = append(found, finding{action.Package.Fset.Position(d.Pos), d.Message})
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i].at, found[j].at
		if a.Filename != b.Filename {
			return a.Filename < b.Filename
		}
		return a.Offset < b.Offset
	})
	var lines []string
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("%s: %s", shorten(f.at), f.message))
	}
	return lines, nil
}

// shorten gives the position with a name relative to the working directory.
func shorten(at token.Position) token.Position {
	if wd, err := os.Getwd(); err == nil {
		if name, err := filepath.Rel(wd, at.Filename); err == nil && !strings.HasPrefix(name, "..") {
			at.Filename = name
		}
	}
	return at
}
