package examples

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func driveUploads(t *testing.T, traefik *testbed.Traefik) {
	const limit = 64 << 20 // the example's maxBodySize
	scan := testbed.Payload(8 << 20)
	half := len(scan) / 2
	reached := make(chan bool, 1)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{
		Name: "archive", Streaming: true, BodyLimit: 1,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
			if n, _ := io.CopyN(io.Discard, req.Body, int64(half)); n == int64(half) && req.Method == "PUT" {
				reached <- true
			}
			io.Copy(io.Discard, req.Body)
		}),
	})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "archive-next", BodyLimit: 1})
	load(t, traefik, "uploads", map[string]string{liveAddress: live.Addr(), shadowAddress: shadow.Addr()})

	conn, err := net.Dial("tcp", traefik.Addr(testbed.Web))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * patience))
	say(t, conn, fmt.Sprintf("PUT /scans/2024-00117.tif HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(scan), scan[:half]))
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatalf("live has not got the first half %s after it was sent", patience)
	}
	if n := shadow.Count(); n > 0 {
		t.Errorf("the shadow got %d requests before the upload's end, want none", n)
	}
	say(t, conn, scan[half:])
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("answered %v (%v), want 200", resp, err)
	}

	// Larger than the limit: to live only.
	send(t, traefik, "POST", "/scans/whole-archive", testbed.Payload(limit+1))
	mirrored := only(t, "the shadow", copies(t, shadow, 1, func(end string) { send(t, traefik, "POST", "/scans"+end, invoice) }))
	for who, got := range map[string]testbed.Request{"live": live.Requests()[0], "the shadow": mirrored} {
		if got.RequestURI != "/scans/2024-00117.tif" || got.BodySize != int64(len(scan)) || got.BodySHA256 != sha256.Sum256([]byte(scan)) {
			t.Errorf("%s got %s with %d bytes (%v), want the upload whole", who, got.RequestURI, got.BodySize, got.BodyErr)
		}
	}
	if got := live.Requests()[1]; got.BodySize != limit+1 {
		t.Errorf("live got %d bytes of the larger upload, want %d", got.BodySize, limit+1)
	}
}

func say(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("sending %.40q: %v", text, err)
	}
}

func driveGRPC(t *testing.T, traefik *testbed.Traefik) {
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	writeCertificates(t, traefik.Dir(), map[string][]byte{"ca.pem": ca.PEM()})
	shadows := map[string]*ledger{
		"https": runLedger(t, "billing-next", grpc.Creds(credentials.NewServerTLSFromCert(&cert))),
		"h2c":   runLedger(t, "billing-next"),
	}
	for scheme, file := range map[string]string{"https": "dynamic.yml", "h2c": "dynamic-h2c.yml"} {
		t.Run(scheme, func(t *testing.T) {
			live, shadow := runLedger(t, "billing"), shadows[scheme]
			loadNamed(t, traefik, "grpc", file, map[string]string{liveAddress: live.addr, shadowAddress: shadow.addr})
			callGRPC(t, traefik, live, shadow)
		})
	}
}

func callGRPC(t *testing.T, traefik *testbed.Traefik, live, shadow *ledger) {
	t.Helper()
	conn, err := grpc.NewClient(traefik.Addr(testbed.Web), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "meyer"), patience)
	defer cancel()
	answer := new(wrapperspb.StringValue)
	if err := conn.Invoke(ctx, "/billing.Invoices/Book", wrapperspb.String("2024-00117"), answer); err != nil {
		t.Fatal(err)
	}
	if want := "billing booked 2024-00117"; answer.Value != want {
		t.Errorf("the client got %q, want %q", answer.Value, want)
	}
	// A unary call may, rarely, not be mirrored: live answers before Traefik has seen
	// that its message was the last. Then another is.
	for again := time.Now().Add(5 * time.Second); len(shadow.all()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(again) {
			if err := conn.Invoke(ctx, "/billing.Invoices/Book", wrapperspb.String("2024-00117"), answer); err != nil {
				t.Fatal(err)
			}
			again = time.Now().Add(5 * time.Second)
		}
	}
	for who, l := range map[string]*ledger{"live": live, "the shadow": shadow} {
		got := l.all()[0]
		if got.method != "/billing.Invoices/Book" || got.message != "2024-00117" || !slices.Equal(got.metadata.Get("x-tenant"), []string{"meyer"}) {
			t.Errorf("%s got %+v, want the call to Book with its message and metadata", who, got)
		}
	}
	if got := shadow.all()[0].metadata.Get(testbed.MarkerHeader); !slices.Equal(got, []string{"shadow-billing@file"}) {
		t.Errorf("the shadow got marker %q", got)
	}
}

// A ledger is a gRPC server that takes calls of any name with one message and
// records them.
type ledger struct {
	addr, name string
	mu         sync.Mutex
	calls      []call
}

type call struct {
	method, message string
	metadata        metadata.MD
}

func runLedger(t *testing.T, name string, options ...grpc.ServerOption) *ledger {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{addr: listener.Addr().String(), name: name}
	server := grpc.NewServer(append(options, grpc.UnknownServiceHandler(l.book))...)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return l
}

func (l *ledger) book(_ any, stream grpc.ServerStream) error {
	message := new(wrapperspb.StringValue)
	if err := stream.RecvMsg(message); err != nil {
		return err
	}
	c := call{message: message.Value}
	c.method, _ = grpc.MethodFromServerStream(stream)
	c.metadata, _ = metadata.FromIncomingContext(stream.Context())
	l.mu.Lock()
	l.calls = append(l.calls, c)
	l.mu.Unlock()
	return stream.SendMsg(wrapperspb.String(l.name + " booked " + message.Value))
}

func (l *ledger) all() []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}
