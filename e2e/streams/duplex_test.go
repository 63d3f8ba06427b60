package streams

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// conversations are content types of protocols in which a server may answer before the
// request's body ends.
var conversations = []string{
	"application/connect+json",
	"application/connect+proto; charset=utf-8",
	"application/grpc+proto",
	"application/vnd.amazon.eventstream",
	"message/ohttp-chunked-req",
	"application/x-rtsp-tunnelled",
}

// bookLines answers each line of a request's body as it comes.
func bookLines(rw http.ResponseWriter, req *http.Request) {
	out := http.NewResponseController(rw)
	lines := bufio.NewReader(req.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		io.WriteString(rw, "booked "+line)
		out.Flush()
	}
}

// A client that sends a message and waits for the answer before it sends the next has
// it with the middleware as without. In buffer mode such requests are not mirrored; in
// stream mode the shadow has all that the client sent when it has ended.
func TestAnswersBeforeTheEndOfTheBody(t *testing.T) {
	testbed.InBothModes(t, testAnswersBeforeTheEndOfTheBody)
}

func testAnswersBeforeTheEndOfTheBody(t *testing.T, options testbed.Values) {
	b := &bench{
		live:   testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Streaming: true, HTTP2: true, Handler: http.HandlerFunc(bookLines)}),
		shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"}),
	}
	d := routers("h2c://"+b.live.Addr(), b.shadow.URL(), options)
	d.Report()
	b.Traefik = testbed.MustServe(t, testbed.Options{TLS: true, Dynamic: d})
	for i, contentType := range conversations {
		for _, host := range []string{plainHost, bufferHost, streamHost} {
			converse(t, b, host, fmt.Sprintf("/invoices/%d", i), contentType)
		}
	}
	for i := range conversations {
		sameBody(t, "the shadow", recorded(t, b.shadow, fmt.Sprintf("/invoices/%d", i)), strings.Repeat(invoice+"\n", 3))
	}
	if copied := b.copies(t); len(copied) != len(conversations) {
		t.Errorf("the shadow got %s, want one copy of each conversation in stream mode", testbed.Lines(copied))
	}
	testbed.Eventually(t, patience, func() error {
		dropped := b.MustReport(t, "shadow-buffer").Dropped
		if dropped["duplex"] != int64(len(conversations)-1) || dropped["grpc"] != 1 {
			return fmt.Errorf("%d counted as duplex, %d as grpc; want all but one, and one", dropped["duplex"], dropped["grpc"])
		}
		return nil
	})
}

// converse sends three messages, each when the one before has been answered.
func converse(t *testing.T, b *bench, host, target, contentType string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	body, messages := io.Pipe()
	defer messages.Close()
	req, err := http.NewRequestWithContext(ctx, "POST", b.SecureURL(target), body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Content-Type", contentType)
	sent := make(chan error, 3)
	go func() {
		_, err := io.WriteString(messages, invoice+"\n")
		sent <- err
	}()
	res, err := b.Client().Do(req)
	if err != nil {
		t.Fatalf("%s, %s: %v", host, contentType, err)
	}
	defer res.Body.Close()
	answers := bufio.NewReader(res.Body)
	for i := range 3 {
		if err := <-sent; err != nil {
			t.Fatalf("%s, %s: sending message %d: %v", host, contentType, i, err)
		}
		got, err := answers.ReadString('\n')
		if err != nil || got != "booked "+invoice+"\n" {
			t.Fatalf("%s, %s: message %d was answered %q (%v)", host, contentType, i, got, err)
		}
		if i < 2 {
			_, err = io.WriteString(messages, invoice+"\n")
			sent <- err
		}
	}
	messages.Close()
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("%s, %s: %q (%v) after the last answer", host, contentType, rest, err)
	}
}
