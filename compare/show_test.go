package compare

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

// With a key hashes are the same in every process: these were made by another program.
func TestHashesWithAKey(t *testing.T) {
	r := rules(t)
	r.HashKey = "horse battery staple"
	r.Headers = []string{"Location"}
	l, s := jsonAnswer(`{"customer":"Erika","total":119.00}`), jsonAnswer(`{"customer":"E. E.","total":119.01}`)
	l.Header["Location"] = []string{"/invoices/1"}
	s.Header["Location"] = []string{"/invoices/2"}
	var got []string
	for _, d := range Judge(r, l, s).Differences {
		got = append(got, d.Key+" "+d.Live.Shown(Hashes)+" "+d.Shadow.Shown(Hashes))
	}
	want := []string{"header Location header #4ec931eb header #b61ef4ab", "$.customer string #1fe3301c string #dc1a9d46", "$.total number #742cdfbb number #14d8bc95"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if r.hash("Erika") == Hash("Erika") || rules(t).hash("Erika") != Hash("Erika") {
		t.Errorf("the key makes no difference, or none is one")
	}
}

// With another key the comparison goes on. Hashes of both are never set against each
// other: examples go, a value that live gives twice has not changed, and it stays known how
// many values there were.
func TestHashesWithAnotherKey(t *testing.T) {
	with := func(key string) *Rules {
		r := rules(t)
		r.Show = Hashes
		r.HashKey = key
		return r
	}
	r := with("")
	v := begun(r)
	send := func(from, to int) {
		for i := from; i < to; i++ {
			req := &Request{Method: "GET", Path: "/accounts", Target: fmt.Sprint("/accounts?n=", i%15), At: time.Now()}
			live := fmt.Sprintf(`{"key":"%s","ref":"K-%d"}`, uuid("a0", i%15), i%15)
			judgeFor(v, r, req, live, fmt.Sprintf(`{"key":"%s","ref":"C-%d"}`, uuid("b0", i), i))
		}
	}
	send(0, 30)
	for _, key := range []string{"horse battery staple", "correct horse battery", ""} {
		r = with(key)
		v.Begin(r)
		for _, d := range v.Snapshot().Account.Differences {
			if len(d.Examples) != 0 || d.Count != 30 || d.Judgement != Undecided {
				t.Errorf("%q: %d examples of %d pairs with another %s that are %s, want none of 30 that are undecided", key, len(d.Examples), d.Count, d.Key, d.Judgement)
			}
		}
	}
	send(30, 33)
	for _, d := range v.Snapshot().Account.Differences {
		if d.Judgement != Undecided || len(d.Examples) == 0 || d.Key == "$.ref" && d.Examples[0].Live != "string #"+Hash("K-0") {
			t.Errorf("%s, examples %+v; want undecided, and hashes of the key of now", d.Judgement, d.Examples)
		}
	}
}
