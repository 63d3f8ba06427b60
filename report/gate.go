package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// A Question is what somebody wants to know of the gate, such as a pipeline: whether one
// middleware's comparison is good enough.
type Question struct {
	Middleware string // its name, with its provider or without; "": the only one
	Endpoint   string // as the report names it; "": all together
	Allowed    compare.Allowances
	Lost       *compare.Allowance // of the copies; nil: whatever is lost
	Always200  bool               // the answer says it all, and not its status

	// Mistakes are those in the question. While there are any, it has no other answer.
	Mistakes []string
}

// A Gate is the answer. It passes where the state is agrees, and nowhere else.
type Gate struct {
	Pass     bool     `json:"pass"`
	State    string   `json:"state"`    // as in Comparison, with what is allowed; none where there is nothing to judge
	Headline string   `json:"headline"` // in one line
	Reasons  []string `json:"reasons"`  // why it does not pass

	Middleware string `json:"middleware"` // with its provider; as it was asked for where it is not known
	Endpoint   string `json:"endpoint"`   // "": all together
	Epoch      string `json:"epoch"`      // as in Comparison

	// As in Comparison, of what is judged; copies are known of the whole middleware only.
	Compared  int64 `json:"compared"`
	Agreeing  int64 `json:"agreeing"`
	Real      int64 `json:"real"`
	Undecided int64 `json:"undecided"`
	Noise     int64 `json:"noise"`
	Ignored   int64 `json:"ignored"`
	Mirrored  int64 `json:"mirrored"`
	Lost      int64 `json:"lost"`

	P99 P99 `json:"p99"`

	// As in Document.
	Instance  string    `json:"instance"`
	Since     time.Time `json:"since"`
	Generated time.Time `json:"generated"`

	Status     int `json:"-"` // of HTTP
	RetryAfter int `json:"-"` // in how many seconds to ask again; 0: that is of no use
}

// P99 is how long 99 of 100 pairs took at most, in seconds: live, the shadow, and the shadow
// less live, pair by pair.
type P99 struct {
	Live       float64 `json:"live"`
	Shadow     float64 `json:"shadow"`
	Difference float64 `json:"difference"`
}

// In how many seconds to ask again.
const (
	leastWait   = 1
	mostWait    = 300
	unknownWait = 10 // where nobody knows
)

// mostNamed is how many things of one kind are named in reasons.
const mostNamed = 5

// A parameter of a question.
type parameter struct {
	name  string
	takes string
	read  func(q *Question, text string) bool
}

// parameters are those of the gate.
var parameters = []parameter{
	{"middleware", "the name of one, such as shadow-billing or shadow-billing@docker", readMiddleware},
	{"endpoint", "an endpoint as the report names it, such as GET /invoices/*", readEndpoint},
	{"min", "a number of pairs, 1 or more", readMinimum},
	{"max-real", takesAllowance, readReal},
	{"max-undecided", takesAllowance, readUndecided},
	{"max-lost", takesAllowance, readLost},
	{"max-slower", "a time such as 50ms, a ratio from 1.0 to 10.0 such as 1.2, or a share such as 20%", readSlower},
	{"always200", "true or false", readAlways200},
}

const takesAllowance = "a number such as 3, or a share such as 0.5% or 0.005"

func readMiddleware(q *Question, text string) bool {
	q.Middleware = text
	return text != ""
}

func readEndpoint(q *Question, text string) bool {
	q.Endpoint = text
	return text != ""
}

func readMinimum(q *Question, text string) bool {
	n, ok := readCount(text)
	q.Allowed.Minimum = n
	return ok && n > 0
}

func readReal(q *Question, text string) bool {
	l, ok := readAllowance(text)
	q.Allowed.Real = l
	return ok
}

func readUndecided(q *Question, text string) bool {
	l, ok := readAllowance(text)
	q.Allowed.Undecided = l
	return ok
}

func readLost(q *Question, text string) bool {
	l, ok := readAllowance(text)
	q.Lost = &l
	return ok
}

func readAlways200(q *Question, text string) bool {
	q.Always200 = text == "true"
	return text == "true" || text == "false"
}

var (
	wholeNumber   = regexp.MustCompile(`^[0-9]{1,12}$`)
	decimalNumber = regexp.MustCompile(`^[0-9]{0,12}(\.[0-9]{1,12})?$`)
)

func readCount(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && wholeNumber.MatchString(text)
}

// readDecimal reads a number without a sign or an exponent.
func readDecimal(text string) (float64, bool) {
	x, err := strconv.ParseFloat(text, 64)
	return x, err == nil && decimalNumber.MatchString(text)
}

// readAllowance reads a number of pairs, or a share. What could be either, as 1.0 could, is
// neither.
func readAllowance(text string) (compare.Allowance, bool) {
	if n, ok := readCount(text); ok {
		return compare.Allowance{Pairs: n}, true
	}
	if number, found := strings.CutSuffix(text, "%"); found {
		x, ok := readDecimal(number)
		return compare.Allowance{Share: x / 100}, ok && x <= 100
	}
	x, ok := readDecimal(text)
	return compare.Allowance{Share: x}, ok && x < 1
}

// readSlower reads by how much the shadow may be slower. A number without a unit is no
// time, and a ratio has a point: 50 was meant to be 50ms, and 0.2 to be 20%.
func readSlower(q *Question, text string) bool {
	s := &compare.Slower{}
	q.Allowed.Slower = s
	if number, found := strings.CutSuffix(text, "%"); found {
		x, ok := readDecimal(number)
		s.Ratio = 1 + x/100
		return ok && x <= 900
	}
	if x, ok := readDecimal(text); ok {
		s.Ratio = x
		return strings.Contains(text, ".") && x >= 1 && x <= 10
	}
	by, err := time.ParseDuration(text)
	s.By = by
	return err == nil && by >= 0 && by <= time.Hour
}

// ReadQuery reads a query, in which a % at the end of a value is one, as in max-real=0.5%:
// a shell does not escape it.
func ReadQuery(raw string) (url.Values, error) {
	raw = strings.ReplaceAll(raw, "%&", "%25&")
	if strings.HasSuffix(raw, "%") {
		raw += "25"
	}
	return url.ParseQuery(raw)
}

// NewQuestion reads the parameters of a question.
func NewQuestion(values url.Values) *Question {
	q := &Question{Mistakes: []string{}}
	known := map[string]bool{}
	for _, p := range parameters {
		known[p.name] = true
		given := values[p.name]
		if len(given) > 1 {
			q.mistake(p.name + " is given more than once")
		}
		if len(given) == 1 && !p.read(q, given[0]) {
			q.mistake(p.name + "=" + asked(given[0]) + ": " + p.name + " takes " + p.takes)
		}
	}
	var unknown []string
	for name := range values {
		if !known[name] {
			unknown = append(unknown, asked(name))
		}
	}
	sort.Strings(unknown)
	if len(unknown) > 0 {
		q.mistake("there is no parameter " + firstFew(unknown) + ", but " + parameterNames(parameters))
	}
	return q
}

func (q *Question) mistake(text string) { q.Mistakes = append(q.Mistakes, text) }

func parameterNames(list []parameter) string {
	var all []string
	for _, p := range list {
		all = append(all, p.name)
	}
	return strings.Join(all, ", ")
}

// asked is what somebody has written, in quotes, and not all of what is long.
func asked(text string) string {
	if len(text) > 80 {
		text = text[:80] + "…"
	}
	return strconv.Quote(text)
}

// firstFew is the first few of a list, and how many others there are.
func firstFew(list []string) string {
	if len(list) <= mostNamed {
		return strings.Join(list, ", ")
	}
	return strings.Join(list[:mostNamed], ", ") + " and " + strconv.Itoa(len(list)-mostNamed) + " more"
}

// Answer answers a question by what there was to know at the document's moment.
func (d *Document) Answer(q *Question) *Gate {
	g := &Gate{
		State: compare.StateNone, Reasons: []string{}, Middleware: q.Middleware, Endpoint: q.Endpoint,
		Instance: d.Instance, Since: d.Since, Generated: d.Generated,
	}
	d.answer(g, q)
	if g.Reasons == nil {
		g.Reasons = []string{}
	}
	if g.Headline == "" && len(g.Reasons) > 0 {
		g.Headline = g.Reasons[0]
	}
	g.Pass = g.Status == http.StatusOK
	if q.Always200 {
		g.Status = http.StatusOK
	}
	return g
}

// answer fills in all but what is in every answer.
func (d *Document) answer(g *Gate, q *Question) {
	if len(q.Mistakes) > 0 {
		g.refuse(http.StatusBadRequest, q.Mistakes...)
		return
	}
	found, named := d.named(q.Middleware)
	switch {
	case len(found) > 1 && q.Middleware == "":
		g.refuse(http.StatusBadRequest, "middleware is missing: there are "+firstFew(named))
	case len(found) > 1:
		g.refuse(http.StatusBadRequest, "middleware="+asked(q.Middleware)+" may be any of "+firstFew(named))
	case len(found) == 1:
		g.judge(found[0], q)
	case len(named) == 0:
		g.refuse(http.StatusServiceUnavailable, "there is no middleware that mirrors yet")
	default:
		g.refuse(http.StatusServiceUnavailable, "there is no middleware "+asked(q.Middleware)+" yet, but "+firstFew(named))
	}
}

// refuse answers no for other reasons than what was compared.
func (g *Gate) refuse(status int, reasons ...string) {
	g.Status = status
	g.Reasons = append(g.Reasons, reasons...)
	if status == http.StatusServiceUnavailable {
		g.RetryAfter = unknownWait
	}
}

// named returns the middlewares that a name may mean, and the names of those; where there
// are none, of all.
func (d *Document) named(name string) (found []*Middleware, named []string) {
	found = nil
	named = nil
	var all []string
	for _, m := range d.Middlewares {
		short, _, _ := strings.Cut(m.Name, "@")
		all = append(all, m.Name)
		if m.Name == name {
			return []*Middleware{m}, []string{name}
		}
		if name == "" || short == name {
			found = append(found, m)
			named = append(named, m.Name)
		}
	}
	if len(found) == 0 {
		named = all
	}
	return found, named
}

// judge answers for a middleware.
func (g *Gate) judge(m *Middleware, q *Question) {
	g.Middleware = m.Name
	a := m.Account
	switch {
	case m.ConfigErrors > 0:
		g.refuse(http.StatusConflict, m.ill()+": "+firstFew(m.Mistakes))
		return
	case a == nil:
		g.refuse(http.StatusConflict, "its answers are not compared: the options have no compare")
		return
	}
	g.Epoch = m.Comparison.Epoch
	g.Mirrored = m.Comparison.Mirrored
	g.Lost = m.Comparison.Lost
	of := a
	if q.Endpoint != "" {
		of = a.Of(q.Endpoint)
	}
	if of == nil {
		g.refuse(http.StatusServiceUnavailable, "there was no request to "+asked(q.Endpoint)+" yet, but "+endpointsOf(a))
		return
	}
	g.fill(of)
	ills := illsOf(m, q)
	g.State, g.Reasons = of.StateWith(g.Generated, ills, &q.Allowed)
	g.explain(of, q, ills)
	switch g.State {
	case compare.StateAgrees:
		g.Status = http.StatusOK
	case compare.StateDiffers, compare.StateUndecided:
		g.Status = http.StatusConflict
	default:
		g.Status = http.StatusServiceUnavailable
		g.RetryAfter = retryAfter(a.Wait(g.Generated, of, &q.Allowed))
	}
}

// endpointsOf names those that there are.
func endpointsOf(a *compare.Account) string {
	var list []string
	for i := range a.Endpoints {
		list = append(list, a.Endpoints[i].Name)
	}
	if len(list) == 0 {
		return "none to any other"
	}
	return "to " + firstFew(list)
}

// illsOf are the reasons for doubt that are not the comparison's: how the shadow does of late,
// and what it has lost.
func illsOf(m *Middleware, q *Question) []string {
	var all []string
	if ill := m.ill(); ill != "" {
		all = append(all, ill)
	}
	lost := m.Comparison.Lost
	copies := m.Comparison.Mirrored + lost
	if q.Lost != nil && !q.Lost.Allows(lost, copies) {
		all = append(all, Count(lost)+" of "+plural(copies, "copy", "copies")+" since the comparison began "+word(lost, "is", "are")+" lost ("+percent(lost, copies)+"), and "+allowedText(*q.Lost)+" allowed")
	}
	return all
}

// fill fills in the numbers.
func (g *Gate) fill(a *compare.Account) {
	g.Compared = a.Compared
	g.Agreeing = a.Agreeing()
	g.Real = a.Real
	g.Undecided = a.Undecided
	g.Noise = a.Noise
	g.Ignored = a.Ignored
	g.P99 = P99{Live: a.Live.Quantile(0.99).Seconds(), Shadow: a.Shadow.Quantile(0.99).Seconds(), Difference: a.Difference.Quantile(0.99).Seconds()}
}

// explain completes the reasons, and says in one line what came out.
func (g *Gate) explain(a *compare.Account, q *Question, ills []string) {
	c := &Comparison{State: g.State, Reasons: g.Reasons, Skipped: a.Skipped, Compared: g.Compared, Agreeing: g.Agreeing, Real: g.Real, Undecided: g.Undecided, Noise: g.Noise}
	different := !q.Allowed.Real.Allows(g.Real, g.Compared)
	unknown := !q.Allowed.Undecided.Allows(g.Undecided, g.Compared)
	switch g.State {
	case compare.StateNone:
		g.Reasons = append([]string{"nothing is compared yet"}, a.LeftOut()...)
		g.Reasons = append(g.Reasons, ills...)
	case compare.StateEarly:
		g.Reasons = append(g.Reasons, ills...)
	case compare.StateDiffers:
		if different {
			g.Reasons = append([]string{Count(g.Real) + " of " + plural(g.Compared, "pair", "pairs") + " really " + word(g.Real, "differs", "differ") + " (" + percent(g.Real, g.Compared) + "), and " + allowedText(q.Allowed.Real) + " allowed"}, g.Reasons...)
			g.Reasons = append(g.Reasons, worstOf(a, compare.Real)...)
		}
	case compare.StateUndecided:
		if unknown {
			g.Reasons = append(g.Reasons, worstOf(a, compare.Undecided)...)
		}
	}
	g.Headline = c.headline(strings.Join(ills, "; "))
	if g.State == compare.StateDiffers && !different || g.State == compare.StateUndecided && !unknown {
		g.Headline = percent(g.Agreeing, g.Compared) + " of " + plural(g.Compared, "answer", "answers") + " agree, but " + g.Reasons[0]
	}
}

// worstOf names the most frequent differences of a judgement.
func worstOf(a *compare.Account, judgement string) []string {
	var list []string
	for i := range a.Differences {
		d := &a.Differences[i]
		if d.Judgement != judgement {
			continue
		}
		if len(list) == mostNamed {
			return append(list, "and others")
		}
		text := d.Endpoint + " " + d.Key + " in " + plural(d.Count, "pair", "pairs") + " of " + Count(d.Pairs)
		if d.Relation != "" {
			text += ": " + d.Relation
		}
		list = append(list, text)
	}
	return list
}

// allowedText is what is allowed, with its verb.
func allowedText(l compare.Allowance) string {
	switch {
	case l.Share > 0:
		return strconv.FormatFloat(math.Round(l.Share*1e8)/1e6, 'f', -1, 64) + "% is"
	case l.Pairs == 0:
		return "none is"
	}
	return plural(l.Pairs, "is", "are")
}

// retryAfter is how long to wait before it is asked again.
func retryAfter(d time.Duration) int {
	if d <= 0 {
		return unknownWait
	}
	s := int(math.Ceil(d.Seconds()))
	if s < leastWait {
		return leastWait
	}
	if s > mostWait {
		return mostWait
	}
	return s
}

// WriteGate writes an answer as JSON.
func WriteGate(w io.Writer, g *Gate) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(g); err != nil {
		return fmt.Errorf("the gate's answer: %w", err)
	}
	return nil
}
