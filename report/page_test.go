package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/url"
	"regexp"
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

// A lookedAt is a document and the query of a page's address.
type lookedAt struct {
	d     *Document
	query string
}

const everythingOpen = "open=noise&open=ignored&open=time&open=latency"

// pages are a page for each state of a mirror.
func pages() map[string]lookedAt {
	paused := billing()
	since := before(4 * time.Minute)
	paused.State.Paused = true
	paused.State.PausedSince = &since
	removed := billing()
	removed.Removed = &since
	controlled := billing()
	controlled.Comparison.Control = &Control{URL: "http://billing-old:8080", Answered: 20, Unfit: []string{"GET /invoices/*: 5 of its 20 answers have another status than live's"}}
	controlled.Sequence = &Sequence{By: "header:X-Customer-Id", Waiting: 12, LongestWait: 2.5}
	skipped := fresh()
	skipped.Mirrored = 1200
	skipped.Comparison.Skipped = map[string]int64{compare.Stream: 1200}
	skipped.AddLosses()
	all := documentOf(billing(), fresh(), reports(), paused, mistakenMirror())
	return map[string]lookedAt{
		"comparing": {documentOf(billing()), ""}, "comparing, unfolded": {documentOf(billing()), everythingOpen}, "one endpoint": {documentOf(billing()), "endpoint=GET+/invoices/*&open=noise"},
		"not comparing": {documentOf(reports()), ""}, "nothing yet": {documentOf(fresh()), ""}, "all skipped": {documentOf(skipped), ""}, "removed": {documentOf(removed), ""},
		"paused": {documentOf(paused), ""}, "mistaken": {documentOf(mistakenMirror()), ""}, "no mirror": {documentOf(), ""}, "several": {all, ""}, "one of several": {all, "middleware=shadow-reports@file"},
		"controlled": {documentOf(controlled), ""}, "unknown": {all, "middleware=shadow-nobody"}, "unknown endpoint": {all, "middleware=shadow-billing&endpoint=GET+/"},
		"hostile": {documentOf(hostile()), everythingOpen}, "hostile among others": {documentOf(hostile(), billing()), ""},
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
			Examples: []Example{{At: generated, Path: text, Query: []string{text}, Curl: text, RequestID: text, Relation: text + "x", Live: text, Shadow: text}},
		})
		c.Endpoints = append(c.Endpoints, Endpoint{Endpoint: text})
		c.Reasons = append(c.Reasons, text)
	}
	return m
}

// pageElements and pageLinks are all that a page has.
var (
	pageElements = " html head meta link title style body a header h1 h2 h3 h4 p ul ol li main section div span bdi strong code pre time dl dt dd br " +
		"table caption thead tbody tr th td svg path rect line text desc "
	pageLinks = " data:, #main report.json metrics ? "
)

// ownLink matches links to looks of the page, and to the examples of a mirror.
var ownLink = regexp.MustCompile(`^(?:mismatches\.ndjson)?\?(?:(?:middleware|endpoint|open|refresh|unknown)=[0-9A-Za-z%+._-]*&?)+(?:#[a-z]+)?$`)

func TestThePageHasNothingThatRunsOrLoads(t *testing.T) {
	for name, page := range pages() {
		t.Run(name, func(t *testing.T) {
			_, elements := written(t, page.d, page.query)
			for _, e := range elements {
				if !strings.Contains(pageElements, " "+e.name+" ") {
					t.Errorf("an element %s", e.name)
				}
				for attribute, value := range e.attributes {
					if strings.HasPrefix(attribute, "on") || attribute == "style" || attribute == "src" || attribute == "action" {
						t.Errorf("%s has %s=%q", e.name, attribute, value)
					}
					if attribute == "href" && !strings.Contains(pageLinks, " "+value+" ") && !ownLink.MatchString(value) {
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
	page, elements := written(t, documentOf(hostile()), everythingOpen)
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
	for name, page := range pages() {
		t.Run(name, func(t *testing.T) {
			_, elements := written(t, page.d, page.query)
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
		if e.name == "section" && ids[0] == "" {
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
	d := documentOf(billing())
	d.Instance = "traefik-7f9c-3f2a1b"
	_, elements := written(t, d, everythingOpen)
	text := named(elements, "body")[0].text
	for _, want := range []string{
		"4 of 12,431 answers really differ (0.03%)", "Next: See what really differs.", "last error 11 min ago: no whole answer within the timeout",
		"Compared12,431 pairs99.67% of the answers, since 2026-03-12T13:31:07Z (1 h ago)", "shadow-billing@docker", "http://billing-next:8080",
		"GET /invoices/*", "$.lines[*].total", "-0.01", "178.49", "4 of 10,000 pairs (0.04%)", "- '$.requestId'", "compare.ignore=$$.requestId",
		"/invoices/2026-0042, 200 and 200, at index 3, request 7f3a-91", "PUT /scans/*", "31 of\u00a071", "too_large",
		"≠ 2", "12,362", "9.0 ms slower", "no difference beyond chance", "2.0 ms faster", "Noise: 2 differences Hide Noise",
		"Lost12 of 12,4839 too_large, 3 timeout", "Sampled out112,030of 124,513 eligible, by percent",
		"There was no whole answer within timeout. Make the shadow faster", "Both answers are larger than compare.maxBodySize",
		"In flight2under way now", "43.0 MiB", "Counted since 2026-03-11T12:31:07Z (26 h ago)", "for this Traefik only: traefik-7f9c-3f2a1b",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(text, "$.lines[*].total") > strings.Index(text, "$.requestId") {
		t.Error("noise comes before real differences")
	}
	if verdicts := classed(elements, "verdict"); len(verdicts) != 1 {
		t.Errorf("got %d verdicts, want 1", len(verdicts))
	}
}

// What did not happen, and what is folded, is not on the page.
func TestThePageHasNoEmptySections(t *testing.T) {
	for name, page := range pages() {
		_, elements := written(t, page.d, page.query)
		text := named(elements, "main")[0].text
		for _, never := range []string{"None", "none so far", "No error", "Running", ": 0 differences"} {
			if strings.Contains(text, never) {
				t.Errorf("%s: the page says %q", name, never)
			}
		}
		for _, e := range elements {
			switch e.name {
			case "ul", "ol", "dl", "tbody", "div", "p", "pre", "h3", "h4":
				if strings.TrimSpace(e.text) == "" {
					t.Errorf("%s: an empty %s of class %q", name, e.name, e.attributes["class"])
				}
			}
		}
	}
	_, elements := written(t, documentOf(billing()), "")
	if text := named(elements, "main")[0].text; strings.Contains(text, "$.requestId") || !strings.Contains(text, "Noise: 2 differences Show Noise") {
		t.Error("noise is shown unasked, or cannot be asked for")
	}
}

func TestThePageOfAnEndpointHasItsDifferencesOnly(t *testing.T) {
	_, elements := written(t, documentOf(billing()), "endpoint=PUT+/scans/*&open=noise")
	differences := classed(elements, "difference")
	if len(differences) != 1 || !strings.Contains(differences[0].text, "PUT /scans/*") || !strings.Contains(differences[0].text, "$.requestId") {
		t.Errorf("got %d differences, want the one of PUT /scans/*", len(differences))
	}
	text := named(elements, "main")[0].text
	if !strings.Contains(text, "Differences of PUT /scans/*") || !strings.Contains(text, "GET /invoices/*") {
		t.Error("the page does not say which endpoint it is about, or has no way to the others")
	}
	for _, e := range named(elements, "a") {
		if e.text == "Those of all endpoints" && e.attributes["href"] != "?middleware=shadow-billing%40docker&open=noise" {
			t.Errorf("the way to all endpoints leads to %s", e.attributes["href"])
		}
	}
}

func TestThePageSaysHowToTurnComparingOn(t *testing.T) {
	_, elements := written(t, documentOf(reports()), "")
	text := named(elements, "main")[0].text
	for _, want := range []string{"Not comparing", "answers are not compared; 7 requests mirrored", "traefik.http.middlewares.shadow-reports.plugin.mirror.compare.body=json", "p99", "Lostnoneof 7 requests"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(text, "Endpoints") {
		t.Error("the page has endpoints where nothing is compared")
	}
}

// With several mirrors there is an overview, the worst first, and a page for each.
func TestThePageOfSeveralHasAnOverview(t *testing.T) {
	several := documentOf(fresh(), reports(), billing(), mistakenMirror())
	_, elements := written(t, several, "")
	overview := classed(elements, "overview")
	if len(overview) != 1 || len(classed(elements, "mirror")) != 0 {
		t.Fatalf("got %d overviews and %d mirrors, want 1 and none", len(overview), len(classed(elements, "mirror")))
	}
	at := -1
	for _, want := range []string{"Not mirroring shadow-ledger@docker 2 mistakes", "Differs shadow-billing@docker 4 of 12,431 answers really differ", "Nothing yet shadow-customers@file no answers compared yet", "Not comparing shadow-reports@file"} {
		i := strings.Index(overview[0].text, want)
		if i <= at {
			t.Errorf("the overview does not say %q, or too early", want)
		}
		at = i
	}
	links := 0
	for _, e := range named(elements, "a") {
		if e.attributes["href"] == "?middleware=shadow-billing%40docker" && e.text == "shadow-billing@docker" {
			links++
		}
	}
	if links != 1 {
		t.Errorf("%d links lead to the page of shadow-billing@docker, want 1", links)
	}
	_, elements = written(t, several, "middleware=shadow-billing@docker")
	if n := len(classed(elements, "mirror")); n != 1 || len(classed(elements, "overview")) != 0 || named(elements, "h1")[0].text != "Mirror report" {
		t.Errorf("the page of one has %d mirrors", n)
	}
}

func TestTheTitleHasTheVerdict(t *testing.T) {
	for query, want := range map[string]string{
		"": "Not mirroring: 1 of 3 mirrors – Mirror report", "middleware=shadow-billing": "Differs: shadow-billing@docker – Mirror report", "middleware=nobody": "Not mirroring: 1 of 3 mirrors – Mirror report",
	} {
		_, elements := written(t, documentOf(billing(), reports(), mistakenMirror()), query)
		if got := named(elements, "title")[0].text; got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
	_, elements := written(t, documentOf(), "")
	if got := named(elements, "title")[0].text; got != "Mirror report" {
		t.Errorf("without mirrors: got %q", got)
	}
}

func TestThePageWithoutMirrorsSaysSo(t *testing.T) {
	_, elements := written(t, documentOf(), "")
	if text := named(elements, "main")[0].text; !strings.Contains(text, "No mirror yet") {
		t.Errorf("got %q", text)
	}
}

func TestThePageSaysWhatIsNotThere(t *testing.T) {
	for _, query := range []string{"middleware=shadow-nobody", "middleware=shadow-billing&endpoint=GET+/nothing"} {
		_, elements := written(t, documentOf(billing(), reports()), query)
		if text := named(elements, "main")[0].text; !strings.Contains(text, "There is no such middleware or endpoint") {
			t.Errorf("%q: got %.300q", query, text)
		}
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
			examples[j] = Example{Path: long, Query: []string{long}, Curl: long, RequestID: long, Live: long, Shadow: long}
		}
		c.Differences = append(c.Differences, Difference{Endpoint: long, Key: key, Judgement: []string{compare.Real, compare.Undecided, compare.Noise, compare.Ignored}[i%4], Ignore: key, Examples: examples})
		c.Endpoints = append(c.Endpoints, Endpoint{Endpoint: long})
	}
	page, elements := written(t, documentOf(m), everythingOpen)
	if n := len(classed(elements, "difference")); n != 85 {
		t.Errorf("got %d differences, want 40 that are real and 15 of each other judgement", n)
	}
	text := named(elements, "main")[0].text
	for _, want := range []string{"1,211 more are in report.json.", "1,235 more are in report.json.", "4,982 more are in report.json."} {
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
	if page, _ := written(t, documentOf(good, bad), "middleware=shadow-billing"); !strings.Contains(page, "mirrors 12.5% to") {
		t.Error("the page does not say what share is mirrored")
	}
	page, elements := written(t, documentOf(good, bad), "middleware=shadow-ledger")
	var items []string
	for _, e := range elements {
		if e.name == "li" && e.parent.attributes["class"] == "mistakes" {
			items = append(items, e.text)
		}
	}
	if len(items) != 3 || items[1] != bad.Mistakes[1] || items[2] != bad.Mistakes[2] {
		t.Errorf("the page lists %q, want %q", items, bad.Mistakes)
	}
	for _, want := range []string{"Not mirroring", "3 mistakes in the options: nothing is mirrored", "Live is served as without the mirror until then"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "<script>") || strings.Count(page, "give the middleware the option") != 0 {
		t.Error("the page has markup of an option's value, or advises to compare where nothing is mirrored")
	}
}
