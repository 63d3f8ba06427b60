package mirror

import (
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
)

// What is no exchange of one whole request and one answer, and so cannot be copied once
// the request has come: protocols that are spoken within a request, and those that a
// connection changes to. Both are told by the request's head.

// A protocol is one whose servers answer before the request's body ends, so that a body
// that is read to its end first would have client and server wait for each other. In
// bodyMode stream live reads the body as it comes, and these are mirrored.
type protocol struct {
	types string // an expression for its content types, in lower case, from the beginning
	isRPC bool   // it is gRPC, which has a count of its own
}

// protocols are all that are known. docs/behaviour.md has the same table.
//
// Not among them, because their bodies are whole before anything answers: gRPC-Web
// (application/grpc-web), Connect's unary calls (application/json, application/proto),
// server-sent events, JSON that comes by the line.
var protocols = []protocol{
	// gRPC ("gRPC over HTTP/2", Requests).
	{types: `application/grpc(?:$|[+; ])`, isRPC: true},
	// Streaming calls of Connect (its protocol reference, Streaming-Request).
	{types: `application/connect\+`},
	// Amazon's event streams as requests, as Transcribe, Lex and Bedrock take them.
	{types: `application/vnd\.amazon\.event-?stream(?:$|[; ])`},
	// Chunked Oblivious HTTP (an IETF draft).
	{types: `message/ohttp-chunked-req(?:$|[; ])`},
	// RTSP tunnelled through HTTP, whose POST stays open.
	{types: `application/x-rtsp-tunnelled(?:$|[; ])`},
}

var (
	// earlyAnswered matches the content types of all protocols, and grpcType gRPC's.
	earlyAnswered *regexp.Regexp
	grpcType      *regexp.Regexp

	// noType matches no content type.
	noType = regexp.MustCompile(`$^.`)
)

func init() {
	earlyAnswered = regexp.MustCompile(typesOf(func(_ *protocol) bool { return true }))
	grpcType = regexp.MustCompile(typesOf(func(p *protocol) bool { return p.isRPC }))
}

// typesOf returns an expression for the content types of those protocols that are
// chosen.
func typesOf(chosen func(*protocol) bool) string {
	var types []string
	for i := range protocols {
		if chosen(&protocols[i]) {
			types = append(types, protocols[i].types)
		}
	}
	return `(?i)^(?:` + strings.Join(types, "|") + `)`
}

// plainTypes are content types that are no protocol's: those that most requests have.
// To look one up costs a worker less than to ask the expression.
var plainTypes = map[string]bool{
	"":                                  true,
	"application/json":                  true,
	"application/json; charset=utf-8":   true,
	"application/x-www-form-urlencoded": true,
}

// excluded returns the count of why a request is never mirrored, by what its head
// says, and nil for one that may be.
func excluded(s *shadow, req *http.Request) *atomic.Int64 {
	counts := s.mirror.counts
	h := req.Header
	if h["Upgrade"] != nil && leavesHTTP(h) {
		return &counts.upgrade
	}
	if t := h["Content-Type"]; len(t) > 0 && !plainTypes[t[0]] && s.excluded.MatchString(t[0]) {
		if grpcType.MatchString(t[0]) {
			return &counts.grpc
		}
		return &counts.duplex
	}
	if req.Method == http.MethodConnect {
		return &counts.connect
	}
	return nil
}

// leavesHTTP reports whether the client asks for a protocol that a server may take the
// connection over for. An Upgrade header means nothing unless Connection names it (RFC
// 9110, section 7.8).
//
// A client that offers no more than another HTTP, or TLS, goes on with HTTP/1.1 where
// the server declines, as most servers do. Java's clients make such an offer with every
// request. These requests are mirrored, without the offer.
func leavesHTTP(h http.Header) bool {
	if !hasToken(h["Connection"], isUpgrade) {
		return false
	}
	return hasToken(h["Upgrade"], isNoHTTP)
}

func isUpgrade(token string) bool { return token == "upgrade" }

// isNoHTTP reports whether a token of an Upgrade header, in lower case, is anything but
// HTTP over the same connection or over TLS (RFC 7540, section 3.2; RFC 2817).
func isNoHTTP(token string) bool {
	name, _, _ := strings.Cut(token, "/")
	return !otherHTTP[name]
}

var otherHTTP = map[string]bool{"": true, "h2c": true, "h2": true, "http": true, "tls": true}

// hasToken reports whether one of the tokens in a header's values is as asked for. They
// are in lower case then.
func hasToken(values []string, wanted func(token string) bool) bool {
	for _, v := range values {
		for _, token := range strings.Split(strings.ToLower(v), ",") {
			if wanted(strings.TrimSpace(token)) {
				return true
			}
		}
	}
	return false
}
