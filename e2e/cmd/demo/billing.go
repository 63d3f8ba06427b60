package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A billing answers as a billing service does. Drafts of invoices it draws up;
// to all else it says who has answered.
type billing struct {
	name  string
	round func(tenThousandths int64) int64 // to hundredths
}

const draftsPath = "/invoices/drafts"

func (b billing) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	rw.Header().Set("Content-Type", "application/json")
	if req.Method != http.MethodPost || req.URL.Path != draftsPath {
		rw.WriteHeader(statusFor(req.Method))
		io.WriteString(rw, answerOf(b.name))
		return
	}
	var d invoice
	err := json.NewDecoder(req.Body).Decode(&d)
	if err == nil {
		err = d.drawUp(b.round)
	}
	if err != nil {
		rw.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(rw).Encode(map[string]string{"error": err.Error()})
		return
	}
	id := make([]byte, 16)
	rand.Read(id)
	rw.WriteHeader(http.StatusCreated)
	json.NewEncoder(rw).Encode(drawnUp{
		ID: fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), CreatedAt: time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z"),
		Upstream: b.name, invoice: d,
	})
}

// answerOf is what the billing service of that name answers. Live's, called
// billing, and the shadow's differ, so that one cannot be taken for the other.
func answerOf(name string) string { return fmt.Sprintf("{\"upstream\":%q}\n", name) }

func statusFor(method string) int {
	if method == http.MethodPost {
		return http.StatusCreated
	}
	return http.StatusOK
}

// drawnUp is the answer to a draft.
type drawnUp struct {
	ID        string `json:"id"`
	CreatedAt string `json:"createdAt"`
	Upstream  string `json:"upstream"`
	invoice
}

type invoice struct {
	Number   string `json:"number"`
	Customer string `json:"customer,omitempty"`
	Lines    []line `json:"lines"`
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
		net, err := cents(l.Net)
		if err != nil {
			return err
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

// cents returns an amount as a service writes it, such as 119.00.
func cents(amount string) (int64, error) {
	whole, fraction, _ := strings.Cut(amount, ".")
	n, err := strconv.ParseInt(whole+fraction, 10, 32)
	if err != nil || len(fraction) != 2 || n < 0 {
		return 0, fmt.Errorf("%q is no amount, such as 119.00", amount)
	}
	return n, nil
}

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// drafts returns n invoices to draw up, in some of which there is half a cent to
// round.
func drafts(n int) []invoice {
	list := make([]invoice, n)
	for i := range list {
		list[i] = invoice{Number: fmt.Sprintf("2024-%04d", i+1), Customer: fmt.Sprintf("C-%05d", 20000+i*7%997)}
		for j, text := range []string{"Hosting, January", "Domain", "Support"}[:1+i%3] {
			list[i].Lines = append(list[i].Lines, line{Text: text, Net: euros(int64(990 + (i*37+j*53)%400*10))})
		}
	}
	return list
}
