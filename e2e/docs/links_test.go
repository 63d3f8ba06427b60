package docs

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark/ast"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// TestLinks follows every link in the documents that stays in the repository.
func TestLinks(t *testing.T) {
	root := testbed.MustRepoRoot(t)
	byPath := map[string]*Document{}
	for _, d := range documents(t) {
		byPath[d.Path] = d
	}
	count := 0
	for _, d := range byPath {
		for _, l := range d.links() {
			count++
			if err := follow(root, byPath, d, l.target); err != nil {
				t.Errorf("%s:%d: %s: %v", d.Path, l.line, l.target, err)
			}
		}
	}
	if count < 20 {
		t.Errorf("found %d links; are they still found?", count)
	}
}

type link struct {
	target string
	line   int
}

// reference is an attribute of HTML that refers to a file.
var reference = regexp.MustCompile(`(?i)\b(?:href|src|srcset)\s*=\s*"([^"]+)"`)

// links returns all links of the document but those that name a scheme.
func (d *Document) links() []link {
	var list []link
	line := 1
	add := func(target string) {
		if u, err := url.Parse(target); err != nil || u.Scheme == "" && u.Host == "" {
			list = append(list, link{target, line})
		}
	}
	d.walk(func(n ast.Node) {
		if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
			line = d.line(n.Lines().At(0).Start) // an inline node has none of its own
		}
		switch n := n.(type) {
		case *ast.Link:
			add(string(n.Destination))
		case *ast.Image:
			add(string(n.Destination))
		case *ast.HTMLBlock:
			for _, match := range reference.FindAllStringSubmatch(string(n.Lines().Value(d.source)), -1) {
				add(match[1])
			}
		case *ast.RawHTML:
			for _, match := range reference.FindAllStringSubmatch(string(n.Segments.Value(d.source)), -1) {
				add(match[1])
			}
		}
	})
	return list
}

// follow returns an error for a link that leads to no file, or to no heading.
func follow(root string, documents map[string]*Document, from *Document, target string) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	to := from.Path
	switch {
	case strings.HasPrefix(u.Path, "/"): // from the top, as GitHub has it
		to = path.Clean(u.Path[1:])
	case u.Path != "":
		to = path.Join(path.Dir(from.Path), u.Path)
	}
	if to == ".." || strings.HasPrefix(to, "../") {
		return fmt.Errorf("leads out of the repository")
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(to))); err != nil {
		return fmt.Errorf("there is no %s", to)
	}
	if u.Fragment == "" {
		return nil
	}
	d := documents[to]
	if d == nil {
		return fmt.Errorf("%s is no Markdown file that could have #%s", to, u.Fragment)
	}
	if anchors := d.anchors(); !slices.Contains(anchors, u.Fragment) {
		return fmt.Errorf("%s has no heading #%s, only %s", to, u.Fragment, strings.Join(anchors, ", "))
	}
	return nil
}

// named is an anchor written as HTML.
var named = regexp.MustCompile(`(?i)\b(?:id|name)\s*=\s*"([^"]+)"`)

// anchors returns what a fragment can name, by GitHub's rule for headings.
func (d *Document) anchors() []string {
	var list []string
	times := map[string]int{}
	d.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.Heading:
			anchor := anchorOf(d.plain(n))
			times[anchor]++
			if again := times[anchor] - 1; again > 0 {
				anchor = fmt.Sprintf("%s-%d", anchor, again)
			}
			list = append(list, anchor)
		case *ast.HTMLBlock:
			for _, match := range named.FindAllStringSubmatch(string(n.Lines().Value(d.source)), -1) {
				list = append(list, match[1])
			}
		case *ast.RawHTML:
			for _, match := range named.FindAllStringSubmatch(string(n.Segments.Value(d.source)), -1) {
				list = append(list, match[1])
			}
		}
	})
	return list
}

// plain returns the text of a node without its marks.
func (d *Document) plain(n ast.Node) string {
	var b strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			b.Write(child.Segment.Value(d.source))
		case *ast.String:
			b.Write(child.Value)
		default:
			b.WriteString(d.plain(child))
		}
	}
	return b.String()
}

// anchorOf is a heading's text in lower case, with a hyphen for each blank, and
// without anything else that is no letter, digit, hyphen or underscore.
func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func TestLinksThatLeadNowhere(t *testing.T) {
	d := parse("docs/behaviour.md", []byte("# What `mirror` does, and *not*\n\n## Memory\n\n## Memory\n\n"+
		"Of the [copy](#copy).\n\n![flow](flow-of-copies.svg)\n\n<a href=\"../nowhere.md\">x</a>\n\n"+
		"[good](#what-mirror-does-and-not) [again](#memory-1) [up](../README.md) [site](https://traefik.io/#x) `[code](no.md)`\n\n"+
		"[out](../../elsewhere.md) [line](../mirror.go#L7)\n\n[one]\n\n[one]: ../LICENCE\n"))
	var got []string
	for _, l := range d.links() {
		if err := follow(testbed.MustRepoRoot(t), map[string]*Document{d.Path: d}, d, l.target); err != nil {
			got = append(got, fmt.Sprintf("%d %s", l.line, l.target))
		}
	}
	want := []string{"7 #copy", "9 flow-of-copies.svg", "11 ../nowhere.md", "15 ../../elsewhere.md", "15 ../mirror.go#L7", "17 ../LICENCE"}
	if !slices.Equal(got, want) {
		t.Errorf("complained about %q, want %q", got, want)
	}
}
