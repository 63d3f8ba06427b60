//go:build !linux

package catalog

import (
	"errors"
	"runtime"
)

// forbidSockets fails: without it, nothing would show that New needs no network.
func forbidSockets() error {
	return errors.New("catalog: a plugin can be watched for sockets on Linux only, not on " + runtime.GOOS)
}
