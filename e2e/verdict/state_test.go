package verdict

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// invoiceRelease is a release without a mistake.
func invoiceRelease(n int) *release { return &release{name: "billing", n: n} }

// A verdict that was good says nothing any more when the shadow has died.
func TestShadowThatDiesForGoodIsNoAgreement(t *testing.T) {
	tr, _ := runTrial(t, invoiceRelease(1000))
	if c := settled(t, tr.traefik, tr.name).Comparison; c.State != compare.StateAgrees || c.Compared != 1000 {
		t.Fatalf("%s, %d compared, want that 1000 agree: %q", c.State, c.Compared, c.Reasons)
	}
	tr.stand.machines[shadow].Stop()
	for i := range 30 {
		if err := tr.send(i); err != nil {
			t.Fatal(err)
		}
	}
	r := settled(t, tr.traefik, tr.name)
	c := r.Comparison
	if !r.State.Paused || c.State != compare.StateUndecided || len(c.Reasons) == 0 || !strings.Contains(c.Headline, "paused") {
		t.Errorf("paused %t, %s, %q, %q; want undecided, because it is paused", r.State.Paused, c.State, c.Headline, c.Reasons)
	}
	if c.Compared != 1000 || c.Agreeing != 1000 {
		t.Errorf("%d of %d agree, want 1000 of 1000", c.Agreeing, c.Compared)
	}
}

// A verdict without a new pair for long is none any more.
func TestOldVerdictIsNoAgreement(t *testing.T) {
	r := invoiceRelease(120)
	r.compare = testbed.Values{"maxAge": "2s"}
	tr, _ := runTrial(t, r)
	testbed.Eventually(t, patience, func() error {
		if c := tr.traefik.MustReport(t, tr.name).Comparison; c.State != compare.StateUndecided || len(c.Reasons) != 1 || !strings.HasPrefix(c.Reasons[0], "no pair for ") {
			return fmt.Errorf("%s, %q, want undecided for want of a pair", c.State, c.Reasons)
		}
		return nil
	})
	if err := tr.send(1); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, patience, func() error {
		if c := tr.traefik.MustReport(t, tr.name).Comparison; c.State != compare.StateAgrees || c.Compared != 121 {
			if err := tr.send(1); err != nil {
				t.Fatal(err)
			}
			return fmt.Errorf("%s, %d compared, want that all agree again", c.State, c.Compared)
		}
		return nil
	})
}

// Only what answers are compared with, and how, begins the comparison anew. Rules and all
// else go with what was compared before.
func TestReloadsGoOnCounting(t *testing.T) {
	r := invoiceRelease(100)
	r.in = 25
	r.wrong = []change{{key: "$.total", alone: compare.Real, do: set("total", func(m money) any { return m - 1 })}}
	tr, config := runTrial(t, r)
	first := settled(t, tr.traefik, tr.name).Comparison
	other := tr.stand.run(t, shadow)
	tests := []struct {
		name           string
		mirror, rules  testbed.Values
		anew           bool
		real, agreeing int64 // of the 100 before
	}{
		{"ignore", nil, testbed.Values{"ignore": "$.total"}, false, 0, 100},
		{"ignore no more", nil, nil, false, 25, 75},
		{"sampling and limits", testbed.Values{"percent": 50, "maxRate": 100, "timeout": "7s", "maxInFlight": 50}, nil, false, 25, 75},
		{"how it is shown", nil, testbed.Values{"show": "values", "examples": 1, "percent": 50}, false, 25, 75},
		{"how long it holds", nil, testbed.Values{"minimum": 10, "maxAge": "1h"}, false, 25, 75},
		{"another build", nil, testbed.Values{"epoch": "build 4711"}, true, 25, 75},
		{"another limit", nil, testbed.Values{"maxBodySize": "1KiB"}, true, 25, 75},
		{"bodies as bytes", nil, testbed.Values{"body": "exact"}, true, 25, 75},
		{"another shadow", testbed.Values{"url": other.URL()}, nil, true, 25, 75},
	}
	if first.Compared != 100 || first.Real != 25 {
		t.Fatalf("%d compared, %d really differ, want 100 and 25: %+v", first.Compared, first.Real, first.Differences)
	}
	epoch := ""
	for _, test := range tests {
		before := tr.traefik.MustReport(t, tr.name).Comparison
		tr.traefik.MustReload(t, tr.reconfigure(config, test.mirror, test.rules))
		var c *report.Comparison
		testbed.Eventually(t, patience, func() error {
			c = settled(t, tr.traefik, tr.name).Comparison
			if began := !c.Since.Equal(before.Since); began != test.anew {
				return fmt.Errorf("%s: begun anew: %t, want %t", test.name, began, test.anew)
			}
			return nil
		})
		if !test.anew {
			if c.Compared != 100 || c.Real != test.real || c.Agreeing != test.agreeing {
				t.Errorf("%s: %d compared, %d really differ, %d agree; want 100, %d and %d", test.name, c.Compared, c.Real, c.Agreeing, test.real, test.agreeing)
			}
			continue
		}
		if p := c.Previous; c.Compared != 0 || c.State != compare.StateNone || p == nil || p.Compared != 100 || p.Real != 25 || p.Name != epoch {
			t.Errorf("%s: %s, %d compared, the one before %+v; want none, and 100 of %q before", test.name, c.State, c.Compared, p, epoch)
		}
		epoch = c.Epoch
		if want, _ := test.rules["epoch"].(string); epoch != want {
			t.Errorf("%s: the comparison is called %q, want %q", test.name, epoch, want)
		}
		inParallel(t, 100, tr.send)
		if c := settled(t, tr.traefik, tr.name).Comparison; c.Compared != 100 || c.Real != 25 {
			t.Errorf("%s: %d compared after it, %d really differ, want 100 and 25", test.name, c.Compared, c.Real)
		}
	}
}
