package faults

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A shadow is one that fails until it is healed.
type shadow struct {
	url     string
	options testbed.Values // the middleware's, beside url
	plugin  string         // folder of the plugin's source; "": the usual
	header  http.Header    // of the requests while it fails

	heal func()                      // nil: incurable
	got  func(middleware string) int // requests of that middleware that it answered properly
	open func() int                  // its connections
	most func() int                  // how often it got the request that it got most often; may be nil
}

// A ward is a TCP server whose connections fare badly until it is healed; from
// then on it is an HTTP server.
type ward struct {
	*testbed.RawUpstream
	well atomic.Bool
	tls  *tls.Config   // for those who come after the healing; may be nil
	over chan struct{} // closed at the end of the test

	mu  sync.Mutex
	got map[string]int // by marker
}

// runWard starts a ward in which ill gets each connection; over is closed when
// it has to return.
func runWard(t *testing.T, ill func(conn net.Conn, over <-chan struct{})) *ward {
	t.Helper()
	w := &ward{over: make(chan struct{}), got: map[string]int{}}
	w.RawUpstream = testbed.RunRawUpstream(t, func(conn net.Conn) {
		if !w.well.Load() {
			ill(conn, w.over)
			return
		}
		if w.tls != nil {
			conn = tls.Server(conn, w.tls)
		}
		w.serve(conn)
	})
	t.Cleanup(func() { close(w.over) }) // before RawUpstream waits for ill
	return w
}

// serve is a small HTTP server.
func (w *ward) serve(conn net.Conn) {
	for br := bufio.NewReader(conn); ; {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		w.mu.Lock()
		w.got[req.Header.Get(testbed.MarkerHeader)]++
		w.mu.Unlock()
		io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}
}

func (w *ward) count(middleware string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got[testbed.Marker(middleware)]
}

func (w *ward) shadow() *shadow {
	return &shadow{url: w.URL(), heal: func() { w.well.Store(true) }, got: w.count, open: w.Open}
}

// answering returns a shadow that reads a part of the request and then does what
// answer does, again and again if it is endless.
func answering(answer func(conn net.Conn) error, endless bool) func(*testing.T) *shadow {
	return func(t *testing.T) *shadow {
		return runWard(t, func(conn net.Conn, _ <-chan struct{}) {
			conn.Read(make([]byte, 64<<10))
			for answer(conn) == nil && endless {
			}
			if !endless {
				conn.(*net.TCPConn).CloseWrite()
				// Closed with bytes unread, a connection is reset, and what was
				// written is lost.
				conn.SetReadDeadline(time.Now().Add(time.Second))
				io.Copy(io.Discard, conn)
			}
		}).shadow()
	}
}

func says(text string) func(net.Conn) error {
	return func(conn net.Conn) error {
		_, err := io.WriteString(conn, text)
		return err
	}
}

// upstream returns a shadow that is a proper server, whose answer is wrong until
// it is healed.
func upstream(answer http.HandlerFunc) func(*testing.T) *shadow {
	return func(t *testing.T) *shadow {
		u := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", Handler: answer})
		s := of(u)
		s.heal = func() {
			u.Handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			u.Reset()
		}
		s.most = func() int {
			most, seen := 0, map[string]int{}
			for _, r := range u.Requests() {
				seen[r.RequestURI+" "+r.Header.Get(testbed.MarkerHeader)]++
			}
			for _, n := range seen {
				most = max(most, n)
			}
			return most
		}
		return s
	}
}

// of returns the shadow that the upstream is.
func of(u *testbed.Upstream) *shadow {
	return &shadow{
		url:  u.URL(),
		got:  func(middleware string) int { return from(u.Requests(), middleware) },
		open: func() int { _, open := u.Connections(); return open },
	}
}

func refused(t *testing.T) *shadow {
	u := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	u.Stop()
	s := of(u)
	s.heal = func() {
		if err := u.Restart(); err != nil {
			t.Error(err)
		}
	}
	return s
}

func unknownHost(*testing.T) *shadow {
	// RFC 6761 keeps this name from ever existing.
	return &shadow{url: "http://billing-next.invalid", open: func() int { return 0 }}
}

func silent(t *testing.T) *shadow {
	return runWard(t, func(conn net.Conn, _ <-chan struct{}) { io.Copy(io.Discard, conn) }).shadow()
}

func neverReads(t *testing.T) *shadow {
	return runWard(t, func(conn net.Conn, over <-chan struct{}) {
		conn.(*net.TCPConn).SetReadBuffer(4 << 10) // or the kernel would read it all
		<-over
	}).shadow()
}

func resets(t *testing.T) *shadow {
	return runWard(t, func(conn net.Conn, _ <-chan struct{}) {
		conn.Read(make([]byte, 1))
		conn.(*net.TCPConn).SetLinger(0)
	}).shadow()
}

// drips returns a shadow that answers properly, one byte every 5 ms, so that the head
// is there within the timeout and the rest is not.
func drips(t *testing.T) *shadow {
	return runWard(t, func(conn net.Conn, over <-chan struct{}) {
		for {
			for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("x", 100000)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				select {
				case <-time.After(5 * time.Millisecond):
				case <-over:
					return
				}
			}
		}
	}).shadow()
}

// selfSigned returns a certificate for 127.0.0.1 that is its own authority, and
// it as PEM text.
func selfSigned(t *testing.T, notAfter time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(notAfter.UnixNano()),
		Subject:               pkix.Name{CommonName: "billing-next " + notAfter.String()},
		NotBefore:             time.Now().Add(-48 * time.Hour),
		NotAfter:              notAfter,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(text)
}

// badCertificate returns a TLS shadow with a certificate that is not good until
// it is healed. trusted is whether its authority is one that the mirror trusts.
func badCertificate(notAfter time.Duration, trusted bool) func(*testing.T) *shadow {
	return func(t *testing.T) *shadow {
		bad, badPEM := selfSigned(t, time.Now().Add(notAfter))
		good, goodPEM := selfSigned(t, time.Now().Add(24*time.Hour))
		roots := []string{goodPEM}
		if trusted {
			roots = append(roots, badPEM)
		}
		var well atomic.Bool
		u := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", TLS: &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				if well.Load() {
					return &good, nil
				}
				return &bad, nil
			},
		}})
		s := of(u)
		s.options = testbed.Values{"tls": testbed.Values{"rootCAs": roots}}
		s.heal = func() { well.Store(true) }
		return s
	}
}

// plainOnTLS returns a shadow with an https URL that speaks no TLS.
func plainOnTLS(t *testing.T) *shadow {
	good, goodPEM := selfSigned(t, time.Now().Add(24*time.Hour))
	w := runWard(t, func(conn net.Conn, _ <-chan struct{}) {
		conn.Read(make([]byte, 64<<10))
		io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
	})
	w.tls = &tls.Config{Certificates: []tls.Certificate{good}}
	s := w.shadow()
	s.url = "https://" + w.Addr()
	s.options = testbed.Values{"tls": testbed.Values{"rootCAs": []string{goodPEM}}}
	return s
}

// tlsOnPlain returns a shadow with an http URL that speaks TLS.
func tlsOnPlain(t *testing.T) *shadow {
	cert, _ := selfSigned(t, time.Now().Add(24*time.Hour))
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	return runWard(t, func(conn net.Conn, _ <-chan struct{}) { tls.Server(conn, config).Handshake() }).shadow()
}

// fullBacklog returns a shadow whose queue of connections is full: the kernel
// drops what asks for one more, so that a dial takes as long as it is let.
func fullBacklog(t *testing.T) *shadow {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close() // net.FileListener has a copy
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	// net.FileListener listens anew, with the system's backlog.
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })

	var held []net.Conn
	t.Cleanup(func() {
		for _, conn := range held {
			conn.Close()
		}
	})
	for {
		conn, err := net.DialTimeout("tcp", listener.Addr().String(), 300*time.Millisecond)
		if err != nil {
			break
		}
		if held = append(held, conn); len(held) > 50 {
			t.Fatal("the listener's queue does not fill up")
		}
	}
	w := &ward{got: map[string]int{}}
	s := &shadow{url: "http://" + listener.Addr().String(), got: w.count}
	var open atomic.Int64
	s.open = func() int { return int(open.Load()) }
	s.heal = func() {
		for _, conn := range held {
			conn.Close()
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				open.Add(1)
				go func() {
					defer open.Add(-1)
					defer conn.Close()
					w.serve(conn)
				}()
			}
		}()
	}
	return s
}

// panics returns a shadow that is well; the plugin is not: it is a copy that
// panics on the way to the shadow when a header says so.
func panics(t *testing.T) *shadow {
	const header = "X-Provoke-Panic"
	u := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	s := of(u)
	s.plugin = brokenPlugin(t, "shadow.go", `(?m)^.*\[markerHeader\] = .*$$`, "if out.Header[\""+header+"\"] != nil {\n\t\tvar none map[string]int\n\t\tnone[out.URL.Path] = 1\n\t}\n$0")
	s.header = http.Header{header: {"1"}}
	s.heal = func() {} // the header goes
	return s
}

// brokenPlugin returns a folder with a copy of the plugin in which what the
// pattern finds in the file is replaced; $0 is what it found.
func brokenPlugin(t *testing.T, file, pattern, replacement string) string {
	t.Helper()
	dir := t.TempDir()
	if err := testbed.CopyPlugin("", dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(pattern)
	if n := len(re.FindAll(text, -1)); n != 1 {
		t.Fatalf("%s has %d places for the fault (%s), want one", file, n, pattern)
	}
	text = re.ReplaceAll(text, []byte(strings.ReplaceAll(replacement, "$0", "${0}")))
	if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
