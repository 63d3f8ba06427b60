// Package docs reads the repository's Markdown files. Its tests load every
// block of configuration in them into the real Traefik, follow their links, and
// run the commands whose output they show.
package docs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// A Document is a Markdown file.
type Document struct {
	Path   string // relative to the repository, with slashes
	Blocks []Block
	source []byte
	root   ast.Node
}

// A Block is a fenced block of code.
type Block struct {
	Path string
	Line int    // of its first line of text, from 1
	Info string // what follows the fence: the language, and remarks
	Text string

	// After is the text between this block and the next, as written.
	After string
}

// Language returns the block's language in lower case, "" if it has none.
func (b Block) Language() string {
	language, _, _ := strings.Cut(b.Info, " ")
	return strings.ToLower(language)
}

// Remark returns what the info string says besides the language, which
// renderers ignore.
func (b Block) Remark() string {
	_, remark, _ := strings.Cut(b.Info, " ")
	return strings.TrimSpace(remark)
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Path, b.Line) }

// Read parses the file at path, relative to the folder root.
func Read(root, path string) (*Document, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		return nil, err
	}
	return parse(path, source), nil
}

func parse(path string, source []byte) *Document {
	parser := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser()
	d := &Document{Path: path, source: source, root: parser.Parse(text.NewReader(source))}
	var ends []int // of the blocks, in the source
	d.walk(func(n ast.Node) {
		block, ok := n.(*ast.FencedCodeBlock)
		if !ok || block.Lines().Len() == 0 {
			return
		}
		first, last := block.Lines().At(0), block.Lines().At(block.Lines().Len()-1)
		if len(d.Blocks) > 0 {
			d.Blocks[len(d.Blocks)-1].After = string(source[ends[len(ends)-1]:first.Start])
		}
		b := Block{Path: path, Line: d.line(first.Start), Text: string(block.Lines().Value(source))}
		if block.Info != nil {
			b.Info = string(block.Info.Segment.Value(source))
		}
		d.Blocks = append(d.Blocks, b)
		ends = append(ends, last.Stop)
	})
	if len(d.Blocks) > 0 {
		d.Blocks[len(d.Blocks)-1].After = string(source[ends[len(ends)-1]:])
	}
	return d
}

// line returns the number of the line at the offset, from 1.
func (d *Document) line(offset int) int { return 1 + bytes.Count(d.source[:offset], []byte("\n")) }

// walk calls f for every node of the document, in its order.
func (d *Document) walk(f func(ast.Node)) {
	ast.Walk(d.root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			f(n)
		}
		return ast.WalkContinue, nil
	})
}

// ReadAll parses every Markdown file of the repository in the folder root: those
// that git tracks and those that it would, vendored ones apart.
func ReadAll(root string) ([]*Document, error) {
	cmd := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.md")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var documents []*Document
	for _, path := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if strings.HasPrefix(path, "vendor/") || strings.Contains(path, "/vendor/") {
			continue
		}
		d, err := Read(root, path)
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			return nil, err
		}
		documents = append(documents, d)
	}
	return documents, nil
}
