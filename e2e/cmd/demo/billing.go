package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// A billing answers as a version of a billing service does: drafts of invoices it draws
// up, and of an invoice it tells the total. All answers say who has answered, so that
// live's cannot be taken for another's.
type billing struct {
	name  string
	round func(tenThousandths int64) int64 // to hundredths
	total func(cents int64) string         // how it writes what an invoice comes to
}

const draftsPath = "/invoices/drafts"

func (b billing) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	a := answer{Upstream: b.name}
	switch {
	case req.Method == http.MethodGet:
		a.Number = path.Base(req.URL.Path)
		n, _ := strconv.ParseInt(strings.TrimPrefix(a.Number, "2024-"), 10, 32)
		a.Total = b.total((100 + n) * 119)
	case req.URL.Path == draftsPath:
		err := json.NewDecoder(req.Body).Decode(&a.invoice)
		if err == nil {
			err = a.drawUp(b.round)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		id := make([]byte, 16)
		rand.Read(id)
		a.ID = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
		a.CreatedAt = time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z")
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(statusFor(req.Method))
	json.NewEncoder(rw).Encode(a)
}

func statusFor(method string) int {
	if method == http.MethodPost {
		return http.StatusCreated
	}
	return http.StatusOK
}

type answer struct {
	Upstream  string `json:"upstream"`
	ID        string `json:"id,omitempty"`
	CreatedAt string `json:"createdAt,omitempty"`
	invoice
}

type invoice struct {
	Number   string `json:"number,omitempty"`
	Customer string `json:"customer,omitempty"`
	Lines    []line `json:"lines,omitempty"`
	VAT      string `json:"vat,omitempty"`
	Total    string `json:"total,omitempty"`
}

type line struct {
	Text string `json:"text"`
	Net  string `json:"net"`
	VAT  string `json:"vat,omitempty"`
}

// vatRate is in hundredths.
const vatRate = 19

// drawUp fills in the VAT of each line, rounded to cents, and the sums.
func (i *invoice) drawUp(round func(int64) int64) error {
	var vat, total int64
	for n := range i.Lines {
		l := &i.Lines[n]
		whole, fraction, _ := strings.Cut(l.Net, ".")
		net, err := strconv.ParseInt(whole+fraction, 10, 32)
		if err != nil || len(fraction) != 2 {
			return fmt.Errorf("%q is no amount, such as 119.00", l.Net)
		}
		lineVAT := round(net * vatRate)
		l.VAT = euros(lineVAT)
		vat += lineVAT
		total += net + lineVAT
	}
	i.VAT, i.Total = euros(vat), euros(total)
	return nil
}

func halfUp(tenThousandths int64) int64 { return (tenThousandths + 50) / 100 }

func halfToEven(tenThousandths int64) int64 {
	down, rest := tenThousandths/100, tenThousandths%100
	if rest > 50 || rest == 50 && down%2 == 1 {
		return down + 1
	}
	return down
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

func inCents(cents int64) string { return fmt.Sprint(cents) }

// drafts are calls that have n invoices drawn up. In one of ten there is half a cent to
// round, which is not the same up and to even.
func drafts(n int) []call {
	list := make([]call, n)
	for i := range list {
		draft := invoice{Number: number(i), Customer: fmt.Sprintf("C-%05d", 20000+i*7%997)}
		for j, text := range []string{"Hosting, January", "Domain", "Support"}[:1+i%3] {
			draft.Lines = append(draft.Lines, line{Text: text, Net: euros(int64(990 + (i*37+j*53)%400*10))})
		}
		body, err := json.Marshal(draft)
		if err != nil {
			panic(err) // texts only
		}
		list[i] = call{name: draft.Number, method: http.MethodPost, path: draftsPath, contentType: "application/json", body: body}
	}
	return list
}

// totals are calls that ask for n invoices, each of another total.
func totals(n int) []call {
	list := make([]call, n)
	for i := range list {
		list[i] = call{name: number(i), method: http.MethodGet, path: "/invoices/" + number(i)}
	}
	return list
}

func number(i int) string { return fmt.Sprintf("2024-%04d", i+1) }
