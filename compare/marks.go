package compare

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What bears the mark of being made anew for each answer. Without a control this is all
// that can make a difference noise: everything else a service may have got wrong.

// aroundNow is how far from the request a time may be to be one that was made with the
// answer.
const aroundNow = 30 * time.Second

// uuids matches UUIDs, and tokens what else may be made at random: ULIDs, and runs of at
// least sixteen characters. Which of the runs are random, looksRandom says. In a URL a
// slash is between two of them.
var (
	uuids       = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)
	tokens      = regexp.MustCompile(`[0-9A-Za-z_+/=-]{16,}`)
	tokensOfURL = regexp.MustCompile(`[0-9A-Za-z_+=-]{16,}`)
)

// times matches times of day with a date, as RFC 3339 and HTTP write them.
var times = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?|(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`)

// timeForms are those that times matches.
var timeForms = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999", "Mon, 02 Jan 2006 15:04:05 GMT",
}

// A mark is what both values of a difference have in common, and what each was made with.
type mark struct {
	made         bool // both may be made anew: they differ in nothing but tokens and times around the request
	random       bool // and each of the tokens looks like one
	live, shadow []string
}

// markOf looks at the texts of two values that differ, of an answer to a request at a
// time. What is made anew has the same form each time: a time of another form, or in
// another zone, or a token half as long, is somebody's mistake.
func markOf(live, shadow string, at time.Time) mark {
	url := isURL(live) && isURL(shadow)
	l, lf := without(live, at, url)
	s, sf := without(shadow, at, url)
	if l != s || len(lf) == 0 && l == live && s == shadow {
		return mark{}
	}
	m := mark{made: true, random: true, live: lf, shadow: sf}
	for i := range lf {
		l, s := looksRandom(lf[i]), looksRandom(sf[i])
		m.made = m.made && (l || s) && similarLength(lf[i], sf[i])
		m.random = m.random && l && s && caseOf(lf[i]) == caseOf(sf[i])
	}
	return m
}

// findMarks looks for the marks of all values that differ, in answers to a request at a time.
func (f *Finding) findMarks(at time.Time) {
	for i := range f.Differences {
		d := &f.Differences[i]
		m := markOf(d.Live.whole, d.Shadow.whole, at)
		d.mark = &m
	}
}

func isURL(text string) bool { return strings.HasPrefix(text, "/") || strings.Contains(text, "://") }

// similarLength reports whether two tokens are about as long.
func similarLength(a, b string) bool {
	less := len(a) - len(b)
	return 4*less <= len(a) && -4*less <= len(b)
}

// caseOf says which letters a token has: small ones, capitals, or both.
func caseOf(token string) string {
	if token == strings.ToLower(token) {
		return "small"
	}
	if token == strings.ToUpper(token) {
		return "capital"
	}
	return "both"
}

// without returns a text with a sign of its form in place of each token and of each time
// around at, and the tokens.
func without(text string, at time.Time, url bool) (string, []string) {
	if scale := unix(text, at); scale > 0 {
		return "\x00unix" + strconv.Itoa(scale), nil
	}
	text = times.ReplaceAllStringFunc(text, func(found string) string {
		if form := around(found, at); form != "" {
			return "\x00" + form + "\x00"
		}
		return found
	})
	var found []string
	text = uuids.ReplaceAllStringFunc(text, func(token string) string {
		found = append(found, token)
		return "\x00uuid, " + caseOf(token) + "\x00"
	})
	others := tokens
	if url {
		others = tokensOfURL
	}
	text = others.ReplaceAllStringFunc(text, func(token string) string {
		if !looksRandom(token) && !hexadecimal(token) {
			return token
		}
		found = append(found, token)
		return "\x00token\x00"
	})
	return text, found
}

// around returns the form of a time if it is one around at; "": it is not. One without a
// zone may be in any, which is part of its form.
func around(text string, at time.Time) string {
	text = strings.Replace(text, ",", ".", strings.Count(text, ",")-strings.Count(text, ", "))
	for _, form := range timeForms {
		t, err := time.Parse(form, text)
		if err != nil {
			continue
		}
		d := t.Sub(at)
		zone := "with its zone"
		if !strings.ContainsAny(form, "ZG") {
			zone = d.Round(15 * time.Minute).String()
			d -= d.Round(15 * time.Minute)
		}
		if d > -aroundNow && d < aroundNow {
			return form[8:11] + " " + zone
		}
		return ""
	}
	return ""
}

// unix says what a text that is a Unix time around at counts: 1 seconds, 2 thousandths, 3
// millionths, 4 billionths of one; 0: it is none.
func unix(text string, at time.Time) int {
	if len(text) < 10 || len(text) > 30 {
		return 0
	}
	whole, _, _ := strings.Cut(text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n < 1e9 {
		return 0
	}
	scale := 1
	for n >= 1e11 {
		n /= 1000
		scale++
	}
	d := n - at.Unix()
	most := int64(aroundNow / time.Second)
	if d <= -most || d >= most {
		return 0
	}
	return scale
}

// hexadecimal reports whether a run of characters is hexadecimal digits: it may be a token
// that happens to have no letters. Of sixteen digits that are one in two thousand.
func hexadecimal(token string) bool { return strings.Trim(token, "0123456789abcdefABCDEF") == "" }

// looksRandom reports whether a run of characters is a token: a UUID, a ULID, hexadecimal
// digits, or a mixture of kinds that words and numbers do not have. Sixteen digits in a
// row are a number.
func looksRandom(token string) bool {
	if len(token) > maxToken {
		token = token[:maxToken] // interpreted, each character is some microseconds
	}
	digits, lower, upper, turns := 0, 0, 0, 0
	before := byte(0)
	for i := 0; i < len(token); i++ {
		kind := byte(0)
		switch c := token[i]; {
		case c >= '0' && c <= '9':
			digits++
			kind = '0'
		case c >= 'a' && c <= 'z':
			lower++
			kind = 'a'
		case c >= 'A' && c <= 'Z':
			upper++
			kind = 'A'
		}
		if kind != before {
			turns++
			before = kind
		}
	}
	if digits == 0 {
		return lower > 0 && upper > 0 && turns > len(token)/3
	}
	return lower+upper > 0 && turns > len(token)/6
}
