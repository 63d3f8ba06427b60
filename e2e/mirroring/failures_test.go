package mirroring

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// What a log must never show, wherever it came from.
const (
	secretToken   = "Bearer-4f1c7a9e"
	secretSession = "session-8d2b6e03"
	secretBody    = "IBAN-DE02120300000000202051"
	secretAnswer  = "answer-5c9d1f77"
)

// Whatever becomes of the shadow, the client gets live's answer, and the log
// gets one line, in which there is nothing of anybody's.
func TestShadowsThatFail(t *testing.T) {
	answer := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			conn.Read(make([]byte, 64<<10))
			io.WriteString(conn, text)
		}
	}
	// A port that was somebody's a moment ago refuses connections.
	refusing := testbed.RunRawUpstream(t, nil)

	tests := []struct {
		name string
		url  string
		logs string // "" where the exchange succeeds
	}{
		{"refused", refusing.URL(), "connection refused"},
		{"hangs", testbed.RunRawUpstream(t, func(conn net.Conn) { io.Copy(io.Discard, conn) }).URL(), "no whole answer within the timeout"},
		{"never-accepts", testbed.RunRawUpstream(t, nil).URL(), "no whole answer within the timeout"},
		{"closes", testbed.RunRawUpstream(t, func(net.Conn) {}).URL(), "the shadow failed"},
		{"resets", testbed.RunRawUpstream(t, func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }).URL(), "the shadow failed"},
		{"no-http", testbed.RunRawUpstream(t, answer("220 billing-next ESMTP "+secretAnswer+"\r\n")).URL(), "the shadow failed"},
		{"bad-status", testbed.RunRawUpstream(t, answer("HTTP/1.1 "+secretAnswer+"\r\n\r\n")).URL(), "the shadow failed"},
		{"bad-header", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nSet-Cookie "+secretAnswer+"\r\n\r\n")).URL(), "malformed header in the answer"},
		{"bad-header-value", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nSet-Cookie: "+secretAnswer+"\x00\r\nContent-Length: 0\r\n\r\n")).URL(), "the shadow failed"},
		{"bad-length", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nContent-Length: "+secretAnswer+"\r\n\r\n")).URL(), "the shadow failed"},
		{"bad-encoding", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: "+secretAnswer+"\r\n\r\n")).URL(), "the shadow failed"},
		{"bad-chunk", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+secretAnswer+"\r\n")).URL(), "the shadow failed"},
		{"bad-trailer", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n0\r\n"+secretAnswer+"\r\n\r\n")).URL(), "the shadow failed"},
		{"large-head", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nX-Ledger: "+strings.Repeat(secretAnswer, 1<<16)+"\r\n\r\n")).URL(), "the shadow failed"},
		{"cut-short", testbed.RunRawUpstream(t, answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+secretAnswer)).URL(), "the shadow closed the connection before the end of its answer"},
		{"switches", testbed.RunRawUpstream(t, answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+secretAnswer+"\r\n\r\n")).URL(), "the shadow failed"},
		{"endless-hints", testbed.RunRawUpstream(t, answer(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: "+secretAnswer+"\r\n\r\n", 10_000))).URL(), "the shadow failed"},
		{"500", testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "500", Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			http.Error(rw, secretAnswer, http.StatusInternalServerError)
		})}).URL(), ""},
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	dynamic := billing(live)
	for _, test := range tests {
		timeout := "20s"
		if strings.Contains(test.logs, "timeout") {
			timeout = "500ms"
		}
		dynamic.Mirror(test.name, testbed.Values{"url": test.url, "timeout": timeout}).
			Router(test.name, testbed.RuleOf(test.name), "billing", test.name)
	}
	// ERROR is what Traefik shows where nobody has set a level.
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: dynamic})
	refusing.Stop() // when nobody here asks for a port any more, who could get this one

	send := func(host, target string) string {
		return sized("POST", target, host, secretBody, "Authorization: "+secretToken, "Cookie: session="+secretSession)
	}
	const n = 9 // one more, and the mirror leaves the shadow alone and says so
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for i := range n {
				target := fmt.Sprintf("/invoices/%d?token=%s", i, secretToken)
				want := expect(t, traefik, http.StatusOK, send(plainHost, target))
				sameAnswers(t, exchange(t, traefik, send(testbed.HostOf(test.name), target)), want)
			}
		})
	}
	for _, test := range tests {
		begins := "mirror: middleware " + testbed.Marker(test.name) + ": "
		if test.logs != "" {
			if err := traefik.WaitLog(testbed.Within(t, patience), begins); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}
	}
	log := traefik.Log()
	for _, test := range tests {
		begins := "mirror: middleware " + testbed.Marker(test.name) + ": "
		want := 1
		if test.logs == "" {
			want = 0
		}
		if got := strings.Count(log, begins); got != want {
			t.Errorf("%s: %d lines in the log, want %d", test.name, got, want)
		}
		if line := lineWith(log, begins); !strings.Contains(line, test.logs) {
			t.Errorf("%s: the log says %q, want %q in it", test.name, line, test.logs)
		}
	}
	// Traefik's own server and proxy write lines too; the plugin's are its own.
	for _, secret := range []string{secretToken, secretSession, secretBody, secretAnswer} {
		if line := lineWith(log, secret); line != "" {
			t.Errorf("the log shows %q: %q", secret, line)
		}
	}
}

// lineWith returns the first line of the log that contains text.
func lineWith(log, text string) string {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// A shadow that comes and goes is mirrored to whenever it is there.
func TestShadowThatComesBack(t *testing.T) {
	b := run(t, setup{})
	for round := range 3 {
		target := fmt.Sprintf("/invoices/%d", round)
		expect(t, b.Traefik, http.StatusOK, sized("POST", target, mirrorHost, invoice))
		testbed.Eventually(t, patience, func() error {
			if count(b.shadow.Requests(), target) != 1 {
				return errors.New("the shadow did not get " + target)
			}
			return nil
		})
		b.shadow.Stop()
		for i := range 5 {
			expect(t, b.Traefik, http.StatusOK, sized("POST", fmt.Sprintf("/lost/%d", i), mirrorHost, invoice))
		}
		if err := b.WaitLog(testbed.Within(t, patience), "the shadow failed"); err != nil {
			t.Fatal(err)
		}
		if err := b.shadow.Restart(); err != nil {
			t.Fatal(err)
		}
		// The last of the lost must not meet the shadow that is back.
		b.copies(t)
	}
	if n := strings.Count(b.Log(), "the shadow failed"); n != 1 {
		t.Errorf("%d lines in the log, want one for the first failure", n)
	}
	if n := b.live.Count(); n < 18 {
		t.Errorf("live got %d requests, want all 18", n)
	}
}

// A request that a shadow has read and not answered may have done its work: it
// is not sent again, though net/http would where it takes that to be safe.
func TestNothingIsSentTwice(t *testing.T) {
	const key = "Idempotency-Key: 2024-00117"
	tests := []struct {
		name    string
		request func(target, host string) string
	}{
		{"get", func(target, host string) string { return head("GET", target, host) }},
		{"head", func(target, host string) string { return head("HEAD", target, host) }},
		{"delete", func(target, host string) string { return head("DELETE", target, host) }},
		{"get-body", func(target, host string) string { return sized("GET", target, host, invoice) }},
		{"post-key", func(target, host string) string { return sized("POST", target, host, invoice, key) }},
		{"post-key-empty", func(target, host string) string { return sized("POST", target, host, "", key) }},
		{"put-x-key-empty", func(target, host string) string { return sized("PUT", target, host, "", "X-"+key) }},
		{"put-key-chunked", func(target, host string) string { return chunked("PUT", target, host, invoice, 20, key) }},
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	dynamic := billing(live)
	shadows := map[string]*forgetful{}
	for _, test := range tests {
		shadows[test.name] = runForgetful(t)
		dynamic.Mirror(test.name, testbed.Values{"url": shadows[test.name].url}).
			Router(test.name, testbed.RuleOf(test.name), "billing", test.name)
	}
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: dynamic})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := 0
			testbed.Eventually(t, patience, func() error {
				i++
				expect(t, traefik, http.StatusOK, test.request(fmt.Sprintf("/invoices/%d", i), testbed.HostOf(test.name)))
				if most := shadows[test.name].most(); most > 1 || strings.Contains(traefik.Log(), testbed.Marker(test.name)+": the shadow failed") {
					return nil
				}
				return errors.New("no exchange with the shadow has failed")
			})
			if most := shadows[test.name].most(); most > 1 {
				t.Errorf("the shadow got a request %d times, want once", most)
			}
		})
	}
}

// A forgetful shadow answers the first request of a connection, reads the
// second, and closes the connection.
type forgetful struct {
	url string

	mu   sync.Mutex
	seen map[string]int // by target
}

func runForgetful(t *testing.T) *forgetful {
	f := &forgetful{seen: map[string]int{}}
	f.url = testbed.RunRawUpstream(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		for answered := false; ; answered = true {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			f.mu.Lock()
			f.seen[req.RequestURI]++
			f.mu.Unlock()
			if answered {
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}).URL()
	return f
}

// most returns how often the shadow got the request that it got most often.
func (f *forgetful) most() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := 0
	for _, n := range f.seen {
		most = max(most, n)
	}
	return most
}
