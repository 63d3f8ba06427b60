package mirror

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"
)

// A streaming middleware is one with bodyMode: stream. Live reads the client's
// bytes as they arrive, and a copy of them is kept beside. When live has read
// the body to its end, the shadow gets the copy; if live does not, or the body
// is larger than the limit, it gets nothing.
type streaming struct {
	m *middleware
}

// ServeHTTP is the live path. Nothing in it waits for the shadow.
func (s *streaming) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	m := s.m
	if !eligible(m, req) || m.inFlight.Add(1) > m.maxInFlight && !isProbe(m) {
		m.next.ServeHTTP(rw, req)
		return
	}
	out := outgoing(m.shadow, req)
	var p *pair
	if m.compareShare > 0 && compared(m) {
		p = newPair(m, req)
	}
	// A middleware before this one may have wrapped the body of a request that has
	// none; live's proxy does not read it then, and it would not reach its end.
	if !m.mirrorBody || req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0 {
		go send(m.shadow, out, nil, p)
	} else {
		c := &bodyCopy{m: m, out: out, body: req.Body, pair: p}
		c.keepBeside(req)
		// Deferred, because live may end in a panic: net/http's way to cut a
		// connection, which passes through here unharmed.
		defer func() { c.giveUp() }()
	}
	if p != nil {
		serveRecorded(p, m.next, rw, req)
		return
	}
	m.next.ServeHTTP(rw, req)
}

// A bodyCopy is what is kept of a body while live reads it. It holds a place in
// flight, which it hands on with the copy or gives back.
type bodyCopy struct {
	m       *middleware
	out     *http.Request // the shadow's
	body    io.Reader     // the client's
	buf     *bytes.Buffer
	pair    *pair       // nil where answers are not compared
	decided atomic.Bool // the copy was handed over, or given up
}

// keepBeside puts a body in place of req's that copies what is read of it. All
// but one or two reads of the upload run in compiled readers.
func (c *bodyCopy) keepBeside(req *http.Request) {
	c.buf = &bytes.Buffer{}
	// How much is copied before Read decides. A body of known length is complete
	// with its last byte: not everything that reads one asks for more. For the
	// others, one byte above the limit tells too large from complete.
	first := c.m.maxBodySize
	if req.ContentLength > 0 {
		first = req.ContentLength - 1
		if req.ContentLength <= largestGuess {
			c.buf.Grow(int(req.ContentLength))
		}
	} else if first < math.MaxInt64 {
		first++
	}
	// Declared as an interface: the interpreter cannot pass a type of ours among
	// the values of a compiled variadic function.
	var decision io.Reader = c
	req.Body = io.NopCloser(io.MultiReader(io.TeeReader(io.LimitReader(c.body, first), c.buf), decision, c.body))
}

// Read is called when the part of the body that is copied at first has been
// read. It reads on to the last byte if that is one of known length, decides
// about the copy, and leaves the rest of the body, if any, to the next reader.
func (c *bodyCopy) Read(p []byte) (int, error) {
	if c.decided.Load() || c.out.ContentLength <= 0 {
		c.decide()
		return 0, io.EOF
	}
	n, err := c.body.Read(p)
	c.buf.Write(p[:n])
	if int64(c.buf.Len()) >= c.out.ContentLength {
		c.decide()
		return n, nil
	}
	return n, err
}

// decide hands the copy over to the shadow, or gives it up if it is too large.
func (c *bodyCopy) decide() {
	if !c.decided.CompareAndSwap(false, true) {
		return
	}
	if int64(c.buf.Len()) > c.m.maxBodySize {
		c.m.shadow.mirror.counts.large.Add(1)
		freePlace(c.m)
		c.buf = nil
		if c.pair != nil {
			abandon(c.pair, "") // nobody will ask for live's answer
		}
		return
	}
	if c.pair != nil {
		c.pair.uploaded.Store(int64(time.Since(c.pair.recorder.began)))
	}
	if len(c.out.Trailer) == 0 {
		c.out.ContentLength = int64(c.buf.Len())
		c.out.TransferEncoding = nil
	}
	go send(c.m.shadow, c.out, c.buf.Bytes(), c.pair)
}

// giveUp ends the copy of a body that live did not read to its end.
func (c *bodyCopy) giveUp() {
	if c.decided.CompareAndSwap(false, true) {
		c.m.shadow.mirror.counts.incomplete.Add(1)
		freePlace(c.m)
	}
}
