package verdict

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

// An expectation is the account of one mirror as it is to be.
type expectation struct {
	eligible, mirrored                 int64
	dropped, failed, compared, skipped map[string]int64
	answers, differences               map[string]int64
	requestBytes                       int64
	statuses                           map[string]int64
	endpoints                          map[string]*expectation // of those, compared, skipped and dropped
}

func newExpectation() *expectation {
	e := &expectation{endpoints: map[string]*expectation{}}
	for _, m := range []*map[string]int64{&e.dropped, &e.failed, &e.compared, &e.skipped, &e.answers, &e.differences, &e.statuses} {
		*m = map[string]int64{}
	}
	return e
}

// expect adds n requests of a kind.
func (e *expectation) expect(k *kind, n int64) {
	if k.dropped != "" {
		e.dropped[k.dropped] += n
		if k.dropped == "sampling" || slices.Contains(report.LossReasons, k.dropped) {
			e.eligible += n
		}
		return
	}
	e.eligible += n
	status := k.shadow.status
	if status == 0 {
		status = 200
	}
	if k.failed != "" {
		e.failed[k.failed] += n
	} else {
		e.mirrored += n
		e.answers[fmt.Sprintf("%dxx", status/100)] += n
	}
	switch k.outcome {
	case "match", "mismatch":
		e.compared[k.outcome] += n
		liveStatus := k.live.status
		if liveStatus == 0 {
			liveStatus = 200
		}
		if k.failed != "" {
			status = 0
		}
		e.statuses[fmt.Sprintf("%d/%d", liveStatus, status)] += n
	default:
		e.compared["skipped"] += n
		e.skipped[k.outcome] += n
	}
	if k.key != "" {
		e.differences[k.key] += n
	}
}

// expectAt adds the requests of a kind to an endpoint. Those that are dropped for a reason
// of the endpoint's are known of there.
func (e *expectation) expectAt(name string, k *kind) {
	if k.dropped != "" && k.dropped != "too_large" {
		return
	}
	if e.endpoints[name] == nil {
		e.endpoints[name] = newExpectation()
	}
	e.endpoints[name].expect(k, int64(k.n))
}

// same complains where got has other counts than want; what is 0 may be missing.
func same(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	nonzero := func(m map[string]int64) map[string]int64 {
		m = maps.Clone(m)
		maps.DeleteFunc(m, func(_ string, n int64) bool { return n == 0 })
		return m
	}
	if g, w := nonzero(got), nonzero(want); !maps.Equal(g, w) {
		t.Errorf("%s: %v, want %v", what, g, w)
	}
}

// check compares the report with what is to be in it.
func (e *expectation) check(t *testing.T, r *report.Middleware) {
	t.Helper()
	if r.Eligible != e.eligible || r.Mirrored != e.mirrored {
		t.Errorf("%s: %d eligible, %d mirrored, want %d and %d", r.Name, r.Eligible, r.Mirrored, e.eligible, e.mirrored)
	}
	same(t, r.Name+": dropped", r.Dropped, e.dropped)
	same(t, r.Name+": failed", r.Failed, e.failed)
	same(t, r.Name+": answers", r.Answers, e.answers)
	same(t, r.Name+": compared", r.Compared, e.compared)
	same(t, r.Name+": skipped", r.Skipped, e.skipped)
	c := r.Comparison
	if c.Compared != e.compared["match"]+e.compared["mismatch"] || c.Real != e.compared["mismatch"] || c.Agreeing != c.Compared-c.Real || c.Undecided+c.Noise != 0 {
		t.Errorf("%s: %d compared, %d agree, %d really differ, %d undecided, %d noise; want %v, and all that differ really", r.Name, c.Compared, c.Agreeing, c.Real, c.Undecided, c.Noise, e.compared)
	}
	if c.State != compare.StateDiffers {
		t.Errorf("%s: state %s, want %s", r.Name, c.State, compare.StateDiffers)
	}
	e.checkEndpoints(t, r)
	differences, statuses := map[string]int64{}, map[string]int64{}
	for _, d := range c.Differences {
		if d.Judgement == compare.Ignored {
			continue
		}
		differences[d.Key] += d.Count
	}
	for _, s := range c.Statuses {
		statuses[fmt.Sprintf("%d/%d", s.Live, s.Shadow)] += s.Count
	}
	same(t, r.Name+": differences", differences, e.differences)
	same(t, r.Name+": statuses", statuses, e.statuses)
	var agree, differ int64
	for _, i := range c.Timeline.Intervals {
		agree, differ = agree+i.Compared-i.Real-i.Undecided, differ+i.Real+i.Undecided
	}
	if agree != e.compared["match"] || differ != e.compared["mismatch"] {
		t.Errorf("%s: %d and %d on the time line, want %v", r.Name, agree, differ, e.compared)
	}
	if r.RequestBytes != e.requestBytes {
		t.Errorf("%s: %d bytes of requests, want the %d that the shadow got", r.Name, r.RequestBytes, e.requestBytes)
	}
	pairs := c.Compared
	if r.ShadowLatency.Count != r.Mirrored || r.ComparedLive.Count != pairs || r.ComparedShadow.Count != pairs || c.Live.Count != pairs || c.Shadow.Count != pairs {
		t.Errorf("%s: latencies of %d, %d, %d, %d and %d, want %d and %d", r.Name, r.ShadowLatency.Count, r.ComparedLive.Count, r.ComparedShadow.Count, c.Live.Count, c.Shadow.Count, r.Mirrored, pairs)
	}
}

// checkEndpoints compares what the report says of each endpoint with what is to be in it.
func (e *expectation) checkEndpoints(t *testing.T, r *report.Middleware) {
	t.Helper()
	got := map[string]report.Endpoint{}
	compared := int64(0)
	for _, endpoint := range r.Comparison.Endpoints {
		got[endpoint.Endpoint] = endpoint
		compared += endpoint.Compared
	}
	if compared != r.Comparison.Compared {
		t.Errorf("%s: %d compared by endpoint, want %d", r.Name, compared, r.Comparison.Compared)
	}
	for name, want := range e.endpoints {
		endpoint := got[name]
		if endpoint.Compared != want.compared["match"]+want.compared["mismatch"] || endpoint.Real != want.compared["mismatch"] || endpoint.Undecided+endpoint.Noise != 0 {
			t.Errorf("%s: %s: %d compared, %d really differ, %d undecided, %d noise; want %v", r.Name, name, endpoint.Compared, endpoint.Real, endpoint.Undecided, endpoint.Noise, want.compared)
		}
		same(t, r.Name+": "+name+": skipped", endpoint.Skipped, want.skipped)
		same(t, r.Name+": "+name+": dropped", endpoint.Dropped, want.dropped)
	}
}
