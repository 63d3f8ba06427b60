package testbed

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

func booked(rw http.ResponseWriter, req *http.Request) {
	rw.WriteHeader(http.StatusEarlyHints)
	rw.Header().Set("Trailer", "X-Sum")
	rw.WriteHeader(http.StatusCreated)
	rw.Write([]byte("booked"))
	rw.Header().Set("X-Sum", "ab12")
}

func TestFramesAreSentAndRecordedAsGiven(t *testing.T) {
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	large := Payload(300 << 10) // more than HTTP/2 has sent before it is told to go on
	head := []Field{{":method", "POST"}, {":scheme", "https"}, {":authority", "billing.example.com"}, {":path", "/invoices"}, {"x-ledger", "north"}, {"cookie", "session=1"}, {"cookie", "theme=dark"}}
	tests := []struct {
		name     string
		request  FramedRequest
		headEnds bool
	}{
		{"no body", FramedRequest{Fields: head}, true},
		{"open, and no body", FramedRequest{Fields: head, Open: true}, false},
		{"a body", FramedRequest{Fields: head, Body: []byte(invoice), Pieces: 10}, false},
		{"a large body", FramedRequest{Fields: head, Body: []byte(large)}, false},
		{"a large head", FramedRequest{Fields: append(slices.Clone(head), Field{"x-lines", strings.Repeat("2024-00117,", 5000)})}, true},
		{"trailers", FramedRequest{Fields: append(slices.Clone(head), Field{"trailer", "x-checksum"}), Body: []byte(invoice), Trailers: []Field{{"x-checksum", "ab"}}}, false},
		{"trailers alone", FramedRequest{Fields: append(slices.Clone(head), Field{"trailer", "x-checksum"}), Trailers: []Field{{"x-checksum", "ab"}}}, false},
	}
	for name, config := range map[string]*tls.Config{"h2c": nil, "TLS": serverTLS(cert)} {
		t.Run(name, func(t *testing.T) {
			live := RunUpstream(t, UpstreamOptions{Name: "live", TLS: config, HTTP2: true, Handler: http.HandlerFunc(booked)})
			var trusting *tls.Config
			if config != nil {
				trusting = &tls.Config{RootCAs: ca.Pool()}
			}
			client, err := DialHTTP2(t.Context(), live.Addr(), trusting)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for i, test := range tests {
				answer, err := client.Exchange(t.Context(), test.request)
				if err != nil || answer.Status() != "201" || string(answer.Body) != "booked" || len(answer.Informational) != 1 || !slices.Equal(answer.Trailers, []Field{{"x-sum", "ab12"}}) {
					t.Fatalf("%s: answer %s (%v)", test.name, answer, err)
				}
				r := live.Requests()[i]
				if !slices.Equal(r.Fields, test.request.Fields) || r.HeadEnds != test.headEnds || string(r.Body) != string(test.request.Body) || (r.TLS != nil) != (config != nil) {
					t.Errorf("%s: recorded %q, ended by its head %t, body of %d bytes, TLS %t", test.name, r.Fields, r.HeadEnds, len(r.Body), r.TLS != nil)
				}
				if got := r.Trailer.Get("X-Checksum"); (got == "ab") != (test.request.Trailers != nil) {
					t.Errorf("%s: trailer %q", test.name, got)
				}
			}
			// Several at once on the same connection.
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					if answer, err := client.Exchange(t.Context(), FramedRequest{Fields: head, Body: []byte(large)}); err != nil || answer.Status() != "201" {
						t.Errorf("at once: answer %s (%v)", answer, err)
					}
				})
			}
			group.Wait()
			if accepted, _ := live.Connections(); accepted != 1 {
				t.Errorf("%d connections, want 1", accepted)
			}
		})
	}
}
