package mirror

import (
	"fmt"
	"testing"
	"time"
)

// A stretch is a time of so many seconds in which the shadow answers and fails so often
// in each, and then a time in which nothing happens and nobody looks.
type stretch struct {
	seconds          int
	answers, failing int64
	quiet            time.Duration
}

func TestShadowIsFailingByWhatItDidOfLate(t *testing.T) {
	million := stretch{seconds: 1000, answers: 1000}
	tests := []struct {
		name  string
		then  []stretch
		want  bool
		since time.Duration // what is told of begins so long ago, where it matters
	}{
		{name: "nothing has happened", want: false},
		{name: "its first two copies fail", then: []stretch{{seconds: 1, failing: 2}}, want: true},
		{name: "its first copy fails", then: []stretch{{seconds: 1, failing: 1}}, want: false},
		{name: "half of its first second's fail", then: []stretch{{seconds: 1, answers: 5, failing: 5}}, want: true},
		{name: "it answers in its first minute", then: []stretch{{seconds: 40, answers: 3}}, want: false},
		{name: "a million answers", then: []stretch{million}, want: false},
		{name: "a million answers, five minutes, then half of a thousand fail",
			then: []stretch{million, {quiet: 5 * time.Minute}, {seconds: 1, answers: 500, failing: 500}}, want: true},
		{name: "a million answers, twenty seconds, then half of a thousand fail",
			then: []stretch{million, {quiet: 20 * time.Second}, {seconds: 1, answers: 500, failing: 500}}, want: true, since: 1 * time.Second},
		{name: "a million answers, and all of the next thousands fail",
			then: []stretch{million, {seconds: 10, failing: 100}}, want: true},
		{name: "a million answers, a night, then two fail and nothing else comes",
			then: []stretch{million, {quiet: 8 * time.Hour}, {seconds: 1, failing: 2}}, want: true},
		{name: "a failure among a million", then: []stretch{million, {seconds: 1, failing: 1}, million}, want: false},
		{name: "a failure after a million", then: []stretch{million, {quiet: time.Hour}, {seconds: 1, failing: 1}}, want: false},
		{name: "a restart that costs five copies among many",
			then: []stretch{{seconds: 100, answers: 100}, {seconds: 1, failing: 5}, {seconds: 5, answers: 100}}, want: false},
		{name: "one in two hundred", then: []stretch{{seconds: 300, answers: 199, failing: 1}}, want: false},
		{name: "one in fifty", then: []stretch{{seconds: 300, answers: 49, failing: 1}}, want: true},
		{name: "one in fifty, a few requests a second",
			then: repeat(100, stretch{seconds: 24, answers: 2}, stretch{seconds: 1, answers: 1, failing: 1}), want: true},
		{name: "slow decay: from one in a thousand to one in fifty",
			then: []stretch{{seconds: 600, answers: 999, failing: 1}, {seconds: 300, answers: 497, failing: 3}, {seconds: 60, answers: 98, failing: 2}}, want: true},
		{name: "slow decay: not yet more than one in a hundred",
			then: []stretch{{seconds: 600, answers: 999, failing: 1}, {seconds: 300, answers: 497, failing: 3}}, want: false},
		{name: "ten seconds after a long failure", then: []stretch{{seconds: 600, failing: 100}, {seconds: 10, answers: 100}}, want: true},
		{name: "well again a minute after a long failure", then: []stretch{{seconds: 600, failing: 100}, {seconds: 71, answers: 100}}, want: false},
		{name: "well again soon where few copies failed", then: []stretch{{seconds: 10, failing: 1}, {seconds: 15, answers: 100}}, want: false},
		{name: "nobody knows five minutes after the last copy failed", then: []stretch{{seconds: 60, failing: 10}, {quiet: 5 * time.Minute}}, want: false},
		{name: "four minutes after the last copy failed", then: []stretch{{seconds: 60, failing: 10}, {quiet: 4 * time.Minute}}, want: true},
		{name: "the clock goes back an hour while it fails", then: []stretch{{seconds: 60, failing: 10, quiet: -time.Hour}, {seconds: 1, failing: 10}}, want: true},
		{name: "the clock goes back an hour, and then it answers",
			then: []stretch{{seconds: 60, failing: 10, quiet: -time.Hour}, {seconds: 71, answers: 100}}, want: false},
		{name: "the clock goes back a second", then: []stretch{million, {seconds: 20, answers: 1, failing: 1, quiet: -time.Second}, {seconds: 20, answers: 1, failing: 1}}, want: true},
		{name: "the clock goes a day ahead", then: []stretch{{seconds: 60, failing: 10, quiet: 24 * time.Hour}, {seconds: 30, answers: 10}}, want: false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recently{}
			now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
			answered := int64(0)
			for _, s := range tt.then {
				for i := 0; i < s.seconds; i++ {
					now = now.Add(time.Second)
					answered += s.answers
					// A failure is taken down when it comes, an answer when somebody looks.
					if s.failing > 0 || i%5 == 4 {
						r.look(now, answered, s.failing)
					}
				}
				r.look(now, answered, 0)
				now = now.Add(s.quiet)
			}
			r.look(now, answered, 0)
			seen, got := r.judge(now)
			if got != tt.want {
				t.Errorf("failing: %t by %d answers and %d failures since %s; want %t", got, seen.answered, seen.failed, seen.began, tt.want)
			}
			if tt.since > 0 && now.Sub(seen.began) > tt.since {
				t.Errorf("told by what was since %s ago, want at most %s", now.Sub(seen.began), tt.since)
			}
			if len(r.slots) > 30 {
				t.Errorf("%d slots are kept, want at most 30", len(r.slots))
			}
		})
	}
}

func repeat(n int, stretches ...stretch) []stretch {
	var all []stretch
	for i := 0; i < n; i++ {
		all = append(all, stretches...)
	}
	return all
}

// What is told of the last minutes adds up to what was counted.
func TestSlotsHaveEveryRequestOnce(t *testing.T) {
	r := &recently{}
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	for i := int64(1); i <= 280; i++ {
		now = now.Add(time.Second)
		r.look(now, 7*i, i%3)
	}
	var sum slot
	for _, s := range r.slots {
		sum.answered += s.answered
		sum.failed += s.failed
	}
	if got := fmt.Sprint(sum.answered, " ", sum.failed); got != "1960 280" {
		t.Errorf("the slots have %s answers and failures, want 1960 and 280", got)
	}
}
