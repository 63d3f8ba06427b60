package observability

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

// unfolded is the query of a page that has nothing folded.
const unfolded = "&open=noise&open=ignored&open=time&open=latency"

func TestPageInABrowser(t *testing.T) {
	s := runScene(t, &billing{traces: true}, &billing{halfToEven: true, failsAtCreditNotes: true, traces: true})
	const n = 2500 // so that every sort of request comes often enough
	s.send(t, n)
	m := s.settled(t, n)
	b := openBrowser(t)
	b.open(s.page() + "?refresh=0" + unfolded)

	for _, test := range []struct {
		name  string
		check func(t *testing.T)
	}{
		{"says what the report says", func(t *testing.T) { b.checkText(t, m.Comparison) }},
		{"draws its charts", b.checkCharts},
		{"fits a telephone", b.checkWidth},
		{"has the colours that are preferred", b.checkSchemes},
		{"can be heard", b.checkAccessibility},
		{"can be used with the keyboard", b.checkKeyboard},
		{"gives the browser nothing to complain about", func(*testing.T) { b.checkQuiet() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.t = t
			test.check(t)
		})
	}
}

// checkText looks for the verdict and for the first difference with its values.
func (b *browser) checkText(t *testing.T, c *report.Comparison) {
	if got := ask[string](b, `document.querySelector(".verdict").textContent`); got != c.Headline {
		t.Errorf("the verdict is %q, want %q", got, c.Headline)
	}
	if got := ask[string](b, `document.querySelector(".status").textContent`); got != "Differs" {
		t.Errorf("the status is %q", got)
	}
	shown := ask[[][]string](b, `[...document.querySelectorAll(".difference")].map(d => [d.querySelector("code"), ...[...d.querySelectorAll("dd")].slice(0, 2)].map(e => e.textContent))`)
	found := map[string]bool{}
	for _, d := range shown {
		found[strings.Join(d, " | ")] = true
	}
	keys := map[string]bool{}
	for _, d := range c.Differences {
		keys[d.Key] = true
		if d.Judgement == compare.Ignored {
			continue // nothing is shown of it
		}
		want := compare.Real
		if d.Key == "$.traceId" {
			want = compare.Undecided // nothing was asked for twice
		}
		if d.Judgement != want {
			t.Errorf("%s of %s is %s, want %s", d.Key, d.Endpoint, d.Judgement, want)
		}
		latest := d.Examples[len(d.Examples)-1]
		if want := d.Key + " | " + latest.Live + " | " + latest.Shadow; !found[want] {
			t.Errorf("the page does not show %q, but %q", want, shown)
		}
	}
	for _, key := range []string{"$.tax", "$.total", "status", "$.traceId"} {
		if !keys[key] {
			t.Errorf("no difference is in %s: %v", key, keys)
		}
	}
	if visible := ask[string](b, `document.body.innerText`); !strings.Contains(visible, "$.total") {
		t.Errorf("$.total is not in sight:\n%s", visible)
	}
}

// checkCharts wants every chart, and every line and bar in it, to take room, and no label
// to be crossed by a line or a bar.
func (b *browser) checkCharts(t *testing.T) {
	type box struct {
		What          string
		Width, Height float64
	}
	boxes := ask[[]box](b, `[...document.querySelectorAll("svg.chart, svg.chart .plot path, svg.chart rect")].map(e => {
		const r = e.getBoundingClientRect();
		return {What: e.tagName + "." + e.getAttribute("class"), Width: r.width, Height: r.height};
	})`)
	count := map[string]int{}
	for _, box := range boxes {
		count[box.What]++
		least := 1.0
		if box.What == "svg.chart" {
			least = 100
		}
		if max(box.Width, box.Height) < least || box.Width < 1 || box.Height < 0.5 {
			t.Errorf("%s is %.1f by %.1f", box.What, box.Width, box.Height)
		}
	}
	for what, want := range map[string]int{"svg.chart": 2, "rect.real": 1, "path.live": 1, "path.shadow": 1, "rect.volume": 1} {
		if count[what] < want {
			t.Errorf("%d of %s, want %d: %v", count[what], what, want, count)
		}
	}
	crossed := ask[[]string](b, `(() => {
		const drawn = [...document.querySelectorAll(".chart line, .chart rect, .chart .plot")].map(e => e.getBoundingClientRect());
		return [...document.querySelectorAll(".chart text, .axis text")].filter(text => {
			const r = text.getBoundingClientRect();
			return drawn.some(d => d.left < r.right - 1 && d.right > r.left + 1 && d.top < r.bottom - 3 && d.bottom > r.top + 3);
		}).map(text => text.textContent);
	})()`)
	if len(crossed) > 0 {
		t.Errorf("labels with something drawn across: %q", crossed)
	}
}

// checkWidth wants nothing to scroll sideways but tables, with everything open.
func (b *browser) checkWidth(t *testing.T) {
	defer b.resize(1200, 1000)
	for _, width := range []int64{360, 390, 768, 1200, 2560} {
		b.resize(width, 800)
		if got := ask[int64](b, `document.documentElement.scrollWidth`); got > width {
			wide := ask[[]string](b, `[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, .chart") && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className).slice(0, 5)`)
			t.Errorf("the page is %d wide in a window of %d, because of %q", got, width, wide)
		}
	}
}

//go:embed testdata/contrast.js
var contrastScript string

func (b *browser) checkSchemes(t *testing.T) {
	defer b.prefer("light")
	look := func(expression string) string { return "{" + contrastScript + expression + "}" }
	for _, scheme := range []string{"light", "dark"} {
		b.prefer(scheme)
		if light := ask[float64](b, look("luminance(background(document.body))")); (light > 0.5) != (scheme == "light") {
			t.Errorf("%s: the luminance of the page is %.2f", scheme, light)
		}
		if pale := ask[[]string](b, look("pale()")); len(pale) > 0 {
			t.Errorf("%s: hard to read: %q", scheme, pale)
		}
		if n := ask[int](b, look("texts().length")); n < 100 {
			t.Errorf("%s: looked at %d texts only", scheme, n)
		}
	}
}

// checkAccessibility looks at what the browser hands to a screen reader.
func (b *browser) checkAccessibility(t *testing.T) {
	nodes := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	count := map[string]int{}
	level := 0
	for _, node := range nodes {
		role := text(node.Role)
		if node.Ignored {
			continue
		}
		count[role]++
		switch role {
		case "image", "table", "link", "heading", "region", "navigation", "group":
			if text(node.Name) == "" {
				t.Errorf("a %s has no name", role)
			}
		case "columnheader", "rowheader":
			if text(node.Name) == "" {
				t.Errorf("a %s is empty", role)
			}
		}
		if role == "image" && text(node.Description) == "" {
			t.Errorf("the chart %q has no description", text(node.Name))
		}
		if role == "heading" {
			next := levelOf(t, node)
			if next > level+1 {
				t.Errorf("the heading %q of level %d comes after one of level %d", text(node.Name), next, level)
			}
			level = next
		}
	}
	for role, want := range map[string]int{"banner": 1, "main": 1, "image": 2, "table": 5, "heading": 6, "region": 1} {
		if count[role] < want {
			t.Errorf("%d of %s, want %d: %v", count[role], role, want, count)
		}
	}
}

// checkKeyboard goes through the page with the tabulator, and follows a link with Enter.
func (b *browser) checkKeyboard(t *testing.T) {
	press := func(key string, code int64) {
		for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
			call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: kind, Key: key, Code: key, WindowsVirtualKeyCode: code})
		}
		if key == "Enter" {
			call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeChar, Text: "\r", Key: key, Code: key})
		}
	}
	const focused = `(() => { const e = document.activeElement, s = getComputedStyle(e); return e === document.body ? "" : e.tagName + " " + (e.getAttribute("href") || e.getAttribute("aria-label")) + (s.outlineStyle === "none" ? " without an outline" : ""); })()`
	all := ask[int](b, `document.querySelectorAll("a[href], [tabindex]").length`)
	ask[bool](b, `(document.activeElement.blur(), scrollTo(0, 0), true)`)
	reached := map[string]bool{}
	for range all {
		press("Tab", 9)
		at := ask[string](b, focused)
		if strings.HasSuffix(at, "without an outline") {
			t.Errorf("nobody sees that the focus is on %s", at)
		}
		reached[at] = true
	}
	for _, want := range []string{"A #main", "A report.json", "A metrics", "DIV Endpoints, table", "DIV Latency, table"} {
		if !reached[want] {
			t.Errorf("the tabulator does not lead to %s, but to %v", want, reached)
		}
	}
	if n := ask[int](b, `new Set([...document.querySelectorAll("a[href], [tabindex]")].map(e => e.tagName + " " + (e.getAttribute("href") || e.getAttribute("aria-label")))).size`); len(reached) < n {
		t.Errorf("the tabulator leads to %d of %d", len(reached), n)
	}
	ask[bool](b, `(document.querySelector("#time a").focus(), true)`)
	press("Enter", 13)
	eventually(t, func() error {
		open, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`location.search.includes("open=time") || document.querySelector("#time + .scroll") !== null`))
		if err != nil || open {
			return fmt.Errorf("the numbers of the chart are still shown (%v)", err)
		}
		return nil
	})
}

func text(v *accessibility.Value) string {
	if v == nil {
		return ""
	}
	var s string
	json.Unmarshal(v.Value, &s)
	return strings.TrimSpace(s)
}

func levelOf(t *testing.T, node *accessibility.Node) int {
	t.Helper()
	for _, p := range node.Properties {
		if p.Name == accessibility.PropertyNameLevel {
			level, err := strconv.Atoi(string(p.Value.Value))
			if err != nil {
				t.Fatal(err)
			}
			return level
		}
	}
	t.Errorf("the heading %q has no level", text(node.Name))
	return 0
}

// What the README says of the upstreams that the examples are run with.
func TestUpstreamsOfTheExamplesDifferInTheirNames(t *testing.T) {
	s := runScene(t, named("billing"), named("billing-next"))
	s.send(t, 4)
	c := s.settled(t, 4).Comparison
	upstreams := int64(0)
	for _, d := range c.Differences {
		if d.Key == "$.upstream" && d.Judgement == compare.Undecided {
			upstreams += d.Count
		}
	}
	if c.Compared != 4 || c.Undecided != 4 || upstreams != 4 {
		t.Errorf("%d of %d pairs are undecided, in %+v; want 4, in $.upstream", c.Undecided, c.Compared, c.Differences)
	}
}

// named answers as e2e/examples/upstream does.
func named(name string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, http.StatusOK, map[string]any{"upstream": name})
	})
}

func TestPageLoadsItselfAnew(t *testing.T) {
	s := runScene(t, &billing{}, &billing{})
	s.flow(t, 5*time.Millisecond)
	b := openBrowser(t)
	b.open(s.page() + "?open=time")
	last := 0
	// The page may be left just now: the browser calls that an error. What was unfolded is so
	// yet.
	more := func() error {
		line, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`(document.querySelector("#time + .scroll") ? "" : "folded ") + document.querySelector(".facts dd").textContent`))
		if err != nil {
			return err
		}
		n, _, _ := strings.Cut(strings.ReplaceAll(line, ",", ""), " ")
		now, err := strconv.Atoi(n)
		if err != nil || now <= last {
			return fmt.Errorf("%q, %d pairs before", line, last)
		}
		last = now
		return nil
	}
	for range 3 { // as it is opened, and anew twice
		eventually(t, more)
	}
	b.checkQuiet()
}

// hostile is what a shadow may answer that wants to run in the browser of who
// looks at the report.
const hostile = `<script>alert(1); globalThis.ran = 1</script><img src=x onerror='alert(2); globalThis.ran = 2'>`

func TestPageRunsNothingThatAnswersHold(t *testing.T) {
	body := func(value string) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			answer(rw, http.StatusOK, map[string]any{
				"note": value, `"><svg onload="alert(3); globalThis.ran = 3">`: value,
				"link": `javascript:alert(4)` + value, "style": `</style><script>alert(5)</script>` + value,
			})
		})
	}
	s := runScene(t, body(hostile+"1"), body(hostile+"2"))
	for _, path := range []string{"/invoices/%3Cscript%3Ealert(6)%3C%2Fscript%3E", `/invoices/%22%20onmouseover=%22alert(7)`} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.traefik.URL(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		do(t, s.client, req)
	}
	s.settled(t, 2)
	b := openBrowser(t)
	b.open(s.page() + "?refresh=0" + unfolded)
	if shown := ask[string](b, `document.body.innerText`); !strings.Contains(shown, hostile) || !strings.Contains(shown, "<script>alert(6)</script>") {
		t.Errorf("the page does not show what was answered:\n%s", shown)
	}
	if ran := ask[string](b, `String(globalThis.ran)`); ran != "undefined" {
		t.Errorf("script %s has run", ran)
	}
	if n := ask[int](b, `document.querySelectorAll("script, img, iframe, object, embed, form, base, svg[onload]").length`); n != 0 {
		t.Errorf("%d elements on the page are the answers'", n)
	}
	if on := ask[[]string](b, `[...document.querySelectorAll("*")].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith("on") || /^javascript:/i.test(a.value)).map(a => a.name + "=" + a.value)`); len(on) != 0 {
		t.Errorf("attributes that run: %q", on)
	}
	b.checkQuiet()
}
