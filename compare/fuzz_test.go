package compare

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"
	"unicode/utf8"
)

// opposite is what a relation is the other way round; "" where that cannot be said.
func opposite(relation string) string {
	pairs := []string{"+", "−", "×", "÷"}
	for i, sign := range pairs {
		if rest, ok := strings.CutPrefix(relation, sign); ok {
			return pairs[i^1] + rest
		}
	}
	switch relation {
	case relationNegated, relationFormat, "case", "whitespace", "escaping", "under 1 s":
		return relation
	}
	return ""
}

// FuzzRelation checks that the relation of two numbers, or of two texts, is the opposite of
// that of the other two, and that it is short, whatever they are.
func FuzzRelation(f *testing.F) {
	for _, pair := range [][2]string{{"1546.94", "154694"}, {"0", "-0.00"}, {"1e400", "1"}, {"2026-11-28", "28.11.2026"}, {"Meyer & Söhne", "Meyer &amp; Söhne"}, {"90", "5400"}, {"a", "A"}, {"-1e-12", "1"}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, live, shadow string) {
		if live == shadow || !utf8.ValidString(live) || !utf8.ValidString(shadow) {
			return
		}
		ask := textRelation
		if isNumber(live) && isNumber(shadow) {
			if sameNumber(live, shadow) {
				return
			}
			ask = numberRelation
		}
		there, back := ask(live, shadow), ask(shadow, live)
		if want := opposite(there); want != "" && back != want && back != "" {
			t.Errorf("%q and %q: %q, and %q the other way", live, shadow, there, back)
		}
		if len(there) > 60 {
			t.Errorf("%q and %q: %q", live, shadow, there)
		}
	})
}

func isNumber(text string) bool {
	var n json.Number
	return json.Unmarshal([]byte(text), &n) == nil && strings.TrimSpace(text) == text && !strings.HasPrefix(text, `"`) && text != "null"
}

// FuzzLists checks that two lists match if, and only if, they are the same, in whatever way
// they were aligned, and as sets if they have the same elements.
func FuzzLists(f *testing.F) {
	for _, pair := range [][2]string{{"abc", "xabc"}, {"abc", "ac"}, {"abcabc", "cba"}, {"", "a"}, {"aAbB", "bBaA"}, {"aaaa", "aaa"}, {"abcdefghijklmnopqrstuvwxyz", "zbcdefghijklmnopqrstuvwxya"}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, live, shadow string) {
		if len(live) > 60 || len(shadow) > 60 {
			return
		}
		l, s := elementsOf(live), elementsOf(shadow)
		la, sa := jsonAnswer("["+strings.Join(l, ",")+"]"), jsonAnswer("["+strings.Join(s, ",")+"]")
		r := &Rules{Body: JSON, MaxBodySize: 1 << 16}
		there, back := Judge(r, la, sa), Judge(r, sa, la)
		if same := reflect.DeepEqual(l, s); same != (there.Outcome == Match) || there.Outcome != back.Outcome {
			t.Errorf("%s and %s: %q, and %q the other way", la.Body, sa.Body, relations(there), relations(back))
		}
		for _, d := range there.Differences {
			if d.Index >= len(l) && d.Index >= len(s) || d.Index < 0 && d.Relation != relationOrder {
				t.Errorf("%s and %s: %q", la.Body, sa.Body, relations(there))
			}
		}
		r.Unordered = []Unordered{{}}
		sort.Strings(l)
		sort.Strings(s)
		if set := Judge(r, la, sa); reflect.DeepEqual(l, s) != (set.Outcome == Match) {
			t.Errorf("%s and %s as sets: %q", la.Body, sa.Body, relations(set))
		}
	})
}

// elementsOf makes elements of characters: some numbers, some objects, some lists.
func elementsOf(text string) []string {
	list := []string{}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c % 3 {
		case 0:
			list = append(list, fmt.Sprint(c))
		case 1:
			list = append(list, fmt.Sprintf(`{"qty":%d,"sku":"S-%d"}`, c%4, c))
		default:
			list = append(list, fmt.Sprintf(`[%d,"S-%d"]`, c%4, c))
		}
	}
	return list
}

// FuzzPath checks that what a path is read as is what it writes, that it selects what it
// names, and nothing but what is in it.
func FuzzPath(f *testing.F) {
	for _, text := range []string{"$.id", "$.lines[*].updatedAt", "$['a.b'].c", "$.totals.*", "$..updatedAt", "$.a..b", "$['*']", "$.balances.*.asOf", "$['it''s']", "$[*][*]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePath(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Errorf("%q is read as %q", text, p)
		}
		if strings.Contains(text, "..") || len(text) > 100 {
			return
		}
		key := keyOf(p.steps)
		steps := stepsOf(key)
		if plain := !strings.ContainsAny(text, "'"); plain && !reflect.DeepEqual(steps, p.steps) {
			t.Errorf("%q has the steps %q, and as the key %q the steps %q", text, p.steps, key, steps)
		}
		if !p.covers(p.steps) || !p.selects(p.steps) || p.selects(append(append([]string{}, p.steps...), ".more")) || !p.covers(append(append([]string{}, p.steps...), ".more")) || p.covers(p.steps[:len(p.steps)-1]) {
			t.Errorf("%q does not select itself, and only that", text)
		}
	})
}

// FuzzMember checks that a name is an identifier or not whatever stands around it, that a
// difference in a member of any name is found, and that a rule for its key covers it.
func FuzzMember(f *testing.F) {
	for _, name := range []string{"total", "4711", "8f14e45f-ceea-467a-9575-6b5a7a1ff3b1", "a.b", "a']['b", "*", "", "@sku", "erika@example.com", "\ufdd0d83d"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !utf8.ValidString(name) || len(name) > 100 {
			return
		}
		body := func(n int) *Answer {
			text, err := json.Marshal(map[string]interface{}{name: n, "beside": 1})
			if err != nil {
				t.Fatal(err)
			}
			return jsonAnswer(string(text))
		}
		r := &Rules{Body: JSON, MaxBodySize: 1 << 16}
		if name == "beside" {
			return
		}
		found := Judge(r, body(1), body(2))
		if len(found.Differences) != 1 || isIdentifier(name) != (found.Differences[0].Key == "$.*") {
			t.Errorf("%q: %q", name, relations(found))
			return
		}
		if rule, err := ParseRule(found.Differences[0].Key); err == nil && plainName(name) && !rule.Covers("GET", "/", found.Differences[0].Key) {
			t.Errorf("%q: the rule %s does not cover its own key", name, rule)
		}
	})
}
