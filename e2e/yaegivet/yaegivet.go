// Package yaegivet refuses Go that compiles and then breaks under Yaegi
// v0.16.1, the interpreter that Traefik runs plugins with.
//
// Most of what it refuses does not fail: it runs, and does something else, and
// neither the compiler nor the race detector sees a difference. Every refusal
// was seen to break under the interpreter first. Where a rule is wider than the
// breakage, that is because the narrow rule is hard to keep in mind and the
// cure costs a line.
//
// A line that has to break a rule says so, on itself or on the line above:
//
//	//yaegivet:allow REASON
//
// # Who sees what
//
// testdata/src/refused is the list of what is refused: its test fails for a rule that
// has no case there. Beside it, testdata/src/good has what works though it looks alike.
//
// One rule is not the interpreter's but the house's: counts are counts, and no large
// number in one is a state.
//
// Other programs see some traps, and have no rule here:
//
//   - a function, method or field that came after the Go of go.mod, which is the
//     interpreter's: go vet (stdversion). What the interpreter lacks of that Go is
//     refused here
//   - a context key of a basic type: staticcheck (SA1029)
//   - a nil pointer returned as an error and compared with nil, which is true when
//     interpreted and false when compiled: staticcheck (SA4023), where it is always so
//   - a race that only the interpreter makes: yaegitest -race, where a test runs it
//
// No program sees these, for what goes wrong is not in the source:
//
//   - a nil pointer to an interpreted type is a nil interface, wherever it gets there
//   - an interface may hold an interpreted value that would be refused by its own type:
//     a context key in an any, an error given to errors.Is
//   - fmt calls String of a value that it is given, but not of one in a slice, and %d of
//     one shows the wrapper around it
//   - a frame holds its temporaries until its function ends, so a goroutine that waits
//     holds what it had last
//   - a panic that passes through interpreted frames writes a line for each at ERROR,
//     also if it is recovered
package yaegivet

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
)

// Analyzer checks a package, its tests excepted.
var Analyzer = &analysis.Analyzer{
	Name:     "yaegivet",
	Doc:      "refuses what breaks when Yaegi v0.16.1 interprets it",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      run,
}

const allowDirective = "//yaegivet:allow "

// A checker is one run over one package.
type checker struct {
	pass    *analysis.Pass
	allowed map[line]bool
}

type line struct {
	file   string
	number int
}

func run(pass *analysis.Pass) (any, error) {
	c := &checker{pass: pass, allowed: map[line]bool{}}
	for _, file := range pass.Files {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				reason, found := strings.CutPrefix(comment.Text, allowDirective)
				if !found || strings.TrimSpace(reason) == "" {
					continue
				}
				at := pass.Fset.Position(comment.Pos())
				c.allowed[line{at.Filename, at.Line}] = true
				c.allowed[line{at.Filename, at.Line + 1}] = true
			}
		}
		if c.isTest(file) {
			continue
		}
		c.checkImports(file)
		c.checkLoops(file)
	}
	c.checkDeclaredTypes()
	c.checkRings()
	c.checkPackageVariables()
	c.checkChains()

	nodes := pass.ResultOf[inspect.Analyzer].(*inspector.Inspector)
	nodes.WithStack(nil, func(n ast.Node, push bool, stack []ast.Node) bool {
		if file, ok := n.(*ast.File); ok && c.isTest(file) {
			return false
		}
		if push {
			c.check(n, stack)
		}
		return true
	})
	return nil, nil
}

// check applies the rules for one node; stack ends with it.
func (c *checker) check(n ast.Node, stack []ast.Node) {
	switch n := n.(type) {
	case *ast.Ident:
		c.checkBuiltin(n)
		c.checkSymbol(n)
	case *ast.SelectorExpr:
		c.checkMethodValue(n, stack)
	case *ast.SelectStmt:
		c.refuse(n, "select shares its cases between all goroutines that run it, so that one sends on another's channel; use a guarded plain send, range over a channel, or sync.Cond")
	case *ast.RangeStmt:
		c.checkRange(n)
	case *ast.StructType:
		c.checkEmbedding(n)
	case *ast.CompositeLit:
		c.checkLiteral(n)
	case *ast.AssignStmt:
		c.checkAssignment(n)
	case *ast.CallExpr:
		c.checkCall(n)
		c.checkCounter(n)
		c.checkStructField(n)
		c.checkGoroutine(n, stack)
	case *ast.DeferStmt:
		c.checkDefer(n, stack)
	case *ast.GoStmt:
		c.checkGo(n)
		c.checkGoroutine(n, stack)
	case *ast.UnaryExpr:
		c.checkReceive(n, stack)
	case *ast.BinaryExpr:
		c.checkComparison(n)
	case *ast.SwitchStmt:
		c.checkSwitch(n)
	case *ast.TypeSwitchStmt:
		c.checkTypeSwitch(n)
	case *ast.TypeAssertExpr:
		c.checkAssertion(n)
	case *ast.MapType:
		c.checkMapKey(n)
	case *ast.FuncDecl:
		c.checkResults(n)
		c.checkParameters(n.Type, n.Body)
		c.checkRepanic(n.Body)
	case *ast.FuncLit:
		c.checkParameters(n.Type, n.Body)
		c.checkRepanic(n.Body)
	}
}

func (c *checker) refuse(at ast.Node, format string, args ...any) {
	c.refuseAt(at.Pos(), format, args...)
}

func (c *checker) refuseAt(pos token.Pos, format string, args ...any) {
	at := c.pass.Fset.Position(pos)
	if c.allowed[line{at.Filename, at.Line}] {
		return
	}
	c.pass.Reportf(pos, format, args...)
}

// isTest reports whether file is a test, or the main function that the go
// command writes for tests, which is not in a .go file.
func (c *checker) isTest(file *ast.File) bool {
	name := c.pass.Fset.Position(file.Package).Filename
	return strings.HasSuffix(name, "_test.go") || !strings.HasSuffix(name, ".go")
}

func (c *checker) typeOf(e ast.Expr) types.Type { return c.pass.TypesInfo.TypeOf(e) }

// callee is what a call calls: a function, method, variable or builtin, or nil.
func (c *checker) callee(call *ast.CallExpr) types.Object {
	switch f := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		return c.pass.TypesInfo.Uses[f]
	case *ast.SelectorExpr:
		return c.pass.TypesInfo.Uses[f.Sel]
	}
	return nil
}

// calls reports whether call calls the function, variable or builtin that is
// called name in the package with that path, "" for a builtin.
func (c *checker) calls(call *ast.CallExpr, path, name string) bool {
	return isObject(c.callee(call), path, name)
}

func isObject(o types.Object, path, name string) bool {
	if o == nil || o.Name() != name {
		return false
	}
	if path == "" {
		_, ok := o.(*types.Builtin)
		return ok
	}
	return o.Pkg() != nil && o.Pkg().Path() == path
}

// interpreted returns the named type of an interpreted package that t is, or
// that it points to; nil where it is a compiled type, or has no name.
func (c *checker) interpreted(t types.Type) *types.Named {
	if t == nil {
		return nil
	}
	t = types.Unalias(t)
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	named, ok := t.(*types.Named)
	if !ok || !c.own(named.Obj().Pkg()) {
		return nil
	}
	return named
}

// own reports whether the interpreter runs the package's source, as it does that
// of the package under check and of all others in its module.
func (c *checker) own(p *types.Package) bool {
	if p == nil || p == c.pass.Pkg {
		return p != nil
	}
	return c.pass.Module != nil && (p.Path() == c.pass.Module.Path || strings.HasPrefix(p.Path(), c.pass.Module.Path+"/"))
}

// compiled reports whether t, or what it points to, is a named type of a
// compiled package.
func (c *checker) compiled(t types.Type) bool {
	if t == nil {
		return false
	}
	t = types.Unalias(t)
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	named, ok := t.(*types.Named)
	return ok && named.Obj().Pkg() != nil && !c.own(named.Obj().Pkg())
}

// inspectFunction is ast.Inspect that leaves out the function literals in n.
func inspectFunction(n ast.Node, visit func(ast.Node)) {
	ast.Inspect(n, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		if n != nil {
			visit(n)
		}
		return true
	})
}
