package mirror

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
)

// The shadow gets its own copy of the invoice. That its answer is an error is nothing
// that the client sees.
func ExampleNew() {
	arrived := make(chan string, 1)
	shadow := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		arrived <- fmt.Sprintf("%s %s %s from %s", req.Method, req.URL, body, req.Header.Get("X-Mirrored-By"))
		http.Error(rw, "the new version cannot book yet", http.StatusInternalServerError)
	}))
	defer shadow.Close()

	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		rw.WriteHeader(http.StatusCreated)
		fmt.Fprintf(rw, "booked %s", body)
	})

	config := CreateConfig()
	config.Options = map[string]interface{}{"url": shadow.URL, "timeout": "10s"}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	handler, err := New(ctx, live, config, "shadow-billing@file")
	if err != nil {
		fmt.Println(err)
		return
	}

	client := httptest.NewRecorder()
	invoice := strings.NewReader(`{"invoice":"2026-0042","total":"119.00"}`)
	handler.ServeHTTP(client, httptest.NewRequest(http.MethodPost, "/invoices", invoice))
	fmt.Println("client:", client.Code, client.Body)
	fmt.Println("shadow:", <-arrived)
	// Output:
	// client: 201 booked {"invoice":"2026-0042","total":"119.00"}
	// shadow: POST /invoices {"invoice":"2026-0042","total":"119.00"} from shadow-billing@file
}
