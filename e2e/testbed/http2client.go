package testbed

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An HTTP2Client is one connection on which requests are sent as they are given,
// several at once if need be.
type HTTP2Client struct {
	conn   net.Conn
	framer *http2.Framer

	// mu guards what follows, and the writing of frames; changed tells of
	// everything that a sender may wait for.
	mu       sync.Mutex
	changed  sync.Cond
	encoder  *hpack.Encoder
	block    bytes.Buffer // of the encoder
	last     uint32       // the last stream
	window   int64        // how much of bodies may be sent in all
	initial  int64        // the same, of a new stream
	maxFrame int
	streams  map[uint32]*clientStream
	err      error // why the connection is of no use any more
}

type clientStream struct {
	answer FramedAnswer
	window int64
	err    error
	done   chan struct{} // closed with the end of the answer
	over   bool
}

// DialHTTP2 connects to a server that is known to speak HTTP/2, or with a
// configuration of TLS to one that agrees to.
func DialHTTP2(ctx context.Context, addr string, config *tls.Config) (*HTTP2Client, error) {
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2"}
	}
	conn, err := dialRaw(ctx, addr, config)
	if err != nil {
		return nil, err
	}
	c := &HTTP2Client{
		conn:     conn,
		framer:   http2.NewFramer(conn, conn),
		window:   65535,
		initial:  65535,
		maxFrame: 16 << 10,
		streams:  map[uint32]*clientStream{},
	}
	c.changed.L = &c.mu
	c.encoder = hpack.NewEncoder(&c.block)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err = io.WriteString(conn, http2.ClientPreface); err == nil {
		// Room for any answer, so that none has to be made.
		err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	}
	if err == nil {
		err = c.framer.WriteWindowUpdate(0, 1<<30)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("testbed: HTTP/2: %w", err)
	}
	go c.read()
	return c, nil
}

// Close closes the connection.
func (c *HTTP2Client) Close() error { return c.conn.Close() }

// Exchange sends the request on a stream of its own and returns the whole answer. It
// fails, with what has come of it, if the answer is not whole, whoever is to blame.
func (c *HTTP2Client) Exchange(ctx context.Context, request FramedRequest) (*FramedAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, rawPatience)
	defer cancel()
	s, err := c.send(ctx, request)
	if err != nil {
		return &FramedAnswer{}, fmt.Errorf("testbed: HTTP/2: %w", err)
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return &FramedAnswer{}, fmt.Errorf("testbed: HTTP/2: %w", ctx.Err())
	}
	if s.err != nil {
		return &s.answer, fmt.Errorf("testbed: HTTP/2: %w", s.err)
	}
	return &s.answer, nil
}

func (c *HTTP2Client) send(ctx context.Context, request FramedRequest) (*clientStream, error) {
	defer context.AfterFunc(ctx, c.changed.Broadcast)()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.last += 2
	if c.last == 2 {
		c.last = 1
	}
	id := c.last
	s := &clientStream{window: c.initial, done: make(chan struct{})}
	c.streams[id] = s
	body, trailers := request.Body, len(request.Trailers) > 0
	headEnds := len(body) == 0 && !trailers && !request.Open
	if err := c.writeHead(id, request.Fields, headEnds); err != nil || headEnds {
		return s, err
	}
	most := c.maxFrame
	if request.Pieces > 0 {
		most = min(most, request.Pieces)
	}
	for len(body) > 0 {
		for c.err == nil && !s.over && ctx.Err() == nil && min(c.window, s.window) <= 0 {
			c.changed.Wait()
		}
		if c.err != nil || s.over || ctx.Err() != nil {
			return s, c.err // an answer may come before the body is sent
		}
		piece := body[:min(int64(len(body)), int64(most), c.window, s.window)]
		body = body[len(piece):]
		c.window -= int64(len(piece))
		s.window -= int64(len(piece))
		if err := c.framer.WriteData(id, len(body) == 0 && !trailers, piece); err != nil {
			return s, err
		}
	}
	switch {
	case trailers:
		return s, c.writeHead(id, request.Trailers, true)
	case len(request.Body) == 0:
		return s, c.framer.WriteData(id, true, nil)
	}
	return s, nil
}

// writeHead writes the fields in as many frames as they take.
func (c *HTTP2Client) writeHead(id uint32, fields []Field, end bool) error {
	c.block.Reset()
	for _, f := range fields {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value}); err != nil {
			return err
		}
	}
	piece := c.block.Next(c.maxFrame)
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: piece, EndStream: end, EndHeaders: c.block.Len() == 0})
	for err == nil && c.block.Len() > 0 {
		piece = c.block.Next(c.maxFrame)
		err = c.framer.WriteContinuation(id, c.block.Len() == 0, piece)
	}
	return err
}

// read takes what the server sends until the connection ends.
func (c *HTTP2Client) read() {
	for {
		frame, err := c.framer.ReadFrame()
		c.mu.Lock()
		if err == nil {
			err = c.take(frame)
		}
		if err != nil {
			c.err = err
			for id := range c.streams {
				c.end(id, err)
			}
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *HTTP2Client) take(frame http2.Frame) error {
	id := frame.Header().StreamID
	s := c.streams[id]
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if frame.IsAck() {
			return nil
		}
		if size, ok := frame.Value(http2.SettingInitialWindowSize); ok {
			for _, s := range c.streams {
				s.window += int64(size) - c.initial
			}
			c.initial = int64(size)
		}
		if size, ok := frame.Value(http2.SettingMaxFrameSize); ok {
			c.maxFrame = int(size)
		}
		if size, ok := frame.Value(http2.SettingHeaderTableSize); ok {
			c.encoder.SetMaxDynamicTableSizeLimit(size)
		}
		return c.framer.WriteSettingsAck()
	case *http2.WindowUpdateFrame:
		if id == 0 {
			c.window += int64(frame.Increment)
		} else if s != nil {
			s.window += int64(frame.Increment)
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			return c.framer.WritePing(true, frame.Data)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server goes away: %s %s", frame.ErrCode, frame.DebugData())
	case *http2.RSTStreamFrame:
		if s == nil {
			return nil
		}
		// A server that has answered may refuse the rest of a request.
		var err error
		if frame.ErrCode != http2.ErrCodeNo || s.answer.Fields == nil {
			err = fmt.Errorf("the stream was reset: %s", frame.ErrCode)
		}
		c.end(id, err)
	case *http2.MetaHeadersFrame:
		if s != nil {
			s.answer.Add(fieldsOf(frame.Fields))
			if frame.StreamEnded() {
				c.end(id, nil)
			}
		}
	case *http2.DataFrame:
		if s != nil {
			s.answer.Body = append(s.answer.Body, frame.Data()...)
			if frame.StreamEnded() {
				c.end(id, nil)
			}
		}
	}
	return nil
}

// end ends the stream.
func (c *HTTP2Client) end(id uint32, err error) {
	s := c.streams[id]
	s.err, s.over = err, true
	close(s.done)
	delete(c.streams, id)
}
