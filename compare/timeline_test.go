package compare

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// The time line says of each interval what its pairs are by all that is known now: a rule
// that comes later holds for what was before it.
func TestTimeLineIsJudgedInRetrospect(t *testing.T) {
	now := at(t)
	before := rules(t)
	v := begun(before)
	start := *now
	for i := 0; i < 60; i++ {
		*now = start.Add(time.Duration(i) * time.Second)
		live, shadow := fmt.Sprintf(`{"n":1,"total":%d,"note":"a"}`, 1000+i), fmt.Sprintf(`{"n":1,"total":%d00,"note":"a"}`, 1000+i)
		switch {
		case i < 20:
			judge(v, before, "GET", "/invoices", live, live)
		case i < 40:
			judge(v, before, "POST", "/drafts", live, shadow)
		default:
			judge(v, before, "GET", "/customers", `{"note":"a"}`, `{"note":1}`)
		}
	}
	shown := func() []Interval { return v.Snapshot().Account.Intervals }
	of := func(i int, real, undecided int64) Interval {
		return Interval{Start: start.Add(time.Duration(i) * 10 * time.Second), Compared: 10, Real: real, Undecided: undecided}
	}
	want := []Interval{of(0, 0, 0), of(1, 0, 0), of(2, 0, 10), of(3, 0, 10), of(4, 10, 0), of(5, 10, 0)}
	if got := shown(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	v.Begin(rules(t, "GET /customers $.note", "POST /drafts $.total"))
	want = []Interval{of(0, 0, 0), of(1, 0, 0), of(2, 0, 0), of(3, 0, 0), of(4, 0, 0), of(5, 0, 0)}
	if got := shown(); !reflect.DeepEqual(got, want) {
		t.Errorf("with rules\ngot  %v\nwant %v", got, want)
	}
}

// Where names turn out to be those of a map, and endpoints one, the time line has what it
// had.
func TestTimeLineOutlivesMerging(t *testing.T) {
	now := at(t)
	r := rules(t)
	v := begun(r)
	start := *now
	for i := 0; i < 200; i++ {
		*now = start.Add(time.Duration(i) * time.Second)
		judge(v, r, "GET", "/rates/"+string(rune('a'+i%26))+string(rune('a'+i/26)), fmt.Sprintf(`{"balances":{"c%dx":1}}`, i), fmt.Sprintf(`{"balances":{"c%dx":"1"}}`, i))
	}
	a := v.Snapshot().Account
	var compared, real, undecided int64
	for _, i := range a.Intervals {
		compared += i.Compared
		real += i.Real
		undecided += i.Undecided
	}
	if compared != 200 || real != a.Real || undecided != a.Undecided || real < 150 {
		t.Errorf("the time line has %d pairs, %d real and %d undecided; the account %d, %d and %d", compared, real, undecided, a.Compared, a.Real, a.Undecided)
	}
	if len(v.account.intervals[0].differing) > maxIntervalKinds+1 {
		t.Errorf("an interval has %d kinds, want at most %d", len(v.account.intervals[0].differing), maxIntervalKinds+1)
	}
}

// A pair that is taken back is taken from the time line too, also where it was not told apart
// there.
func TestTimeLineTakesBackWhatTheAccountDoes(t *testing.T) {
	at(t)
	r := rules(t)
	v := begun(r)
	for i := 0; i < maxIntervalKinds+5; i++ {
		judge(v, r, "GET", "/invoices", fmt.Sprintf(`{"k%d":1}`, i), fmt.Sprintf(`{"k%d":"1"}`, i))
	}
	req := &Request{Method: "GET", Path: "/invoices"}
	live := jsonAnswer(`{}`)
	v.Add(r, req, live, &Answer{}, NoAnswer(live))
	v.Retract(r, req, 200)
	a := v.Snapshot().Account
	if n := a.Intervals[0].Compared; n != a.Compared || n != maxIntervalKinds+5 {
		t.Errorf("the time line has %d pairs and the account %d, want %d", n, a.Compared, maxIntervalKinds+5)
	}
}
