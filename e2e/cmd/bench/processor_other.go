//go:build !linux

package main

import (
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func processorTime(t *testbed.Traefik) (time.Duration, error) { return t.CPU() }
