package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"github.com/valyala/fasthttp"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// connections is how many the saturated run uses.
const connections = 16

// customers is how many send requests, in turn: each request says whose it is.
const customers = 100

// The answer of every upstream, but for the digits of the id where answers are to
// differ.
const (
	beforeID = `{"id":"inv-`
	liveID   = "7d19c2a4"
	afterID  = `","number":"2024-0117","status":"booked","customer":{"number":"C-20817","name":"Meyer & Söhne"},` +
		`"lines":[{"text":"Hosting, January","quantity":1,"net":"1000.00","vat":"190.00"},` +
		`{"text":"Domain","quantity":2,"net":"24.00","vat":"4.56"}],"net":"1024.00","vat":"194.56","total":"1218.56"}`
)

// An upstream answers every request with a little JSON and counts it, on the
// cheapest server that there is: it shares the machine with Traefik.
type upstream struct {
	url    string
	count  atomic.Int64
	last   atomic.Int64 // when the last request had come, in Unix nanoseconds
	server *fasthttp.Server
}

// newUpstream returns an upstream whose answers all have the same id, or each one
// of its own.
func newUpstream(sameID bool) (*upstream, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &upstream{url: "http://" + listener.Addr().String()}
	u.server = &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			u.last.Store(time.Now().UnixNano())
			n := u.count.Add(1)
			ctx.SetContentType("application/json")
			if sameID {
				ctx.SetBodyString(beforeID + liveID + afterID)
			} else {
				fmt.Fprintf(ctx, "%s%08x%s", beforeID, n, afterID)
			}
		},
		// Connections that Traefik's end breaks.
		Logger: log.New(io.Discard, "", 0),
	}
	go u.server.Serve(listener)
	return u, nil
}

// settle waits until n requests have come since the upstream had counted from,
// or no more come, and returns how many have.
func (u *upstream) settle(from int64, n int) int {
	const patience = time.Second
	seen, since := int64(-1), time.Now()
	for {
		count := u.count.Load() - from
		if count >= int64(n) || count == seen && time.Since(since) > patience {
			return int(count)
		}
		if count != seen {
			seen, since = count, time.Now()
		}
		time.Sleep(time.Millisecond)
	}
}

// newShadow returns the URL of a shadow that behaves as state says, what counts
// its requests (nil where nothing does), and how to stop it.
func newShadow(state string, sameID bool) (url string, counts *upstream, stop func(), err error) {
	switch state {
	case hung:
		u, err := testbed.NewRawUpstream(func(conn net.Conn) { io.Copy(io.Discard, conn) })
		if err != nil {
			return "", nil, nil, err
		}
		return u.URL(), nil, u.Stop, nil
	case refused:
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, nil, err
		}
		defer listener.Close()
		return "http://" + listener.Addr().String(), nil, func() {}, nil
	}
	u, err := newUpstream(sameID)
	if err != nil {
		return "", nil, nil, err
	}
	return u.url, u, func() { u.server.Shutdown() }, nil
}

// newClient returns the client of the runs at a fixed rate, which keeps its
// connections from one run to the next.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		// net/http goes on dialing for a request that has timed out: with a
		// server that accepts no more, that would take every descriptor here.
		DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		MaxIdleConnsPerHost: 1000,
		DisableCompression:  true,
		WriteBufferSize:     64 << 10,
	}}
}

// fixedRate sends rate requests a second, whether or not the earlier ones were
// answered, and returns every latency and how many requests failed. A latency is
// counted from when the request was let go, not from when a connection was free
// for it, so that waiting is not hidden.
func fixedRate(ctx context.Context, client *http.Client, url string, size, rate int, d time.Duration) (latencies []time.Duration, failed int) {
	target := vegeta.Target{Method: http.MethodGet, URL: url}
	if size > 0 {
		target.Method, target.Body = http.MethodPost, make([]byte, size)
	}
	var targets []vegeta.Target
	for i := range customers {
		target.Header = http.Header{testbed.CustomerHeader: {testbed.Customer(i)}}
		if size > 0 {
			target.Header.Set("Content-Type", "application/octet-stream")
		}
		targets = append(targets, target)
	}
	attacker := vegeta.NewAttacker(vegeta.Client(client), vegeta.Workers(connections))
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	for r := range attacker.Attack(vegeta.NewStaticTargeter(targets...), vegeta.Rate{Freq: rate, Per: time.Second}, d, "") {
		latencies = append(latencies, r.Latency)
		if r.Error != "" || r.Code != http.StatusOK {
			failed++
		}
	}
	return latencies, failed
}

// saturate sends requests over its connections for as long as d, one after the
// other on each, and no more than atMost, 0 being no bound.
func saturate(ctx context.Context, addr, url string, size int, d time.Duration, atMost int) (sent, failed int) {
	client := &fasthttp.HostClient{
		Addr:     addr,
		MaxConns: connections,
		// One that is sent twice would be mirrored twice.
		RetryIfErr: func(*fasthttp.Request, int, error) (bool, bool) { return false, false },
	}
	defer client.CloseIdleConnections()
	body := make([]byte, size)
	var names [customers]string
	for i := range names {
		names[i] = testbed.Customer(i)
	}
	var begun, failures atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range connections {
		wg.Go(func() {
			req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			req.SetRequestURI(url)
			if size > 0 {
				req.Header.SetMethod(http.MethodPost)
				req.Header.SetContentType("application/octet-stream")
				req.SetBodyRaw(body)
			}
			for ctx.Err() == nil && time.Now().Before(end) {
				n := begun.Add(1)
				if atMost > 0 && n > int64(atMost) {
					begun.Add(-1)
					return
				}
				req.Header.Set(testbed.CustomerHeader, names[n%customers])
				if err := client.DoTimeout(req, res, 30*time.Second); err != nil || res.StatusCode() != http.StatusOK {
					failures.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(begun.Load()), int(failures.Load())
}
