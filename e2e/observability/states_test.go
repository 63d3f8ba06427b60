package observability

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/page"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// A state is a mirror that the page has to tell of, and what it says first.
type state struct {
	name                 string
	live, shadow         http.HandlerFunc
	control              http.HandlerFunc
	options              testbed.Values
	n                    int
	badge, headline, use string // use is a part of what there is to do next
	sees                 string // what else has to be seen
}

// invoicesFrom answers with an invoice each, after edit has made it another.
func invoicesFrom(edit func(n int64, invoice map[string]any)) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		n := int64(0)
		fmt.Sscanf(filepath.Base(req.URL.Path), "2026-%d", &n)
		invoice := map[string]any{"number": fmt.Sprintf("2026-%05d", n), "customer": customer(n), "total": euros(netOf(n))}
		edit(n, invoice)
		answer(rw, http.StatusOK, invoice)
	}
}

func asItIs(int64, map[string]any) {}

// inCents has every total a hundred times too large.
func inCents(n int64, invoice map[string]any) { invoice["total"] = fmt.Sprint(netOf(n)) }

// streams answers with an event, as a stream of them begins.
func streams(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(rw, "data: paid\n\n")
}

// mixed has one mistake in a few answers, an identifier that is made anew in all, and a note
// of which nobody knows whether it is meant.
func mixed(version string) http.HandlerFunc {
	var made atomic.Int64
	made.Store(int64(len(version)) * 1e6)
	return invoicesFrom(func(n int64, invoice map[string]any) {
		invoice["requestId"] = fmt.Sprintf("%08x-0000-4000-8000-%012x", made.Add(1)*2654435761%(1<<32), n)
		invoice["note"] = fmt.Sprintf("%s, invoice %d", version, n)
		if version == "newer" && n%40 == 7 {
			invoice["total"] = euros(netOf(n) + 1)
		}
	})
}

func states() []state {
	none := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { answer(rw, http.StatusNotFound, nil) })
	live := invoicesFrom(asItIs)
	fast := testbed.Values{"timeout": "500ms"}
	return []state{
		{name: "no-traffic", live: live, shadow: live, badge: "Nothing yet", headline: "no answers compared yet", use: "No request has come by yet."},
		{name: "early", live: live, shadow: live, n: 30, badge: "Too early", headline: "30 answers are too few to say", use: "at the rate so far there are enough in about"},
		{name: "all-skipped", live: streams, shadow: streams, n: 30, badge: "Nothing yet", headline: "none of 30 answers could be compared", use: "none could be compared", sees: "Live’s answer streams"},
		{name: "shadow-gone", live: live, n: 150, options: fast, badge: "Paused", headline: "no answers compared yet: the shadow is left alone (paused)", use: "See to the shadow", sees: "connect"},
		{name: "control-unfit", live: live, shadow: invoicesFrom(inCents), control: none, n: 150, badge: "Undecided", headline: "150 of 150 answers differ in what cannot be decided (100%)", use: "Decide what is undecided", sees: "The control is unfit at GET /control-unfit/*"},
		{name: "undecided", live: live, shadow: invoicesFrom(inCents), n: 150, badge: "Undecided", headline: "150 of 150 answers differ in what cannot be decided (100%)", use: "Decide what is undecided", sees: "have a second instance of the old version as compare.control"},
		{name: "controlled", live: live, shadow: invoicesFrom(inCents), control: live, n: 150, badge: "Differs", headline: "150 of 150 answers really differ (100%)", use: "See what really differs.", sees: "×100"},
		{name: "mixed", live: mixed("old"), shadow: mixed("newer"), n: 400, badge: "Differs", headline: "10 of 400 answers really differ (2.5%), 390 more cannot be decided", use: "See what really differs.", sees: "+0.01"},
		{name: "agrees", live: live, shadow: live, n: 150, badge: "Agrees", headline: "100% of 150 answers agree", use: "what nobody asked for was not compared"},
		{name: "not-comparing", live: live, shadow: live, n: 5, options: testbed.Values{"compare": nil}, badge: "Not comparing", headline: "answers are not compared; 5 requests mirrored", use: "give the middleware the option compare"},
		{name: "mistaken", live: live, shadow: live, n: 5, options: testbed.Values{"timeout": "2 s"}, badge: "Not mirroring", headline: "1 mistake in the options: nothing is mirrored", use: "Put these options right.", sees: "timeout"},
	}
}

// Whoever looks at a mirror, in whatever state it is, sees what is and what to do, the same
// in all places, on a desktop and on a telephone, by day and by night.
func TestEveryStateHasAPage(t *testing.T) {
	all := states()
	config := testbed.Dynamic{}.Mirror("report", testbed.Values{"serve": true}).Router("report", "PathPrefix(`/mirror/`)", "noop@internal", "report")
	serving := func(name string, handler http.HandlerFunc) string {
		return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: name, Handler: handler, BodyLimit: keptBody}).URL()
	}
	for _, s := range all {
		options := testbed.Values{"url": "http://127.0.0.1:9", "compare": testbed.Values{"body": "json", "show": "values"}}
		if s.shadow != nil {
			options["url"] = serving("billing-next", s.shadow)
		}
		if s.control != nil {
			options["compare"].(testbed.Values)["control"] = serving("billing-old", s.control)
		}
		for name, value := range s.options {
			options[name] = value
			if value == nil {
				delete(options, name)
			}
		}
		config.Service(s.name, serving("billing", s.live)).Mirror(s.name, options).Router(s.name, "PathPrefix(`/"+s.name+"/`)", s.name, s.name)
	}
	traefik := testbed.RunTraefik(t, testbed.Options{Dynamic: config, LogLevel: "ERROR"})
	client := traefik.Client()
	said := map[string]*report.Middleware{}
	for _, s := range all {
		for i := range s.n {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/%s/2026-%05d", traefik.URL(""), s.name, i%200), nil)
			if err != nil {
				t.Fatal(err)
			}
			do(t, client, req)
		}
	}
	at := func(path string) string { return traefik.URL("/mirror/" + path) }
	eventually(t, func() error {
		for _, s := range all {
			m, err := traefikReport(t, client, at("report.json"), s.name)
			if err != nil {
				return err
			}
			if m.InFlight > 0 || m.ConfigErrors == 0 && m.Mirrored+m.LostTotal < int64(s.n) {
				return fmt.Errorf("%s: %d mirrored and %d lost of %d, %d under way", s.name, m.Mirrored, m.LostTotal, s.n, m.InFlight)
			}
			said[s.name] = m
		}
		return nil
	})
	b := openBrowser(t)
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			b.t = t
			b.checkState(t, &s, said[s.name], at("?refresh=0&middleware="+s.name))
		})
	}
	t.Run("overview", func(t *testing.T) {
		b.t = t
		b.checkOverview(t, all, at("?refresh=0"))
	})
	b.t = t
	b.checkQuiet()
}

func traefikReport(t *testing.T, client *http.Client, address, name string) (*report.Middleware, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	_, body := do(t, client, req)
	d := &report.Document{}
	if err := json.Unmarshal(body, d); err != nil {
		return nil, err
	}
	if m := d.Middleware(name); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("the report says nothing of %s", name)
}

func (b *browser) checkState(t *testing.T, s *state, m *report.Middleware, address string) {
	b.resize(1280, 800)
	defer b.resize(1200, 1000)
	b.open(address)
	if got := ask[string](b, `document.querySelector(".mirror .status").textContent`); got != s.badge {
		t.Errorf("the badge is %q, want %q", got, s.badge)
	}
	if got := ask[string](b, `document.querySelector(".verdict").textContent`); got != s.headline || m.Comparison != nil && m.ConfigErrors == 0 && got != m.Comparison.Headline {
		t.Errorf("the headline is %q, want %q, as in report.json", got, s.headline)
	}
	if got, want := ask[string](b, `document.title`), s.badge+": "+s.name+"@file – Mirror report"; got != want {
		t.Errorf("the title is %q, want %q", got, want)
	}
	if got := ask[string](b, `document.querySelector(".next").textContent`); !strings.Contains(got, s.use) {
		t.Errorf("next is %q, want %q in it", got, s.use)
	}
	if got := ask[string](b, `document.body.innerText`); !strings.Contains(got, strings.ReplaceAll(s.sees, "’", "'")) {
		t.Errorf("the page does not say %q", s.sees)
	}
	if m.Comparison != nil && m.Comparison.Real > 0 {
		b.checkInSight(t)
	}
	for _, width := range []int64{390, 1280} {
		b.resize(width, 800)
		if got := ask[int64](b, `document.documentElement.scrollWidth`); got > width {
			t.Errorf("the page is %d wide in a window of %d", got, width)
		}
		for _, scheme := range []string{"light", "dark"} {
			b.prefer(scheme)
			if pale := ask[[]string](b, "{"+contrastScript+"pale()}"); len(pale) > 0 {
				t.Errorf("%s: hard to read: %q", scheme, pale)
			}
			b.keep(t, fmt.Sprintf("%s-%d-%s", s.name, width, scheme))
		}
		b.prefer("light")
	}
}

// checkInSight wants the first real difference, with its endpoint, its relation and an
// example, on the screen without scrolling.
func (b *browser) checkInSight(t *testing.T) {
	low := ask[map[string]float64](b, `(() => {
		const first = document.querySelector(".difference");
		const bottom = selector => first.querySelector(selector).getBoundingClientRect().bottom;
		return {endpoint: bottom(".what a"), key: bottom(".what code"), relation: bottom(".what strong"), example: bottom(".sides"), request: bottom(".sides + p"), screen: innerHeight};
	})()`)
	for what, bottom := range low {
		if bottom > low["screen"] || bottom <= 0 {
			t.Errorf("the %s of the first real difference ends at %.0f of a screen of %.0f", what, bottom, low["screen"])
		}
	}
}

// checkOverview wants all mirrors, the worst first, each with its badge and a way to its page.
func (b *browser) checkOverview(t *testing.T, all []state, address string) {
	b.open(address)
	b.keep(t, "overview")
	rank := map[string]int{"Not mirroring": 0, "Differs": 1, "Failing": 2, "Paused": 3, "Undecided": 4, "Too early": 5, "Nothing yet": 6, "Not comparing": 7, "Agrees": 8}
	type row struct{ Badge, Name, Text, Link string }
	rows := ask[[]row](b, `[...document.querySelectorAll(".overview li")].map(e => ({Badge: e.querySelector(".status").textContent, Name: e.querySelector("a").textContent, Text: e.textContent, Link: e.querySelector("a").href}))`)
	if len(rows) != len(all) {
		t.Fatalf("%d mirrors, want %d", len(rows), len(all))
	}
	last := 0
	for _, r := range rows {
		if rank[r.Badge] < last {
			t.Errorf("%s is behind a better one", r.Name)
		}
		last = rank[r.Badge]
		for _, s := range all {
			if s.name+"@file" == r.Name && (s.badge != r.Badge || !strings.Contains(r.Text, s.headline)) {
				t.Errorf("%s is %q, %q, want %q, %q", r.Name, r.Badge, r.Text, s.badge, s.headline)
			}
		}
	}
	if got, want := ask[string](b, `document.title`), "Not mirroring: 1 of 11 mirrors – Mirror report"; got != want {
		t.Errorf("the title is %q, want %q", got, want)
	}
	b.open(rows[1].Link)
	if got := ask[string](b, `document.querySelector(".name bdi").textContent`); got != rows[1].Name {
		t.Errorf("the link of %s leads to %s", rows[1].Name, got)
	}
}

// keep writes a picture of the whole page where the command line says.
func (b *browser) keep(t *testing.T, name string) {
	if *screenshots == "" {
		return
	}
	height := ask[float64](b, `document.documentElement.scrollHeight`)
	width := ask[float64](b, `innerWidth`)
	picture := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{
		Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true), Clip: &page.Viewport{Width: width, Height: height, Scale: 1},
	}).Data
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), []byte(picture), 0o644); err != nil {
		t.Error(err)
	}
}
