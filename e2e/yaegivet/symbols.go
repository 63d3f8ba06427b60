package yaegivet

import (
	"go/ast"
	"go/types"
	"strconv"
	"strings"

	"github.com/traefik/yaegi/stdlib"
)

// generic are the functions that Yaegi interprets from source, for they have no
// compiled symbol, and that were seen to work. The others of slices, cmp and
// maps do not load.
var generic = map[string]bool{
	"cmp.Compare":         true,
	"cmp.Less":            true,
	"cmp.Ordered":         true,
	"slices.Contains":     true,
	"slices.ContainsFunc": true,
	"slices.Index":        true,
	"slices.IndexFunc":    true,
}

// instead says what to use in place of symbols that are missing.
var instead = map[string]string{
	"sync/atomic.Pointer":   "atomic.Value",
	"sync.OnceValue":        "sync.Once and a variable",
	"sync.OnceValues":       "sync.Once and variables",
	"slices.Sort":           "sort.Slice, sort.Strings or sort.Ints",
	"slices.SortFunc":       "sort.Slice",
	"slices.SortStableFunc": "sort.SliceStable",
	"slices.Clone":          "append to an empty slice",
}

// checkImports refuses packages that the interpreter does not have.
func (c *checker) checkImports(file *ast.File) {
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		switch {
		case path == "unsafe" || path == "syscall" || path == "os/exec":
			c.refuse(spec, "import of %q: Traefik does not give it to plugins; do without", path)
		case path == "maps":
			c.refuse(spec, "import of %q: it does not load; use a loop", path)
		case c.isOwn(path) || c.has(path):
		case strings.Contains(firstElement(path), "."):
			c.refuse(spec, "import of %q: the plugin would have to be delivered with it, and it interpreted; use the standard library", path)
		default:
			c.refuse(spec, "import of %q: Yaegi v0.16.1 does not have it; use a package of Go 1.22's standard library", path)
		}
	}
}

// checkSymbol refuses what a package of the standard library has and the
// interpreter's copy of it does not.
func (c *checker) checkSymbol(id *ast.Ident) {
	o := c.pass.TypesInfo.Uses[id]
	if o == nil || o.Pkg() == nil || c.own(o.Pkg()) || o.Parent() != o.Pkg().Scope() {
		return
	}
	path := o.Pkg().Path()
	if path == "maps" || !c.has(path) {
		return // the import is refused
	}
	symbol := path + "." + o.Name()
	if generic[symbol] || stdlib.Symbols[path+"/"+o.Pkg().Name()][o.Name()].IsValid() {
		return
	}
	advice := instead[symbol]
	if advice == "" {
		advice = "what Go 1.22 has, or a few lines of your own"
	}
	c.refuse(id, "%s: Yaegi v0.16.1 does not have it and the plugin would not load; use %s", symbol, advice)
}

// checkBuiltin refuses the builtin functions that came with Go 1.21.
func (c *checker) checkBuiltin(id *ast.Ident) {
	b, ok := c.pass.TypesInfo.Uses[id].(*types.Builtin)
	if !ok {
		return
	}
	switch b.Name() {
	case "min", "max":
		c.refuse(id, "builtin %s: Yaegi does not have it and the plugin would not load; use an if", b.Name())
	case "clear":
		c.refuse(id, "builtin clear: Yaegi does not have it and the plugin would not load; make a new map, or delete in a loop")
	}
}

// isOwn reports whether path is a package of the module under check.
func (c *checker) isOwn(path string) bool {
	m := c.pass.Module
	return m != nil && m.Path != "" && (path == m.Path || strings.HasPrefix(path, m.Path+"/"))
}

// has reports whether the interpreter has the standard library's package path.
func (c *checker) has(path string) bool {
	if path == "slices" || path == "cmp" || path == "maps" {
		return true
	}
	for _, p := range c.pass.Pkg.Imports() {
		if p.Path() == path {
			return stdlib.Symbols[path+"/"+p.Name()] != nil
		}
	}
	return false
}

func firstElement(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}
