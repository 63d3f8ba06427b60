package interpreted

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// What one customer sends reaches the shadow one after the other and in live's order, over
// whatever connections, while the options change and the shadow goes and comes back. A
// value of which a change was lost is not compared; nothing else differs.
func TestSequence(t *testing.T) {
	customers, each := 200, 50
	if raceDetector {
		customers, each = 60, 20
	}
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			large := func(customer, number int) bool { return customer%3 == 0 && number == 11+customer%5*2 }
			books := &testbed.Ledger{Slowest: 4 * time.Millisecond}
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Handler: books, CountOnly: true})
			live := &testbed.Ledger{}
			name := name()
			options := func(n int) settings {
				return settings{
					"url": shadow.URL(), "sequenceBy": "header:" + testbed.CustomerHeader, "bodyMode": mode,
					"maxBodySize": "10KiB", "maxInFlight": "2000", "compare.body": "json", "timeout": fmt.Sprintf("%dms", 20000+n),
				}
			}
			var handler atomic.Value
			cancel := func() {}
			reload := func(n int) {
				ctx, cancelNext := context.WithCancel(context.Background())
				handler.Store(interpretAs(t, ctx, name, live, options(n)))
				cancel()
				cancel = cancelNext
			}
			reload(0)
			serve := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
				handler.Load().(http.Handler).ServeHTTP(rw, req)
			})
			plain := httptest.NewServer(serve)
			defer plain.Close()
			over2 := httptest.NewUnstartedServer(serve)
			over2.EnableHTTP2 = true
			over2.Config.ErrorLog = log.New(io.Discard, "", 0)
			over2.StartTLS()
			defer over2.Close()
			var restart sync.Once
			var others sync.WaitGroup
			clients := &testbed.Bookkeeping{
				Customers: customers, Each: each, Large: large,
				URLs: []string{plain.URL, plain.URL, over2.URL},
				Transports: []http.RoundTripper{
					&http.Transport{MaxIdleConnsPerHost: customers}, &http.Transport{DisableKeepAlives: true},
					&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
				},
				Sent: func(n int) {
					if n > customers*each/2 {
						restart.Do(func() {
							others.Go(func() {
								shadow.Stop()
								time.Sleep(50 * time.Millisecond)
								if err := shadow.Restart(); err != nil {
									t.Error(err)
								}
							})
						})
					}
				},
			}
			done := make(chan struct{})
			others.Go(func() {
				for n := 1; ; n++ {
					select {
					case <-done:
						return
					case <-time.After(200 * time.Millisecond):
						reload(n / 2) // each other one with the same options
					}
				}
			})
			err := clients.Run(t.Context())
			close(done)
			others.Wait()
			defer func() { cancel() }()
			if err != nil {
				t.Fatal(err)
			}
			m := awaitOver(t, name)
			wrong, count := books.Wrong()
			if len(wrong) > 0 {
				t.Errorf("%d of %d copies came out of order: %.2000q", len(wrong), count, wrong)
			}
			if m.Eligible != int64(customers*each) || m.Mirrored == 0 {
				t.Errorf("%d eligible of %d, %d mirrored", m.Eligible, customers*each, m.Mirrored)
			}
			if m.Skipped["sequence_lost"] == 0 || m.Compared["match"] == 0 || m.Sequence.LostValues < int64(customers/3) {
				t.Errorf("%v compared, skipped for %v, %d values lost", m.Compared, m.Skipped, m.Sequence.LostValues)
			}
			for _, d := range m.Comparison.Differences {
				if d.Relation != "no answer" {
					t.Errorf("%s %s %s: %d times", d.Endpoint, d.Key, d.Relation, d.Count)
				}
			}
			t.Logf("%d copies; compared %v, skipped %v, lost %v; %d values lost", count, m.Compared, m.Skipped, m.Lost, m.Sequence.LostValues)
		})
	}
}

// awaitOver returns the report about the middleware called name once nothing of it is under way.
func awaitOver(t *testing.T, name string) *report.Middleware {
	t.Helper()
	serving := interpretAs(t, t.Context(), name+"-report", http.NotFoundHandler(), settings{"serve": "true"})
	var found *report.Middleware
	testbed.Eventually(t, time.Minute, func() error {
		rec := httptest.NewRecorder()
		serving.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/report.json", nil))
		d := &report.Document{}
		if err := json.Unmarshal(rec.Body.Bytes(), d); err != nil {
			return err
		}
		for _, m := range d.Middlewares {
			if m.Name == name {
				found = m
			}
		}
		if found == nil || found.InFlight != 0 || found.Sequence.Waiting != 0 {
			return fmt.Errorf("%+v, in flight or waiting", found)
		}
		return nil
	})
	return found
}

// interpretAs makes an interpreted mirror with a name of its own, until ctx is done.
func interpretAs(tb testing.TB, ctx context.Context, name string, next http.Handler, s settings) http.Handler {
	tb.Helper()
	i, err := interpreter()
	if err != nil {
		tb.Fatal(err)
	}
	createConfig, err := i.Eval("mirror.CreateConfig")
	if err != nil {
		tb.Fatal(err)
	}
	newHandler, err := i.Eval("mirror.New")
	if err != nil {
		tb.Fatal(err)
	}
	config := createConfig.Call(nil)[0]
	set(config, s)
	results := newHandler.Call([]reflect.Value{
		reflect.ValueOf(&ctx).Elem(), reflect.ValueOf(&next).Elem(), config, reflect.ValueOf(name),
	})
	if err, failed := results[1].Interface().(error); failed {
		tb.Fatal(err)
	}
	return results[0].Interface().(http.Handler)
}
