package compare

import (
	"mime"
	"net/http"
	"reflect"
	"sort"
	"strings"
)

// DefaultHeaders are those that are compared unless others are asked for: what clients and
// caches go by. Of ETag only whether it is there: each server makes its own.
var DefaultHeaders = []string{
	"Content-Type", "Location", "Link", "Content-Disposition", "Cache-Control", "Vary", "Allow", "Www-Authenticate", "Retry-After",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Deprecation", "Sunset", "Etag", "Set-Cookie",
}

// sets are the headers whose value is a list in which the order means nothing, and whether
// the case does.
var sets = map[string]bool{
	"Vary": false, "Cache-Control": false, "Access-Control-Allow-Headers": false, "Access-Control-Expose-Headers": false,
	"Allow": true, "Access-Control-Allow-Methods": true,
}

// NeedsHeader reports whether what is compared depends on the header.
func (r *Rules) NeedsHeader(name string) bool {
	if name == "Content-Encoding" {
		return true
	}
	for _, needed := range r.Headers {
		if name == needed {
			return true
		}
	}
	return false
}

// SameHeaders reports whether two answers with the same body differ in no header that is
// compared.
func (r *Rules) SameHeaders(live, shadow http.Header) bool {
	f := &Finding{}
	compareHeaders(r, f, live, shadow)
	return len(f.Differences) == 0 && strings.Join(live["Content-Encoding"], ",") == strings.Join(shadow["Content-Encoding"], ",")
}

// compareHeaders adds the differences of the headers to f.
func compareHeaders(r *Rules, f *Finding, live, shadow http.Header) {
	if !reflect.DeepEqual(live, shadow) {
		compareEachHeader(r, f, live, shadow)
	}
}

func compareEachHeader(r *Rules, f *Finding, live, shadow http.Header) {
	for _, name := range r.Headers {
		l, s := live[name], shadow[name]
		if len(l) == 0 && len(s) == 0 {
			continue
		}
		if name == "Set-Cookie" {
			compareCookies(r, f, l, s)
		} else if !sameHeader(name, l, s) {
			f.add(headerDifference(r, name, l, s))
		}
	}
}

func headerDifference(r *Rules, name string, live, shadow []string) Difference {
	d := Difference{Key: "header " + name, Live: headerValue(r, name, live), Shadow: headerValue(r, name, shadow), Index: -1}
	if len(live) == 0 {
		d.Relation = relationAdded
		d.Structural = true
	} else if len(shadow) == 0 {
		d.Relation = relationMissing
		d.Structural = true
	} else if !d.Live.Secret {
		d.Relation = textRelation(strings.Join(live, ", "), strings.Join(shadow, ", "))
	}
	return d
}

// sameHeader reports whether two headers say the same. Several lines are one with
// commas in it (RFC 9110, section 5.3).
func sameHeader(name string, live, shadow []string) bool {
	if len(live) == 0 || len(shadow) == 0 {
		return false
	}
	if name == "Etag" {
		return true
	}
	l, s := strings.Join(live, ", "), strings.Join(shadow, ", ")
	if l == s {
		return true
	}
	if name == "Content-Type" {
		return contentType(l) == contentType(s)
	}
	cased, isSet := sets[name]
	return isSet && members(l, cased) == members(s, cased)
}

// contentType is a media type with its charset: nothing else of it counts. JSON is UTF-8,
// said or not.
func contentType(text string) string {
	kind, parameters, err := mime.ParseMediaType(text)
	if err != nil {
		return strings.TrimSpace(text)
	}
	charset := strings.ToLower(parameters["charset"])
	if charset == "" || charset == "utf-8" && formatOf(kind) == formatJSON {
		return kind
	}
	return kind + "; charset=" + charset
}

// members are the members of a list with commas between, in order.
func members(text string, cased bool) string {
	if !cased {
		text = strings.ToLower(text)
	}
	list := strings.Split(strings.Join(strings.Fields(text), ""), ",")
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// mostCookies is how many cookies of an answer are looked at.
const mostCookies = 50

// compareCookies compares what Set-Cookie says of each cookie: that it is set, and its
// attributes. Its value is the server's own, and so is when it expires.
func compareCookies(r *Rules, f *Finding, live, shadow []string) {
	l, s := cookies(live), cookies(shadow)
	var names []string
	for name := range l {
		names = append(names, name)
	}
	for name := range s {
		if _, ok := l[name]; !ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if l[name] != s[name] {
			f.add(cookieDifference(r, name, l[name], s[name]))
		}
	}
}

// cookies returns the attributes of each cookie, as text.
func cookies(lines []string) map[string]string {
	all := map[string]string{}
	for i, line := range lines {
		if i == mostCookies {
			break
		}
		parts := strings.Split(line, ";")
		name, _, _ := strings.Cut(parts[0], "=")
		name = strings.TrimSpace(name)
		text := "attributes: " + strings.Join(attributes(parts[1:]), "; ")
		if before, twice := all[name]; twice { // with another path, for one
			each := []string{before, text}
			sort.Strings(each)
			text = strings.Join(each, " and ")
		}
		all[name] = text
	}
	return all
}

// attributes returns those of a cookie but Expires, in order, as they are compared: the
// case counts in a path only.
func attributes(parts []string) []string {
	var list []string
	for _, part := range parts {
		name, value, found := strings.Cut(strings.TrimSpace(part), "=")
		name = strings.ToLower(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if name == "" || name == "expires" {
			continue
		}
		if name != "path" {
			value = strings.ToLower(value)
		}
		if found {
			name += "=" + value
		}
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

func cookieDifference(r *Rules, name, live, shadow string) Difference {
	d := Difference{Key: "cookie " + cut(name, 60), Live: attributesValue(r, live), Shadow: attributesValue(r, shadow), Index: -1}
	if live == "" {
		d.Relation = relationAdded
		d.Structural = true
		return d
	}
	if shadow == "" {
		d.Relation = relationMissing
		d.Structural = true
		return d
	}
	l := strings.Split(strings.TrimPrefix(live, "attributes: "), "; ")
	s := strings.Split(strings.TrimPrefix(shadow, "attributes: "), "; ")
	without, with := onlyIn(l, s), onlyIn(s, l)
	var says []string
	if without != "" {
		says = append(says, "without "+without)
	}
	if with != "" {
		says = append(says, "with "+with)
	}
	d.Relation = strings.Join(says, ", ")
	d.Structural = d.Relation != ""
	return d
}

// onlyIn names the attributes that are in one list and not in the other.
func onlyIn(list, other []string) string {
	has := map[string]bool{}
	for _, attribute := range other {
		name, _, _ := strings.Cut(attribute, "=")
		has[name] = true
	}
	var names []string
	for _, attribute := range list {
		name, _, _ := strings.Cut(attribute, "=")
		if known, ok := knownAttributes[name]; ok && !has[name] {
			names = append(names, known)
		}
	}
	return strings.Join(names, ", ")
}

// knownAttributes are those of RFC 6265 and its successors, as people write them.
var knownAttributes = map[string]string{
	"secure": "Secure", "httponly": "HttpOnly", "samesite": "SameSite", "path": "Path", "domain": "Domain", "max-age": "Max-Age", "partitioned": "Partitioned",
}

// attributesValue is what is said of a cookie, which is no secret: its value is not in it.
func attributesValue(r *Rules, attributes string) Value {
	if attributes == "" {
		return Value{}
	}
	return r.value("cookie", strings.TrimSpace(attributes), attributes)
}
