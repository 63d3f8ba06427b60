package testbed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/sys/unix"
)

// defaultPin is the folder below e2e whose go.mod pins the Traefik that is run
// where nothing else is asked for.
const defaultPin = "traefik"

// Binary returns the path of the Traefik to run. It is TRAEFIK_BIN where that
// is set; otherwise the one that the module e2e/TRAEFIK_PIN/go.mod pins, such
// as traefik30, and e2e/traefik/go.mod where that is not set either. It is
// built on first use into the user's cache folder, one folder for each pin,
// where every later run and every other process finds it.
//
// Where the pin's go.mod has a toolchain line, that Go builds it and no other,
// neither older nor newer: a release is tested on the Go that it came with,
// whose net/http it stands on and whose standard library it shows to plugins.
// The go command fetches it like a module.
//
// A build says so through logf, line by line; with a nil logf on standard
// error, because minutes of silence look like a hang.
func Binary(ctx context.Context, logf func(format string, args ...any)) (string, error) {
	if logf == nil {
		logf = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	}
	if bin := os.Getenv("TRAEFIK_BIN"); bin != "" {
		return givenBinary(bin)
	}
	p, err := readPin(os.Getenv("TRAEFIK_PIN"))
	if err != nil {
		return "", err
	}
	dir, err := p.cache(ctx)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "traefik")
	if executable(bin) == nil {
		return bin, nil
	}

	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("testbed: Traefik's cache folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"), func() {
		logf("testbed: another process builds Traefik %s, waiting for it", p.version)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if executable(bin) == nil {
		return bin, nil // built by whoever held the lock
	}
	if err := p.build(ctx, bin, logf); err != nil {
		return "", err
	}
	return bin, nil
}

func givenBinary(bin string) (string, error) {
	abs, err := filepath.Abs(bin)
	if err != nil {
		return "", fmt.Errorf("testbed: TRAEFIK_BIN: %w", err)
	}
	if err := executable(abs); err != nil {
		return "", fmt.Errorf("testbed: TRAEFIK_BIN: %w", err)
	}
	return abs, nil
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not an executable file", path)
	}
	return nil
}

// A pin is a module that requires one release of Traefik.
type pin struct {
	dir       string
	mod       []byte // its go.mod
	module    string // Traefik's, github.com/traefik/traefik/v3 or /v2
	version   string
	toolchain string // the Go to build it with; empty for the one in use
}

// readPin reads the module in the folder called name below e2e, or the default
// one.
func readPin(name string) (pin, error) {
	if name == "" {
		name = defaultPin
	}
	root, err := RepoRoot()
	if err != nil {
		return pin{}, err
	}
	p := pin{dir: filepath.Join(root, "e2e", name)}
	path := filepath.Join(p.dir, "go.mod")
	if p.mod, err = os.ReadFile(path); err != nil {
		return pin{}, fmt.Errorf("testbed: Traefik's pin (TRAEFIK_PIN is a folder below e2e): %w", err)
	}
	file, err := modfile.Parse(path, p.mod, nil)
	if err != nil {
		return pin{}, fmt.Errorf("testbed: Traefik's pin: %w", err)
	}
	for _, require := range file.Require {
		if isTraefik(require.Mod.Path) {
			p.module, p.version = require.Mod.Path, require.Mod.Version
		}
	}
	if p.version == "" {
		return pin{}, fmt.Errorf("testbed: %s does not require github.com/traefik/traefik", path)
	}
	if file.Toolchain != nil {
		p.toolchain = file.Toolchain.Name
	}
	return p, nil
}

func isTraefik(path string) bool {
	prefix, _, ok := module.SplitPathVersion(path)
	return ok && prefix == "github.com/traefik/traefik"
}

// cache names the folder that holds the binary. All that decides what the
// binary does is in the name, so that a changed pin or Go version never meets
// a stale binary.
func (p pin) cache(ctx context.Context) (string, error) {
	goVersion := p.toolchain
	if goVersion == "" {
		out, err := p.goCommand(ctx, "env", "GOVERSION").Output()
		if err != nil {
			return "", fmt.Errorf("testbed: go env GOVERSION: %w%s", err, complaint(err))
		}
		goVersion = strings.TrimSpace(string(out))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("testbed: no cache folder for Traefik: %w", err)
	}
	name := fmt.Sprintf("traefik-%s-%s-%.4x", p.version, goVersion, sha256.Sum256(p.mod))
	return filepath.Join(cache, "trafficshadow-mirror", name), nil
}

// complaint is what a command that failed wrote to standard error.
func complaint(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return "\n" + tail(string(exit.Stderr), 30)
	}
	return ""
}

func (p pin) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = p.dir
	// A workspace of the developer's would override the pin.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "PWD="+p.dir)
	if p.toolchain != "" {
		// The line alone would only set the oldest that will do.
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+p.toolchain)
	}
	// Interrupted, go stops its compilers; killed, it would leave them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// build compiles to a name of its own first: whoever looks for bin without the
// lock finds a whole binary or none.
func (p pin) build(ctx context.Context, bin string, logf func(string, ...any)) error {
	partial := bin + ".partial"
	defer os.Remove(partial)
	logf("testbed: building Traefik %s, once, into %s", p.version, bin)
	logf("testbed: this takes 5 to 6 minutes on two cores, 40 s where Go's build cache is warm; TRAEFIK_BIN=<path> skips it")

	var output bytes.Buffer
	cmd := p.goCommand(ctx, "build", "-buildvcs=false", "-o", partial, p.module+"/cmd/traefik")
	cmd.Stdout, cmd.Stderr = &output, &output
	begun := time.Now()
	stop := every(5*time.Second, func() {
		logf("testbed: building Traefik %s: %s so far", p.version, time.Since(begun).Round(time.Second))
	})
	err := cmd.Run()
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w after %s", p.version, ctx.Err(), time.Since(begun).Round(time.Second))
	}
	if err != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w\n%s", p.version, err, tail(output.String(), 30))
	}
	if err := os.Rename(partial, bin); err != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w", p.version, err)
	}
	logf("testbed: Traefik %s built in %s", p.version, time.Since(begun).Round(time.Second))
	return nil
}

// every calls f at intervals until the function it returns is called.
func every(interval time.Duration, f func()) (stop func()) {
	ticker := time.NewTicker(interval)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

// lock takes the file lock at path, calling waiting once if somebody else has
// it. It polls, since a blocking flock would not heed ctx.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("testbed: lock: %w", err)
	}
	for told := false; ; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("testbed: lock %s: %w", path, err)
		}
		if !told {
			waiting()
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("testbed: lock %s: %w", path, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
