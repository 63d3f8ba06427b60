package mirror

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/trafficshadow/mirror/report"
)

// maxForm is how much of a form is read, in bytes: all parameters of the gate fit in far less.
const maxForm = 64 << 10

// gate answers whether a middleware's comparison is good enough. What it judges of is made once
// a second, as the page is, however many ask.
func (r *reporter) gate(rw http.ResponseWriter, req *http.Request) {
	question := report.NewQuestion(nil)
	values, err := asked(req)
	if err == nil {
		question = report.NewQuestion(values)
	} else {
		question.Mistakes = append(question.Mistakes, err.Error())
	}
	answer := r.editions.latest().Answer(question)
	var body bytes.Buffer
	if err := report.WriteGate(&body, answer); err != nil {
		http.Error(rw, "mirror: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := rw.Header()
	guardAnswer(h)
	h.Set("Content-Type", "application/json")
	if answer.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(answer.RetryAfter))
	}
	rw.WriteHeader(answer.Status)
	rw.Write(body.Bytes())
}

var (
	errQuery = errors.New("the query cannot be read")
	errForm  = errors.New("the form cannot be read")
)

// asked returns the parameters of the query and, of a POST, those of a form. Other bodies,
// such as the one that a webhook is called with, are not looked at.
func asked(req *http.Request) (url.Values, error) {
	values, err := report.ReadQuery(req.URL.RawQuery)
	if err != nil {
		return nil, errQuery
	}
	kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if req.Method != http.MethodPost || err != nil || kind != "application/x-www-form-urlencoded" {
		return values, nil
	}
	text, err := io.ReadAll(io.LimitReader(req.Body, maxForm+1))
	if err != nil || len(text) > maxForm {
		return nil, errForm
	}
	form, err := report.ReadQuery(string(text))
	if err != nil {
		return nil, errForm
	}
	for name, list := range form {
		values[name] = append(values[name], list...)
	}
	return values, nil
}
