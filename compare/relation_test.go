package compare

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRelations(t *testing.T) {
	long := strings.Repeat("Meyer & Söhne ", 30)
	tests := []struct{ live, shadow, want string }{
		// Numbers.
		{`178.50`, `178.51`, "+0.01"},
		{`178.50`, `178.49`, "−0.01"},
		{`1`, `2`, "+1"},
		{`2`, `1`, "−1"},
		{`10`, `20`, "×2"},
		{`20`, `10`, "÷2"},
		{`1546.94`, `154694`, "×100"},
		{`154694`, `1546.94`, "÷100"},
		{`1`, `10`, "×10"},
		{`90`, `5400`, "×60"},
		{`9007199254740993`, `9007199254740992`, "−1"},
		{`0.1`, `0.3`, "+0.2"},
		{`119`, `141.61`, "+22.61"},
		{`1e2`, `101`, "+1"},
		{`119.00`, `-119.00`, "negated"},
		{`-5`, `5`, "negated"},
		{`119.00`, `0`, "zero"},
		{`0`, `119.00`, "not zero"},
		{`83517239912345678`, `10000000000000003`, ""},
		{`1e400`, `1`, ""},
		{`1e999999999999999999999`, `1`, ""},
		{`1200`, `1000`, "−200"},
		// Strings.
		{`"1546.94"`, `"154694"`, "×100"},
		{`"119.00"`, `"119.0"`, "format"},
		{`"0042"`, `"0043"`, "+1"},
		{`"Erika Meyer"`, `"erika meyer"`, "case"},
		{`"MÜLLER"`, `"müller"`, "case"},
		{`"Erika Meyer"`, `" Erika  Meyer"`, "whitespace"},
		{`"a b"`, `"a\u00a0b"`, "whitespace"},
		{`"` + long + `"`, `"` + string([]rune(long)[:255]) + `"`, "cut at 255"},
		{`"` + string([]rune(long)[:255]) + `"`, `"` + long + `"`, "not cut at 255"},
		{`"Meyer & Söhne"`, `"Meyer…"`, "cut at 5"},
		{`"Meyer & Söhne"`, `"Meyer &amp; Söhne"`, "escaping"},
		{`"Meyer & Söhne"`, `"Meyer+%26+S%C3%B6hne"`, "escaping"},
		{`"Meyer"`, `""`, "empty"},
		{`""`, `"Meyer"`, "not empty"},
		{`"EUR"`, `"USD"`, ""},
		{`"in_8231"`, `"in_9942"`, ""},
		// Times.
		{`"2026-12-01"`, `"2026-11-30"`, "−1 day"},
		{`"2026-11-28"`, `"2026-12-05"`, "+7 days"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28T10:00:00Z"`, "+2 h"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28T09:00:00+01:00"`, "format"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28 08:00:00"`, "format"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28T08:00:00.000Z"`, "format"},
		{`"2026-11-28T08:00:00.120Z"`, `"2026-11-28T08:00:03.125Z"`, "+3 s"},
		{`"2026-11-28T08:00:00.120Z"`, `"2026-11-28T10:00:00.131Z"`, "+2 h"},
		{`"2026-11-28T08:00:00.120Z"`, `"2026-11-28T08:00:00.131Z"`, "under 1 s"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28T07:45:00Z"`, "−15 min"},
		{`"28.11.2026"`, `"2026-11-28"`, "format"},
		{`"Sat, 28 Nov 2026 08:00:00 GMT"`, `"2026-11-28T08:00:00Z"`, "format"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28T08:00:00"`, "format"},
		{`"2026-11-28T08:00:00Z"`, `"2026-11-28T08"`, "cut at 13"},
		// Other types.
		{`true`, `false`, "negated"},
		{`119.00`, `"119.00"`, "number as text!"},
		{`"119.00"`, `119.00`, "text as number!"},
		{`true`, `"true"`, "boolean as text!"},
		{`119`, `"one hundred"`, "string, not number!"},
		{`{}`, `[]`, "array, not object!"},
		{`119`, `null`, "null!"},
		{`null`, `119`, "number, not null!"},
	}
	for _, test := range tests {
		f := Judge(rules(t), jsonAnswer(`{"total":`+test.live+`}`), jsonAnswer(`{"total":`+test.shadow+`}`))
		if got := relations(f); !reflect.DeepEqual(got, []string{"$.total: " + test.want}) {
			t.Errorf("%.60s and %.60s: got %q, want %q", test.live, test.shadow, got, test.want)
		}
	}
}

// The relation of any two numbers holds: what it says, done to live's, gives the shadow's.
func TestRelationsOfNumbersHold(t *testing.T) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	amount := func() string {
		n := fmt.Sprint(random.Intn(2_000_000) - 1_000_000)
		switch random.Intn(4) {
		case 0:
			n += fmt.Sprintf(".%02d", random.Intn(100))
		case 1:
			n = fmt.Sprint(random.Intn(20))
		case 2:
			n = fmt.Sprintf("%d.%de%d", random.Intn(10), random.Intn(1000), random.Intn(9)-4)
		}
		return n
	}
	for i := 0; i < 2000; i++ {
		live, shadow := amount(), amount()
		l, _ := new(big.Rat).SetString(live)
		s, _ := new(big.Rat).SetString(shadow)
		relation := numberRelation(live, shadow)
		n, ok := new(big.Rat).SetString(strings.TrimLeft(relation, "+−×÷"))
		want := new(big.Rat).Set(l)
		switch {
		case relation == "": // they have too many digits
			continue
		case relation == relationFormat:
			ok = true
		case relation == relationNegated:
			ok = true
			want.Neg(l)
		case relation == "zero":
			ok = true
			want.SetInt64(0)
		case relation == "not zero":
			ok = l.Sign() == 0
			want.Set(s)
		case strings.HasPrefix(relation, "+"):
			want.Add(l, n)
		case strings.HasPrefix(relation, "−"):
			want.Sub(l, n)
		case strings.HasPrefix(relation, "×"):
			want.Mul(l, n)
		case strings.HasPrefix(relation, "÷"):
			want.Quo(l, n)
		}
		if !ok || want.Cmp(s) != 0 {
			t.Errorf("seed %d: %s and %s: %q", seed, live, shadow, relation)
		}
	}
}

// Whatever the two are, both ways of asking agree on whether they differ, and how much.
func TestJudgingIsSymmetric(t *testing.T) {
	kinds := []string{`null`, `true`, `false`, `0`, `-0.0`, `1`, `1.0`, `1.5`, `1e400`, `""`, `"1"`, `"a"`, `"A"`, `"\ud83d"`, `"\ufffd"`, `[]`, `[null]`, `[[]]`, `[1]`, `[1.0,1]`, `[1,1.0]`,
		`[1,2,3]`, `[3,2,1]`, `[1,2,3,4]`, `[{"id":1},{"id":2}]`, `[{"id":2},{"id":1}]`, `{}`, `{"a":null}`, `{"a":1}`, `{"a":1.0,"b":[]}`, `{"a":{"b":[{}]}}`, `NaN`, `-Infinity`, ``, `{`}
	for _, null := range []bool{false, true} {
		r := rules(t)
		r.NullIsMissing = null
		for _, live := range kinds {
			for _, shadow := range kinds {
				for _, around := range []string{`%s`, `{"v":%s}`, `[%s]`, `[0,{"v":%s},0]`} {
					l, s := jsonAnswer(fmt.Sprintf(around, live)), jsonAnswer(fmt.Sprintf(around, shadow))
					ab, ba := Judge(r, l, s), Judge(r, s, l)
					if ab.Outcome != ba.Outcome || len(ab.Differences) != len(ba.Differences) {
						t.Errorf("%s and %s: %q one way, %q the other", l.Body, s.Body, found(ab), found(ba))
					}
					for i := range ab.Differences {
						a, b := ab.Differences[i], ba.Differences[i]
						if a.Key != b.Key || a.Structural != b.Structural {
							t.Errorf("%s and %s: %q one way, %q the other", l.Body, s.Body, relations(ab), relations(ba))
						}
					}
					if want := equalValues(live, shadow); (ab.Outcome == Match) != want && !null {
						t.Errorf("%s and %s: %q, equal: %t", l.Body, s.Body, found(ab), want)
					}
				}
			}
		}
	}
}

// A member that is missing differs from one with any value, whichever side has it.
func TestMissingDiffersFromAnyValue(t *testing.T) {
	for _, null := range []bool{false, true} {
		r := rules(t)
		r.NullIsMissing = null
		for _, value := range []string{`null`, `true`, `false`, `0`, `-0.0`, `""`, `"a"`, `[]`, `[null]`, `{}`, `{"a":null}`, `{"a":1}`, `NaN`} {
			for _, around := range []string{`{%s}`, `[{%s}]`, `{"a":1%s}`, `[0,{"a":[{%s}]},0]`} {
				comma := ""
				if strings.Contains(around, "1%s") {
					comma = ","
				}
				with, without := jsonAnswer(fmt.Sprintf(around, comma+`"v":`+value)), jsonAnswer(fmt.Sprintf(around, ""))
				missing, added := Judge(r, with, without), Judge(r, without, with)
				if null && value == "null" {
					if missing.Outcome != Match || added.Outcome != Match {
						t.Errorf("%s and %s: %q and %q, want a match", with.Body, without.Body, relations(missing), relations(added))
					}
					continue
				}
				m, a := relations(missing), relations(added)
				if len(m) != 1 || len(a) != 1 || !strings.Contains(m[0], ".v: missing!") || !strings.Contains(a[0], ".v: added!") {
					t.Errorf("%s and %s: %q and %q, want v missing and added", with.Body, without.Body, m, a)
				}
			}
		}
	}
}

// equalValues reports whether two of the kinds are equal, by another way.
func equalValues(a, b string) bool {
	if a == b {
		return true
	}
	var av, bv interface{}
	if json.Unmarshal([]byte(a), &av) != nil || json.Unmarshal([]byte(b), &bv) != nil || strings.Contains(a+b, "e400") || strings.Contains(a, `\u`) && strings.Contains(b, `\u`) {
		return false
	}
	return reflect.DeepEqual(av, bv) || a == "0" && b == "-0.0" || a == "-0.0" && b == "0"
}
