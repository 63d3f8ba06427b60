// Stands in for a module inside Traefik's repository, which Traefik's own go.mod
// replaces by its folder. The proxy's copy of Traefik has no folder that is a
// module of its own.
module github.com/traefik/traefik/dynamic/ext

go 1.26.0
