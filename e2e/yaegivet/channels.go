package yaegivet

import (
	"go/ast"
	"go/token"
	"go/types"
)

// checkReceive refuses to receive in any form but those that the interpreter gets
// right: as a statement of its own, and with two named results. A variable that has
// the one result cannot be set any more, a field or an element stores nothing, and a
// nameless second result panics in a loop.
func (c *checker) checkReceive(u *ast.UnaryExpr, stack []ast.Node) {
	if u.Op != token.ARROW {
		return
	}
	for i := len(stack) - 2; i >= 0; i-- {
		switch p := stack[i].(type) {
		case *ast.ParenExpr:
			continue
		case *ast.ExprStmt:
			return
		case *ast.AssignStmt:
			if len(p.Lhs) == 2 && named(p.Lhs[0]) && named(p.Lhs[1]) {
				return
			}
		}
		break
	}
	c.refuse(u, "receive without two named results: the variable cannot be set any more, and a field stores nothing; use v, ok = <-ch, both variables")
}

// named reports whether e is a variable by its name, and not the blank one.
func named(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name != "_"
}

// checkLiteralInLoop refuses function literals in a loop that another goroutine runs:
// when a literal ends, it puts back what was in its creator's slot, and that may be
// another round's by then.
func (c *checker) checkLiteralInLoop(n ast.Node, f ast.Expr, stack []ast.Node) {
	if _, ok := ast.Unparen(f).(*ast.FuncLit); ok && inLoop(stack) {
		c.refuse(n, "function literal in a loop for another goroutine: it may run another round's; start a function with parameters, or make the literal before the loop")
	}
}

// checkStructField refuses to call a method of ours on a field that is a struct: the
// interpreter copies all of the struct first, without its lock.
func (c *checker) checkStructField(call *ast.CallExpr) {
	method, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok || c.pass.TypesInfo.Selections[method] == nil {
		return
	}
	field, ok := ast.Unparen(method.X).(*ast.SelectorExpr)
	if !ok {
		return
	}
	if s := c.pass.TypesInfo.Selections[field]; s == nil || s.Kind() != types.FieldVal {
		return
	}
	t := c.typeOf(field)
	_, isStruct := t.Underlying().(*types.Struct)
	if isStruct && c.interpreted(t) != nil && changes(c.pass.TypesInfo.Selections[method]) {
		c.refuse(call, "method of an interpreted struct called on a field: the interpreter copies the whole struct first, without its lock; make the field a pointer, or call through one")
	}
}

// changes reports whether a method takes a pointer: one that takes a value is given a
// copy by the language, too.
func changes(method *types.Selection) bool {
	f, ok := method.Obj().(*types.Func)
	if !ok {
		return false
	}
	_, pointer := f.Type().(*types.Signature).Recv().Type().(*types.Pointer)
	return pointer
}
