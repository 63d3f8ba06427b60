package mirror

import (
	"net/http"
	"strings"
	"testing"
)

func TestShadowRequestHeaders(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
		sent http.Header
		want http.Header // a nil value: absent
	}{
		{"hop-by-hop headers end here", nil,
			http.Header{"Connection": {"close, X-Session"}, "X-Session": {"s"}, "Keep-Alive": {"9"}, "Te": {"trailers, deflate"}, "Proxy-Authorization": {"Basic eA=="}},
			http.Header{"Connection": nil, "X-Session": nil, "Keep-Alive": nil, "Te": {"trailers"}, "Proxy-Authorization": nil}},
		{"trailers are taken though Connection names TE", nil,
			http.Header{"Connection": {"TE"}, "Te": {"trailers"}}, http.Header{"Connection": nil, "Te": {"trailers"}}},
		{"the marker cannot be removed", nil,
			http.Header{"Connection": {"X-Mirrored-By"}},
			http.Header{"X-Mirrored-By": {"TestShadowRequestHeaders/the_marker_cannot_be_removed"}}},
		{"the client's address is appended", nil,
			http.Header{"X-Forwarded-For": {"203.0.113.7"}}, http.Header{"X-Forwarded-For": {"203.0.113.7, 192.0.2.1"}}},
		{"values stay separate and in order", nil,
			http.Header{"X-Line": {"b", "", "a"}}, http.Header{"X-Line": {"b", "", "a"}}},
		{"Accept-Encoding as Traefik asks for it", nil, http.Header{}, http.Header{"Accept-Encoding": {"gzip"}}},
		{"the client's Accept-Encoding", nil, http.Header{"Accept-Encoding": {"br"}}, http.Header{"Accept-Encoding": {"br"}}},
		{"no User-Agent stays none", nil, http.Header{}, http.Header{"User-Agent": nil}},
		{"set", func(c *Config) {
			c.set("customRequestHeaders", map[string]string{"x-environment": "shadow", "X-Line": "one"})
		},
			http.Header{"X-Line": {"a", "b"}}, http.Header{"X-Environment": {"shadow"}, "X-Line": {"one"}}},
		{"removed though the transport would add them", func(c *Config) {
			c.set("customRequestHeaders", map[string]string{"User-Agent": "", "Accept-Encoding": ""})
		},
			http.Header{"User-Agent": {"curl/8"}, "Accept-Encoding": {"gzip"}}, http.Header{"User-Agent": nil, "Accept-Encoding": nil}},
		{"a range is asked for as it is", nil, http.Header{"Range": {"bytes=0-9"}}, http.Header{"Accept-Encoding": nil}},
		{"removed", func(c *Config) {
			c.set("customRequestHeaders", map[string]string{"authorization": "", "Cookie": "", "X-Forwarded-For": ""})
		},
			http.Header{"Authorization": {"Bearer x"}, "Cookie": {"session=1"}},
			http.Header{"Authorization": nil, "Cookie": nil, "X-Forwarded-For": nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, called(t, 1, func(_ http.ResponseWriter, req *http.Request) {
				for name := range tt.sent {
					if strings.Join(req.Header[name], "|") != strings.Join(tt.sent[name], "|") {
						t.Errorf("live got %s %q, want %q as sent", name, req.Header[name], tt.sent[name])
					}
				}
			}), tt.set)
			req := postInvoice()
			for name, value := range tt.sent {
				req.Header[name] = value
			}
			serve(h, req)
			got := shadow.wait(t, 1)[0]
			for name, want := range tt.want {
				if strings.Join(got.header[name], "|") != strings.Join(want, "|") || len(got.header[name]) != len(want) {
					t.Errorf("shadow got %s %q, want %q", name, got.header[name], want)
				}
			}
		})
	}
}

func TestShadowAddress(t *testing.T) {
	tests := []struct {
		name, base, target string
		set                func(*Config)
		wantURI, wantHost  string // wantHost "": the shadow's own
	}{
		{"no base path", "", "/invoices", nil, "/invoices", "example.com"},
		{"slash", "/", "/invoices", nil, "/invoices", "example.com"},
		{"base path", "/v2", "/invoices?a=1", nil, "/v2/invoices?a=1", "example.com"},
		{"base path with a slash", "/v2/", "/invoices", nil, "/v2/invoices", "example.com"},
		{"escapes on both sides", "/v%2F2", "/a%2Fb", nil, "/v%2F2/a%2Fb", "example.com"},
		{"root", "/v2", "/", nil, "/v2/", "example.com"},
		{"the shadow's Host", "", "/invoices", func(c *Config) { c.set("passHostHeader", "false") }, "/invoices", ""},
		{"a Host of its own", "", "/invoices", func(c *Config) { c.set("customRequestHeaders", map[string]string{"host": "shadow.example"}) }, "/invoices", "shadow.example"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL+tt.base, echoLive, tt.set)
			req := postInvoice()
			req.URL, _ = req.URL.Parse(tt.target)
			req.RequestURI = tt.target
			serve(h, req)
			got := shadow.wait(t, 1)[0]
			wantHost := tt.wantHost
			if wantHost == "" {
				wantHost = strings.TrimPrefix(shadow.URL, "http://")
			}
			if got.uri != tt.wantURI || got.host != wantHost {
				t.Errorf("shadow got %s for host %s, want %s for %s", got.uri, got.host, tt.wantURI, wantHost)
			}
		})
	}
}

func TestPanicInTheShadowLegIsContained(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", "1") })
	m := mirrorCalled(t, t.Name())
	// The worker sees this once it has received a copy.
	m.shadow.director = func(*http.Request) { panic("no invoices on Sundays") }
	m.shadow.joins = true
	for i := 1; i <= 3; i++ {
		if rec := serve(h, postInvoice()); rec.Code != http.StatusCreated {
			t.Errorf("client got %d, want 201", rec.Code)
		}
		settled(t, t.Name())
	}
	if m.counts.failed.Load() != 3 {
		t.Errorf("failed %d, want 3", m.counts.failed.Load())
	}
	if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], "panic in the plugin") {
		t.Errorf("logged %q, want one line that names the panic", lines)
	}
	m.shadow.joins = false
	serve(h, postInvoice())
	shadow.wait(t, 1)
	settled(t, t.Name())
}
