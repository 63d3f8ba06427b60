package compare

import (
	"reflect"
	"strconv"
	"testing"
	"time"
)

// What is made anew looks the same each time. Where it does not, one side is wrong.
func TestWhatIsMadeAnewHasOneForm(t *testing.T) {
	at := time.Date(2026, time.November, 28, 6, 20, 11, 0, time.UTC)
	unix := func(d time.Duration, unit time.Duration) string {
		return strconv.FormatInt(at.Add(d).UnixNano()/int64(unit), 10)
	}
	tests := []struct {
		live, shadow string
		made         bool
	}{
		{"550e8400-e29b-41d4-a716-446655440000", "9f1c2b7a-03de-4a58-9c1e-5d2f7b8a6c10", true},
		{"550e8400-e29b-41d4-a716-446655440000", "9F1C2B7A-03DE-4A58-9C1E-5D2F7B8A6C10", false},
		{"550e8400-e29b-41d4-a716-446655440000", "9f1c2b7a03de4a589c1e5d2f7b8a6c10", false},
		{"550e8400-e29b-41d4-a716-446655440000", "4711", false},
		{"urn:uuid:550e8400-e29b-41d4-a716-446655440000", "urn:uuid:9f1c2b7a-03de-4a58-9c1e-5d2f7b8a6c10", true},
		{"urn:uuid:550e8400-e29b-41d4-a716-446655440000", "9f1c2b7a-03de-4a58-9c1e-5d2f7b8a6c10", false},
		{"/drafts/550e8400-e29b-41d4-a716-446655440000", "/drafts/9f1c2b7a-03de-4a58-9c1e-5d2f7b8a6c10", true},
		{"/drafts/550e8400-e29b-41d4-a716-446655440000", "/invoices/9f1c2b7a-03de-4a58-9c1e-5d2f7b8a6c10", false},
		{"https://billing.example.com/drafts/5f2d8a1c9b7e4d3f", "https://billing.example.com/drafts/0c9e7b1a5d3f8e26", true},
		{"https://billing.example.com/drafts/5f2d8a1c9b7e4d3f", "https://billing.example.com/invoices/0c9e7b1a5d3f8e26", false},
		{"01HF7YAT31JZ0C5R2GKJQ9W4XB", "01HF7YAT4BQ8M7D3V6N0S5E2ZK", true},
		{"p7Qx/1ZkV+9aT3mW0cRy8uJh5sLg2bNf4eDi6oKt=", "Zk3/Vt8+1Qa7mWx0cRy5uJh2sLg9bNf6eDi4oKp=", true},
		{"5f2d8a1c9b7e4d3f", "0c9e7b1a5d3f8e26a4b1c7d90e2f6835", false},
		{"5f2d8a1c9b7e4d3f", "c9e7b1a5d3f8e260a", true},
		{"2026-11-28T06:20:11Z", "2026-11-28T06:20:12.5Z", true},
		{"2026-11-28T06:20:11Z", "2026-11-28T07:20:12+01:00", true},
		{"2026-11-28T06:20:11Z", "2026-11-28T07:20:12Z", false},
		{"2026-11-28T06:20:11Z", "2026-11-28T06:20:12", false},
		{"2026-11-28T06:20:11Z", "2026-11-28 06:20:12Z", false},
		{"2026-11-28T06:20:11Z", "Sat, 28 Nov 2026 06:20:12 GMT", false},
		{"2026-11-28 07:20:11", "2026-11-28 07:20:12", true},
		{"2026-11-28 07:20:11", "2026-11-28 06:20:12", false},
		{unix(0, time.Second), unix(2*time.Second, time.Second), true},
		{unix(0, time.Second), unix(time.Second, time.Millisecond), false},
		{unix(0, time.Millisecond), unix(time.Second, time.Millisecond), true},
		{unix(0, time.Second), unix(-time.Minute, time.Second), false},
		{"4711", "4712", false},
	}
	for _, test := range tests {
		if got := markOf(test.live, test.shadow, at); got.made != test.made || test.made && !got.random {
			t.Errorf("%s and %s: made anew: %t, looks so: %t; want %t", test.live, test.shadow, got.made, got.random, test.made)
		}
		if got := markOf(test.shadow, test.live, at); got.made != test.made {
			t.Errorf("%s and %s: made anew: %t, want %t", test.shadow, test.live, got.made, test.made)
		}
	}
}

// An answer may name what it has made several times. Another answer may not.
func TestAnAnswerNamesWhatItMadeSeveralTimes(t *testing.T) {
	r := rules(t)
	v := begun(r)
	draft := func(id, of string) string {
		return `{"id":"` + id + `","lines":[{"draft":"` + of + `"}],"href":"/drafts/` + id + `"}`
	}
	for i := 0; i < 40; i++ {
		judge(v, r, "POST", "/drafts", draft(uuid("a0", i), uuid("a0", i)), draft(uuid("b0", i), uuid("b0", i)))
	}
	want := []string{"noise POST /drafts $.href 40/40", "noise POST /drafts $.id 40/40", "noise POST /drafts $.lines[*].draft 40/40"}
	if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	judge(v, r, "POST", "/drafts", draft(uuid("a0", 50), uuid("a0", 50)), draft(uuid("b0", 50), uuid("b0", 7)))
	want = append([]string{"real POST /drafts $.lines[*].draft of another 1/41"}, "noise POST /drafts $.href 41/41", "noise POST /drafts $.id 41/41", "noise POST /drafts $.lines[*].draft 40/41")
	if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("with another's: got %q, want %q", got, want)
	}
}

// With a control, what is made anew by live and by it is so by the shadow, too.
func TestWhatIsMadeAnewBesideAControl(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	location := func(collection, side string) func(i int) *Answer {
		return func(i int) *Answer { return jsonAnswer(`{"href":"/` + collection + `/` + uuid(side, i) + `"}`) }
	}
	live, control := location("drafts", "a0"), location("drafts", "c0")
	right, wrong := location("drafts", "b0"), location("orders", "d0")
	for i := 0; i < 120; i++ {
		addTriple(v, r, &Request{Method: "POST", Path: "/drafts", At: time.Now()}, live(i), right(i), control(i))
		addTriple(v, r, &Request{Method: "POST", Path: "/copies", At: time.Now()}, live(1000+i), wrong(1000+i), control(1000+i))
	}
	want := []string{"real POST /copies $.href 120/120 120/120", "noise POST /drafts $.href 120/120 120/120"}
	if got := judgedControlled(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A control that differs far more often than the shadow is no second instance of live's
// version with live's data, and what the shadow differs in beside it is no noise.
func TestControlWithOtherData(t *testing.T) {
	r := controlled(t)
	v := begun(r)
	total := numbers(`{"total":"%d.50"}`, 0)
	rounded := numbers(`{"total":"%d.49"}`, 0)
	other := numbers(`{"total":"%d.50"}`, 4711)
	for i := 0; i < 120; i++ {
		shadow := total(i)
		if i%10 == 0 {
			shadow = rounded(i)
		}
		addTriple(v, r, &Request{Method: "GET", Path: "/invoices", At: time.Now()}, total(i), shadow, other(i))
	}
	want := []string{"undecided GET /invoices $.total −0.01 12/120 120/120"}
	if got := judgedControlled(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is the same again and again is not made anew, whatever it looks like: a code that
// anybody can guess, or the time at which the service was started.
func TestWhatIsTheSameAgainAndAgain(t *testing.T) {
	at := time.Now()
	started := at.Add(-5 * time.Second).UTC().Format(time.RFC3339Nano)
	created := func(i int) string {
		return `{"created":"` + at.Add(time.Duration(i)*time.Millisecond).UTC().Format(time.RFC3339Nano) + `"}`
	}
	code := func(side int) func(i int) *Answer {
		return func(i int) *Answer { return jsonAnswer(`{"code":` + strconv.Itoa(100000+(i*side*7919)%900000) + `}`) }
	}
	r := controlled(t)
	v := begun(r)
	for i := 0; i < 120; i++ {
		judge(v, r, "POST", "/drafts", created(i), `{"created":"`+started+`"}`)
		addTriple(v, r, &Request{Method: "GET", Path: "/codes", At: at}, code(3)(i+1), code(0)(i), code(5)(i+1))
		addTriple(v, r, &Request{Method: "GET", Path: "/others", At: at}, code(3)(i+1), code(7)(i+1), code(5)(i+1))
	}
	want := []string{"undecided GET /codes $.code 120/120 120/120", "undecided POST /drafts $.created −5 s 120/120", "noise GET /others $.code 120/120 120/120"}
	if got := judgedControlled(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
