package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxAnswer is how many bytes of the shadow's answer are read, and thrown
	// away, so that its connection can be used again. It is cut off after that.
	maxAnswer = 4 << 20

	// maxAnswerHeader bounds the memory, in bytes, that the head of the shadow's
	// answer can take. net/http's own bound is 10 MiB, for each one in flight.
	maxAnswerHeader = 256 << 10

	// idleTimeout is for connections that wait for the next request, as in Traefik.
	idleTimeout = 90 * time.Second

	// bufferSize is for each direction of each connection, in bytes, as in Traefik.
	bufferSize = 64 << 10
)

// nowhere is the transport of the proxies in outgoing.
var nowhere http.RoundTripper = &http.Transport{}

var errSwitching = errors.New("the shadow switched protocols unasked")

// A shadow sends requests to a shadow upstream as one set of options says.
type shadow struct {
	mirror   *mirror
	mirrored *atomic.Int64 // the mirror's count
	users    int           // instances of the middleware that use it; guarded by mirrorsMu

	fingerprint   string
	maxInFlight   int64
	timeout       time.Duration
	maxPause      time.Duration // 0: never
	passHost      bool
	mirrorBody    bool
	setHeaders    http.Header
	removeHeaders []string
	dresses       bool     // whether dress has anything to do
	marker        []string // the value of markerHeader

	retired atomic.Bool // other options have taken its place, or nobody uses it

	director  func(*http.Request) // joins the path, sets everything of the URL but the scheme
	scheme    string
	transport *http.Transport
}

func newShadow(m *mirror, o *options) *shadow {
	s := &shadow{
		mirror:        m,
		mirrored:      &m.counts.mirrored,
		fingerprint:   o.fingerprint,
		maxInFlight:   o.maxInFlight,
		timeout:       o.timeout,
		maxPause:      o.maxPause,
		passHost:      o.passHostHeader,
		mirrorBody:    o.mirrorBody,
		scheme:        o.target.Scheme,
		setHeaders:    o.setHeaders,
		removeHeaders: o.removeHeaders,
		marker:        []string{m.name},
		transport:     newTransport(o),
	}
	s.dresses = !s.passHost || !s.mirrorBody || len(s.setHeaders) > 0 || len(s.removeHeaders) > 0
	// The standard library's own, so that for every request it runs compiled.
	target := &url.URL{Scheme: "mirror", Host: o.target.Host, Path: o.target.Path, RawPath: o.target.RawPath}
	s.director = httputil.NewSingleHostReverseProxy(target).Director
	return s
}

// newTransport returns the connections to the shadow: the ones Traefik's own
// proxy would make, but as many as can be in flight and no more, and none
// through the environment's proxies.
func newTransport(o *options) *http.Transport {
	dialer := &net.Dialer{Timeout: o.timeout}
	t := &http.Transport{
		MaxConnsPerHost:        int(o.maxInFlight),
		MaxIdleConnsPerHost:    int(o.maxInFlight),
		IdleConnTimeout:        idleTimeout,
		TLSHandshakeTimeout:    o.timeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHeader,
		ReadBufferSize:         bufferSize,
		WriteBufferSize:        bufferSize,
		TLSClientConfig:        o.tlsConfig,
		ForceAttemptHTTP2:      true,
	}
	// A dial goes on after the exchange that wanted it has timed out; without a
	// bound of its own it would keep a connection's place for minutes. A function
	// literal, because the interpreter refuses the method value.
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}
	return t
}

// retire lets go of the connections: those that are idle, and the others when
// the last exchange under way can have ended.
func (s *shadow) retire() {
	s.retired.Store(true)
	s.transport.CloseIdleConnections()
	time.AfterFunc(s.timeout+time.Second, func() { s.transport.CloseIdleConnections() })
}

// send sends req, which nobody else uses, with body to the shadow, reads the
// answer to its end and gives the place in flight back. It runs in a goroutine
// of its own: a panic that it did not recover would end Traefik.
func send(s *shadow, req *http.Request, body []byte) {
	defer func() {
		if v := recover(); v != nil {
			s.failed(fmt.Errorf("panic in the plugin: %v", v))
		}
		if s.mirror.inFlight.Add(-1) >= pausedPlaces {
			s.landed()
		}
	}()
	ctx, cancel := context.WithTimeout(background, s.timeout)
	out := outgoing(s, req).WithContext(ctx)
	if s.dresses {
		dress(s, out)
	}
	out.Header[markerHeader] = s.marker
	if out.ContentLength != 0 {
		// Without GetBody the transport cannot send the request twice.
		out.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		sendOnce(out)
	}
	res, err := s.transport.RoundTrip(out)
	if err == nil {
		err = drain(res)
	}
	cancel()
	if err != nil {
		s.failed(err)
		return
	}
	s.mirrored.Add(1)
}

// outgoing makes of req what Traefik's own proxy makes of the live request, by
// the same code, the standard library's reverse proxy: hop-by-hop headers,
// X-Forwarded-For, the joined path. The proxy's transport refuses the scheme
// that the director sets before it does anything else, so that the proxy gives
// up and hands ErrorHandler the request as it was to be sent.
//
// What only the shadow gets is set after that: the proxy removes the headers
// that the client's Connection header names, and a client must not remove the
// marker. Nor is the proxy's context of use: it carries a hook that would write
// 1xx answers to the ResponseWriter, and that lifts net/http's limit on them.
func outgoing(s *shadow, req *http.Request) *http.Request {
	req.Body = nil // live's
	proxy := &httputil.ReverseProxy{
		Director:     s.director,
		Transport:    nowhere,
		ErrorHandler: func(_ http.ResponseWriter, out *http.Request, _ error) { req = out },
	}
	proxy.ServeHTTP(nil, req)
	req.URL.Scheme = s.scheme
	return req
}

// dress gives the request what only some shadows get, by their options.
func dress(s *shadow, out *http.Request) {
	if !s.passHost {
		out.Host = ""
	}
	if !s.mirrorBody {
		// One by one: a nil in an assignment of several values panics when interpreted.
		out.ContentLength = 0
		out.TransferEncoding = nil
		out.Trailer = nil
		delete(out.Header, "Expect")
	}
	for name, value := range s.setHeaders {
		if name == "Host" {
			out.Host = value[0]
			continue
		}
		out.Header[name] = value
	}
	for _, name := range s.removeHeaders {
		delete(out.Header, name)
	}
}

// sendOnce keeps the transport from sending a request without a body again when
// a kept connection breaks, which it does for those that it takes to be
// idempotent: the shadow may have got it. See http.Request.isReplayable.
func sendOnce(out *http.Request) {
	if out.Method == http.MethodPost || out.Method == http.MethodPut || out.Method == http.MethodPatch {
		// These say Content-Length: 0, and only without a Body. The transport
		// takes them to be idempotent by a header, which it does not know by this
		// name; to the shadow it is the same.
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if value := out.Header[name]; value != nil {
				delete(out.Header, name)
				out.Header[strings.ToLower(name)] = value
			}
		}
		return
	}
	// A Body, though empty, is one that cannot be sent again; with this encoding
	// the transport neither probes nor announces it.
	out.Body = io.NopCloser(bytes.NewReader(nil))
	out.TransferEncoding = []string{"identity"}
}

// drain reads the answer's body to its end, within bounds, and closes it.
func drain(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		// The body is now the connection, and nothing bounds a read of it.
		res.Body.Close()
		return errSwitching
	}
	_, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	res.Body.Close()
	return err
}
