package main

import (
	"math/rand/v2"
	"testing"

	"github.com/trafficshadow/mirror/compare"
)

// With a control, noise of any rate is hardly ever called real, and most bugs are, among
// them those that touch one answer in twenty of a value that is noisy.
func TestJudgementIsRightMostly(t *testing.T) {
	const seed, runs = 4711, 200
	random := rand.New(rand.NewPCG(seed, 0))
	for _, noise := range noises[1:] {
		if r := simulate(random, world{noise: noise, control: true}, runs); r.alarms > 2 {
			t.Errorf("seed %d: noise of %s is called real in %d of %d runs", seed, percent(noise), r.alarms, runs)
		}
	}
	for _, noise := range []float64{0, 0.001, 0.01, 0.05} {
		if r := simulate(random, world{noise: noise, bug: 0.05, control: true}, runs); r.missed > runs/10 || r.green > 2 {
			t.Errorf("seed %d: a bug in 5%% of answers with noise of %s is missed in %d, and green in %d of %d runs", seed, percent(noise), r.missed, r.green, runs)
		}
	}
	if r := simulate(random, world{noise: 0.5}, runs); r.alarms != runs {
		t.Errorf("seed %d: without a control, what differs in half of the answers is %s in %d of %d runs, want all", seed, compare.Real, r.alarms, runs)
	}
	if r := simulate(random, world{noise: 1}, runs); r.alarms+r.green > 0 {
		t.Errorf("seed %d: without a control, what differs in all is real in %d and noise in %d, want it to be undecided", seed, r.alarms, r.green)
	}
}
