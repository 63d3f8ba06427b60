//go:build !linux

package testbed

import "syscall"

// dieWithParent is Linux's alone: elsewhere a killed test leaves its Traefik.
func dieWithParent() *syscall.SysProcAttr { return nil }
