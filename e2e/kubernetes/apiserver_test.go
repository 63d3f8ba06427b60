package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// A cluster is as much of a Kubernetes API server as Traefik's providers talk
// to: it takes objects that are valid, lists them and reports their changes.
type cluster struct {
	*httptest.Server
	rules *rules

	mu       sync.Mutex
	version  int // resourceVersion of the last change
	objects  map[schema.GroupVersionResource]map[string]*unstructured.Unstructured
	watchers map[chan event]schema.GroupVersionResource
	stopped  chan struct{}
}

type event struct {
	Type   watch.EventType            `json:"type"`
	Object *unstructured.Unstructured `json:"object"`
}

func runCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		rules:    loadRules(t),
		objects:  map[schema.GroupVersionResource]map[string]*unstructured.Unstructured{},
		watchers: map[chan event]schema.GroupVersionResource{},
		stopped:  make(chan struct{}),
	}
	c.Server = httptest.NewServer(c)
	t.Cleanup(func() {
		close(c.stopped)
		c.Server.Close()
	})
	return c
}

// apply adds the objects or replaces those of the same names. It fails the test
// for an object that an API server would refuse.
func (c *cluster) apply(t *testing.T, objects ...*unstructured.Unstructured) {
	t.Helper()
	for _, object := range objects {
		if err := c.rules.check(object); err != nil {
			t.Fatalf("%s: %v", nameOf(object), err)
		}
		resource, ok := c.rules.resources[object.GroupVersionKind()]
		if !ok {
			t.Fatalf("%s: Traefik does not ask for objects of this kind", nameOf(object))
		}
		c.change(resource, watch.Modified, object.DeepCopy())
	}
}

// delete removes the object with the kind and name of this one.
func (c *cluster) delete(object *unstructured.Unstructured) {
	c.change(c.rules.resources[object.GroupVersionKind()], watch.Deleted, object.DeepCopy())
}

func (c *cluster) change(resource schema.GroupVersionResource, kind watch.EventType, object *unstructured.Unstructured) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	object.SetResourceVersion(strconv.Itoa(c.version))
	named := c.objects[resource]
	if named == nil {
		named = map[string]*unstructured.Unstructured{}
		c.objects[resource] = named
	}
	name := object.GetNamespace() + "/" + object.GetName()
	if kind == watch.Deleted {
		delete(named, name)
	} else {
		if named[name] == nil {
			kind = watch.Added
		}
		named[name] = object
	}
	for w, watched := range c.watchers {
		if watched == resource {
			w <- event{kind, object}
		}
	}
}

func (c *cluster) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	resource, err := resourceOf(req.URL.Path)
	kind, known := c.rules.kinds[resource]
	switch {
	case req.Method != http.MethodGet:
		http.Error(rw, "read only", http.StatusMethodNotAllowed)
	case err != nil || !known:
		http.Error(rw, fmt.Sprintf("%s: %v", req.URL.Path, err), http.StatusNotFound)
	case req.URL.Query().Get("watch") != "":
		c.watch(rw, req, resource, kind)
	default:
		c.list(rw, resource, kind)
	}
}

// resourceOf reads paths of requests for all objects of a resource, in all
// namespaces: /api/v1/secrets, /apis/traefik.io/v1alpha1/middlewares.
func resourceOf(path string) (schema.GroupVersionResource, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) == 3 && parts[0] == "api":
		return schema.GroupVersionResource{Version: parts[1], Resource: parts[2]}, nil
	case len(parts) == 4 && parts[0] == "apis":
		return schema.GroupVersionResource{Group: parts[1], Version: parts[2], Resource: parts[3]}, nil
	}
	return schema.GroupVersionResource{}, errors.New("not the path of a resource in all namespaces")
}

func (c *cluster) list(rw http.ResponseWriter, resource schema.GroupVersionResource, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := []*unstructured.Unstructured{}
	for _, object := range c.objects[resource] {
		items = append(items, object)
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(map[string]any{
		"apiVersion": resource.GroupVersion().String(),
		"kind":       kind + "List",
		"metadata":   map[string]any{"resourceVersion": strconv.Itoa(c.version)},
		"items":      items,
	})
}

// watch sends the changes after the version that the client has seen, from a
// list: those of the meantime, as additions, and then each as it comes. A client
// that asks for the initial events has no list: it waits for a bookmark that says
// that it has all that was there.
func (c *cluster) watch(rw http.ResponseWriter, req *http.Request, resource schema.GroupVersionResource, kind string) {
	events := make(chan event, 100)
	seen, _ := strconv.Atoi(req.URL.Query().Get("resourceVersion"))
	c.mu.Lock()
	for _, object := range c.objects[resource] {
		if version, _ := strconv.Atoi(object.GetResourceVersion()); version > seen {
			events <- event{watch.Modified, object}
		}
	}
	if req.URL.Query().Get("sendInitialEvents") == "true" {
		end := new(unstructured.Unstructured)
		end.SetGroupVersionKind(resource.GroupVersion().WithKind(kind))
		end.SetResourceVersion(strconv.Itoa(c.version))
		end.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
		events <- event{watch.Bookmark, end}
	}
	c.watchers[events] = resource
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.watchers, events)
		c.mu.Unlock()
	}()

	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusOK)
	rw.(http.Flusher).Flush()
	for {
		select {
		case e := <-events:
			json.NewEncoder(rw).Encode(e)
			rw.(http.Flusher).Flush()
		case <-req.Context().Done():
			return
		case <-c.stopped:
			return
		}
	}
}
