package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	reportFile = "benchmarks.md"
	plotFile   = "benchmarks.svg"
)

// A report is everything that was measured.
type report struct {
	options          options
	machine, traefik string
	against          string // the commit of options.against
	began            time.Time
	took             time.Duration
	results          []caseResult
	limited          []limitedResult
	routers          *routersResult // nil unless measured
}

// write puts the report and its plot into the folder.
func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plotted := len(r.where(healthy)) > 0
	if plotted {
		if err := r.plot(filepath.Join(dir, plotFile)); err != nil {
			return fmt.Errorf("the plot: %w", err)
		}
	}
	return os.WriteFile(filepath.Join(dir, reportFile), []byte(r.markdown(plotted)), 0o644)
}

// where returns the results of the cases in which the shadow was in that state.
func (r *report) where(state string) []caseResult {
	var list []caseResult
	for _, c := range r.results {
		if c.shadow == state {
			list = append(list, c)
		}
	}
	return list
}

// A page is Markdown under way.
type page struct{ strings.Builder }

func (p *page) text(format string, args ...any) { fmt.Fprintf(p, format+"\n\n", args...) }

// table writes a table; all but its first column are figures if right is set.
func (p *page) table(right bool, head []string, rows [][]string) {
	p.row(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---"
		if i > 0 && right {
			rule[i] = "--:"
		}
	}
	p.row(rule)
	for _, row := range rows {
		p.row(row)
	}
	p.WriteString("\n")
}

func (p *page) row(cells []string) { fmt.Fprintf(p, "| %s |\n", strings.Join(cells, " | ")) }

func (r *report) markdown(plotted bool) string {
	p := &page{}
	p.text("# Benchmarks")
	p.text("What mirroring costs Traefik and its clients: with this plugin, with Traefik's own `mirroring` service, with a plugin that does nothing (the price of being interpreted at all) and with no middleware. This page was written by the run itself; the figures are this machine's, the ratios travel better.")
	p.text("- Command: `%s`\n- Date: %s; the run took %s\n- Machine: %s\n- Traefik: %s\n- Per case: %d rounds, in each of which every competitor had %s at a fixed rate and %s saturated",
		r.options.command, r.began.Format("2 January 2006"), r.took.Round(time.Second), r.machine, r.traefik,
		r.options.rounds, r.options.duration, r.options.duration/2)
	r.reading(p)
	if plotted {
		p.text("![Processor time and live latency relative to no middleware, by body](%s)", plotFile)
	}
	r.healthyTables(p)
	r.brokenTables(p)
	r.memoryTable(p)
	r.limitedTable(p)
	r.routersTable(p)
	r.targetTable(p)
	r.method(p)
	return strings.TrimRight(p.String(), "\n") + "\n"
}

// reading says in words what the figures say.
func (r *report) reading(p *page) {
	var said []string
	if results := r.where(healthy); len(results) > 0 {
		said = append(said,
			"With a healthy shadow, Traefik's processor time per request with the plugin, relative to Traefik's own mirroring, is "+medians(results, plugin, own, processor)+"; relative to no middleware it is "+medians(results, plugin, none, processor)+" (Traefik's own mirroring: "+medians(results, own, none, processor)+").",
			"Saturated, the plugin's requests per second relative to Traefik's own mirroring are "+medians(results, plugin, own, perSecond)+".",
			"Serving the report, it takes "+medians(results, reported, plugin, processor)+" of that processor time, and comparing answers "+medians(results, compared, plugin, processor)+"; live's median latency is then "+medians(results, compared, plugin, p50)+" of what it is without comparing.",
			"Live latency relative to no middleware is, in the median, "+medians(results, plugin, none, p50)+" (Traefik's own mirroring: "+medians(results, own, none, p50)+"), and at the 99th percentile "+medians(results, plugin, none, p99)+" (Traefik's own mirroring: "+medians(results, own, none, p99)+").")
	}
	if results := r.withOrdered(); len(results) > 0 {
		said = append(said, "Where copies go one after the other (sequenceBy), the plugin takes "+medians(results, ordered, plugin, processor)+" of its processor time without, and allocates "+medians(results, ordered, plugin, objects)+" of its objects.")
	}
	if results := r.where(healthy); len(results) > 0 && r.against != "" {
		said = append(said, "Without comparing, the plugin takes "+medians(results, plugin, former, processor)+" of the processor time of the plugin as it was, and allocates "+medians(results, plugin, former, objects)+" of its objects.")
	}
	for _, state := range []string{hung, refused} {
		if results := r.where(state); len(results) > 0 {
			said = append(said, "Saturated with a "+state+" shadow, the plugin's requests per second relative to a plugin that does nothing are "+medians(results, plugin, passThrough, perSecond)+".")
		}
	}
	met, missed := r.sorted()
	said = append(said, fmt.Sprintf("Of %d [targets](#targets) %d were met and %d were not.", len(met)+len(missed), len(met), len(missed)))
	p.text("%s", strings.Join(said, " "))
}

// withOrdered returns the results in which sequenceBy was measured.
func (r *report) withOrdered() []caseResult {
	var list []caseResult
	for _, c := range r.where(healthy) {
		if c.contenders[ordered] != nil {
			list = append(list, c)
		}
	}
	return list
}

// medians names the medians of a ratio over the cases, by case.
func medians(results []caseResult, a, b competitor, m metric) string {
	var list []string
	for _, c := range results {
		list = append(list, fmt.Sprintf("%s %.2f", c.label, c.ratio(a, b, m).median))
	}
	return strings.Join(list, ", ")
}

func (r *report) healthyTables(p *page) {
	results := r.where(healthy)
	if len(results) == 0 {
		return
	}
	p.text("## A healthy shadow, by body")
	p.text("Ratios are formed within each round; the tables have their medians, and [targets](#targets) says how far the rounds were apart.")
	p.text("### Processor time and throughput")
	p.text("Processor time is Traefik's, user and system, per request at the fixed rate. Requests per second are those of %d connections that never pause, counted until the shadow has the last one too.", connections)
	r.costTable(p, results)
	p.text("### Live latency at the fixed rate")
	r.latencyTable(p, results)
	r.comparedTable(p, results)
}

// comparedTable holds the other ways to run the plugin against its default one.
func (r *report) comparedTable(p *page, results []caseResult) {
	p.text("### Comparing answers")
	p.text("Relative to this plugin with its default options, which compare nothing. Report: a middleware serves the report, so what only that has is measured. Compare: answers are compared as well, with the options that `compare` has by default. The upstreams' answers are JSON of %d bytes, and equal, which is seen without reading them as JSON; where all differ, they do in an id, and each is read, and kept as a mismatch. sequenceBy: nothing is compared, and the copies of one of %d customers, who send in turn, go one after the other.%s", len(beforeID+liveID+afterID), customers, r.wasText())
	var rows [][]string
	for _, c := range results {
		first := true
		for _, comp := range c.competitors() {
			if comp <= plugin {
				continue
			}
			cells := []string{heading(c, first), comp.String()}
			for _, m := range []metric{processor, perSecond, p50, p99, allocated, objects} {
				cells = append(cells, c.ratio(comp, plugin, m).String())
			}
			rows = append(rows, cells)
			first = false
		}
	}
	p.table(true, []string{"", "", "processor time", "requests/s", "p50", "p99", "bytes allocated", "objects allocated"}, rows)
}

// wasText says what the plugin as it was is.
func (r *report) wasText() string {
	if r.against == "" {
		return ""
	}
	return " The plugin as it was is that of commit " + r.against + "."
}

func (r *report) brokenTables(p *page) {
	results := append(r.where(hung), r.where(refused)...)
	if len(results) == 0 {
		return
	}
	p.text("## A shadow that hangs, and one that is not there")
	p.text("Hung: it accepts and reads, and never answers. Refused: nobody listens. Traefik's own mirroring has no timeout and no bound: it keeps every hung request, so its saturated run ends after %d requests and its Traefik is started anew for each round.", hungRequests)
	r.costTable(p, results)
	r.latencyTable(p, results)
}

// heading returns the first cell of a row: the case on its first row only.
func heading(c caseResult, first bool) string {
	if !first {
		return ""
	}
	if c.shadow != healthy {
		return fmt.Sprintf("%s, %s, %d/s", c.shadow, c.label, c.rate)
	}
	return fmt.Sprintf("%s, %d/s", c.label, c.rate)
}

func (r *report) costTable(p *page, results []caseResult) {
	var rows [][]string
	for _, c := range results {
		for i, comp := range c.competitors() {
			total := c.contenders[comp].total()
			mirrored := "–"
			if c.shadow == healthy && comp.mirrors() {
				mirrored = fmt.Sprintf("%d of %d", total.mirrored, total.sent)
			}
			rows = append(rows, []string{
				heading(c, i == 0), comp.String(),
				fmt.Sprintf("%.0f µs", c.of(comp, processor).median),
				against(c, comp, none, processor), against(c, comp, own, processor),
				fmt.Sprintf("%.0f", c.of(comp, perSecond).median),
				against(c, comp, passThrough, perSecond), against(c, comp, own, perSecond),
				mirrored, fmt.Sprintf("%d of %d", total.failed, total.sent),
			})
		}
	}
	p.table(true, []string{"", "", "processor time", "÷ none", "÷ Traefik's", "requests/s", "÷ pass-through", "÷ Traefik's", "mirrored", "live failed"}, rows)
}

// against returns a ratio for a table.
func against(c caseResult, a, b competitor, m metric) string {
	if a == b {
		return "1"
	}
	return fmt.Sprintf("%.2f", c.ratio(a, b, m).median)
}

// fewest is how many latencies there must be for their 99.9th percentile to be
// more than the worst few.
const fewest = 2000

func (r *report) latencyTable(p *page, results []caseResult) {
	var rows [][]string
	for _, c := range results {
		for i, comp := range c.competitors() {
			tail := "–"
			if all := c.contenders[comp].latencies; len(all) >= fewest {
				tail = fmt.Sprintf("%.2f ms", percentile(all, 99.9))
			}
			rows = append(rows, []string{
				heading(c, i == 0), comp.String(),
				fmt.Sprintf("%.2f ms", c.of(comp, p50).median), against(c, comp, none, p50),
				fmt.Sprintf("%.2f ms", c.of(comp, p99).median), against(c, comp, none, p99),
				tail,
			})
		}
	}
	p.table(true, []string{"", "", "p50", "÷ none", "p99", "÷ none", "p99.9"}, rows)
}

func (r *report) memoryTable(p *page) {
	if len(r.results) == 0 {
		return
	}
	p.text("## Memory, descriptors, goroutines")
	p.text("Allocations are per request at the fixed rate, the shadow's part included. Extra is what a request allocates more than with no middleware, relative to its body, where that is large: 1 is one buffer. Descriptors are the most at any time, saturated runs included, goroutines the most at the end of one. The peak is Traefik's resident memory; with a plugin it holds the interpreter.")
	var rows [][]string
	for _, c := range r.results {
		for i, comp := range c.competitors() {
			cont := c.contenders[comp]
			extra := "–"
			if comp != none && c.size >= 64<<10 {
				extra = fmt.Sprintf("%.2f", c.extra(comp).median)
			}
			first := ""
			if i == 0 {
				first = c.shadow + ", " + c.label
			}
			rows = append(rows, []string{
				first, comp.String(),
				fmt.Sprintf("%.1f KiB", c.of(comp, allocated).median/(1<<10)), extra,
				fmt.Sprintf("%.0f", c.of(comp, objects).median),
				mebibytes(cont.peak), fmt.Sprint(cont.descriptors), fmt.Sprint(cont.goroutines),
			})
		}
	}
	p.table(true, []string{"", "", "allocated", "extra ÷ body", "objects", "peak memory", "descriptors", "goroutines"}, rows)
}

func (r *report) limitedTable(p *page) {
	if len(r.limited) == 0 {
		return
	}
	p.text("## Under `ulimit -n %d`", descriptorLimit)
	p.text("The shadow hangs; %d requests a second of %.0f kB for %s, every fifth from a client that then closes its connection; both Traefiks side by side.", limitedRate, limitedSize/1e3, r.options.limited)
	var rows [][]string
	for _, l := range r.limited {
		rows = append(rows, []string{
			l.competitor.String(), fmt.Sprintf("%d of %d", l.failed, l.sent), fmt.Sprint(l.descriptors), mebibytes(l.peak),
		})
	}
	p.table(true, []string{"", "live requests failed", "most descriptors", "peak memory"}, rows)
}

func (r *report) targetTable(p *page) {
	p.text("## Targets")
	p.text("Each is held against the median of the rounds; in brackets is the interval that has the true median with 95 %% confidence, by order statistics, which with seven rounds is from the smallest to the largest. What a request costs interpreted, in objects, bytes and nanoseconds, has targets in the tests and benchmarks of e2e/interpreted.")
	var rows [][]string
	for _, t := range r.targets() {
		rows = append(rows, []string{t.where, t.what, t.bound, t.measured, t.verdict()})
	}
	p.table(false, []string{"case", "figure", "target", "measured", ""}, rows)
}

func (r *report) method(p *page) {
	p.text("## How it was measured")
	p.text(`- Each competitor has a Traefik process and upstreams of its own in each case, and loads only what it needs: there is an interpreter only where there is a plugin. They take turns within a round, in random order, and each is warmed up before it is measured.
- All upstreams answer every request with the same JSON, of %d bytes.
- This plugin and Traefik's own mirroring have their default options: for the plugin maxBodySize 1 MiB, maxInFlight 100 and timeout 5 s, for Traefik's an unlimited maxBodySize; both mirror 100 percent.
- The load and the upstreams are one process beside Traefik on the same machine. The rates are such that two cores stay less than half busy. At a fixed rate requests go out when they are due, whether or not earlier ones were answered ([vegeta](https://github.com/tsenart/vegeta)); a p50 or p99 is that of a round, which has as many requests as rate times duration: at %d/s, %.0f; a p99.9 is over all rounds together, and given only over %d requests or more. Saturated, %d connections send one request after the other ([fasthttp](https://github.com/valyala/fasthttp)); client and upstreams then take processor time from Traefik, which makes all competitors more alike.
- Processor time is the process's clock as the kernel keeps it, and includes what the shadow's part takes after the client has been answered. Allocations are differences of Go's own totals, less what asking for them allocates.`, len(beforeID+liveID+afterID), r.slowest(), float64(r.slowest())*r.options.duration.Seconds(), fewest, connections)
}

// slowest returns the lowest rate that was used.
func (r *report) slowest() int {
	rate := limitedRate
	for _, c := range r.results {
		rate = min(rate, c.rate)
	}
	return rate
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }
