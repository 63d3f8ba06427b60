package compare

import (
	"net/http"
	"reflect"
	"testing"
)

// with returns an answer with these headers, which are name, value, name, value.
func with(headers ...string) *Answer {
	a := answer(200, "application/json", "{}")
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Content-Type" {
			delete(a.Header, "Content-Type")
		}
		if headers[i+1] != "" {
			a.Header[headers[i]] = append(a.Header[headers[i]], headers[i+1])
		}
	}
	return a
}

func TestHeadersAreComparedByDefault(t *testing.T) {
	tests := []struct {
		name         string
		live, shadow *Answer
		want         []string
	}{
		{"another type", with(), with("Content-Type", "text/plain"), []string{"header Content-Type: "}},
		{"no type", with(), with("Content-Type", ""), []string{"header Content-Type: missing!"}},
		{"a type written otherwise", with("Content-Type", "text/HTML; Charset=\"UTF-8\""), with("Content-Type", "text/html;charset=utf-8"), nil},
		{"another charset", with("Content-Type", "text/html; charset=utf-8"), with("Content-Type", "text/html; charset=latin1"), []string{"header Content-Type: "}},
		{"JSON that says that it is UTF-8", with(), with("Content-Type", "application/json; charset=utf-8"), nil},
		{"another boundary", with("Content-Type", "multipart/mixed; boundary=a"), with("Content-Type", "multipart/mixed; boundary=b"), nil},
		{"no location", with("Location", "/invoices/1"), with(), []string{"header Location: missing!"}},
		{"another location", with("Location", "/invoices/open"), with("Location", "/Invoices/Open"), []string{"header Location: case"}},
		{"a public cache", with("Cache-Control", "no-store"), with("Cache-Control", "public"), []string{"header Cache-Control: "}},
		{"directives in another order", with("Cache-Control", "private, Max-Age=60"), with("Cache-Control", "max-age=60,private"), nil},
		{"Vary in several lines", with("Vary", "Accept", "Vary", "cookie"), with("Vary", "Cookie, accept"), nil},
		{"Vary without one", with("Vary", "Accept, Cookie"), with("Vary", "Accept"), []string{"header Vary: cut at 6"}},
		{"methods in another order", with("Allow", "GET, HEAD"), with("Allow", "HEAD", "Allow", "GET"), nil},
		{"any origin", with("Access-Control-Allow-Origin", "https://billing.example"), with("Access-Control-Allow-Origin", "*"), []string{"header Access-Control-Allow-Origin: "}},
		{"a longer wait", with("Retry-After", "60"), with("Retry-After", "61"), []string{"header Retry-After: +1"}},
		{"another ETag", with("Etag", `"a"`), with("Etag", `"b"`), nil},
		{"no ETag", with("Etag", `"a"`), with(), []string{"header Etag: missing!"}},
		{"a sunset", with(), with("Sunset", "Sat, 28 Nov 2026 08:00:00 GMT"), []string{"header Sunset: added!"}},
		{"a realm", with("Www-Authenticate", "Bearer"), with("Www-Authenticate", "bearer"), []string{"header Www-Authenticate: "}},
		{"what is not compared", with("Date", "a", "Server", "b", "X-Request-Id", "c"), with("Date", "d"), nil},

		{"another session", with("Set-Cookie", "session=9f86; Path=/; HttpOnly; Expires=Sat, 28 Nov 2026 08:00:00 GMT"), with("Set-Cookie", "session=ab12; path=/; HttpOnly"), nil},
		{"a cookie without its flags", with("Set-Cookie", "session=9f86; Path=/; Secure; HttpOnly; SameSite=Lax"), with("Set-Cookie", "session=ab12; Path=/"), []string{"cookie session: without HttpOnly, SameSite, Secure!"}},
		{"a cookie with one more", with("Set-Cookie", "a=1"), with("Set-Cookie", "a=1; Max-Age=60; Nonsense"), []string{"cookie a: with Max-Age!"}},
		{"a cookie for another path", with("Set-Cookie", "a=1; Path=/a"), with("Set-Cookie", "a=1; Path=/A"), []string{"cookie a: "}},
		{"no cookie", with("Set-Cookie", "a=1", "Set-Cookie", "b=2"), with("Set-Cookie", "b=3"), []string{"cookie a: missing!"}},
		{"one more cookie", with(), with("Set-Cookie", "debug=1"), []string{"cookie debug: added!"}},
		{"cookies in another order", with("Set-Cookie", "a=1; Secure", "Set-Cookie", "b=2"), with("Set-Cookie", "b=3", "Set-Cookie", "a=4; Secure"), nil},
		{"one cookie for two paths", with("Set-Cookie", "a=1; Path=/x", "Set-Cookie", "a=2; Path=/y"), with("Set-Cookie", "a=4; Path=/y", "Set-Cookie", "a=3; Path=/x"), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := rules(t)
			r.Headers = DefaultHeaders
			got := relations(Judge(r, test.live, test.shadow))
			if len(got)+len(test.want) > 0 && !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			back := Judge(r, test.shadow, test.live)
			if len(back.Differences) != len(test.want) || r.SameHeaders(test.live.Header, test.shadow.Header) != (len(test.want) == 0) {
				t.Errorf("the other way %q, and the same: %t", relations(back), r.SameHeaders(test.live.Header, test.shadow.Header))
			}
			r.Headers = nil
			if f := Judge(r, test.live, test.shadow); f.Outcome != Match {
				t.Errorf("without headers: %q, want a match", relations(f))
			}
		})
	}
}

func TestHeadersAreComparedWhereAsked(t *testing.T) {
	r := rules(t)
	r.Headers = append([]string{"X-Total-Count", "X-Auth-Token"}, DefaultHeaders...)
	got := found(Judge(r, with("X-Total-Count", "20", "X-Auth-Token", "geheim"), with("X-Total-Count", "2", "X-Total-Count", "1", "X-Auth-Token", "geheimer")))
	want := []string{"mismatch", "header X-Total-Count: 20 | 2, 1", "header X-Auth-Token: header #" + Hash("geheim") + " | header #" + Hash("geheimer")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for name, needed := range map[string]bool{"X-Total-Count": true, "Content-Encoding": true, "Etag": true, "Date": false} {
		if r.NeedsHeader(name) != needed {
			t.Errorf("%s is needed: %t, want %t", name, r.NeedsHeader(name), needed)
		}
	}
	zipped, other := with("Content-Encoding", "gzip"), with("Content-Encoding", "br")
	if r.SameHeaders(zipped.Header, other.Header) {
		t.Errorf("bodies with the same bytes and another encoding are the same")
	}
}

func TestConditionalRequests(t *testing.T) {
	tests := []struct {
		header       string
		live, shadow int
		want         bool
	}{
		{"If-None-Match", 304, 200, true},
		{"If-Modified-Since", 200, 304, true},
		{"If-None-Match", 304, 404, false},
		{"If-None-Match", 304, 304, false},
		{"If-Match", 304, 200, false},
		{"If-Range", 206, 200, true},
		{"If-Range", 200, 206, true},
		{"If-Range", 304, 200, false},
		{"", 304, 200, false},
	}
	for _, test := range tests {
		h := http.Header{test.header: {`"ab12"`}}
		if got := IsConditional(h, test.live, test.shadow); got != test.want {
			t.Errorf("%s, %d and %d: %t, want %t", test.header, test.live, test.shadow, got, test.want)
		}
	}
}
