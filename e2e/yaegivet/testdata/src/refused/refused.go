// Package refused has one of each thing that is refused.
package refused

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps" // want `import of "maps": it does not load`
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing/synctest" // want `import of "testing/synctest": Yaegi v0.16.1 does not have it`
	"time"
	"unsafe" // want `import of "unsafe": Traefik does not give it to plugins`

	"example.com/elsewhere" // want `import of "example.com/elsewhere": the plugin would have to be delivered with it`
)

var (
	_ unsafe.Pointer
	_ = elsewhere.Name
	_ = synctest.Wait
)

func selects(a chan int) {
	select { // want `select shares its cases`
	case <-a:
	default:
	}
}

type readCloser struct {
	io.Reader // want `struct that embeds an interface`
	io.Closer // want `struct that embeds an interface`
}

var _ = struct{ io.Reader }{} // want `struct that embeds an interface`

type invoice struct {
	*bytes.Buffer // want `struct that embeds a compiled type with methods`
	time.Duration // want `struct that embeds a compiled type with methods`
}

type writer struct { // want `type writer wraps http.ResponseWriter`
	w    http.ResponseWriter
	code int
}

func (w *writer) Header() http.Header         { return w.w.Header() }
func (w *writer) Write(p []byte) (int, error) { return w.w.Write(p) }
func (w *writer) WriteHeader(code int)        { w.code = code; w.w.WriteHeader(code) }

func deferArguments(ms []*sync.Mutex, f func()) {
	defer fmt.Print(len(ms))    // want `defer with arguments`
	defer func(n int) {}(3)     // want `defer with arguments`
	defer close(make(chan int)) // want `defer with arguments`
	defer ms[0].Unlock()        // want `defer with a receiver that is computed`
	for range ms {
		defer f() // want `defer in a loop`
	}
	m := ms[0]
	defer m.Unlock() // want `defer on m, which changes later`
	m = ms[1]
	_ = m
}

func goMethods(ts []*twin, t *twin) {
	go ts[0].run()   // want `go on a method` `goroutine without a recover`
	go t.run()       // want `go on a method` `goroutine without a recover`
	go fmt.Print(ts) // want `go on a method` `goroutine without a recover`
}

func ranges(seq func(func(int) bool)) {
	for range 3 { // want `range over an integer`
	}
	for range seq { // want `range over a function`
	}
}

func rangesOfChannels(s []chan int, a [2]chan int, m map[string]chan int) {
	for _, ch := range s { // want `range with the values of a slice, an array or a map of channels`
		ch <- 1
	}
	for _, ch := range a { // want `range with the values of a slice, an array or a map of channels`
		ch <- 1
	}
	for _, ch := range m { // want `range with the values of a slice, an array or a map of channels`
		ch <- 1
	}
}

func builtins(m map[string]int) int {
	clear(m)                      // want `builtin clear`
	return min(1, max(2, len(m))) // want `builtin min` `builtin max`
}

func missing(m map[string]int, s []string) {
	slices.Sort(s)                      // want `slices.Sort: Yaegi v0.16.1 does not have it`
	slices.SortFunc(s, strings.Compare) // want `slices.SortFunc: .* use sort.Slice`
	_ = slices.Clone(s)                 // want `slices.Clone`
	_ = maps.Clone(m)                   // the import is refused
	var p atomic.Pointer[twin]          // want `sync/atomic.Pointer: .* use atomic.Value`
	_ = p.Load()
	_ = sync.OnceValue(func() int { return 1 })                 // want `sync.OnceValue`
	_, _ = sync.OnceValues(func() (int, int) { return 1, 2 })() // want `sync.OnceValues`
	for range strings.SplitSeq("a b", " ") {                    // want `strings.SplitSeq: Yaegi` `range over a function`
	}
}

func literals(t *roundTripper, d *net.Dialer) {
	_ = &http.Client{Transport: t}                  // want `interpreted type for field Transport`
	_ = http.Client{Transport: roundTripper{}}      // want `interpreted type for field Transport`
	_ = &http.Server{Handler: handlerFunc(nil)}     // want `interpreted type for field Handler`
	_ = &http.Transport{DialContext: d.DialContext} // want `method value \(\*net.Dialer\).DialContext of a compiled type`
	transport := &http.Transport{}
	time.AfterFunc(time.Second, transport.CloseIdleConnections)      // want `method value` `goroutine without a recover`
	_ = &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0)} // want `log.New for a compiled struct's field`
	proxy := &httputil.ReverseProxy{}
	proxy.ErrorLog = log.New(io.Discard, "", 0) // want `log.New for a compiled struct's field`
}

type roundTripper struct{ a int }

func (roundTripper) RoundTrip(_ *http.Request) (*http.Response, error) { return nil, nil }

type handlerFunc func(http.ResponseWriter, *http.Request)

func (handlerFunc) ServeHTTP(http.ResponseWriter, *http.Request) {}

type failure struct{ reason string }

func (f *failure) Error() string   { return f.reason }
func (f *failure) Unwrap() error   { return io.EOF } // want `method Unwrap: errors.Is does not see`
func (f *failure) Is(_ error) bool { return true }   // want `method Is: errors.Is does not see`
func (f *failure) As(_ any) bool   { return true }   // want `method As: errors.As does not see`
func (f *failure) Timeout() bool   { return true }   // want `method Timeout: net.Error does not see`
func (f *failure) Temporary() bool { return true }   // want `method Temporary: net.Error does not see`

var errFailure = &failure{}

func failures(err error) error {
	var f *failure
	if errors.As(err, &f) { // want `errors.As with failure, an interpreted type`
		return nil
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) { // want `errors.As with an interface that has no name`
		return nil
	}
	if errors.Is(err, errFailure) { // want `errors.Is with failure, an interpreted type`
		return nil
	}
	return errors.Join(err, f) // want `interpreted type for a compiled function's variadic interface`
}

func panics(f func()) {
	defer func() {
		if v := recover(); v != nil {
			panic(v) // want `recover and panic again` `panic with an error or an interface`
		}
	}()
	f()
	panic(http.ErrAbortHandler) // want `panic\(http.ErrAbortHandler\)`
}

func panicsWithError(f *failure) {
	if f != nil {
		panic(f) // want `panic with an error or an interface`
	}
	panic(io.ErrUnexpectedEOF) // want `panic with an error or an interface`
}

func ends(l *log.Logger) {
	os.Exit(1)                         // want `call that would end the process`
	log.Fatal("no invoices")           // want `call that would end the process`
	log.Fatalf("no invoices")          // want `call that would end the process`
	l.Fatalln("no invoices")           // want `call that would end the process`
	_, _ = os.FindProcess(os.Getpid()) // want `os.FindProcess`
}

type key struct{}
type name string

func keys(ctx context.Context) {
	_ = context.WithValue(ctx, key{}, 1)      // want `context key of an interpreted type`
	_ = context.WithValue(ctx, name("a"), 1)  // want `context key of an interpreted type`
	_ = context.WithValue(ctx, struct{}{}, 1) // want `context key of an interpreted type`
}

func assignments(req *http.Request) {
	req.Body, req.ContentLength = nil, 0 // want `assignment of nil among several values`

	fields, want := strings.Fields("a b"), []string{"a", "b"} // want `composite literal beside a call`
	fmt.Print(fields, want)
}

func assertions(err error) string {
	if e, ok := err.(*net.OpError); ok { // want `type assertion on an error`
		return e.Op
	}
	return ""
}

func assigned(xs []string) string {
	last := ""
	for _, last = range xs { // want `range that assigns to variables from outside the loop`
	}
	return last
}

func loops(xs []string, m map[string]string, v any) []func() string {
	var fs []func() string
	for i := 0; i < 3; i++ {
		go func() { fmt.Print(i) }() // want `i in a function literal` `goroutine without a recover` `function literal in a loop for another goroutine`
	}
	for _, x := range xs {
		fs = append(fs, func() string { return x }) // want `x in a function literal`
	}
	for i := range xs {
		defer1(&i) // want `address of i`
	}
	for i := 0; i < 3; i++ {
		y, ok := m[xs[i]]
		fs = append(fs, func() string { return fmt.Sprint(y, ok) }) // want `y in a function literal` `ok in a function literal`
		if z, ok := v.(string); ok {
			fs = append(fs, func() string { return z }) // want `z in a function literal`
		}
		switch w := v.(type) {
		case string:
			fs = append(fs, func() string { return w }) // want `w in a function literal`
		}
	}
	return fs
}

func defer1(*int) {}

func sum(xs []int) (total int) { // want `named result total`
	for _, x := range xs {
		total += x
	}
	return total
}

func open(ok bool) (err error) { // want `named result err`
	if !ok {
		err = io.EOF
	}
	return
}

func recovers(f func() int) int { // want `function with results that recovers`
	defer func() { recover() }()
	return f()
}

func recoversNamed(f func() int) (n int, err error) { // want `function with results that recovers`
	err = nil
	defer func() {
		if recover() != nil {
			err = io.EOF
		}
	}()
	return f(), nil
}

func recoversElsewhere(f func() int) int { // want `function with results that recovers`
	defer catch()
	return f()
}

func catch() { recover() }

type twin struct{ n int }
type other struct{ n int }

func (t *twin) run() {}

type flusher interface{ Flush() }

func tests(v any, w http.ResponseWriter) {
	switch v.(type) {
	case io.Closer: // want `type switch with an interface as a case: .* x.\(io.Closer\)`
	case *twin: // want `type test for twin, which has the structure of other`
	}
	_, _ = v.(other)                // want `type test for other, which has the structure of twin`
	_, _ = w.(interface{ Flush() }) // want `type assertion to an interface of the plugin's own`
	_, _ = w.(flusher)              // want `type assertion to an interface of the plugin's own`
	var f, g flusher
	_ = f == g // want `comparison of interface values`
	s := "x"
	_ = v == s        // want `comparison of interface values`
	_ = map[any]int{} // want `map with an interface for a key`
	_ = (*twin).run   // want `method expression`
}

type duration time.Duration

func (d duration) MarshalJSON() ([]byte, error)  { return nil, nil } // want `method MarshalJSON: encoding/json does not see`
func (d *duration) UnmarshalText(p []byte) error { return nil }      // want `method UnmarshalText`
func (d duration) LogValue() int                 { return 0 }        // want `method LogValue: log/slog does not see`

//yaegivet:allow
func withoutReason(a chan int) {
	//yaegivet:allow
	select { // want `select shares its cases`
	case <-a:
	}
}

func severalConditions(a, b int) bool {
	switch {
	case a == 1, b == 2: // want `case with several conditions`
		return true
	}
	switch a {
	case 1, 2:
		return true
	}
	return false
}

func namelessParameters(_ int, _ string) func(int, string) int {
	return func(int, string) int { return 3 } // want `parameter without a name` `parameter without a name`
}

func endTraefik(ctx context.Context, t *twin) {
	go print3(3)                                            // want `goroutine without a recover`
	time.AfterFunc(time.Second, func() { print3(3) })       // want `goroutine without a recover`
	context.AfterFunc(ctx, func() { t.run(); t.run() })     // want `goroutine without a recover`
	go func() { defer fmt.Print(); print3(3) }()            // want `goroutine without a recover`
	go func() { print3(3); defer func() { recover() }() }() // want `goroutine without a recover`
}

func print3(n int) { fmt.Print(n) }

var startPrinting func(int)

func init() { startPrinting = print3 }

func startThroughVariable(f func(int)) {
	go startPrinting(3) // want `goroutine without a recover`
	go f(3)             // want `goroutine without a recover`
}

type box struct {
	v     int
	inner tally
}

type tally struct {
	mu sync.Mutex
	n  int
}

func (t *tally) add() { t.n++ }

func receives(ch chan int, b *box, s []int) int {
	var v int
	v = <-ch      // want `receive without two named results`
	w := <-ch     // want `receive without two named results`
	v, _ = <-ch   // want `receive without two named results`
	b.v = <-ch    // want `receive without two named results`
	s[0] = <-ch   // want `receive without two named results`
	b.inner.add() // want `method of an interpreted struct called on a field`
	return v + w
}

var first, second = two() // want `package variables set by one call`

func two() (int, int) { return 1, 2 }

var total = sumOfRates() // want `package variable set by a function that reads rates, which is set later`

var shown = fmt.Sprint(formatted()) // want `package variable set by a function that reads rates`

func formatted() string { return fmt.Sprint(sumOfRates()) }

func sumOfRates() int { return rates[0] + rates[1] }

var rates = []int{7, 19}

var unit = unitOf(0) // want `package variable set by a function that reads units, which is set later`

func unitOf(i int) string { return units[i] }

var (
	mapped = strings.Map(shift, "invoice")              // want `package variable set by a function that reads units`
	called = func() string { return unitOf(0) + "x" }() // want `package variable set by a function that reads units`
)

var (
	most   = limit   // waits for limit
	double = twice() // want `package variable set by a function that reads most`
	limit  = 7
)

func twice() int { return 2 * most }

func shift(r rune) rune { return r + rune(len(units)) }

// Laid out for connection, a shadow is not what it is when it is laid out for itself.
type shadow struct {
	connections map[string]*connection
	workers     workers
}

type connection struct { // want `type connection has two types that refer back to themselves, connection and shadow`
	of *shadow
}

type workers []*worker

type worker struct { // want `type worker has two types that refer back to themselves, worker and connection`
	start func(*shadow)
}

type branch struct { // want `type branch has two types that refer back to themselves, branch and leaf`
	parent *branch
	leaf   *leaf
}

type leaf struct{ next *leaf }

type page struct{ next *page }

type report struct { // want `type report has two types that refer back to themselves, leaf and page`
	leaves []leaf
	pages  map[string]page
}

func runForever() {
	defer func() { recover() }()
	go runForever() // want `goroutine or timer that leads to itself through runForever`
}

func restarts() {
	defer func() {
		recover()
		go restarts() // want `goroutine or timer that leads to itself through restarts`
	}()
}

func summarize() {
	defer func() { recover() }()
	summarizeLater()
}

func summarizeLater() {
	time.AfterFunc(time.Minute, summarize)              // want `goroutine or timer that leads to itself through summarize`
	time.AfterFunc(time.Minute, func() { summarize() }) // want `goroutine or timer that leads to itself through summarize`
}

type watcher struct{ n int }

func (w *watcher) watch(ctx context.Context) {
	context.AfterFunc(ctx, func() { w.gone(ctx) }) // want `goroutine or timer that leads to itself through gone`
}

func (w *watcher) gone(ctx context.Context) {
	defer func() { recover() }()
	w.watch(ctx)
}

const paused = 1 << 40

func hides(invoices *atomic.Int64, days *uint64) {
	invoices.Add(paused)            // want `large number added to a counter`
	invoices.Add(-paused)           // want `large number added to a counter`
	atomic.AddUint64(days, 1<<62+1) // want `large number added to a counter`
}
