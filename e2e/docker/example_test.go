package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// The example's files, all in one folder.
const (
	composeFile = "docker-compose.yml"
	catalogFile = "docker-compose.catalog.yml"
	stackFile   = "docker-stack.yml"
)

func exampleDir() string {
	root, err := testbed.RepoRoot()
	if err != nil {
		panic(err) // the tests run in the repository
	}
	return filepath.Join(root, "examples", "docker")
}

// A composer is the command of one of the Composes.
type composer []string

func (c composer) String() string { return strings.Join(c, " ") }

// A project is the example in the hands of a Compose.
type project struct {
	composer composer
	files    []string // names in the example's folder, or absolute
	env      []string
}

// run runs a command of Compose's on the project and returns what it prints.
func (p project) run(args ...string) (string, error) {
	full := append(slices.Clone(p.composer), "--project-name", name)
	for _, file := range p.files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(exampleDir(), file)
		}
		full = append(full, "--file", file)
	}
	return command(session, p.env, nil, append(full, args...)...)
}

// A request is what an upstream logs about one.
type request struct {
	method, target string
	size           int
	marker         string   // of the mirror, if it is a copy
	credentials    []string // names of headers
	environment    string
	body           string // may be cut
}

var logLine = regexp.MustCompile(`^(\S+) (\S+) (\d+) bytes(?:, mirrored by ([^\s,:]+))?((?:, with \w+)*)(?:, X-Environment ([^\s,:]+))?(?:: (.*))?$`)

// parseLog reads the log of an upstream.
func parseLog(t *testing.T, text string) []request {
	t.Helper()
	var requests []request
	for line := range strings.Lines(text) {
		m := logLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("an upstream logs %q, which is no request", line)
		}
		size, err := strconv.Atoi(m[3])
		if err != nil {
			t.Fatal(err)
		}
		requests = append(requests, request{
			method: m[1], target: m[2], size: size, marker: m[4],
			credentials: strings.Split(m[5], ", with ")[1:], environment: m[6], body: m[7],
		})
	}
	return requests
}

// posts are those of the requests that post invoices.
func posts(requests []request) []request {
	return slices.DeleteFunc(slices.Clone(requests), func(r request) bool { return r.method != http.MethodPost })
}

// An entrance is where an example that is up is entered.
type entrance struct {
	port   int
	client *http.Client
}

func newEntrance(t *testing.T) entrance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	return entrance{
		port:   l.Addr().(*net.TCPAddr).Port,
		client: &http.Client{Transport: transport, Timeout: 30 * time.Second},
	}
}

// env is what tells the example its port.
func (e entrance) env() string { return fmt.Sprintf("WEB_PORT=%d", e.port) }

// do sends a request and returns the answer's status and body.
func (e entrance) do(method, path, body string, header http.Header) (int, string, error) {
	ctx, cancel := context.WithTimeout(session, patience)
	defer cancel()
	url := fmt.Sprintf("http://127.0.0.1:%d%s", e.port, path)
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header = header.Clone()
	resp, err := e.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// book posts an invoice and complains unless live has booked it.
func (e entrance) book(number, invoice string, header http.Header) error {
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/json")
	status, answer, err := e.do(http.MethodPost, "/invoices", invoice, header)
	if err != nil {
		return err
	}
	var got struct{ Service, Status, Invoice string }
	err = json.Unmarshal([]byte(answer), &got)
	if err != nil || status != http.StatusCreated || got.Service != "billing" || got.Status != "booked" || got.Invoice != number {
		return fmt.Errorf("invoice %s: answered %d %q, want 201 and that billing has booked it", number, status, answer)
	}
	return nil
}

// waitReady returns when path is answered with 200, as it is once Traefik has
// taken up the label that routes it.
func (e entrance) waitReady(t *testing.T, path string) {
	t.Helper()
	eventually(t, func() error {
		status, answer, err := e.do(http.MethodGet, path, "", http.Header{})
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("GET %s: answered %d %q, want 200", path, status, answer)
		}
		return err
	})
}

// eventually is testbed.Eventually for as long as the session lasts.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		if session.Err() != nil {
			t.Fatal("interrupted: ", context.Cause(session))
		}
		return check()
	})
}

// invoice returns an invoice that the upstream's log shows whole.
func invoice(number string) string {
	return fmt.Sprintf(`{"number":%q,"customer":"Meyer & Söhne","items":[{"text":"Wartung März","net":"100.00","vat":"19.00"}],"total":"119.00"}`, number)
}

const (
	clients = 4
	// most bounds a load, whatever it waits for.
	most = 30000
)

// A load posts invoices, one after the other from each of its clients, until it
// is stopped.
type load struct {
	entrance entrance
	stopped  chan struct{}
	stopOnce sync.Once
	clients  sync.WaitGroup

	mu       sync.Mutex
	numbers  []string
	failures []error
}

// startLoad starts one; year begins the numbers of its invoices.
func startLoad(t *testing.T, e entrance, year int) *load {
	l := &load{entrance: e, stopped: make(chan struct{})}
	var last atomic.Int64
	for range clients {
		l.clients.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for n := last.Add(1); n <= most; n = last.Add(1) {
				l.post(fmt.Sprintf("%d-%05d", year, n))
				select {
				case <-pace.C:
				case <-l.stopped:
					return
				}
			}
		})
	}
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *load) post(number string) {
	err := l.entrance.book(number, invoice(number), nil)
	if session.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.numbers = append(l.numbers, number)
	if err != nil {
		l.failures = append(l.failures, err)
	}
}

// posted returns how many invoices have been answered, and those answers that
// are none that live gives.
func (l *load) posted() (int, []error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.numbers), l.failures
}

// waitMore returns when n more invoices have been booked, and fails the test
// when one is not.
func (l *load) waitMore(t *testing.T, n int) {
	t.Helper()
	before, _ := l.posted()
	eventually(t, func() error {
		now, failures := l.posted()
		if len(failures) > 0 {
			t.Fatal(failures[0])
		}
		if now < before+n {
			return fmt.Errorf("%d invoices booked, want %d", now, before+n)
		}
		return nil
	})
}

// stop ends the load and returns the numbers that it has posted.
func (l *load) stop() []string {
	l.stopOnce.Do(func() { close(l.stopped) })
	l.clients.Wait()
	return l.numbers
}

// checkLive complains about each invoice that was not booked, and unless live
// has got each once, whole. The engine may be a little behind with the log that
// tells of them.
func (l *load) checkLive(t *testing.T, live func() []request) {
	t.Helper()
	numbers := l.stop()
	for i, err := range l.failures {
		if i == 5 {
			t.Errorf("and %d more", len(l.failures)-i)
			break
		}
		t.Error(err)
	}
	var got map[string]int
	eventually(t, func() error {
		if got = count(live()); len(got) < len(numbers) {
			return fmt.Errorf("live has logged %d invoices, want %d", len(got), len(numbers))
		}
		return nil
	})
	for _, number := range numbers {
		if n := got[invoice(number)]; n != 1 {
			t.Errorf("live got invoice %s %d times, want once", number, n)
		}
	}
}

// checkShadow complains about copies of what was not posted, and about second
// ones. It returns how many there are.
func (l *load) checkShadow(t *testing.T, shadow []request) int {
	t.Helper()
	posted := map[string]bool{}
	for _, number := range l.stop() {
		posted[invoice(number)] = true
	}
	got := count(shadow)
	for body, n := range got {
		if !posted[body] || n != 1 {
			t.Errorf("the shadow got %q %d times; posted: %t", body, n, posted[body])
		}
	}
	return len(got)
}

// count returns how often each body was posted.
func count(requests []request) map[string]int {
	n := map[string]int{}
	for _, r := range posts(requests) {
		n[r.body]++
	}
	return n
}

// largeInvoice returns an invoice of many kilobytes.
func largeInvoice(number string) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"number":%q,"total":"357000.00","items":[`, number)
	for i := range 3000 {
		fmt.Fprintf(&b, `{"position":%d,"text":"Wartung März, Anlage %d","net":"100.00"},`, i+1, i+1)
	}
	b.WriteString(`{}]}`)
	return b.String()
}
