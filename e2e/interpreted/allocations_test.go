package interpreted

import (
	"math"
	"net/http"
	"runtime"
	"slices"
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
			h := e.make(t, l, settings{"url": responder(t, k, answered)})
			landed := whenLanded(t, e, answered)
			src := newSource(k)
			var each uint64
			for i := range 5 + requests {
				src.prepare() // which makes bodies, and is not counted
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				h.ServeHTTP(discard{}, src.next())
				landed()
				runtime.ReadMemStats(&after)
				if i >= 5 { // the first ones open connections
					each += (after.TotalAlloc - before.TotalAlloc) / requests
				}
			}
			if limit := uint64(k.size + k.size/10 + 64<<10); each > limit {
				t.Errorf("a request with a body of %d bytes allocates %d, want %d at most", k.size, each, limit)
			}
			t.Logf("%d bytes for each request, %.3f of its body", each, float64(each)/float64(k.size))
		})
	}
}

// What live waits for, and the whole exchange, the worker's part included, allocate no
// more than they have to: interpreted, a function pays for all that is in it, run or
// not, and so does every request. Where answers are not compared, and where nobody
// looks at the report, it is as if there were neither. With bodyMode stream a small
// request may allocate 1.3 of the bytes that it does when it is buffered.
func TestMirroredAllocates(t *testing.T) {
	// One processor, so that the worker does not run before live has the request.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, tt := range []struct {
		kind                  string
		beforeLive, all, size float64 // at most: objects, objects, and bytes in all
	}{
		{"GET", 45, 172, 6500},
		{"POST-1KiB", 160, 292, 11000},
		{"stream-1KiB", 151, 328, 13700},
		{"stream-chunked-1KiB", 272, 561, 25000},
		{"stream-1MiB", 275, 707, 1100000},
		{"sequence-GET", 45, 198, 7100},
		{"sequence-1KiB", 160, 318, 11600},
		// No more than 400 objects more than without.
		{"compare-GET", 188, 573, 25500},
		{"compare-1KiB", 293, 693, 30000},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			k := kindNamed(t, tt.kind)
			answered := make(chan struct{}, 1)
			var before, reached, after runtime.MemStats
			upstream := &live{answer: k.answer}
			live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				runtime.ReadMemStats(&reached)
				upstream.ServeHTTP(rw, req)
			})
			h := interpretedMirror(t, live, settings{"url": responder(t, k, answered)}.with(k.set))
			landed := whenLanded(t, engines[0], answered)
			src := newSource(k)
			rw := discard{http.Header{}}
			beforeLive, all, size := math.Inf(1), math.Inf(1), math.Inf(1)
			for range 50 {
				src.prepare()
				req := src.next()
				runtime.ReadMemStats(&before)
				h.ServeHTTP(rw, req)
				landed()
				runtime.ReadMemStats(&after)
				beforeLive = min(beforeLive, float64(reached.Mallocs-before.Mallocs))
				all = min(all, float64(after.Mallocs-before.Mallocs))
				size = min(size, float64(after.TotalAlloc-before.TotalAlloc))
			}
			if beforeLive > tt.beforeLive {
				t.Errorf("a request allocates %v objects before live has it, want %v at most", beforeLive, tt.beforeLive)
			}
			if all > tt.all || size > tt.size {
				t.Errorf("a request allocates %v objects and %v bytes in all, want %v and %v at most", all, size, tt.all, tt.size)
			}
			t.Logf("%v objects before live has it, %v objects and %v bytes in all", beforeLive, all, size)
		})
	}
}

// A request that is not mirrored allocates little more than with a plugin that does
// nothing.
func TestNotMirroredAllocates(t *testing.T) {
	rw := discard{http.Header{}}
	for _, u := range notMirrored {
		t.Run(u.name, func(t *testing.T) {
			h, req := u.make(t, engines[0])
			floor := passThrough(t)
			more := leastAllocs(func() { h.ServeHTTP(rw, req) }) - leastAllocs(func() { floor.ServeHTTP(rw, req) })
			if more > float64(u.most) {
				t.Errorf("a request allocates %v objects more than with the pass-through plugin, want %d at most", more, u.most)
			}
			t.Logf("%v objects more", more)
		})
	}
}

// leastAllocs returns how many objects f allocates. All that the process allocates meanwhile
// is counted, so of several times the one counts in which there was least of that.
func leastAllocs(f func()) float64 {
	least := math.Inf(1)
	for range 10 {
		least = min(least, testing.AllocsPerRun(50, f))
	}
	return least
}

func kindNamed(t *testing.T, name string) kind {
	t.Helper()
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	if i < 0 {
		t.Fatalf("no kind is called %s", name)
	}
	return kinds[i]
}
