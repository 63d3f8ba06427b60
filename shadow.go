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

	"github.com/trafficshadow/mirror/compare"
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

	// ownBody is the largest body, in bytes, that is not counted against the
	// memory of the requests in flight once the shadow has answered: as much as
	// Traefik itself sets aside for a connection to live.
	ownBody = 64 << 10

	// bufferSize is for each direction of each connection, in bytes, as in Traefik.
	bufferSize = 64 << 10
)

// nowhere is the transport of the proxies in outgoing.
var nowhere http.RoundTripper = &http.Transport{}

var (
	errSwitching = errors.New("the shadow switched protocols unasked")
	errPanic     = errors.New("panic in the plugin")
)

// A shadow sends requests to a shadow upstream as one set of options says.
type shadow struct {
	mirror    *mirror
	mirrored  *atomic.Int64 // the mirror's count
	users     int           // instances of the middleware that use it; guarded by mirrorsMu
	abandoned int           // how often the last of them went; guarded by mirrorsMu

	address       string // the URL, for people
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

	rules *compare.Rules // nil: answers are not compared

	retired atomic.Bool // other options have taken its place, or nobody uses it

	director  func(*http.Request) // joins the path, sets everything of the URL but the scheme
	scheme    string
	transport *http.Transport
}

func newShadow(m *mirror, o *options) *shadow {
	s := &shadow{
		mirror:        m,
		mirrored:      &m.counts.mirrored,
		address:       o.target.String(),
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
		rules:         o.compare,
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
		DisableCompression:     true, // answers are thrown away, or compared as they are
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

// outgoing returns the shadow's request for a live one: what Traefik's own proxy
// would make of it, by the same code, the standard library's reverse proxy. It
// copies the request, ends hop-by-hop headers, adds X-Forwarded-For and joins
// the path. Its transport refuses the scheme that the director sets before it
// does anything else, so that it gives up and hands ErrorHandler the request as
// it was to be sent.
//
// This is the only copy that is made of the request. It is made on the live path
// because the handlers behind may change headers and URL while the shadow's
// goroutine runs. It carries no body and must not be sent under its context,
// which is the live request's.
func outgoing(s *shadow, req *http.Request) *http.Request {
	var out *http.Request
	// Kept from the proxy, which closes what it gets: in older releases of Go, which
	// older Traefiks are built with, live's own body.
	body := req.Body
	req.Body = nil
	proxy := &httputil.ReverseProxy{
		Director:     s.director,
		Transport:    nowhere,
		ErrorHandler: func(_ http.ResponseWriter, made *http.Request, _ error) { out = made },
	}
	proxy.ServeHTTP(nil, req)
	req.Body = body
	return out
}

// send sends out with body to the shadow, reads the answer to its end and gives
// the place in flight back. It runs in a goroutine of its own: a panic that it
// did not recover would end Traefik.
//
// What only the shadow gets is set here, after the proxy has removed the headers
// that the client's Connection header names: a client must not remove the marker.
func send(s *shadow, out *http.Request, body []byte, p *pair) {
	defer func() {
		if v := recover(); v != nil {
			s.failed(fmt.Errorf("%w: %v", errPanic, v))
		}
		if s.mirror.inFlight.Add(-1) >= pausedPlaces {
			s.landed()
		}
	}()
	out.URL.Scheme = s.scheme
	if encodings := out.Header["Accept-Encoding"]; len(encodings) == 0 || encodings[0] == "" {
		acceptGzip(out)
	}
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
	if p != nil {
		exchangeCompared(s, out, body, p)
	} else if err := exchange(s, out, body); err != nil {
		s.failed(err)
	}
	if len(body) > ownBody {
		awaitLive(out)
	}
}

// awaitLive waits until live has been served, and does not hold the body any
// more: until then its memory counts among that of the requests in flight.
func awaitLive(out *http.Request) {
	// net/http's server ends a request's context when its handler has returned.
	if served := out.Context().Done(); served != nil {
		<-served
	}
}

// acceptGzip asks for what Traefik's transport asks live for, on the same terms.
func acceptGzip(out *http.Request) {
	if out.Header["Range"] == nil && out.Method != http.MethodHead {
		out.Header["Accept-Encoding"] = append(out.Header["Accept-Encoding"], "gzip")
	}
}

// exchange sends out and reads the answer to its end, within bounds.
func exchange(s *shadow, out *http.Request, body []byte) error {
	// Never the live request's context, and not the proxy's: that carries a hook
	// for 1xx answers, which lifts net/http's limit on them.
	ctx, cancel := context.WithTimeout(background, s.timeout)
	res, err := s.transport.RoundTrip(out.WithContext(ctx))
	if err == nil {
		err = drain(res)
	}
	cancel()
	if err == nil && (res.StatusCode/100 != 2 || s.mirrored.Add(1) > watchedCount) {
		countMore(s, ctx, body, res)
	}
	return err
}

// countMore counts an answer whose status is not 2xx and, while somebody looks,
// how long the exchange took and what was sent and read. The length of the request
// is not that of its head, which is unknown before trailers. It has the time from
// the deadline of the exchange, which has to be set anyway.
func countMore(s *shadow, ctx context.Context, body []byte, res *http.Response) {
	counts := &s.mirror.counts
	if res.StatusCode/100 != 2 {
		counts.answered(res.StatusCode)
		if s.mirrored.Add(1) < watchedCount {
			return
		}
	}
	if deadline, ok := ctx.Deadline(); ok {
		counts.measured(s.timeout-time.Until(deadline), int64(len(body)), res.ContentLength)
	}
}

// exchangeCompared is exchange with an answer that is kept and then compared with
// live's.
func exchangeCompared(s *shadow, out *http.Request, body []byte, p *pair) {
	ctx, cancel := context.WithTimeout(background, s.timeout)
	began := time.Now()
	res, err := s.transport.RoundTrip(out.WithContext(ctx))
	if err == nil {
		err = p.keep(res)
	}
	cancel()
	if err != nil {
		s.failed(err)
	} else {
		p.shadow.Took = time.Since(began)
		if res.StatusCode/100 != 2 || s.mirrored.Add(1) > watchedCount {
			countMore(s, ctx, body, res)
		}
	}
	judge(s, p, err)
}

// dress gives the request what only some shadows get, by their options.
func dress(s *shadow, out *http.Request) {
	if !s.passHost {
		out.Host = ""
	}
	if !s.mirrorBody {
		// One by one: a nil among several values panics when interpreted.
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
		if name == "User-Agent" {
			out.Header[name] = []string{""} // or net/http sends its own
		}
	}
}

// sendOnce keeps the transport from sending a request without a body again when
// a kept connection breaks, which it does for those that it takes to be
// idempotent: the shadow may have got it. See http.Request.isReplayable.
func sendOnce(out *http.Request) {
	if saysNoBody[out.Method] {
		sendOnceWithLength(out)
		return
	}
	// A Body, though empty, is one that cannot be sent again; with this encoding
	// the transport neither probes nor announces it.
	out.Body = io.NopCloser(bytes.NewReader(nil))
	out.TransferEncoding = identity
}

var (
	// saysNoBody are the methods with which net/http says Content-Length: 0, but
	// only of a request without a Body.
	saysNoBody = map[string]bool{http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true}

	identity = []string{"identity"}
)

// sendOnceWithLength is sendOnce for the methods in saysNoBody.
func sendOnceWithLength(out *http.Request) {
	if grpcType.MatchString(out.Header.Get("Content-Type")) {
		// A call without messages. A gRPC server waits for the end of the stream in
		// a frame of data, which only a body of unknown length has.
		out.Body = io.NopCloser(bytes.NewReader(nil))
		out.ContentLength = -1
		return
	}
	// These are idempotent to the transport by a header, which it does not know
	// by this name. To the shadow it is the same.
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if value := out.Header[name]; value != nil {
			delete(out.Header, name)
			out.Header[strings.ToLower(name)] = value
		}
	}
}

// drain reads the answer's body to its end, within bounds, and closes it. The
// length of what it has read takes the place of what the answer announced.
func drain(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		// The body is now the connection, and nothing bounds a read of it.
		res.Body.Close()
		return errSwitching
	}
	n, err := io.CopyN(io.Discard, res.Body, maxAnswer)
	res.Body.Close()
	res.ContentLength = n
	if err == io.EOF {
		return nil
	}
	return err
}
