package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// running starts an upstream and returns its URL and the lines that it prints.
func running(t *testing.T) (url string, printed *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(ctx, w, testbed.UpstreamOptions{Name: "billing"})
		w.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		r.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	printed = bufio.NewScanner(r)
	if !printed.Scan() {
		t.Fatal(printed.Err())
	}
	if _, err := fmt.Sscanf(printed.Text(), "billing listens on %s", &url); err != nil {
		t.Fatalf("%q: %v", printed.Text(), err)
	}
	return url, printed
}

// printsRequest reads what is printed about one request, and looks for a line.
func printsRequest(t *testing.T, printed *bufio.Scanner, want string) {
	t.Helper()
	var lines []string
	for printed.Scan() {
		if lines = append(lines, printed.Text()); strings.Contains(printed.Text(), want) {
			return
		}
	}
	t.Errorf("printed %q, want a line with %q", lines, want)
}

func TestUpstreamPrintsRequestsAndAnswersThem(t *testing.T) {
	url, printed := running(t)
	resp, err := http.Post(url+"/invoices", "application/json", strings.NewReader(`{"invoice":"2024-00117"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "{\"upstream\":\"billing\"}\n" {
		t.Errorf("answered %q (%v)", body, err)
	}
	printsRequest(t, printed, "billing got POST /invoices, 24 bytes")
}

func TestUpstreamAnswersCalls(t *testing.T) {
	url, printed := running(t)
	conn, err := grpc.NewClient(strings.TrimPrefix(url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Invoke(t.Context(), "/billing.Invoices/Book", wrapperspb.String("2024-00117"), new(emptypb.Empty)); err != nil {
		t.Errorf("call: %v, want an empty message", err)
	}
	printsRequest(t, printed, "billing got POST /billing.Invoices/Book, 17 bytes")
}
