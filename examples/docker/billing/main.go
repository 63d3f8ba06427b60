// Billing is the upstream of the Docker example, live and shadow alike: it
// books invoices, which here means that it answers, and writes a line about
// every request that it gets.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// maxBody is the largest body that is read, and maxLogged the part of it that
// the log shows.
const (
	maxBody   = 10 << 20
	maxLogged = 300
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	name := cmp.Or(os.Getenv("SERVICE"), "billing")
	if err := serve(ctx, ":8080", billing(name, log.Default())); err != nil {
		log.Fatalf("%s: %v", name, err)
	}
}

// serve answers until ctx ends, and then those requests that it has begun.
func serve(ctx context.Context, addr string, h http.Handler) error {
	server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(patience)
}

// An answer is what the client gets.
type answer struct {
	Service string `json:"service"`
	Status  string `json:"status"`
	Invoice string `json:"invoice,omitempty"`
}

// billing returns the service called name. A POST is an invoice to book; any
// other request is answered with the service's name.
func billing(name string, requests *log.Logger) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, req.Body, maxBody))
		status, a := http.StatusOK, answer{Service: name, Status: "ready"}
		switch {
		case err != nil:
			status, a.Status = http.StatusBadRequest, err.Error()
		case req.Method == http.MethodPost:
			status, a = book(name, body)
		}
		requests.Print(line(req, body))
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		json.NewEncoder(rw).Encode(a)
	})
}

// book refuses what is no invoice, such as half of one.
func book(name string, body []byte) (int, answer) {
	var invoice struct{ Number string }
	if err := json.Unmarshal(body, &invoice); err != nil || invoice.Number == "" {
		return http.StatusBadRequest, answer{Service: name, Status: "an invoice is JSON with a number"}
	}
	return http.StatusCreated, answer{Service: name, Status: "booked", Invoice: invoice.Number}
}

// line is what the log says about a request. Of credentials it says only that
// they are there.
func line(req *http.Request, body []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %d bytes", req.Method, req.URL.RequestURI(), len(body))
	if marker := req.Header.Get("X-Mirrored-By"); marker != "" {
		fmt.Fprintf(&b, ", mirrored by %s", marker)
	}
	for _, name := range []string{"Authorization", "Cookie"} {
		if req.Header.Get(name) != "" {
			fmt.Fprintf(&b, ", with %s", name)
		}
	}
	if environment := req.Header.Get("X-Environment"); environment != "" {
		fmt.Fprintf(&b, ", X-Environment %s", environment)
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, ": %s", shown(body))
	}
	return b.String()
}

// shown is the body on one line, cut after maxLogged bytes.
func shown(body []byte) string {
	rest := ""
	if len(body) > maxLogged {
		body, rest = body[:maxLogged], "..."
	}
	return strings.NewReplacer("\n", " ", "\r", " ").Replace(strings.ToValidUTF8(string(body), "")) + rest
}
