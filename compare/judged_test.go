package compare

import (
	"fmt"
	"testing"
	"time"
)

// agreed has an endpoint agree in so many pairs.
func agreed(v *Verdict, r *Rules, path string, n int) {
	for i := 0; i < n; i++ {
		judge(v, r, "GET", path, `{"total":1}`, `{"total":1}`)
	}
}

func TestWhatIsJudgedIsWhatTheSnapshotHas(t *testing.T) {
	tests := []struct {
		name    string
		control bool
		fill    func(v *Verdict, r *Rules)
		want    string
		doubted string // the state of a shadow that is ill
	}{
		{"nothing compared", false, func(_ *Verdict, _ *Rules) {}, StateNone, StateNone},
		{"too few", false, func(v *Verdict, r *Rules) { agreed(v, r, "/invoices", 7) }, StateEarly, StateEarly},
		{"agrees", false, func(v *Verdict, r *Rules) { agreed(v, r, "/invoices", 30) }, StateAgrees, StateUndecided},
		{"differs", false, func(v *Verdict, r *Rules) {
			agreed(v, r, "/invoices", 30)
			judge(v, r, "GET", "/invoices", `{"total":1}`, `{"total":"1"}`)
			judge(v, r, "GET", "/invoices", `{"id":1}`, `{"id":2}`)
		}, StateDiffers, StateDiffers},
		{"undecided, with noise", false, func(v *Verdict, r *Rules) {
			for i := 0; i < 30; i++ {
				judge(v, r, "GET", "/invoices", fmt.Sprintf(`{"total":%d}`, i), fmt.Sprintf(`{"total":%d}`, i+1000))
				judge(v, r, "POST", "/invoices", `{"trace":"`+uuid("0", i)+`"}`, `{"trace":"`+uuid("1", i)+`"}`)
			}
		}, StateUndecided, StateUndecided},
		{"never compared somewhere", false, func(v *Verdict, r *Rules) {
			agreed(v, r, "/invoices", 30)
			for i := 0; i < 25; i++ {
				v.Drop("PUT", "/scans", "too_large")
			}
		}, StateUndecided, StateUndecided},
		{"a control that says nothing of an endpoint", true, func(v *Verdict, r *Rules) {
			for i := 0; i < 30; i++ {
				l := jsonAnswer(`{}`)
				other := answer(503, "text/plain", "")
				v.AddTriple(r, &Request{Method: "GET", Path: "/invoices"}, l, l, Judge(r, l, l), &Triple{Answer: other, Finding: Judge(r, l, other)})
			}
		}, StateAgrees, StateUndecided},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := rules(t, "$.id")
			r.Minimum = 20
			r.MaxAge = 10 * time.Minute
			r.Control = test.control
			v := begun(r)
			test.fill(v, r)
			got := v.Judged()
			a := v.Snapshot().Account
			if got.Compared != a.Compared || got.Real != a.Real || got.Undecided != a.Undecided || got.Noise != a.Noise || got.Ignored != a.Ignored ||
				!got.Since.Equal(a.Since) || !got.Latest.Equal(a.Latest) || got.Controlled != test.control {
				t.Errorf("judged %+v, want what the snapshot has: %+v", got, a)
			}
			if same := got.Same(); same < 0 || same+got.Noise+got.Ignored != a.Agreeing() {
				t.Errorf("%d of %+v are the same, of %d that agree", same, got, a.Agreeing())
			}
			known := map[string]int64{}
			for _, d := range a.Differences {
				known[d.Judgement]++
			}
			for _, j := range []string{Real, Undecided, Noise, Ignored} {
				if got.Differences[j] != known[j] {
					t.Errorf("%d differences are %s, want %d", got.Differences[j], j, known[j])
				}
			}
			if unfit := a.Control != nil && len(a.Control.Unfit) > 0; unfit != (got.Unfit == 1) || unfit != test.control {
				t.Errorf("%d unfit, want it as in %+v", got.Unfit, a.Control)
			}
			for _, ill := range []string{"", "paused"} {
				for _, later := range []time.Duration{0, time.Hour} {
					want := test.want
					if ill != "" || later > 0 {
						want = test.doubted
					}
					now := time.Now().Add(later)
					if is, _ := a.State(now, ill); got.State(now, ill) != want || is != want {
						t.Errorf("%s later, %q: %s, and the snapshot %s, want %s", later, ill, got.State(now, ill), is, want)
					}
				}
			}
		})
	}
}

// New pairs have it judged anew, once in a while. So do other rules, at once.
func TestJudgedAnewOnceInAWhile(t *testing.T) {
	now := at(t)
	r := rules(t)
	v := begun(r)
	tests := []struct {
		name  string
		do    func()
		after time.Duration
		want  int64 // compared, as judged
		anew  bool
	}{
		{"the first time", func() { agreed(v, r, "/invoices", 1) }, 0, 1, true},
		{"a pair", func() { agreed(v, r, "/invoices", 1) }, judgedAge - 2, 1, false},
		{"and some seconds", func() {}, 1, 2, true},
		{"no pair", func() {}, time.Hour, 2, false},
		{"a pair after a long time", func() { agreed(v, r, "/invoices", 1) }, 0, 3, true},
		{"a pair that waits to be added up", func() {
			v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: "/invoices"}, Status: 200}
		}, judgedAge, 4, true},
		{"a request without a copy", func() { v.Drop("GET", "/invoices", "too_large") }, judgedAge, 4, true},
		{"a pair, and a snapshot", func() { agreed(v, r, "/invoices", 1); v.Snapshot() }, 0, 5, true},
		{"a pair, and the clock is set back", func() { agreed(v, r, "/invoices", 1) }, -time.Hour, 6, true},
		{"other rules", func() { v.Begin(rules(t, "$.total")) }, 0, 6, true},
	}
	var last time.Time
	for _, test := range tests {
		*now = now.Add(time.Nanosecond) // by which moments are told apart
		test.do()
		*now = now.Add(test.after)
		j := v.Judged()
		if anew := !j.at.Equal(last); j.Compared != test.want || anew != test.anew {
			t.Errorf("%s: %d compared, judged anew: %t; want %d, %t", test.name, j.Compared, anew, test.want, test.anew)
		}
		if !j.Latest.Equal(v.account.latest) {
			t.Errorf("%s: the latest pair at %s, want it to be that at %s, judged or not", test.name, j.Latest, v.account.latest)
		}
		last = j.at
	}
	v.Begin(nil)
	if j := v.Judged(); j != nil {
		t.Errorf("without rules: %+v", j)
	}
}

func TestControlsAreCountedSinceTheStart(t *testing.T) {
	r := rules(t)
	r.Control = true
	v := begun(r)
	l := jsonAnswer(`{"total":1}`)
	add := func(basis *Rules, f *Finding, triple *Triple) {
		v.AddTriple(basis, &Request{Method: "GET", Path: "/invoices"}, l, l, f, triple)
	}
	busy := answer(503, "text/plain", "")
	add(r, Judge(r, l, l), &Triple{Answer: l, Finding: Judge(r, l, l)})
	add(r, Judge(r, l, l), &Triple{Answer: busy, Finding: Judge(r, l, busy)})
	add(r, Judge(r, l, l), &Triple{Fate: ControlFailed})
	add(r, Judge(r, l, l), &Triple{Fate: ControlPaused})
	add(r, Judge(r, l, l), nil)
	add(r, Skip(Stream), &Triple{Fate: ControlFailed})
	v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: "/invoices"}, Status: 200, Control: ControlAnswered}
	again := rules(t)
	again.Control = true
	again.Basis = "again"
	v.Begin(again)
	add(again, Judge(again, l, l), &Triple{Fate: ControlPaused})
	got := v.Totals().Controls
	if got.Answered != 3 || got.Failed != 1 || got.Paused != 2 {
		t.Errorf("got %+v, want 3 answered, 1 failed and 2 paused", got)
	}
}
