package mirror

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// readBuffer is for a connection's answers, in bytes. It also bounds what is
	// read of bytes that a shadow sends unasked.
	readBuffer = 4 << 10

	// keptHead is the largest buffer for a request's head, in bytes, that a worker
	// keeps for its next.
	keptHead = 8 << 10

	// wholeWrite is the largest body, in bytes, that is copied behind its head, so
	// that both leave in one write. An idle worker holds no more than that of a body.
	wholeWrite = 4 << 10

	// keptWhole is the largest body of an answer, in bytes, that is read into one piece
	// of memory by a worker itself, where it is compared. An idle worker holds it.
	keptWhole = readBuffer

	// maxRawAnswer bounds what is read of an answer's body and what frames it, in bytes.
	// In chunks of one byte the body is a sixth of that.
	maxRawAnswer = 8 * maxAnswer

	// maxAge is how long a connection is used, more or less. After that the shadow's
	// name is asked anew, and may have another address.
	maxAge = 50 * time.Second

	// maxInformational is how many 1xx answers may come before the final one.
	maxInformational = 5
)

var (
	errHead          = errors.New("the request cannot be sent: a control character or a space in its method, URL, host or a trailer's name")
	errLargeHead     = errors.New("the head of the shadow's answer exceeded 262144 bytes")
	errInformational = errors.New("too many 1xx answers")
	errSwitching     = errors.New("the shadow switched protocols unasked")
)

// never is no deadline.
var never time.Time

// framing are the headers that are written by what frames a request, and not as they
// are in its header map. Those that net/http writes itself.
var framing = map[string]bool{"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Trailer": true}

// saysNoBody are the methods with which a request without a body says so, as with
// net/http.
var saysNoBody = map[string]bool{http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true}

// A connection is one to a shadow over HTTP/1.1, with TLS or without, and belongs to one
// worker.
//
// All but its watcher is the worker's goroutine: it writes the request, waits for
// ready, reads the answer, and then says done. In between the watcher alone reads.
type connection struct {
	conn   net.Conn
	raw    net.Conn          // what is below TLS; without it conn
	reader *bufio.Reader     // over limit
	limit  *io.LimitedReader // over conn; what may be read of the answer
	until  time.Time         // when it has been used for long enough; asked at every fourth use
	uses   int

	// ready has a token once there is something to read, or there never will be, for
	// the reason err: then the watcher has ended. Where it has one before a request is
	// written, the connection is of no use any more. Both channels have room for one.
	ready chan bool
	done  chan bool
	err   error // set by the watcher before its last token
}

// dial gives the worker a connection, by deadline. With an https shadow that chooses
// HTTP/2 it returns the connection instead, and the worker has none.
func dial(w *worker, deadline time.Time) (net.Conn, error) {
	s := w.shadow
	dialer := &net.Dialer{Deadline: deadline}
	var conn, raw net.Conn
	if s.secure == nil {
		plain, err := dialer.Dial("tcp", s.hostPort)
		if err != nil {
			return nil, err
		}
		conn = plain
		raw = plain
	} else {
		secure, err := tls.DialWithDialer(dialer, "tcp", s.hostPort, s.secure)
		if err != nil {
			return nil, err
		}
		if speaksHTTP2(secure) {
			return secure, nil
		}
		conn = secure
		raw = secure.NetConn()
	}
	limit := &io.LimitedReader{R: conn, N: maxAnswerHeader}
	w.connection = &connection{
		conn:   conn,
		raw:    raw,
		reader: bufio.NewReaderSize(limit, readBuffer),
		limit:  limit,
		until:  time.Now().Add(drawAge(s.maxAge)),
		ready:  make(chan bool, 1),
		done:   make(chan bool, 1),
	}
	go startWatcher(w.connection)
	tend(s)
	return nil, nil
}

// startWatcher is awaitAnswers. A variable, so that a watcher's frame does not keep the
// frames of whoever started it.
var startWatcher func(*connection)

func init() { startWatcher = awaitAnswers }

// awaitAnswers waits for each answer of the connection to begin. It is what notices
// that a shadow has closed a connection that is kept: nothing short of a read that
// waits does. (One whose deadline has passed already returns without having looked.)
func awaitAnswers(c *connection) {
	defer func() { recover() }()
	var err error
	more := true
	ok := true
	for more && ok {
		_, err = c.reader.Peek(1)
		if err != nil {
			c.err = err
			c.raw.Close()
			c.ready <- true
			return
		}
		c.ready <- true
		more, ok = <-c.done
	}
}

// cut ends the worker's connection, and its watcher, at once. (To close one with TLS is
// to write to it, which waits for seconds where the shadow does not read.)
func (w *worker) cut() {
	if w.connection != nil {
		w.connection.raw.Close()
		w.drop()
	}
}

// drop ends the worker's connection, which is idle, and its watcher.
func (w *worker) drop() {
	if w.connection != nil {
		w.connection.conn.Close()
		w.connection.done <- false
		w.connection = nil
	}
}

// writeBody writes the body of a copy, behind the head. It is a function of its own so
// that no worker's frame holds a large body until the next copy comes.
func writeBody(c *connection, out *http.Request) error {
	// The reader writes itself to the connection in one piece.
	_, err := io.Copy(c.conn, out.Body)
	return err
}

// writeWhole writes a copy whose body has trailers, and so comes in chunks.
func writeWhole(c *connection, out *http.Request, host string) error {
	b := bufio.NewWriter(c.conn)
	out.Host = host
	out.ContentLength = -1
	out.Close = false // that concerned live's connection
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = []string{""} // or net/http writes its own
	}
	if err := out.WithContext(background).Write(b); err != nil {
		return err
	}
	return b.Flush()
}

// skipInformational reads on over 1xx answers to the final one.
func skipInformational(c *connection, out *http.Request, res *http.Response) (*http.Response, error) {
	var err error
	for i := 0; err == nil && res.StatusCode < http.StatusOK && res.StatusCode != http.StatusSwitchingProtocols; i++ {
		if i == maxInformational {
			return nil, errInformational
		}
		res, err = http.ReadResponse(c.reader, out)
	}
	return res, err
}

// safe reports whether a method and a host can be written into a request's head.
// Those of a client's request can; another middleware may have set others.
func safe(method, host string) bool {
	return isToken(method) && !strings.ContainsAny(host, unsafeInHead)
}

// sentByClient reports whether a URL with something unsafe in it may be what a client
// has sent all the same. Over HTTP/2 its query can have spaces; control characters
// net/http's server refuses. RequestURI alone does not tell: whoever changes the URL
// may set it too, as Traefik's own middlewares do.
func sentByClient(out *http.Request, uri string) bool {
	return uri == out.RequestURI && !strings.ContainsAny(uri, controls)
}

// safeTrailer reports whether the names of trailers can be written into a request's
// head.
func safeTrailer(trailer http.Header) bool {
	for name := range trailer {
		if !isToken(name) {
			return false
		}
	}
	return true
}

// unusualInURL is what a URL is looked at more closely for, before it is sent.
const unusualInURL = unsafeInHead + ";"

// unsafeInHead is what must not be in a method, a URL or a host: the control
// characters, and the space.
const unsafeInHead = controls + " "

const controls = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f" +
	"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f"

// usualMethods are those that need not be looked at.
var usualMethods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true,
	http.MethodPatch: true, http.MethodDelete: true, http.MethodOptions: true,
}
