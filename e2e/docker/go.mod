// The test of the Docker example: a module of its own so that it is not among
// the tests that run without Docker, and for what Compose's loader requires.
module github.com/trafficshadow/mirror/e2e/docker

go 1.26.0

require (
	github.com/compose-spec/compose-go/v2 v2.9.1
	github.com/trafficshadow/mirror/e2e v0.0.0
	golang.org/x/sys v0.47.0
)

require (
	github.com/distribution/reference v0.5.0 // indirect
	github.com/docker/go-connections v0.4.0 // indirect
	github.com/docker/go-units v0.5.0 // indirect
	github.com/go-viper/mapstructure/v2 v2.4.0 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/mattn/go-shellwords v1.0.12 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.1 // indirect
	github.com/sirupsen/logrus v1.9.0 // indirect
	github.com/trafficshadow/mirror v0.0.0 // indirect
	github.com/xhit/go-str2duration/v2 v2.1.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/mod v0.37.0 // indirect
	golang.org/x/net v0.56.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/text v0.40.0 // indirect
)

replace (
	github.com/trafficshadow/mirror => ../../
	github.com/trafficshadow/mirror/e2e => ../
)
