package testbed

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wireListener hands out connections that keep the heads of the requests that
// come in on them as they were sent. Over a listener of TLS these are what TLS
// has carried.
type wireListener struct{ net.Listener }

func (l wireListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	c := &wireConn{Conn: conn, copied: w, wire: &wire{}}
	c.wire.arrived.L = &c.wire.mu
	go c.wire.follow(r)
	return c, nil
}

type wireConn struct {
	net.Conn
	copied *io.PipeWriter
	wire   *wire
}

func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.copied.Write(p[:n])
	return n, err
}

func (c *wireConn) Close() error {
	c.copied.Close()
	return c.Conn.Close()
}

type wireKey struct{}

func withWire(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*wireConn); ok {
		return context.WithValue(ctx, wireKey{}, c)
	}
	return ctx
}

// A stream is a request as HTTP/2 has carried it.
type stream struct {
	fields   []Field
	headEnds bool
	taken    bool
}

// wire reads a copy of one connection's bytes beside the server. Only a reader
// that understands them can tell where the next head begins: net/http reads
// ahead, so the place in the stream at which it calls a handler says nothing.
type wire struct {
	mu      sync.Mutex
	arrived sync.Cond
	heads   [][]byte
	streams []*stream // of HTTP/2, in the order of their heads
	ended   bool
}

// next returns the first head that it has not returned yet, or nil if the
// connection ended or carries something else by now.
func (w *wire) next() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.heads) == 0 && !w.ended {
		w.arrived.Wait()
	}
	if len(w.heads) == 0 {
		return nil
	}
	head := w.heads[0]
	w.heads = w.heads[1:]
	return head
}

// nextStream is next for HTTP/2, where handlers begin in any order: it returns the
// first stream that is for the same method and target.
func (w *wire) nextStream(req *http.Request) *stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for _, s := range w.streams {
			if !s.taken && pseudo(s.fields, ":method") == req.Method && pseudo(s.fields, ":path") == req.RequestURI {
				s.taken = true
				return s
			}
		}
		if w.ended {
			return nil
		}
		w.arrived.Wait()
	}
}

// pseudo returns the value of a pseudo-header field.
func pseudo(fields []Field, name string) string {
	for _, f := range fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func (w *wire) follow(r io.Reader) {
	br := bufio.NewReader(r)
	for w.followRequest(br) {
	}
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.arrived.Broadcast()
	io.Copy(io.Discard, br) // the connection blocks on a pipe that nobody reads
}

// followRequest reads one request and reports whether another can follow.
func (w *wire) followRequest(br *bufio.Reader) bool {
	head, err := readHead(br)
	if err != nil {
		return false
	}
	if bytes.HasPrefix(head, []byte("PRI ")) {
		w.followFrames(br)
		return false
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return false
	}
	w.mu.Lock()
	w.heads = append(w.heads, head)
	w.mu.Unlock()
	w.arrived.Broadcast()

	if slices.Contains(req.TransferEncoding, "chunked") {
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(br)); err != nil {
			return false
		}
		_, err = readHead(br) // the trailers
		return err == nil
	}
	_, err = io.CopyN(io.Discard, br, req.ContentLength)
	return err == nil
}

// followFrames reads the frames of HTTP/2, behind the first lines of its preface.
func (w *wire) followFrames(br *bufio.Reader) {
	if _, err := br.Discard(len("SM\r\n\r\n")); err != nil {
		return
	}
	framer := http2.NewFramer(io.Discard, br)
	framer.SetMaxReadFrameSize(1<<24 - 1)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		head, ok := frame.(*http2.MetaHeadersFrame)
		if !ok || len(head.PseudoFields()) == 0 { // as trailers have none
			continue
		}
		w.mu.Lock()
		w.streams = append(w.streams, &stream{fields: fieldsOf(head.Fields), headEnds: head.StreamEnded()})
		w.mu.Unlock()
		w.arrived.Broadcast()
	}
}

// readHead returns everything up to the first empty line, and that.
func readHead(br *bufio.Reader) ([]byte, error) {
	var head []byte
	for {
		line, err := br.ReadBytes('\n')
		head = append(head, line...)
		if err != nil {
			return head, err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return head, nil
		}
	}
}
