package compare

import (
	"math"
	"net/http"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// What a control, a second instance of live's version, says of a difference: what live
// and it differ in differs without a release.

// What became of the control's part of a pair.
const (
	ControlAnswered = "answered" // as live has, in whatever body
	ControlStatus   = "status"   // with another status than live
	ControlFailed   = "failed"   // not at all
	ControlPaused   = "paused"   // it was not asked: it is left alone
	ControlUnlike   = "unlike"   // in a way that says nothing: too large, or for another copy of the client's
)

// mostUnfit is the share of an endpoint's answers in which the control may have another
// status than live, of EndpointMinimum answers at least. With more of them it says
// nothing of the endpoint.
const mostUnfit = 0.05

// How much is kept of one difference with a control.
const (
	maxRelated = 32 // relations
	maxShapes  = 10 // of values, on each side
)

const (
	// farther is how many times as far from live's value as the control's value ever was,
	// as a power of two, the shadow's is where that is a relation of its own.
	farther = 4

	// nearby is how far apart, in seconds, times are at most that say no more than that
	// they were taken one after the other, and nearbyPower is that as a power of two.
	nearby      = 60
	nearbyPower = 2

	// alike is the share of the shadow's differences that are the control's, too, from
	// which on both are one thing.
	alike = 0.75

	// aloneFew is how many pairs without a control say that they are others than those
	// with one.
	aloneFew = 10
)

// A Triple is the control's part of a pair.
type Triple struct {
	Fate    string   // ControlAnswered and so on
	Answer  *Answer  // nil: there is none; without a status: it has taken the request and not answered it
	Finding *Finding // of live's answer and the control's
}

// settle makes of a triple what its answers say.
func (t *Triple) settle(live *Answer) {
	switch {
	case t.Answer == nil:
		return
	case t.Answer.Status == 0:
		t.Fate = ControlFailed
	case t.Answer.Status != live.Status:
		t.Fate = ControlStatus
	case t.Finding == nil || t.Finding.Outcome == Skipped:
		t.Fate = ControlUnlike
	default:
		t.Fate = ControlAnswered
	}
}

// A tally is of triples: those in which only the shadow differs from live in something,
// only the control, both, and both in the same way.
type tally struct{ shadowOnly, controlOnly, both, same int64 }

func (t *tally) add(o *tally) {
	t.shadowOnly += o.shadowOnly
	t.controlOnly += o.controlOnly
	t.both += o.both
	t.same += o.same
}

// count counts one triple.
func (t *tally) count(shadow, control, same bool) {
	switch {
	case shadow && control:
		t.both++
		if same {
			t.same++
		}
	case shadow:
		t.shadowOnly++
	case control:
		t.controlOnly++
	}
}

// A related is what is known of the pairs whose values stand in one relation.
type related struct {
	tally
	alone int64 // pairs without a control
}

func (r *related) total() int64 { return r.shadowOnly + r.controlOnly + r.both + r.alone }

// A witness is what the control says of one group.
type witness struct {
	tally
	related map[string]*related // by relation

	// How far from live's value the other is: how often, by the power of two. Of the
	// shadow's in triples, of the shadow's in pairs without a control, and of the
	// control's.
	far, farAlone, near map[int]int64

	// The shapes of values: those of the shadow's, how often, and those of live's and the
	// control's. Beyond maxShapes values have none.
	shapes map[string]int64
	right  map[string]bool

	// Triples in which only the shadow's value has not the form of what is made anew, next
	// to live's, and those in which only the control's has not.
	unformed, unformedControl int64
}

func newWitness() *witness {
	return &witness{related: map[string]*related{}, far: map[int]int64{}, farAlone: map[int]int64{}, near: map[int]int64{}, shapes: map[string]int64{}, right: map[string]bool{}}
}

// relate returns what is kept of a relation; nil for none, and where there is no room.
// What was seen once makes room.
func (w *witness) relate(relation string) *related {
	if relation == "" {
		return nil
	}
	r := w.related[relation]
	if r == nil && len(w.related) >= maxRelated {
		for name, other := range w.related {
			if other.total() <= 1 {
				delete(w.related, name)
			}
		}
	}
	if r == nil && len(w.related) < maxRelated {
		r = &related{}
		w.related[strings.Clone(relation)] = r
	}
	return r
}

// relation is the one that nearly all of so many pairs stand in, give or take what it takes
// to answer; "" if there is none.
func (w *witness) relation(pairs int64) string {
	for name, r := range w.related {
		if float64(r.shadowOnly+r.both+r.alone) >= nearlyAll*float64(pairs) {
			return name
		}
	}
	return ""
}

func (w *witness) add(o *witness) {
	if o == nil {
		return
	}
	all := &w.tally
	all.add(&o.tally)
	for relation, other := range o.related {
		if r := w.relate(relation); r != nil {
			counts := &r.tally
			counts.add(&other.tally)
			r.alone += other.alone
		}
	}
	w.unformed += o.unformed
	w.unformedControl += o.unformedControl
	addPowers(w.far, o.far)
	addPowers(w.farAlone, o.farAlone)
	addPowers(w.near, o.near)
	for shape, n := range o.shapes {
		countShape(w.shapes, shape, n)
	}
	for shape := range o.right {
		noteShape(w.right, shape)
	}
}

func addPowers(to, from map[int]int64) {
	for power, n := range from {
		to[power] += n
	}
}

func countShape(shapes map[string]int64, shape string, n int64) {
	if shapes[shape] == 0 && len(shapes) >= maxShapes {
		shape = others
	}
	shapes[shape] += n
}

func noteShape(shapes map[string]bool, shape string) {
	if len(shapes) >= maxShapes {
		shape = others
	}
	shapes[shape] = true
}

// A side is how one answer differs from live's in something.
type side struct {
	difference *Difference
	made       bool    // the values are made anew
	form       bool    // they have the form of what is
	time       bool    // they are times
	relation   string  // as one that is judged for itself; "" for none
	apart      float64 // how far they are apart, in seconds if they are times
	measured   bool    // that is known
}

// newSide looks at a difference. made says that its values are made anew: then it is no
// matter how they stand to each other. form says that they have the form of such.
func newSide(d *Difference, made, form bool) *side {
	s := &side{difference: d, made: made, form: form}
	if made || d.Structural {
		return s
	}
	live, shadow := d.Live.whole, d.Shadow.whole
	s.relation = d.Relation
	if timeLike.MatchString(live) && timeLike.MatchString(shadow) {
		s.measureTime(live, shadow)
		return s
	}
	l, err := strconv.ParseFloat(live, 64)
	if err != nil {
		return s
	}
	n, err := strconv.ParseFloat(shadow, 64)
	if err != nil {
		return s
	}
	s.apart = n - l
	s.measured = !math.IsNaN(s.apart) && !math.IsInf(s.apart, 0) && s.apart != 0
	return s
}

// measureTime finds out how far two times are apart.
func (s *side) measureTime(live, shadow string) {
	l, ok := parseTime(live)
	if !ok {
		return
	}
	at, ok := parseTime(shadow)
	if !ok {
		return
	}
	s.time = true
	s.apart = at.Sub(l).Seconds()
	s.measured = s.apart != 0
	if s.measured { // or it is written otherwise
		s.relation = spanRelation(s.apart)
	}
}

// spanRelation is the relation of times that are so many seconds apart, give or take what
// it takes to answer; "" for those that are that close.
func spanRelation(seconds float64) string {
	for _, unit := range []float64{24 * 3600, 3600, 60} {
		n := math.Round(seconds / unit)
		left := math.Abs(seconds - n*unit)
		if n != 0 && left < nearby && (unit > 60 || math.Abs(seconds) > nearby) {
			return span(int64(n * unit))
		}
	}
	return ""
}

// power is how far apart two values are, as a power of two.
func (s *side) power() int {
	p := math.Ilogb(s.apart)
	if s.time && p < nearbyPower {
		p = nearbyPower
	}
	return p
}

// counter reports whether a relation says by how much two numbers differ: those of numbers
// that count something, or are random, stand in any.
func counter(relation string) bool {
	return (strings.HasPrefix(relation, "+") || strings.HasPrefix(relation, "−")) && !strings.Contains(relation, " ")
}

var alphanumeric = regexp.MustCompile(`[0-9A-Za-z]+`)

// shapeOf is what a value looks like: its type, about how long it is, and which kinds of
// characters are in it.
func shapeOf(v *Value) string {
	shape := v.Kind
	if v.Kind == "number" || v.whole == "" {
		return shape
	}
	whole := v.whole
	if len(whole) > maxKey {
		whole = whole[:maxKey]
	}
	for _, set := range []string{"0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"} {
		if strings.ContainsAny(whole, set) {
			shape += " " + set[:1]
		}
	}
	marks := map[string]bool{}
	for _, c := range alphanumeric.ReplaceAllString(whole, "") {
		if len(marks) < 7 {
			marks[string(c)] = true
		}
	}
	var list []string
	for c := range marks {
		list = append(list, c)
	}
	sort.Strings(list)
	if len(list) > 6 {
		list = []string{"text"}
	}
	return shape + " " + strings.Join(list, "") + " " + strconv.Itoa(math.Ilogb(float64(len(v.whole))))
}

// A sided is a group that a pair differs in, and how.
type sided struct {
	group *group
	side  *side
}

// addControl counts what the control says of a pair. differing are the groups that the
// pair differs in, by id.
func (a *account) addControl(e *endpoint, live, shadow *Answer, differing map[string]*sided, t *Triple) {
	t.settle(live)
	if t.Fate != "" {
		e.control[t.Fate]++
	}
	if t.Fate != ControlAnswered {
		e.addStatuses(live, shadow, differing, t.Answer)
		for _, f := range differing {
			if f.group.ofValues() {
				f.group.addAlone(f.side)
			}
		}
		return
	}
	controls := map[string]*side{}
	for i := range t.Finding.Differences {
		d := &t.Finding.Differences[i]
		d.Key = e.folded(d.Key)
		s := newSide(d, d.mark.made, d.mark.made)
		id := d.Key + "\n" + classOf(d, false, s)
		if controls[id] == nil {
			controls[id] = s
		}
	}
	for id, f := range differing {
		if f.group.class == classMixed {
			id = f.group.key + "\n" + classValue
		}
		f.group.addTriple(f.side, controls[id])
		delete(controls, id)
	}
	if shadow.Status != live.Status {
		return // it has nothing in common with their bodies
	}
	for id, s := range controls {
		if g := e.groupOfControl(id, s.difference.Key, classOf(s.difference, false, s)); g != nil {
			g.addTriple(nil, s)
		}
	}
}

// addStatuses counts a pair whose control has another status than live, or has not
// answered: that it says of the shadow's status, and nothing else.
func (e *endpoint) addStatuses(live, shadow *Answer, differing map[string]*sided, control *Answer) {
	if control == nil {
		return
	}
	failing := control.Status == 0 || control.Status >= http.StatusInternalServerError
	both := shadow.Status == control.Status || failing && (shadow.Status == 0 || shadow.Status >= http.StatusInternalServerError)
	for _, f := range differing {
		if f.group.key == "status" && (both || !failing) {
			f.group.count3(true, both, both)
		}
	}
	if both {
		return
	}
	d := otherStatus(live, control)
	if control.Status == 0 {
		d.Relation = relationNoAnswer
	}
	if g := e.groupOfControl("status\n"+d.Relation, d.Key, d.Relation); g != nil {
		g.count3(false, true, false)
	}
}

// count3 counts a triple.
func (g *group) count3(shadow, control, same bool) {
	all := &g.testimony().tally
	all.count(shadow, control, same)
}

// testimony is what the control says of a group.
func (g *group) testimony() *witness {
	if g.witness == nil {
		g.witness = newWitness()
	}
	return g.witness
}

// groupOfControl returns the group of a difference that only the control shows: the
// shadow's, if it was seen to differ in it, or one that is kept in case it will. It
// returns nil where there is no room.
func (e *endpoint) groupOfControl(id, key, class string) *group {
	if g := e.groups[id]; g != nil {
		return g
	}
	g := e.unshown[id]
	if g == nil && len(e.unshown) < maxGroups {
		g = newGroup(id, strings.Clone(key), class)
		e.unshown[id] = g
	}
	return g
}

// addTriple counts how the shadow and the control differ from live; nil: not at all.
func (g *group) addTriple(shadow, control *side) {
	w := g.testimony()
	same := false
	if shadow != nil && control != nil {
		same = shadow.sameAs(control)
	}
	g.count3(shadow != nil, control != nil, same)
	if !g.ofValues() && g.class != classMixed {
		return
	}
	if shadow != nil {
		countShape(w.shapes, shapeOf(&shadow.difference.Shadow), 1)
		noteShape(w.right, shapeOf(&shadow.difference.Live))
		if shadow.measured {
			w.far[shadow.power()]++
		}
	}
	if control != nil {
		noteShape(w.right, shapeOf(&control.difference.Live))
		noteShape(w.right, shapeOf(&control.difference.Shadow))
		if control.measured {
			w.near[control.power()]++
		}
	}
	if g.class == classMixed {
		return
	}
	if shadow != nil && control != nil && shadow.form != control.form {
		if control.form {
			w.unformed++
		} else {
			w.unformedControl++
		}
	}
	together := shadow != nil && control != nil && shadow.relation == control.relation
	if shadow != nil {
		if r := w.relate(shadow.relation); r != nil {
			counts := &r.tally
			counts.count(true, together, same)
		}
	}
	if control != nil && !together {
		if r := w.relate(control.relation); r != nil {
			counts := &r.tally
			counts.count(false, true, false)
		}
	}
}

// addAlone counts how the shadow differs in a pair without a control.
func (g *group) addAlone(shadow *side) {
	w := g.testimony()
	if r := w.relate(shadow.relation); r != nil {
		r.alone++
	}
	if shadow.measured {
		w.farAlone[shadow.power()]++
	}
}

// sameAs reports whether the shadow and the control differ from live in the same way: in
// value, or in how it stands to live's. What is made anew says nothing: two times that are
// taken in one second are the same.
func (s *side) sameAs(control *side) bool {
	if s.difference.Structural {
		return true // of one group
	}
	if s.made || s.time && s.relation == "" {
		return false
	}
	if s.relation != "" && s.relation == control.relation && !counter(s.relation) {
		return true
	}
	return s.difference.Shadow.identity() == control.difference.Shadow.identity()
}

// judge returns what a group is by all that was seen of it, the relation that it is that
// for, where it is not the one of all pairs, and whether it is the control's too.
func (g *group) judge(e *endpoint, evidence *Evidence) (judgement, relation string, alike bool) {
	judgement = JudgeDifference(evidence)
	relation = ""
	alike = judgement == Undecided && evidence.alike()
	if evidence.Triples == 0 || !g.ofValues() || g.witness == nil || judgement == Real {
		return judgement, relation, alike
	}
	w := g.witness
	keys := evidence.Keys + len(w.related)
	always := float64(evidence.ControlOnly+evidence.Both) >= nearlyAll*float64(evidence.Triples)
	var most int64
	for name, r := range w.related {
		if counter(name) && always {
			continue
		}
		if n := r.shadowOnly; n > most && atLeast(n, n+r.controlOnly) < unlikely/float64(keys) {
			most = n
			judgement = Real
			relation = name
		}
	}
	if judgement == Real {
		return judgement, relation, false
	}
	if n := beyond(w.far, w.near); n > 0 && atLeast(n, n) < unlikely/float64(keys) {
		judgement = Real
		return judgement, relation, false
	}
	if n := w.unformed; n > 0 && atLeast(n, n+w.unformedControl) < unlikely/float64(keys) {
		judgement = Real
		return judgement, relation, false
	}
	if judgement != Noise {
		return judgement, relation, alike
	}
	// Nothing is noise in which most of the shadow's values stand in a relation that the
	// control's never do. And what is noise in the triples is so in the pairs without a
	// control, as far as those look alike.
	for name, r := range w.related {
		doubtful := atLeast(r.shadowOnly, r.shadowOnly+r.controlOnly) < likely/float64(keys) ||
			r.controlOnly+r.both == 0 && 2*r.shadowOnly > w.shadowOnly+w.both
		if counter(name) && always {
			continue
		}
		if n := r.shadowOnly + r.alone; n > most && (doubtful || r.alone >= aloneFew && r.total() == r.alone) {
			most = n
			judgement = Undecided
			relation = name
		}
	}
	if beyond(w.farAlone, w.near) >= aloneFew {
		judgement = Undecided
	}
	return judgement, relation, alike
}

// beyond is how many of the shadow's values are farther from live's than the control's
// ever were, by far.
func beyond(far, near map[int]int64) int64 {
	if len(near) == 0 {
		return 0
	}
	most := math.MinInt
	for power := range near {
		if power > most {
			most = power
		}
	}
	var n int64
	for power, count := range far {
		if power >= most+farther {
			n += count
		}
	}
	return n
}

// testify adds to the evidence what the control says.
func (g *group) testify(e *endpoint, v *Evidence) {
	w := g.testimony()
	v.Firm = g.key == "status" || g.class == classMixed
	if g.key == "status" {
		v.Triples = e.control[ControlAnswered] + e.control[ControlStatus]
	} else if !e.unfit() {
		v.Triples = e.control[ControlAnswered]
		if g.looked > 0 {
			v.Triples = int64(float64(v.Triples) * float64(g.present) / float64(g.looked))
		}
	}
	if seen := w.shadowOnly + w.controlOnly + w.both; v.Triples < seen && (g.key == "status" || !e.unfit()) {
		v.Triples = seen
	}
	if v.Triples == 0 {
		return
	}
	v.ShadowOnly = w.shadowOnly
	v.ControlOnly = w.controlOnly
	v.Both = w.both
	v.Same = w.same
	v.ControlShowed = w.controlOnly+w.both > 0
	v.Shaped = v.Structural || w.shaped()
	v.Keys = len(e.groups)
}

// shaped reports whether the shadow's values look like live's and the control's.
func (w *witness) shaped() bool {
	if w.right[others] {
		return true // they look like anything
	}
	var all, good int64
	for shape, n := range w.shapes {
		all += n
		if w.right[shape] {
			good += n
		}
	}
	return float64(good) >= nearlyAll*float64(all)
}

// unfit reports whether the control says nothing of an endpoint.
func (e *endpoint) unfit() bool {
	n := e.control[ControlStatus]
	all := n + e.control[ControlAnswered]
	return all >= EndpointMinimum && float64(n) > mostUnfit*float64(all)
}
