package report

import (
	"net/url"
	"sort"
)

// The sections of a mirror's page that are folded until its address has them.
const (
	sectionNoise   = "noise"
	sectionIgnored = "ignored"
	sectionTime    = "time"    // the numbers of the chart over time
	sectionLatency = "latency" // those of the chart of latencies
)

var sections = []string{sectionNoise, sectionIgnored, sectionTime, sectionLatency}

// A look is what somebody wants to see of a document. All of it is in the page's address,
// so that it outlives the page's loading itself anew, and can be handed on.
//
// It has only what there is in the document, so there are no more looks than that has
// mirrors, endpoints and sections, whatever is in an address.
type look struct {
	middleware string // "": all, or the only one
	endpoint   string // "": all
	open       map[string]bool
	paused     bool // the page does not load itself anew
	unknown    bool // there is no such middleware or endpoint
}

// newLook returns what the query of an address asks for.
func newLook(d *Document, query url.Values) *look {
	l := &look{open: map[string]bool{}, paused: query.Get("refresh") == "0"}
	for _, section := range sections {
		for _, asked := range query["open"] {
			if asked == section {
				l.open[section] = true
			}
		}
	}
	m := d.Middleware(query.Get("middleware"))
	if m == nil {
		l.unknown = query.Get("middleware") != ""
		return l
	}
	l.middleware = m.Name
	if asked := query.Get("endpoint"); asked != "" && m.Comparison != nil {
		l.unknown = true
		for i := range m.Comparison.Endpoints {
			if m.Comparison.Endpoints[i].Endpoint == asked {
				l.endpoint = asked
				l.unknown = false
			}
		}
	}
	return l
}

// Middleware returns the one of that name, with its provider (billing@docker) or, where
// there is only one of it, without (billing), and the only one where name is empty; nil if
// there is none, or no telling which.
func (d *Document) Middleware(name string) *Middleware {
	found, _ := d.named(name)
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

// PageName returns what tells the page that a query asks for from others of the document:
// equal for two that are the same to the byte.
func PageName(d *Document, query url.Values) string { return newLook(d, query).address() }

// address is the query that leads to the look.
func (l *look) address() string {
	values := url.Values{}
	if l.middleware != "" {
		values.Set("middleware", l.middleware)
	}
	if l.endpoint != "" {
		values.Set("endpoint", l.endpoint)
	}
	for section := range l.open {
		values.Add("open", section)
	}
	sort.Strings(values["open"])
	if l.paused {
		values.Set("refresh", "0")
	}
	if l.unknown {
		values.Set("unknown", "1")
	}
	return "?" + values.Encode()
}

// with returns a copy of the look to change.
func (l *look) with() *look {
	c := &look{middleware: l.middleware, endpoint: l.endpoint, open: map[string]bool{}, paused: l.paused}
	for section := range l.open {
		c.open[section] = true
	}
	return c
}

// at is the address of the look at a middleware, at all of its endpoints.
func (l *look) at(middleware string) string {
	c := l.with()
	c.middleware = middleware
	c.endpoint = ""
	return c.address()
}

// of is the address of the look at an endpoint; "": at all.
func (l *look) of(endpoint string) string {
	c := l.with()
	c.endpoint = endpoint
	return c.address()
}

// unfolded is the address with a section open, or closed where it is open, and leads there.
func (l *look) unfolded(section string) string {
	c := l.with()
	if c.open[section] {
		delete(c.open, section)
	} else {
		c.open[section] = true
	}
	return c.address() + "#" + section
}

// refreshed is the address at which the page loads itself anew, or does not.
func (l *look) refreshed(paused bool) string {
	c := l.with()
	c.paused = paused
	return c.address()
}
