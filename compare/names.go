package compare

import (
	"regexp"
	"strings"
)

// Maps by an identifier: {"balances":{"8f14e45f-…":{…},"9a31b2c4-…":{…}}}. What differs
// in them is one thing, whatever the identifiers are, so names that look like one are *
// in keys. That is seen of a name alone, and so is the same in every pair; names of maps
// that look like others are found in the account: see mergeNames.

// anyMember is the step to members whose names are identifiers, and in a rule to any.
const anyMember = "*"

// maxName is how much of a name is looked at, in bytes.
const maxName = 64

// The forms of identifiers. The work is left to compiled calls: interpreted, a look at
// each character of a name would cost more than all else that is done with it.
var (
	// madeOfNumbers matches numbers, days, times, telephone numbers and addresses.
	madeOfNumbers = regexp.MustCompile(`^[-+ .:/_0-9]+$`)

	// addressLike matches addresses of mail.
	addressLike = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)

	// hexLike matches UUIDs and other hexadecimal digits, and ulidLike ULIDs.
	hexLike  = regexp.MustCompile(`^([-0-9a-f]{8,}|[-0-9A-F]{8,})$`)
	ulidLike = regexp.MustCompile(`^(?i)[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

	// tokenLike matches what may be a token.
	tokenLike = regexp.MustCompile(`^[-_+/=.0-9A-Za-z]{16,}$`)

	anyDigits = regexp.MustCompile(`[0-9]+`)
	noDigit   = regexp.MustCompile(`[^0-9]`)
	noLetter  = regexp.MustCompile(`[^A-Za-z]`)
	ofOneKind = regexp.MustCompile(`[0-9]+|[a-z]+|[A-Z]+|[^0-9a-zA-Z]+`)
)

// isIdentifier reports whether the name of a member is the identifier of something, and
// not what a service calls a thing. Names such as addressLine1, iso8601 and sha256 are
// none.
func isIdentifier(name string) bool {
	if !strings.ContainsAny(name, "0123456789@") {
		return false
	}
	if len(name) > maxName {
		name = name[:maxName]
	}
	if strings.Contains(name, "@") {
		return addressLike.MatchString(name)
	}
	if madeOfNumbers.MatchString(name) {
		return true
	}
	digits := len(noDigit.ReplaceAllString(name, ""))
	letters := len(noLetter.ReplaceAllString(name, ""))
	if digits > letters && (digits > 4 || digits == 4 && digits+letters < len(name)) {
		return true // 2026-11-28T08:00Z, INV-0042, DE89370400440532013000
	}
	if digits > 1 && hexLike.MatchString(name) || digits > 2 && ulidLike.MatchString(name) {
		return true
	}
	if !tokenLike.MatchString(name) {
		return false
	}
	return len(anyDigits.FindAllString(name, -1)) > 2 || 2*len(ofOneKind.FindAllString(name, -1)) > len(name)
}

// stepTo is the step to a member of an object. The names of columns and those that a rule
// names are what they are, whatever they look like.
func (d *differ) stepTo(name string) string {
	step := memberStep(name)
	if d.columns || !isIdentifier(name) {
		return step
	}
	if d.named == nil {
		d.named = d.rules.named()
	}
	if d.named[step] {
		return step
	}
	return anyMember
}

// named are the steps to members that rules name.
func (r *Rules) named() map[string]bool {
	all := map[string]bool{}
	for i := range r.Ignore {
		addSteps(all, r.Ignore[i].at.steps)
	}
	for i := range r.Unordered {
		addSteps(all, r.Unordered[i].at.steps)
	}
	for i := range r.Tolerance {
		addSteps(all, r.Tolerance[i].at.steps)
	}
	return all
}

func addSteps(all map[string]bool, steps []string) {
	for _, step := range steps {
		all[step] = true
	}
}
