package mirror

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The exchange with a shadow over HTTP/2, through http.Transport: with h2c, and with
// https where ALPN chooses it. Transport is not used for HTTP/1.1. It would send a
// request without a body again when a kept connection turns out dead, and log what a
// shadow sends behind an answer.

const (
	// idleMultiplexed is how long a connection over HTTP/2 waits for the next exchange.
	// It is short because the connection is pinged meanwhile: a gRPC server ends one
	// that pings more than twice or so without a call.
	idleMultiplexed = 3 * time.Second

	// sendPing is how long a connection over HTTP/2 may be silent until it is pinged,
	// and pingTimeout how long until it is given up if it stays so. Where the option
	// timeout is long, a third of it takes the place of sendPing: no exchange has its
	// connection pinged more often than twice, for the same reason.
	sendPing    = 2 * time.Second
	pingTimeout = time.Second

	// What an answer may hold in memory before it is read, in bytes: of one exchange, and
	// of all that share a connection. net/http's own bounds are 4 MiB and 1 GiB.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20

	// timeoutsToRenew is how many exchanges in a row have to time out on a lane before it
	// is used no more, where net/http cannot ping.
	timeoutsToRenew = 3

	// askAgain is how long a shadow has to say its limit. Then it is asked again.
	askAgain = 5 * time.Second
)

var (
	errNoHTTP2 = errors.New("the shadow does not speak HTTP/2")
	errRefused = errors.New("the shadow refused the request before it answered, over HTTP/2")
)

// A multiplexer has the connections to a shadow over HTTP/2, which all workers share. It
// is empty where the URL is http.
//
// A server says how many streams a connection may have at once, and refuses those above
// it. net/http learns that with the first frame, but until then it begins up to a
// hundred, and on any new connection again. So the shadow is asked beforehand, on a
// connection for that, and until it has said it each exchange has a connection to itself.
type multiplexer struct {
	up     sign // the shadow speaks HTTP/2; changed with mu held
	always bool // it is h2c: there is nothing else
	pings  bool // net/http gives up a connection that is silent
	maxAge time.Duration

	// origin is never used for an exchange, only cloned: a clone has the same functions
	// that dial. Interpreted, new ones would keep the frames of whoever made them, the
	// transport before among what is in there.
	origin *http.Transport
	scheme string      // http or https, for net/http
	dials  string      // the host that it dials, with its port
	secure *tls.Config // nil: h2c

	mu    sync.Mutex
	lanes []*lane
	limit int64     // how many streams a connection may have
	ask   time.Time // when to ask for that again
}

// A lane is a connection over HTTP/2, seen from here: a transport that has one, or none
// while it is idle. The multiplexer's mu guards what changes.
type lane struct {
	transport *http.Transport
	until     time.Time // then another takes its place
	used      int64     // exchanges under way
	timeouts  int       // in a row
}

// newMultiplexer returns the multiplexer for the options. dials is what to dial.
func newMultiplexer(o *options, dials string) *multiplexer {
	x := &multiplexer{up: make(sign, 1), maxAge: maxAge, dials: dials, scheme: o.target.Scheme, limit: 1}
	if x.scheme == "http" {
		return x
	}
	x.origin = newTransport(o)
	x.pings = configureHTTP2(x.origin, o.timeout)
	if x.scheme == "h2c" {
		x.scheme = "http"
		x.always = true
		speakH2C(x.origin)
		x.up.put()
	} else {
		// A clone, because this is when net/http says which protocols to offer.
		x.secure = x.origin.Clone().TLSClientConfig
	}
	return x
}

// newTransport returns what connections over HTTP/2 are made from. None goes through
// the environment's proxies. There is no bound for their number but the one that the
// workers are: each new one is for an exchange that finds no other with room, and with
// MaxConnsPerHost it would wait for that in vain.
func newTransport(o *options) *http.Transport {
	// A dial goes on after the exchange that wanted it has timed out; without a bound of
	// its own it would last for minutes.
	dialer := &net.Dialer{Timeout: o.timeout}
	t := &http.Transport{
		IdleConnTimeout:        idleMultiplexed,
		MaxResponseHeaderBytes: maxAnswerHeader,
		TLSClientConfig:        o.tlsConfig,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // answers are thrown away, or compared as they are
	}
	if o.tlsConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	// Both run in a goroutine of net/http's. Function literals, because the interpreter
	// refuses method values.
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		defer func() { recover() }() // nil and nil is an error to net/http
		return dialer.DialContext(ctx, network, address)
	}
	// A clone, because this is when net/http says which protocols to offer.
	secure := &tls.Dialer{NetDialer: dialer, Config: t.Clone().TLSClientConfig}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		defer func() { recover() }()
		if conn := takeDialed(ctx); conn != nil {
			return conn, nil
		}
		conn, err := secure.DialContext(ctx, network, address)
		if err == nil && !speaksHTTP2(conn.(*tls.Conn)) {
			conn.Close()
			return nil, errNoHTTP2
		}
		return conn, err
	}
	return t
}

// speaksHTTP2 reports whether both ends have agreed on HTTP/2.
func speaksHTTP2(conn *tls.Conn) bool { return conn.ConnectionState().NegotiatedProtocol == "h2" }

// configureHTTP2 sets what net/http has for HTTP/2 since Go 1.24, and reports whether it
// has it. It goes by reflection because the interpreter knows the library of Go 1.22.
func configureHTTP2(transport interface{}, timeout time.Duration) bool {
	field := reflect.ValueOf(transport).Elem().FieldByName("HTTP2")
	if !field.IsValid() {
		return false
	}
	ping := sendPing
	if timeout/3 > ping {
		ping = timeout / 3
	}
	config := reflect.New(field.Type().Elem())
	config.Elem().FieldByName("SendPingTimeout").SetInt(int64(ping))
	config.Elem().FieldByName("PingTimeout").SetInt(int64(pingTimeout))
	config.Elem().FieldByName("MaxReceiveBufferPerStream").SetInt(streamWindow)
	config.Elem().FieldByName("MaxReceiveBufferPerConnection").SetInt(connectionWindow)
	field.Set(config)
	return true
}

// speakH2C has a transport speak HTTP/2 without TLS and nothing else, and reports
// whether it can, which is so since Go 1.24.
func speakH2C(transport interface{}) bool {
	field := reflect.ValueOf(transport).Elem().FieldByName("Protocols")
	if !field.IsValid() {
		return false
	}
	protocols := reflect.New(field.Type().Elem())
	protocols.MethodByName("SetUnencryptedHTTP2").Call([]reflect.Value{reflect.ValueOf(true)})
	field.Set(protocols)
	return true
}

// canH2C is whether the net/http that Traefik was built with has h2c. A variable for the
// tests.
var canH2C = speakH2C(&http.Transport{})

// setUp notes whether the shadow speaks HTTP/2.
func (x *multiplexer) setUp(up bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if up {
		x.up.put()
	} else if !x.always {
		x.up.take()
	}
}

// enter returns the lane for the next exchange, which is on it until leave. A lane that
// is older than maxAge, more or less, is not among them: a new one asks anew for the
// shadow's name. The connection of the old one ends idleMultiplexed after its last
// exchange.
func (x *multiplexer) enter() *lane {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	if now.After(x.ask) {
		x.ask = now.Add(askAgain)
		go startAsking(x)
	}
	var found *lane
	for i := 0; i < len(x.lanes) && found == nil; i++ {
		if l := x.lanes[i]; l.used < x.limit && now.Before(l.until) {
			found = l
		}
	}
	if found == nil {
		found = &lane{transport: x.origin.Clone(), until: now.Add(drawAge(x.maxAge))}
		lanes := []*lane{found}
		for _, l := range x.lanes {
			if now.Before(l.until) {
				lanes = append(lanes, l)
			}
		}
		x.lanes = lanes
	}
	found.used++
	return found
}

// leave notes how an exchange has ended. Where net/http cannot ping, a lane is used no
// more after a few timeouts: its connection may be one that has gone silent.
func (x *multiplexer) leave(l *lane, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	l.used--
	l.timeouts++
	if !errors.Is(err, context.DeadlineExceeded) {
		l.timeouts = 0
	}
	if l.timeouts >= timeoutsToRenew && !x.pings {
		l.until = time.Time{}
	}
}

// closeIdle closes the connections that are idle.
func (x *multiplexer) closeIdle() {
	x.mu.Lock()
	lanes := append([]*lane{}, x.lanes...)
	x.mu.Unlock()
	for _, l := range lanes {
		l.transport.CloseIdleConnections()
	}
}

// startAsking is askForLimit. A variable, so that its frame does not keep those of
// whoever started it.
var startAsking func(*multiplexer)

func init() { startAsking = askForLimit }

// askForLimit asks the shadow how many streams a connection may have. It runs in a
// goroutine of its own.
func askForLimit(x *multiplexer) {
	defer func() { recover() }()
	limit, err := x.askedLimit()
	if err != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.limit = limit
	x.ask = time.Now().Add(drawAge(x.maxAge))
}

// askedLimit makes a connection and reads the first frame, in which a server says it
// (RFC 9113, sections 3.4 and 6.5).
func (x *multiplexer) askedLimit() (int64, error) {
	deadline := time.Now().Add(askAgain)
	dialer := &net.Dialer{Deadline: deadline}
	var conn net.Conn
	var err error
	if x.secure == nil {
		conn, err = dialer.Dial("tcp", x.dials)
	} else {
		var secure *tls.Conn
		secure, err = tls.DialWithDialer(dialer, "tcp", x.dials, x.secure)
		if err == nil && !speaksHTTP2(secure) {
			secure.Close()
			err = errNoHTTP2
		}
		conn = secure
	}
	if err != nil {
		return 0, err
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(deadline)
	if _, err = io.WriteString(conn, http2Preface); err != nil {
		return 0, err
	}
	return readLimit(conn)
}

// http2Preface is what a client begins with: the preface, and a frame with no settings.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// readLimit returns how many streams the settings allow that a server begins with.
func readLimit(r io.Reader) (int64, error) {
	const settings, mostStreams, each = 4, 3, 6 // a kind of frame; one of them; bytes
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, err
	}
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if head[3] != settings || length > 16<<10 || length%each != 0 {
		return 0, errNoHTTP2
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, err
	}
	limit := int64(math.MaxInt64)
	for i := 0; i < length; i += each {
		if binary.BigEndian.Uint16(payload[i:]) == mostStreams {
			limit = int64(binary.BigEndian.Uint32(payload[i+2:]))
		}
	}
	if limit < 1 {
		limit = 1
	}
	return limit, nil
}

// A dialed is a connection that a worker has made, and that speaks HTTP/2. The exchange
// for which it was made has it in its context.
type dialed struct {
	mu   sync.Mutex
	conn net.Conn // nil: it was taken
}

// dialedKey is where a context has a dialed. A pointer, because the interpreter erases
// the types of keys.
var dialedKey = new(int)

// takeDialed returns the connection that was made for the exchange; nil for none. It
// runs in a goroutine of net/http's.
func takeDialed(ctx context.Context) net.Conn {
	d, ok := ctx.Value(dialedKey).(*dialed)
	if !ok {
		return nil
	}
	return d.take()
}

func (d *dialed) take() net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	conn := d.conn
	d.conn = nil
	return conn
}

// reach is for a worker without a connection of its own: it gives it one to a shadow
// that speaks HTTP/1.1, and has the exchange over HTTP/2 with any other. Then it returns
// the answer, with the error that it ended with, if there is one.
func reach(w *worker, out *http.Request, p *pair, host string, deadline time.Time) (*http.Response, error) {
	x := w.shadow.over2
	if len(x.up) > 0 {
		res, err := roundTrip(x, out, p, host, nil, deadline)
		if err == nil || !errors.Is(err, errNoHTTP2) {
			return res, err
		}
		// Other servers have taken the shadow's name. Nothing has been sent yet.
		x.setUp(false)
	}
	conn, err := dial(w, deadline)
	if err != nil || conn == nil {
		return nil, err
	}
	x.setUp(true)
	return roundTrip(x, out, p, host, conn, deadline)
}

// roundTrip is the exchange over HTTP/2. conn is a connection that was made for it, or
// nil. The answer is read to its end, and kept for the pair, if there is one. Where its
// head came, it is returned beside an error too.
func roundTrip(x *multiplexer, out *http.Request, p *pair, host string, conn net.Conn, deadline time.Time) (*http.Response, error) {
	// Never the live request's context, nor what hangs on it.
	ctx, cancel := context.WithDeadline(background, deadline)
	defer func() { cancel() }()
	if conn != nil {
		d := &dialed{conn: conn}
		ctx = context.WithValue(ctx, dialedKey, d)
		defer func() { closeUnused(d) }()
	}
	again := &atomic.Bool{}
	if len(out.Trailer) > 0 {
		out.ContentLength = -1
	} else if out.ContentLength != 0 {
		out.TransferEncoding = nil // there is a body, and HTTP/2 frames it itself
	} else if saysNoBody[out.Method] && grpcType.MatchString(out.Header.Get("Content-Type")) {
		// A call without messages. A gRPC server waits for the end of the stream in a
		// frame of data, which only a body of unknown length has.
		out.Body = io.NopCloser(bytes.NewReader(nil))
		out.ContentLength = -1
	} else {
		out.Body = nil // the request ends with its head
		ctx = sendOnce(ctx, cancel, again)
	}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // or net/http sends its own
	}
	out.URL.Scheme = x.scheme
	out.URL.Host = x.dials
	out.Host = host
	// Without GetBody a body cannot be sent twice.
	out.GetBody = nil
	out.Close = false // that concerned live's connection
	l := x.enter()
	ended := errPanic
	defer func() { x.leave(l, ended) }()
	res, err := l.transport.RoundTrip(out.WithContext(ctx))
	if err == nil {
		_, err = finish(res, p)
		res.Body.Close()
		res.Request = nil // it has the body, and an idle worker the answer
	} else if again.Load() {
		err = errRefused
	}
	ended = err
	return res, err
}

func closeUnused(d *dialed) {
	if conn := d.take(); conn != nil {
		conn.Close()
	}
}

// sendOnce keeps net/http from sending a request without a body again on another
// connection, which it does when the server resets its stream with REFUSED_STREAM, for
// a GOAWAY, and with PROTOCOL_ERROR too, which does not say that the server has done
// nothing with it. (On the same connection it is surely the first of these.) again says
// that this has happened. The functions run in goroutines of net/http's.
func sendOnce(ctx context.Context, cancel func(), again *atomic.Bool) context.Context {
	mu := &sync.Mutex{}
	var last net.Conn // guarded by mu
	sent := false     // guarded by mu
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			defer func() { recover() }()
			mu.Lock()
			defer mu.Unlock()
			if sent && info.Conn != last {
				again.Store(true)
				cancel() // net/http asks for that before it writes
			}
			last = info.Conn
		},
		WroteHeaders: func() {
			defer func() { recover() }()
			mu.Lock()
			defer mu.Unlock()
			sent = true
		},
	})
}

// drawAge returns how long connections are used that are to be for about so long: spread,
// so that they are not all made anew at once.
func drawAge(age time.Duration) time.Duration {
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(age))
}

var errNotDialed = errors.New("not dialed")

// hostsOf returns the host of a URL as it is dialed, with its port, and as a request
// names it. Names that are not ASCII are translated by net/http, which has what that
// takes, without a connection: it is asked where it would dial.
func hostsOf(target *url.URL) (dials, names string) {
	names = target.Host
	port := target.Port()
	if port == "" {
		port = defaultPorts[target.Scheme]
	}
	host := target.Hostname()
	if !plainHost(host) {
		host = translated(target)
		names = host
		if strings.Contains(host, ":") {
			// A zone is this machine's own affair.
			names, _, _ = strings.Cut(host, "%")
			names = "[" + names + "]"
		}
		if target.Port() != "" {
			names += ":" + port
		}
	}
	return net.JoinHostPort(host, port), names
}

// defaultPorts are those of the schemes.
var defaultPorts = map[string]string{"http": "80", "https": "443", "h2c": "80"}

// plainHost reports whether a host needs no translation: names that are not ASCII do,
// and addresses with a zone.
func plainHost(host string) bool {
	for _, c := range host {
		if c > '~' || c == '%' {
			return false
		}
	}
	return true
}

// translated returns the host that net/http would dial.
func translated(target *url.URL) string {
	host := target.Hostname()
	t := &http.Transport{DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
		defer func() { recover() }()
		if dials, _, err := net.SplitHostPort(address); err == nil {
			host = dials
		}
		return nil, errNotDialed
	}}
	t.RoundTrip(&http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: target.Host}, Header: http.Header{}})
	return host
}
