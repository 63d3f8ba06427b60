package mirroring

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// An offer is what a client sends that would rather speak something else.
type offer struct {
	name  string
	lines []string
}

var allOffers = []offer{
	{"java", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA"}},
	{"apache", []string{"Connection: Upgrade", "Upgrade: TLS/1.2"}},
	{"rfc-2817", []string{"Connection: upgrade", "Upgrade: TLS/1.0, HTTP/1.1"}},
	{"newer-http", []string{"Connection: keep-alive, Upgrade", "Upgrade: HTTP/2.0"}},
}

// offersFor are those that reach the mirror: Traefik before v3.6 may take h2c itself, before
// any middleware.
func offersFor(t *testing.T) []offer {
	t.Helper()
	if testbed.MustUsedRelease(t).Has("v3.6.0") {
		return allOffers
	}
	return allOffers[1:]
}

// A server that declines an offer answers as if there were none. The shadow gets the
// request without it, so it cannot take what the client offered to live.
func TestOffersThatLiveDeclinesAreMirrored(t *testing.T) {
	testbed.InBothModes(t, testOffersThatLiveDeclinesAreMirrored)
}

func testOffersThatLiveDeclinesAreMirrored(t *testing.T, options testbed.Values) {
	offers := offersFor(t)
	b := run(t, setup{options: options})
	for _, o := range offers {
		for _, request := range []string{
			sized("POST", "/invoices/"+o.name, mirrorHost, invoice, append([]string{"Content-Type: application/json"}, o.lines...)...),
			head("GET", "/invoices/"+o.name, mirrorHost, o.lines...),
		} {
			sameAnswers(t, exchange(t, b.Traefik, request), exchange(t, b.Traefik, plainly(request)))
		}
	}
	copied := arrived(t, b.shadow, 2*len(offers))
	for _, o := range offers {
		target := "/invoices/" + o.name
		if n := count(copied, target); n != 2 {
			t.Errorf("%s: %d copies of two requests", o.name, n)
		}
		if n := count(b.live.Requests(), target); n != 4 {
			t.Errorf("%s: live got %d requests, want two with the middleware and two without", o.name, n)
		}
	}
	for _, r := range copied {
		if r.Method == "POST" && string(r.Body) != invoice {
			t.Errorf("%s: the shadow got the body %q", r.RequestURI, r.Body)
		}
		for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
			if values := r.Header.Values(name); len(values) > 0 {
				t.Errorf("%s %s: the shadow got %s: %q", r.Method, r.RequestURI, name, values)
			}
		}
	}
}

// A server may take the connection all the same. Live and its client then have what
// they have without the plugin, and the shadow has a request of its own.
func TestOffersThatLiveTakesAreTaken(t *testing.T) {
	testbed.InBothModes(t, testOffersThatLiveTakesAreTaken)
}

func testOffersThatLiveTakesAreTaken(t *testing.T, options testbed.Values) {
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		token := req.Header.Get("Upgrade")
		if token == "" {
			return
		}
		conn, buffered, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+token+"\r\n\r\nREADY\r\n")
		for {
			line, err := buffered.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(conn, "BOOKED "+line)
		}
	})
	b := run(t, setup{options: options, live: testbed.UpstreamOptions{Streaming: true, Handler: live}})
	offers := offersFor(t)
	for _, o := range offers {
		var statuses []int
		for _, host := range []string{plainHost, mirrorHost} {
			c := dial(t, b.Traefik)
			c.say(head("GET", "/ledger/"+o.name, host, o.lines...))
			resp := c.hear("GET")
			statuses = append(statuses, resp.StatusCode)
			if resp.StatusCode == http.StatusSwitchingProtocols {
				if line := c.hearLine(); line != "READY" {
					t.Errorf("%s, %s: %q, want READY", o.name, host, line)
				}
				c.say("invoice 2024-00117\r\n")
				if line := c.hearLine(); line != "BOOKED invoice 2024-00117" {
					t.Errorf("%s, %s: %q, want the invoice to be booked", o.name, host, line)
				}
			}
			c.Close()
		}
		if statuses[0] != statuses[1] {
			t.Errorf("%s: answers %d without the middleware and %d with it", o.name, statuses[0], statuses[1])
		}
	}
	for _, r := range arrived(t, b.shadow, len(offers)) {
		if r.Header.Get("Upgrade") != "" || r.Header.Get("Connection") != "" {
			t.Errorf("%s: the shadow got the offer too: %q", r.RequestURI, r.Header)
		}
	}
}

// A router whose mirror leads back to it: live has each request once, and the log
// says where url leads.
func TestCopyThatComesBackDoesNotReachLive(t *testing.T) {
	testbed.InBothModes(t, testCopyThatComesBackDoesNotReachLive)
}

func testCopyThatComesBackDoesNotReachLive(t *testing.T, options testbed.Values) {
	b := run(t, setup{options: options})
	leads := b.dynamic(with(options, "url", b.URL("")))
	leads.Report()
	b.MustReload(t, leads)
	for i := range 3 {
		target := fmt.Sprintf("/invoices/%d", i)
		expect(t, b.Traefik, http.StatusOK, sized("POST", target, mirrorHost, invoice))
		expect(t, b.Traefik, http.StatusOK, head("GET", target, mirrorHost))
	}
	const name = "shadow-billing"
	testbed.Eventually(t, patience, func() error {
		if r := b.MustReport(t, name); r.Dropped["loop"] != 6 || r.Answers["5xx"] != 6 {
			return fmt.Errorf("%d counted as loop, %v answered; want 6 copies that have come back", r.Dropped["loop"], r.Answers)
		}
		return nil
	})
	for i := range 3 {
		target := fmt.Sprintf("/invoices/%d", i)
		if n := count(b.live.Requests(), target); n != 2 {
			t.Errorf("live got %s %d times, want the POST and the GET", target, n)
		}
	}
	said := slices.Collect(func(yield func(string) bool) {
		for line := range strings.Lines(b.Log()) {
			if strings.Contains(line, "leads back to the router") && !yield(line) {
				return
			}
		}
	})
	if len(said) != 1 || !strings.Contains(said[0], b.URL("")) {
		t.Errorf("the log has %q, want one line that names the url", said)
	}
}
