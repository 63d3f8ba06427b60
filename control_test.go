package mirror

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// controlledTo is comparingTo with a control.
func controlledTo(t *testing.T, shadow, control string, next http.Handler, set func(*Config)) http.Handler {
	t.Helper()
	return comparingTo(t, shadow, next, func(c *Config) {
		c.set("compare.control", control)
		if set != nil {
			set(c)
		}
	})
}

// jsonAnswering has an upstream answer with a JSON text, which may be made of the request.
func jsonAnswering(body func(req *http.Request) string) func(http.ResponseWriter, *http.Request) {
	return func(rw http.ResponseWriter, req *http.Request) {
		text := body(req)
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Length", fmt.Sprint(len(text)))
		io.WriteString(rw, text)
	}
}

func jsonText(text string) func(*http.Request) string {
	return func(_ *http.Request) string { return text }
}

// unanswering takes a request and closes the connection.
func unanswering(rw http.ResponseWriter, _ *http.Request) {
	if conn, _, err := http.NewResponseController(rw).Hijack(); err == nil {
		conn.Close()
	}
}

func controlNow(t *testing.T, name string) *shadow {
	t.Helper()
	m := mirrorCalled(t, name)
	mirrorsMu.Lock()
	defer mirrorsMu.Unlock()
	return controlOf(m.shadow)
}

func accountOf(t *testing.T, name string) *compare.Account {
	t.Helper()
	return settled(t, name).verdict.Snapshot().Account
}

// request is one for an invoice, with headers that end at a proxy, and others.
func unusualInvoice(method string) *http.Request {
	req := httptest.NewRequest(method, "/invoices/7?lines=all", nil)
	req.Header.Set("Connection", "X-Hop")
	req.Header.Set("X-Hop", "1")
	req.Header.Set("Cookie", "sid=1")
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	req.Header.Set("Accept-Encoding", "")
	return req
}

// The control gets what the shadow gets, but for its own address.
func TestControlGetsWhatTheShadowGets(t *testing.T) {
	for _, scheme := range schemes {
		t.Run(scheme, func(t *testing.T) {
			shadow, control := startUpstreamOver(t, scheme), startUpstreamOver(t, scheme)
			live := called(t, 4, jsonAnswering(jsonText(invoice)))
			h := controlledTo(t, shadow.URL, control.URL+"/old", live, func(c *Config) {
				c.set("compare.controlMethods", "GET,HEAD,OPTIONS,POST")
				c.set("customRequestHeaders.X-Env", "shadow")
				c.set("customRequestHeaders.Cookie", "")
				c.set("tls.insecureSkipVerify", "true")
			})
			serve(h, unusualInvoice(http.MethodGet))
			serve(h, unusualInvoice(http.MethodHead))
			serve(h, unusualInvoice(http.MethodOptions))
			serve(h, postInvoice())
			shadow.wait(t, 4)
			got := control.wait(t, 4)
			settled(t, t.Name())
			byMethod := map[string]received{}
			for _, r := range got {
				byMethod[r.method] = r
			}
			for _, want := range shadow.snapshot() {
				r := byMethod[want.method]
				if r.uri != "/old"+want.uri || r.body != want.body || r.length != want.length || r.host != want.host || !reflect.DeepEqual(r.header, want.header) {
					t.Errorf("the control got\n%+v\nand the shadow\n%+v", r, want)
				}
				if r.header.Get(markerHeader) == "" || r.header.Get("X-Env") != "shadow" || r.header["Cookie"] != nil {
					t.Errorf("the control got %v", r.header)
				}
			}
			if a := accountOf(t, t.Name()); a.Control == nil || a.Control.Answered != 4 {
				t.Errorf("control %+v, want 4 answers", a.Control)
			}
		})
	}
}

// Only requests of some methods go to the control, unless the options say otherwise, and
// only those whose answers are compared.
func TestControlMethods(t *testing.T) {
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			tests := []struct {
				methods string
				want    []string
			}{
				{"", []string{"GET", "HEAD", "OPTIONS"}},
				{"post, PUT", []string{"POST", "PUT"}},
			}
			for _, test := range tests {
				shadow, control := startUpstream(t), startUpstream(t)
				name := t.Name() + test.methods
				h := mirrorNamedTo(t, name, shadow.URL, echoLive, func(c *Config) {
					c.set("bodyMode", mode)
					c.set("compare.control", control.URL)
					c.set("compare.controlMethods", test.methods)
				})
				for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
					serve(h, httptest.NewRequest(method, "/invoices", nil))
				}
				for _, method := range []string{"POST", "PUT", "DELETE"} {
					serve(h, httptest.NewRequest(method, "/invoices", strings.NewReader(invoice)))
				}
				events := httptest.NewRequest("GET", "/events", nil)
				events.Header.Set("Accept", "text/event-stream")
				serve(h, events)
				shadow.wait(t, 7)
				settled(t, name)
				var got []string
				for _, r := range control.snapshot() {
					got = append(got, r.method)
					if r.method[0] == 'P' && r.body != invoice {
						t.Errorf("%s: the control got the body %q", r.method, r.body)
					}
				}
				sortTexts(got)
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("the control got %q, want %q", got, test.want)
				}
				awaitNoneInFlight(t, controlNow(t, name).mirror)
			}
		})
	}
}

func sortTexts(list []string) {
	for i := range list {
		for j := i + 1; j < len(list); j++ {
			if list[j] < list[i] {
				list[i], list[j] = list[j], list[i]
			}
		}
	}
}

// What the answers of the three say of a new version.
func TestControlTellsNoiseFromMistakes(t *testing.T) {
	mu := &sync.Mutex{}
	n := 0
	count := func(_ *http.Request) string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf(`{"trace":"%06x-%06x"}`, n*7919%0xffffff, n*104729%0xffffff)
	}
	total := func(req *http.Request) string { return `{"total":"` + req.URL.Query().Get("n") + `.50"}` }
	wrong := func(req *http.Request) string { return `{"total":"` + req.URL.Query().Get("n") + `50"}` }
	tests := []struct {
		name                  string
		live, shadow, control func(*http.Request) string
		want                  string
	}{
		{"no mistake", total, total, total, ""},
		{"made anew", count, count, count, compare.Noise},
		{"a hundred times too large", total, wrong, total, compare.Real},
		{"a control of the new version", total, wrong, wrong, compare.Undecided},
		{"only the control differs", total, total, wrong, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			shadow, control := startUpstream(t), startUpstream(t)
			shadow.answer = jsonAnswering(test.shadow)
			control.answer = jsonAnswering(test.control)
			h := controlledTo(t, shadow.URL, control.URL, http.HandlerFunc(jsonAnswering(test.live)), nil)
			for i := 0; i < 30; i++ {
				serve(h, httptest.NewRequest("GET", fmt.Sprintf("/invoices?n=%d", 1000+i), nil))
			}
			a := accountOf(t, t.Name())
			got := ""
			for _, d := range a.Differences {
				got += d.Judgement
			}
			if got != test.want || a.Compared != 30 || a.Control.Answered != 30 || a.Endpoints[0].Controlled != 30 {
				t.Errorf("%q, %d compared, control %+v; want %q of 30: %+v", got, a.Compared, a.Control, test.want, a.Differences)
			}
		})
	}
}

// A control that fails costs pairs their control, and nothing else.
func TestControlThatFailsCostsNothingElse(t *testing.T) {
	tests := []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request)
	}{
		{"it closes connections", unanswering},
		{"it answers half", func(rw http.ResponseWriter, req *http.Request) {
			rw.Header().Set("Content-Length", "500")
			io.WriteString(rw, "half")
			unanswering(rw, req)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			book := captureLog(t)
			shadow, control := startUpstream(t), startUpstream(t)
			shadow.answer = jsonAnswering(jsonText(invoice))
			control.answer = test.answer
			h := controlledTo(t, shadow.URL, control.URL, called(t, 5, jsonAnswering(jsonText(invoice))), nil)
			for i := 0; i < 5; i++ {
				serve(h, getInvoice())
				settled(t, t.Name())
			}
			s := outcomes(t, t.Name(), 5)
			if c := s.Account.Control; s.Totals.Outcomes[compare.Match] != 5 || c.Failed != 5 || c.Answered != 0 || len(c.Without) != 1 {
				t.Errorf("%v, control %+v; want 5 matches and 5 failures", s.Totals.Outcomes, c)
			}
			m := mirrorCalled(t, t.Name())
			if n := m.counts.failed.Load(); n != 0 {
				t.Errorf("%d failures of the shadow's, want none", n)
			}
			lines := strings.Join(book.lines(), "\n")
			if !strings.Contains(lines, "the control failed: ") || strings.Contains(lines, "the shadow") {
				t.Errorf("logged %q, want that the control failed", lines)
			}
		})
	}
}

// A control that is left alone is not asked, but for probes, and the shadow is.
func TestControlHasAPauseOfItsOwn(t *testing.T) {
	book := captureLog(t)
	shadow, control := startUpstream(t), startUpstream(t)
	shadow.answer = jsonAnswering(jsonText(invoice))
	control.answer = unanswering
	h := controlledTo(t, shadow.URL, control.URL, http.HandlerFunc(jsonAnswering(jsonText(invoice))), nil)
	for i := 0; i < failuresToPause+5; i++ {
		serve(h, getInvoice())
		settled(t, t.Name())
	}
	m := mirrorCalled(t, t.Name())
	if n := m.counts.answers(); n != failuresToPause+5 || len(m.shadow.pause.leftAlone) > 0 {
		t.Errorf("the shadow has answered %d, want all", n)
	}
	address, paused, lastError := m.shadow.controlState()
	if address != control.URL || !paused || !strings.Contains(lastError, "the control closed the connection") {
		t.Errorf("%q, paused %t, %q", address, paused, lastError)
	}
	if !strings.Contains(strings.Join(book.lines(), "\n"), "the control failed 10 times in a row and is left alone (paused)") {
		t.Errorf("logged %q", book.lines())
	}
	control.mu.Lock()
	control.answer = jsonAnswering(jsonText(invoice))
	control.mu.Unlock()
	eventually(t, "the end of the pause", func() bool {
		serve(h, getInvoice())
		settled(t, t.Name())
		_, paused, _ := m.shadow.controlState()
		return !paused
	})
	a := accountOf(t, t.Name())
	if c := a.Control; c.Failed < failuresToPause || c.Paused == 0 || c.Answered == 0 || c.Failed+c.Paused+c.Answered != a.Compared {
		t.Errorf("%+v of %d, want failures, pauses and answers", c, a.Compared)
	}
}

// A copy keeps its place until the control has answered, but no longer than timeout, and
// neither live nor the shadow waits for it.
func TestSlowControlKeepsThePlace(t *testing.T) {
	shadow, control := startUpstream(t), startUpstream(t)
	shadow.answer = jsonAnswering(jsonText(invoice))
	release := control.hang(t)
	h := controlledTo(t, shadow.URL, control.URL, http.HandlerFunc(jsonAnswering(jsonText(invoice))), nil)
	serve(h, getInvoice())
	shadow.wait(t, 1)
	control.wait(t, 1)
	m := mirrorCalled(t, t.Name())
	eventually(t, "the shadow's answer", func() bool { return m.counts.answers() == 1 })
	if n := m.inFlight.Load(); n != 1 {
		t.Errorf("%d in flight while the control answers, want 1", n)
	}
	release()
	a := accountOf(t, t.Name())
	if a.Control.Answered != 1 {
		t.Errorf("%+v, want an answer", a.Control)
	}

	h = mirrorNamedTo(t, t.Name()+"/timeout", shadow.URL, http.HandlerFunc(jsonAnswering(jsonText(invoice))), func(c *Config) {
		c.set("compare.control", control.URL)
		c.set("timeout", "200ms")
	})
	control.hang(t)
	serve(h, getInvoice())
	a = accountOf(t, t.Name()+"/timeout")
	if a.Control.Failed != 1 || a.Compared != 1 || a.Agreeing() != 1 {
		t.Errorf("%+v of %d, want a failure", a.Control, a.Compared)
	}
}

// A shadow that fails costs the control nothing.
func TestControlIsAskedWhereTheShadowFails(t *testing.T) {
	shadow, control := startUpstream(t), startUpstream(t)
	shadow.answer = jsonAnswering(jsonText(invoice))
	control.answer = jsonAnswering(jsonText(invoice))
	h := controlledTo(t, shadow.URL, control.URL, http.HandlerFunc(jsonAnswering(jsonText(invoice))), nil)
	for i := 0; i < 6; i++ {
		shadow.mu.Lock()
		if shadow.answer = jsonAnswering(jsonText(invoice)); i%3 == 2 {
			shadow.answer = unanswering
		}
		shadow.mu.Unlock()
		serve(h, getInvoice())
		settled(t, t.Name())
	}
	a := accountOf(t, t.Name())
	if len(a.Differences) != 1 || a.Differences[0].Relation != "no answer" || a.Differences[0].Judgement != compare.Real || a.Control.Answered != 6 {
		t.Errorf("%+v, control %+v; want two that are real", a.Differences, a.Control)
	}
	if n := len(control.snapshot()); n != 6 {
		t.Errorf("the control got %d requests, want 6", n)
	}
	// The shadow is left alone: so is the control.
	for i := 0; i < failuresToPause; i++ {
		mirrorCalled(t, t.Name()).shadow.failed(false, io.EOF, time.Now())
	}
	serve(h, getInvoice())
	settled(t, t.Name())
	if n := len(control.snapshot()); n != 6 {
		t.Errorf("the control got %d requests while the shadow is left alone, want 6", n)
	}
}

// Two routers share a control, a change of the options makes another, and the one before
// ends.
func TestControlsEndWithTheirShadows(t *testing.T) {
	shadow, control, other := startUpstream(t), startUpstream(t), startUpstream(t)
	live := http.HandlerFunc(jsonAnswering(jsonText(invoice)))
	set := func(url, timeout string) func(*Config) {
		return func(c *Config) {
			c.set("compare.control", url)
			c.set("timeout", timeout)
		}
	}
	first := mirrorTo(t, shadow.URL, live, set(control.URL, "5s"))
	second := mirrorTo(t, shadow.URL, live, set(control.URL, "5s"))
	before := controlNow(t, t.Name())
	serve(first, getInvoice())
	serve(second, getInvoice())
	if n := len(control.wait(t, 2)); n != 2 {
		t.Errorf("the control got %d requests, want 2", n)
	}
	if a := accountOf(t, t.Name()); a.Control.Answered != 2 {
		t.Errorf("%+v, want 2 answers", a.Control)
	}

	// Another timeout goes on counting, another control does not.
	third := mirrorTo(t, shadow.URL, live, set(control.URL, "6s"))
	if !before.retired.Load() || controlNow(t, t.Name()) == before {
		t.Errorf("the control of other options is not retired")
	}
	serve(third, getInvoice())
	if a := accountOf(t, t.Name()); a.Control.Answered != 3 {
		t.Errorf("%+v after another timeout, want 3 answers", a.Control)
	}
	serve(first, getInvoice()) // of the options before: nothing is lost but the control
	if a := accountOf(t, t.Name()); a.Compared != 4 {
		t.Errorf("%d compared, want 4", a.Compared)
	}
	fourth := mirrorTo(t, shadow.URL, live, set(other.URL, "6s"))
	serve(fourth, getInvoice())
	if a := accountOf(t, t.Name()); a.Control.Answered != 1 || a.Compared != 1 {
		t.Errorf("%+v of %d after another control, want one", a.Control, a.Compared)
	}
	other.wait(t, 1)
	eventually(t, "the end of the workers", func() bool { return before.workers.Load() == 0 })

	without := mirrorTo(t, shadow.URL, live, func(c *Config) { c.set("compare", true) })
	serve(without, getInvoice())
	if a := accountOf(t, t.Name()); a.Control != nil || a.Compared != 1 {
		t.Errorf("%+v of %d without a control", a.Control, a.Compared)
	}
}

// No request goes to another middleware's control.
func TestControlsAreTheirOwnMiddlewares(t *testing.T) {
	var wait sync.WaitGroup
	for m := 0; m < 3; m++ {
		own := fmt.Sprintf(`{"middleware":%d}`, m)
		shadow, control := startUpstream(t), startUpstream(t)
		shadow.answer = jsonAnswering(jsonText(own))
		control.answer = jsonAnswering(jsonText(own))
		name := fmt.Sprintf("%s/%d", t.Name(), m)
		h := mirrorNamedTo(t, name, shadow.URL, http.HandlerFunc(jsonAnswering(jsonText(own))), func(c *Config) { c.set("compare.control", control.URL) })
		wait.Add(1)
		go sendOwn(&wait, h, name)
		t.Cleanup(func() {
			for _, r := range control.snapshot() {
				if r.header.Get("X-Own") != name {
					t.Errorf("the control of %s got a request of %s", name, r.header.Get("X-Own"))
				}
			}
		})
	}
	wait.Wait()
	for m := 0; m < 3; m++ {
		if a := accountOf(t, fmt.Sprintf("%s/%d", t.Name(), m)); a.Compared != 100 || a.Agreeing() != 100 || a.Control.Answered != 100 {
			t.Errorf("%d of %d agree, control %+v; want 100", a.Agreeing(), a.Compared, a.Control)
		}
	}
}

func sendOwn(wait *sync.WaitGroup, h http.Handler, name string) {
	for i := 0; i < 100; i++ {
		req := getInvoice()
		req.Header.Set("X-Own", name)
		serve(h, req)
		if i%20 == 19 {
			waitForPlaces(name)
		}
	}
	wait.Done()
}

// waitForPlaces waits until a mirror has nothing under way.
func waitForPlaces(name string) {
	mirrorsMu.Lock()
	m := mirrors[name]
	mirrorsMu.Unlock()
	for m.inFlight.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// Mistakes in the options name them, and a password is not shown.
func TestMistakesInTheControl(t *testing.T) {
	tests := []struct {
		url, control, methods string
		want                  string
	}{
		{"http://billing-next:8080", "billing-old:8080", "", `compare.control: "billing-old:8080": takes an http, https or h2c URL`},
		{"http://billing-next:8080", "ftp://billing-old", "", `compare.control: "ftp://billing-old": takes an http, https or h2c URL`},
		{"http://billing-next:8080", "http://user:secret@billing-old", "", "compare.control: has a user name"},
		{"http://billing-next:8080", "http://billing-old?token=secret", "", `compare.control: "http://billing-old?…": takes`},
		{"http://billing-next", "http://Billing-Next:80/", "", `compare.control: "http://Billing-Next:80/": takes a URL other than url's`},
		{"http://billing-next/v2", "http://billing-next/v2/", "", "a URL other than url's"},
		{"http://billing-next/v2", "http://billing-next/v1", "", ""},
		{"http://billing-next", "http://billing-next:8080", "", ""},
		{"http://billing-next:8080", "http://billing-old", "G ET", `compare.controlMethods: "G ET": takes HTTP methods`},
		{"http://billing-next:8080", "http://billing-old", "GTE", `compare.controlMethods: "GTE" is no method that servers know`},
	}
	for _, test := range tests {
		c := CreateConfig()
		c.set("url", test.url)
		c.set("compare.control", test.control)
		if test.methods != "" {
			c.set("compare.controlMethods", test.methods)
		}
		said := c.parse().remark()
		if !strings.Contains(said, test.want) || test.want == "" && said != "" || strings.Contains(said, "secret") {
			t.Errorf("%s beside %s: said %q, want %q", test.control, test.url, said, test.want)
		}
	}
	c := CreateConfig()
	c.set("url", "http://billing-next:8080")
	c.set("compare.control", "https://billing-old")
	c.set("tls.serverName", "billing.internal")
	if o := c.parse(); o.remark() != "" || !o.compare.Control || !reflect.DeepEqual(o.controlMethods, map[string]bool{"GET": true, "HEAD": true, "OPTIONS": true}) {
		t.Errorf("said %q, control %v, methods %v", o.remark(), o.control, o.controlMethods)
	}
}
