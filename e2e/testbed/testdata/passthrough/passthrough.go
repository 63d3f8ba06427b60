// Package passthrough is the smallest Traefik plugin that there can be: it
// hands every request on as it came. Measured against it, a plugin's own cost
// stands apart from the price of being interpreted at all.
package passthrough

import (
	"context"
	"net/http"
)

// Config has no options: Traefik refuses a middleware that sets any.
type Config struct{}

// CreateConfig returns the empty configuration.
func CreateConfig() *Config { return &Config{} }

type passThrough struct{ next http.Handler }

// New returns a handler that does nothing but call next. It never fails.
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	return &passThrough{next: next}, nil
}

func (p *passThrough) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	p.next.ServeHTTP(rw, req)
}
