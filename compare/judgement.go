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
	Safe       bool  // the endpoint's method is GET or HEAD
	Changes    bool  // live's own value was seen to change between two equal requests

	// With a control: of the triples in which the value is there, those in which only the
	// shadow differs from live, only the control, both, and both in the same way; and
	// whether the control's value was ever seen to differ as the shadow's does.
	Triples, ShadowOnly, ControlOnly, Both, Same int64
	ControlShowed                                bool
	Shaped                                       bool // the shadow's values have the type and shape of live's
	Keys                                         int  // of the endpoint
}

// JudgeDifference says what a difference is by what was seen of it.
func JudgeDifference(e *Evidence) string {
	if e.NoAnswer {
		if e.Triples > 0 && e.Same > 0 {
			return Undecided
		}
		return Real
	}
	if e.Triples > 0 {
		return judgeControlled(e)
	}
	return judgeAlone(e)
}

// judgeAlone is for a difference of which there is no control.
func judgeAlone(e *Evidence) string {
	if e.Structural || e.Mixed > 0 {
		return Real
	}
	if e.Made == e.Pairs {
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

// judgeControlled is for a difference of which there are triples.
func judgeControlled(e *Evidence) string {
	b, c := e.ShadowOnly, e.ControlOnly
	if e.Structural && !e.ControlShowed {
		return Real
	}
	if e.Same > 0 && b+c == 0 {
		return Undecided // is the control live's version, with live's data?
	}
	chance := atLeast(b, b+c)
	keys := e.Keys
	if keys < 1 {
		keys = 1
	}
	if chance < unlikely/float64(keys) {
		return Real
	}
	if b >= quietDiffers && c+e.Both == 0 && e.Triples >= quiet && e.Made == 0 {
		return Real
	}
	differs := float64(b+e.Both) >= nearlyAll*float64(e.Triples) && float64(c+e.Both) >= nearlyAll*float64(e.Triples)
	if (c+e.Both >= noisyControl || differs) && chance > likely && e.Shaped {
		return Noise
	}
	return Undecided
}

// atLeast returns the probability that a fair coin, thrown n times, shows heads k times
// or more.
func atLeast(k, n int64) float64 {
	if k <= 0 {
		return 1
	}
	if n > 1000 {
		// The normal distribution is as good then.
		mean := float64(n) / 2
		return math.Erfc((float64(k)-0.5-mean)/math.Sqrt(float64(n)/4)/math.Sqrt2) / 2
	}
	all := 0.0
	top, _ := math.Lgamma(float64(n) + 1)
	for i := k; i <= n; i++ {
		low, _ := math.Lgamma(float64(i) + 1)
		high, _ := math.Lgamma(float64(n-i) + 1)
		all += math.Exp(top - low - high - float64(n)*math.Ln2)
	}
	return all
}
