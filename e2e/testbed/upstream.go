package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// defaultBodyLimit is how much of each body an [Upstream] keeps, in bytes,
// unless it was told otherwise.
const defaultBodyLimit = 1 << 20

// UpstreamOptions say how an [Upstream] serves and what it records.
type UpstreamOptions struct {
	// Name tells the upstream from others in the default answer.
	Name string

	// Addr is where it listens; "" means a free port of 127.0.0.1.
	Addr string

	// Handler answers; nil means 200 and {"upstream":"NAME"}. It gets the
	// whole body from memory, unless Streaming is set.
	Handler http.Handler

	// Streaming calls the handler before the body is read, and records what
	// it reads as it reads it. The request is recorded once the handler has
	// returned and the rest of the body has been read.
	Streaming bool

	// BodyLimit is how much of each body is kept, in bytes; 0 means 1 MiB, -1
	// all of it. Size and checksum are those of the whole body.
	BodyLimit int64

	// CountOnly keeps nothing of any request but the count, for benchmarks.
	CountOnly bool

	// TLS makes the upstream serve TLS.
	TLS *tls.Config

	// HTTP2 offers HTTP/2 beside HTTP/1.1: by ALPN with TLS, otherwise to a
	// client that knows beforehand (h2c). With it heads are recorded byte for byte
	// with TLS too, but a handler does not see that there is TLS.
	HTTP2 bool
}

// Request is one request as it reached an [Upstream].
type Request struct {
	Method           string
	RequestURI       string // as on the wire, escaping and all
	Proto            string
	Host             string
	Header           http.Header
	Trailer          http.Header
	TransferEncoding []string
	ContentLength    int64 // -1 if the client did not say
	RemoteAddr       string
	Arrived          time.Time            // when the head had been read
	TLS              *tls.ConnectionState // nil without TLS

	// RawHead is the head byte for byte, the empty line at its end included,
	// so that spelling, order and repetition of headers can be compared. It is
	// nil for HTTP/2, and with TLS unless UpstreamOptions.HTTP2 is set.
	RawHead []byte

	// Fields are what an HTTP/2 request's head is made of, the pseudo-header
	// fields first, in wire order. HeadEnds says that the head ended the stream:
	// neither a body nor trailers can follow, and none has to be waited for.
	Fields   []Field
	HeadEnds bool

	Body       []byte            // up to UpstreamOptions.BodyLimit of it
	BodySize   int64             // of the whole body, in bytes
	BodySHA256 [sha256.Size]byte // of the whole body
	BodyErr    error             // why the body ended early; nil at its proper end
}

// To tells which requests are to the target, as it was sent.
func To(target string) func(Request) bool {
	return func(r Request) bool { return r.RequestURI == target }
}

// Lines shows requests in a failure.
func Lines(requests []Request) string {
	list := []string{}
	for _, r := range requests {
		list = append(list, fmt.Sprintf("%s %s (%d bytes)", r.Method, r.RequestURI, r.BodySize))
	}
	return fmt.Sprintf("%q", list)
}

// RawHeaders returns the header lines of RawHead, in wire order, without line
// ends and without the request line. For HTTP/2 it is the fields of the head but the
// pseudo-header fields, each as a line.
func (r Request) RawHeaders() []string {
	if r.Fields != nil {
		lines := []string{}
		for _, f := range r.Fields {
			if !strings.HasPrefix(f.Name, ":") {
				lines = append(lines, f.Name+": "+f.Value)
			}
		}
		return lines
	}
	head := strings.ReplaceAll(strings.TrimRight(string(r.RawHead), "\r\n"), "\r\n", "\n")
	return strings.Split(head, "\n")[1:]
}

// Upstream is an HTTP server on a port of its own that records what reaches
// it. Its methods may be called from several goroutines.
type Upstream struct {
	opts UpstreamOptions
	addr string

	count    atomic.Int64
	accepted atomic.Int64
	open     atomic.Int64

	mu       sync.Mutex
	handler  http.Handler
	requests []Request
	changed  chan struct{} // closed and replaced with every record
	hang     chan struct{} // nil unless hanging
	server   *http.Server  // nil while stopped
	served   chan struct{} // closed when server's accept loop is over
}

// NewUpstream starts an upstream.
func NewUpstream(opts UpstreamOptions) (*Upstream, error) {
	u := &Upstream{opts: opts, addr: opts.Addr, handler: opts.Handler, changed: make(chan struct{})}
	if u.addr == "" {
		u.addr = "127.0.0.1:0"
	}
	if u.handler == nil {
		u.handler = answerName(opts.Name)
	}
	if u.opts.BodyLimit == 0 {
		u.opts.BodyLimit = defaultBodyLimit
	}
	if err := u.Restart(); err != nil {
		return nil, err
	}
	return u, nil
}

func answerName(name string) http.Handler {
	answer, _ := json.Marshal(map[string]string{"upstream": name})
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Write(answer)
	})
}

// Restart stops the upstream if it runs and starts it on the address that it
// has had from the first. What it recorded stays.
func (u *Upstream) Restart() error {
	u.Stop()
	listener, err := net.Listen("tcp", u.addr)
	if err != nil {
		return fmt.Errorf("testbed: upstream %s: %w", u.opts.Name, err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(u.opts.HTTP2)
	server := &http.Server{
		Handler:     http.HandlerFunc(u.serve),
		Protocols:   protocols,
		TLSConfig:   u.opts.TLS,
		ConnState:   u.countConnection,
		ConnContext: withWire,
		// net/http would answer "OPTIONS *" itself, unseen.
		DisableGeneralOptionsHandler: true,
		// Broken connections are what the tests are about.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan struct{})
	u.mu.Lock()
	u.addr, u.server, u.served = listener.Addr().String(), server, served
	u.mu.Unlock()
	go func() {
		defer close(served)
		switch {
		case u.opts.TLS != nil && u.opts.HTTP2:
			// To the server this is no TLS: it would hide the frames.
			config := u.opts.TLS.Clone()
			config.NextProtos = []string{"h2", "http/1.1"}
			server.Serve(wireListener{tls.NewListener(listener, config)})
		case u.opts.TLS != nil:
			server.ServeTLS(listener, "", "")
		case u.opts.CountOnly:
			server.Serve(listener)
		default:
			server.Serve(wireListener{listener})
		}
	}()
	return nil
}

// Stop closes the listener and every connection; requests under way end with
// a broken connection. Restart undoes it. A second call does nothing.
func (u *Upstream) Stop() {
	u.mu.Lock()
	server, served := u.server, u.served
	u.server = nil
	u.mu.Unlock()
	if server == nil {
		return
	}
	server.Close()
	<-served
}

func (u *Upstream) countConnection(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		u.accepted.Add(1)
		u.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		u.open.Add(-1)
	}
}

// Addr returns host:port, the same over the upstream's life.
func (u *Upstream) Addr() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.addr
}

// URL returns the address for a service or a shadow: http, https with TLS. For
// h2c Traefik's services want the scheme h2c in its place.
func (u *Upstream) URL() string {
	if u.opts.TLS != nil {
		return "https://" + u.Addr()
	}
	return "http://" + u.Addr()
}

// Count returns how many requests have arrived since the start or the last
// Reset, those still being read or answered included.
func (u *Upstream) Count() int { return int(u.count.Load()) }

// Connections returns how many connections were accepted in all and how many
// are open. One that was hijacked no longer counts as open.
func (u *Upstream) Connections() (accepted, open int) {
	return int(u.accepted.Load()), int(u.open.Load())
}

// Requests returns the requests recorded so far, in the order in which their
// bodies ended.
func (u *Upstream) Requests() []Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.requests)
}

// Wait returns the requests recorded once there are n or more. It fails when
// ctx ends, with those that there are.
func (u *Upstream) Wait(ctx context.Context, n int) ([]Request, error) {
	for {
		u.mu.Lock()
		requests, changed := slices.Clone(u.requests), u.changed
		u.mu.Unlock()
		if len(requests) >= n {
			return requests, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return requests, fmt.Errorf("testbed: upstream %s recorded %d requests of %d: %w", u.opts.Name, len(requests), n, ctx.Err())
		}
	}
}

// Reset forgets the requests and the count.
func (u *Upstream) Reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = nil
	u.count.Store(0)
}

// Handle replaces the handler for requests that arrive from now on.
func (u *Upstream) Handle(handler http.Handler) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.handler = handler
}

// Hang makes the upstream go silent: requests are read and recorded but not
// answered until release is called or their connection ends. Released, they
// get their answer.
func (u *Upstream) Hang() (release func()) {
	gate := make(chan struct{})
	u.mu.Lock()
	u.hang = gate
	u.mu.Unlock()
	return sync.OnceFunc(func() {
		u.mu.Lock()
		if u.hang == gate {
			u.hang = nil
		}
		u.mu.Unlock()
		close(gate)
	})
}

func (u *Upstream) serve(rw http.ResponseWriter, req *http.Request) {
	u.count.Add(1)
	u.mu.Lock()
	handler, hang := u.handler, u.hang
	u.mu.Unlock()

	record := newRequest(req)
	body := &recordedBody{from: req.Body, sum: sha256.New(), limit: u.opts.BodyLimit}
	switch {
	case u.opts.CountOnly:
		if !u.opts.Streaming {
			io.Copy(io.Discard, req.Body)
		}
	case u.opts.Streaming:
		req.Body = body
		defer func() {
			io.Copy(io.Discard, body)
			u.record(record, req, body)
		}()
	default:
		var whole bytes.Buffer
		io.Copy(&whole, body)
		u.record(record, req, body)
		req.Body = io.NopCloser(&whole)
	}
	if hang != nil {
		select {
		case <-hang:
		case <-req.Context().Done():
			return
		}
	}
	handler.ServeHTTP(rw, req)
}

func newRequest(req *http.Request) Request {
	record := Request{
		Method:           req.Method,
		RequestURI:       req.RequestURI,
		Proto:            req.Proto,
		Host:             req.Host,
		Header:           req.Header.Clone(),
		TransferEncoding: slices.Clone(req.TransferEncoding),
		ContentLength:    req.ContentLength,
		RemoteAddr:       req.RemoteAddr,
		Arrived:          time.Now(),
		TLS:              req.TLS,
	}
	c, ok := req.Context().Value(wireKey{}).(*wireConn)
	if !ok {
		return record
	}
	if secure, ok := c.Conn.(*tls.Conn); ok {
		state := secure.ConnectionState()
		record.TLS = &state
	}
	if req.ProtoMajor == 1 {
		record.RawHead = c.wire.next()
	} else if s := c.wire.nextStream(req); s != nil {
		record.Fields, record.HeadEnds = s.fields, s.headEnds
	}
	return record
}

// record completes the request by what is known at the end of its body.
func (u *Upstream) record(r Request, req *http.Request, body *recordedBody) {
	r.Trailer = req.Trailer.Clone()
	r.Body, r.BodySize, r.BodyErr = body.kept, body.size, body.err
	body.sum.Sum(r.BodySHA256[:0])
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests = append(u.requests, r)
	close(u.changed)
	u.changed = make(chan struct{})
}

// recordedBody keeps what is read through it.
type recordedBody struct {
	from  io.ReadCloser
	sum   hash.Hash
	limit int64
	kept  []byte
	size  int64
	err   error
}

func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	b.sum.Write(p[:n])
	b.size += int64(n)
	keep := int64(n)
	if b.limit >= 0 {
		keep = min(keep, b.limit-int64(len(b.kept)))
	}
	b.kept = append(b.kept, p[:keep]...)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

func (b *recordedBody) Close() error { return b.from.Close() }
