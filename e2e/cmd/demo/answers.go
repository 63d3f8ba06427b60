package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/report"
)

const (
	// reportPath is where the example serves the report.
	reportPath = "/mirror/"

	mirrorName = "shadow-billing@file"
	askedFor   = 120 // invoices, in each section about answers

	draftsEndpoint = "POST " + draftsPath
	totalsEndpoint = "GET /invoices/*"
)

// comparison returns what comparing answers has shown once n answers have been compared,
// of those of an endpoint ("": of all), at the latest after some seconds.
func (d *demo) comparison(ctx context.Context, endpoint string, n int64) (c *report.Comparison, err error) {
	asked := time.Now()
	d.until(ctx, 5*time.Second, "waiting for the answers to be compared", func() bool {
		var made time.Time
		if c, made, err = d.readReport(ctx); err != nil {
			return true
		}
		have := c.Compared
		if endpoint != "" {
			have = 0
		}
		for _, e := range c.Endpoints {
			if e.Endpoint == endpoint {
				have = e.Compared
			}
		}
		// The plugin makes the report once a second at most, and this one may be of before.
		return have >= n && !made.Before(asked)
	})
	return c, err
}

// readReport returns what report.json has on comparing answers, and when it was made.
func (d *demo) readReport(ctx context.Context) (*report.Comparison, time.Time, error) {
	var doc report.Document
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.traefik.URL(reportPath+"report.json"), nil)
	if err != nil {
		return nil, doc.Generated, err
	}
	res, err := d.traefik.Client().Do(req)
	if err != nil {
		return nil, doc.Generated, err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, doc.Generated, fmt.Errorf("%s: %s: %.200q", req.URL, res.Status, text)
	}
	for _, m := range doc.Middlewares {
		if m.Name == mirrorName && m.Comparison != nil {
			return m.Comparison, doc.Generated, nil
		}
	}
	return nil, doc.Generated, fmt.Errorf("%s says nothing about the answers of %s", req.URL, mirrorName)
}

// checkAgreement has the demo fail unless n answers or more have been compared
// and all of them agree.
func (d *demo) checkAgreement(ctx context.Context, n int64) error {
	c, err := d.comparison(ctx, "", n)
	if err == nil && (c.Compared < n || c.Real+c.Undecided+c.Noise > 0) {
		d.fail("%d answers should have been compared, and agree; but of %d %d really differ, %d cannot be decided, and %d have noise",
			n, c.Compared, c.Real, c.Undecided, c.Noise)
	}
	return err
}

// tellDifferences makes the calls and prints what the answers differ in, which must be want.
func (d *demo) tellDifferences(ctx context.Context, calls []call, want ...report.Difference) (*report.Comparison, error) {
	results, err := d.makeCalls(ctx, calls...)
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if fault := r.liveFault(d.live); fault != "" {
			d.fail("invoice %s: %s", r.name, fault)
		}
	}
	c, err := d.comparison(ctx, want[0].Endpoint, int64(len(calls)))
	if err != nil {
		return nil, err
	}
	rows := [][]string{{"PATH", "LIVE", "SHADOW", "RELATION", "DIFFER", "WHERE", "VERDICT"}}
	for _, diff := range c.Differences {
		if diff.Key == "$.upstream" && diff.Judgement == compare.Ignored {
			continue // by the example
		}
		fault := "the answers do not differ in it"
		if i := slices.IndexFunc(want, func(w report.Difference) bool { return w.Endpoint == diff.Endpoint && w.Key == diff.Key }); i >= 0 {
			fault = differenceFault(diff, want[i])
			want = slices.Delete(want, i, i+1)
		}
		var last report.Example
		if n := len(diff.Examples); n > 0 {
			last = diff.Examples[n-1]
		}
		rows = append(rows, []string{diff.Key, ending(last.Live), ending(last.Shadow), diff.Relation,
			fmt.Sprintf("%d of %d", diff.Count, diff.Pairs), diff.Endpoint, d.verdict(fault, diff.Judgement)})
	}
	for _, w := range want {
		rows = append(rows, []string{w.Key, "", "", w.Relation, "", w.Endpoint, d.verdict("differs, and was not found", "")})
	}
	d.table(rows)
	d.line("")
	return c, nil
}

// differenceFault says in which way the difference is not the one that is wanted, or "".
func differenceFault(diff, want report.Difference) string {
	switch {
	case diff.Judgement != want.Judgement:
		return "not taken for " + want.Judgement
	case diff.Count != want.Count || diff.Pairs != askedFor || diff.ControlCount != 0 || diff.ControlPairs != want.ControlPairs:
		return fmt.Sprintf("differs in %d of %d, and in none of the control's %d", want.Count, askedFor, want.ControlPairs)
	case want.Relation == "":
		return "" // made up by each side
	case diff.Relation != want.Relation:
		return "is " + want.Relation
	}
	for _, x := range diff.Examples {
		live, errLive := strconv.ParseFloat(strings.Trim(x.Live, `"`), 64)
		shadow, errShadow := strconv.ParseFloat(strings.Trim(x.Shadow, `"`), 64)
		related := math.Round(100*(live-shadow)) == 1
		if want.Relation == timesHundred {
			related = math.Round(100*live) == shadow
		}
		if errLive != nil || errShadow != nil || !related {
			return fmt.Sprintf("%s is %s for live and %s for the shadow, which is not %s", diff.Key, x.Live, x.Shadow, want.Relation)
		}
	}
	return ""
}

const (
	lessOneCent  = "−0.01"
	timesHundred = "×100"
)

// tellHeadline prints what the report says in one line, which must be want, and the reason
// that it must give for the state, if any.
func (d *demo) tellHeadline(c *report.Comparison, state, want, reason string) {
	d.quote(c.State + ": " + c.Headline)
	if reason != "" {
		d.quote("because " + strings.Join(c.Reasons, "; "))
	}
	if c.State != state || c.Headline != want || reason != "" && !slices.Contains(c.Reasons, reason) {
		d.fail("it should say %s: %s %s", state, want, reason)
	}
}

func (d *demo) showComparing(ctx context.Context) (string, error) {
	const wrong = 12
	d.headline("5. The answers are compared: the shadow rounds differently, and is caught")
	if err := d.checkAgreement(ctx, 1); err != nil {
		return "", err
	}
	d.note("", fmt.Sprintf("So far all answers agreed, but for $.upstream, which the example ignores. Now both draw up %d invoices. "+
		"billing rounds VAT half up, billing-next half to even, and for each answer they make up an id and a time.", askedFor))
	d.line("")
	real := report.Difference{Endpoint: draftsEndpoint, Judgement: compare.Real, Relation: lessOneCent, Count: wrong}
	noise := report.Difference{Endpoint: draftsEndpoint, Judgement: compare.Noise, Count: askedFor}
	c, err := d.tellDifferences(ctx, drafts(askedFor), at("$.lines[*].vat", real), at("$.vat", real), at("$.total", real), at("$.createdAt", noise), at("$.id", noise))
	if err != nil {
		return "", err
	}
	d.note("", "The report suggests these lines for compare.ignore:")
	ignore := []string{"$.upstream"}
	for _, diff := range c.Differences {
		if diff.Judgement == compare.Noise {
			ignore = append(ignore, diff.Ignore)
			d.quote("- " + diff.Ignore)
		}
	}
	d.set(ignore, "compare", "ignore")
	if err := d.traefik.Reload(ctx, d.dynamic); err != nil {
		return "", err
	}
	if c, err = d.comparison(ctx, draftsEndpoint, askedFor); err != nil {
		return "", err
	}
	d.line("")
	d.note("", "They count for what was compared before, too: nothing has to be sent again. /mirror/report.json says:")
	d.tellHeadline(c, compare.StateDiffers, fmt.Sprintf("%d of %d answers really differ (%v%%)", wrong, c.Compared, float64(wrong*10000/c.Compared)/100), "")
	return fmt.Sprintf("The plugin has found the %d invoices for which it matters, and what is wrong with them.", wrong), nil
}

// at is the difference at the key.
func at(key string, diff report.Difference) report.Difference {
	diff.Key = key
	return diff
}

func (d *demo) showControl(ctx context.Context) (string, error) {
	d.headline("6. The shadow is wrong in every answer: undecided without a control, and caught with one")
	d.note("", fmt.Sprintf("The next build of billing-next tells what an invoice comes to in cents: a hundred times too much. "+
		"Its name is the new compare.epoch, so the comparison begins anew. %d invoices are asked for, each of another total:", askedFor))
	d.line("")
	d.shadow.Handle(billing{"billing-next", halfToEven, inCents})
	d.set("build 2", "compare", "epoch")
	if err := d.traefik.Reload(ctx, d.dynamic); err != nil {
		return "", err
	}
	total := report.Difference{Endpoint: totalsEndpoint, Key: "$.total", Judgement: compare.Undecided, Relation: timesHundred, Count: askedFor}
	c, err := d.tellDifferences(ctx, totals(askedFor), total)
	if err != nil {
		return "", err
	}
	d.note("", "What differs in every answer, and is another value each time, may be a mistake, or made anew for each answer as ids and times are. "+
		"Nothing here tells which, and the plugin does not guess: it is undecided, never green. /mirror/report.json says:")
	d.tellHeadline(c, compare.StateUndecided, fmt.Sprintf("%d of %[1]d answers differ in what cannot be decided (100%%)", askedFor),
		fmt.Sprintf("%d pairs differ in what cannot be told from noise", askedFor))

	d.line("")
	d.note("", "Now billing-old, a second instance of billing's version, is made the control: it gets what billing-next gets, "+
		"and what it differs in from billing is noise.")
	d.quote("compare.control: " + d.control.URL())
	d.note("", "The invoices once more:")
	d.line("")
	d.set(d.control.URL(), "compare", "control")
	if err := d.traefik.Reload(ctx, d.dynamic); err != nil {
		return "", err
	}
	total.Judgement, total.ControlPairs = compare.Real, askedFor
	if c, err = d.tellDifferences(ctx, totals(askedFor), total); err != nil {
		return "", err
	}
	d.note("", fmt.Sprintf("billing-old answered as billing did, %d times of %[1]d, so it is the new build. /mirror/report.json says:", askedFor))
	d.tellHeadline(c, compare.StateDiffers, fmt.Sprintf("%d of %[1]d answers really differ (100%%)", askedFor), "")
	return "Where the plugin cannot know it says so, and where a control tells, the mistake is caught.", nil
}

// ending shortens a value to what tells it from others of its kind.
func ending(value string) string {
	const most = 12
	if len(value) <= most {
		return value
	}
	return "…" + value[len(value)-most+1:]
}
