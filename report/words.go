package report

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// How the page, the log and the metrics write numbers, times and what came from outside.

// A moment is a time, absolute and as it is from now.
type moment struct{ At, Ago string }

func newMoment(t, now time.Time) moment { return moment{At: stamp(t), Ago: ago(now.Sub(t))} }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ago is how long something is past.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "just now"
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s ago"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h ago"
	}
	return Count(int64(d/(24*time.Hour))) + " days ago"
}

// about is roughly how long something will take, in seconds.
func about(seconds float64) string {
	switch {
	case seconds < 90:
		return plural(int64(math.Ceil(seconds)), "second", "seconds")
	case seconds < 90*60:
		return plural(int64(math.Ceil(seconds/60)), "minute", "minutes")
	case seconds < 48*3600:
		return plural(int64(math.Ceil(seconds/3600)), "hour", "hours")
	}
	return plural(int64(math.Ceil(seconds/86400)), "day", "days")
}

// length is a number of seconds that are many.
func length(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// size is a number of bytes.
func size(n int64) string {
	if n < 1024 {
		return Count(n) + " B"
	}
	value := float64(n) / 1024
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	i := 0
	for i < len(units)-1 && value >= 1023.95 {
		value /= 1024
		i++
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + units[i]
}

// unseen is what a reader would not see, or what changes how the rest reads:
// control characters, those that turn the direction of writing, and the like.
var unseen = regexp.MustCompile(`[\p{C}\p{Zl}\p{Zp}\x{FFFE}\x{FFFF}]`)

// Visible writes what is unseen as Go does: \n, \x1b, \u202e.
func Visible(s string) string {
	return unseen.ReplaceAllStringFunc(strings.ToValidUTF8(s, "\uFFFD"), func(c string) string { return strings.Trim(strconv.QuoteToASCII(c), `"`) })
}

// text is what a request, an answer or an option holds, as the page shows it.
func text(s string) string {
	if len(s) > shownText {
		n := shownText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return Visible(s)
}

// word is the one that goes with a number.
func word(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// plural is a count with what is counted.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// percent is a share that reads 100% only where it is all, and 0% only where it
// is none. It is rounded down, in whole numbers: 0.57 as a floating point number
// is a little less, and would be 56.99%.
func percent(n, of int64) string {
	if n == 0 || of == 0 {
		return "0%"
	}
	hundredths := n * 10000 / of
	if hundredths == 0 {
		return "less than 0.01%"
	}
	return strconv.FormatFloat(float64(hundredths)/100, 'f', -1, 64) + "%"
}

// Count is a number with its thousands set apart.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Duration is a number of seconds as a person reads it.
func Duration(seconds float64) string {
	us := math.Round(seconds * 1e6)
	size := math.Abs(us)
	switch {
	case size < 1:
		return "0 µs" // and not -0
	case size < 1000:
		return strconv.FormatFloat(us, 'f', 0, 64) + " µs"
	case size < 9950: // which one digit less would make 10
		return strconv.FormatFloat(us/1e3, 'f', 1, 64) + " ms"
	case size < 999500:
		return strconv.FormatFloat(us/1e3, 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(us/1e6, 'f', 1, 64) + " s"
}
