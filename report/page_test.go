package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// An element is one of a page.
type element struct {
	name       string
	attributes map[string]string
	parent     *element
	text       string // of it and what is in it
}

// written returns the page, and its elements. It fails where the page is not as
// well-formed as XML, which is stricter than a browser.
func written(t *testing.T, d *Document, query string) (string, []*element) {
	t.Helper()
	options, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := WritePage(&out, d, options); err != nil {
		t.Fatal(err)
	}
	var all []*element
	var in *element
	decoder := xml.NewDecoder(bytes.NewReader(out.Bytes()))
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			return out.String(), all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch x := token.(type) {
		case xml.StartElement:
			in = &element{name: x.Name.Local, attributes: map[string]string{}, parent: in}
			for _, a := range x.Attr {
				if _, twice := in.attributes[a.Name.Local]; twice {
					t.Errorf("%s has %s twice", in.name, a.Name.Local)
				}
				in.attributes[a.Name.Local] = a.Value
			}
			all = append(all, in)
		case xml.EndElement:
			in = in.parent
		case xml.CharData:
			for e := in; e != nil; e = e.parent {
				e.text += string(x)
			}
		case xml.Comment:
			t.Errorf("a comment: %s", x)
		}
	}
}

func named(elements []*element, name string) []*element {
	var found []*element
	for _, e := range elements {
		if e.name == name {
			found = append(found, e)
		}
	}
	return found
}

func classed(elements []*element, class string) []*element {
	var found []*element
	for _, e := range elements {
		for _, c := range strings.Fields(e.attributes["class"]) {
			if c == class {
				found = append(found, e)
			}
		}
	}
	return found
}

// pages are a page for each state of a mirror.
func pages() map[string]*Document {
	paused := billing()
	since := before(4 * time.Minute)
	paused.State.Paused = true
	paused.State.PausedSince = &since
	return map[string]*Document{
		"comparing": documentOf(billing()), "not comparing": documentOf(reports()), "nothing yet": documentOf(fresh()),
		"paused": documentOf(paused), "mistaken": documentOf(mistakenMirror()), "no mirror": documentOf(), "several": documentOf(billing(), fresh(), reports(), paused, mistakenMirror()), "hostile": documentOf(hostile()),
	}
}

// hostileTexts are what a client, an upstream or a path may hold.
var hostileTexts = []string{
	`</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`,
	`</title></desc></svg><svg onload=alert(1)>`, `</style><style>*{display:none}</style>`, `<!-- --!> ]]> <![CDATA[`, `{{.Name}} &lt; &#0;`,
	"\u202egpj.exe\x00\x1b[31m\r\n\u2028", "a\xff\xc0b",
}

// hostile is a mirror with hostile text wherever text can come from outside.
func hostile() *Middleware {
	m := billing()
	all := strings.Join(hostileTexts[:5], " ")
	m.Name = all
	m.Shadow = "javascript:alert(1)" + all
	m.State.LastError = all
	m.Dropped[all] = 1
	m.Failed[all] = 1
	c := m.Comparison
	c.Skipped[all] = 1
	c.Epoch = all
	c.Previous = &Epoch{Name: all}
	for i, text := range hostileTexts {
		c.Differences = append(c.Differences, Difference{
			Endpoint: "GET /" + text, Key: text, Relation: text, Count: 1, Pairs: 1, Judgement: []string{compare.Noise, compare.Real}[i%2], Ignore: "$['" + text + "']",
			Examples: []Example{{At: generated, Path: text, RequestID: text, Relation: text, Live: text, Shadow: text}},
		})
		c.Endpoints = append(c.Endpoints, Endpoint{Endpoint: text})
		c.Reasons = append(c.Reasons, text)
	}
	return m
}

// pageElements and pageLinks are all that a page has.
var (
	pageElements = " html head meta link title style body a header h1 h2 h3 h4 p ul ol li main section nav div span bdi strong code pre time dl dt dd " +
		"table caption thead tbody tr th td details summary svg path rect line text desc "
	pageLinks = " data:, #main report.json metrics ? ?refresh=0 "
)

func TestThePageHasNothingThatRunsOrLoads(t *testing.T) {
	for name, d := range pages() {
		t.Run(name, func(t *testing.T) {
			_, elements := written(t, d, "")
			for _, e := range elements {
				if !strings.Contains(pageElements, " "+e.name+" ") {
					t.Errorf("an element %s", e.name)
				}
				for attribute, value := range e.attributes {
					if strings.HasPrefix(attribute, "on") || attribute == "style" || attribute == "src" || attribute == "action" {
						t.Errorf("%s has %s=%q", e.name, attribute, value)
					}
					if attribute == "href" && !strings.Contains(pageLinks, " "+value+" ") && !strings.HasPrefix(value, "#mirror-") {
						t.Errorf("%s leads to %q", e.name, value)
					}
				}
			}
			if n := len(named(elements, "style")); n != 1 {
				t.Errorf("got %d styles, want the page's own", n)
			}
		})
	}
}

func TestThePageShowsHostileTextAsText(t *testing.T) {
	page, elements := written(t, documentOf(hostile()), "")
	body := named(elements, "body")[0].text
	for _, want := range hostileTexts {
		if !strings.Contains(body, Visible(want)) {
			t.Errorf("not shown: %q", Visible(want))
		}
	}
	for _, raw := range []string{"<script", "<img", "onload=alert(1)>", "<svg onload", "\u202e", "\x1b", "\x00", "]]>", "<!--"} {
		if strings.Contains(page, raw) {
			t.Errorf("the page has %q", raw)
		}
	}
}

func TestThePolicyAllowsThePagesStyleOnly(t *testing.T) {
	page, _ := written(t, documentOf(billing()), "")
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	want := "default-src 'none'; style-src '" + hashOf(style) + "'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if len(style) < 1000 || PagePolicy != want {
		t.Errorf("got  %s\nwant %s", PagePolicy, want)
	}
	// From: printf 'p{}' | openssl dgst -sha256 -binary | base64
	if got := hashOf("p{}"); got != "sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y=" {
		t.Errorf("got %s", got)
	}
}

func TestThePageCanBeHeard(t *testing.T) {
	for name, d := range pages() {
		t.Run(name, func(t *testing.T) {
			_, elements := written(t, d, "")
			if lang := named(elements, "html")[0].attributes["lang"]; lang != "en" {
				t.Errorf("the language is %q", lang)
			}
			for _, landmark := range []string{"header", "main", "h1"} {
				if n := len(named(elements, landmark)); n != 1 {
					t.Errorf("got %d of %s, want 1", n, landmark)
				}
			}
			checkHeadings(t, elements)
			checkNames(t, elements)
			checkTables(t, elements)
			checkPictures(t, elements)
		})
	}
}

func checkHeadings(t *testing.T, elements []*element) {
	last := 0
	for _, e := range elements {
		if len(e.name) != 2 || e.name[0] != 'h' {
			continue
		}
		level, err := strconv.Atoi(e.name[1:])
		if err != nil {
			continue
		}
		if level > last+1 || strings.TrimSpace(e.text) == "" {
			t.Errorf("%s %q follows a heading of level %d", e.name, e.text, last)
		}
		last = level
	}
}

// checkNames sees that what is named by another element is, and by one.
func checkNames(t *testing.T, elements []*element) {
	count := map[string]int{}
	for _, e := range elements {
		count[e.attributes["id"]]++
	}
	for _, e := range elements {
		ids := []string{e.attributes["aria-labelledby"]}
		if strings.HasPrefix(e.attributes["href"], "#") {
			ids = append(ids, e.attributes["href"][1:])
		}
		for _, id := range ids {
			if id != "" && count[id] != 1 {
				t.Errorf("%s refers to %s, which is there %d times", e.name, id, count[id])
			}
		}
		if (e.name == "section" || e.name == "nav") && ids[0] == "" {
			t.Errorf("a %s has no name", e.name)
		}
		if e.attributes["tabindex"] != "" && e.attributes["aria-label"] == "" {
			t.Errorf("a %s can be focused and has no name", e.name)
		}
	}
}

func checkTables(t *testing.T, elements []*element) {
	captions := map[*element]bool{}
	for _, e := range named(elements, "caption") {
		captions[e.parent] = strings.TrimSpace(e.text) != ""
	}
	for _, e := range named(elements, "table") {
		if !captions[e] || e.parent.attributes["class"] != "scroll" {
			t.Errorf("a table without caption, or outside of a box that scrolls: %q", e.text)
		}
	}
	for _, e := range named(elements, "th") {
		want := "row"
		if e.parent.parent.name == "thead" {
			want = "col"
		}
		if e.attributes["scope"] != want || strings.TrimSpace(e.text) == "" {
			t.Errorf("th %q has the scope %q, want %s", e.text, e.attributes["scope"], want)
		}
	}
}

// checkPictures sees that a picture is described, or hidden from those who would
// not see it.
func checkPictures(t *testing.T, elements []*element) {
	described := map[*element]int{}
	for _, e := range elements {
		if (e.name == "title" || e.name == "desc") && strings.TrimSpace(e.text) != "" {
			described[e.parent]++
		}
	}
	for _, e := range named(elements, "svg") {
		ok := false
		for up := e; up != nil; up = up.parent {
			if up.attributes["aria-hidden"] == "true" || up.attributes["role"] == "img" && described[up] == 2 {
				ok = true
			}
		}
		if !ok {
			t.Errorf("a picture in %s %q is neither described nor hidden", e.parent.name, e.parent.attributes["class"])
		}
	}
}

func TestThePageSaysWhatAReleaseManagerNeeds(t *testing.T) {
	_, elements := written(t, documentOf(billing()), "")
	text := named(elements, "main")[0].text
	for _, want := range []string{
		"4 of 12,431 answers really differ (0.03%)", "Differs", "Running.", "no whole answer within the timeout", "(11 min ago)",
		"12,431 pairs compared since 2026-03-12T13:31:07Z (1 h ago)", "shadow-billing@docker", "http://billing-next:8080",
		"GET /invoices/*", "$.lines[*].total", "-0.01", "178.49", "4 of 10,000 pairs (0.04%)", "- '$.requestId'", "compare.ignore=$$.requestId",
		"/invoices/2026-0042, 200 and 200, at index 3, -0.01, request 7f3a-91", "PUT /scans/*",
		"≠ 2", "12,362", "9.0 ms slower", "2.0 ms faster",
		"12 of 12,483 lost (9 too_large, 3 timeout).", "Lost12of 12,483 that were to be mirrored", "Sampled out112,030of 124,513 eligible, by percent",
		"None of: full, paused, body_error, stream_incomplete, connect, tls, protocol, late, internal.", "There was no whole answer within timeout. Make the shadow faster", "Both answers are larger than compare.maxBodySize",
		"In flight2under way now", "43.0 MiB", "Counted since 2026-03-11T12:31:07Z (26 h ago)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(text, "$.lines[*].total") > strings.Index(text, "$.requestId") {
		t.Error("noise comes before real differences")
	}
	if verdicts := classed(elements, "verdict"); len(verdicts) != 1 || len(named(elements, "nav")) != 0 {
		t.Errorf("got %d verdicts, want 1 and no overview", len(verdicts))
	}
}

func TestThePageSaysHowToTurnComparingOn(t *testing.T) {
	_, elements := written(t, documentOf(reports()), "")
	text := named(elements, "main")[0].text
	for _, want := range []string{"Not comparing", "answers are not compared; 7 requests mirrored", "traefik.http.middlewares.shadow-reports.plugin.mirror.compare.body=json", "No error so far.", "p99", "None of: method,"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(text, "Endpoints") {
		t.Error("the page has endpoints where nothing is compared")
	}
}

func TestThePageOfSeveralHasAnOverview(t *testing.T) {
	_, elements := written(t, documentOf(billing(), fresh(), reports()), "")
	overview := named(elements, "nav")
	if len(overview) != 1 {
		t.Fatalf("got %d overviews, want 1", len(overview))
	}
	for _, want := range []string{"Differs", "shadow-billing@docker", "Nothing yet", "shadow-customers@file", "Not comparing", "no answers compared yet"} {
		if !strings.Contains(overview[0].text, want) {
			t.Errorf("the overview does not say %q", want)
		}
	}
	if n := len(classed(elements, "mirror")); n != 3 {
		t.Errorf("got %d parts, want 3", n)
	}
}

func TestThePageWithoutMirrorsSaysSo(t *testing.T) {
	_, elements := written(t, documentOf(), "")
	if text := named(elements, "main")[0].text; !strings.Contains(text, "No mirror yet") {
		t.Errorf("got %q", text)
	}
}

func TestThePageLoadsItselfAnewUnlessPaused(t *testing.T) {
	tests := []struct {
		query, refresh, links string
	}{
		{"", "10", "?refresh=0 report.json metrics"},
		{"refresh=0", "", "?refresh=0 ? report.json metrics"},
	}
	for _, test := range tests {
		_, elements := written(t, documentOf(), test.query)
		refresh := ""
		for _, e := range named(elements, "meta") {
			if e.attributes["http-equiv"] == "refresh" {
				refresh = e.attributes["content"]
			}
		}
		var links []string
		for _, e := range named(elements, "a")[1:] { // the first skips to the report
			links = append(links, e.attributes["href"])
		}
		if refresh != test.refresh || strings.Join(links, " ") != test.links {
			t.Errorf("%q: every %q s, with the links %q; want %q and %s", test.query, refresh, links, test.refresh, test.links)
		}
	}
}

// The most that can be kept of one mirror makes a page that a phone can load.
func TestThePageIsBounded(t *testing.T) {
	m := billing()
	c := m.Comparison
	long := strings.Repeat(`&<"`, 40)
	for i := 0; i < 5000; i++ {
		key := "$." + strconv.Itoa(i) + strings.Repeat("x", 190)
		examples := make([]Example, 5)
		for j := range examples {
			examples[j] = Example{Path: long, RequestID: long, Live: long, Shadow: long}
		}
		c.Differences = append(c.Differences, Difference{Endpoint: long, Key: key, Judgement: []string{compare.Real, compare.Undecided, compare.Noise, compare.Ignored}[i%4], Ignore: key, Examples: examples})
		c.Endpoints = append(c.Endpoints, Endpoint{Endpoint: long})
	}
	page, elements := written(t, documentOf(m), "")
	if n := len(classed(elements, "difference")); n != 95 {
		t.Errorf("got %d differences, want 50 that are real and 15 of each other judgement", n)
	}
	text := named(elements, "main")[0].text
	for _, want := range []string{"1,201 more are in report.json.", "1,235 more are in report.json.", "4,982 more are in report.json."} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if len(page) > 1<<20 {
		t.Errorf("the page has %d bytes, want at most 1 MiB", len(page))
	}
}

// Whoever looks at the page sees that nothing is mirrored, and what to put right; and
// of a mirror that is on, where it goes and what share.
func TestPageShowsMistakesAndShares(t *testing.T) {
	good := billing()
	good.Percent = 12.5
	bad := mistakenMirror()
	bad.Mistakes = append(bad.Mistakes, `url: "<script>alert(1)</script>": takes an http or https URL`)
	bad.ConfigErrors = 3
	page, elements := written(t, documentOf(good, bad), "")
	var items []string
	for _, e := range elements {
		if e.name == "li" && e.parent.attributes["class"] == "mistakes" {
			items = append(items, e.text)
		}
	}
	if len(items) != 3 || items[1] != bad.Mistakes[1] || items[2] != bad.Mistakes[2] {
		t.Errorf("the page lists %q, want %q", items, bad.Mistakes)
	}
	for _, want := range []string{"Not mirroring", "3 mistakes in the options: nothing is mirrored", "Live is served as without the mirror, until", "mirrors 12.5% to"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "<script>") || strings.Count(page, "give the middleware the option") != 0 {
		t.Error("the page has markup of an option's value, or advises to compare where nothing is mirrored")
	}
}
