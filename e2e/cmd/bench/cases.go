package main

import (
	"fmt"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A competitor is one way to have Traefik serve a request, mirrored or not.
type competitor int

const (
	none        competitor = iota // no middleware
	passThrough                   // a plugin that does nothing: the floor of every interpreted one
	own                           // Traefik's own mirroring service
	plugin                        // this plugin, with its default options
	reported                      // likewise, and a middleware that serves the report
	compared                      // likewise, and answers are compared, which agree
	differing                     // likewise, but each of the shadow's answers differs
	ordered                       // this plugin, and copies of one customer go one after the other
	former                        // the plugin of options.against, with its default options
	lastCompetitor
)

func (c competitor) String() string {
	return [...]string{"no middleware", "pass-through plugin", "Traefik's mirroring", "this plugin",
		"this plugin, report", "this plugin, compare", "the same, all differ", "this plugin, sequenceBy", "the plugin as it was"}[c]
}

// competitors returns those that are measured in a case. Where the shadow does
// not answer there is nothing to compare.
func (c benchCase) competitors(o options) []competitor {
	list := []competitor{none, passThrough, own, plugin}
	if c.shadow != healthy {
		return list
	}
	list = append(list, reported, compared)
	if c.size == 1<<10 {
		list = append(list, differing)
	}
	if c.size <= 1<<10 {
		list = append(list, ordered)
	}
	if o.against != "" {
		list = append(list, former)
	}
	return list
}

// mirrors reports whether the competitor sends anything to the shadow.
func (c competitor) mirrors() bool { return c >= own }

// reports reports whether the competitor serves the report.
func (c competitor) reports() bool { return c == reported || c.compares() }

// compares reports whether the competitor compares answers.
func (c competitor) compares() bool { return c == compared || c == differing }

// Where the competitors that report do that.
const (
	mirrorName = "to-shadow@file"
	reportPath = "/mirror/report.json"
)

// traefik says how to run the Traefik of a competitor. What a competitor does
// not need, the interpreter above all, is not loaded, as with its users.
func (c competitor) traefik(o options, live, shadow string) (testbed.Options, error) {
	d := testbed.Dynamic{}.Service("live", live)
	opts := testbed.Options{Dynamic: d, WithoutMirror: c < plugin, LogLevel: "ERROR"}
	if c == former {
		opts.MirrorDir = o.against
	}
	const all = "PathPrefix(`/`)"
	if c.reports() {
		d.Mirror("report", testbed.Values{"serve": true}).Router("report", "Path(`"+reportPath+"`)", "noop@internal", "report")
	}
	switch c {
	case none:
		d.Router("bench", all, "live")
	case passThrough:
		p, err := testbed.PassThrough()
		if err != nil {
			return opts, err
		}
		opts.Plugins = []testbed.Plugin{p}
		d.Plugin("nothing", p.Key, nil).Router("bench", all, "live", "nothing")
	case own:
		d.Service("shadow", shadow).Mirroring("both", "live", 100, "shadow").Router("bench", all, "both")
	default:
		mirror := testbed.Values{"url": shadow}
		if c.compares() {
			mirror["compare"] = testbed.Values{"body": "json"} // the default, which turns it on
		}
		if c == ordered {
			mirror["sequenceBy"] = "header:" + testbed.CustomerHeader
		}
		d.Mirror("to-shadow", mirror).Router("bench", all, "live", "to-shadow")
	}
	return opts, nil
}

// What the shadow does in a case.
const (
	healthy = "healthy"
	hung    = "hung"    // accepts, reads and never answers
	refused = "refused" // nobody listens
)

// A benchCase is one kind of request with one kind of shadow.
type benchCase struct {
	shadow string
	label  string  // of the body
	size   int     // of the body in bytes; 0 is a GET
	rate   int     // requests per second, such that two cores are less than half busy
	speed  float64 // saturated, what the plugin is to reach at least of Traefik's own mirroring
}

var cases = []benchCase{
	{healthy, "GET", 0, 600, 1.05},
	{healthy, "1 KiB", 1 << 10, 600, 1.05},
	{healthy, "64 KiB", 64 << 10, 300, 1.15},
	{healthy, "1 MiB", 1 << 20, 60, 1.15},
	{hung, "20 kB", 20e3, 400, 0},
	{refused, "20 kB", 20e3, 400, 0},
}

func (c benchCase) name() string { return c.shadow + "/" + c.label }

func caseNames() []string {
	var names []string
	for _, c := range cases {
		names = append(names, fmt.Sprintf("%q", c.name()))
	}
	return append(names, fmt.Sprintf("%q", limitedName), fmt.Sprintf("%q", routersName))
}
