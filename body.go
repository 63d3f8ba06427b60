package mirror

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net/http"
	"reflect"
)

// errTooLarge says that a body of unknown length turned out larger than the
// limit. The request is as good as new: its body starts from the beginning.
var errTooLarge = errors.New("mirror: body larger than maxBodySize")

// largestGuess is the largest Content-Length, in bytes, that is believed before
// the bytes have come. With no limit on the body, a client that announces more
// than it sends must not have memory set aside for it.
const largestGuess = 16 << 20

// errBorrowed says that the body must not be read before live reads it. The
// request is as it was.
//
// Traefik's retry, listed before the mirror, hands each of live's tries the
// client's own body, in an io.NopCloser. A try that cannot reach live leaves it
// unread, and so must the mirror, or the next try would have none.
var errBorrowed = errors.New("mirror: body that may be needed again")

// borrowedType is the type of such a body. One that was buffered already is of
// another, even in an io.NopCloser, for it can write itself to a Writer as a whole.
var borrowedType = reflect.TypeOf(io.NopCloser(io.LimitReader(nil, 0)))

// takeBody reads the body of req to its end and puts a fresh one over the same
// bytes in its place, so that what reads req next finds what the client sent.
// A body larger than limit gives errTooLarge and leaves req readable from the
// beginning, and one that is borrowed gives errBorrowed; any other error is the
// client's, or its connection's.
func takeBody(req *http.Request, limit int64) ([]byte, error) {
	if reflect.TypeOf(req.Body) == borrowedType {
		return nil, errBorrowed
	}
	if req.ContentLength <= 0 || req.ContentLength > largestGuess {
		return takeUnknown(req, limit)
	}
	body := make([]byte, req.ContentLength)
	_, err := io.ReadFull(req.Body, body)
	req.Body.Close()
	req.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// takeUnknown is takeBody for a body whose length is not known, or not to be
// believed.
func takeUnknown(req *http.Request, limit int64) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	announced := req.Trailer.Clone()
	var src io.Reader = req.Body
	if limit < math.MaxInt64 {
		src = io.LimitReader(req.Body, limit+1)
	}
	body, err := io.ReadAll(src)
	if err != nil {
		req.Body.Close()
		return nil, err
	}
	if int64(len(body)) > limit {
		// The rest is read through compiled readers only: an interpreted one
		// between the client and live would cost every read of the upload.
		req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), req.Body))
		return nil, errTooLarge
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
