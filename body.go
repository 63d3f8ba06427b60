package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"reflect"
	"sync"
)

const (
	// largestGuess is the largest Content-Length, in bytes, that is believed before
	// the bytes have come. With no limit on the body, a client that announces more
	// than it sends must not have memory set aside for it.
	largestGuess = 16 << 20

	// ownBody is the largest body, in bytes, that is not counted against the
	// memory of the requests in flight once the shadow has answered: as much as
	// Traefik itself sets aside for a connection to live.
	ownBody = 64 << 10
)

// errTooLarge says that a body of unknown length turned out larger than the
// limit. The request is as good as new: its body starts from the beginning.
var errTooLarge = errors.New("mirror: body larger than maxBodySize")

// pluginType is the type of a body that another plugin has made: the interpreter's
// one wrapper for all of them. Only such a body's Read may panic. Compiled, where
// there are no plugins but tests, any body's may: natively is true.
var (
	pluginType reflect.Type
	natively   bool
)

// delicate are the types of bodies that are not simply read: those that may be needed
// again, those that may panic, and none at all, which another plugin may have put
// beside a length.
var delicate map[reflect.Type]bool

func init() {
	var made io.ReadCloser = &madeByPlugin{}
	req := &http.Request{}
	req.Body = made
	pluginType = reflect.TypeOf(req.Body)
	natively = pluginType.Kind() == reflect.Pointer
	delicate = map[reflect.Type]bool{retryType: true, pluginType: true, reflect.TypeOf(http.NoBody): true}
}

type madeByPlugin struct{}

func (b *madeByPlugin) Read(_ []byte) (int, error) { return 0, io.EOF }
func (b *madeByPlugin) Close() error               { return nil }

// retryType is the type of a body that a retry before the mirror hands each of
// its tries: see takeForRetry. One that was buffered already is of another, even in
// an io.NopCloser, for it can write itself to a Writer as a whole.
var retryType = reflect.TypeOf(io.NopCloser(io.LimitReader(nil, 0)))

// sendUnusual does what bodySender's function, in mirror.go, does for any request.
func sendUnusual(m *middleware, rw http.ResponseWriter, req *http.Request) bool {
	if req.ContentLength > m.maxBodySize {
		dropRequest(m.shadow, req, &m.shadow.mirror.counts.large)
		return false
	}
	body, answered, taken := takeBody(m, rw, req)
	if taken {
		m.shadow.intake <- copyOf(req, body, contextFor(req, body))
	}
	return answered
}

// contextFor is what the copy of a request with this body goes under: live's where
// the body is large, so that the worker can wait until live is served. Until then
// live holds the bytes too, and they count among those of the requests in flight. The
// exchange itself never runs under it.
func contextFor(req *http.Request, body []byte) context.Context {
	if len(body) > ownBody {
		return req.Context()
	}
	return background
}

// copyOf returns the copy of a request whose body was taken: with the bytes, and
// under ctx.
func copyOf(req *http.Request, body []byte, ctx context.Context) *http.Request {
	out := req.Clone(ctx)
	out.ContentLength = int64(len(body))
	out.Body = io.NopCloser(bytes.NewReader(body))
	return out
}

// takeBody decides whether a request that has a place in flight is mirrored, and
// takes its body. Where it is not mirrored, it gives the place back and counts why.
// At most one of answered, which says that the client has its answer, and taken is
// true.
func takeBody(m *middleware, rw http.ResponseWriter, req *http.Request) (body []byte, answered, taken bool) {
	// One by one, because the interpreter does not clear results.
	body = nil
	answered = false
	taken = false
	s := m.shadow
	reason := whyNot(m, req)
	if reason != nil {
		dropRequest(s, req, reason)
		return body, answered, taken
	}
	if !s.mirrorBody || req.Body == nil || req.Body == http.NoBody {
		taken = true
		return body, answered, taken
	}
	// A body that another plugin has made may panic when it is read. The panic passes
	// through to net/http, as it would without the mirror.
	read := false
	defer func() {
		if !read {
			releasePlace(s.mirror)
		}
	}()
	var err error
	if reflect.TypeOf(req.Body) == retryType {
		if !canBeHeld(req) {
			read = true
			answered = serveBeside(m, rw, req)
			return body, answered, taken
		}
		body, taken, err = takeForRetry(m, req)
	} else {
		body, err = readBody(req, m.maxBodySize)
		taken = err == nil
	}
	read = true
	if err != nil {
		answered = notTaken(m, rw, req, body, err)
		body = nil
	}
	return body, answered, taken
}

// notTaken ends the mirroring of a request whose body could not be read, but for
// what of it is in body: live serves one that is too large, or that was read before
// the mirror, and the client hears of one that is broken. It reports whether the
// client has been answered.
func notTaken(m *middleware, rw http.ResponseWriter, req *http.Request, body []byte, err error) bool {
	counts := m.shadow.mirror.counts
	if err == errTooLarge {
		counts.large.Add(1)
		noteDropped(m.shadow, req, droppedLarge)
		go releaseWhenServed(m.shadow.mirror, req)
		return false
	}
	releasePlace(m.shadow.mirror)
	counts.unread.Add(1)
	noteDropped(m.shadow, req, droppedUnread)
	if readBefore(body, err) {
		counts.announceConsumed()
		return false
	}
	req.Body.Close()
	// A compiled type: errors.As cannot take one of ours when interpreted.
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(rw, "mirror: the request body is larger than is allowed here", http.StatusRequestEntityTooLarge)
		return true
	}
	http.Error(rw, "mirror: the request body could not be read", http.StatusBadRequest)
	return true
}

// readBefore reports whether a body gave nothing because a middleware before this one
// has read it, as ParseForm does. At the end of a body that the client has sent whole,
// net/http's server says io.EOF, and on a connection that broke off something else.
func readBefore(body []byte, err error) bool {
	return len(body) == 0 && (err == io.EOF || err == http.ErrBodyReadAfterClose)
}

// releaseWhenServed gives back the place of a request whose body turned out too
// large, when live has got the part of it that was read. It runs in a goroutine of
// its own.
func releaseWhenServed(m *mirror, req *http.Request) {
	defer func() { m.counts.contain(recover()) }()
	awaitLive(req)
	releasePlace(m)
}

// awaitLive waits until live has been served, and does not hold the body any
// more: until then its memory counts among that of the requests in flight.
func awaitLive(req *http.Request) {
	// net/http's server ends a request's context when its handler has returned.
	if served := req.Context().Done(); served != nil {
		<-served
	}
}

// held are the bodies that a retry before the mirror may need again, by the body
// that it hands each of its tries: io.ReadCloser to heldBody. They are kept until
// the client's request is over.
var held sync.Map

// A heldBody is what was read of a body.
type heldBody struct {
	bytes []byte
	whole bool // there is no more of it
}

// canBeHeld reports whether the bytes of a body that a retry hands out can be held, and be found
// again, until the request is over.
func canBeHeld(req *http.Request) bool {
	return reflect.ValueOf(req.Body).Comparable() && req.Context().Done() != nil
}

// takeForRetry takes a body that is not the mirror's alone. Traefik's retry, listed
// before the mirror, hands each of live's tries the client's own body, in an
// io.NopCloser: what the first try has read, a later one would not find. So the bytes
// are held, and each try gets a body over them. It reports whether the body was
// taken for a copy, which is so in the first try only. (Where they cannot be held,
// live reads the body itself and a copy is kept beside, as with bodyMode stream.)
func takeForRetry(m *middleware, req *http.Request) (body []byte, taken bool, err error) {
	body = nil
	taken = false
	err = nil
	key := req.Body
	if found, ok := held.Load(key); ok {
		reuseHeld(req, found.(*heldBody))
		releasePlace(m.shadow.mirror)
		return body, taken, err
	}
	body, err = readBody(req, m.maxBodySize)
	if err != nil && err != errTooLarge {
		return body, taken, err
	}
	kept := &heldBody{bytes: body, whole: err == nil}
	held.Store(key, kept)
	context.AfterFunc(req.Context(), func() { letGoOf(key) })
	return body, err == nil, err
}

// letGoOf runs in a goroutine of the request's context, and has nothing to tell of a
// panic.
func letGoOf(key io.ReadCloser) {
	defer func() { recover() }()
	held.Delete(key)
}

// reuseHeld gives a later try the body that was read in the first.
func reuseHeld(req *http.Request, kept *heldBody) {
	if !kept.whole {
		req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(kept.bytes), req.Body))
		return
	}
	req.ContentLength = int64(len(kept.bytes))
	req.TransferEncoding = nil
	req.Body = io.NopCloser(bytes.NewReader(kept.bytes))
}

// readBody reads the body of req to its end, closes it, and puts a fresh one over
// the same bytes in its place, so that what reads req next finds what the client
// sent. A body larger than limit gives errTooLarge and leaves req readable from the
// beginning; any other error is the client's, its connection's, or that of who has
// read the body before. With an error it returns what it has read.
func readBody(req *http.Request, limit int64) ([]byte, error) {
	if req.ContentLength <= 0 || req.ContentLength > largestGuess {
		return readUnknown(req, limit)
	}
	body := make([]byte, req.ContentLength)
	if n, err := io.ReadFull(req.Body, body); err != nil {
		return body[:n], err
	}
	req.Body.Close()
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.TransferEncoding = nil
	return body, nil
}

// readUnknown is readBody for a body whose length is not known, or not to be
// believed.
func readUnknown(req *http.Request, limit int64) ([]byte, error) {
	announced := req.Trailer.Clone()
	var src io.Reader = req.Body
	if limit < math.MaxInt64 {
		src = io.LimitReader(req.Body, limit+1)
	}
	body, err := io.ReadAll(src)
	if err != nil {
		return body, err
	}
	if int64(len(body)) > limit {
		// The rest is read through compiled readers only: an interpreted one
		// between the client and live would cost every read of the upload.
		req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), req.Body))
		return body, errTooLarge
	}
	if len(body) == 0 && req.ContentLength > 0 {
		return body, io.EOF
	}
	if int64(len(body)) < req.ContentLength {
		return body, io.ErrUnexpectedEOF
	}
	req.Body.Close()
	if len(req.Trailer) > 0 {
		restoreTrailer(req, announced, body)
		return body, nil
	}
	req.ContentLength = int64(len(body))
	req.TransferEncoding = nil
	req.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// restoreTrailer gives req the trailers that it had before its body was read:
// their names, where the client announced them. As net/http has it, the values
// are there once the new body has been read to its end. The body stays chunked
// if it was, for trailers cannot follow one with a Content-Length.
func restoreTrailer(req *http.Request, announced http.Header, body []byte) {
	// Declared as an interface: the interpreter cannot pass a type of ours among
	// the values of a compiled variadic function.
	var end io.Reader = &trailerReader{req: req, values: req.Trailer}
	req.Trailer = announced
	req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), end))
}

// A trailerReader is the end of a body: read, it delivers the trailers.
type trailerReader struct {
	req    *http.Request
	values http.Header
}

func (t *trailerReader) Read(_ []byte) (int, error) {
	if t.req.Trailer == nil {
		t.req.Trailer = http.Header{}
	}
	for name, value := range t.values {
		t.req.Trailer[name] = value
	}
	return 0, io.EOF
}
