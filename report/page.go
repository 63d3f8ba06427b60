package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"io"
	"net/url"
	"strings"
)

// PagePolicy is the Content-Security-Policy of the page: nothing is loaded, no
// script runs, and the only style is the page's own. The page's icon is an empty
// data: URL, which keeps browsers from asking for /favicon.ico; without img-src
// they would log it as a violation, on every load.
var PagePolicy = "default-src 'none'; style-src '" + hashOf(pageStyle) + "'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// BasePolicy is the policy of a page that says where its links begin.
var BasePolicy = strings.Replace(PagePolicy, "base-uri 'none'", "base-uri 'self'", 1)

func hashOf(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

var page = template.Must(template.New("page").Parse(pageHead + "<style>" + pageStyle + "</style>\n" + pageBody))

// WritePage writes the page for people: one document, without anything to load,
// without script, and as well-formed as XML. With the option refresh=0 it does
// not load itself anew. Its links are relative to the page's own address; see WithBase.
func WritePage(w io.Writer, d *Document, options url.Values) error {
	var out bytes.Buffer
	if err := page.Execute(&out, newView(d, options)); err != nil {
		return err
	}
	_, err := w.Write(out.Bytes())
	return err
}

var baseElement = template.Must(template.New("base").Parse(`<base href="{{.}}"/>` + "\n"))

// WithBase returns the page with its links relative to base. The page itself stays as it
// is.
func WithBase(page []byte, base string) ([]byte, error) {
	var out bytes.Buffer
	head := bytes.Index(page, []byte(firstElement)) + len(firstElement)
	out.Write(page[:head])
	if err := baseElement.Execute(&out, base); err != nil {
		return nil, err
	}
	out.Write(page[head:])
	return out.Bytes(), nil
}
