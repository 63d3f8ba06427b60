package testbed

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// An Engine answers what Traefik asks Docker's, about containers that do not
// run. So it is Traefik that reads the labels.
type Engine struct {
	server     *httptest.Server
	mu         sync.Mutex
	containers map[string]map[string]string // labels by the container's name, which is its id too
	changed    chan struct{}                // closed and replaced with every change
}

// RunEngine starts an engine without containers for the length of a test.
func RunEngine(tb testing.TB) *Engine {
	tb.Helper()
	e := &Engine{changed: make(chan struct{})}
	e.server = httptest.NewServer(http.HandlerFunc(e.answer))
	tb.Cleanup(func() {
		e.server.CloseClientConnections() // the one that waits for events
		e.server.Close()
	})
	return e
}

// Providers is the part of a static configuration that has Traefik ask the
// engine. DOCKER_HOST must not be set in Traefik's environment: it would be
// asked instead.
func (e *Engine) Providers() Values {
	return Values{"docker": Values{"endpoint": "tcp://" + e.server.Listener.Addr().String()}}
}

// Run has the engine tell of these containers alone: their labels, by name.
func (e *Engine) Run(containers map[string]map[string]string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers = containers
	close(e.changed)
	e.changed = make(chan struct{})
}

// answer serves what Traefik's Docker provider asks, of the engine's API.
func (e *Engine) answer(rw http.ResponseWriter, req *http.Request) {
	const version = "1.47"
	rw.Header().Set("Api-Version", version)
	rw.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(req.URL.Path, "/v"+version)
	if path == "/events" {
		e.tellEvents(rw, req)
		return
	}
	id := strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
	e.mu.Lock()
	defer e.mu.Unlock()
	labels, running := e.containers[id]
	switch {
	case path == "/_ping":
		io.WriteString(rw, "OK")
	case path == "/version":
		json.NewEncoder(rw).Encode(map[string]string{"Version": "27.0.0", "ApiVersion": version})
	case path == "/containers/json":
		list := []any{}
		for id := range e.containers {
			list = append(list, map[string]any{"Id": id})
		}
		json.NewEncoder(rw).Encode(list)
	case running:
		json.NewEncoder(rw).Encode(map[string]any{
			"Id":         id,
			"Name":       "/" + id,
			"State":      map[string]any{"Status": "running", "Running": true},
			"Config":     map[string]any{"Labels": labels},
			"HostConfig": map[string]any{"NetworkMode": "default"},
			"NetworkSettings": map[string]any{
				"Ports":    map[string]any{"80/tcp": nil},
				"Networks": map[string]any{"default": map[string]any{"IPAddress": "127.0.0.1"}},
			},
		})
	default:
		http.NotFound(rw, req)
	}
}

// tellEvents tells of a container that starts, at each change.
func (e *Engine) tellEvents(rw http.ResponseWriter, req *http.Request) {
	for flusher := http.NewResponseController(rw); ; {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		// The first is for a change between Traefik's last question and this one.
		io.WriteString(rw, `{"Type":"container","Action":"start"}`+"\n")
		flusher.Flush()
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
	}
}
