// Package ext has the types by which other builds of Traefik extend its dynamic
// configuration. This one has nothing to add.
package ext

// HTTP extends the http part of it.
type HTTP struct{}

// Router extends an HTTP router.
type Router struct{}
