package report

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

func TestStatusIsThePlainestThingThatCanBeSaid(t *testing.T) {
	tests := []struct {
		name   string
		change func(m *Middleware)
		want   string
	}{
		{"as it is", func(m *Middleware) {}, "Differs"},
		{"agrees", func(m *Middleware) { m.Comparison.State = compare.StateAgrees }, "Agrees"},
		{"undecided", func(m *Middleware) { m.Comparison.State = compare.StateUndecided }, "Undecided"},
		{"early", func(m *Middleware) { m.Comparison.State = compare.StateEarly }, "Too early"},
		{"nothing compared", func(m *Middleware) { m.Comparison.State = compare.StateNone }, "Nothing yet"},
		{"not comparing", func(m *Middleware) { m.Comparison = nil }, "Not comparing"},
		{"mistaken before all else", func(m *Middleware) { m.ConfigErrors = 1; m.State.Paused = true }, "Not mirroring"},
		{"paused, and not comparing", func(m *Middleware) { m.State.Paused = true; m.Comparison = nil }, "Paused"},
		{"paused before anything was compared", func(m *Middleware) { m.State.Paused = true; m.Comparison.State = compare.StateNone }, "Paused"},
		{"failing, and not comparing", func(m *Middleware) { m.State.Failing = true; m.Comparison = nil }, "Failing"},
		{"paused, for it is failing", func(m *Middleware) { m.State.Failing = true; m.State.Paused = true; m.Comparison = nil }, "Paused"},
		{"failing, as the headline of what was compared", func(m *Middleware) { m.State.Failing = true }, "Differs"},
		{"paused, as the headline of what was compared", func(m *Middleware) { m.State.Paused = true }, "Differs"},
		{"removed before anything was compared", func(m *Middleware) { m.Removed = &generated; m.Comparison.State = compare.StateNone }, "Removed"},
		{"removed, and not comparing", func(m *Middleware) { m.Removed = &generated; m.Comparison = nil }, "Removed"},
		{"removed, as the headline of what was compared", func(m *Middleware) { m.Removed = &generated }, "Differs"},
		{"many failures, but not of late", func(m *Middleware) { m.Failed["timeout"] = 2500 }, "Differs"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := billing()
			test.change(m)
			if got := statusOf(m).Word; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestWarningsSayWhatAVerdictDoesNot(t *testing.T) {
	m := billing()
	if got := warnings(m); len(got) != 0 {
		t.Errorf("got %q, want none", got)
	}
	m.Failed["connect"] = 1000
	m.AddLosses()
	m.Comparison.Skipped[compare.TooLarge] = 20000
	want := []string{
		"7.5% of the requests that were to be mirrored are lost; they are not among the answers compared.",
		"More pairs of answers were skipped than compared: 20,000 to 12,431.",
	}
	if got := warnings(m); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestThePageSaysHowCopiesWait(t *testing.T) {
	m := billing()
	m.Sequence = &Sequence{By: "header:X-Customer-Id", Waiting: 12, LongestWait: 2.5, Unordered: 1700, LostValues: 3}
	_, elements := written(t, documentOf(m), "")
	text := named(elements, "main")[0].text
	for _, want := range []string{
		"Waiting12for the one before, by header:X-Customer-Id, for up to 2.5 s", "Unordered1,700had no value to go by",
		"Lost values3lost a change", "Copies wait for their turn, for up to 2.5 s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	m.Sequence = &Sequence{By: "clientIP"}
	_, elements = written(t, documentOf(m), "")
	if text := named(elements, "main")[0].text; !strings.Contains(text, "Waiting0for the one before, by clientIP") || strings.Contains(text, "Unordered") || strings.Contains(text, "wait for their turn") {
		t.Errorf("where nothing waits the page says %.3000q", text)
	}
}

func TestAllReasonsAreExplained(t *testing.T) {
	for _, name := range compare.Reasons {
		if skipMeanings[name] == "" {
			t.Errorf("%s is not explained", name)
		}
	}
	if len(skipMeanings) != len(compare.Reasons) {
		t.Errorf("%d are explained of %q", len(skipMeanings), compare.Reasons)
	}
	seen := map[string]bool{}
	for _, r := range Reasons {
		if !strings.HasSuffix(r.Meaning, ".") || strings.Contains(r.Meaning, ". ") || !strings.HasSuffix(r.Remedy, ".") {
			t.Errorf("%s: %q and %q, want one sentence each", r.Word, r.Meaning, r.Remedy)
		}
		if seen[r.Word] {
			t.Errorf("%s is two reasons", r.Word)
		}
		seen[r.Word] = true
	}
}

func TestOnlyReasonsThatWereMetAreListed(t *testing.T) {
	got := newTally("Lost", map[string]int64{"timeout": 1204, "tls": 0, "new": 2}, FailureKinds, map[string]string{"timeout": "There was no whole answer within timeout."})
	want := tally{
		Title: "Lost",
		Rows: []tallyRow{
			{Name: "timeout", Count: "1,204", Meaning: "There was no whole answer within timeout."}, {Name: "new", Count: "2"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestNoiseCanBeCopiedIntoAConfiguration(t *testing.T) {
	got := newIgnoreView("shadow-billing@docker", []string{"$.requestId", "$['trace.id']", "$['a,b']", "$['a\tb']"})
	want := &ignoreView{
		YAML:  "compare:\n  ignore:\n    - '$.requestId'\n    - '$[''trace.id'']'\n    - '$[''a,b'']'\n    - \"$['a\\tb']\"\n",
		Label: "- 'traefik.http.middlewares.shadow-billing.plugin.mirror.compare.ignore=$$.requestId,$$[''trace.id'']'",
		Left:  "2 paths have a character that a label cannot hold.",
	}
	if *got != *want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := newIgnoreView("shadow-billing", []string{"$['a,b']"}); got.Label != "" || got.Left != "1 path has a character that a label cannot hold." {
		t.Errorf("got %+v, want no label", got)
	}
}

func TestStatusesAreAMatrix(t *testing.T) {
	got := newStatusView(billingComparison().Statuses)
	want := &statusView{
		Columns: []string{"200", "404", "500"},
		Rows: []statusRow{
			{Live: "200", Cells: []statusCell{{Count: "12,362", Class: "same"}, {Count: "0", Class: "zero"}, {Count: "≠ 2", Class: "other"}}},
			{Live: "404", Cells: []statusCell{{Count: "0", Class: "zero"}, {Count: "67", Class: "same"}, {Count: "0", Class: "zero"}}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := newStatusView(nil); got != nil {
		t.Errorf("of no pairs: got %+v, want none", got)
	}
}

func TestRareStatusesGoTogether(t *testing.T) {
	var pairs []StatusPair
	for i := 0; i < 12; i++ {
		pairs = append(pairs, StatusPair{Live: 400 + i, Shadow: 400 + i, Count: int64(100 - i)})
	}
	got := newStatusView(pairs)
	if n := len(got.Columns); n != 11 || got.Columns[9] != "409" || got.Columns[10] != "others" || len(got.Rows) != 11 {
		t.Fatalf("got the columns %q, want 400 to 409 and others", got.Columns)
	}
	if cell := got.Rows[10].Cells[10]; cell.Count != "179" || cell.Class != "mixed" {
		t.Errorf("others: got %+v, want 179, of which nobody knows whether they are the same", cell)
	}
}

func TestThePageShowsTheFirstOfMany(t *testing.T) {
	m := billing()
	c := m.Comparison
	c.Differences = nil
	for i := 0; i < 200; i++ {
		judgement := compare.Real
		if i >= 149 {
			judgement = compare.Noise
		}
		c.Differences = append(c.Differences, Difference{Key: "$.total", Judgement: judgement, Examples: make([]Example, 50)})
	}
	c.Endpoints = make([]Endpoint, 100)
	d := documentOf(m)
	got := newMirrorView(m, newLook(d, url.Values{"open": {sectionNoise}}), generated)
	if len(got.Sorts) != 2 || got.Sorts[0].Title != "Real" || got.Sorts[1].Title != "Noise" {
		t.Fatalf("got %+v, want real ones and noise", got.Sorts)
	}
	if differing := got.Sorts[0]; len(differing.Rows) != 40 || differing.More != "109 more are" || differing.Count != "149 differences" || len(differing.Rows[0].Examples) != 2 {
		t.Errorf("real: got %d, %q, with %d examples", len(differing.Rows), differing.More, len(differing.Rows[0].Examples))
	}
	if noise := got.Sorts[1]; len(noise.Rows) != 15 || noise.More != "36 more are" || !noise.Unfolding.Open {
		t.Errorf("noise: got %d, %q", len(noise.Rows), noise.More)
	}
	if len(got.Endpoints) != 20 || got.MoreEndpoints != "80 more are" {
		t.Errorf("endpoints: got %d, %q", len(got.Endpoints), got.MoreEndpoints)
	}
}

func TestWhatIsUnseenIsMadeVisible(t *testing.T) {
	for given, want := range map[string]string{
		"GET /invoices/2026-0042":    "GET /invoices/2026-0042",
		"Meyer & Söhne 東京 مرحبا":     "Meyer & Söhne 東京 مرحبا",
		"a\x00b\x1b[31m\n\t\r":       `a\x00b\x1b[31m\n\t\r`,
		"\u202egpj.exe\u202c":        `\u202egpj.exe\u202c`,
		"a\u200bb\ufeff\u2028\u2066": `a\u200bb\ufeff\u2028\u2066`,
		"\x7f\u0085\U000e0041":       `\x7f\u0085\U000e0041`,
		"a\xffb":                     "a\uFFFDb",
	} {
		if got := text(given); got != want {
			t.Errorf("%q: got %s, want %s", given, got, want)
		}
	}
	if got := text(strings.Repeat("ö", 500)); got != strings.Repeat("ö", 200)+"…" {
		t.Errorf("got %d bytes of a long text, want 400 and a sign", len(got))
	}
}

func TestTimesAreAsTheyAreFromNow(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Minute: "just now", 0: "just now", 999 * time.Millisecond: "just now", time.Second: "1 s ago", 59 * time.Second: "59 s ago",
		time.Minute: "1 min ago", 59*time.Minute + 59*time.Second: "59 min ago", time.Hour: "1 h ago", 47 * time.Hour: "47 h ago", 50 * time.Hour: "2 days ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
	berlin := time.FixedZone("CET", 3600)
	if got := newMoment(generated.In(berlin), generated); got.At != "2026-03-12T14:31:07Z" {
		t.Errorf("got %s, want the time in UTC", got.At)
	}
}

func TestSizesHaveAUnit(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1,023 B", 1024: "1.0 KiB", 45123456: "43.0 MiB", 1<<20 - 1: "1.0 MiB", 1 << 40: "1.0 TiB", 1 << 52: "4096.0 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestRefreshCanBePaused(t *testing.T) {
	for query, want := range map[string]int{"": 10, "refresh=0": 0, "refresh=1": 10, "other=0": 10} {
		options, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got := newView(documentOf(), options).Refresh; got != want {
			t.Errorf("%q: got %d, want %d", query, got, want)
		}
	}
}

// The first facts say how the control does, and the reasons where it says nothing.
func TestPageSaysHowTheControlDid(t *testing.T) {
	tests := []struct {
		control     Control
		value, note string
		reasons     []string
	}{
		{Control{URL: "http://billing-old:8080", Answered: 1200}, "answers", "1,200 of 1,200 requests answered; http://billing-old:8080", nil},
		{Control{URL: "http://billing-old"}, "not asked yet", "0 of 0 requests answered; http://billing-old", nil},
		{Control{URL: "http://billing-old", Failed: 2, LastError: "dial\x00 refused"}, "fails", `0 of 2 requests answered, 2 failed; last error: dial\x00 refused; http://billing-old`, nil},
		{Control{URL: "http://billing-old", Answered: 1, Failed: 2, Skipped: 3, Paused: true}, "paused", "1 of 6 requests answered, 2 failed, 3 not sent while it was left alone; http://billing-old", nil},
		{Control{URL: "http://billing-old", Answered: 20, Unfit: []string{"GET /a: 5 of its 20 answers have another status than live's"}, Without: []string{"GET /a", "POST /b"}},
			"unfit at 1 endpoint", "20 of 20 requests answered; http://billing-old",
			[]string{"The control is unfit at GET /a: 5 of its 20 answers have another status than live's.", "Judged without a control: GET /a, POST /b."}},
		{Control{URL: "http://billing-old", Answered: 7, Without: []string{"A", "B", "C", "D", "E", "F", "G"}}, "answers", "7 of 7 requests answered; http://billing-old",
			[]string{"Judged without a control: A, B, C, D, E and 2 other endpoints."}},
	}
	for _, test := range tests {
		if got := controlFact(&test.control); got.Value != test.value || got.Note != test.note {
			t.Errorf("got  %q, %q\nwant %q, %q", got.Value, got.Note, test.value, test.note)
		}
		if got := controlReasons(&test.control); !reflect.DeepEqual(got, test.reasons) {
			t.Errorf("reasons: got  %q\nwant %q", got, test.reasons)
		}
	}
}

// In every state the page says what to do now.
func TestThereIsANextStepInEveryState(t *testing.T) {
	state := func(state string) func(*Middleware) {
		return func(m *Middleware) { m.Comparison.State = state }
	}
	soon := 180.0
	tests := []struct {
		name   string
		change func(m *Middleware)
		want   string
	}{
		{"differs", state(compare.StateDiffers), "See what really differs."},
		{"undecided", func(m *Middleware) { m.Comparison.State = compare.StateUndecided; m.Comparison.Undecided = 7 }, "Decide what is undecided"},
		{"undecided for another reason", state(compare.StateUndecided), "has to be seen to"},
		{"early", func(m *Middleware) { m.Comparison.State = compare.StateEarly; m.Comparison.EnoughIn = &soon }, "at the rate so far there are enough in about 3 minutes."},
		{"early, and nothing comes", state(compare.StateEarly), "Wait for more requests."},
		{"agrees", state(compare.StateAgrees), "what nobody asked for was not compared"},
		{"all skipped", state(compare.StateNone), "none could be compared: see below why"},
		{"the first is under way", func(m *Middleware) { m.Comparison.State = compare.StateNone; m.Comparison.Skipped = nil }, "Wait for the first answers."},
		{"no traffic", func(m *Middleware) { *m = *fresh() }, "No request has come by yet."},
		{"nothing eligible", func(m *Middleware) {
			*m = *fresh()
			m.Dropped = map[string]int64{"method": 12}
		}, "none of them is to be mirrored"},
		{"all left out by percent", func(m *Middleware) {
			*m = *fresh()
			m.Dropped = map[string]int64{"sampling": 12}
			m.AddLosses()
		}, "none of them is mirrored: see below why"},
		{"paused", func(m *Middleware) { m.State.Paused = true }, "it kept failing and is left alone"},
		{"failing", func(m *Middleware) { m.State.Failing = true }, "of late it fails too often"},
		{"removed", func(m *Middleware) { m.Removed = &generated }, "No router uses this middleware any more."},
		{"mistaken", func(m *Middleware) { m.ConfigErrors = 1 }, "Put these options right."},
		{"not comparing", func(m *Middleware) { m.Comparison = nil }, "give the middleware the option compare"},
	}
	for _, test := range tests {
		m := billing()
		test.change(m)
		if got := nextStep(m); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// What is said first of the shadow is how it does now.
func TestFirstFactsSayHowTheShadowDoes(t *testing.T) {
	since := before(4 * time.Minute)
	tests := []struct {
		name        string
		change      func(m *Middleware)
		value, note string
	}{
		{"as it is", func(*Middleware) {}, "answers", "last error 11 min ago: no whole answer within the timeout"},
		{"paused", func(m *Middleware) { m.State.Paused = true; m.State.PausedSince = &since; m.State.LastError = "" }, "paused", "since 2026-03-12T14:27:07Z (4 min ago)"},
		{"failing", func(m *Middleware) {
			m.State.Failing = true
			m.State.LastError = ""
			m.State.Recent = Recent{Answered: 3, Failed: 1}
		}, "fails", "1 of 4 requests of late"},
		{"not asked", func(m *Middleware) { *m = *fresh() }, "not asked yet", ""},
		{"mistaken", func(m *Middleware) { *m = *mistakenMirror(); m.State.LastError = "" }, "none", ""},
		{"removed", func(m *Middleware) { m.Removed = &since; m.Shadow = ""; m.State.LastError = "" }, "gone", "no router uses the middleware since 2026-03-12T14:27:07Z (4 min ago)"},
	}
	for _, test := range tests {
		m := billing()
		test.change(m)
		if got := shadowFact(m, generated); got.Value != test.value || got.Note != test.note {
			t.Errorf("%s: got %q, %q, want %q, %q", test.name, got.Value, got.Note, test.value, test.note)
		}
	}
	m := billing()
	m.Comparison.Previous = &Epoch{Name: "build 4710", Compared: 1200, Real: 3, Until: since}
	m.Sequence = &Sequence{Waiting: 2, LongestWait: 0.5}
	var got []string
	for _, f := range firstFacts(m, generated) {
		got = append(got, f.Name+": "+f.Value+", "+f.Note)
	}
	want := []string{
		"Compared: 12,431 pairs, 99.67% of the answers, since 2026-03-12T13:31:07Z (1 h ago)", "Lost: 12 of 12,483, 9 too_large, 3 timeout",
		"Shadow: answers, last error 11 min ago: no whole answer within the timeout", "Latency: 9.0 ms slower, half of the pairs; 2.0 ms faster in one of a hundred",
		"Waiting: 2 copies, for the one before, for up to 500 ms", "Before: 3 pairs really differ, of 1,200 pairs, build 4710, until 2026-03-12T14:27:07Z",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// What is undecided comes with the ways to decide it.
func TestUndecidedDifferencesSayHowToDecide(t *testing.T) {
	for want, control := range map[string]*Control{
		"or have a second instance of the old version as compare.control": nil,
		"or let the control see more requests (compare.controlMethods)":   {Answered: 20},
		"or see to the control, which answers with another status":        {Answered: 20, Unfit: []string{"GET /invoices/*: 5 of its 20 answers have another status than live's"}},
	} {
		m := billing()
		m.Comparison.Control = control
		m.Comparison.Differences[0].Judgement = compare.Undecided
		_, elements := written(t, documentOf(m), "")
		if text := named(elements, "main")[0].text; !strings.Contains(text, "where a difference is meant, leave it out with its line for compare.ignore; "+want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
