package compare

import (
	"fmt"
	"math"
	"time"
)

// The states of a comparison, in the order in which they are asked for.
const (
	StateNone      = "none"      // nothing was compared
	StateEarly     = "early"     // too little was
	StateDiffers   = "differs"   // there are real differences
	StateUndecided = "undecided" // there may be some, or something was not seen
	StateAgrees    = "agrees"
)

const (
	// EndpointMinimum is how many requests of an endpoint there have to be before it
	// says anything. Endpoints with a share of the traffic above smallShare are waited for.
	EndpointMinimum = 20
	smallShare      = 0.05
)

// CannotTell is what the reason ends with where pairs are undecided.
const CannotTell = "differ in what cannot be told from noise"

// unfitReasons are those for which an answer is skipped that say nothing against the
// verdict: there was nothing to compare.
var unfitReasons = map[string]bool{Stream: true, LiveBroken: true, Conditional: true}

// State returns the state of the comparison, and why it is not a better one. ill says
// what is wrong with the shadow of late; "" if it is well.
func (a *Account) State(now time.Time, ill string) (state string, reasons []string) {
	reasons = nil
	if a.Compared == 0 {
		return StateNone, reasons
	}
	if reasons = a.tooEarly(); len(reasons) > 0 {
		return StateEarly, reasons
	}
	if a.Real > 0 {
		return StateDiffers, reasons
	}
	if reasons = a.doubts(now, ill); len(reasons) > 0 {
		return StateUndecided, reasons
	}
	return StateAgrees, reasons
}

// tooEarly returns what there is too little of.
func (a *Account) tooEarly() []string {
	var reasons []string
	if a.Compared < a.Minimum {
		reasons = append(reasons, fmt.Sprintf("%d of %d pairs that it takes", a.Compared, a.Minimum))
	}
	all := a.requests()
	for i := range a.Endpoints {
		e := &a.Endpoints[i]
		if n := e.Requests(); n < EndpointMinimum && float64(n) > smallShare*float64(all) {
			reasons = append(reasons, fmt.Sprintf("%s: %d of %d requests that it takes", e.Name, n, EndpointMinimum))
		}
	}
	return reasons
}

// EnoughIn returns in how many seconds there will be enough pairs, if they go on coming as
// they have since the comparison began; false where there are enough, or none come.
func (a *Account) EnoughIn(now time.Time) (seconds float64, known bool) {
	past := now.Sub(a.Since).Seconds()
	if a.Compared == 0 || past <= 0 {
		return 0, false
	}
	seconds = 0
	if left := a.Minimum - a.Compared; left > 0 {
		seconds = float64(left) * past / float64(a.Compared)
	}
	all := a.requests()
	for i := range a.Endpoints {
		n := a.Endpoints[i].Requests()
		if n < EndpointMinimum && float64(n) > smallShare*float64(all) {
			seconds = math.Max(seconds, float64(EndpointMinimum-n)*past/float64(n))
		}
	}
	return seconds, seconds > 0
}

func (a *Account) requests() int64 {
	var n int64
	for i := range a.Endpoints {
		n += a.Endpoints[i].Requests()
	}
	return n
}

// doubts returns why nobody knows whether the answers agree.
func (a *Account) doubts(now time.Time, ill string) []string {
	var reasons []string
	if a.Undecided > 0 {
		reasons = append(reasons, fmt.Sprintf("%d pairs %s", a.Undecided, CannotTell))
	}
	for i := range a.Differences {
		if d := &a.Differences[i]; d.Alike {
			reasons = append(reasons, d.Endpoint+" "+d.Key+": the control differs from live in the same way: is it live's version, with live's data?")
			break
		}
	}
	all := a.requests()
	for i := range a.Endpoints {
		e := &a.Endpoints[i]
		n := e.Requests()
		if n < EndpointMinimum {
			continue
		}
		if e.Name == others && float64(n) > smallShare*float64(all) {
			reasons = append(reasons, "more than 5% of the requests are to endpoints that are not told apart")
		}
		left, why := e.left()
		if e.Compared == 0 && left > 0 {
			reasons = append(reasons, e.Name+": never compared ("+why+")")
		} else if float64(left) > smallShare*float64(n) {
			reasons = append(reasons, fmt.Sprintf("%s: %d of %d not compared (%s)", e.Name, left, n, why))
		}
	}
	if ill != "" {
		reasons = append(reasons, ill)
	}
	if a.MaxAge > 0 && now.Sub(a.Latest) > a.MaxAge {
		reasons = append(reasons, "no pair for "+now.Sub(a.Latest).Round(time.Second).String())
	}
	return reasons
}

// left returns how many requests of an endpoint were left out that should not be, and the
// most frequent reason.
func (e *Endpoint) left() (int64, string) {
	var left, most int64
	why := ""
	for _, counts := range []map[string]int64{e.Skipped, e.Dropped} {
		for reason, n := range counts {
			if unfitReasons[reason] {
				continue
			}
			left += n
			if n > most || n == most && reason < why {
				most = n
				why = reason
			}
		}
	}
	return left, why
}

// State returns the state of one endpoint.
func (e *Endpoint) State() string {
	left, _ := e.left()
	switch {
	case e.Real > 0:
		return StateDiffers
	case e.Requests() < EndpointMinimum:
		return StateEarly
	case e.Undecided > 0 || float64(left) > smallShare*float64(e.Requests()):
		return StateUndecided
	case e.Compared == 0:
		return StateNone
	}
	return StateAgrees
}
