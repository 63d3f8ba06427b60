package faults

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// lengthy are requests that a mirror cannot be done with while the client or live
// takes its time: what options make it so, and what the client sends of it, which is
// all that it ever sends.
var lengthy = []struct {
	name    string
	options testbed.Values
	request func(target, host string) string
}{
	{"an upload that streams", testbed.Values{"bodyMode": "stream"},
		func(target, host string) string { return chunked(target, host) + chunks(testbed.Payload(300)) }},
	{"an upload of a known length that streams", testbed.Values{"bodyMode": "stream"},
		func(target, host string) string { return sized(target, host, 10_000) + testbed.Payload(300) }},
	{"a small upload that streams", testbed.Values{"bodyMode": "stream"},
		func(target, host string) string { return sized(target, host, 600) + testbed.Payload(300) }},
	{"an upload that is buffered", testbed.Values{},
		func(target, host string) string { return sized(target, host, 10_000) + testbed.Payload(300) }},
	{"an upload in chunks that is buffered", testbed.Values{},
		func(target, host string) string { return chunked(target, host) + chunks(testbed.Payload(300)) }},
	{"a large body that live is slow to answer", testbed.Values{},
		func(target, host string) string {
			return sized(target, host, 100<<10) + testbed.Payload(100<<10)
		}},
	{"a large body that streams and live is slow to answer", testbed.Values{"bodyMode": "stream"},
		func(target, host string) string {
			return sized(target, host, 100<<10) + testbed.Payload(100<<10)
		}},
	{"a body above the limit that live is slow to answer", testbed.Values{"maxBodySize": 1000},
		func(target, host string) string {
			return chunked(target, host) + chunks(testbed.Payload(3000)) + "0\r\n\r\n"
		}},
	{"an upload above the limit", testbed.Values{"maxBodySize": 1000},
		func(target, host string) string { return chunked(target, host) + chunks(testbed.Payload(3000)) }},
}

// A shadow that was sick and is well is mirrored to with the next request, whatever
// other requests are under way when it is time to try it: one that cannot be sent
// leaves the turn to another, and one that was sent has tried the shadow when that has
// answered, live or not.
func TestLengthyRequestsDoNotKeepAShadowLeftAlone(t *testing.T) {
	over := make(chan struct{})
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Streaming: true, Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.RequestURI, "/lengthy") {
			io.Copy(io.Discard, req.Body)
			select {
			case <-over:
			case <-req.Context().Done():
			}
		}
	})})
	t.Cleanup(func() { close(over) }) // before live is stopped, which waits for nobody
	type mirror struct {
		name, router string
		shadow       *ward
		request      func(target, host string) string
	}
	var mirrors []mirror
	dynamic := testbed.Dynamic{}.Service("billing", live.URL()).Report()
	for _, comparing := range []bool{false, true} {
		for _, test := range lengthy {
			m := mirror{
				name:    fmt.Sprintf("%s, comparing %t", test.name, comparing),
				router:  fmt.Sprintf("shadow-%d", len(mirrors)),
				shadow:  runWard(t, func(net.Conn, <-chan struct{}) {}), // closes at once
				request: test.request,
			}
			options := testbed.Values{"url": m.shadow.URL()}
			for name, value := range test.options {
				options[name] = value
			}
			if comparing {
				options["compare"] = testbed.Values{}
			}
			dynamic.Mirror(m.router, options).Router(m.router, testbed.RuleOf(m.router), "billing", m.router)
			mirrors = append(mirrors, m)
		}
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: dynamic})
	for _, m := range mirrors {
		getUntilPaused(t, traefik, m.router)
	}
	for _, m := range mirrors {
		m.shadow.well.Store(true)
	}

	// The first pauses last a second, a fifth longer or shorter. Whenever one is over,
	// the first request that comes is a lengthy one: nothing else is sent until then.
	for i := range 20 {
		for _, m := range mirrors {
			conn, err := net.Dial("tcp", traefik.Addr(testbed.Web))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := io.WriteString(conn, m.request(fmt.Sprintf("/lengthy/%d", i), testbed.HostOf(m.router))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}

	left := slices.Clone(mirrors)
	for deadline := time.Now().Add(patience); len(left) > 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, m := range left {
			get(t, traefik, m.router, "/invoices")
		}
		left = slices.DeleteFunc(left, func(m mirror) bool { return metric(t, traefik, m.router, "mirror_paused") == 0 })
	}
	for _, m := range left {
		t.Errorf("%s: the shadow, which is well, is left alone for %s while the requests last", m.name, patience)
	}
	if t.Failed() {
		return
	}
	for _, m := range mirrors {
		const more = 10
		before := m.shadow.count(m.router)
		for range more {
			get(t, traefik, m.router, "/invoices")
		}
		testbed.Eventually(t, patience, func() error {
			if got := m.shadow.count(m.router) - before; got < more {
				return fmt.Errorf("%s: the shadow got %d of %d requests after it was tried", m.name, got, more)
			}
			return nil
		})
	}
}
