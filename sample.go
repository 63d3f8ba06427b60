package mirror

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
)

// unchosen returns the function that returns the count of why a request is not chosen to
// be mirrored, by its method or by sampling, and nil for one that is. It is nil itself
// where every request is.
func (o *options) unchosen(c *counts) func(*http.Request) *atomic.Int64 {
	if len(o.methods) == 0 && o.percent >= 100 {
		return nil
	}
	if len(o.methods) == 0 && o.sampleBy == "" {
		// Asked on the live path of every request, most of which are not chosen.
		share := o.percent / 100
		sampled := &c.sampled
		return func(_ *http.Request) *atomic.Int64 {
			if rand.Float64() < share {
				return nil
			}
			return sampled
		}
	}
	return func(req *http.Request) *atomic.Int64 {
		if len(o.methods) > 0 && !o.methods[req.Method] {
			return &c.method
		}
		if o.percent >= 100 || position(sampleValue(req, o.sampleBy)) < o.percent {
			return nil
		}
		return &c.sampled
	}
}

// position is where a value stands on the way from 0 to 100; it is mirrored
// where percent is above that. It is the first 53 bits of the value's SHA-256
// hash as a fraction, so that a value is in or out on every replica, the values
// in at 5 percent are among those in at 10, and anybody can compute it: the
// first eight digits of sha256sum, as a number, times 100, divided by 2^32.
// A request without the value is placed at random.
//
// SHA-256 because FNV leaves values that differ in their last character, as
// customer numbers do, side by side.
func position(value string) float64 {
	if value == "" {
		return rand.Float64() * 100
	}
	sum := sha256.Sum256([]byte(value))
	return float64(binary.BigEndian.Uint64(sum[:8])>>11) / (1 << 53) * 100
}

// sampleValue is what by (see optionTable) names in the request; "" if the
// request does not have it.
func sampleValue(req *http.Request, by string) string {
	kind, name, _ := strings.Cut(by, ":")
	switch kind {
	case "header":
		if name == "Host" {
			return req.Host // net/http takes it out of the header
		}
		return req.Header.Get(name)
	case "cookie":
		if c, err := req.Cookie(name); err == nil {
			return c.Value
		}
	case "clientIP":
		if host, _, err := net.SplitHostPort(req.RemoteAddr); err == nil {
			return host
		}
	}
	return ""
}

// parseSampleBy returns what sampleValue takes, and false for anything that is
// not "header:NAME", "cookie:NAME", "clientIP" or empty.
func parseSampleBy(s string) (string, bool) {
	kind, name, named := strings.Cut(s, ":")
	kind, name = strings.TrimSpace(kind), strings.TrimSpace(name)
	switch {
	case s == "":
		return "", true
	case strings.EqualFold(kind, "clientIP") && !named:
		return "clientIP", true
	case strings.EqualFold(kind, "header") && isToken(name):
		return "header:" + http.CanonicalHeaderKey(name), true
	case strings.EqualFold(kind, "cookie") && isToken(name):
		return "cookie:" + name, true
	}
	return "", false
}
