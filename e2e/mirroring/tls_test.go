package mirroring

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func TestTLSOptions(t *testing.T) {
	ours, theirs := newCA(t), newCA(t)
	caFile := file(t, "ca.pem", ours.PEM())
	clientCert, clientKey, err := ours.Issue("mirror")
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := file(t, "client.pem", clientCert), file(t, "client.key", clientKey)

	byAddress := runTLS(t, ours, tls.NoClientCert, "127.0.0.1")
	byName := runTLS(t, ours, tls.NoClientCert, "billing-next.example.com")
	mutual := runTLS(t, ours, tls.RequireAndVerifyClientCert, "127.0.0.1")

	trusted := func(more ...any) testbed.Values {
		options := testbed.Values{"rootCAs": []string{caFile}}
		for i := 0; i < len(more); i += 2 {
			options[more[i].(string)] = more[i+1]
		}
		return options
	}
	tests := []struct {
		name   string
		shadow *testbed.Upstream
		tls    testbed.Values
		want   bool
	}{
		{"ca-file", byAddress, trusted(), true},
		{"ca-file-label", byAddress, testbed.Values{"rootCAs": caFile}, true},
		{"ca-text", byAddress, testbed.Values{"rootCAs": []string{string(ours.PEM())}}, true},
		{"two-cas", byAddress, testbed.Values{"rootCAs": []string{string(theirs.PEM()), caFile}}, true},
		{"system-cas", byAddress, nil, false},
		{"wrong-ca", byAddress, testbed.Values{"rootCAs": []string{string(theirs.PEM())}}, false},
		{"wrong-name", byName, trusted(), false},
		{"server-name", byName, trusted("serverName", "billing-next.example.com"), true},
		{"another-server-name", byAddress, trusted("serverName", "billing-next.example.com"), false},
		{"skip-verify", byName, testbed.Values{"insecureSkipVerify": "true"}, true},
		{"skip-verify-boolean", byName, testbed.Values{"insecureSkipVerify": true}, true},
		{"no-skip-verify", byName, testbed.Values{"insecureSkipVerify": "false"}, false},
		{"client-files", mutual, trusted("certFile", certFile, "keyFile", keyFile), true},
		{"client-text", mutual, trusted("certFile", string(clientCert), "keyFile", string(clientKey)), true},
		{"no-client-certificate", mutual, trusted(), false},
	}
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	dynamic := billing(live)
	for _, test := range tests {
		options := testbed.Values{"url": test.shadow.URL()}
		if test.tls != nil {
			options["tls"] = test.tls
		}
		dynamic.Mirror(test.name, options).Router(test.name, testbed.RuleOf(test.name), "billing", test.name)
	}
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: dynamic})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.shadow.Reset()
			live.Reset()
			for range 3 {
				expect(t, traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf(test.name), invoice))
			}
			recorded(t, live, 3)
			failure := "middleware " + testbed.Marker(test.name) + ": the shadow failed"
			if !test.want {
				if err := traefik.WaitLog(testbed.Within(t, patience), failure); err != nil {
					t.Error(err)
				}
				if n := test.shadow.Count(); n > 0 {
					t.Errorf("the shadow got %d requests, want none", n)
				}
				if n := strings.Count(traefik.Log(), failure); n != 1 {
					t.Errorf("%d lines in the log, want one", n)
				}
				return
			}
			for _, r := range recorded(t, test.shadow, 3) {
				if string(r.Body) != invoice || r.TLS == nil || (len(r.TLS.PeerCertificates) > 0) != (test.shadow == mutual) {
					t.Errorf("the shadow got body %q over TLS %+v, want %q", r.Body, r.TLS, invoice)
				}
			}
			if strings.Contains(traefik.Log(), failure) {
				t.Error("the log tells of a failure")
			}
		})
	}
}

func newCA(t *testing.T) *testbed.CA {
	t.Helper()
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// runTLS starts a shadow with a certificate for the host.
func runTLS(t *testing.T, ca *testbed.CA, auth tls.ClientAuthType, host string) *testbed.Upstream {
	t.Helper()
	cert, err := ca.Certificate(host)
	if err != nil {
		t.Fatal(err)
	}
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", TLS: &tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   auth,
		ClientCAs:    ca.Pool(),
	}})
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
