package compare

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A group is what is known of one thing in which answers of an endpoint differ.
type group struct {
	id, key, class string
	noAnswer       bool

	count  int64
	made   int64           // of count: both values are made anew, by all that can be seen
	sure   int64           // of made: and look as if they were
	values map[string]bool // distinct ones on live's side, up to fewValues+1
	fewest int             // how many distinct ones there are at least: those of another key for hashes
	others map[string]bool // and on the shadow's

	// Of the answers that were looked at since there is the group, those in which the
	// value is.
	looked, present int64

	// live's value by request, until one was seen to change.
	byRequest map[string]string
	changes   bool

	witness *witness // what the control says; nil: nothing yet

	relations   map[string]int64
	first, last time.Time
	examples    []Example
	every       int64 // an example is kept of each so many pairs
}

// An Example is one pair that differs in something, as it may be shown.
type Example struct {
	At                       time.Time
	Path                     string   // "" while it is kept: no more of it may be shown than of the endpoint's
	Query                    []string // the names of the query's parameters
	Curl                     string   // the command that repeats the request; "" where it may not be shown
	RequestID                string
	LiveStatus, ShadowStatus int
	Live, Shadow             string
	Relation                 string
	Index                    int // of the first list on the way; -1: there is none
}

func newGroup(id, key, class string) *group {
	return &group{id: id, key: key, class: class, values: map[string]bool{}, others: map[string]bool{}, byRequest: map[string]string{}, relations: map[string]int64{}, every: 1}
}

// The classes of differences of one key that are judged each for itself: values that
// differ, and what is told at a glance.
const (
	classValue     = ""
	classFar       = "far" // times too far apart to be taken one after the other; with a control only
	classMixed     = "of another"
	classStructure = "structure" // of no relation that has a name
)

// classOf returns the class of a difference: a relation, where that is all that there is
// to judge. s is how its values stand to each other; nil: without a control.
//
// Times that are made anew are seconds apart, and so are a control's: what is an hour off
// now and then is judged apart from them, and counted to the pair.
func classOf(d *Difference, mixed bool, s *side) string {
	if d.Structural {
		if d.Relation != "" {
			return d.Relation
		}
		return classStructure
	}
	if mixed {
		return classMixed
	}
	if s != nil && s.time && math.Abs(s.apart) > nearby {
		return classFar
	}
	return classValue
}

// ofValues reports whether a group is of values that differ, and of nothing that is told at
// a glance.
func (g *group) ofValues() bool { return g.class == classValue || g.class == classFar }

// add counts a pair that differs in this.
func (g *group) add(r *Rules, req *Request, live, shadow *Answer, d *Difference, l look, now time.Time) {
	if g.first.IsZero() {
		g.first = now
	}
	g.last = now
	g.count++
	if l.made {
		g.made++
		if l.sure {
			g.sure++
		}
	}
	if d.Relation == relationNoAnswer || shadow.Status >= http.StatusInternalServerError && live.Status < http.StatusInternalServerError {
		g.noAnswer = true
	}
	value := d.Live.identity()
	if len(g.values) <= fewValues {
		g.values[value] = true
	}
	if len(g.others) <= fewValues {
		g.others[d.Shadow.identity()] = true
	}
	g.noteChange(identity(req), value)
	if d.Relation != "" && (g.relations[d.Relation] > 0 || len(g.relations) < maxRelations) {
		g.relations[d.Relation]++
	}
	g.keep(r, req, live, shadow, d)
}

// forgetHashes is for when hashes are made with another key: of the values before it stays
// known how many there were.
func (g *group) forgetHashes() {
	g.fewest = g.distinct()
	g.values = map[string]bool{}
	g.others = map[string]bool{}
	if !g.changes {
		g.byRequest = map[string]string{}
	}
}

// distinct is how many distinct values on live's side are known of.
func (g *group) distinct() int {
	if len(g.values) < g.fewest {
		return g.fewest
	}
	return len(g.values)
}

// noteChange remembers live's value of a request, and whether an equal one had another.
func (g *group) noteChange(request, value string) {
	if request == "" || g.changes {
		return
	}
	before, known := g.byRequest[request]
	if known && before != value {
		g.changes = true
		g.byRequest = nil
		return
	}
	if !known && len(g.byRequest) < maxRequests {
		g.byRequest[request] = value
	}
}

// keep keeps an example, and sees to it that those that are kept are spread over the
// time in which there were pairs: when there is no room every second one goes, and only
// every second is kept from then on.
func (g *group) keep(r *Rules, req *Request, live, shadow *Answer, d *Difference) {
	if r.Examples == 0 || g.count%g.every != 0 && g.count != 1 {
		return
	}
	if len(g.examples) >= r.Examples {
		var left []Example
		for i := 0; i < len(g.examples); i += 2 {
			left = append(left, g.examples[i])
		}
		if len(left) == len(g.examples) {
			left = nil
		}
		g.examples = left
		g.every *= 2
	}
	path := ""
	curl := ""
	if r.Show == Values {
		path = strings.Clone(cut(req.Path, maxKey))
		curl = r.curlLine(req)
	}
	g.examples = append(g.examples, Example{
		At: req.At, Path: path, Query: queryNames(req.Target), Curl: curl, RequestID: strings.Clone(cut(req.ID, 100)),
		LiveStatus: live.Status, ShadowStatus: shadow.Status,
		Live: d.Live.Shown(r.Show), Shadow: d.Shadow.Shown(r.Show), Relation: d.Relation, Index: d.Index,
	})
}

// subject is what a rule covers: see [Difference.Subject].
func (g *group) subject() string {
	d := &Difference{Key: g.key, Relation: g.class}
	if g.class == classFar {
		d.Relation = ""
	}
	return d.Subject()
}

// isIn reports whether what differs is in an answer: by the name of the member in its
// body, which is found without reading it.
func (g *group) isIn(h http.Header, body []byte) bool {
	if name, ok := strings.CutPrefix(g.key, "header "); ok {
		return h[name] != nil
	}
	name := lastName(g.key)
	if name == "" || h["Content-Encoding"] != nil {
		return true
	}
	if bytes.Contains(body, []byte(strconv.Quote(name))) {
		return true
	}
	// Only JSON has names in quotes.
	text := bytes.TrimSpace(withoutMark(body))
	if len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		return false
	}
	return bytes.Contains(text, []byte(strings.TrimPrefix(name, "@")))
}

// lastName is the name of the member that a key leads to; "" if it leads to none. Text is
// in the element that has it.
func lastName(key string) string {
	key = strings.TrimSuffix(key, ".#text")
	for strings.HasSuffix(key, "[*]") {
		key = strings.TrimSuffix(key, "[*]")
	}
	if !strings.HasPrefix(key, "$.") || strings.ContainsAny(key, "'…") {
		return ""
	}
	name := key[strings.LastIndexByte(key, '.')+1:]
	if name == "*" {
		return ""
	}
	return name
}

// merge adds what another group has counted of the same thing.
func (g *group) merge(o *group) {
	g.count += o.count
	g.made += o.made
	g.sure += o.sure
	g.looked += o.looked
	g.present += o.present
	g.noAnswer = g.noAnswer || o.noAnswer
	g.changes = g.changes || o.changes
	if o.fewest > g.fewest {
		g.fewest = o.fewest
	}
	for value := range o.values {
		if len(g.values) <= fewValues {
			g.values[value] = true
		}
	}
	for value := range o.others {
		if len(g.others) <= fewValues {
			g.others[value] = true
		}
	}
	for relation, n := range o.relations {
		g.relations[relation] += n
	}
	if o.witness != nil {
		g.testimony().add(o.witness)
	}
	if !o.first.IsZero() && (g.first.IsZero() || o.first.Before(g.first)) { // zero: only the control has differed
		g.first = o.first
	}
	if o.last.After(g.last) {
		g.last = o.last
	}
	g.examples = append(g.examples, o.examples...)
}

// evidence is what a group has seen, for the judgement.
func (g *group) evidence(e *endpoint) *Evidence {
	v := &Evidence{
		Pairs: g.count, Made: g.made, Values: g.distinct(), NoAnswer: g.noAnswer, Changes: g.changes,
		Structural: !g.ofValues() && g.class != classMixed,
		Safe:       e.method == http.MethodGet || e.method == http.MethodHead || e.method == "", // of several methods
	}
	if g.class == classMixed {
		v.Mixed = g.count
	}
	v.Frozen = g.ofValues() && len(g.others) > 0 && len(g.values) >= 4*len(g.others)
	if float64(g.sure) < nearlyAll*float64(g.count) {
		v.Made = g.sure
	}
	// The share of the answers in which the value is, as far as they were looked at.
	v.Present = e.compared
	if g.looked > 0 {
		v.Present = int64(float64(e.compared) * float64(g.present) / float64(g.looked))
	}
	if v.Present < g.count {
		v.Present = g.count
	}
	if total(e.control) > 0 {
		g.testify(e, v)
	}
	return v
}

// relation is the one that nearly all pairs that differ in this stand in; "" if there is
// none.
func (g *group) relation() string {
	if g.class == classStructure {
		return ""
	}
	if !g.ofValues() {
		return g.class
	}
	for relation, n := range g.relations {
		if float64(n) >= nearlyAll*float64(g.count) {
			return relation
		}
	}
	if g.witness != nil {
		return g.witness.relation(g.count)
	}
	return ""
}
