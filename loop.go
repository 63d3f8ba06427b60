package mirror

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

const (
	// markerHeader is set on every shadow request, with the middleware's name. A
	// request that arrives with it is not mirrored again: the loop guard.
	markerHeader = "X-Mirrored-By"

	// tokenHeader is set beside it. Only this process and its shadows know the value, so
	// a request with it is a copy that has come back, and none that a client has marked.
	tokenHeader = "X-Mirror-Token"
)

// secret is what tokens are made from, new with every start. On a machine that has no
// random numbers it is empty. Then a client could know a token, so none is believed, and a
// copy that comes back is a marked request like any other.
var secret = newSecret()

func newSecret() []byte {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil
	}
	return b
}

// tokenFor returns the token of the middleware called name. Each has its own, so that the
// shadow of one cannot make another take a request for a copy.
func tokenFor(name string) string {
	sum := sha256.Sum256(append(append([]byte{}, secret...), name...))
	return hex.EncodeToString(sum[:16])
}

// markTaker returns the taker of a request that is marked. It is passed on to live and
// counted, but for a copy that this middleware has made itself: url leads back to the
// router that it is on, and live has had that request already.
func markTaker(s *shadow) func(http.ResponseWriter, *http.Request) bool {
	counts := s.mirror.counts
	marked := &counts.marked
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Header[tokenHeader] != nil && isOwnCopy(s, req) {
			endLoop(s, rw)
			return true
		}
		marked.Add(1)
		return false
	}
}

// isOwnCopy reports whether this middleware has made the request.
func isOwnCopy(s *shadow, req *http.Request) bool {
	return len(secret) > 0 && req.Header.Get(tokenHeader) == s.token[0]
}

// endLoop answers a copy that has come back.
func endLoop(s *shadow, rw http.ResponseWriter) {
	s.mirror.counts.loop.Add(1)
	if s.looped.CompareAndSwap(false, true) {
		go tellLoop(s)
	}
	http.Error(rw, "mirror: this is a copy of "+s.mirror.name+" that has come back to it: its url leads to the live router", http.StatusLoopDetected)
}

// tellLoop says where url leads. It runs in a goroutine of its own, because the live path
// must not wait for the log.
func tellLoop(s *shadow) {
	defer func() { s.mirror.counts.contain(recover()) }()
	from := "url " + shown(s.address)
	if c := controlOf(s); c != nil {
		from += " or compare.control " + shown(c.address)
	}
	s.mirror.counts.print(from + " leads back to the router that this middleware is on (loop): copies that come back are answered 508 and do not reach live; set url to the shadow's own address")
}
