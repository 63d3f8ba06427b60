package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A crowd are clients that have asked, and do not read what they get.
type crowd struct {
	traefik *testbed.Traefik
	written *atomic.Int64 // bytes, by live, to all
	conns   []net.Conn
}

// ask has n more clients ask the router for what is at the target, and waits until
// live's answers to all of the crowd are stuck.
func (c *crowd) ask(t *testing.T, n int, router, target string) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", c.traefik.Addr(testbed.Web))
		if err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).SetReadBuffer(4 << 10) // or the kernel would take in megabytes
		c.conns = append(c.conns, conn)
		if _, err := io.WriteString(conn, "GET "+target+" HTTP/1.1\r\nHost: "+testbed.HostOf(router)+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	was, times := int64(-1), 0
	testbed.Eventually(t, patience, func() error {
		now := c.written.Load()
		if now != was {
			was, times = now, 0
		} else if now > 0 {
			times++
		}
		if times < 20 { // 200 ms
			return fmt.Errorf("live has written %d bytes, and still goes on", now)
		}
		return nil
	})
}

func (c *crowd) leave() {
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// A holding is what Traefik holds on to: of its heap, in bytes, and goroutines that
// interpreted code has started.
type holding struct {
	heap       int64
	goroutines int
}

func held(t *testing.T, traefik *testbed.Traefik) holding {
	t.Helper()
	h, err := lookAtHeap(t.Context(), traefik)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func lookAtHeap(ctx context.Context, traefik *testbed.Traefik) (h holding, err error) {
	for range 2 { // what is in a pool outlasts one collection
		if _, err = traefik.HeapProfile(ctx); err != nil {
			return h, err
		}
	}
	stats, err := traefik.MemStats(ctx)
	if err != nil {
		return h, err
	}
	h.heap = int64(stats.HeapAlloc)
	dump, err := traefik.GoroutineDump(ctx)
	h.goroutines = strings.Count(dump, "\ncreated by github.com/traefik/yaegi/")
	return h, err
}

// watchHeap looks until it is told to stop, and returns the most that was held.
func watchHeap(t *testing.T, traefik *testbed.Traefik) (stop func() int64) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	most := make(chan int64, 1)
	go func() {
		m := int64(0)
		for ctx.Err() == nil {
			// One that fails because the watch was ended counts for nothing.
			if h, err := lookAtHeap(ctx, traefik); err == nil {
				m = max(m, h.heap)
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		most <- m
	}()
	return func() int64 { cancel(); return <-most }
}

// The answers that are kept to be compared are those of the pairs in flight, and none
// of a pair that was given up: a client that does not read its answer, which holds up
// live's for as long as it likes, has none kept for it.
func TestClientsThatDoNotReadTakeNoMemory(t *testing.T) {
	const (
		places   = 2
		clients  = 20
		size     = 15 << 20 // of an answer
		mostBody = 16 << 20

		// The documented bound; what comes and goes, such as a slice that grows, which
		// is there twice for a moment; and what stays.
		mostInFlight = places * 2 * mostBody
		brief        = 64 << 20
		slack        = 24 << 20
		strays       = 10
	)
	var written atomic.Int64
	piece := []byte(testbed.Payload(64 << 10))
	answer := func(written *atomic.Int64) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			rw.Header().Set("Content-Type", "text/csv")
			if req.URL.Path == "/known" {
				rw.Header().Set("Content-Length", strconv.Itoa(size))
			}
			for sent := 0; sent < size; sent += len(piece) {
				n, err := rw.Write(piece)
				written.Add(int64(n))
				if err != nil {
					return
				}
			}
		}
	}
	var ignored atomic.Int64
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live", Handler: answer(&written)})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow", Handler: answer(&ignored)})
	for mode, target := range map[string]string{"buffer": "/known", "stream": "/unknown"} {
		t.Run(mode+target, func(t *testing.T) {
			options := func() testbed.Values {
				return testbed.Values{"url": shadow.URL(), "maxInFlight": places, "timeout": "300ms", "maxPause": "0", "bodyMode": mode}
			}
			compared := options()
			compared["compare"] = testbed.Values{"maxBodySize": "16MiB"}
			traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: testbed.Dynamic{}.
				Service("billing", live.URL()).
				Report().
				Mirror("mirrored", options()).
				Mirror("compared", compared).
				Router("mirrored", testbed.RuleOf("mirrored"), "billing", "mirrored").
				Router("compared", testbed.RuleOf("compared"), "billing", "compared")})
			growth := func(router string, clients int) (most int64, end holding) {
				written.Store(0)
				before := metric(t, traefik, router, "mirror_eligible_requests_total")
				base := held(t, traefik)
				c := &crowd{traefik: traefik, written: &written}
				defer c.leave()
				stop := watchHeap(t, traefik)
				for n := places; n <= clients; n += places {
					c.ask(t, places, router, target)
					testbed.Eventually(t, patience, func() error {
						text := metrics(t, traefik)
						over, under := metricIn(t, text, router, "mirror_eligible_requests_total"), metricIn(t, text, router, "mirror_in_flight_requests")
						if over != before+n || under != 0 {
							return fmt.Errorf("%s: %d over and %d under way, want %d and 0", router, over, under, before+n)
						}
						return nil
					})
				}
				most = stop() - base.heap
				end = held(t, traefik)
				return most, holding{end.heap - base.heap, end.goroutines - base.goroutines}
			}
			growth("mirrored", places) // what is made once
			_, want := growth("mirrored", clients)
			most, got := growth("compared", clients)
			const mib = 1 << 20
			t.Logf("%d clients: heap +%d MiB, +%d MiB at most, %+d goroutines; uncompared +%d MiB, %+d goroutines", clients, got.heap/mib, most/mib, got.goroutines, want.heap/mib, want.goroutines)
			if limit := want.heap + mostInFlight + brief; most > limit {
				t.Errorf("the heap grew by %d MiB at most, want no more than %d, of which %d are for %d pairs in flight", most/mib, limit/mib, mostInFlight/mib, places)
			}
			if limit := want.heap + slack; got.heap > limit {
				t.Errorf("the heap has grown by %d MiB with nothing in flight, want no more than %d", got.heap/mib, limit/mib)
			}
			if limit := want.goroutines + strays; got.goroutines > limit {
				t.Errorf("%d more goroutines of the plugin's with nothing in flight, want no more than %d", got.goroutines, limit)
			}
		})
	}
}
