// Package good has what is right in the places where package refused is wrong.
package good

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type counter struct {
	mu    sync.Mutex
	total atomic.Int64
	last  atomic.Value
	body  io.Reader
}

func (c *counter) Read(p []byte) (int, error) { return c.body.Read(p) }

func (c *counter) add() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n += c.total.Add(1) // results of methods start with zero
	return
}

type options struct {
	sync.Mutex
	*counter
	header
}

type header map[string]string

func send(c *counter, n int) {
	defer func() {
		if v := recover(); v != nil {
			c.total.Add(1)
		}
	}()
	c.total.Add(int64(n))
}

func start(c *counter, xs []int) {
	for i, x := range xs {
		go send(c, x)
		func() { c.total.Add(int64(x)) }()
		sendLater(c, i)
	}
	sort.Slice(xs, func(i, j int) bool { return xs[i] < xs[j] })
	for i := 0; i < 3; i++ {
		fmt.Print(i, slices.Contains(xs, i), rand.IntN(3))
	}
}

func transport() *http.Transport {
	d := &net.Dialer{}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return d.DialContext(ctx, network, address)
		},
	}
}

type exchange struct{ calls int }

func (e *exchange) RoundTrip(_ *http.Request) (*http.Response, error) { return nil, io.EOF }

func (e *exchange) failed(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(e.calls) }

func clients() *http.Client {
	e := &exchange{}
	var t http.RoundTripper = e
	proxy := &httputil.ReverseProxy{Transport: t}
	proxy.ErrorHandler = e.failed
	if proxy.Transport == nil {
		return &http.Client{Transport: transport()}
	}
	return &http.Client{Transport: t}
}

var errLarge = errors.New("too large")

func failures(err error) string {
	var large *http.MaxBytesError
	if errors.As(err, &large) || errors.Is(err, errLarge) || err == io.EOF {
		return fmt.Sprint(errors.Join(err, errLarge))
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return "timeout"
	}
	return ""
}

func value(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string, []string:
		return fmt.Sprint(v)
	case *counter:
		return "counter"
	}
	if v == "constant" || v == nil {
		return "constant"
	}
	return ""
}

func body(req *http.Request) bool {
	req.Body = nil
	req.ContentLength = 0
	var end io.Reader = &counter{body: bytes.NewReader(nil)}
	req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(nil), end))
	return req.Body == http.NoBody
}

func split(s []string) (first string, rest []string, err error) {
	if len(s) == 0 {
		return "", nil, errLarge
	}
	return s[0], s[1:], nil
}

func recovers(f func()) (err error) {
	err = nil
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	f()
	return err
}

var contextKey = new(int)

var once = sync.OnceFunc(func() { fmt.Print("once") })

func keep(ctx context.Context, f func(), done chan struct{}) context.Context {
	defer f()
	defer func() { close(done) }()
	return context.WithValue(ctx, contextKey, "kept")
}

func smallest[T int | float64](a, b T) T {
	if a < b {
		return a
	}
	return b
}

func allowed(a chan int) {
	//yaegivet:allow only one goroutine runs it
	select {
	case <-a:
	default:
	}
}

var startSending func(*counter, int)

func init() { startSending = send }

func startThroughVariable(c *counter) { go startSending(c, 1) }

func sendLater(c *counter, i int) {
	go func(n int) { send(c, n) }(i)
	time.AfterFunc(time.Second, func() { send(c, i) })
}

func receive(ch chan int, done chan bool) int {
	var v int
	var ok bool
	<-done
	v, ok = <-ch
	if w, more := <-ch; ok && more {
		v += w
	}
	return v
}

type holder struct {
	by    *counter
	total struct{ atomic.Int64 }
}

func (c *counter) count() { c.total.Add(1) }

func (h *holder) count() { h.by.count() }

func closeAll(s []chan int, m map[string]chan int, chs chan chan int, hs []holder) {
	for i := range s {
		close(s[i])
	}
	for key := range m {
		close(m[key])
	}
	for ch := range chs {
		close(ch)
	}
	for _, h := range hs {
		h.by.count()
	}
}

var rates = []int{7, 19}

var total = sumOfRates()

func sumOfRates() int { return rates[0] + rates[1] + seen }

// seen is not set where it is declared, so zero is right.
var seen int

// What a declaration names itself is set before it. Only what is called is looked into.
var first = names[0]

var table = []func() string{nameOf, func() string { return nameOf() }}

func nameOf() string { return names[0] }

var names = []string{"invoice"}

// A ring goes round all of its types, and a ring of two, a tree and a list alone are
// good too.
type shadow struct{ w *worker }
type worker struct{ c *connection }
type connection struct {
	s     *shadow
	rates []int
}
type tree struct{ left, right *tree }
type parent struct{ child *child }
type child struct{ of *parent }

// An interface is no reference.
type observer struct{ next *observed }
type observed struct {
	next *observed
	by   interface{ observe(*observer) }
}

type failure struct{ reason string }

func (f *failure) Error() string { return f.reason }

type deadline struct{ at time.Time }

func (d *deadline) Timeout() bool { return false } // not of an error

func panics(f *failure) {
	if f != nil {
		panic(f.Error())
	}
	panic("no invoices")
}

func repeats(timer *time.Timer) {
	defer func() { recover() }()
	timer.Reset(time.Minute)
}

var startAgain func()

func init() { startAgain = startsAgain }

func startsAgain() {
	defer func() { recover() }()
	go startAgain()
}

func factorial(n int) int {
	time.AfterFunc(time.Minute, func() { repeats(nil) })
	if n < 2 {
		return 1
	}
	return n * factorial(n-1)
}

func counts(invoices *atomic.Int64, days *uint64, pages *uint32, size int64) {
	invoices.Add(-1)
	invoices.Add(1 << 20)
	atomic.AddUint64(days, ^uint64(0))  // takes one away
	atomic.AddUint32(pages, ^uint32(0)) // takes one away
	invoices.Add(size)                  // whatever it is
	invoices.Store(1 << 40)
}
