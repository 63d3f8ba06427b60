package testbed

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestCheckBooked(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string // a part of the complaint; empty for none
	}{
		{"its own answer", Book, ""},
		{"another's", func(rw http.ResponseWriter, req *http.Request) {
			req.Body = io.NopCloser(strings.NewReader(invoice + " "))
			Book(rw, req)
		}, "answered 201 \"booked "},
		{"another status", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }, "answered 502"},
		{"to the host, with the header", func(rw http.ResponseWriter, req *http.Request) {
			if req.Host != "billing.example.com" || req.Header.Get("X-Request-Id") != "7f3a" {
				rw.WriteHeader(http.StatusNotFound)
			}
			Book(rw, req)
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u := RunUpstream(t, UpstreamOptions{Name: "live", Handler: test.answer})
			err := CheckBooked(http.DefaultClient, u.URL()+"/invoices", "billing.example.com", http.Header{"X-Request-Id": {"7f3a"}}, []byte(invoice))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("complaint %v, want %q", err, test.want)
			}
		})
	}
}
