package compare

import "time"

// How much is kept of the time line, whatever the traffic.
const (
	maxIntervals     = 60 // of the time line
	maxIntervalKinds = 30 // kinds of pairs in one of them
)

// firstInterval is how long the intervals of the time line are at first. When
// they are too many, each two become one.
const firstInterval = 10 * time.Second

// An Interval is a part of the time line: pairs, by what they are judged to be now and not
// by what they were when they came. Those that are neither real nor undecided agree.
type Interval struct {
	Start                     time.Time
	Compared, Real, Undecided int64
}

// An interval is what is kept of an [Interval]: in which groups its pairs differ, and not
// how those were judged.
type interval struct {
	start     time.Time
	compared  int64
	differing map[*kind]int64
}

// note counts n pairs of a kind. Those of kinds that there is no room for are undecided.
func (i *interval) note(k *kind, n int64) {
	if i.differing == nil {
		i.differing = map[*kind]int64{}
	}
	if _, known := i.differing[k]; !known && len(i.differing) >= maxIntervalKinds {
		k = crowd
	}
	i.differing[k] += n
}

// crowd is the kind of pairs that are not told apart.
var crowd = &kind{groups: []string{more}, judged: Undecided}

// newestKind is the kind that has taken the place of another, where groups have become one.
func newestKind(k *kind) *kind {
	for {
		into, ok := k.into.(*kind)
		if !ok {
			return k
		}
		k = into
	}
}

// takeBack takes a pair of a kind out of the latest interval that has one, under whatever
// kind it was before.
func (a *account) takeBack(k *kind) bool {
	for i := len(a.intervals) - 1; i >= 0; i-- {
		in := a.intervals[i]
		for was, n := range in.differing {
			if n > 0 && newestKind(was) == k {
				in.compared--
				in.differing[was]--
				return true
			}
		}
	}
	return false
}

// timeline returns the intervals as they are judged now. The kinds have been judged.
func (a *account) timeline() []Interval {
	shown := make([]Interval, 0, len(a.intervals))
	for _, i := range a.intervals {
		s := Interval{Start: i.start, Compared: i.compared}
		for k, n := range i.differing {
			switch newestKind(k).judged {
			case Real:
				s.Real += n
			case Undecided:
				s.Undecided += n
			}
		}
		shown = append(shown, s)
	}
	return shown
}

// latestInterval is the one that a pair of now belongs to.
func (a *account) latestInterval(now time.Time) *interval {
	if !now.Before(a.until) {
		a.nextInterval(now)
	}
	return a.intervals[len(a.intervals)-1]
}

// nextInterval makes the last interval the one that now is in.
func (a *account) nextInterval(now time.Time) {
	for !now.Before(a.until) {
		if len(a.intervals) == maxIntervals {
			a.widen()
		} else {
			a.intervals = append(a.intervals, &interval{start: a.since.Add(now.Sub(a.since) / a.width * a.width)})
		}
		a.until = a.intervals[len(a.intervals)-1].start.Add(a.width)
	}
}

// widen makes intervals twice as long.
func (a *account) widen() {
	a.width *= 2
	var wide []*interval
	for _, narrow := range a.intervals {
		narrow.start = a.since.Add(narrow.start.Sub(a.since) / a.width * a.width)
		n := len(wide)
		if n > 0 && wide[n-1].start.Equal(narrow.start) {
			into := wide[n-1]
			into.compared += narrow.compared
			for k, count := range narrow.differing {
				into.note(newestKind(k), count)
			}
			continue
		}
		wide = append(wide, narrow)
	}
	a.intervals = wide
}
