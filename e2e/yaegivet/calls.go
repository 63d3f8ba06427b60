package yaegivet

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// checkDefer refuses deferred calls whose parts are evaluated when they run and
// not, as the language has it, where the defer stands.
func (c *checker) checkDefer(d *ast.DeferStmt, stack []ast.Node) {
	if len(d.Call.Args) > 0 {
		c.refuse(d, "defer with arguments: they are evaluated late, when the call runs; use defer func() { … }() and variables that do not change")
		return
	}
	body := enclosingBody(stack)
	if inLoop(stack) {
		c.refuse(d, "defer in a loop: every call gets the last round's receiver; put the loop's body into a function of its own")
		return
	}
	switch f := ast.Unparen(d.Call.Fun).(type) {
	case *ast.Ident:
		c.checkDeferredVariable(d, f, body)
	case *ast.SelectorExpr:
		if evaluated(f.X) {
			c.refuse(d, "defer with a receiver that is computed: it is evaluated late, when the call runs; keep it in a variable, or use defer func() { … }()")
			return
		}
		if root := rootIdent(f.X); root != nil {
			c.checkDeferredVariable(d, root, body)
		}
	}
}

// checkDeferredVariable refuses a defer of, or on, a variable that changes
// after it.
func (c *checker) checkDeferredVariable(d *ast.DeferStmt, id *ast.Ident, body *ast.BlockStmt) {
	v, ok := c.pass.TypesInfo.Uses[id].(*types.Var)
	if !ok || body == nil || v.Parent() == c.pass.Pkg.Scope() {
		return
	}
	ast.Inspect(body, func(n ast.Node) bool {
		assign, ok := n.(*ast.AssignStmt)
		if !ok || assign.Pos() < d.End() {
			return true
		}
		for _, lhs := range assign.Lhs {
			if id, ok := lhs.(*ast.Ident); ok && c.pass.TypesInfo.Uses[id] == v {
				c.refuse(d, "defer on %s, which changes later: it is evaluated late, when the call runs; use a variable that does not change", v.Name())
				return false
			}
		}
		return true
	})
}

// checkGo refuses go with anything but a function or a function literal.
func (c *checker) checkGo(g *ast.GoStmt) {
	switch ast.Unparen(g.Call.Fun).(type) {
	case *ast.Ident, *ast.FuncLit:
	default:
		c.refuse(g, "go on a method, a field or another package's function: receiver and arguments are evaluated late, and are the last round's; use a function with parameters, or a function literal")
	}
}

func (c *checker) checkCall(call *ast.CallExpr) {
	switch {
	case c.calls(call, "errors", "As") && len(call.Args) == 2:
		if p, ok := types.Unalias(c.typeOf(call.Args[1])).(*types.Pointer); ok {
			if named := c.interpreted(p.Elem()); named != nil {
				c.refuse(call, "errors.As with %s, an interpreted type: it panics; use a sentinel with errors.Is, or a type assertion", named.Obj().Name())
			}
			if _, ok := types.Unalias(p.Elem()).(*types.Interface); ok {
				c.refuse(call, "errors.As with an interface that has no name: it panics; use the standard library's, as net.Error")
			}
		}
	case c.calls(call, "errors", "Is") && len(call.Args) == 2:
		if named := c.interpreted(c.typeOf(call.Args[1])); named != nil {
			c.refuse(call, "errors.Is with %s, an interpreted type: it panics or is false; use a sentinel made by errors.New", named.Obj().Name())
		}
	case c.calls(call, "", "panic") && len(call.Args) == 1:
		if c.isAbortHandler(call.Args[0]) {
			c.refuse(call, "panic(http.ErrAbortHandler): the value loses its identity, and the server logs it as any panic; let a compiled handler panic, or close the connection")
		} else if t := c.typeOf(call.Args[0]); types.IsInterface(t) || isError(t) {
			c.refuse(call, "panic with an error or an interface: whoever recovers gets another value, which is no error; return the error, or panic with its text")
		}
	case c.calls(call, "context", "WithValue") && len(call.Args) == 3:
		c.checkContextKey(call.Args[1])
	case c.ends(call):
		c.refuse(call, "call that would end the process: the interpreter makes it a panic; return an error")
	case c.calls(call, "os", "FindProcess"):
		c.refuse(call, "os.FindProcess: the interpreter's does not find the process itself; do without")
	}
	c.checkVariadic(call)
}

// ends reports whether call would end the process, had it not been changed to panic.
func (c *checker) ends(call *ast.CallExpr) bool {
	f, ok := c.callee(call).(*types.Func)
	if !ok || f.Pkg() == nil {
		return false
	}
	switch f.Pkg().Path() {
	case "os":
		return f.Name() == "Exit"
	case "log": // functions and methods of Logger
		return strings.HasPrefix(f.Name(), "Fatal")
	}
	return false
}

// isError reports whether t is an error.
func isError(t types.Type) bool {
	return types.Implements(t, types.Universe.Lookup("error").Type().Underlying().(*types.Interface))
}

func (c *checker) isAbortHandler(e ast.Expr) bool {
	s, ok := ast.Unparen(e).(*ast.SelectorExpr)
	return ok && isObject(c.pass.TypesInfo.Uses[s.Sel], "net/http", "ErrAbortHandler")
}

func (c *checker) checkContextKey(key ast.Expr) {
	t := types.Unalias(c.typeOf(key))
	_, isStruct := t.(*types.Struct)
	named, isNamed := t.(*types.Named)
	if isStruct || isNamed && c.own(named.Obj().Pkg()) {
		c.refuse(key, "context key of an interpreted type: types are erased, and keys of the same value collide; use a pointer to a package-level variable")
	}
}

// checkVariadic refuses to pass interpreted types where a compiled function
// takes any number of an interface that has methods.
func (c *checker) checkVariadic(call *ast.CallExpr) {
	f, ok := c.callee(call).(*types.Func)
	if !ok || f.Pkg() == nil || c.own(f.Pkg()) || call.Ellipsis.IsValid() {
		return
	}
	sig := f.Type().(*types.Signature)
	if !sig.Variadic() {
		return
	}
	last := sig.Params().Len() - 1
	elem := sig.Params().At(last).Type().(*types.Slice).Elem()
	if i, ok := elem.Underlying().(*types.Interface); !ok || i.NumMethods() == 0 {
		return
	}
	for i := last; i < len(call.Args); i++ {
		if t := c.typeOf(call.Args[i]); !types.IsInterface(t) && c.interpreted(t) != nil {
			c.refuse(call.Args[i], "interpreted type for a compiled function's variadic interface: it panics; pass it through a variable of the interface's type")
		}
	}
}

// checkRepanic refuses to recover and panic again in one function.
func (c *checker) checkRepanic(body *ast.BlockStmt) {
	if body == nil || !c.recovers(body) {
		return
	}
	inspectFunction(body, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && c.calls(call, "", "panic") {
			c.refuse(call, "recover and panic again: the value loses its identity; do not recover what is not yours, a panic that only passes through keeps its value")
		}
	})
}

// recovers reports whether body calls recover itself.
func (c *checker) recovers(body *ast.BlockStmt) bool {
	found := false
	inspectFunction(body, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && c.calls(call, "", "recover") {
			found = true
		}
	})
	return found
}

// checkResults refuses functions that may return what they did not set. The
// results of a function that is called again from the same place start with
// what it returned there before. Methods and function literals are not
// affected.
func (c *checker) checkResults(f *ast.FuncDecl) {
	if f.Recv != nil || f.Body == nil || f.Type.Results == nil {
		return
	}
	var names []*ast.Ident
	for _, field := range f.Type.Results.List {
		names = append(names, field.Names...)
	}
	unset := c.unset(names, f.Body)
	if c.deferredRecover(f.Body) && (len(names) == 0 || len(unset) > 0) {
		c.refuse(f.Name, "function with results that recovers: after a panic it returns what its last call from the same place returned; name the results and set each in the first statements, or make it a method or return nothing")
		return
	}
	if len(unset) == 0 {
		return
	}
	objects := map[types.Object]bool{}
	for _, name := range unset {
		objects[c.pass.TypesInfo.Defs[name]] = true
	}
	used := false
	ast.Inspect(f.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			used = used || objects[c.pass.TypesInfo.Uses[n]]
		case *ast.ReturnStmt:
			used = used || len(n.Results) == 0
		}
		return !used
	})
	if used {
		c.refuse(unset[0], "named result %s: it starts with what the last call from the same place returned, and not with zero; set it in the first statement, or use a variable", unset[0].Name)
	}
}

// unset returns those of the named results to which body does not begin by
// assigning, one statement each.
func (c *checker) unset(names []*ast.Ident, body *ast.BlockStmt) []*ast.Ident {
	set := map[types.Object]bool{}
	for _, stmt := range body.List {
		assign, ok := stmt.(*ast.AssignStmt)
		if !ok || assign.Tok != token.ASSIGN || len(assign.Lhs) != len(assign.Rhs) {
			break
		}
		for _, lhs := range assign.Lhs {
			if id, ok := lhs.(*ast.Ident); ok {
				set[c.pass.TypesInfo.Uses[id]] = true
			}
		}
	}
	var unset []*ast.Ident
	for _, name := range names {
		if name.Name != "_" && !set[c.pass.TypesInfo.Defs[name]] {
			unset = append(unset, name)
		}
	}
	return unset
}

// deferredRecover reports whether body defers a function literal that
// recovers, or a function, which may.
func (c *checker) deferredRecover(body *ast.BlockStmt) bool {
	found := false
	inspectFunction(body, func(n ast.Node) {
		d, ok := n.(*ast.DeferStmt)
		if !ok {
			return
		}
		switch f := ast.Unparen(d.Call.Fun).(type) {
		case *ast.FuncLit:
			found = found || c.recovers(f.Body)
		case *ast.Ident:
			if body := c.bodyOf(f); body != nil {
				found = found || c.recovers(body)
			}
		}
	})
	return found
}

// checkMethodValue refuses methods of compiled types as values, and method
// expressions.
func (c *checker) checkMethodValue(s *ast.SelectorExpr, stack []ast.Node) {
	selection := c.pass.TypesInfo.Selections[s]
	if selection == nil {
		return
	}
	switch selection.Kind() {
	case types.MethodExpr:
		c.refuse(s, "method expression: it panics where it is used; use a function literal")
	case types.MethodVal:
		if c.compiled(selection.Recv()) && !isCalled(s, stack) {
			c.refuse(s, "method value (%s).%s of a compiled type: as a field or an argument it may not load; wrap it in a function literal", types.TypeString(selection.Recv(), (*types.Package).Name), s.Sel.Name)
		}
	}
}

// isCalled reports whether the last node of stack, e, is what a call calls.
func isCalled(e ast.Expr, stack []ast.Node) bool {
	for i := len(stack) - 2; i >= 0; i-- {
		switch p := stack[i].(type) {
		case *ast.ParenExpr:
		case *ast.CallExpr:
			return ast.Unparen(p.Fun) == e
		default:
			return false
		}
	}
	return false
}

// enclosingBody is the body of the innermost function around stack's end.
func enclosingBody(stack []ast.Node) *ast.BlockStmt {
	for i := len(stack) - 1; i >= 0; i-- {
		switch f := stack[i].(type) {
		case *ast.FuncLit:
			return f.Body
		case *ast.FuncDecl:
			return f.Body
		}
	}
	return nil
}

// inLoop reports whether stack's end is in a loop of the innermost function.
func inLoop(stack []ast.Node) bool {
	for i := len(stack) - 1; i >= 0; i-- {
		switch stack[i].(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			return true
		case *ast.FuncLit, *ast.FuncDecl:
			return false
		}
	}
	return false
}

// evaluated reports whether e takes a call or an index to evaluate.
func evaluated(e ast.Expr) bool {
	found := false
	inspectFunction(e, func(n ast.Node) {
		switch n.(type) {
		case *ast.CallExpr, *ast.IndexExpr:
			found = true
		}
	})
	return found
}

// rootIdent is a of a.b.c and of *a; nil where the root is something else.
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := ast.Unparen(e).(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// checkSwitch refuses a case of several conditions: only the first counts.
func (c *checker) checkSwitch(n *ast.SwitchStmt) {
	if n.Tag != nil {
		return
	}
	for _, clause := range n.Body.List {
		if conditions := clause.(*ast.CaseClause).List; len(conditions) > 1 {
			c.refuse(conditions[1], "case with several conditions in a switch without a value: only the first is looked at; join them with ||")
		}
	}
}

// checkParameters refuses nameless parameters, whose slots the function's first
// variables are given.
func (c *checker) checkParameters(t *ast.FuncType, body *ast.BlockStmt) {
	if body == nil || len(body.List) == 0 {
		return
	}
	for _, field := range t.Params.List {
		if len(field.Names) == 0 {
			c.refuse(field, "parameter without a name: the function's first variable is given its slot, and setting it panics; name it, or call it _")
		}
	}
}
