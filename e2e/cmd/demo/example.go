package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// Where the example files say what the demo has to replace, and what it tells.
var (
	webAddress  = []any{"entryPoints", testbed.Web, "address"}
	dynamicFile = []any{"providers", "file", "filename"}
	liveURL     = []any{"http", "services", "billing", "loadBalancer", "servers", 0, "url"}
	shadowURL   = []any{"http", "middlewares", "shadow-billing", "plugin", testbed.MirrorKey, "url"}
	timeout     = []any{"http", "middlewares", "shadow-billing", "plugin", testbed.MirrorKey, "timeout"}
)

// An example is the two files of the examples folder. Nothing in them is
// changed but addresses.
type example struct {
	static, dynamic map[string]any

	// As the files have them.
	webAddress, liveURL, shadowURL, timeout string
}

func loadExample() (*example, error) {
	root, err := testbed.RepoRoot()
	if err != nil {
		return nil, err
	}
	e := &example{}
	if e.static, err = loadYAML(filepath.Join(root, "examples", "traefik.yml")); err != nil {
		return nil, err
	}
	if e.dynamic, err = loadYAML(filepath.Join(root, "examples", "dynamic.yml")); err != nil {
		return nil, err
	}
	// testbed gives Traefik a free port and writes the dynamic file: these two
	// are taken out, so that its own stand.
	if e.webAddress, err = take(e.static, webAddress); err != nil {
		return nil, fmt.Errorf("examples/traefik.yml: %w", err)
	}
	if _, err = take(e.static, dynamicFile); err != nil {
		return nil, fmt.Errorf("examples/traefik.yml: %w", err)
	}
	if e.liveURL, err = lookUp(e.dynamic, liveURL); err != nil {
		return nil, fmt.Errorf("examples/dynamic.yml: %w", err)
	}
	if e.shadowURL, err = lookUp(e.dynamic, shadowURL); err != nil {
		return nil, fmt.Errorf("examples/dynamic.yml: %w", err)
	}
	if e.timeout, err = lookUp(e.dynamic, timeout); err != nil {
		return nil, fmt.Errorf("examples/dynamic.yml: %w", err)
	}
	return e, nil
}

// pointAt replaces the addresses of live and shadow.
func (e *example) pointAt(live, shadow string) {
	set(e.dynamic, liveURL, live)
	set(e.dynamic, shadowURL, shadow)
}

func loadYAML(file string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return tree, nil
}

// lookUp returns the text at the path, which is of map keys and list indexes.
func lookUp(tree any, path []any) (string, error) {
	for _, step := range path {
		switch at := tree.(type) {
		case map[string]any:
			key, _ := step.(string)
			tree = at[key]
		case []any:
			i, ok := step.(int)
			if !ok || i >= len(at) {
				return "", fmt.Errorf("nothing at %v", path)
			}
			tree = at[i]
		default:
			return "", fmt.Errorf("nothing at %v", path)
		}
	}
	text, ok := tree.(string)
	if !ok {
		return "", fmt.Errorf("no text at %v but %v", path, tree)
	}
	return text, nil
}

// take removes the text at the path, whose last step is a map's key, and
// returns it.
func take(tree map[string]any, path []any) (string, error) {
	text, err := lookUp(tree, path)
	if err == nil {
		delete(parent(tree, path), path[len(path)-1].(string))
	}
	return text, err
}

// set replaces the text at the path, at which lookUp has found one.
func set(tree map[string]any, path []any, text string) {
	parent(tree, path)[path[len(path)-1].(string)] = text
}

func parent(tree any, path []any) map[string]any {
	for _, step := range path[:len(path)-1] {
		if i, ok := step.(int); ok {
			tree = tree.([]any)[i]
		} else {
			tree = tree.(map[string]any)[step.(string)]
		}
	}
	return tree.(map[string]any)
}
