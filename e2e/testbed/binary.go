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

	"github.com/gofrs/flock"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
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
// The build is in a folder of that cache folder, never in the repository, since
// some of what a pin needs is put together there: see [standIn].
//
// Where the pin's go.mod has a toolchain line, that Go builds it and no other,
// neither older nor newer: a release is tested on the Go that it came with,
// whose net/http it stands on and whose standard library it shows to plugins.
// The go command fetches it like a module.
//
// A build says so through logf, line by line; with a nil logf on standard
// error, because minutes of silence look like a hang.
func Binary(ctx context.Context, logf func(format string, args ...any)) (string, error) {
	if bin := os.Getenv("TRAEFIK_BIN"); bin != "" {
		return givenBinary(bin)
	}
	p, err := readPin(os.Getenv("TRAEFIK_PIN"))
	if err != nil {
		return "", err
	}
	if logf == nil {
		return p.binary(ctx, progressOn(os.Stderr))
	}
	return p.binary(ctx, progressIn(logf))
}

// binary returns the path of the pin's Traefik, which it builds if need be.
func (p pin) binary(ctx context.Context, told *progress) (string, error) {
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
		told.say("testbed: another process builds Traefik %s, waiting for it", p.version)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if executable(bin) == nil {
		return bin, nil // built by whoever held the lock
	}
	if err := p.build(ctx, dir, bin, told); err != nil {
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
	mod, sum  []byte // its go.mod and go.sum
	module    string // Traefik's, github.com/traefik/traefik/v3 or /v2
	version   string
	toolchain string // the Go to build it with; empty for the one in use
	standIns  []standIn
}

// readPin reads the pin in the folder called name below e2e, or the default one.
func readPin(name string) (pin, error) {
	if name == "" {
		name = defaultPin
	}
	root, err := RepoRoot()
	if err != nil {
		return pin{}, err
	}
	return pinIn(filepath.Join(root, "e2e", name))
}

// pinIn reads the pin in the folder dir.
func pinIn(dir string) (pin, error) {
	p := pin{dir: dir}
	path := filepath.Join(dir, "go.mod")
	var err error
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
	if p.sum, err = os.ReadFile(filepath.Join(dir, "go.sum")); err != nil {
		return pin{}, fmt.Errorf("testbed: Traefik's pin: %w", err)
	}
	if p.standIns, err = readStandIns(dir, file, p.sum); err != nil {
		return pin{}, fmt.Errorf("testbed: Traefik's pin: %w", err)
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
		out, err := p.goCommand(ctx, p.dir, "env", "GOVERSION").Output()
		if err != nil {
			return "", fmt.Errorf("testbed: go env GOVERSION: %w%s", err, complaint(err))
		}
		goVersion = strings.TrimSpace(string(out))
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("testbed: no cache folder for Traefik: %w", err)
	}
	key := sha256.New()
	key.Write(p.mod)
	for _, s := range p.standIns {
		fmt.Fprintln(key, s.name, s.hash, s.sum)
	}
	name := fmt.Sprintf("traefik-%s-%s-%.4x", p.version, goVersion, key.Sum(nil))
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

func (p pin) goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// A workspace of the developer's would override the pin.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "PWD="+dir)
	if p.toolchain != "" {
		// The line alone would only set the oldest that will do.
		cmd.Env = append(cmd.Env, "GOTOOLCHAIN="+p.toolchain)
	}
	// Interrupted, go stops its compilers; killed, it would leave them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// build makes bin in the cache folder dir, of which the caller holds the lock.
// It compiles to a name of its own first: whoever looks for bin without the lock
// finds a whole binary or none.
func (p pin) build(ctx context.Context, dir, bin string, told *progress) error {
	partial := bin + ".partial"
	defer os.Remove(partial)
	told.say("testbed: building Traefik %s, once, into %s", p.version, bin)
	told.say("testbed: this takes about 5 minutes on two cores, 40 s where Go's build cache is warm; TRAEFIK_BIN=<path> skips it")

	begun := time.Now()
	took := func() time.Duration { return time.Since(begun).Round(time.Second) }
	stop := told.keepSaying(func() string {
		return fmt.Sprintf("testbed: building Traefik %s: %s so far", p.version, took())
	})
	err := p.compile(ctx, dir, partial)
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w after %s", p.version, ctx.Err(), took())
	}
	if err == nil {
		err = os.Rename(partial, bin)
	}
	if err != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w", p.version, err)
	}
	told.say("testbed: Traefik %s built in %s", p.version, took())
	return nil
}

// compile builds the pin's Traefik to the path out, in a work folder below dir.
func (p pin) compile(ctx context.Context, dir, out string) error {
	work := filepath.Join(dir, "work")
	defer os.RemoveAll(work)
	if err := p.layOut(ctx, work); err != nil {
		return err
	}
	var output bytes.Buffer
	cmd := p.goCommand(ctx, work, "build", "-buildvcs=false", "-o", out, p.module+"/cmd/traefik")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(output.String(), 30))
	}
	return nil
}

// lock takes the file lock at path, calling waiting once if somebody else has it.
func lock(ctx context.Context, path string, waiting func()) (unlock func() error, err error) {
	file := flock.New(path)
	got, err := file.TryLock()
	if err == nil && !got {
		waiting()
		_, err = file.TryLockContext(ctx, 200*time.Millisecond)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("testbed: lock %s: %w", path, err)
	}
	return file.Close, nil
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
