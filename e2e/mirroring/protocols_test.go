package mirroring

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/quic-go/quic-go/http3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A protocol is a way for clients to reach Traefik.
type protocol struct {
	name  string
	major int
	entry string // the entry point
	open  func(config *tls.Config) closingTransport
}

type closingTransport interface {
	http.RoundTripper
	CloseIdleConnections()
}

// protocols need a Traefik with withHTTP3.
var protocols = []protocol{
	{"HTTP1", 1, testbed.Web, func(*tls.Config) closingTransport {
		return &http.Transport{DisableCompression: true}
	}},
	{"HTTP2", 2, testbed.WebSecure, func(config *tls.Config) closingTransport {
		return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true}
	}},
	{"HTTP3", 3, testbed.WebSecure, func(config *tls.Config) closingTransport {
		return &http3.Transport{TLSClientConfig: config, DisableCompression: true}
	}},
}

// clientProtocols are those that the Traefik to test in can be asked by. Over HTTP/3
// older ones do not tell a client that an answer broke off: it waits for its own time-out.
func clientProtocols() []protocol {
	switch os.Getenv("TRAEFIK_PIN") {
	case "traefik30", "traefik211":
		return protocols[:2]
	}
	return protocols
}

// withHTTP3 adds to the options what all protocols need.
func withHTTP3(opts testbed.Options) testbed.Options {
	opts.TLS = true
	opts.Static = testbed.Values{"entryPoints": testbed.Values{testbed.WebSecure: testbed.Values{"http3": testbed.Values{}}}}
	return opts
}

// openTransport returns a transport of the protocol with connections of its own, for
// the length of the test.
func (p protocol) openTransport(t *testing.T, traefik *testbed.Traefik) http.RoundTripper {
	t.Helper()
	transport := p.open(&tls.Config{RootCAs: traefik.CA().Pool(), ServerName: "localhost"})
	t.Cleanup(func() {
		if c, ok := transport.(io.Closer); ok {
			c.Close()
		}
		transport.CloseIdleConnections()
	})
	return transport
}

// url is the address of the target by the protocol.
func (p protocol) url(traefik *testbed.Traefik, target string) string {
	if p.entry == testbed.Web {
		return traefik.URL(target)
	}
	return traefik.SecureURL(target)
}

// What a client got of an answer: all that it could tell from another answer, dates
// apart.
type received struct {
	head string // "no answer" without one
	body string
	end  string // how the body ended
}

func (r received) String() string { return r.head + ", body of " + r.body + ", " + r.end }

// receive makes the request, and calls begun when the first byte of the body has come,
// or its end. With unframed, how the answer says where it ends does not count.
func (p protocol) receive(ctx context.Context, transport http.RoundTripper, req *http.Request, unframed bool, begun func()) (received, error) {
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprintf("%d %q", status, header))
		return nil
	}}
	resp, err := transport.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		if ctx.Err() != nil {
			return received{}, err
		}
		return received{head: "no answer"}, nil
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != p.major {
		return received{}, fmt.Errorf("answered by %s, want %s", resp.Proto, p.name)
	}
	first := make([]byte, 1)
	n, err := io.ReadFull(resp.Body, first)
	begun()
	body := first[:n]
	if err == nil {
		var rest []byte
		rest, err = io.ReadAll(resp.Body)
		body = append(body, rest...)
	} else if errors.Is(err, io.EOF) {
		err = nil
	}
	if ctx.Err() != nil {
		return received{}, ctx.Err()
	}
	plain := body
	if slices.Equal(resp.Header["Content-Encoding"], []string{"br"}) && err == nil {
		if plain, err = io.ReadAll(brotli.NewReader(bytes.NewReader(body))); err != nil {
			return received{}, fmt.Errorf("decoding %d bytes: %w", len(body), err)
		}
	}
	if unframed {
		unframe(resp)
	}
	end := "whole"
	if err != nil {
		end = "broken off"
	}
	return received{
		head: fmt.Sprintf("hints %q, %s", hints, describe(resp)),
		body: fmt.Sprintf("%d bytes %.60q", len(plain), plain),
		end:  end,
	}, nil
}
