package compare

import (
	"reflect"
	"strings"
	"testing"
)

func TestRulesCover(t *testing.T) {
	tests := []struct {
		rule, method, path, subject string
		want                        bool
	}{
		{"$.id", "GET", "/invoices/*", "$.id", true},
		{"$.id", "GET", "/invoices/*", "$.id.value", true},
		{"$.id", "GET", "/invoices/*", "$.idx", false},
		{"$.id", "GET", "/invoices/*", "body", false},
		{"$.id", "GET", "/invoices/*", "header Id", false},
		{"$.lines", "GET", "/", "$.lines", true},
		{"$.lines", "GET", "/", "$.lines[*].sku", true},
		{"$.lines[*]", "GET", "/", "$.lines", false},
		{"$.lines[*].at", "GET", "/", "$.lines[*].at", true},
		{"$.lines[*].at", "GET", "/", "$.lines[*]", false},
		{"$.totals.*", "GET", "/", "$.totals.net", true},
		{"$.totals.*", "GET", "/", "$.totals", false},
		{"$..at", "GET", "/", "$.a.b[*].at", true},
		{"$..at", "GET", "/", "$.at.x", true},
		{"$..at", "GET", "/", "$.ta", false},
		{"$..a..b", "GET", "/", "$.a.x.a.y.b.z", true},
		{"$..a..b", "GET", "/", "$.b.a", false},
		{"$..a.b..c", "GET", "/", "$.a.c.a.b.c", true},
		{"$" + strings.Repeat("..*", 60) + "..z", "GET", "/", "$" + strings.Repeat(".a", 90), false},
		{"$['a.b']", "GET", "/", "$['a.b'].c", true},
		{"$['a.b']", "GET", "/", "$.a.b", false},
		{"$.a", "GET", "/", "$.a['" + strings.Repeat("n", 300) + "…", true},
		{"$.invoice.@number", "GET", "/", "$.invoice.@number", true},

		{"header x-request-id", "GET", "/", "header X-Request-Id", true},
		{"header X-Request-Id", "GET", "/", "header X-Request", false},
		{"header Access-Control-*", "GET", "/", "header Access-Control-Max-Age", true},
		{"header ETag", "GET", "/", "header Etag", true},
		{"header Set-Cookie", "GET", "/", "cookie session", true},
		{"cookie session", "GET", "/", "cookie session", true},
		{"cookie session", "GET", "/", "cookie Session", false},
		{"cookie session", "GET", "/", "header session", false},
		{"status 404/410", "GET", "/", "status 404/410", true},
		{"status 404/410", "GET", "/", "status 410/404", false},
		{"status 4xx/*", "GET", "/", "status 404/200", true},
		{"status 4xx/*", "GET", "/", "status 200/404", false},
		{"status */*", "GET", "/", "status", false}, // no answer
		{"body", "GET", "/", "body", true},
		{"body", "GET", "/", "$.lines[*]", true},
		{"body", "GET", "/", "status 200/500", false},
		{"all", "GET", "/", "status 200/500", true},
		{"all", "GET", "/", "header Vary", true},
		{"all", "GET", "/", "status", true},

		{"GET /invoices/* $.id", "GET", "/invoices/*", "$.id", true},
		{"GET /invoices/* $.id", "POST", "/invoices/*", "$.id", false},
		{"GET /invoices/* $.id", "GET", "/invoices", "$.id", false},
		{"GET /invoices/* $.id", "GET", "/invoices/*/lines", "$.id", false},
		{"GET /invoices/* $.id", "GET", "/orders/*", "$.id", false},
		{"GET /invoices/* $.id", "", "", "$.id", false},
		{"* /invoices/* $.id", "PATCH", "/invoices/open", "$.id", true},
		{"* /internal/** all", "GET", "/internal/*/metrics", "body", true},
		{"* /internal/** all", "GET", "/internal", "body", true},
		{"* /internal/** all", "GET", "/internals", "body", false},
		{"GET /v2/invoices header Vary", "GET", "/v2/invoices", "header Vary", true},
		{"POST /graphql Invoices $.data.requestId", "POST", "/graphql Invoices", "$.data.requestId", true},
		{"POST /graphql Invoices $.data.requestId", "POST", "/graphql Orders", "$.data.requestId", false},
		{"POST /graphql $.data.requestId", "POST", "/graphql Orders", "$.data.requestId", true},
		{"GET /invoices/* $['due date']", "GET", "/invoices/*", "$['due date']", true},
		{"  GET   /invoices/*   header   Vary ", "GET", "/invoices/*", "header Vary", true},
	}
	for _, test := range tests {
		rule, err := ParseRule(test.rule)
		if err != nil {
			t.Errorf("%s: %v", test.rule, err)
			continue
		}
		if got := rule.Covers(test.method, test.path, test.subject); got != test.want || rule.String() != test.rule {
			t.Errorf("%s covers %s of %s %s: %t, want %t", rule, test.subject, test.method, test.path, got, test.want)
		}
	}
}

// What is said of a mistake names its place.
func TestMistakesInRulesAreNamed(t *testing.T) {
	tests := []struct{ rule, says string }{
		{"", "at character 1 there is neither"},
		{"id", "at character 1 there is neither"},
		{"get /invoices $.id", "at character 1 there is neither"},
		{"GET invoices $.id", "at character 5 there has to be a path's pattern"},
		{"GET /invoices/4711 $.id", "at character 5 there has to be a path's pattern, which has *"},
		{"GET /invoices/*", "at character 16 there has to be WHAT"},
		{"GET /invoices/* id", "at character 17 there has to be WHAT"},
		{"GET /invoices/* $.lines[0]", "at character 8 there has to be [*]: places in a list are not told apart of the path"},
		{"$.lines[", "at character 8 there has to be [*]"},
		{"$", "a path below $: for all of a body there is the word body"},
		{"$.a..", "at character 6 there has to be a name"},
		{"header", "the name of a header"},
		{"header X Total", "at character 8 there has to be the name of a header"},
		{"cookie a=b", "at character 8 there has to be the name of a cookie"},
		{"status 404", "at character 8 there have to be live's status and the shadow's"},
		{"status 404/700", "live's status and the shadow's"},
		{"body $.id", "at character 6 there is something after body"},
		{"GET /invoices/* all of it", "at character 21 there is something after all"},
	}
	for _, test := range tests {
		_, err := ParseRule(test.rule)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: said %v, want %q", test.rule, err, test.says)
		}
	}
}

func TestWhatRulesCoverIsIgnored(t *testing.T) {
	paid, open := jsonAnswer(`{"id":1,"at":1,"paid":true}`), jsonAnswer(`{"id":2,"at":2,"paid":false}`)
	gone, missing := answer(404, "text/plain", "no"), answer(410, "text/plain", "no")
	cases := []struct {
		name         string
		live, shadow *Answer
		rules        []string
		want         []string
	}{
		{"nothing", paid, open, nil, []string{"real $.at", "real $.id", "real $.paid"}},
		{"everywhere", paid, open, []string{"$.id"}, []string{"real $.at", "real $.paid", "ignored $.id"}},
		{"at the endpoint", paid, open, []string{"GET /invoices/* $.id", "POST /invoices/* $.at"}, []string{"real $.at", "real $.paid", "ignored $.id"}},
		{"all of it", paid, open, []string{"$.id", "$.at", "$.paid"}, []string{"ignored $.at", "ignored $.id", "ignored $.paid"}},
		{"the body", paid, open, []string{"GET /invoices/* body"}, []string{"ignored $.at", "ignored $.id", "ignored $.paid"}},
		{"a status", gone, missing, []string{"status 404/410"}, []string{"ignored status"}},
		{"another status", gone, missing, []string{"status 404/200"}, []string{"real status"}},
		{"the endpoint", gone, missing, []string{"GET /invoices/* all"}, []string{"ignored status"}},
	}
	for _, test := range cases {
		r := rules(t, test.rules...)
		v := begun(r)
		v.Drop("GET", "/invoices/1", "too_large") // so that the endpoint is known
		for i := 0; i < 30; i++ {
			v.Add(r, &Request{Method: "GET", Path: "/invoices/4711"}, test.live, test.shadow, Judge(r, test.live, test.shadow))
		}
		a := v.Snapshot()
		got := []string{}
		ignored := true
		for _, g := range a.Account.Differences {
			got = append(got, g.Judgement+" "+g.Key)
			ignored = ignored && g.Judgement == Ignored
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if ignored != (a.Totals.Outcomes[Match] == 30) || ignored != (a.Account.Ignored == 30) {
			t.Errorf("%s: outcomes %v, %d ignored of 30", test.name, a.Totals.Outcomes, a.Account.Ignored)
		}
	}
}

// Where not all was looked at, and all that was found is ignored, nobody knows.
func TestWhatIsBeyondTheBoundIsNotIgnored(t *testing.T) {
	many := func(v string) string {
		var b strings.Builder
		for i := 0; i < maxDifferences; i++ {
			b.WriteString(`"at` + strings.Repeat("t", i) + `":` + v + `,`)
		}
		return `{` + b.String() + `"total":` + v + `}`
	}
	r := rules(t, "$.*")
	v := begun(r)
	judge(v, r, "GET", "/invoices", many("1"), many("2"))
	if a := v.Snapshot(); a.Account.Undecided != 1 || a.Totals.Outcomes[Mismatch] != 1 {
		t.Errorf("%d undecided, outcomes %v; want the pair to be undecided", a.Account.Undecided, a.Totals.Outcomes)
	}
}

func FuzzRule(f *testing.F) {
	for _, text := range []string{"$.id", "GET /invoices/* header Vary", "status 4xx/*", "POST /graphql Invoices $['a b'][*]..c", "* ** all", "cookie a*"} {
		f.Add(text, "$.a[*]['b c'].d")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		rule, err := ParseRule(text)
		if err != nil {
			return
		}
		again, err := ParseRule(rule.String())
		if err != nil || again.Covers("GET", "/invoices/*", key) != rule.Covers("GET", "/invoices/*", key) {
			t.Errorf("%q: read again it is another, %v", text, err)
		}
	})
}
