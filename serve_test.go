package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// reporterFor returns a middleware with serve.
func reporterFor(t *testing.T) http.Handler {
	t.Helper()
	config := CreateConfig()
	config.set("serve", "true")
	next := http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { t.Error("the next handler was called") })
	h, err := New(context.Background(), next, config, "report@file")
	if err != nil {
		t.Fatal(err)
	}
	// A clock by which every report is asked for an hour after the last.
	clock := &hours{}
	h.(*reporter).editions = &editions{now: func() time.Time { return clock.next() }}
	t.Cleanup(func() {
		mirrorsMu.Lock()
		defer mirrorsMu.Unlock()
		if len(watched) > 0 {
			_, ok := <-watched
			_ = ok
		}
	})
	return h
}

// hours is a clock that goes an hour ahead whenever it is looked at.
type hours struct{ passed atomic.Int64 }

func (h *hours) next() time.Time { return time.Now().Add(time.Duration(h.passed.Add(1)) * time.Hour) }

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	return serve(h, httptest.NewRequest(http.MethodGet, path, nil))
}

// reported returns what the report says about the middleware named after the test.
func reported(t *testing.T, h http.Handler) *report.Middleware {
	t.Helper()
	d := &report.Document{}
	if err := json.Unmarshal(get(h, "/report.json").Body.Bytes(), d); err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Middlewares {
		if m.Name == t.Name() {
			return m
		}
	}
	t.Fatalf("%s is not in the report", t.Name())
	return nil
}

func TestReportIsServedByPath(t *testing.T) {
	mirrorTo(t, "http://billing-next:8080", echoLive, nil)
	h := reporterFor(t)
	tests := []struct {
		method, path string
		status       int
		kind, want   string
	}{
		{"GET", "/mirror/metrics", 200, report.MetricsType, "mirror_mirrored_requests_total{middleware=\"" + t.Name() + "\"} 0\n"},
		{"GET", "/metrics", 200, report.MetricsType, "# TYPE mirror_paused gauge"},
		{"GET", "/a/b/report.json", 200, "application/json", `"name": "` + t.Name() + `"`},
		{"GET", "/a/mismatches.ndjson", 200, report.MismatchesType, ""},
		{"GET", "/mirror/", 200, "text/html; charset=utf-8", t.Name()},
		{"GET", "/", 200, "text/html; charset=utf-8", t.Name()},
		{"HEAD", "/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/mirror", 308, "", ""},
		{"POST", "/mirror/", 405, "text/plain; charset=utf-8", "GET and HEAD"},
	}
	for _, test := range tests {
		rec := serve(h, httptest.NewRequest(test.method, test.path, nil))
		if rec.Code != test.status || rec.Header().Get("Content-Type") != test.kind || !strings.Contains(rec.Body.String(), test.want) {
			t.Errorf("%s %s: %d, %q, %.300q; want %d, %q and %q in it", test.method, test.path, rec.Code, rec.Header(), rec.Body.String(), test.status, test.kind, test.want)
		}
		if test.status == 200 && (rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s %s: headers %q", test.method, test.path, rec.Header())
		}
	}
	if to := get(h, "/a/mirror").Header().Get("Location"); to != "mirror/" {
		t.Errorf("redirected to %q, want mirror/", to)
	}
	if policy := get(h, "/").Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q, want one that allows nothing but the page's own style", policy)
	}
}

// Every request is in the report exactly once.
func TestReportCountsEveryRequestOnce(t *testing.T) {
	h := reporterFor(t)
	shadow := startUpstream(t)
	n := 0
	shadow.answer = func(rw http.ResponseWriter, req *http.Request) {
		n++
		rw.WriteHeader([]int{200, 204, 301, 404, 503, 799}[n%6])
	}
	m := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
		c.set("methods", []string{"POST", "GET"})
		c.set("maxBodySize", "100")
		c.set("maxPause", "0")
	})
	post := func(set func(*http.Request)) {
		req := postInvoice()
		set(req)
		serve(m, req)
		settled(t, t.Name())
	}
	for i := 0; i < 12; i++ {
		post(func(_ *http.Request) {})
	}
	post(func(req *http.Request) { req.Method = "DELETE" })
	post(func(req *http.Request) { req.Header.Set(markerHeader, "edge") })
	post(func(req *http.Request) {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
	})
	post(func(req *http.Request) { req.Header.Set("Content-Type", "application/grpc") })
	post(func(req *http.Request) { req.ContentLength = 101 })
	post(func(req *http.Request) { req.Body = &closeRecorder{Reader: &brokenBody{}} })
	shadow.Close()
	post(func(_ *http.Request) {})

	r := reported(t, h)
	want := map[string]int64{
		"method": 1, "sampling": 0, "upgrade": 1, "connect_method": 0, "grpc": 1, "marked": 1,
		"full": 0, "paused": 0, "too_large": 1, "body_error": 1, "stream_incomplete": 0,
	}
	checkDropped(t, r, want)
	if r.LostTotal != 3 || r.Lost["too_large"] != 1 || r.Lost["body_error"] != 1 || r.Lost["connect"]+r.Lost["protocol"] != 1 {
		t.Errorf("lost %v, %d in all; want one too_large, one body_error and one failure", r.Lost, r.LostTotal)
	}
	if r.Mirrored != 12 || r.Eligible != 15 || r.InFlight != 0 {
		t.Errorf("%d mirrored, %d eligible, %d in flight; want 12, 15 and 0", r.Mirrored, r.Eligible, r.InFlight)
	}
	if got, want := fmt.Sprint(r.Answers), fmt.Sprint(map[string]int64{"1xx": 0, "2xx": 4, "3xx": 2, "4xx": 2, "5xx": 2, "other": 2}); got != want {
		t.Errorf("answers %s, want %s", got, want)
	}
	// A kept connection that the shadow has closed fails in its own way.
	if r.Failed["connect"]+r.Failed["protocol"] != 1 || r.State.LastError == "" || r.State.LastErrorAt == nil {
		t.Errorf("failed %v, last error %q", r.Failed, r.State.LastError)
	}
	if r.RequestBytes != int64(12*len(invoice)) || r.ShadowLatency.Count != 12 {
		t.Errorf("%d bytes and %d latencies, want %d and 12", r.RequestBytes, r.ShadowLatency.Count, 12*len(invoice))
	}
}

// What the shadow did long ago does not hide what it does now: see recent_test.go.
func TestReportSaysWhetherTheShadowIsFailing(t *testing.T) {
	captureLog(t)
	h := reporterFor(t)
	shadow := startUpstream(t)
	m := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxPause", "0") })
	send := func(n int) *report.State {
		for i := 0; i < n; i++ {
			serve(m, postInvoice())
			settled(t, t.Name())
		}
		return &reported(t, h).State
	}
	if s := send(3); s.Failing || s.Recent.Answered != 3 || s.Recent.Failed != 0 {
		t.Errorf("failing %t by %+v, want not, by 3 answers", s.Failing, s.Recent)
	}
	shadow.Close()
	if s := send(4); !s.Failing || s.Recent.Answered != 3 || s.Recent.Failed != 4 || time.Since(s.Recent.Since) > time.Minute {
		t.Errorf("failing %t by %+v, want so, by 3 answers and 4 failures since the test began", s.Failing, s.Recent)
	}
}

func TestSampledOutRequestsAreCounted(t *testing.T) {
	for _, by := range []string{"", "header:X-Customer-Id"} {
		t.Run("by "+by, func(t *testing.T) {
			h := reporterFor(t)
			shadow := startUpstream(t)
			m := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
				c.set("percent", "40")
				c.set("sampleBy", by)
			})
			for i := 0; i < 200; i++ {
				req := postInvoice()
				req.Header.Set("X-Customer-Id", fmt.Sprint("C-", i))
				serve(m, req)
				settled(t, t.Name())
			}
			r := reported(t, h)
			if r.Mirrored != int64(len(shadow.snapshot())) || r.Dropped["sampling"] != 200-r.Mirrored || r.Eligible != 200 || r.Mirrored == 0 {
				t.Errorf("%d mirrored, %d sampled out, %d eligible; the shadow got %d of 200", r.Mirrored, r.Dropped["sampling"], r.Eligible, len(shadow.snapshot()))
			}
		})
	}
}

func TestFailuresAreCountedByKind(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { time.Sleep(400 * time.Millisecond) }))
	defer slow.Close()
	secure := httptest.NewTLSServer(echoLive)
	defer secure.Close()
	short := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "50")
		io.WriteString(rw, "short")
	}))
	defer short.Close()
	plain := startUpstream(t)
	gone := startUpstream(t)
	gone.Close()
	tests := []struct {
		name, url, kind string
	}{
		{"nobody listens", gone.URL, "connect"},
		{"no such host", "http://billing-next..invalid", "connect"},
		{"hangs", slow.URL, "timeout"},
		{"a certificate that nobody knows", secure.URL, "tls"},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), "tls"},
		{"breaks off", short.URL, "protocol"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			captureLog(t)
			h := reporterFor(t)
			m := mirrorTo(t, test.url, echoLive, func(c *Config) {
				if test.kind == "timeout" {
					c.set("timeout", "200ms")
				}
			})
			serve(m, postInvoice())
			settled(t, t.Name())
			if r := reported(t, h); r.Failed[test.kind] != 1 {
				t.Errorf("failed %v (%s), want one %s", r.Failed, r.State.LastError, test.kind)
			}
		})
	}
}

// A brokenBody cannot be read.
type brokenBody struct{}

func (b *brokenBody) Read(_ []byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPauseIsReported(t *testing.T) {
	captureLog(t)
	h := reporterFor(t)
	shadow := startUpstream(t)
	shadow.Close()
	m := mirrorTo(t, shadow.URL, echoLive, nil)
	for i := 0; i < 15; i++ {
		serve(m, postInvoice())
		eventually(t, "the exchange to end", func() bool { return mirrorCalled(t, t.Name()).inFlight.Load() == 0 })
	}
	r := reported(t, h)
	if !r.State.Paused || r.State.PausedSince == nil || r.InFlight != 0 || r.Failed["connect"] != failuresToPause || r.Dropped["paused"] != 5 {
		t.Errorf("state %+v, %d in flight, failed %v, dropped %v", r.State, r.InFlight, r.Failed, r.Dropped)
	}
}

// Counts go on over a change of options, and so does the comparison unless what it
// stands on has changed.
func TestReportOutlivesReloads(t *testing.T) {
	h := reporterFor(t)
	shadow := startUpstream(t)
	for i := 0; i < 3; i++ {
		m := comparingTo(t, shadow.URL, echoLive, func(c *Config) {
			c.set("compare.epoch", []string{"build 1", "build 2", "build 2"}[i])
			c.set("compare.examples", fmt.Sprint(i))
			c.set("compare.hashKey", fmt.Sprintf("hunter2 horse battery %d", i))
		})
		serve(m, postInvoice())
		outcomes(t, t.Name(), int64(i+1))
		settled(t, t.Name())
	}
	r := reported(t, h)
	if r.Mirrored != 3 || r.Compared["mismatch"] != 3 || r.Comparison == nil || r.Comparison.Compared != 2 || r.Comparison.Real != 2 || r.Comparison.Epoch != "build 2" || r.Comparison.Previous == nil {
		t.Errorf("%d mirrored, compared %v, comparison %+v; want 3, 3 and a comparison of 2", r.Mirrored, r.Compared, r.Comparison)
	}
	for _, path := range []string{"/mirror/", "/mirror/report.json", "/mirror/metrics"} {
		if page := get(h, path).Body.String(); strings.Contains(page, "hunter2") {
			t.Errorf("%s gives the key of the hashes away", path)
		}
	}
	// A cancelled middleware keeps serving; one without compare has no comparison.
	m := mirrorTo(t, shadow.URL, echoLive, nil)
	serve(m, postInvoice())
	settled(t, t.Name())
	if r := reported(t, h); r.Mirrored != 4 || r.Comparison != nil || r.Compared["mismatch"] != 3 {
		t.Errorf("%d mirrored, compared %v, comparison %+v; want 4, 3 and none", r.Mirrored, r.Compared, r.Comparison)
	}
}

// Traefik's StripPrefix leaves / of a path with a slash at its end and of one
// without, and says what it took away.
func TestReportBehindStripPrefix(t *testing.T) {
	h := reporterFor(t)
	tests := []struct {
		path     string
		prefixes []string
		status   int
		to       string // where it is redirected, or where its links begin
	}{
		{"/", nil, 200, ""},
		{"/", []string{"/mirror"}, 200, "/mirror/"},
		{"/", []string{"/ops", "/mirror/"}, 200, "/ops/mirror/"},
		{"/mirror/", []string{"/ops"}, 200, ""},
		{"/", []string{"//evil.example.com"}, 200, ""},
		{"/", []string{`/"><script>`}, 200, "/%22%3e%3cscript%3e/"},
		{"", []string{"/ops/mirror"}, 308, "mirror/"},
		{"/mirror", []string{"/ops"}, 308, "mirror/"},
		{"/https:evil.example.com", nil, 308, "./https:evil.example.com/"},
		{"/a?b", nil, 308, "a%3Fb/"},
	}
	for _, test := range tests {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.URL.Path = test.path
		req.Header["X-Forwarded-Prefix"] = test.prefixes
		rec := serve(h, req)
		to := rec.Header().Get("Location")
		if _, after, found := strings.Cut(rec.Body.String(), `<base href="`); found {
			to, _, _ = strings.Cut(after, `"`)
		}
		if rec.Code != test.status || to != test.to {
			t.Errorf("%q behind %q: %d, to %q; want %d, %q", test.path, test.prefixes, rec.Code, to, test.status, test.to)
		}
		if allows := strings.Contains(rec.Header().Get("Content-Security-Policy"), "base-uri 'self'"); allows != (test.status == 200 && test.to != "") {
			t.Errorf("%q behind %q: the policy lets the page say where its links begin: %t", test.path, test.prefixes, allows)
		}
	}
}
