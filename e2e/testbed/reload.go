package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// markerPrefix begins the name of the router that marks a generation.
const markerPrefix = "testbed-generation-"

// Reload has Traefik apply a new dynamic configuration, in the forms that
// [Options].Dynamic takes, and returns when every entry point serves it. Even
// one equal to the last is applied anew, so that every plugin's New runs once
// more. It fails, with the end of Traefik's log, when ctx ends or Traefik does
// not apply the configuration.
func (t *Traefik) Reload(ctx context.Context, dynamic any) error {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	if err := t.writeGeneration(dynamic); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reloadPatience)
	defer cancel()
	if err := t.waitApplied(ctx); err != nil {
		return fmt.Errorf("testbed: Traefik did not apply the configuration: %w\n%s", err, t.LogTail(40))
	}
	return nil
}

// WriteDynamic replaces the dynamic configuration's file by text as it is, be
// it YAML or not, and does not wait for what Traefik makes of it.
func (t *Traefik) WriteDynamic(text string) error {
	t.reloading.Lock()
	defer t.reloading.Unlock()
	return t.writeDynamic([]byte(text))
}

// writeGeneration adds to the configuration the mark by which waitApplied
// knows it: a router whose name and path no configuration had before. It has
// another use: Traefik skips a configuration that equals the last.
func (t *Traefik) writeGeneration(dynamic any) error {
	config, err := tree(dynamic)
	if err != nil {
		return err
	}
	t.generation++
	routers := child(child(config, "http"), "routers")
	routers[t.marker()] = map[string]any{
		"rule":     "Path(`" + t.markerPath() + "`)",
		"priority": 1 << 30,
		"service":  "ping@internal",
	}
	if _, ok := t.addrs[WebSecure]; ok {
		tls := child(config, "tls")
		certificates, _ := tls["certificates"].([]any)
		tls["certificates"] = append(certificates, map[string]any{
			"certFile": filepath.Join(t.dir, "cert.pem"),
			"keyFile":  filepath.Join(t.dir, "key.pem"),
		})
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("testbed: dynamic configuration: %w", err)
	}
	return t.writeDynamic(text)
}

// writeDynamic renames a finished file into place: Traefik reads the file at
// each event, and would read a half-written one.
func (t *Traefik) writeDynamic(text []byte) error {
	path := filepath.Join(t.dir, "dynamic", "dynamic.yml")
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		return fmt.Errorf("testbed: dynamic configuration: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("testbed: dynamic configuration: %w", err)
	}
	return nil
}

func (t *Traefik) marker() string {
	return fmt.Sprintf("%s%s-%d", markerPrefix, t.nonce, t.generation)
}

func (t *Traefik) markerPath() string {
	return fmt.Sprintf("/.testbed/%s/%d", t.nonce, t.generation)
}

// waitApplied returns when the entry points serve the generation written last.
// Each is asked: Traefik switches them one after the other, in no fixed order.
func (t *Traefik) waitApplied(ctx context.Context) error {
	probes := []string{t.URL(t.markerPath()), t.APIURL("/api/http/routers/" + t.marker() + "@file")}
	if _, ok := t.addrs[WebSecure]; ok {
		probes = append(probes, t.SecureURL(t.markerPath()))
	}
	for _, url := range probes {
		for {
			err := t.probe(ctx, url)
			if err == nil {
				break
			}
			select {
			case <-t.process.done:
				return fmt.Errorf("it ended: %v", t.process.state)
			case <-ctx.Done():
				return fmt.Errorf("%w, last asked: %v", ctx.Err(), err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

func (t *Traefik) probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := t.get(ctx, url)
	return err
}

// get returns the body of a 200, and an error for any other answer.
func (t *Traefik) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.control.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// Router is what Traefik's API tells about a router of the dynamic
// configuration.
type Router struct {
	// Status is "enabled", "warning" or "disabled"; a disabled router serves
	// nothing.
	Status string `json:"status"`

	// Errors say why it is not enabled: among others, what a plugin's New
	// returned.
	Errors []string `json:"error"`

	Rule        string   `json:"rule"`
	Service     string   `json:"service"`
	Middlewares []string `json:"middlewares"`
	EntryPoints []string `json:"entryPoints"`
}

// Routers returns the routers of the dynamic configuration by name, without
// the testbed's own. With Options.TLS there is a websecure-NAME beside each.
func (t *Traefik) Routers(ctx context.Context) (map[string]Router, error) {
	body, err := t.get(ctx, t.APIURL("/api/rawdata"))
	if err != nil {
		return nil, fmt.Errorf("testbed: routers: %w", err)
	}
	var raw struct{ Routers map[string]Router }
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("testbed: routers: %w", err)
	}
	routers := map[string]Router{}
	for name, router := range raw.Routers {
		name, ok := strings.CutSuffix(name, "@file")
		if ok && !strings.Contains(name, markerPrefix) {
			routers[name] = router
		}
	}
	return routers, nil
}

// Mistakes returns the lines in which the mirror plugin names mistakes in its
// options, since the start. A router whose middleware has one is enabled all the
// same: it serves live.
func (t *Traefik) Mistakes() []string {
	var lines []string
	for _, line := range strings.Split(t.Log(), "\n") {
		if strings.Contains(line, "until its options are put right") {
			lines = append(lines, line)
		}
	}
	return lines
}

// CheckRouters returns an error that names every router which is not enabled,
// with Traefik's reasons, and every mistake in the options of a mirror, ever;
// nil where there are none.
func (t *Traefik) CheckRouters(ctx context.Context) error {
	routers, err := t.Routers(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range t.Mistakes() {
		errs = append(errs, errors.New(line))
	}
	for name, router := range routers {
		if router.Status != "enabled" {
			errs = append(errs, fmt.Errorf("router %s is %s: %s", name, router.Status, strings.Join(router.Errors, "; ")))
		}
	}
	return errors.Join(errs...)
}
