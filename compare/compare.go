// Package compare judges whether two answers to the same request, live's and
// the shadow's, say the same, and keeps the account of it.
//
// [Judge] looks at one pair of answers; a [Verdict] adds up what was found, in a
// bounded amount of memory whatever the traffic. The package knows nothing of
// how answers are recorded, nor of how the account is shown.
package compare

import (
	"net/http"
	"strconv"
	"time"
)

// What is compared of the bodies.
const (
	JSON  = "json"  // by what is in them, where that is known: JSON values, elements, fields, columns
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
	Body          string      // JSON, Exact or Off
	Headers       []string    // to compare, in canonical form
	Ignore        []Rule      // what does not matter
	Unordered     []Unordered // lists that are compared as sets
	Tolerance     []Tolerance // numbers that may be so far apart
	NullIsMissing bool        // null is as good as a member that is not there
	MaxBodySize   int64       // bytes of an answer that are kept, and looked at after decompression
	Show          string      // Values, Hashes or None
	HashKey       string      // makes hashes the same wherever it is the same; "": they are this process's own

	Examples int           // kept of each difference
	Minimum  int64         // pairs before there is a verdict
	MaxAge   time.Duration // after which a verdict without a new pair is none any more
	Epoch    string        // what people call the time since the comparison began

	Control bool // there is one: see Triple

	// Basis says what the account stands on: rules with another one begin it anew.
	Basis string
}

// A Request is what is known of the request of a pair.
type Request struct {
	Method string
	Path   string // without the query
	At     time.Time

	// What is known of it where its answers differ.
	Operation             string // of GraphQL
	Target                string // path and query; "": unknown
	Authorization, Cookie []string
	Body                  []byte
	ID                    string // what the request is called in logs
}

// An Answer is one side's, as it was on the wire.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration

	// Of a body that is too large to be kept Body is empty, and this is known: how long
	// it is, in bytes, -1 for a body that was not read to its end; and its sum by Sum.
	Size int64
	Sum  uint64
}

// The outcomes of a comparison.
const (
	Match    = "match"
	Mismatch = "mismatch"
	Skipped  = "skipped"
)

// Why a pair is not compared.
const (
	TooLarge     = "too_large"     // both answers are larger than Rules.MaxBodySize, and not the same
	Encoding     = "encoding"      // an answer is compressed in a way that is not understood
	Stream       = "stream"        // live's answer has no end to wait for
	Conditional  = "conditional"   // one says that the client's copy is good, which each server knows of its own only
	LiveBroken   = "live_broken"   // live's answer did not come to its end
	LiveSlow     = "live_slow"     // live's answer took too much longer than the shadow's
	ShadowFailed = "shadow_error"  // the shadow could not be asked
	TooComplex   = "too_complex"   // it would take too long to find out whether they differ
	SequenceLost = "sequence_lost" // the shadow lacks what an earlier request of the same client has changed
	Internal     = "internal"      // the comparison itself failed
)

// Reasons are all of them, in the order in which reports have them.
var Reasons = []string{TooLarge, Encoding, Stream, Conditional, LiveBroken, LiveSlow, ShadowFailed, TooComplex, SequenceLost, Internal}

// A Difference is one thing in which two answers differ.
type Difference struct {
	// Key tells differences of different things apart: "status", "header NAME",
	// "cookie NAME", "body", or the path of a value in a body, with [*] for any place in
	// a list, such as $.lines[*].updatedAt.
	Key string

	Live, Shadow Value

	// Relation says what the shadow made of live's value, such as +0.01, ×100, −1 day,
	// case, order, missing or added; "" where nothing is known. See relation.go.
	Relation string

	// Structural says that not only a value differs, but a status, a type, how long a
	// list is, or whether something is there at all.
	Structural bool

	// Index is the place in the first list on the way to the value; -1: there is none.
	Index int

	mark *mark // what says that the values are made anew; nil until Finding.findMarks
}

// Subject is the key as a [Rule] covers it: that of statuses has them both.
func (d *Difference) Subject() string {
	if d.Key == "status" && d.Relation != relationNoAnswer {
		return "status " + d.Relation
	}
	return d.Key
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
	f := &Finding{Outcome: Match}
	if live.Status != shadow.Status {
		f.add(otherStatus(live, shadow))
	} else {
		if len(r.Headers) > 0 {
			compareHeaders(r, f, live.Header, shadow.Header)
		}
		if r.Body != Off {
			compareBodies(r, f, live, shadow)
		}
	}
	if f.Outcome != Skipped && len(f.Differences) > 0 {
		f.Outcome = Mismatch
	}
	return f
}

func otherStatus(live, shadow *Answer) Difference {
	relation := strconv.Itoa(live.Status) + "/" + strconv.Itoa(shadow.Status)
	return Difference{Key: "status", Live: number(live.Status), Shadow: number(shadow.Status), Relation: relation, Structural: true, Index: -1}
}

// NoAnswer returns the finding for a pair whose request the shadow has taken, and not
// answered, or not to the end.
func NoAnswer(live *Answer) *Finding {
	d := Difference{Key: "status", Live: number(live.Status), Relation: relationNoAnswer, Structural: true, Index: -1}
	return &Finding{Outcome: Mismatch, Differences: []Difference{d}}
}

// IsConditional reports whether two answers to a request with these headers differ
// because one server knows the client's copy and the other does not: each makes its own
// ETag and Last-Modified.
func IsConditional(request http.Header, live, shadow int) bool {
	if request["If-None-Match"] != nil || request["If-Modified-Since"] != nil {
		if live == http.StatusNotModified && shadow == http.StatusOK || live == http.StatusOK && shadow == http.StatusNotModified {
			return true
		}
	}
	return request["If-Range"] != nil &&
		(live == http.StatusPartialContent && shadow == http.StatusOK || live == http.StatusOK && shadow == http.StatusPartialContent)
}

// covers reports whether a rule covers the subject at the endpoint.
func (r *Rules) covers(method, path, subject string) bool {
	for _, rule := range r.Ignore {
		if rule.Covers(method, path, subject) {
			return true
		}
	}
	return false
}

// Skip returns the finding for a pair that is not compared.
func Skip(reason string) *Finding {
	return &Finding{Outcome: Skipped, Reason: reason}
}

// add notes a difference.
func (f *Finding) add(d Difference) {
	f.Differences = append(f.Differences, d)
}

func (f *Finding) skip(reason string) {
	f.Outcome = Skipped
	f.Reason = reason
	f.Differences = nil
	f.More = false
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
