module github.com/trafficshadow/mirror/examples/docker/billing

go 1.22.0
