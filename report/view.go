package report

import (
	"net/url"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/trafficshadow/mirror/compare"
)

// How much of a document the page shows. All of it is in report.json.
const (
	shownDifferences = 50 // that are real
	shownOthers      = 15 // of each other judgement
	shownEndpoints   = 20
	shownExamples    = 2   // of a real difference; of others one
	shownStatuses    = 10  // of each side, the most frequent
	shownText        = 400 // bytes of one value
)

// longWait is how long copies may wait for one another before the page warns, in seconds.
const longWait = 1

// refreshAfter is how often the page loads itself anew, in seconds.
const refreshAfter = 10

// A view is a document as the template has it: text, and the geometry of charts.
// There are no methods for the template to call, because interpreted it sees
// none.
type view struct {
	Generated moment
	Refresh   int // in seconds; 0: not by itself
	Mirrors   []mirrorView
	Many      bool
}

// A moment is a time, absolute and as it is from now.
type moment struct{ At, Ago string }

// A mirrorView is what the page says of one middleware.
type mirrorView struct {
	ID       string // of its part of the page
	Name     string
	Shadow   string
	Share    string // of the requests, that is mirrored
	Mistakes []string
	Status   status
	Verdict  string
	Warnings []string // what else to know before one decides

	Paused      bool
	PausedSince moment
	LastError   string // "" if there was none
	LastErrorAt moment
	Since       moment
	Lost        string // of how many, and why
	LostNone    bool

	CompareLabel  string // what turns comparing on
	Compares      bool
	ComparedSince moment
	Compared      string
	Hint          string // how values are shown

	Control       []string // what there is to say of the control
	Reasons       []string // why the state is not a better one
	Epoch         string   // "" if it has no name
	Previous      string   // the comparison before, in short; "" if there was none
	Rate          *rateChart
	Latency       *latencyView
	Endpoints     []endpointView
	MoreEndpoints string // how many are not shown; "" if none
	Sorts         []differencesView
	Ignore        *ignoreView
	Statuses      *statusView

	Facts  []fact
	Losses []tally
}

// A status is the plainest thing that can be said of a mirror.
type status struct {
	Word  string
	Class string // its colour
	Shape string // the path of its sign, 16 by 16
}

var (
	agrees      = status{Word: "Agrees", Class: "good", Shape: "M2.5 8.5 6.5 12.5 13.5 3.5"}
	differs     = status{Word: "Differs", Class: "bad", Shape: "M2.5 5.5H13.5M2.5 10.5H13.5M11.5 2 4.5 14"}
	undecided   = status{Word: "Undecided", Class: "warn", Shape: "M5 6V4L8 2.5 11 4V6L8 8.5V10.5M8 13V13.5"}
	early       = status{Word: "Too early", Class: "calm", Shape: "M8 2.5V8L11.5 10.5"}
	pausing     = status{Word: "Paused", Class: "warn", Shape: "M5 2.5V13.5M11 2.5V13.5"}
	failing     = status{Word: "Failing", Class: "bad", Shape: "M8 2.5V9M8 13V13.5"}
	mistaken    = status{Word: "Not mirroring", Class: "bad", Shape: "M3.5 3.5 12.5 12.5M12.5 3.5 3.5 12.5"}
	notCompared = status{Word: "Not comparing", Class: "calm", Shape: "M3 8H13"}
	nothingYet  = status{Word: "Nothing yet", Class: "calm", Shape: "M3 8V8.1M8 8V8.1M13 8V8.1"}

	// stateStatus is what is said of the states of comparisons.
	stateStatus = map[string]status{
		compare.StateNone: nothingYet, compare.StateEarly: early, compare.StateDiffers: differs,
		compare.StateUndecided: undecided, compare.StateAgrees: agrees,
	}
)

// A fact is one number.
type fact struct{ Name, Value, Note string }

// A tally is what was counted by reason.
type tally struct {
	Title string
	Rows  []tallyRow
	None  string // the reasons that were not met
}

type tallyRow struct{ Name, Count, Meaning string }

type latencyView struct {
	Rows       []quantileRow
	Compares   bool // live is measured too
	Spread     *spreadChart
	Difference bool
}

// An endpointView is a row of the endpoints.
type endpointView struct {
	Name                   string
	Status                 status
	Compared, Left         string
	Real, Undecided, Noise string
	Live, Shadow           string // p50
}

// A differencesView is the differences of one judgement.
type differencesView struct {
	Title, Meaning string
	Open           bool
	Count          string
	Rows           []differenceView
	More           string // how many are not shown; "" if none
}

type differenceView struct {
	Endpoint, Key, Relation, Pairs, Ignore string

	First, Last moment
	Examples    []exampleView
}

type exampleView struct {
	At                                                   moment
	Request, ID, Statuses, Relation, Index, Live, Shadow string
}

// An ignoreView is what to add to a configuration to take the noise away.
type ignoreView struct {
	YAML  string
	Label string
	Left  string // what a label cannot hold; "" if it can all
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

// newView returns the document as the page shows it.
func newView(d *Document, options url.Values) *view {
	v := &view{Generated: newMoment(d.Generated, d.Generated), Refresh: refreshAfter, Many: len(d.Middlewares) > 1}
	if options.Get("refresh") == "0" {
		v.Refresh = 0
	}
	for i, m := range d.Middlewares {
		v.Mirrors = append(v.Mirrors, newMirrorView("mirror-"+strconv.Itoa(i+1), m, d.Generated))
	}
	return v
}

func newMirrorView(id string, m *Middleware, now time.Time) mirrorView {
	v := mirrorView{
		ID: id, Name: text(m.Name), Shadow: text(m.Shadow), Status: statusOf(m), Since: newMoment(m.Since, now),
		Lost: Losses(m.Mirrored, m.Lost, Count), LostNone: m.LostTotal == 0, Paused: m.State.Paused, LastError: text(m.State.LastError), Facts: facts(m), Warnings: warnings(m),
	}
	if m.Shadow != "" {
		v.Share = strconv.FormatFloat(m.Percent, 'f', -1, 64) + "%"
	}
	if m.State.PausedSince != nil {
		v.PausedSince = newMoment(*m.State.PausedSince, now)
	}
	if m.State.LastErrorAt != nil {
		v.LastErrorAt = newMoment(*m.State.LastErrorAt, now)
	}
	v.Losses = []tally{
		newTally("Lost", m.Lost, LossReasons, reasonMeanings()),
		newTally("Not to be mirrored", notLost(m.Dropped), noLosses(), reasonMeanings()),
	}
	if m.ConfigErrors > 0 {
		for _, mistake := range m.Mistakes {
			v.Mistakes = append(v.Mistakes, text(mistake))
		}
		v.Verdict = plural(int64(m.ConfigErrors), "mistake", "mistakes") + " in the options: nothing is mirrored"
		v.Latency = newLatencyView(nil, m.ShadowLatency, nil)
		return v
	}
	if m.Comparison == nil {
		v.CompareLabel = optionLabel(v.Name) + "compare.body=json"
		v.Verdict = "answers are not compared; " + plural(m.Mirrored, "request", "requests") + " mirrored"
		v.Latency = newLatencyView(nil, m.ShadowLatency, nil)
		return v
	}
	v.compare(m.Comparison, now)
	if v.Latency == nil {
		v.Latency = newLatencyView(nil, m.ShadowLatency, nil)
	}
	return v
}

// compare fills in what comparing has shown.
func (v *mirrorView) compare(c *Comparison, now time.Time) {
	v.Compares = true
	v.Verdict = c.Headline
	v.ComparedSince = newMoment(c.Since, now)
	v.Compared = plural(c.Compared, "pair", "pairs")
	v.Losses = append(v.Losses, newTally("Mirrored, but not compared", c.Skipped, compare.Reasons, skipMeanings))
	switch c.Show {
	case compare.Hashes:
		v.Hint = "Values are shown as hashes, which are equal for equal values. compare.show: values shows the values."
	case compare.None:
		v.Hint = "Of values only the kind is shown. compare.show: hashes or values shows more."
	}
	for _, reason := range c.Reasons {
		v.Reasons = append(v.Reasons, text(reason))
	}
	v.Epoch = text(c.Epoch)
	if p := c.Previous; p != nil {
		v.Previous = plural(p.Compared, "pair", "pairs") + " from " + stamp(p.Since) + " to " + stamp(p.Until) + ": " +
			Count(p.Real) + " real, " + Count(p.Undecided) + " undecided"
		if p.Name != "" {
			v.Previous = text(p.Name) + ", " + v.Previous
		}
	}
	if c.Control != nil {
		v.Control = controlLines(c.Control)
	}
	v.Rate = newRateChart(&c.Timeline, c.Since, now)
	v.Latency = newLatencyView(c.Live, c.Shadow, &c.Difference)
	for i := range c.Endpoints {
		if i == shownEndpoints {
			v.MoreEndpoints = plural(int64(len(c.Endpoints)-i), "more is", "more are")
			break
		}
		v.Endpoints = append(v.Endpoints, newEndpointView(&c.Endpoints[i]))
	}
	var rules []string
	for _, sort := range sortsOfDifferences {
		view := sort
		for i := range c.Differences {
			d := &c.Differences[i]
			if d.Judgement != strings.ToLower(sort.Title) {
				continue
			}
			view.add(d, now)
			if d.Judgement == compare.Noise && d.Ignore != "" {
				rules = append(rules, d.Ignore)
			}
		}
		view.finish()
		if len(view.Rows) > 0 || view.Open {
			v.Sorts = append(v.Sorts, view)
		}
	}
	if len(rules) > 0 {
		v.Ignore = newIgnoreView(v.Name, distinct(rules))
	}
	v.Statuses = newStatusView(c.Statuses)
}

// shownWithout is how many of the endpoints that have no control are named.
const shownWithout = 5

// controlLines are what the page says of the control.
func controlLines(c *Control) []string {
	asked := c.Answered + c.Failed + c.Skipped
	line := "Control " + text(c.URL) + ": " + Count(c.Answered) + " of " + plural(asked, "request", "requests") + " answered"
	if c.Failed > 0 {
		line += ", " + Count(c.Failed) + " failed"
	}
	if c.Skipped > 0 {
		line += ", " + Count(c.Skipped) + " not sent while it was left alone"
	}
	if c.Paused {
		line += "; it is left alone now (paused)"
	}
	if c.LastError != "" {
		line += "; last error: " + text(c.LastError)
	}
	lines := []string{line + "."}
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

// sortsOfDifferences are the judgements, in the order in which the page has them.
var sortsOfDifferences = []differencesView{
	{Title: "Real", Open: true, Meaning: "The new version answers otherwise."},
	{Title: "Undecided", Meaning: "They differ in every answer, or nearly so. If that is meant, ignore it with the line that is with it; if not, it is a bug."},
	{Title: "Noise", Meaning: "By all appearances made anew for each answer, such as identifiers and times."},
	{Title: "Ignored", Meaning: "A rule of compare.ignore covers them."},
}

// distinct returns a list without what is in it twice.
func distinct(list []string) []string {
	seen := map[string]bool{}
	var once []string
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			once = append(once, s)
		}
	}
	return once
}

func newEndpointView(e *Endpoint) endpointView {
	left := total(e.Skipped) + total(e.Dropped)
	return endpointView{
		Name: text(e.Endpoint), Status: stateStatus[e.State], Compared: Count(e.Compared), Left: Count(left),
		Real: Count(e.Real), Undecided: Count(e.Undecided), Noise: Count(e.Noise),
		Live: Duration(e.Live.P50), Shadow: Duration(e.Shadow.P50),
	}
}

// statusOf says how a mirror does. Where answers were compared it is the headline in a
// word; what is wrong with the shadow is a reason of its state, or a warning.
func statusOf(m *Middleware) status {
	compared := m.Comparison != nil && m.Comparison.State != compare.StateNone
	switch {
	case m.ConfigErrors > 0:
		return mistaken
	case m.State.Paused && !compared:
		return pausing
	case m.State.Failing && !compared:
		return failing
	case m.Comparison == nil:
		return notCompared
	}
	return stateStatus[m.Comparison.State]
}

// warnings are what a verdict does not tell, and who decides by it should know.
func warnings(m *Middleware) []string {
	var w []string
	if m.State.Failing && m.Comparison != nil && m.Comparison.State == compare.StateDiffers {
		w = append(w, "The shadow fails too often of late.") // elsewhere the state says so
	}
	if all := m.Mirrored + m.LostTotal; m.LostTotal*100 > all {
		w = append(w, percent(m.LostTotal, all)+" of the requests that were to be mirrored are lost; they are not among the answers compared.")
	}
	if s := m.Sequence; s != nil && s.Waiting > 0 && s.LongestWait >= longWait {
		w = append(w, "Copies wait for their turn, for up to "+Duration(s.LongestWait)+": the shadow is slower than live's clients ask, one after the other (sequenceBy).")
	}
	if c := m.Comparison; c != nil && total(c.Skipped) > c.Compared {
		w = append(w, "More pairs of answers were skipped than compared: "+Count(total(c.Skipped))+" to "+Count(c.Compared)+".")
	}
	return w
}

func facts(m *Middleware) []fact {
	list := []fact{
		{Name: "Mirrored", Value: Count(m.Mirrored), Note: "the shadow answered"},
		{Name: "Lost", Value: Count(m.LostTotal), Note: "of " + Count(m.Mirrored+m.LostTotal) + " that were to be mirrored"},
		{Name: "Sampled out", Value: Count(m.Dropped["sampling"]), Note: "of " + Count(m.Eligible) + " eligible, by percent"},
		{Name: "In flight", Value: Count(m.InFlight), Note: "under way now"},
	}
	if s := m.Sequence; s != nil {
		list = append(list, sequenceFacts(s)...)
	}
	list = append(list, []fact{
		{Name: "Sent", Value: size(m.RequestBytes), Note: "bodies to the shadow"},
		{Name: "Received", Value: size(m.AnswerBytes), Note: "bodies of its answers"},
	}...)
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

// newTally returns the reasons that were met, and names the others. Reasons that
// are not in the order come last.
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
	var none []string
	for _, name := range append(append([]string{}, order...), others...) {
		if counts[name] == 0 {
			none = append(none, text(name))
			continue
		}
		t.Rows = append(t.Rows, tallyRow{Name: text(name), Count: Count(counts[name]), Meaning: meanings[name]})
	}
	t.None = strings.Join(none, ", ")
	return t
}

// newLatencyView returns nil where nothing was measured. Live and difference are
// nil where answers are not compared.
func newLatencyView(live, shadow *Latency, difference *Quantiles) *latencyView {
	if shadow == nil || shadow.Count == 0 {
		return nil
	}
	return &latencyView{
		Rows: newQuantileRows(live, shadow, difference), Compares: live != nil, Difference: difference != nil,
		Spread: newSpreadChart(live, shadow),
	}
}

func (v *differencesView) add(d *Difference, now time.Time) {
	row := differenceView{
		Endpoint: text(d.Endpoint), Key: text(d.Key), Relation: text(d.Relation), Pairs: pairsOf(d), Ignore: text(d.Ignore),
		First: newMoment(d.First, now), Last: newMoment(d.Last, now),
	}
	for i := range d.Examples {
		if i == shownExamples || i == 1 && d.Judgement != compare.Real {
			break
		}
		row.Examples = append(row.Examples, newExampleView(&d.Examples[len(d.Examples)-1-i], now))
	}
	v.Rows = append(v.Rows, row)
}

func newExampleView(e *Example, now time.Time) exampleView {
	v := exampleView{
		At: newMoment(e.At, now), Request: text(e.Path), ID: text(e.RequestID), Relation: text(e.Relation),
		Statuses: strconv.Itoa(e.LiveStatus) + " and " + strconv.Itoa(e.ShadowStatus), Live: text(e.Live), Shadow: text(e.Shadow),
	}
	if e.Index != nil {
		v.Index = strconv.Itoa(*e.Index)
	}
	return v
}

// finish counts them, and lets go of what is not shown.
func (v *differencesView) finish() {
	v.Count = plural(int64(len(v.Rows)), "difference", "differences")
	most := shownOthers
	if v.Open {
		most = shownDifferences
	}
	if n := len(v.Rows); n > most {
		v.Rows = v.Rows[:most]
		v.More = plural(int64(n-most), "more is", "more are")
	}
}

// pairsOf says in how many of the pairs that have the value it differs.
func pairsOf(d *Difference) string {
	text := Count(d.Count) + " of " + plural(d.Pairs, "pair", "pairs") + " (" + percent(d.Count, d.Pairs) + ")"
	if d.ControlPairs > 0 {
		text += "; the control in " + Count(d.ControlCount) + " of " + Count(d.ControlPairs)
	}
	return text
}

// newIgnoreView writes paths as options. A label holds a list with commas
// between, so it takes no path that has one.
func newIgnoreView(name string, paths []string) *ignoreView {
	v := &ignoreView{YAML: "compare:\n  ignore:\n"}
	var fit []string
	for _, path := range paths {
		v.YAML += "    - " + quoted(path) + "\n"
		if !strings.Contains(path, ",") && Visible(path) == path {
			fit = append(fit, path)
		}
	}
	if left := int64(len(paths) - len(fit)); left > 0 {
		v.Left = plural(left, "path has", "paths have") + " a character that a label cannot hold."
	}
	if len(fit) > 0 {
		option := optionLabel(name) + "compare.ignore="
		// Compose takes $ for the beginning of a variable, and $$ for one.
		v.Label = "- " + quoted(strings.ReplaceAll(option+strings.Join(fit, ","), "$", "$$"))
	}
	return v
}

// optionLabel is what a label for an option of the middleware begins with. The
// part of the name that says where it is from is not part of it.
func optionLabel(name string) string {
	name, _, _ = strings.Cut(name, "@")
	return "traefik.http.middlewares." + name + ".plugin.mirror."
}

// quoted is the text as a string of YAML. What Go escapes, YAML reads alike.
func quoted(text string) string {
	if Visible(text) != text {
		return strconv.Quote(text)
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
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

func newMoment(t, now time.Time) moment { return moment{At: stamp(t), Ago: ago(now.Sub(t))} }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is how long something is past.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h ago"
	}
	return Count(int64(d/(24*time.Hour))) + " days ago"
}

// length is a number of seconds that are many.
func length(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// size is a number of bytes.
func size(n int64) string {
	if n < 1024 {
		return Count(n) + " B"
	}
	value := float64(n) / 1024
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	i := 0
	for i < len(units)-1 && value >= 1023.95 {
		value /= 1024
		i++
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + units[i]
}

// unseen is what a reader would not see, or what changes how the rest reads:
// control characters, those that turn the direction of writing, and the like.
var unseen = regexp.MustCompile(`[\p{C}\p{Zl}\p{Zp}\x{FFFE}\x{FFFF}]`)

// Visible writes what is unseen as Go does: \n, \x1b, \u202e.
func Visible(s string) string {
	return unseen.ReplaceAllStringFunc(strings.ToValidUTF8(s, "\uFFFD"), func(c string) string { return strings.Trim(strconv.QuoteToASCII(c), `"`) })
}

// text is what a request, an answer or an option holds, as the page shows it.
func text(s string) string {
	if len(s) > shownText {
		n := shownText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return Visible(s)
}
