package compare

import (
	"encoding/json"
	"reflect"
	"sort"
)

// compareLists adds the differences of two lists that are not equal. Elements that are
// added or missing are told as that, with their place; the others are held against the one
// that they belong to. What is equal at the beginning and at the end is left to compiled
// calls, and so is the text by which elements in between are found again.
func (d *differ) compareLists(live, shadow []interface{}, at place) {
	if d.trial {
		d.compareInOrder(live, shadow, at)
		return
	}
	set := d.unordered(at.path)
	first := equalFirst(live, shadow)
	live = live[first:]
	shadow = shadow[first:]
	last := equalLast(live, shadow)
	m := &matcher{d: d, live: live[:len(live)-last], shadow: shadow[:len(shadow)-last], from: first, at: at, set: set}
	m.match()
}

// equalFirst returns how many elements two lists begin with alike. What is known to be
// equal is not looked at again.
func equalFirst(live, shadow []interface{}) int {
	first := 0
	n := shorter(len(live), len(shadow))
	for first < n {
		half := (first + n) / 2
		if reflect.DeepEqual(live[first:half+1], shadow[first:half+1]) {
			first = half + 1
		} else {
			n = half
		}
	}
	return first
}

// equalLast returns how many elements two lists end with alike.
func equalLast(live, shadow []interface{}) int {
	last := 0
	l, s := len(live), len(shadow)
	n := shorter(l, s)
	for last < n {
		half := (last + n) / 2
		if reflect.DeepEqual(live[l-half-1:l-last], shadow[s-half-1:s-last]) {
			last = half + 1
		} else {
			n = half
		}
	}
	return last
}

func shorter(a, b int) int {
	if b < a {
		return b
	}
	return a
}

// compareInOrder compares two lists place by place.
func (d *differ) compareInOrder(live, shadow []interface{}, at place) {
	if len(live) != len(shadow) {
		d.add(at, live, shadow, true, true, "", true)
		return
	}
	for i := range live {
		if !d.step() {
			return
		}
		if !reflect.DeepEqual(live[i], shadow[i]) {
			d.compare(live[i], shadow[i], at.element(i))
		}
	}
}

// A matcher finds out which elements of two lists belong together.
type matcher struct {
	d            *differ
	live, shadow []interface{}
	from         int // where in the whole lists they begin
	at           place
	set          *Unordered // nil: the order counts

	partner []int  // of live's elements: the equal one of the shadow's; -1: none
	taken   []bool // of the shadow's elements: is the equal one of one of live's
	moved   bool   // equal elements are in another order
}

// match compares the lists.
func (m *matcher) match() {
	l, s := len(m.live), len(m.shadow)
	if l == 1 && s == 1 {
		m.pair(0, 0)
		return
	}
	if l == 0 || s == 0 {
		m.align(indices(l), indices(s))
		return
	}
	if !m.d.steps((l + s) / 2) {
		return
	}
	m.findEqual()
	anchors := m.anchors()
	gaps := m.gaps(anchors)
	if l == s && (m.moved || m.uneven(gaps)) && m.d.equalInOrder(m.live, m.shadow) {
		return // but for how their numbers are written
	}
	if m.moved && m.set == nil {
		m.d.add(m.at, m.live, m.shadow, true, true, relationOrder, false)
	}
	for _, g := range gaps {
		m.align(g.live, g.shadow)
	}
}

// findEqual finds for each of live's elements an equal one of the shadow's.
func (m *matcher) findEqual() {
	m.partner = make([]int, len(m.live))
	m.taken = make([]bool, len(m.shadow))
	live, shadow := texts(m.live), texts(m.shadow)
	// For each text the first of the shadow's elements that has it, less one; and for
	// each element the next that has the same.
	head := map[string]int{}
	next := make([]int, len(m.shadow))
	for j := len(shadow) - 1; j >= 0; j-- {
		next[j] = head[string(shadow[j])]
		head[string(shadow[j])] = j + 1
	}
	for i := range m.live {
		m.partner[i] = -1
		if i >= len(live) {
			continue
		}
		if j := head[string(live[i])]; j > 0 {
			head[string(live[i])] = next[j-1]
			m.partner[i] = j - 1
			m.taken[j-1] = true
		}
	}
}

// texts returns each element as JSON, of which equal ones have the same; nil if that
// cannot be.
func texts(list []interface{}) []json.RawMessage {
	all, err := json.Marshal(list)
	if err != nil {
		return nil
	}
	var each []json.RawMessage
	if json.Unmarshal(all, &each) != nil {
		return nil
	}
	return each
}

// anchors returns the longest run of live's elements whose equals are in the same order.
func (m *matcher) anchors() []int {
	var pairs []int
	sorted := true
	last := -1
	for i, j := range m.partner {
		if j >= 0 {
			sorted = sorted && j > last
			last = j
			pairs = append(pairs, i)
		}
	}
	if sorted {
		return pairs
	}
	m.moved = true
	// The smallest end of a run of each length, whose it is, and what comes before.
	var ends, owners []int
	before := make([]int, len(m.partner))
	for _, i := range pairs {
		k := sort.SearchInts(ends, m.partner[i])
		if k == len(ends) {
			ends = append(ends, 0)
			owners = append(owners, 0)
		}
		ends[k] = m.partner[i]
		owners[k] = i
		before[i] = -1
		if k > 0 {
			before[i] = owners[k-1]
		}
	}
	run := make([]int, len(ends))
	i := owners[len(ends)-1]
	for k := len(ends) - 1; k >= 0; k-- {
		run[k] = i
		i = before[i]
	}
	return run
}

// A gap is what is between two anchors and has no equal.
type gap struct{ live, shadow []int }

// gaps returns the elements without an equal, by the anchors that they are between. In a
// set, and where the order is another, all are together.
func (m *matcher) gaps(anchors []int) []gap {
	if m.set != nil || m.moved {
		anchors = nil
	}
	var all []gap
	i, j := 0, 0
	for k := 0; k <= len(anchors); k++ {
		l, s := len(m.live), len(m.shadow)
		if k < len(anchors) {
			l = anchors[k]
			s = m.partner[l]
		}
		if i < l || j < s {
			g := gap{}
			for ; i < l; i++ {
				if m.partner[i] < 0 {
					g.live = append(g.live, i)
				}
			}
			for ; j < s; j++ {
				if !m.taken[j] {
					g.shadow = append(g.shadow, j)
				}
			}
			all = append(all, g)
		}
		i = l + 1
		j = s + 1
	}
	return all
}

// uneven reports whether a gap has more elements on one side.
func (m *matcher) uneven(gaps []gap) bool {
	for _, g := range gaps {
		if len(g.live) != len(g.shadow) {
			return true
		}
	}
	return false
}

// equalInOrder reports whether two lists of the same length are equal but for how numbers
// are written.
func (d *differ) equalInOrder(live, shadow []interface{}) bool {
	finding := d.finding
	seen := d.seen
	limit := d.limit
	d.finding = &Finding{}
	d.seen = map[string]int{}
	d.trial = true
	d.compareInOrder(live, shadow, root)
	equal := len(d.finding.Differences) == 0 && !d.finding.More
	d.finding = finding
	d.seen = seen
	d.limit = limit
	d.trial = false
	return equal
}

// mostSkipped is how many elements in a row are looked past, to find the one that another
// belongs to.
const mostSkipped = 16

// align compares elements of both sides that have no equal.
func (m *matcher) align(live, shadow []int) {
	if m.set != nil {
		live, shadow = m.alignSet(live, shadow)
	}
	i, j := 0, 0
	for i < len(live) && j < len(shadow) {
		more := len(shadow) - j - (len(live) - i) // elements that the shadow has too many
		skip := 0
		if more != 0 {
			skip = m.skip(live[i:], shadow[j:], more)
		}
		if !m.d.step() {
			return
		}
		for ; skip > 0; skip-- {
			if more > 0 {
				m.added(shadow[j])
				j++
			} else {
				m.missing(live[i])
				i++
			}
		}
		m.pair(live[i], shadow[j])
		i++
		j++
	}
	for ; i < len(live) && m.d.step(); i++ {
		m.missing(live[i])
	}
	for ; j < len(shadow) && m.d.step(); j++ {
		m.added(shadow[j])
	}
}

// skip returns how many of the side that has more elements to look past, so that the next
// two belong together.
func (m *matcher) skip(live, shadow []int, more int) int {
	most := more
	if more < 0 {
		most = -more
	}
	if most > mostSkipped {
		most = mostSkipped
	}
	best, skip := -1, 0
	for k := 0; k <= most; k++ {
		i, j := 0, k
		if more < 0 {
			i, j = k, 0
		}
		if alike := m.d.alike(m.live[live[i]], m.shadow[shadow[j]]); alike > best {
			best = alike
			skip = k
		}
		if best == 100 {
			break
		}
	}
	return skip
}

// alike says how much two values that differ are alike, from 0 to 100.
func (d *differ) alike(live, shadow interface{}) int {
	if !d.step() {
		return 0
	}
	if l, ok := live.(json.Number); ok {
		if s, ok := shadow.(json.Number); ok && sameNumber(string(l), string(s)) {
			return 100
		}
		return 0
	}
	l, ok := live.(map[string]interface{})
	if !ok {
		return 0
	}
	s, ok := shadow.(map[string]interface{})
	if !ok || !d.steps(len(l)/4) {
		return 0
	}
	same := 0
	for name, v := range l {
		if other, ok := s[name]; ok && reflect.DeepEqual(v, other) {
			same++
		}
	}
	n := len(l)
	if len(s) > n {
		n = len(s)
	}
	return 99 * same / (n + 1)
}

// alignSet compares the elements of a set that belong together, by their member or by what
// they have in common, and returns those that are left.
func (m *matcher) alignSet(live, shadow []int) (leftLive, leftShadow []int) {
	left := map[int]bool{}
	for _, j := range shadow {
		left[j] = true
	}
	leftLive = nil
	leftShadow = nil
	tooMany := m.set.by == "" && len(live)*len(shadow) > 1000
	for _, i := range live {
		best, other := 0, -1
		for _, j := range shadow {
			if tooMany || !left[j] || !m.d.step() {
				continue
			}
			alike := 0
			if m.set.by == "" {
				alike = m.d.alike(m.live[i], m.shadow[j])
			} else if sameMember(m.live[i], m.shadow[j], m.set.by) {
				alike = 100
			}
			if alike > best {
				best = alike
				other = j
			}
			if best == 100 {
				break
			}
		}
		if other < 0 {
			leftLive = append(leftLive, i)
			continue
		}
		delete(left, other)
		m.pair(i, other)
	}
	for _, j := range shadow {
		if left[j] {
			leftShadow = append(leftShadow, j)
		}
	}
	if m.set.by == "" {
		return leftLive, leftShadow
	}
	for _, i := range leftLive {
		m.missing(i)
	}
	for _, j := range leftShadow {
		m.added(j)
	}
	return nil, nil
}

// sameMember reports whether two objects have the same value there.
func sameMember(live, shadow interface{}, name string) bool {
	l, ok := live.(map[string]interface{})
	if !ok {
		return false
	}
	s, ok := shadow.(map[string]interface{})
	if !ok {
		return false
	}
	lv, ok := l[name]
	if !ok {
		return false
	}
	sv, ok := s[name]
	return ok && reflect.DeepEqual(lv, sv)
}

func (m *matcher) pair(i, j int) {
	m.d.compare(m.live[i], m.shadow[j], m.at.element(m.from+i))
}

func (m *matcher) missing(i int) {
	m.d.add(m.at.element(m.from+i), m.live[i], nil, true, false, relationMissing, true)
}

func (m *matcher) added(j int) {
	m.d.add(m.at.element(m.from+j), nil, m.shadow[j], false, true, relationAdded, true)
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
