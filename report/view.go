package report

import (
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// How much of a document the page shows. All of it is in report.json.
const (
	shownDifferences = 40 // that are real
	shownOthers      = 15 // of each other judgement
	shownEndpoints   = 20
	shownRules       = 300 // that take noise away
	shownExamples    = 2   // of a difference that is real; of others one
	shownStatuses    = 10  // of each side, the most frequent
	shownText        = 400 // bytes of one value
	shownMirrors     = 200 // in the overview
)

// longWait is how long copies may wait for one another before the page warns, in seconds.
const longWait = 1

// refreshAfter is how often the page loads itself anew, in seconds.
const refreshAfter = 10

// A view is what the page shows of a document, as the template has it: text, and the
// geometry of charts. There are no methods for the template to call, because interpreted
// it sees none.
type view struct {
	Title     string
	Generated moment
	Instance  string // who speaks, for itself only
	Since     moment
	Refresh   int    // in seconds; 0: not by itself
	Pause     string // where it does not load itself anew, or does again
	Again     string // the same look once more

	None    bool         // there is no mirror
	Unknown bool         // the address names what there is not
	Home    string       // leads to the overview; "" where it is this, or there is none
	Mirrors []listedView // of the overview; nil where a mirror's page is shown
	More    string       // how many are not shown; "" if none
	Mirror  *mirrorView  // nil in the overview
}

// A listedView is a mirror as the overview has it.
type listedView struct {
	Name, Link, Headline, Lost string
	Status                     status
	rank                       int
}

// A mirrorView is what the page says of one middleware.
type mirrorView struct {
	Name     string
	Shadow   string
	Share    string // of the requests, that is mirrored
	Status   status
	Headline string

	Mistakes []string
	Next     string   // what to do now
	Option   string   // to give the middleware, where that is what to do
	Reasons  []string // why the state is not a better one
	Warnings []string // what else to know before one decides
	Facts    []fact   // what everybody wants to know first

	Endpoint      string // the only one that is shown; "": all
	AllEndpoints  string // where all are
	Endpoints     []endpointView
	MoreEndpoints string // how many are not shown; "" if none
	Sorts         []differencesView
	Hint          string // how values are shown
	Examples      string // where all of them are, for scripts
	Agreement     *agreementChart
	AgreementRows unfolding
	Latency       *latencyView
	Statuses      *statusView

	Since  moment // when counting began
	Counts []fact
	Losses []tally
}

// An unfolding is a part of the page that is folded unless its address says otherwise.
type unfolding struct {
	ID   string
	Open bool
	Link string // opens it, or closes it
}

// A status is the plainest thing that can be said of a mirror.
type status struct {
	Word  string
	Class string // its colour
	Shape string // the path of its sign, 16 by 16
	rank  int    // the worst is the highest
}

var (
	mistaken    = status{Word: "Not mirroring", Class: "bad", Shape: "M3.5 3.5 12.5 12.5M12.5 3.5 3.5 12.5", rank: 9}
	differs     = status{Word: "Differs", Class: "bad", Shape: "M2.5 5.5H13.5M2.5 10.5H13.5M11.5 2 4.5 14", rank: 8}
	failing     = status{Word: "Failing", Class: "bad", Shape: "M8 2.5V9M8 13V13.5", rank: 7}
	pausing     = status{Word: "Paused", Class: "warn", Shape: "M5 2.5V13.5M11 2.5V13.5", rank: 6}
	undecided   = status{Word: "Undecided", Class: "warn", Shape: "M5 6V4L8 2.5 11 4V6L8 8.5V10.5M8 13V13.5", rank: 5}
	early       = status{Word: "Too early", Class: "calm", Shape: "M8 2.5V8L11.5 10.5", rank: 4}
	nothingYet  = status{Word: "Nothing yet", Class: "calm", Shape: "M3 8V8.1M8 8V8.1M13 8V8.1", rank: 3}
	removed     = status{Word: "Removed", Class: "calm", Shape: "M2.5 4H13.5M6 4V2.5H10V4M4.5 4 5.5 13.5H10.5L11.5 4", rank: 2}
	notCompared = status{Word: "Not comparing", Class: "calm", Shape: "M3 8H13", rank: 2}
	agrees      = status{Word: "Agrees", Class: "good", Shape: "M2.5 8.5 6.5 12.5 13.5 3.5", rank: 1}

	// stateStatus is what is said of the states of comparisons.
	stateStatus = map[string]status{
		compare.StateNone: nothingYet, compare.StateEarly: early, compare.StateDiffers: differs,
		compare.StateUndecided: undecided, compare.StateAgrees: agrees,
	}
)

// A fact is one number, or one word.
type fact struct{ Name, Value, Note, Class string }

// A tally is what was counted by reason.
type tally struct {
	Title string
	Rows  []tallyRow
}

type tallyRow struct{ Name, Count, Meaning string }

type latencyView struct {
	Rows       []quantileRow
	Compares   bool // live is measured too
	Difference bool
	Tail       *tailChart
	TailRows   unfolding
}

// An endpointView is a row of the endpoints.
type endpointView struct {
	Name, Link         string
	Current            bool // it is the only one that is shown
	Status             status
	Compared, Requests string
	Left               string // why the others were not, in short
	Real, Undecided    string
	RealLink           string // "" where there are none
	Live, Shadow       string // p50
}

// A statusView is how often live answered with the status of the row and the
// shadow with that of the column.
type statusView struct {
	Columns []string
	Rows    []statusRow
}

type statusRow struct {
	Live  string
	Cells []statusCell
}

type statusCell struct{ Count, Class string }

// newView returns what of the document the query of the page's address asks for.
func newView(d *Document, query url.Values) *view {
	l := newLook(d, query)
	v := &view{
		Title: "Mirror report", Generated: newMoment(d.Generated, d.Generated), Instance: text(d.Instance), Since: newMoment(d.Since, d.Generated),
		Refresh: refreshAfter, Pause: l.refreshed(true), Again: l.address(), None: len(d.Middlewares) == 0, Unknown: l.unknown,
	}
	if l.paused {
		v.Refresh = 0
		v.Pause = l.refreshed(false)
	}
	if l.middleware != "" {
		m := d.Middleware(l.middleware)
		if len(d.Middlewares) > 1 || l.unknown {
			v.Home = "?"
		}
		v.Mirror = newMirrorView(m, l, d.Generated)
		v.Title = v.Mirror.Status.Word + ": " + v.Mirror.Name + " – Mirror report"
		return v
	}
	if l.unknown {
		v.Home = "?"
	}
	for _, m := range d.Middlewares {
		v.Mirrors = append(v.Mirrors, newListedView(m, l))
	}
	sort.SliceStable(v.Mirrors, func(i, j int) bool { return v.Mirrors[i].rank > v.Mirrors[j].rank })
	if n := len(v.Mirrors); n > 0 {
		v.Title = overviewTitle(v.Mirrors)
		if n > shownMirrors {
			v.Mirrors = v.Mirrors[:shownMirrors]
			v.More = plural(int64(n-shownMirrors), "more is", "more are")
		}
	}
	return v
}

// overviewTitle says how the worst of the mirrors do.
func overviewTitle(worstFirst []listedView) string {
	worst := worstFirst[0].Status.Word
	n := 0
	for _, m := range worstFirst {
		if m.Status.Word == worst {
			n++
		}
	}
	return worst + ": " + Count(int64(n)) + " of " + plural(int64(len(worstFirst)), "mirror", "mirrors") + " – Mirror report"
}

func newListedView(m *Middleware, l *look) listedView {
	s := statusOf(m)
	return listedView{Name: text(m.Name), Link: l.at(m.Name), Headline: headlineOf(m), Lost: Losses(m.Mirrored, m.Lost, Count), Status: s, rank: s.rank}
}

// headlineOf is what is said of a mirror in one line.
func headlineOf(m *Middleware) string {
	switch {
	case m.ConfigErrors > 0:
		return plural(int64(m.ConfigErrors), "mistake", "mistakes") + " in the options: nothing is mirrored"
	case m.Comparison == nil:
		return "answers are not compared; " + plural(m.Mirrored, "request", "requests") + " mirrored"
	}
	return m.Comparison.Headline
}

// statusOf says how a mirror does. Where answers were compared it is the headline in a
// word; what is wrong with the shadow is a reason of its state, or a warning.
func statusOf(m *Middleware) status {
	compared := m.Comparison != nil && m.Comparison.State != compare.StateNone
	switch {
	case m.ConfigErrors > 0:
		return mistaken
	case m.Removed != nil && !compared:
		return removed
	case m.State.Paused && !compared:
		return pausing
	case m.State.Failing && !compared:
		return failing
	case m.Comparison == nil:
		return notCompared
	}
	return stateStatus[m.Comparison.State]
}

func newMirrorView(m *Middleware, l *look, now time.Time) *mirrorView {
	v := &mirrorView{
		Name: text(m.Name), Shadow: text(m.Shadow), Status: statusOf(m), Headline: headlineOf(m), Since: newMoment(m.Since, now),
		Next: nextStep(m), Warnings: warnings(m), Facts: firstFacts(m, now), Counts: facts(m),
	}
	if m.Shadow != "" {
		v.Share = strconv.FormatFloat(m.Percent, 'f', -1, 64) + "%"
	}
	for _, mistake := range m.Mistakes {
		v.Mistakes = append(v.Mistakes, text(mistake))
	}
	lost := newTally("Lost", m.Lost, LossReasons, reasonMeanings())
	left := newTally("Not to be mirrored", notLost(m.Dropped), noLosses(), reasonMeanings())
	v.addTallies(lost, left)
	c := m.Comparison
	if m.ConfigErrors > 0 {
		c = nil
	} else if c == nil {
		v.Option = optionLabel(v.Name) + "compare.body=json"
	}
	if c != nil {
		v.compare(m, c, l, now)
	}
	if v.Latency == nil {
		v.Latency = newLatencyView(nil, m.ShadowLatency, nil, l)
	}
	return v
}

// addTallies adds those that have counted anything.
func (v *mirrorView) addTallies(tallies ...tally) {
	for _, t := range tallies {
		if len(t.Rows) > 0 {
			v.Losses = append(v.Losses, t)
		}
	}
}

// compare fills in what comparing has shown.
func (v *mirrorView) compare(m *Middleware, c *Comparison, l *look, now time.Time) {
	v.addTallies(newTally("Mirrored, but not compared", c.Skipped, compare.Reasons, skipMeanings))
	switch c.Show {
	case compare.Hashes:
		v.Hint = "Values are shown as hashes, which are equal for equal values. compare.show: values shows the values."
	case compare.None:
		v.Hint = "Of values only the kind is shown. compare.show: hashes or values shows more."
	}
	for _, reason := range c.Reasons {
		if !strings.HasSuffix(c.Headline, reason) && !strings.HasSuffix(reason, compare.CannotTell) { // it says so already
			v.Reasons = append(v.Reasons, text(reason))
		}
	}
	if c.Control != nil {
		v.Reasons = append(v.Reasons, controlReasons(c.Control)...)
	}
	if l.endpoint != "" {
		v.Endpoint = text(l.endpoint)
		v.AllEndpoints = l.of("")
	}
	v.Agreement = newAgreementChart(&c.Timeline, c.Since, now)
	v.AgreementRows = newUnfolding(l, sectionTime)
	v.Latency = newLatencyView(c.Live, c.Shadow, &c.Difference, l)
	for i := range c.Endpoints {
		if i == shownEndpoints {
			v.MoreEndpoints = plural(int64(len(c.Endpoints)-i), "more is", "more are")
			break
		}
		v.Endpoints = append(v.Endpoints, newEndpointView(&c.Endpoints[i], l))
	}
	v.Sorts = newDifferencesViews(m, c, l, now)
	if len(v.Sorts) > 0 {
		v.Examples = "mismatches.ndjson?" + url.Values{"middleware": {m.Name}}.Encode()
	}
	v.Statuses = newStatusView(c.Statuses)
}

func newUnfolding(l *look, section string) unfolding {
	return unfolding{ID: section, Open: l.open[section], Link: l.unfolded(section)}
}

// shownWithout is how many of the endpoints that have no control are named.
const shownWithout = 5

// controlReasons say where the control says nothing.
func controlReasons(c *Control) []string {
	var lines []string
	for i, unfit := range c.Unfit {
		if i == shownWithout {
			break
		}
		lines = append(lines, "The control is unfit at "+text(unfit)+".")
	}
	if len(c.Without) > 0 {
		named := c.Without
		rest := ""
		if len(named) > shownWithout {
			named = named[:shownWithout]
			rest = " and " + plural(int64(len(c.Without)-shownWithout), "other endpoint", "other endpoints")
		}
		lines = append(lines, "Judged without a control: "+text(strings.Join(named, ", "))+rest+".")
	}
	return lines
}

// nextStep is what to do now, for who looks at a mirror.
func nextStep(m *Middleware) string {
	c := m.Comparison
	switch {
	case m.ConfigErrors > 0:
		return "Put these options right. Live is served as without the mirror until then; a middleware with serve answers 500."
	case m.Removed != nil:
		return "No router uses this middleware any more. If one should: look at the routers' middlewares. What was counted is kept for an hour."
	case m.State.Paused:
		return "See to the shadow: it kept failing and is left alone, but for a probe now and then. Mirroring goes on by itself once it answers."
	case m.State.Failing:
		return "See to the shadow: of late it fails too often."
	case m.Mirrored+m.LostTotal+m.InFlight+total(m.Dropped) == 0:
		return "No request has come by yet. Is the middleware in a router's list of middlewares, and does traffic reach that router?"
	case m.Eligible == 0 && m.InFlight == 0:
		return "Requests come, and none of them is to be mirrored: see below why."
	case c == nil:
		return "To compare the answers of live and the shadow, give the middleware the option compare. As a label:"
	}
	switch c.State {
	case compare.StateNone:
		if total(c.Skipped) > 0 {
			return "Answers come, and none could be compared: see below why."
		}
		if m.Mirrored+m.InFlight == 0 {
			return "Requests come, and none of them is mirrored: see below why."
		}
		return "Wait for the first answers."
	case compare.StateEarly:
		if c.EnoughIn != nil {
			return "Wait: at the rate so far there are enough in about " + about(*c.EnoughIn) + "."
		}
		return "Wait for more requests."
	case compare.StateDiffers:
		return "See what really differs. What is meant to, leave out with its line for compare.ignore."
	case compare.StateUndecided:
		if c.Undecided == 0 {
			return "What is below has to be seen to before the answers can be said to agree."
		}
		return "Decide what is undecided: the differences below say how."
	}
	return "Look at the endpoints: what nobody asked for was not compared."
}

// waysToDecide are those of what is undecided.
func waysToDecide(c *Comparison) string {
	const rule = "where a difference is meant, leave it out with its line for compare.ignore; "
	switch {
	case c.Control == nil:
		return rule + "or have a second instance of the old version as compare.control, which tells noise from mistakes."
	case len(c.Control.Unfit) > 0:
		return rule + "or see to the control, which answers with another status than live: has it live's version, and live's data?"
	}
	return rule + "or let the control see more requests (compare.controlMethods)."
}

// firstFacts are what an operator wants to know first.
func firstFacts(m *Middleware, now time.Time) []fact {
	var list []fact
	c := m.Comparison
	if c != nil {
		all := c.Compared + total(c.Skipped)
		since := "since " + stamp(c.Since) + " (" + ago(now.Sub(c.Since)) + ")"
		f := fact{Name: "Compared", Value: plural(c.Compared, "pair", "pairs"), Note: percent(c.Compared, all) + " of the answers, " + since}
		if c.Compared == 0 {
			f.Value = "none"
			f.Note = since
		}
		if c.Epoch != "" {
			f.Note += ", " + text(c.Epoch)
		}
		list = append(list, f)
	}
	lost := fact{Name: "Lost", Value: "none", Note: "of " + plural(m.Mirrored, "request", "requests") + " that were to be mirrored"}
	if m.LostTotal > 0 {
		figure, why, _ := strings.Cut(Losses(m.Mirrored, m.Lost, Count), " lost ")
		lost = fact{Name: "Lost", Value: figure, Note: strings.Trim(why, "()"), Class: "warn"}
	}
	list = append(list, lost, shadowFact(m, now))
	if c != nil && c.Control != nil {
		list = append(list, controlFact(c.Control))
	}
	if c != nil && c.Compared > 0 {
		list = append(list, latencyFact(c))
	}
	if s := m.Sequence; s != nil && s.Waiting > 0 {
		list = append(list, fact{Name: "Waiting", Value: plural(s.Waiting, "copy", "copies"), Note: "for the one before, for up to " + Duration(s.LongestWait)})
	}
	if c != nil && c.Previous != nil {
		list = append(list, previousFact(c.Previous))
	}
	return list
}

// shadowFact says how the shadow does now.
func shadowFact(m *Middleware, now time.Time) fact {
	f := fact{Name: "Shadow", Value: "answers"}
	switch {
	case m.Removed != nil:
		f.Value = "gone"
		f.Class = "warn"
		f.Note = "no router uses the middleware since " + stamp(*m.Removed) + " (" + ago(now.Sub(*m.Removed)) + ")"
	case m.Shadow == "":
		f.Value = "none"
		f.Class = "bad"
	case m.State.Paused:
		f.Value = "paused"
		f.Class = "bad"
		if m.State.PausedSince != nil {
			f.Note = "since " + stamp(*m.State.PausedSince) + " (" + ago(now.Sub(*m.State.PausedSince)) + ")"
		}
	case m.State.Failing:
		f.Value = "fails"
		f.Class = "bad"
		f.Note = Count(m.State.Recent.Failed) + " of " + plural(m.State.Recent.Answered+m.State.Recent.Failed, "request", "requests") + " of late"
	case m.Mirrored == 0 && m.LostTotal == 0:
		f.Value = "not asked yet"
	}
	if m.State.LastError != "" {
		if f.Note != "" {
			f.Note += "; "
		}
		f.Note += "last error"
		if m.State.LastErrorAt != nil {
			f.Note += " " + ago(now.Sub(*m.State.LastErrorAt))
		}
		f.Note += ": " + text(m.State.LastError)
	}
	return f
}

// controlFact says how the control does now.
func controlFact(c *Control) fact {
	f := fact{Name: "Control", Value: "answers", Note: Count(c.Answered) + " of " + plural(c.Answered+c.Failed+c.Skipped, "request", "requests") + " answered"}
	switch {
	case c.Paused:
		f.Value = "paused"
		f.Class = "warn"
	case len(c.Unfit) > 0:
		f.Value = "unfit at " + plural(int64(len(c.Unfit)), "endpoint", "endpoints")
		f.Class = "warn"
	case c.Answered == 0:
		f.Value = "not asked yet"
		if c.Failed > 0 {
			f.Value = "fails"
			f.Class = "warn"
		}
	}
	if c.Failed > 0 {
		f.Note += ", " + Count(c.Failed) + " failed"
	}
	if c.Skipped > 0 {
		f.Note += ", " + Count(c.Skipped) + " not sent while it was left alone"
	}
	if c.LastError != "" {
		f.Note += "; last error: " + text(c.LastError)
	}
	f.Note += "; " + text(c.URL)
	return f
}

// latencyFact is how much slower the shadow is than live, pair by pair.
func latencyFact(c *Comparison) fact {
	f := fact{Name: "Latency", Value: signed(c.Difference.P50, c.Difference.Slower["p50"]), Note: "half of the pairs"}
	if c.Difference.Slower["p50"] == Chance {
		f.Value = "no difference"
		f.Note = "beyond chance, in half of the pairs"
	}
	if slower := c.Difference.Slower["p99"]; slower == Slower || slower == Faster {
		f.Note += "; " + signed(c.Difference.P99, slower) + " in one of a hundred"
	}
	return f
}

// previousFact is the comparison before.
func previousFact(p *Epoch) fact {
	name := "the comparison before"
	if p.Name != "" {
		name = text(p.Name)
	}
	value := "no real difference"
	if p.Real > 0 {
		value = plural(p.Real, "pair really differs", "pairs really differ")
	} else if p.Undecided > 0 {
		value = plural(p.Undecided, "pair is undecided", "pairs are undecided")
	}
	return fact{Name: "Before", Value: value, Note: "of " + plural(p.Compared, "pair", "pairs") + ", " + name + ", until " + stamp(p.Until)}
}

// warnings are what a verdict does not tell, and who decides by it should know.
func warnings(m *Middleware) []string {
	var w []string
	if all := m.Mirrored + m.LostTotal; m.LostTotal*100 > all {
		w = append(w, percent(m.LostTotal, all)+" of the requests that were to be mirrored are lost; they are not among the answers compared.")
	}
	if s := m.Sequence; s != nil && s.Waiting > 0 && s.LongestWait >= longWait {
		w = append(w, "Copies wait for their turn, for up to "+Duration(s.LongestWait)+": the shadow is slower than live's clients ask, one after the other (sequenceBy).")
	}
	if c := m.Comparison; c != nil && c.Compared > 0 && total(c.Skipped) > c.Compared {
		w = append(w, "More pairs of answers were skipped than compared: "+Count(total(c.Skipped))+" to "+Count(c.Compared)+".")
	}
	return w
}

func newEndpointView(e *Endpoint, l *look) endpointView {
	v := endpointView{
		Name: text(e.Endpoint), Link: l.of(e.Endpoint), Current: l.endpoint == e.Endpoint, Status: stateStatus[e.State],
		Compared: Count(e.Compared), Requests: Count(e.Compared + total(e.Skipped) + total(e.Dropped)),
		Real: Count(e.Real), Undecided: Count(e.Undecided),
	}
	if e.Compared > 0 {
		v.Live = Duration(e.Live.P50)
		v.Shadow = Duration(e.Shadow.P50)
	}
	most := int64(0)
	for _, counts := range []map[string]int64{e.Skipped, e.Dropped} {
		for reason, n := range counts {
			if n > most || n == most && n > 0 && reason < v.Left {
				most = n
				v.Left = text(reason)
			}
		}
	}
	if e.Real > 0 {
		v.RealLink = v.Link + "#differences"
	}
	return v
}

// facts are what was counted of requests.
func facts(m *Middleware) []fact {
	list := []fact{
		{Name: "Mirrored", Value: Count(m.Mirrored), Note: "the shadow answered"},
		{Name: "In flight", Value: Count(m.InFlight), Note: "under way now"},
	}
	if n := m.Dropped["sampling"]; n > 0 {
		list = append(list, fact{Name: "Sampled out", Value: Count(n), Note: "of " + Count(m.Eligible) + " eligible, by percent"})
	}
	if s := m.Sequence; s != nil {
		list = append(list, sequenceFacts(s)...)
	}
	if m.RequestBytes > 0 {
		list = append(list, fact{Name: "Sent", Value: size(m.RequestBytes), Note: "bodies to the shadow"})
	}
	if m.AnswerBytes > 0 {
		list = append(list, fact{Name: "Received", Value: size(m.AnswerBytes), Note: "bodies of its answers"})
	}
	for _, class := range AnswerClasses {
		if n := m.Answers[class]; n > 0 {
			list = append(list, fact{Name: "Answers " + class, Value: Count(n), Note: percent(n, m.Mirrored) + " of the shadow's"})
		}
	}
	return list
}

// sequenceFacts say how copies wait for one another.
func sequenceFacts(s *Sequence) []fact {
	waiting := fact{Name: "Waiting", Value: Count(s.Waiting), Note: "for the one before, by " + text(s.By)}
	if s.Waiting > 0 {
		waiting.Note += ", for up to " + Duration(s.LongestWait)
	}
	list := []fact{waiting}
	if s.Unordered > 0 {
		list = append(list, fact{Name: "Unordered", Value: Count(s.Unordered), Note: "had no value to go by"})
	}
	if s.LostValues > 0 {
		list = append(list, fact{Name: "Lost values", Value: Count(s.LostValues), Note: "lost a change, so pairs are skipped (sequence_lost)"})
	}
	return list
}

func total(counts map[string]int64) int64 {
	var sum int64
	for _, n := range counts {
		sum += n
	}
	return sum
}

// reasonMeanings are those of Reasons, by word, with what to do.
func reasonMeanings() map[string]string {
	meanings := map[string]string{}
	for _, r := range Reasons {
		meanings[r.Word] = r.Meaning + " " + r.Remedy
	}
	return meanings
}

// notLost are the counts of what was not to be mirrored.
func notLost(dropped map[string]int64) map[string]int64 {
	counts := map[string]int64{}
	for word, n := range dropped {
		if r := reasonOf[word]; r == nil || !r.Lost() {
			counts[word] = n
		}
	}
	return counts
}

// noLosses are the words of the reasons that are none.
func noLosses() []string {
	var words []string
	for _, r := range Reasons {
		if !r.Lost() {
			words = append(words, r.Word)
		}
	}
	return words
}

var skipMeanings = map[string]string{
	compare.TooLarge:     "Both answers are larger than compare.maxBodySize, and not the same to the byte.",
	compare.Encoding:     "An answer is compressed in a way that is not understood, or live's is not compressed as it says.",
	compare.Stream:       "Live's answer streams: it has no end to wait for.",
	compare.Conditional:  "The client asked whether its copy is still good, and only one of the two knows that copy.",
	compare.LiveBroken:   "Live's answer did not come to its end, or the client left.",
	compare.LiveSlow:     "Live took longer than the shadow by more than timeout.",
	compare.ShadowFailed: "The shadow could not be asked: there was no connection, or it was left alone.",
	compare.SequenceLost: "An earlier request of the same client that may have changed something has not reached the shadow (sequenceBy).",
	compare.TooComplex:   "To find out whether they differ would take too long.",
	compare.Internal:     "A mistake in the plugin. Please report it.",
}

// newTally returns the reasons that were met. Those that are not in the order come last.
func newTally(title string, counts map[string]int64, order []string, meanings map[string]string) tally {
	t := tally{Title: title}
	known := map[string]bool{}
	for _, name := range order {
		known[name] = true
	}
	var others []string
	for name := range counts {
		if !known[name] {
			others = append(others, name)
		}
	}
	sort.Strings(others)
	for _, name := range append(append([]string{}, order...), others...) {
		if counts[name] > 0 {
			t.Rows = append(t.Rows, tallyRow{Name: text(name), Count: Count(counts[name]), Meaning: meanings[name]})
		}
	}
	return t
}

// newLatencyView returns nil where nothing was measured. Live and difference are
// nil where answers are not compared.
func newLatencyView(live, shadow *Latency, difference *PairByPair, l *look) *latencyView {
	if shadow == nil || shadow.Count == 0 {
		return nil
	}
	return &latencyView{
		Rows: newQuantileRows(live, shadow, difference), Compares: live != nil, Difference: difference != nil,
		Tail: newTailChart(live, shadow), TailRows: newUnfolding(l, sectionLatency),
	}
}

// newStatusView returns nil where there are no pairs. Statuses that are too many
// to show go together as others.
func newStatusView(pairs []StatusPair) *statusView {
	if len(pairs) == 0 {
		return nil
	}
	live := map[int]int64{}
	shadow := map[int]int64{}
	for _, p := range pairs {
		live[p.Live] += p.Count
		shadow[p.Shadow] += p.Count
	}
	rows := frequent(live)
	columns := frequent(shadow)
	counts := map[string]int64{}
	for _, p := range pairs {
		counts[nameIn(rows, p.Live)+"/"+nameIn(columns, p.Shadow)] += p.Count
	}
	v := &statusView{Columns: columns}
	for _, l := range rows {
		row := statusRow{Live: l}
		for _, s := range columns {
			row.Cells = append(row.Cells, newStatusCell(l, s, counts[l+"/"+s]))
		}
		v.Rows = append(v.Rows, row)
	}
	return v
}

func newStatusCell(live, shadow string, n int64) statusCell {
	switch {
	case n == 0:
		return statusCell{Count: "0", Class: "zero"}
	case live == otherStatuses && shadow == otherStatuses:
		return statusCell{Count: Count(n), Class: "mixed"}
	case live == shadow:
		return statusCell{Count: Count(n), Class: "same"}
	}
	return statusCell{Count: "≠ " + Count(n), Class: "other"}
}

const otherStatuses = "others"

// frequent returns the most frequent statuses in ascending order, and others
// where there are more.
func frequent(counts map[int]int64) []string {
	var all []int
	for status := range counts {
		all = append(all, status)
	}
	sort.Slice(all, func(i, j int) bool { return moreFrequent(counts, all[i], all[j]) })
	more := len(all) > shownStatuses
	if more {
		all = all[:shownStatuses]
	}
	sort.Ints(all)
	var names []string
	for _, status := range all {
		names = append(names, strconv.Itoa(status))
	}
	if more {
		names = append(names, otherStatuses)
	}
	return names
}

func moreFrequent(counts map[int]int64, a, b int) bool {
	if counts[a] != counts[b] {
		return counts[a] > counts[b]
	}
	return a < b
}

func nameIn(names []string, status int) string {
	name := strconv.Itoa(status)
	for _, n := range names {
		if n == name {
			return name
		}
	}
	return otherStatuses
}
