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

// SlowMinimum is how many pairs it takes to say how much slower the shadow's p99 is: with
// fewer, that is how long a handful of them took.
const SlowMinimum = 500

// Allowances are what an account may have in it, and count as one that agrees all the same.
// The zero value allows nothing.
type Allowances struct {
	Minimum   int64     // how many pairs it takes; 0: as many as the rules say
	Real      Allowance // pairs that really differ
	Undecided Allowance // pairs of which nobody knows whether they do
	Slower    *Slower   // nil: however slow the shadow is
}

// An Allowance is so many pairs, or such a share of all of them.
type Allowance struct {
	Pairs int64
	Share float64 // 0 to 1
}

// Allows reports whether n of so many are allowed. The little that is added makes up for
// what 0.29 as a floating point number is less.
func (l Allowance) Allows(n, of int64) bool {
	return n <= l.Pairs || float64(n) <= l.Share*float64(of)+1e-9
}

// Slower is by how much the shadow's p99 may be behind live's: a time, by which 99 of 100
// pairs are slower at most; or, if Ratio is not 0, the one p99 as a multiple of the other.
type Slower struct {
	By    time.Duration
	Ratio float64
}

// State returns the state of the comparison, and why it is not a better one. ill says
// what is wrong with the shadow of late; "" if it is well.
func (a *Account) State(now time.Time, ill string) (state string, reasons []string) {
	var ills []string
	if ill != "" {
		ills = append(ills, ill)
	}
	return a.StateWith(now, ills, &Allowances{})
}

// StateWith is State, with something allowed. ills are all reasons for doubt that are not
// the account's.
func (a *Account) StateWith(now time.Time, ills []string, allowed *Allowances) (state string, reasons []string) {
	reasons = nil
	if a.Compared == 0 {
		return StateNone, reasons
	}
	if reasons = a.tooEarly(allowed); len(reasons) > 0 {
		return StateEarly, reasons
	}
	if slow := a.slower(allowed.Slower); slow != "" {
		reasons = append(reasons, slow)
	}
	if len(reasons) > 0 || !allowed.Real.Allows(a.Real, a.Compared) {
		return StateDiffers, reasons
	}
	if reasons = a.doubts(now, ills, allowed); len(reasons) > 0 {
		return StateUndecided, reasons
	}
	return StateAgrees, reasons
}

// minimum is how many pairs it takes.
func (a *Account) minimum(allowed *Allowances) int64 {
	n := a.Minimum
	if allowed.Minimum > 0 {
		n = allowed.Minimum
	}
	if allowed.Slower != nil && n < SlowMinimum {
		n = SlowMinimum
	}
	return n
}

// tooEarly returns what there is too little of.
func (a *Account) tooEarly(allowed *Allowances) []string {
	var reasons []string
	if n := a.minimum(allowed); a.Compared < n {
		reasons = append(reasons, fmt.Sprintf("%d of %d pairs that it takes", a.Compared, n))
	}
	all := a.requests()
	for i := range a.Endpoints {
		e := &a.Endpoints[i]
		if e.tooFew(all) {
			reasons = append(reasons, fmt.Sprintf("%s: %d of %d requests that it takes", e.Name, e.Requests(), EndpointMinimum))
		}
	}
	return reasons
}

// tooFew reports whether an endpoint is waited for: it has few requests, and a share of all
// that is not small.
func (e *Endpoint) tooFew(all int64) bool {
	n := e.Requests()
	return n < EndpointMinimum && float64(n) > smallShare*float64(all)
}

// slower says by how much the shadow is slower, if that is more than is allowed.
func (a *Account) slower(allowed *Slower) string {
	if allowed == nil {
		return ""
	}
	if allowed.Ratio == 0 {
		if by := a.Difference.Quantile(0.99); by > allowed.By {
			return fmt.Sprintf("the shadow's p99 is %s slower than live's, pair by pair, and %s is allowed", rounded(by), allowed.By)
		}
		return ""
	}
	live := a.Live.Quantile(0.99)
	shadow := a.Shadow.Quantile(0.99)
	if float64(shadow) > allowed.Ratio*float64(live) {
		return fmt.Sprintf("the shadow's p99 is %s and live's %s, and %g times that is allowed", rounded(shadow), rounded(live), allowed.Ratio)
	}
	return ""
}

// rounded is a duration with no more digits than are known.
func rounded(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}

// Wait is about how long it takes until there is enough to judge of: the account, or one of
// its endpoints, as Of returns it. It goes by how many pairs there were of late; 0: there
// were none, so nobody knows.
func (a *Account) Wait(now time.Time, of *Account, allowed *Allowances) time.Duration {
	rate := a.rate(now)
	if rate == 0 || of.Compared == 0 {
		return 0
	}
	// What is asked for comes as often as it has come so far.
	seconds := float64(of.minimum(allowed)-of.Compared) / (rate * float64(of.Compared) / float64(a.Compared))
	all := of.requests()
	for i := range of.Endpoints {
		e := &of.Endpoints[i]
		if n := e.Requests(); e.tooFew(all) {
			seconds = math.Max(seconds, float64(EndpointMinimum-n)/(rate*float64(n)/float64(a.Compared)))
		}
	}
	if seconds <= 0 {
		return 0
	}
	return time.Duration(math.Min(seconds, 1e6) * float64(time.Second))
}

// rateWindow is what of late is, for a rate.
const rateWindow = 5 * time.Minute

// rate is how many pairs came in a second of late.
func (a *Account) rate(now time.Time) float64 {
	var pairs int64
	began := now
	for i := len(a.Intervals) - 1; i >= 0; i-- {
		interval := a.Intervals[i]
		if now.Sub(interval.Start) > rateWindow+a.Width {
			break
		}
		pairs += interval.Compared
		began = interval.Start
	}
	if took := now.Sub(began).Seconds(); pairs > 0 && took > 0 {
		return float64(pairs) / math.Max(took, 1)
	}
	return 0
}

// Of returns the account of one endpoint alone; nil if there is none of that name. It has
// no intervals and no statuses.
func (a *Account) Of(endpoint string) *Account {
	for i := range a.Endpoints {
		e := &a.Endpoints[i]
		if e.Name == endpoint {
			return a.only(e)
		}
	}
	return nil
}

func (a *Account) only(e *Endpoint) *Account {
	one := &Account{
		Since: a.Since, Latest: e.Latest, Epoch: a.Epoch, Show: a.Show, Minimum: a.Minimum, MaxAge: a.MaxAge,
		Compared: e.Compared, Skipped: e.Skipped, Real: e.Real, Undecided: e.Undecided, Noise: e.Noise, Ignored: e.Ignored,
		Live: e.Live, Shadow: e.Shadow, Difference: e.Difference, Endpoints: []Endpoint{*e},
	}
	for i := range a.Differences {
		if a.Differences[i].Endpoint == e.Name {
			one.Differences = append(one.Differences, a.Differences[i])
		}
	}
	return one
}

func (a *Account) requests() int64 {
	var n int64
	for i := range a.Endpoints {
		n += a.Endpoints[i].Requests()
	}
	return n
}

// doubts returns why nobody knows whether the answers agree.
func (a *Account) doubts(now time.Time, ills []string, allowed *Allowances) []string {
	var reasons []string
	few := allowed.Undecided.Allows(a.Undecided, a.Compared)
	if !few {
		reasons = append(reasons, fmt.Sprintf("%d pairs %s", a.Undecided, CannotTell))
	}
	// Pairs that are allowed may differ in this.
	if !few || a.Undecided == 0 {
		reasons = a.addAlike(reasons)
	}
	reasons = append(reasons, a.LeftOut()...)
	reasons = append(reasons, ills...)
	if a.MaxAge > 0 && now.Sub(a.Latest) > a.MaxAge {
		reasons = append(reasons, "no pair for "+now.Sub(a.Latest).Round(time.Second).String())
	}
	return reasons
}

// addAlike adds the question that there is where the control differs as the shadow does.
func (a *Account) addAlike(reasons []string) []string {
	for i := range a.Differences {
		if d := &a.Differences[i]; d.Alike {
			return append(reasons, d.Endpoint+" "+d.Key+": the control differs from live in the same way: is it live's version, with live's data?")
		}
	}
	return reasons
}

// LeftOut returns which requests were not compared that should have been, and why.
func (a *Account) LeftOut() []string {
	var reasons []string
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
