package compare

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"hash/maphash"
	"io"
	"strings"
)

var (
	errTooLarge = errors.New("larger than is looked at")
	errEncoding = errors.New("compressed in a way that is not understood, or not kept")
	errCorrupt  = errors.New("not compressed as it says")
)

var seed = maphash.MakeSeed()

// NewSum returns what makes the sum of a body that is not kept.
func NewSum() *maphash.Hash {
	h := &maphash.Hash{}
	h.SetSeed(seed)
	return h
}

// sum is that of the answer's body, kept or not.
func sum(a *Answer) uint64 {
	if a.Size != 0 {
		return a.Sum
	}
	return maphash.Bytes(seed, a.Body)
}

// size is how long the answer's body is; -1: nobody knows.
func size(a *Answer) int64 {
	if a.Size != 0 {
		return a.Size
	}
	return int64(len(a.Body))
}

// large reports whether the answer's body is larger, as it came, than is looked at.
func large(a *Answer, r *Rules) bool { return size(a) > r.MaxBodySize || size(a) < 0 }

// sameBytes reports whether two bodies are the same as they came.
func sameBytes(live, shadow *Answer) bool {
	if live.Size == 0 && shadow.Size == 0 {
		return bytes.Equal(live.Body, shadow.Body)
	}
	return size(live) == size(shadow) && size(live) > 0 && sum(live) == sum(shadow)
}

// plain returns the body without its compression, at most limit bytes of it.
func plain(a *Answer, limit int64) ([]byte, error) {
	if a.Header["Content-Encoding"] == nil && a.Size == 0 && int64(len(a.Body)) <= limit {
		return a.Body, nil
	}
	return decompressed(a, limit)
}

func decompressed(a *Answer, limit int64) ([]byte, error) {
	coding := encoding(a)
	plainly := coding == "" || coding == "identity"
	unknown := !plainly && coding != "gzip" && coding != "x-gzip" && coding != "deflate"
	tooLarge := size(a) > limit || size(a) < 0
	// What does not get smaller gets larger by little.
	barely := size(a) > 0 && size(a) <= limit+limit/50+1024
	if unknown || tooLarge && !plainly && barely {
		return nil, errEncoding
	}
	if tooLarge {
		return nil, errTooLarge
	}
	if plainly || len(a.Body) == 0 { // as in the answer to a HEAD
		return a.Body, nil
	}
	var inside io.Reader
	var err error
	if coding == "deflate" {
		// Most mean zlib's form (RFC 9110, section 8.4.1.2), some send the bare one.
		inside, err = zlib.NewReader(bytes.NewReader(a.Body))
		if err != nil {
			inside = flate.NewReader(bytes.NewReader(a.Body))
			err = nil
		}
	} else {
		inside, err = gzip.NewReader(bytes.NewReader(a.Body))
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
