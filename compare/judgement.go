package compare

import "math"

// The judgements of a difference.
const (
	Real      = "real"      // the new version answers otherwise
	Undecided = "undecided" // it cannot be told from what was seen
	Noise     = "noise"     // the answers differ without a new version, too
	Ignored   = "ignored"   // a rule covers it
)

const (
	// fewValues is how many distinct values on live's side are few: a flag, a status.
	// They are counted over fewValuesPairs pairs at least.
	fewValues      = 10
	fewValuesPairs = 20

	// nearlyAll is the share of the pairs with a value that nearly all are.
	nearlyAll = 0.9

	// unlikely is the probability below which chance does not explain that the shadow
	// differs more often than the control, divided by how many keys are looked at; and
	// likely the one above which it does.
	unlikely = 0.001
	likely   = 0.01

	// quiet is how many triples a control has to agree in for five differences of the
	// shadow's to be real, and noisyControl how often it has to differ for noise.
	quiet        = 100
	quietDiffers = 5
	noisyControl = 3
)

// Evidence is what was seen of one difference at one endpoint: of a key, or of a
// relation in which its values stand.
type Evidence struct {
	Pairs      int64 // that differ in it
	Present    int64 // pairs of the endpoint in which the value is there; at least Pairs
	Structural bool  // it is of a type, a list's length, a status, or something missing or added
	NoAnswer   bool  // the shadow failed: a 5xx or no answer
	Made       int64 // pairs in which both values bear the mark of being made anew, and are new
	Mixed      int64 // pairs in which the shadow has what belongs to something else of live's
	Values     int   // distinct values on live's side, counted up to fewValues+1
	Frozen     bool  // the shadow has one value, or two, where live's are several times as many
	Safe       bool  // the endpoint's method is GET or HEAD
	Changes    bool  // live's own value was seen to change between two equal requests

	// With a control: of the triples in which the value is there, those in which only the
	// shadow differs from live, only the control, both, and both in the same way; and
	// whether the control's value was ever seen to differ as the shadow's does.
	Triples, ShadowOnly, ControlOnly, Both, Same int64
	ControlShowed                                bool
	Shaped                                       bool // the shadow's values have the type and shape of live's
	Firm                                         bool // it is never noise: a status, or what belongs to another
	Keys                                         int  // of the endpoint
}

// JudgeDifference says what a difference is by what was seen of it.
func JudgeDifference(e *Evidence) string {
	if e.NoAnswer {
		return judgeNoAnswer(e)
	}
	if e.Triples > 0 && (e.ShadowOnly+e.Both > 0 || e.ControlShowed) {
		return judgeControlled(e)
	}
	return judgeAlone(e)
}

// judgeNoAnswer is for a shadow that fails, which is never noise.
func judgeNoAnswer(e *Evidence) string {
	if e.Same > 0 && e.chance() >= e.mostUnlikely() {
		return Undecided // so does the control
	}
	return Real
}

// judgeAlone is for a difference of which there is no control.
func judgeAlone(e *Evidence) string {
	if e.Structural || e.Mixed > 0 {
		return Real
	}
	if e.Made == e.Pairs && !e.frozen() {
		if !e.Safe || e.Changes {
			return Noise
		}
		return Undecided // live's own value may be the same each time
	}
	if e.Values <= fewValues && e.Pairs >= fewValuesPairs {
		return Real
	}
	if float64(e.Pairs) < nearlyAll*float64(e.Present) {
		return Real
	}
	return Undecided
}

// judgeControlled is for a difference of which there are triples that have it.
func judgeControlled(e *Evidence) string {
	chance := e.chance()
	if chance < e.mostUnlikely() {
		return Real
	}
	if (e.Structural || e.Mixed > 0) && !e.ControlShowed {
		return Real
	}
	showed := e.ControlOnly + e.Both
	if e.ShadowOnly >= quietDiffers && showed == 0 && e.Triples >= quiet && e.Made == 0 {
		return Real
	}
	if showed == 0 && 2*(e.ShadowOnly+e.Both) < e.Pairs {
		return notNoise(judgeAlone(e)) // most of what is known is without a control
	}
	if showed >= 2*(e.ShadowOnly+e.Both) && atLeast(e.ControlOnly, e.ShadowOnly+e.ControlOnly) < e.mostUnlikely() {
		return Undecided // a control that differs that much more often is of another version, or has other data
	}
	if showed < noisyControl && float64(e.Both) < nearlyAll*float64(e.Triples) || e.Firm || e.alike() || e.frozen() || chance <= likely || !e.Shaped || e.worseAlone() {
		return Undecided
	}
	return Noise
}

// notNoise is a judgement that was made without a control where there is one, though it
// has seen little: that does not make noise.
func notNoise(judgement string) string {
	if judgement == Noise {
		return Undecided
	}
	return judgement
}

// chance is the probability that chance alone has the shadow differ that much more often
// than the control.
func (e *Evidence) chance() float64 { return atLeast(e.ShadowOnly, e.ShadowOnly+e.ControlOnly) }

// mostUnlikely is the chance below which it is none.
func (e *Evidence) mostUnlikely() float64 {
	if e.Keys < 1 {
		return unlikely
	}
	return unlikely / float64(e.Keys)
}

// alike reports whether the shadow and the control differ from live in the same way: is
// the control live's version, with live's data?
func (e *Evidence) alike() bool {
	return e.Same > 0 && float64(e.Same) >= alike*float64(e.ShadowOnly+e.Both)
}

// frozen reports whether the shadow has the same value again and again where live makes
// others: that is not made anew, whatever it looks like.
func (e *Evidence) frozen() bool { return e.Frozen && e.Pairs >= fewValuesPairs }

// worseAlone reports whether pairs without a control differ far more often than those with
// one: what is known of those does not hold for them.
func (e *Evidence) worseAlone() bool {
	differ := e.Pairs - e.ShadowOnly - e.Both
	there := e.Present - e.Triples
	if differ < aloneFew || there <= 0 {
		return false
	}
	known := float64(e.ShadowOnly+e.ControlOnly+2*e.Both) / 2 / float64(e.Triples)
	return float64(differ)/float64(there) > 2*known
}

// atLeast returns the probability that a fair coin, thrown n times, shows heads k times
// or more. Where that is likely it is 1: nobody asks how likely.
func atLeast(k, n int64) float64 {
	if 2*k <= n {
		return 1
	}
	if n > 1000 {
		// The normal distribution is as good then.
		mean := float64(n) / 2
		return math.Erfc((float64(k)-0.5-mean)/math.Sqrt(float64(n)/4)/math.Sqrt2) / 2
	}
	top, _ := math.Lgamma(float64(n) + 1)
	low, _ := math.Lgamma(float64(k) + 1)
	high, _ := math.Lgamma(float64(n-k) + 1)
	term := math.Exp(top - low - high - float64(n)*math.Ln2)
	all := term
	// The terms fall, and soon no more of them matter.
	for i := k; i < n && term > all/1e6; i++ {
		term *= float64(n-i) / float64(i+1)
		all += term
	}
	return all
}
