package compare

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"runtime"
	"sort"
	"strconv"
	"strings"
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

// decode returns the JSON value in text, its numbers as they are written.
func decode(text []byte) (interface{}, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v interface{}
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errMore
	}
	return v, nil
}

// errMore is any error: the caller asks only whether there is one.
var errMore = io.ErrUnexpectedEOF

// compareJSON adds the differences of two JSON values to f, or makes f a skipped
// one.
func compareJSON(r *Rules, f *Finding, live, shadow interface{}) {
	if reflect.DeepEqual(live, shadow) {
		return
	}
	d := &differ{rules: r, finding: f, seen: map[string]bool{}}
	d.limit = stepsFor(r.MaxBodySize)
	defer func() { d.leave() }()
	d.compare(live, shadow, root)
	if f.More && len(f.Differences) == 0 {
		f.skip(TooComplex)
	}
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

// A differ looks for the differences of two JSON values. What is equal is left to
// the compiled DeepEqual: interpreted, looking at every value would cost more than
// all the rest.
type differ struct {
	rules   *Rules
	finding *Finding
	seen    map[string]bool // the keys of the differences
	steps   int             // that were taken
	limit   int             // of them
	inside  bool            // came through the gate
}

// step reports whether there may be one more step.
func (d *differ) step() bool {
	d.steps++
	if d.steps > d.limit {
		d.finding.More = true
		return false
	}
	if d.steps == freeSteps {
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

// A place is where a value is.
type place struct {
	path []string
	key  string // of path, see keyOf
}

var root = place{key: "$"}

// compare adds the differences of the values at a place, which are not equal to
// DeepEqual.
func (d *differ) compare(live, shadow interface{}, at place) {
	if !d.step() || d.ignored(at.path) {
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
		if s, ok := shadow.(json.Number); ok && sameNumber(string(l), string(s)) {
			return
		}
	}
	d.add(at.key, live, shadow, true, true)
}

// add notes that the values at a place differ, unless that is known of another
// place alike, or enough is known.
func (d *differ) add(key string, live, shadow interface{}, inLive, inShadow bool) {
	if d.seen[key] {
		return
	}
	if len(d.seen) == maxDifferences {
		d.finding.More = true
		d.limit = 0
		return
	}
	d.seen[key] = true
	d.finding.add(Difference{Key: cutKey(key), Live: jsonValue(live, inLive), Shadow: jsonValue(shadow, inShadow)})
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
		member := place{path: below(at.path, memberStep(name)), key: at.key + keyOfStep(memberStep(name))}
		if inLive && inShadow {
			d.compare(l, s, member)
		} else if !d.ignored(member.path) {
			d.add(member.key, l, s, inLive, inShadow)
		}
	}
}

func (d *differ) compareLists(live, shadow []interface{}, at place) {
	n := len(live)
	if len(shadow) < n {
		n = len(shadow)
	}
	for i := n; i < len(live) || i < len(shadow); i++ {
		if !d.step() {
			return
		}
		if !d.ignored(below(at.path, elementStep(i))) {
			d.add(at.key, live, shadow, true, true)
			break
		}
	}
	if len(live) == len(shadow) || !reflect.DeepEqual(live[:n], shadow[:n]) {
		d.compareSpan(live[:n], shadow[:n], 0, at)
	}
}

// compareSpan compares elements of the lists at a place, some of which differ;
// from is where in the lists they begin. Halves that are equal cost one call.
func (d *differ) compareSpan(live, shadow []interface{}, from int, at place) {
	if len(live) == 1 {
		d.compare(live[0], shadow[0], place{path: below(at.path, elementStep(from)), key: at.key + "[*]"})
		return
	}
	if !d.step() {
		return
	}
	half := len(live) / 2
	firstEqual := reflect.DeepEqual(live[:half], shadow[:half])
	if !firstEqual {
		d.compareSpan(live[:half], shadow[:half], from, at)
	}
	if firstEqual || !reflect.DeepEqual(live[half:], shadow[half:]) {
		d.compareSpan(live[half:], shadow[half:], from+half, at)
	}
}

func (d *differ) ignored(path []string) bool {
	for _, p := range d.rules.Ignore {
		if p.matches(path) {
			return true
		}
	}
	return false
}

// below returns path with one more step. It is a copy: what is kept of a path
// must not change with the next one.
func below(path []string, step string) []string {
	at := make([]string, len(path)+1)
	copy(at, path)
	at[len(path)] = step
	return at
}

// sameNumber reports whether two numbers as JSON writes them are equal, however
// they are written and however large: 1, 1.0, 10e-1. No floating point, in which
// different amounts of money can be equal.
func sameNumber(a, b string) bool {
	ad, ae := decimal(a)
	bd, be := decimal(b)
	return ad == bd && (ae == be || ad == "0")
}

// decimal returns a number as digits, with a sign and without zeros at either
// end, and the power of ten to multiply them by. A number whose exponent is
// beyond any use is returned as it is written.
func decimal(s string) (string, int64) {
	digits, exponent := s, int64(0)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		digits = s[:i]
		var err error
		if exponent, err = strconv.ParseInt(strings.TrimPrefix(s[i+1:], "+"), 10, 32); err != nil {
			return s, 0
		}
	}
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign = "-"
		digits = digits[1:]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	exponent -= int64(len(fraction))
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent += int64(len(digits) - len(trimmed))
	if trimmed == "" {
		return "0", 0
	}
	return sign + trimmed, exponent
}
