package faults

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// unfinished are answers that begin and do not end by themselves: what the shadow
// sends, whether it closes the connection then, and what the exchange counts as.
var unfinished = []struct {
	name    string
	answer  string
	closes  bool
	failure string // the kind; "": it counts as mirrored
}{
	{name: "events", answer: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"},
	{name: "events, one of them there", answer: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n14\r\ndata: invoice booked\r\n"},
	{name: "events until the connection closes", answer: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"},
	{name: "stalls", answer: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"invoice\":", failure: "timeout"},
	{name: "stalls, in chunks", answer: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"invoice\":\r\n", failure: "timeout"},
	{name: "stalls behind its head", answer: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n", failure: "timeout"},
	{name: "breaks off", answer: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"invoice\":", closes: true, failure: "protocol"},
	{name: "breaks off, in chunks", answer: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"invoice\":\r\n", closes: true, failure: "protocol"},
}

// runUnfinished starts a shadow that answers what is below /events with the answer,
// and anything else properly. Its connections are those that secure makes of the
// plain ones; got says how many requests it has answered properly.
func runUnfinished(t *testing.T, answer string, closes bool, secure func(net.Conn) net.Conn) (shadow *ward, got func(middleware string) int) {
	t.Helper()
	w := &ward{got: map[string]int{}}
	w.RawUpstream = testbed.RunRawUpstream(t, func(conn net.Conn) {
		conn = secure(conn)
		for br := bufio.NewReader(conn); ; {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.RequestURI != "/events" {
				w.mu.Lock()
				w.got[req.Header.Get(testbed.MarkerHeader)]++
				w.mu.Unlock()
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				continue
			}
			io.WriteString(conn, answer)
			if !closes {
				io.Copy(io.Discard, br) // until the mirror leaves
			}
			return
		}
	})
	return w, w.count
}

// A shadow that has begun to answer is not sick. Where the answer is a stream of
// events, which has no end to wait for, the request was mirrored; where it breaks off
// or stalls, the copy is lost. In neither case is the shadow left alone.
func TestShadowsThatBeginToAnswerAreNotLeftAlone(t *testing.T) {
	const (
		asked  = 12 // more than it takes to leave a shadow alone
		router = "shadow-billing"
	)
	plain := func(conn net.Conn) net.Conn { return conn }
	cert, certPEM := selfSigned(t, time.Now().Add(24*time.Hour))
	overTLS := func(conn net.Conn) net.Conn {
		return tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	for _, transport := range []struct {
		name   string
		scheme string
		secure func(net.Conn) net.Conn
	}{
		{"http", "http://", plain},
		{"https", "https://", overTLS},
	} {
		for _, comparing := range []bool{false, true} {
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			dynamic := testbed.Dynamic{}.Service("billing", live.URL()).Report()
			got := make([]func(string) int, len(unfinished))
			names := make([]string, len(unfinished))
			for i, test := range unfinished {
				var shadow *ward
				shadow, got[i] = runUnfinished(t, test.answer, test.closes, transport.secure)
				options := testbed.Values{}
				if comparing {
					options = testbed.Comparing()
				}
				options["url"] = transport.scheme + shadow.Addr()
				options["timeout"] = "2s"
				if transport.name == "https" {
					options["tls"] = testbed.Values{"rootCAs": []string{certPEM}}
				}
				names[i] = fmt.Sprintf("%s-%d", router, i)
				dynamic.Mirror(names[i], options).Router(names[i], testbed.RuleOf(names[i]), "billing", names[i])
			}
			traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: dynamic})
			for _, name := range names {
				for range asked {
					get(t, traefik, name, "/events")
				}
			}
			// What is over: mirrored, failed, or dropped.
			allOver := func(n int) string {
				var text string
				testbed.Eventually(t, patience, func() error {
					text = metrics(t, traefik)
					for _, name := range names {
						if got := metricIn(t, text, name, "mirror_eligible_requests_total"); got != n {
							return fmt.Errorf("%s: %d requests are over, want %d", name, got, n)
						}
					}
					return nil
				})
				return text
			}
			text := allOver(asked)
			const more = 10
			for _, name := range names {
				for range more {
					get(t, traefik, name, "/invoices")
				}
			}
			allOver(asked + more)
			for i, test := range unfinished {
				t.Run(fmt.Sprintf("%s, comparing %t, %s", transport.name, comparing, test.name), func(t *testing.T) {
					name := names[i]
					want := [2]int{asked, 0}
					kind := []string{}
					if test.failure != "" {
						want = [2]int{0, asked}
						kind = append(kind, `kind="`+test.failure+`"`)
					}
					if got := [2]int{
						metricIn(t, text, name, "mirror_mirrored_requests_total"),
						metricIn(t, text, name, "mirror_failed_requests_total", kind...),
					}; got != want {
						t.Errorf("%d mirrored and %d failed %q, want %d and %d", got[0], got[1], kind, want[0], want[1])
					}
					if metricIn(t, text, name, "mirror_paused") != 0 {
						t.Errorf("the shadow, which has begun to answer, is left alone")
					}
					if n := got[i](name); n != more {
						t.Errorf("the shadow got %d of the %d requests that followed, want all", n, more)
					}
					if lines := logged(traefik, name); test.failure == "" && len(lines) > 0 {
						t.Errorf("logged %q, want nothing", lines)
					}
				})
			}
		}
	}
}
