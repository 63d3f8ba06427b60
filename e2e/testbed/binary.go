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

	"golang.org/x/sys/unix"
)

const traefikPackage = "github.com/traefik/traefik/v3/cmd/traefik"

// Binary returns the path of the Traefik to run. It is TRAEFIK_BIN where that
// is set; otherwise the one that e2e/traefik/go.mod pins, built on first use
// into the user's cache folder, where every later run and every other process
// finds it.
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
	root, err := RepoRoot()
	if err != nil {
		return "", err
	}
	module := filepath.Join(root, "e2e", "traefik")
	version, dir, err := binaryCache(ctx, module)
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
		logf("testbed: another process builds Traefik %s, waiting for it", version)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	if executable(bin) == nil {
		return bin, nil // built by whoever held the lock
	}
	if err := build(ctx, module, version, bin, logf); err != nil {
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

// binaryCache names the folder that holds the binary built from module. All
// that decides what the binary does is in the name, so that a changed pin or
// Go version never meets a stale binary.
func binaryCache(ctx context.Context, module string) (version, dir string, err error) {
	mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", "", fmt.Errorf("testbed: Traefik's pin: %w", err)
	}
	for _, line := range strings.Split(string(mod), "\n") {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == "github.com/traefik/traefik/v3" {
			version = fields[1]
			break
		}
	}
	if version == "" {
		return "", "", fmt.Errorf("testbed: %s/go.mod does not require github.com/traefik/traefik/v3", module)
	}
	out, err := goCommand(ctx, module, "env", "GOVERSION").Output()
	if err != nil {
		return "", "", fmt.Errorf("testbed: go env GOVERSION: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", "", fmt.Errorf("testbed: no cache folder for Traefik: %w", err)
	}
	name := fmt.Sprintf("traefik-%s-%s-%.4x", version, strings.TrimSpace(string(out)), sha256.Sum256(mod))
	return version, filepath.Join(cache, "trafficshadow-mirror", name), nil
}

func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// A workspace of the developer's would override the pin.
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "PWD="+dir)
	// Interrupted, go stops its compilers; killed, it would leave them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// build compiles to a name of its own first: whoever looks for bin without the
// lock finds a whole binary or none.
func build(ctx context.Context, module, version, bin string, logf func(string, ...any)) error {
	partial := bin + ".partial"
	defer os.Remove(partial)
	logf("testbed: building Traefik %s, once, into %s", version, bin)
	logf("testbed: this takes 5 to 6 minutes on two cores, 40 s where Go's build cache is warm; TRAEFIK_BIN=<path> skips it")

	var output bytes.Buffer
	cmd := goCommand(ctx, module, "build", "-buildvcs=false", "-o", partial, traefikPackage)
	cmd.Stdout, cmd.Stderr = &output, &output
	begun := time.Now()
	stop := every(5*time.Second, func() {
		logf("testbed: building Traefik %s: %s so far", version, time.Since(begun).Round(time.Second))
	})
	err := cmd.Run()
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w after %s", version, ctx.Err(), time.Since(begun).Round(time.Second))
	}
	if err != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w\n%s", version, err, tail(output.String(), 30))
	}
	if err := os.Rename(partial, bin); err != nil {
		return fmt.Errorf("testbed: building Traefik %s: %w", version, err)
	}
	logf("testbed: Traefik %s built in %s", version, time.Since(begun).Round(time.Second))
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
