package compare

// mostCounted is how many endpoints pairs are counted by since the start, besides the
// others.
const mostCounted = 100

// PairCounts are pairs by what they were found to be when they came: nobody judges them
// again, so these only go up.
type PairCounts struct {
	Match   int64 // in nothing that no rule covered
	Differs int64
	Skipped int64
}

func (p *PairCounts) add(o *PairCounts) {
	p.Match += o.Match
	p.Differs += o.Differs
	p.Skipped += o.Skipped
}

// countOf is one pair.
func countOf(outcome string) *PairCounts {
	switch outcome {
	case Match:
		return &PairCounts{Match: 1}
	case Mismatch:
		return &PairCounts{Differs: 1}
	}
	return &PairCounts{Skipped: 1}
}

// A ledger has the pairs since the start, by endpoint. The verdict's lock guards it.
//
// Endpoints are merged, and get another name once a word of theirs may be shown, and an
// account ends. What is in the ledger stays under the name that it was entered by, so no
// count of it ever goes down, and no name is in it that may not be shown. Pairs are
// entered when somebody asks, and when their account ends.
type ledger struct {
	pairs map[string]*PairCounts // by the name of the endpoint, as shown
}

func newLedger() *ledger { return &ledger{pairs: map[string]*PairCounts{others: {}}} }

// enter adds pairs of an endpoint, to the others if there is no room for another name.
func (l *ledger) enter(name string, n *PairCounts) {
	p := l.pairs[name]
	if p == nil && len(l.pairs) > mostCounted {
		p = l.pairs[others]
	}
	if p == nil {
		p = &PairCounts{}
		l.pairs[name] = p
	}
	p.add(n)
}

// enter enters the pairs that came since this was done last.
func (a *account) enter(l *ledger) {
	names := &shownNames{account: a}
	for _, e := range a.endpoints {
		n := e.fresh
		n.Match += e.matched - e.entered
		if n.Match+n.Differs+n.Skipped == 0 {
			continue
		}
		e.entered = e.matched
		e.fresh = PairCounts{}
		name, _ := names.of(e)
		l.enter(name, &n)
	}
}
