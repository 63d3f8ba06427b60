package compare

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// maxDepth is how deep a JSON value is looked into. Two values that differ
// deeper down differ at this depth.
const maxDepth = 100

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

// A differ looks for the differences of two JSON values.
type differ struct {
	rules   *Rules
	finding *Finding
}

// compare adds the differences of the values at path. What is equal is left to
// the compiled DeepEqual: interpreted, looking at every value would cost more
// than all the rest.
func (d *differ) compare(live, shadow interface{}, path []string) {
	if reflect.DeepEqual(live, shadow) || d.ignored(path) || len(d.finding.Differences) >= maxDifferences {
		return
	}
	if len(path) < maxDepth {
		if l, ok := live.(map[string]interface{}); ok {
			if s, ok := shadow.(map[string]interface{}); ok {
				d.compareObjects(l, s, path)
				return
			}
		}
		if l, ok := live.([]interface{}); ok {
			if s, ok := shadow.([]interface{}); ok {
				d.compareLists(l, s, path)
				return
			}
		}
	}
	if l, ok := live.(json.Number); ok {
		if s, ok := shadow.(json.Number); ok && sameNumber(string(l), string(s)) {
			return
		}
	}
	d.finding.add(Difference{Key: keyOf(path), Live: jsonValue(live, true), Shadow: jsonValue(shadow, true)})
}

func (d *differ) compareObjects(live, shadow map[string]interface{}, path []string) {
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
		l, inLive := live[name]
		s, inShadow := shadow[name]
		if inLive && inShadow && reflect.DeepEqual(l, s) {
			continue // as most are: there is no need for a path to it
		}
		at := below(path, memberStep(name))
		if inLive && inShadow {
			d.compare(l, s, at)
			continue
		}
		if !d.ignored(at) {
			d.finding.add(Difference{Key: keyOf(at), Live: jsonValue(l, inLive), Shadow: jsonValue(s, inShadow)})
		}
	}
}

func (d *differ) compareLists(live, shadow []interface{}, path []string) {
	if len(live) != len(shadow) {
		d.finding.add(Difference{Key: keyOf(path), Live: jsonValue(live, true), Shadow: jsonValue(shadow, true)})
	}
	n := len(live)
	if len(shadow) < n {
		n = len(shadow)
	}
	for i := 0; i < n; i++ {
		if reflect.DeepEqual(live[i], shadow[i]) {
			continue
		}
		d.compare(live[i], shadow[i], below(path, "["+strconv.Itoa(i)+"]"))
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
