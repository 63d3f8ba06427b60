package mirror

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// A transcript is all that is logged during a test, as bytes, but for what is about the
// mirror of another test, whose summary is due a minute after its first loss.
type transcript struct {
	about string
	mu    sync.Mutex
	buf   bytes.Buffer
}

func (l *transcript) Write(p []byte) (int, error) {
	if line := string(p); strings.HasPrefix(line, "mirror: middleware Test") && !strings.HasPrefix(line, "mirror: middleware "+l.about) {
		return len(p), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *transcript) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// recordLog diverts the log to the transcript it returns until the test ends.
func recordLog(t *testing.T) *transcript {
	l := &transcript{about: t.Name()}
	before := log.Writer()
	log.SetOutput(l)
	t.Cleanup(func() { log.SetOutput(before) })
	return l
}

// checkLines fails the test unless every line of the text is one that the plugin means
// to write, of at most 2,048 bytes, and readable as it is.
func checkLines(t *testing.T, text string) {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if !strings.HasPrefix(line, "mirror: middleware ") {
			t.Errorf("a line that is none of the plugin's: %.300q", line)
		}
		if len(line) > 2048 || !utf8.ValidString(line) {
			t.Errorf("a line of %d bytes, valid UTF-8: %t; want at most 2048: %.300q", len(line), utf8.ValidString(line), line)
		}
		for _, r := range line {
			if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Errorf("%U in the line %.300q", r, line)
				break
			}
		}
	}
}

// certificateFor returns a certificate that is its own authority, with these names, and
// it as PEM.
func certificateFor(t *testing.T, names []string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "billing-next"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(text)
}

// shakeHands does so with every connection, until the client or the listener hangs up.
// net/http's server would log what comes of it.
func shakeHands(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.Read(make([]byte, 1))
		conn.Close()
	}
}

func TestCertificateCannotForgeOrStretchALogLine(t *testing.T) {
	var long []string
	for i := 0; i < 90; i++ {
		long = append(long, fmt.Sprintf("%s-%02d.billing.example.com", strings.Repeat("invoices", 20), i))
	}
	tests := []struct {
		name  string
		names []string
		want  string
	}{
		{"a newline in a name", []string{"billing-next\nmirror: middleware forged: all is well"}, `billing-next\nmirror: middleware forged`},
		{"a carriage return and an escape", []string{"billing-next\r\x1b[2Jall is well"}, `billing-next\r\x1b[2Jall is well`},
		{"90 long names", long, "-00.billing.example.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			book := recordLog(t)
			h := reporterFor(t)
			cert, authority := certificateFor(t, tt.names)
			shadow, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
			if err != nil {
				t.Fatal(err)
			}
			defer shadow.Close()
			go shakeHands(shadow)
			m := mirrorTo(t, "https://"+shadow.Addr().String(), echoLive, func(c *Config) {
				c.set("tls.rootCAs", []string{authority})
				c.set("tls.serverName", "billing.example.com")
			})
			for i := 0; i < failuresToPause; i++ {
				serve(m, postInvoice())
				eventually(t, "the exchange to end", func() bool { return mirrorCalled(t, t.Name()).counts.failed.Load() == int64(i+1) })
			}
			eventually(t, "a line for the first failure and one for the pause", func() bool { return strings.Count(book.text(), "\n") == 2 })
			checkLines(t, book.text())
			if !strings.Contains(book.text(), tt.want) {
				t.Errorf("logged %.600q, want the names in it, escaped: %q", book.text(), tt.want)
			}
			r := reported(t, h)
			if !strings.Contains(r.State.LastError, tt.want) || len(r.State.LastError) > 600 || strings.ContainsAny(r.State.LastError, "\n\r\x1b") {
				t.Errorf("the report's last error is %.700q, of %d bytes; want %q in it, escaped, and at most 600", r.State.LastError, len(r.State.LastError), tt.want)
			}
		})
	}
}

func TestLogLinesAreOneLineWhateverIsInThem(t *testing.T) {
	const nasty = "billing\nmirror: forged\r\x00\x1b[31m\u0085\u2028\u2029\u202e\u2066\u200b\ufeff\xff\xfe"
	long := strings.Repeat("invoice\n", 5000)
	tests := []struct {
		name  string
		write func(c *counts)
	}{
		{"a name", func(c *counts) { c.name = nasty; c.print("the shadow failed") }},
		{"a long name", func(c *counts) { c.name = long; c.print("the shadow failed") }},
		{"an error", func(c *counts) { c.fail(errors.New(nasty)) }},
		{"a long error", func(c *counts) { c.fail(errors.New(long)) }},
		{"a name server's answer", func(c *counts) {
			c.fail(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: nasty, Name: long}})
		}},
		{"a certificate's error", func(c *counts) { c.fail(&tls.CertificateVerificationError{Err: errors.New(nasty + long)}) }},
		{"a panic", func(c *counts) { c.contain(nasty + long) }},
		{"a summary", func(c *counts) {
			c.reporting.Store(true)
			c.fail(errors.New(nasty + long))
			c.summarizeLater()
			c.summarize()
		}},
		{"a text as long as a line may be", func(c *counts) { c.print(strings.Repeat("\u202e", maxLine)) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			book := recordLog(t)
			c := &counts{name: t.Name(), interval: time.Hour}
			tt.write(c)
			if strings.Count(book.text(), "\n") != 1 {
				t.Errorf("%d lines, want 1", strings.Count(book.text(), "\n"))
			}
			checkLines(t, book.text())
		})
	}
}

func TestOptionsCannotForgeALogLine(t *testing.T) {
	book := recordLog(t)
	config := CreateConfig()
	for i := 0; i < 60; i++ {
		config.set(fmt.Sprintf("precent-%d\nmirror: forged \u202e", i), "10\n20")
	}
	name := "billing\nmirror: forged"
	defer forget(name)
	if _, err := New(background, echoLive, config, name); err != nil {
		t.Fatal(err)
	}
	text := book.text()
	if strings.Count(text, "\n") != 1 || len(text) > 10240 || strings.ContainsAny(strings.TrimSuffix(text, "\n"), "\n\r\u202e") {
		t.Errorf("%d lines, %d bytes; want one of at most 10240, with nothing in it that is not seen: %.500q", strings.Count(text, "\n"), len(text), text)
	}
	if want := `mirror: middleware billing\nmirror: forged: mirrors nothing`; !strings.HasPrefix(text, want) {
		t.Errorf("logged %.200q, want it to begin with %q", text, want)
	}
}
