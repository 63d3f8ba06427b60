// Package strict is a Traefik plugin whose New refuses what it does not know
// and whose handler panics in a goroutine of its own on request: the two ways
// in which a plugin fails that a test of Traefik's log has to tell apart.
package strict

import (
	"context"
	"fmt"
	"net/http"
)

// Config is the plugin's configuration.
type Config struct {
	// Ledger has to be "invoices".
	Ledger string
}

// CreateConfig returns the empty configuration, which New refuses.
func CreateConfig() *Config { return &Config{} }

type strict struct{ next http.Handler }

// New returns an error that names the ledger unless it is "invoices".
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	if config.Ledger != "invoices" {
		return nil, fmt.Errorf("ledger: %q is not known, it has to be invoices", config.Ledger)
	}
	return &strict{next: next}, nil
}

func (s *strict) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/crash" {
		go func() { panic("ledger closed") }()
	}
	s.next.ServeHTTP(rw, req)
}
