package testbed

import (
	"net"
	"net/http"
	"testing"
)

// RunTraefik starts Traefik for the length of a test and fails the test if
// that cannot be done, or if Traefik ends before the test does. A test that
// failed shows the end of Traefik's log.
func RunTraefik(tb testing.TB, opts Options) *Traefik {
	tb.Helper()
	t, err := Start(tb.Context(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		err := t.Stop()
		if err != nil {
			tb.Error(err)
		} else if tb.Failed() {
			tb.Logf("the end of Traefik's log:\n%s", t.LogTail(60))
		}
	})
	return t
}

// MustServe is [RunTraefik] followed by [Traefik.CheckRouters], for tests whose
// first configuration is all good.
func MustServe(tb testing.TB, opts Options) *Traefik {
	tb.Helper()
	t := RunTraefik(tb, opts)
	if err := t.CheckRouters(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return t
}

// MustRepoRoot is [RepoRoot] for tests.
func MustRepoRoot(tb testing.TB) string {
	tb.Helper()
	root, err := RepoRoot()
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// MustUsedRelease is [UsedRelease] for tests that have to know before they start
// a Traefik.
func MustUsedRelease(tb testing.TB) Release {
	tb.Helper()
	release, err := UsedRelease(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return release
}

// RunUpstream starts an upstream for the length of a test.
func RunUpstream(tb testing.TB, opts UpstreamOptions) *Upstream {
	tb.Helper()
	u, err := NewUpstream(opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(u.Stop)
	return u
}

// RunRawUpstream starts a raw upstream for the length of a test.
func RunRawUpstream(tb testing.TB, handle func(net.Conn)) *RawUpstream {
	tb.Helper()
	u, err := NewRawUpstream(handle)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(u.Stop)
	return u
}

// RunNameserver starts a name server for the length of a test.
func RunNameserver(tb testing.TB) *Nameserver {
	tb.Helper()
	n, err := NewNameserver()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.Stop)
	return n
}

// FreeAddress returns an address on loopback on which nobody listens.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ClientAt returns a client whose connections come from ip, an address of
// loopback's. It keeps connections.
func ClientAt(ip string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
}

// MustReload is [Traefik.Reload] followed by [Traefik.CheckRouters], for tests
// that expect both to succeed.
func (t *Traefik) MustReload(tb testing.TB, dynamic any) {
	tb.Helper()
	if err := t.Reload(tb.Context(), dynamic); err != nil {
		tb.Fatal(err)
	}
	if err := t.CheckRouters(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}
