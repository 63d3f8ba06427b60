package compare

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestNamesOfAQuery(t *testing.T) {
	tests := []struct {
		target string
		want   []string
	}{
		{"", []string{}},
		{"/invoices", []string{}},
		{"/invoices?", []string{}},
		{"/invoices?currency=EUR&page=2", []string{"currency", "page"}},
		{"/invoices?currency=EUR&currency=USD&&page=", []string{"currency", "page"}},
		{"/invoices?filter%5Bstate%5D=open&sort[total]=asc&api-version=2&$top=5&due.from=1", []string{"filter[state]", "sort[total]", "api-version", "$top", "due.from"}},
		{"/invoices?addressLine1=a&iso8601=b", []string{"addressLine1", "iso8601"}},

		// What may be somebody's value is no name.
		{"/reset?abcdefghijklmnopqrstuv", []string{"*"}},
		{"/invoices?4711", []string{"*"}},
		{"/invoices?4711=1&DE89370400440532013000=2&8f14e45f-ceea-467f-ab5c-1234567890ab=3", []string{"*"}},
		{"/invoices?erika@example.com=1&a%20b=2&%zz=3&=4&page=5", []string{"*", "page"}},
		{"/invoices?" + strings.Repeat("x", 50) + "=1", []string{"*"}},
		{"/invoices?<script>=1&a%0Ab=2&%27=3", []string{"*"}},
	}
	for _, test := range tests {
		if got := queryNames(test.target); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %q, want %q", test.target, got, test.want)
		}
	}
	long := "/invoices?"
	for i := 0; i < 5000; i++ {
		long += "p" + letters(i) + "=1&"
	}
	if got := queryNames(long); len(got) != maxQueryNames {
		t.Errorf("%d names of 5000, want %d", len(got), maxQueryNames)
	}
}

func TestCurlRepeatsARequest(t *testing.T) {
	const curl = "curl -g --path-as-is"
	who := []string{"Bearer keks"}
	tests := []struct {
		name    string
		request Request
		want    string
	}{
		{"GET", Request{Method: "GET", Target: "/invoices/4711?currency=EUR&page=2"}, curl + ` "$BASE"'/invoices/4711?currency=EUR&page=2'`},
		{"HEAD", Request{Method: "HEAD", Target: "/invoices"}, curl + ` --head "$BASE"'/invoices'`},
		{"OPTIONS", Request{Method: "OPTIONS", Target: "/invoices"}, curl + ` -X OPTIONS "$BASE"'/invoices'`},
		{"a credential", Request{Method: "GET", Target: "/invoices", Authorization: who}, curl + ` -H "Authorization: $AUTHORIZATION" "$BASE"'/invoices'`},
		{"cookies", Request{Method: "GET", Target: "/invoices", Cookie: who}, curl + ` -H "Cookie: $COOKIE" "$BASE"'/invoices'`},
		{"both", Request{Method: "GET", Target: "/invoices", Authorization: who, Cookie: who}, curl + ` -H "Authorization: $AUTHORIZATION" -H "Cookie: $COOKIE" "$BASE"'/invoices'`},
		{"credentials in the query", Request{Method: "GET", Target: "/invoices?access_token=keks&X-Amz-Signature=keks&page=2&Code=keks&password=keks&api%4Bey=keks"},
			curl + ` "$BASE"'/invoices?access_token=LEFT-OUT&X-Amz-Signature=LEFT-OUT&page=2&Code=LEFT-OUT&password=LEFT-OUT&api%4Bey=LEFT-OUT'`},
		{"values without a name", Request{Method: "GET", Target: "/invoices?verbose&8f14e45fceea467fab5c&%zz=keks"}, curl + ` "$BASE"'/invoices?verbose&LEFT-OUT&%zz=LEFT-OUT'`},
		{"what rules cover", Request{Method: "GET", Target: "/invoices?iban=keks&IBAN=keks&state=&page=1"}, curl + ` "$BASE"'/invoices?iban=LEFT-OUT&IBAN=LEFT-OUT&state=&page=1'`},

		{"POST", Request{Method: "POST", Target: "/invoices"}, ""},
		{"DELETE", Request{Method: "DELETE", Target: "/invoices/1"}, ""},
		{"of any other method", Request{Method: "'$(id)'", Target: "/invoices/1"}, ""},
		{"unknown", Request{Method: "GET"}, ""},
		{"of the server itself", Request{Method: "OPTIONS", Target: "*"}, ""},
		{"of another host", Request{Method: "GET", Target: "http://billing.example.com/invoices"}, ""},
		{"as long as may be", Request{Method: "GET", Target: "/" + strings.Repeat("x", maxTarget-1)}, curl + ` "$BASE"'/` + strings.Repeat("x", maxTarget-1) + `'`},
		{"too long", Request{Method: "GET", Target: "/" + strings.Repeat("x", maxTarget)}, ""},
	}
	r := rules(t, "$..iban", "header X-Ledger")
	for _, test := range tests {
		if got := r.curlLine(&test.request); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", test.name, got, test.want)
		}
	}
}

// words are those that a POSIX shell makes of a line, expansions left as they are; an error
// where it would see more than words.
func words(line string) ([]string, error) {
	var list []string
	word, quote := "", byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c < ' ' || c > '~':
			return nil, fmt.Errorf("byte %#x", c)
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			word += string(rune(c))
		case quote == '"' && (c == '\\' || c == '`'):
			return nil, fmt.Errorf("%c in double quotes", c)
		case quote == '"':
			word += string(rune(c))
		case c == '\'' || c == '"':
			quote = c
		case c == '\\':
			i++
			word += string(rune(line[i]))
		case c == ' ':
			list = append(list, word)
			word = ""
		case strings.ContainsAny(string(rune(c)), "$&|;<>()`*?[]{}#~!"):
			return nil, fmt.Errorf("%c outside of quotes", c)
		default:
			word += string(rune(c))
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a %c that does not end", quote)
	}
	return append(list, word), nil
}

// Whatever a client writes is one word, and no other part of the command.
func TestNothingBreaksOutOfCurl(t *testing.T) {
	r := rules(t)
	for _, hostile := range []string{
		`'; rm -rf / #`, `' -o /etc/passwd '`, `\'`, `'\''`, `"$(id)"`, "`id`", `$(id)`, `${IFS}`, "a\nrm", "a\r\nb", "\x00", "\x1b]0;x\x07", "\u202e", "\x7f", " ", "\t",
		`!!`, `{1..9}`, `[a-z]`, `*`, `;&|<>()`, `%27`, `#`, `~`, `\`, `''''`, "é\xff",
	} {
		for _, target := range []string{"/" + hostile, "/invoices?q=" + hostile, "/invoices?" + hostile + "=1", "/invoices?" + hostile} {
			line := r.curlLine(&Request{Method: "GET", Target: target})
			got, err := words(line)
			if err != nil || len(got) != 4 || !strings.HasPrefix(got[3], "$BASE/") || strings.Join(got[:3], " ") != "curl -g --path-as-is" {
				t.Errorf("%q: %s makes %q (%v)", target, line, got, err)
			}
		}
	}
	line := r.curlLine(&Request{Method: "GET", Target: `/it's?q=a"b\c#d é`})
	if got, err := words(line); err != nil || got[3] != `$BASE/it's?q=a"b\c%23d%20%C3%A9` {
		t.Errorf("%s makes %q (%v)", line, got, err)
	}
}

// Names of parameters are shown where somebody asks often enough, as words of paths are; what
// they stand for only with values.
func TestExamplesHaveTheQueryAsFarAsItMayBeShown(t *testing.T) {
	const target = "/invoices/4711?currency=EUR&token=keks"
	tests := []struct {
		name  string
		show  string
		pairs int
		query []string
		curl  bool
	}{
		{"hashes, seldom", Hashes, clearPairs - 1, []string{}, false},
		{"hashes", Hashes, clearPairs, []string{"currency", "token"}, false},
		{"none", None, clearPairs, []string{"currency", "token"}, false},
		{"values, seldom", Values, 1, []string{"currency", "token"}, true},
		{"values", Values, clearPairs, []string{"currency", "token"}, true},
	}
	for _, test := range tests {
		r := rules(t)
		r.Show = test.show
		v := begun(r)
		for i := 0; i < test.pairs; i++ {
			judgeFor(v, r, &Request{Method: "GET", Path: "/invoices/4711", Target: target, At: time.Now()}, `{"paid":true}`, `{"paid":false}`)
		}
		x := v.Snapshot().Account.Differences[0].Examples[0]
		if !reflect.DeepEqual(x.Query, test.query) || (x.Curl != "") != test.curl || strings.Contains(x.Curl, "keks") || test.curl && !strings.Contains(x.Curl, "/invoices/4711?currency=EUR") {
			t.Errorf("%s: query %q, %s", test.name, x.Query, x.Curl)
		}
	}
	// What nobody has a name for is not shown by its parameters either.
	r := rules(t)
	r.Show = Hashes
	v := begun(r)
	for i := 0; i < 2*clearPairs; i++ {
		l, s := jsonAnswer(`{}`), jsonAnswer(`[]`)
		l.Status, s.Status = 404, 404
		v.Add(r, &Request{Method: "GET", Path: "/wp-admin", Target: "/wp-admin?erika=1", At: time.Now()}, l, s, Judge(r, l, s))
	}
	if d := v.Snapshot().Account.Differences; len(d) != 1 || d[0].Endpoint != notFound || len(d[0].Examples[0].Query) != 0 {
		t.Errorf("%+v, want what was not found, without names", d)
	}
}

// A rule that comes later covers what was kept before.
func TestCurlGoesWhereRulesCoverMore(t *testing.T) {
	tests := []struct {
		before, after []string
		kept          bool
	}{
		{nil, nil, true},
		{nil, []string{"$..iban"}, false},
		{[]string{"$..iban"}, []string{"$..iban", "$.lines[*].sku"}, false},
		{[]string{"$..iban"}, []string{"$.bank.iban"}, true},
		{[]string{"$..iban", "$.sku"}, []string{"$.sku"}, true},
		{nil, []string{"header X-Ledger", "status 404/410"}, true},
	}
	for _, test := range tests {
		before, after := rules(t, test.before...), rules(t, test.after...)
		v := begun(before)
		judgeFor(v, before, &Request{Method: "GET", Path: "/invoices", Target: "/invoices?iban=1&sku=2", At: time.Now()}, `{"paid":true}`, `{"paid":false}`)
		v.Begin(after)
		if x := v.Snapshot().Account.Differences[0].Examples; len(x) != 1 || (x[0].Curl != "") != test.kept {
			t.Errorf("%q after %q: %+v, kept: want %t", test.after, test.before, x, test.kept)
		}
	}
}
