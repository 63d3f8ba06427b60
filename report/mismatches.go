package report

import (
	"bytes"
	"encoding/json"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// MismatchesType is the content type of mismatches.ndjson.
const MismatchesType = "application/x-ndjson"

// A mismatch is an example with all that is known of it, for a line of its own.
type mismatch struct {
	Middleware   string    `json:"middleware"`
	Endpoint     string    `json:"endpoint"`
	Key          string    `json:"key"`
	Judgement    string    `json:"judgement"`
	Relation     string    `json:"relation"`
	Index        *int      `json:"index"`
	At           time.Time `json:"at"`
	Path         string    `json:"path"`
	Query        []string  `json:"query"`
	RequestID    string    `json:"requestId"`
	LiveStatus   int       `json:"liveStatus"`
	ShadowStatus int       `json:"shadowStatus"`
	Live         string    `json:"live"`
	Shadow       string    `json:"shadow"`
	Curl         string    `json:"curl"`
}

// Mismatches are the examples of one middleware and one judgement, a line of JSON each.
type Mismatches struct {
	Middleware string
	Judgement  string
	Lines      []byte
}

// NewMismatches returns all examples of a document, those of a middleware together, and of
// these the worst first.
func NewMismatches(d *Document) ([]*Mismatches, error) {
	all := []*Mismatches{}
	for _, m := range d.Middlewares {
		if m.Comparison == nil {
			continue
		}
		for _, judgement := range exemplified {
			lines, err := linesOf(m, judgement)
			if err != nil {
				return nil, err
			}
			all = append(all, &Mismatches{Middleware: m.Name, Judgement: judgement, Lines: lines})
		}
	}
	return all, nil
}

// exemplified are the judgements that have examples, the worst first.
var exemplified = []string{compare.Real, compare.Undecided, compare.Noise}

func linesOf(m *Middleware, judgement string) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // nobody takes this for a page, and it is easier to read
	for i := range m.Comparison.Differences {
		d := &m.Comparison.Differences[i]
		if d.Judgement != judgement {
			continue
		}
		for j := range d.Examples {
			x := &d.Examples[j]
			line := &mismatch{
				Middleware: m.Name, Endpoint: d.Endpoint, Key: d.Key, Judgement: judgement, Relation: x.Relation, Index: x.Index,
				At: x.At, Path: x.Path, Query: x.Query, RequestID: x.RequestID, LiveStatus: x.LiveStatus, ShadowStatus: x.ShadowStatus,
				Live: x.Live, Shadow: x.Shadow, Curl: x.Curl,
			}
			if err := e.Encode(line); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), nil
}

// A Choice is of mismatches.
type Choice struct {
	middleware string // ""; all
	judgements map[string]bool

	Mistake string // in what was asked for; "": there is none
	Unknown bool   // the mistake is that there is no such middleware
}

// Choose reads which mismatches of a document somebody wants: of ?middleware= and
// ?judgement=, which may have several with commas between.
func (d *Document) Choose(values url.Values) *Choice {
	c := &Choice{judgements: map[string]bool{}}
	for _, word := range exemplified {
		c.judgements[word] = true
	}
	var unknown []string
	for name, given := range values {
		switch {
		case name != "middleware" && name != "judgement":
			unknown = append(unknown, asked(name))
		case len(given) > 1:
			c.Mistake = name + " is given more than once"
		case name == "judgement":
			c.chooseJudgements(given[0])
		}
	}
	sort.Strings(unknown)
	if len(unknown) > 0 {
		c.Mistake = "there is no parameter " + firstFew(unknown) + ", but middleware, judgement"
	}
	if c.Mistake == "" && len(values["middleware"]) > 0 {
		c.chooseMiddleware(d, values.Get("middleware"))
	}
	return c
}

func (c *Choice) chooseJudgements(text string) {
	words := strings.Split(text, ",")
	chosen := map[string]bool{}
	for _, word := range words {
		if !c.judgements[word] {
			c.Mistake = "judgement=" + asked(text) + ": judgement takes " + strings.Join(exemplified, ", ") + ", or several with commas between"
			return
		}
		chosen[word] = true
	}
	c.judgements = chosen
}

func (c *Choice) chooseMiddleware(d *Document, name string) {
	if name == "" {
		c.Mistake = `middleware="": middleware takes the name of one`
		return
	}
	found, named := d.named(name)
	switch {
	case len(found) == 1:
		c.middleware = found[0].Name
	case len(found) > 1:
		c.Mistake = "middleware=" + asked(name) + " may be any of " + firstFew(named)
	case len(named) == 0:
		c.Mistake = "there is no middleware that mirrors"
		c.Unknown = true
	default:
		c.Mistake = "there is no middleware " + asked(name) + ", but " + firstFew(named)
		c.Unknown = true
	}
}

// Has reports whether these are among those that are wanted.
func (c *Choice) Has(m *Mismatches) bool {
	return (c.middleware == "" || c.middleware == m.Middleware) && c.judgements[m.Judgement]
}
