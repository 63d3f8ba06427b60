package faults

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A hop is a firewall before a shadow: it passes connections on, until it forgets those
// that it has. Then it swallows what comes on them, and says nothing.
type hop struct {
	*testbed.RawUpstream
	mu    sync.Mutex
	known map[net.Conn]bool
}

func runHop(t *testing.T, to string) *hop {
	t.Helper()
	h := &hop{known: map[net.Conn]bool{}}
	h.RawUpstream = testbed.RunRawUpstream(t, func(conn net.Conn) {
		shadow, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer shadow.Close()
		h.mu.Lock()
		h.known[conn] = true
		h.mu.Unlock()
		go h.pass(shadow, conn)
		h.pass(conn, shadow)
	})
	return h
}

// pass passes on what comes from a connection, one of which is the client's.
func (h *hop) pass(from, to net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		h.mu.Lock()
		known := h.known[from] || h.known[to]
		h.mu.Unlock()
		if known {
			to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

func (h *hop) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known = map[net.Conn]bool{}
}

// A connection that goes silent is given up, whatever maxPause says, by each protocol:
// copies arrive again, on another.
func TestConnectionsThatGoSilentAreGivenUp(t *testing.T) {
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	live := runLive(t)
	dynamic := testbed.Dynamic{}.Service("billing", live.URL())
	type silenced struct {
		name   string
		hop    *hop
		shadow *testbed.Upstream
	}
	schemes := []string{"http", "https", "https-http2"}
	if testbed.MustUsedRelease(t).HasH2C() {
		schemes = append(schemes, "h2c")
	}
	var all []silenced
	for _, scheme := range schemes {
		for _, maxPause := range []string{"0", "2s"} {
			opts := testbed.UpstreamOptions{Name: "shadow", HTTP2: scheme == "https-http2" || scheme == "h2c"}
			url := scheme
			if scheme == "https" || scheme == "https-http2" {
				opts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
				url = "https"
			}
			s := silenced{name: scheme + "-" + maxPause, shadow: testbed.RunUpstream(t, opts)}
			s.hop = runHop(t, s.shadow.Addr())
			// Few at once: net/http makes another connection when many have timed out on one.
			options := testbed.Values{"url": url + "://" + s.hop.Addr(), "timeout": "1s", "maxPause": maxPause, "maxInFlight": 3}
			if opts.TLS != nil {
				options["tls"] = testbed.Values{"rootCAs": string(ca.PEM())}
			}
			dynamic.Mirror(s.name, options).Router(s.name, testbed.RuleOf(s.name), "billing", s.name)
			all = append(all, s)
		}
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: dynamic})
	l := newLoad(t, traefik, live, 0)
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			arrives := func(want int) {
				testbed.Eventually(t, patience, func() error {
					if err := l.send(s.name); err != nil {
						return err
					}
					if n := s.shadow.Count(); n < want {
						return fmt.Errorf("the shadow got %d requests, want %d", n, want)
					}
					return nil
				})
			}
			arrives(5)
			s.hop.forget()
			arrives(s.shadow.Count() + 10)
		})
	}
}
