package mirror

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/trafficshadow/mirror/compare"
)

// streamer is the taker of bodyMode stream. Live reads the client's bytes as they
// arrive, and a copy of them is kept beside. When live has read the body to its end,
// the copy is handed over; if live does not, or the body is larger than the limit, it
// is given up.
//
// What it does itself is for a small body of known length that is not compared. All
// that live reads of it passes through an interpreted Write, which is called no more
// often than live reads, and less is allocated than it takes to leave most reads to
// compiled readers. Nothing is read that live does not ask for: how much of the body is
// there already cannot be seen.
func streamer(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	next := m.next
	s := m.shadow
	most := s.smallBody
	if !s.mirrorBody || s.rules != nil {
		most = 0
	}
	return func(rw http.ResponseWriter, req *http.Request) bool {
		size := req.ContentLength
		if size <= 0 || size > most || req.Body == nil || req.Trailer != nil ||
			req.Header["Upgrade"] != nil || req.Method == http.MethodConnect {
			return serveBeside(m, rw, req)
		}
		body := make([]byte, size)
		out := req.Clone(background)
		out.Body = io.NopCloser(bytes.NewReader(body))
		c := &smallCopy{shadow: s, out: out, rest: body}
		req.Body = io.NopCloser(io.TeeReader(req.Body, c))
		serveCopied(c, next, rw, req)
		return true
	}
}

// serveCopied has live serve a request whose body is copied as live reads it.
func serveCopied(c *smallCopy, next http.Handler, rw http.ResponseWriter, req *http.Request) {
	// Deferred, because live may end in a panic: see serveBeside.
	defer func() {
		if c.decided.CompareAndSwap(false, true) {
			giveUpSmall(c)
		}
	}()
	next.ServeHTTP(rw, req)
}

// A smallCopy is a bodyCopy for a small body of known length.
type smallCopy struct {
	shadow  *shadow
	out     *http.Request // the shadow's
	rest    []byte        // of its body: where what live has not read yet goes
	decided atomic.Bool   // the copy was handed over, or given up
}

// Write gets what live has read, and hands the copy over with the last byte: not
// everything that reads a body of known length asks for more. What is more than was
// announced is left out.
func (c *smallCopy) Write(p []byte) (int, error) {
	c.rest = c.rest[copy(c.rest, p):]
	if len(c.rest) == 0 && c.decided.CompareAndSwap(false, true) {
		c.shadow.intake <- c.out
	}
	return len(p), nil
}

// giveUpSmall ends the copy of a body that live did not read to its end.
func giveUpSmall(c *smallCopy) {
	c.shadow.mirror.counts.incomplete.Add(1)
	releasePlace(c.shadow.mirror)
}

// serveBeside does what streamer's function does for any request.
func serveBeside(m *middleware, rw http.ResponseWriter, req *http.Request) bool {
	s := m.shadow
	if req.Header["Upgrade"] != nil || req.Method == http.MethodConnect || req.ContentLength > m.maxBodySize || s.mirror.inFlight.Load() > s.maxInFlight/2 {
		if reason := whyNot(m, req); reason != nil {
			dropRequest(s, req, reason)
			return false
		}
	}
	if s.rules != nil && compared(m) {
		compareBeside(m, rw, req)
		return true
	}
	// A middleware before this one may have wrapped the body of a request that has
	// none; live's proxy does not read it then, and it would not reach its end.
	if req.ContentLength == 0 || !s.mirrorBody || req.Body == nil || req.Body == http.NoBody {
		s.intake <- req.Clone(background)
		return false
	}
	c := &bodyCopy{m: m, out: req.Clone(req.Context()), body: req.Body}
	c.keepBeside(req)
	// Deferred, because live may end in a panic: net/http's way to cut a
	// connection, which passes through here unharmed.
	defer func() { c.giveUp() }()
	m.next.ServeHTTP(rw, req)
	return true
}

// compareBeside is serveBeside for a request whose answers are compared.
func compareBeside(m *middleware, rw http.ResponseWriter, req *http.Request) {
	p := newPair(m.shadow.rules, req)
	if streams(req.Header) {
		abandon(p, compare.Stream)
	}
	out := req.Clone(context.WithValue(req.Context(), pairKey, p))
	if req.ContentLength == 0 || !m.shadow.mirrorBody || req.Body == nil || req.Body == http.NoBody {
		withoutBody(out)
		m.shadow.intake <- out
	} else {
		c := &bodyCopy{m: m, out: out, body: req.Body, pair: p}
		c.keepBeside(req)
		defer func() { c.giveUp() }()
	}
	if p.settled.Load() {
		m.next.ServeHTTP(rw, req)
		return
	}
	serveRecorded(p, m.next, rw, req)
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
	parts := io.MultiReader(io.TeeReader(io.LimitReader(c.body, first), c.buf), decision, c.body)
	// Within another, because a MultiReader that is asked to write itself to live, as
	// net/http asks it where the length is not known, makes a buffer of 32 KiB for it;
	// otherwise net/http takes one that it keeps.
	req.Body = io.NopCloser(io.LimitReader(parts, math.MaxInt64))
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
	size := int64(c.buf.Len())
	if size > c.m.maxBodySize {
		giveUpLarge(c)
		return
	}
	if c.pair != nil {
		noteUploaded(c.pair, c.buf)
	}
	if len(c.out.Trailer) == 0 {
		c.out.TransferEncoding = nil
	}
	c.out.ContentLength = size
	c.out.Body = io.NopCloser(bytes.NewReader(c.buf.Bytes()))
	c.m.shadow.intake <- c.out
}

// noteUploaded notes when live has read the body of a pair's request, and what it is.
func noteUploaded(p *pair, body *bytes.Buffer) {
	p.uploaded = time.Since(p.request.At)
	p.request.Body = body.Bytes()
}

// giveUpLarge ends the copy of a body that has turned out too large.
func giveUpLarge(c *bodyCopy) {
	dropRequest(c.m.shadow, c.out, &c.m.shadow.mirror.counts.large)
	c.buf = nil
	if c.pair != nil {
		abandon(c.pair, "") // nobody will ask for live's answer
	}
}

// giveUp ends the copy of a body that live did not read to its end.
func (c *bodyCopy) giveUp() {
	if c.decided.CompareAndSwap(false, true) {
		dropRequest(c.m.shadow, c.out, &c.m.shadow.mirror.counts.incomplete)
	}
}
