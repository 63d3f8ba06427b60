package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	requestID = "X-Request-Id" // tells which copy belongs to which request
	marker    = "X-Mirrored-By"
	token     = "X-Mirror-Token"

	// patience is how long live may take, whatever the shadow does. It is less
	// than the shadow's timeout, and much more than live needs.
	patience = 1800 * time.Millisecond
)

// A call is a request that a customer of the billing service makes.
type call struct {
	name        string
	method      string
	path        string
	contentType string
	body        []byte
	chunked     bool // sent without saying how long the body is
	tooLarge    bool // above the example's maxBodySize
}

func calls() []call {
	const invoices = "/invoices"
	form := url.Values{"customer": {"C-20817"}, "amount": {"1190.00"}, "note": {"Überweisung & Dank"}}
	large := export(1<<20 + 1)
	return []call{
		jsonInvoice(),
		{name: "POST form", method: http.MethodPost, path: invoices + "/2024-0117/payments",
			contentType: "application/x-www-form-urlencoded", body: []byte(form.Encode())},
		{name: "POST chunked upload", method: http.MethodPost, path: invoices + "/import",
			contentType: "text/csv", body: export(64 << 10), chunked: true},
		{name: "GET", method: http.MethodGet, path: invoices + "/2024-0117?expand=lines&lang=de%2FAT"},
		{name: "POST empty", method: http.MethodPost, path: invoices + "/2024-0117/send"},
		{name: "POST 1 MiB + 1 byte", method: http.MethodPost, path: invoices + "/import",
			contentType: "text/csv", body: large, tooLarge: true},
		{name: "the same, chunked", method: http.MethodPost, path: invoices + "/import",
			contentType: "text/csv", body: large, chunked: true, tooLarge: true},
	}
}

func jsonInvoice() call {
	return call{name: "POST JSON", method: http.MethodPost, path: "/invoices", contentType: "application/json",
		body: []byte(`{"number":"2024-0117","customer":"C-20817","currency":"EUR","lines":[` +
			`{"text":"Hosting, January","quantity":1,"price":"1000.00","vat":"19"}],"total":"1190.00"}`)}
}

// mirroredCalls are the calls that are small enough.
func mirroredCalls() []call {
	return slices.DeleteFunc(calls(), func(c call) bool { return c.tooLarge })
}

// export returns a CSV file of invoices of exactly size bytes.
func export(size int) []byte {
	var b bytes.Buffer
	b.WriteString("number,customer,total\n")
	for n := 1; b.Len() < size; n++ {
		fmt.Fprintf(&b, "2024-%06d,C-%05d,%d.%02d\n", n, 20000+n*7%997, 10+n*37%5000, n*13%100)
	}
	return b.Bytes()[:size]
}

// A result is what became of a call.
type result struct {
	call
	id     string
	err    error
	status int
	answer string
	took   time.Duration
}

// send makes the call and reads the answer.
func (c call) send(ctx context.Context, client *http.Client, base, id string) result {
	r := result{call: c, id: id}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	if c.chunked {
		body = io.MultiReader(body) // hides the length
	}
	req, err := http.NewRequestWithContext(ctx, c.method, base+c.path, body)
	if err != nil {
		r.err = err
		return r
	}
	req.Header.Set(requestID, id)
	if c.contentType != "" {
		req.Header.Set("Content-Type", c.contentType)
	}
	begun := time.Now()
	res, err := client.Do(req)
	if err != nil {
		r.err = err
		return r
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	r.took = time.Since(begun)
	r.status, r.answer, r.err = res.StatusCode, string(answer), err
	return r
}

// arrivals returns what the upstream got of the call.
func (r result) arrivals(u *testbed.Upstream) []testbed.Request {
	return slices.DeleteFunc(u.Requests(), func(req testbed.Request) bool {
		return req.Header.Get(requestID) != r.id
	})
}

// liveFault returns what is wrong with the call on the way to live and back,
// or "".
func (r result) liveFault(live *testbed.Upstream) string {
	got := r.arrivals(live)
	switch {
	case r.err != nil:
		return "no answer: " + r.err.Error()
	case len(got) != 1:
		return fmt.Sprintf("live got it %d times", len(got))
	case got[0].BodyErr != nil || got[0].BodySHA256 != sha256.Sum256(r.body):
		return "live did not get the body"
	case got[0].Method != r.method || got[0].RequestURI != r.path:
		return "live got " + got[0].Method + " " + got[0].RequestURI
	case r.status != statusFor(r.method) || !strings.HasPrefix(r.answer, `{"upstream":"billing"`):
		return fmt.Sprintf("the answer is not live's: %d %.20q", r.status, r.answer)
	case r.took > patience:
		return "live was held up"
	}
	return ""
}

// copyFault returns what is wrong with the shadow's copy of the call, or "".
// Live has got it once.
func (r result) copyFault(live, shadow *testbed.Upstream) string {
	copies := r.arrivals(shadow)
	switch {
	case r.tooLarge && len(copies) > 0:
		return "mirrored, though above maxBodySize"
	case r.tooLarge:
		return ""
	case len(copies) == 0:
		return "not mirrored"
	case len(copies) > 1:
		return fmt.Sprintf("mirrored %d times", len(copies))
	}
	return difference(r.arrivals(live)[0], copies[0])
}

// difference says in which way the copy is not the request that live got, or
// "". The marker and its token are what a copy has in addition.
func difference(original, copied testbed.Request) string {
	header := copied.Header.Clone()
	header.Del(marker)
	header.Del(token)
	switch {
	case copied.BodyErr != nil || copied.BodySize != original.BodySize || copied.BodySHA256 != original.BodySHA256:
		return "the body differs"
	case copied.Method != original.Method || copied.RequestURI != original.RequestURI || copied.Host != original.Host:
		return "the method or URL differs"
	case copied.ContentLength != original.ContentLength:
		return "Content-Length differs"
	case !strings.HasPrefix(copied.Header.Get(marker), "shadow-billing"):
		return "no " + marker
	case !maps.EqualFunc(header, original.Header, slices.Equal[[]string]):
		return "the headers differ"
	}
	return ""
}

// bodyOf is the body in short that an upstream got of a call: its size and the beginning
// of its SHA-256 sum.
func bodyOf(arrivals []testbed.Request) string {
	if len(arrivals) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%7d %.4x", arrivals[0].BodySize, arrivals[0].BodySHA256)
}
