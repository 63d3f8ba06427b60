package interpreted

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A live upstream reads the body and answers, as Traefik's proxy does, and keeps
// the time at which it was called.
type live struct {
	called time.Time
	answer []byte // JSON; nil where nothing looks at it
}

func (l *live) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	l.called = time.Now()
	io.Copy(io.Discard, req.Body)
	if l.answer == nil {
		return
	}
	h := rw.Header()
	h["Content-Type"], h["Content-Length"] = jsonType, []string{strconv.Itoa(len(l.answer))}
	rw.WriteHeader(http.StatusOK)
	rw.Write(l.answer)
	rw.Header() // for trailers
}

var jsonType = []string{"application/json"}

// BenchmarkPassThrough is the floor: a plugin that does nothing.
func BenchmarkPassThrough(b *testing.B) {
	b.Run("interpreted", func(b *testing.B) {
		h := passThrough(b)
		src := newSource(kinds[1])
		src.prepare()
		req, rw := src.next(), discard{http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(rw, req)
		}
	})
}

func passThrough(tb testing.TB) http.Handler {
	tb.Helper()
	return interpret(tb, passThroughPath, "passthrough", nothing, nil)
}

var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// An unmirrored is why a request is not mirrored.
type unmirrored struct {
	name   string
	set    settings
	marked bool
	before int // requests before the measured ones, which leave the mirror as it is to be
	most   int // objects that it may allocate more than with the pass-through plugin
}

var notMirrored = []unmirrored{
	{name: "loop-guard", marked: true, most: 47},
	{name: "percent-0", set: settings{"percent": "0"}, most: 31},
	{name: "too-large", set: settings{"maxBodySize": "1"}, most: 153},
	{name: "no-place", set: settings{"maxInFlight": "1", "timeout": "1h"}, before: 1, most: 71},
	{name: "left-alone", set: settings{"timeout": "1ns"}, before: 50, most: 60},
	{name: "sequence-no-place", set: losing.with(settings{"maxInFlight": "1", "timeout": "1h"}), before: 1, most: 316},
	{name: "sequence-left-alone", set: losing.with(settings{"timeout": "1ns"}), before: 50, most: 220},
}

// make returns a mirror that is as it is to be, and a request for it. Nothing reads
// the request's body, so that one does for all.
func (u unmirrored) make(tb testing.TB, e engine) (http.Handler, *http.Request) {
	tb.Helper()
	shadow := testbed.RunRawUpstream(tb, nil) // never answers
	h := e.make(tb, nothing, settings{"url": shadow.URL()}.with(u.set))
	for range u.before {
		first := newSource(kinds[1])
		first.prepare()
		h.ServeHTTP(discard{http.Header{}}, first.next())
		time.Sleep(time.Millisecond) // the worker fails, where it does
	}
	src := newSource(kinds[1])
	if u.marked {
		src.req.Header.Set("X-Mirrored-By", "another@file")
	}
	src.prepare()
	return h, src.next()
}

// BenchmarkNotMirrored is what requests pay that are never mirrored. Interpreted,
// each is sent next to one through the pass-through plugin: more-ns/op is how much
// longer it takes, the median over rounds, for a machine that is busy for a while
// makes single figures worthless; the quartiles say how far the rounds are apart.
func BenchmarkNotMirrored(b *testing.B) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			for _, u := range notMirrored {
				b.Run(u.name, func(b *testing.B) {
					h, req := u.make(b, e)
					rw := discard{http.Header{}}
					if e.name == "native" {
						b.ReportAllocs()
						for b.Loop() {
							h.ServeHTTP(rw, req)
						}
						return
					}
					beside(b, passThrough(b), h, rw, req)
				})
			}
		})
	}
}

// beside measures how much longer h takes than floor.
func beside(b *testing.B, floor, h http.Handler, rw http.ResponseWriter, req *http.Request) {
	const perRound = 100 // enough for a round to have its share of the collector's work
	var all, rounds []float64
	var sum time.Duration
	n := 0
	for b.Loop() {
		began := time.Now()
		floor.ServeHTTP(rw, req)
		between := time.Now()
		h.ServeHTTP(rw, req)
		more := time.Since(between) - between.Sub(began)
		all = append(all, float64(more))
		sum += more
		if n++; n%perRound == 0 {
			rounds = append(rounds, float64(sum)/perRound)
			sum = 0
		}
	}
	if len(rounds) < 5 {
		rounds = all // too short a run to have any
	}
	slices.Sort(rounds)
	for p, unit := range map[float64]string{0.25: "more-ns-q1", 0.5: "more-ns/op", 0.75: "more-ns-q3"} {
		b.ReportMetric(stat.Quantile(p, stat.LinInterp, rounds, nil), unit)
	}
	b.ReportMetric(testing.AllocsPerRun(100, func() { h.ServeHTTP(rw, req) })-
		testing.AllocsPerRun(100, func() { floor.ServeHTTP(rw, req) }), "more-objects/op")
}

// BenchmarkExchange is the whole request with a shadow that answers, one after the
// other: the next is sent when the worker has given back the place of the last, so
// that live-ns/op is what live waits for, from the plugin's call to the next
// handler's, while no worker is busy. The other figures have the worker's part too.
func BenchmarkExchange(b *testing.B) {
	each(b, func(b *testing.B, e engine, k kind) {
		answered := make(chan struct{}, 1)
		l := &live{answer: k.answer}
		h := e.make(b, l, settings{"url": responder(b, k, answered)}.with(k.set))
		exchange(b, h, l, newSource(k), whenLanded(b, e, answered))
	})
}

// ready makes bodies, which does not count.
func ready(b *testing.B, src *source) {
	if src.size > 0 && len(src.bodies) == 0 {
		b.StopTimer()
		src.prepare()
		b.StartTimer()
	}
}

func each(b *testing.B, run func(*testing.B, engine, kind)) {
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			for _, k := range kinds {
				b.Run(k.name, func(b *testing.B) { run(b, e, k) })
			}
		})
	}
}

// exchange serves one request after the other; wait returns when the shadow's
// part is over.
func exchange(b *testing.B, h http.Handler, l *live, src *source, wait func()) {
	rw := discard{http.Header{}}
	var waited time.Duration
	b.ReportAllocs()
	for b.Loop() {
		ready(b, src)
		req := src.next()
		began := time.Now()
		h.ServeHTTP(rw, req)
		waited += l.called.Sub(began)
		wait()
	}
	b.ReportMetric(float64(waited.Nanoseconds())/float64(b.N), "live-ns/op")
}
