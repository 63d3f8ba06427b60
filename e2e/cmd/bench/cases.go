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
)

var competitors = []competitor{none, passThrough, own, plugin}

func (c competitor) String() string {
	return [...]string{"no middleware", "pass-through plugin", "Traefik's mirroring", "this plugin"}[c]
}

// mirrors reports whether the competitor sends anything to the shadow.
func (c competitor) mirrors() bool { return c == own || c == plugin }

// traefik says how to run the Traefik of a competitor. What a competitor does
// not need, the interpreter above all, is not loaded, as with its users.
func (c competitor) traefik(live, shadow string) (testbed.Options, error) {
	d := testbed.Dynamic{}.Service("live", live)
	opts := testbed.Options{Dynamic: d, WithoutMirror: c != plugin, LogLevel: "ERROR"}
	const all = "PathPrefix(`/`)"
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
	case plugin:
		d.Mirror("to-shadow", testbed.Values{"url": shadow}).Router("bench", all, "live", "to-shadow")
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
	label  string // of the body
	size   int    // of the body in bytes; 0 is a GET
	rate   int    // requests per second, such that two cores are less than half busy
}

var cases = []benchCase{
	{healthy, "GET", 0, 600},
	{healthy, "1 KiB", 1 << 10, 600},
	{healthy, "64 KiB", 64 << 10, 300},
	{healthy, "1 MiB", 1 << 20, 60},
	{hung, "20 kB", 20e3, 400},
	{refused, "20 kB", 20e3, 400},
}

func (c benchCase) name() string { return c.shadow + "/" + c.label }

func caseNames() []string {
	var names []string
	for _, c := range cases {
		names = append(names, fmt.Sprintf("%q", c.name()))
	}
	return append(names, fmt.Sprintf("%q", limitedName))
}
