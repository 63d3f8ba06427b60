package main

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// The figures of so short a run mean nothing; that every request is accounted
// for, and that the report says so, does.
func TestReport(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	root := testbed.MustRepoRoot(t)
	r, err := run(ctx, options{
		rounds: 2, duration: 200 * time.Millisecond, limited: time.Second, routers: 20,
		cases: regexp.MustCompile("^(healthy/1 KiB|hung/20 kB|descriptors|routers)$"),
		out:   dir, command: "make bench", progress: t.Output(),
		against: root, // as good as another
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range r.results {
		all := c.competitors()
		if want := map[string]int{"healthy/1 KiB": 9, "hung/20 kB": 4}[c.name()]; len(all) != want {
			t.Errorf("%s: %d competitors, want %d", c.name(), len(all), want)
		}
		for _, comp := range all {
			cont := c.contenders[comp]
			if len(cont.rounds) != 2 {
				t.Fatalf("%s, %s: %d rounds, want 2", c.name(), comp, len(cont.rounds))
			}
			total := cont.total()
			if total.sent == 0 || total.failed != 0 {
				t.Errorf("%s, %s: %d live requests failed of %d", c.name(), comp, total.failed, total.sent)
			}
			// Traefik's own mirroring loses one now and then; on a machine that stops for
			// a moment places run out, saturated.
			if c.shadow == healthy && comp >= plugin && total.mirrored < total.sent*9/10 {
				t.Errorf("%s, %s: %d requests mirrored of %d", c.name(), comp, total.mirrored, total.sent)
			}
			if comp.compares() {
				for _, target := range cont.comparedTargets(c.name()) {
					if !target.met {
						t.Errorf("%s: %s: %s, want %s", target.where, target.what, target.measured, target.bound)
					}
				}
			}
			for i, round := range cont.rounds {
				if round.processor <= 0 || round.p50 <= 0 || round.p99 < round.p50 || round.perSecond <= 0 || round.bytes <= 0 || round.objects <= 0 {
					t.Errorf("%s, %s: round %d lacks a figure: %+v", c.name(), comp, i, round)
				}
			}
			if cont.peak <= 0 || cont.descriptors <= 0 || cont.goroutines <= 0 {
				t.Errorf("%s, %s: peak %d, descriptors %d, goroutines %d; want all above 0", c.name(), comp, cont.peak, cont.descriptors, cont.goroutines)
			}
		}
	}
	for _, l := range r.limited {
		if l.sent == 0 || l.descriptors > descriptorLimit || l.competitor == plugin && l.failed != 0 {
			t.Errorf("under the limit of descriptors: %+v", l)
		}
	}

	for _, c := range r.routers.contenders {
		if len(c.reloads) != 2 || c.reloads[0] <= 0 || memory(c.before) <= 0 || resident(c.after) <= 0 || c.after.goroutines <= 0 {
			t.Errorf("routers, %s: a figure lacks: %+v", c.name, c)
		}
	}

	text, err := os.ReadFile(filepath.Join(dir, reportFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"`make bench`", "](" + plotFile + ")", "| 1 KiB, 600/s | no middleware |", "| hung, 20 kB, 400/s | no middleware |",
		"## 20 routers", "| routers | goroutines at rest", "| a mirror each |", "### Live latency", "### Comparing answers", "this plugin, compare", "the same, all differ", "this plugin, sequenceBy", "(sequenceBy)", "The plugin as it was is that of commit", "## Memory", "ulimit -n 1024", "## Targets", "| healthy/1 KiB | processor time",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if strings.Contains(string(text), "NaN") || strings.Contains(string(text), "%!") {
		t.Errorf("the report has figures that are none:\n%s", text)
	}
	wellFormed(t, filepath.Join(dir, plotFile))
}

func wellFormed(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s is not XML: %v", file, err)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3, 3, 3}},
		{[]float64{3, 1, 2}, spread{2, 1, 3, 1, 3}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4, 1, 4}},
		// The intervals for the median in tables of the binomial distribution.
		{[]float64{1, 2, 3, 4, 5, 6, 7}, spread{4, 1, 7, 1, 7}},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, spread{5, 1, 9, 2, 8}},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, spread{6.5, 1, 12, 3, 10}},
	} {
		if got := spreadOf(tt.values); got != tt.want {
			t.Errorf("spread of %v is %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	var latencies []time.Duration
	for i := 1000; i >= 1; i-- {
		latencies = append(latencies, time.Duration(i)*time.Millisecond)
	}
	for p, want := range map[float64]float64{50: 500, 99: 990, 99.9: 999, 100: 1000} {
		if got := percentile(latencies, p); got != want {
			t.Errorf("percentile %v is %v, want %v", p, got, want)
		}
	}
}

// What is said about a target is true of figures on either side of it.
func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		target target
		want   string
	}{
		{atMost("", "", spread{0.9, 0.8, 0.95, 0.8, 0.95}, 1), "met"},
		{atMost("", "", spread{0.9, 0.8, 1.1, 0.8, 1.1}, 1), "met, but not in every round"},
		{atMost("", "", spread{1.2, 0.8, 1.3, 0.8, 1.3}, 1), "**not met**, though in some rounds"},
		{atMost("", "", spread{1.2, 1.1, 1.3, 1.1, 1.3}, 1), "**not met**"},
		{atLeast("", "", spread{1.2, 1.1, 1.3, 1.1, 1.3}, 1), "met"},
		{atLeast("", "", spread{1.2, 0.9, 1.3, 0.9, 1.3}, 1), "met, but not in every round"},
		{atLeast("", "", spread{0.9, 0.8, 1.1, 0.8, 1.1}, 1), "**not met**, though in some rounds"},
		{atMost("", "", spread{0.9, 0.8, 0.95, 0.8, 0.95}, 1).aiming(0.8, false), "met; the aim of 0.80 is not met"},
		{atMost("", "", spread{0.7, 0.6, 0.75, 0.6, 0.75}, 1).aiming(0.8, true), "met; the aim of 0.80 is met"},
		{noMoreThan("", "", spread{median: 1.1}, spread{median: 1.2}, spread{0.9, 0.8, 0.95, 0.8, 0.95}), "met"},
		{noMoreThan("", "", spread{median: 1.1}, spread{median: 1.2}, spread{0.9, 0.8, 1.1, 0.8, 1.1}), "met, but not in every round"},
		{noMoreThan("", "", spread{median: 1.3}, spread{median: 1.2}, spread{1.1, 1.05, 1.2, 1.05, 1.2}), "**not met**"},
		{exactly("", "", 1, 1), "met"},
		{exactly("", "", 1, 2), "**not met**"},
	} {
		if got := tt.target.verdict(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.target, got, tt.want)
		}
	}
}
