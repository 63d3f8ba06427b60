package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
	"golang.org/x/mod/modfile"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func documents(t *testing.T) []*Document {
	t.Helper()
	documents, err := ReadAll(testbed.MustRepoRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(documents, func(d *Document) bool { return d.Path == "README.md" }) {
		t.Fatal("there is no README.md among the Markdown files")
	}
	return documents
}

// configs returns the blocks of the kinds in all documents. What cannot be
// recognised is TestEveryBlockIsRecognised's to complain about.
func configs(t *testing.T, kinds ...kind) []*config {
	t.Helper()
	var list []*config
	for _, d := range documents(t) {
		for _, b := range d.Blocks {
			if c, err := recognise(b); err == nil && c != nil && slices.Contains(kinds, c.kind) {
				list = append(list, c)
			}
		}
	}
	return list
}

// modulePath is the plugin's, as documents have to name it.
func modulePath(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testbed.MustRepoRoot(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	path := modfile.ModulePath(text)
	if path == "" {
		t.Fatal("go.mod has no module path")
	}
	return path
}

func TestEveryBlockIsRecognised(t *testing.T) {
	count := map[kind]int{}
	for _, d := range documents(t) {
		d.walk(func(n ast.Node) {
			if n.Kind() == ast.KindCodeBlock {
				t.Errorf("%s:%d: code that is indented; fence it, so that it has a language", d.Path, d.line(n.Lines().At(0).Start))
			}
		})
		for _, b := range d.Blocks {
			c, err := recognise(b)
			switch {
			case err != nil:
				t.Errorf("%s: this block %v", b, err)
			case c != nil:
				count[c.kind]++
				t.Logf("%s: %s", b, c.kind)
			case strings.HasPrefix(b.Remark(), uncheckedRemark):
				t.Logf("%s: %s", b, b.Remark())
			}
		}
	}
	for _, k := range []kind{dynamic, static, compose, kubernetes} {
		if count[k] == 0 {
			t.Errorf("no document has a block that is a %s; are they still found?", k)
		}
	}
}

func TestKinds(t *testing.T) {
	tests := []struct {
		name, info, text string
		want             kind   // "" for a block that is not loaded
		wantErr          string // a part of it
	}{
		{"dynamic", "yaml", "http:\n  routers: {}\n", dynamic, ""},
		{"dynamic in TOML", "toml", "[http.routers.invoices]\nservice = \"billing\"\n", dynamic, ""},
		{"dynamic in JSON", "json", "{\"http\":{\"routers\":{}}}\n", dynamic, ""},
		{"static", "yaml", "entryPoints: {}\nexperimental: {}\n", static, ""},
		{"Compose", "yaml", "services: {}\nvolumes: {}\n", compose, ""},
		{"Kubernetes", "yaml", "apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Secret\n", kubernetes, ""},
		{"chart", "yaml", "additionalArguments: []\nvolumes: []\n", arguments, ""},
		{"commands", "sh", "make demo\n", "", ""},
		{"output", "text", "http:\n", "", ""},
		{"unchecked", "yaml unchecked: rules of Prometheus, for promtool\n", "groups: []\n", "", ""},
		{"unchecked without a reason", "yaml unchecked:", "groups: []\n", "", "reason"},
		{"unknown", "yaml", "groups: []\n", "", "groups"},
		{"static and dynamic", "yaml", "entryPoints: {}\nhttp: {}\n", "", "entryPoints, http"},
		{"two kinds", "yaml", "http: {}\n---\nentryPoints: {}\n", "", "both"},
		{"volumes alone", "yaml", "volumes: []\n", "", "volumes"},
		{"no YAML", "yaml", "http: [\n", "", "yaml"},
		{"no mapping", "yaml", "- http\n", "", "cannot unmarshal"},
		{"nothing", "yaml", "# later\n", "", ""},
		{"no language", "", "http: {}\n", "", "language"},
		{"unknown language", "ini", "http=1\n", "", "ini"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := parse("docs/invoices.md", []byte("# Invoices\n\n```"+test.info+"\n"+test.text+"```\n"))
			if len(d.Blocks) != 1 || d.Blocks[0].String() != "docs/invoices.md:4" {
				t.Fatalf("got blocks %v, want one at line 4", d.Blocks)
			}
			c, err := recognise(d.Blocks[0])
			if test.wantErr != "" || err != nil {
				if err == nil || test.wantErr == "" || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("got error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			var got kind
			if c != nil {
				got = c.kind
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// mapTexts returns the tree with every text in it replaced by what change makes
// of it and of the keys above it, of which list indexes are none.
func mapTexts(tree any, change func(keys []string, text string) string, keys ...string) any {
	switch at := tree.(type) {
	case map[string]any:
		for key, value := range at {
			at[key] = mapTexts(value, change, append(slices.Clone(keys), key)...)
		}
	case []map[string]any: // as TOML has lists of tables
		for _, table := range at {
			mapTexts(table, change, keys...)
		}
	case []any:
		for i, value := range at {
			at[i] = mapTexts(value, change, keys...)
		}
	case string:
		return change(keys, at)
	}
	return tree
}

// sub returns the map at the key, nil if there is none.
func sub(tree map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		tree, _ = tree[key].(map[string]any)
	}
	return tree
}

// texts returns the list at the key; a single value is a list of one.
func texts(value any) []string {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		var list []string
		for _, element := range v {
			list = append(list, fmt.Sprint(element))
		}
		return list
	}
	return []string{fmt.Sprint(value)}
}
