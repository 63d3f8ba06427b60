package yaegivet

import (
	"go/ast"
	"go/constant"
	"go/types"
	"strings"
)

// mostCounted is more than anything adds to a counter at once.
const mostCounted = 1 << 30

// checkCounter refuses to hide a state in a counter, as a number that no count reaches.
// This is a rule of the house, and not the interpreter's.
func (c *checker) checkCounter(call *ast.CallExpr) {
	f, ok := c.callee(call).(*types.Func)
	if !ok || f.Pkg() == nil || f.Pkg().Path() != "sync/atomic" || !strings.HasPrefix(f.Name(), "Add") || len(call.Args) == 0 {
		return
	}
	added := call.Args[len(call.Args)-1]
	value := c.pass.TypesInfo.Types[added].Value
	if value == nil {
		return
	}
	n, exact := constant.Int64Val(value)
	if u, ok := constant.Uint64Val(value); ok && !exact {
		n = int64(u) // ^uint64(0) takes one away
	}
	if b, ok := c.typeOf(added).Underlying().(*types.Basic); ok && b.Kind() == types.Uint32 {
		n = int64(int32(n))
	}
	if n >= mostCounted || n <= -mostCounted {
		c.refuse(call, "large number added to a counter: it hides a state in a count; keep the state in a variable of its own")
	}
}
