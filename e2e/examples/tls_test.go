package examples

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/docs"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

func driveMutualTLS(t *testing.T, traefik *testbed.Traefik) {
	for name, makeIn := range map[string]func(t *testing.T, dir string){
		"certificates of the tests":  issueCertificates,
		"certificates of the README": runOpenSSL,
	} {
		t.Run(name, func(t *testing.T) {
			makeIn(t, traefik.Dir())
			certs := filepath.Join(traefik.Dir(), "certs")
			t.Cleanup(func() { os.RemoveAll(certs) })
			live, shadow := runUpstream(t, "billing"), runGuardedShadow(t, certs)
			load(t, traefik, "mutual-tls", map[string]string{liveAddress: live.Addr(), shadowAddress: shadow.Addr()})

			send(t, traefik, "POST", "/invoices", invoice)
			got := only(t, "the shadow", copies(t, shadow, 1, func(end string) { send(t, traefik, "GET", "/invoices"+end, "") }))
			if string(got.Body) != invoice {
				t.Errorf("the shadow got body %q, want %q", got.Body, invoice)
			}
			if got.TLS.ServerName != "billing-next.internal" {
				t.Errorf("the shadow was asked for the name %q, want billing-next.internal", got.TLS.ServerName)
			}
			if client := got.TLS.PeerCertificates[0].Subject.CommonName; client != "mirror" {
				t.Errorf("the shadow was shown the certificate of %q, want that of mirror", client)
			}
		})
	}
}

// runGuardedShadow starts a shadow with the certificate in the folder, which
// lets in only clients with one of the same authority.
func runGuardedShadow(t *testing.T, certs string) *testbed.Upstream {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "shadow.pem"), filepath.Join(certs, "shadow.key"))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(certs, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", filepath.Join(certs, "ca.pem"))
	}
	return testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "billing-next", TLS: &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authorities,
	}})
}

// issueCertificates makes the files that the example names, in dir.
func issueCertificates(t *testing.T, dir string) {
	t.Helper()
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"ca.pem": ca.PEM()}
	for name, host := range map[string]string{"shadow": "billing-next.internal", "mirror": "mirror"} {
		cert, key, err := ca.Issue(host)
		if err != nil {
			t.Fatal(err)
		}
		files[name+".pem"], files[name+".key"] = cert, key
	}
	writeCertificates(t, dir, files)
}

func writeCertificates(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	certs := filepath.Join(dir, "certs")
	if err := os.MkdirAll(certs, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(certs, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// runOpenSSL makes the files with the commands of the example's README, in dir.
func runOpenSSL(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		// make test asks for Go, make and git only. The example itself is tested
		// with other certificates, and CI has openssl.
		if os.Getenv("CI") == "" {
			t.Skip("the openssl commands of examples/mutual-tls/README.md are not run: there is no openssl")
		}
		t.Fatal("this test runs the openssl commands of examples/mutual-tls/README.md, and there is no openssl: install it")
	}
	readme, err := docs.Read(folder(t, ".."), "examples/mutual-tls/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands string
	for _, block := range readme.Blocks {
		if block.Language() == "sh" && strings.Contains(block.Text, "openssl ") {
			commands += block.Text
		}
	}
	if commands == "" {
		t.Fatal("examples/mutual-tls/README.md has no openssl commands")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", commands)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the openssl commands of examples/mutual-tls/README.md: %v\n%s", err, out)
	}
}
