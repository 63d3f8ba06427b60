package compare

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestJSONBodiesAreComparedAsValues(t *testing.T) {
	tests := []struct {
		name         string
		live, shadow string
		ignore       []string
		want         []string
	}{
		{"the same bytes", invoice, invoice, nil, []string{"match"}},
		{"another order of keys", `{"a":1,"b":[1,{"c":2,"d":3}]}`, ` { "b" : [ 1, {"d":3, "c":2} ], "a" : 1 }`, nil, []string{"match"}},
		{"numbers written otherwise", `{"total":178.50,"vat":1e2,"rate":0.19,"none":-0}`, `{"total":178.5,"vat":100.0,"rate":19E-2,"none":0.00}`, nil, []string{"match"}},
		{"strings escaped otherwise", `{"customer":"Meyer & Söhne"}`, `{"customer":"Meyer \u0026 S\u00f6hne"}`, nil, []string{"match"}},
		{"rounded otherwise", `{"total":178.50}`, `{"total":178.49}`, nil, []string{"mismatch", "$.total: 178.50 | 178.49"}},
		{"beyond what floating point can tell", `{"id":9007199254740993}`, `{"id":9007199254740992}`, nil, []string{"mismatch", "$.id: 9007199254740993 | 9007199254740992"}},
		{"a number and text", `{"total":119}`, `{"total":"119"}`, nil, []string{"mismatch", `$.total: 119 | "119"`}},
		{"in a list", invoice, strings.Replace(invoice, "59.50", "59.49", 1), nil, []string{"mismatch", "$.lines[*].total: 59.50 | 59.49"}},
		{"a list in another order", `{"tags":["a","b"]}`, `{"tags":["b","a"]}`, nil, []string{"mismatch", "$.tags: array of 2 | array of 2"}},
		{"a longer list", `{"lines":[1,2]}`, `{"lines":[1,2,3]}`, nil, []string{"mismatch", "$.lines[*]: missing | 3"}},
		{"far down a long list", list(5000, 4711, 1), list(5000, 4711, 2), nil, []string{"mismatch", "$[*]: 1 | 2"}},
		{"a longer list of which nothing matters", `{"lines":[1,2]}`, `{"lines":[3,4,5]}`, []string{"$.lines[*]"}, []string{"match"}},
		{"other bytes that are not UTF-8", "{\"customer\":\"M\xfcller\"}", "{\"customer\":\"M\xf6ller\"}", nil,
			[]string{"mismatch", `body: application/json, 21 bytes, from byte 14: "\xfcller\"}" | application/json, 21 bytes, from byte 14: "\xf6ller\"}"`}},
		{"a byte that is not UTF-8 and its replacement", "{\"customer\":\"M\xfcller\"}", `{"customer":"M\ufffdller"}`, nil,
			[]string{"mismatch", `body: application/json, 21 bytes, from byte 14: "\xfcller\"}" | application/json, 26 bytes, from byte 14: "\\ufffdller\"}"`}},
		{"the same key in many places before another", noisy(60, 1, "10.00"), noisy(60, 2, "10.01"), nil,
			[]string{"mismatch", "$.lines[*].id: 1 | 2", "$.total: 10.00 | 10.01"}},
		{"a member that is missing", `{"id":1,"vat":19}`, `{"id":1}`, nil, []string{"mismatch", "$.vat: 19 | missing"}},
		{"a member too many", `{"id":1}`, `{"id":1,"debug":{"sql":"select"}}`, nil, []string{"mismatch", "$.debug: missing | object"}},
		{"null and missing", `{"vat":null}`, `{}`, nil, []string{"mismatch", "$.vat: null | missing"}},
		{"null and false", `{"paid":null}`, `{"paid":false}`, nil, []string{"mismatch", "$.paid: null | false"}},
		{"an object and a list", `{"lines":{}}`, `{"lines":[]}`, nil, []string{"mismatch", "$.lines: object | array of 0"}},
		{"whole values", `1`, `2`, nil, []string{"mismatch", "$: 1 | 2"}},
		{"names that are not plain", `{"a.b":{"c d":1}}`, `{"a.b":{"c d":2}}`, nil, []string{"mismatch", "$['a.b']['c d']: 1 | 2"}},
		{"not JSON after all", `{"id":1}`, `{"id":1`, nil, []string{"mismatch", `body: application/json, 8 bytes, from byte 7: "}" | application/json, 7 bytes, from byte 7: ""`}},
		{"more than one value", `{"id":1}`, `{"id":1}{"id":2}`, nil, []string{"mismatch", `body: application/json, 8 bytes, from byte 8: "" | application/json, 16 bytes, from byte 8: "{\"id\":2}"`}},

		{"ignored", `{"id":1,"total":5}`, `{"id":2,"total":5}`, []string{"$.id"}, []string{"match"}},
		{"ignored, and something else", `{"id":1,"total":5}`, `{"id":2,"total":6}`, []string{"$.id"}, []string{"mismatch", "$.total: 5 | 6"}},
		{"ignored in every element", `{"lines":[{"at":1,"n":1},{"at":2,"n":2}]}`, `{"lines":[{"at":3,"n":1},{"at":4,"n":2}]}`, []string{"$.lines[*].at"}, []string{"match"}},
		{"ignored wherever it is", `{"at":1,"a":{"b":[{"at":2}]}}`, `{"at":5,"a":{"b":[{"at":6}]}}`, []string{"$..at"}, []string{"match"}},
		{"ignored with all that is in it", `{"meta":{"node":"a","at":1}}`, `{"meta":{"node":"b","at":2}}`, []string{"$.meta"}, []string{"match"}},
		{"ignored where it is missing", `{"id":1}`, `{}`, []string{"$.id"}, []string{"match"}},
		{"ignored by every member", `{"totals":{"net":1,"gross":2}}`, `{"totals":{"net":3,"gross":4}}`, []string{"$.totals.*"}, []string{"match"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := found(uncovered(rules(t, test.ignore...), jsonAnswer(test.live), jsonAnswer(test.shadow)))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestNullMayBeAsGoodAsNothing(t *testing.T) {
	tests := []struct {
		live, shadow string
		want         []string
	}{
		{`{"id":1,"note":null}`, `{"id":1}`, []string{}},
		{`{"id":1}`, `{"id":1,"note":null}`, []string{}},
		{`{"lines":[{"sku":"A","note":null},{"sku":"B"}]}`, `{"lines":[{"sku":"A"},{"sku":"B","note":null}]}`, []string{}},
		{`{"note":null}`, `{"note":""}`, []string{"$.note: string, not null!"}},
		{`{"note":null}`, `{"text":1}`, []string{"$.text: added!"}},
		{`{"note":false}`, `{}`, []string{"$.note: missing!"}},
		{`[null]`, `[]`, []string{"$[*]: missing! at 0"}},
	}
	for _, null := range []bool{true, false} {
		for _, test := range tests {
			r := rules(t)
			r.NullIsMissing = null
			got := relations(Judge(r, jsonAnswer(test.live), jsonAnswer(test.shadow)))
			if null && !reflect.DeepEqual(got, test.want) || !null && len(got) == 0 {
				t.Errorf("%t: %s and %s: got %q, want %q", null, test.live, test.shadow, got, test.want)
			}
		}
	}
}

func TestStatusesComeFirst(t *testing.T) {
	got := found(Judge(rules(t), jsonAnswer(invoice), answer(500, "text/plain", "no")))
	if want := []string{"mismatch", "status: 200 | 500"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOtherBodiesAreComparedAsBytes(t *testing.T) {
	tests := []struct {
		name, body, kind, live, shadow, want string
	}{
		{"equal text", JSON, "text/csv", "a;b", "a;b", "match"},
		{"other text", JSON, "text/csv", "invoice;total", "invoice;totals", "mismatch"},
		{"JSON by suffix", JSON, "application/problem+json", `{"a":1}`, `{ "a":1.0 }`, "match"},
		{"JSON in capitals", JSON, "Application/JSON", `{"a":1}`, `{ "a":1.0 }`, "match"},
		{"JSON that does not say so", JSON, "text/plain", `{"a":1}`, `{ "a":1 }`, "mismatch"},
		{"to the byte", Exact, "application/json", `{"a":1}`, `{ "a":1 }`, "mismatch"},
		{"not at all", Off, "application/json", `{"a":1}`, `{"a":2}`, "match"},
		{"no body", JSON, "application/json", "", "", "match"},
		{"one without a body", JSON, "application/json", `{"a":1}`, "", "mismatch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := rules(t)
			r.Body = test.body
			if got := Judge(r, answer(200, test.kind, test.live), answer(200, test.kind, test.shadow)); got.Outcome != test.want {
				t.Errorf("got %q, want %s", found(got), test.want)
			}
		})
	}
	long := strings.Repeat("2026-0042;119.00\n", 3000)
	got := Judge(rules(t), answer(200, "text/plain", long+"a"), answer(200, "text/plain", long+"b"))
	if want := fmt.Sprintf(`text/plain, %d bytes, from byte %d: "a"`, len(long)+1, len(long)); got.Differences[0].Live.Shown(Values) != want {
		t.Errorf("got %q, want %q", found(got), want)
	}
}

func TestCompressedBodiesAreComparedByWhatIsInside(t *testing.T) {
	plainly, other := jsonAnswer(invoice), jsonAnswer(strings.Replace(invoice, "178.50", "178.49", 1))
	bomb := jsonAnswer(`{"a":"` + strings.Repeat("0", 1<<20) + `"}`)
	otherBomb := jsonAnswer(`{"b":"` + strings.Repeat("0", 1<<20) + `"}`)
	broken := compressed(t, plainly, "gzip")
	broken.Body = broken.Body[:len(broken.Body)-5]
	lying := jsonAnswer(invoice)
	lying.Header["Content-Encoding"] = []string{"gzip"}
	tests := []struct {
		name         string
		live, shadow *Answer
		want         string
	}{
		{"gzip and plain", compressed(t, plainly, "gzip"), plainly, "match"},
		{"gzip and deflate", compressed(t, plainly, "gzip"), compressed(t, plainly, "deflate"), "match"},
		{"gzip and another", compressed(t, plainly, "gzip"), compressed(t, other, "gzip"), "mismatch"},
		{"unknown but alike", compressed(t, plainly, "br"), compressed(t, plainly, "br"), "match"},
		{"unknown", compressed(t, plainly, "br"), plainly, "skippedencoding"},
		{"larger inside", compressed(t, bomb, "gzip"), plainly, "mismatch"},
		{"larger inside on both sides", compressed(t, bomb, "gzip"), compressed(t, otherBomb, "gzip"), "skippedtoo_large"},
		{"larger inside, but alike", compressed(t, bomb, "gzip"), compressed(t, bomb, "gzip"), "match"},
		{"bare deflate", compressed(t, plainly, "deflate"), bare(plainly), "match"},
		{"bare deflate of another", compressed(t, plainly, "gzip"), bare(other), "mismatch"},
		{"cut off", broken, plainly, "skippedencoding"},
		{"cut off by the shadow", plainly, broken, "mismatch"},
		{"not compressed by the shadow", compressed(t, plainly, "gzip"), lying, "mismatch"},
		{"unknown of the shadow", plainly, compressed(t, plainly, "br"), "skippedencoding"},
		{"without a body", compressed(t, jsonAnswer(""), "gzip"), jsonAnswer(""), "match"},
	}
	tests[len(tests)-1].live.Body = nil
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := Judge(rules(t), test.live, test.shadow)
			if got := f.Outcome + f.Reason; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// list is a list of n zeros, with another number at one place.
func list(n, place, number int) string {
	return "[" + strings.Repeat("0,", place) + fmt.Sprint(number) + strings.Repeat(",0", n-place-1) + "]"
}

// noisy is an invoice of n lines with ids.
func noisy(n, id int, total string) string {
	return fmt.Sprintf(`{"lines":[%s{"id":%d}],"total":%s}`, strings.Repeat(fmt.Sprintf(`{"id":%d},`, id), n-1), id, total)
}

// What it takes to compare two bodies is bounded, whatever is in them.
func TestBodiesThatAreTooMuchToLookInto(t *testing.T) {
	nested := func(depth, n int, number string) string {
		return strings.Repeat(`[0,`, depth) + "[" + strings.Repeat(number+",", n) + "1]" + strings.Repeat("]", depth)
	}
	records := func(id int) string { return "[" + strings.Repeat(fmt.Sprintf(`{"id":%d,"n":1},`, id), 20000) + "0]" }
	tests := []struct {
		name, live, shadow string
		want               string
		more, large        bool
	}{
		{"numbers written otherwise, few", "[" + strings.Repeat("1,", 1000) + "1]", "[" + strings.Repeat("1.0,", 1000) + "1]", "match", false, false},
		{"numbers written otherwise, many", "[" + strings.Repeat("1,", 30000) + "1]", "[" + strings.Repeat("1.0,", 30000) + "1]", "skippedtoo_complex", false, true},
		{"so many of one key that another is not found", records(1), records(2), "mismatch", true, false},
		{"deep down", nested(20, 3000, "1"), nested(20, 3000, "2"), "mismatch", false, false},
		{"too many deep down", nested(20, 30000, "1"), nested(20, 30000, "2"), "mismatch", true, false},
		{"deeper than is looked", nested(500, 30000, "1"), nested(500, 30000, "2"), "mismatch", false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := rules(t)
			if test.more || test.large {
				r.MaxBodySize = 1 << 20
			}
			f := Judge(r, jsonAnswer(test.live), jsonAnswer(test.shadow))
			if got := f.Outcome + f.Reason; got != test.want || f.More != test.more {
				t.Errorf("got %s, more: %v; want %s, %v", got, f.More, test.want, test.more)
			}
		})
	}
}

func TestHostileBodies(t *testing.T) {
	deep := func(n int, end string) string { return strings.Repeat(`{"a":[`, n) + end + strings.Repeat(`]}`, n) }
	many := func(v int) string {
		b := &strings.Builder{}
		for i := 0; i < 3000; i++ {
			fmt.Fprintf(b, `,"k%d":%d`, i, v)
		}
		return "{" + b.String()[1:] + "}"
	}
	tests := []struct {
		name, live, shadow string
		differences        int
	}{
		{"deep", deep(3000, "1"), deep(3000, "2"), 1},
		{"deeper than is decoded", deep(9000, "1"), deep(9000, "2"), 1},
		{"different everywhere", many(1), many(2), maxDifferences},
		{"an absurd exponent", `{"total":1e999999999}`, `{"total":1e999999998}`, 1},
		{"a more absurd one", `{"total":1e99999999999999999999}`, `{"total":1e-99999999999999999999}`, 1},
		{"a long name", `{"` + strings.Repeat("n", 5000) + `":1}`, `{"` + strings.Repeat("n", 5000) + `":2}`, 1},
		{"names that look like paths", `{"']..[*":1}`, `{"']..[*":2}`, 1},
		{"not UTF-8", "{\"a\":\"\xff\xfe\"}", "{\"a\":\"\xff\"}", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := rules(t, "$..id", "$.lines[*].at")
			r.MaxBodySize = 1 << 20
			f := Judge(r, jsonAnswer(test.live), jsonAnswer(test.shadow))
			if f.Outcome != Mismatch || len(f.Differences) != test.differences {
				t.Errorf("%s with %d differences, want a mismatch with %d", f.Outcome, len(f.Differences), test.differences)
			}
			for _, d := range f.Differences {
				if len(d.Key) > maxKey+10 || len(d.Live.Shown(Values)) > 200 {
					t.Errorf("%d bytes of key and %d of value are kept", len(d.Key), len(d.Live.Shown(Values)))
				}
			}
		})
	}
}

func TestValuesAreShownAsAsked(t *testing.T) {
	f := Judge(rules(t), jsonAnswer(`{"iban":"DE89370400440532013000","n":1,"o":{"secret":1},"x":true}`), jsonAnswer(`{"iban":"DE02120300000000202051","n":null,"o":[1,2],"y":"s"}`))
	tests := []struct {
		show string
		want []string
	}{
		{Values, []string{`$.iban "DE89370400440532013000" "DE02120300000000202051"`, "$.n 1 null", "$.o object array of 2", "$.x true missing", `$.y missing "s"`}},
		{Hashes, []string{"$.iban string #" + Hash("DE89370400440532013000") + " string #" + Hash("DE02120300000000202051"),
			"$.n number #" + Hash("1") + " null", "$.o object array of 2", "$.x boolean #" + Hash("true") + " missing", "$.y missing string #" + Hash("s")}},
		{None, []string{"$.iban string string", "$.n number null", "$.o object array of 2", "$.x boolean missing", "$.y missing string"}},
	}
	for _, test := range tests {
		t.Run(test.show, func(t *testing.T) {
			var got []string
			for _, d := range f.Differences {
				got = append(got, d.Key+" "+d.Live.Shown(test.show)+" "+d.Shadow.Shown(test.show))
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	if len(Hash("119.00")) != 8 || Hash("119.00") == Hash("119.01") {
		t.Errorf("hashes %q and %q, want eight digits that differ", Hash("119.00"), Hash("119.01"))
	}
}

func TestPaths(t *testing.T) {
	for _, good := range []string{"$.id", "$.lines[*].updatedAt", "$['a.b'].c", "$.totals.*", "$..updatedAt", "$..[*]", "$.a..b", "$[*].id", "$.a['x y'][*].*", "$.line[*].@sku", "$.note.#text"} {
		if p, err := ParsePath(good); err != nil || p.String() != good {
			t.Errorf("%s: got %q and error %v", good, p, err)
		}
	}
	for _, bad := range []string{"", "$", "id", ".id", "$.", "$id", "$.lines[", "$.lines[x]", "$.lines[-1]", "$.lines[0]", "$..", "$.a..", "$['a'", "$.a b", "$...a", "$[]", "$[']", "@.id"} {
		if _, err := ParsePath(bad); err == nil {
			t.Errorf("%q is taken, want an error", bad)
		}
	}
	// What is suggested selects what it was suggested for.
	if rule, left := suggested(t, jsonAnswer(`{"a":{"b c":[{"id":1},{"id":2}]}}`), jsonAnswer(`{"a":{"b c":[{"id":3},{"id":4}]}}`)); rule == "" || left != 0 {
		t.Errorf("with %s ignored: %d still differ, want none", rule, left)
	}
}

func TestPathsThatWouldSelectSomethingElseAreNotSuggested(t *testing.T) {
	long := strings.Repeat("subscriptionItemDetails", 20)
	tests := []struct{ live, shadow string }{
		{`{"` + long + `":1}`, `{"` + long + `":2}`},
		{`{"a']['b":1}`, `{"a']['b":2}`},
		{`{"a']":1}`, `{"a']":2}`},
		{`{"":1}`, `{"":2}`},
		{`1`, `2`},
		{`{"lines":[1,2]}`, `{"lines":[1,2,3]}`},
		{`{"a.b":{"*":1}}`, `{"a.b":{"*":2}}`},
	}
	for _, test := range tests {
		if rule, left := suggested(t, jsonAnswer(test.live), jsonAnswer(test.shadow)); rule != "" && left != 0 {
			t.Errorf("%.40s: %.80s is suggested, and %d still differ", test.live, rule, left)
		}
	}
}

// suggested returns the rule that is suggested for the first thing in which the answers
// differ, and how many pairs differ with it.
func suggested(t *testing.T, live, shadow *Answer) (rule string, left int64) {
	t.Helper()
	r := rules(t)
	v := begun(r)
	v.Add(r, &Request{Method: "GET", Path: "/invoices"}, live, shadow, Judge(r, live, shadow))
	rule = v.Snapshot().Account.Differences[0].Ignore
	if rule == "" {
		return rule, 0
	}
	v.Begin(rules(t, rule))
	a := v.Snapshot().Account
	return rule, a.Real + a.Undecided + a.Noise
}

func FuzzJudge(f *testing.F) {
	f.Add(`{"a":[1,2.0,{"b":null}]}`, `{"a":[1,2,{"b":false}]}`)
	f.Add(`{"total":1e999999999}`, `[]`)
	f.Fuzz(func(t *testing.T, live, shadow string) {
		r := &Rules{Body: JSON, MaxBodySize: 1 << 16}
		l := &Answer{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(live)}
		s := &Answer{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(shadow)}
		ab, ba := Judge(r, l, s), Judge(r, s, l)
		if ab.Outcome != ba.Outcome {
			t.Errorf("%q and %q: %s one way, %s the other", live, shadow, ab.Outcome, ba.Outcome)
		}
		if live == shadow && ab.Outcome != Match {
			t.Errorf("%q is not equal to itself: %q", live, found(ab))
		}
	})
}

// What is at a path to ignore is not shown with a body that is compared as bytes
// because one of the two is no JSON.
func TestIgnoredValuesAreNotShownWithBodies(t *testing.T) {
	const iban = `{"iban":"DE0212"}`
	tests := []struct {
		name         string
		live, shadow *Answer
		want         string
	}{
		{"an error page", jsonAnswer(iban), answer(200, "text/html", "<p>"), `body: application/json, 17 bytes, from byte 0 | text/html, 3 bytes, from byte 0: "<p>"`},
		{"cut short", jsonAnswer(iban), jsonAnswer(iban[:14]), "body: application/json, 17 bytes, from byte 14 | application/json, 14 bytes, from byte 14"},
		{"another type", answer(200, "text/plain", " "+iban), answer(200, "text/plain", "[1]"), "body: text/plain, 18 bytes, from byte 0 | text/plain, 3 bytes, from byte 0"},
	}
	for _, test := range tests {
		got := found(Judge(rules(t, "$.iban"), test.live, test.shadow))
		if len(got) != 2 || got[1] != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
