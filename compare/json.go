package compare

import (
	"encoding/json"
	"reflect"
	"runtime"
	"sort"
)

// maxDepth is how deep a JSON value is looked into. Two values that differ
// deeper down differ at this depth: each level is one more look at all that is
// below it.
const maxDepth = 32

// How many steps are taken to find what differs in two JSON values, which is what
// it costs: some microseconds each, interpreted. It grows with the size of the
// bodies that are compared, within bounds.
const (
	minSteps     = 10_000
	maxSteps     = 50_000
	bytesOfAStep = 6

	// freeSteps are taken by as many pairs at once as there are. For more a pair
	// has to come through the gate.
	freeSteps = 200
)

// gate lets few pairs at a time take many steps: however many there are, live
// needs processors too.
var gate = make(chan bool, (runtime.GOMAXPROCS(0)+3)/4)

// compareValues adds the differences of two values to f, or makes f a skipped one. They
// are as encoding/json decodes them.
func compareValues(r *Rules, f *Finding, live, shadow interface{}) {
	if reflect.DeepEqual(live, shadow) {
		return
	}
	d := newDiffer(r, f)
	defer func() { d.leave() }()
	d.compare(live, shadow, root)
	d.conclude()
}

func stepsFor(size int64) int {
	steps := size / bytesOfAStep
	if steps < minSteps {
		return minSteps
	}
	if steps > maxSteps {
		return maxSteps
	}
	return int(steps)
}

// A differ looks for the differences of two values. What is equal is left to the compiled
// DeepEqual: interpreted, looking at every value would cost more than all the rest.
type differ struct {
	rules   *Rules
	finding *Finding
	seen    map[string]int // the keys of the differences, and where in finding they are
	taken   int            // steps
	limit   int            // of them
	inside  bool           // came through the gate
	trial   bool           // only whether there are differences is asked

	columns bool            // names are those of a table's columns
	named   map[string]bool // steps that rules name; nil: nobody has asked
}

func newDiffer(r *Rules, f *Finding) *differ {
	return &differ{rules: r, finding: f, seen: map[string]int{}, limit: stepsFor(r.MaxBodySize)}
}

// step reports whether there may be one more step.
func (d *differ) step() bool { return d.steps(1) }

// steps reports whether there may be n more steps.
func (d *differ) steps(n int) bool {
	d.taken += n
	if d.taken > d.limit {
		d.finding.More = true
		return false
	}
	if d.taken >= freeSteps && !d.inside {
		gate <- true
		d.inside = true
	}
	return true
}

func (d *differ) leave() {
	if d.inside {
		<-gate
	}
}

// conclude makes the finding a skipped one if nothing is known.
func (d *differ) conclude() {
	if d.finding.More && len(d.finding.Differences) == 0 {
		d.finding.skip(TooComplex)
	}
}

// A place is where a value is.
type place struct {
	path  []string
	key   string // of path, see keyOf
	index int    // the place in the first list on the way; -1: there is none
}

var root = place{key: "$", index: -1}

// member is where the step leads to: a member of the object at the place.
func (p place) member(step string) place {
	return place{path: below(p.path, step), key: p.key + keyOfStep(step), index: p.index}
}

// element is where an element of the list at the place is.
func (p place) element(i int) place {
	if p.index >= 0 {
		i = p.index
	}
	return place{path: below(p.path, elements), key: p.key + elements, index: i}
}

// compare adds the differences of the values at a place, which are not equal to
// DeepEqual.
func (d *differ) compare(live, shadow interface{}, at place) {
	if !d.step() {
		return
	}
	if len(at.path) < maxDepth {
		if l, ok := live.(map[string]interface{}); ok {
			if s, ok := shadow.(map[string]interface{}); ok {
				d.compareObjects(l, s, at)
				return
			}
		}
		if l, ok := live.([]interface{}); ok {
			if s, ok := shadow.([]interface{}); ok {
				d.compareLists(l, s, at)
				return
			}
		}
	}
	if l, ok := live.(json.Number); ok {
		if s, ok := shadow.(json.Number); ok && (sameNumber(string(l), string(s)) || d.tolerated(string(l), string(s), at.path)) {
			return
		}
	} else if len(d.rules.Tolerance) > 0 && d.toleratedAsText(live, shadow, at.path) {
		return
	}
	l, s := kindOf(live), kindOf(shadow)
	if len(d.seen) > 0 && d.known(at.key, l != s) {
		return
	}
	relation, structural := relate(live, shadow, l, s)
	d.add(at, live, shadow, true, true, relation, structural)
}

// tolerated reports whether two numbers at a place may be that far apart.
func (d *differ) tolerated(live, shadow string, path []string) bool {
	for _, t := range d.rules.Tolerance {
		if t.at.selects(path) && t.within(live, shadow) {
			return true
		}
	}
	return false
}

// toleratedAsText is tolerated for numbers that are strings.
func (d *differ) toleratedAsText(live, shadow interface{}, path []string) bool {
	l, ok := live.(string)
	if !ok {
		return false
	}
	s, ok := shadow.(string)
	return ok && plainNumber.MatchString(l) && plainNumber.MatchString(s) && d.tolerated(l, s, path)
}

// unordered returns how the list at a place is compared as a set; nil: it is not.
func (d *differ) unordered(path []string) *Unordered {
	for i := range d.rules.Unordered {
		if d.rules.Unordered[i].at.selects(path) {
			return &d.rules.Unordered[i]
		}
	}
	return nil
}

// known reports whether a difference with that key need not be noted: one is, and this
// one says no more.
func (d *differ) known(key string, structural bool) bool {
	i, ok := d.seen[key]
	return ok && (!structural || d.finding.Differences[i].Structural)
}

// add notes that the values at a place differ, unless that is known of another place
// alike, or enough is known. What is there or not, and of which type, counts for more
// than what it is.
func (d *differ) add(at place, live, shadow interface{}, inLive, inShadow bool, relation string, structural bool) {
	if len(d.seen) > 0 && d.known(at.key, structural) {
		return
	}
	found := Difference{
		Key: cutKey(at.key), Live: jsonValue(d.rules, live, inLive), Shadow: jsonValue(d.rules, shadow, inShadow),
		Relation: relation, Structural: structural, Index: at.index,
	}
	if i, ok := d.seen[at.key]; ok {
		d.finding.Differences[i] = found
		return
	}
	if len(d.seen) == maxDifferences {
		d.finding.More = true
		d.limit = 0
		return
	}
	d.seen[at.key] = len(d.finding.Differences)
	d.finding.add(found)
	if d.trial {
		d.limit = 0
	}
}

func (d *differ) compareObjects(live, shadow map[string]interface{}, at place) {
	names := make([]string, 0, len(live))
	for name := range live {
		names = append(names, name)
	}
	for name := range shadow {
		if _, ok := live[name]; !ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if !d.step() {
			return
		}
		l, inLive := live[name]
		s, inShadow := shadow[name]
		// The only member is what differs. Most others do not.
		if len(names) > 1 && inLive && inShadow && reflect.DeepEqual(l, s) {
			continue
		}
		if inLive && inShadow {
			d.compare(l, s, at.member(d.stepTo(name)))
		} else if d.rules.NullIsMissing && (inLive && kindOf(l) == "null" || inShadow && kindOf(s) == "null") {
			continue // interpreted, what is null may not be equal to nil
		} else if inLive {
			d.add(at.member(d.stepTo(name)), l, nil, true, false, relationMissing, true)
		} else {
			d.add(at.member(d.stepTo(name)), nil, s, false, true, relationAdded, true)
		}
	}
}

// below returns path with one more step. It is a copy: what is kept of a path
// must not change with the next one.
func below(path []string, step string) []string {
	at := make([]string, len(path)+1)
	copy(at, path)
	at[len(path)] = step
	return at
}
