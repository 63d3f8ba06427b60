package report

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/compare"
)

// differing is an account with differences of each judgement.
func differing() *compare.Account {
	example := func(number string) []compare.Example {
		return []compare.Example{{
			At: generated, Path: "/invoices/" + number, Query: []string{"currency"}, Curl: `curl -g --path-as-is "$BASE"'/invoices/` + number + `?currency=EUR&note=<b>'`,
			RequestID: "7f3a-" + number, LiveStatus: 200, ShadowStatus: 201, Live: `"a` + "\n" + `"`, Shadow: "missing", Relation: "missing", Index: 3,
		}}
	}
	a := invoices(1000)
	a.Differences = []compare.Group{
		{Endpoint: "GET /invoices/*", Key: "$.total", Judgement: compare.Real, Count: 2, Examples: append(example("1"), example("2")...)},
		{Endpoint: "POST /invoices", Key: "$.id", Judgement: compare.Undecided, Count: 1, Examples: example("3")},
		{Endpoint: "POST /invoices", Key: "$.token", Judgement: compare.Noise, Count: 1, Examples: example("4")},
		{Endpoint: "POST /invoices", Key: "$.iban", Judgement: compare.Ignored, Count: 1},
	}
	a.Differences[1].Examples[0].Index = -1
	a.Differences[1].Examples[0].Query = nil
	return a
}

func TestMismatchesAreChosen(t *testing.T) {
	d := documentFor(judgedMirror("shadow-billing@docker", differing(), nil), judgedMirror("shadow-billing@file", differing(), nil), judgedMirror("shadow-orders@docker", nil, nil))
	all, err := NewMismatches(d)
	if err != nil {
		t.Fatal(err)
	}
	const both, docker = "docker 1,docker 2,docker 3,docker 4,file 1,file 2,file 3,file 4", "docker 1,docker 2,docker 3,docker 4"
	tests := []struct{ query, want, mistake string }{
		{"", both, ""},
		{"middleware=shadow-billing@docker", docker, ""},
		{"middleware=shadow-orders", "", ""},
		{"judgement=real", "docker 1,docker 2,file 1,file 2", ""},
		{"judgement=noise,undecided&middleware=shadow-billing@file", "file 3,file 4", ""},
		{"judgement=real,undecided,noise", both, ""},
		{"middleware=shadow-billing", "", "may be any of shadow-billing@docker, shadow-billing@file"},
		{"middleware=shadow-biling", "", `there is no middleware "shadow-biling", but shadow-billing@docker`},
		{"middleware=", "", "middleware takes the name of one"},
		{"judgement=ignored", "", "judgement takes real, undecided, noise"},
		{"judgement=", "", "judgement takes"},
		{"judgement=real,", "", "judgement takes"},
		{"judgement=real&judgement=noise", "", "more than once"},
		{"judgment=real", "", `there is no parameter "judgment", but middleware, judgement`},
	}
	for _, test := range tests {
		values, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		c := d.Choose(values)
		if !strings.Contains(c.Mistake, test.mistake) || (test.mistake == "") != (c.Mistake == "") || c.Unknown != strings.HasPrefix(test.mistake, "there is no middleware") {
			t.Errorf("%s: %q, unknown %t; want %q", test.query, c.Mistake, c.Unknown, test.mistake)
		}
		if c.Mistake != "" {
			continue
		}
		var got []string
		for _, m := range all {
			if !c.Has(m) {
				continue
			}
			for _, line := range strings.Split(strings.TrimSuffix(string(m.Lines), "\n"), "\n") {
				var x mismatch
				if line == "" {
					continue
				}
				if err := json.Unmarshal([]byte(line), &x); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				got = append(got, strings.TrimPrefix(x.Middleware, "shadow-billing@")+" "+strings.TrimPrefix(x.Path, "/invoices/"))
			}
		}
		if strings.Join(got, ",") != test.want {
			t.Errorf("%s: %q, want %s", test.query, got, test.want)
		}
	}
	if c := documentFor().Choose(url.Values{"middleware": {"shadow-billing"}}); !c.Unknown {
		t.Errorf("where there is none: %+v", c)
	}
}

// Scripts depend on the names, and the examples of report.json have the same.
func TestMismatchesAsLines(t *testing.T) {
	d := documentFor(judgedMirror("shadow-billing@docker", differing(), nil))
	all, err := NewMismatches(d)
	if err != nil || len(all) != 3 {
		t.Fatalf("%d parts (%v), want one for each judgement", len(all), err)
	}
	want := `{"middleware":"shadow-billing@docker","endpoint":"GET /invoices/*","key":"$.total","judgement":"real","relation":"missing","index":3,` +
		`"at":"2026-03-12T14:31:07Z","path":"/invoices/1","query":["currency"],"requestId":"7f3a-1","liveStatus":200,"shadowStatus":201,"live":"\"a\n\"","shadow":"missing",` +
		`"curl":"curl -g --path-as-is \"$BASE\"'/invoices/1?currency=EUR&note=<b>'"}`
	if got, _, _ := strings.Cut(string(all[0].Lines), "\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(all[1].Lines); !strings.Contains(got, `"index":null,`) || !strings.Contains(got, `"query":[],`) {
		t.Errorf("%s, want no place in a list and an empty list of names", got)
	}
	x := d.Middlewares[0].Comparison.Differences[0].Examples[0]
	if len(x.Query) != 1 || x.Query[0] != "currency" || !strings.HasPrefix(x.Curl, "curl ") {
		t.Errorf("the report's example is %+v", x)
	}
}
