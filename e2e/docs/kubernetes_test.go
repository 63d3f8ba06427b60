package docs

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// fromObjects returns Traefik's Kubernetes objects of one block as dynamic
// configuration. Services and middlewares that they name, and that are not
// among them, are taken to be there.
func fromObjects(objects []map[string]any) (map[string]any, error) {
	o := &objectReader{config: testbed.Dynamic{}}
	for _, object := range objects {
		if err := o.read(object); err != nil {
			return nil, fmt.Errorf("%v %v: %w", object["kind"], sub(object, "metadata")["name"], err)
		}
	}
	for _, name := range o.services {
		if !o.has("services", name) {
			o.config.Service(name, "http://"+name)
		}
	}
	for _, name := range o.middlewares {
		if !o.has("middlewares", name) {
			o.config.Middleware(name, "compress", testbed.Values{})
		}
	}
	text, err := yaml.Marshal(o.config)
	if err != nil {
		return nil, err
	}
	trees, err := decodeYAML(string(text)) // so that all mappings are of one type
	if err != nil {
		return nil, err
	}
	return trees[0], nil
}

type objectReader struct {
	config                testbed.Dynamic
	services, middlewares []string // that are named
}

// has reports whether an object of the name was read.
func (o *objectReader) has(section, name string) bool {
	_, ok := sub(o.config, "http", section)[name]
	return ok
}

func (o *objectReader) read(object map[string]any) error {
	name, _ := sub(object, "metadata")["name"].(string)
	spec := sub(object, "spec")
	if err := onlyKeys(object, "apiVersion", "kind", "metadata", "spec"); err != nil {
		return err
	}
	if object["apiVersion"] != "traefik.io/v1alpha1" || name == "" || spec == nil {
		return fmt.Errorf("apiVersion %v, name %q, spec %v; want traefik.io/v1alpha1, a name and a spec", object["apiVersion"], name, spec)
	}
	switch object["kind"] {
	case "Middleware":
		o.config.Set(spec, "http", "middlewares", name)
		return nil
	case "IngressRoute":
		return o.readRoutes(name, spec)
	}
	return fmt.Errorf("nothing here checks this kind; write after the language: %s and what does", uncheckedRemark)
}

// named returns the name of the service that is referred to.
func (o *objectReader) named(reference map[string]any) (string, error) {
	name, _ := reference["name"].(string)
	if name == "" {
		return "", fmt.Errorf("a service without a name: %v", reference)
	}
	o.services = append(o.services, name)
	return name, nil
}

func (o *objectReader) readRoutes(name string, spec map[string]any) error {
	if err := onlyKeys(spec, "entryPoints", "routes", "tls"); err != nil {
		return err
	}
	routes := mappings(spec["routes"])
	if len(routes) == 0 {
		return fmt.Errorf("no routes in %v", spec)
	}
	for i, route := range routes {
		router := fmt.Sprintf("%s-%d", name, i+1)
		if err := o.readRoute(router, route); err != nil {
			return err
		}
		for _, option := range []string{"entryPoints", "tls"} {
			if value, ok := spec[option]; ok {
				o.config.Set(value, "http", "routers", router, option)
			}
		}
	}
	return nil
}

func (o *objectReader) readRoute(router string, route map[string]any) error {
	if err := onlyKeys(route, "kind", "match", "priority", "services", "middlewares"); err != nil {
		return err
	}
	rule, _ := route["match"].(string)
	services := mappings(route["services"])
	if route["kind"] != "Rule" || rule == "" || len(services) != 1 {
		return fmt.Errorf("route %v; want the kind Rule, a match and one service", route)
	}
	service, err := o.named(services[0])
	if err != nil {
		return err
	}
	if err := onlyKeys(services[0], "kind", "name", "namespace", "port", "passHostHeader"); err != nil {
		return err
	}
	var middlewares []string
	for _, reference := range mappings(route["middlewares"]) {
		name, _ := reference["name"].(string)
		if err := onlyKeys(reference, "name", "namespace"); err != nil || name == "" {
			return fmt.Errorf("middleware %v; want a name and at most a namespace", reference)
		}
		middlewares = append(middlewares, name)
	}
	o.middlewares = append(o.middlewares, middlewares...)
	o.config.Router(router, rule, service, middlewares...)
	return nil
}

// mappings returns the mappings in a list.
func mappings(list any) []map[string]any {
	var found []map[string]any
	elements, _ := list.([]any)
	for _, element := range elements {
		mapping, _ := element.(map[string]any)
		found = append(found, mapping) // nil for anything else, which has no name
	}
	return found
}

// onlyKeys complains about a key that is not among those given.
func onlyKeys(mapping map[string]any, known ...string) error {
	for key := range mapping {
		if !slices.Contains(known, key) {
			return fmt.Errorf("unknown key %s, known are %v", key, known)
		}
	}
	return nil
}
