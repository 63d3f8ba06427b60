package mirror

import (
	"fmt"
	"math"
	"net/http"
	"testing"
)

// The hash is a promise: replicas and people's scripts depend on it. These
// positions were computed with sha256sum.
func TestPositionIsTheDocumentedHash(t *testing.T) {
	tests := []struct {
		value string
		want  float64
	}{
		{"C-1007", 100 * float64(0x082f1a00) / (1 << 32)},
		{"C-1008", 100 * float64(0xa2188018) / (1 << 32)},
		{"192.0.2.1", 100 * float64(0x37fcff24) / (1 << 32)},
	}
	for _, tt := range tests {
		if got := position(tt.value); math.Abs(got-tt.want) > 1e-7 {
			t.Errorf("position(%q) = %v, want %v", tt.value, got, tt.want)
		}
	}
}

func TestPositionsAreSpreadEvenly(t *testing.T) {
	const customers = 10000
	for _, percent := range []float64{1, 10, 50} {
		n := 0
		for i := 0; i < customers; i++ {
			if position(fmt.Sprintf("C-%05d", i)) < percent {
				n++
			}
		}
		want := customers * percent / 100
		// Five standard deviations.
		if slack := 5 * math.Sqrt(want*(1-percent/100)); math.Abs(float64(n)-want) > slack {
			t.Errorf("%v percent of %d customers are %d, want %.0f give or take %.0f", percent, customers, n, want, slack)
		}
	}
}

func TestSampleBy(t *testing.T) {
	request := func(customer, session, address string) *http.Request {
		req := postInvoice()
		req.RemoteAddr = address
		if customer != "" {
			req.Header.Set("X-Customer-Id", customer)
		}
		if session != "" {
			req.AddCookie(&http.Cookie{Name: "session", Value: session})
		}
		return req
	}
	tests := []struct {
		by   string
		req  *http.Request
		want string
	}{
		{"", request("C-1007", "s1", "192.0.2.1:40000"), ""},
		{"header:X-Customer-Id", request("C-1007", "s1", "192.0.2.1:40000"), "C-1007"},
		{"header:X-Customer-Id", request("", "s1", "192.0.2.1:40000"), ""},
		{"header:Host", request("", "", "192.0.2.1:40000"), "example.com"}, // net/http keeps it out of the header
		{"cookie:session", request("C-1007", "s1", "192.0.2.1:40000"), "s1"},
		{"cookie:session", request("C-1007", "", "192.0.2.1:40000"), ""},
		{"clientIP", request("", "", "192.0.2.1:40000"), "192.0.2.1"},
		{"clientIP", request("", "", "[2001:db8::1]:40000"), "2001:db8::1"},
		{"clientIP", request("", "", "@"), ""},
	}
	for _, tt := range tests {
		if got := sampleValue(tt.req, tt.by); got != tt.want {
			t.Errorf("by %q: got %q, want %q", tt.by, got, tt.want)
		}
	}
}

func TestSamplingIsStickyAndRandomOtherwise(t *testing.T) {
	o := &options{percent: 30, sampleBy: "header:X-Customer-Id"}
	unchosen := o.unchosen(&counts{})
	chosen := func(req *http.Request) bool { return unchosen(req) == nil }
	in := 0
	for i := 0; i < 200; i++ {
		req := postInvoice()
		req.Header.Set("X-Customer-Id", fmt.Sprint("C-", i))
		first := chosen(req)
		for again := 0; again < 5; again++ {
			if chosen(req) != first {
				t.Fatalf("customer %d was mirrored once and once not", i)
			}
		}
		if first {
			in++
		}
	}
	if in < 30 || in > 90 {
		t.Errorf("%d of 200 customers are in at 30 percent", in)
	}
	in = 0
	for i := 0; i < 2000; i++ {
		if chosen(postInvoice()) {
			in++
		}
	}
	if in < 480 || in > 720 {
		t.Errorf("%d of 2000 requests without a customer are in at 30 percent", in)
	}
}

func TestEverythingIsChosenWithoutAsking(t *testing.T) {
	if (&options{percent: 100}).unchosen(&counts{}) != nil {
		t.Errorf("with all methods and 100 percent a function is called for each request, want none")
	}
}
