package verdict

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// A node is a part of the page, as a browser reads it.
type node struct{ *html.Node }

func readPage(t *testing.T, text string) node {
	t.Helper()
	n, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return node{n}
}

// all returns the elements called tag in n that have the class; "": any.
func (n node) all(tag, class string) []node {
	var list []node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == tag && (class == "" || hasClass(d, class)) {
			list = append(list, node{d})
		}
	}
	return list
}

func hasClass(n *html.Node, class string) bool {
	for _, a := range n.Attr {
		if a.Key == "class" {
			for _, c := range strings.Fields(a.Val) {
				if c == class {
					return true
				}
			}
		}
	}
	return false
}

// text returns what is written in n.
func (n node) text() string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.TrimSpace(b.String())
}

// mirror returns the part of the page about the middleware called name.
func (n node) mirror(t *testing.T, name string) node {
	t.Helper()
	for _, section := range n.all("section", "mirror") {
		if names := section.all("bdi", ""); len(names) > 0 && names[0].text() == name+"@file" {
			return section
		}
	}
	t.Fatalf("the page says nothing of %s: %.500s", name, n.text())
	return node{}
}

// facts returns the numbers by their names.
func (n node) facts() map[string]string {
	facts := map[string]string{}
	for _, list := range n.all("dl", "facts") {
		for _, fact := range list.all("div", "") {
			facts[fact.all("dt", "")[0].text()] = fact.all("dd", "")[0].text()
		}
	}
	return facts
}

// tallies returns the counts by title and reason, those that are not 0.
func (n node) tallies() map[string]string {
	counts := map[string]string{}
	for _, tally := range n.all("div", "tally") {
		title := tally.all("h4", "")[0].text()
		for _, row := range tally.all("tr", "") {
			if reason := row.all("code", ""); len(reason) > 0 {
				counts[title+": "+reason[0].text()] = row.all("td", "number")[0].text()
			}
		}
	}
	return counts
}

// differences returns by endpoint, key and relation how often each thing differs, as the
// page has it.
func (n node) differences() map[string]string {
	list := map[string]string{}
	for _, row := range n.all("li", "difference") {
		what := row.all("div", "what")[0]
		name := what.all("bdi", "")[0].text() + " " + what.all("code", "")[0].text()
		spans := what.all("span", "")
		if len(spans) > 1 {
			name += " " + spans[0].text()
		}
		list[name] = spans[len(spans)-1].text()
	}
	return list
}
