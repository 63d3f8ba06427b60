package mirror

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// Config holds the plugin's options as Traefik delivers them: any names, with
// values of any type. optionTable in options.go says what they are.
//
// There is one field, and it takes whatever comes. Traefik's decoder fails on a
// value whose type is not the field's, and then Traefik answers the router's
// requests 404; so nothing is left for it to decide.
type Config struct {
	Options map[string]interface{} `json:"-" mapstructure:",remain"`
}

// CreateConfig returns a Config in which nothing is set. What an option is then
// is in optionTable.
func CreateConfig() *Config {
	return &Config{}
}

// parse reads every option, and says of each that is wrong what is wrong with it.
func (c *Config) parse() *options {
	p := &parser{o: &options{}, given: map[string]*given{}}
	if c != nil {
		p.collect("", c.Options)
	}
	p.o.serve = p.serves()
	for i := range optionTable {
		p.read(&optionTable[i])
	}
	if !p.o.serve {
		p.readHeaders()
		p.readClientCertificate()
		p.readUnlikely()
	}
	if p.o.compare != nil && p.o.target != nil {
		p.o.compare.Basis = basisOf(p.o)
	}
	p.refuseUnknown()
	if left := p.o.mistaken - len(p.o.mistakes); left > 0 {
		p.o.mistakes = append(p.o.mistakes, "and "+strconv.Itoa(left)+" more")
	}
	sort.Strings(p.fingerprint)
	p.o.fingerprint = strings.Join(p.fingerprint, "\n")
	return p.o
}

// parseOnce is parse, but where the middleware called name has the same options as
// before, it returns those that were read then: Traefik makes all instances anew on each
// change of its configuration, and most have not changed. Then known is true. Files may
// have, so options that name some are read each time.
func (c *Config) parseOnce(name string) (o *options, known bool) {
	delivered := fmt.Sprintf("%#v", c)
	o = optionsBefore(name)
	known = o != nil && o.delivered == delivered && !o.readsFiles
	if !known {
		o = c.parse()
		o.delivered = delivered
	}
	return o, known
}

// A given is an option as it was delivered.
type given struct {
	name    string // the option's
	written string // as it was written, which is in any case
	value   interface{}
	text    string   // the value, if it is a single one, without white space around it
	items   []string // the value, if the option is a list, likewise
}

// A header is an entry of customRequestHeaders as it was delivered.
type header struct {
	name  string
	value interface{}
}

// A parser turns what was delivered into options.
type parser struct {
	o       *options
	given   map[string]*given // by name, in lower case
	headers []header
	unknown []string

	certPEM, keyPEM []byte // of the client's certificate
	fingerprint     []string
}

// collect sorts what was delivered into options by name, entries of
// customRequestHeaders, and names that no option has. prefix is the name of the
// group that holds it all, with a dot, or empty.
func (p *parser) collect(prefix string, delivered interface{}) {
	for _, e := range entriesOf(delivered) {
		written := prefix + strings.TrimSpace(e.name)
		name := strings.ToLower(written)
		if strings.HasPrefix(name, headersPrefix) {
			p.headers = append(p.headers, header{name: written[len(headersPrefix):], value: e.value})
			continue
		}
		opt := optionCalled(name)
		if opt == nil {
			p.unknown = append(p.unknown, written)
			continue
		}
		if before := p.given[name]; before != nil {
			p.mistake(opt.name + ": given twice, as " + shownName(before.written) + " and as " + shownName(written))
			continue
		}
		// A file's options that are null never get here: Traefik leaves them out. So
		// those of Kubernetes, which do, mean the same.
		if e.value == nil && !opt.switches {
			continue
		}
		p.given[name] = &given{name: opt.name, written: written, value: e.value}
		if opt.group {
			p.collect(opt.name+".", e.value)
		}
	}
}

func isMap(v interface{}) bool { return reflect.ValueOf(v).Kind() == reflect.Map }

// An entry is one of a map's.
type entry struct {
	name  string
	value interface{}
}

// entriesOf returns what is in a map of any type, by name; none for what is no map.
func entriesOf(v interface{}) []entry {
	m := reflect.ValueOf(v)
	if m.Kind() != reflect.Map {
		return nil
	}
	var list []entry
	for _, key := range m.MapKeys() {
		list = append(list, entry{name: fmt.Sprint(key.Interface()), value: m.MapIndex(key).Interface()})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// textOf returns a single value as text: what a label would have for it. It returns
// false for a list, a map, and anything else that is not a text, a number or a
// boolean.
func textOf(v interface{}) (string, bool) {
	r := reflect.ValueOf(v)
	kind := r.Kind()
	if kind == reflect.String {
		return r.String(), true // json.Number's too
	}
	if kind == reflect.Float64 || kind == reflect.Float32 {
		return strconv.FormatFloat(r.Float(), 'f', -1, 64), true
	}
	if kind >= reflect.Bool && kind <= reflect.Uint64 {
		return fmt.Sprint(v), true
	}
	return "", false
}

// itemsOf returns a list's values as text. In a label a list is a text with commas
// between. It returns false for what is neither, and for a list of anything but
// single values.
func itemsOf(v interface{}) ([]string, bool) {
	if text, ok := textOf(v); ok {
		if strings.TrimSpace(text) == "" {
			return nil, true
		}
		return trimmed(strings.Split(text, ",")), true
	}
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Slice {
		return nil, false
	}
	var items []string
	for i := 0; i < r.Len(); i++ {
		text, ok := textOf(r.Index(i).Interface())
		if !ok {
			return nil, false
		}
		items = append(items, text)
	}
	return trimmed(items), true
}

func trimmed(list []string) []string {
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// read reads one option, or its default where it is not given.
func (p *parser) read(opt *option) {
	v := p.given[strings.ToLower(opt.name)]
	if v == nil {
		v = &given{name: opt.name, value: opt.def}
	} else if p.o.serve && opt.name != "serve" {
		p.besideServe(opt, v)
		return
	}
	single := false
	if opt.list {
		v.items, single = itemsOf(v.value)
		v.text = strings.Join(v.items, "\n")
	} else {
		v.text, single = textOf(v.value)
		v.text = strings.TrimSpace(v.text)
	}
	if v.text == "" && opt.blank && opt.def != "" {
		v.text = opt.def
		if opt.list {
			v.items = trimmed(strings.Split(opt.def, ","))
			v.text = strings.Join(v.items, "\n")
		}
	}
	if opt.name == "url" && p.o.serve {
		return // required of those that mirror
	}
	// Whatever was given counts for the fingerprint, so that no option can be left
	// out of it. Groups are in it with what they hold.
	if !opt.group {
		p.fingerprint = append(p.fingerprint, opt.name+"="+strconv.Quote(v.text))
	}
	if !opt.group && !single || !opt.read(p, v) {
		if opt.secret {
			p.refuse(opt.name, sealed(v.value), opt.takes)
			return
		}
		p.refuse(opt.name, shownValue(v.value), opt.takes)
	}
}

// givenIn reports whether any option of the group is given. prefix is the group's
// name with a dot, in lower case.
func (p *parser) givenIn(prefix string) bool {
	for name := range p.given {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// refuse notes that an option has a value that it does not take. The value is as
// shown returns it.
func (p *parser) refuse(option, value, takes string) {
	p.mistake(option + ": " + value + ": takes " + takes)
}

// besideServe notes that a middleware that serves the report has an option of one
// that mirrors, if it is more than the default.
func (p *parser) besideServe(opt *option, v *given) {
	if text, single := textOf(v.value); !single || strings.TrimSpace(text) != opt.def {
		value := shownValue(v.value)
		if opt.secret {
			value = sealed(v.value)
		}
		p.mistake(opt.name + ": " + value + ": takes nothing beside serve: a middleware mirrors, or it serves the report")
	}
}

// The bounds on what is said of a middleware's options, in bytes. All of
// optionTable can be wrong at once and still be named.
const (
	maxMistake  = 400
	maxMistakes = 8000
	maxName     = 60
	maxValue    = 200
)

// mistake notes one. All are counted, and as many kept as fit on a line.
func (p *parser) mistake(text string) {
	p.o.mistaken++
	text = cut(text, maxMistake)
	if p.o.room += len(text) + len("; "); p.o.room <= maxMistakes {
		p.o.mistakes = append(p.o.mistakes, text)
	}
}

// remark is what is to be said of the options: all mistakes, or else what is hardly
// meant; "" if there is nothing.
func (o *options) remark() string {
	if o.mistaken == 0 {
		if len(o.unlikely) == 0 {
			return ""
		}
		return cut("mirrors, but this is hardly what is meant: "+strings.Join(o.unlikely, "; "), maxMistakes)
	}
	what := "mirrors nothing and passes every request on to live until its options are put right: "
	if o.serve {
		what = "answers 500 until its options are put right: "
	}
	return what + strings.Join(o.mistakes, "; ")
}

// refuseUnknown refuses options that do not exist and suggests the nearest that does.
func (p *parser) refuseUnknown() {
	for _, name := range p.unknown {
		if p.o.room > maxMistakes {
			p.o.mistaken++ // it would not be shown
			continue
		}
		shown := shownName(name)
		if mirroringOptions[strings.ToLower(name)] {
			p.mistake(shown + ": there is no such option: it is one of Traefik's own mirroring, and docs/migration.md says what takes its place")
			continue
		}
		p.mistake(shown + ": there is no such option; the nearest is " + nearest(shown))
	}
}

// mirroringOptions are those of Traefik's mirroring service that this plugin does
// not have, in lower case.
var mirroringOptions = map[string]bool{"service": true, "mirrors": true, "healthcheck": true}

// nearest returns the option whose name takes the fewest edits to get to.
func nearest(name string) string {
	best := ""
	fewest := math.MaxInt
	for i := range optionTable {
		option := optionTable[i].name
		if n := edits(strings.ToLower(name), strings.ToLower(option)); n < fewest {
			best = option
			fewest = n
		}
	}
	return best
}

// edits is the Levenshtein distance of a and b, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			n := diagonal
			if a[i-1] != b[j-1] {
				n++
			}
			if row[j]+1 < n {
				n = row[j] + 1
			}
			if row[j-1]+1 < n {
				n = row[j-1] + 1
			}
			diagonal, row[j] = row[j], n
		}
	}
	return row[len(b)]
}

// What was delivered is quoted in Traefik's log and in the report, where secrets
// have no business. Anything can be in any option, by a slip of the pen or of a
// template, so what may be shown is decided by what it looks like, and headers'
// values are never shown.

// longRun is what keys and tokens have, and hardly any name or path.
var longRun = regexp.MustCompile(`[A-Za-z0-9+=_-]{40}`)

// keylike reports whether text could be part of a key: of many lines or one, with
// or without the line that says so.
func keylike(text string) bool {
	return longRun.MatchString(text) || strings.Contains(text, "-----") || strings.ContainsAny(text, "\r\n") ||
		len(text) > 40 && !strings.HasPrefix(text, "/") && !strings.ContainsAny(text, ".:")
}

// shownValue is the value of an option as a message may show it.
func shownValue(v interface{}) string {
	if text, ok := textOf(v); ok {
		return shown(text)
	}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Invalid:
		return "null"
	case reflect.Slice:
		return shownList(v)
	case reflect.Map:
		return "a map"
	}
	return "neither text, number nor boolean"
}

// shownList is a list as a message may show it, with its values if they are few and
// single ones.
func shownList(v interface{}) string {
	items, single := itemsOf(v)
	if !single || len(items) == 0 || len(items) > 3 {
		return "a list"
	}
	for i := range items {
		items[i] = shown(items[i])
	}
	return "a list of " + strings.Join(items, ", ")
}

// sealed says of a value that is not to be shown what it is.
func sealed(v interface{}) string {
	if text, ok := textOf(v); ok && text != "" {
		return "text of " + strconv.Itoa(len(text)) + " bytes"
	}
	if reflect.ValueOf(v).Kind() == reflect.Slice {
		return "a list"
	}
	return shownValue(v)
}

// shown is text as a message may show it.
func shown(text string) string {
	safe := withoutUser(text)
	if keylike(safe) || len(safe) > maxValue {
		return "text of " + strconv.Itoa(len(text)) + " bytes"
	}
	return strconv.Quote(safe)
}

// withoutUser returns a URL, good or not, without what may be a user name and a
// password.
func withoutUser(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	scheme := strings.Index(s, "//")
	if scheme < 0 || scheme > i {
		return "…" + s[i:]
	}
	return s[:scheme+2] + "…" + s[i:]
}

// shownName is the name of an option or a header as a message may show it. It ends
// where no name goes on: a label that was written "name: value" in place of
// "name=value" is all name.
func shownName(name string) string {
	short := name
	end := strings.IndexAny(name, ":=@/,;\"\\")
	for i := 0; i < len(name) && (end < 0 || i < end); i++ {
		if name[i] < ' ' || name[i] >= 0x7f {
			end = i
		}
	}
	if end >= 0 {
		short = name[:end] + "…"
	}
	if longRun.MatchString(short) {
		return "a name of " + strconv.Itoa(len(name)) + " bytes"
	}
	return cut(short, maxName)
}

// cut returns as much of the text as n bytes hold, whole characters of it.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n-len("…")], "") + "…"
}
