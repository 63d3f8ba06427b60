package yaegivet

import (
	"go/ast"
	"go/types"
)

// checkChains refuses goroutines and timers that lead to themselves: a function that
// starts one, or calls a function that does, in the end of which it is called again. The
// frame of whoever starts a goroutine lives as long as the goroutine does, so each of a
// chain keeps those of all before it. A call through a variable is no link of the chain:
// the interpreter gives what it calls a frame of its own.
func (c *checker) checkChains() {
	calls := map[*types.Func][]*types.Func{}
	type start struct {
		at     ast.Node
		by     *types.Func
		starts []*types.Func
	}
	var starts []start
	for _, file := range c.pass.Files {
		if c.isTest(file) {
			continue
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok || d.Body == nil {
				continue
			}
			by := c.pass.TypesInfo.Defs[d.Name].(*types.Func)
			calls[by] = c.calledIn(d.Body)
			ast.Inspect(d.Body, func(n ast.Node) bool {
				if f := c.started(n); f != nil {
					starts = append(starts, start{n, by, c.calledIn(f)})
				}
				return true
			})
		}
	}
	for _, s := range starts {
		for _, f := range s.starts {
			if f == s.by || reachable(calls, f, nil)[s.by] {
				c.refuse(s.at, "goroutine or timer that leads to itself through %s: each keeps the frames of all before it; start it through a package variable that init sets, or make one timer and reset it", f.Name())
				break
			}
		}
	}
}

// calledIn returns the functions of the package under check that n calls, starts or is.
func (c *checker) calledIn(n ast.Node) []*types.Func {
	var called []*types.Func
	add := func(e ast.Expr) {
		var id *ast.Ident
		switch e := ast.Unparen(e).(type) {
		case *ast.Ident:
			id = e
		case *ast.SelectorExpr:
			id = e.Sel
		default:
			return
		}
		if f, ok := c.pass.TypesInfo.Uses[id].(*types.Func); ok && f.Pkg() == c.pass.Pkg {
			called = append(called, f.Origin())
		}
	}
	if e, ok := n.(ast.Expr); ok {
		add(e)
	}
	ast.Inspect(n, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			add(call.Fun)
			if f := c.started(call); f != nil {
				add(f)
			}
		}
		return true
	})
	return called
}
