// Package rewrite is a plugin that changes what a request is for, and leaves the rest
// of the request as it is, however little that agrees.
package rewrite

import (
	"context"
	"net/http"
)

// Config says what each field becomes. Empty ones are left alone, and those named
// in Clear, by their names in Go, are emptied.
type Config struct {
	RequestURI string   `json:"requestURI"`
	Path       string   `json:"path"`
	RawPath    string   `json:"rawPath"`
	RawQuery   string   `json:"rawQuery"`
	Opaque     string   `json:"opaque"`
	URLHost    string   `json:"urlHost"`
	Host       string   `json:"host"`
	Method     string   `json:"method"`
	Clear      []string `json:"clear"`
}

// CreateConfig returns a configuration that changes nothing.
func CreateConfig() *Config { return &Config{} }

// New returns the middleware.
func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		set(&req.RequestURI, config.RequestURI)
		set(&req.URL.Path, config.Path)
		set(&req.URL.RawPath, config.RawPath)
		set(&req.URL.RawQuery, config.RawQuery)
		set(&req.URL.Opaque, config.Opaque)
		set(&req.URL.Host, config.URLHost)
		set(&req.Host, config.Host)
		set(&req.Method, config.Method)
		for _, field := range config.Clear {
			if field == "RequestURI" {
				req.RequestURI = ""
			}
			if field == "Path" {
				req.URL.Path = ""
			}
		}
		next.ServeHTTP(rw, req)
	}), nil
}

func set(field *string, value string) {
	if value != "" {
		*field = value
	}
}
