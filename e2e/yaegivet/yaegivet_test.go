package yaegivet_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/trafficshadow/mirror/e2e/yaegivet"
)

// TestRefuses also finds rules of which package refused has no case: what it has is the
// list of what is refused.
func TestRefuses(t *testing.T) {
	var said []string
	for _, result := range analysistest.Run(t, analysistest.TestData(), yaegivet.Analyzer, "refused") {
		for _, d := range result.Diagnostics {
			said = append(said, d.Message)
		}
	}
	rules := messages(t)
	verbs := strings.NewReplacer("%s", ".+", "%q", ".+")
	if len(rules) == 0 {
		t.Fatal("found no rules in the source")
	}
	for _, rule := range rules {
		pattern := regexp.MustCompile("^" + verbs.Replace(regexp.QuoteMeta(rule)) + "$")
		found := false
		for _, s := range said {
			found = found || pattern.MatchString(s)
		}
		if !found {
			t.Errorf("nothing in testdata/src/refused is refused with %q", rule)
		}
	}
}

func TestLetsGoodCodePass(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), yaegivet.Analyzer, "good")
}

// messages returns the format of each refusal in the analyzer's source.
func messages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var formats []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "refuse" && s.Sel.Name != "refuseAt" {
				return true
			}
			format, ok := call.Args[1].(*ast.BasicLit)
			if !ok {
				return true // refuse hands its own on to refuseAt
			}
			text, err := strconv.Unquote(format.Value)
			if err != nil {
				t.Fatal(err)
			}
			formats = append(formats, text)
			return true
		})
	}
	return formats
}
