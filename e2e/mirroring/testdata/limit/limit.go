// Package limit is a plugin that bounds the request's body the way a handler
// of net/http does: whoever reads too much of it gets an *http.MaxBytesError.
package limit

import (
	"context"
	"net/http"
)

// Config holds the bound, in bytes.
type Config struct {
	Bytes int64 `json:"bytes"`
}

// CreateConfig returns a bound of 1024 bytes.
func CreateConfig() *Config { return &Config{Bytes: 1024} }

// New returns the middleware.
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(rw, req.Body, config.Bytes)
		next.ServeHTTP(rw, req)
	}), nil
}
