package compare

import (
	"reflect"
	"strings"
	"testing"
)

// Each row is one line of what the documentation says is compared, and how.
func TestWhatIsCompared(t *testing.T) {
	kind := func(kind string) func(body string) *Answer {
		return func(body string) *Answer { return answer(200, kind, body) }
	}
	xml, csv, form, ndjson, octets := kind("application/xml"), kind("text/csv"), kind("application/x-www-form-urlencoded"), kind("application/x-ndjson"), kind("application/octet-stream")
	multipart := kind("multipart/form-data; boundary=a")
	zstd := func(body string) *Answer { return compressed(t, jsonAnswer(body), "zstd") }
	tests := []struct {
		name         string
		live, shadow *Answer
		want         []string
	}{
		{"media type", with(), with("Content-Type", "text/json"), []string{"header Content-Type: "}},
		{"charset", with("Content-Type", "text/plain; charset=utf-8"), with("Content-Type", "text/plain; charset=latin1"), []string{"header Content-Type: "}},
		{"Location", with("Location", "/invoices/8231"), with("Location", "/invoices/8232"), []string{"header Location: "}},
		{"Link", with("Link", `</invoices?page=2>; rel="next"`), with("Link", `</invoices?page=3>; rel="next"`), []string{"header Link: "}},
		{"Content-Disposition", with("Content-Disposition", "attachment"), with("Content-Disposition", "inline"), []string{"header Content-Disposition: "}},
		{"Cache-Control", with("Cache-Control", "no-store"), with("Cache-Control", "no-store, private"), []string{"header Cache-Control: not cut at 8"}},
		{"Vary", with("Vary", "Accept"), with(), []string{"header Vary: missing!"}},
		{"Allow", with("Allow", "GET, HEAD"), with("Allow", "GET"), []string{"header Allow: cut at 3"}},
		{"WWW-Authenticate", with("Www-Authenticate", `Bearer realm="a"`), with("Www-Authenticate", `Bearer realm="b"`), []string{"header Www-Authenticate: "}},
		{"Retry-After", with("Retry-After", "5"), with("Retry-After", "300"), []string{"header Retry-After: ×60"}},
		{"Access-Control-Allow-Credentials", with("Access-Control-Allow-Credentials", "true"), with(), []string{"header Access-Control-Allow-Credentials: missing!"}},
		{"Access-Control-Allow-Headers", with("Access-Control-Allow-Headers", "a"), with("Access-Control-Allow-Headers", "b"), []string{"header Access-Control-Allow-Headers: "}},
		{"Access-Control-Allow-Methods", with("Access-Control-Allow-Methods", "GET"), with("Access-Control-Allow-Methods", "get"), []string{"header Access-Control-Allow-Methods: case"}},
		{"Access-Control-Allow-Origin", with("Access-Control-Allow-Origin", "*"), with(), []string{"header Access-Control-Allow-Origin: missing!"}},
		{"Access-Control-Expose-Headers", with(), with("Access-Control-Expose-Headers", "Link"), []string{"header Access-Control-Expose-Headers: added!"}},
		{"Access-Control-Max-Age", with("Access-Control-Max-Age", "60"), with("Access-Control-Max-Age", "600"), []string{"header Access-Control-Max-Age: ×10"}},
		{"Deprecation", with(), with("Deprecation", "@1796000000"), []string{"header Deprecation: added!"}},
		{"Sunset", with("Sunset", "Sat, 28 Nov 2026 08:00:00 GMT"), with("Sunset", "Sun, 29 Nov 2026 08:00:00 GMT"), []string{"header Sunset: +1 day"}},
		{"ETag, that it is there", with("Etag", `"a"`), with("Etag", `W/"b"`), nil},
		{"ETag, that it is not", with(), with("Etag", `"b"`), []string{"header Etag: added!"}},
		{"Set-Cookie, its name", with("Set-Cookie", "session=1"), with("Set-Cookie", "sid=1"), []string{"cookie session: missing!", "cookie sid: added!"}},
		{"Set-Cookie, its attributes", with("Set-Cookie", "session=1; Secure; Max-Age=60"), with("Set-Cookie", "session=2; Max-Age=60"), []string{"cookie session: without Secure!"}},
		{"Set-Cookie, an attribute's value", with("Set-Cookie", "session=1; SameSite=Lax"), with("Set-Cookie", "session=1; SameSite=None"), []string{"cookie session: "}},
		{"Set-Cookie, Expires and value", with("Set-Cookie", "session=1; Expires=Sat, 28 Nov 2026 08:00:00 GMT"), with("Set-Cookie", "session=2; Expires=Sun, 29 Nov 2026 08:00:00 GMT"), nil},
		{"no other", with("Date", "a", "Server", "b", "Content-Length", "2"), with("X-Powered-By", "c"), nil},

		{"JSON that is problem+json", kind("application/problem+json")(`{"status":404,"detail":"gone"}`), kind("application/problem+json")(`{"detail":"Gone", "status":404}`), []string{"$.detail: case"}},
		{"JSON that is text/json", kind("text/json")(`{"n":1,"m":2}`), kind("text/json")(`{"m":2,"n":1.0}`), nil},
		{"JSON with a mark", jsonAnswer("\ufeff" + invoice), jsonAnswer(strings.Replace(invoice, "178.50", "178.5", 1)), nil},
		{"NaN", jsonAnswer(`{"rate":NaN,"low":-Infinity}`), jsonAnswer(`{"low":-Infinity,"rate":NaN}`), nil},
		{"half a character", jsonAnswer(`{"name":"\ud83d"}`), jsonAnswer(`{"name":"\ufffd"}`), []string{"$.name: "}},
		{"half a character as a name", jsonAnswer(`{"\ud83d":1}`), jsonAnswer(`{"\ufffd":1}`), []string{"$.\ufdd0d83d: missing!", "$.\ufffd: added!"}},
		{"half a character in a line", ndjson("{\"name\":\"\\ud83d\"}\n{}"), ndjson("{\"name\":\"\\ufffd\"}\n{}"), []string{"$[*].name:  at 0"}},
		{"lines", ndjson("{\"n\":1}\n{\"n\":2}\n"), ndjson("{\"n\":1}\r\n\r\n{\"n\":20}"), []string{"$[*].n: ×10 at 1"}},
		{"NaN in a line", ndjson("{\"n\":NaN}\n{\"n\":2}\n"), ndjson("{\"n\":NaN}\n{\"n\":3}\n"), []string{"$[*].n: +1 at 1"}},
		{"one that is added", jsonAnswer(`{"lines":["A","B"]}`), jsonAnswer(`{"lines":["A","X","B"]}`), []string{"$.lines[*]: added! at 1"}},

		{"XML by element", xml("<invoice><total>5.00</total><paid/></invoice>"), xml("<invoice>\n <total>5.01</total>\n <paid></paid>\n</invoice>"), []string{"$.invoice.total: +0.01"}},
		{"XML that says another charset", xml(`<?xml version="1.0" encoding="ISO-8859-1"?><total>5</total>`), xml(`<?xml version="1.0" encoding="iso-8859-1"?><total>6</total>`), []string{"$.total: +1"}},
		{"XML with elements in text", xml("<note>Pay <b>5.00</b> by <i>Friday</i></note>"), xml("<note>Pay <b>5.01</b> by <i>Friday</i></note>"), []string{"$.note.b: +0.01"}},
		{"XML with text elsewhere among elements", xml("<note>Pay <b>5.00</b> by Friday</note>"), xml("<note>Pay by Friday <b>5.00</b></note>"), []string{"$.note.#text: "}},
		{"XML with an element elsewhere in text", xml("<note>due<br/>now</note>"), xml("<note>duenow<br/></note>"), []string{"$.note.#text: "}},
		{"XML with text indented otherwise", xml("<note>Pay <b>5.00</b> <i>now</i></note>"), xml("<note>\n  Pay <b>5.00</b>\n  <i>now</i>\n</note>"), nil},
		{"XML with elements in text on one side", xml("<note>due now</note>"), xml("<note>due <b>now</b></note>"), []string{"$.note.#text: ", "$.note.b: added!"}},
		{"a form by field", form("total=5.00&customer=Erika"), form("customer=Erika&total=5.01"), []string{"$.total: +0.01"}},
		{"a form of parts as bytes", multipart("--a\r\n\r\n5.00\r\n--a--"), multipart("--a\r\n\r\n5.01\r\n--a--"), []string{"body: "}},
		{"a table by column", csv("number,total\n1,5.00\n"), csv("\"number\",total\n1,5.01\n"), []string{"$[*].total: +0.01 at 0"}},
		{"a table with another header", csv("number,total\n1,5.00\n"), csv("total,number\n5.00,1\n"), []string{"body: "}},
		{"what is XML on one side only", xml("<total>5</total>"), xml("<total>5"), []string{"body: "}},
		{"the rest as bytes", octets("\x00\x01\x02"), octets("\x00\x01\x03"), []string{"body: "}},

		{"gzip", compressed(t, jsonAnswer(invoice), "gzip"), compressed(t, jsonAnswer(strings.Replace(invoice, "178.50", "178.51", 1)), "gzip"), []string{"$.total: +0.01"}},
		{"deflate, in both forms", compressed(t, jsonAnswer(invoice), "deflate"), bare(jsonAnswer(strings.Replace(invoice, "178.50", "178.51", 1))), []string{"$.total: +0.01"}},
		{"zstd, if the bytes are the same", zstd(invoice), zstd(invoice), nil},
		{"zstd, if they are not", zstd(invoice), zstd("{}"), []string{"encoding"}},
	}
	for _, test := range tests {
		r := rules(t)
		r.Headers = DefaultHeaders
		got := relations(Judge(r, test.live, test.shadow))
		if len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if back := relations(Judge(r, test.shadow, test.live)); len(back) != len(test.want) {
			t.Errorf("%s: the other way %q", test.name, back)
		}
	}
	f := Judge(rules(t), octets("\x00\x01\x02"), octets("\x00\x01\x03"))
	for show, want := range map[string]string{
		Values: `application/octet-stream, 3 bytes, from byte 2: "\x02"`, Hashes: "body #" + Hash("\x00\x01\x02") + ", from byte 2", None: "body",
	} {
		if got := f.Differences[0].Live.Shown(show); got != want {
			t.Errorf("with %s bytes are shown as %q, want %q", show, got, want)
		}
	}
}

// Every header of the documentation's is compared by default, and no other.
func TestDefaultHeaders(t *testing.T) {
	want := "Content-Type Location Link Content-Disposition Cache-Control Vary Allow Www-Authenticate Retry-After " +
		"Access-Control-Allow-Origin Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods " +
		"Access-Control-Expose-Headers Access-Control-Max-Age Deprecation Sunset Etag Set-Cookie"
	if got := strings.Join(DefaultHeaders, " "); got != want {
		t.Errorf("got %s", got)
	}
}

// Identifiers in Location and Link are what they are in bodies: those that are made anew
// are noise, others are not.
func TestIdentifiersInHeaders(t *testing.T) {
	for _, name := range []string{"Location", "Link"} {
		r := rules(t)
		r.Headers = DefaultHeaders
		v := begun(r)
		for i := 0; i < 40; i++ {
			l, s := with(name, "/drafts/"+uuid("a0", i)), with(name, "/drafts/"+uuid("b0", i))
			l.Status = 201
			s.Status = 201
			v.Add(r, &Request{Method: "POST", Path: "/drafts"}, l, s, Judge(r, l, s))
			l, s = with(name, "/orders/"+strings.Repeat("7", 1+i)), with(name, "/orders/"+strings.Repeat("8", 1+i))
			v.Add(r, &Request{Method: "POST", Path: "/orders"}, l, s, Judge(r, l, s))
		}
		want := []string{"undecided POST /orders header " + name + " 40/40", "noise POST /drafts header " + name + " 40/40"}
		if got := judged(v.Snapshot().Account); !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
