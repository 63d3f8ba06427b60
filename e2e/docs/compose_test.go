package docs

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// patience bounds waits for what should come soon. It is long because only a
// test that fails waits for its end.
const patience = 20 * time.Second

// A container is what Traefik reads of one.
type container struct {
	name   string
	labels map[string]string
}

// containers returns the services of a Compose file that have labels.
func containers(tree map[string]any, files certificateFiles) []container {
	var list []container
	for name := range sub(tree, "services") {
		service := sub(tree, "services", name)
		labels := map[string]any{}
		for _, given := range []any{service["labels"], sub(service, "deploy")["labels"]} {
			for key, value := range labelMap(given) {
				labels[key] = value
			}
		}
		c := container{name: name, labels: map[string]string{}}
		for key, value := range files.in(labels) {
			c.labels[key] = fmt.Sprint(value)
		}
		if len(c.labels) > 0 {
			list = append(list, c)
		}
	}
	return list
}

// labelMap returns labels that are given as a mapping or as a list of KEY=VALUE,
// with Compose's variables replaced.
func labelMap(given any) map[string]any {
	labels := map[string]any{}
	if mapping, ok := given.(map[string]any); ok {
		for key, value := range mapping {
			labels[key] = interpolate(fmt.Sprint(value))
		}
		return labels
	}
	for _, label := range texts(given) {
		key, value, _ := strings.Cut(label, "=")
		labels[key] = interpolate(value)
	}
	return labels
}

// interpolate replaces variables by their defaults and $$ by $, as Compose does.
func interpolate(text string) string {
	return os.Expand(text, func(name string) string {
		if name == "$" {
			return name
		}
		_, value, _ := strings.Cut(name, ":-")
		return value
	})
}

// objectLabel is a label that names a router or a middleware.
var objectLabel = regexp.MustCompile(`(?i)^traefik\.http\.(routers|middlewares)\.([^.]+)\.`)

// loadLabels fails the test unless Traefik has every router and every middleware
// that the labels name, and can make them.
func loadLabels(t *testing.T, traefik *testbed.Traefik, e *engine, c *config, list []container) {
	t.Helper()
	raw := e.serve(t, traefik, c, list)
	var middlewares []string
	for _, container := range list {
		for label := range container.labels {
			object := objectLabel.FindStringSubmatch(label)
			if object == nil {
				continue
			}
			name := object[2] + "@docker"
			if strings.EqualFold(object[1], "middlewares") {
				if _, ok := raw.Middlewares[name]; !ok {
					t.Errorf("%s: Traefik does not have the middleware %s", c, name)
				}
				if !slices.Contains(middlewares, name) {
					middlewares = append(middlewares, name)
				}
				continue
			}
			router, ok := raw.Routers[name]
			if !ok || router.Status != "enabled" {
				t.Errorf("%s: router %s is %q: %s", c, name, router.Status, strings.Join(router.Errors, "; "))
			}
		}
	}
	if t.Failed() {
		t.Fatalf("the end of Traefik's log:\n%s", traefik.LogTail(5))
	}
	used := testbed.Dynamic{}
	useMiddlewares(used, middlewares)
	loadDynamic(t, traefik, c, used)
}

// rawData is what Traefik's API tells of all its configuration.
type rawData struct {
	Routers     map[string]testbed.Router
	Middlewares map[string]any
}

func readRawData(traefik *testbed.Traefik) (*rawData, error) {
	resp, err := http.Get(traefik.APIURL("/api/rawdata"))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var raw rawData
	if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil {
		return nil, err
	}
	return &raw, nil
}

// An engine answers what Traefik asks Docker's, about containers that do not
// run. So it is Traefik that reads the labels.
type engine struct {
	server     *httptest.Server
	mu         sync.Mutex
	containers map[string]container // by id
	changed    chan struct{}        // closed and replaced with every change
	generation int
}

func runEngine(t *testing.T) *engine {
	t.Helper()
	e := &engine{containers: map[string]container{}, changed: make(chan struct{})}
	e.server = httptest.NewServer(http.HandlerFunc(e.answer))
	t.Cleanup(func() {
		e.server.CloseClientConnections() // the one that waits for events
		e.server.Close()
	})
	return e
}

func (e *engine) endpoint() string { return "tcp://" + e.server.Listener.Addr().String() }

// serve has the engine tell of these containers alone and returns what Traefik
// makes of them.
func (e *engine) serve(t *testing.T, traefik *testbed.Traefik, c *config, list []container) *rawData {
	t.Helper()
	e.mu.Lock()
	e.generation++
	mark := fmt.Sprintf("generation-%d", e.generation)
	e.containers = map[string]container{}
	for _, container := range append(list, container{mark, map[string]string{
		"traefik.enable":                         "true",
		"traefik.http.routers." + mark + ".rule": "Path(`/.documented/" + mark + "`)",
	}}) {
		e.containers[container.name] = container
	}
	close(e.changed)
	e.changed = make(chan struct{})
	e.mu.Unlock()

	var raw *rawData
	testbed.Eventually(t, patience, func() error {
		var err error
		if raw, err = readRawData(traefik); err != nil {
			return err
		}
		if _, ok := raw.Routers[mark+"@docker"]; !ok {
			return fmt.Errorf("%s: Traefik has not taken the labels; the end of its log:\n%s", c, traefik.LogTail(20))
		}
		return nil
	})
	return raw
}

// answer serves what Traefik's Docker provider asks, of the engine's API.
func (e *engine) answer(rw http.ResponseWriter, req *http.Request) {
	const version = "1.47"
	rw.Header().Set("Api-Version", version)
	rw.Header().Set("Content-Type", "application/json")
	path := strings.TrimPrefix(req.URL.Path, "/v"+version)
	id := strings.TrimSuffix(strings.TrimPrefix(path, "/containers/"), "/json")
	e.mu.Lock()
	defer e.mu.Unlock()
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
	case path == "/events":
		e.mu.Unlock()
		e.tellEvents(rw, req)
		e.mu.Lock()
	case e.containers[id].name != "":
		json.NewEncoder(rw).Encode(map[string]any{
			"Id":         id,
			"Name":       "/" + id,
			"State":      map[string]any{"Status": "running", "Running": true},
			"Config":     map[string]any{"Labels": e.containers[id].labels},
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
func (e *engine) tellEvents(rw http.ResponseWriter, req *http.Request) {
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
