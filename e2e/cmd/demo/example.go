package main

import (
	"fmt"
	"path/filepath"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// Where the example files say what the demo has to replace, and what it tells.
var (
	webAddress  = []any{"entryPoints", testbed.Web, "address"}
	dynamicFile = []any{"providers", "file", "filename"}
	liveURL     = []any{"http", "services", "billing", "loadBalancer", "servers", 0, "url"}
	shadowURL   = []any{"http", "middlewares", "shadow-billing", "plugin", testbed.MirrorKey, "url"}
	timeout     = []any{"http", "middlewares", "shadow-billing", "plugin", testbed.MirrorKey, "timeout"}
	comparing   = []any{"http", "middlewares", "shadow-billing", "plugin", testbed.MirrorKey, "compare"}
)

// An example is the two files of the examples folder. Nothing in them is
// changed but addresses, and what the report says to ignore.
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
	if e.static, err = testbed.LoadYAML(filepath.Join(root, "examples", "traefik.yml")); err != nil {
		return nil, err
	}
	if e.dynamic, err = testbed.LoadYAML(filepath.Join(root, "examples", "dynamic.yml")); err != nil {
		return nil, err
	}
	// testbed gives Traefik a free port and writes the dynamic file: these two
	// are taken out, so that its own stand.
	if e.webAddress, err = testbed.Take(e.static, webAddress); err != nil {
		return nil, fmt.Errorf("examples/traefik.yml: %w", err)
	}
	if _, err = testbed.Take(e.static, dynamicFile); err != nil {
		return nil, fmt.Errorf("examples/traefik.yml: %w", err)
	}
	if e.liveURL, err = testbed.LookUp(e.dynamic, liveURL); err != nil {
		return nil, fmt.Errorf("examples/dynamic.yml: %w", err)
	}
	if e.shadowURL, err = testbed.LookUp(e.dynamic, shadowURL); err != nil {
		return nil, fmt.Errorf("examples/dynamic.yml: %w", err)
	}
	if e.timeout, err = testbed.LookUp(e.dynamic, timeout); err != nil {
		return nil, fmt.Errorf("examples/dynamic.yml: %w", err)
	}
	return e, nil
}

// ignore adds lines to compare.ignore.
func (e *example) ignore(paths []string) {
	var tree any = e.dynamic
	for _, step := range comparing {
		tree = tree.(map[string]any)[step.(string)]
	}
	compare := tree.(map[string]any)
	lines, _ := compare["ignore"].([]any)
	for _, path := range paths {
		lines = append(lines, path)
	}
	compare["ignore"] = lines
}

// pointAt replaces the addresses of live and shadow.
func (e *example) pointAt(live, shadow string) {
	testbed.Set(e.dynamic, liveURL, live)
	testbed.Set(e.dynamic, shadowURL, shadow)
}
