package observability

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	rnd "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A billing is a service that knows all invoices. Live and shadow differ in how
// they round, and how long they take.
type billing struct {
	// halfToEven rounds a half cent of tax to the even neighbour, and not up: a
	// mistake that few invoices show.
	halfToEven bool

	// failsAtCreditNotes answers 500 for one invoice in fifty.
	failsAtCreditNotes bool

	// traces puts an identifier that is made anew into answers about payments.
	traces bool

	// numbers puts a number that is made anew into every answer about an invoice.
	numbers bool

	// typical is how long an answer takes; some take much longer. With 0 none
	// takes longer than it does.
	typical time.Duration
}

const year = "2024"

// mix is the request of a number: mostly invoices that are looked at, some that
// are made, and some payments.
func mix(n int64) (method, path, body string) {
	invoice := fmt.Sprintf("/invoices/%s-%05d", year, n)
	switch {
	case n%10 == 3:
		return "POST", "/invoices", fmt.Sprintf(`{"number":%d,"customer":%q,"net":%q}`, n, customer(n), euros(netOf(n)))
	case n%100 == 4:
		return "GET", invoice + "/payments", ""
	case n%25 == 9:
		return "GET", fmt.Sprintf("/invoices/%s-%05d", "1999", n), "" // there is none
	}
	return "GET", invoice, ""
}

var customers = []string{"Meyer & Söhne", "Bäckerei Lindqvist", "O'Brien Ltd.", "Yamada 商店", "Garage Dubois"}

func customer(n int64) string { return customers[n%int64(len(customers))] }

// netOf is the amount without tax of an invoice in cents.
func netOf(n int64) int64 { return n*7919%400000 + 1000 }

func euros(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// tax is 19% in cents.
func (b *billing) tax(net int64) int64 {
	tax, rest := net*19/100, net*19%100
	if rest > 50 || rest == 50 && (!b.halfToEven || tax%2 == 1) {
		tax++
	}
	return tax
}

func (b *billing) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	b.work()
	if req.Method == http.MethodPost {
		var order struct{ Number int64 }
		if err := json.NewDecoder(req.Body).Decode(&order); err != nil {
			answer(rw, http.StatusBadRequest, map[string]any{"error": "no order"})
			return
		}
		answer(rw, http.StatusCreated, b.invoice(order.Number))
		return
	}
	path, payments := strings.CutSuffix(strings.TrimPrefix(req.URL.Path, "/invoices/"), "/payments")
	number, known := strings.CutPrefix(path, year+"-")
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case !known || err != nil:
		answer(rw, http.StatusNotFound, map[string]any{"error": "no such invoice"})
	case payments:
		paid := map[string]any{"invoice": path, "paid": euros(netOf(n))}
		if b.traces {
			paid["traceId"] = rand.Text()
		}
		answer(rw, http.StatusOK, paid)
	case b.failsAtCreditNotes && n%50 == 1:
		answer(rw, http.StatusInternalServerError, map[string]any{"error": "credit notes are not implemented"})
	default:
		answer(rw, http.StatusOK, b.invoice(n))
	}
}

func (b *billing) invoice(n int64) map[string]any {
	tax := b.tax(netOf(n))
	invoice := map[string]any{
		"invoice": fmt.Sprintf("%s-%05d", year, n), "customer": customer(n), "currency": "EUR",
		"net": euros(netOf(n)), "tax": euros(tax), "total": euros(netOf(n) + tax),
		"answeredAt": time.Now().Format(time.RFC3339Nano),
	}
	if b.numbers {
		invoice["receipt"] = rnd.IntN(1_000_000_000)
	}
	return invoice
}

// work takes as long as answering takes.
func (b *billing) work() {
	if b.typical == 0 {
		return
	}
	took := float64(b.typical) * (0.6 + 0.5*rnd.ExpFloat64())
	if rnd.IntN(100) < 3 {
		took *= 3
	}
	time.Sleep(time.Duration(took))
}

func answer(rw http.ResponseWriter, status int, body map[string]any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	json.NewEncoder(rw).Encode(body)
}
