// Package mirror is a Traefik middleware plugin that copies live HTTP requests,
// body included, to a shadow upstream. The client is served by the live
// upstream alone; what the shadow answers is thrown away.
//
// Traefik calls [CreateConfig], fills the [Config] it gets from the dynamic
// configuration, and calls [New] once for every router that names the
// middleware, again on every change of the configuration.
//
// The package is interpreted by Yaegi v0.16.1 and compiles natively too. Some
// Go is avoided everywhere because the interpreter gets it wrong: select
// statements (their cases are shared by all goroutines), switch cases with more
// than one condition (only the first counts), structs that embed an interface,
// wrapped ResponseWriters, defer with arguments, method values given to compiled
// code, and what came to the standard library after Go 1.22. make lint knows all
// of it.
package mirror

import (
	"context"
	"errors"
	"math"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
)

// markerHeader is set on every shadow request, with the middleware's name.
// A request that arrives with it is not mirrored again: the loop guard.
const markerHeader = "X-Mirrored-By"

// grpcType matches gRPC's content type: application/grpc, alone or followed by +
// or ; (gRPC over HTTP/2, "Requests"). gRPC-Web, which has whole bodies, is
// application/grpc-web and is mirrored like anything else.
var grpcType = regexp.MustCompile(`(?i)^application/grpc($|[+; ])`)

// plainTypes are content types that are never gRPC's. They are what most
// requests have, and looking them up saves the call of the expression.
var plainTypes = map[string]bool{
	"application/json":                  true,
	"application/json; charset=utf-8":   true,
	"application/x-www-form-urlencoded": true,
}

// noType matches no content type.
var noType = regexp.MustCompile(`$^.`)

// background is the parent of everything the shadow does. A variable, because
// the call would be one more step of the live path.
var background = context.Background()

// A middleware serves one router. What it mirrors through is shared with all
// the routers that name the same middleware.
//
// The fields that every request reads are kept here, one step away, rather
// than behind shadow: each selector costs the live path when interpreted.
type middleware struct {
	next   http.Handler
	shadow *shadow

	inFlight    *atomic.Int64 // the mirror's
	maxInFlight int64
	mirrorBody  bool
	maxBodySize int64          // bytes
	excluded    *regexp.Regexp // content types that are not mirrored
	streaming   http.Handler   // for a body that must not be read before live reads it

	compareShare float64 // of the mirrored requests, 0 to 1
}

// A selective middleware mirrors only what its methods and its sampling choose.
type selective struct {
	chosen func(*http.Request) bool
	next   http.Handler // live
	mirror http.Handler // the middleware in front of live
}

func (s *selective) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if s.chosen(req) {
		s.mirror.ServeHTTP(rw, req)
		return
	}
	s.next.ServeHTTP(rw, req)
}

// New returns the middleware called name in front of next. The mirror goes on
// while ctx lasts; live traffic is served even after, since Traefik cancels ctx
// before the handlers that replace this one have taken over.
//
// The error, if any, reports every mistake in config, each by its option's name.
// New needs no network: a shadow that cannot be reached is not an error.
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	if next == nil {
		return nil, errors.New("mirror: no next handler")
	}
	opts, err := config.parse()
	if err != nil {
		return nil, errors.New("mirror: middleware " + name + ": " + err.Error())
	}
	if opts.serve {
		return newReporter(), nil
	}
	shadow := acquire(ctx, name, opts)
	m := &middleware{
		next:        next,
		shadow:      shadow,
		inFlight:    &shadow.mirror.inFlight,
		maxInFlight: opts.maxInFlight,
		mirrorBody:  opts.mirrorBody,
		maxBodySize: opts.maxBodySize,
		excluded:    grpcType,
	}
	if !m.mirrorBody {
		m.maxBodySize = math.MaxInt64
	}
	m.streaming = &streaming{m: m}
	var h http.Handler = m
	if opts.compare != nil {
		m.compareShare = opts.compareShare
		h = &comparing{m: m}
	}
	if opts.stream {
		// The messages of a gRPC call may wait for one another, which a body that
		// is buffered would not let them.
		m.excluded = noType
		h = m.streaming
	}
	if chosen := opts.chooser(&shadow.mirror.counts); chosen != nil {
		h = &selective{chosen: chosen, next: next, mirror: h}
	}
	return h, nil
}

// ServeHTTP is the live path. Nothing in it waits for the shadow.
//
// It and what it calls for every request are short functions, not methods, with
// the rare branches in functions of their own. Interpreted, a call allocates a
// slot for each expression in the function, run or not, and calling a method
// costs four times what calling a function does.
func (m *middleware) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if eligible(m, req) && !handOver(m, rw, req) {
		return
	}
	m.next.ServeHTTP(rw, req)
}

// eligible reports whether the request may be mirrored, by what its head says.
func eligible(m *middleware, req *http.Request) bool {
	// Indexed rather than asked with Get: the names are in canonical form, and
	// an index costs half a call.
	h := req.Header
	if h[markerHeader] != nil {
		return countMarked(m)
	}
	if h["Upgrade"] != nil && isUpgrade(h) {
		return countUpgrade(m)
	}
	if t := h["Content-Type"]; len(t) > 0 && !plainTypes[t[0]] && m.excluded.MatchString(t[0]) {
		return countGRPC(m)
	}
	if req.Method == http.MethodConnect {
		return countConnect(m)
	}
	return req.ContentLength <= m.maxBodySize || dropTooLarge(m)
}

// handOver takes a place in flight and the body, and starts the shadow. Where
// one of them cannot be had, the request is not mirrored. It reports whether
// live is to serve the request: if not, the client has been answered.
func handOver(m *middleware, rw http.ResponseWriter, req *http.Request) bool {
	if m.inFlight.Add(1) > m.maxInFlight && !isProbe(m) {
		return true
	}
	var body []byte
	if m.mirrorBody && req.Body != http.NoBody {
		var err error
		if body, err = takeBody(req, m.maxBodySize); err != nil {
			return dropUntaken(m, rw, req, err)
		}
	}
	go send(m.shadow, outgoing(m.shadow, req), body, nil)
	return true
}

// isUpgrade reports whether the client asks to leave HTTP. An Upgrade header
// means nothing unless Connection names it (RFC 9110, section 7.8).
func isUpgrade(h http.Header) bool {
	for _, v := range h["Connection"] {
		for _, token := range strings.Split(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// These count a request that its head keeps from being mirrored. They are four, and
// take no counter, because eligible would pay for what it could hand them.

func countMarked(m *middleware) bool {
	m.shadow.mirror.counts.marked.Add(1)
	return false
}

func countUpgrade(m *middleware) bool {
	m.shadow.mirror.counts.upgrade.Add(1)
	return false
}

func countGRPC(m *middleware) bool {
	m.shadow.mirror.counts.grpc.Add(1)
	return false
}

func countConnect(m *middleware) bool {
	m.shadow.mirror.counts.connect.Add(1)
	return false
}

// dropTooLarge counts a request whose announced body is above the limit.
func dropTooLarge(m *middleware) bool {
	m.shadow.mirror.counts.large.Add(1)
	return false
}

// isProbe decides on a request that found no place in flight. It is dropped and
// counted, unless it is the one that tries whether a sick shadow has recovered.
func isProbe(m *middleware) bool {
	shared := m.shadow.mirror
	if shared.pause.probeDue.Load() && shared.pause.probeDue.CompareAndSwap(true, false) {
		return true
	}
	if m.inFlight.Add(-1) >= pausedPlaces {
		shared.counts.paused.Add(1)
	} else {
		shared.counts.noPlace()
	}
	return false
}

// freePlace gives back the place of a request that is not sent after all.
func freePlace(m *middleware) {
	if m.inFlight.Add(-1) >= pausedPlaces {
		m.shadow.mirror.pause.probeDue.Store(true) // it was the probe: the next one is
	}
}

// freeWhenServed gives back the place of a request whose body turned out too
// large, when live has got the part of it that was read.
func freeWhenServed(m *middleware, req *http.Request) {
	awaitLive(req)
	freePlace(m)
}

// dropUntaken ends the mirroring of a request whose body could not be taken: live
// serves one that is too large, and the client hears of one that cannot be read. A
// body that is borrowed starts anew, in the other mode. It reports, as handOver
// does, whether live is to serve the request.
func dropUntaken(m *middleware, rw http.ResponseWriter, req *http.Request, err error) bool {
	if err == errBorrowed {
		freePlace(m)
		m.streaming.ServeHTTP(rw, req)
		return false
	}
	if err == errTooLarge {
		m.shadow.mirror.counts.large.Add(1)
		go freeWhenServed(m, req)
		return true
	}
	freePlace(m)
	m.shadow.mirror.counts.unread.Add(1)
	// A compiled type: errors.As cannot take one of ours when interpreted.
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(rw, "mirror: the request body is larger than is allowed here", http.StatusRequestEntityTooLarge)
		return false
	}
	http.Error(rw, "mirror: the request body could not be read", http.StatusBadRequest)
	return false
}
