package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"io"
	"net/url"
)

// PagePolicy is the Content-Security-Policy of the page: nothing is loaded, no
// script runs, and the only style is the page's own.
var PagePolicy = "default-src 'none'; style-src '" + hashOf(pageStyle) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func hashOf(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

var page = template.Must(template.New("page").Parse(pageHead + "<style>" + pageStyle + "</style>\n" + pageBody))

// WritePage writes the page for people: one document, without anything to load,
// without script, and as well-formed as XML. With the option refresh=0 it does
// not load itself anew.
func WritePage(w io.Writer, d *Document, options url.Values) error {
	var out bytes.Buffer
	if err := page.Execute(&out, newView(d, options)); err != nil {
		return err
	}
	_, err := w.Write(out.Bytes())
	return err
}
