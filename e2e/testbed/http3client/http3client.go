// Package http3client has a client of HTTP/3 that sends requests as they are given. It is
// a package of its own so that what it needs is not required by all that stands on the
// test bed.
package http3client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// patience bounds an exchange whose context has no earlier deadline.
const patience = 30 * time.Second

// The types of HTTP/3's streams and frames that a [Client] needs (RFC 9114,
// section 11.2).
const (
	controlStream = 0x0
	dataFrame     = 0x0
	headersFrame  = 0x1
	settingsFrame = 0x4
)

// A Client is one connection on which requests are sent as they are given,
// several at once if need be.
type Client struct{ conn *quic.Conn }

// Dial connects to a server.
func Dial(ctx context.Context, addr string, config *tls.Config) (*Client, error) {
	config = config.Clone()
	config.NextProtos = []string{"h3"}
	conn, err := quic.DialAddr(ctx, addr, config, &quic.Config{})
	if err != nil {
		return nil, fmt.Errorf("http3client: %w", err)
	}
	control, err := conn.OpenUniStream()
	if err == nil {
		_, err = control.Write([]byte{controlStream, settingsFrame, 0})
	}
	if err != nil {
		conn.CloseWithError(0, "")
		return nil, fmt.Errorf("http3client: %w", err)
	}
	return &Client{conn: conn}, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.CloseWithError(0, "") }

// Exchange sends the request on a stream of its own and returns the whole answer. It
// fails, with what has come of it, if the answer is not whole, whoever is to blame.
func (c *Client) Exchange(ctx context.Context, request testbed.FramedRequest) (*testbed.FramedAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer := &testbed.FramedAnswer{}
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return answer, fmt.Errorf("http3client: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		stream.CancelRead(0)
		stream.CancelWrite(0)
	})()
	// Sent beside: an answer may come before the body is sent.
	go send(stream, request)
	if err := receive(stream, answer); err != nil {
		return answer, fmt.Errorf("http3client: %w", err)
	}
	return answer, nil
}

func send(stream *quic.Stream, request testbed.FramedRequest) {
	write := func(kind uint64, payload []byte) bool {
		frame := quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload)))
		_, err := stream.Write(append(frame, payload...))
		return err == nil
	}
	if !write(headersFrame, fieldSection(request.Fields)) {
		return
	}
	body, most := request.Body, len(request.Body)
	if request.Pieces > 0 {
		most = request.Pieces
	}
	for len(body) > 0 {
		n := min(most, len(body))
		if !write(dataFrame, body[:n]) {
			return
		}
		body = body[n:]
	}
	if request.Open && len(request.Body) == 0 && !write(dataFrame, nil) {
		return
	}
	if len(request.Trailers) > 0 && !write(headersFrame, fieldSection(request.Trailers)) {
		return
	}
	stream.Close()
}

// fieldSection is the fields as a frame has them.
func fieldSection(fields []testbed.Field) []byte {
	var section bytes.Buffer
	encoder := qpack.NewEncoder(&section)
	for _, f := range fields {
		encoder.WriteField(qpack.HeaderField{Name: f.Name, Value: f.Value})
	}
	return section.Bytes()
}

func receive(stream *quic.Stream, answer *testbed.FramedAnswer) error {
	decoder := qpack.NewDecoder()
	for br := bufio.NewReader(stream); ; {
		kind, err := quicvarint.Read(br)
		if errors.Is(err, io.EOF) && answer.Fields != nil {
			return nil
		}
		if err != nil {
			return err
		}
		size, err := quicvarint.Read(br)
		if err != nil {
			return err
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(br, payload); err != nil {
			return err
		}
		switch kind {
		case dataFrame:
			answer.Body = append(answer.Body, payload...)
		case headersFrame:
			next, fields := decoder.Decode(payload), []testbed.Field(nil)
			for {
				f, err := next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					return err
				}
				fields = append(fields, testbed.Field{Name: f.Name, Value: f.Value})
			}
			answer.Add(fields)
		}
	}
}
