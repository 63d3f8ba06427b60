package mirror

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

func TestDeadShadowLogsOnceAndThenSummarises(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	shadow.Close()
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxPause", "0") })
	mirrorCalled(t, t.Name()).counts.interval = 3 * time.Second
	for i := 0; i < 50; i++ {
		req := postInvoice()
		req.Header.Set("Authorization", "Bearer s3cret")
		req.Header.Set("Cookie", "session=s3cret")
		serve(h, req)
	}
	settled(t, t.Name())
	if lines := book.lines(); len(lines) != 1 || !strings.Contains(lines[0], "connection refused (connect); live is not affected") || !strings.Contains(lines[0], t.Name()) {
		t.Fatalf("logged %q for 50 failures, want one line with the middleware and the reason", lines)
	}
	eventually(t, "a summary", func() bool { return len(book.lines()) == 2 })
	summary := book.lines()[1]
	for _, want := range []string{"0 mirrored, 50 of 50 lost (50 connect)", "last error: ", "connection refused"} {
		if !strings.Contains(summary, want) {
			t.Errorf("summary %q, want %q in it", summary, want)
		}
	}
	time.Sleep(5 * time.Second)
	if lines := book.lines(); len(lines) != 2 {
		t.Errorf("logged %q after the losses ended, want no more", lines)
	}
	serve(h, postInvoice())
	eventually(t, "a line for the first failure after a quiet time", func() bool { return len(book.lines()) == 3 })
	eventually(t, "its summary", func() bool { return len(book.lines()) == 4 })
	if text := strings.Join(book.lines(), "\n"); strings.Contains(text, "s3cret") || strings.Contains(text, "C-1007") {
		t.Errorf("the log has a credential or a body in it: %s", text)
	}
}

func TestDropsAreLoggedToo(t *testing.T) {
	book := captureLog(t)
	shadow := startUpstream(t)
	shadow.hang(t)
	h := mirrorTo(t, shadow.URL, echoLive, func(c *Config) { c.set("maxInFlight", "1") })
	mirrorCalled(t, t.Name()).counts.interval = 2 * time.Second
	for i := 0; i < 20; i++ {
		serve(h, postInvoice())
	}
	eventually(t, "a line and a summary", func() bool { return len(book.lines()) == 2 })
	lines := book.lines()
	if !strings.Contains(lines[0], "no place in flight (full): ") || !strings.HasSuffix(lines[1], ": 0 mirrored, 19 of 19 lost (19 full)") {
		t.Errorf("logged %q, want the first drop and a summary of 19", lines)
	}
}

func TestErrorsAreDescribedWithoutQuotingTheShadow(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "no whole answer within the timeout"},
		{fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), "the shadow closed the connection before the end of its answer"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, "dial tcp: connection refused"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		{fmt.Errorf("transport broken: %w", textproto.ProtocolError("malformed MIME header line: Set-Cookie session=s3cret")), "malformed header in the answer"},
		{errors.New(`malformed HTTP response "s3cret"`), "malformed HTTP response "},
	}
	for _, tt := range tests {
		if got := describe(tt.err); got != tt.want {
			t.Errorf("describe(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}
