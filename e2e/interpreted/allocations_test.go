package interpreted

import (
	"io"
	"math"
	"net/http"
	"runtime"
	"testing"
)

// A body is held once, and live and shadow both read from that: a second copy
// would double what a request of 1 MiB allocates.
func TestBodyIsBufferedOnce(t *testing.T) {
	const requests = 30
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			k := kind{name: "POST-1MiB", size: 1 << 20}
			answered := make(chan struct{}, 1)
			l := &live{}
			h := e.make(t, l, settings{"URL": responder(t, k, answered)})
			src := newSource(k)
			send := func(n int) {
				for range n {
					h.ServeHTTP(discard{}, src.next())
					<-answered
				}
			}
			send(5) // opens the connection
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			send(requests)
			runtime.ReadMemStats(&after)
			each := (after.TotalAlloc - before.TotalAlloc) / requests
			if limit := uint64(k.size + k.size/10 + 64<<10); each > limit {
				t.Errorf("a request with a body of %d bytes allocates %d, want %d at most", k.size, each, limit)
			}
			t.Logf("%d bytes for each request, %.3f of its body", each, float64(each)/float64(k.size))
		})
	}
}

// What live waits for allocates no more than it has to: interpreted, a function
// pays for all that is in it, run or not, and so does every request. Where
// answers are not compared, and where nobody looks at the report, it is as if
// there were neither.
func TestLivePathAllocates(t *testing.T) {
	// One processor, so that the shadow's part does not run meanwhile.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, tt := range []struct {
		kind kind
		most float64
	}{
		{kinds[0], 195},
		{kinds[1], 250},
		{kinds[5], 272},
	} {
		t.Run(tt.kind.name, func(t *testing.T) {
			answered := make(chan struct{}, 1)
			var before, after runtime.MemStats
			live := http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
				runtime.ReadMemStats(&after)
				io.Copy(io.Discard, req.Body)
			})
			h := interpretedMirror(t, live, settings{"URL": responder(t, tt.kind, answered)}.with(tt.kind.set))
			src := newSource(tt.kind)
			least := math.Inf(1)
			for range 50 {
				req := src.next()
				runtime.ReadMemStats(&before)
				h.ServeHTTP(discard{}, req)
				least = min(least, float64(after.Mallocs-before.Mallocs))
				<-answered
			}
			if least > tt.most {
				t.Errorf("a request allocates %v objects before live has it, want %v at most", least, tt.most)
			}
			t.Logf("%v objects", least)
		})
	}
}
