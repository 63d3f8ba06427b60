package observability

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/docs"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// What the files of the example have.
const (
	user       = "prometheus"
	middleware = "shadow-billing@file"
)

// keptBody is how much of a request's body the upstreams record: no test looks.
const keptBody = 1

// A scene is the example, running, with its addresses replaced.
type scene struct {
	traefik      *testbed.Traefik
	live, shadow *testbed.Upstream
	monitoring   string // host:port of the entry point
	password     string
	passwordFile string
	users        []byte       // of the file mirror-users
	client       *http.Client // a customer's
	next         atomic.Int64 // number of the next invoice
}

// runScene starts the example with these two upstreams.
func runScene(t *testing.T, live, shadow http.Handler) *scene {
	t.Helper()
	s := &scene{
		live:       testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "billing", Handler: live, BodyLimit: keptBody}),
		shadow:     testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "billing-next", Handler: shadow, BodyLimit: keptBody}),
		monitoring: testbed.FreeAddress(t),
	}
	secrets := makeSecrets(t)
	s.passwordFile = filepath.Join(secrets, "mirror-password")
	s.password = strings.TrimSpace(string(readFile(t, s.passwordFile)))
	s.users = readFile(t, filepath.Join(secrets, "mirror-users"))
	s.start(t)
	s.reload(t)
	s.client = s.traefik.Client()
	s.client.Transport.(*http.Transport).MaxIdleConnsPerHost = senders
	return s
}

// start starts a Traefik that has no routers yet, in place of the one that runs, if one
// does.
func (s *scene) start(t *testing.T) {
	t.Helper()
	if s.traefik != nil {
		if err := s.traefik.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	static := loadExample(t, "traefik.yml", `":8002"`, s.monitoring)
	// testbed gives Traefik a free port and writes the dynamic file: these two
	// are taken out, so that its own stand.
	for _, path := range [][]any{{"entryPoints", testbed.Web, "address"}, {"providers", "file", "filename"}} {
		if _, err := testbed.Take(static, path); err != nil {
			t.Fatal(err)
		}
	}
	s.traefik = testbed.RunTraefik(t, testbed.Options{Static: static, LogLevel: "ERROR"})

	// Where Traefik runs, which is where the example wants it.
	if err := os.WriteFile(filepath.Join(s.traefik.Dir(), "mirror-users"), s.users, 0o600); err != nil {
		t.Fatal(err)
	}
}

// addControl has the mirror of the example ask a control, too.
func (s *scene) addControl(t *testing.T, control http.Handler) *testbed.Upstream {
	t.Helper()
	u := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "billing-old", Handler: control, BodyLimit: keptBody})
	s.reload(t, "            body: json\n", "            body: json\n            control: "+u.URL()+"\n            controlMethods: [GET, POST]\n")
	return u
}

// reload loads the example anew, with texts in it replaced.
func (s *scene) reload(t *testing.T, edits ...string) {
	t.Helper()
	s.traefik.MustReload(t, s.configuration(t, edits...))
}

// configuration is the example's, with texts in it replaced besides the addresses.
func (s *scene) configuration(t *testing.T, edits ...string) map[string]any {
	t.Helper()
	return loadExample(t, "dynamic.yml", append([]string{"http://127.0.0.1:8081", s.live.URL(), "http://127.0.0.1:8082", s.shadow.URL()}, edits...)...)
}

// makeSecrets returns a folder with the two files that the README has one make,
// made by its own commands.
func makeSecrets(t *testing.T) string {
	t.Helper()
	documents, err := docs.ReadAll(testbed.MustRepoRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		for _, b := range d.Blocks {
			if d.Path != "examples/observability/README.md" || !strings.Contains(b.Text, "> mirror-password") {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", b.Text)
			cmd.Dir = t.TempDir()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", b, err, out)
			}
			return cmd.Dir
		}
	}
	t.Fatal("the README does not say any more how to make mirror-password")
	return ""
}

// url is the address of a path of the report, such as /mirror/metrics.
func (s *scene) url(path string) string { return "http://" + s.monitoring + path }

// page is the address of the page as a person may enter it, password and all.
func (s *scene) page() string {
	u := url.URL{Scheme: "http", User: url.UserPassword(user, s.password), Host: s.monitoring, Path: "/mirror/"}
	return u.String()
}

// get returns what the path of the report answers to who may see it.
func (s *scene) get(t *testing.T, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, s.password)
	status, body := do(t, http.DefaultClient, req)
	if status != http.StatusOK {
		t.Fatalf("%s: answered %d %q, want 200", path, status, body)
	}
	return body
}

func do(t *testing.T, client *http.Client, req *http.Request) (status int, body []byte) {
	t.Helper()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// document returns report.json.
func (s *scene) document(t *testing.T) *report.Document {
	t.Helper()
	d := &report.Document{}
	decoder := json.NewDecoder(bytes.NewReader(s.get(t, "/mirror/report.json")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(d); err != nil {
		t.Fatal(err)
	}
	return d
}

// settled returns the one middleware of the report once it is done with n
// requests in all, and so with comparing them, and everything stands still.
func (s *scene) settled(t *testing.T, n int64) *report.Middleware {
	t.Helper()
	var m *report.Middleware
	eventually(t, func() error {
		d := s.document(t)
		if len(d.Middlewares) != 1 || d.Middlewares[0].Name != middleware {
			return fmt.Errorf("the report is about %+v, want %s", d.Middlewares, middleware)
		}
		m = d.Middlewares[0]
		var pairs int64
		for _, count := range m.Compared {
			pairs += count
		}
		// Copies that waited when a pause began are dropped, and pairs that are skipped.
		if m.Eligible != n || m.InFlight != 0 || pairs < n-dropped(m) {
			return fmt.Errorf("%d eligible, %d in flight, %d pairs, %d dropped; want %d done with", m.Eligible, m.InFlight, pairs, dropped(m), n)
		}
		return nil
	})
	return m
}

func dropped(m *report.Middleware) (sum int64) {
	for _, r := range report.Reasons {
		if r.Fate == report.Dropped || r.Fate == report.Unchosen {
			sum += m.Dropped[r.Word]
		}
	}
	return sum
}

// senders is how many requests are sent at a time.
const senders = 4

// send sends n requests of the usual mix, and returns when live has answered all.
func (s *scene) send(t *testing.T, n int) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	s.everySender(func() {
		for left.Add(-1) >= 0 && t.Context().Err() == nil {
			if err := s.sendNext(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
}

// sendAs sends n requests of one customer, one after the other.
func (s *scene) sendAs(t *testing.T, customer string, n int) {
	t.Helper()
	for i := range n {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.traefik.URL(fmt.Sprintf("/invoices/%d", i)), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Customer-Id", customer)
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// flow sends requests until the test ends, or stop is called: one at a time and
// sender, and a pause in between. No client leaves before it is answered.
func (s *scene) flow(t *testing.T, pause time.Duration) (stop func()) {
	var stopped atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.everySender(func() {
			for !stopped.Load() {
				if err := s.sendNext(context.Background()); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(pause)
			}
		})
	}()
	stop = func() { stopped.Store(true); <-done }
	t.Cleanup(stop)
	return stop
}

func (s *scene) everySender(send func()) {
	var all sync.WaitGroup
	for range senders {
		all.Go(send)
	}
	all.Wait()
}

// sendNext sends the next request of the mix.
func (s *scene) sendNext(ctx context.Context) error {
	n := s.next.Add(1)
	method, path, body := mix(n)
	req, err := http.NewRequestWithContext(ctx, method, s.traefik.URL(path), strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 500 {
		return fmt.Errorf("%s %s: answered %d by live", method, path, resp.StatusCode)
	}
	return nil
}
