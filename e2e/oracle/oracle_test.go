// Package oracle holds what the plugin makes of JSON and of JSON paths against what
// well-known libraries make of them.
package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"

	"github.com/trafficshadow/mirror/compare"
)

// seeded returns a source of chance that can be had again, which a failing test says.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

func answer(body string) *compare.Answer {
	return &compare.Answer{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}
}

// decode returns a JSON value, its numbers as they are written.
func decode(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// sameNumbers compares numbers by value, exactly.
var sameNumbers = cmp.Comparer(func(a, b json.Number) bool {
	x, _ := new(big.Rat).SetString(a.String())
	y, _ := new(big.Rat).SetString(b.String())
	return x.Cmp(y) == 0
})

var (
	names   = []string{"id", "total", "lines", "due date", "a.b", "4711", "*", "net", "Größe", "8f14e45f-ceea-467a-9575-6b5a7a1ff3b1"}
	scalars = []string{`null`, `true`, `false`, `0`, `1`, `10`, `119.00`, `-5`, `""`, `"1"`, `"Meyer & Söhne"`, `"EUR"`, `"a\"b\\"`, `9007199254740993`, `9007199254740992`}
)

// value is any JSON value.
func value(random *rand.Rand, depth int) any {
	kind := random.IntN(4)
	if depth == 0 || kind < 2 {
		return json.RawMessage(scalars[random.IntN(len(scalars))])
	}
	if kind == 2 {
		list := []any{}
		for range random.IntN(4) {
			list = append(list, value(random, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for range random.IntN(5) {
		object[names[random.IntN(len(names))]] = value(random, depth-1)
	}
	return object
}

// changed is a value with one place of it changed, as a rule.
func changed(random *rand.Rand, v any) any {
	switch x := v.(type) {
	case []any:
		list := slices.Clone(x)
		i := 0
		if len(list) > 0 {
			i = random.IntN(len(list))
		}
		switch n := random.IntN(4); {
		case len(list) == 0 || n == 0:
			return slices.Insert(list, i, value(random, 1))
		case n == 1:
			return slices.Delete(list, i, i+1)
		}
		list[i] = changed(random, list[i])
		return list
	case map[string]any:
		object := map[string]any{}
		for name, member := range x {
			object[name] = member
		}
		name := names[random.IntN(len(names))]
		if member, ok := object[name]; ok && random.IntN(3) > 0 {
			object[name] = changed(random, member)
		} else if ok {
			delete(object, name)
		} else {
			object[name] = value(random, 1)
		}
		return object
	}
	return value(random, 1)
}

// written is a value as JSON, in one of the ways to write it.
func written(random *rand.Rand, v any) string {
	space := func() string { return []string{"", "", " ", "\n\t"}[random.IntN(4)] }
	switch x := v.(type) {
	case []any:
		parts := []string{}
		for _, element := range x {
			parts = append(parts, space()+written(random, element)+space())
		}
		return "[" + strings.Join(parts, ",") + "]"
	case map[string]any:
		parts := []string{}
		for name, member := range x { // in any order
			parts = append(parts, space()+text(random, name)+space()+":"+space()+written(random, member)+space())
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	raw := string(v.(json.RawMessage))
	if raw[0] == '"' {
		unquoted := ""
		json.Unmarshal([]byte(raw), &unquoted)
		return text(random, unquoted)
	}
	if n, ok := new(big.Rat).SetString(raw); ok && n.IsInt() {
		whole := n.Num().String()
		tenfold := new(big.Int).Mul(n.Num(), big.NewInt(10)).String()
		return []string{raw, whole, whole + ".0", tenfold + "e-1", whole + "E0"}[random.IntN(5)]
	}
	return raw
}

func text(random *rand.Rand, s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		if random.IntN(5) == 0 || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\u%04x`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String() + `"`
}

// Two values are equal to the plugin if, and only if, they are to go-cmp, whichever is
// live's.
func TestEquality(t *testing.T) {
	random := seeded(t)
	rules := &compare.Rules{Body: compare.JSON, MaxBodySize: 1 << 20}
	equal := 0
	for range 5000 {
		before := value(random, 4)
		after := before
		for range random.IntN(3) {
			after = changed(random, after)
		}
		live, shadow := written(random, before), written(random, after)
		want := cmp.Equal(decode(t, live), decode(t, shadow), sameNumbers)
		for _, sides := range [][2]string{{live, shadow}, {shadow, live}} {
			f := compare.Judge(rules, answer(sides[0]), answer(sides[1]))
			if got := f.Outcome == compare.Match; got != want {
				t.Fatalf("%s\nand\n%s\nare equal: %t, want %t: %+v\n%s", sides[0], sides[1], got, want, f.Differences, cmp.Diff(decode(t, live), decode(t, shadow), sameNumbers))
			}
		}
		if want {
			equal++
		}
	}
	if equal < 1000 || equal > 4000 {
		t.Errorf("%d of 5000 pairs were equal: the test does not say much", equal)
	}
}

// A step of a path, as the plugin writes it, and what RFC 9535 calls it. There * and [*] are
// the same, members and elements; to the plugin * is members alone, and [*] elements.
type step struct {
	text, query       string
	members, elements bool
}

func steps(random *rand.Rand) step {
	deep, query := "", "$"
	if random.IntN(4) == 0 {
		deep = ".."
		query = "$.."
	}
	switch random.IntN(5) {
	case 0:
		if deep != "" {
			return step{"..*", "$..*", true, false}
		}
		return step{".*", "$.*", true, false}
	case 1:
		if deep != "" {
			return step{"..[*]", "$..[*]", false, true}
		}
		return step{"[*]", "$[*]", false, true}
	}
	name := names[random.IntN(len(names))]
	quoted := "['" + name + "']"
	if deep == "" && !strings.ContainsAny(name, " .*") {
		return step{[]string{"." + name, quoted}[random.IntN(2)], query + quoted, true, false}
	}
	return step{deep + quoted, query + quoted, true, false}
}

// A node is a value, and where it is.
type node struct {
	at    string
	value any
}

// selected are the nodes that the steps lead to.
func selected(t *testing.T, document any, path []step) []node {
	t.Helper()
	nodes := []node{{"$", document}}
	for _, s := range path {
		query, err := jsonpath.Parse(s.query)
		if err != nil {
			t.Fatalf("%s: %v", s.query, err)
		}
		var next []node
		for _, n := range nodes {
			for _, found := range query.SelectLocated(n.value) {
				last := found.Path[len(found.Path)-1]
				if _, member := last.(spec.Name); member && s.members || !member && s.elements {
					next = append(next, node{n.at + strings.TrimPrefix(found.Path.String(), "$"), found.Node})
				}
			}
		}
		nodes = next
	}
	return nodes
}

// leaves are the values in a document that have nothing in them, each another number.
func leaves(v any, at string, set func(any), visit func(at string, set func(any))) {
	switch x := v.(type) {
	case []any:
		for i := range x {
			leaves(x[i], at+"["+strconv.Itoa(i)+"]", func(v any) { x[i] = v }, visit)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(x)) {
			leaves(x[name], at+"['"+name+"']", func(v any) { x[name] = v }, visit)
		}
	default:
		visit(at, set)
	}
}

// A rule covers a difference if, and only if, it is where the path leads to by the
// reference implementation of RFC 9535, or in what is there.
func TestPathsSelectWhatTheyShould(t *testing.T) {
	random := seeded(t)
	covered, all := 0, 0
	for range 1500 {
		document := map[string]any{"lines": value(random, 4), "total": value(random, 3)}
		n := 0
		leaves(document, "$", nil, func(_ string, set func(any)) { set(float64(n)); n++ })
		var path []step
		written := "$"
		for range 1 + random.IntN(4) {
			s := steps(random)
			path = append(path, s)
			written += s.text
		}
		rule, err := compare.ParseRule(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		rules := &compare.Rules{Body: compare.JSON, MaxBodySize: 1 << 20, Ignore: []compare.Rule{rule}}
		nodes := selected(t, document, path)
		before, _ := json.Marshal(document)
		i := -1.0
		leaves(document, "$", nil, func(at string, set func(any)) {
			i++
			set(i + 0.5)
			after, _ := json.Marshal(document)
			set(i)
			f := compare.Judge(rules, answer(string(before)), answer(string(after)))
			if len(f.Differences) != 1 {
				t.Fatalf("%s and %s: %+v, want one difference", before, after, f.Differences)
			}
			want := slices.ContainsFunc(nodes, func(n node) bool { return at == n.at || strings.HasPrefix(at, n.at+"[") })
			subject := f.Differences[0].Subject()
			if got := rule.Covers("GET", "/", subject); got != want {
				t.Errorf("%s covers %s, which is %s: %t, want %t", written, at, subject, got, want)
			}
			all++
			if want {
				covered++
			}
		})
		if t.Failed() {
			return
		}
	}
	if covered < all/50 {
		t.Errorf("%d of %d leaves were covered: the test does not say much", covered, all)
	}
}
