package compare

import (
	"sort"
	"strings"
)

const (
	// seldomNames is how many names that are seldom may stand in one place. Where there
	// are more when an endpoint has too many differences to tell apart, that place is a
	// map, and they are what it is by: names of customers, say.
	seldomNames = 10

	// mostMaps is how many such places of an endpoint are remembered.
	mostMaps = 20

	// restBetween is after how many more pairs an endpoint is looked at again.
	restBetween = 20
)

// folded is the key of a difference as it is kept: with * for a name in a place that is a
// map, but for the names that were there often.
func (e *endpoint) folded(key string) string {
	if len(e.maps) == 0 || !strings.HasPrefix(key, "$") {
		return key
	}
	at := "$"
	for _, step := range stepsOf(key) {
		names := e.maps[at]
		if names != nil && isMember(step) && !names[step] {
			step = anyMember
		}
		at += asInKey(step)
	}
	return cutKey(at)
}

// asInKey is a step as it is in a key. What could not be read of a key is what it was.
func asInKey(step string) string {
	if step != elements && strings.HasPrefix(step, "[") {
		return step
	}
	return keyOfStep(step)
}

func isMember(step string) bool { return strings.HasPrefix(step, ".") }

// makeRoom sees to it that an endpoint has room for what a pair differs in, where names of
// maps have taken it. Most pairs differ in what is known.
func (a *account) makeRoom(e *endpoint, f *Finding) {
	if len(e.groups)+len(f.Differences) <= maxGroups || e.compared < e.lookAgain || len(e.maps) >= mostMaps {
		return
	}
	fresh := 0
	here := map[string]bool{}
	for i := range f.Differences {
		d := &f.Differences[i]
		key := e.folded(d.Key)
		here[key] = true
		if e.groups[key+"\n"+classOf(d, false, nil)] == nil {
			fresh++
		}
	}
	if fresh == 0 || len(e.groups)+fresh <= maxGroups {
		return
	}
	named := a.rules.named()
	for len(e.maps) < mostMaps && e.mergeNames(here, named) {
		continue
	}
	if len(e.groups)+fresh > maxGroups {
		e.lookAgain = e.compared + restBetween
	}
}

// mergeNames looks for a place with many names that are seldom, in the groups and in the
// pair whose keys are here, and makes a map of it. What rules name stays as it is.
func (e *endpoint) mergeNames(here, named map[string]bool) bool {
	differing := int64(0)
	for _, k := range e.kinds {
		differing += k.count
	}
	// The most pairs that one of a name's groups was in, by place and name.
	places := map[string]map[string]int64{}
	for _, g := range e.groups {
		n := g.count
		if here[g.key] {
			n++
		}
		countNames(places, g.key, n)
	}
	best := ""
	for at, names := range places {
		seldom := 0
		for step, n := range names {
			if n < clearPairs && 2*n <= differing+1 && !named[step] {
				seldom++
			}
		}
		if seldom > seldomNames && e.maps[at] == nil && (best == "" || len(at) < len(best) || len(at) == len(best) && at < best) {
			best = at
		}
	}
	if best == "" {
		return false
	}
	known := map[string]bool{}
	for step, n := range places[best] {
		if n >= clearPairs || 2*n > differing+1 || named[step] {
			known[step] = true
		}
	}
	addAll(known, named)
	e.maps[best] = known
	e.refold()
	return true
}

// countNames notes, for each place on the way that a key leads, the name that is there.
func countNames(places map[string]map[string]int64, key string, n int64) {
	if !strings.HasPrefix(key, "$") {
		return
	}
	at := "$"
	for _, step := range stepsOf(key) {
		if isMember(step) {
			if places[at] == nil {
				places[at] = map[string]int64{}
			}
			if places[at][step] < n {
				places[at][step] = n
			}
		}
		at += asInKey(step)
	}
}

// refold merges the groups that have become one, and has the kinds name those that are
// left.
func (e *endpoint) refold() {
	renamed := map[string]string{}
	ids := make([]string, 0, len(e.groups))
	for id := range e.groups {
		ids = append(ids, id)
	}
	sort.Strings(ids)
	for _, id := range ids {
		g := e.groups[id]
		key := e.folded(g.key)
		if key == g.key {
			continue
		}
		delete(e.groups, id)
		into := e.group(key+"\n"+g.class, key, g.class)
		renamed[id] = into.id
		most := len(into.examples)
		if len(g.examples) > most {
			most = len(g.examples)
		}
		into.merge(g)
		into.thin(most)
	}
	for id, g := range e.unshown {
		if key := e.folded(g.key); key != g.key {
			delete(e.unshown, id)
			if into := e.groupOfControl(key+"\n"+g.class, key, g.class); into != nil {
				into.merge(g)
			}
		}
	}
	kinds := e.kinds
	e.kinds = map[string]*kind{}
	for _, k := range kinds {
		k.into = e.addKind(again(k.groups, renamed), k.count)
	}
	merged := map[string]bool{}
	for _, id := range renamed {
		if !merged[id] {
			merged[id] = true
			e.countOnce(e.groups[id])
		}
	}
}

// countOnce has a group that several have become count each pair once, as far as it is
// known in which pairs they came together.
func (e *endpoint) countOnce(g *group) {
	pairs := int64(0)
	for name, k := range e.kinds {
		if name == others || has(k.groups, g.id) {
			pairs += k.count
		}
	}
	if pairs < g.count && pairs > 0 {
		g.made = g.made * pairs / g.count
		g.sure = g.sure * pairs / g.count
		g.count = pairs
	}
}

func has(list []string, text string) bool {
	for _, s := range list {
		if s == text {
			return true
		}
	}
	return false
}

// again are the ids of groups by their new names, each once.
func again(ids []string, renamed map[string]string) []string {
	has := map[string]bool{}
	var all []string
	for _, id := range ids {
		if name, ok := renamed[id]; ok {
			id = name
		}
		if !has[id] {
			has[id] = true
			all = append(all, id)
		}
	}
	sort.Strings(all)
	return all
}

// addMaps adds what is known of the maps of another endpoint.
func (e *endpoint) addMaps(o *endpoint) {
	for at, names := range o.maps {
		if e.maps[at] == nil && len(e.maps) < mostMaps {
			e.maps[at] = names
		}
	}
}

// keepNames has names be told apart from now on: rules name them.
func (e *endpoint) keepNames(named map[string]bool) {
	for _, names := range e.maps {
		addAll(names, named)
	}
}

func addAll(to, from map[string]bool) {
	for name := range from {
		to[name] = true
	}
}

// thin leaves at most so many examples, spread over their time.
func (g *group) thin(most int) {
	sort.Slice(g.examples, func(i, j int) bool { return g.examples[i].At.Before(g.examples[j].At) })
	for len(g.examples) > most {
		var left []Example
		for i := 0; i < len(g.examples); i += 2 {
			left = append(left, g.examples[i])
		}
		if len(left) == len(g.examples) {
			left = nil
		}
		g.examples = left
	}
}
