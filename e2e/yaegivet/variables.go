package yaegivet

import (
	"go/ast"
	"go/token"
	"go/types"
	"sort"
)

// checkPackageVariables refuses package variables that are set together by one call:
// such a declaration does not load where the function comes later. And it refuses those
// that are set by a function that reads a variable which is set later: the interpreter
// sets what a declaration names itself before it, but does not look into functions.
func (c *checker) checkPackageVariables() {
	specs := c.inOrderSet()
	unset := map[*types.Var]bool{}
	for _, spec := range specs {
		for _, v := range c.variables(spec) {
			unset[v] = len(spec.Values) > 0
		}
	}
	for _, spec := range specs {
		if len(spec.Names) > 1 && len(spec.Values) == 1 {
			c.refuse(spec, "package variables set by one call: the plugin may not load; set them in an init function")
		}
		for _, v := range c.variables(spec) {
			unset[v] = false
		}
		for _, value := range spec.Values {
			read := map[*types.Var]bool{}
			called := map[*types.Func]bool{}
			inspectFunction(value, func(n ast.Node) {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return
				}
				for _, e := range append([]ast.Expr{call.Fun}, call.Args...) {
					for _, f := range c.calledIn(e) {
						c.readBy(f, called, read)
					}
				}
			})
			var names []string
			for v := range read {
				if unset[v] {
					names = append(names, v.Name())
				}
			}
			if len(names) > 0 {
				sort.Strings(names)
				c.refuse(value, "package variable set by a function that reads %s, which is set later: it reads zero; declare that first, or set both in an init function", names[0])
			}
		}
	}
}

// inOrderSet returns the declarations of package variables in the order in which the
// interpreter sets them: that of the files' names and of the source, but what a
// declaration names comes before it. What has to wait does so until all others were
// looked at.
func (c *checker) inOrderSet() []*ast.ValueSpec {
	var waiting, set []*ast.ValueSpec
	missing := map[*types.Var]bool{}
	for _, file := range c.pass.Files {
		if c.isTest(file) {
			continue
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				spec := spec.(*ast.ValueSpec)
				waiting = append(waiting, spec)
				for _, v := range c.variables(spec) {
					missing[v] = true
				}
			}
		}
	}
	for before := -1; len(set) != before; {
		before = len(set)
		var still []*ast.ValueSpec
		for _, spec := range waiting {
			if c.names(spec, missing) {
				still = append(still, spec)
				continue
			}
			set = append(set, spec)
			for _, v := range c.variables(spec) {
				delete(missing, v)
			}
		}
		waiting = still
	}
	return set
}

// variables returns the variables that a declaration declares.
func (c *checker) variables(spec *ast.ValueSpec) []*types.Var {
	var all []*types.Var
	for _, name := range spec.Names {
		if v, ok := c.pass.TypesInfo.Defs[name].(*types.Var); ok {
			all = append(all, v)
		}
	}
	return all
}

// names reports whether a declaration names one of vars.
func (c *checker) names(spec *ast.ValueSpec, vars map[*types.Var]bool) bool {
	found := false
	ast.Inspect(spec, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			v, _ := c.pass.TypesInfo.Uses[id].(*types.Var)
			found = found || vars[v]
		}
		return !found
	})
	return found
}

// readBy adds to read the package variables that f and what it calls name.
func (c *checker) readBy(f *types.Func, called map[*types.Func]bool, read map[*types.Var]bool) {
	body := c.declared(f)
	if called[f] || body == nil {
		return
	}
	called[f] = true
	ast.Inspect(body, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			if v, ok := c.pass.TypesInfo.Uses[id].(*types.Var); ok && v.Parent() == c.pass.Pkg.Scope() {
				read[v] = true
			}
		}
		return true
	})
	for _, next := range c.calledIn(body) {
		c.readBy(next, called, read)
	}
}
