//go:build !linux

package observability

import "syscall"

func endWithParent() *syscall.SysProcAttr { return nil }
