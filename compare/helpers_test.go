package compare

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"net/http"
	"strconv"
	"testing"
)

const invoice = `{"id":"in_8231","number":"2026-0042","lines":[{"sku":"A-1","qty":2,"total":119.00},{"sku":"B-7","qty":1,"total":59.50}],"total":178.50,"paid":false}`

// jsonAnswer is a 200 with a JSON body.
func jsonAnswer(body string) *Answer { return answer(200, "application/json; charset=utf-8", body) }

func answer(status int, kind, body string) *Answer {
	return &Answer{Status: status, Header: http.Header{"Content-Type": {kind}}, Body: []byte(body)}
}

// compressed returns the answer as it is with a Content-Encoding.
func compressed(t *testing.T, a *Answer, encoding string) *Answer {
	t.Helper()
	var b bytes.Buffer
	switch encoding {
	case "gzip":
		w := gzip.NewWriter(&b)
		w.Write(a.Body)
		w.Close()
	case "deflate":
		w := zlib.NewWriter(&b)
		w.Write(a.Body)
		w.Close()
	default:
		b.WriteString(encoding)
		b.Write(a.Body)
	}
	h := a.Header.Clone()
	h["Content-Encoding"] = []string{encoding}
	return &Answer{Status: a.Status, Header: h, Body: b.Bytes()}
}

// bare returns the answer as it is with deflate's form that is not zlib's.
func bare(a *Answer) *Answer {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	w.Write(a.Body)
	w.Close()
	h := a.Header.Clone()
	h["Content-Encoding"] = []string{"deflate"}
	return &Answer{Status: a.Status, Header: h, Body: b.Bytes()}
}

// rules are the defaults, but for headers, with what to ignore.
func rules(t *testing.T, ignore ...string) *Rules {
	t.Helper()
	r := &Rules{Body: JSON, MaxBodySize: 64 << 10, Examples: 5, Minimum: 1, Show: Values}
	for _, text := range ignore {
		rule, err := ParseRule(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		r.Ignore = append(r.Ignore, rule)
	}
	return r
}

// relations are the differences of a finding in short: each key, with its relation, with
// ! if it is structural, and with the place in a list.
func relations(f *Finding) []string {
	list := []string{}
	for _, d := range f.Differences {
		text := d.Key + ": " + d.Relation
		if d.Structural {
			text += "!"
		}
		if d.Index >= 0 {
			text += " at " + strconv.Itoa(d.Index)
		}
		list = append(list, text)
	}
	if f.Outcome == Skipped {
		list = append(list, f.Reason)
	}
	return list
}

// found is a finding in short: its outcome and reason, or its differences.
func found(f *Finding) []string {
	list := []string{f.Outcome + f.Reason}
	for _, d := range f.Differences {
		list = append(list, d.Key+": "+d.Live.Shown(Values)+" | "+d.Shadow.Shown(Values))
	}
	return list
}

// uncovered is what is found of two answers, without what rules cover.
func uncovered(r *Rules, live, shadow *Answer) *Finding {
	f := Judge(r, live, shadow)
	var left []Difference
	for _, d := range f.Differences {
		if !r.covers("GET", "/invoices", d.Subject()) {
			left = append(left, d)
		}
	}
	f.Differences = left
	if f.Outcome == Mismatch && len(left) == 0 {
		f.Outcome = Match
	}
	return f
}
