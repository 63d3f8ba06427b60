package compare

import (
	"fmt"
	"math/rand"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// controlled are rules with a control.
func controlled(t *testing.T, ignore ...string) *Rules {
	t.Helper()
	r := rules(t, ignore...)
	r.Control = true
	return r
}

// addTriple adds the answers to a request. A nil control did not answer.
func addTriple(v *Verdict, r *Rules, req *Request, live, shadow, control *Answer) {
	t := &Triple{Fate: ControlFailed}
	if control != nil {
		t = &Triple{Fate: ControlAnswered, Answer: control}
		if control.Status != 0 {
			t.Finding = Judge(r, live, control)
		}
	}
	f := Judge(r, live, shadow)
	if shadow.Status == 0 {
		f = NoAnswer(live)
	}
	v.AddTriple(r, req, live, shadow, f, t)
}

// A controlledTest is what live, the shadow and the control answer, and what is to be
// said of it.
type controlledTest struct {
	name                  string
	n                     int
	live, shadow, control func(i int) *Answer // no control: nil
	want                  []string
}

func bodies(body func(i int) string) func(int) *Answer {
	return func(i int) *Answer { return jsonAnswer(body(i)) }
}

func numbers(format string, plus int) func(int) *Answer {
	return func(i int) *Answer { return jsonAnswer(fmt.Sprintf(format, 1000+i+plus)) }
}

func failing(status int, when func(i int) bool, other func(i int) *Answer) func(int) *Answer {
	return func(i int) *Answer {
		if when(i) {
			return answer(status, "text/plain", "no")
		}
		return other(i)
	}
}

func always(_ int) bool         { return true }
func each(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }

func none(_ int) *Answer { return nil }

func controlledTests() []controlledTest {
	now := time.Now().UTC().Truncate(time.Second)
	at := func(i, seconds int) string {
		return now.Add(time.Duration(i%7+seconds) * time.Second).Format(time.RFC3339)
	}
	expires := func(days int, late func(i int) int) func(int) *Answer {
		return bodies(func(i int) string {
			return `{"expiresAt":"` + now.AddDate(0, 0, 30+days).Add(time.Duration(i*60+late(i))*time.Second).Format(time.RFC3339) + `"}`
		})
	}
	problem := func(side string) func(int) *Answer {
		return func(i int) *Answer {
			return answer(404, "application/problem+json", `{"title":"not found","instance":"urn:uuid:`+uuid(side, i)+`"}`)
		}
	}
	names := strings.Fields("Meyer Lindqvist OBrien Yamada Dubois Kowalski Rossi Garcia Novak Jansen")
	name := func(edit func(string) string) func(int) *Answer {
		return bodies(func(i int) string { return fmt.Sprintf(`{"customer":%q}`, edit(names[i%10])) })
	}
	plain := func(s string) string { return s }
	total := numbers(`{"total":"%d.50"}`, 0)
	trace := func(side string) func(int) *Answer {
		return bodies(func(i int) string {
			if i%10 != 0 {
				return `{"n":1}`
			}
			return `{"n":1,"trace":"` + uuid(side, i) + `"}`
		})
	}
	random := func(seed int64, bug func(i int) bool) func(int) *Answer {
		r := rand.New(rand.NewSource(seed))
		return bodies(func(i int) string {
			n := 100 + r.Intn(100)
			if bug(i) {
				n *= 100
			}
			return fmt.Sprintf(`{"load":%d}`, n)
		})
	}
	never := func(_ int) bool { return false }
	zero := func(_ int) int { return 0 }
	return []controlledTest{
		{"totals a hundred times too large", 40, total, numbers(`{"total":"%d50"}`, 0), total, []string{"real GET /invoices $.total ×100 40/40 0/40"}},
		{"names in lower case", 40, name(plain), name(strings.ToLower), name(plain), []string{"real GET /invoices $.customer case 40/40 0/40"}},
		{"a few wrong totals", 200, total, sometimesElse(each(40), numbers(`{"total":"%d.50"}`, 1), total), total, []string{"real GET /invoices $.total +1 5/200 0/200"}},
		{"too few to say", 90, total, sometimesElse(each(40), numbers(`{"total":"%d.50"}`, 1), total), total, []string{"undecided GET /invoices $.total +1 3/90 0/90"}},
		{"errors with an identifier each", 40, problem("a0"), problem("b0"), problem("c0"), []string{"noise (not found) $.instance 40/40 40/40"}},
		{"an identifier in some answers", 300, trace("a0"), trace("b0"), trace("c0"), []string{"noise GET /invoices $.trace 30/30 30/30"}},
		{"times of a second's resolution", 300,
			bodies(func(i int) string { return `{"at":"` + at(i, 0) + `"}` }),
			bodies(func(i int) string { return `{"at":"` + at(i, b2i(i%20 == 3)) + `"}` }),
			bodies(func(i int) string { return `{"at":"` + at(i, b2i(i%20 == 5 || i%40 == 3)) + `"}` }),
			[]string{"noise GET /invoices $.at +1 s 15/300 23/300"}},
		{"a day short, and the control seconds apart", 60, expires(0, zero), expires(-1, func(i int) int { return i % 3 }), expires(0, func(i int) int { return i % 3 }),
			[]string{"real GET /invoices $.expiresAt −1 day 60/60 0/60"}},
		{"seconds apart, as the control", 60, expires(0, zero), expires(0, func(i int) int { return i % 4 }), expires(0, func(i int) int { return i % 3 }),
			[]string{"noise GET /invoices $.expiresAt 45/60 40/60"}},
		{"a day short in both", 60, expires(0, zero), expires(-1, func(i int) int { return i % 3 }), expires(-1, func(i int) int { return i % 2 }),
			[]string{"undecided GET /invoices $.expiresAt −1 day 60/60 60/60 alike"}},
		{"random numbers", 300, random(1, never), random(2, never), random(3, never), []string{"noise GET /invoices $.load */300 */300"}},
		{"random numbers, now and then a hundred times as large", 300, random(1, never), random(2, each(20)), random(3, never), []string{"real GET /invoices $.load */300 */300"}},
		{"a control of the new version", 60, total, numbers(`{"total":"%d50"}`, 0), numbers(`{"total":"%d50"}`, 0), []string{"undecided GET /invoices $.total ×100 60/60 60/60 alike"}},
		{"something is missing", 30, total, bodies(func(_ int) string { return `{}` }), total, []string{"real GET /invoices $.total missing 30/30 0/30"}},
		{"missing at both, now and then", 200, total, sometimesElse(each(7), bodies(func(_ int) string { return `{}` }), total), sometimesElse(each(8), bodies(func(_ int) string { return `{}` }), total),
			[]string{"noise GET /invoices $.total missing 29/200 25/200"}},
		{"errors of the shadow", 60, total, failing(503, each(30), total), total, []string{"real GET /invoices status 200/503 2/60 0/60"}},
		{"errors of both", 60, total, failing(503, each(10), total), failing(503, each(10), total), []string{"undecided GET /invoices status 200/503 6/60 6/60 alike"}},
		{"errors of both, most of them the shadow's", 300, total, failing(503, each(10), total), failing(503, each(300), total), []string{"real GET /invoices status 200/503 30/300 1/300"}},
		{"errors of both at other times", 60, total, failing(503, each(10), total), failing(503, each(11), total), []string{"undecided GET /invoices status 200/503 6/60 6/60"}},
		{"a control without live's data", 60, total, failing(404, each(30), total), failing(404, always, total), []string{"undecided GET /invoices status 200/404 2/60 60/60 alike"}},
		{"a control that is dead", 40, total, numbers(`{"total":"%d50"}`, 0), none, []string{"undecided GET /invoices $.total ×100 40/40"}},
		{"a control that is dead, and a flag", 40, bodies(func(i int) string { return fmt.Sprintf(`{"paid":%t}`, i%2 == 0) }), bodies(func(i int) string { return fmt.Sprintf(`{"paid":%t}`, i%2 != 0) }), none,
			[]string{"real GET /invoices $.paid negated 40/40"}},
		{"only the control differs", 60, total, total, numbers(`{"total":"%d.50"}`, 1), []string{}},
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func sometimesElse(when func(i int) bool, then, otherwise func(i int) *Answer) func(int) *Answer {
	return func(i int) *Answer {
		if when(i) {
			return then(i)
		}
		return otherwise(i)
	}
}

// judgedControlled are the differences in short, with what the control says of them.
func judgedControlled(a *Account) []string {
	list := []string{}
	for i, text := range judged(a) {
		g := a.Differences[i]
		if g.ControlPairs > 0 {
			text += fmt.Sprintf(" %d/%d", g.Controls, g.ControlPairs)
		}
		if g.Alike {
			text += " alike"
		}
		list = append(list, text)
	}
	return list
}

// matchText reports whether a text is as it should be, in which * stands for a number.
func matchText(got, want []string) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		g, w := strings.Fields(got[i]), strings.Fields(want[i])
		if len(g) != len(w) {
			return false
		}
		for j := range g {
			_, end, many := strings.Cut(w[j], "*/")
			if g[j] != w[j] && !(many && w[j][0] == '*' && strings.HasSuffix(g[j], "/"+end)) {
				return false
			}
		}
	}
	return true
}

func runControlled(t *testing.T, test *controlledTest, r *Rules) *Verdict {
	t.Helper()
	v := begun(r)
	for i := 0; i < test.n; i++ {
		req := &Request{Method: "GET", Path: "/invoices", Target: "/invoices?n=" + fmt.Sprint(i), At: time.Now()}
		addTriple(v, r, req, test.live(i), test.shadow(i), test.control(i))
	}
	return v
}

// Each row is what two right or wrong versions of a billing service answer, with a second
// instance of the older one beside them.
func TestDifferencesAreJudgedByTheControl(t *testing.T) {
	for _, test := range controlledTests() {
		a := runControlled(t, &test, controlled(t)).Snapshot().Account
		if got := judgedControlled(a); !matchText(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
		// The question whether the control is what it should be is asked in the reasons.
		state, reasons := a.State(time.Now(), "")
		asked := strings.Contains(strings.Join(reasons, "; "), "is it live's version, with live's data?")
		alike := len(test.want) > 0 && strings.HasSuffix(test.want[0], " alike")
		if asked != alike || alike && state != StateUndecided {
			t.Errorf("%s: %s %q", test.name, state, reasons)
		}
	}
}

// A mistake that a control can see is never taken for agreement, wherever it begins.
func TestControlsAreNeverAGuess(t *testing.T) {
	for _, test := range controlledTests() {
		if len(test.want) == 0 || strings.HasPrefix(test.want[0], "noise") {
			continue
		}
		v := begun(controlled(t))
		r := v.account.rules
		for i := 0; i < test.n; i++ {
			addTriple(v, r, &Request{Method: "GET", Path: "/invoices", Target: fmt.Sprint(i), At: time.Now()}, test.live(i), test.shadow(i), test.control(i))
			if i%4 != 2 {
				continue
			}
			a := v.Snapshot().Account
			for _, d := range a.Differences {
				if d.Judgement == Noise && !strings.HasPrefix(test.name, "random numbers") {
					t.Fatalf("%s: noise after %d: %q", test.name, i+1, judgedControlled(a))
				}
			}
		}
	}
}

// An endpoint at which the control has other statuses than live is judged without one,
// and named.
func TestControlIsUnfitWhereItsStatusIsAnother(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	total := numbers(`{"total":"%d.50"}`, 0)
	wrong := numbers(`{"total":"%d50"}`, 0)
	control := failing(404, each(10), total)
	for i := 0; i < 100; i++ {
		addTriple(v, r, &Request{Method: "GET", Path: "/invoices", At: time.Now()}, total(i), wrong(i), control(i))
		addTriple(v, r, &Request{Method: "GET", Path: "/customers", At: time.Now()}, total(i), wrong(i), failing(404, each(20), total)(i))
		judge(v, r, "POST", "/invoices", `{"n":1}`, `{"n":1}`)
	}
	a := v.Snapshot().Account
	want := []string{"real GET /customers $.total ×100 100/100 0/95", "undecided GET /invoices $.total ×100 100/100"}
	if got := judgedControlled(a); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c := a.Control
	if c == nil || c.Answered != 200 || c.Failed != 0 || !reflect.DeepEqual(c.Unfit, []string{"GET /invoices: 10 of its 100 answers have another status than live's"}) || !reflect.DeepEqual(c.Without, []string{"GET /invoices", "POST /invoices"}) {
		t.Errorf("control %+v, want 200 answers, GET /invoices unfit, and POST /invoices without", c)
	}
	if got := a.Endpoints[0].Controlled + a.Endpoints[1].Controlled + a.Endpoints[2].Controlled; got != 95 {
		t.Errorf("%d pairs are judged with the control, want 95", got)
	}
	if begun(rules(t)).Snapshot().Account.Control != nil {
		t.Errorf("there is a control without one")
	}
}

// What triples have shown to be noise holds for pairs without a control, too, as long as
// those look alike.
func TestPairsWithoutAControl(t *testing.T) {
	total := numbers(`{"total":"%d.50"}`, 0)
	load := func(plus int) func(int) *Answer {
		return bodies(func(i int) string { return fmt.Sprintf(`{"load":%d}`, 100+i*i%97+plus) })
	}
	tests := []struct {
		name          string
		triples, rest int
		first, then   controlledTest
		want          string
	}{
		{"noise goes on", 60, 300, controlledTest{live: load(0), shadow: sometimesElse(each(3), load(1), load(0)), control: sometimesElse(each(4), load(1), load(0))},
			controlledTest{live: load(0), shadow: sometimesElse(each(3), load(1), load(0))}, Noise},
		{"there is more of it", 60, 300, controlledTest{live: load(0), shadow: sometimesElse(each(10), load(1), load(0)), control: sometimesElse(each(10), load(2), load(0))},
			controlledTest{live: load(0), shadow: load(1)}, Undecided},
		{"it stands in another relation", 60, 30, controlledTest{live: load(0), shadow: sometimesElse(each(3), load(1), load(0)), control: sometimesElse(each(4), load(1), load(0))},
			controlledTest{live: numbers(`{"load":%d}`, 0), shadow: numbers(`{"load":%d00}`, 0)}, Undecided},
		{"a mistake begins without one", 100, 100, controlledTest{live: total, shadow: total, control: total},
			controlledTest{live: total, shadow: sometimesElse(each(3), numbers(`{"total":"%d.50"}`, 1), total)}, Real},
		{"real in the triples", 60, 100, controlledTest{live: total, shadow: numbers(`{"total":"%d50"}`, 0), control: total},
			controlledTest{live: total, shadow: total}, Real},
	}
	for _, test := range tests {
		r := controlled(t)
		v := begun(r)
		for i := 0; i < test.triples; i++ {
			addTriple(v, r, &Request{Method: "GET", Path: "/invoices", At: time.Now()}, test.first.live(i), test.first.shadow(i), test.first.control(i))
		}
		for i := 0; i < test.rest; i++ {
			addTriple(v, r, &Request{Method: "GET", Path: "/invoices", At: time.Now()}, test.then.live(i), test.then.shadow(i), nil)
		}
		a := v.Snapshot().Account
		if len(a.Differences) != 1 || a.Differences[0].Judgement != test.want {
			t.Errorf("%s: %q, want %s", test.name, judgedControlled(a), test.want)
		}
		if c := a.Control; c.Failed != int64(test.rest) || c.Answered != int64(test.triples) {
			t.Errorf("%s: %+v, want %d answers and %d failures", test.name, c, test.triples, test.rest)
		}
	}
}

// Rules count for triples that came before them.
func TestRulesCoverControlledDifferences(t *testing.T) {
	test := controlledTests()[0]
	v := runControlled(t, &test, controlled(t))
	v.Begin(controlled(t, "$.total"))
	if a := v.Snapshot().Account; a.Ignored != 40 || a.Real != 0 || a.Differences[0].Judgement != Ignored {
		t.Errorf("%d ignored, %d real, want 40 and none", a.Ignored, a.Real)
	}
	v.Begin(controlled(t))
	if a := v.Snapshot().Account; a.Real != 40 {
		t.Errorf("%d real without the rule again, want 40", a.Real)
	}
}

// What the control alone shows is bounded, and none of the shadow's.
func TestWhatOnlyTheControlShowsIsBounded(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	for i := 0; i < 300; i++ {
		control := jsonAnswer(fmt.Sprintf(`{"n":1,"k%d":1}`, i))
		addTriple(v, r, &Request{Method: "GET", Path: "/invoices", At: time.Now()}, jsonAnswer(`{"n":1}`), jsonAnswer(`{"n":1}`), control)
		addTriple(v, r, &Request{Method: "GET", Path: "/customers", At: time.Now()}, jsonAnswer(`{"s":"a"}`), jsonAnswer(fmt.Sprintf(`{"s":"%d"}`, i)), jsonAnswer(fmt.Sprintf(`{"s":"%x"}`, i*i)))
	}
	for name, e := range v.account.endpoints {
		if len(e.unshown) > maxGroups {
			t.Errorf("%s: %d groups that only the control shows, want %d at most", name, len(e.unshown), maxGroups)
		}
		for _, g := range e.groups {
			if w := g.witness; len(w.related) > maxRelated || len(w.shapes) > maxShapes+1 || len(w.right) > maxShapes+1 {
				t.Errorf("%s: %d relations, %d and %d shapes: beyond the bounds", name, len(w.related), len(w.shapes), len(w.right))
			}
		}
	}
	a := v.Snapshot().Account
	if len(a.Differences) != 1 || a.Compared != 600 || a.Agreeing() < 300 {
		t.Errorf("%q of %d pairs", judgedControlled(a), a.Compared)
	}
}

// What was counted with a control goes with endpoints that turn out to be one.
func TestTriplesAreMergedWithTheirEndpoints(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	total := numbers(`{"total":"%d.50"}`, 0)
	n := 0
	for i := 0; i < 60; i++ {
		// Names of customers, which are told apart until there are many.
		path := "/customers/" + letters(i) + "/invoices"
		addTriple(v, r, &Request{Method: "GET", Path: path, At: time.Now()}, total(i), numbers(`{"total":"%d50"}`, 0)(i), sometimesElse(each(2), numbers(`{"total":"%d.50"}`, 1), total)(i))
		addTriple(v, r, &Request{Method: "GET", Path: path, At: time.Now()}, total(i), total(i), nil)
		n++
	}
	a := v.Snapshot().Account
	want := []string{"real GET /customers/*/invoices $.total ×100 60/120 30/60"}
	if got := judgedControlled(a); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if a.Control.Answered != 60 || a.Control.Failed != 60 {
		t.Errorf("%+v, want 60 answers and 60 failures", a.Control)
	}
}

// A pair without an answer that is taken back takes its control along.
func TestPairsWithAControlCanBeTakenBack(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	req := &Request{Method: "GET", Path: "/invoices", At: time.Now()}
	live := jsonAnswer(`{"n":1}`)
	for i := 0; i < 30; i++ {
		addTriple(v, r, req, live, live, live)
	}
	for i := 0; i < 2; i++ {
		addTriple(v, r, req, live, &Answer{}, live)
	}
	if got := judgedControlled(v.Snapshot().Account); !reflect.DeepEqual(got, []string{"real GET /invoices status no answer 2/32 0/32"}) {
		t.Errorf("got %q", got)
	}
	for i := 0; i < 2; i++ {
		v.Retract(r, req, live.Status)
	}
	a := v.Snapshot().Account
	if len(a.Differences) != 0 || a.Control.Answered != 30 || a.Compared != 30 {
		t.Errorf("%q, %+v, %d compared; want none, and 30", judgedControlled(a), a.Control, a.Compared)
	}
	for i := 0; i < 3; i++ {
		addTriple(v, r, req, live, &Answer{}, &Answer{})
	}
	if got := judgedControlled(v.Snapshot().Account); !reflect.DeepEqual(got, []string{"undecided GET /invoices status no answer 3/33 3/30 alike"}) {
		t.Errorf("got %q", got)
	}
}

// Matched pairs say what became of their control.
func TestMatchesHaveAControl(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	for i := 0; i < 100; i++ {
		v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: "/invoices", At: time.Now()}, Status: 200, Control: []string{ControlAnswered, ControlFailed, ControlPaused, ""}[i%4]}
		if len(v.Matches) >= MostMatches {
			v.AddMatches()
		}
	}
	a := v.Snapshot().Account
	if c := a.Control; c.Answered != 25 || c.Failed != 25 || c.Paused != 25 || a.Endpoints[0].Controlled != 25 || len(c.Without) != 0 {
		t.Errorf("%+v of %+v, want 25 of each", c, a.Endpoints[0])
	}
}

// Two pages of identical chances: with noise alone there is nothing real, and a mistake
// in some of the answers of a noisy key is seen.
func TestNoiseOfManyKeysIsNotReal(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	dice := rand.New(rand.NewSource(4711))
	side := func() *Answer {
		b := &strings.Builder{}
		for k := 0; k < 10; k++ {
			n := 100
			if dice.Intn(5) == 0 {
				n += dice.Intn(50)
			}
			fmt.Fprintf(b, `,"k%c":%d`, rune('a'+k), n)
		}
		return &Answer{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"n":1` + b.String() + `}`)}
	}
	for i := 0; i < 400; i++ {
		addTriple(v, r, &Request{Method: "GET", Path: "/invoices", Target: fmt.Sprint(i), At: time.Now()}, side(), side(), side())
		if i%50 != 49 {
			continue
		}
		for _, d := range v.Snapshot().Account.Differences {
			if d.Judgement == Real {
				t.Errorf("after %d: %q", i+1, judgedControlled(v.Snapshot().Account))
				return
			}
		}
	}
}

func TestShapesOfValues(t *testing.T) {
	r := &Rules{}
	tests := []struct {
		a, b  Value
		equal bool
	}{
		{r.value("string", "", uuid("a0", 1)), r.value("string", "", uuid("b7", 99)), true},
		{r.value("string", "", uuid("a0", 1)), r.value("string", "", strings.ToUpper(uuid("b7", 99))), false},
		{r.value("string", "", uuid("a0", 1)), r.value("string", "", "n/a"), false},
		{r.value("string", "", uuid("a0", 1)), Value{}, false},
		{r.value("number", "", "1"), r.value("number", "", "-17.5e3"), true},
		{r.value("number", "", "1"), r.value("string", "", "1"), false},
		{r.value("string", "", "2026-11-28T06:00:00Z"), r.value("string", "", "2026-01-02T23:59:59Z"), true},
		{r.value("string", "", "2026-11-28T06:00:00Z"), r.value("string", "", "28.11.2026 06:00:00"), false},
	}
	for _, test := range tests {
		if equal := shapeOf(&test.a) == shapeOf(&test.b); equal != test.equal {
			t.Errorf("%s and %s: %q and %q", test.a.whole, test.b.whole, shapeOf(&test.a), shapeOf(&test.b))
		}
	}
}

func TestSpansOfTimes(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "", 5: "", -59: "", 90: "+2 min", -86399: "−1 day", -86401: "−1 day", 3601: "+1 h", 7200: "+2 h", 172800: "+2 days", -31 * 86400: "−31 days", 1800: "+30 min",
	} {
		if got := spanRelation(seconds); got != want {
			t.Errorf("%v s: %q, want %q", seconds, got, want)
		}
	}
}

// Times that are made anew are seconds apart, and what is an hour off now and then is
// counted to the pair, whatever is said of the rest of that member's values.
func TestTimesThatAreFarApartAreJudgedForThemselves(t *testing.T) {
	start := time.Now().UTC().Truncate(time.Second)
	created := func(later func(i int) time.Duration) func(int) *Answer {
		return bodies(func(i int) string {
			return `{"created":"` + start.Add(time.Duration(i)*time.Minute+later(i)).Format("2006-01-02T15:04:05") + `"}`
		})
	}
	seconds := func(i int) time.Duration { return time.Duration(1+i%3) * time.Second }
	late := func(i int) time.Duration { return seconds(i) + time.Duration(b2i(i%10 == 0))*time.Hour }
	now := func(int) time.Duration { return 0 }
	tests := []struct {
		name            string
		shadow, control func(int) *Answer
		want            []string
		real            int64
	}{
		{"an hour late now and then", created(late), created(seconds), []string{"real GET /invoices $.created +1 h 12/120 0/120", "noise GET /invoices $.created 108/120 120/120"}, 12},
		{"and so is the control, as often", created(late), created(func(i int) time.Duration { return late(i + 5) }), []string{"noise GET /invoices $.created 108/120 108/120", "noise GET /invoices $.created +1 h 12/120 12/120"}, 0},
		{"without one", created(late), none, []string{"undecided GET /invoices $.created 120/120"}, 0},
	}
	for _, test := range tests {
		a := runControlled(t, &controlledTest{n: 120, live: created(now), shadow: test.shadow, control: test.control}, controlled(t)).Snapshot().Account
		if got := judgedControlled(a); !matchText(got, test.want) || a.Real != test.real {
			t.Errorf("%s: %d real pairs\ngot  %q\nwant %q with %d", test.name, a.Real, got, test.want, test.real)
		}
	}
}
