// Package mirror is a Traefik middleware plugin that copies live HTTP requests,
// body included, to a shadow upstream. The client is served by the live
// upstream alone; what the shadow answers is thrown away, or compared with what
// live answers.
//
// Traefik calls [CreateConfig], fills the [Config] it gets from the dynamic
// configuration, and calls [New] once for every router that names the
// middleware, again on every change of the configuration.
//
// A request's life is told in mirror.go up to live, and in shadow.go from there
// to the shadow's answer: live's goroutine takes a place in flight and the body,
// hands a copy of the request to the shadow's workers, and serves live.
//
// The package is interpreted by Yaegi v0.16.1 and compiles natively too. Some
// Go is avoided everywhere because the interpreter gets it wrong: select
// statements (their cases are shared by all goroutines), switch cases with more
// than one condition (only the first counts), structs that embed an interface,
// wrapped ResponseWriters, defer with arguments, method values given to compiled
// code, and what came to the standard library after Go 1.22. make lint knows all
// of it. Other Go is avoided where every request passes, because of what it costs
// interpreted: docs/performance.md.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
)

// background is the context of every copy that needs no other. A variable, because
// the call would be one more step of the live path.
var background = context.Background()

// A middleware serves one router. What it mirrors through is shared with all
// the routers that name the same middleware.
type middleware struct {
	next         http.Handler
	shadow       *shadow
	maxBodySize  int64   // bytes
	compareShare float64 // of the mirrored requests, 0 to 1
}

// New returns the middleware called name in front of next. The mirror goes on
// while ctx lasts; live traffic is served even after, since Traefik cancels ctx
// before the handlers that replace this one have taken over.
//
// No configuration is an error: Traefik answers the requests of a router whose
// middleware cannot be made 404. With a mistake in config the middleware mirrors
// nothing, and next serves every request; the log and the report say what is wrong.
// New needs no network: a shadow that cannot be reached is not an error either.
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	if next == nil {
		return nil, errors.New("mirror: no next handler")
	}
	opts, known := config.parseOnce(name)
	if opts.mistaken > 0 {
		return mistakenHandler(ctx, next, opts, name), nil
	}
	if opts.serve {
		return newReporter(name), nil
	}
	m := &middleware{
		next:         next,
		shadow:       acquire(ctx, name, opts),
		maxBodySize:  opts.maxBodySize,
		compareShare: opts.compareShare,
	}
	if !known {
		tell(m.shadow.mirror, opts.remark())
	}
	h := mirroring(m, opts)
	if unchosen := opts.unchosen(m.shadow.mirror.counts); unchosen != nil {
		h = selecting(unchosen, next, h)
	}
	return h, nil
}

// selecting mirrors only what the methods and the sampling choose, and counts the rest.
// What is marked is left to mirror: a copy that has come back must not reach live.
func selecting(unchosen func(*http.Request) *atomic.Int64, next, mirror http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if req.Header[markerHeader] != nil {
			mirror.ServeHTTP(rw, req)
			return
		}
		reason := unchosen(req)
		if reason == nil {
			mirror.ServeHTTP(rw, req)
			return
		}
		reason.Add(1)
		next.ServeHTTP(rw, req)
	})
}

// mirroring is the life of a request in live's goroutine: whether there is a place in
// flight for a copy, the request's body, the copy that is handed over to the workers,
// and live. What differs is how the body is taken, and whether live's answer is
// recorded: that is the function take, which reports whether it has served the client.
// Nothing in here waits for the shadow: the channel has room for whoever has a place.
//
// The handler is a closure, and what it needs is in variables around it, because
// interpreted each field that it selected would cost every request a slot in its
// frame. For the same reason, what most requests do not need is in functions of its
// own, and next is called in one place. A request without a body is looked at no
// further than this: the worker finds out whether it is one to mirror.
func mirroring(m *middleware, o *options) http.Handler {
	next := m.next
	s := m.shadow
	inFlight := &s.mirror.inFlight
	places := s.maxInFlight
	intake := s.intake
	leftAlone := s.pause.leftAlone
	take := taker(m, o)
	simple := o.compare == nil && s.limit == nil
	takeMarked := markTaker(s)
	takeFull := fullTaker(m, take)
	takeProbe := prober(m, take, takeFull)
	if s.sequencer != nil {
		takeFull = losingFullTaker(m, take)
		takeProbe = losingProber(m, take, takeFull)
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		do := take
		if req.Header[markerHeader] != nil {
			do = takeMarked
		} else if len(leftAlone) > 0 {
			do = takeProbe
		} else if inFlight.Add(1) > places {
			do = takeFull
		} else if req.Body == http.NoBody && simple {
			intake <- req.Clone(background)
			do = nil
		}
		if do == nil || !do(rw, req) {
			next.ServeHTTP(rw, req)
		}
	})
}

// taker returns the function that does with a request that has a place in flight what
// the options say: it takes the body and hands a copy over, unless the request is one
// that is not mirrored, and then it gives the place back. It reports whether it has
// served the client. If not, live is to serve what it has left of the request.
func taker(m *middleware, o *options) func(http.ResponseWriter, *http.Request) bool {
	take := sender(m, o)
	if o.compare != nil && !o.stream {
		if o.compareShare < 1 {
			take = sharer(o.compareShare, take, comparer(m))
		} else {
			take = comparer(m)
		}
	}
	if limit := m.shadow.limit; limit != nil {
		take = limited(m, limit, take)
	}
	return take
}

// sender is the taker where answers are not compared. That of bodyMode stream compares
// them, too.
func sender(m *middleware, o *options) func(http.ResponseWriter, *http.Request) bool {
	if o.stream {
		return streamer(m)
	}
	if !o.mirrorBody {
		return bodilessSender(m)
	}
	return bodySender(m)
}

// bodySender is the taker of bodyMode buffer: it reads the body, puts a fresh one over
// the same bytes in its place, and hands the copy over. It serves a client only whose
// body cannot be read, with an error.
//
// What it does itself is for the request that most are: a body of known length that
// is not large, whose Read does not panic, so that nothing has to be deferred.
func bodySender(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	most := m.shadow.smallBody
	excludedType := m.shadow.excluded
	intake := m.shadow.intake
	if natively {
		most = 0
	}
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Body == nil || req.ContentLength <= 0 || req.ContentLength > most || delicate[reflect.TypeOf(req.Body)] ||
			req.Header["Upgrade"] != nil || req.Method == http.MethodConnect || excludedType.MatchString(req.Header.Get("Content-Type")) {
			return sendUnusual(m, rw, req)
		}
		body := make([]byte, req.ContentLength)
		if n, err := io.ReadFull(req.Body, body); err != nil {
			return notTaken(m, rw, req, body[:n], err)
		}
		req.Body.Close()
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.TransferEncoding = nil
		out := req.Clone(background)
		out.Body = io.NopCloser(bytes.NewReader(body))
		intake <- out
		return false
	}
}

// bodilessSender is for a shadow that gets no bodies: live's is left alone.
func bodilessSender(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	intake := m.shadow.intake
	return func(_ http.ResponseWriter, req *http.Request) bool {
		intake <- req.Clone(background)
		return false
	}
}

// prober returns the function that takes a request while the shadow is left alone. It
// is counted, unless it may be the probe, and then it is taken as ever. Which one is the
// probe is decided when a worker has its copy in hand, so any number may be on their way.
func prober(m *middleware, take, takeFull func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	s := m.shadow
	turn := &s.pause.turn
	paused := &s.mirror.counts.paused
	inFlight := &m.shadow.mirror.inFlight
	places := m.shadow.maxInFlight
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if !turn.Load() {
			if req.Header["Upgrade"] != nil || req.ProtoMajor > 1 {
				reasonFor(s, req, paused).Add(1)
				return false
			}
			paused.Add(1)
			return false
		}
		if inFlight.Add(1) > places {
			return takeFull(rw, req)
		}
		return take(rw, req)
	}
}

// fullTaker returns the function that takes a request that has found more places taken
// than there are, its own among them. It is counted and not mirrored.
//
// But where most places are held by bodies that clients have not sent yet, a request
// without one is mirrored all the same: the copies that are under way are fewer than
// may be, and it takes none of the memory that the places stand for. Without that,
// clients that send slowly would shut out all others.
func fullTaker(m *middleware, take func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	s := m.shadow
	inFlight := &s.mirror.inFlight
	counts := s.mirror.counts
	full := &counts.full
	logged := &counts.reporting
	return func(rw http.ResponseWriter, req *http.Request) bool {
		if req.Body == http.NoBody && crowded(s) {
			return take(rw, req)
		}
		inFlight.Add(-1)
		if req.Header["Upgrade"] != nil || req.ProtoMajor > 1 {
			return dropFull(s, req)
		}
		full.Add(1)
		if !logged.Load() {
			counts.logFull()
		}
		return false
	}
}

// reasonFor returns the count of why a request is never mirrored, and otherwise lost: no
// request is counted as lost that could not have been mirrored. Because it costs, the live
// path asks only where that is likely: of upgrades, and of what comes over HTTP/2 or later,
// as gRPC does.
func reasonFor(s *shadow, req *http.Request, lost *atomic.Int64) *atomic.Int64 {
	if reason := excluded(s, req); reason != nil {
		return reason
	}
	return lost
}

// dropFull counts a request that has found no place, and that may be one that is never
// mirrored.
func dropFull(s *shadow, req *http.Request) bool {
	counts := s.mirror.counts
	reason := reasonFor(s, req, &counts.full)
	reason.Add(1)
	if reason == &counts.full {
		counts.logFull()
	}
	return false
}

// crowded reports whether bodies that have not come yet hold more than half of the
// places, and there is room for one more copy besides.
func crowded(s *shadow) bool {
	awaited := bodiesAwaited(s)
	return awaited > 2 && awaited > s.maxInFlight/2 && s.mirror.inFlight.Load() <= 2*s.maxInFlight
}

// bodiesAwaited is how many places are held by requests whose copies have not been
// handed over yet. It is the rest: places that are neither in the channel nor with a
// worker. A worker that has just received a copy counts as idle for a moment, so it may
// be too large by a few.
func bodiesAwaited(s *shadow) int64 {
	return s.mirror.inFlight.Load() - int64(len(s.copies)) - s.workers.Load() + int64(len(s.idle))
}

// notMirrored counts a request with a place that is not mirrored, in one of the counts,
// and gives the place back.
func notMirrored(m *mirror, reason *atomic.Int64) {
	releasePlace(m)
	reason.Add(1)
	if reason == &m.counts.full {
		m.counts.logFull()
	}
}

// releasePlace gives back the place of a request that is not sent after all.
func releasePlace(m *mirror) { m.inFlight.Add(-1) }

// whyNot returns the count of why a request that has a place is not mirrored, by what
// its head says and how full it is, and nil for one that is.
//
// A body whose length is large, or not known, may be long in coming. Such bodies have
// half of the places at most, so that clients that send slowly do not shut out all
// others.
func whyNot(m *middleware, req *http.Request) *atomic.Int64 {
	s := m.shadow
	reason := excluded(s, req)
	if reason != nil || !s.mirrorBody {
		return reason
	}
	if req.ContentLength > m.maxBodySize {
		return &s.mirror.counts.large
	}
	if (req.ContentLength < 0 || req.ContentLength > s.smallBody) && bodiesAwaited(s) > (s.maxInFlight+1)/2 {
		return fullOfBodies(s)
	}
	return nil
}
