package testbed

import "syscall"

// dieWithParent has the kernel kill the child when the thread that started it
// ends, so that nothing stays behind a test binary that was killed.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
