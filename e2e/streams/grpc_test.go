package streams

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// The service billing.Invoices, as protoc would describe it. Its messages are
// strings.
var (
	uploadStream    = grpc.StreamDesc{StreamName: "Upload", ClientStreams: true, Handler: serveStream}
	statementStream = grpc.StreamDesc{StreamName: "Statement", ServerStreams: true, Handler: serveStream}
	reconcileStream = grpc.StreamDesc{StreamName: "Reconcile", ClientStreams: true, ServerStreams: true, Handler: serveStream}

	invoicesService = grpc.ServiceDesc{
		ServiceName: "billing.Invoices",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Book", Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			message := new(wrapperspb.StringValue)
			if err := decode(message); err != nil {
				return nil, err
			}
			return srv.(*ledger).book(ctx, message)
		}}},
		Streams: []grpc.StreamDesc{uploadStream, statementStream, reconcileStream},
	}
)

const (
	book      = "/billing.Invoices/Book"
	uploads   = "/billing.Invoices/Upload"
	statement = "/billing.Invoices/Statement"
	reconcile = "/billing.Invoices/Reconcile"
)

// A call is what a ledger got of one: all messages, and how they ended.
type call struct {
	method   string
	metadata metadata.MD
	messages []string
	err      error // nil where the client has half-closed
}

func (c call) String() string {
	return fmt.Sprintf("%s %.60q (%v)", c.method, c.messages, c.err)
}

// A ledger is a gRPC server that records the calls.
type ledger struct {
	addr     string
	entered  chan string // gets the first message of each call to Book
	mu       sync.Mutex
	finished []call
}

func runLedger(t *testing.T, options ...grpc.ServerOption) *ledger {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{addr: listener.Addr().String(), entered: make(chan string, 1000)}
	server := grpc.NewServer(options...)
	server.RegisterService(&invoicesService, l)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return l
}

func (l *ledger) record(ctx context.Context, messages []string, err error) {
	c := call{messages: messages, err: err}
	c.method, _ = grpc.Method(ctx)
	c.metadata, _ = metadata.FromIncomingContext(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = append(l.finished, c)
}

func (l *ledger) calls() []call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.finished)
}

func (l *ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = nil
}

func (l *ledger) book(ctx context.Context, message *wrapperspb.StringValue) (any, error) {
	l.record(ctx, []string{message.Value}, nil)
	l.entered <- message.Value
	grpc.SetHeader(ctx, metadata.Pairs("x-ledger", "2024"))
	grpc.SetTrailer(ctx, metadata.Pairs("x-booking", "b-17", "x-digest-bin", "\x00\xff"))
	switch message.Value {
	case "unknown customer":
		return nil, status.Error(codes.NotFound, "no customer Söhne, 100% sure")
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "slow":
		time.Sleep(slow)
	}
	return wrapperspb.String("booked " + message.Value), nil
}

// serveStream answers each message of a bidirectional call, the first of a
// server-streaming one three times, and otherwise the number of messages.
func serveStream(srv any, stream grpc.ServerStream) error {
	l := srv.(*ledger)
	method, _ := grpc.MethodFromServerStream(stream)
	var messages []string
	stream.SetTrailer(metadata.Pairs("x-booking", "b-18"))
	for {
		message := new(wrapperspb.StringValue)
		err := stream.RecvMsg(message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			l.record(stream.Context(), messages, err)
			return err
		}
		messages = append(messages, message.Value)
		if message.Value == "unknown customer" {
			l.record(stream.Context(), messages, nil)
			return status.Error(codes.NotFound, "no such customer")
		}
		if method == reconcile {
			if err := stream.SendMsg(answerTo(message.Value)); err != nil {
				return err
			}
		}
	}
	l.record(stream.Context(), messages, nil)
	switch method {
	case uploads:
		return stream.SendMsg(wrapperspb.String(fmt.Sprint(len(messages))))
	case statement:
		for i := range 3 {
			if err := stream.SendMsg(wrapperspb.String(fmt.Sprintf("entry %d of %s", i, messages[0]))); err != nil {
				return err
			}
		}
	}
	return nil
}

func answerTo(message string) *wrapperspb.StringValue {
	return wrapperspb.String(fmt.Sprintf("settled %.20s", message))
}

// A grpcBench is a Traefik with the three routers before a live gRPC server
// without TLS, and a shadow.
type grpcBench struct {
	*testbed.Traefik
	live, shadow *ledger
	conns        map[string]*grpc.ClientConn // by host
}

const grpcLimit = 64 << 10

// grpcSchemes are those of a shadow's URL with which it gets gRPC.
var grpcSchemes = []string{"https", "h2c"}

// inGRPCModes runs the test with a shadow of each scheme, mirroring and comparing.
func inGRPCModes(t *testing.T, test func(t *testing.T, b *grpcBench)) {
	t.Helper()
	release := testbed.MustUsedRelease(t)
	for _, scheme := range grpcSchemes {
		if scheme == "h2c" && !release.HasH2C() {
			continue
		}
		t.Run(scheme, func(t *testing.T) {
			testbed.InBothModes(t, func(t *testing.T, options testbed.Values) { test(t, runGRPC(t, scheme, options)) })
		})
	}
}

func runGRPC(t *testing.T, scheme string, options testbed.Values) *grpcBench {
	t.Helper()
	options["maxBodySize"] = grpcLimit
	if scheme == "h2c" {
		b := &grpcBench{live: runLedger(t), shadow: runLedger(t)}
		b.start(t, "h2c://"+b.shadow.addr, options)
		return b
	}
	ca, err := testbed.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	b := &grpcBench{live: runLedger(t), shadow: runLedger(t, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))}
	options["tls"] = testbed.Values{"rootCAs": string(ca.PEM())}
	b.start(t, "https://"+b.shadow.addr, options)
	return b
}

func (b *grpcBench) start(t *testing.T, shadow string, options testbed.Values) {
	t.Helper()
	b.Traefik = testbed.MustServe(t, testbed.Options{TLS: true, Dynamic: routers("h2c://"+b.live.addr, shadow, options)})
	b.conns = map[string]*grpc.ClientConn{}
	for _, host := range []string{plainHost, streamHost, bufferHost} {
		conn, err := grpc.NewClient(b.Addr(testbed.WebSecure),
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: b.CA().Pool()})),
			grpc.WithAuthority(host))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		b.conns[host] = conn
	}
}

func grpcContext(t *testing.T) (context.Context, context.CancelFunc) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "meyer", "x-token-bin", "\x00\x01\xff")
	ctx, cancel := context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	return ctx, cancel
}

// An outcome is all that a client can see of a call.
type outcome struct {
	answers         []string
	header, trailer metadata.MD
	code            codes.Code
	message         string
}

func (o *outcome) end(err error) {
	o.code, o.message = status.Code(err), status.Convert(err).Message()
	for _, md := range []metadata.MD{o.header, o.trailer} {
		delete(md, "date")
	}
}

// unary makes a unary call.
func (b *grpcBench) unary(ctx context.Context, host, message string) (o outcome) {
	answer := new(wrapperspb.StringValue)
	err := b.conns[host].Invoke(ctx, book, wrapperspb.String(message), answer, grpc.Header(&o.header), grpc.Trailer(&o.trailer))
	if err == nil {
		o.answers = []string{answer.Value}
	}
	o.end(err)
	return o
}

// stream makes a call of any other kind. In lock step it sends a message only
// when the one before has been answered.
func (b *grpcBench) stream(ctx context.Context, host string, desc *grpc.StreamDesc, method string, messages []string, lockStep bool) (o outcome) {
	stream, err := b.conns[host].NewStream(ctx, desc, method)
	if err != nil {
		o.end(err)
		return o
	}
	receive := func() error {
		answer := new(wrapperspb.StringValue)
		err := stream.RecvMsg(answer)
		if err == nil {
			o.answers = append(o.answers, answer.Value)
		}
		return err
	}
	for _, message := range messages {
		// An error here is io.EOF; the next RecvMsg has the status.
		if stream.SendMsg(wrapperspb.String(message)) == nil && lockStep {
			err = receive()
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		stream.CloseSend()
		for err == nil {
			if err = receive(); err == nil && !desc.ServerStreams {
				break
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	o.header, _ = stream.Header()
	o.trailer = stream.Trailer()
	o.end(err)
	return o
}

// mirrored waits for the calls to be with the shadow, and fails the test if
// there are others or their messages are not live's.
func (b *grpcBench) mirrored(t *testing.T, want ...call) {
	t.Helper()
	testbed.Eventually(t, patience, func() error {
		if got := b.shadow.calls(); len(got) < len(want) {
			return fmt.Errorf("the shadow got %v, want %v", got, want)
		}
		return nil
	})
	got := b.copies(t)
	if len(got) != len(want) {
		t.Fatalf("the shadow got %v, want %v", got, want)
	}
	for i := range want {
		if got[i].method != want[i].method || !slices.Equal(got[i].messages, want[i].messages) || got[i].err != nil {
			t.Errorf("the shadow got %v, want %v", got[i], want[i])
		}
		if marker := got[i].metadata.Get(testbed.MarkerHeader); !slices.Equal(marker, []string{"shadow-stream@file"}) &&
			!slices.Equal(marker, []string{"websecure-shadow-stream@file"}) {
			t.Errorf("the shadow got marker %q", marker)
		}
		for name, value := range map[string]string{"x-tenant": "meyer", "x-token-bin": "\x00\x01\xff"} {
			if !slices.Equal(got[i].metadata.Get(name), []string{value}) {
				t.Errorf("the shadow got metadata %v, want %s %q", got[i].metadata, name, value)
			}
		}
	}
}

// reached reports whether n calls come to the shadow within seconds.
func (b *grpcBench) reached(n int) bool {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if len(b.shadow.calls()) >= n {
			return true
		}
	}
	return false
}

// copies returns what the shadow has got by the time at which it has a unary
// call that is made now, without that one. The call is made again while it is not
// there: once in a great while live has answered before Traefik has seen that the
// call's message was its last, and then the call is not mirrored.
func (b *grpcBench) copies(t *testing.T) []call {
	t.Helper()
	ctx, _ := grpcContext(t)
	probe, next := "", time.Time{}
	testbed.Eventually(t, patience, func() error {
		if time.Now().After(next) {
			probe, next = fmt.Sprintf("probe %d", probes.Add(1)), time.Now().Add(2*time.Second)
			if o := b.unary(ctx, streamHost, probe); o.code != codes.OK {
				t.Fatalf("the probe ended with %s %s", o.code, o.message)
			}
		}
		if got := b.shadow.calls(); !slices.ContainsFunc(got, begins(probe)) {
			return fmt.Errorf("the shadow did not get the probe, but %v", got)
		}
		return nil
	})
	return slices.DeleteFunc(b.shadow.calls(), begins("probe "))
}

func begins(prefix string) func(call) bool {
	return func(c call) bool { return len(c.messages) > 0 && strings.HasPrefix(c.messages[0], prefix) }
}

func numbered(n, size int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("%04d %s", i, testbed.Payload(size)))
	}
	return list
}

// All kinds of calls end for the client as they do without the middleware, and
// with their copies go all messages, in order.
func TestGRPCCallsAreMirrored(t *testing.T) { inGRPCModes(t, testGRPCCallsAreMirrored) }

func testGRPCCallsAreMirrored(t *testing.T, b *grpcBench) {
	ctx, _ := grpcContext(t)
	few, many := numbered(5, 30), numbered(300, 150)
	stream := func(desc *grpc.StreamDesc, method string, messages []string, lockStep bool) func(string) outcome {
		return func(host string) outcome { return b.stream(ctx, host, desc, method, messages, lockStep) }
	}
	unary := func(message string) func(string) outcome {
		return func(host string) outcome { return b.unary(ctx, host, message) }
	}
	tests := []struct {
		name     string
		method   string
		messages []string
		call     func(host string) outcome
		code     codes.Code
		answers  int
	}{
		{"unary", book, []string{invoice}, unary(invoice), codes.OK, 1},
		{"unary, empty", book, []string{""}, unary(""), codes.OK, 1},
		{"unary, large", book, []string{testbed.Payload(50_000)}, unary(testbed.Payload(50_000)), codes.OK, 1},
		{"unary, refused", book, []string{"unknown customer"}, unary("unknown customer"), codes.NotFound, 0},
		{"client-streaming", uploads, few, stream(&uploadStream, uploads, few, false), codes.OK, 1},
		{"client-streaming, many", uploads, many, stream(&uploadStream, uploads, many, false), codes.OK, 1},
		{"server-streaming", statement, []string{invoice}, stream(&statementStream, statement, []string{invoice}, false), codes.OK, 3},
		{"bidirectional", reconcile, many, stream(&reconcileStream, reconcile, many, false), codes.OK, 300},
		{"bidirectional, in lock step", reconcile, few, stream(&reconcileStream, reconcile, few, true), codes.OK, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.live.reset()
			b.shadow.reset()
			want := test.call(plainHost)
			got := test.call(streamHost)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the client got %.300v, want %.300v", got, want)
			}
			if want.code != test.code || len(want.answers) != test.answers {
				t.Errorf("without the middleware %d answers and %s, want %d and %s", len(want.answers), want.code, test.answers, test.code)
			}
			wanted := call{method: test.method, messages: test.messages}
			if calls := b.live.calls(); len(calls) != 2 || calls[1].method != wanted.method || !slices.Equal(calls[1].messages, wanted.messages) {
				t.Errorf("live got %v, want %v twice", calls, wanted)
			}
			if !b.reached(1) {
				test.call(streamHost) // see copies
			}
			b.mirrored(t, wanted)
		})
	}
}

// gRPC wants the end of a call in a DATA frame, though it be empty, and does not
// see one that comes with the headers.
func TestGRPCCallWithoutMessages(t *testing.T) { inGRPCModes(t, testGRPCCallWithoutMessages) }

func testGRPCCallWithoutMessages(t *testing.T, b *grpcBench) {
	ctx, _ := grpcContext(t)
	want := b.stream(ctx, plainHost, &uploadStream, uploads, nil, false)
	if got := b.stream(ctx, streamHost, &uploadStream, uploads, nil, false); !reflect.DeepEqual(got, want) || !slices.Equal(got.answers, []string{"0"}) {
		t.Errorf("the client got %v, want %v", got, want)
	}
	b.mirrored(t, call{method: uploads})
}

// Calls that do not come to their end, or are too large, are live's alone.
func TestGRPCCallsThatAreNotMirrored(t *testing.T) { inGRPCModes(t, testGRPCCallsThatAreNotMirrored) }

func testGRPCCallsThatAreNotMirrored(t *testing.T, b *grpcBench) {
	const each = 10_000
	large := numbered(grpcLimit/each+1, each)
	tests := []struct {
		name string
		call func(t *testing.T, host string) outcome
		code codes.Code
	}{
		{"above the limit, in lock step", func(t *testing.T, host string) outcome {
			ctx, _ := grpcContext(t)
			return b.stream(ctx, host, &reconcileStream, reconcile, large, true)
		}, codes.OK},
		{"above the limit, client-streaming", func(t *testing.T, host string) outcome {
			ctx, _ := grpcContext(t)
			return b.stream(ctx, host, &uploadStream, uploads, large, false)
		}, codes.OK},
		{"above the limit, unary", func(t *testing.T, host string) outcome {
			ctx, _ := grpcContext(t)
			return b.unary(ctx, host, testbed.Payload(grpcLimit+1))
		}, codes.OK},
		{"cancelled by the client", func(t *testing.T, host string) (o outcome) {
			ctx, cancel := grpcContext(t)
			stream, err := b.conns[host].NewStream(ctx, &reconcileStream, reconcile)
			for i := 0; i < 3 && err == nil; i++ {
				if err = stream.SendMsg(wrapperspb.String(invoice)); err == nil {
					err = stream.RecvMsg(new(wrapperspb.StringValue))
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			o.end(stream.RecvMsg(new(wrapperspb.StringValue)))
			return o
		}, codes.Canceled},
		{"past its deadline", func(t *testing.T, host string) (o outcome) {
			ctx, _ := grpcContext(t)
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			stream, err := b.conns[host].NewStream(ctx, &uploadStream, uploads)
			if err == nil {
				err = stream.SendMsg(wrapperspb.String(invoice))
			}
			if err == nil {
				err = stream.RecvMsg(new(wrapperspb.StringValue))
			}
			o.code = status.Code(err) // its message may be the client's or the server's
			// Where live gives up before the client does, the proxy of v2.11.14
			// and v3.0.0 answers 500, with the middleware or without. That of
			// v3.6.12 and newer was not seen to.
			if o.code == codes.Unknown && strings.Contains(status.Convert(err).Message(), "500") && !b.Release().Has("v3.6.12") {
				o.code = codes.DeadlineExceeded
			}
			return o
		}, codes.DeadlineExceeded},
		{"ended by live first", func(t *testing.T, host string) (o outcome) {
			ctx, _ := grpcContext(t)
			stream, err := b.conns[host].NewStream(ctx, &uploadStream, uploads)
			if err == nil {
				err = stream.SendMsg(wrapperspb.String("unknown customer"))
			}
			if err == nil {
				err = stream.RecvMsg(new(wrapperspb.StringValue))
			}
			o.trailer = stream.Trailer()
			o.end(err)
			return o
		}, codes.NotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.shadow.reset()
			b.live.reset()
			want := test.call(t, plainHost)
			got := test.call(t, streamHost)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the client got %.300v, want %.300v", got, want)
			}
			if want.code != test.code {
				t.Errorf("without the middleware the call ends with %s (%s), want %s", want.code, want.message, test.code)
			}
			testbed.Eventually(t, patience, func() error { // live hears of every end, a cancellation too
				calls := b.live.calls()
				if len(calls) != 2 || !slices.Equal(calls[0].messages, calls[1].messages) || (calls[0].err == nil) != (calls[1].err == nil) {
					return fmt.Errorf("live got %v, want the same twice", calls)
				}
				return nil
			})
			b.mirrored(t)
		})
	}
}

// The messages of a unary call are there before its end is: it is mirrored
// though the client gives up, and live and the shadow hear its deadline.
func TestGRPCDeadlineOfAUnaryCall(t *testing.T) {
	b := runGRPC(t, "https", testbed.Values{})
	for _, host := range []string{plainHost, streamHost} {
		ctx, cancel := grpcContext(t)
		done := make(chan outcome, 1)
		go func() { done <- b.unary(ctx, host, "wait") }()
		if got := testbed.Await(t, patience, "live has not got the call", b.live.entered); got != "wait" {
			t.Errorf("live got %q, want wait", got)
		}
		if host == streamHost {
			testbed.Await(t, patience, "the shadow has not got the call", b.shadow.entered)
		}
		cancel()
		if o := testbed.Await(t, patience, "the call does not end", done); o.code != codes.Canceled {
			t.Errorf("%s: the call ends with %s, want Canceled", host, o.code)
		}
	}
	b.mirrored(t, call{method: book, messages: []string{"wait"}})
	for who, l := range map[string]*ledger{"live": b.live, "the shadow": b.shadow} {
		if got := l.calls()[0].metadata.Get("x-tenant"); !slices.Equal(got, []string{"meyer"}) {
			t.Errorf("%s got tenant %q, want meyer", who, got)
		}
	}
}

// slow is how long a call takes at most whose copy is mirrored: as long as timeout.
const slow = 4500 * time.Millisecond

// A gRPC server ends connections that are pinged more often than it likes, and what is
// under way on them. The mirror's are not: neither between calls nor in slow ones.
func TestGRPCShadowTakesNoOffenceAtPings(t *testing.T) {
	b := runGRPC(t, "https", testbed.Values{})
	ctx, _ := grpcContext(t)
	for range 2 {
		for _, message := range []string{invoice, "slow"} {
			if o := b.unary(ctx, streamHost, message); o.code != codes.OK {
				t.Fatalf("the call ended with %s %s", o.code, o.message)
			}
			time.Sleep(2900 * time.Millisecond) // just before an idle connection is closed
		}
	}
	if strings.Contains(b.Log(), "the shadow failed") {
		t.Error("a copy was lost")
	}
}

// In buffer mode gRPC passes untouched: lock step would not, if it did not.
func TestGRPCIsNotMirroredInBufferMode(t *testing.T) {
	b := runGRPC(t, "https", testbed.Values{})
	ctx, _ := grpcContext(t)
	messages := numbered(5, 1000)
	for _, lockStep := range []bool{true, false} {
		want := b.stream(ctx, plainHost, &reconcileStream, reconcile, messages, lockStep)
		if got := b.stream(ctx, bufferHost, &reconcileStream, reconcile, messages, lockStep); !reflect.DeepEqual(got, want) || got.code != codes.OK {
			t.Errorf("the client got %v, want %v", got, want)
		}
	}
	if got, want := b.unary(ctx, bufferHost, invoice), b.unary(ctx, plainHost, invoice); !reflect.DeepEqual(got, want) || got.code != codes.OK {
		t.Errorf("the client got %v, want %v", got, want)
	}
	b.mirrored(t)
}

// gRPC needs HTTP/2, which an http URL is not: a gRPC server behind one gets nothing
// that it understands. Live does not notice.
func TestGRPCShadowWithAnHTTPURL(t *testing.T) {
	b := &grpcBench{live: runLedger(t), shadow: runLedger(t)}
	b.start(t, "http://"+b.shadow.addr, nil)
	ctx, _ := grpcContext(t)
	messages := numbered(5, 1000)
	for range 20 {
		want := b.stream(ctx, plainHost, &reconcileStream, reconcile, messages, true)
		if got := b.stream(ctx, streamHost, &reconcileStream, reconcile, messages, true); !reflect.DeepEqual(got, want) || got.code != codes.OK {
			t.Errorf("the client got %v, want %v", got, want)
		}
		if got, want := b.unary(ctx, streamHost, invoice), b.unary(ctx, plainHost, invoice); !reflect.DeepEqual(got, want) || got.code != codes.OK {
			t.Errorf("the client got %v, want %v", got, want)
		}
	}
	if err := b.WaitLog(ctx, "the shadow failed"); err != nil {
		t.Error(err)
	}
	if got := b.shadow.calls(); len(got) > 0 {
		t.Errorf("the shadow got %v", got)
	}
}
