package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

const (
	// reportPath is where the example serves the report.
	reportPath = "/mirror/"

	mirrorName = "shadow-billing@file"
	draftCount = 120

	draftsEndpoint = "POST " + draftsPath
)

// comparison returns what comparing answers has shown by now, as report.json has
// it.
func (d *demo) comparison(ctx context.Context) (*report.Comparison, error) {
	doc, err := d.report(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range doc.Middlewares {
		if m.Name == mirrorName && m.Comparison != nil {
			return m.Comparison, nil
		}
	}
	return nil, fmt.Errorf("%sreport.json says nothing about the answers of %s", reportPath, mirrorName)
}

// report returns report.json as it is by now. The plugin makes it once a second at most,
// so one that was made before is asked for again.
func (d *demo) report(ctx context.Context) (*report.Document, error) {
	for asked := time.Now(); ; {
		doc, err := d.readReport(ctx)
		if err != nil || !doc.Generated.Before(asked) {
			return doc, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *demo) readReport(ctx context.Context) (*report.Document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.traefik.URL(reportPath+"report.json"), nil)
	if err != nil {
		return nil, err
	}
	res, err := d.traefik.Client().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return nil, fmt.Errorf("%s: %s: %s", req.URL, res.Status, text)
	}
	doc := &report.Document{}
	if err := json.NewDecoder(res.Body).Decode(doc); err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL, err)
	}
	return doc, nil
}

// waitCompared waits until n answers have been compared, of those of an endpoint; "": of
// all. It returns what that has shown, at the latest after some seconds.
func (d *demo) waitCompared(ctx context.Context, endpoint string, n int64) (*report.Comparison, error) {
	var c *report.Comparison
	var err error
	d.until(ctx, 5*time.Second, "waiting for the answers to be compared", func() bool {
		c, err = d.comparison(ctx)
		return err != nil || comparedAt(c, endpoint) >= n
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return c, err
}

func comparedAt(c *report.Comparison, endpoint string) int64 {
	if endpoint == "" {
		return c.Compared
	}
	for _, e := range c.Endpoints {
		if e.Endpoint == endpoint {
			return e.Compared
		}
	}
	return 0
}

// checkAgreement has the demo fail unless n answers or more have been compared
// and all of them agree.
func (d *demo) checkAgreement(ctx context.Context, n int64) error {
	c, err := d.waitCompared(ctx, "", n)
	if err != nil {
		return err
	}
	if c.Compared < n || c.Real+c.Undecided+c.Noise > 0 {
		d.note(red, d.verdict(fmt.Sprintf("%d answers should have been compared, and agree; but of %d %d really differ, %d cannot be decided, and %d have noise",
			n, c.Compared, c.Real, c.Undecided, c.Noise), ""))
	}
	return nil
}

func (d *demo) showComparing(ctx context.Context) error {
	d.headline("5. The answers are compared: the shadow rounds differently, and is caught")
	if err := d.checkAgreement(ctx, 1); err != nil {
		return err
	}
	d.note("", fmt.Sprintf("So far all answers agreed, but for $.upstream, which the example ignores. Now both draw up %d invoices. "+
		"billing rounds VAT half up, billing-next half to even, and for each answer they make up an id and a time.", draftCount))
	d.line("")
	expected := expectDifferences(drafts(draftCount))
	ok := d.sendDrafts(ctx)
	found, err := d.waitCompared(ctx, draftsEndpoint, draftCount)
	if err != nil {
		return err
	}
	ok = d.tellDifferences(found, expected) && ok
	d.line("")
	d.note("", "The report suggests these lines for compare.ignore:")
	lines := linesFor(found)
	for _, path := range lines {
		d.quote("- " + path)
	}

	d.example.ignore(lines)
	if err := d.traefik.Reload(ctx, d.example.dynamic); err != nil {
		return err
	}
	ruled, err := d.comparison(ctx)
	if err != nil {
		return err
	}
	d.line("")
	d.note("", fmt.Sprintf("They count for what was compared before, too: nothing has to be sent again. The verdict in %sreport.json is:", reportPath))
	d.quote(ruled.Headline)
	if fault := verdictFault(found, ruled, expected); fault != "" {
		ok = false
		d.note(red, d.verdict(fault, ""))
	}
	d.conclusion(ok, fmt.Sprintf("The plugin has found the %d invoices for which it matters, and what is wrong with them.", expected.invoices),
		"The plugin has not found what differs, or more than that.")
	return nil
}

// linesFor are the lines that the report has for its noise.
func linesFor(c *report.Comparison) []string {
	var lines []string
	for _, diff := range c.Differences {
		if diff.Judgement == compare.Noise {
			lines = append(lines, diff.Ignore)
		}
	}
	slices.Sort(lines)
	return lines
}

// expected is what comparing drafts has to show.
type expected struct {
	invoices int64            // in which live and shadow differ
	real     map[string]int64 // how many of them by path
	noise    []string         // the paths that differ in all
	ignored  string           // the path that the example ignores, which differs in all
}

func expectDifferences(list []invoice) expected {
	e := expected{real: map[string]int64{}, noise: []string{"$.createdAt", "$.id"}, ignored: "$.upstream"}
	for _, draft := range list {
		live, shadow := drawn(draft, halfUp), drawn(draft, halfToEven)
		if slices.Equal(live.Lines, shadow.Lines) {
			continue
		}
		e.invoices++
		e.real["$.lines[*].vat"]++
		if live.VAT != shadow.VAT {
			e.real["$.vat"]++
		}
		if live.Total != shadow.Total {
			e.real["$.total"]++
		}
	}
	return e
}

// drawn returns the draft drawn up, and leaves it as it is.
func drawn(draft invoice, round func(int64) int64) invoice {
	draft.Lines = slices.Clone(draft.Lines)
	if err := draft.drawUp(round); err != nil {
		panic(err) // drafts makes no others
	}
	return draft
}

// sendDrafts has the drafts drawn up and reports whether the client has got
// live's answer to each.
func (d *demo) sendDrafts(ctx context.Context) bool {
	var list []call
	for _, draft := range drafts(draftCount) {
		body, err := json.Marshal(draft)
		if err != nil {
			panic(err) // texts only
		}
		list = append(list, call{name: draft.Number, method: http.MethodPost, path: draftsPath, contentType: "application/json", body: body})
	}
	for _, r := range d.makeCalls(ctx, list...) {
		if fault := draftFault(r); fault != "" && ctx.Err() == nil {
			d.note(red, d.verdict(fmt.Sprintf("invoice %s: %s", r.name, fault), ""))
			return false
		}
	}
	return true
}

// draftFault says in which way the client has not got live's answer, or "".
func draftFault(r result) string {
	var draft invoice
	var got drawnUp
	if r.err != nil {
		return "no answer: " + r.err.Error()
	}
	if err := json.Unmarshal([]byte(r.answer), &got); err != nil {
		return "the answer is not JSON: " + err.Error()
	}
	if err := json.Unmarshal(r.body, &draft); err != nil {
		return err.Error()
	}
	want, _ := json.Marshal(drawn(draft, halfUp))
	if have, _ := json.Marshal(got.invoice); got.Upstream != "billing" || r.status != http.StatusCreated || !bytes.Equal(have, want) {
		return fmt.Sprintf("the answer is not live's: %d %.200q", r.status, r.answer)
	}
	return ""
}

// tellDifferences prints what the answers differ in and reports whether that is
// what they have to.
func (d *demo) tellDifferences(c *report.Comparison, e expected) bool {
	rows := [][]string{{"PATH", "LIVE", "SHADOW", "DIFFER", "WHERE", "VERDICT"}}
	missing := map[string]bool{}
	for path := range e.real {
		missing[path] = true
	}
	for _, path := range e.noise {
		missing[path] = true
	}
	ok := true
	for _, diff := range c.Differences {
		delete(missing, diff.Key)
		if diff.Key == e.ignored && diff.Judgement == compare.Ignored {
			continue // also for other endpoints, which are none of this section's
		}
		fault := e.fault(diff)
		ok = ok && fault == ""
		live, shadow := "", ""
		if n := len(diff.Examples); n > 0 {
			live, shadow = diff.Examples[n-1].Live, diff.Examples[n-1].Shadow
		}
		rows = append(rows, []string{diff.Key, ending(live), ending(shadow),
			fmt.Sprintf("%d of %d", diff.Count, diff.Pairs), diff.Endpoint, d.verdict(fault, diff.Judgement)})
	}
	for _, path := range slices.Sorted(maps.Keys(missing)) {
		ok = false
		rows = append(rows, []string{path, "", "", "", "", d.verdict("differs, and was not found", "")})
	}
	d.table(rows)
	return ok
}

// fault says in which way the difference is not as it has to be, or "".
func (e expected) fault(diff report.Difference) string {
	count, real := e.real[diff.Key]
	noise := slices.Contains(e.noise, diff.Key)
	switch {
	case diff.Key == e.ignored:
		return "not ignored"
	case !real && !noise || diff.Endpoint != draftsEndpoint:
		return "the answers do not differ in it"
	case noise && diff.Judgement != compare.Noise:
		return "not taken for noise"
	case real && diff.Judgement != compare.Real:
		return "not taken for real"
	case noise:
		count = draftCount
	}
	if diff.Count != count || diff.Pairs != draftCount {
		return fmt.Sprintf("differs in %d of %d", count, draftCount)
	}
	return ""
}

// verdictFault says in which way the comparison, as it is when its noise is ignored, is
// not as it has to be, or "".
func verdictFault(found, ruled *report.Comparison, e expected) string {
	if ruled.State != compare.StateDiffers || ruled.Compared < found.Compared || ruled.Real != e.invoices || ruled.Undecided+ruled.Noise != 0 {
		return fmt.Sprintf("%d of %d answers really differ, and no other in anything that is not ignored", e.invoices, found.Compared)
	}
	for _, diff := range ruled.Differences {
		if diff.Judgement != compare.Real {
			continue
		}
		for _, x := range diff.Examples {
			live, errLive := cents(trimQuotes(x.Live))
			shadow, errShadow := cents(trimQuotes(x.Shadow))
			if errLive != nil || errShadow != nil || live <= shadow {
				return fmt.Sprintf("%s is %s for live and %s for the shadow, which is not what rounding does", diff.Key, x.Live, x.Shadow)
			}
		}
	}
	return ""
}

func trimQuotes(s string) string { return strings.Trim(s, `"`) }

// ending shortens a value to what tells it from others of its kind.
func ending(value string) string {
	const most = 16
	if len(value) <= most {
		return value
	}
	return "…" + value[len(value)-most+1:]
}
