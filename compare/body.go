package compare

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// compareBodies adds the differences of the bodies to f, or makes f a skipped one.
//
// Interpreted, what a function could do costs, whether it does it or not. So most
// pairs, whose bodies are equal and not compressed, pass through short ones only.
func compareBodies(r *Rules, f *Finding, live, shadow *Answer) {
	if !sameBytes(live, shadow) || live.Header["Content-Encoding"] != nil || shadow.Header["Content-Encoding"] != nil {
		lookInto(r, f, live, shadow)
	}
}

func lookInto(r *Rules, f *Finding, live, shadow *Answer) {
	if encoding(live) == encoding(shadow) && sameBytes(live, shadow) {
		return
	}
	l, lerr := plain(live, r.MaxBodySize)
	s, serr := plain(shadow, r.MaxBodySize)
	if lerr == nil && serr == nil {
		comparePlain(r, f, live, shadow, l, s)
		return
	}
	tellUnread(r, f, live, shadow, l, s, lerr, serr)
}

// tellUnread is for bodies of which at least one cannot be read, and why.
func tellUnread(r *Rules, f *Finding, live, shadow *Answer, l, s []byte, lerr, serr error) {
	switch {
	case lerr == nil && serr == errCorrupt:
		f.add(Difference{Key: "body", Live: bodyValue(r, live, l, nil), Shadow: corruptValue(r, shadow), Index: -1})
	case lerr == nil && serr == errTooLarge:
		f.add(Difference{Key: "body", Live: sizeValue(r, live, l), Shadow: sizeValue(r, shadow, nil), Relation: relationLonger, Structural: true, Index: -1})
	case lerr == errTooLarge && serr == nil:
		f.add(Difference{Key: "body", Live: sizeValue(r, live, nil), Shadow: sizeValue(r, shadow, s), Relation: relationShorter, Structural: true, Index: -1})
	case lerr == errTooLarge || serr == errTooLarge || large(live, r) || large(shadow, r):
		// What the headers say is not lost, but a pair is skipped or it is not.
		f.skip(TooLarge)
	default:
		f.skip(Encoding)
	}
}

// The formats that are looked into. The bodies of others are compared as bytes.
const (
	formatJSON  = "json"
	formatLines = "lines" // JSON values, one after the other
	formatXML   = "xml"
	formatForm  = "form"
	formatCSV   = "csv"
)

// formats are those of the types that do not say it in their last word.
var formats = map[string]string{
	"application/x-ndjson": formatLines, "application/ndjson": formatLines, "application/jsonl": formatLines, "application/x-jsonlines": formatLines,
	"application/jsonlines": formatLines, "application/json-seq": formatLines,
	"application/x-www-form-urlencoded": formatForm,
	"text/csv":                          formatCSV, "application/csv": formatCSV, "text/tab-separated-values": formatCSV,
}

// formatOf returns the format of a media type; "" for those that are not looked into.
func formatOf(kind string) string {
	if format, ok := formats[kind]; ok {
		return format
	}
	_, word, _ := strings.Cut(kind, "/")
	word = word[strings.LastIndex(word, "+")+1:] // RFC 6839
	if word == "json-seq" {
		return formatLines
	}
	if word == "json" || word == "xml" {
		return word
	}
	return ""
}

// kindOfBody is the media type of an answer, without parameters.
func kindOfBody(a *Answer) string {
	kind, _, _ := strings.Cut(first(a.Header["Content-Type"]), ";")
	return strings.ToLower(strings.TrimSpace(kind))
}

func comparePlain(r *Rules, f *Finding, live, shadow *Answer, l, s []byte) {
	if bytes.Equal(l, s) {
		return
	}
	// What is not UTF-8 is no JSON, and encoding/json takes one such byte for another.
	if r.Body == JSON && utf8.Valid(l) && utf8.Valid(s) {
		format := formatOf(kindOfBody(live))
		other := formatOf(kindOfBody(shadow))
		if format == "" {
			format = other
		}
		// That one says something else of the same is a header's difference.
		if (other == "" || other == format) && compareAs(format, r, f, withoutMark(l), withoutMark(s)) {
			return
		}
	}
	f.add(bodyDifference(r, live, shadow, l, s))
}

func bodyDifference(r *Rules, live, shadow *Answer, l, s []byte) Difference {
	return Difference{Key: "body", Live: bodyValue(r, live, l, s), Shadow: bodyValue(r, shadow, s, l), Relation: bodyRelation(l, s), Structural: len(l) == 0 || len(s) == 0, Index: -1}
}

func bodyRelation(live, shadow []byte) string {
	if len(live) == 0 {
		return relationAdded
	}
	if len(shadow) == 0 {
		return relationMissing
	}
	return ""
}

// withoutMark is text without the mark that some put in front of UTF-8.
func withoutMark(text []byte) []byte {
	return bytes.TrimPrefix(text, []byte("\ufeff"))
}

// compareAs compares two bodies by what is in them, and reports whether it can: whether
// both are of the format.
func compareAs(format string, r *Rules, f *Finding, live, shadow []byte) bool {
	if format == formatJSON {
		return compareJSON(r, f, live, shadow)
	}
	switch format {
	case formatLines:
		return compareLines(r, f, live, shadow)
	case formatXML:
		return compareXML(r, f, live, shadow)
	case formatForm:
		return compareForms(r, f, live, shadow)
	case formatCSV:
		return compareCSV(r, f, live, shadow)
	}
	return false
}

func compareJSON(r *Rules, f *Finding, live, shadow []byte) bool {
	l, err := decode(live)
	if err != nil {
		return false
	}
	s, err := decode(shadow)
	if err != nil {
		return false
	}
	compareValues(r, f, l, s)
	return true
}

// decode returns the JSON value in text, its numbers as they are written.
func decode(text []byte) (interface{}, error) {
	if anyHalf.Match(text) {
		text = distinct(text)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v interface{}
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return v, nil
		}
		return nil, errMore
	}
	if notNumbers.Match(text) {
		return decodeOdd(text)
	}
	return nil, err
}

// decodeOdd is decode for text that has what is no number in JSON.
func decodeOdd(text []byte) (interface{}, error) {
	values, err := decodeStrictly(withStandIns(text))
	if err != nil || len(values) != 1 {
		return nil, errMore
	}
	return values[0], nil
}

// decodeAll returns the JSON values in text, of which there are any number.
func decodeAll(text []byte) ([]interface{}, error) {
	if anyHalf.Match(text) {
		text = distinct(text)
	}
	values, err := decodeStrictly(text)
	if err != nil && notNumbers.Match(text) {
		return decodeStrictly(withStandIns(text))
	}
	return values, err
}

// withStandIns returns JSON with others in place of what are no numbers.
func withStandIns(text []byte) []byte {
	for i := range oddPatterns {
		text = oddPatterns[i].ReplaceAll(text, []byte("${1}"+standIns[i]))
	}
	return text
}

func decodeStrictly(text []byte) ([]interface{}, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	values := []interface{}{}
	for {
		var v interface{}
		err := d.Decode(&v)
		if err == io.EOF {
			return values, nil
		}
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
}

// errMore is any error: the caller asks only whether there is one.
var errMore = io.ErrUnexpectedEOF

// oddNumbers are what Python's json and others write for numbers that JSON does not have.
// standIns, which nobody writes, take their place, so that the rest can be read.
var (
	oddNumbers = []string{"NaN", "-Infinity", "Infinity"}
	standIns   = []string{"1e2147483601", "-1e2147483602", "1e2147483602"}
	notNumbers = regexp.MustCompile(`NaN|Infinity`)

	// oddPatterns match them where a number can be.
	oddPatterns = []*regexp.Regexp{
		regexp.MustCompile(`((?:^|[:,\[])\s*)NaN\b`), regexp.MustCompile(`((?:^|[:,\[])\s*)-Infinity\b`), regexp.MustCompile(`((?:^|[:,\[])\s*)Infinity\b`),
	}
)

// numberText is a number as it was written.
func numberText(n string) string {
	for i := range standIns {
		if n == standIns[i] {
			return oddNumbers[i]
		}
	}
	return n
}

// halves matches what may be half of a character in JSON: a surrogate that is escaped,
// with the one that belongs to it, if there is one. A backslash that is escaped escapes
// nothing.
var (
	halves  = regexp.MustCompile(`\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)
	anyHalf = regexp.MustCompile(`\\u[dD][89a-fA-F]`)
)

// distinct returns JSON in which half a character is not what encoding/json makes of it,
// which is the same for all: U+FDD0, which is no character, and its number.
func distinct(text []byte) []byte {
	return halves.ReplaceAllFunc(text, func(found []byte) []byte {
		if len(found) != 6 {
			return found
		}
		return []byte(`\ufdd0` + strings.ToLower(string(found[2:])))
	})
}

// compareLines compares JSON values that follow one another, as a list of them.
func compareLines(r *Rules, f *Finding, live, shadow []byte) bool {
	l, err := decodeAll(bytes.ReplaceAll(live, []byte("\x1e"), []byte("\n")))
	if err != nil {
		return false
	}
	s, err := decodeAll(bytes.ReplaceAll(shadow, []byte("\x1e"), []byte("\n")))
	if err != nil {
		return false
	}
	compareValues(r, f, asValue(l), asValue(s))
	return true
}

func asValue(list []interface{}) interface{} { return list }

// compareForms compares the fields of two forms. One that is there several times on either
// side is a list.
func compareForms(r *Rules, f *Finding, live, shadow []byte) bool {
	l, err := url.ParseQuery(string(live))
	if err != nil {
		return false
	}
	s, err := url.ParseQuery(string(shadow))
	if err != nil {
		return false
	}
	compareValues(r, f, fields(l, s), fields(s, l))
	return true
}

func fields(form, other url.Values) interface{} {
	all := map[string]interface{}{}
	for name, values := range form {
		if len(values) == 1 && len(other[name]) < 2 {
			all[name] = values[0]
			continue
		}
		list := make([]interface{}, len(values))
		for i, v := range values {
			list[i] = v
		}
		all[name] = list
	}
	return all
}

// compareCSV compares tables by column, where both have the same columns. The rows are a
// list of objects.
func compareCSV(r *Rules, f *Finding, live, shadow []byte) bool {
	l := rows(live)
	s := rows(shadow)
	if len(l) == 0 || len(s) == 0 || len(l[0]) < 2 || !reflect.DeepEqual(l[0], s[0]) {
		return false
	}
	columns := l[0]
	first := equalRows(l, s)
	if first == len(l) && first == len(s) {
		return true
	}
	d := newDiffer(r, f)
	d.columns = true
	defer func() { d.leave() }()
	if d.steps((len(l) + len(s) - 2*first) * (1 + len(columns)/4)) {
		m := &matcher{d: d, live: objects(columns, l[first:]), shadow: objects(columns, s[first:]), from: first - 1, at: root, set: d.unordered(nil)}
		m.match()
	}
	d.conclude()
	return true
}

// equalRows is equalFirst for rows.
func equalRows(live, shadow [][]string) int {
	first := 0
	n := shorter(len(live), len(shadow))
	for first < n {
		half := (first + n) / 2
		if reflect.DeepEqual(live[first:half+1], shadow[first:half+1]) {
			first = half + 1
		} else {
			n = half
		}
	}
	return first
}

// separator is what is most often between the names of columns.
func separator(header string) rune {
	best := ','
	most := strings.Count(header, ",")
	if n := strings.Count(header, ";"); n > most {
		best = ';'
		most = n
	}
	if strings.Count(header, "\t") > most {
		best = '\t'
	}
	return best
}

// rows returns the rows of a table, all as long as the first; none if it is no table.
func rows(text []byte) [][]string {
	header, _, _ := bytes.Cut(text, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma = separator(string(header))
	all, err := r.ReadAll()
	if err != nil {
		return nil
	}
	return all
}

// objects returns rows by column. Of two columns with the same name the second has another.
func objects(columns []string, rows [][]string) []interface{} {
	names := make([]string, len(columns))
	known := map[string]bool{}
	for i, name := range columns {
		name = strings.TrimSpace(name)
		if known[name] {
			name += "#" + strconv.Itoa(i+1)
		}
		known[name] = true
		names[i] = name
	}
	list := make([]interface{}, len(rows))
	for i, row := range rows {
		object := map[string]interface{}{}
		for k, cell := range row {
			object[names[k]] = cell
		}
		list[i] = object
	}
	return list
}
