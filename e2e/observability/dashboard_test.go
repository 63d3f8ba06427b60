package observability

import (
	"encoding/json"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/trafficshadow/mirror/e2e/docs"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A dashboard is what this test looks at of Grafana's model.
type dashboard struct {
	UID           string `json:"uid"`
	Title         string `json:"title"`
	SchemaVersion int    `json:"schemaVersion"`
	ID            *int   `json:"id"` // Grafana's to give
	Templating    struct {
		List []struct {
			Name       string     `json:"name"`
			Type       string     `json:"type"`
			Query      any        `json:"query"`
			Datasource datasource `json:"datasource"`
			Definition string     `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
	Panels []panel `json:"panels"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []target `json:"targets"`
}

type target struct {
	RefID        string     `json:"refId"`
	Datasource   datasource `json:"datasource"`
	Expr         string     `json:"expr"`
	LegendFormat string     `json:"legendFormat"`
}

func readDashboard(t *testing.T) *dashboard {
	t.Helper()
	d := &dashboard{}
	if err := json.Unmarshal(readFile(t, exampleFile(t, "grafana-dashboard.json")), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// chosen is the data source that is chosen at the top of the dashboard.
var chosen = datasource{Type: "prometheus", UID: "${datasource}"}

// 36 is the first schema whose panels name their data source as this one does;
// Grafana 10 has 38, and brings what is older up to its own.
func TestDashboardIsOneOfGrafana(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || len(d.UID) > 40 || d.Title == "" || d.SchemaVersion < 36 || d.ID != nil {
		t.Errorf("uid %q, title %q, schemaVersion %d, id %v", d.UID, d.Title, d.SchemaVersion, d.ID)
	}
	if v := d.Templating.List; len(v) != 2 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[0].Query != "prometheus" ||
		v[1].Name != "middleware" || v[1].Type != "query" || v[1].Datasource != chosen {
		t.Errorf("the variables are %+v, want datasource, and middleware from it", v)
	}
	taken := map[[2]int]string{} // of the grid, which is 24 wide
	ids := map[int]string{}
	for _, p := range d.Panels {
		if other, ok := ids[p.ID]; ok || p.ID == 0 {
			t.Errorf("%s and %s have the id %d", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s is at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%s is over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if !slices.Contains([]string{"stat", "timeseries", "state-timeline"}, p.Type) || p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
			t.Errorf("panel %q of type %q lacks a type, title, description or unit", p.Title, p.Type)
		}
		if p.Datasource != chosen || len(p.Targets) == 0 {
			t.Errorf("%s has %d queries of %+v, want some of %+v", p.Title, len(p.Targets), p.Datasource, chosen)
		}
		for _, q := range p.Targets {
			if q.Datasource != chosen || q.RefID == "" {
				t.Errorf("%s: query %q of %+v, want %+v", p.Title, q.RefID, q.Datasource, chosen)
			}
		}
	}
}

// inGrafana is what Grafana makes of an expression: variables of its own, and
// those of the dashboard, those with several values as a regular expression.
func inGrafana(expr, middlewares string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "5m", "$middleware", middlewares).Replace(expr)
}

func TestDashboardShowsEverything(t *testing.T) {
	s := runScene(t, &billing{}, &billing{halfToEven: true})
	s.addControl(t, &billing{})
	p := runPrometheus(t, s)
	s.send(t, 500)
	s.settled(t, 500)
	p.awaitScraped(500) // with the one before the traffic it makes a rate

	d := readDashboard(t)
	shown := map[string]bool{}
	for _, panel := range d.Panels {
		for _, q := range panel.Targets {
			for _, middlewares := range []string{".*", middleware, "shadow-orders@file|" + middleware} {
				expr := inGrafana(q.Expr, middlewares)
				if strings.Contains(expr, "$") {
					t.Errorf("%s: a variable that there is not: %s", panel.Title, expr)
				}
				p.checkSelectors(expr)
				checkShown(t, panel.Title, q, p.query(expr))
			}
			if got := p.query(inGrafana(q.Expr, "shadow-orders@file")); len(got) != 0 {
				t.Errorf("%s: shows %v for another middleware: %s", panel.Title, got, q.Expr)
			}
			for _, name := range namesIn(t, inGrafana(q.Expr, ".*")) {
				shown[name] = true
			}
		}
	}
	for series := range p.series() {
		name, _, _ := strings.Cut(series, "{")
		if name = strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count"); !shown[name] && !shown[name+"_bucket"] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
	checkVariable(t, p, d.Templating.List[1].Definition)
	for _, expr := range documented(t) {
		p.checkSelectors(expr)
		p.query(expr)
	}
}

// asked is a row of a table whose second column is an expression.
var asked = regexp.MustCompile("(?m)^\\| [^|]+ \\| `(.*[({].*|mirror_info)` \\|$")

// documented are the expressions that docs/metrics.md has.
func documented(t *testing.T) (expressions []string) {
	t.Helper()
	all, err := docs.ReadAll(testbed.MustRepoRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Path != "docs/metrics.md" {
			continue
		}
		for _, b := range d.Blocks {
			if b.Language() == "promql" {
				expressions = append(expressions, b.Text)
			}
		}
	}
	for _, row := range asked.FindAllStringSubmatch(string(readFile(t, filepath.Join(testbed.MustRepoRoot(t), "docs", "metrics.md"))), -1) {
		expressions = append(expressions, strings.ReplaceAll(row[1], `\|`, "|"))
	}
	if len(expressions) < 9 {
		t.Errorf("docs/metrics.md has %d expressions only: %q", len(expressions), expressions)
	}
	return expressions
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// checkShown wants something to show, with the labels that its legend has.
func checkShown(t *testing.T, title string, q target, got model.Vector) {
	t.Helper()
	if len(got) == 0 {
		t.Errorf("%s: nothing to show: %s", title, q.Expr)
	}
	for _, sample := range got {
		if math.IsNaN(float64(sample.Value)) {
			t.Errorf("%s: %s is no number: %s", title, sample.Metric, q.Expr)
		}
		labels := map[string]bool{}
		for _, match := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
			labels[match[1]] = true
		}
		for name := range sample.Metric {
			if !labels[string(name)] {
				t.Errorf("%s: series differ in %s, which the legend %q does not have", title, name, q.LegendFormat)
			}
			delete(labels, string(name))
		}
		if len(labels) > 0 {
			t.Errorf("%s: the legend %q has labels that the series %s has not", title, q.LegendFormat, sample.Metric)
		}
	}
}

func namesIn(t *testing.T, expr string) (names []string) {
	t.Helper()
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names
}

var labelValues = regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)

// checkVariable has Prometheus tell the values of a variable as Grafana asks it.
func checkVariable(t *testing.T, p *prometheus, definition string) {
	t.Helper()
	match := labelValues.FindStringSubmatch(definition)
	if match == nil {
		t.Fatalf("the variable's query is %q", definition)
	}
	values, _, err := p.LabelValues(t.Context(), match[2], []string{match[1]}, time.Now().Add(-time.Hour), time.Now())
	if err != nil || len(values) != 1 || values[0] != middleware {
		t.Errorf("%s: %v (%v), want %s", definition, values, err, middleware)
	}
}
