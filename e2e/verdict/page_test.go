package verdict

import (
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/trafficshadow/mirror/e2e/testbed"
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

// everything is all that a mirror's page has folded.
var everything = []string{"noise", "ignored", "time", "latency"}

// mirrorPage returns the page of the middleware called name, with parts of it unfolded. It
// may be as old as a second.
func mirrorPage(t *testing.T, traefik *testbed.Traefik, name string, open ...string) node {
	t.Helper()
	text, err := traefik.Page(t.Context(), testbed.Marker(name), open...)
	if err != nil {
		t.Fatal(err)
	}
	page := readPage(t, string(text))
	if len(page.all("section", "mirror")) != 1 {
		t.Fatalf("the page says nothing of %s: %.500s", name, page.text())
	}
	return page
}

// badge is what the page says in a word, and title its title.
func (n node) badge() string { return n.all("span", "status")[0].text() }
func (n node) title() string { return n.all("title", "")[0].text() }

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
		if relation := what.all("strong", ""); len(relation) > 0 {
			name += " " + relation[0].text()
		}
		list[name] = what.all("span", "")[0].text()
	}
	return list
}
