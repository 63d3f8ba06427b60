package testbed

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is a child that is waited for from the moment it starts. state and
// err are set when done is closed.
type process struct {
	cmd   *exec.Cmd
	done  chan struct{}
	state *os.ProcessState
	err   error
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go func() {
		// The child dies with the thread that started it, so the thread has to
		// last as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		p.state = cmd.ProcessState
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// terminate asks first and kills after patience. The child is gone when it
// returns.
func (p *process) terminate(patience time.Duration) {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return
	case <-time.After(patience):
	}
	p.cmd.Process.Kill()
	<-p.done
}
