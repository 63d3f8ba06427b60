package compare

import (
	"errors"
	"math/big"
	"net/http"
	"regexp"
	"strings"
)

// A Rule names differences that do not matter: everywhere, or at one endpoint.
//
//	$.createdAt                       a value in bodies, with all that is in it: see Path
//	header X-Request-Id               a header; header X-* are all that begin so
//	cookie session                    what Set-Cookie says of a cookie
//	status 404/410                    live's status and the shadow's; 4xx and * are several
//	body                              bodies, and all that is in them
//	all                               whatever differs
//	GET /invoices/* $.createdAt       any of these, at one endpoint
//	* /internal/** all                or at several
type Rule struct {
	text   string
	method string // "": any
	path   string // the pattern of an endpoint's path; "": any
	what   string // the first word of what it covers; "$" for a path
	name   string // of a header or cookie; of statuses both, with a slash between
	at     Path
}

const takesRule = "WHAT or METHOD PATH-PATTERN WHAT, where WHAT is a JSON path, such as $.lines[*].updatedAt, or header NAME, cookie NAME, status LIVE/SHADOW, body or all"

var (
	methodPattern = regexp.MustCompile(`^([A-Z][A-Z-]*|\*)$`)
	namePattern   = regexp.MustCompile("^[-!#$%&'+.^_`|~0-9A-Za-z]*\\*?$")
	statusPattern = regexp.MustCompile(`^([1-5][0-9][0-9]|[1-5]xx|\*)/([1-5][0-9][0-9]|[1-5]xx|\*)$`)

	// ownPart matches what a part of an endpoint's path never is: what has a digit is *
	// there, but for the version of an API.
	ownPart    = regexp.MustCompile(`[0-9]`)
	apiVersion = regexp.MustCompile(`^v[0-9][0-9]?$`)
)

// ParseRule returns the rule that text writes. The error says what it takes, and where
// text is something else.
func ParseRule(text string) (Rule, error) {
	r := Rule{text: text}
	rest := strings.TrimSpace(text)
	if startsWhat(rest) {
		return r.parseWhat(rest)
	}
	method, after, _ := strings.Cut(rest, " ")
	if !methodPattern.MatchString(method) {
		return r, wrongAt(takesRule, text, rest, "there is neither of them")
	}
	rest = strings.TrimSpace(after)
	path, after, _ := strings.Cut(rest, " ")
	if !strings.HasPrefix(path, "/") && path != "**" {
		return r, wrongAt(takesRule, text, rest, "there has to be a path's pattern, such as /invoices/*")
	}
	for _, part := range strings.Split(path, "/") {
		if ownPart.MatchString(part) && !apiVersion.MatchString(part) {
			return r, wrongAt(takesRule, text, rest, "there has to be a path's pattern, which has * for numbers and identifiers, such as /invoices/*")
		}
	}
	r.method = method
	r.path = path
	rest = strings.TrimSpace(after)
	if operation, after, found := strings.Cut(rest, " "); found && !startsWhat(rest) {
		r.path += " " + operation
		rest = strings.TrimSpace(after)
	}
	if !startsWhat(rest) {
		return r, wrongAt(takesRule, text, rest, "there has to be WHAT")
	}
	return r.parseWhat(rest)
}

// startsWhat reports whether what a rule covers begins here.
func startsWhat(text string) bool {
	if strings.HasPrefix(text, "$") {
		return true
	}
	word, _, _ := strings.Cut(text, " ")
	return word == "header" || word == "cookie" || word == "status" || word == "body" || word == "all"
}

// parseWhat reads what the rule covers, of which rest is all.
func (r Rule) parseWhat(rest string) (Rule, error) {
	if strings.HasPrefix(rest, "$") {
		path, err := ParsePath(rest)
		r.what = "$"
		r.at = path
		if err != nil && len(rest) < len(r.text) {
			err = errors.New(err.Error() + " of the path")
		}
		return r, err
	}
	what, name, _ := strings.Cut(rest, " ")
	r.what = what
	r.name = strings.TrimSpace(name)
	switch what {
	case "status":
		if !statusPattern.MatchString(r.name) {
			return r, wrongAt(takesRule, r.text, name, "there have to be live's status and the shadow's, such as 404/410, 2xx/204 or */404")
		}
	case "header":
		r.name = http.CanonicalHeaderKey(r.name)
		if r.name == "" || !namePattern.MatchString(r.name) {
			return r, wrongAt(takesRule, r.text, name, "there has to be the name of a header")
		}
	case "cookie":
		if r.name == "" || !namePattern.MatchString(r.name) {
			return r, wrongAt(takesRule, r.text, name, "there has to be the name of a cookie")
		}
	default:
		if r.name != "" {
			return r, wrongAt(takesRule, r.text, name, "there is something after "+what)
		}
	}
	return r, nil
}

// String returns the rule as it was written.
func (r Rule) String() string { return r.text }

// Covers reports whether the rule is about what [Difference.Subject] names, at the
// endpoint with this method and this pattern of a path, such as /invoices/*; behind a
// space that may have the name of a GraphQL operation.
func (r Rule) Covers(method, path, subject string) bool {
	if r.path != "" && (r.method != "*" && r.method != method || !matchEndpoint(r.path, path)) {
		return false
	}
	switch r.what {
	case "all":
		return true
	case "$":
		return strings.HasPrefix(subject, "$") && r.at.covers(stepsOf(subject))
	case "body":
		return subject == "body" || strings.HasPrefix(subject, "$")
	case "status":
		return strings.HasPrefix(subject, "status ") && matchStatuses(r.name, subject[len("status "):])
	}
	if r.what == "header" && r.name == "Set-Cookie" && strings.HasPrefix(subject, "cookie ") {
		return true
	}
	word, name, _ := strings.Cut(subject, " ")
	if begins, found := strings.CutSuffix(r.name, "*"); found {
		return word == r.what && strings.HasPrefix(name, begins)
	}
	return word == r.what && name == r.name
}

// matchEndpoint reports whether a pattern of a rule matches that of an endpoint: * is any
// one part, and ** at the end any number of them.
func matchEndpoint(pattern, path string) bool {
	pattern, operation, _ := strings.Cut(pattern, " ")
	path, other, _ := strings.Cut(path, " ")
	if operation != "" && operation != other {
		return false
	}
	if pattern == path {
		return true
	}
	parts := strings.Split(path, "/")
	for i, want := range strings.Split(pattern, "/") {
		if want == "**" {
			return true
		}
		if i >= len(parts) || want != "*" && want != parts[i] {
			return false
		}
	}
	return len(parts) == strings.Count(pattern, "/")+1
}

// matchStatuses reports whether two statuses match two patterns, both as 404/410.
func matchStatuses(pattern, statuses string) bool {
	live, shadow, _ := strings.Cut(pattern, "/")
	l, s, _ := strings.Cut(statuses, "/")
	return matchStatus(live, l) && matchStatus(shadow, s)
}

func matchStatus(pattern, status string) bool {
	return pattern == "*" || pattern == status || strings.HasSuffix(pattern, "xx") && strings.HasPrefix(status, pattern[:1])
}

// An Unordered is a list that is compared as a set.
type Unordered struct {
	at Path
	by string // the member that says which element is which; "": what is in it all
}

// ParseUnordered returns what text writes: $.lines, $.lines by sku, or $ for a body that is
// a list.
func ParseUnordered(text string) (Unordered, error) {
	path, by, found := strings.Cut(strings.TrimSpace(text), " by ")
	u := Unordered{by: strings.TrimSpace(by)}
	var err error
	if u.at, err = ParsePath(strings.TrimSpace(path)); strings.TrimSpace(path) == "$" {
		err = nil // the whole body is a list
	}
	if err == nil && found && (u.by == "" || strings.ContainsAny(u.by, "$[].")) {
		err = wrongAt("a path of a list, such as $.lines, or $.lines by sku", text, by, "there has to be the name of a member")
	}
	return u, err
}

// A Tolerance is how far two numbers may be apart.
type Tolerance struct {
	at    Path
	limit *big.Rat
	share bool // of the larger of the two
}

var limitPattern = regexp.MustCompile(`^[0-9]{1,20}(\.[0-9]{1,20})?%?$`)

// ParseTolerance returns what text writes: $.total=0.005, or $.rate=1%.
func ParseTolerance(text string) (Tolerance, error) {
	const takes = "a path and how far its numbers may be apart, such as $.total=0.005 or $.rate=1%"
	t := Tolerance{}
	i := strings.LastIndex(text, "=")
	if i < 0 {
		return t, wrongAt(takes, text, "", "there is no =")
	}
	var err error
	t.at, err = ParsePath(strings.TrimSpace(text[:i]))
	if err != nil {
		return t, err
	}
	number := strings.TrimSpace(text[i+1:])
	if !limitPattern.MatchString(number) {
		return t, wrongAt(takes, text, text[i+1:], "there has to be a number, or one with %")
	}
	number, t.share = strings.CutSuffix(number, "%")
	t.limit, _ = new(big.Rat).SetString(number)
	if t.share {
		t.limit.Quo(t.limit, big.NewRat(100, 1))
	}
	return t, nil
}
