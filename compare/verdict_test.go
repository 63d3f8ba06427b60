package compare

import (
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// begun returns a verdict under the rules.
func begun(r *Rules) *Verdict {
	v := NewVerdict()
	v.Begin(r)
	return v
}

// judge judges and adds a pair of JSON answers to a request.
func judge(v *Verdict, r *Rules, method, path, live, shadow string) {
	judgeFor(v, r, &Request{Method: method, Path: path, Target: path, At: time.Now()}, live, shadow)
}

func judgeFor(v *Verdict, r *Rules, req *Request, live, shadow string) {
	l, s := jsonAnswer(live), jsonAnswer(shadow)
	l.Took = 10 * time.Millisecond
	s.Took = 20 * time.Millisecond
	v.Add(r, req, l, s, Judge(r, l, s))
}

// judged are the differences in short.
func judged(a *Account) []string {
	var list []string
	for _, g := range a.Differences {
		text := g.Judgement + " " + g.Endpoint + " " + g.Key
		if g.Relation != "" {
			text += " " + g.Relation
		}
		list = append(list, fmt.Sprintf("%s %d/%d", text, g.Count, g.Pairs))
	}
	return list
}

func uuid(side string, i int) string {
	return fmt.Sprintf("%s%06x-71d3-4c0f-9b0e-%012x", side, i*7919, i*104729)
}

type judgedTest struct {
	name string
	send func(add func(method, path, live, shadow string))
	want []string
}

// Short tokens happen to have no letters, or few, now and then; numbers have none ever.
func tokenTests() []judgedTest {
	hex := func(side, i int) string {
		if (i+side)%20 == 7 {
			return fmt.Sprintf("%016d", 471100+i*31+side)
		}
		return fmt.Sprintf("%d%05xe%09x", side, i*7919, i*104729)
	}
	return []judgedTest{
		{"tokens, a few of which are digits only", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 100; i++ {
				add("POST", "/drafts", `{"trace":"`+hex(1, i)+`"}`, `{"trace":"`+hex(2, i)+`"}`)
			}
		}, []string{"noise POST /drafts $.trace 100/100"}},
		{"numbers in place of tokens", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 100; i++ {
				add("POST", "/drafts", `{"trace":"`+hex(1, i*20)+`"}`, fmt.Sprintf(`{"trace":"%016d"}`, 471100+i))
			}
		}, []string{"undecided POST /drafts $.trace 100/100"}},
		{"tokens that are words", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 100; i++ {
				add("POST", "/drafts", `{"trace":"`+hex(1, i*20)+`"}`, `{"trace":"`+strings.Repeat(string(rune('g'+i%20)), 16)+`"}`)
			}
		}, []string{"undecided POST /drafts $.trace 100/100"}},
	}
}

// Each row is what two right or wrong versions of a billing service answer, without a
// control, and what is to be said of it.
func TestDifferencesAreJudgedByWhatWasSeen(t *testing.T) {
	now := time.Now()
	at := func(i int) string { return now.Add(time.Duration(i) * time.Millisecond).UTC().Format(time.RFC3339Nano) }
	tests := []judgedTest{
		{"identifiers and times of what was made", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("POST", "/drafts", `{"id":"`+uuid("a0", i)+`","createdAt":"`+at(i)+`"}`, `{"id":"`+uuid("b0", i)+`","createdAt":"`+at(i+7)+`"}`)
			}
		}, []string{"noise POST /drafts $.createdAt under 1 s 40/40", "noise POST /drafts $.id 40/40"}},
		{"totals a hundred times too large", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("GET", "/totals", fmt.Sprintf(`{"total":"%d.%02d"}`, 1000+i, i), fmt.Sprintf(`{"total":"%d%02d"}`, 1000+i, i))
			}
		}, []string{"undecided GET /totals $.total ×100 40/40"}},
		{"a flag turned round", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("GET", "/invoices", fmt.Sprintf(`{"paid":%t}`, i%2 == 0), fmt.Sprintf(`{"paid":%t}`, i%2 != 0))
			}
		}, []string{"real GET /invoices $.paid negated 40/40"}},
		{"a sum that is wrong now and then", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("GET", "/invoices", fmt.Sprintf(`{"total":%d}`, 100+i), fmt.Sprintf(`{"total":%d}`, 100+i+i%10/9))
			}
		}, []string{"real GET /invoices $.total +1 4/40"}},
		{"a value that few answers have, and that differs in all of them", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 300; i++ {
				if i%10 == 0 {
					add("GET", "/invoices", fmt.Sprintf(`{"n":1,"settledBy":"B-%d"}`, 1000+i), fmt.Sprintf(`{"n":1,"settledBy":"C-%d"}`, 1000+i))
					continue
				}
				add("GET", "/invoices", `{"n":1}`, `{"n":1}`)
			}
		}, []string{"undecided GET /invoices $.settledBy 30/30"}},
		{"an identifier of another's", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("POST", "/drafts", `{"id":"`+uuid("a0", i)+`"}`, `{"id":"`+uuid("b0", i)+`"}`)
			}
			add("GET", "/accounts/7", `{"draft":"`+uuid("a0", 3)+`"}`, `{"draft":"`+uuid("b0", 4)+`"}`)
		}, []string{"real GET /*/* $.draft of another 1/1", "noise POST /drafts $.id 40/40"}},
		{"identifiers of a GET that never change", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("GET", fmt.Sprintf("/accounts/%d", i), `{"key":"`+uuid("a0", i)+`"}`, `{"key":"`+uuid("b0", i)+`"}`)
			}
		}, []string{"undecided GET /accounts/* $.key 40/40"}},
		{"identifiers of a GET that do", func(add func(method, path, live, shadow string)) {
			for i := 0; i < 40; i++ {
				add("GET", fmt.Sprintf("/accounts/%d", i%10), `{"trace":"`+uuid("a0", i)+`"}`, `{"trace":"`+uuid("b0", i)+`"}`)
			}
		}, []string{"noise GET /accounts/* $.trace 40/40"}},
	}
	tests = append(tests, tokenTests()...)
	for _, test := range tests {
		r := rules(t)
		v := begun(r)
		test.send(func(method, path, live, shadow string) { judge(v, r, method, path, live, shadow) })
		if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}

// Endpoints are told apart by what was seen in their paths, and what may be a name is
// not shown.
// Names are quoted in JSON alone.
func TestValuesAreFoundInAllFormats(t *testing.T) {
	tests := []struct{ kind, body, key string }{
		{"application/json", `{"invoice":4711,"total":%d}`, "$.total"},
		{"application/xml", `<invoice number="4711"><total currency="EUR">%d</total></invoice>`, "$.invoice.total.#text"},
		{"application/xml", `<invoice number="4711"><line vat="%d"/><line vat="7"/></invoice>`, "$.invoice.line[*].@vat"},
		{"application/x-www-form-urlencoded", `invoice=4711&total=%d`, "$.total"},
		{"text/csv", "invoice,total\n4711,%d\n", "$[*].total"},
	}
	for _, test := range tests {
		r := rules(t)
		v := begun(r)
		for i := 0; i < 100; i++ {
			total := 119000 + i
			live := answer(200, test.kind, fmt.Sprintf(test.body, total))
			if i%10 == 0 {
				total--
			}
			shadow := answer(200, test.kind, fmt.Sprintf(test.body, total))
			v.Add(r, &Request{Method: "GET", Path: "/invoices"}, live, shadow, Judge(r, live, shadow))
		}
		want := []string{"real GET /invoices " + test.key + " −1 10/100"}
		if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", test.kind, got, want)
		}
	}
}

func TestEndpointsAreFoundByWhatWasSeen(t *testing.T) {
	tests := []struct {
		name string
		path func(i int) string
		want []string
	}{
		{"numbers", func(i int) string { return fmt.Sprintf("/v1/invoices/%d/lines", i) }, []string{"GET /v1/invoices/*/lines"}},
		{"words that come often", func(i int) string { return []string{"/invoices", "/customers"}[i%2] }, []string{"GET /customers", "GET /invoices"}},
		{"names of customers", func(i int) string { return "/customers/" + string(rune('a'+i%26)) + "ilmaz/invoices" }, []string{"GET /customers/*/invoices"}},
		{"names with a hyphen", func(_ int) string { return "/customers/erika-example/invoices" }, []string{"GET /customers/*/invoices"}},
		{"a collection with a hyphen", func(_ int) string { return "/api/v2/credit-notes/17" }, []string{"GET /api/v2/credit-notes/*"}},
		{"a token of letters", func(i int) string { return "/reset/" + strings.Repeat(string(rune('a'+i%26)), 20) }, []string{"GET /reset/*"}},
		{"a word that came once", func(i int) string {
			if i == 5 {
				return "/secret"
			}
			return "/invoices"
		}, []string{"GET /*", "GET /invoices"}},
	}
	for _, test := range tests {
		r := rules(t)
		v := begun(r)
		for i := 0; i < 200; i++ {
			judge(v, r, "GET", test.path(i), `{"n":1}`, `{"n":1}`)
		}
		var got []string
		var pairs int64
		for _, e := range v.Snapshot().Account.Endpoints {
			got = append(got, e.Name)
			pairs += e.Compared
		}
		sortStrings(got)
		if !reflect.DeepEqual(got, test.want) || pairs != 200 {
			t.Errorf("%s: endpoints %q of %d pairs, want %q of 200", test.name, got, pairs, test.want)
		}
	}
}

func sortStrings(list []string) {
	for i := range list {
		for j := i + 1; j < len(list); j++ {
			if list[j] < list[i] {
				list[i], list[j] = list[j], list[i]
			}
		}
	}
}

// GraphQL has one path for all: the operation's name tells.
func TestOperationsAreEndpoints(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 60; i++ {
		operation := []string{"Invoices", "Customer", ""}[i%3]
		judgeFor(v, r, &Request{Method: "POST", Path: "/graphql", Operation: operation, At: time.Now()}, `{"n":1}`, `{"n":1}`)
	}
	var got []string
	for _, e := range v.Snapshot().Account.Endpoints {
		got = append(got, fmt.Sprint(e.Name, " ", e.Compared))
	}
	sortStrings(got)
	if want := []string{"POST /graphql 20", "POST /graphql Customer 20", "POST /graphql Invoices 20"}; !reflect.DeepEqual(got, want) {
		t.Errorf("endpoints %q, want %q", got, want)
	}
}

// A pair is what the worst of its differences is, and rules are applied to all that was
// counted, also to what came before them.
func TestPairsAreCountedByTheirWorstDifference(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 30; i++ {
		live := fmt.Sprintf(`{"id":"%s","sum":%d,"paid":true}`, uuid("a0", i), 100+i)
		shadow := fmt.Sprintf(`{"id":"%s","sum":%d,"paid":%t}`, uuid("b0", i), 100+i, i != 9)
		judge(v, r, "POST", "/invoices", live, shadow)
	}
	a := v.Snapshot().Account
	if a.Compared != 30 || a.Real != 1 || a.Noise != 29 || a.Undecided != 0 || a.Agreeing() != 29 {
		t.Errorf("%d compared, %d real, %d noise, %d undecided, %d agreeing; want 30, 1, 29, 0, 29", a.Compared, a.Real, a.Noise, a.Undecided, a.Agreeing())
	}
	v.Begin(rules(t, "$.paid"))
	a = v.Snapshot().Account
	if a.Compared != 30 || a.Real != 0 || a.Noise != 30 {
		t.Errorf("with the rule: %d compared, %d real, %d noise; want 30, 0, 30", a.Compared, a.Real, a.Noise)
	}
	v.Begin(rules(t, "$.paid", "$.id"))
	if a = v.Snapshot().Account; a.Ignored != 30 || a.Noise != 0 {
		t.Errorf("with both rules: %d ignored, %d noise; want 30 and none", a.Ignored, a.Noise)
	}
	v.Begin(rules(t))
	if a = v.Snapshot().Account; a.Real != 1 || a.Ignored != 0 {
		t.Errorf("without rules again: %d real, %d ignored; want 1 and none", a.Real, a.Ignored)
	}
}

// What there was no room to look for may be real, whatever else the pair differs in.
func TestPairsWithMoreDifferencesAreUndecided(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 30; i++ {
		body := &strings.Builder{}
		for j := 0; j <= maxDifferences; j++ {
			fmt.Fprintf(body, `"at%d":"%%[1]s",`, j)
		}
		text := "{" + body.String() + `"total":%[2]s}`
		judge(v, r, "POST", "/invoices", fmt.Sprintf(text, uuid("a0", i), "119.00"), fmt.Sprintf(text, uuid("b0", i), "119.01"))
	}
	if a := v.Snapshot().Account; a.Undecided != 30 || a.Noise != 0 {
		t.Errorf("%d of 30 pairs are undecided, %d noise; want all and none", a.Undecided, a.Noise)
	}
}

// Examples are spread over the time in which there were differences, and keep nothing of
// the request but what is shown.
func TestExamplesAreSpreadOverTime(t *testing.T) {
	r := rules(t)
	for _, show := range []string{Values, Hashes} {
		r.Show = show
		v := begun(r)
		before := heap()
		for i := 0; i < 100; i++ {
			line := "GET /customers/erika-example/invoices?token=" + strings.Repeat("x", 1<<18) + fmt.Sprint(i)
			judgeFor(v, r, &Request{Method: line[:3], Path: line[4:37], At: time.Now(), ID: "req-" + fmt.Sprint(i)}, fmt.Sprintf(`{"n":%d}`, i), `{"n":-1}`)
		}
		if kept := int64(heap()) - int64(before); kept > 5<<18 {
			t.Errorf("%s: %d bytes are kept", show, kept)
		}
		examples := v.Snapshot().Account.Differences[0].Examples
		if len(examples) == 0 || len(examples) > r.Examples {
			t.Fatalf("%s: %d examples, want up to %d", show, len(examples), r.Examples)
		}
		first, last := examples[0], examples[len(examples)-1]
		if first.RequestID != "req-0" || last.RequestID < "req-63" {
			t.Errorf("%s: examples from %s to %s, want them from the first to one of the last", show, first.RequestID, last.RequestID)
		}
		want := "/customers/erika-example/invoices"
		if show != Values {
			want = "/customers/*/invoices"
		}
		if first.Path != want || first.Live != (map[string]string{Values: "0", Hashes: "number #" + Hash("0")})[show] {
			t.Errorf("%s: %+v, want path %s", show, first, want)
		}
	}
	r.Examples = 0
	v := begun(r)
	judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
	if d := v.Snapshot().Account.Differences[0]; len(d.Examples) != 0 || d.Count != 1 {
		t.Errorf("%+v, want one pair and no example", d)
	}
}

// What examples show is what the rules of now allow, and of paths no more than endpoints
// do.
func TestExamplesShowNoMoreThanTheRulesAllow(t *testing.T) {
	with := func(show string, ignore ...string) *Rules {
		r := rules(t, ignore...)
		r.Show = show
		return r
	}
	tests := []struct {
		name          string
		before, after *Rules
		body          bool // the answers are no JSON
		more          bool // a pair comes after
		want          []string
	}{
		{"values", with(Values), with(Values), false, false, []string{`/reset/abcdefghijklmnopqrstuv "Erika"`}},
		{"hashes", with(Hashes), with(Hashes), false, false, []string{"/*/* string #" + Hash("Erika")}},
		{"hashes after values", with(Values), with(Hashes), false, false, nil},
		{"hashes after values, and a pair", with(Values), with(Hashes), false, true, []string{"/*/* string #" + Hash("Erika")}},
		{"values after hashes", with(Hashes), with(Values), false, true, []string{`/reset/abcdefghijklmnopqrstuv "Erika"`}},
		{"ignored", with(Values), with(Values, "$.name"), false, false, nil},
		{"another is ignored", with(Values), with(Values, "$.id"), false, false, []string{`/reset/abcdefghijklmnopqrstuv "Erika"`}},
		{"a body, and what may be in it is ignored", with(Values), with(Values, "$.id"), true, false, nil},
		{"a body, ignored as before", with(Values, "$.id"), with(Values, "$.id"), true, false, []string{"/reset/abcdefghijklmnopqrstuv text/plain, 16 bytes, from byte 10"}},
	}
	for _, test := range tests {
		v := begun(test.before)
		send := func(r *Rules) {
			l, s := jsonAnswer(`{"name":"Erika"}`), jsonAnswer(`{"name":"E. E."}`)
			if test.body {
				l.Header = http.Header{"Content-Type": {"text/plain"}}
				s.Header = l.Header
			}
			v.Add(r, &Request{Method: "GET", Path: "/reset/abcdefghijklmnopqrstuv", At: time.Now()}, l, s, Judge(r, l, s))
		}
		send(test.before)
		v.Begin(test.after)
		if test.more {
			send(test.after)
		}
		var got []string
		for _, d := range v.Snapshot().Account.Differences {
			for _, x := range d.Examples {
				got = append(got, x.Path+" "+x.Live)
			}
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// heap is how many bytes are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestStatesOfAComparison(t *testing.T) {
	now := time.Now()
	agreeing := func(name string, n int64) Endpoint { return Endpoint{Name: name, Compared: n} }
	tests := []struct {
		name      string
		account   Account
		ill       string
		state     string
		mentioned string // in a reason
	}{
		{"nothing", Account{Minimum: 100}, "", StateNone, ""},
		{"too few", Account{Minimum: 100, Compared: 99, Endpoints: []Endpoint{agreeing("GET /invoices", 99)}}, "", StateEarly, "99 of 100"},
		{"too few of one endpoint", Account{Minimum: 100, Compared: 119, Endpoints: []Endpoint{agreeing("GET /invoices", 100), agreeing("POST /invoices", 19)}}, "", StateEarly, "POST /invoices: 19 of 20"},
		{"few of one that has little traffic", Account{Minimum: 100, Compared: 1010, Endpoints: []Endpoint{agreeing("GET /invoices", 1000), agreeing("POST /invoices", 10)}}, "", StateAgrees, ""},
		{"real ones, and few", Account{Minimum: 100, Compared: 12, Real: 10, Endpoints: []Endpoint{agreeing("GET /invoices", 12)}}, "", StateEarly, "12 of 100"},
		{"real ones", Account{Minimum: 100, Compared: 200, Real: 1, Endpoints: []Endpoint{agreeing("GET /invoices", 200)}}, "", StateDiffers, ""},
		{"undecided ones", Account{Minimum: 100, Compared: 200, Undecided: 2, Endpoints: []Endpoint{agreeing("GET /invoices", 200)}}, "", StateUndecided, "2 pairs"},
		{"one endpoint never compared", Account{Minimum: 100, Compared: 200, Endpoints: []Endpoint{agreeing("GET /invoices", 200), {Name: "PUT /scans/*", Dropped: map[string]int64{"too_large": 30}}}}, "", StateUndecided, "PUT /scans/*: never compared (too_large)"},
		{"one endpoint of streams", Account{Minimum: 100, Compared: 200, Endpoints: []Endpoint{agreeing("GET /invoices", 200), {Name: "GET /events", Skipped: map[string]int64{Stream: 90, LiveBroken: 9}}}}, "", StateAgrees, ""},
		{"more than a twentieth skipped", Account{Minimum: 100, Compared: 188, Endpoints: []Endpoint{{Name: "GET /invoices", Compared: 188, Skipped: map[string]int64{Encoding: 12}}}}, "", StateUndecided, "GET /invoices: 12 of 200 not compared (encoding)"},
		{"a twentieth skipped", Account{Minimum: 100, Compared: 190, Endpoints: []Endpoint{{Name: "GET /invoices", Compared: 190, Skipped: map[string]int64{Encoding: 10}}}}, "", StateAgrees, ""},
		{"paused", Account{Minimum: 100, Compared: 200, Endpoints: []Endpoint{agreeing("GET /invoices", 200)}}, "the shadow is left alone (paused)", StateUndecided, "paused"},
		{"too old", Account{Minimum: 100, Compared: 200, MaxAge: 10 * time.Minute, Latest: now.Add(-11 * time.Minute), Endpoints: []Endpoint{agreeing("GET /invoices", 200)}}, "", StateUndecided, "11m"},
		{"others", Account{Minimum: 100, Compared: 200, Endpoints: []Endpoint{agreeing("GET /invoices", 180), agreeing(others, 20)}}, "", StateUndecided, "not told apart"},
		{"agrees", Account{Minimum: 100, Compared: 200, Noise: 150, MaxAge: 10 * time.Minute, Latest: now, Endpoints: []Endpoint{agreeing("GET /invoices", 200)}}, "", StateAgrees, ""},
	}
	for _, test := range tests {
		a := test.account
		state, reasons := a.State(now, test.ill)
		if state != test.state || !strings.Contains(strings.Join(reasons, "; "), test.mentioned) || (test.mentioned == "") != (len(reasons) == 0) {
			t.Errorf("%s: %s %q, want %s and %q", test.name, state, reasons, test.state, test.mentioned)
		}
	}
}

func TestDroppedRequestsAreTheirEndpoints(t *testing.T) {
	v := begun(rules(t))
	for i := 0; i < 30; i++ {
		v.Drop("PUT", fmt.Sprintf("/scans/%d", i), "too_large")
	}
	e := v.Snapshot().Account.Endpoints
	if len(e) != 1 || e[0].Name != "PUT /scans/*" || e[0].Dropped["too_large"] != 30 || e[0].Requests() != 30 {
		t.Errorf("endpoints %+v, want PUT /scans/* with 30 too large", e)
	}
	v.Begin(nil)
	v.Drop("PUT", "/scans/1", "too_large") // there is no account: nothing happens
}

func TestSkippedPairsHaveAReason(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for _, reason := range Reasons {
		v.Add(r, &Request{Method: "GET", Path: "/"}, nil, nil, Skip(reason))
	}
	v.Add(r, &Request{Method: "GET", Path: "/"}, nil, nil, Skip(Stream))
	s := v.Snapshot()
	if s.Totals.Outcomes[Skipped] != int64(len(Reasons))+1 || s.Account.Skipped[Stream] != 2 || s.Totals.Skipped[TooLarge] != 1 || s.Totals.Live.Count() != 0 {
		t.Errorf("outcomes %v, reasons %v, %d latencies; want one of each reason, two streams, no latency", s.Totals.Outcomes, s.Totals.Skipped, s.Totals.Live.Count())
	}
}

func TestPairsOfAnotherBasisCountInTheTotalsOnly(t *testing.T) {
	before, now := rules(t), rules(t)
	before.Epoch = "build 4711"
	now.Basis = "another url"
	v := begun(before)
	judge(v, before, "GET", "/invoices", `{"n":1}`, `{"n":1}`)
	v.Begin(now)
	judge(v, before, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
	s := v.Snapshot()
	if s.Totals.Outcomes[Mismatch] != 1 || s.Account.Compared != 0 {
		t.Errorf("totals %v, %d compared; want the pair in the totals only", s.Totals.Outcomes, s.Account.Compared)
	}
	if p := s.Previous; p == nil || p.Name != "build 4711" || p.Compared != 1 {
		t.Errorf("before: %+v, want build 4711 with one pair", p)
	}
	v.Begin(nil)
	judge(v, now, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
	if s := v.Snapshot(); s.Totals.Outcomes[Mismatch] != 2 || s.Account != nil {
		t.Errorf("totals %v, account %v; want two, and no account", s.Totals.Outcomes, s.Account)
	}
}

func TestStatusesAndLatencies(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 10; i++ {
		l, s := jsonAnswer("{}"), jsonAnswer("{}")
		l.Took = time.Duration(100+i) * time.Millisecond
		s.Took = l.Took + 12*time.Millisecond
		if i == 3 {
			s.Status = 500
		}
		v.Add(r, &Request{Method: "GET", Path: "/invoices"}, l, s, Judge(r, l, s))
	}
	a := v.Snapshot().Account
	want := []StatusPair{{Live: 200, Shadow: 200, Count: 9}, {Live: 200, Shadow: 500, Count: 1}}
	if !reflect.DeepEqual(a.Statuses, want) {
		t.Errorf("statuses %+v, want %+v", a.Statuses, want)
	}
	if got := a.Difference.Quantile(0.5).Seconds(); got < 0.0112 || got > 0.0128 {
		t.Errorf("difference %v s, want 0.012 within a sixteenth", got)
	}
	if a.Live.Count() != 10 || a.Shadow.Count() != 10 {
		t.Errorf("%d and %d latencies, want 10 each", a.Live.Count(), a.Shadow.Count())
	}
	if len(a.Intervals) != 1 || a.Intervals[0].Compared != 10 || a.Intervals[0].Real != 1 || a.Intervals[0].Undecided != 0 {
		t.Errorf("intervals %+v, want one of 10, of which one is real", a.Intervals)
	}
}

// The time line covers any length of time with a bounded number of intervals,
// and loses no pair.
func TestTimeLineGrowsWider(t *testing.T) {
	a := begun(rules(t)).account
	n := int64(0)
	for at := time.Duration(0); at < 8*time.Hour; at += 37 * time.Second {
		a.latestInterval(a.since.Add(at)).compared++
		n++
	}
	var sum int64
	for i, interval := range a.intervals {
		sum += interval.compared
		if i > 0 && interval.start.Sub(a.intervals[i-1].start) < a.width {
			t.Errorf("interval %d begins %s after the one before, want %s or more", i, interval.start.Sub(a.intervals[i-1].start), a.width)
		}
	}
	if len(a.intervals) > maxIntervals || len(a.intervals) < maxIntervals/2 || sum != n {
		t.Errorf("%d intervals of %d pairs, want %d to %d of %d", len(a.intervals), sum, maxIntervals/2, maxIntervals, n)
	}
}

// Whatever comes, what is kept stays within bounds, and no pair is lost.
// Of tokens that were in answers no more is kept than it takes to know them again.
func TestTokensAreKeptInLittleMemory(t *testing.T) {
	r := rules(t)
	v := begun(r)
	before := heap()
	for i := 0; i < 50; i++ {
		scan := strings.Repeat(fmt.Sprintf("iVBORw0KGgo%05d", i), 1500)
		judge(v, r, "POST", "/scans", `{"scan":"A`+scan+`"}`, `{"scan":"B`+scan+`"}`)
	}
	if kept := int64(heap()) - int64(before); kept > 1<<18 {
		t.Errorf("%d bytes are kept of 100 tokens", kept)
	}
	want := []string{"noise POST /scans $.scan 50/50"}
	if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	judge(v, r, "GET", "/scans/1", `{"scan":"A`+strings.Repeat("iVBORw0KGgo00001", 1500)+`"}`, `{"scan":"B`+strings.Repeat("iVBORw0KGgo00002", 1500)+`"}`)
	if got := judged(v.Snapshot().Account); got[0] != "real GET /*/* $.scan of another 1/1" {
		t.Errorf("%q, want that another's scan is known", got)
	}
}

func TestAccountsAreBounded(t *testing.T) {
	r := rules(t)
	v := begun(r)
	n := int64(0)
	for i := 0; i < 700; i++ {
		judge(v, r, fmt.Sprintf("M%d", i), "/"+strings.Repeat("x/", i%30), fmt.Sprintf(`{"k%d":1,"q%d":1}`, i, i), `{}`)
		judge(v, r, "GET", "/invoices", fmt.Sprintf(`{"k%d":1,"q%d":1}`, i, i), `{}`)
		judge(v, r, "GET", fmt.Sprintf("/%s/%s", letters(i), letters(i*7)), `{"n":1}`, `{"n":1}`)
		l, s := answer(100+i, "text/plain", ""), answer(900-i, "text/plain", "")
		v.Add(r, &Request{Method: "GET", Path: "/"}, l, s, Judge(r, l, s))
		n += 4
	}
	a := v.account
	if len(a.endpoints) > maxEndpoints+2 || len(a.statuses) > maxStatuses+1 || len(a.names) > maxNames || len(a.namer.places) > maxPlaces {
		t.Errorf("%d endpoints, %d statuses, %d names, %d places: beyond the bounds", len(a.endpoints), len(a.statuses), len(a.names), len(a.namer.places))
	}
	var pairs, differing int64
	for name, e := range a.endpoints {
		if len(e.groups) > maxGroups+1 || len(e.kinds) > maxKinds+1 {
			t.Errorf("%s: %d groups, %d kinds: beyond the bounds", name, len(e.groups), len(e.kinds))
		}
		pairs += e.compared
		for _, k := range e.kinds {
			differing += k.count
		}
	}
	if snapshot := v.Snapshot().Account; pairs != n || snapshot.Compared != n || snapshot.Real+snapshot.Undecided+snapshot.Noise+snapshot.Ignored != differing {
		t.Errorf("%d pairs of %d, %+v of %d that differ", pairs, n, snapshot, differing)
	}
}

func letters(i int) string {
	return string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676%26)})
}

// Totals are those of the snapshot, and cost the same however much was found at the
// endpoints that there are.
func TestTotalsAreCountsAlone(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 150; i++ {
		judge(v, r, fmt.Sprintf("M%d", i), "/invoices", `{"n":1}`, `{"n":1}`)
	}
	v.Add(r, &Request{Method: "GET", Path: "/invoices"}, nil, nil, Skip(Stream))
	few := testing.AllocsPerRun(20, func() { v.Totals() })
	for i := 0; i < 300; i++ {
		judge(v, r, fmt.Sprintf("M%d", i), fmt.Sprintf("/k%d", i), fmt.Sprintf(`{"k%d":1,"q%d":1}`, i, i), `{}`)
	}
	if many := testing.AllocsPerRun(20, func() { v.Totals() }); many > few+5 {
		t.Errorf("%v objects after 300 mismatches, %v after one: want no more", many, few)
	}
	got, want := v.Totals(), v.Snapshot().Totals
	if !reflect.DeepEqual(got.Outcomes, want.Outcomes) || !reflect.DeepEqual(got.Skipped, want.Skipped) ||
		got.Outcomes[Match] != 150 || got.Outcomes[Mismatch] != 300 || got.Outcomes[Skipped] != 1 || got.Skipped[Stream] != 1 {
		t.Errorf("got %v, skipped %v; the snapshot has %v, skipped %v; want 150, 300 and 1, a stream", got.Outcomes, got.Skipped, want.Outcomes, want.Skipped)
	}
	if got.Live.Count() != 450 || got.Live.Sum() != 450*10*time.Millisecond || got.Shadow.Count() != 450 || got.Shadow.Sum() != 450*20*time.Millisecond {
		t.Errorf("live took %s in %d, the shadow %s in %d; want 10 and 20 ms in each of 450", got.Live.Sum(), got.Live.Count(), got.Shadow.Sum(), got.Shadow.Count())
	}
	got.Outcomes[Match] = 99
	got.Live.Add(time.Hour)
	if again := v.Totals(); again.Outcomes[Match] != 150 || again.Live.Count() != 450 {
		t.Errorf("what is done to totals is done to the verdict: %v", again.Outcomes)
	}
}

func judgeMany(wait *sync.WaitGroup, v *Verdict, r *Rules, live string) {
	for i := 0; i < 50; i++ {
		judge(v, r, "GET", "/invoices", live, `{"n":0}`)
		v.Snapshot()
		v.Totals()
	}
	wait.Done()
}

func beginMany(wait *sync.WaitGroup, v *Verdict, r *Rules) {
	for i := 0; i < 50; i++ {
		v.Begin(nil)
		v.Begin(r)
	}
	wait.Done()
}

// Every pair is in the totals once, whatever begins meanwhile.
func TestAccountsBeginWhilePairsAreAdded(t *testing.T) {
	r := rules(t)
	v := begun(r)
	var wait sync.WaitGroup
	for g := 0; g < 4; g++ {
		wait.Add(2)
		go judgeMany(&wait, v, r, fmt.Sprintf(`{"n":%d}`, g))
		go beginMany(&wait, v, r)
	}
	wait.Wait()
	if s := v.Totals(); s.Outcomes[Match] != 50 || s.Outcomes[Mismatch] != 150 || s.Live.Count() != 200 {
		t.Errorf("%v and %d latencies, want 50, 150 and 200", s.Outcomes, s.Live.Count())
	}
}

func TestVerdictIsForManyGoroutines(t *testing.T) {
	r := rules(t)
	v := begun(r)
	var wait sync.WaitGroup
	for g := 0; g < 8; g++ {
		wait.Add(1)
		go judgeMany(&wait, v, r, fmt.Sprintf(`{"n":%d}`, g))
	}
	wait.Wait()
	if a := v.Snapshot().Account; a.Compared != 400 || a.Real+a.Undecided != 350 || a.Live.Count() != 400 {
		t.Errorf("%d compared, %d and %d differ, %d latencies; want 400, 350 and 400", a.Compared, a.Real, a.Undecided, a.Live.Count())
	}
}

// What an account has counted counts since the start when the next one begins.
func TestTotalsOutliveAccounts(t *testing.T) {
	v := NewVerdict()
	var r *Rules
	for i := 0; i < 3; i++ {
		r = rules(t)
		r.Basis = fmt.Sprint(i)
		v.Begin(r)
		judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":1}`)
		v.Add(r, &Request{Method: "GET", Path: "/invoices"}, nil, nil, Skip(Stream))
	}
	s := v.Snapshot()
	if s.Totals.Outcomes[Match] != 3 || s.Totals.Outcomes[Skipped] != 3 || s.Totals.Skipped[Stream] != 3 || s.Totals.Live.Count() != 3 || s.Totals.Shadow.Count() != 3 {
		t.Errorf("%v, skipped %v, %d and %d latencies; want 3 of each", s.Totals.Outcomes, s.Totals.Skipped, s.Totals.Live.Count(), s.Totals.Shadow.Count())
	}
	if a := s.Account; a.Compared != 1 || a.Skipped[Stream] != 1 || a.Live.Count() != 1 {
		t.Errorf("the last account has %d compared, skipped %v, %d latencies; want 1 of each", a.Compared, a.Skipped, a.Live.Count())
	}
}

func TestHistogramsOfSnapshotsDoNotChange(t *testing.T) {
	h := &latency.Histogram{}
	h.Add(time.Second)
	c := h.Clone()
	h.Add(time.Second)
	if c.Count() != 1 {
		t.Errorf("the copy has %d, want 1", c.Count())
	}
}

// Pairs without an answer are taken back when it turns out that the shadow answers nobody.
func TestPairsWithoutAnAnswerCanBeTakenBack(t *testing.T) {
	r := rules(t)
	v := begun(r)
	req := &Request{Method: "GET", Path: "/invoices", At: time.Now()}
	live := jsonAnswer(invoice)
	for i := 0; i < 30; i++ {
		v.Add(r, req, live, live, Judge(r, live, live))
	}
	before := v.Snapshot().Account
	for i := 0; i < 2; i++ {
		v.Add(r, req, live, &Answer{}, NoAnswer(live))
	}
	if a := v.Snapshot().Account; a.Real != 2 || a.Compared != 32 || a.Differences[0].Relation != "no answer" || a.Differences[0].Judgement != Real {
		t.Errorf("%+v, want two pairs without an answer that are real", a)
	}
	for i := 0; i < 3; i++ { // one more than there are
		v.Retract(r, req, live.Status)
	}
	a := v.Snapshot().Account
	if a.Real != 0 || a.Compared != 30 || len(a.Differences) != 0 || a.Skipped[ShadowFailed] != 2 || !reflect.DeepEqual(a.Statuses, before.Statuses) {
		t.Errorf("%d real of %d, %+v, skipped %v, statuses %v; want none of 30, and two skipped", a.Real, a.Compared, a.Differences, a.Skipped, a.Statuses)
	}
}

// What live does not find makes no endpoint, however much of it there is: it belongs to one
// that is known, or to all that is not found. What the shadow makes of it is seen all the
// same, and it is no reason to doubt that the endpoints are told apart.
func TestWhatIsNotFoundMakesNoEndpoint(t *testing.T) {
	r := rules(t)
	v := begun(r)
	send := func(method, path string, live, shadow int) {
		l, s := jsonAnswer(`{"n":1}`), jsonAnswer(`{"n":1}`)
		l.Status = live
		s.Status = shadow
		v.Add(r, &Request{Method: method, Path: path, At: time.Now()}, l, s, Judge(r, l, s))
	}
	for i := 0; i < 100; i++ {
		send("GET", fmt.Sprintf("/invoices/%d", i), 200, 200)
		send("GET", fmt.Sprintf("/invoices/%d", i+1000), 404, 404)
		send("GET", fmt.Sprintf("/%s/%s", letters(i), letters(i*7)), 404, 404)
		send("POST", "/invoices", 405, 405)
		v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: "/" + letters(i) + ".php", At: time.Now()}, Status: 404}
		v.AddMatches()
	}
	got := func() []string {
		var list []string
		for _, e := range v.Snapshot().Account.Endpoints {
			list = append(list, fmt.Sprintf("%s %d %d", e.Name, e.Compared, e.Real))
		}
		return list
	}
	if want := []string{"(not found) 300 0", "GET /invoices/* 200 0"}; !reflect.DeepEqual(got(), want) {
		t.Errorf("endpoints %q, want %q", got(), want)
	}
	if len(v.account.namer.places) > 3 {
		t.Errorf("%d places of paths are kept of what is not found", len(v.account.namer.places))
	}
	state, reasons := v.Snapshot().Account.State(time.Now(), "")
	if state != StateAgrees {
		t.Errorf("%s %q, want that it agrees", state, reasons)
	}
	send("GET", "/admin/export", 404, 200)
	send("GET", "/invoices/4711", 404, 200)
	if want := []string{"(not found) 301 1", "GET /invoices/* 201 1"}; !reflect.DeepEqual(got(), want) {
		t.Errorf("with what only the shadow has: endpoints %q, want %q", got(), want)
	}
	if want := []string{"real (not found) status 404/200 1/301", "real GET /invoices/* status 404/200 1/201"}; !reflect.DeepEqual(judged(v.Snapshot().Account), want) {
		t.Errorf("%q, want %q", judged(v.Snapshot().Account), want)
	}
	// What was not found, and is there later, is an endpoint from then on.
	send("POST", "/invoices", 201, 201)
	send("POST", "/invoices", 405, 405)
	if want := []string{"(not found) 301 1", "GET /invoices/* 201 1", "POST /* 2 0"}; !reflect.DeepEqual(got(), want) {
		t.Errorf("endpoints %q, want %q", got(), want)
	}
	v.Add(r, &Request{Method: "GET", Path: "/backup.zip", At: time.Now()}, &Answer{Status: 404}, nil, Skip(Encoding))
	if e := v.Snapshot().Account.Endpoints[0]; e.Skipped[Encoding] != 1 {
		t.Errorf("%s has skipped %v, want the one that is not found", e.Name, e.Skipped)
	}
	// A pair that is taken back is found where it was counted.
	live := answer(404, "text/plain", "no")
	req := &Request{Method: "GET", Path: "/wp-login.php", At: time.Now()}
	v.Add(r, req, live, &Answer{}, NoAnswer(live))
	v.Retract(r, req, 404)
	if a := v.Snapshot().Account; a.Skipped[ShadowFailed] != 1 || a.Real != 2 {
		t.Errorf("skipped %v, %d real; want one skipped, and two real", a.Skipped, a.Real)
	}
}

// Where the method is not known, identifiers that are made anew are as those of a GET.
func TestIdentifiersOfWhatIsNotFound(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 40; i++ {
		l, s := jsonAnswer(`{"instance":"urn:uuid:`+uuid("a0", i)+`"}`), jsonAnswer(`{"instance":"urn:uuid:`+uuid("b0", i)+`"}`)
		l.Status = 404
		s.Status = 404
		v.Add(r, &Request{Method: "GET", Path: "/" + letters(i), At: time.Now()}, l, s, Judge(r, l, s))
	}
	want := []string{"undecided (not found) $.instance 40/40"}
	if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
