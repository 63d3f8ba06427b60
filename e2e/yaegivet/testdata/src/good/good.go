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
}

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
		go func(n int) { send(c, n) }(i)
		i := i
		time.AfterFunc(time.Second, func() { send(c, i) })
		func() { c.total.Add(int64(x)) }()
		y := xs[i]
		go func() { send(c, y) }()
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
