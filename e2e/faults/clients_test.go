package faults

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// What a live upstream sees of a request.
const (
	whole  = "whole"
	never  = "never whole" // nothing, or a body that breaks off: which is a matter of timing
	absent = "nothing"
)

// A misbehaviour is a way for a client not to keep to the protocol, or to take
// its time about it.
type misbehaviour struct {
	name    string
	request func(target, host, body string) string
	how     testbed.RawOptions

	answers []int  // statuses that the client gets, without the middleware too; nil: it does not listen
	or      []int  // the same: Traefik's proxy may see first that the connection was half-closed
	live    string // what live gets, without the middleware too

	// Buffered, a body that breaks off never reaches live: the mirror answers 400
	// where Traefik's proxy, which has begun to send, would see live fail.
	buffered []int
}

// cut is the first half of a body, so that the other never comes.
func cut(body string) string { return body[:len(body)/2] }

var misbehaviours = []misbehaviour{
	{name: "slow-upload", live: whole, answers: []int{201},
		request: func(target, host, body string) string { return sized(target, host, len(body)) + body },
		how:     testbed.RawOptions{Pieces: 80, Pause: 2 * time.Millisecond}},
	{name: "slow-chunked-upload", live: whole, answers: []int{201},
		request: func(target, host, body string) string { return chunked(target, host) + chunks(body) + "0\r\n\r\n" },
		how:     testbed.RawOptions{Pieces: 80, Pause: 2 * time.Millisecond}},
	{name: "stalled-then-aborted", live: never,
		request: func(target, host, body string) string { return sized(target, host, len(body)) + cut(body) },
		how:     testbed.RawOptions{Abort: true, Linger: 20 * time.Millisecond}},
	{name: "stalled-chunked-then-aborted", live: never,
		request: func(target, host, body string) string { return chunked(target, host) + chunks(cut(body)) },
		how:     testbed.RawOptions{Abort: true, Linger: 20 * time.Millisecond}},
	{name: "aborted", live: never,
		request: func(target, host, body string) string { return sized(target, host, len(body)) + cut(body) },
		how:     testbed.RawOptions{Abort: true}},
	{name: "aborted-chunked", live: never,
		request: func(target, host, body string) string { return chunked(target, host) + chunks(cut(body)) },
		how:     testbed.RawOptions{Abort: true}},
	{name: "aborted-before-body", live: never,
		request: func(target, host, body string) string { return sized(target, host, len(body)) },
		how:     testbed.RawOptions{Abort: true}},
	{name: "oversized-chunk-size", live: never, answers: []int{500}, buffered: []int{400},
		request: func(target, host, body string) string {
			return chunked(target, host) + chunks(cut(body)) + strings.Repeat("0", 5000) + "5\r\n"
		}},
	{name: "oversized-chunk-extension", live: never, answers: []int{500}, buffered: []int{400},
		request: func(target, host, body string) string {
			return chunked(target, host) + chunks(cut(body)) + "5;ledger=" + strings.Repeat("x", 5000) + "\r\n"
		}},
	{name: "no-chunk-size", live: never, answers: []int{500}, buffered: []int{400},
		request: func(target, host, body string) string { return chunked(target, host) + chunks(cut(body)) + "Meyer\r\n" }},
	{name: "negative-chunk-size", live: never, answers: []int{500}, buffered: []int{400},
		request: func(target, host, body string) string { return chunked(target, host) + chunks(cut(body)) + "-5\r\n" }},
	{name: "chunk-longer-than-said", live: never, answers: []int{500}, buffered: []int{400},
		request: func(target, host, body string) string {
			return chunked(target, host) + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body)/2, body)
		}},
	{name: "more-than-announced", live: whole, answers: []int{201, 400}, // the excess is the next request, and none
		request: func(target, host, body string) string {
			return sized(target, host, len(body)) + body + "Meyer & Soehne\r\n\r\n"
		},
		how: testbed.RawOptions{Answers: -1}},
	{name: "request-in-the-excess", live: whole, answers: []int{201, 201},
		request: func(target, host, body string) string {
			return sized(target, host, len(body)) + body + "GET /excess HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
		},
		how: testbed.RawOptions{Answers: -1}},
	{name: "fewer-than-announced", live: never, answers: []int{502}, or: []int{499}, buffered: []int{400},
		request: func(target, host, body string) string { return sized(target, host, len(body)) + cut(body) },
		how:     testbed.RawOptions{CloseWrite: true}},
	{name: "last-chunk-missing", live: never, answers: []int{500}, or: []int{499}, buffered: []int{400},
		request: func(target, host, body string) string { return chunked(target, host) + chunks(body) },
		how:     testbed.RawOptions{CloseWrite: true}},
	{name: "head-cut", live: absent,
		request: func(target, host, body string) string { return sized(target, host, len(body))[:40] },
		how:     testbed.RawOptions{Abort: true}},
	{name: "head-cut-half-closed", live: absent, answers: []int{400},
		request: func(target, host, body string) string { return sized(target, host, len(body))[:40] },
		how:     testbed.RawOptions{CloseWrite: true, Answers: -1}},
	{name: "leaves-before-the-answer", live: whole,
		request: func(target, host, body string) string { return sized("/slow"+target, host, len(body)) + body },
		how:     testbed.RawOptions{Abort: true, Linger: 20 * time.Millisecond}},
}

// sized is a head that announces n bytes of body.
func sized(target, host string, n int) string {
	return "POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: " + strconv.Itoa(n) + "\r\n\r\n"
}

// chunked is a head that announces chunks.
func chunked(target, host string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n"
}

// chunks is the body in chunks, without the last, empty one.
func chunks(body string) string {
	var b strings.Builder
	for piece := range slices.Chunk([]byte(body), 100) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
	}
	return b.String()
}

// A counter is a Traefik with routers "plain", "buffer" and "stream" before one
// live upstream. The last two are named after their mirrors' bodyMode; both mirror
// to one shadow.
type counter struct {
	*testbed.Traefik
	live, shadow *testbed.Upstream
	ids          atomic.Int64
}

func openCounter(t *testing.T, maxInFlight int) *counter {
	t.Helper()
	c := &counter{
		live: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			if strings.HasPrefix(req.RequestURI, "/slow") {
				<-req.Context().Done() // the client has left
				return
			}
			rw.WriteHeader(http.StatusCreated)
		})}),
		shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"}),
	}
	dynamic := testbed.Dynamic{}.
		Service("billing", c.live.URL()).
		Router("plain", testbed.RuleOf("plain"), "billing")
	for _, mode := range []string{"buffer", "stream"} {
		dynamic.Mirror(mode, testbed.Values{"url": c.shadow.URL(), "maxInFlight": maxInFlight, "bodyMode": mode, "timeout": "60s"}).
			Router(mode, testbed.RuleOf(mode), "billing", mode)
	}
	c.Traefik = testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: dynamic})
	return c
}

// invoice returns a target and a body that no other request has.
func (c *counter) invoice() (target, body string) {
	id := c.ids.Add(1)
	return fmt.Sprintf("/invoices/%d", id), fmt.Sprintf(`{"invoice":"2024-%06d","positions":[%s],"total":"119.00"}`, id, strings.Repeat(`"Meyer & Söhne",`, 20)+`""`)
}

// misbehave does it once, at the router, and complains unless the client gets
// the statuses that it should. It returns what was, or would have been, sent.
func (c *counter) misbehave(ctx context.Context, m misbehaviour, router string) (target, body string, err error) {
	target, body = c.invoice()
	answers, err := testbed.Exchange(ctx, c.Addr(testbed.Web), []byte(m.request(target, testbed.HostOf(router), body)), m.how)
	if err != nil {
		return target, body, err
	}
	var got []int
	for _, final := range answers.Final {
		got = append(got, final.StatusCode)
	}
	want, or := m.answers, m.or
	if router == "buffer" && m.buffered != nil {
		want, or = m.buffered, nil
	}
	if !slices.Equal(got, want) && (or == nil || !slices.Equal(got, or)) {
		return target, body, fmt.Errorf("%s: answered %d, want %d: %.200q", router, got, want, answers.Raw)
	}
	if strings.Contains(m.name, "before-the-answer") {
		target = "/slow" + target
	}
	return target, body, nil
}

// quiet waits until Traefik is done with everything but connections that it
// keeps, and with it live and shadow.
func (c *counter) quiet(t *testing.T, base figures) {
	t.Helper()
	settle(t, c.Traefik, base, func() int {
		_, live := c.live.Connections()
		_, shadow := c.shadow.Connections()
		return live + shadow
	})
}

// fill hangs the shadow, sends n requests, waits until all of them are with it,
// which shows that there were n free places, and sends some more.
func (c *counter) fill(t *testing.T, router string, n int) {
	t.Helper()
	c.shadow.Reset()
	release := c.shadow.Hang()
	defer release()
	send := func() {
		_, _, err := c.misbehave(t.Context(), misbehaviour{answers: []int{201}, request: func(target, host, body string) string {
			return sized(target, host, len(body)) + body
		}}, router)
		if err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		send()
	}
	testbed.Eventually(t, patience, func() error {
		if got := c.shadow.Count(); got < n {
			return fmt.Errorf("%s: %d of %d requests have found a place", router, got, n)
		}
		return nil
	})
	for range 3 * n {
		send()
	}
}

// Whatever a client does, it and live see what they would see without the
// middleware, but for bodies that break off in buffer mode; and the shadow gets
// whole bodies only.
func TestClientsThatMisbehave(t *testing.T) {
	c := openCounter(t, 100)
	routers := []string{"plain", "buffer", "stream"}
	for _, router := range routers {
		if _, _, err := c.misbehave(t.Context(), misbehaviours[0], router); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.shadow.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	base := measure(t, c.Traefik)

	type sent struct {
		misbehaviour
		router, body string
	}
	all := map[string]sent{} // by target
	for _, m := range misbehaviours {
		if m.name == "leaves-before-the-answer" {
			m.how.Linger = time.Second // live is to have the request, which is looked for below
		}
		t.Run(m.name, func(t *testing.T) {
			for _, router := range routers {
				for range 5 {
					target, body, err := c.misbehave(t.Context(), m, router)
					if err != nil {
						t.Fatal(err)
					}
					all[target] = sent{m, router, body}
				}
			}
		})
	}
	c.quiet(t, base)

	for _, u := range []*testbed.Upstream{c.live, c.shadow} {
		got := map[string]int{}
		for _, r := range u.Requests() {
			sent, known := all[r.RequestURI]
			if !known {
				continue // the warm-up, and the request in the excess
			}
			got[r.RequestURI]++
			isWhole := r.BodyErr == nil && string(r.Body) == sent.body
			if !isWhole && (u == c.shadow || sent.live != never) {
				t.Errorf("%s: %s: got %d bytes of %d (%v), want whole bodies only", sent.name, sent.router, r.BodySize, len(sent.body), r.BodyErr)
			}
			if isWhole && sent.live != whole {
				t.Errorf("%s: %s: got a whole body, of which half was sent", sent.name, sent.router)
			}
			if r.BodyErr == nil && !isWhole {
				t.Errorf("%s: %s: got %d bytes of %d that pass for a whole body", sent.name, sent.router, r.BodySize, len(sent.body))
			}
			if u == c.live && sent.router == "buffer" && !isWhole {
				t.Errorf("%s: live got a request from the buffer whose body broke off, want none", sent.name)
			}
		}
		for target, sent := range all {
			want := 0
			if sent.live == whole && (u == c.live || sent.router != "plain") {
				want = 1
			}
			if n := got[target]; n != want && !(u == c.live && sent.live == never && n <= 1) {
				t.Errorf("%s: %s: %d requests for %s, want %d", sent.name, sent.router, n, target, want)
			}
		}
	}
	// Smuggled or not, it is a request like any other, with the middleware too.
	excess := slices.DeleteFunc(c.live.Requests(), func(r testbed.Request) bool { return r.RequestURI != "/excess" })
	if want := 5 * len(routers); len(excess) != want {
		t.Errorf("live got %d requests that came in the excess, want %d", len(excess), want)
	}
}

// However often clients misbehave, no place in flight is lost, and neither are
// descriptors nor goroutines.
func TestMisbehavingClientsTakeNoPlaces(t *testing.T) {
	const (
		places = 5
		times  = 1000 // each
	)
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := openCounter(t, places)
			if _, _, err := c.misbehave(t.Context(), misbehaviours[0], mode); err != nil {
				t.Fatal(err)
			}
			if _, err := c.shadow.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			base := measure(t, c.Traefik)
			for _, m := range misbehaviours {
				c.often(t, m, mode, times)
				// Requests whose client has left may hold their places for a moment.
				c.quiet(t, base)
				c.shadow.Reset()
				c.live.Reset()
			}
			c.fill(t, mode, places)
			c.quiet(t, base)
			// By now those would have arrived that found a place too many.
			if got := c.shadow.Count(); got != places {
				t.Errorf("%s: %d requests found a place while the shadow hung, want %d", mode, got, places)
			}
		})
	}
}

// often does it n times, on some connections at once.
func (c *counter) often(t *testing.T, m misbehaviour, router string, n int) {
	t.Helper()
	together := 4 // so that most find a place
	if m.how.Pause+m.how.Linger > 0 {
		together = 16
	}
	var left, failed atomic.Int64
	left.Store(int64(n))
	var group sync.WaitGroup
	for range together {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if _, _, err := c.misbehave(t.Context(), m, router); err != nil && failed.Add(1) <= 3 {
					t.Errorf("%s: %v", m.name, err)
				}
			}
		})
	}
	group.Wait()
	if n := failed.Load(); n > 3 {
		t.Errorf("%s: %d in all", m.name, n)
	}
}
