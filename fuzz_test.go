package mirror

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "-1", "1MiB", "10 MB", "1.5KiB", "9223372036854775807", "1e3", "..", "-", " "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseSize(s)
		if ok && n < 0 {
			t.Errorf("parseSize(%q) = %d, below 0", s, n)
		}
		if again, okAgain := parseSize(strings.ToLower(s)); again != n || okAgain != ok {
			t.Errorf("parseSize(%q) depends on case: %d %v, %d %v", s, n, ok, again, okAgain)
		}
	})
}

func FuzzParseSampleBy(f *testing.F) {
	for _, s := range []string{"", "header:X-Customer-Id", "cookie:session", "clientIP", "clientIP:", "header:", "header:a:b", "HEADER: x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		by, ok := parseSampleBy(s)
		if !ok {
			return
		}
		if again, okAgain := parseSampleBy(by); again != by || !okAgain {
			t.Errorf("parseSampleBy(%q) = %q, which gives %q, %v", s, by, again, okAgain)
		}
		// Must not panic on any request.
		sampleValue(&http.Request{Header: http.Header{}, RemoteAddr: s}, by)
	})
}

// FuzzJoinedURL checks that a base path that is accepted goes in front of the
// request's path and changes nothing else of the URL.
func FuzzJoinedURL(f *testing.F) {
	for _, s := range []string{"", "/", "/v2", "/v2/", "/v%2F2", "/a b", "//", "/;x"} {
		for _, r := range []string{"/", "/invoices", "/a%2Fb?x=%zz;y", "//double", "/?"} {
			f.Add(s, r)
		}
	}
	f.Fuzz(func(t *testing.T, base, target string) {
		p := &parser{o: &options{}}
		readURL(p, &given{text: "http://billing-next:8080" + base})
		u := p.o.target
		request, err := url.ParseRequestURI(target)
		if p.o.mistaken > 0 || err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		out := &http.Request{URL: cloneOf(request), Header: http.Header{}}
		httputil.NewSingleHostReverseProxy(u).Director(out)
		if out.URL.Host != "billing-next:8080" || out.URL.RawQuery != request.RawQuery || out.URL.ForceQuery != request.ForceQuery {
			t.Errorf("%q and %q: got %v", base, target, out.URL)
		}
		want := strings.TrimSuffix(u.EscapedPath(), "/") + "/" + strings.TrimPrefix(request.EscapedPath(), "/")
		if got := out.URL.EscapedPath(); got != want && u.Path != "" {
			t.Errorf("%q and %q: got the path %q, want %q", base, target, got, want)
		}
	})
}

func cloneOf(u *url.URL) *url.URL {
	c := *u
	return &c
}

// FuzzOptions checks that whatever the options are, New makes a handler, which serves
// live, and what is said of them is one line.
func FuzzOptions(f *testing.F) {
	for _, s := range []string{"", "url", "\x00\x01\x02\x03\x04", "compare\x05\x03tls\x06", strings.Repeat("\x09\x04\x11", 20), strings.Repeat("\xff", 40)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := log.Writer()
		log.SetOutput(io.Discard)
		defer log.SetOutput(before)
		odd := &oddValues{data: data}
		config := &Config{Options: odd.options(3)}
		said := config.parse().remark()
		if len(said) > maxMistakes+100 || strings.ContainsAny(said, "\r\n\x00\x1b") {
			t.Errorf("said %q", said)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		defer forget("odd@file")
		h, err := New(ctx, echoLive, config, "odd@file")
		if err != nil {
			t.Fatalf("New: %v", err)
		}
		rec := serve(h, postInvoice())
		if served := rec.Code == http.StatusCreated && rec.Body.String() == invoice; !served && !config.parse().serve {
			t.Errorf("%d %q, want 201 and the body; options %v", rec.Code, rec.Body, config.Options)
		}
	})
}

// oddValues makes options of bytes.
type oddValues struct{ data []byte }

func (o *oddValues) next() int {
	if len(o.data) == 0 {
		return 0
	}
	n := int(o.data[0])
	o.data = o.data[1:]
	return n
}

func (o *oddValues) options(depth int) map[string]interface{} {
	m := map[string]interface{}{}
	for n := o.next() % 12; n > 0 && len(o.data) > 0; n-- {
		m[o.name()] = o.value(depth)
	}
	return m
}

func (o *oddValues) name() string {
	n := o.next()
	name := optionTable[n%len(optionTable)].name
	_, inner, nested := strings.Cut(name, ".")
	if nested && n > 128 {
		name = inner
	}
	switch o.next() % 8 {
	case 0:
		return strings.ToUpper(name)
	case 1:
		return name + string([]byte{byte(o.next())})
	case 2:
		return string([]byte{byte(o.next()), byte(o.next())})
	}
	return name
}

func (o *oddValues) value(depth int) interface{} {
	switch n := o.next() % 16; {
	case n == 0:
		return nil
	case n == 1:
		return o.next() > 128
	case n == 2:
		return o.next() - 128
	case n == 3:
		return float64(o.next()) / 7
	case n == 4:
		return int64(o.next()) << 55
	case n == 5 && depth > 0:
		return o.options(depth - 1)
	case n == 6 && depth > 0:
		return []interface{}{o.value(depth - 1), o.value(depth - 1)}
	case n == 7 && depth > 0:
		return map[interface{}]interface{}{o.next(): o.value(depth - 1), "x-a": o.value(depth - 1), nil: 1, true: 2}
	case n == 8:
		return []string{"GET", ""}
	case n == 9:
		return "http://127.0.0.1:1"
	case n == 10:
		return "true"
	case n == 11:
		return strings.Repeat("x", 100*o.next())
	case n == 12:
		return []byte{1, 2}
	case n == 13:
		return struct{ A int }{1}
	}
	length := o.next() % 20
	if length > len(o.data) {
		length = len(o.data)
	}
	s := string(o.data[:length])
	o.data = o.data[length:]
	return s
}
