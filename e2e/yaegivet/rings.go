package yaegivet

import (
	"go/ast"
	"go/types"
	"sort"
)

// checkRings refuses a struct type in which two types refer back to themselves, through
// however many others, each without the other; the struct type may be one of the two.
//
// The interpreter lays a type out when it is used first, and with it all that it refers
// to. Where it comes upon a type again it puts a stand-in, and at the end one type in
// place of all stand-ins. So the other type is another one there than it is by itself,
// and a value of the one cannot be assigned to the other.
//
// Whether such types work depends on which is used first, and on the order of their
// fields. All ways in which three types can refer to one another were tried in all orders
// of use: what this refuses is what failed in one of them.
func (c *checker) checkRings() {
	var structs []*types.Named
	names := map[*types.Named]*ast.Ident{}
	for _, file := range c.pass.Files {
		if c.isTest(file) {
			continue
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range d.Specs {
				s, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if named, ok := c.pass.TypesInfo.Defs[s.Name].Type().(*types.Named); ok && isStruct(named) {
					structs = append(structs, named)
					names[named] = s.Name
				}
			}
		}
	}
	refers := map[*types.Named][]*types.Named{}
	var add func(s *types.Named)
	add = func(s *types.Named) {
		if _, done := refers[s]; done {
			return
		}
		refers[s] = c.structsIn(s.Underlying(), map[types.Type]bool{})
		for _, next := range refers[s] {
			add(next)
		}
	}
	for _, s := range structs {
		add(s)
		if one, other := apart(refers, s); one != nil {
			c.refuse(names[s], "type %s has two types that refer back to themselves, %s and %s: if it is used first, it makes one of them another type, and assigning panics; keep a name or an interface in place of a pointer", s.Obj().Name(), one.Obj().Name(), other.Obj().Name())
		}
	}
}

// apart returns two types that refer back to themselves, each without the other, among s
// and what it refers to; nil where there are no two. Where s is one that refers back to
// itself, it is the one of the two: it is the one that is put in place of stand-ins.
func apart(refers map[*types.Named][]*types.Named, s *types.Named) (one, other *types.Named) {
	reached := reachable(refers, s, nil)
	var back []*types.Named
	for t := range reached {
		if reachable(refers, t, nil)[t] {
			back = append(back, t)
		}
	}
	sort.Slice(back, func(i, j int) bool { return back[i].Obj().Name() < back[j].Obj().Name() })
	for _, t := range back {
		for _, u := range back {
			if reached[s] {
				if t == s && u != s && reachable(refers, u, s)[u] {
					return t, u
				}
			} else if t != u && !reachable(refers, t, nil)[u] {
				return t, u
			}
		}
	}
	return nil, nil
}

func isStruct(t types.Type) bool {
	_, ok := t.Underlying().(*types.Struct)
	return ok
}

// structsIn returns the interpreted struct types that t is made of.
// Interfaces end the search: interpreted, they are all the same type.
func (c *checker) structsIn(t types.Type, seen map[types.Type]bool) []*types.Named {
	t = types.Unalias(t)
	if seen[t] {
		return nil
	}
	seen[t] = true
	switch t := t.(type) {
	case *types.Named:
		switch {
		case !c.own(t.Obj().Pkg()):
			return nil
		case isStruct(t):
			return []*types.Named{t.Origin()}
		}
		return c.structsIn(t.Underlying(), seen)
	case *types.Map:
		return append(c.structsIn(t.Key(), seen), c.structsIn(t.Elem(), seen)...)
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		return c.structsIn(t.Elem(), seen)
	case *types.Signature:
		return append(c.structsIn(t.Params(), seen), c.structsIn(t.Results(), seen)...)
	case *types.Tuple:
		var all []*types.Named
		for i := range t.Len() {
			all = append(all, c.structsIn(t.At(i).Type(), seen)...)
		}
		return all
	case *types.Struct:
		var all []*types.Named
		for i := range t.NumFields() {
			all = append(all, c.structsIn(t.Field(i).Type(), seen)...)
		}
		return all
	}
	return nil
}

// reachable returns what from leads to in one step or more, without a way through
// without.
func reachable[N comparable](edges map[N][]N, from, without N) map[N]bool {
	reached := map[N]bool{}
	var visit func(n N)
	visit = func(n N) {
		for _, next := range edges[n] {
			if next != without && !reached[next] {
				reached[next] = true
				visit(next)
			}
		}
	}
	visit(from)
	return reached
}
