package faults

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// trickling are bodies that come so slowly that they do not end while the test looks.
var trickling = []struct {
	name  string
	size  int
	known bool
}{
	{"large, of a known length", 512 << 10, true},
	{"large, in chunks", 512 << 10, false},
	{"above the limit, in chunks", 1200 << 10, false},
	{"small, of a known length", 1 << 10, true},
	{"small, in chunks", 1 << 10, false},
}

// Clients that take their time to send their bodies, as many as may be mirrored at
// once, keep nobody else's requests from being mirrored.
func TestUploadsThatTrickleDoNotShutOutOthers(t *testing.T) {
	const (
		uploads = 100 // as many as maxInFlight by default
		begun   = 200 // bytes that each sends at first
		others  = 10
	)
	for _, mode := range []string{"buffer", "stream"} {
		for _, comparing := range []bool{false, true} {
			if t.Failed() {
				return // each of the others would take as long
			}
			live := runLive(t)
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			dynamic := testbed.Dynamic{}.Service("billing", live.URL()).Report()
			routers := make([]string, len(trickling))
			for i := range trickling {
				options := testbed.Values{"url": shadow.URL(), "bodyMode": mode}
				if comparing {
					options["compare"] = testbed.Values{}
				}
				routers[i] = fmt.Sprintf("shadow-%d", i)
				dynamic.Mirror(routers[i], options).Router(routers[i], testbed.RuleOf(routers[i]), "billing", routers[i])
			}
			traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: dynamic})
			for i, test := range trickling {
				if t.Failed() {
					return
				}
				t.Run(fmt.Sprintf("%s, comparing %t, %s", mode, comparing, test.name), func(t *testing.T) {
					router := routers[i]
					body := testbed.Payload(test.size)
					sum := sha256.Sum256([]byte(body))
					head, part := chunked, chunks
					if test.known {
						head = func(target, host string) string { return sized(target, host, test.size) }
						part = func(text string) string { return text }
					}
					shadow.Reset()
					var conns []net.Conn
					for n := range uploads {
						conn, err := net.Dial("tcp", traefik.Addr(testbed.Web))
						if err != nil {
							t.Fatal(err)
						}
						defer conn.Close()
						conn.SetDeadline(time.Now().Add(3 * patience))
						if _, err := io.WriteString(conn, head(fmt.Sprintf("/uploads/%d", n), testbed.HostOf(router))+part(body[:begun])); err != nil {
							t.Fatal(err)
						}
						conns = append(conns, conn)
					}
					waitForBodies(t, traefik, uploads)

					for n := range others {
						get(t, traefik, router, fmt.Sprintf("/invoices/%d", n))
					}
					posts := 0
					if test.size > 1<<10 {
						posts = others
					}
					load := newLoad(t, traefik, live, 1<<10)
					for range posts {
						if err := load.send(router); err != nil {
							t.Fatal(err)
						}
					}
					waitForOthers(t, shadow, router, others, posts)

					// Slow as they are, live gets them whole.
					for n, conn := range conns {
						rest := part(body[begun:])
						if !test.known {
							rest += "0\r\n\r\n"
						}
						if _, err := io.WriteString(conn, rest); err != nil {
							t.Fatal(err)
						}
						resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
						if err != nil {
							t.Fatalf("upload %d: %v", n, err)
						}
						got, err := io.ReadAll(resp.Body)
						if want := testbed.Booked(sum[:]); err != nil || string(got) != want {
							t.Fatalf("upload %d: live answered %s %.100q (%v), want %q", n, resp.Status, got, err, want)
						}
					}
				})
			}
		}
	}
}

// waitForBodies waits until Traefik waits for n requests' bodies.
func waitForBodies(t *testing.T, traefik *testbed.Traefik, n int) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		dump, err := traefik.GoroutineDump(t.Context())
		if err != nil {
			return err
		}
		if got := strings.Count(dump, "net/http.(*body).Read("); got < n {
			return fmt.Errorf("Traefik waits for %d bodies, want %d", got, n)
		}
		return nil
	})
}

// waitForOthers waits for so many GETs and POSTs that are none of the uploads to be
// with the shadow.
func waitForOthers(t *testing.T, shadow *testbed.Upstream, router string, wantGets, wantPosts int) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		gets, posts := 0, 0
		for _, r := range shadow.Requests() {
			switch {
			case r.Header.Get(testbed.MarkerHeader) != testbed.Marker(router) || strings.HasPrefix(r.RequestURI, "/uploads/"):
			case r.Method == http.MethodGet:
				gets++
			default:
				posts++
			}
		}
		if gets != wantGets || posts != wantPosts {
			return fmt.Errorf("the shadow got %d GETs and %d POSTs while uploads trickle, want %d and %d", gets, posts, wantGets, wantPosts)
		}
		return nil
	})
}
