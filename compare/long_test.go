package compare

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// at has the account's clock stand still until it is moved.
func at(t *testing.T) *time.Time {
	t.Helper()
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	before := clock
	clock = func() time.Time { return now }
	t.Cleanup(func() { clock = before })
	return &now
}

// However long it goes on, the time line has each pair in the interval that it was in, the
// ones that differ as those that do not, also those that are added up later.
func TestTimeLineOfALongRun(t *testing.T) {
	now := at(t)
	r := rules(t)
	v := begun(r)
	start := *now
	var when []time.Time
	for i := 0; i < 600; i++ {
		*now = start.Add(time.Duration(i) * 97 * time.Second) // 16 hours
		when = append(when, *now)
		switch {
		case i%10 == 3:
			judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
		case i%2 == 0:
			v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: "/invoices", At: *now}, Status: 200}
			v.AddMatches()
		default:
			judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":1}`)
		}
	}
	a := v.Snapshot().Account
	if len(a.Intervals) > 60 || len(a.Intervals) < 30 || a.Width < 16*time.Minute || a.Width > 40*time.Minute {
		t.Fatalf("%d intervals of %s for 16 hours", len(a.Intervals), a.Width)
	}
	for i, interval := range a.Intervals {
		same, differ := int64(0), int64(0)
		for k, w := range when {
			if w.Before(interval.Start) || !w.Before(interval.Start.Add(a.Width)) {
				continue
			}
			if k%10 == 3 {
				differ++
			} else {
				same++
			}
		}
		if interval.Compared != same+differ || interval.Real+interval.Undecided != differ || same+differ == 0 {
			t.Errorf("interval %d at %s has %d and %d, want %d and %d", i, interval.Start.Format(time.TimeOnly), interval.Compared-interval.Real-interval.Undecided, interval.Real+interval.Undecided, same, differ)
		}
	}
	if state, reasons := a.State(now.Add(time.Hour), ""); state != StateDiffers {
		t.Errorf("%s %q, want that it differs, however old", state, reasons)
	}
}

// After a long silence there is no row of intervals without a pair, and what was found is
// too old to go by.
func TestTimeLineAfterASilence(t *testing.T) {
	now := at(t)
	r := rules(t)
	r.MaxAge = 10 * time.Minute
	v := begun(r)
	send := func() {
		for i := 0; i < 20; i++ {
			judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":1}`)
		}
	}
	send()
	*now = now.Add(10 * time.Minute)
	if state, _ := v.Snapshot().Account.State(*now, ""); state != StateAgrees {
		t.Errorf("%s after ten minutes, want that it agrees", state)
	}
	*now = now.Add(time.Second)
	if state, reasons := v.Snapshot().Account.State(*now, ""); state != StateUndecided || !strings.Contains(strings.Join(reasons, ""), "no pair for 10m1s") {
		t.Errorf("%s %q after a second more, want undecided", state, reasons)
	}
	*now = now.Add(30 * 24 * time.Hour)
	send()
	a := v.Snapshot().Account
	if len(a.Intervals) > maxIntervals || a.Intervals[len(a.Intervals)-1].Compared != 20 || !a.Intervals[len(a.Intervals)-1].Start.After(now.Add(-a.Width)) {
		t.Errorf("%d intervals of %s, the last %+v", len(a.Intervals), a.Width, a.Intervals[len(a.Intervals)-1])
	}
	if state, reasons := a.State(*now, ""); state != StateAgrees {
		t.Errorf("%s %q with new pairs, want that it agrees", state, reasons)
	}
}

// Beyond the differences that an endpoint has room for, those that are known go on being
// counted and judged, others go together, and what differs in them is undecided.
func TestAfterTheLastDifference(t *testing.T) {
	r := rules(t)
	v := begun(r)
	body := func(k, n int) string { return fmt.Sprintf(`{"at":{"f%d":{"deep":%d}}}`, k, n) }
	// Each is there so often that it is no name of a map.
	for k := 0; k < 50; k++ {
		for i := 0; i < 20; i++ {
			judge(v, r, "GET", "/invoices", body(k, 100*k+i), body(k, -7*k-3*i-1))
		}
	}
	if a := v.Snapshot().Account; len(a.Differences) != 50 || a.Real != 1000 {
		t.Fatalf("%d differences, %d pairs of 1000 are real; want 50 and all, for none is in nearly all", len(a.Differences), a.Real)
	}
	for i := 0; i < 30; i++ {
		judge(v, r, "GET", "/invoices", `{"paid":true}`, `{"paid":false}`)
		judge(v, r, "GET", "/invoices", `{"total":1}`, `{"total":2}`)
		judge(v, r, "GET", "/invoices", body(7, 1000+i), body(7, -5*i-1))
	}
	a := v.Snapshot().Account
	if len(a.Differences) != 51 || a.Undecided != 60 || a.Real != 1030 || a.Compared != 1090 {
		t.Errorf("%d differences, %d undecided, %d real of %d; want 51, 60, 1030 of 1090", len(a.Differences), a.Undecided, a.Real, a.Compared)
	}
	for _, d := range a.Differences {
		if d.Key == others && (d.Count != 60 || d.Judgement != Undecided || d.Ignore != "") || d.Key == "$.at.f7.deep" && d.Count != 50 {
			t.Errorf("%s: %d pairs, %s, %q", d.Key, d.Count, d.Judgement, d.Ignore)
		}
	}
}

// Beyond the endpoints that there is room for, those that are known go on, and the others go
// together: with more than a little of them nobody knows whether all agree, and with real
// differences in them it is known that they do not.
func TestAfterTheLastEndpoint(t *testing.T) {
	r := rules(t)
	v := begun(r)
	same := `{"n":1}`
	for k := 0; k < 100; k++ {
		for i := 0; i < 20; i++ {
			judge(v, r, fmt.Sprintf("M%d", k), "/invoices", same, same)
		}
	}
	if a := v.Snapshot().Account; len(a.Endpoints) != 100 {
		t.Fatalf("%d endpoints, want 100", len(a.Endpoints))
	}
	next := func(from, to int, shadow string) (state, said string) {
		for i := from; i < to; i++ {
			judge(v, r, fmt.Sprintf("N%d", i), "/invoices", same, shadow)
		}
		a := v.Snapshot().Account
		state, reasons := a.State(time.Now(), "")
		if len(a.Endpoints) != 101 {
			t.Errorf("%d endpoints, want 101", len(a.Endpoints))
		}
		return state, strings.Join(reasons, "; ")
	}
	if state, said := next(0, 105, same); state != StateAgrees {
		t.Errorf("with 105 of 2105 in others: %s %q, want that it agrees", state, said)
	}
	if state, said := next(105, 106, same); state != StateUndecided || !strings.Contains(said, "more than 5%") {
		t.Errorf("with 106 of 2106 in others: %s %q, want undecided", state, said)
	}
	for i := 0; i < 40; i++ {
		judge(v, r, "M7", "/invoices", same, same)
	}
	if state, said := next(0, 0, same); state != StateAgrees {
		t.Errorf("with 106 of 2146 in others: %s %q, want that it agrees", state, said)
	}
	if state, said := next(200, 201, `{"n":"1"}`); state != StateDiffers {
		t.Errorf("with a real one in others: %s %q, want that it differs", state, said)
	}
	for _, e := range v.Snapshot().Account.Endpoints {
		if e.Name == "M7 /invoices" && e.Compared != 60 || e.Name == others && (e.Compared != 107 || e.Real != 1) {
			t.Errorf("%s: %d compared, %d real", e.Name, e.Compared, e.Real)
		}
	}
}
