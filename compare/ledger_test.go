package compare

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestPairsAreCountedByEndpointAndResult(t *testing.T) {
	r := rules(t, "$.id")
	v := begun(r)
	for i := 0; i < 20; i++ {
		v.Matches <- &Matched{Rules: r, Request: Request{Method: "GET", Path: fmt.Sprintf("/invoices/%d", i)}, Status: 200}
	}
	judge(v, r, "GET", "/invoices/1", `{"id":1,"total":1}`, `{"id":2,"total":1}`)
	judge(v, r, "GET", "/invoices/2", `{"id":1,"total":1}`, `{"id":2,"total":2}`)
	judge(v, r, "POST", "/invoices", `{"total":1}`, `{"total":1}`)
	v.Add(r, &Request{Method: "GET", Path: "/invoices/3"}, nil, nil, Skip(Stream))
	for i := 0; i < 2; i++ {
		v.Add(r, &Request{Method: "GET", Path: "/wp-login.php"}, answer(404, "text/html", ""), answer(404, "text/html", ""), &Finding{Outcome: Match})
	}
	other := rules(t)
	other.Basis = "other"
	judge(v, other, "GET", "/invoices/1", `{"total":1}`, `{"total":2}`)
	v.Matches <- &Matched{Rules: other, Request: Request{Method: "GET", Path: "/invoices/1"}, Status: 200}
	want := map[string]PairCounts{
		"GET /invoices/*": {Match: 21, Differs: 1, Skipped: 1},
		"POST /*":         {Match: 1}, // a word is shown once it has been in 20 pairs
		"(not found)":     {Match: 2},
		"(others)":        {Match: 1, Differs: 1},
	}
	for i := 0; i < 2; i++ { // what was asked for once is asked for again
		got := v.Totals().Endpoints
		if len(got) != len(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for name, n := range want {
			if got[name] != n {
				t.Errorf("%s: got %+v, want %+v", name, got[name], n)
			}
		}
	}
	judge(v, r, "GET", "/invoices/4", `{"total":1}`, `{"total":1}`) // nobody has asked when the comparison ends
	v.Begin(nil)
	judge(v, r, "GET", "/invoices/1", `{"total":1}`, `{"total":2}`)
	got := v.Totals()
	if n := got.Endpoints["GET /invoices/*"]; n.Match != 22 {
		t.Errorf("%d matches of the comparison that has ended, want 22", n.Match)
	}
	n := got.Endpoints["(others)"]
	if n.Match != 1 || n.Differs != 2 || n.Skipped != 0 || !got.Begun {
		t.Errorf("without a comparison: %+v of the others, want 1 match and 2 that differ", n)
	}
	if none := NewVerdict().Totals(); none.Begun {
		t.Error("there was a comparison before there was one")
	}
}

// A comparison that begins anew may have other endpoints. Those that there is no room for
// count with the others.
func TestCountedEndpointsAreBounded(t *testing.T) {
	v := NewVerdict()
	for epoch := 0; epoch < 3; epoch++ {
		r := rules(t)
		r.Basis = fmt.Sprint(epoch)
		v.Begin(r)
		for i := 0; i < 60; i++ {
			judge(v, r, fmt.Sprintf("M%d", 60*epoch+i), "/1", `{}`, `{}`)
		}
		v.Totals()
	}
	got := v.Totals().Endpoints
	if len(got) != 101 || got[others].Match != 80 || got["M0 /*"].Match != 1 || got["M119 /*"].Match > 1 {
		t.Errorf("%d endpoints, %+v of the others; want 100, and 80 pairs of others", len(got), got[others])
	}
}

// A counted is what was counted of endpoints when somebody asked last.
type counted struct {
	v      *Verdict
	before map[string]PairCounts
}

// look fails the test if a count went down, if one went up under a name that is not shown
// now, or if they do not have every pair once.
func (c *counted) look(t *testing.T, step string) {
	t.Helper()
	s := c.v.Snapshot()
	shown := map[string]bool{others: true}
	if s.Account != nil {
		for _, e := range s.Account.Endpoints {
			shown[e.Name] = true
		}
	}
	now := s.Totals.Endpoints
	if len(now) > mostCounted+1 {
		t.Fatalf("%s: %d endpoints, want %d at most", step, len(now), mostCounted+1)
	}
	var sum PairCounts
	for name := range now {
		n := now[name]
		sum.add(&n)
		if b := c.before[name]; n.Match < b.Match || n.Differs < b.Differs || n.Skipped < b.Skipped {
			t.Fatalf("%s: %s is %+v after %+v", step, name, n, b)
		} else if !shown[name] && n.Match+n.Differs+n.Skipped > b.Match+b.Differs+b.Skipped {
			t.Fatalf("%s: %s is %+v after %+v, and its name is none of %v", step, name, n, b, shown)
		}
	}
	for name := range c.before {
		if _, there := now[name]; !there {
			t.Fatalf("%s: %s is gone", step, name)
		}
	}
	if o := s.Totals.Outcomes; sum.Match != o[Match] || sum.Differs != o[Mismatch] || sum.Skipped != o[Skipped] {
		t.Fatalf("%s: %+v in all, want %v", step, sum, o)
	}
	c.before = now
}

// Whatever becomes of endpoints, what was counted of one stays, under a name that could be
// shown then.
func TestCountsOfEndpointsOnlyGoUp(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	r := rules(t, "$.id")
	c := &counted{v: begun(r)}
	paths := []func(i int) string{
		func(i int) string { return fmt.Sprintf("/invoices/%d", i) },
		func(i int) string { return "/customers/" + letters(random.IntN(60)) + "/orders" }, // they become identifiers
		func(i int) string { return "/" + letters(random.IntN(5)) + "/lines" },             // and these clear
		func(i int) string { return "/areas/" + letters(random.IntN(400)) + "/" + letters(random.IntN(4)) },
	}
	for i := 0; i < 800; i++ {
		method := "GET"
		if random.IntN(4) == 0 {
			method = "M" + letters(random.IntN(200))
		}
		path := paths[random.IntN(len(paths))](i)
		step := fmt.Sprintf("step %d of seed %d, %s %s", i, seed, method, path)
		switch random.IntN(8) {
		case 0:
			c.v.Add(r, &Request{Method: method, Path: path}, nil, nil, Skip(Stream))
		case 1:
			judge(c.v, r, method, path, `{"id":1}`, `{"id":2}`)
		case 2:
			judge(c.v, r, method, path, `{"total":1}`, `{"total":2}`)
		case 3:
			c.v.Drop(method, path, "too_large")
		case 4:
			req := &Request{Method: method, Path: path}
			l := jsonAnswer(`{}`)
			gone := &Answer{}
			c.v.Add(r, req, l, gone, Judge(r, l, gone))
			if random.IntN(2) == 0 {
				c.v.Retract(r, req, 200)
			}
		case 5:
			c.v.Matches <- &Matched{Rules: r, Request: Request{Method: method, Path: path}, Status: []int{200, 404}[random.IntN(2)]}
		default:
			judge(c.v, r, method, path, `{"total":1}`, `{"total":1}`)
		}
		if random.IntN(20) == 0 {
			c.look(t, step)
		}
		if random.IntN(300) == 0 {
			c.look(t, step)
			r = rules(t, "$.id")
			r.Basis = fmt.Sprint(i)
			c.v.Begin(r)
		}
	}
	c.look(t, "the end")
	rest := c.before[others]
	if len(c.before) < 30 || rest.Match+rest.Differs+rest.Skipped == 0 {
		t.Errorf("%d endpoints, %+v of the others: the test is not what it should be", len(c.before), rest)
	}
	for name := range c.before {
		if strings.Contains(name, "/customers/") && !strings.Contains(name, "/customers/*") {
			t.Errorf("%s shows a customer", name)
		}
	}
}
