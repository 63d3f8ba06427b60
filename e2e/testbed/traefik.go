// Package testbed runs the real Traefik with the plugin in it, the upstreams
// that it talks to, and a client that sends bytes exactly as they are given.
//
// Tests, the demo and the benchmarks stand on it, so what takes a testing.TB to
// fail is beside what returns an error: [RunTraefik] beside [Start]. Figures about
// the process (processor time, memory, descriptors) are read from /proc and are
// there on Linux only.
package testbed

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// The entry points of every [Traefik].
const (
	Web       = "web"       // plain HTTP/1.1
	WebSecure = "websecure" // TLS, HTTP/1.1 and HTTP/2; only with Options.TLS
	API       = "traefik"   // the API, ping and pprof
)

// MirrorKey is the name under which the static configuration knows the mirror
// plugin, and so the one that a middleware of the plugin uses.
const MirrorKey = "mirror"

// startPatience bounds a start, and reloadPatience a reload, whose context has
// no earlier deadline. A start interprets the plugins' source, which takes
// seconds where all processors are busy.
const (
	startPatience  = 60 * time.Second
	reloadPatience = 30 * time.Second
)

// Plugin is a local plugin beside the mirror.
type Plugin struct {
	// Key is the plugin's name in the static and dynamic configuration.
	Key string

	// Dir holds the plugin's source, its go.mod and its .traefik.yml.
	Dir string
}

// PassThrough returns the plugin that does nothing, under the key
// "passthrough". It has no options.
func PassThrough() (Plugin, error) {
	root, err := RepoRoot()
	if err != nil {
		return Plugin{}, err
	}
	return Plugin{Key: "passthrough", Dir: filepath.Join(root, "e2e", "testbed", "testdata", "passthrough")}, nil
}

// Options say how [Start] runs Traefik. The zero value runs it with the mirror
// plugin loaded and no router.
type Options struct {
	// Dynamic is the first dynamic configuration: YAML text, a [Dynamic], or
	// any value that marshals to YAML.
	Dynamic any

	// Static is merged over the static configuration that Start writes, in
	// the same forms.
	Static any

	// Plugins are loaded beside the mirror plugin.
	Plugins []Plugin

	// MirrorDir holds the mirror plugin's source; empty means [PluginDir].
	// Where it has no .traefik.yml there is no mirror plugin.
	MirrorDir string

	// WithoutMirror leaves the mirror plugin out.
	WithoutMirror bool

	// TLS adds the entry point [WebSecure]. Every router is then on both, which
	// makes two of it: Traefik calls the second websecure-NAME, and a plugin's
	// New for each.
	TLS bool

	// LogLevel is Traefik's; empty means DEBUG, without which Traefik drops
	// what plugins print on standard output. DEBUG writes a line per request.
	LogLevel string

	// Env is added to this process's environment, as NAME=value.
	Env []string

	// Nameserver is the IP address of the DNS server that Traefik asks, in place of the
	// machine's; see [Nameserver]. It takes root.
	Nameserver string

	// DescriptorLimit is the process's limit of open files, soft and hard; 0
	// leaves it as it is.
	DescriptorLimit int

	// Logf tells about a build of Traefik, see [Binary]; nil means standard
	// error.
	Logf func(format string, args ...any)
}

// Traefik is a running Traefik. Its methods may be called from several
// goroutines.
type Traefik struct {
	dir     string
	release Release
	addrs   map[string]string
	process *process
	ca      *CA
	client  *http.Client // for tests' own requests
	control *http.Client // for the API and the probes

	document, metrics edition // of the report

	reloading  sync.Mutex
	nonce      string
	generation int

	stopOnce sync.Once
	stopErr  error
	logMu    sync.Mutex
	finalLog *string // once the log file is gone
}

// Start runs a Traefik of its own ports and folder and returns when it serves
// opts.Dynamic. ctx bounds the start, not the life of what was started.
//
// It fails, with the end of Traefik's log in the error, when Traefik ends or
// does not get ready, which includes a plugin that cannot be loaded. A router
// that Traefik leaves out, as it does for one whose plugin refuses its
// configuration, is no failure: see [Traefik.Routers].
func Start(ctx context.Context, opts Options) (*Traefik, error) {
	bin, err := Binary(ctx, opts.Logf)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for attempt := 1; ; attempt++ {
		t, err := start(ctx, bin, opts)
		// A port that was free a moment ago can be somebody else's by now.
		if err != nil && attempt < 5 && strings.Contains(err.Error(), "address already in use") {
			continue
		}
		return t, err
	}
}

func start(ctx context.Context, bin string, opts Options) (_ *Traefik, err error) {
	dir, err := os.MkdirTemp("", "mirror-traefik-")
	if err != nil {
		return nil, fmt.Errorf("testbed: Traefik's folder: %w", err)
	}
	t := &Traefik{dir: dir}
	defer func() {
		if err != nil {
			t.Stop()
		}
	}()
	if t.release, err = readRelease(ctx, bin); err != nil {
		return nil, err
	}
	nonce := make([]byte, 6)
	rand.Read(nonce)
	t.nonce = hex.EncodeToString(nonce)
	if t.addrs, err = freeAddrs(opts.entryPoints()); err != nil {
		return nil, err
	}
	if err := t.layOut(opts); err != nil {
		return nil, err
	}
	if t.process, err = t.run(bin, opts); err != nil {
		return nil, err
	}
	if err := t.waitApplied(ctx); err != nil {
		return nil, fmt.Errorf("testbed: Traefik did not start: %w\n%s", err, t.LogTail(40))
	}
	for _, line := range strings.Split(t.Log(), "\n") {
		if strings.Contains(line, pluginsDisabled) {
			return nil, fmt.Errorf("testbed: Traefik started without plugins: %s", line)
		}
	}
	return t, nil
}

// pluginsDisabled is what Traefik logs when one plugin cannot be loaded, and
// then starts with none. Its option abortOnPluginFailure, which has it end
// instead, came with v3.3.
const pluginsDisabled = "Plugins are disabled because an error has occurred"

func (o Options) entryPoints() []string {
	if o.TLS {
		return []string{Web, API, WebSecure}
	}
	return []string{Web, API}
}

// freeAddrs holds all ports until it has them all, so that none comes twice.
func freeAddrs(entryPoints []string) (map[string]string, error) {
	addrs := map[string]string{}
	for _, name := range entryPoints {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("testbed: no free port: %w", err)
		}
		defer l.Close()
		addrs[name] = l.Addr().String()
	}
	return addrs, nil
}

// layOut writes what Traefik reads at its start into its working directory.
func (t *Traefik) layOut(opts Options) error {
	ca, err := NewCA()
	if err != nil {
		return err
	}
	t.ca = ca
	t.client = newClient(ca)
	t.control = newClient(ca)
	// An idle connection of the testbed's own would be counted among
	// Traefik's descriptors and goroutines.
	t.control.Transport.(*http.Transport).DisableKeepAlives = true

	plugins, err := opts.plugins()
	if err != nil {
		return err
	}
	local := map[string]any{}
	for _, p := range plugins {
		module, err := t.link(p)
		if err != nil {
			return err
		}
		local[p.Key] = map[string]any{"moduleName": module}
	}
	if err := t.writeStatic(opts, local); err != nil {
		return err
	}

	// The configuration has a folder of its own since Traefik watches the
	// folder: beside the log, every line of that would wake it.
	if err := os.Mkdir(filepath.Join(t.dir, "dynamic"), 0o755); err != nil {
		return fmt.Errorf("testbed: Traefik's folder: %w", err)
	}
	if opts.TLS {
		cert, key, err := ca.Issue("localhost", "127.0.0.1", "*.example.com", "*.localhost")
		if err != nil {
			return err
		}
		if err := errors.Join(
			os.WriteFile(filepath.Join(t.dir, "cert.pem"), cert, 0o644),
			os.WriteFile(filepath.Join(t.dir, "key.pem"), key, 0o600),
		); err != nil {
			return fmt.Errorf("testbed: Traefik's certificate: %w", err)
		}
	}
	return t.writeGeneration(opts.Dynamic)
}

func (o Options) plugins() ([]Plugin, error) {
	plugins := o.Plugins
	if o.WithoutMirror {
		return plugins, nil
	}
	dir := o.MirrorDir
	if dir == "" {
		var err error
		if dir, err = PluginDir(); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(filepath.Join(dir, ".traefik.yml")); err != nil {
		return plugins, nil
	}
	return append([]Plugin{{Key: MirrorKey, Dir: dir}}, plugins...), nil
}

// link makes the plugin's source appear where Traefik looks for it. The module
// path is the source's own, so that publishing under another one changes
// nothing here.
func (t *Traefik) link(p Plugin) (module string, err error) {
	dir, err := filepath.Abs(p.Dir)
	if err != nil {
		return "", fmt.Errorf("testbed: plugin %s: %w", p.Key, err)
	}
	if module, err = modulePath(dir); err != nil {
		return "", err
	}
	at := filepath.Join(t.dir, "plugins-local", "src", filepath.FromSlash(module))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return "", fmt.Errorf("testbed: plugin %s: %w", p.Key, err)
	}
	if err := os.Symlink(dir, at); err != nil {
		return "", fmt.Errorf("testbed: plugin %s: %w", p.Key, err)
	}
	return module, nil
}

func (t *Traefik) writeStatic(opts Options, localPlugins map[string]any) error {
	level := opts.LogLevel
	if level == "" {
		level = "DEBUG"
	}
	entryPoints := map[string]any{}
	for name, addr := range t.addrs {
		point := map[string]any{
			"address": addr,
			// Requests that hang are what some tests are about; a stop does
			// not wait the default 10 s for them.
			"transport": map[string]any{"lifeCycle": map[string]any{"graceTimeOut": "200ms"}},
		}
		if name == WebSecure {
			point["http"] = map[string]any{"tls": map[string]any{}}
		}
		entryPoints[name] = point
	}
	log := map[string]any{"level": level}
	if t.release.Has("v3.0.0") { // v2 has colours on a terminal only
		log["noColor"] = true
	}
	static := map[string]any{
		"global":      map[string]any{"checkNewVersion": false, "sendAnonymousUsage": false},
		"log":         log,
		"api":         map[string]any{"insecure": true, "debug": true, "dashboard": false},
		"ping":        map[string]any{},
		"entryPoints": entryPoints,
		"providers": map[string]any{
			"providersThrottleDuration": "10ms",
			"file":                      map[string]any{"filename": filepath.Join(t.dir, "dynamic", "dynamic.yml"), "watch": true},
		},
	}
	if len(localPlugins) > 0 { // Traefik refuses an empty list
		static["experimental"] = map[string]any{"localPlugins": localPlugins}
	}
	over, err := tree(opts.Static)
	if err != nil {
		return err
	}
	merge(static, over)
	text, err := yaml.Marshal(static)
	if err != nil {
		return fmt.Errorf("testbed: static configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(t.dir, "traefik.yml"), text, 0o644); err != nil {
		return fmt.Errorf("testbed: static configuration: %w", err)
	}
	return nil
}

func (t *Traefik) run(bin string, opts Options) (*process, error) {
	args := []string{bin, "--configFile=traefik.yml"}
	if opts.DescriptorLimit > 0 {
		limit := []string{"/bin/sh", "-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(opts.DescriptorLimit)}
		args = append(limit, args...)
	}
	if opts.Nameserver != "" {
		file := filepath.Join(t.dir, "resolv.conf")
		if err := os.WriteFile(file, []byte("nameserver "+opts.Nameserver+"\n"), 0o644); err != nil {
			return nil, fmt.Errorf("testbed: %w", err)
		}
		// A mount that nobody else sees.
		own := []string{"unshare", "--mount", "/bin/sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, file}
		args = append(own, args...)
	}
	// Traefik writes to the file itself: copying its log through this process
	// would cost a benchmark processor time.
	logFile, err := os.Create(t.logFile())
	if err != nil {
		return nil, fmt.Errorf("testbed: Traefik's log: %w", err)
	}
	defer logFile.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), opts.Env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	p, err := startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("testbed: starting %s: %w", bin, err)
	}
	return p, nil
}

// Stop ends Traefik, waits until it is gone and removes its folder; the log
// stays readable. Calls after the first do nothing and return the same error:
// that Traefik had ended before it was asked to, as it does when a goroutine
// of a plugin panics.
func (t *Traefik) Stop() error {
	t.stopOnce.Do(func() {
		if t.process != nil {
			if t.process.exited() {
				t.stopErr = fmt.Errorf("testbed: Traefik had ended by itself: %v\n%s", t.process.state, t.LogTail(40))
			} else {
				t.process.terminate(5 * time.Second)
			}
		}
		if t.client != nil {
			t.client.CloseIdleConnections()
		}
		log := t.Log()
		t.logMu.Lock()
		t.finalLog = &log
		t.logMu.Unlock()
		if err := os.RemoveAll(t.dir); err != nil && t.stopErr == nil {
			t.stopErr = fmt.Errorf("testbed: Traefik's folder: %w", err)
		}
	})
	return t.stopErr
}

// Exited is closed when the process has ended, for whatever reason.
func (t *Traefik) Exited() <-chan struct{} { return t.process.done }

// Addr returns the entry point's host:port, or "" for one that there is not.
func (t *Traefik) Addr(entryPoint string) string { return t.addrs[entryPoint] }

// URL returns the address of path, which begins with a slash, on [Web].
func (t *Traefik) URL(path string) string { return "http://" + t.addrs[Web] + path }

// SecureURL returns the address of path on [WebSecure]; [Traefik.Client] and
// [Traefik.CA] trust its certificate, which is for 127.0.0.1, localhost,
// *.localhost and *.example.com.
func (t *Traefik) SecureURL(path string) string { return "https://" + t.addrs[WebSecure] + path }

// APIURL returns the address of path on [API].
func (t *Traefik) APIURL(path string) string { return "http://" + t.addrs[API] + path }

// CA returns the authority of the certificate on [WebSecure].
func (t *Traefik) CA() *CA { return t.ca }

// Client returns an HTTP client that adds nothing of its own but a User-Agent:
// no proxy, no Accept-Encoding, no redirects followed. It keeps connections.
func (t *Traefik) Client() *http.Client { return t.client }

func newClient(ca *CA) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: ca.Pool()},
			ForceAttemptHTTP2:   true,
			DisableCompression:  true,
			MaxIdleConnsPerHost: 100,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Release says which Traefik it is.
func (t *Traefik) Release() Release { return t.release }

// PID returns the process's id.
func (t *Traefik) PID() int { return t.process.cmd.Process.Pid }

// Dir returns Traefik's working directory, which Stop removes.
func (t *Traefik) Dir() string { return t.dir }

func (t *Traefik) logFile() string { return filepath.Join(t.dir, "traefik.log") }

// Log returns all that Traefik has logged, plugins' lines included. It may be
// called before and after Stop.
func (t *Traefik) Log() string {
	t.logMu.Lock()
	defer t.logMu.Unlock()
	if t.finalLog != nil {
		return *t.finalLog
	}
	text, err := os.ReadFile(t.logFile())
	if err != nil {
		return ""
	}
	return string(text)
}

// LogTail returns the last n lines of the log.
func (t *Traefik) LogTail(n int) string { return tail(t.Log(), n) }

// WaitLog returns when the log contains text, at any place since the start.
// It fails when ctx ends or Traefik does.
func (t *Traefik) WaitLog(ctx context.Context, text string) error {
	for {
		over := t.process.exited() // asked first, so that the last lines count
		if strings.Contains(t.Log(), text) {
			return nil
		}
		if over {
			return fmt.Errorf("testbed: Traefik ended without logging %q\n%s", text, t.LogTail(20))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("testbed: %q is not in Traefik's log: %w\n%s", text, ctx.Err(), t.LogTail(20))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
