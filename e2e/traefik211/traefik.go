//go:build tools

// Package traefik211 is never built. It imports Traefik so that go mod tidy keeps
// what that requires; the Go of this release knows no tool line in go.mod yet.
package traefik211

import _ "github.com/traefik/traefik/v2/cmd/traefik"
