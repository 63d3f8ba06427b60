// Package docker brings the Docker example up in the engine of this machine,
// its files unchanged, and drives it from outside.
//
// Nothing is pulled. The images that the files name are made here, under the
// names that the files give them. What the engine had under these names before
// is there again afterwards, and nothing else is left: not after a failure, not
// after Ctrl-C, and after a kill not beyond the next run.
package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// name is the Compose project's and the stack's.
const name = "mirror-test"

const (
	patience = 90 * time.Second // for what should come within seconds
	longest  = 25 * time.Minute // for everything; below the -timeout of go test, which cleans nothing up
)

// session ends when the run is to end: by Ctrl-C, or because it takes too long.
// Its end fails the test that is running, whose cleanup does not depend on it.
var session context.Context

// installed are the Composes of this machine, at least one.
var installed []composer

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // what reads the output may be gone before this is
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	session = ctx
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "docker:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run runs the tests between what they need and its removal.
func run(m *testing.M) (code int, err error) {
	if err := checkMachine(); err != nil {
		return 0, err
	}
	unlock, err := lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	defer func() { err = errors.Join(err, removeProject()) }()
	if err := errors.Join(leaveOwnSwarm(), removeProject()); err != nil {
		return 0, fmt.Errorf("removing what an earlier run has left: %w", err)
	}
	names, err := makeImages()
	defer func() { err = errors.Join(err, giveBack(names)) }()
	if err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// checkMachine finds the engine and the Composes.
func checkMachine() error {
	if runtime.GOOS != "linux" {
		return errors.New("these tests put programs built here into Linux containers, so they need Linux")
	}
	if _, err := exec.LookPath("docker"); err != nil {
		return errors.New("there is no docker command; Debian has it in the package docker.io")
	}
	if _, err := docker("version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("no Docker engine answers; systemctl start docker starts it on most systems: %w", err)
	}
	for _, c := range []composer{{"docker", "compose"}, {"docker-compose"}} {
		if version, err := command(session, nil, nil, append(c, "version", "--short")...); err == nil {
			fmt.Printf("%s is version %s\n", c, strings.TrimSpace(version))
			installed = append(installed, c)
		}
	}
	if len(installed) == 0 {
		return errors.New("there is no Docker Compose, neither docker compose nor docker-compose; Debian has it in the package docker-compose")
	}
	return nil
}

// lock keeps two runs apart, which would share the project's and the images'
// names.
func lock() (unlock func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "trafficshadow-mirror")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "docker.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another run of these tests has %s locked: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// docker runs the docker command, for something that takes seconds, unless the
// session ends.
func docker(args ...string) (string, error) { return dockerWhile(session, args...) }

// cleaning is docker, whether the session ends or not.
func cleaning(args ...string) (string, error) { return dockerWhile(context.Background(), args...) }

func dockerWhile(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return command(ctx, nil, nil, append([]string{"docker"}, args...)...)
}

// command runs a command with additions to the environment and returns its
// standard output; the error has what it wrote on standard error.
func command(ctx context.Context, env []string, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = stdin
	// Ctrl-C is for this process alone, which has more commands to run then. A
	// command is interrupted when its context ends, and killed if that is no use.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// removeProject removes the containers and networks of the Compose project,
// by whatever Compose they were made.
func removeProject() error {
	const filter = "label=com.docker.compose.project=" + name
	return errors.Join(
		removeAll([]string{"container", "ls", "--all", "--quiet", "--filter", filter}, "container", "rm", "--force", "--volumes"),
		removeAll([]string{"network", "ls", "--quiet", "--filter", filter}, "network", "rm"),
	)
}

// removeAll runs the command remove on what the command list lists, if it does
// list something.
func removeAll(list []string, remove ...string) error {
	ids, err := cleaning(list...)
	if err != nil || strings.TrimSpace(ids) == "" {
		return err
	}
	_, err = cleaning(append(remove, strings.Fields(ids)...)...)
	return err
}
