package compare

import (
	"encoding/json"
	"html"
	"math/big"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A relation says what the shadow made of live's value: +0.01, ×100, case, order. It says
// much and gives little away, so it may be shown where values may not. There is none for
// values that have nothing to do with each other, as far as one can see.
const (
	relationMissing  = "missing"
	relationAdded    = "added"
	relationOrder    = "order"
	relationNull     = "null"
	relationNegated  = "negated"
	relationFormat   = "format" // the same number or moment, written otherwise
	relationNoAnswer = "no answer"
	relationLonger   = "longer than compare.maxBodySize"
	relationShorter  = "not longer than compare.maxBodySize" // and live's is
)

// relate returns the relation of two values that differ, and whether what differs is what
// is there and of which type, and not only its value. l and s are their types.
func relate(live, shadow interface{}, l, s string) (string, bool) {
	if l != s {
		return otherKind(live, shadow, l, s), true
	}
	switch l {
	case "string":
		return textRelation(live.(string), shadow.(string)), false
	case "number":
		return numberRelation(string(live.(json.Number)), string(shadow.(json.Number))), false
	case "boolean":
		return relationNegated, false
	}
	return "", false
}

// kindOf names the type of a JSON value.
func kindOf(v interface{}) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []interface{}:
		return "array"
	}
	return "object"
}

// otherKind is the relation of values of different types.
func otherKind(live, shadow interface{}, l, s string) string {
	if s == "null" {
		return relationNull
	}
	if text, ok := shadow.(string); ok && inner(live) != "" && text == inner(live) {
		return l + " as text"
	}
	if text, ok := live.(string); ok && inner(shadow) != "" && text == inner(shadow) {
		return "text as " + s
	}
	return s + ", not " + l
}

// inner is what a number or a boolean is as text; "" for other values.
func inner(v interface{}) string {
	if n, ok := v.(json.Number); ok {
		return string(n)
	}
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b)
	}
	return ""
}

const (
	// mostDigits is how many digits a difference of two numbers has at most: beyond it
	// they are hardly a number and a slightly different one.
	mostDigits = 12

	// mostZeros is how far apart two numbers may be to be set against each other: larger
	// exponents are not worked with.
	mostZeros = 60
)

// factors are those that say more than a difference does, besides powers of ten: twice,
// minutes or hours taken for seconds.
var factors = []int64{2, 60, 3600}

// numberRelation is the relation of two numbers as JSON writes them: exact, whatever their
// size, for no floating point is involved.
func numberRelation(live, shadow string) string {
	ld, le := decimal(live)
	sd, se := decimal(shadow)
	if le > mostZeros || le < -mostZeros || se > mostZeros || se < -mostZeros || len(ld) > mostZeros || len(sd) > mostZeros {
		return ""
	}
	if ld == sd && le == se {
		return relationFormat
	}
	if ld == "0" {
		return "not zero"
	}
	if sd == "0" {
		return "zero"
	}
	if "-"+ld == sd && le == se || "-"+sd == ld && le == se {
		return relationNegated
	}
	if ld == sd && se-le < 10 && le-se < 10 {
		if se > le {
			return "×1" + strings.Repeat("0", int(se-le))
		}
		return "÷1" + strings.Repeat("0", int(le-se))
	}
	exponent := le
	if se < exponent {
		exponent = se
	}
	l := scaled(ld, le-exponent)
	s := scaled(sd, se-exponent)
	less := new(big.Int).Sub(s, l)
	digits := less.String()
	trimmed := strings.TrimRight(digits, "0")
	exponent += int64(len(digits) - len(trimmed))
	one := (trimmed == "1" || trimmed == "-1") && exponent <= 0
	for _, f := range factors {
		if one {
			break // the smallest step there is says more
		}
		if new(big.Int).Mul(l, big.NewInt(f)).Cmp(s) == 0 {
			return "×" + strconv.FormatInt(f, 10)
		}
		if new(big.Int).Mul(s, big.NewInt(f)).Cmp(l) == 0 {
			return "÷" + strconv.FormatInt(f, 10)
		}
	}
	sign := "+"
	if strings.HasPrefix(trimmed, "-") {
		sign = "−"
		trimmed = trimmed[1:]
	}
	if len(trimmed) > mostDigits || exponent > mostDigits || exponent < -mostDigits {
		return ""
	}
	return sign + written(trimmed, int(exponent))
}

// scaled is a number of digits, with a sign or not, times a power of ten.
func scaled(digits string, zeros int64) *big.Int {
	n, _ := new(big.Int).SetString(digits+strings.Repeat("0", int(zeros)), 10)
	return n
}

// written is digits times a power of ten, with a point where it is needed.
func written(digits string, exponent int) string {
	if exponent >= 0 {
		return digits + strings.Repeat("0", exponent)
	}
	if len(digits) <= -exponent {
		digits = strings.Repeat("0", 1-exponent-len(digits)) + digits
	}
	return digits[:len(digits)+exponent] + "." + digits[len(digits)+exponent:]
}

// sameNumber reports whether two numbers as JSON writes them are equal, however
// they are written and however large: 1, 1.0, 10e-1. No floating point, in which
// different amounts of money can be equal.
func sameNumber(a, b string) bool {
	ad, ae := decimal(a)
	bd, be := decimal(b)
	return ad == bd && (ae == be || ad == "0")
}

// decimal returns a number as digits, with a sign and without zeros at either
// end, and the power of ten to multiply them by. A number whose exponent is
// beyond any use is returned as it is written.
func decimal(s string) (string, int64) {
	digits, exponent := s, int64(0)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		digits = s[:i]
		var err error
		if exponent, err = strconv.ParseInt(strings.TrimPrefix(s[i+1:], "+"), 10, 32); err != nil {
			return s, 1 << 40
		}
	}
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign = "-"
		digits = digits[1:]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	exponent -= int64(len(fraction))
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent += int64(len(digits) - len(trimmed))
	if trimmed == "" {
		return "0", 0
	}
	return sign + trimmed, exponent
}

// within reports whether two numbers are no further apart than the tolerance lets them.
func (t Tolerance) within(live, shadow string) bool {
	_, le := decimal(live)
	_, se := decimal(shadow)
	if le > mostZeros || le < -mostZeros || se > mostZeros || se < -mostZeros {
		return false
	}
	l, ok := new(big.Rat).SetString(live)
	if !ok {
		return false
	}
	s, ok := new(big.Rat).SetString(shadow)
	if !ok {
		return false
	}
	limit := t.limit
	if t.share {
		larger := new(big.Rat).Abs(l)
		if other := new(big.Rat).Abs(s); other.Cmp(larger) > 0 {
			larger = other
		}
		limit = larger.Mul(larger, t.limit)
	}
	less := new(big.Rat).Sub(l, s)
	return less.Abs(less).Cmp(limit) <= 0
}

var (
	// plainNumber matches text that is nothing but a number.
	plainNumber = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,30})?$`)

	// timeLike matches text that may be a moment.
	timeLike = regexp.MustCompile(`^(Mon|Tue|Wed|Thu|Fri|Sat|Sun|[0-9]{2}[0-9/.-]).{6,30}$`)
)

// textRelation is the relation of two strings.
func textRelation(live, shadow string) string {
	if shadow == "" {
		return "empty"
	}
	if live == "" {
		return "not empty"
	}
	if plainNumber.MatchString(live) && plainNumber.MatchString(shadow) {
		return numberRelation(live, shadow)
	}
	if strings.EqualFold(live, shadow) {
		return "case"
	}
	if strings.Join(strings.Fields(live), "") == strings.Join(strings.Fields(shadow), "") {
		return "whitespace"
	}
	if timeLike.MatchString(live) && timeLike.MatchString(shadow) {
		if relation := timeRelation(live, shadow); relation != "" {
			return relation
		}
	}
	if kept := strings.TrimSuffix(strings.TrimSuffix(shadow, "…"), "..."); strings.HasPrefix(live, kept) && kept != "" {
		return "cut at " + strconv.Itoa(utf8.RuneCountInString(kept))
	}
	if kept := strings.TrimSuffix(strings.TrimSuffix(live, "…"), "..."); strings.HasPrefix(shadow, kept) && kept != "" {
		return "not cut at " + strconv.Itoa(utf8.RuneCountInString(kept))
	}
	if strings.ContainsAny(live, "&%+") && escaped(live, shadow) || strings.ContainsAny(shadow, "&%+") && escaped(shadow, live) {
		return "escaping"
	}
	return ""
}

// escaped reports whether a is b, escaped for HTML or a URL.
func escaped(a, b string) bool {
	if strings.Contains(a, "&") && html.UnescapeString(a) == b {
		return true
	}
	if !strings.ContainsAny(a, "%+") {
		return false
	}
	text, err := url.QueryUnescape(a)
	return err == nil && text == b
}

// layouts are the usual forms of moments and days. A second's fractions are read in all.
var layouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02", "2006/01/02", "02.01.2006", "02.01.2006 15:04:05", "02.01.2006 15:04", "02/01/2006", time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC,
}

func parseTime(text string) (time.Time, bool) {
	for _, layout := range layouts {
		at, err := time.Parse(layout, text)
		if err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// timeRelation is the relation of two moments or days; "" where one is neither. What is
// less than a second is not told: it is what it takes to answer.
func timeRelation(live, shadow string) string {
	l, ok := parseTime(live)
	if !ok {
		return ""
	}
	s, ok := parseTime(shadow)
	if !ok {
		return ""
	}
	if s.Equal(l) {
		return relationFormat
	}
	return span(int64(s.Sub(l).Round(time.Second) / time.Second))
}

// span is the relation of moments that are so many seconds apart.
func span(seconds int64) string {
	sign := "+"
	if seconds < 0 {
		sign = "−"
		seconds = -seconds
	}
	n := func(unit int64) string { return sign + strconv.FormatInt(seconds/unit, 10) }
	switch {
	case seconds == 0:
		return "under 1 s"
	case seconds == 24*3600:
		return n(24*3600) + " day"
	case seconds%(24*3600) == 0:
		return n(24*3600) + " days"
	case seconds%3600 == 0:
		return n(3600) + " h"
	case seconds%60 == 0:
		return n(60) + " min"
	}
	return n(1) + " s"
}
