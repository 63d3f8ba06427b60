package compare

import (
	"sort"
	"time"

	"github.com/trafficshadow/mirror/latency"
)

// A Snapshot is a verdict at one moment, for reports. It shares nothing with it.
type Snapshot struct {
	// Since the start, by outcome, and the skipped ones by reason.
	Outcomes, Skipped map[string]int64

	// Latency of the pairs that were compared, since the start.
	Live, Shadow *latency.Histogram

	// Account is what is known since the rules are as they are; nil without rules.
	Account *Account
}

// An Account is what is known under one set of rules.
type Account struct {
	Since             time.Time
	Show              string // as in Rules
	Outcomes, Skipped map[string]int64

	// OnlyNoise is how many of the mismatches differ in nothing but what is taken
	// for noise.
	OnlyNoise int64

	Live, Shadow *latency.Histogram
	Difference   *latency.Differences // the shadow's latency less live's, pair by pair

	Statuses    []StatusPair // most frequent first
	Differences []Group      // what is not noise first, then most frequent first
	Intervals   []Interval
	Width       time.Duration // of an interval
	Kept        []Kept        // the newest first
}

// A StatusPair is how often live answered with one status and the shadow with
// the other; 0 and 0 are all pairs beyond those that are told apart.
type StatusPair struct {
	Live, Shadow int
	Count        int64
}

// A Group is a difference that was found in pairs.
type Group struct {
	Key         string  // as in Difference
	Count       int64   // of pairs that differ in it
	Share       float64 // of the compared pairs of those endpoints, 0 to 1
	Noise       bool    // made anew for each answer, by all appearances
	Ignore      string  // what to add to compare.ignore, if that can help
	Where       string  // method and path of the latest
	Live        string  // the latest values, as they may be shown
	Shadow      string
	First, Last time.Time
}

// Snapshot returns the verdict as it is now.
func (v *Verdict) Snapshot() *Snapshot {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &Snapshot{Outcomes: copied(v.outcomes), Skipped: copied(v.skipped), Live: v.live.Clone(), Shadow: v.shadow.Clone()}
	if a := v.account; a != nil {
		for outcome, n := range a.outcomes {
			s.Outcomes[outcome] += n
		}
		for reason, n := range a.skipped {
			s.Skipped[reason] += n
		}
		s.Live.Merge(a.live)
		s.Shadow.Merge(a.shadow)
		s.Account = a.snapshot()
	}
	return s
}

func (a *account) snapshot() *Account {
	s := &Account{
		Since: a.since, Show: a.rules.Show, Outcomes: copied(a.outcomes), Skipped: copied(a.skipped),
		Live: a.live.Clone(), Shadow: a.shadow.Clone(), Difference: a.difference.Clone(),
		Intervals: append([]Interval{}, a.intervals...), Width: a.width, Kept: append([]Kept{}, a.kept...),
	}
	noise := map[string]bool{}
	for key, g := range a.groups {
		pairs := a.pairs(g)
		group := Group{
			Key: key, Count: g.count, Share: float64(g.count) / float64(pairs), Noise: g.noise(key, pairs), Ignore: addPath(key),
			Where: g.where, Live: g.example.Live.Shown(a.rules.Show), Shadow: g.example.Shadow.Shown(a.rules.Show),
			First: g.first, Last: g.last,
		}
		noise[key] = group.Noise
		s.Differences = append(s.Differences, group)
	}
	for _, k := range a.kinds {
		if allIn(k.keys, noise) {
			s.OnlyNoise += k.count
		}
	}
	for pair, n := range a.statuses {
		s.Statuses = append(s.Statuses, StatusPair{Live: pair.live, Shadow: pair.shadow, Count: n})
	}
	sort.Slice(s.Statuses, func(i, j int) bool { return beforeStatus(s.Statuses[i], s.Statuses[j]) })
	sort.Slice(s.Differences, func(i, j int) bool { return beforeGroup(s.Differences[i], s.Differences[j]) })
	return s
}

// pairs returns how many pairs were compared of the endpoints of the group.
func (a *account) pairs(g *group) int64 {
	var n int64
	for where := range g.endpoints {
		n += a.endpoints[where]
	}
	return n
}

func allIn(keys []string, set map[string]bool) bool {
	for _, key := range keys {
		if !set[key] {
			return false
		}
	}
	return true
}

func beforeStatus(a, b StatusPair) bool {
	if a.Count != b.Count {
		return a.Count > b.Count
	}
	if a.Live != b.Live {
		return a.Live < b.Live
	}
	return a.Shadow < b.Shadow
}

func beforeGroup(a, b Group) bool {
	if a.Noise != b.Noise {
		return b.Noise
	}
	if a.Count != b.Count {
		return a.Count > b.Count
	}
	return a.Key < b.Key
}

func copied(counts map[string]int64) map[string]int64 {
	c := map[string]int64{}
	for name, n := range counts {
		c[name] = n
	}
	return c
}
