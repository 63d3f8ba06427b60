package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/latency"
)

// invoices is an account of pairs of GET /invoices/* and, a fifth as many, POST /invoices, in
// which the shadow takes 40 ms longer than live's 20.
func invoices(pairs int64) *compare.Account {
	a := &compare.Account{
		Since: before(time.Hour), Latest: generated, Minimum: 100, MaxAge: 10 * time.Minute, Show: compare.Hashes, Epoch: "build 4711", Width: 10 * time.Second,
		Live: &latency.Histogram{}, Shadow: &latency.Histogram{}, Difference: &latency.Differences{},
	}
	for i, name := range []string{"GET /invoices/*", "POST /invoices"} {
		e := compare.Endpoint{Name: name, Compared: pairs, Latest: generated, Live: &latency.Histogram{}, Shadow: &latency.Histogram{}, Difference: &latency.Differences{}}
		if i == 1 {
			e.Compared = pairs / 5
		}
		for n := int64(0); n < e.Compared; n++ {
			e.Live.Add(20 * time.Millisecond)
			e.Shadow.Add(60 * time.Millisecond)
			e.Difference.Add(40 * time.Millisecond)
		}
		a.Compared += e.Compared
		a.Live.Merge(e.Live)
		a.Shadow.Merge(e.Shadow)
		a.Difference.Merge(e.Difference)
		a.Endpoints = append(a.Endpoints, e)
	}
	if a.Compared > 0 {
		a.Intervals = []compare.Interval{{Start: before(60 * time.Second), Compared: a.Compared}}
	}
	return a
}

// judgedMirror is a mirror with that account; nil: it does not compare.
func judgedMirror(name string, a *compare.Account, set func(*Middleware)) *Middleware {
	m := &Middleware{Name: name, Shadow: "http://billing-next:8080", Mirrored: 5000, Dropped: map[string]int64{}, Failed: map[string]int64{}}
	if set != nil {
		set(m)
	}
	m.AddLosses()
	m.AddVerdict(&compare.Snapshot{Totals: &compare.Totals{Live: &latency.Histogram{}, Shadow: &latency.Histogram{}}, Account: a}, generated)
	return m
}

func documentFor(mirrors ...*Middleware) *Document {
	return &Document{Generated: generated, Instance: "traefik-7f9c-3f2a1b", Since: before(26 * time.Hour), Middlewares: mirrors}
}

// ask asks the document with a query.
func ask(t *testing.T, d *Document, query string) *Gate {
	t.Helper()
	values, err := ReadQuery(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return d.Answer(NewQuestion(values))
}

func TestGate(t *testing.T) {
	different := func(a *compare.Account) {
		a.Real = 6
		a.Endpoints[0].Real = 6
		a.Differences = []compare.Group{{Endpoint: "GET /invoices/*", Key: "$.total", Relation: "×100", Judgement: compare.Real, Count: 6, Pairs: 1000}}
	}
	unknown := func(a *compare.Account) {
		a.Undecided = 12
		a.Endpoints[1].Undecided = 12
		a.Differences = []compare.Group{{Endpoint: "POST /invoices", Key: "$.id", Judgement: compare.Undecided, Count: 12, Pairs: 200}}
	}
	tests := []struct {
		name    string
		pairs   int64 // of GET /invoices/*
		account func(*compare.Account)
		mirror  func(*Middleware)
		query   string
		status  int
		state   string
		says    string // in the reasons; "": there are none
	}{
		{"all is well", 1000, nil, nil, "", 200, "agrees", ""},
		{"real differences", 1000, different, nil, "", 409, "differs", "6 of 1,200 pairs really differ (0.5%), and none is allowed; GET /invoices/* $.total in 6 pairs of 1,000: ×100"},
		{"as many real ones as are allowed", 1000, different, nil, "max-real=6", 200, "agrees", ""},
		{"one more", 1000, different, nil, "max-real=5", 409, "differs", "and 5 are allowed"},
		{"the share that is allowed", 1000, different, nil, "max-real=0.5%", 200, "agrees", ""},
		{"the same as a number", 1000, different, nil, "max-real=0.005", 200, "agrees", ""},
		{"a smaller share", 1000, different, nil, "max-real=0.4%25", 409, "differs", "and 0.4% is allowed"},
		{"real ones are not undecided", 1000, different, nil, "max-undecided=100%", 409, "differs", "6 of 1,200"},
		{"real ones elsewhere", 1000, different, nil, "endpoint=POST+/invoices", 200, "agrees", ""},
		{"real ones there", 1000, different, nil, "endpoint=GET+/invoices/*", 409, "differs", "6 of 1,000 pairs"},

		{"undecided ones", 1000, unknown, nil, "", 409, "undecided", "12 pairs differ in what cannot be told from noise; POST /invoices $.id in 12 pairs of 200"},
		{"undecided ones that are allowed", 1000, unknown, nil, "max-undecided=1%", 200, "agrees", ""},
		{"undecided ones, of one endpoint", 1000, unknown, nil, "max-undecided=1%&endpoint=POST%20/invoices", 409, "undecided", "12 pairs differ"},

		{"nothing yet", 0, nil, nil, "", 503, "none", "nothing is compared yet"},
		{"nothing yet, and it is left alone", 0, nil, func(m *Middleware) { m.State.Paused = true }, "", 503, "none", "the shadow is left alone (paused)"},
		{"never compared", 0, func(a *compare.Account) {
			a.Endpoints[0].Dropped = map[string]int64{"too_large": 30}
		}, nil, "", 503, "none", "GET /invoices/*: never compared (too_large)"},
		{"too early", 80, nil, nil, "", 503, "early", "96 of 100 pairs that it takes"},
		{"too early, and paused", 80, nil, func(m *Middleware) { m.State.Paused = true }, "", 503, "early", "the shadow is left alone (paused)"},
		{"too early, and different", 80, different, nil, "", 503, "early", "96 of 100"},
		{"fewer are enough", 125, nil, nil, "min=150", 200, "agrees", ""},
		{"more are asked for", 1000, nil, nil, "min=1201", 503, "early", "1200 of 1201"},
		{"more of an endpoint", 1000, nil, nil, "min=1000&endpoint=POST+/invoices", 503, "early", "200 of 1000"},

		{"paused", 1000, nil, func(m *Middleware) { m.State.Paused = true }, "max-real=100%&max-undecided=100%", 409, "undecided", "the shadow is left alone (paused)"},
		{"failing", 1000, nil, func(m *Middleware) { m.State.Failing = true }, "", 409, "undecided", "the shadow fails too often of late"},
		{"old", 1000, func(a *compare.Account) { a.Latest = before(time.Hour) }, nil, "max-real=100%&max-undecided=100%", 409, "undecided", "no pair for 1h0m0s"},
		{"an old endpoint", 1000, func(a *compare.Account) { a.Endpoints[1].Latest = before(time.Hour) }, nil, "endpoint=POST+/invoices", 409, "undecided", "no pair for 1h0m0s"},
		{"left out", 1000, func(a *compare.Account) {
			a.Endpoints[0].Skipped = map[string]int64{"encoding": 200}
		}, nil, "max-undecided=100%", 409, "undecided", "GET /invoices/*: 200 of 1200 not compared (encoding)"},

		{"copies that were lost, nobody asks", 1000, nil, func(m *Middleware) { m.Dropped["full"] = 500 }, "", 200, "agrees", ""},
		{"copies that were lost", 1000, nil, func(m *Middleware) { m.Dropped["full"] = 500 }, "max-lost=5%", 409, "undecided", "500 of 5,500 copies since the comparison began are lost (9.09%), and 5% is allowed"},
		{"as many as are allowed", 1000, nil, func(m *Middleware) { m.Dropped["full"] = 500 }, "max-lost=500", 200, "agrees", ""},
		{"none is allowed", 1000, nil, func(m *Middleware) { m.Failed["timeout"] = 1 }, "max-lost=0", 409, "undecided", "1 of 5,001 copies since the comparison began is lost"},
		{"none is allowed, and none was lost", 1000, nil, nil, "max-lost=0", 200, "agrees", ""},
		{"lost before the comparison began", 1000, nil, func(m *Middleware) {
			m.Dropped["full"] = 500
			m.Before = Copies{Mirrored: 3000, Lost: 499}
		}, "max-lost=1", 200, "agrees", ""},
		{"one more since it began", 1000, nil, func(m *Middleware) {
			m.Dropped["full"] = 500
			m.Before = Copies{Mirrored: 3000, Lost: 498}
		}, "max-lost=1", 409, "undecided", "2 of 2,002 copies"},
		{"sampling loses nothing", 1000, nil, func(m *Middleware) { m.Dropped["sampling"] = 500 }, "max-lost=0", 200, "agrees", ""},

		{"slower by less than is allowed", 1000, nil, nil, "max-slower=50ms", 200, "agrees", ""},
		{"slower by more", 1000, nil, nil, "max-slower=30ms", 409, "differs", "pair by pair, and 30ms is allowed"},
		{"three times as slow", 1000, nil, nil, "max-slower=250%", 200, "agrees", ""},
		{"three times as slow, twice is allowed", 1000, nil, nil, "max-slower=2.0", 409, "differs", "and 2 times that is allowed"},
		{"a fifth is allowed", 1000, nil, nil, "max-slower=20%", 409, "differs", "and 1.2 times that is allowed"},
		{"slower, and too few to say", 400, nil, nil, "max-slower=50ms", 503, "early", "480 of 500 pairs"},
		{"slower, and different", 1000, different, nil, "max-slower=30ms", 409, "differs", "pair by pair, and 30ms is allowed; GET"},

		{"an endpoint that nobody has asked", 1000, nil, nil, "endpoint=GET+/invoice/*", 503, "none", `there was no request to "GET /invoice/*" yet, but to GET /invoices/*, POST /invoices`},
		{"the same, and nothing else", 0, func(a *compare.Account) { a.Endpoints = nil }, nil, "endpoint=GET+/invoice/*", 503, "none", "none to any other"},
		{"no compare", -1, nil, nil, "", 409, "none", "answers are not compared"},
		{"mistakes in the options", -1, nil, func(m *Middleware) {
			m.ConfigErrors = 1
			m.Mistakes = []string{"precent: there is no such option"}
		}, "", 409, "none", "the options have a mistake: precent"},
		{"of one that is not known", 1000, nil, nil, "middleware=shadow-biling", 503, "none", `there is no middleware "shadow-biling" yet, but shadow-billing@docker`},
		{"of another provider", 1000, nil, nil, "middleware=shadow-billing@file", 503, "none", "there is no middleware"},
		{"by its name", 1000, nil, nil, "middleware=shadow-billing", 200, "agrees", ""},
		{"by its whole name", 1000, nil, nil, "middleware=shadow-billing@docker", 200, "agrees", ""},
	}
	for _, test := range tests {
		var a *compare.Account
		if test.pairs >= 0 {
			a = invoices(test.pairs)
		}
		if test.account != nil {
			test.account(a)
		}
		d := documentFor(judgedMirror("shadow-billing@docker", a, test.mirror))
		g := ask(t, d, test.query)
		said := strings.Join(g.Reasons, "; ")
		if g.Status != test.status || g.State != test.state || g.Pass != (test.status == 200) || !strings.Contains(said, test.says) || (test.says == "") != (said == "") {
			t.Errorf("%s: %d, %s, pass %t, %q; want %d, %s and %q", test.name, g.Status, g.State, g.Pass, said, test.status, test.state, test.says)
		}
		if (g.RetryAfter > 0) != (test.status == 503) || g.RetryAfter > 300 {
			t.Errorf("%s: to be asked again in %d s", test.name, g.RetryAfter)
		}
		if g.Headline == "" || g.Reasons == nil || g.Instance != d.Instance || !g.Since.Equal(d.Since) {
			t.Errorf("%s: %+v has no headline, no list of reasons or another instance", test.name, g)
		}
		always := ask(t, d, strings.TrimPrefix(test.query+"&always200=true", "&"))
		if always.Status != 200 || always.Pass != g.Pass || strings.Join(always.Reasons, "; ") != said {
			t.Errorf("%s, always 200: %d, pass %t, %q", test.name, always.Status, always.Pass, always.Reasons)
		}
	}
}

// What is asked for is what is allowed, and the ordinary state is that of an ordinary question.
func TestGateWithoutAllowancesIsTheReport(t *testing.T) {
	for i := 0; i < 64; i++ {
		a := invoices([]int64{0, 50, 200, 200}[i%4])
		a.Real = int64(i / 4 % 2)
		a.Undecided = int64(i / 8 % 2)
		if i/16%2 > 0 {
			a.Latest = before(time.Hour)
		}
		m := judgedMirror("shadow-billing@docker", a, func(m *Middleware) { m.State.Paused = i/32%2 > 0 })
		g := ask(t, documentFor(m), "")
		c := m.Comparison
		if g.State != c.State || g.Pass != (c.State == "agrees") || g.Headline != c.Headline || g.Compared != c.Compared || g.Agreeing != c.Agreeing || g.Real != c.Real || g.Undecided != c.Undecided {
			t.Errorf("the report says %s, %q, and the gate %+v", c.State, c.Headline, g)
		}
	}
}

// A headline does not say that there is a difference where those that there are are allowed.
func TestHeadlinesOfTheGate(t *testing.T) {
	tests := []struct {
		query string
		want  string
	}{
		{"max-real=6&max-undecided=3", "99.25% of 1,200 answers agree"},
		{"max-undecided=3", "6 of 1,200 answers really differ (0.5%), 3 more cannot be decided"},
		{"max-real=6", "3 of 1,200 answers differ in what cannot be decided (0.25%)"},
		{"max-real=6&max-undecided=3&max-slower=1ms", "99.25% of 1,200 answers agree, but the shadow's p99 is "},
		{"max-real=6&max-undecided=3&max-lost=0", "99.25% of 1,200 answers agree, but 7 of 5,007 copies since the comparison began are lost"},
		{"min=5000", "1,200 answers are too few to say; 6 of them really differ"},
		{"middleware=shadow-orders", `there is no middleware "shadow-orders" yet`},
	}
	for _, test := range tests {
		a := invoices(1000)
		a.Real = 6
		a.Undecided = 3
		m := judgedMirror("shadow-billing@docker", a, func(m *Middleware) { m.Failed["timeout"] = 7 })
		if got := ask(t, documentFor(m), test.query).Headline; !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", test.query, got, test.want)
		}
	}
}

func TestMiddlewaresAreNamedWithoutTheirProvider(t *testing.T) {
	three := []string{"shadow-billing@docker", "shadow-billing@file", "shadow-orders@docker"}
	tests := []struct {
		names  []string
		query  string
		status int
		want   string // its name, or a reason
	}{
		{three, "middleware=shadow-orders", 200, "shadow-orders@docker"},
		{three, "middleware=shadow-billing@file", 200, "shadow-billing@file"},
		{three, "middleware=shadow-billing", 400, `middleware="shadow-billing" may be any of shadow-billing@docker, shadow-billing@file`},
		{three, "", 400, "middleware is missing: there are shadow-billing@docker, shadow-billing@file, shadow-orders@docker"},
		{three[:1], "", 200, "shadow-billing@docker"},
		{nil, "", 503, "there is no middleware that mirrors yet"},
		{nil, "middleware=shadow-billing", 503, "there is no middleware that mirrors yet"},
		{three, "middleware=shadow", 503, "there is no middleware"},
		{three, "middleware=@docker", 503, "there is no middleware"},
	}
	for _, test := range tests {
		d := documentFor()
		for _, name := range test.names {
			d.Middlewares = append(d.Middlewares, judgedMirror(name, invoices(1000), nil))
		}
		g := ask(t, d, test.query)
		if g.Status != test.status || test.status == 200 && g.Middleware != test.want || test.status != 200 && !strings.Contains(strings.Join(g.Reasons, ""), test.want) {
			t.Errorf("%v, %s: %d, %s, %q; want %d and %q", test.names, test.query, g.Status, g.Middleware, g.Reasons, test.status, test.want)
		}
	}
}

// A question with a mistake has no answer, whatever would have come out.
func TestMistakesInQuestions(t *testing.T) {
	tests := []struct{ query, says string }{
		{"max_real=1", `there is no parameter "max_real", but middleware, endpoint, min, max-real, max-undecided, max-lost, max-slower, always200`},
		{"Min=1", `"Min"`},
		{"a=1&b=2&c=3&d=4&e=5&f=6", "and 1 more"},
		{"min=1&min=2", "min is given more than once"},
		{"middleware=", `middleware="": middleware takes the name of one`},
		{"endpoint=", "endpoint takes an endpoint as the report names it"},
		{"always200=yes", "always200 takes true or false"},
		{"min=", "min takes a number of pairs, 1 or more"},
		{"max-real=" + strings.Repeat("9", 500), `999…"`},
		{"max-real=<b>%0A", `max-real="<b>\n": max-real takes a number such as 3, or a share such as 0.5% or 0.005`},
	}
	for name, texts := range map[string][]string{
		"min":           {"0", "-1", "1.5", "1e3", "10%", "many", "1000000000000000000000"},
		"max-real":      {"-1", "1.0", "1.5", "101%", "-1%", "1e-3", "%", "0.5%%", "NaN", "Inf", "0x1", ".", "1,5", "3 pairs"},
		"max-undecided": {"-1", "1.0", "101%", "one"},
		"max-lost":      {"-1", "1.0", "101%", "5ms"},
		"max-slower":    {"50", "1", "0.2", "0.99", "10.5", "-20%", "901%", "-5ms", "2h", "5 ms", "50msec", "NaN", "1e1"},
		"always200":     {"1", "TRUE", "", "t"},
	} {
		for _, text := range texts {
			tests = append(tests, struct{ query, says string }{name + "=" + url.QueryEscape(text), name + " takes "})
		}
	}
	d := documentFor(judgedMirror("shadow-billing@docker", invoices(1000), nil))
	for _, test := range tests {
		g := ask(t, d, test.query)
		if said := strings.Join(g.Reasons, "; "); g.Status != 400 || g.Pass || g.State != "none" || !strings.Contains(said, test.says) || len(said) > 400 {
			t.Errorf("%.80s: %d, %s, %q; want 400 and %q", test.query, g.Status, g.State, said, test.says)
		}
		if always := ask(t, d, test.query+"&always200=true"); !strings.Contains(test.query, "always200") && (always.Status != 200 || always.Pass) {
			t.Errorf("%.80s, always 200: %d, pass %t", test.query, always.Status, always.Pass)
		}
	}
	for _, good := range []string{
		"min=1", "max-real=0", "max-real=0.0", "max-real=0%25", "max-real=100%", "max-real=.5", "max-undecided=12", "max-lost=0.05",
		"max-slower=0s", "max-slower=0%", "max-slower=1.0", "max-slower=10.0", "max-slower=1h", "always200=false", "max-real=5%&max-lost=5%&min=20",
	} {
		values, err := ReadQuery(good)
		if err != nil {
			t.Fatal(err)
		}
		if q := NewQuestion(values); len(q.Mistakes) > 0 {
			t.Errorf("%s: %q", good, q.Mistakes)
		}
	}
}

func TestGateSaysWhenToAskAgain(t *testing.T) {
	tests := []struct {
		pairs int64
		query string
		want  int
	}{
		{80, "", 15},               // 16 of POST /invoices in a minute, and 4 are missing
		{90, "min=216", 60},        // as many again
		{80, "min=100000", 300},    // in an hour
		{999, "min=1199", 1},       // at once
		{0, "", 10},                // nobody knows
		{80, "endpoint=GET /", 10}, // likewise
	}
	for _, test := range tests {
		d := documentFor(judgedMirror("shadow-billing@docker", invoices(test.pairs), nil))
		if got := ask(t, d, test.query).RetryAfter; got != test.want {
			t.Errorf("%d pairs, %s: in %d s, want %d", test.pairs, test.query, got, test.want)
		}
	}
}

// Scripts depend on the names.
func TestGateAsJSON(t *testing.T) {
	m := judgedMirror("shadow-billing@docker", invoices(1000), func(m *Middleware) { m.Failed["timeout"] = 7 })
	var out bytes.Buffer
	if err := WriteGate(&out, ask(t, documentFor(m), "endpoint=POST+/invoices")); err != nil {
		t.Fatal(err)
	}
	var got map[string]interface{}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"pass": "true", "state": "agrees", "reasons": "[]", "headline": "100% of 200 answers agree", "middleware": "shadow-billing@docker", "endpoint": "POST /invoices", "epoch": "build 4711",
		"compared": "200", "agreeing": "200", "real": "0", "undecided": "0", "noise": "0", "ignored": "0", "mirrored": "5000", "lost": "7",
		"instance": "traefik-7f9c-3f2a1b", "since": "2026-03-11T12:31:07Z", "generated": "2026-03-12T14:31:07Z",
	}
	for name, value := range want {
		if text := fmt.Sprint(got[name]); text != value {
			t.Errorf("%s is %s, want %s", name, text, value)
		}
	}
	p99, _ := got["p99"].(map[string]interface{})
	if len(got) != len(want)+1 || len(p99) != 3 {
		t.Errorf("%d names, want %d: %s", len(got), len(want)+1, out.String())
	}
	for name, value := range map[string]float64{"live": 0.02, "shadow": 0.06, "difference": 0.04} {
		if x, _ := p99[name].(float64); x < value*15/16 || x > value*17/16 {
			t.Errorf("p99.%s is %v, want %v within a sixteenth", name, p99[name], value)
		}
	}
}
