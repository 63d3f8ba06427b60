module github.com/trafficshadow/mirror

go 1.22.0

require github.com/traefik/paerser v0.2.2
