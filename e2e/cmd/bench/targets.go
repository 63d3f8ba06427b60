package main

import (
	"fmt"
	"strings"

	"github.com/trafficshadow/mirror/compare"
)

// A target is a bound that the plugin's figures are held against.
type target struct {
	what, where string
	bound       string // in words
	measured    string
	met         bool
	// both says that the rounds lie on both sides of the bound, so that another
	// run may well say otherwise.
	both bool
	// aim is what is hoped for beyond the bound, in words, and aimed that it was
	// reached; "" is nothing.
	aim   string
	aimed bool
}

func (t target) verdict() string {
	text := "**not met**"
	if t.met {
		text = "met"
	}
	if t.both {
		text += ", but not in every round"
		if !t.met {
			text = "**not met**, though in some rounds"
		}
	}
	if t.aim == "" {
		return text
	}
	if t.aimed {
		return text + "; the aim of " + t.aim + " is met"
	}
	return text + "; the aim of " + t.aim + " is not met"
}

func atMost(what, where string, s spread, bound float64) target {
	return target{
		what: what, where: where, bound: fmt.Sprintf("at most %.2f", bound), measured: s.String(),
		met: s.median <= bound, both: s.least <= bound && s.most > bound,
	}
}

func atLeast(what, where string, s spread, bound float64) target {
	return target{
		what: what, where: where, bound: fmt.Sprintf("at least %.2f", bound), measured: s.String(),
		met: s.median >= bound, both: s.most >= bound && s.least < bound,
	}
}

// aiming adds what is hoped for beyond the bound.
func (t target) aiming(aim float64, reached bool) target {
	t.aim, t.aimed = fmt.Sprintf("%.2f", aim), reached
	return t
}

// noMoreThan holds a ratio to no middleware against that of Traefik's own mirroring in
// the same run. paired is the one to the other, round by round, and tells whether the
// rounds agree.
func noMoreThan(what, where string, s, own, paired spread) target {
	return target{
		what: what, where: where, bound: "at most its own mirroring's, " + own.String(), measured: s.String(),
		met: s.median <= own.median, both: paired.low <= 1 && paired.high > 1,
	}
}

func exactly(what, where string, measured, want int) target {
	return target{what: what, where: where, bound: fmt.Sprint(want), measured: fmt.Sprint(measured), met: measured == want}
}

// targets returns everything that this run can say about the plugin's targets.
func (r *report) targets() []target {
	var list []target
	for _, c := range r.results {
		total := c.contenders[plugin].total()
		if c.shadow != healthy {
			list = append(list, atLeast("requests per second ÷ pass-through plugin", c.name(), c.ratio(plugin, passThrough, perSecond), 0.95))
		} else {
			cost, speed := c.ratio(plugin, own, processor), c.ratio(plugin, own, perSecond)
			list = append(list,
				atMost("processor time ÷ Traefik's mirroring", c.name(), cost, 0.85).aiming(0.80, cost.median <= 0.80),
				atLeast("requests per second ÷ Traefik's mirroring", c.name(), speed, c.speed).aiming(1.20, speed.median >= 1.20),
				noMoreThan("live p50 ÷ no middleware", c.name(), c.ratio(plugin, none, p50), c.ratio(own, none, p50), c.ratio(plugin, own, p50)),
				noMoreThan("live p99 ÷ no middleware", c.name(), c.ratio(plugin, none, p99), c.ratio(own, none, p99), c.ratio(plugin, own, p99)),
				exactly("requests mirrored, of those sent", c.name(), total.mirrored, total.sent))
		}
		list = append(list, exactly("live requests failed", c.name(), total.failed, 0))
		if c.contenders[compared] != nil {
			list = append(list, atMost("this plugin, compare: processor time ÷ not comparing", c.name(), c.ratio(compared, plugin, processor), 1.25))
		}
		for _, comp := range []competitor{compared, differing} {
			if cont := c.contenders[comp]; cont != nil {
				list = append(list, cont.comparedTargets(c.name())...)
			}
		}
		if c.contenders[former] != nil {
			list = append(list,
				atMost("processor time ÷ the plugin as it was", c.name(), c.ratio(plugin, former, processor), 1.05),
				atMost("objects allocated ÷ the plugin as it was", c.name(), c.ratio(plugin, former, objects), 1.01))
		}
		if c.shadow == healthy && c.size >= 1<<20 {
			list = append(list, atMost("bytes allocated more than with no middleware ÷ body", c.name(), c.extra(plugin), 1.10))
		}
	}
	for _, l := range r.limited {
		if l.competitor == plugin {
			list = append(list, exactly("live requests failed", limitedName, l.failed, 0))
		}
	}
	if r.routers != nil {
		list = append(list, r.routers.targets()...)
	}
	return list
}

// comparedTargets are those of a competitor that compares: every request that was mirrored counts in
// the verdict, as what it is.
func (cont *contender) comparedTargets(where string) []target {
	total := cont.total()
	outcome := compare.Match
	if cont.competitor == differing {
		outcome = compare.Mismatch
	}
	name := cont.competitor.String() + ": "
	return []target{
		exactly(name+"comparisons that found a "+outcome+", of the requests mirrored", where, int(cont.outcomes[outcome]), total.mirrored),
		exactly(name+"live requests failed", where, total.failed, 0),
	}
}

// extra returns how many bytes a competitor allocates per request more than no
// middleware does, relative to the body.
func (c caseResult) extra(comp competitor) spread {
	var values []float64
	for i, r := range c.contenders[comp].rounds {
		values = append(values, (r.bytes-c.contenders[none].rounds[i].bytes)/float64(c.size))
	}
	return spreadOf(values)
}

// sorted returns the targets that were met and those that were not.
func (r *report) sorted() (met, missed []target) {
	for _, t := range r.targets() {
		if t.met {
			met = append(met, t)
		} else {
			missed = append(missed, t)
		}
	}
	return met, missed
}

// verdict says in a few lines what was met and what was not.
func (r *report) verdict() string {
	met, missed := r.sorted()
	var text strings.Builder
	fmt.Fprintf(&text, "%d of %d targets met.\n", len(met), len(met)+len(missed))
	for _, t := range missed {
		fmt.Fprintf(&text, "%s: %s is %s, not %s\n", t.where, t.what, t.measured, t.bound)
	}
	return text.String()
}
