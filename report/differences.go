package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// A differencesView is the differences of one judgement.
type differencesView struct {
	Title, Meaning string
	Unfolding      unfolding // whether they are shown
	Always         bool      // they always are
	Count          string
	Rows           []differenceView
	More           string      // how many are not shown; "" if none
	Ignore         *ignoreView // what takes them all away; nil: nothing
}

type differenceView struct {
	Endpoint, Link, Key, Relation, Pairs, Ignore string

	First, Last moment
	Examples    []exampleView
}

type exampleView struct {
	At                                            moment
	Request, Query, ID, Statuses, Relation, Index string
	Live, Shadow, Curl                            string
}

// An ignoreView is what to add to a configuration to take the noise away.
type ignoreView struct {
	YAML  string
	Label string
	Left  string // what a label cannot hold; "" if it can all
	More  string // how many rules are not shown; "" if none
}

// sortsOfDifferences are the judgements, in the order in which the page has them.
var sortsOfDifferences = []differencesView{
	{Title: "Real", Always: true, Meaning: "The new version answers otherwise."},
	{Title: "Undecided", Always: true, Meaning: "They differ in every answer, or nearly so, or too seldom to say."},
	{Title: "Noise", Unfolding: unfolding{ID: sectionNoise}, Meaning: "By all appearances made anew for each answer, such as identifiers and times."},
	{Title: "Ignored", Unfolding: unfolding{ID: sectionIgnored}, Meaning: "A rule of compare.ignore covers them."},
}

// newDifferencesViews returns the differences by judgement, without those that there are
// none of; only those of an endpoint, where the look is at one.
func newDifferencesViews(m *Middleware, c *Comparison, l *look, now time.Time) []differencesView {
	var views []differencesView
	for _, empty := range sortsOfDifferences {
		view := empty
		var rules []string
		if !view.Always {
			view.Unfolding = newUnfolding(l, empty.Unfolding.ID)
		}
		n := 0
		for i := range c.Differences {
			d := &c.Differences[i]
			if d.Judgement != strings.ToLower(empty.Title) || l.endpoint != "" && d.Endpoint != l.endpoint {
				continue
			}
			n++
			if d.Judgement == compare.Noise && d.Ignore != "" {
				rules = append(rules, d.Ignore)
			}
			view.add(d, l, now)
		}
		if n == 0 {
			continue
		}
		view.Count = plural(int64(n), "difference", "differences")
		if left := n - len(view.Rows); left > 0 {
			view.More = plural(int64(left), "more is", "more are")
		}
		if view.Title == "Undecided" {
			view.Meaning += " To decide: " + waysToDecide(c)
		}
		if len(rules) > 0 {
			view.Ignore = newIgnoreView(m.Name, distinct(rules))
		}
		views = append(views, view)
	}
	return views
}

// add adds a difference, where there is room.
func (v *differencesView) add(d *Difference, l *look, now time.Time) {
	most := shownOthers
	examples := 1
	if d.Judgement == compare.Real {
		most = shownDifferences
		examples = shownExamples
	}
	if len(v.Rows) >= most {
		return
	}
	row := differenceView{
		Endpoint: text(d.Endpoint), Link: l.of(d.Endpoint), Key: text(d.Key), Relation: text(d.Relation), Pairs: pairsOf(d), Ignore: text(d.Ignore),
		First: newMoment(d.First, now), Last: newMoment(d.Last, now),
	}
	for i := range d.Examples {
		if i == examples {
			break
		}
		row.Examples = append(row.Examples, newExampleView(&d.Examples[len(d.Examples)-1-i], d, now))
	}
	v.Rows = append(v.Rows, row)
}

func newExampleView(e *Example, d *Difference, now time.Time) exampleView {
	v := exampleView{
		At: newMoment(e.At, now), Request: text(e.Path), ID: text(e.RequestID), Curl: text(e.Curl),
		Statuses: strconv.Itoa(e.LiveStatus) + " and " + strconv.Itoa(e.ShadowStatus), Live: text(e.Live), Shadow: text(e.Shadow),
	}
	if e.Relation != d.Relation {
		v.Relation = text(e.Relation)
	}
	if e.Index != nil {
		v.Index = strconv.Itoa(*e.Index)
	}
	if len(e.Query) > 0 {
		v.Query = text(strings.Join(e.Query, ", "))
	}
	return v
}

// pairsOf says in how many of the pairs that have the value it differs.
func pairsOf(d *Difference) string {
	text := Count(d.Count) + " of " + plural(d.Pairs, "pair", "pairs") + " (" + percent(d.Count, d.Pairs) + ")"
	if d.ControlPairs > 0 {
		text += "; the control in " + Count(d.ControlCount) + " of " + Count(d.ControlPairs)
	}
	return text
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

// newIgnoreView writes paths as options. A label holds a list with commas
// between, so it takes no path that has one.
func newIgnoreView(name string, paths []string) *ignoreView {
	v := &ignoreView{YAML: "compare:\n  ignore:\n"}
	if more := int64(len(paths) - shownRules); more > 0 {
		paths = paths[:shownRules]
		v.More = plural(more, "more is", "more are")
	}
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
