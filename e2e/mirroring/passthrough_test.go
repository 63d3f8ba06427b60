package mirroring

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// plainly returns the request with the plain router's host.
func plainly(request string) string { return strings.Replace(request, mirrorHost, plainHost, 1) }

func TestWebSocketIsNotMirrored(t *testing.T) { testbed.InBothModes(t, testWebSocketIsNotMirrored) }

func testWebSocketIsNotMirrored(t *testing.T, options testbed.Values) {
	b := run(t, setup{options: options, live: testbed.UpstreamOptions{Streaming: true, Handler: http.HandlerFunc(ledgerSocket)}})
	for _, host := range []string{plainHost, mirrorHost} {
		ctx := testbed.Within(t, patience)
		conn, _, err := websocket.Dial(ctx, b.URL("/ledger"), &websocket.DialOptions{Host: host, Subprotocols: []string{"ledger.v1"}})
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		if conn.Subprotocol() != "ledger.v1" {
			t.Errorf("%s: subprotocol %q, want ledger.v1", host, conn.Subprotocol())
		}
		// The upstream speaks first, and again after each answer.
		for i := range 5 {
			kind, got, err := conn.Read(ctx)
			if want := fmt.Sprintf("entry %d?", i); err != nil || kind != websocket.MessageText || string(got) != want {
				t.Fatalf("%s: message %q (%v), want %q", host, got, err, want)
			}
			entry := []byte(testbed.Payload(1 << (4 * i)))
			if err := conn.Write(ctx, websocket.MessageBinary, entry); err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			if _, got, err = conn.Read(ctx); err != nil || !bytes.Equal(got, entry) {
				t.Fatalf("%s: message of %d bytes (%v), want the %d that were sent", host, len(got), err, len(entry))
			}
		}
		if err := conn.Close(websocket.StatusNormalClosure, "settled"); err != nil {
			t.Errorf("%s: closing: %v", host, err)
		}
	}
	if got := b.copies(t); len(got) > 0 {
		t.Errorf("the shadow got %s", testbed.Lines(got))
	}
}

// ledgerSocket asks for five entries and returns each one. Anything that is no
// WebSocket it answers with 200.
func ledgerSocket(rw http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") == "" {
		return
	}
	conn, err := websocket.Accept(rw, req, &websocket.AcceptOptions{Subprotocols: []string{"ledger.v1"}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range 5 {
		if conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "entry %d?", i)) != nil {
			return
		}
		_, entry, err := conn.Read(ctx)
		if err != nil || conn.Write(ctx, websocket.MessageBinary, entry) != nil {
			return
		}
	}
	conn.Read(ctx) // the client closes
}

// A protocol that Traefik has not heard of passes both ways too.
func TestUpgradeIsNotMirrored(t *testing.T) { testbed.InBothModes(t, testUpgradeIsNotMirrored) }

func testUpgradeIsNotMirrored(t *testing.T, options testbed.Values) {
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") == "" {
			return
		}
		conn, buffered, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+req.Header.Get("Upgrade")+"\r\n\r\nREADY\r\n")
		for {
			line, err := buffered.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(conn, "BOOKED "+line)
		}
	})
	b := run(t, setup{options: options, live: testbed.UpstreamOptions{Streaming: true, Handler: live}})
	for _, host := range []string{plainHost, mirrorHost} {
		for _, connection := range []string{"Upgrade", "upgrade", "keep-alive, Upgrade"} {
			c := dial(t, b.Traefik)
			c.say(head("GET", "/ledger", host, "Connection: "+connection, "Upgrade: ledger/1"))
			if resp := c.hear("GET"); resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "ledger/1" {
				t.Fatalf("%s, Connection: %s: answer %s, %q, want 101 to ledger/1", host, connection, resp.Status, resp.Header)
			}
			if line := c.hearLine(); line != "READY" {
				t.Errorf("%s: %q, want READY", host, line)
			}
			for i := range 3 {
				c.say(fmt.Sprintf("invoice %d\r\n", i))
				if line, want := c.hearLine(), fmt.Sprintf("BOOKED invoice %d", i); line != want {
					t.Errorf("%s: %q, want %q", host, line, want)
				}
			}
			c.Close()
		}
	}
	if got := b.copies(t); len(got) > 0 {
		t.Errorf("the shadow got %s", testbed.Lines(got))
	}
}

// What CONNECT gets from Traefik it gets with the middleware too, and the
// shadow never hears of it.
func TestConnectIsNotMirrored(t *testing.T) { testbed.InBothModes(t, testConnectIsNotMirrored) }

func testConnectIsNotMirrored(t *testing.T, options testbed.Values) {
	b := run(t, setup{options: options})
	request := "CONNECT " + mirrorHost + ":443 HTTP/1.1\r\nHost: " + mirrorHost + ":443\r\n\r\n"
	want := exchange(t, b.Traefik, strings.ReplaceAll(request, mirrorHost, plainHost))
	live := len(b.live.Requests())
	got := exchange(t, b.Traefik, request)
	sameAnswers(t, got, want)
	if n := len(b.live.Requests()); n != 2*live {
		t.Errorf("live got %d of two CONNECT requests, %d of them without the middleware", n, live)
	}
	t.Logf("live gets %d of one CONNECT request, answered %d", live, want.Status())
	if copied := b.copies(t); len(copied) > 0 {
		t.Errorf("the shadow got %s", testbed.Lines(copied))
	}
}

func TestContentTypesOfGRPC(t *testing.T) {
	tests := []struct {
		contentType string
		mirrored    bool
	}{
		{"application/grpc", false},
		{"application/grpc+proto", false},
		{"application/grpc+json", false},
		{"application/grpc;charset=utf-8", false},
		{"application/grpc ; charset=utf-8", false},
		{"Application/GRPC", false},
		{"APPLICATION/GRPC+PROTO", false},
		{"application/grpc-web", true},
		{"application/grpc-web+proto", true},
		{"application/grpc-web-text", true},
		{"application/grpcx", true},
		{"application/json", true},
		{"text/plain; type=application/grpc", true},
	}
	b := run(t, setup{})
	for i, test := range tests {
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/billing.Ledger/"+strconv.Itoa(i), mirrorHost, invoice, "Content-Type: "+test.contentType))
	}
	arrived(t, b.shadow, 6) // those that are mirrored may come after the probe of copies
	copied := b.copies(t)
	for i, test := range tests {
		target := "/billing.Ledger/" + strconv.Itoa(i)
		if got := count(copied, target); (got == 1) != test.mirrored {
			t.Errorf("%s: %d copies, want mirrored %t", test.contentType, got, test.mirrored)
		}
		if got := count(b.live.Requests(), target); got != 1 {
			t.Errorf("%s: live got it %d times, want once", test.contentType, got)
		}
	}
}

// count returns how many of the requests are for the target.
func count(requests []testbed.Request, target string) int {
	n := 0
	for _, r := range requests {
		if r.RequestURI == target {
			n++
		}
	}
	return n
}

// An Upgrade header without its Connection is mirrored, as the corpus shows; a
// marker, whoever set it, is not.
func TestMarkedRequestsAreNotMirrored(t *testing.T) {
	testbed.InBothModes(t, testMarkedRequestsAreNotMirrored)
}

func testMarkedRequestsAreNotMirrored(t *testing.T, options testbed.Values) {
	b := run(t, setup{options: options})
	for _, line := range []string{"X-Mirrored-By: shadow-billing@file", "x-mirrored-by: another", "X-Mirrored-By:"} {
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice, line))
	}
	if copied := b.copies(t); len(copied) > 0 {
		t.Errorf("the shadow got %s", testbed.Lines(copied))
	}
	for _, r := range b.live.Requests()[:3] {
		if string(r.Body) != invoice || len(r.Header[testbed.MarkerHeader]) != 1 {
			t.Errorf("live got body %q and marker %q, want what was sent", r.Body, r.Header[testbed.MarkerHeader])
		}
	}
}

// The next event is not sent before the client has heard the last: an answer
// that is held back anywhere never goes on.
func TestEventsArriveOneByOne(t *testing.T) { testbed.InBothModes(t, testEventsArriveOneByOne) }

func testEventsArriveOneByOne(t *testing.T, options testbed.Values) {
	tests := []struct {
		name        string
		contentType string
		event       string
	}{
		{"server-sent events", "text/event-stream", "data: invoice %d"},
		{"a flushed answer", "application/x-ndjson", `{"invoice":%d}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			heard := make(chan struct{})
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				if !strings.HasPrefix(req.URL.Path, "/events") {
					return
				}
				rw.Header().Set("Content-Type", test.contentType)
				for i := range 5 {
					fmt.Fprintf(rw, test.event+"\n", i)
					http.NewResponseController(rw).Flush()
					select {
					case <-heard:
					case <-req.Context().Done():
						return
					}
				}
			})
			b := run(t, setup{options: options, live: testbed.UpstreamOptions{Handler: live}})
			for _, host := range []string{plainHost, mirrorHost} {
				c := dial(t, b.Traefik)
				c.say(head("GET", "/events", host, "Accept: "+test.contentType))
				events := bufio.NewReader(c.hear("GET").Body)
				for i := range 5 {
					line, err := events.ReadString('\n')
					if want := fmt.Sprintf(test.event+"\n", i); err != nil || line != want {
						t.Fatalf("%s: event %q (%v), want %q", host, line, err, want)
					}
					heard <- struct{}{}
				}
				if rest, err := io.ReadAll(events); err != nil || len(rest) > 0 {
					t.Errorf("%s: %q (%v) after the last event", host, rest, err)
				}
			}
		})
	}
}

// Answers of every kind reach the client as they would without the middleware.
func TestAnswersAreUntouched(t *testing.T) { testbed.InBothModes(t, testAnswersAreUntouched) }

func testAnswersAreUntouched(t *testing.T, options testbed.Values) {
	// Nobody asked for gzip but Traefik's own transport, which takes it off: nothing is left,
	// of a length that was not known. Its proxy flushes the head in a goroutine then, before
	// the answer ends or not, so that an end in chunks is as right as a length of 0.
	const unpacked = "compressed"
	big := []byte(testbed.Payload(20 << 20))
	modified := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	answers := http.NewServeMux()
	answers.HandleFunc("/hints", func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Link", "</style.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Add("Link", "</script.js>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Del("Link")
		io.WriteString(rw, invoice)
	})
	answers.HandleFunc("/processing", func(rw http.ResponseWriter, req *http.Request) {
		rw.WriteHeader(http.StatusProcessing)
		rw.WriteHeader(http.StatusCreated)
	})
	answers.HandleFunc("/trailers", func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Trailer", "X-Checksum")
		io.WriteString(rw, invoice)
		http.NewResponseController(rw).Flush()
		rw.Header().Set("X-Checksum", "9f86d081")
		rw.Header().Set(http.TrailerPrefix+"X-Signature", "ab12")
	})
	answers.HandleFunc("/status/{code}", func(rw http.ResponseWriter, req *http.Request) {
		code, _ := strconv.Atoi(req.PathValue("code"))
		rw.Header().Set("Etag", `"ab12"`)
		rw.Header()["X-Ledger"] = []string{"north", "south", ""}
		rw.Header().Add("Set-Cookie", "session=1; HttpOnly")
		rw.Header().Add("Set-Cookie", "theme=dark")
		rw.WriteHeader(code)
		if code != http.StatusNoContent && code != http.StatusNotModified {
			io.WriteString(rw, invoice)
		}
	})
	answers.HandleFunc("/invoices.csv", func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Etag", `"ab12"`)
		http.ServeContent(rw, req, "invoices.csv", modified, bytes.NewReader(big))
	})
	answers.HandleFunc("/compressed", func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		rw.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	})
	answers.HandleFunc("/broken", func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Length", strconv.Itoa(len(big)))
		rw.Write(big[:1<<20])
		http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	answers.HandleFunc("/unanswered", func(rw http.ResponseWriter, req *http.Request) { panic(http.ErrAbortHandler) })
	answers.HandleFunc("/health/", func(http.ResponseWriter, *http.Request) {})
	b := run(t, setup{options: options, live: testbed.UpstreamOptions{Handler: answers}})

	tests := []struct {
		name    string
		request string
		status  int
	}{
		{"early hints", head("GET", "/hints", mirrorHost), 200},
		{"processing", sized("POST", "/processing", mirrorHost, invoice), 201},
		{"trailers", head("GET", "/trailers", mirrorHost, "TE: trailers"), 200},
		{"HEAD", head("HEAD", "/invoices.csv", mirrorHost), 200},
		{"HEAD of an error", head("HEAD", "/status/404", mirrorHost), 404},
		{"200", head("GET", "/status/200", mirrorHost), 200},
		{"204", head("DELETE", "/status/204", mirrorHost), 204},
		{"304", head("GET", "/status/304", mirrorHost), 304},
		{"304 of a match", head("GET", "/invoices.csv", mirrorHost, `If-None-Match: "ab12"`), 304},
		{"307", head("GET", "/status/307", mirrorHost), 307},
		{"401", head("GET", "/status/401", mirrorHost), 401},
		{"500", sized("POST", "/status/500", mirrorHost, invoice), 500},
		{"503", sized("POST", "/status/503", mirrorHost, invoice), 503},
		{"a status nobody knows", head("GET", "/status/799", mirrorHost), 799},
		{"20 MB", head("GET", "/invoices.csv", mirrorHost), 200},
		{"20 MB for HTTP/1.0", "GET /invoices.csv HTTP/1.0\r\nHost: " + mirrorHost + "\r\n\r\n", 200},
		{"a range", head("GET", "/invoices.csv", mirrorHost, "Range: bytes=100-199"), 206},
		{"a range to the end", head("GET", "/invoices.csv", mirrorHost, "Range: bytes=-100"), 206},
		{"a range outside", head("GET", "/invoices.csv", mirrorHost, "Range: bytes=99999999-"), 416},
		{unpacked, head("GET", "/compressed", mirrorHost), 200},
		{"no answer", head("GET", "/unanswered", mirrorHost), 502},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.shadow.Reset()
			want := expect(t, b.Traefik, test.status, plainly(test.request))
			got := exchange(t, b.Traefik, test.request)
			if test.name == unpacked {
				unframe(got.First())
				unframe(want.First())
			}
			sameAnswers(t, got, want)
			recorded(t, b.shadow, 1)
		})
	}

	t.Run("an answer that breaks off", func(t *testing.T) {
		for _, host := range []string{plainHost, mirrorHost} {
			answers, err := testbed.Exchange(t.Context(), b.Addr(testbed.Web), []byte(head("GET", "/broken", host)), testbed.RawOptions{})
			body, _ := answers.Body()
			if err == nil || answers.Status() != http.StatusOK || len(body) == 0 || !bytes.HasPrefix(big, body) {
				t.Errorf("%s: answer %d, %d bytes (%v), want 200 and the beginning of live's body", host, answers.Status(), len(body), err)
			}
		}
	})
}
