package streams

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"go/version"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// tellLines is a live upstream that tells each line of a POST's body as soon as
// it has read it.
func tellLines(told chan<- string) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodPost {
			return
		}
		var line []byte
		for buf := make([]byte, 64<<10); ; {
			n, err := req.Body.Read(buf)
			for _, c := range buf[:n] {
				if line = append(line, c); c == '\n' {
					told <- string(line)
					line = nil
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// The client sends the next piece only when live has confirmed the last: a body
// that is held back anywhere never goes on.
func TestLiveHasEachPieceBeforeTheNextIsSent(t *testing.T) {
	testbed.InBothModes(t, testLiveHasEachPieceBeforeTheNextIsSent)
}

func testLiveHasEachPieceBeforeTheNextIsSent(t *testing.T, options testbed.Values) {
	told := make(chan string, 10)
	b := run(t, options, tellLines(told), testbed.Options{TLS: true})
	for i, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			var body []string
			for n := range 4 {
				body = append(body, fmt.Sprintf("%d;2024-00117;%s\n", n, strings.Repeat("119.00;", pieceSize/7)))
			}
			whole := strings.Join(body, "")
			target := fmt.Sprintf("/invoices/%d", i)
			u := transport.open(t, b, streamHost, target, len(whole))
			for n, line := range body {
				u.send(line)
				if n == len(body)-1 {
					// net/http's client sends the last piece of an announced
					// length when it knows that there is no more.
					if status := u.finish(); status != http.StatusOK {
						t.Errorf("answer %d, want 200", status)
					}
				}
				if got := testbed.Await(t, patience, fmt.Sprintf("live has not got piece %d", n), told); got != line {
					t.Fatalf("live got %.80q, want piece %d", got, n)
				}
				if got := b.shadow.Requests(); n < len(body)-1 && slices.ContainsFunc(got, testbed.To(target)) {
					t.Errorf("the shadow has the request after piece %d", n)
				}
			}
			r := recorded(t, b.shadow, target)
			sameBody(t, "the shadow", r, whole)
			if r.ContentLength != int64(len(whole)) {
				t.Errorf("the shadow got Content-Length %d, want %d", r.ContentLength, len(whole))
			}
		})
	}
}

// pieceSize is the size of what has to get through to live: more than the
// 64 KiB that Traefik's own proxy gathers of a body with Content-Length before
// it sends them.
const pieceSize = 70_000

// In buffer mode, by contrast, live does not hear of the request before the
// client has begun to send the last piece.
func TestBufferedBodyReachesLiveWhenItIsComplete(t *testing.T) {
	var last atomic.Bool
	early := make(chan bool, 1)
	b := run(t, nil, func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			early <- !last.Load()
		}
		io.Copy(io.Discard, req.Body)
	}, testbed.Options{TLS: true})
	for i, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			last.Store(false)
			body := testbed.Payload(3 * pieceSize)
			target := fmt.Sprintf("/invoices/%d", i)
			u := transport.open(t, b, bufferHost, target, len(body))
			u.send(body[:pieceSize])
			u.send(body[pieceSize : 2*pieceSize])
			// Whole requests get through while this one is held back.
			for range 5 {
				if _, err := b.get(t, plainHost, "/meanwhile"); err != nil {
					t.Fatal(err)
				}
			}
			last.Store(true)
			u.send(body[2*pieceSize:])
			if status := u.finish(); status != http.StatusOK {
				t.Errorf("answer %d, want 200", status)
			}
			if testbed.Await(t, patience, "live was not called", early) {
				t.Error("live was called before the last piece was sent")
			}
			sameBody(t, "live", recorded(t, b.live, target), body)
			sameBody(t, "the shadow", recorded(t, b.shadow, target), body)
		})
	}
}

// An upload far above the limit: Traefik's heap is measured while it waits for
// more, first when the copy is as large as it gets, then when it should be gone.
// The same upload without the middleware tells what Traefik itself needs.
func TestLargeUploadTakesNoMemoryBeyondTheLimit(t *testing.T) {
	const (
		limit = 8 << 20
		total = 200 << 20
		block = 64 << 10
		// For what else Traefik keeps or has just thrown away; and for its
		// collector, which lets the process grow ahead of the heap.
		heapSlack    = 8 << 20
		processSlack = 48 << 20
	)
	var received atomic.Int64
	b := run(t, testbed.Values{"maxBodySize": limit, "maxInFlight": 1}, func(rw http.ResponseWriter, req *http.Request) {
		for buf := make([]byte, 256<<10); ; {
			n, err := req.Body.Read(buf)
			received.Add(int64(n))
			if err != nil {
				return
			}
		}
	}, testbed.Options{})

	type usage struct{ full, after, peak int64 }
	upload := func(host string) (u usage) {
		target := "/archive/" + host
		received.Store(0)
		// heap is how large it is when live has got n bytes and waits for more.
		heap := func(n int64) int64 {
			testbed.Eventually(t, patience, func() error {
				if got := received.Load(); got != n {
					return fmt.Errorf("live got %d bytes, want %d", got, n)
				}
				return nil
			})
			if _, err := b.HeapProfile(t.Context()); err != nil { // collects
				t.Fatal(err)
			}
			stats, err := b.MemStats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return int64(stats.HeapAlloc)
		}
		sum := sha256.New()
		random := rand.NewChaCha8([32]byte{})
		piece := make([]byte, block)
		c := openRaw(false, false)(t, b, host, target, 0).(*rawUpload)
		for sent := 0; sent < total; sent += block {
			switch sent {
			case limit:
				u.full = heap(limit)
			case total / 2:
				u.after = heap(total / 2)
			}
			random.Read(piece)
			sum.Write(piece)
			c.send(string(piece))
		}
		if status := c.finish(); status != http.StatusOK {
			t.Errorf("%s: answer %d, want 200", host, status)
		}
		r := recorded(t, b.live, target)
		if r.BodySize != total || !bytes.Equal(r.BodySHA256[:], sum.Sum(nil)) || r.BodyErr != nil {
			t.Errorf("%s: live got %d bytes (%v), want the %d that were sent", host, r.BodySize, r.BodyErr, total)
		}
		var err error
		if u.peak, err = b.PeakRSS(); err != nil {
			t.Fatal(err)
		}
		return u
	}
	plain := upload(plainHost)
	got := upload(streamHost)
	t.Logf("without the middleware: %+v, with it: %+v", plain, got)
	if more := got.full - plain.full; more < limit/2 {
		t.Errorf("the heap is %d bytes larger with a copy of %d: it was not measured at the right time", more, limit)
	} else if more > 2*limit+heapSlack {
		t.Errorf("the heap is %d bytes larger with a copy of %d, want %d at most", more, limit, 2*limit+heapSlack)
	}
	if more := got.after - plain.after; more > heapSlack {
		t.Errorf("the heap is %d bytes larger when the body is above the limit, want %d at most", more, heapSlack)
	}
	if more := got.peak - plain.peak; more > 2*limit+processSlack {
		t.Errorf("the process took %d bytes more, want %d at most", more, 2*limit+processSlack)
	}
	b.nothingMirrored(t) // and its place is free: there is but one
}

// Sizes about the limit and about the sizes of the buffers on the way, in pieces
// from one byte to 64 KiB.
func TestCopyIsTheOriginal(t *testing.T) { testbed.InBothModes(t, testCopyIsTheOriginal) }

func testCopyIsTheOriginal(t *testing.T, options testbed.Values) {
	const limit = 100_000
	options["maxBodySize"] = limit
	options["maxInFlight"] = 1000
	b := run(t, options, nil, testbed.Options{TLS: true})
	sizes := []int{0, 1, 2, 511, 512, 4095, 4096, 4097, 65_535, 65_537, limit - 1, limit, limit + 1, 3 * limit}
	for range 6 {
		sizes = append(sizes, rand.IntN(limit))
	}
	sent := map[string]string{} // bodies by target
	for _, transport := range transports {
		for _, size := range sizes {
			for _, piece := range []int{1, 7, 1000, 65_536, 0} {
				if strings.HasPrefix(transport.name, "HTTP/2") && piece > 0 && size/piece > 5000 {
					continue // tens of thousands of frames
				}
				body := make([]byte, size)
				for i := range body {
					body[i] = byte(rand.Uint32())
				}
				target := fmt.Sprintf("/invoices/%d?%d-bytes-by-%d", len(sent), size, piece)
				sent[target] = string(body)
				u := transport.open(t, b, streamHost, target, size)
				u.send(pieces(string(body), piece)...)
				if status := u.finish(); status != http.StatusOK {
					t.Fatalf("%s, %s: answer %d, want 200", transport.name, target, status)
				}
				u.abort() // the connection is not used again
			}
		}
	}
	compareAll(t, b, sent, limit)
}

// compareAll fails the test unless live has all the bodies, which are given by
// their requests' targets, each once, and the shadow those within the limit.
func compareAll(t *testing.T, b *bench, sent map[string]string, limit int) {
	t.Helper()
	within := map[string]string{}
	for target, body := range sent {
		if len(body) <= limit {
			within[target] = body
		}
	}
	testbed.Eventually(t, patience, func() error {
		if got := len(b.shadow.Requests()); got < len(within) {
			return fmt.Errorf("the shadow got %d requests, want %d", got, len(within))
		}
		return nil
	})
	copies := b.copies(t)
	eachOnce(t, "the shadow", copies, within)
	for _, r := range copies {
		if want := int64(len(sent[r.RequestURI])); r.ContentLength != want {
			t.Errorf("the shadow got Content-Length %d with %s, want %d", r.ContentLength, r.RequestURI, want)
		}
	}
	for target := range sent {
		recorded(t, b.live, target) // which may come after its answer
	}
	eachOnce(t, "live", slices.DeleteFunc(b.live.Requests(), func(r testbed.Request) bool { return strings.HasPrefix(r.RequestURI, "/health/") }), sent)
}

// eachOnce fails the test unless the requests are those of the bodies, each once and
// whole.
func eachOnce(t *testing.T, who string, got []testbed.Request, bodies map[string]string) {
	t.Helper()
	times := map[string]int{}
	for _, r := range got {
		body, ok := bodies[r.RequestURI]
		if !ok {
			t.Errorf("%s got %s of %d bytes, want none", who, r.RequestURI, r.BodySize)
			continue
		}
		times[r.RequestURI]++
		sameBody(t, who, r, body)
	}
	for target := range bodies {
		if times[target] != 1 {
			t.Errorf("%s got %s %d times, want once", who, target, times[target])
		}
	}
}

// Clients leave at random points, the last byte's and the very end's among them.
// There is one place in flight, so that the next request is mirrored only where
// the place of the one before has been given back.
func TestAbortedUploadsAreNotMirrored(t *testing.T) {
	testbed.InBothModes(t, testAbortedUploadsAreNotMirrored)
}

func testAbortedUploadsAreNotMirrored(t *testing.T, options testbed.Values) {
	entered := make(chan string, 100)
	options["maxInFlight"] = 1
	b := run(t, options, func(rw http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/aborted/") {
			entered <- req.URL.Path
		}
		io.Copy(io.Discard, req.Body)
	}, testbed.Options{TLS: true})
	body := testbed.Payload(300_000)
	for _, transport := range transports {
		t.Run(transport.name, func(t *testing.T) {
			points := []int{1, len(body) - 1}
			if !transport.known {
				points = append(points, len(body)) // without the chunk or frame that ends it
			}
			for range 5 {
				points = append(points, rand.IntN(len(body)))
			}
			for _, point := range points {
				b.shadow.Reset()
				target := fmt.Sprintf("/aborted/%d", probes.Add(1))
				u := transport.open(t, b, streamHost, target, len(body))
				u.send(pieces(body[:point], 0)...)
				// Where live has the head, the middleware has the request.
				// Without a buffer's worth of body Traefik holds a head with
				// Content-Length back.
				if !transport.known || point > pieceSize {
					for testbed.Await(t, patience, "live has not got "+target, entered) != target {
					}
				}
				u.abort()
				next := testbed.Payload(1000 + point%1000)
				for done := false; !done; {
					after := fmt.Sprintf("/invoices/%d", probes.Add(1))
					u := transport.open(t, b, streamHost, after, len(next))
					u.send(next)
					if status := u.finish(); status != http.StatusOK {
						t.Fatalf("answer %d after an upload was aborted at %d, want 200", status, point)
					}
					done = len(b.copies(t)) > 0
				}
				for _, r := range b.copies(t) {
					if !strings.HasPrefix(r.RequestURI, "/invoices/") {
						t.Errorf("the shadow got %s, of which %d bytes of %d were sent", testbed.Lines([]testbed.Request{r}), point, len(body))
					}
					sameBody(t, "the shadow", r, next)
				}
			}
		})
	}
}

// Live refuses by the head alone, while the client holds the body back.
func TestLiveThatAnswersBeforeTheBody(t *testing.T) {
	testbed.InBothModes(t, testLiveThatAnswersBeforeTheBody)
}

func testLiveThatAnswersBeforeTheBody(t *testing.T, options testbed.Values) {
	live := testbed.RunRawUpstream(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.Method == http.MethodGet {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		io.WriteString(conn, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\nrefused")
		io.Copy(io.Discard, br) // a close with bytes unread would break the answer off
	})
	b := &bench{shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})}
	options["maxInFlight"] = 1
	options["maxBodySize"] = -1
	b.Traefik = testbed.MustServe(t, testbed.Options{TLS: true, Dynamic: routers(live.URL(), b.shadow.URL(), options)})
	const announced = 1 << 30
	piece := testbed.Payload(pieceSize)
	for _, host := range []string{plainHost, streamHost} {
		for _, known := range []bool{false, true} {
			u := openRaw(known, false)(t, b, host, "/refused", announced).(*rawUpload)
			answer := make(chan string, 1)
			go func() {
				resp, err := http.ReadResponse(u.br, nil)
				if err != nil {
					answer <- err.Error()
					return
				}
				body, err := io.ReadAll(resp.Body)
				answer <- fmt.Sprintf("%d %s %v", resp.StatusCode, body, err)
			}()
			// net/http's server reads some of what is left before it answers.
			var got string
			for sent := 0; got == "" && sent < announced-2*pieceSize; sent += pieceSize {
				text := piece
				if !known {
					text = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				if _, err := io.WriteString(u, text); err != nil {
					got = testbed.Await(t, patience, "the answer", answer) // Traefik has closed after it
				}
				select {
				case got = <-answer:
				default:
				}
			}
			if want := "413 refused <nil>"; got != want {
				t.Errorf("%s, known length %t: answer %q, want %q", host, known, got, want)
			}
			u.abort()
			b.nothingMirrored(t)
		}
		u := openHTTP2(false)(t, b, host, "/refused", 0).(*http2Upload)
		io.WriteString(u.body, piece) // fails if the answer is faster
		if got := testbed.Await(t, patience, "the answer", u.answer); got != http.StatusRequestEntityTooLarge {
			t.Errorf("%s, HTTP/2: answer %v, want 413", host, got)
		}
		u.abort()
		b.nothingMirrored(t)
	}
}

// Announced or not, live has the trailers that it would have without the
// middleware, and so has the shadow.
func TestTrailers(t *testing.T) { testbed.InBothModes(t, testTrailers) }

func testTrailers(t *testing.T, options testbed.Values) {
	b := run(t, options, nil, testbed.Options{})
	for name, head := range map[string]string{"announced": "Trailer: X-Checksum\r\n", "unannounced": ""} {
		t.Run(name, func(t *testing.T) {
			for i, h := range []string{plainHost, streamHost} {
				u := dial(t, b, false)
				u.say(fmt.Sprintf("POST /%s/%d HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n%s\r\n", name, i, h, head))
				u.send(invoice[:10], invoice[10:])
				u.say("0\r\nX-Checksum: 9f86d081\r\n\r\n")
				if resp := u.hear(); resp.StatusCode != http.StatusOK {
					t.Errorf("%s: answer %s, want 200", h, resp.Status)
				}
			}
			want := recorded(t, b.live, "/"+name+"/0")
			got := recorded(t, b.live, "/"+name+"/1")
			copied := recorded(t, b.shadow, "/"+name+"/1")
			// Their values are lost in Traefik's own proxy.
			if _, ok := want.Trailer["X-Checksum"]; ok != (head != "") {
				t.Errorf("live without the middleware got trailers %q, so that this test shows nothing", want.Trailer)
			}
			for who, r := range map[string]testbed.Request{"live": got, "the shadow": copied} {
				sameBody(t, who, r, invoice)
				if !reflect.DeepEqual(r.Trailer, want.Trailer) {
					t.Errorf("%s got trailers %q, want %q", who, r.Trailer, want.Trailer)
				}
			}
		})
	}
}

// The client that asks whether to go on is told so, or refused, as without the
// middleware.
func TestExpectContinue(t *testing.T) { testbed.InBothModes(t, testExpectContinue) }

func testExpectContinue(t *testing.T, options testbed.Values) {
	live := testbed.RunRawUpstream(t, refuseOrTake)
	b := &bench{shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})}
	b.Traefik = testbed.MustServe(t, testbed.Options{Static: soonRefused(t), Dynamic: routers(live.URL(), b.shadow.URL(), options)})
	// ask returns the answers in order. The client sends the body when it is
	// told to, and not at all if it is refused.
	ask := func(t *testing.T, host, target string, known bool) (answers []string) {
		framing, body := "Transfer-Encoding: chunked", "5\r\n12345\r\n0\r\n\r\n"
		if known {
			framing, body = "Content-Length: 5", "12345"
		}
		u := dial(t, b, false)
		u.say("POST " + target + " HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\n" + framing + "\r\n\r\n")
		for {
			resp := u.hear()
			answer := fmt.Sprintf("%s, close %t", resp.Status, resp.Close)
			// Traefik says it once for itself and once for live, unless live is
			// first, with the middleware and without.
			if !slices.Contains(answers, answer) {
				answers = append(answers, answer)
				if resp.StatusCode == http.StatusContinue {
					u.say(body)
				}
			}
			if resp.StatusCode >= 200 {
				return answers
			}
		}
	}
	for _, known := range []bool{false, true} {
		for target, wanted := range map[string][]string{
			"/invoices":    {"100 Continue, close false", "200 OK, close false"},
			"/invoices/no": {"417 Expectation Failed, close true"},
		} {
			t.Run(fmt.Sprintf("%s, known length %t", target, known), func(t *testing.T) {
				b.shadow.Reset()
				want := ask(t, plainHost, target, known)
				got := ask(t, streamHost, target, known)
				if !slices.Equal(got, want) || !slices.Equal(want, wanted) {
					t.Errorf("answers %q, %q without the middleware, want %q", got, want, wanted)
				}
				if target == "/invoices/no" {
					b.nothingMirrored(t)
					return
				}
				sameBody(t, "the shadow", recorded(t, b.shadow, target), "12345")
			})
		}
	}
}

// soonRefused is a static configuration for tests in which live refuses what the
// client waits to be asked for. net/http before Go 1.26 hands the refusal on only
// once it has tried to read the body, for as long as the entry point's
// readTimeout, which is 60 s by default: without the middleware, that is.
func soonRefused(t *testing.T) testbed.Values {
	t.Helper()
	if version.Compare(testbed.MustUsedRelease(t).Go, "go1.26") >= 0 {
		return nil
	}
	return testbed.Values{"entryPoints": testbed.Values{testbed.Web: testbed.Values{
		"transport": testbed.Values{"respondingTimeouts": testbed.Values{"readTimeout": "2s"}},
	}}}
}

// refuseOrTake serves a connection as live: it refuses the requests for .../no
// by the head alone, and asks for the body of others that wait to be asked.
func refuseOrTake(conn net.Conn) {
	br := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if strings.HasSuffix(req.URL.Path, "/no") {
			io.WriteString(conn, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			io.Copy(io.Discard, br)
			return
		}
		if req.Header.Get("Expect") != "" {
			io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

func needFastProxy(t *testing.T) {
	t.Helper()
	if release := testbed.MustUsedRelease(t); !release.Has("v3.2.0") {
		t.Skipf("Traefik %s has no fastProxy, which came with v3.2.0", release.Traefik)
	}
}

// Traefik's experimental proxy reads and sends bodies by code of its own, not by
// net/http's.
func TestFastProxy(t *testing.T) { testbed.InBothModes(t, testFastProxy) }

func testFastProxy(t *testing.T, options testbed.Values) {
	needFastProxy(t)
	const limit = 100_000
	options["maxBodySize"] = limit
	b := run(t, options, nil, testbed.Options{
		TLS:    true,
		Static: testbed.Values{"experimental": testbed.Values{"fastProxy": testbed.Values{"debug": true}}},
	})
	sent := map[string]string{}
	for _, h := range []string{streamHost, bufferHost} {
		for _, transport := range transports {
			for _, size := range []int{0, 1, 1000, 65_536, limit - 1, limit, limit + 1, 3 * limit} {
				target := fmt.Sprintf("/invoices/%d?%d-bytes", len(sent), size)
				sent[target] = testbed.Payload(size)
				u := transport.open(t, b, h, target, size)
				u.send(pieces(sent[target], 0)...)
				if status := u.finish(); status != http.StatusOK {
					t.Fatalf("%s, %s, %s: answer %d, want 200", h, transport.name, target, status)
				}
				u.abort()
				if r := recorded(t, b.live, target); r.Header.Get("X-Traefik-Fast-Proxy") != "enabled" {
					t.Fatalf("live got headers %q, want those of the fast proxy", r.Header)
				}
			}
		}
	}
	compareAll(t, b, sent, limit)
}

// More uploads are cut off than there are places: there is but one.
func TestFastProxyAndAbortedUploads(t *testing.T) {
	testbed.InBothModes(t, testFastProxyAndAbortedUploads)
}

func testFastProxyAndAbortedUploads(t *testing.T, options testbed.Values) {
	needFastProxy(t)
	entered := make(chan struct{}, 100)
	options["maxInFlight"] = 1
	b := run(t, options, func(rw http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			entered <- struct{}{}
		}
		io.Copy(io.Discard, req.Body)
	}, testbed.Options{
		TLS:    true,
		Static: testbed.Values{"experimental": testbed.Values{"fastProxy": testbed.Values{}}},
	})
	body := testbed.Payload(300_000)
	for _, transport := range transports {
		u := transport.open(t, b, streamHost, "/aborted", len(body))
		u.send(pieces(body[:len(body)-1], 0)...)
		testbed.Await(t, patience, "live has not got the request", entered)
		u.abort()
		b.nothingMirrored(t)
	}
}
