package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// The headers by which a [Ledger] knows a request: whose it is, and which of that
// customer's requests.
const (
	CustomerHeader = "X-Customer-Id"
	NumberHeader   = "X-Number"
)

// A Ledger is the handler of an upstream that books invoices: POST books one, GET shows
// one, 404 if it was not booked. It notes whether the requests of a customer come one
// after the other and in the order of their numbers.
type Ledger struct {
	// Slowest is how long an answer takes at most; how long is drawn.
	Slowest time.Duration

	// Breaks says whether the connection is closed in place of an answer; nil: never.
	Breaks func(customer string, number int) bool

	mu     sync.Mutex
	last   map[string]int  // by customer
	busy   map[string]bool // likewise
	booked map[string]bool
	count  int
	wrong  []string
}

func (l *Ledger) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	io.Copy(io.Discard, req.Body)
	customer := req.Header.Get(CustomerHeader)
	number, _ := strconv.Atoi(req.Header.Get(NumberHeader))
	l.begin(customer, number)
	breaks := l.Breaks != nil && l.Breaks(customer, number)
	if l.Slowest > 0 {
		select {
		case <-time.After(rand.N(l.Slowest)):
		case <-req.Context().Done(): // the upstream was stopped
		}
	}
	known := l.end(customer, req, breaks)
	if breaks {
		panic(http.ErrAbortHandler)
	}
	rw.Header().Set("Content-Type", "application/json")
	if !known {
		rw.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprintf(rw, `{"customer":%q,"invoice":%q,"booked":%t}`, customer, req.URL.Path, known)
}

func (l *Ledger) begin(customer string, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last, l.busy, l.booked = map[string]int{}, map[string]bool{}, map[string]bool{}
	}
	l.count++
	if l.busy[customer] {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %d came while another was not over", customer, number))
	}
	if number <= l.last[customer] {
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %d came after %d", customer, number, l.last[customer]))
	}
	l.busy[customer] = true
	l.last[customer] = number
}

// end books an invoice, or looks for it, and reports whether it is there.
func (l *Ledger) end(customer string, req *http.Request, breaks bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	invoice := customer + req.URL.Path
	if req.Method == http.MethodPost && !breaks {
		l.booked[invoice] = true
	}
	l.busy[customer] = false
	return l.booked[invoice]
}

// Wrong returns what came out of order, and how many requests came in all.
func (l *Ledger) Wrong() (wrong []string, count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.wrong...), l.count
}

// Count returns how many requests came.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// A Bookkeeping is what customers send to a [Ledger]: each books an invoice, reads it at
// once, and goes on, one request after the other.
type Bookkeeping struct {
	Customers, Each int // how many, and how many requests each sends
	URLs            []string
	Host            string
	Transports      []http.RoundTripper // customer by customer, as URLs
	Large           func(customer, number int) bool
	Before          func()      // called before each request; nil: nothing is
	Sent            func(n int) // called with how many have been sent

	mu   sync.Mutex
	sent int
}

// Customer is the name of the i-th.
func Customer(i int) string { return fmt.Sprintf("C-%04d", i) }

// Run sends everything, and returns the first thing that a client should not have seen.
func (b *Bookkeeping) Run(ctx context.Context) error {
	errs := make(chan error, b.Customers)
	for i := range b.Customers {
		go func() { errs <- b.customer(ctx, i) }()
	}
	var first error
	for range b.Customers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (b *Bookkeeping) customer(ctx context.Context, i int) error {
	kind := i % len(b.URLs)
	for number := 1; number <= b.Each; number++ {
		method, body := http.MethodPost, []byte(`{"total":"119.00"}`)
		if number%2 == 0 {
			method, body = http.MethodGet, nil
		} else if b.Large != nil && b.Large(i, number) {
			body = bytes.Repeat([]byte("9"), 64<<10)
		}
		req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/invoices/%d", b.URLs[kind], (number+1)/2), bytes.NewReader(body))
		if err != nil {
			return err
		}
		if b.Host != "" {
			req.Host = b.Host
		}
		req.Header.Set(CustomerHeader, Customer(i))
		req.Header.Set(NumberHeader, strconv.Itoa(number))
		if b.Before != nil {
			b.Before()
		}
		res, err := b.Transports[kind].RoundTrip(req)
		if err != nil {
			return fmt.Errorf("%s, request %d: %w", Customer(i), number, err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s, request %d: %s, %v", Customer(i), number, res.Status, err)
		}
		b.count()
	}
	return nil
}

func (b *Bookkeeping) count() {
	b.mu.Lock()
	b.sent++
	n := b.sent
	b.mu.Unlock()
	if b.Sent != nil {
		b.Sent(n)
	}
}
