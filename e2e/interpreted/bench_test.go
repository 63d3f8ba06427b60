package interpreted

import (
	"io"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

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
		h := interpret(b, passThroughPath, "passthrough", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), nil)
		serve(b, h, newSource(kinds[1]))
	})
}

// BenchmarkNotMirrored is what requests pay that are never mirrored.
func BenchmarkNotMirrored(b *testing.B) {
	tests := []struct {
		name   string
		set    settings
		marked bool
		before int // requests before the measured ones, which leave the mirror as it is to be
	}{
		{name: "loop-guard", marked: true},
		{name: "percent-0", set: settings{"Percent": "0"}},
		{name: "too-large", set: settings{"MaxBodySize": "1"}},
		{name: "no-place", set: settings{"MaxInFlight": "1", "Timeout": "1h"}, before: 1},
		{name: "left-alone", set: settings{"Timeout": "1ns"}, before: 50},
	}
	for _, e := range engines {
		b.Run(e.name, func(b *testing.B) {
			for _, t := range tests {
				b.Run(t.name, func(b *testing.B) {
					shadow := testbed.RunRawUpstream(b, nil) // never answers
					h := e.make(b, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), settings{"URL": shadow.URL()}.with(t.set))
					for range t.before {
						h.ServeHTTP(discard{http.Header{}}, newSource(kinds[1]).next())
						time.Sleep(time.Millisecond)
					}
					src := newSource(kinds[1])
					if t.marked {
						src.req.Header.Set("X-Mirrored-By", "another@file")
					}
					serve(b, h, src)
				})
			}
		})
	}
}

// serve measures a handler that starts nothing.
func serve(b *testing.B, h http.Handler, src *source) {
	rw := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(rw, src.next())
	}
}

// BenchmarkLivePath is what live waits for, live-ns/op: from the plugin's call
// to the next handler's. The other figures are those of the whole request with a
// shadow's part that ends at once, because its time is up before it begins.
func BenchmarkLivePath(b *testing.B) {
	each(b, func(b *testing.B, e engine, k kind) {
		l := &live{answer: k.answer}
		h := e.make(b, l, settings{"URL": "http://127.0.0.1:1", "Timeout": "1ns", "MaxPause": "0"}.with(k.set))
		time.Sleep(20 * time.Millisecond) // what ran before has to be over
		idle := runtime.NumGoroutine()
		exchange(b, h, l, newSource(k), func() {
			for runtime.NumGoroutine() > idle {
				runtime.Gosched()
			}
		})
	})
}

// BenchmarkExchange is the whole request with a shadow that answers, one after
// the other; live-ns/op as in BenchmarkLivePath.
func BenchmarkExchange(b *testing.B) {
	each(b, func(b *testing.B, e engine, k kind) {
		answered := make(chan struct{}, 1)
		l := &live{answer: k.answer}
		h := e.make(b, l, settings{"URL": responder(b, k, answered)}.with(k.set))
		exchange(b, h, l, newSource(k), func() { <-answered })
	})
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
		req := src.next()
		began := time.Now()
		h.ServeHTTP(rw, req)
		waited += l.called.Sub(began)
		wait()
	}
	b.ReportMetric(float64(waited.Nanoseconds())/float64(b.N), "live-ns/op")
}
