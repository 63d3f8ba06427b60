package http3client

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const invoice = `{"invoice":"2024-00117","customer":"Meyer & Söhne","total":"119.00"}`

func TestClientSendsAsGiven(t *testing.T) {
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *http.Request, 1)
	bodies := make(chan string, 1)
	server := &http3.Server{TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}), Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		var body strings.Builder
		buffer := make([]byte, 1000)
		n, err := req.Body.Read(buffer)
		for ; err == nil; n, err = req.Body.Read(buffer) {
			body.Write(buffer[:n])
		}
		body.Write(buffer[:n])
		got <- req
		bodies <- body.String()
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Set("Trailer", "X-Sum")
		rw.WriteHeader(http.StatusCreated)
		io.WriteString(rw, "booked")
		rw.Header().Set("X-Sum", "ab12")
	})}
	go server.Serve(conn)
	defer server.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := Dial(ctx, conn.LocalAddr().String(), &tls.Config{RootCAs: ca.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, body := range []string{"", invoice, testbed.Payload(300 << 10)} {
		answer, err := client.Exchange(ctx, testbed.FramedRequest{
			Fields:   []testbed.Field{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "billing.example.com"}, {Name: ":path", Value: "/invoices?page=2"}, {Name: "x-ledger", Value: "north"}, {Name: "x-ledger", Value: ""}},
			Body:     []byte(body),
			Trailers: []testbed.Field{{Name: "x-checksum", Value: "ab"}},
		})
		if err != nil || answer.Status() != "201" || string(answer.Body) != "booked" || len(answer.Informational) != 1 || !slices.Equal(answer.Trailers, []testbed.Field{{Name: "x-sum", Value: "ab12"}}) {
			t.Fatalf("answer %s (%v)", answer, err)
		}
		req := <-got
		if b := <-bodies; req.Method != "POST" || req.RequestURI != "/invoices?page=2" || !slices.Equal(req.Header["X-Ledger"], []string{"north", ""}) || b != body || req.Trailer.Get("X-Checksum") != "ab" {
			t.Errorf("got %s %s, headers %q, body of %d bytes, trailers %q", req.Method, req.RequestURI, req.Header, len(b), req.Trailer)
		}
	}
}
