package testbed

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// rawPatience bounds an exchange whose context has no earlier deadline.
const rawPatience = 30 * time.Second

// RawOptions say how [Exchange] sends and how long it listens. The zero value
// sends all at once and listens until one final answer is complete.
type RawOptions struct {
	// TLS makes the connection one of TLS, with this configuration.
	TLS *tls.Config

	// Pieces sends that many bytes at a time, with Pause between; 0 sends all
	// at once.
	Pieces int
	Pause  time.Duration

	// CloseWrite closes the sending half after the last byte.
	CloseWrite bool

	// Abort closes the connection after the last byte, without reading; Linger
	// is how long it stays open before that.
	Abort  bool
	Linger time.Duration

	// Answers is how many final answers to read, for pipelined requests; 0
	// means one, -1 all until the server closes the connection or the context
	// ends, which is then no error.
	Answers int
}

// Answers is what came back over one connection.
type Answers struct {
	// Raw is every byte, in order.
	Raw []byte

	// Informational are the 1xx answers before the final ones.
	Informational []*http.Response

	// Final are the final answers. Their bodies are read already and can be
	// read once more from memory; the error at which one broke off comes at
	// its end.
	Final []*http.Response

	// SendErr is why the request could not be sent whole: a server may answer
	// and close before it has read everything.
	SendErr error
}

// First returns the first final answer, or nil.
func (a *Answers) First() *http.Response {
	if len(a.Final) == 0 {
		return nil
	}
	return a.Final[0]
}

// Status returns the first final answer's status, or 0.
func (a *Answers) Status() int {
	if len(a.Final) == 0 {
		return 0
	}
	return a.Final[0].StatusCode
}

// Body returns the first final answer's body, and the error at which it broke
// off. The answer keeps its body.
func (a *Answers) Body() ([]byte, error) {
	if len(a.Final) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	body, ok := a.Final[0].Body.(*readBody)
	if !ok {
		return nil, nil
	}
	return body.all, body.err
}

// Raw sends the bytes exactly as they are on a connection of its own and
// returns the bytes of the answer, 1xx answers before it included.
func Raw(ctx context.Context, addr string, request []byte) ([]byte, error) {
	answers, err := Exchange(ctx, addr, request, RawOptions{})
	if answers == nil {
		return nil, err
	}
	return answers.Raw, err
}

// Exchange sends the bytes exactly as they are on a connection of its own and
// reads what comes back, at the same time. It fails if there is no connection,
// or less comes back than opts.Answers asks for; what did come back is
// returned beside the error.
func Exchange(ctx context.Context, addr string, request []byte, opts RawOptions) (*Answers, error) {
	ctx, cancel := context.WithTimeout(ctx, rawPatience)
	defer cancel()
	conn, err := dialRaw(ctx, addr, opts.TLS)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	sent := make(chan error, 1)
	go func() { sent <- send(ctx, conn, request, opts) }()
	if opts.Abort {
		err := <-sent
		return &Answers{SendErr: err}, nil
	}
	answers, err := receive(conn, method(request), opts.Answers)
	// The answer is complete: a sender that is still at it has nobody to send to.
	conn.Close()
	answers.SendErr = <-sent
	if err != nil {
		return answers, fmt.Errorf("testbed: raw exchange with %s: %w after %d bytes", addr, err, len(answers.Raw))
	}
	return answers, nil
}

func dialRaw(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("testbed: raw exchange: %w", err)
	}
	if config == nil {
		return conn, nil
	}
	if config.ServerName == "" && !config.InsecureSkipVerify {
		config = config.Clone()
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("testbed: raw exchange: %w", err)
	}
	return secure, nil
}

func send(ctx context.Context, conn net.Conn, request []byte, opts RawOptions) error {
	for len(request) > 0 {
		piece := request
		if opts.Pieces > 0 && len(piece) > opts.Pieces {
			piece = piece[:opts.Pieces]
		}
		if _, err := conn.Write(piece); err != nil {
			return err
		}
		request = request[len(piece):]
		if len(request) > 0 {
			sleep(ctx, opts.Pause)
		}
	}
	if opts.Abort {
		sleep(ctx, opts.Linger)
	}
	if opts.CloseWrite {
		return conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// method is the request's: the answer to a HEAD has no body, whatever its
// Content-Length says.
func method(request []byte) string {
	name, _, _ := strings.Cut(string(request[:min(len(request), 20)]), " ")
	return name
}

func receive(conn net.Conn, method string, want int) (*Answers, error) {
	answers := &Answers{}
	var raw bytes.Buffer
	br := bufio.NewReader(io.TeeReader(conn, &raw))
	defer func() { answers.Raw = raw.Bytes() }()
	if want == 0 {
		want = 1
	}
	for len(answers.Final) != want {
		// ReadResponse calls a stream that ends before the first byte an
		// unexpected end; between answers it is the proper one.
		if _, err := br.Peek(1); err != nil {
			if want < 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded)) {
				return answers, nil
			}
			return answers, err
		}
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return answers, err
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			answers.Informational = append(answers.Informational, resp)
			continue
		}
		answers.Final = append(answers.Final, resp)
		if resp.StatusCode == http.StatusSwitchingProtocols {
			if want < 0 {
				_, err = io.Copy(io.Discard, br)
			}
			return answers, err
		}
		all, err := io.ReadAll(resp.Body)
		resp.Body = &readBody{Reader: bytes.NewReader(all), all: all, err: err}
		if err != nil {
			return answers, err
		}
	}
	return answers, nil
}

// readBody is a body that was read already, with what ended it.
type readBody struct {
	*bytes.Reader
	all []byte
	err error
}

func (b *readBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) && b.err != nil {
		err = b.err
	}
	return n, err
}

func (b *readBody) Close() error { return nil }
