package interpreted

import (
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
