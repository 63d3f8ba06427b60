package catalog

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// serviceHost is where Traefik downloads plugins; it cannot be told another.
const serviceHost = "plugins.traefik.io"

// A service is the catalog's download service with one plugin, as Traefik meets
// it: by the name that is built into Traefik, through a proxy that leads nowhere
// else, with a certificate of an authority that only this Traefik trusts.
type service struct {
	plugin string // module path and version, as in the service's URLs
	zip    []byte
	proxy  *httptest.Server
	tls    *httptest.Server
	env    []string // what Traefik needs to find it

	mu       sync.Mutex
	requests []string
}

func runService(t *testing.T, plugin, archive string) *service {
	t.Helper()
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate(serviceHost)
	if err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, ca.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}

	s := &service{plugin: plugin, zip: text}
	s.tls = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.tls.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.tls.StartTLS()
	t.Cleanup(s.tls.Close)
	s.proxy = httptest.NewServer(http.HandlerFunc(s.connect))
	t.Cleanup(s.proxy.Close)
	s.env = []string{
		"HTTPS_PROXY=" + s.proxy.URL, "HTTP_PROXY=" + s.proxy.URL, "NO_PROXY=", "no_proxy=",
		"SSL_CERT_FILE=" + authority, "SSL_CERT_DIR=" + filepath.Dir(authority),
	}
	return s
}

// serve answers as plugin-service does: the archive, and whether a hash is its.
func (s *service) serve(rw http.ResponseWriter, req *http.Request) {
	s.note(req.Method + " " + req.URL.Path)
	sum := sha256.Sum256(s.zip)
	switch req.URL.Path {
	case "/public/download/" + s.plugin:
		rw.Write(s.zip)
	case "/public/validate/" + s.plugin:
		if req.Header.Get("X-Plugin-Hash") != hex.EncodeToString(sum[:]) {
			http.Error(rw, "another hash", http.StatusNotFound)
		}
	default:
		http.Error(rw, "unknown plugin", http.StatusNotFound)
	}
}

// connect is the proxy.
func (s *service) connect(rw http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodConnect || req.Host != serviceHost+":443" {
		s.note("refused " + req.Method + " " + req.Host)
		http.Error(rw, "there is no network but "+serviceHost, http.StatusForbidden)
		return
	}
	to, err := net.Dial("tcp", s.tls.Listener.Addr().String())
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer from.Close()
	fmt.Fprint(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		io.Copy(to, buffered)
		to.Close()
	}()
	io.Copy(from, to)
}

func (s *service) note(request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
}

// checkRequests complains unless Traefik has downloaded the plugin, had the
// archive's hash confirmed, and asked for nothing else.
func (s *service) checkRequests(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	want := []string{"GET /public/download/" + s.plugin, "GET /public/validate/" + s.plugin}
	if !slices.Equal(s.requests, want) {
		t.Errorf("the catalog was asked for\n%s\nwant\n%s", strings.Join(s.requests, "\n"), strings.Join(want, "\n"))
	}
}
