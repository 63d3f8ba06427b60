// Package interpreted measures the plugin as Yaegi runs it, without Traefik, so
// that what a change costs shows in microseconds and bytes:
//
//	go test -run '^$' -bench . -benchmem ./interpreted
//
// Every benchmark runs interpreted and native: the same source, compiled.
package interpreted

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/traefik/yaegi/interp"
	"github.com/traefik/yaegi/stdlib"

	"github.com/trafficshadow/mirror"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	mirrorPath      = "github.com/trafficshadow/mirror"
	passThroughPath = "github.com/trafficshadow/passthrough"
)

func TestMain(m *testing.M) {
	// The plugin reports what the shadow does not answer, and some shadows here
	// are not meant to.
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// settings are a middleware's options, see set.
type settings map[string]string

// An engine makes the middleware: interpreted, or compiled natively.
type engine struct {
	name string
	make func(tb testing.TB, next http.Handler, s settings) http.Handler
}

var engines = []engine{{"interpreted", interpretedMirror}, {"native", nativeMirror}}

// made numbers the middlewares: those of one name would share their state.
var made atomic.Int64

func name() string { return fmt.Sprintf("bench-%d@file", made.Add(1)) }

func nativeMirror(tb testing.TB, next http.Handler, s settings) http.Handler {
	tb.Helper()
	config := mirror.CreateConfig()
	set(reflect.ValueOf(config), s)
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	h, err := mirror.New(ctx, next, config, name())
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func interpretedMirror(tb testing.TB, next http.Handler, s settings) http.Handler {
	tb.Helper()
	return interpret(tb, mirrorPath, "mirror", next, s)
}

// placesOf returns how many places are taken in the interpreted mirror that was made
// last. It looks into the interpreter, because the report, which could be asked,
// changes what is measured: somebody looks then.
func placesOf(tb testing.TB) *atomic.Int64 {
	tb.Helper()
	i, err := interpreter()
	if err != nil {
		tb.Fatal(err)
	}
	mirrors, err := i.Eval("mirror.mirrors")
	if err != nil {
		tb.Fatal(err)
	}
	m := mirrors.MapIndex(reflect.ValueOf(fmt.Sprintf("bench-%d@file", made.Load())))
	if !m.IsValid() {
		tb.Fatal("the plugin does not know the mirror that was made last")
	}
	// The interpreter gives fields it makes a prefix.
	return m.Elem().FieldByName("XinFlight").Addr().Interface().(*atomic.Int64)
}

// whenLanded returns a function that waits until the worker has given back the
// place of the request that was sent last: the shadow's part is over then. Compiled
// there is no look at the places; the rest of the worker's part is short.
func whenLanded(tb testing.TB, e engine, answered <-chan struct{}) func() {
	tb.Helper()
	if e.name == "native" {
		return func() { <-answered }
	}
	places := placesOf(tb)
	return func() {
		<-answered
		// A sleep lets the worker run where there is one processor; it allocates nothing.
		for places.Load() != 0 {
			time.Sleep(5 * time.Microsecond)
		}
	}
}

// interpreter loads both plugins as Traefik loads one: from a GOPATH, with the
// standard library's symbols.
var interpreter = sync.OnceValues(func() (*interp.Interpreter, error) {
	root, err := testbed.RepoRoot()
	if err != nil {
		return nil, err
	}
	passThrough, err := testbed.PassThrough()
	if err != nil {
		return nil, err
	}
	gopath, err := os.MkdirTemp("", "mirror-gopath-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(gopath)
	// The interpreter has a log of its own, see TestMain.
	i := interp.New(interp.Options{GoPath: gopath, Stdout: io.Discard, Stderr: io.Discard})
	if err := i.Use(stdlib.Symbols); err != nil {
		return nil, err
	}
	for path, dir := range map[string]string{mirrorPath: root, passThroughPath: passThrough.Dir} {
		at := filepath.Join(gopath, "src", filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return nil, err
		}
		if err := os.Symlink(dir, at); err != nil {
			return nil, err
		}
		if _, err := i.Eval(`import "` + path + `"`); err != nil {
			return nil, err
		}
	}
	return i, nil
})

// interpret makes a middleware of a plugin as Traefik does.
func interpret(tb testing.TB, path, pkg string, next http.Handler, s settings) http.Handler {
	tb.Helper()
	i, err := interpreter()
	if err != nil {
		tb.Fatalf("loading %s: %v", path, err)
	}
	createConfig, err := i.Eval(pkg + ".CreateConfig")
	if err != nil {
		tb.Fatal(err)
	}
	newHandler, err := i.Eval(pkg + ".New")
	if err != nil {
		tb.Fatal(err)
	}
	config := createConfig.Call(nil)[0]
	set(config, s)
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	results := newHandler.Call([]reflect.Value{
		reflect.ValueOf(ctx), reflect.ValueOf(&next).Elem(), config, reflect.ValueOf(name()),
	})
	if err, failed := results[1].Interface().(error); failed {
		tb.Fatal(err)
	}
	return results[0].Interface().(http.Handler)
}

// with returns both settings together.
func (s settings) with(more settings) settings {
	both := maps.Clone(more)
	if both == nil {
		both = settings{}
	}
	maps.Copy(both, s)
	return both
}

// set sets the options, as Traefik's decoder does. Those within a map are named with
// a dot, as in compare.examples.
func set(config reflect.Value, s settings) {
	options := map[string]any{}
	for name, value := range s {
		options[name] = value
	}
	if field := config.Elem().FieldByName("Options"); field.IsValid() { // the pass-through plugin has none
		field.Set(reflect.ValueOf(options))
	}
}

// A kind is one kind of request, and what the plugin is to do with its body.
type kind struct {
	name    string
	size    int // of the body
	chunked bool
	set     settings

	answer       []byte // live's, JSON; nil: none
	shadowAnswer []byte // the shadow's, JSON; nil: two bytes of text
}

var kinds = []kind{
	{name: "GET"},
	{name: "POST-1KiB", size: 1 << 10},
	{name: "POST-64KiB", size: 64 << 10},
	{name: "POST-1MiB", size: 1 << 20},
	{name: "chunked-1KiB", size: 1 << 10, chunked: true},
	{name: "stream-1KiB", size: 1 << 10, set: settings{"bodyMode": "stream"}},
	{name: "stream-chunked-1KiB", size: 1 << 10, chunked: true, set: settings{"bodyMode": "stream"}},
	{name: "stream-1MiB", size: 1 << 20, set: settings{"bodyMode": "stream"}},
	{name: "sequence-GET", set: inSequence},
	{name: "sequence-1KiB", size: 1 << 10, set: inSequence},
	{name: "compare-GET", set: compared, answer: invoice, shadowAnswer: invoice},
	{name: "compare-1KiB", size: 1 << 10, set: compared, answer: invoice, shadowAnswer: invoice},
	{name: "compare-1KiB-differing", size: 1 << 10, set: compared, answer: invoice, shadowAnswer: differing},
}

// inSequence has copies with the same client wait for one another.
var inSequence = settings{"sequenceBy": "header:X-Real-Ip"}

// losing has the mirror note who has lost a change, too.
var losing = inSequence.with(compared)

// compared turns comparing on, with its defaults.
var compared = settings{"compare.body": "json"}

// The answers that are compared. Those that differ do so as two services' answers
// will: in an identifier.
var (
	invoice   = []byte(`{"id":"inv-7d19c2","number":"2024-0117","status":"booked","customer":{"number":"C-20817","name":"Meyer & Söhne"},"lines":[{"text":"Hosting, January","quantity":1,"net":"1000.00","vat":"190.00"},{"text":"Domain","quantity":2,"net":"24.00","vat":"4.56"}],"net":"1024.00","vat":"194.56","total":"1218.56"}`)
	differing = bytes.Replace(invoice, []byte("inv-7d19c2"), []byte("inv-03be5a"), 1)
)

// A source makes requests as Traefik hands them to a plugin, with the headers
// that it has added by then. One request is used again and again, so that making
// it does not show.
type source struct {
	kind
	req    *http.Request
	bodies []io.ReadCloser // those that are ready
}

// bodies is how many bodies are made at once.
const bodies = 64

func newSource(k kind) *source {
	s := &source{kind: k}
	method := http.MethodPost
	if k.size == 0 {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, "http://billing.example/invoices/2026?customer=42", nil)
	if err != nil {
		panic(err)
	}
	req.RequestURI = "/invoices/2026?customer=42"
	req.RemoteAddr = "127.0.0.1:1234"
	req.Header = http.Header{
		"Accept": {"*/*"}, "Content-Type": {"application/json"}, "User-Agent": {"curl/8"},
		"X-Forwarded-Host": {"billing.example"}, "X-Forwarded-Port": {"80"}, "X-Forwarded-Proto": {"http"},
		"X-Forwarded-Server": {"traefik"}, "X-Real-Ip": {"127.0.0.1"},
	}
	s.req = req
	return s
}

// next returns the request as new. Its body is one that net/http's server makes.
func (s *source) next() *http.Request {
	s.req.TransferEncoding = nil
	switch {
	case s.size == 0:
		s.req.Body, s.req.ContentLength = http.NoBody, 0
		return s.req
	case s.chunked:
		s.req.TransferEncoding = []string{"chunked"}
		s.req.ContentLength = -1
	default:
		s.req.ContentLength = int64(s.size)
	}
	if len(s.bodies) == 0 {
		panic("no body is ready: see prepare")
	}
	s.req.Body = s.bodies[0]
	s.bodies = s.bodies[1:]
	return s.req
}

// prepare makes bodies, if there are none left, and reports whether it has.
func (s *source) prepare() bool {
	if s.size == 0 || len(s.bodies) > 0 {
		return false
	}
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: billing.example\r\nContent-Length: %d\r\n\r\n", s.size)
	tail := ""
	if s.chunked {
		head = fmt.Sprintf("POST / HTTP/1.1\r\nHost: billing.example\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", s.size)
		tail = "\r\n0\r\n\r\n"
	}
	text := head + strings.Repeat("x", s.size) + tail
	n := max(1, min(bodies, 16<<20/len(text)))
	for range n {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			panic(err)
		}
		s.bodies = append(s.bodies, req.Body)
	}
	return true
}

// discard is the cheapest ResponseWriter that there can be.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// responder is a shadow that allocates nothing for a request: the requests are
// all of one kind. It tells answered of each.
func responder(tb testing.TB, k kind, answered chan<- struct{}) string {
	tb.Helper()
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	if k.shadowAnswer != nil {
		answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(k.shadowAnswer), k.shadowAnswer)
	}
	u, err := testbed.NewRawUpstream(func(conn net.Conn) {
		r := bufio.NewReaderSize(conn, 64<<10)
		for {
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == len("\r\n") {
					break
				}
			}
			if _, err := r.Discard(k.size); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
			answered <- struct{}{}
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(u.Stop)
	return u.URL()
}
