package compare

import (
	"fmt"
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
	l, s := jsonAnswer(live), jsonAnswer(shadow)
	l.Took = 10 * time.Millisecond
	s.Took = 20 * time.Millisecond
	v.Add(r, &Request{Method: method, Path: path, At: time.Now()}, l, s, Judge(r, l, s))
}

// groups are the differences in short.
func groups(a *Account) []string {
	var list []string
	for _, g := range a.Differences {
		list = append(list, fmt.Sprintf("%s %d noise=%t ignore=%s", g.Key, g.Count, g.Noise, g.Ignore))
	}
	return list
}

// From all answers differing to the real differences in two steps: the first
// look says what is noise, and with that ignored the second shows the rest.
func TestNoiseIsToldFromDifferences(t *testing.T) {
	r := rules(t)
	send := func(v *Verdict, r *Rules) {
		for i := 0; i < 200; i++ {
			total := fmt.Sprintf("%d.%02d", 100+i, i%100)
			rounded := total
			if i%50 == 7 {
				rounded = fmt.Sprintf("%d.%02d", 100+i, i%100+1)
			}
			body := `{"id":"%s-%d","createdAt":"2026-11-24T07:%02d:%02d.%03dZ","total":%s,"currency":"%s","epoch":%d,"nanoseconds":%d,"cents":%d}`
			live := fmt.Sprintf(body, "in_a", i*7, i/60, i%60, i, total, "EUR", 1790000000+i, 1790000000000000000+i, 11900+i)
			shadow := fmt.Sprintf(body, "in_b", i*11, i/60, i%60, i+1, rounded, "eur", 1790000003+i, 1790000000000999000+i, 11901+i)
			judge(v, r, "POST", "/invoices", live, shadow)
			// The same member, where it is not noise.
			judge(v, r, "GET", fmt.Sprintf("/invoices/%d", i), `{"id":"in_4711"}`, `{"id":"in_4711"}`)
		}
	}
	v := begun(r)
	send(v, r)
	a := v.Snapshot().Account
	if a.Outcomes[Match] != 200 || a.Outcomes[Mismatch] != 200 || a.OnlyNoise != 0 {
		t.Errorf("outcomes %v, %d of noise only; want 200 and 200, and 0: the currency is wrong in all", a.Outcomes, a.OnlyNoise)
	}
	want := []string{
		"$.cents 200 noise=false ignore=$.cents", "$.currency 200 noise=false ignore=$.currency", "$.total 4 noise=false ignore=$.total",
		"$.createdAt 200 noise=true ignore=$.createdAt", "$.epoch 200 noise=true ignore=$.epoch", "$.id 200 noise=true ignore=$.id", "$.nanoseconds 200 noise=true ignore=$.nanoseconds",
	}
	if got := groups(a); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	r = rules(t, "$.createdAt", "$.epoch", "$.nanoseconds", "$.id", "$.currency", "$.cents")
	v.Begin(r)
	send(v, r)
	s := v.Snapshot()
	want = []string{"$.total 4 noise=false ignore=$.total"}
	if got := groups(s.Account); !reflect.DeepEqual(got, want) {
		t.Errorf("after ignoring: got %q, want %q", got, want)
	}
	if s.Account.Outcomes[Match] != 396 || s.Account.Outcomes[Mismatch] != 4 {
		t.Errorf("after ignoring: %v, want 396 and 4", s.Account.Outcomes)
	}
	if s.Outcomes[Match] != 596 || s.Outcomes[Mismatch] != 204 {
		t.Errorf("totals %v, want 596 and 204: they go on", s.Outcomes)
	}
}

func TestPairsOfNoiseOnlyAreCounted(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 30; i++ {
		paid := i != 9
		judge(v, r, "GET", "/invoices", fmt.Sprintf(`{"at":"t%d","paid":true}`, i), fmt.Sprintf(`{"at":"u%d","paid":%t}`, i, paid))
	}
	if a := v.Snapshot().Account; a.OnlyNoise != 29 || a.Outcomes[Mismatch] != 30 {
		t.Errorf("%d of %d mismatches are noise only, want 29 of 30", a.OnlyNoise, a.Outcomes[Mismatch])
	}
}

// What there was no room to look for may be real, whatever else the pair differs in.
func TestPairsWithMoreDifferencesAreNotOfNoiseOnly(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 30; i++ {
		body := &strings.Builder{}
		for j := 0; j <= maxDifferences; j++ {
			fmt.Fprintf(body, `"at%d":"%%[1]s-%d",`, j, i)
		}
		text := "{" + body.String() + `"total":%[2]s}`
		judge(v, r, "GET", "/invoices", fmt.Sprintf(text, "live", "119.00"), fmt.Sprintf(text, "shadow", "119.01"))
	}
	a := v.Snapshot().Account
	if len(a.Differences) != maxDifferences || !a.Differences[0].Noise {
		t.Errorf("%d differences, the first %+v; want %d of noise", len(a.Differences), a.Differences[0], maxDifferences)
	}
	if a.OnlyNoise != 0 || a.Outcomes[Mismatch] != 30 {
		t.Errorf("%d of %d mismatches are noise only, want 0 of 30", a.OnlyNoise, a.Outcomes[Mismatch])
	}
	listed := a.Kept[0].Differences
	if last := listed[len(listed)-1]; len(listed) != maxKeptDifferences+1 || last.Key != more {
		t.Errorf("%d differences are kept of a mismatch, the last %q; want %d and %q", len(listed), last.Key, maxKeptDifferences, more)
	}
}

// What is kept of a request does not keep the rest of it.
func TestKeptMismatchesAreCopies(t *testing.T) {
	const n = 20
	r := rules(t)
	r.Keep = n
	for _, show := range []string{Values, Hashes} {
		r.Show = show
		v := begun(r)
		before := heap()
		for i := 0; i < n; i++ {
			line := "GET /invoices?token=" + strings.Repeat("x", 1<<20) + fmt.Sprint(i)
			judge(v, r, line[:3], line[4:13], `{"n":1}`, `{"n":2}`)
		}
		if kept := int64(heap()) - int64(before); kept > n<<20/2 {
			t.Errorf("%s: %d bytes are kept of %d short mismatches", show, kept, n)
		}
		if kept := v.Snapshot().Account.Kept; len(kept) != n || kept[0].Path != "/invoices" {
			t.Errorf("%s: kept %d of %q, want %d of /invoices", show, len(kept), kept[0].Path, n)
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

func TestMismatchesAreKeptNewestFirst(t *testing.T) {
	r := rules(t)
	r.Keep = 3
	r.Show = Hashes
	v := begun(r)
	for i := 0; i < 10; i++ {
		judge(v, r, "GET", fmt.Sprintf("/v1/customers/C-%d/invoices", i), fmt.Sprintf(`{"n":%d}`, i), `{"n":99}`)
	}
	kept := v.Snapshot().Account.Kept
	if len(kept) != 3 || kept[0].Differences[0].Live != "number #"+Hash("9") || kept[2].Differences[0].Live != "number #"+Hash("7") {
		t.Errorf("kept %+v, want those of 9, 8 and 7", kept)
	}
	if kept[0].Path != "/v1/customers/*/invoices" || kept[0].Method != "GET" || kept[0].LiveStatus != 200 || kept[0].Shadow != 20*time.Millisecond {
		t.Errorf("kept %+v, want GET /v1/customers/*/invoices, 200 after 20 ms", kept[0])
	}
	r.Show = Values
	judge(v, r, "GET", "/v1/customers/C-10/invoices", `{"n":1}`, `{"n":2}`)
	if got := v.Snapshot().Account.Kept[0].Path; got != "/v1/customers/C-10/invoices" {
		t.Errorf("path %s, want it whole where values are shown", got)
	}
	r.Keep = 0
	v.Begin(r)
	judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
	if kept := v.Snapshot().Account.Kept; len(kept) != 0 {
		t.Errorf("kept %+v, want none", kept)
	}
}

func TestSkippedPairsHaveAReason(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for _, reason := range Reasons {
		v.Add(r, &Request{Method: "GET", Path: "/"}, nil, nil, Skip(reason))
	}
	v.Add(r, &Request{Method: "GET", Path: "/"}, nil, nil, Skip(Stream))
	s := v.Snapshot()
	if s.Account.Outcomes[Skipped] != int64(len(Reasons))+1 || s.Account.Skipped[Stream] != 2 || s.Skipped[TooLarge] != 1 || s.Live.Count() != 0 {
		t.Errorf("outcomes %v, reasons %v, %d latencies; want one of each reason, two streams, no latency", s.Outcomes, s.Skipped, s.Live.Count())
	}
}

func TestPairsOfOlderRulesCountInTheTotalsOnly(t *testing.T) {
	before, now := rules(t), rules(t)
	v := begun(before)
	v.Begin(now)
	judge(v, before, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
	if s := v.Snapshot(); s.Outcomes[Mismatch] != 1 || s.Account.Outcomes[Mismatch] != 0 {
		t.Errorf("totals %v, account %v; want the pair in the totals only", s.Outcomes, s.Account.Outcomes)
	}
	v.Begin(nil)
	judge(v, now, "GET", "/invoices", `{"n":1}`, `{"n":2}`)
	if s := v.Snapshot(); s.Outcomes[Mismatch] != 2 || s.Account != nil {
		t.Errorf("totals %v, account %v; want two, and no account", s.Outcomes, s.Account)
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
	if len(a.Intervals) != 1 || a.Intervals[0].Matched != 9 || a.Intervals[0].Mismatched != 1 {
		t.Errorf("intervals %+v, want one of 9 and 1", a.Intervals)
	}
}

// The time line covers any length of time with a bounded number of intervals,
// and loses no pair.
func TestTimeLineGrowsWider(t *testing.T) {
	a := begun(rules(t)).account
	n := int64(0)
	for at := time.Duration(0); at < 8*time.Hour; at += 37 * time.Second {
		if now := a.since.Add(at); !now.Before(a.until) {
			a.nextInterval(now)
		}
		a.intervals[len(a.intervals)-1].Matched++
		n++
	}
	var sum int64
	for i, interval := range a.intervals {
		sum += interval.Matched
		if i > 0 && interval.Start.Sub(a.intervals[i-1].Start) < a.width {
			t.Errorf("interval %d begins %s after the one before, want %s or more", i, interval.Start.Sub(a.intervals[i-1].Start), a.width)
		}
	}
	if len(a.intervals) > maxIntervals || len(a.intervals) < maxIntervals/2 || sum != n {
		t.Errorf("%d intervals of %d pairs, want %d to %d of %d", len(a.intervals), sum, maxIntervals/2, maxIntervals, n)
	}
}

// Whatever comes, what is kept stays within bounds.
func TestAccountsAreBounded(t *testing.T) {
	r := rules(t)
	v := begun(r)
	n := int64(0)
	for i := 0; i < 700; i++ {
		judge(v, r, fmt.Sprintf("M%d", i), "/"+strings.Repeat("x/", i%30), fmt.Sprintf(`{"k%d":1,"q%d":1}`, i, i), `{}`)
		l, s := answer(100+i, "text/plain", ""), answer(900-i, "text/plain", "")
		v.Add(r, &Request{Method: "GET", Path: "/"}, l, s, Judge(r, l, s))
		n += 2
	}
	a := v.account
	if len(a.groups) > maxGroups+1 || len(a.kinds) > maxKinds+1 || len(a.endpoints) > maxEndpoints+1 || len(a.statuses) > maxStatuses+1 || len(a.kept) > r.Keep {
		t.Errorf("%d groups, %d kinds, %d endpoints, %d statuses, %d kept: beyond the bounds", len(a.groups), len(a.kinds), len(a.endpoints), len(a.statuses), len(a.kept))
	}
	var kinds int64
	for _, k := range a.kinds {
		kinds += k.count
	}
	if kinds != a.outcomes[Mismatch] || a.outcomes[Mismatch]+a.outcomes[Match] != n {
		t.Errorf("%d mismatches by kind, %d in all, %d pairs of %d: some are lost", kinds, a.outcomes[Mismatch], a.outcomes[Mismatch]+a.outcomes[Match], n)
	}
}

func TestVerdictIsForManyGoroutines(t *testing.T) {
	r := rules(t)
	v := begun(r)
	var wait sync.WaitGroup
	for g := 0; g < 8; g++ {
		wait.Add(1)
		go func(g int) {
			for i := 0; i < 50; i++ {
				judge(v, r, "GET", "/invoices", fmt.Sprintf(`{"n":%d}`, g), `{"n":0}`)
				v.Snapshot()
			}
			wait.Done()
		}(g)
	}
	wait.Wait()
	if a := v.Snapshot().Account; a.Outcomes[Match] != 50 || a.Outcomes[Mismatch] != 350 || a.Live.Count() != 400 {
		t.Errorf("%v and %d latencies, want 50, 350 and 400", a.Outcomes, a.Live.Count())
	}
}

// What an account has counted counts since the start when the next one begins.
func TestTotalsOutliveAccounts(t *testing.T) {
	r := rules(t)
	v := begun(r)
	for i := 0; i < 3; i++ {
		v.Begin(r)
		judge(v, r, "GET", "/invoices", `{"n":1}`, `{"n":1}`)
		v.Add(r, &Request{Method: "GET", Path: "/invoices"}, nil, nil, Skip(Stream))
	}
	s := v.Snapshot()
	if s.Outcomes[Match] != 3 || s.Outcomes[Skipped] != 3 || s.Skipped[Stream] != 3 || s.Live.Count() != 3 || s.Shadow.Count() != 3 {
		t.Errorf("%v, skipped %v, %d and %d latencies; want 3 of each", s.Outcomes, s.Skipped, s.Live.Count(), s.Shadow.Count())
	}
	if a := s.Account; a.Outcomes[Match] != 1 || a.Skipped[Stream] != 1 || a.Live.Count() != 1 {
		t.Errorf("the last account has %v, skipped %v, %d latencies; want 1 of each", a.Outcomes, a.Skipped, a.Live.Count())
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
