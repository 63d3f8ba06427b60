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
)

// wireListener hands out connections that keep the heads of the requests that
// come in on them as they were sent.
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
		return context.WithValue(ctx, wireKey{}, c.wire)
	}
	return ctx
}

// wire reads a copy of one connection's bytes beside the server. Only a reader
// that understands them can tell where the next head begins: net/http reads
// ahead, so the place in the stream at which it calls a handler says nothing.
type wire struct {
	mu      sync.Mutex
	arrived sync.Cond
	heads   [][]byte
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
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil || req.Method == "PRI" { // HTTP/2
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
