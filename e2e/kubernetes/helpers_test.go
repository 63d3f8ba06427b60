// Package kubernetes tests examples/kubernetes: the objects against the schemas
// that Traefik publishes, and all of it in the real Traefik, whose Kubernetes
// providers read the objects from a stand-in for the API server.
package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// patience bounds waits for what should come at once. It is long because only
// a test that fails waits for its end.
const patience = 20 * time.Second

const (
	billingHost = "billing.example.com"
	mirrorName  = "default-shadow-billing@kubernetescrd"
)

// repoRoot returns the folder whose plugin and examples are tested.
func repoRoot(t *testing.T) string {
	t.Helper()
	root, err := testbed.PluginDir()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func exampleDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(repoRoot(t), "examples", "kubernetes")
}

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(exampleDir(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var documentEnd = regexp.MustCompile(`(?m)^---\s*$`)

// documents splits YAML text and leaves out the documents that are empty.
func documents(text string) []string {
	var list []string
	for _, document := range documentEnd.Split(text, -1) {
		if strings.TrimSpace(document) != "" {
			list = append(list, document)
		}
	}
	return list
}

// object reads the one object that an example's file holds.
func object(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	list := documents(readExample(t, name))
	if len(list) != 1 {
		t.Fatalf("%s: %d documents, want 1", name, len(list))
	}
	return parse(t, list[0])
}

// parse reads an object. A key that comes twice is an error.
func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	converted, err := yaml.YAMLToJSONStrict([]byte(text))
	if err == nil {
		err = o.UnmarshalJSON(converted)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return o
}

func nameOf(o *unstructured.Unstructured) string { return o.GetKind() + " " + o.GetName() }

// options are those of the plugin in a Middleware, for reading and changing.
func options(t *testing.T, middleware *unstructured.Unstructured) map[string]any {
	t.Helper()
	plugins, _, err := unstructured.NestedFieldNoCopy(middleware.Object, "spec", "plugin")
	if err != nil {
		t.Fatal(err)
	}
	mirror, ok := plugins.(map[string]any)[testbed.MirrorKey].(map[string]any)
	if !ok {
		t.Fatalf("%s has no options for the plugin %s", nameOf(middleware), testbed.MirrorKey)
	}
	return mirror
}

// block returns the text of the README's only code block in the language that
// contains the words.
func block(t *testing.T, language, words string) string {
	t.Helper()
	var found []string
	for _, part := range strings.Split(readExample(t, "README.md"), "\n```"+language)[1:] {
		_, text, _ := strings.Cut(part, "\n") // past the rest of the line that opens it
		text, _, _ = strings.Cut(text, "\n```")
		if strings.Contains(text, words) {
			found = append(found, text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("README.md has %d blocks of %s with %q, want 1", len(found), language, words)
	}
	return found[0]
}

// request sends one to the route of the examples and returns the answer's body.
func request(t *testing.T, traefik *testbed.Traefik, method, path string, header http.Header) string {
	t.Helper()
	status, body := try(t, traefik, method, path, header)
	if status != http.StatusOK {
		t.Fatalf("%s %s: answered %d %q, want 200", method, path, status, body)
	}
	return body
}

func try(t *testing.T, traefik *testbed.Traefik, method, path string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, traefik.URL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = billingHost
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := traefik.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// recorded waits for n requests in all at the upstream and returns them.
func recorded(t *testing.T, u *testbed.Upstream, n int) []testbed.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	requests, err := u.Wait(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != n {
		t.Fatalf("the upstream got %d requests, want %d", len(requests), n)
	}
	return requests
}

// api reads from Traefik's API.
func api(t *testing.T, traefik *testbed.Traefik, path string, into any) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, traefik.APIURL(path), nil)
	if err != nil {
		return err
	}
	resp, err := traefik.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
