package testbed

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Dynamic is a dynamic configuration of Traefik's as plain maps, so that a
// test can say anything that a file can, right or wrong. The methods build the
// usual case, change the receiver and return it:
//
//	testbed.Dynamic{}.
//		Service("billing", live.URL()).
//		Mirror("shadow-billing", testbed.Values{"url": shadow.URL()}).
//		Router("invoices", "PathPrefix(`/invoices`)", "billing", "shadow-billing")
type Dynamic map[string]any

// Values are the options of one middleware, or any other part of a
// configuration.
type Values map[string]any

// Router adds a router. middlewares are names, in the order in which they see
// the request; with none the router goes straight to the service. It listens
// on every entry point.
func (d Dynamic) Router(name, rule, service string, middlewares ...string) Dynamic {
	router := Values{"rule": rule, "service": service}
	if len(middlewares) > 0 {
		router["middlewares"] = middlewares
	}
	return d.Set(router, "http", "routers", name)
}

// HostOf is the host at which tests have the router called name.
func HostOf(name string) string { return strings.ToLower(name) + ".example.com" }

// RuleOf is the rule of the router called name: its requests are those to [HostOf].
func RuleOf(name string) string { return HostRule(HostOf(name)) }

// HostRule is the rule of a router for the requests to one host.
func HostRule(host string) string { return "Host(`" + host + "`)" }

// Service adds a load balancer over the URLs that hands the client's Host on.
func (d Dynamic) Service(name string, urls ...string) Dynamic {
	servers := make([]any, 0, len(urls))
	for _, url := range urls {
		servers = append(servers, Values{"url": url})
	}
	return d.Set(Values{"loadBalancer": Values{"servers": servers}}, "http", "services", name)
}

// Mirroring adds Traefik's own mirroring service between services that were
// added by name: live answers, mirrors get percent (0 to 100) of the requests.
func (d Dynamic) Mirroring(name, live string, percent int, mirrors ...string) Dynamic {
	list := make([]any, 0, len(mirrors))
	for _, mirror := range mirrors {
		list = append(list, Values{"name": mirror, "percent": percent})
	}
	return d.Set(Values{"mirroring": Values{"service": live, "mirrors": list}}, "http", "services", name)
}

// MarkerHeader is the header by which a shadow knows whose copies it gets.
const MarkerHeader = "X-Mirrored-By"

// Marker is the name that the plugin has for the middleware called name: the one in
// [MarkerHeader], and in the report.
func Marker(name string) string { return name + "@file" }

// Mirror adds a middleware of the mirror plugin.
func (d Dynamic) Mirror(name string, options Values) Dynamic {
	return d.Plugin(name, MirrorKey, options)
}

// Plugin adds a middleware of the plugin that the static configuration knows
// by key.
func (d Dynamic) Plugin(name, key string, options Values) Dynamic {
	if options == nil {
		options = Values{}
	}
	return d.Set(Values{"plugin": Values{key: options}}, "http", "middlewares", name)
}

// Middleware adds a middleware of Traefik's own, such as "buffering" or
// "stripPrefix".
func (d Dynamic) Middleware(name, kind string, options Values) Dynamic {
	return d.Set(Values{kind: options}, "http", "middlewares", name)
}

// Set puts value at the path, making the maps on the way there.
func (d Dynamic) Set(value any, path ...string) Dynamic {
	at := map[string]any(d)
	for _, key := range path[:len(path)-1] {
		at = child(at, key)
	}
	at[path[len(path)-1]] = value
	return d
}

func child(m map[string]any, key string) map[string]any {
	switch v := m[key].(type) {
	case map[string]any:
		return v
	case Values:
		return v
	}
	fresh := map[string]any{}
	m[key] = fresh
	return fresh
}

// tree turns a configuration given as YAML text or as any value that marshals
// to YAML into maps that the caller may change.
func tree(config any) (map[string]any, error) {
	var text []byte
	switch c := config.(type) {
	case nil:
		return map[string]any{}, nil
	case string:
		text = []byte(c)
	case []byte:
		text = c
	default:
		var err error
		if text, err = yaml.Marshal(c); err != nil {
			return nil, fmt.Errorf("testbed: configuration: %w", err)
		}
	}
	m := map[string]any{}
	if err := yaml.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("testbed: configuration: %w", err)
	}
	if m == nil {
		m = map[string]any{}
	}
	return m, nil
}

// merge lays over on top of base: maps are joined, all else is replaced.
func merge(base, over map[string]any) {
	for key, value := range over {
		if sub, ok := value.(map[string]any); ok {
			if into, ok := base[key].(map[string]any); ok {
				merge(into, sub)
				continue
			}
		}
		base[key] = value
	}
}
