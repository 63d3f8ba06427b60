package compare

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestIdentifiersAreKnownByTheirForm(t *testing.T) {
	identifiers := []string{
		"4711", "2026", "2026-11-28", "2026-11-28T08:00:00Z", "+49 30 901820", "10.0.0.7", "8f14e45f-ceea-467a-9575-6b5a7a1ff3b1", "8F14E45F-CEEA-467A-9575-6B5A7A1FF3B1",
		"8f14e45f", "a1b2c3d4", "9a31b2c4d5e6f708", "01J9ZK3T4W8Q6YB2N5XDPRVMHC", "01j9zk3t4w8q6yb2n5xdprvmhc", "in_8231", "INV-2026-0042", "DE89370400440532013000",
		"cus_NffrFeUfNV2Hib", "k3j9x0q2m7w1z8v4", "erika@example.com", strings.Repeat("7", 5000),
	}
	for _, name := range identifiers {
		if !isIdentifier(name) {
			t.Errorf("%.40s is taken for a name", name)
		}
	}
	names := []string{
		"", "id", "total", "addressLine1", "billingAddressLine2", "address_line_1", "line1Line2Line", "sha256", "iso8601", "rfc3339", "utf8", "p99", "v2", "x509", "oauth2Token", "3ds", "2fa", "ipv4",
		"deadbeef", "customerAccountReferenceNumber", "EUR", "de-DE", "due date", "@sku", "#text", "@xmlns", "@soap12:encodingStyle", "/invoices/{id}", "net30days", "Ünï", strings.Repeat("subscription", 500),
	}
	for _, name := range names {
		if isIdentifier(name) {
			t.Errorf("%.40s is taken for an identifier", name)
		}
	}
}

func TestMapsByIdentifiers(t *testing.T) {
	id := func(i int) string { return uuid("a0", i) }
	tests := []struct {
		name, live, shadow string
		rules              []string
		want               []string
	}{
		{"one key for all", `{"balances":{"` + id(1) + `":{"asOf":1},"` + id(2) + `":{"asOf":2}}}`, `{"balances":{"` + id(1) + `":{"asOf":3},"` + id(2) + `":{"asOf":4}}}`, nil, []string{"$.balances.*.asOf: +2"}},
		{"one is missing", `{"balances":{"` + id(1) + `":{"n":1},"` + id(2) + `":{"n":1}}}`, `{"balances":{"` + id(1) + `":{"n":1}}}`, nil, []string{"$.balances.*: missing!"}},
		{"one is added", `{"balances":{"` + id(1) + `":{"n":1}}}`, `{"balances":{"` + id(1) + `":{"n":1},"` + id(2) + `":{"n":1}}}`, nil, []string{"$.balances.*: added!"}},
		{"the names stay names", `{"balances":{"total":1,"4711":1}}`, `{"balances":{"total":2,"4711":2}}`, nil, []string{"$.balances.*: +1", "$.balances.total: +1"}},
		{"a map in a list", `[{"4711":{"n":1}},{"4712":{"n":1}}]`, `[{"4711":{"n":2}},{"4712":{"n":2}}]`, nil, []string{"$[*].*.n: +1 at 0"}},
		{"a map in a map", `{"8231":{"2026-11-28":1}}`, `{"8231":{"2026-11-28":2}}`, nil, []string{"$.*.*: +1"}},
		{"a member whose name is a star", `{"*":1,"4711":1}`, `{"*":2,"4711":3}`, nil, []string{"$['*']: +1", "$.*: +2"}},

		{"a rule for all", `{"balances":{"4711":{"asOf":1,"n":1}}}`, `{"balances":{"4711":{"asOf":2,"n":2}}}`, []string{"$.balances.*.asOf"}, []string{"$.balances.*.n: +1"}},
		{"a rule for a name, and others", `{"balances":{"4711":{"asOf":1},"4712":{"asOf":1}}}`, `{"balances":{"4711":{"asOf":2},"4712":{"asOf":2}}}`, []string{"$.balances.4711"}, []string{"$.balances.*.asOf: +1"}},
		{"a rule for a name alone", `{"balances":{"4711":{"asOf":1},"4712":{"asOf":1}}}`, `{"balances":{"4711":{"asOf":2},"4712":{"asOf":1}}}`, []string{"$.balances['4711'].asOf"}, []string{}},
		{"a rule wherever it is", `{"balances":{"4711":{"asOf":1}}}`, `{"balances":{"4711":{"asOf":2}}}`, []string{"$..asOf"}, []string{}},
		{"a rule for another name", `{"balances":{"4711":{"asOf":1}}}`, `{"balances":{"4711":{"asOf":2}}}`, []string{"$.balances.4712"}, []string{"$.balances.*.asOf: +1"}},
	}
	for _, test := range tests {
		r := rules(t, test.rules...)
		got := relations(uncovered(r, jsonAnswer(test.live), jsonAnswer(test.shadow)))
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if back := uncovered(r, jsonAnswer(test.shadow), jsonAnswer(test.live)); len(back.Differences) != len(test.want) {
			t.Errorf("%s: the other way %q", test.name, relations(back))
		}
	}
	r := rules(t)
	r.Tolerance = []Tolerance{mustTolerance(t, "$.rates.*=0.5")}
	r.Unordered = []Unordered{mustUnordered(t, "$.tags.*")}
	if f := Judge(r, jsonAnswer(`{"rates":{"4711":1.0},"tags":{"4711":["a","b"]}}`), jsonAnswer(`{"rates":{"4711":1.5},"tags":{"4711":["b","a"]}}`)); f.Outcome != Match {
		t.Errorf("with a tolerance and a list without order: %q", relations(f))
	}
	table := answer(200, "text/csv", "number,2025,2026\n1,10,20\n")
	if got := relations(Judge(r, table, answer(200, "text/csv", "number,2025,2026\n1,10,21\n"))); !reflect.DeepEqual(got, []string{"$[*].2026: +1 at 0"}) {
		t.Errorf("columns: %q", got)
	}
}

func mustTolerance(t *testing.T, text string) Tolerance {
	t.Helper()
	tolerance, err := ParseTolerance(text)
	if err != nil {
		t.Fatal(err)
	}
	return tolerance
}

func mustUnordered(t *testing.T, text string) Unordered {
	t.Helper()
	list, err := ParseUnordered(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What is suggested for a map by identifiers covers all of it.
func TestRulesForMapsAreSuggested(t *testing.T) {
	rule, left := suggested(t, jsonAnswer(`{"balances":{"4711":{"asOf":1},"4712":{"asOf":1}}}`), jsonAnswer(`{"balances":{"4711":{"asOf":2},"4712":{"asOf":2}}}`))
	if rule != "$.balances.*.asOf" || left != 0 {
		t.Errorf("%q is suggested, and %d still differ", rule, left)
	}
}

// Names that look like none, but differ from pair to pair, are those of a map too: seen
// where there is no room for all of them. Nothing is lost by it.
func TestMapsByNames(t *testing.T) {
	const pairs = 100
	tests := []struct {
		name  string
		body  func(i int, at string) string
		rules []string
		want  []string
		kept  string // of the groups; "": nothing
	}{
		{"names of customers", func(i int, at string) string {
			return `{"balances":{"` + letters(i) + `":{"asOf":` + at + `},"` + letters(i+9000) + `":{"asOf":` + at + `}},"servedBy":` + at + `}`
		}, nil, []string{"undecided GET /balances $.balances.*.asOf 100/100", "undecided GET /balances $.servedBy 100/100"}, ""},
		{"with one that is there often", func(i int, at string) string {
			return `{"balances":{"` + letters(i) + `":{"asOf":` + at + `},"total":{"asOf":` + at + `}}}`
		}, nil, []string{"undecided GET /balances $.balances.*.asOf 100/100", "undecided GET /balances $.balances.total.asOf 100/100"}, ""},
		{"with one that a rule names", func(i int, at string) string {
			return `{"balances":{"` + letters(i%60) + `":{"asOf":` + at + `}}}`
		}, []string{"$.balances.baa"}, []string{"undecided GET /balances $.balances.*.asOf 98/100", "ignored GET /balances $.balances.baa.asOf 2/100"}, ""},
		{"all of one pair", func(i int, at string) string {
			var all []string
			for k := 0; k < 25; k++ {
				all = append(all, `"`+letters(i*25+k)+`":{"asOf":`+at+`}`)
			}
			return `{"balances":{` + strings.Join(all, ",") + `}}`
		}, nil, []string{"undecided GET /balances $.balances.*.asOf 100/100"}, ""},
		{"many fields that are always the same", func(_ int, at string) string {
			var all []string
			for k := 0; k < 45; k++ {
				all = append(all, `"`+letters(k)+`":`+at)
			}
			return `{` + strings.Join(all, ",") + `}`
		}, nil, nil, "$.baa"},
	}
	for _, test := range tests {
		r := rules(t, test.rules...)
		v := begun(r)
		for i := 0; i < pairs; i++ {
			judge(v, r, "GET", "/balances", test.body(i, fmt.Sprint(1000+7*i)), test.body(i, fmt.Sprintf("%d.5", 5000000+13*i)))
		}
		a := v.Snapshot().Account
		if got := judged(a); test.want != nil && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %q\nwant %q", test.name, got, test.want)
		}
		if n := a.Real + a.Undecided + a.Noise + a.Ignored; n != pairs || a.Compared != pairs {
			t.Errorf("%s: %d of %d differ, want all of %d", test.name, n, a.Compared, pairs)
		}
		found := test.kept == ""
		for _, g := range a.Differences {
			found = found || g.Key == test.kept
			if len(g.Examples) > r.Examples {
				t.Errorf("%s: %d examples of %s", test.name, len(g.Examples), g.Key)
			}
		}
		if !found {
			t.Errorf("%s: %s is not among %q", test.name, test.kept, judged(a))
		}
	}
}

// A map stays one when the endpoint that it was seen at is merged with another, and a name
// that a rule names later is told apart from then on.
func TestMapsAreRemembered(t *testing.T) {
	r := rules(t)
	v := begun(r)
	body := func(name string, at int) string { return fmt.Sprintf(`{"balances":{"%s":{"asOf":%d}}}`, name, at) }
	for i := 0; i < 100; i++ {
		judge(v, r, "GET", "/balances", body(letters(i), 1000+i), body(letters(i), 3000-i))
	}
	other := newEndpoint("GET", "/other", "")
	other.add(v.account.endpointOf(&Request{Method: "GET", Path: "/balances", At: time.Now()}))
	if got := other.folded("$.balances.erika.asOf"); got != "$.balances.*.asOf" {
		t.Errorf("%s in the merged endpoint", got)
	}
	r = rules(t, "$.balances.erika")
	v.Begin(r)
	judge(v, r, "GET", "/balances", body("erika", 1), body("erika", 2))
	want := []string{"undecided GET /balances $.balances.*.asOf 100/101", "ignored GET /balances $.balances.erika.asOf +1 1/101"}
	if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
