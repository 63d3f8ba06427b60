package mirroring

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A body that is known to be too large is not even read: live has its beginning
// while the client still holds back its end.
func TestKnownLengthAboveTheLimitStreams(t *testing.T) {
	body := testbed.Payload(4097)
	b, begun := runStreaming(t, testbed.Values{"maxBodySize": "4KiB"})
	c := dial(t, b.Traefik)
	c.say(head("POST", "/invoices", mirrorHost, "Content-Length: "+strconv.Itoa(len(body))) + body[:100])
	if got := testbed.Await(t, patience, "live has not begun", begun); got != body[:100] {
		t.Errorf("live's first bytes %q, want %q", got, body[:100])
	}
	c.say(body[100:])
	if resp := c.hear("POST"); resp.StatusCode != http.StatusOK {
		t.Errorf("answer %s, want 200", resp.Status)
	}
	if r := recorded(t, b.live, 1)[0]; string(r.Body) != body || r.ContentLength != int64(len(body)) {
		t.Errorf("live got %d bytes and Content-Length %d, want the %d that were sent", r.BodySize, r.ContentLength, len(body))
	}
	if got := b.copies(t); len(got) > 0 {
		t.Errorf("the shadow got %s", testbed.Lines(got))
	}
}

// runStreaming is run with a live upstream that tells the first 100 bytes of a
// POST's body while it reads on.
func runStreaming(t *testing.T, options testbed.Values) (*bench, <-chan string) {
	t.Helper()
	begun := make(chan string, 1)
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost {
			return
		}
		first := make([]byte, 100)
		n, _ := io.ReadFull(req.Body, first)
		begun <- string(first[:n])
		io.Copy(io.Discard, req.Body)
	})
	return run(t, setup{options: options, live: testbed.UpstreamOptions{Streaming: true, Handler: live, BodyLimit: -1}}), begun
}

func TestBodiesAboutTheLimit(t *testing.T) {
	tests := []struct {
		limit    string
		size     int
		mirrored bool
	}{
		{"4096", 4095, true},
		{"4096", 4096, true},
		{"4096", 4097, false},
		{"4096", 100_000, false},
		{"0", 0, true},
		{"0", 1, false},
		{"-1", 3 << 20, true},
		{"1MiB", 1 << 20, true},
		{"1MiB", 1<<20 + 1, false},
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	dynamic := billing(live)
	for _, limit := range []string{"4096", "0", "-1", "1MiB"} {
		name := "limit-" + limit
		dynamic.Mirror(name, testbed.Values{"url": shadow.URL(), "maxBodySize": limit}).
			Router(name, testbed.HostRule(name+".example.com"), "billing", name)
	}
	b := &bench{Traefik: testbed.MustServe(t, testbed.Options{Dynamic: dynamic.
		Mirror(middleware, testbed.Values{"url": shadow.URL()}).
		Router("mirrored", testbed.HostRule(mirrorHost), "billing", middleware)}), live: live, shadow: shadow}
	for _, test := range tests {
		for framing, frame := range map[string]func(method, target, host, body string) string{
			"Content-Length": func(method, target, host, body string) string { return sized(method, target, host, body) },
			"chunked":        func(method, target, host, body string) string { return chunked(method, target, host, body, 1000) },
		} {
			t.Run(fmt.Sprintf("%d of %s, %s", test.size, test.limit, framing), func(t *testing.T) {
				live.Reset()
				shadow.Reset()
				body := testbed.Payload(test.size)
				expect(t, b.Traefik, http.StatusOK, frame("POST", "/invoices", "limit-"+test.limit+".example.com", body))
				if r := recorded(t, live, 1)[0]; r.BodySize != int64(test.size) || !strings.HasPrefix(body, string(r.Body)) || r.BodyErr != nil {
					t.Errorf("live got %d bytes (%v), want the %d that were sent", r.BodySize, r.BodyErr, test.size)
				}
				if test.mirrored {
					recorded(t, shadow, 1)
				}
				copied := b.copies(t)
				if (len(copied) == 1) != test.mirrored {
					t.Fatalf("the shadow got %s, want mirrored %t", testbed.Lines(copied), test.mirrored)
				}
				if test.mirrored && (copied[0].BodySHA256 != live.Requests()[0].BodySHA256 || copied[0].BodySize != int64(test.size)) {
					t.Errorf("the shadow got %d bytes, want live's %d", copied[0].BodySize, test.size)
				}
			})
		}
	}
}

// brokenBodies are requests whose bodies end before their time, when the client
// closes its connection, or cannot be understood.
var brokenBodies = []struct {
	name    string
	request string
	closes  bool
}{
	{"cut short, Content-Length", head("POST", "/broken", mirrorHost, "Content-Length: 1000") + invoice, true},
	{"cut short, no body at all", head("POST", "/broken", mirrorHost, "Content-Length: 1000"), true},
	{"cut short, chunked", head("POST", "/broken", mirrorHost, "Transfer-Encoding: chunked") + chunks(invoice, 30), true},
	{"cut short within a chunk", head("POST", "/broken", mirrorHost, "Transfer-Encoding: chunked") + "1000\r\n" + invoice, true},
	{"a chunk's length is no number", head("POST", "/broken", mirrorHost, "Transfer-Encoding: chunked") + chunks(invoice, 30) + "zz\r\n" + invoice + "\r\n0\r\n\r\n", false},
	{"a chunk is longer than it says", head("POST", "/broken", mirrorHost, "Transfer-Encoding: chunked") + "5\r\n" + invoice + "\r\n0\r\n\r\n", false},
}

// A body that cannot be read is answered 400, reaches nobody, and keeps no
// place: there is but one.
func TestBrokenBodies(t *testing.T) {
	b := run(t, setup{options: testbed.Values{"maxInFlight": "1"}})
	for _, test := range brokenBodies {
		t.Run(test.name, func(t *testing.T) {
			// The sending half is closed, so that the answer can be read.
			answers, err := testbed.Exchange(t.Context(), b.Addr(testbed.Web), []byte(test.request), testbed.RawOptions{CloseWrite: test.closes})
			if err != nil {
				t.Fatal(err)
			}
			if answers.Status() != http.StatusBadRequest {
				t.Errorf("answer %d, want 400", answers.Status())
			}
		})
	}
	expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
	if r := recorded(t, b.shadow, 1)[0]; string(r.Body) != invoice {
		t.Errorf("the shadow got body %q, want %q", r.Body, invoice)
	}
	if n := count(b.live.Requests(), "/broken"); n > 0 {
		t.Errorf("live got %d requests with a broken body", n)
	}
}

// The same with clients that are gone altogether, as many as there are places.
func TestClientsThatLeaveMidBody(t *testing.T) {
	const each = 3
	n := each * len(brokenBodies)
	b := run(t, setup{options: testbed.Values{"maxInFlight": n, "timeout": "60s"}})
	for _, test := range brokenBodies {
		for range each {
			c := dial(t, b.Traefik)
			c.say(test.request)
			c.Close()
		}
	}
	release := b.fill(t, n)
	defer release()
	if n := count(append(b.live.Requests(), b.shadow.Requests()...), "/broken"); n > 0 {
		t.Errorf("live and the shadow got %d requests with a broken body", n)
	}
}

// Where something before the mirror bounds bodies, its answer is the client's.
func TestBoundsBeforeTheMirror(t *testing.T) {
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	b := &bench{live: live, shadow: shadow, Traefik: testbed.MustServe(t, testbed.Options{
		Plugins: []testbed.Plugin{{Key: "limit", Dir: "testdata/limit"}},
		Dynamic: billing(live).
			Mirror(middleware, testbed.Values{"url": shadow.URL()}).
			Plugin("limit", "limit", testbed.Values{"bytes": 1000}).
			Middleware("buffering", "buffering", testbed.Values{"maxRequestBodyBytes": 1000}).
			Router("mirrored", testbed.HostRule(mirrorHost), "billing", middleware).
			Router("limited", testbed.HostRule("limited.example.com"), "billing", "limit", middleware).
			Router("buffered", testbed.HostRule("buffered.example.com"), "billing", "buffering", middleware),
	})}
	for _, host := range []string{"limited.example.com", "buffered.example.com"} {
		body := testbed.Payload(1001)
		expect(t, b.Traefik, http.StatusRequestEntityTooLarge, sized("POST", "/large", host, body))
		expect(t, b.Traefik, http.StatusRequestEntityTooLarge, chunked("POST", "/large", host, body, 100))
		if got := b.copies(t); len(got) > 0 {
			t.Errorf("%s: the shadow got %s", host, testbed.Lines(got))
		}
		if n := count(live.Requests(), "/large"); n > 0 {
			t.Errorf("%s: live got %d requests with a body that is too large", host, n)
		}
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", host, body[:1000]))
		testbed.Eventually(t, patience, func() error {
			if got := shadow.Requests(); count(got, "/invoices") != 1 || string(got[len(got)-1].Body) != body[:1000] {
				return fmt.Errorf("%s: the shadow got %s, want /invoices with 1000 bytes", host, testbed.Lines(got))
			}
			return nil
		})
		b.copies(t)
		shadow.Reset()
	}
}

// The copy does not end with the client, nor with live: it goes on from where
// it was when they did. The body is more than connections hold on the way, so
// that the copy is under way while the shadow does not read.
func TestClientThatLeavesBeforeTheAnswer(t *testing.T) {
	const size = 12 << 20
	entered, left, read := make(chan struct{}), make(chan struct{}), make(chan struct{})
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		close(entered)
		<-req.Context().Done()
		close(left)
	})
	shadow := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) { <-read })
	b := run(t, setup{
		options: testbed.Values{"maxBodySize": "-1", "timeout": "60s"},
		live:    testbed.UpstreamOptions{Handler: live},
		shadow:  testbed.UpstreamOptions{Handler: shadow, Streaming: true},
	})
	c := dial(t, b.Traefik)
	c.say(sized("POST", "/invoices", mirrorHost, testbed.Payload(size)))
	testbed.Await(t, patience, "live has not got the request", entered)
	testbed.Eventually(t, patience, func() error {
		if b.shadow.Count() != 1 {
			return errors.New("the shadow has not got the request's head")
		}
		return nil
	})
	c.Close()
	testbed.Await(t, patience, "live does not notice that the client has left", left)
	close(read)
	if r := recorded(t, b.shadow, 1)[0]; r.BodySize != size || r.BodyErr != nil || r.BodySHA256 != sha256.Sum256([]byte(testbed.Payload(size))) {
		t.Errorf("the shadow got %d bytes (%v), want all %d", r.BodySize, r.BodyErr, size)
	}
}

// What HTTP/2 leaves unsaid, the length, is added for the shadow as for live.
func TestHTTP2(t *testing.T) {
	b := run(t, setup{traefik: testbed.Options{TLS: true}})
	client := b.Client()
	post := func(i int, body io.Reader, trailer http.Header) error {
		req, err := http.NewRequestWithContext(testbed.Within(t, patience), "POST", b.SecureURL(fmt.Sprintf("/invoices/%d", i)), body)
		if err != nil {
			return err
		}
		req.Host = mirrorHost
		req.Trailer = trailer
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if answer, err := io.ReadAll(resp.Body); err != nil || resp.ProtoMajor != 2 || string(answer) != `{"upstream":"live"}` {
			return fmt.Errorf("request %d: %s answer %s %q (%v)", i, resp.Proto, resp.Status, answer, err)
		}
		return nil
	}
	// only hides the body's type, from which net/http would know the length.
	only := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }

	tests := []struct {
		name    string
		body    io.Reader
		want    string
		trailer http.Header
	}{
		{"no body", nil, "", nil},
		{"a length", strings.NewReader(invoice), invoice, nil},
		{"no length", only(invoice), invoice, nil},
		{"no length, empty", only(""), "", nil},
		{"300 KiB, no length", only(testbed.Payload(300 << 10)), testbed.Payload(300 << 10), nil},
		{"trailers", only(invoice), invoice, http.Header{"X-Checksum": {"9f86d081"}}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.live.Reset()
			b.shadow.Reset()
			if err := post(i, test.body, test.trailer); err != nil {
				t.Fatal(err)
			}
			got, copied := recorded(t, b.live, 1)[0], recorded(t, b.shadow, 1)[0]
			compareCopy(t, copied, got, middleware)
			if string(got.Body) != test.want {
				t.Errorf("live got %d bytes, want %d", got.BodySize, len(test.want))
			}
			if length := int64(len(test.want)); test.trailer == nil && got.ContentLength != length {
				t.Errorf("live got length %d, want %d", got.ContentLength, length)
			}
			if test.trailer != nil && !slices.Contains(got.RawHeaders(), "Trailer: X-Checksum") {
				t.Errorf("live got headers %q, want trailers announced", got.RawHeaders())
			}
		})
	}

	t.Run("many streams", func(t *testing.T) {
		b.live.Reset()
		b.shadow.Reset()
		const n = 60
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				body := fmt.Sprintf("invoice %d;%s", i, testbed.Payload(i*500))
				if i%2 == 0 {
					errs[i] = post(i, strings.NewReader(body), nil)
				} else {
					errs[i] = post(i, only(body), nil)
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		for who, u := range map[string]*testbed.Upstream{"live": b.live, "the shadow": b.shadow} {
			requests := recorded(t, u, n)
			for i := range n {
				j := slices.IndexFunc(requests, testbed.To(fmt.Sprintf("/invoices/%d", i)))
				if want := fmt.Sprintf("invoice %d;%s", i, testbed.Payload(i*500)); j < 0 || string(requests[j].Body) != want {
					t.Errorf("%s did not get request %d with its body", who, i)
				}
			}
		}
	})

	t.Run("raw", func(t *testing.T) {
		// HTTP/1.1 on the same entry point, for which the client must ask.
		answers, err := testbed.Exchange(t.Context(), b.Addr(testbed.WebSecure), []byte(chunked("POST", "/raw", mirrorHost, invoice, 10)),
			testbed.RawOptions{TLS: &tls.Config{RootCAs: b.CA().Pool()}})
		if err != nil || answers.Status() != http.StatusOK {
			t.Fatalf("answer %d, %v", answers.Status(), err)
		}
		testbed.Eventually(t, patience, func() error {
			if got := b.shadow.Requests(); count(got, "/raw") != 1 {
				return fmt.Errorf("the shadow got %s, want /raw", testbed.Lines(got))
			}
			return nil
		})
	})
}
