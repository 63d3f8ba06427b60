package kubernetes

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A headless Service has no address of its own: its name leads to the pods, and with
// those of a new version to others. Copies go there within a minute, by each protocol,
// though the old pod still answers, on connections that are kept.
func TestHeadlessServiceMovesToOtherPods(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can serve names at port 53, and mount a file for Traefik alone")
	}
	for _, scheme := range []string{"http", "https", "https-http2", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			testHeadlessServiceMoves(t, scheme)
		})
	}
}

func testHeadlessServiceMoves(t *testing.T, scheme string) {
	// The mirror uses a connection for a minute at most; the rest is for a busy machine.
	const limit = 100 * time.Second
	const name = "billing-next.default.svc"
	opts := testbed.UpstreamOptions{Name: "shadow", HTTP2: scheme == "https-http2" || scheme == "h2c", Addr: "127.53.1.1:0"}
	url := scheme
	middleware := object(t, "middleware.yaml")
	if scheme == "https" || scheme == "https-http2" {
		ca, err := testbed.NewCA()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Certificate(name)
		if err != nil {
			t.Fatal(err)
		}
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		options(t, middleware)["tls"] = map[string]any{"rootCAs": []any{string(ca.PEM())}}
		url = "https"
	}
	old := testbed.RunUpstream(t, opts)
	_, port, err := net.SplitHostPort(old.Addr())
	if err != nil {
		t.Fatal(err)
	}
	opts.Addr = "127.53.1.2:" + port
	next := testbed.RunUpstream(t, opts)
	names := testbed.RunNameserver(t)
	names.Set(name, "127.53.1.1")

	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	c := runCluster(t)
	c.apply(t, services(t, live)...)
	options(t, middleware)["url"] = url + "://" + name + ":" + port
	c.apply(t, middleware, object(t, "ingressroute.yaml"))
	traefik := runTraefik(t, c, testbed.Options{Nameserver: names.IP()})
	served(t, traefik)

	mirrored := customer(t, 0, 10)
	arrives := func(u *testbed.Upstream, n int) {
		t.Helper()
		testbed.Eventually(t, limit, func() error {
			request(t, traefik, "GET", "/invoices/2024-00117", mirrored)
			time.Sleep(50 * time.Millisecond)
			if got := u.Count(); got < n {
				return fmt.Errorf("the shadow got %d copies, want %d", got, n)
			}
			return nil
		})
	}
	arrives(old, 20)
	if n := next.Count(); n != 0 {
		t.Fatalf("the new pod got %d copies before its time", n)
	}
	names.Set(name, "127.53.1.2")
	arrives(next, 20)
	// Another connection to the old pod may have been made just before its end.
	testbed.Eventually(t, limit, func() error {
		before := old.Count()
		arrives(next, next.Count()+20)
		if n := old.Count() - before; n > 0 {
			return fmt.Errorf("the old pod got %d of the latest copies", n)
		}
		return nil
	})
}
