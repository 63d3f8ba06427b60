package compare

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"net/http"
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

// rules are the defaults, with paths to ignore.
func rules(t *testing.T, ignore ...string) *Rules {
	t.Helper()
	r := &Rules{Body: JSON, MaxBodySize: 64 << 10, Keep: 20, Show: Values}
	for _, text := range ignore {
		p, err := ParsePath(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		r.Ignore = append(r.Ignore, p)
	}
	return r
}

// found is a finding in short: its outcome and reason, or its differences.
func found(f *Finding) []string {
	list := []string{f.Outcome + f.Reason}
	for _, d := range f.Differences {
		list = append(list, d.Key+": "+d.Live.Shown(Values)+" | "+d.Shadow.Shown(Values))
	}
	return list
}
