// The end-to-end tests, the demo and the benchmarks: a module of its own so
// that what they need never reaches the plugin's requirements.
module github.com/trafficshadow/mirror/e2e

go 1.25.0

require (
	github.com/traefik/yaegi v0.16.1
	go.yaml.in/yaml/v3 v3.0.6
	golang.org/x/mod v0.34.0
	golang.org/x/sys v0.42.0
	golang.org/x/tools v0.43.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	golang.org/x/sync v0.20.0 // indirect
)
