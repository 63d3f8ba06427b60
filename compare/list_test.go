package compare

import (
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"
)

// lines is an invoice with these lines: each a sku, a quantity and an id that each side
// makes for itself.
func lines(side string, skus ...string) string {
	var list []string
	for i, sku := range skus {
		list = append(list, fmt.Sprintf(`{"id":"%s-%d-%s","sku":"%s","qty":%d,"vat":19}`, side, i, sku, sku, len(sku)))
	}
	return `{"lines":[` + strings.Join(list, ",") + `]}`
}

func TestListsAreAligned(t *testing.T) {
	tests := []struct {
		name, live, shadow string
		want               []string
	}{
		{"one more in front", `{"tags":["a","b","c"]}`, `{"tags":["z","a","b","c"]}`, []string{"$.tags[*]: added! at 0"}},
		{"one more in the middle", `{"tags":["a","b","c"]}`, `{"tags":["a","z","b","c"]}`, []string{"$.tags[*]: added! at 1"}},
		{"one less at the end", `{"tags":["a","b","c"]}`, `{"tags":["a","b"]}`, []string{"$.tags[*]: missing! at 2"}},
		{"none left", `{"tags":["a","b","c"]}`, `{"tags":[]}`, []string{"$.tags[*]: missing! at 0"}},
		{"another order", `{"tags":["a","b","c"]}`, `{"tags":["c","a","b"]}`, []string{"$.tags: order"}},
		{"another order, and one changed", `{"n":[1,2,3,4,5]}`, `{"n":[5,2,3,4,11]}`, []string{"$.n: order", "$.n[*]: +10 at 0"}},
		{"another order of objects", `[{"a":1,"b":[1]},{"a":2,"b":[2]}]`, `[{"b":[2],"a":2},{"b":[1],"a":1}]`, []string{"$: order"}},
		{"the same, written otherwise, in another order", `[1,1.0,2]`, `[1.0,1,2.0]`, []string{}},
		{"one changed", `{"n":[1,2,3]}`, `{"n":[1,5,3]}`, []string{"$.n[*]: +3 at 1"}},
		{"one more in front, each with an id of its own", lines("l", "A", "B", "CC"), lines("s", "ZZZ", "A", "B", "CC"), []string{"$.lines[*]: added! at 0", "$.lines[*].id:  at 0"}},
		{"one less in the middle, each with an id of its own", lines("l", "A", "B", "CC", "D"), lines("s", "A", "B", "D"), []string{"$.lines[*].id:  at 0", "$.lines[*]: missing! at 2"}},
		{"deeper", `{"orders":[{"lines":[1,2]},{"lines":[1,2,3]}]}`, `{"orders":[{"lines":[1,2]},{"lines":[1,3]}]}`, []string{"$.orders[*].lines[*]: missing! at 1"}},
		{"missing counts for more than changed", `{"o":[{"n":[1]},{"n":[4,2]}]}`, `{"o":[{"n":[2]},{"n":[4]}]}`, []string{"$.o[*].n[*]: missing! at 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := relations(Judge(rules(t), jsonAnswer(test.live), jsonAnswer(test.shadow)))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestListsAreComparedAsSets(t *testing.T) {
	tests := []struct {
		name, list, live, shadow string
		want                     []string
	}{
		{"another order", "$.lines", lines("l", "A", "B", "CC"), lines("l", "A", "B", "CC"), []string{}},
		{"another order of numbers", "$.n", `{"n":[1,2,3,4]}`, `{"n":[4,3.0,2,1]}`, []string{}},
		{"one less", "$.n", `{"n":[1,2,3,4]}`, `{"n":[4,2,1]}`, []string{"$.n[*]: missing! at 2"}},
		{"another list", "$.m", `{"n":[1,2]}`, `{"n":[2,1]}`, []string{"$.n: order"}},
		{"one changed", "$.lines", `{"lines":[{"sku":"A","qty":1},{"sku":"B","qty":2}]}`, `{"lines":[{"sku":"B","qty":2},{"sku":"A","qty":2}]}`, []string{"$.lines[*].qty: +1 at 0"}},
		{"by a member", "$.lines by sku", lines("l", "A", "B", "CC"), lines("s", "CC", "A", "B"), []string{"$.lines[*].id:  at 0"}},
		{"by a member, one more", "$.lines by sku", `{"lines":[{"sku":"A","qty":1},{"sku":"B","qty":2}]}`, `{"lines":[{"sku":"C","qty":1},{"sku":"B","qty":3},{"sku":"A","qty":1}]}`,
			[]string{"$.lines[*].qty: +1 at 1", "$.lines[*]: added! at 0"}},
		{"the whole body", "$ by sku", `[{"sku":"A","qty":1},{"sku":"B","qty":2}]`, `[{"sku":"B","qty":2},{"sku":"A","qty":2}]`, []string{"$[*].qty: +1 at 0"}},
		{"of lists", "$.orders[*].lines", `{"orders":[{"lines":[1,2]},{"lines":[3,4]}]}`, `{"orders":[{"lines":[2,1]},{"lines":[4,3]}]}`, []string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list, err := ParseUnordered(test.list)
			if err != nil {
				t.Fatal(err)
			}
			r := rules(t)
			r.Unordered = []Unordered{list}
			if got := relations(Judge(r, jsonAnswer(test.live), jsonAnswer(test.shadow))); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	for _, bad := range []string{"lines", "$.lines by", "$.lines by $.sku", "$.lines[0]", "$.", "$ by"} {
		if _, err := ParseUnordered(bad); err == nil {
			t.Errorf("%q is taken, want an error", bad)
		}
	}
}

// However a list is changed, what is found is what was done: never more is missing and
// added than was, and nothing is found in what was left alone.
func TestChangesOfListsAreFound(t *testing.T) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	rounds := 300
	for i := 0; i < rounds; i++ {
		n := 1 + random.Intn(12)
		var live, shadow []string
		for k := 0; k < n; k++ {
			live = append(live, fmt.Sprintf(`{"sku":"S-%d","qty":%d}`, k, k))
		}
		at := random.Intn(n)
		want := ""
		shadow = append(shadow, live...)
		switch random.Intn(3) {
		case 0:
			shadow = append(append(append([]string{}, live[:at]...), `{"sku":"new","qty":99}`), live[at:]...)
			want = fmt.Sprintf("$[*]: added! at %d", at)
		case 1:
			shadow = append(append([]string{}, live[:at]...), live[at+1:]...)
			want = fmt.Sprintf("$[*]: missing! at %d", at)
		case 2:
			shadow[at] = fmt.Sprintf(`{"sku":"S-%d","qty":%d}`, at, at+1)
			want = fmt.Sprintf("$[*].qty: +1 at %d", at)
			if at == 0 {
				want = "$[*].qty: not zero at 0"
			}
		}
		f := Judge(rules(t), jsonAnswer("["+strings.Join(live, ",")+"]"), jsonAnswer("["+strings.Join(shadow, ",")+"]"))
		if got := relations(f); !reflect.DeepEqual(got, []string{want}) {
			t.Errorf("seed %d: %q and %q: got %q, want %q", seed, live, shadow, got, want)
		}
	}
}

func TestNumbersMayBeApart(t *testing.T) {
	tests := []struct {
		tolerance, live, shadow string
		want                    []string
	}{
		{"$.total=0.005", `{"total":1.000}`, `{"total":1.005}`, []string{}},
		{"$.total=0.005", `{"total":1.005}`, `{"total":1.000}`, []string{}},
		{"$.total=0.005", `{"total":1.000}`, `{"total":1.006}`, []string{"$.total: +0.006"}},
		{"$.total=0.005", `{"total":"1.000"}`, `{"total":"1.005"}`, []string{}},
		{"$.total=0.005", `{"vat":1.000}`, `{"vat":1.001}`, []string{"$.vat: +0.001"}},
		{"$..rate = 1%", `{"a":{"rate":100}}`, `{"a":{"rate":101}}`, []string{}},
		{"$..rate=1%", `{"a":{"rate":100}}`, `{"a":{"rate":102}}`, []string{"$.a.rate: +2"}},
		{"$..rate=1%", `{"a":{"rate":-100}}`, `{"a":{"rate":-100.5}}`, []string{}},
		{"$.total=5", `{"total":1}`, `{"total":null}`, []string{"$.total: null!"}},
		{"$.total=5", `{"total":1}`, `{"total":1e400}`, []string{"$.total: "}},
	}
	for _, test := range tests {
		tolerance, err := ParseTolerance(test.tolerance)
		if err != nil {
			t.Fatal(err)
		}
		r := rules(t)
		r.Tolerance = []Tolerance{tolerance}
		if got := relations(Judge(r, jsonAnswer(test.live), jsonAnswer(test.shadow))); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %s and %s: got %q, want %q", test.tolerance, test.live, test.shadow, got, test.want)
		}
	}
	for _, bad := range []string{"$.total", "total=1", "$.total=", "$.total=-1", "$.total=1e9", "$.total=x", "$.total=1 %%"} {
		if _, err := ParseTolerance(bad); err == nil {
			t.Errorf("%q is taken, want an error", bad)
		}
	}
}
