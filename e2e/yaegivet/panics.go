package yaegivet

import (
	"go/ast"
	"go/types"
)

// timers are the functions of the standard library that call a function in a
// goroutine of their own, by the place of that function among their arguments.
var timers = map[[2]string]int{
	{"time", "AfterFunc"}:    1,
	{"context", "AfterFunc"}: 1,
}

// started is the function that n starts in a goroutine, by go or by a timer; nil where
// it starts none.
func (c *checker) started(n ast.Node) ast.Expr {
	switch n := n.(type) {
	case *ast.GoStmt:
		return n.Call.Fun
	case *ast.CallExpr:
		for name, at := range timers {
			if c.calls(n, name[0], name[1]) && len(n.Args) > at {
				return n.Args[at]
			}
		}
	}
	return nil
}

// checkGoroutine refuses to start a goroutine, by go or by a timer, in which a
// panic would not be recovered: it would end Traefik, and not the plugin alone.
func (c *checker) checkGoroutine(n ast.Node, stack []ast.Node) {
	f := c.started(n)
	if f == nil {
		return
	}
	c.checkLiteralInLoop(n, f, stack)
	if !c.contains(f) {
		c.refuse(n, "goroutine without a recover: a panic in it ends Traefik; begin its function, or the one function that a literal calls, with defer func() { … recover() … }()")
	}
}

// contains reports whether f is a function that begins by deferring a literal
// that recovers, or a literal that does nothing but call such a function.
func (c *checker) contains(f ast.Expr) bool {
	var body *ast.BlockStmt
	switch f := ast.Unparen(f).(type) {
	case *ast.FuncLit:
		body = f.Body
	default:
		body = c.bodyOf(f)
	}
	if body == nil {
		return false
	}
	list := body.List
	for len(list) > 0 && setsWithoutCall(list[0]) {
		list = list[1:]
	}
	if len(list) == 0 {
		return false
	}
	switch first := list[0].(type) {
	case *ast.DeferStmt:
		deferred, ok := ast.Unparen(first.Call.Fun).(*ast.FuncLit)
		return ok && c.recovers(deferred.Body)
	case *ast.ExprStmt:
		call, ok := first.X.(*ast.CallExpr)
		return ok && len(body.List) == 1 && c.contains(call.Fun)
	}
	return false
}

// setsWithoutCall reports whether a statement sets variables and calls nothing.
func setsWithoutCall(n ast.Stmt) bool {
	if _, ok := n.(*ast.AssignStmt); !ok {
		return false
	}
	calls := false
	ast.Inspect(n, func(n ast.Node) bool {
		if _, ok := n.(*ast.CallExpr); ok {
			calls = true
		}
		return !calls
	})
	return !calls
}

// bodyOf is the body of a function or method of the package under check, or of the
// function that an init function sets a variable of it to; nil for anything else.
func (c *checker) bodyOf(f ast.Expr) *ast.BlockStmt {
	var name *ast.Ident
	switch f := f.(type) {
	case *ast.Ident:
		name = f
	case *ast.SelectorExpr:
		name = f.Sel
	default:
		return nil
	}
	switch o := c.pass.TypesInfo.Uses[name].(type) {
	case *types.Func:
		return c.declared(o)
	case *types.Var:
		if o.Parent() == c.pass.Pkg.Scope() {
			return c.bodyOf(c.setByInit(o))
		}
	}
	return nil
}

// declared is the body of a function of the package under check.
func (c *checker) declared(f *types.Func) *ast.BlockStmt {
	for _, file := range c.pass.Files {
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.FuncDecl); ok && c.pass.TypesInfo.Defs[d.Name] == f {
				return d.Body
			}
		}
	}
	return nil
}

// setByInit is what an init function sets a variable to, if nothing else sets it.
func (c *checker) setByInit(v *types.Var) ast.Expr {
	var value ast.Expr
	sets := 0
	for _, file := range c.pass.Files {
		for _, decl := range file.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				a, ok := n.(*ast.AssignStmt)
				if !ok || len(a.Lhs) != len(a.Rhs) {
					return true
				}
				for i, lhs := range a.Lhs {
					if id, ok := lhs.(*ast.Ident); ok && c.pass.TypesInfo.Uses[id] == v {
						sets++
						if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
							value = a.Rhs[i]
						}
					}
				}
				return true
			})
		}
	}
	if sets != 1 {
		return nil
	}
	return value
}
