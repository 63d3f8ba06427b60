package compare

import (
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestJSONIsReadAsItIsWritten(t *testing.T) {
	tests := []struct {
		name, live, shadow string
		want               []string
	}{
		{"a mark in front of both", "\ufeff" + `{"a":1,"b":2}`, "\ufeff" + `{"b":2,"a":1}`, nil},
		{"a mark in front of one", `{"a":1}`, "\ufeff" + `{"a":1}`, nil},
		{"no number", `{"rate":NaN,"n":1}`, `{"n":1.0, "rate":NaN}`, nil},
		{"no number and a number", `{"rate":NaN}`, `{"rate":1}`, []string{"$.rate: "}},
		{"infinities", `[Infinity,-Infinity,1]`, `[-Infinity,Infinity,1]`, []string{"$: order"}},
		{"no number and its name", `{"rate":NaN}`, `{"rate":"NaN"}`, []string{"$.rate: string, not number!"}},
		{"half a character and what stands for any", `{"name":"\ud83d"}`, `{"name":"\ufffd"}`, []string{"$.name: "}},
		{"half a character and another", `{"name":"\ud83d"}`, `{"name":"\ud83e"}`, []string{"$.name: "}},
		{"half a character in capitals", `{"name":"\ud83d", "n":1}`, `{"name":"\uD83D","n":1}`, nil},
		{"half a character as a name", `{"\ud83d":1}`, `{"\ufffd":1}`, []string{"$.\ufdd0d83d: missing!", "$.\ufffd: added!"}},
		{"a whole character, escaped or not", `{"name":"\ud83d\ude00"}`, `{"name":"😀"}`, nil},
		{"half a character before a whole one", `{"name":"\ud83d\ud83d\ude00","n":1}`, `{"name":"\ufffd\ud83d\ude00","n":1}`, []string{"$.name: "}},
		{"a backslash before what is none", `{"name":"\\ud83d","n":1}`, `{"n":1, "name":"\\ud83d"}`, nil},
	}
	for _, test := range tests {
		for _, kind := range []string{"application/json", "text/json", "application/vnd.billing+json", "Application/Problem+JSON; charset=utf-8"} {
			got := relations(Judge(rules(t), answer(200, kind, test.live), answer(200, kind, test.shadow)))
			if len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
				t.Errorf("%s as %s: got %q, want %q", test.name, kind, got, test.want)
			}
		}
	}
	f := Judge(rules(t), jsonAnswer(`{"a":NaN,"b":"\ud83d!"}`), jsonAnswer(`{"a":1,"b":"x"}`))
	want := []string{"mismatch", "$.a: NaN | 1", `$.b: "\ud83d!" | "x"`}
	if got := found(f); !reflect.DeepEqual(got, want) {
		t.Errorf("shown as %q, want %q", got, want)
	}
}

const xmlInvoice = `<?xml version="1.0" encoding="UTF-8"?>
<invoice number="2026-0042" xmlns="urn:billing">
  <issued>2026-11-28T08:00:00Z</issued>
  <line sku="A-1"><total currency="EUR">119.00</total></line>
  <line sku="B-7"><total currency="EUR">59.50</total></line>
  <note>Meyer &amp; Söhne</note>
</invoice>`

func TestBodiesAreComparedByWhatIsInThem(t *testing.T) {
	const ndjson, xml, form, csv = "application/x-ndjson", "application/xml", "application/x-www-form-urlencoded", "text/csv; charset=utf-8"
	swap := func(text, old, new string) string { return strings.Replace(text, old, new, 1) }
	const table = "number;customer;total\n2026-0042;Meyer;119.00\n2026-0043;Söhne;59.50\n2026-0044;Erika;7.00\n"
	tests := []struct {
		name, kind, live, shadow string
		want                     []string
	}{
		{"lines written otherwise", ndjson, "{\"a\":1,\"b\":2}\n{\"a\":2}\n", "{\"b\":2, \"a\":1.0}\r\n{\"a\":2}", nil},
		{"a line that differs", ndjson, "{\"a\":1}\n{\"a\":2}\n", "{\"a\":1}\n{\"a\":3}\n", []string{"$[*].a: +1 at 1"}},
		{"a line more", "application/jsonl", "{\"a\":1}\n{\"a\":2}\n", "{\"a\":0}\n{\"a\":1}\n{\"a\":2}\n", []string{"$[*]: added! at 0"}},
		{"a line that is cut", ndjson, "{\"a\":1}\n{\"a\":2}\n", "{\"a\":1}\n{\"a\":", []string{"body: "}},
		{"a sequence", "application/json-seq", "\x1e{\"a\":1}\n\x1e{\"a\":2}\n", "\x1e{\"a\":1}\n\x1e{\"a\":20}\n", []string{"$[*].a: ×10 at 1"}},

		{"a document that is indented otherwise", xml, xmlInvoice, strings.ReplaceAll(swap(xmlInvoice, "<note>", "<!-- checked --><note>"), "\n  ", "\n\t"), nil},
		{"an element", xml, xmlInvoice, swap(xmlInvoice, "59.50", "59.49"), []string{"$.invoice.line[*].total.#text: −0.01 at 1"}},
		{"an attribute", "text/xml", xmlInvoice, swap(xmlInvoice, "A-1", "a-1"), []string{"$.invoice.line[*].@sku: case at 0"}},
		{"an attribute less", "application/vnd.billing+xml", xmlInvoice, swap(xmlInvoice, ` currency="EUR"`, ""), []string{"$.invoice.line[*].total.@currency: missing! at 0"}},
		{"a time", xml, xmlInvoice, swap(xmlInvoice, "08:00:00Z", "10:00:00Z"), []string{"$.invoice.issued: +2 h"}},
		{"an element less", xml, xmlInvoice, swap(xmlInvoice, `<line sku="B-7"><total currency="EUR">59.50</total></line>`, ""), []string{"$.invoice.line[*]: missing! at 1"}},
		{"another name space", xml, xmlInvoice, swap(xmlInvoice, "urn:billing", "urn:billing:2"), []string{"$.invoice.@xmlns: not cut at 11"}},
		{"another prefix", xml, `<a xmlns="urn:b"><c/><d>1</d></a>`, `<x:a xmlns:x="urn:b"><x:c></x:c><x:d>1</x:d></x:a>`, nil},
		{"text as it is escaped", xml, xmlInvoice, swap(xmlInvoice, "&amp;", "&#38;"), nil},
		{"another root", xml, "<a>1</a>", "<b>1</b>", []string{"$.a: missing!", "$.b: added!"}},
		{"no document", xml, xmlInvoice, xmlInvoice[:200], []string{"body: "}},

		{"fields in another order", form, "a=1&b=x+y", "b=x%20y&a=1", nil},
		{"a field", form, "a=1&b=2&b=3", "a=1&b=2&b=4", []string{"$.b[*]: +1 at 1"}},
		{"a field more", form, "a=1&b=2", "a=1&b=2&b=3&c=4", []string{"$.b[*]: added! at 1", "$.c: added!"}},
		{"no form", form, "a=1", "a=%zz", []string{"body: "}},

		{"a cell", csv, table, swap(table, "59.50", "5950"), []string{"$[*].total: ×100 at 1"}},
		{"a row more", csv, table, swap(table, "2026-0043", "2026-0001;Neu;1.00\n2026-0043"), []string{"$[*]: added! at 1"}},
		{"rows in another order", csv, table, "number;customer;total\n2026-0043;Söhne;59.50\n2026-0042;Meyer;119.00\n2026-0044;Erika;7.00\n", []string{"$: order"}},
		{"cells that are quoted", csv, table, swap(table, "Meyer", `"Meyer"`), nil},
		{"other columns", csv, table, swap(table, "customer", "client"), []string{"body: "}},
		{"a row that is cut", csv, table, table[:32], []string{"body: "}},
		{"commas", "text/csv", "a,b\n1,2\n", "a,b\n1,3\n", []string{"$[*].b: +1 at 0"}},

		{"text", "text/plain", "settled", "settles", []string{"body: "}},
		{"no body", "text/plain", "settled", "", []string{"body: missing!"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, s := answer(200, test.kind, test.live), answer(200, test.kind, test.shadow)
			got := relations(Judge(rules(t), l, s))
			if len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if back := Judge(rules(t), s, l); len(back.Differences) != len(test.want) {
				t.Errorf("the other way %q", relations(back))
			}
			exact := rules(t)
			exact.Body = Exact
			if got := relations(Judge(exact, l, s)); len(got) != 1 || !strings.HasPrefix(got[0], "body: ") {
				t.Errorf("as bytes: %q", got)
			}
		})
	}
}

// What says otherwise what it is, is still compared by what is in it.
func TestBodiesOfWhichOneSaysSomethingElse(t *testing.T) {
	r := rules(t)
	r.Headers = DefaultHeaders
	got := relations(Judge(r, jsonAnswer(`{"a":1}`), answer(200, "text/plain", `{"a":2}`)))
	if want := []string{"header Content-Type: ", "$.a: +1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = relations(Judge(r, jsonAnswer(`{"a":1}`), answer(200, "application/xml", `<a>1</a>`)))
	if want := []string{"header Content-Type: ", "body: "}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLargeBodies(t *testing.T) {
	large := func(size int64, sum uint64) *Answer {
		a := answer(200, "application/json", "")
		a.Size, a.Sum = size, sum
		return a
	}
	coded := func(a *Answer, coding string) *Answer {
		a.Header["Content-Encoding"] = []string{coding}
		return a
	}
	long := jsonAnswer(`["` + strings.Repeat("0", 70<<10) + `"]`)
	same := large(int64(len(long.Body)), sum(long))
	tests := []struct {
		name         string
		live, shadow *Answer
		want         []string
	}{
		{"the same", large(1<<20, 7), large(1<<20, 7), nil},
		{"of another sum", large(1<<20, 7), large(1<<20, 8), []string{"too_large"}},
		{"of another length", large(1<<20, 7), large(1<<20+1, 7), []string{"too_large"}},
		{"not read to the end", large(-1, 0), large(-1, 0), []string{"too_large"}},
		{"the shadow's", jsonAnswer(invoice), large(1<<20, 7), []string{"body: longer than compare.maxBodySize!"}},
		{"live's", large(-1, 0), jsonAnswer(invoice), []string{"body: not longer than compare.maxBodySize!"}},
		{"one that was kept all the same", long, same, nil},
		{"one that was kept, and another", long, large(same.Size, same.Sum+1), []string{"too_large"}},
		{"of another encoding", coded(large(1<<20, 7), "gzip"), large(1<<20, 7), []string{"too_large"}},
		{"of the same encoding", coded(large(1<<20, 7), "br"), coded(large(1<<20, 7), "br"), nil},
		{"compressed, and one that may be as long", coded(large(64<<10+1, 7), "gzip"), jsonAnswer(invoice), []string{"too_large"}},
		{"compressed, and still too large", coded(large(70<<10, 7), "gzip"), jsonAnswer(invoice), []string{"body: not longer than compare.maxBodySize!"}},
		{"compressed, and not read to the end", jsonAnswer(invoice), coded(large(-1, 0), "deflate"), []string{"body: longer than compare.maxBodySize!"}},
		{"not read to the end, and large", large(-1, 0), large(1<<20, 7), []string{"too_large"}},
		{"in a way that is not understood", coded(large(1<<20, 7), "br"), jsonAnswer(invoice), []string{"too_large"}},
	}
	for _, test := range tests {
		got := relations(Judge(rules(t), test.live, test.shadow))
		if len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	f := Judge(rules(t), jsonAnswer(invoice), large(1<<20, 7))
	if got, want := found(f)[1], fmt.Sprintf("body: application/json, %d bytes | application/json, 1048576 bytes", len(invoice)); got != want {
		t.Errorf("shown as %q, want %q", got, want)
	}
}

func TestNoAnswer(t *testing.T) {
	f := NoAnswer(jsonAnswer(invoice))
	if got := found(f); !reflect.DeepEqual(got, []string{"mismatch", "status: 200 | missing"}) || f.Differences[0].Relation != "no answer" || f.Differences[0].Subject() != "status" {
		t.Errorf("got %q, relation %q", got, f.Differences[0].Relation)
	}
}

// Bodies of any format that differ in nothing but what means nothing match, and one value
// more makes a difference, whatever the rest.
func TestFormatsAgree(t *testing.T) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	for i := 0; i < 100; i++ {
		var csv, csvOther, xml, xmlOther, form []string
		n := 2 + random.Intn(20)
		wrong := random.Intn(n)
		for k := 0; k < n; k++ {
			a, b := random.Intn(1000), 1+random.Intn(1000)
			c := b
			if k == wrong {
				c += 100000
			}
			csv = append(csv, fmt.Sprintf("%d,%d", a, b))
			csvOther = append(csvOther, fmt.Sprintf("%d,%d", a, c))
			xml = append(xml, fmt.Sprintf("<r k=\"%d\">%d</r>", a, b))
			xmlOther = append(xmlOther, fmt.Sprintf("<r k='%d'>%d</r>", a, c))
			form = append(form, fmt.Sprintf("f%d=%d", k, b))
		}
		reversed := make([]string, n)
		for k := range form {
			reversed[n-1-k] = form[k]
		}
		for _, test := range []struct{ kind, live, shadow, want string }{
			{"text/csv", "a,b\n" + strings.Join(csv, "\n"), "a,b\n" + strings.Join(csvOther, "\r\n"), fmt.Sprintf("$[*].b: +100000 at %d", wrong)},
			{"text/xml", "<x>" + strings.Join(xml, "") + "</x>", "<x>\n" + strings.Join(xmlOther, "\n") + "</x>", fmt.Sprintf("$.x.r[*].#text: +100000 at %d", wrong)},
			{"application/x-www-form-urlencoded", strings.Join(form, "&"), strings.Join(reversed, "&"), ""},
		} {
			got := strings.Join(relations(Judge(rules(t), answer(200, test.kind, test.live), answer(200, test.kind, test.shadow))), ", ")
			if got != test.want {
				t.Errorf("seed %d, %s: got %q, want %q", seed, test.kind, got, test.want)
			}
		}
	}
}
