package catalog

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// Whoever writes past writeLine writes lines that nobody escapes or cuts.
func TestNothingButWriteLineWrites(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testbed.MustRepoRoot(t), "*.go"))
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d files (%v), want the plugin's", len(files), err)
	}
	set := token.NewFileSet()
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		within := ""
		ast.Inspect(file, func(n ast.Node) bool {
			what := ""
			if f, ok := n.(*ast.FuncDecl); ok {
				within = f.Name.Name
			} else if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok {
					what = x.Name + "." + s.Sel.Name
				}
			} else if c, ok := n.(*ast.CallExpr); ok {
				if f, ok := c.Fun.(*ast.Ident); ok {
					what = f.Name
				}
			}
			writes := strings.HasPrefix(what, "log.") || strings.HasPrefix(what, "slog.") || strings.HasPrefix(what, "fmt.Print") ||
				what == "os.Stderr" || what == "os.Stdout" || what == "print" || what == "println"
			if !writes {
				return true
			}
			found++
			if filepath.Base(name) != "log.go" || within != "writeLine" {
				t.Errorf("%s: %s in %s: write with writeLine", set.Position(n.Pos()), what, within)
			}
			return true
		})
	}
	if found == 0 {
		t.Error("found nothing that writes, not even in writeLine")
	}
}
