package docs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
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
func loadLabels(t *testing.T, traefik *testbed.Traefik, e *testbed.Engine, c *config, list []container) {
	t.Helper()
	raw := serveLabels(t, traefik, e, c, list)
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

// serveLabels has the engine tell of these containers alone and returns what
// Traefik makes of them.
func serveLabels(t *testing.T, traefik *testbed.Traefik, e *testbed.Engine, c *config, list []container) *rawData {
	t.Helper()
	generation++
	mark := fmt.Sprintf("generation-%d", generation)
	containers := map[string]map[string]string{mark: {
		"traefik.enable":                         "true",
		"traefik.http.routers." + mark + ".rule": "Path(`/.documented/" + mark + "`)",
	}}
	for _, container := range list {
		containers[container.name] = container.labels
	}
	e.Run(containers)

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

// generation numbers what the engine has told.
var generation int
