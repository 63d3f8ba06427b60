package compare

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
)

var (
	errTooLarge = errors.New("larger than is looked at")
	errEncoding = errors.New("compressed in a way that is not understood")
	errCorrupt  = errors.New("not compressed as it says")
)

// plain returns the body without its compression, at most limit bytes of it.
func plain(a *Answer, limit int64) ([]byte, error) {
	var inside io.Reader
	var err error
	body := bytes.NewReader(a.Body)
	switch encoding(a) {
	case "", "identity":
		return a.Body, nil
	case "gzip", "x-gzip":
		if len(a.Body) == 0 { // as in the answer to a HEAD
			return a.Body, nil
		}
		inside, err = gzip.NewReader(body)
	case "deflate":
		if len(a.Body) == 0 {
			return a.Body, nil
		}
		inside, err = zlib.NewReader(body)
	default:
		return nil, errEncoding
	}
	if err != nil {
		return nil, errCorrupt
	}
	text, err := io.ReadAll(io.LimitReader(inside, limit+1))
	if err != nil {
		return nil, errCorrupt
	}
	if int64(len(text)) > limit {
		return nil, errTooLarge
	}
	return text, nil
}

func encoding(a *Answer) string {
	return strings.ToLower(strings.TrimSpace(strings.Join(a.Header["Content-Encoding"], ",")))
}
