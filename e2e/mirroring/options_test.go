package mirroring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A mirrors collects middlewares with a router each, at NAME.example.com.
type mirrors struct {
	*bench
	config testbed.Dynamic
}

func newMirrors(t *testing.T, live, shadow testbed.UpstreamOptions) *mirrors {
	t.Helper()
	live.Name, shadow.Name = "live", "shadow"
	m := &mirrors{bench: &bench{live: testbed.RunUpstream(t, live), shadow: testbed.RunUpstream(t, shadow)}}
	m.config = m.dynamic(nil)
	return m
}

// add adds a middleware; its url is the shadow's unless the options have one.
func (m *mirrors) add(name string, options testbed.Values) {
	m.config.Mirror(name, with(options, "url", m.shadow.URL())).
		Router(name, testbed.RuleOf(name), "billing", name)
}

func (m *mirrors) start(t *testing.T, opts testbed.Options) {
	t.Helper()
	opts.Dynamic = m.config
	m.Traefik = testbed.MustServe(t, opts)
}

// one waits for the one request that the middleware called name sent.
func (m *mirrors) one(t *testing.T, name string) testbed.Request {
	t.Helper()
	var got []testbed.Request
	testbed.Eventually(t, patience, func() error {
		if got = from(m.shadow.Requests(), name); len(got) != 1 {
			return fmt.Errorf("the shadow got %s from %s, want one request", testbed.Lines(got), name)
		}
		return nil
	})
	return got[0]
}

func TestURLBasePath(t *testing.T) {
	tests := []struct {
		name, base, target, want string
	}{
		{"none", "", "/invoices?page=2", "/invoices?page=2"},
		{"slash", "/", "/invoices", "/invoices"},
		{"path", "/v2", "/invoices/2024-00117?page=2", "/v2/invoices/2024-00117?page=2"},
		{"path-slash", "/v2/", "/invoices/", "/v2/invoices/"},
		{"deep", "/billing/v2", "/invoices", "/billing/v2/invoices"},
		{"root", "/v2", "/", "/v2/"},
		{"escaped-target", "/v2", "/invoices/2024%2F00117", "/v2/invoices/2024%2F00117"},
		{"escaped-base", "/billing%2Fv2", "/invoices", "/billing%2Fv2/invoices"},
		{"both-escaped", "/billing%2Fv2/", "/a%2Fb", "/billing%2Fv2/a%2Fb"},
		{"umlaut", "/s%C3%B6hne", "/%C3%BCbersicht?q=%20", "/s%C3%B6hne/%C3%BCbersicht?q=%20"},
		{"bare-question-mark", "/v2", "/invoices?", "/v2/invoices?"},
	}
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	for _, test := range tests {
		m.add(test.name, testbed.Values{"url": m.shadow.URL() + test.base})
	}
	m.start(t, testbed.Options{})
	for i, test := range tests {
		expect(t, m.Traefik, http.StatusOK, head("GET", test.target, testbed.HostOf(test.name)))
		if got := m.one(t, test.name).RequestURI; got != test.want {
			t.Errorf("%s: the shadow got %q, want %q", test.name, got, test.want)
		}
		want := test.target
		if !m.Release().Has("v3.0.0") {
			want = strings.TrimSuffix(want, "?") // the proxy of Traefik v2 drops it
		}
		if got := m.live.Requests()[i].RequestURI; got != want {
			t.Errorf("%s: live got %q, want %q", test.name, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	const n = 400
	// Eight standard deviations about the half.
	tests := []struct {
		percent         any
		atLeast, atMost int
	}{
		{"100", n, n},
		{"0", 0, 0},
		{"50", 120, 280},
		{12.5, 8, 105},
	}
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	for i, test := range tests {
		m.add(fmt.Sprintf("percent-%d", i), testbed.Values{"percent": test.percent, "maxInFlight": n})
	}
	m.start(t, testbed.Options{LogLevel: "INFO"})
	for i, test := range tests {
		name := fmt.Sprintf("percent-%d", i)
		all := strings.Repeat(head("POST", "/invoices", testbed.HostOf(name), "Content-Length: 0"), n)
		if _, err := testbed.Exchange(t.Context(), m.Addr(testbed.Web), []byte(all), testbed.RawOptions{Answers: n}); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, patience, func() error {
			if got := len(from(m.shadow.Requests(), name)); got < test.atLeast {
				return fmt.Errorf("percent %v: %d of %d mirrored, want at least %d", test.percent, got, n, test.atLeast)
			}
			return nil
		})
		m.copies(t)
		if got := len(from(m.shadow.Requests(), name)); got > test.atMost {
			t.Errorf("percent %v: %d of %d mirrored, want at most %d", test.percent, got, n, test.atMost)
		}
	}
	if got := m.live.Count(); got < n*len(tests) {
		t.Errorf("live got %d requests, want all %d", got, n*len(tests))
	}
}

// documented is where the documentation says that a value stands between 0 and
// 100: the first eight digits of its sha256sum.
func documented(value string) float64 {
	sum := sha256.Sum256([]byte(value))
	n, _ := strconv.ParseUint(hex.EncodeToString(sum[:])[:8], 16, 64)
	return float64(n) * 100 / (1 << 32)
}

// At most so many copies arrive in any one second, a burst or not, and the others are
// counted: all that live gets is accounted for.
func TestMaxRate(t *testing.T) {
	const rate = 20
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	m.add("limited", testbed.Values{"maxRate": strconv.Itoa(rate)})
	m.add("compared", with(testbed.Comparing(), "maxRate", rate))
	m.add("streamed", testbed.Values{"maxRate": rate, "bodyMode": "stream"})
	m.config.Report()
	m.start(t, testbed.Options{})
	const bursts, each = 12, 15
	for _, name := range []string{"limited", "compared", "streamed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for i := range bursts {
				burst := strings.Repeat(sized("POST", "/invoices", testbed.HostOf(name), invoice)+head("GET", "/invoices", testbed.HostOf(name)), each)
				if _, err := testbed.Exchange(t.Context(), m.Addr(testbed.Web), []byte(burst), testbed.RawOptions{Answers: 2 * each}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(50+i*20) * time.Millisecond)
			}
			var copies []testbed.Request
			testbed.Eventually(t, patience, func() error {
				copies = from(m.shadow.Requests(), name)
				r := m.MustReport(t, name)
				if got := r.Mirrored + r.Dropped["rate"]; got != bursts*each*2 || len(copies) != int(r.Mirrored) {
					return fmt.Errorf("%d mirrored, %d dropped as rate, %d at the shadow; want %d in all", r.Mirrored, r.Dropped["rate"], len(copies), bursts*each*2)
				}
				if r.LostTotal != 0 {
					return fmt.Errorf("%d lost (%v), want none", r.LostTotal, r.Lost)
				}
				return nil
			})
			slices.SortFunc(copies, func(a, b testbed.Request) int { return a.Arrived.Compare(b.Arrived) })
			// They are counted when they are sent. Those that are on their way for longer
			// than others may arrive closer together, so what is looked at is half a second.
			for i := range copies {
				n := 0
				for _, r := range copies[i:] {
					if r.Arrived.Sub(copies[i].Arrived) < 500*time.Millisecond {
						n++
					}
				}
				if n > rate {
					t.Errorf("%d copies within half a second, want %d in a second at most", n, rate)
				}
			}
		})
	}
}

// The same value is in or out every time and on every replica, as anybody can
// compute.
func TestSampleBy(t *testing.T) {
	const percent = 40
	var customers, addresses []string
	for i := range 40 {
		customers = append(customers, fmt.Sprintf("K-%05d", 10400+i))
		addresses = append(addresses, fmt.Sprintf("127.0.0.%d", 10+i))
	}
	tests := []struct {
		name, sampleBy string
		values         []string
		line           func(value string) string
	}{
		{"header", "header:X-Customer", customers, func(v string) string { return "X-Customer: " + v }},
		{"header-lower-case", "header: x-customer", customers, func(v string) string { return "x-customer: " + v }},
		{"cookie", "cookie:customer", customers, func(v string) string { return "Cookie: session=1; customer=" + v + "; theme=dark" }},
		{"address", "clientIP", addresses, nil},
	}
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	for _, test := range tests {
		m.add(test.name, testbed.Values{"sampleBy": test.sampleBy, "percent": percent})
	}
	m.start(t, testbed.Options{})
	replica := testbed.MustServe(t, testbed.Options{Dynamic: m.config})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m.shadow.Reset()
			var want, got []string
			for _, value := range test.values {
				for i, traefik := range []*testbed.Traefik{m.Traefik, replica, m.Traefik} {
					target := fmt.Sprintf("/%s/%d", value, i)
					if documented(value) < percent {
						want = append(want, target)
					}
					if test.line != nil {
						expect(t, traefik, http.StatusOK, head("GET", target, testbed.HostOf(test.name), test.line(value)))
					} else {
						getFrom(t, value, traefik, target, testbed.HostOf(test.name))
					}
				}
			}
			if len(want) == 0 || len(want) == 3*len(test.values) {
				t.Fatalf("%d of %d values are in: that tells nothing", len(want)/3, len(test.values))
			}
			arrived(t, m.shadow, len(want))
			for _, r := range m.copies(t) {
				got = append(got, r.RequestURI)
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("the shadow got %q, want %q", got, want)
			}
		})
	}
	t.Run("without the value", func(t *testing.T) {
		m.shadow.Reset()
		const n = 200
		all := strings.Repeat(head("GET", "/random", testbed.HostOf("header")), n)
		if _, err := testbed.Exchange(t.Context(), m.Addr(testbed.Web), []byte(all), testbed.RawOptions{Answers: n}); err != nil {
			t.Fatal(err)
		}
		if got := len(m.copies(t)); got == 0 || got == n {
			t.Errorf("%d of %d requests mirrored, want some and not all", got, n)
		}
	})
}

// getFrom sends a request from an address of its own.
func getFrom(t *testing.T, address string, traefik *testbed.Traefik, target, host string) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), "GET", traefik.URL(target), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestMethods(t *testing.T) {
	lists := map[string]struct {
		value any
		want  []string
	}{
		"one":    {"POST", []string{"POST"}},
		"label":  {"POST, put ,PATCH", []string{"PATCH", "POST", "PUT"}},
		"list":   {[]string{"GET", "purge"}, []string{"GET", "PURGE"}},
		"absent": {nil, []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PURGE", "PUT"}},
	}
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	for name, list := range lists {
		options := testbed.Values{}
		if list.value != nil {
			options["methods"] = list.value
		}
		m.add(name, options)
	}
	m.start(t, testbed.Options{})
	for name, list := range lists {
		m.shadow.Reset()
		for _, method := range lists["absent"].want {
			expect(t, m.Traefik, http.StatusOK, head(method, "/invoices", testbed.HostOf(name)))
		}
		arrived(t, m.shadow, len(list.want))
		var got []string
		for _, r := range m.copies(t) {
			got = append(got, r.Method)
		}
		slices.Sort(got)
		if !slices.Equal(got, list.want) {
			t.Errorf("methods %v: %q mirrored, want %q", list.value, got, list.want)
		}
	}
}

// Without the body the copy is a request of its own, and live's streams.
func TestMirrorBodyFalse(t *testing.T) {
	for name, framing := range map[string]struct {
		line  string
		frame func(string) string
		end   string
	}{
		"Content-Length": {"Content-Length: 3000000", func(s string) string { return s }, ""},
		"chunked":        {"Transfer-Encoding: chunked", func(s string) string { return chunks(s, 1<<20) }, "0\r\nX-Checksum: ab12\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			body := testbed.Payload(3_000_000)
			b, begun := runStreaming(t, testbed.Values{"mirrorBody": "false"})
			c := dial(t, b.Traefik)
			c.say(head("POST", "/invoices?page=2", mirrorHost, framing.line, "Expect: 100-continue", "Trailer: X-Checksum", "Authorization: Bearer 7f3a") + framing.frame(body[:100]))
			if got := testbed.Await(t, patience, "live has not begun", begun); got != body[:100] {
				t.Errorf("live's first bytes %q, want %q", got, body[:100])
			}
			// The copy does not wait for the body either.
			copied := recorded(t, b.shadow, 1)[0]
			c.say(framing.frame(body[100:]) + framing.end)
			resp := c.hear("POST")
			for resp.StatusCode == http.StatusContinue {
				resp = c.hear("POST")
			}
			if resp.StatusCode != http.StatusOK {
				t.Errorf("answer %s, want 200", resp.Status)
			}
			if r := recorded(t, b.live, 1)[0]; string(r.Body) != body {
				t.Errorf("live got %d bytes (%v), want %d", r.BodySize, r.BodyErr, len(body))
			}
			if copied.BodySize != 0 || copied.ContentLength != 0 || len(copied.TransferEncoding) > 0 || copied.RequestURI != "/invoices?page=2" {
				t.Errorf("the shadow got %s %s with %d bytes, length %d, transfer encoding %q, want the request without its body",
					copied.Method, copied.RequestURI, copied.BodySize, copied.ContentLength, copied.TransferEncoding)
			}
			for _, name := range []string{"Expect", "Trailer", "Transfer-Encoding"} {
				if values := copied.Header.Values(name); len(values) > 0 {
					t.Errorf("the shadow got %s: %q", name, values)
				}
			}
			if got := copied.Header.Get("Authorization"); got != "Bearer 7f3a" {
				t.Errorf("the shadow got authorization %q, want the client's", got)
			}
		})
	}
}

// With n copies under way the next is dropped, live notices nothing, and all
// places are there again after that.
func TestMaxInFlight(t *testing.T) {
	const n = 3
	b := run(t, setup{options: testbed.Values{"maxInFlight": strconv.Itoa(n), "timeout": "60s"}})
	for range 3 {
		release := b.fill(t, n)
		b.live.Reset()
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/dropped", mirrorHost, testbed.Payload(300<<10)))
		if r := recorded(t, b.live, 1)[0]; string(r.Body) != testbed.Payload(300<<10) {
			t.Errorf("live got %d bytes, want %d", r.BodySize, 300<<10)
		}
		release()
		if got := b.copies(t); count(got, "/dropped") > 0 || count(got, "/fill") != n {
			t.Errorf("the shadow got %s, want /fill %d times", testbed.Lines(got), n)
		}
	}
}

// What hangs is cut off after the timeout, not before and not much later: one
// with a long timeout, sent first, is still there by then.
func TestTimeout(t *testing.T) {
	type silent struct {
		*testbed.RawUpstream
		asked, closed chan struct{}
	}
	hang := func() silent {
		s := silent{asked: make(chan struct{}), closed: make(chan struct{})}
		s.RawUpstream = testbed.RunRawUpstream(t, func(conn net.Conn) {
			conn.Read(make([]byte, 1))
			close(s.asked)
			io.Copy(io.Discard, conn)
			close(s.closed)
		})
		return s
	}
	timeouts := map[string]string{"seconds": "1", "duration": "700ms", "long": "1m"}
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	shadows := map[string]silent{}
	for name, timeout := range timeouts {
		shadows[name] = hang()
		m.add(name, testbed.Values{"url": shadows[name].URL(), "timeout": timeout})
	}
	m.start(t, testbed.Options{})
	for _, name := range []string{"long", "seconds", "duration"} {
		expect(t, m.Traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf(name), invoice))
		testbed.Await(t, patience, name+": nothing is sent to the shadow", shadows[name].asked)
	}
	for _, name := range []string{"seconds", "duration"} {
		testbed.Await(t, patience, timeouts[name]+": the connection is not closed", shadows[name].closed)
		if err := m.WaitLog(testbed.Within(t, patience), "middleware "+testbed.Marker(name)+": the shadow failed: no whole answer within the timeout"); err != nil {
			t.Error(err)
		}
	}
	select {
	case <-shadows["long"].closed:
		t.Error("1m: the connection was closed before its time")
	default:
	}
}

func TestHeaderOptions(t *testing.T) {
	sent := []string{"Authorization: Bearer 7f3a", "Cookie: session=1", "Cookie: theme=dark", "X-Ledger: north", "X-Ledger: south", "Accept: text/csv"}
	tests := []struct {
		name    string
		options testbed.Values
		host    string // "" is the client's
		want    map[string][]string
	}{
		{"as-it-is", nil, "", map[string][]string{"Authorization": {"Bearer 7f3a"}, "Cookie": {"session=1", "theme=dark"}, "X-Forwarded-For": {"127.0.0.1"}}},
		{"own-host", testbed.Values{"passHostHeader": "false"}, "shadow", map[string][]string{"X-Forwarded-Host": {"own-host.example.com"}}},
		{"own-host-boolean", testbed.Values{"passHostHeader": false}, "shadow", nil},
		{"set", headers("X-Ledger", "shadow", "x-environment", "staging"), "", map[string][]string{"X-Ledger": {"shadow"}, "X-Environment": {"staging"}, "Accept": {"text/csv"}}},
		{"remove", headers("X-Ledger", "", "X-Absent", ""), "", map[string][]string{"X-Ledger": nil, "Accept": {"text/csv"}}},
		{"remove-secrets", headers("authorization", "", "COOKIE", ""), "", map[string][]string{"Authorization": nil, "Cookie": nil, "X-Ledger": {"north", "south"}}},
		{"host", headers("Host", "billing-next.internal"), "billing-next.internal", map[string][]string{"X-Forwarded-Host": {"host.example.com"}}},
		{"host-lower-case", headers("host", "billing-next.internal"), "billing-next.internal", nil},
		{"host-over-own", with(headers("Host", "billing-next.internal"), "passHostHeader", "false"), "billing-next.internal", nil},
		{"remove-address", headers("X-Forwarded-For", "", "X-Real-Ip", ""), "", map[string][]string{"X-Forwarded-For": nil, "X-Real-Ip": nil}},
		{"set-address", headers("X-Forwarded-For", "192.0.2.7"), "", map[string][]string{"X-Forwarded-For": {"192.0.2.7"}}},
		{"user-agent", headers("User-Agent", "shadow"), "", map[string][]string{"User-Agent": {"shadow"}}},
		{"remove-encoding", headers("Accept-Encoding", ""), "", map[string][]string{"Authorization": {"Bearer 7f3a"}}},
	}
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	for _, test := range tests {
		m.add(test.name, test.options)
	}
	m.start(t, testbed.Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m.live.Reset()
			expect(t, m.Traefik, http.StatusOK, head("GET", "/invoices", testbed.HostOf(test.name), sent...))
			copied, live := m.one(t, test.name), recorded(t, m.live, 1)[0]
			wantHost := map[string]string{"": testbed.HostOf(test.name), "shadow": m.shadow.Addr()}[test.host]
			if wantHost == "" {
				wantHost = test.host
			}
			if copied.Host != wantHost {
				t.Errorf("the shadow got Host %q, want %q", copied.Host, wantHost)
			}
			for name, want := range test.want {
				if got := copied.Header[name]; !slices.Equal(got, want) {
					t.Errorf("the shadow got %s %q, want %q", name, got, want)
				}
			}
			if live.Host != testbed.HostOf(test.name) || live.Header.Get("Authorization") != "Bearer 7f3a" || len(live.Header["Cookie"]) != 2 ||
				!slices.Equal(live.Header["X-Ledger"], []string{"north", "south"}) || live.Header.Get("X-Forwarded-For") != "127.0.0.1" ||
				live.Header.Get("X-Environment") != "" || live.Header.Get(testbed.MarkerHeader) != "" {
				t.Errorf("live got Host %q and headers %q, want the client's", live.Host, live.Header)
			}
		})
	}
}

// headers are customRequestHeaders of names and values by turns.
func headers(pairs ...string) testbed.Values {
	custom := testbed.Values{}
	for i := 0; i < len(pairs); i += 2 {
		custom[pairs[i]] = pairs[i+1]
	}
	return testbed.Values{"customRequestHeaders": custom}
}

// What the shadow answers leads nowhere, and does not cost it its connection.
func TestAnswersOfTheShadow(t *testing.T) {
	elsewhere := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "elsewhere"})
	large := []byte(testbed.Payload(10 << 20))
	shadow := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/redirect":
			rw.Header().Set("Location", elsewhere.URL()+"/invoices")
			rw.WriteHeader(http.StatusTemporaryRedirect)
		case "/large":
			rw.Write(large)
		case "/hints":
			for range 20 {
				rw.Header().Set("Link", "</style.css>; rel=preload")
				rw.WriteHeader(http.StatusEarlyHints)
			}
		}
	})
	b := run(t, setup{shadow: testbed.UpstreamOptions{Handler: shadow}})
	for _, target := range []string{"/redirect", "/large", "/hints"} {
		for range 5 {
			answers := expect(t, b.Traefik, http.StatusOK, sized("POST", target, mirrorHost, invoice))
			if body, err := answers.Body(); string(body) != `{"upstream":"live"}` || len(answers.Informational) > 0 {
				t.Errorf("%s: answer %q (%v) after %d informational ones, want live's alone", target, body, err, len(answers.Informational))
			}
		}
	}
	recorded(t, b.shadow, 15)
	b.copies(t)
	if n := elsewhere.Count(); n > 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	b := run(t, setup{traefik: testbed.Options{LogLevel: "INFO"}})
	const n = 200
	for i := range n {
		expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
		recorded(t, b.shadow, i+1)
	}
	if accepted, _ := b.shadow.Connections(); accepted > 10 {
		t.Errorf("%d requests in turn took %d connections, want a few", n, accepted)
	}
}

// The proxy is for a host that cannot be reached without: net/http never asks
// one for addresses of this machine.
func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	proxy := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "proxy"})
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	m.add("far", testbed.Values{"url": "http://billing-next.invalid"})
	m.start(t, testbed.Options{Env: []string{"HTTP_PROXY=" + proxy.URL(), "http_proxy=" + proxy.URL(), "NO_PROXY=", "no_proxy="}})
	expect(t, m.Traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf("far"), invoice))
	if err := m.WaitLog(testbed.Within(t, patience), "middleware "+testbed.Marker("far")+": the shadow failed"); err != nil {
		t.Error(err)
	}
	if n := proxy.Count(); n > 0 {
		t.Errorf("the proxy got %s", testbed.Lines(proxy.Requests()))
	}
}
