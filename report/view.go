package report

import (
	"math"
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
	shownDifferences = 50  // of each sort, real and noise
	shownMismatches  = 50  // pairs
	shownValues      = 5   // differences of one pair
	shownStatuses    = 10  // of each side, the most frequent
	shownText        = 400 // bytes of one value
)

// refreshAfter is how often the page loads itself anew, in seconds.
const refreshAfter = 10

// A view is a document as the template has it: text, and the geometry of charts.
// There are no methods for the template to call, because interpreted it sees
// none.
type view struct {
	Generated moment
	Base      string // where links begin; "": here
	Refresh   int    // in seconds; 0: not by itself
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
	Status   status
	Verdict  string
	Warnings []string // what else to know before one decides

	Paused      bool
	PausedSince moment
	LastError   string // "" if there was none
	LastErrorAt moment
	Since       moment

	CompareLabel  string // what turns comparing on
	Compares      bool
	ComparedSince moment
	Compared      string
	Hint          string // how values are shown

	Rate     *rateChart
	Latency  *latencyView
	Real     differencesView
	Noise    differencesView
	Ignore   *ignoreView
	Statuses *statusView

	Mismatches     []mismatchView
	MoreMismatches string // how many are not shown; "" if none

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
	agreesNoise = status{Word: "Agrees, noise apart", Class: "good", Shape: "M2.5 8.5 6.5 12.5 13.5 3.5"}
	differs     = status{Word: "Differs", Class: "bad", Shape: "M2.5 5.5H13.5M2.5 10.5H13.5M11.5 2 4.5 14"}
	pausing     = status{Word: "Paused", Class: "warn", Shape: "M5 2.5V13.5M11 2.5V13.5"}
	failing     = status{Word: "Failing", Class: "bad", Shape: "M8 2.5V9M8 13V13.5"}
	notCompared = status{Word: "Not comparing", Class: "calm", Shape: "M3 8H13"}
	nothingYet  = status{Word: "Nothing yet", Class: "calm", Shape: "M3 8V8.1M8 8V8.1M13 8V8.1"}
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

type differencesView struct {
	Count string
	Rows  []differenceView
	More  string // how many are not shown; "" if none
}

type differenceView struct {
	Key, Pairs, Where, Live, Shadow string

	First, Last moment
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

type mismatchView struct {
	At                                         moment
	Request, LiveStatus, ShadowStatus, Differs string

	LiveTook, ShadowTook string
	Values               []Values
	More                 string // how many are not shown; "" if none
}

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
		ID: id, Name: text(m.Name), Shadow: text(m.Shadow), Status: statusOf(m, now), Since: newMoment(m.Since, now),
		Paused: m.State.Paused, LastError: text(m.State.LastError), Facts: facts(m), Warnings: warnings(m),
	}
	if m.State.PausedSince != nil {
		v.PausedSince = newMoment(*m.State.PausedSince, now)
	}
	if m.State.LastErrorAt != nil {
		v.LastErrorAt = newMoment(*m.State.LastErrorAt, now)
	}
	v.Losses = []tally{
		newTally("Failed", m.Failed, FailureKinds, failureMeanings),
		newTally("Not mirrored", m.Dropped, DropReasons, dropMeanings),
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
	v.Verdict = c.Verdict
	v.ComparedSince = newMoment(c.Since, now)
	v.Compared = plural(c.Compared, "pair", "pairs")
	v.Losses = append(v.Losses, newTally("Mirrored, but not compared", c.Skipped, compare.Reasons, skipMeanings))
	switch c.Show {
	case compare.Hashes:
		v.Hint = "Values are shown as hashes, which are equal for equal values. compare.show: values shows the values."
	case compare.None:
		v.Hint = "Of values only the kind is shown. compare.show: hashes or values shows more."
	}
	v.Rate = newRateChart(&c.Timeline, c.Since, now)
	v.Latency = newLatencyView(c.Live, c.Shadow, &c.Difference)
	for _, d := range c.Differences {
		if d.Noise {
			v.Noise.add(d, now)
			continue
		}
		v.Real.add(d, now)
	}
	v.Noise.finish()
	v.Real.finish()
	if len(c.Ignore) > 0 {
		v.Ignore = newIgnoreView(v.Name, c.Ignore)
	}
	v.Statuses = newStatusView(c.Statuses)
	for i := range c.Mismatches {
		if i == shownMismatches {
			v.MoreMismatches = plural(int64(len(c.Mismatches)-i), "more is", "more are")
			break
		}
		v.Mismatches = append(v.Mismatches, newMismatchView(&c.Mismatches[i], now))
	}
}

// failsNow is how old a failure may be to tell of the shadow as it is.
const failsNow = 5 * time.Minute

// statusOf says how a mirror does. The shadow is failing where it failed in
// these minutes, and of late more than once in a hundred requests: however well it
// did before that.
func statusOf(m *Middleware, now time.Time) status {
	recent := m.State.Recent
	switch {
	case m.State.Paused:
		return pausing
	case recent.Failed*100 > recent.Failed+recent.Answered && m.State.LastErrorAt != nil && now.Sub(*m.State.LastErrorAt) < failsNow:
		return failing
	case m.Comparison == nil:
		return notCompared
	case m.Comparison.Compared == 0:
		return nothingYet
	case m.Comparison.real() > 0:
		return differs
	case m.Comparison.OnlyNoise > 0:
		return agreesNoise
	}
	return agrees
}

// warnings are what a verdict does not tell, and who decides by it should know.
func warnings(m *Middleware) []string {
	var w []string
	if failed := total(m.Failed); failed*100 > failed+m.Mirrored {
		w = append(w, "The shadow failed in "+Count(failed)+" of "+plural(failed+m.Mirrored, "request", "requests")+" ("+percent(failed, failed+m.Mirrored)+"); those are not among the answers compared.")
	}
	if c := m.Comparison; c != nil && total(c.Skipped) > c.Compared {
		w = append(w, "More pairs of answers were skipped than compared: "+Count(total(c.Skipped))+" to "+Count(c.Compared)+".")
	}
	return w
}

func facts(m *Middleware) []fact {
	list := []fact{
		{Name: "Eligible", Value: Count(m.Eligible), Note: "could be mirrored"},
		{Name: "Mirrored", Value: Count(m.Mirrored), Note: "the shadow answered"},
		{Name: "Failed", Value: Count(total(m.Failed)), Note: "the shadow did not answer, or not wholly"},
		{Name: "Not mirrored", Value: Count(total(m.Dropped)), Note: "eligible or not"},
		{Name: "In flight", Value: Count(m.InFlight), Note: "under way now"},
		{Name: "Sent", Value: size(m.RequestBytes), Note: "bodies to the shadow"},
		{Name: "Received", Value: size(m.AnswerBytes), Note: "bodies of its answers"},
	}
	for _, class := range AnswerClasses {
		if n := m.Answers[class]; n > 0 {
			list = append(list, fact{Name: "Answers " + class, Value: Count(n), Note: percent(n, m.Mirrored) + " of the shadow's"})
		}
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

var failureMeanings = map[string]string{
	"connect":  "No connection: refused, out of reach, or the name of the host is not known.",
	"timeout":  "No whole answer within timeout.",
	"tls":      "No agreement on TLS, or the shadow's certificate is not trusted.",
	"protocol": "The connection broke, or what came is no whole HTTP answer.",
	"internal": "A mistake in the plugin. Please report it.",
}

var dropMeanings = map[string]string{
	"method":            "Not eligible: the method is not among methods.",
	"upgrade":           "Not eligible: an upgrade, such as to WebSocket.",
	"connect":           "Not eligible: the method is CONNECT.",
	"grpc":              "Not eligible: gRPC, which takes bodyMode: stream.",
	"marked":            "Not eligible: it has X-Mirrored-By, so it is a copy itself.",
	"sampling":          "Not in the share that percent takes.",
	"full":              "maxInFlight requests were being mirrored: the shadow does not keep up.",
	"paused":            "The shadow was left alone, because it kept failing.",
	"too_large":         "The body is larger than maxBodySize.",
	"body_error":        "The client's body could not be read. Live did not get it either.",
	"stream_incomplete": "bodyMode: stream, and live did not read the body to its end.",
}

var skipMeanings = map[string]string{
	compare.TooLarge:     "An answer is larger than compare.maxBodySize.",
	compare.Encoding:     "An answer is compressed in a way that is not understood, or live's is not compressed as it says.",
	compare.Stream:       "Live's answer streams: it has no end to wait for.",
	compare.LiveBroken:   "Live's answer did not come to its end, or the client left.",
	compare.LiveSlow:     "Live took longer than the shadow by more than timeout.",
	compare.ShadowFailed: "There is no whole answer of the shadow.",
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

func (v *differencesView) add(d Difference, now time.Time) {
	v.Rows = append(v.Rows, differenceView{
		Key: text(d.Key), Pairs: pairsOf(d), Where: text(d.Where),
		Live: text(d.Live), Shadow: text(d.Shadow), First: newMoment(d.First, now), Last: newMoment(d.Last, now),
	})
}

// finish counts them, and lets go of what is not shown.
func (v *differencesView) finish() {
	v.Count = plural(int64(len(v.Rows)), "difference", "differences")
	if n := len(v.Rows); n > shownDifferences {
		v.Rows = v.Rows[:shownDifferences]
		v.More = plural(int64(n-shownDifferences), "more is", "more are")
	}
}

// pairsOf says in how many of the pairs that could differ they do.
func pairsOf(d Difference) string {
	if d.Share <= 0 {
		return plural(d.Count, "pair", "pairs")
	}
	of := int64(math.Round(float64(d.Count) / d.Share))
	return Count(d.Count) + " of " + plural(of, "pair", "pairs") + " (" + percent(d.Count, of) + ")"
}

// newIgnoreView writes paths as options. A label holds a list with commas
// between, so it takes no path that has one.
func newIgnoreView(name string, paths []string) *ignoreView {
	v := &ignoreView{YAML: "compare:\n  ignore:\n"}
	var fit []string
	for _, path := range paths {
		v.YAML += "    - " + quoted(path) + "\n"
		if !strings.Contains(path, ",") && visible(path) == path {
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
	if visible(text) != text {
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

func newMismatchView(m *Mismatch, now time.Time) mismatchView {
	v := mismatchView{
		At: newMoment(m.At, now), Request: text(m.Method + " " + m.Path),
		LiveStatus: strconv.Itoa(m.Live.Status), ShadowStatus: strconv.Itoa(m.Shadow.Status),
		LiveTook: Duration(m.Live.Took), ShadowTook: Duration(m.Shadow.Took),
		Differs: plural(int64(len(m.Differences)), "difference", "differences"),
	}
	for i, d := range m.Differences {
		if i == shownValues {
			v.More = plural(int64(len(m.Differences)-i), "more is", "more are")
			break
		}
		v.Values = append(v.Values, Values{Key: text(d.Key), Live: text(d.Live), Shadow: text(d.Shadow)})
	}
	return v
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

// visible writes what is unseen as Go does: \n, \x1b, \u202e.
func visible(s string) string {
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
	return visible(s)
}
