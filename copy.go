package mirror

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// What the shadow gets is the copy that the live path has made of live's request,
// changed in place by the worker that sends it: as Traefik's own proxy, a
// httputil.ReverseProxy, changes live's. The worker's loop does itself what every
// copy needs, and calls what is here for the others.

// hopByHop are the headers that end at a proxy: those that ReverseProxy removes
// (RFC 9110, section 7.6.1, and their forerunners). Expect is not among its, and is
// here because the copy's body is there: nobody has to be asked whether to send it.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect",
}

// endHopByHop removes the headers that end here, those that Connection names among
// them. That a client takes trailers is passed on, as ReverseProxy does for gRPC, and
// though Connection names Te, as it should.
func endHopByHop(h http.Header) {
	if h["Upgrade"] != nil {
		delete(h, "Http2-Settings") // a part of the offer
	}
	trailers := false
	for _, v := range h["Te"] {
		for _, token := range strings.Split(v, ",") {
			trailers = trailers || strings.EqualFold(strings.TrimSpace(token), "trailers")
		}
	}
	for _, v := range h["Connection"] {
		for _, name := range strings.Split(v, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
}

// addForwardedFor adds the client's address, the other end of its connection, to
// those that are in X-Forwarded-For already. A header that is there without any, as
// nil, is one that somebody wants left alone: ReverseProxy's rule.
func addForwardedFor(out *http.Request) {
	prior, present := out.Header["X-Forwarded-For"]
	if present && prior == nil {
		return
	}
	host, _, err := net.SplitHostPort(out.RemoteAddr)
	if err != nil {
		return
	}
	if len(prior) > 0 {
		host = strings.Join(prior, ", ") + ", " + host
	}
	out.Header["X-Forwarded-For"] = []string{host}
}

// gzipOnly is what net/http's transport asks live for where the client does not say.
var gzipOnly = []string{"gzip"}

// acceptGzip asks for what Traefik's transport asks live for, on the same terms.
func acceptGzip(out *http.Request) {
	if out.Header["Range"] == nil && out.Method != http.MethodHead {
		out.Header["Accept-Encoding"] = append(out.Header["Accept-Encoding"], "gzip")
	}
}

// tidyAgent leaves one User-Agent, and none where it is empty, as net/http does.
func tidyAgent(h http.Header) {
	agent := h["User-Agent"]
	if len(agent) == 0 || agent[0] == "" {
		delete(h, "User-Agent")
		return
	}
	h["User-Agent"] = agent[:1]
}

// takeLiveURL gives the copy the URL that Traefik's proxy sends to live: what RequestURI
// says, if it is one, and else the URL, with & for each semicolon in the query. A
// middleware before the mirror may have set one of them only. See rewriteRequestBuilder
// in Traefik's pkg/proxy/httputil.
func takeLiveURL(out *http.Request) {
	u := out.URL
	if out.RequestURI != "" {
		if parsed, err := url.ParseRequestURI(out.RequestURI); err == nil {
			u = parsed
		}
	}
	// A URL of its own: the copy's may be what a plugin has put there.
	sent := &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: strings.ReplaceAll(u.RawQuery, ";", "&")}
	sent.ForceQuery = out.URL.ForceQuery
	out.URL = sent
}

// serverItself returns the URL of a request for the server itself, "*" (RFC 9112, section
// 3.2.4), which has no path that a base path could be joined to.
func serverItself() *url.URL { return &url.URL{Path: "*"} }

// withoutBody takes the body from the copy.
func withoutBody(out *http.Request) {
	// One by one: a nil among several values panics when interpreted.
	out.Body = nil
	out.ContentLength = 0
	out.TransferEncoding = nil
	out.Trailer = nil
}

// customize gives the copy what only some shadows get, by their options.
func customize(s *shadow, out *http.Request) {
	if !s.passHost {
		out.Host = ""
	}
	for name, value := range s.setHeaders {
		if name == "Host" {
			out.Host = value[0]
			continue
		}
		out.Header[name] = value
	}
	for _, name := range s.removeHeaders {
		delete(out.Header, name)
	}
}
