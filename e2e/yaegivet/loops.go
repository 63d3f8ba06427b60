package yaegivet

import (
	"go/ast"
	"go/token"
	"go/types"
)

// checkRange refuses to range over what Yaegi cannot, and with variables that
// the loop does not define itself.
func (c *checker) checkRange(r *ast.RangeStmt) {
	if r.Tok == token.ASSIGN {
		c.refuse(r, "range that assigns to variables from outside the loop: they do not get the values; define the loop's own with :=")
	}
	t := c.typeOf(r.X)
	if t == nil {
		return
	}
	switch u := t.Underlying().(type) {
	case *types.Basic:
		if u.Info()&types.IsInteger != 0 {
			c.refuse(r, "range over an integer: it crashes the interpreter; use a for loop with three clauses")
		}
	case *types.Signature:
		c.refuse(r, "range over a function: it crashes the interpreter; call the function, or use a slice")
	case *types.Chan: // of channels, too
	case interface{ Elem() types.Type }: // slices, arrays and maps
		if _, ok := u.Elem().Underlying().(*types.Chan); ok && r.Value != nil {
			c.refuse(r, "range with the values of a slice, an array or a map of channels: it panics; range over the keys alone")
		}
	}
}

// checkLoops refuses function literals and pointers that outlive a round of the
// loop whose variable they hold: as before Go 1.22, all rounds share it. So
// they do a variable that the loop's body defines by the two-valued form of an
// index, assertion or receive, or in a type switch.
func (c *checker) checkLoops(file *ast.File) {
	shared := map[types.Object]ast.Node{} // variable to its loop
	var loops []ast.Node
	var collect func(n ast.Node) bool
	collect = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt:
			if init, ok := n.Init.(*ast.AssignStmt); ok {
				c.define(shared, n, init.Lhs...)
			}
			loops = append(loops, n)
			ast.Inspect(n.Body, collect)
			loops = loops[:len(loops)-1]
			return false
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				c.define(shared, n, n.Key, n.Value)
			}
			loops = append(loops, n)
			ast.Inspect(n.Body, collect)
			loops = loops[:len(loops)-1]
			return false
		case *ast.FuncLit:
			outer := loops
			loops = nil // each call has variables of its own
			ast.Inspect(n.Body, collect)
			loops = outer
			return false
		case *ast.AssignStmt:
			if len(loops) > 0 && n.Tok == token.DEFINE && len(n.Lhs) == 2 && len(n.Rhs) == 1 && commaOK(n.Rhs[0]) {
				c.define(shared, loops[len(loops)-1], n.Lhs...)
			}
		case *ast.CaseClause:
			if o := c.pass.TypesInfo.Implicits[n]; o != nil && len(loops) > 0 {
				shared[o] = loops[len(loops)-1]
			}
		}
		return true
	}
	ast.Inspect(file, collect)
	c.checkCaptures(file, shared)
}

// checkCaptures refuses what keeps a variable of shared.
func (c *checker) checkCaptures(file *ast.File, shared map[types.Object]ast.Node) {
	var stack []ast.Node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		switch n := n.(type) {
		case *ast.Ident:
			o := c.pass.TypesInfo.Uses[n]
			loop := shared[o]
			if loop == nil || !kept(stack, loop) {
				return true
			}
			delete(shared, o)
			c.refuse(n, "%s in a function literal: all rounds of the loop share the variable; pass it as a parameter, or copy it first", n.Name)
		case *ast.UnaryExpr:
			if id, ok := ast.Unparen(n.X).(*ast.Ident); ok && n.Op == token.AND && shared[c.pass.TypesInfo.Uses[id]] != nil {
				c.refuse(n, "address of %s: all rounds of the loop share the variable; copy it first", id.Name)
			}
		}
		return true
	})
}

// kept reports whether a function literal stands between loop and the end of
// stack that is not just called where it stands.
func kept(stack []ast.Node, loop ast.Node) bool {
	for i := len(stack) - 1; i > 1 && stack[i] != loop; i-- {
		if _, ok := stack[i].(*ast.FuncLit); !ok {
			continue
		}
		call, ok := stack[i-1].(*ast.CallExpr)
		if !ok || call.Fun != stack[i] {
			return true
		}
		switch stack[i-2].(type) {
		case *ast.GoStmt, *ast.DeferStmt:
			return true
		}
	}
	return false
}

func (c *checker) define(shared map[types.Object]ast.Node, loop ast.Node, names ...ast.Expr) {
	for _, e := range names {
		if id, ok := e.(*ast.Ident); ok {
			if o := c.pass.TypesInfo.Defs[id]; o != nil {
				shared[o] = loop
			}
		}
	}
}

// commaOK reports whether e can have a second value that says whether there is
// a first.
func commaOK(e ast.Expr) bool {
	switch e := ast.Unparen(e).(type) {
	case *ast.IndexExpr, *ast.TypeAssertExpr:
		return true
	case *ast.UnaryExpr:
		return e.Op == token.ARROW
	}
	return false
}
