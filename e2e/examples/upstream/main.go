// Upstream is a live upstream or a shadow to try the examples with: it answers
// every request with 200, a gRPC call with an empty message, and prints what it got.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "where to listen, as `host:port`")
	name := flag.String("name", "upstream", "what it answers to be")
	cert := flag.String("cert", "", "serve TLS with the certificate in this `file`")
	key := flag.String("key", "", "the certificate's key, a `file`")
	clientCA := flag.String("client-ca", "", "let in only clients with a certificate of the authority in this `file`")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	config, err := tlsConfig(*cert, *key, *clientCA)
	if err == nil {
		err = serve(ctx, os.Stdout, testbed.UpstreamOptions{Name: *name, Addr: *listen, TLS: config})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tlsConfig returns nil where no certificate is named.
func tlsConfig(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" && key == "" && clientCA == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", clientCA)
	}
	return config, nil
}

// serve prints requests until ctx ends.
func serve(ctx context.Context, out io.Writer, opts testbed.UpstreamOptions) error {
	// Bodies are read as they come, so that the time it took can be told.
	opts.Streaming, opts.BodyLimit, opts.HTTP2 = true, 1, true
	opts.Handler = http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		io.Copy(io.Discard, req.Body)
		if strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
			answerCall(rw)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, "{\"upstream\":%q}\n", opts.Name)
	})
	u, err := testbed.NewUpstream(opts)
	if err != nil {
		return err
	}
	defer u.Stop()
	fmt.Fprintf(out, "%s listens on %s\n", opts.Name, u.URL())
	for shown := 0; ; {
		requests, err := u.Wait(ctx, shown+1)
		if err != nil {
			return nil // interrupted
		}
		for _, r := range requests[shown:] {
			show(out, opts.Name, r)
		}
		shown = len(requests)
	}
}

// answerCall answers a gRPC call with one message in which no field is set, which
// is one of any type ("gRPC over HTTP/2", Responses).
func answerCall(rw http.ResponseWriter) {
	rw.Header().Set("Content-Type", "application/grpc")
	rw.Write(make([]byte, 5)) // not compressed, no bytes
	rw.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

func show(out io.Writer, name string, r testbed.Request) {
	fmt.Fprintf(out, "\n%s got %s %s", name, r.Method, r.RequestURI)
	if r.BodySize > 0 {
		fmt.Fprintf(out, ", %d bytes in %s, sha256 %.4x", r.BodySize, time.Since(r.Arrived).Round(time.Millisecond), r.BodySHA256)
	}
	if r.BodyErr != nil {
		fmt.Fprintf(out, ", cut off: %v", r.BodyErr)
	}
	fmt.Fprintln(out)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		fmt.Fprintf(out, "  client certificate: %s\n", r.TLS.PeerCertificates[0].Subject.CommonName)
	}
	fmt.Fprintf(out, "  Host: %s\n", r.Host)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			fmt.Fprintf(out, "  %s: %s\n", name, value)
		}
	}
}
