package main

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// processorTime returns the user and system time of Traefik's process: what
// /proc/PID/stat has, from the process's clock, which counts nanoseconds and
// not hundredths of a second.
func processorTime(t *testbed.Traefik) (time.Duration, error) {
	var ts unix.Timespec
	// See clock_getcpuclockid(3) and CPUCLOCK_SCHED in the kernel's
	// posix-timers.h: another process's clock is its id, inverted, above three
	// bits of kind.
	if err := unix.ClockGettime(int32(^t.PID()<<3|2), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}
