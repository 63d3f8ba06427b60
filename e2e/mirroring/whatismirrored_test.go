package mirroring

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// A row is one of docs/behaviour.md's table of what is mirrored, and the test of it.
type row struct {
	first   string           // the row's first cell
	mirrors []testbed.Values // a middleware for each, beside url
	circles bool             // the shadow is the router itself
	live    testbed.UpstreamOptions
	test    func(t *testing.T, mirrors []*rowMirror)
}

// mirroredRows are the rows of the table. A new row needs one here.
var mirroredRows = []row{
	{
		first: "an upgrade (WebSocket), CONNECT",
		live:  testbed.UpstreamOptions{Streaming: true, Handler: http.HandlerFunc(takeOver)},
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			for _, protocol := range []string{"websocket", "ledger/1"} {
				for _, host := range []string{m.plain, m.host} {
					c := dial(t, m.Traefik)
					c.say(head("GET", "/ledger", host, "Connection: Upgrade", "Upgrade: "+protocol))
					if resp := c.hear("GET"); resp.StatusCode != http.StatusSwitchingProtocols {
						t.Fatalf("%s at %s: answer %s, want 101", protocol, host, resp.Status)
					}
					c.say("invoice 2024-00117\r\n")
					if line, want := c.hearLine(), "BOOKED invoice 2024-00117"; line != want {
						t.Errorf("%s at %s: %q, want %q", protocol, host, line, want)
					}
				}
			}
			m.sameAtLive(t, 2)
			m.passes(t, "CONNECT HOST:443 HTTP/1.1\r\nHost: HOST:443\r\n\r\n")
			m.want = fates{"upgrade": 2, "connect_method": 1}
		},
	},
	{
		first:   "gRPC (`application/grpc`)",
		mirrors: []testbed.Values{{}, {"bodyMode": "stream"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			for i, m := range mirrors {
				for _, kind := range []string{"application/grpc", "application/grpc+proto"} {
					m.passes(t, sized("POST", "/billing.Ledger/Book", "HOST", invoice, "Content-Type: "+kind))
				}
				m.want = []fates{{"grpc": 2}, {mirroredFate: 2}}[i]
			}
		},
	},
	{
		first: "has an `X-Mirrored-By` header",
		test: func(t *testing.T, mirrors []*rowMirror) {
			mirrors[0].passes(t, sized("POST", "/invoices", "HOST", invoice, "X-Mirrored-By: shadow-billing@docker"))
			mirrors[0].want = fates{"marked": 1}
		},
	},
	{
		first:   "method not in `methods`, or not sampled",
		mirrors: []testbed.Values{{"methods": "GET,HEAD"}, {"percent": 0}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			for i, m := range mirrors {
				m.passes(t, sized("POST", "/invoices", "HOST", invoice))
				m.passes(t, chunked("POST", "/invoices", "HOST", invoice, 10))
				m.want = []fates{{"method": 2}, {"sampling": 2}}[i]
			}
		},
	},
	{
		first:   "Content-Length above `maxBodySize`",
		mirrors: []testbed.Values{{"maxBodySize": len(invoice) - 1}, {"maxBodySize": len(invoice) - 1, "bodyMode": "stream"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			for _, m := range mirrors {
				m.passes(t, sized("POST", "/invoices", "HOST", invoice))
				m.want = fates{"too_large": 1}
			}
		},
	},
	{
		first:   "no Content-Length, and the body turns out to be above `maxBodySize`",
		mirrors: []testbed.Values{{"maxBodySize": len(invoice) - 1}, {"maxBodySize": len(invoice) - 1, "bodyMode": "stream"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			for _, m := range mirrors {
				m.passes(t, chunked("POST", "/invoices", "HOST", invoice, 10))
				m.want = fates{"too_large": 1}
			}
		},
	},
	{
		first:   "`maxInFlight` requests are being mirrored already",
		mirrors: []testbed.Values{{"maxInFlight": 1, "timeout": "60s"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			release := m.shadow.Hang()
			t.Cleanup(release)
			m.passes(t, sized("POST", "/invoices", "HOST", invoice))
			recorded(t, m.shadow, 1)
			m.passes(t, sized("POST", "/invoices", "HOST", invoice))
			m.passes(t, chunked("POST", "/invoices", "HOST", testbed.Payload(300<<10), 1000))
			release()
			m.want = fates{mirroredFate: 1, "full": 2}
		},
	},
	{
		first: "the shadow is being left alone because it keeps failing",
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			m.shadow.Stop()
			const sent = 20
			for range sent {
				m.passes(t, sized("POST", "/invoices", "HOST", invoice))
			}
			// Copies that are under way when the pause begins fail too.
			m.want = fates{"paused": 5, "connect": 10}
			m.holds = func(told fates) bool {
				return told["paused"] >= 5 && told["connect"] >= 10 && told["paused"]+told["connect"] == sent && len(told) == 2
			}
		},
	},
	{
		first:   "`bodyMode: stream`, and live does not read the body to its end",
		mirrors: []testbed.Values{{"bodyMode": "stream"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			for i, host := range []string{m.plain, m.host} {
				// The client leaves in the middle of it.
				c := dial(t, m.Traefik)
				c.say(head("POST", "/invoices", host, "Content-Length: "+strconv.Itoa(len(invoice))) + invoice[:10])
				testbed.Eventually(t, patience, func() error {
					if n := m.live.Count(); n != i+1 {
						return fmt.Errorf("live got %d requests, want %d", n, i+1)
					}
					return nil
				})
				c.Close()
			}
			for _, r := range recorded(t, m.live, 2) {
				if r.BodyErr == nil {
					t.Errorf("live got the body %q of %q whole", r.Body, r.Host)
				}
			}
			m.want = fates{"stream_incomplete": 1}
		},
	},
	{
		first: "an offer to upgrade that a server may decline (`h2c`, `TLS/1.2`)",
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			offers := [][]string{{"Connection: Upgrade", "Upgrade: TLS/1.2"}}
			if m.Release().Has("v3.6.0") { // older ones accept it themselves
				offers = append(offers, []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAA"})
			}
			for _, offer := range offers {
				m.passes(t, sized("POST", "/invoices", "HOST", invoice, offer...))
			}
			for _, r := range recorded(t, m.shadow, len(offers)) {
				for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
					if r.Header[name] != nil {
						t.Errorf("the shadow got %s %q", name, r.Header[name])
					}
				}
				if string(r.Body) != invoice {
					t.Errorf("the shadow got body %q, want %q", r.Body, invoice)
				}
			}
			m.want = fates{mirroredFate: int64(len(offers))}
		},
	},
	{
		first:   "another protocol that answers before the body ends (`application/connect+proto`)",
		mirrors: []testbed.Values{{}, {"bodyMode": "stream"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			for i, m := range mirrors {
				for _, kind := range []string{"application/connect+proto", "application/connect+json"} {
					m.passes(t, chunked("POST", "/billing.Ledger/Book", "HOST", invoice, 10, "Content-Type: "+kind))
				}
				m.want = []fates{{"duplex": 2}, {mirroredFate: 2}}[i]
			}
		},
	},
	{
		first:   "more than `maxRate` in a second",
		mirrors: []testbed.Values{{"maxRate": 1}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			const sent = 20
			for range sent {
				m.passes(t, sized("POST", "/invoices", "HOST", invoice))
			}
			// How many seconds that takes is the machine's.
			m.want = fates{"rate": 1}
			m.holds = func(told fates) bool {
				return told["rate"] > 0 && told[mirroredFate] > 0 && told["rate"]+told[mirroredFate] == sent && len(told) == 2
			}
		},
	},
	{
		first:   "a copy that has come back to the mirror that made it",
		circles: true,
		test: func(t *testing.T, mirrors []*rowMirror) {
			m := mirrors[0]
			m.passes(t, sized("POST", "/invoices", "HOST", invoice))
			m.want = fates{"loop": 1}
			// The shadow has answered: 508.
			m.holds = func(told fates) bool {
				return told["loop"] == 1 && told[mirroredFate] == 1 && len(told) == 2
			}
		},
	},
	{
		first:   "anything else",
		mirrors: []testbed.Values{{}, {"bodyMode": "stream"}},
		test: func(t *testing.T, mirrors []*rowMirror) {
			for _, m := range mirrors {
				m.passes(t, head("GET", "/invoices?page=2", "HOST"))
				m.passes(t, head("OPTIONS", "/invoices", "HOST", "Upgrade: websocket"))
				m.passes(t, sized("POST", "/invoices", "HOST", invoice))
				m.passes(t, sized("POST", "/billing.Ledger/Book", "HOST", invoice, "Content-Type: application/grpc-web"))
				m.want = fates{mirroredFate: 4}
			}
		},
	},
}

// takeOver takes the connection over from HTTP where it is asked to.
func takeOver(rw http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Upgrade") == "" {
		return
	}
	conn, buffered, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+req.Header.Get("Upgrade")+"\r\n\r\n")
	line, err := buffered.ReadString('\n')
	if err == nil {
		io.WriteString(conn, "BOOKED "+line)
	}
}

// A rowMirror is a middleware of a row's, with upstreams of its own.
type rowMirror struct {
	*testbed.Traefik
	name, plain, host string // the middleware's, and those of the routers without and with it
	live, shadow      *testbed.Upstream
	outcome           string // the row's other cell
	circles           bool

	// What the test of the row finds that has become of its requests to the mirror:
	// want, or what holds reports.
	want  fates
	holds func(told fates) bool
}

// fates are how many requests have come to what: to a reason, or to mirroredFate.
type fates map[string]int64

const mirroredFate = "mirrored"

// lostAs is how a row names the reason.
var lostAs = regexp.MustCompile("(?:lost|counted) as `([a-z_]+)`")

// passes sends the request, whose host is HOST, to both routers. The answers are the
// same, and so is what live gets, the framing of a body in chunks apart.
func (m *rowMirror) passes(t *testing.T, request string) {
	t.Helper()
	m.live.Reset()
	want := exchange(t, m.Traefik, strings.ReplaceAll(request, "HOST", m.plain))
	n := len(m.live.Requests())
	got := exchange(t, m.Traefik, strings.ReplaceAll(request, "HOST", m.host))
	sameAnswers(t, got, want)
	m.sameAtLive(t, n)
}

// sameAtLive compares what live got of n requests to each of the routers.
func (m *rowMirror) sameAtLive(t *testing.T, n int) {
	t.Helper()
	rename := strings.NewReplacer(m.plain, m.host).Replace
	var without, with []testbed.Request
	for _, r := range recorded(t, m.live, 2*n) {
		if host := rename(r.Host); host != r.Host {
			r.Host, r.RequestURI, r.RawHead = host, rename(r.RequestURI), []byte(rename(string(r.RawHead)))
			without = append(without, r)
		} else {
			with = append(with, r)
		}
	}
	if len(with) != n {
		t.Fatalf("live got %s of the router with the mirror, want %d", testbed.Lines(with), n)
	}
	for i := range n {
		want, got := without[i], with[i]
		if strings.Contains(m.outcome, "untouched") && framing(got) != framing(want) {
			t.Errorf("live got %s, want %s", framing(got), framing(want))
		}
		compareRequests(t, "live", got, want, unframed(got), unframed(want))
	}
}

// told is what the report tells of each middleware, by its name.
func told(t *testing.T, traefik *testbed.Traefik) map[string]fates {
	t.Helper()
	text, err := traefik.Reported(t.Context(), "/report.json")
	if err != nil {
		t.Fatal(err)
	}
	var d report.Document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	all := map[string]fates{}
	for _, m := range d.Middlewares {
		all[m.Name] = fates{}
		for _, reasons := range []map[string]int64{m.Dropped, m.Failed, {mirroredFate: m.Mirrored}} {
			for reason, n := range reasons {
				if n > 0 {
					all[m.Name][reason] = n
				}
			}
		}
	}
	return all
}

// check holds what the report and the metrics tell, the shadow and the row to what the
// test of the row has found.
func (m *rowMirror) check(t *testing.T, told fates, metrics string) {
	t.Helper()
	if !m.agrees(told) {
		t.Errorf("the report of %s tells of %v, want %v", m.name, told, m.want)
	}
	if n := len(m.shadow.Requests()); int64(n) != told[mirroredFate] && !m.circles {
		t.Errorf("the shadow of %s got %s, want %d", m.name, testbed.Lines(m.shadow.Requests()), told[mirroredFate])
	}
	named := lostAs.FindStringSubmatch(m.outcome)
	if named != nil && m.want[named[1]] == 0 {
		t.Errorf("the row says %s, and %s has counted %v", named[1], m.name, m.want)
	}
	for reason := range m.want {
		line := regexp.MustCompile(`\{middleware="` + testbed.Marker(m.name) + `",[^}]*reason="` + reason + `"[^}]*\} [1-9]`)
		if reason != mirroredFate && !line.MatchString(metrics) {
			t.Errorf("the metrics of %s do not have the reason %s", m.name, reason)
		}
	}
}

func (m *rowMirror) agrees(told fates) bool {
	if m.holds != nil {
		return m.holds(told)
	}
	return maps.Equal(told, m.want)
}

// tableRows are the rows of docs/behaviour.md's table of what is mirrored: the second cell by
// the first.
func tableRows(t *testing.T) map[string]string {
	t.Helper()
	root := testbed.MustRepoRoot(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", "behaviour.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## What is mirrored, and what is not\n")
	_, table, _ := strings.Cut(section, "\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string]string{}
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 2 {
			t.Fatalf("docs/behaviour.md: %q is no row of two cells", line)
		}
		rows[cells[0]] = cells[1]
	}
	return rows
}

// docs/behaviour.md says what is mirrored and what is not. Each of its rows is true: live is as
// without the plugin, the shadow gets what the row says, and the reason is counted.
func TestWhatIsMirroredIsWhatTheTableSays(t *testing.T) {
	table := tableRows(t)
	for first := range table {
		if !slices.ContainsFunc(mirroredRows, func(r row) bool { return r.first == first }) {
			t.Errorf("docs/behaviour.md has a row that is not tested: %s", first)
		}
	}
	dynamic := testbed.Dynamic{}.Report()
	all := make([][]*rowMirror, len(mirroredRows))
	for i, r := range mirroredRows {
		if table[r.first] == "" {
			t.Errorf("docs/behaviour.md has no row: %s", r.first)
		}
		if r.mirrors == nil {
			r.mirrors = []testbed.Values{{}}
		}
		for j, options := range r.mirrors {
			name := "row-" + strconv.Itoa(i) + "-" + strconv.Itoa(j)
			r.live.Name = "live"
			m := &rowMirror{name: name, plain: testbed.HostOf("plain-" + name), host: testbed.HostOf(name), outcome: table[r.first], circles: r.circles,
				live: testbed.RunUpstream(t, r.live), shadow: testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})}
			dynamic.Service(name, m.live.URL()).
				Mirror(name, with(options, "url", m.shadow.URL())).
				Router("plain-"+name, testbed.HostRule(m.plain), name).
				Router(name, testbed.HostRule(m.host), name, name)
			all[i] = append(all[i], m)
		}
	}
	traefik := testbed.RunTraefik(t, testbed.Options{Dynamic: dynamic})
	for _, m := range slices.Concat(all...) {
		if m.circles {
			dynamic.Mirror(m.name, testbed.Values{"url": traefik.URL("")})
		}
	}
	if err := traefik.Reload(t.Context(), dynamic); err != nil {
		t.Fatal(err)
	}
	t.Run("live", func(t *testing.T) {
		for i, r := range mirroredRows {
			for _, m := range all[i] {
				m.Traefik = traefik
			}
			t.Run(r.first, func(t *testing.T) {
				t.Parallel()
				r.test(t, all[i])
			})
		}
	})
	var got map[string]fates
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		got = told(t, traefik)
		if !slices.ContainsFunc(slices.Concat(all...), func(m *rowMirror) bool { return !m.agrees(got[testbed.Marker(m.name)]) }) {
			break
		}
	}
	metrics, err := traefik.Reported(t.Context(), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range mirroredRows {
		t.Run("the shadow/"+r.first, func(t *testing.T) {
			for _, m := range all[i] {
				m.check(t, got[testbed.Marker(m.name)], string(metrics))
			}
		})
	}
}
