package compare

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// What is kept of the request of an example, so that people can find or repeat it.
const (
	maxQueryNames = 20   // parameters of a query that are named
	maxTarget     = 1000 // bytes of a request's target that can be repeated
)

// leftOut stands for a value that is not shown.
const leftOut = "LEFT-OUT"

var (
	// parameterName matches the names that services give to parameters.
	parameterName = regexp.MustCompile(`^[A-Za-z_$@][-A-Za-z0-9_.:$@\[\]]{0,39}$`)

	// secretParameter matches the names of parameters that carry credentials, besides those of
	// secretHeader.
	secretParameter = regexp.MustCompile(`(?i)passw|pwd|^(code|state|nonce|otp|pin|sid|sig|jwt|pass)$`)

	// outsideURL matches what is in no URL, and might be something else to a shell, a terminal,
	// or curl, which does not send what follows a #.
	outsideURL = regexp.MustCompile(`[^!-~]|#`)
)

// queryNames returns the names of the parameters in a target's query: each once, and * for
// what may be somebody's value, an identifier or a word without one.
func queryNames(target string) []string {
	names := []string{}
	_, query, _ := strings.Cut(target, "?")
	seen := map[string]bool{}
	for _, part := range strings.SplitN(query, "&", 10*maxQueryNames) {
		if part == "" {
			continue
		}
		name := anything
		if written, _, found := strings.Cut(part, "="); found {
			name = shownParameter(written)
		}
		if !seen[name] && len(names) < maxQueryNames {
			seen[name] = true
			names = append(names, strings.Clone(name))
		}
	}
	return names
}

func shownParameter(written string) string {
	name, err := url.QueryUnescape(written)
	if err != nil || !parameterName.MatchString(name) || isIdentifier(name) {
		return anything
	}
	return name
}

// curlLine returns the command that repeats a request, for those that may be repeated without
// changing anything; "" for the others, and for what is too long to be kept.
//
// The command is safe to be run whatever is in the request: what came from a client is in
// single quotes. Credentials and cookies are not in it. Where the request had some, the
// command takes those in $AUTHORIZATION and $COOKIE. The address is in $BASE, so that the same
// command asks live and the shadow.
func (r *Rules) curlLine(req *Request) string {
	option := map[string]string{http.MethodGet: "", http.MethodHead: " --head", http.MethodOptions: " -X OPTIONS"}
	how, safe := option[req.Method]
	if !safe || !strings.HasPrefix(req.Target, "/") || len(req.Target) > maxTarget {
		return ""
	}
	line := "curl -g --path-as-is" + how
	if len(req.Authorization) > 0 {
		line += ` -H "Authorization: $AUTHORIZATION"`
	}
	if len(req.Cookie) > 0 {
		line += ` -H "Cookie: $COOKIE"`
	}
	return line + ` "$BASE"` + inQuotes(r.withoutSecrets(req.Target))
}

// inQuotes returns the text as one word of a shell's.
func inQuotes(text string) string {
	text = outsideURL.ReplaceAllStringFunc(text, escapeBytes)
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// escapeBytes writes each byte of a text as a URL has it.
func escapeBytes(text string) string {
	escaped := ""
	for i := 0; i < len(text); i++ {
		escaped += fmt.Sprintf("%%%02X", text[i])
	}
	return escaped
}

// withoutSecrets returns a target without the values of its query that are never shown:
// credentials, and what has the name of a member that a rule covers.
func (r *Rules) withoutSecrets(target string) string {
	path, query, found := strings.Cut(target, "?")
	if !found {
		return target
	}
	ignored := r.ignoredNames()
	parts := strings.Split(query, "&")
	for i, part := range parts {
		written, value, valued := strings.Cut(part, "=")
		name, err := url.QueryUnescape(written)
		if !valued && (err != nil || !parameterName.MatchString(name) || isIdentifier(name)) {
			if part != "" {
				parts[i] = leftOut
			}
			continue
		}
		if value != "" && (err != nil || secretHeader.MatchString(name) || secretParameter.MatchString(name) || ignored[strings.ToLower(name)]) {
			parts[i] = written + "=" + leftOut
		}
	}
	return path + "?" + strings.Join(parts, "&")
}

// ignoredNames are the names of the members, in lower case, that rules cover.
func (r *Rules) ignoredNames() map[string]bool {
	names := map[string]bool{}
	for i := range r.Ignore {
		steps := r.Ignore[i].at.steps
		if n := len(steps); n > 0 && strings.HasPrefix(steps[n-1], ".") {
			names[strings.ToLower(steps[n-1][1:])] = true
		}
	}
	return names
}

// hidesMore reports whether these rules cover a member's name that others did not.
func (r *Rules) hidesMore(others *Rules) bool {
	before := others.ignoredNames()
	for name := range r.ignoredNames() {
		if !before[name] {
			return true
		}
	}
	return false
}

// forgetCurl is for when what the examples may show has become less.
func (g *group) forgetCurl() {
	for i := range g.examples {
		g.examples[i].Curl = ""
	}
}
