// Package compare judges whether two answers to the same request, live's and
// the shadow's, say the same, and keeps the account of it.
//
// [Judge] looks at one pair of answers; a [Verdict] adds up what was found, in a
// bounded amount of memory whatever the traffic. The package knows nothing of
// how answers are recorded, nor of how the account is shown.
package compare

import (
	"bytes"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// What is compared of the bodies.
const (
	JSON  = "json"  // equal as JSON values; as bytes, where they are not JSON
	Exact = "exact" // equal as bytes
	Off   = "off"   // not at all
)

// How values that differ are shown.
const (
	Values = "values" // as they are, cut to a length
	Hashes = "hashes" // as hashes, which tell equal values from others and nothing else
	None   = "none"   // not at all
)

// Rules are what one middleware's options say about comparing.
type Rules struct {
	Body        string   // JSON, Exact or Off
	Headers     []string // to compare, in canonical form
	Kept        []string // Headers, and those that say how to read the body
	Ignore      []Path   // in JSON bodies
	MaxBodySize int64    // bytes of an answer that are kept, and looked at after decompression
	Keep        int      // mismatches kept
	Show        string   // Values, Hashes or None
}

// A Request is what is known of the request of a pair.
type Request struct {
	Method string
	Path   string // without the query
	At     time.Time
}

// An Answer is one side's, as it was on the wire.
type Answer struct {
	Status int
	Header http.Header // at least Rules.Kept
	Body   []byte
	Took   time.Duration
}

// The outcomes of a comparison.
const (
	Match    = "match"
	Mismatch = "mismatch"
	Skipped  = "skipped"
)

// Why a pair is not compared.
const (
	TooLarge     = "too_large"    // an answer is larger than Rules.MaxBodySize
	Encoding     = "encoding"     // an answer is compressed in a way that is not understood
	Stream       = "stream"       // live's answer has no end to wait for
	LiveBroken   = "live_broken"  // live's answer did not come to its end
	LiveSlow     = "live_slow"    // live's answer took too much longer than the shadow's
	ShadowFailed = "shadow_error" // there is no whole answer of the shadow's
	TooComplex   = "too_complex"  // it would take too long to find out whether they differ
	Internal     = "internal"     // the comparison itself failed
)

// Reasons are all of them, in the order in which reports have them.
var Reasons = []string{TooLarge, Encoding, Stream, LiveBroken, LiveSlow, ShadowFailed, TooComplex, Internal}

// A Difference is one thing in which two answers differ.
type Difference struct {
	// Key tells differences of different things apart: "status", "header NAME",
	// "body", or the path of a value in a JSON body, with [*] for any place in a
	// list, such as $.lines[*].updatedAt.
	Key string

	Live, Shadow Value
}

// A Finding is what was found out about a pair of answers.
type Finding struct {
	Outcome     string       // Match, Mismatch or Skipped
	Reason      string       // why it was skipped
	Differences []Difference // one for each Key, the first that was found
	More        bool         // there may be others: they were not looked for
}

// maxDifferences is how many differences of one pair are looked for.
const maxDifferences = 50

// Judge compares two whole answers. Where the statuses differ nothing else is
// looked at: an error and a success have nothing in common.
func Judge(r *Rules, live, shadow *Answer) *Finding {
	if live.Status != shadow.Status {
		return otherStatus(live, shadow)
	}
	f := &Finding{Outcome: Match}
	if len(r.Headers) > 0 {
		compareHeaders(r, f, live, shadow)
	}
	if r.Body != Off {
		compareBodies(r, f, live, shadow)
	}
	if f.Outcome != Skipped && len(f.Differences) > 0 {
		f.Outcome = Mismatch
	}
	return f
}

func otherStatus(live, shadow *Answer) *Finding {
	d := Difference{Key: "status", Live: number(live.Status), Shadow: number(shadow.Status)}
	return &Finding{Outcome: Mismatch, Differences: []Difference{d}}
}

// compareHeaders adds the differences of the headers to f.
func compareHeaders(r *Rules, f *Finding, live, shadow *Answer) {
	for _, name := range r.Headers {
		l, s := live.Header[name], shadow.Header[name]
		if !sameHeader(name, l, s) {
			f.add(Difference{Key: "header " + name, Live: headerValue(name, l), Shadow: headerValue(name, s)})
		}
	}
}

// sameHeader reports whether two headers say the same. Several lines are one with
// commas in it (RFC 9110, section 5.3), except for Set-Cookie.
func sameHeader(name string, live, shadow []string) bool {
	if name == "Set-Cookie" || live == nil || shadow == nil {
		return reflect.DeepEqual(live, shadow)
	}
	return strings.Join(live, ", ") == strings.Join(shadow, ", ")
}

// Skip returns the finding for a pair that is not compared.
func Skip(reason string) *Finding {
	return &Finding{Outcome: Skipped, Reason: reason}
}

// add notes a difference.
func (f *Finding) add(d Difference) {
	f.Differences = append(f.Differences, d)
}

// compareBodies adds the differences of the bodies to f, or makes f a skipped one.
//
// Interpreted, what a function could do costs, whether it does it or not. So most
// pairs, whose bodies are equal and not compressed, pass through short ones only.
func compareBodies(r *Rules, f *Finding, live, shadow *Answer) {
	if live.Header["Content-Encoding"] != nil || shadow.Header["Content-Encoding"] != nil || !bytes.Equal(live.Body, shadow.Body) {
		lookInto(r, f, live, shadow)
	}
}

func lookInto(r *Rules, f *Finding, live, shadow *Answer) {
	if live.Header["Content-Encoding"] != nil || shadow.Header["Content-Encoding"] != nil {
		compareEncoded(r, f, live, shadow)
	} else {
		comparePlain(r, f, live, shadow, live.Body, shadow.Body)
	}
}

func compareEncoded(r *Rules, f *Finding, live, shadow *Answer) {
	l, err := plain(live, r.MaxBodySize)
	if err == nil {
		var s []byte
		if s, err = plain(shadow, r.MaxBodySize); err == nil {
			comparePlain(r, f, live, shadow, l, s)
			return
		}
		if err == errCorrupt { // and live's is not
			f.add(Difference{Key: "body", Live: bodyValue(r, live, l, nil), Shadow: corruptValue(shadow)})
			return
		}
	}
	// Compressed in a way that is not understood, but alike to the byte.
	if err == errEncoding && bytes.Equal(live.Body, shadow.Body) && encoding(live) == encoding(shadow) {
		return
	}
	// What the headers say is not lost, but a pair is skipped or it is not.
	reason := Encoding
	if err == errTooLarge {
		reason = TooLarge
	}
	f.skip(reason)
}

func (f *Finding) skip(reason string) {
	f.Outcome = Skipped
	f.Reason = reason
	f.Differences = nil
	f.More = false
}

func comparePlain(r *Rules, f *Finding, live, shadow *Answer, l, s []byte) {
	if bytes.Equal(l, s) {
		return
	}
	// What is not UTF-8 is no JSON, and encoding/json takes one such byte for another.
	if r.Body == JSON && isJSON(live) && isJSON(shadow) && utf8.Valid(l) && utf8.Valid(s) {
		lv, lerr := decode(l)
		sv, serr := decode(s)
		if lerr == nil && serr == nil {
			compareJSON(r, f, lv, sv)
			return
		}
	}
	f.add(Difference{Key: "body", Live: bodyValue(r, live, l, s), Shadow: bodyValue(r, shadow, s, l)})
}

// isJSON reports whether the answer says that its body is JSON: application/json
// or a type with the suffix +json (RFC 6839, section 3.1).
func isJSON(a *Answer) bool {
	kind, _, _ := strings.Cut(first(a.Header["Content-Type"]), ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	return kind == "application/json" || strings.HasSuffix(kind, "+json")
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func number(n int) Value {
	return Value{Kind: "number", Text: strconv.Itoa(n), Public: true}
}
