package mirror

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOffersThatMayBeDeclinedAreMirroredWithoutThem(t *testing.T) {
	tests := []struct {
		name, connection, upgrade string
		mirrored                  bool
	}{
		{"HTTP/2, as Java's client offers it", "Upgrade, HTTP2-Settings", "h2c", true},
		{"TLS, as Apache HttpClient offers it", "Upgrade", "TLS/1.2", true},
		{"TLS, as in RFC 2817", "upgrade", "TLS/1.0, HTTP/1.1", true},
		{"a newer HTTP", "keep-alive, Upgrade", "HTTP/2.0", true},
		{"in any case", "UPGRADE", "H2C", true},
		{"nothing", "Upgrade", "", true},
		{"not named by Connection", "keep-alive", "websocket", true},
		{"WebSocket", "Upgrade", "websocket", false},
		{"WebSocket among others", "Upgrade", "h2c, websocket", false},
		{"a protocol that is not known", "Upgrade", "ledger/1", false},
		{"UDP by HTTP", "Upgrade", "connect-udp", false},
		{"SPDY, as kubectl offers it", "Upgrade", "SPDY/3.1", false},
	}
	for _, options := range []map[string]string{{}, {"mirrorBody": "false"}, {"bodyMode": "stream"}, {"compare": "true"}, {"compare": "true", "bodyMode": "stream"}} {
		for _, tt := range tests {
			for _, method := range []string{http.MethodPost, http.MethodGet} {
				shadow := startUpstream(t)
				h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { setOptions(c, options) })
				req := postInvoice()
				if method == http.MethodGet {
					req = httptest.NewRequest(method, "/invoices", http.NoBody)
				}
				req.Header.Set("Connection", tt.connection)
				req.Header.Set("Upgrade", tt.upgrade)
				req.Header.Set("Http2-Settings", "AAEAAEAA")
				before := settled(t, t.Name()).counts.upgrade.Load()
				if rec := serve(h, req); rec.Code != http.StatusCreated {
					t.Errorf("%s: client got %d, want 201", tt.name, rec.Code)
				}
				m := settled(t, t.Name())
				upgrades := m.counts.upgrade.Load() - before
				got := shadow.snapshot()
				if mirrored := len(got) == 1; mirrored != tt.mirrored || upgrades == 0 != tt.mirrored {
					t.Errorf("%v: %s %s: %d copies, %d counted as upgrade; want it to be mirrored: %v; dropped %v", options, method, tt.name, len(got), upgrades, tt.mirrored, m.counts.dropped())
					continue
				}
				if !tt.mirrored {
					continue
				}
				for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
					if got[0].header[name] != nil {
						t.Errorf("%v: %s %s: the shadow got %s %q, want none", options, method, tt.name, name, got[0].header[name])
					}
				}
				if method == http.MethodPost && options["mirrorBody"] == "" && got[0].body != invoice {
					t.Errorf("%v: %s: the shadow got %q, want the invoice", options, tt.name, got[0].body)
				}
			}
		}
	}
}

func TestProtocolsThatAnswerEarlyAreToldByTheirType(t *testing.T) {
	tests := []struct {
		contentType string
		early, grpc bool
	}{
		{"application/grpc", true, true},
		{"application/grpc+proto", true, true},
		{"Application/gRPC; charset=utf-8", true, true},
		{"application/connect+json", true, false},
		{"application/connect+proto; charset=utf-8", true, false},
		{"APPLICATION/CONNECT+JSON", true, false},
		{"application/vnd.amazon.eventstream", true, false},
		{"application/vnd.amazon.event-stream", true, false},
		{"message/ohttp-chunked-req", true, false},
		{"application/x-rtsp-tunnelled", true, false},
		{"application/grpc-web", false, false},
		{"application/grpc-web+proto", false, false},
		{"application/connect", false, false},
		{"application/proto", false, false},
		{"application/json", false, false},
		{"application/x-ndjson", false, false},
		{"message/ohttp-req", false, false},
		{"text/plain; of=application/grpc", false, false},
		{"", false, false},
	}
	for _, tt := range tests {
		if early, grpc := earlyAnswered.MatchString(tt.contentType), grpcType.MatchString(tt.contentType); early != tt.early || grpc != tt.grpc {
			t.Errorf("%q: answers early %v, is gRPC %v; want %v, %v", tt.contentType, early, grpc, tt.early, tt.grpc)
		}
		if plainTypes[tt.contentType] && tt.early {
			t.Errorf("%q is among the plain types", tt.contentType)
		}
	}
}

// In bodyMode buffer they pass untouched, and are counted; as a stream they are
// mirrored.
func TestProtocolsThatAnswerEarlyPassUntouched(t *testing.T) {
	for _, mode := range []string{"buffer", "stream"} {
		for _, compared := range []string{"false", "true"} {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) {
				setOptions(c, map[string]string{"bodyMode": mode, "compare": compared})
			})
			before := settled(t, t.Name()).counts.duplex.Load()
			req := postInvoice()
			req.Header.Set("Content-Type", "application/connect+json")
			serve(h, req)
			duplex := settled(t, t.Name()).counts.duplex.Load() - before
			copies := len(shadow.snapshot())
			if buffers := mode == "buffer"; buffers && (duplex != 1 || copies != 0) || !buffers && (duplex != 0 || copies != 1) {
				t.Errorf("%s, compare %s: %d counted as duplex, %d copies", mode, compared, duplex, copies)
			}
		}
	}
}

// What is never mirrored is no loss, whatever the shadow is like at the moment.
func TestWhatIsNeverMirroredIsNotLost(t *testing.T) {
	captureLog(t)
	tests := []struct {
		name   string
		header http.Header
		major  int
		reason string
	}{
		{"an upgrade", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, 1, "upgrade"},
		{"gRPC", http.Header{"Content-Type": {"application/grpc"}}, 2, "grpc"},
		{"a streaming call", http.Header{"Content-Type": {"application/connect+json"}}, 2, "duplex"},
	}
	states := []struct {
		name, lost string
		options    map[string]string
		bring      func(*testing.T, *upstream, http.Handler, *mirror)
	}{
		{"paused", "paused", map[string]string{}, bringDown},
		{"full", "full", map[string]string{"maxInFlight": "1"}, func(t *testing.T, u *upstream, h http.Handler, _ *mirror) {
			u.hang(t)
			serve(h, postInvoice())
			u.wait(t, 1)
		}},
		{"at its rate", "rate", map[string]string{"maxRate": "1"}, func(_ *testing.T, _ *upstream, _ http.Handler, m *mirror) { exhaustRate(m.limit) }},
	}
	for _, state := range states {
		t.Run(state.name, func(t *testing.T) {
			shadow := startUpstream(t)
			h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { setOptions(c, state.options) })
			m := mirrorCalled(t, t.Name())
			state.bring(t, shadow, h, m)
			before := m.counts.dropped()
			for _, tt := range tests {
				req := postInvoice()
				req.ProtoMajor = tt.major
				for name, values := range tt.header {
					req.Header[name] = values
				}
				serve(h, req)
			}
			serve(h, postInvoice())
			after := m.counts.dropped()
			for _, tt := range tests {
				if n := after[tt.reason] - before[tt.reason]; n != 1 {
					t.Errorf("%s: %d counted as %s, want 1", tt.name, n, tt.reason)
				}
			}
			if n := after[state.lost] - before[state.lost]; n != 1 {
				t.Errorf("%d counted as %s, want the one that could have been mirrored", n, state.lost)
			}
		})
	}
}

// bringDown has the shadow fail until it is left alone, and no probe be sent.
func bringDown(t *testing.T, u *upstream, h http.Handler, m *mirror) {
	failing(u)
	for i := 0; i < failuresToPause; i++ {
		serve(h, postInvoice())
		awaitNoneInFlight(t, m)
	}
	if !paused(m) {
		t.Fatalf("after %d failures in a row the shadow is not left alone", failuresToPause)
	}
	holdProbe(m)
}
