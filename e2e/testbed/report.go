package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

// ReportHost is the host of the router that [Dynamic.Report] adds.
const ReportHost = "report.example.com"

// Report adds a router that serves the report about all mirrors.
func (d Dynamic) Report() Dynamic {
	return d.Mirror("report", Values{"serve": true}).
		Router("report", HostRule(ReportHost), "noop@internal", "report")
}

// editionAge is how old what the report router answers may be. The metrics have an age of
// their own, the other forms one together.
const editionAge = time.Second

// An edition remembers when it was read last.
type edition struct {
	mu   sync.Mutex
	read time.Time
}

// Reported returns what the router of [Dynamic.Report] answers at path, which
// begins with a slash. The numbers are from after the call: what was read before is given
// the time to grow too old.
func (t *Traefik) Reported(ctx context.Context, path string) ([]byte, error) {
	e := &t.document
	if strings.HasSuffix(path, "/metrics") {
		e = &t.metrics
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("testbed: report: %w", ctx.Err())
	case <-time.After(time.Until(e.read.Add(editionAge))):
	}
	defer func() { e.read = time.Now() }()
	return t.reported(ctx, path)
}

// Page returns the page of the mirror called name, with its provider, and the parts that are
// unfolded. It may be as old as a second; where too many were asked for within one, it waits.
func (t *Traefik) Page(ctx context.Context, name string, open ...string) ([]byte, error) {
	path := "/?" + url.Values{"middleware": {name}, "open": open}.Encode()
	for {
		text, err := t.reported(ctx, path)
		if err == nil || !errors.Is(err, errBusy) {
			return text, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(editionAge):
		}
	}
}

var errBusy = errors.New("the report is busy")

func (t *Traefik) reported(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL(path), nil)
	if err != nil {
		return nil, err
	}
	req.Host = ReportHost
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("testbed: report: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		return nil, errBusy
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("testbed: report: %s answered %s %.200q (%v)", path, resp.Status, body, err)
	}
	return body, nil
}

// MustReport returns what report.json says about the middleware called name in
// the file provider's configuration.
func (t *Traefik) MustReport(tb testing.TB, name string) *report.Middleware {
	tb.Helper()
	text, err := t.Reported(tb.Context(), "/report.json")
	if err != nil {
		tb.Fatal(err)
	}
	d := &report.Document{}
	if err := json.Unmarshal(text, d); err != nil {
		tb.Fatalf("testbed: report: %v", err)
	}
	for _, m := range d.Middlewares {
		if m.Name == Marker(name) {
			return m
		}
	}
	tb.Fatalf("%s is not in the report: %.500q", name, text)
	return nil
}
