package mirror

import (
	"testing"

	labelparser "github.com/traefik/paerser/parser"
)

// This file is left out of the interpreted run: paerser cannot be interpreted.

func TestConfigFromLabels(t *testing.T) {
	const prefix = "traefik.http.middlewares.billing.plugin.mirror."
	labels := map[string]string{
		prefix + "url":                                "http://billing-next:8080/v2",
		prefix + "percent":                            "12.5",
		prefix + "sampleBy":                           "header:X-Customer-Id",
		prefix + "methods":                            "POST, PUT , PATCH",
		prefix + "mirrorBody":                         "true",
		prefix + "maxbodysize":                        "512KiB", // case does not matter
		prefix + "maxInFlight":                        "250",
		prefix + "timeout":                            "3",
		prefix + "passHostHeader":                     "false",
		prefix + "customRequestHeaders.Authorization": "",
		prefix + "customRequestHeaders.X-Environment": "shadow",
		prefix + "tls.serverName":                     "billing.internal",
		prefix + "tls.insecureSkipVerify":             "true",
		prefix + "tls.rootCAs":                        authorityFile(t) + " , " + authorityFile(t),
		prefix + "compare.ignore":                     "$.id, $.lines[*].updatedAt",
		prefix + "compare.headers":                    "cache-control,Location",
		prefix + "compare.maxBodySize":                "128KiB",
		prefix + "compare.show":                       "none",
	}
	config := decodeLabels(t, labels)
	o, err := config.parse()
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if o.target.String() != "http://billing-next:8080/v2" || o.percent != 12.5 || o.sampleBy != "header:X-Customer-Id" ||
		len(o.methods) != 3 || !o.methods["PUT"] || !o.methods["PATCH"] || !o.mirrorBody || o.maxBodySize != 512<<10 ||
		o.maxInFlight != 250 || o.timeout.Seconds() != 3 || o.passHostHeader {
		t.Errorf("got %+v", o)
	}
	if o.setHeaders.Get("X-Environment") != "shadow" || len(o.removeHeaders) != 1 || o.removeHeaders[0] != "Authorization" {
		t.Errorf("headers to set %v, to remove %v; want X-Environment and Authorization", o.setHeaders, o.removeHeaders)
	}
	if o.tlsConfig.ServerName != "billing.internal" || !o.tlsConfig.InsecureSkipVerify || o.tlsConfig.RootCAs == nil {
		t.Errorf("tls: got %+v", o.tlsConfig)
	}
	if r := o.compare; r == nil || len(r.Ignore) != 2 || r.Ignore[1].String() != "$.lines[*].updatedAt" || len(r.Headers) != 2 ||
		r.Headers[0] != "Cache-Control" || r.MaxBodySize != 128<<10 || r.Show != "none" || r.Body != "json" || o.compareShare != 1 {
		t.Errorf("compare: got %+v", r)
	}
}

func TestConfigFromTheFewestLabels(t *testing.T) {
	config := decodeLabels(t, map[string]string{"traefik.http.middlewares.billing.plugin.mirror.url": "http://billing-next"})
	o, err := config.parse()
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if o.percent != 100 || o.maxBodySize != 1<<20 || !o.mirrorBody {
		t.Errorf("got %+v, want the defaults", o)
	}
}

// decodeLabels fills the plugin's Config from labels with the parser that
// Traefik reads them with.
func decodeLabels(t *testing.T, labels map[string]string) *Config {
	t.Helper()
	type middlewareLabels struct{ Plugin struct{ Mirror *Config } }
	type httpLabels struct {
		Middlewares map[string]*middlewareLabels
	}
	var traefik struct{ HTTP *httpLabels }
	traefik.HTTP = &httpLabels{Middlewares: map[string]*middlewareLabels{"billing": {}}}
	traefik.HTTP.Middlewares["billing"].Plugin.Mirror = CreateConfig()
	if err := labelparser.Decode(labels, &traefik, "traefik", "traefik.http"); err != nil {
		t.Fatalf("decoding labels: %v", err)
	}
	decoded := traefik.HTTP.Middlewares["billing"].Plugin.Mirror
	// Traefik fills the defaults' struct; paerser makes a new one.
	defaults := CreateConfig()
	for _, f := range []struct{ to, from *string }{
		{&decoded.Percent, &defaults.Percent}, {&decoded.MirrorBody, &defaults.MirrorBody}, {&decoded.MaxBodySize, &defaults.MaxBodySize},
		{&decoded.MaxInFlight, &defaults.MaxInFlight}, {&decoded.Timeout, &defaults.Timeout}, {&decoded.MaxPause, &defaults.MaxPause}, {&decoded.BodyMode, &defaults.BodyMode}, {&decoded.PassHostHeader, &defaults.PassHostHeader},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	return decoded
}
