package yaegivet

import (
	"go/ast"
	"go/token"
	"go/types"
)

// hooks are the methods that compiled packages look for in any value, and do
// not find in an interpreted one.
var hooks = map[string]string{
	"MarshalJSON":   "encoding/json",
	"UnmarshalJSON": "encoding/json",
	"MarshalText":   "encoding/json and others",
	"UnmarshalText": "encoding/json and others",
	"LogValue":      "log/slog",
}

// errorHooks are those that compiled packages look for in an error.
var errorHooks = map[string]string{
	"Unwrap":    "errors.Is",
	"Is":        "errors.Is",
	"As":        "errors.As",
	"Timeout":   "net.Error",
	"Temporary": "net.Error",
}

// checkDeclaredTypes refuses types whose methods would not be seen.
func (c *checker) checkDeclaredTypes() {
	writer := c.responseWriter()
	for _, file := range c.pass.Files {
		if c.isTest(file) {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			o := c.pass.TypesInfo.Defs[spec.Name]
			if o == nil {
				return true
			}
			named, ok := o.Type().(*types.Named)
			if !ok || types.IsInterface(named) {
				return true
			}
			for i := range named.NumMethods() {
				m := named.Method(i)
				reader := hooks[m.Name()]
				if reader == "" && isError(types.NewPointer(named)) {
					reader = errorHooks[m.Name()]
				}
				if reader != "" {
					c.refuseAt(m.Pos(), "method %s: %s does not see the methods of an interpreted type; convert before you hand the value over", m.Name(), reader)
				}
			}
			if writer != nil && named.NumMethods() > 0 && types.Implements(types.NewPointer(named), writer) {
				c.refuse(spec.Name, "type %s wraps http.ResponseWriter: Flusher, Unwrap and ReaderFrom are lost, and flushed answers stop flowing; pass the ResponseWriter through as it is", spec.Name.Name)
			}
			return true
		})
	}
}

// responseWriter is the interface http.ResponseWriter, nil where the package
// does not import net/http.
func (c *checker) responseWriter() *types.Interface {
	for _, p := range c.pass.Pkg.Imports() {
		if p.Path() == "net/http" {
			return p.Scope().Lookup("ResponseWriter").Type().Underlying().(*types.Interface)
		}
	}
	return nil
}

func (c *checker) checkEmbedding(s *ast.StructType) {
	for _, field := range s.Fields.List {
		if len(field.Names) > 0 {
			continue
		}
		t := c.typeOf(field.Type)
		switch {
		case types.IsInterface(t):
			c.refuse(field, "struct that embeds an interface: compiled code that gets it reads 0 bytes without an error, or panics; use a named field and explicit methods")
		case c.compiled(t) && hasMethods(t) && !ofSync(t):
			c.refuse(field, "struct that embeds a compiled type with methods: as an interface it does not have them, and does not load or panics; use a named field and explicit methods")
		}
	}
}

// hasMethods reports whether t, a named type or a pointer to one, has methods.
func hasMethods(t types.Type) bool {
	if _, ok := t.Underlying().(*types.Pointer); !ok {
		t = types.NewPointer(t)
	}
	return types.NewMethodSet(t).Len() > 0
}

// ofSync reports whether t is of sync or sync/atomic, whose methods are called, and not
// handed over in an interface.
func ofSync(t types.Type) bool {
	t = types.Unalias(t)
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	named, ok := t.(*types.Named)
	return ok && (named.Obj().Pkg().Path() == "sync" || named.Obj().Pkg().Path() == "sync/atomic")
}

// checkLiteral refuses what a literal of a compiled struct cannot take.
func (c *checker) checkLiteral(lit *ast.CompositeLit) {
	t := c.typeOf(lit)
	if t == nil || !c.compiled(t) {
		return
	}
	s, ok := types.Unalias(t).Underlying().(*types.Struct)
	if !ok {
		return
	}
	for i, e := range lit.Elts {
		var field *types.Var
		value := e
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			key, _ := kv.Key.(*ast.Ident)
			if key == nil {
				continue
			}
			field, _ = c.pass.TypesInfo.Uses[key].(*types.Var)
			value = kv.Value
		} else if i < s.NumFields() {
			field = s.Field(i)
		}
		if field == nil {
			continue
		}
		if vt := c.typeOf(value); types.IsInterface(field.Type()) && !types.IsInterface(vt) && c.interpreted(vt) != nil {
			c.refuse(value, "interpreted type for field %s in a literal of a compiled struct: it panics; assign it through a variable of the interface's type", field.Name())
		}
		c.checkLogger(value)
	}
}

// checkAssignment refuses assignments that panic, or that do not load.
func (c *checker) checkAssignment(a *ast.AssignStmt) {
	c.checkLiteralsAmongCalls(a)
	if a.Tok != token.ASSIGN || len(a.Lhs) != len(a.Rhs) {
		return
	}
	for i, value := range a.Rhs {
		if len(a.Rhs) > 1 && c.pass.TypesInfo.Types[value].IsNil() {
			c.refuse(a, "assignment of nil among several values: it panics; assign one by one")
			return
		}
		if s, ok := a.Lhs[i].(*ast.SelectorExpr); ok && c.compiled(c.typeOf(s.X)) {
			c.checkLogger(value)
		}
	}
}

// checkLiteralsAmongCalls refuses composite literals among several values when
// another of them is a call: what the call returns is lost.
func (c *checker) checkLiteralsAmongCalls(a *ast.AssignStmt) {
	if len(a.Rhs) < 2 {
		return
	}
	var calls, literals bool
	for _, value := range a.Rhs {
		switch ast.Unparen(value).(type) {
		case *ast.CallExpr:
			calls = true
		case *ast.CompositeLit:
			literals = true
		}
	}
	if calls && literals {
		c.refuse(a, "composite literal beside a call in an assignment of several values: what the call returns is lost; assign one by one")
	}
}

// checkLogger refuses log.New for a compiled struct's field: the interpreter's
// returns a type of its own.
func (c *checker) checkLogger(value ast.Expr) {
	if call, ok := ast.Unparen(value).(*ast.CallExpr); ok && c.calls(call, "log", "New") {
		c.refuse(value, "log.New for a compiled struct's field: the interpreter's returns another type, and the plugin does not load; use slog.NewLogLogger or log.Default")
	}
}

// checkComparison refuses comparisons of interface values that do not hold:
// interpreted values in interfaces are never equal, nor is an any that holds
// what the other side is.
func (c *checker) checkComparison(b *ast.BinaryExpr) {
	if b.Op != token.EQL && b.Op != token.NEQ {
		return
	}
	for _, pair := range [][2]ast.Expr{{b.X, b.Y}, {b.Y, b.X}} {
		this, other := pair[0], c.pass.TypesInfo.Types[pair[1]]
		t := c.typeOf(this)
		if t == nil || !types.IsInterface(t) || other.IsNil() || other.Value != nil {
			continue
		}
		i := t.Underlying().(*types.Interface)
		if i.NumMethods() == 0 || c.interpreted(t) != nil {
			c.refuse(b, "comparison of interface values: equal ones compare as different; assert the concrete type first")
			return
		}
	}
}

func (c *checker) checkMapKey(m *ast.MapType) {
	t := c.typeOf(m.Key)
	if t == nil || !types.IsInterface(t) {
		return
	}
	if i, ok := t.Underlying().(*types.Interface); ok && (i.NumMethods() == 0 || c.interpreted(t) != nil) {
		c.refuse(m, "map with an interface for a key: interpreted keys are not found again, or panic; use a concrete key type")
	}
}

// checkTypeSwitch refuses interfaces as cases.
func (c *checker) checkTypeSwitch(s *ast.TypeSwitchStmt) {
	for _, clause := range s.Body.List {
		for _, e := range clause.(*ast.CaseClause).List {
			if t := c.typeOf(e); t != nil && types.IsInterface(t) {
				c.refuse(e, "type switch with an interface as a case: it does not match; use v, ok := x.(%s)", types.TypeString(t, (*types.Package).Name))
				continue
			}
			c.checkTwin(e)
		}
	}
}

func (c *checker) checkAssertion(a *ast.TypeAssertExpr) {
	if a.Type == nil {
		return
	}
	t := c.typeOf(a.Type)
	if t == nil {
		return
	}
	if i, ok := t.Underlying().(*types.Interface); ok {
		if i.NumMethods() > 0 && !c.compiled(t) && !types.Identical(t, types.Universe.Lookup("error").Type()) {
			c.refuse(a, "type assertion to an interface of the plugin's own: compiled values never have it; use the standard library's interface")
		}
		return
	}
	if types.Identical(c.typeOf(a.X), types.Universe.Lookup("error").Type()) && c.interpreted(t) == nil {
		c.refuse(a, "type assertion on an error: it panics on one whose type is an empty struct, as context.DeadlineExceeded's is; use errors.As")
	}
	c.checkTwin(a.Type)
}

// checkTwin refuses to ask for a type when another has the same structure: the
// names are erased, and a value of either is taken for both.
func (c *checker) checkTwin(e ast.Expr) {
	named := c.interpreted(c.typeOf(e))
	if named == nil || types.IsInterface(named) {
		return
	}
	scope := c.pass.Pkg.Scope()
	for _, name := range scope.Names() {
		o, ok := scope.Lookup(name).(*types.TypeName)
		if !ok || o.IsAlias() || o == named.Obj() {
			continue
		}
		if types.Identical(o.Type().Underlying(), named.Underlying()) {
			c.refuse(e, "type test for %s, which has the structure of %s: names are erased, and it takes one for the other; give one of them another field", named.Obj().Name(), o.Name())
			return
		}
	}
}
