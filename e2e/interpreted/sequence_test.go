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
	for _, mode := range []string{"buffer", "stream"} {
		t.Run(mode, func(t *testing.T) {
			u := &testbed.Upheaval{Books: testbed.NewUpheavalLedger(), Reloads: 50, TLS: &tls.Config{InsecureSkipVerify: true}}
			u.Shadow = testbed.RunUpstream(t, testbed.UpstreamOptions{Handler: u.Books, CountOnly: true})
			live := &testbed.Ledger{}
			name := name()
			var handler atomic.Value
			cancel := func() {}
			u.Reload = func(_ context.Context, n int) error {
				ctx, cancelNext := context.WithCancel(context.Background())
				options := settings{"url": u.Shadow.URL(), "compare.body": "json"}
				h, err := interpretAs(ctx, name, live, options.with(u.Options(mode, n)))
				if err == nil {
					handler.Store(h)
				}
				cancel()
				cancel = cancelNext
				return err
			}
			if err := u.Reload(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			defer func() { cancel() }()
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
			u.Plain, u.Secure = plain.URL, over2.URL
			began := time.Now()
			if err := u.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			served := time.Since(began)
			m := awaitOver(t, name)
			t.Logf("live was served in %s, the shadow in %s", served.Round(time.Second), time.Since(began).Round(time.Second))
			u.Check(t, m)
		})
	}
}

// awaitOver returns the report about the middleware called name once nothing of it is under way.
func awaitOver(t *testing.T, name string) *report.Middleware {
	t.Helper()
	serving, err := interpretAs(t.Context(), name+"-report", http.NotFoundHandler(), settings{"serve": "true"})
	if err != nil {
		t.Fatal(err)
	}
	var found *report.Middleware
	testbed.Eventually(t, 5*time.Minute, func() error {
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
func interpretAs(ctx context.Context, name string, next http.Handler, s settings) (http.Handler, error) {
	i, err := interpreter()
	if err != nil {
		return nil, err
	}
	createConfig, err := i.Eval("mirror.CreateConfig")
	if err != nil {
		return nil, err
	}
	newHandler, err := i.Eval("mirror.New")
	if err != nil {
		return nil, err
	}
	config := createConfig.Call(nil)[0]
	set(config, s)
	results := newHandler.Call([]reflect.Value{
		reflect.ValueOf(&ctx).Elem(), reflect.ValueOf(&next).Elem(), config, reflect.ValueOf(name),
	})
	if err, failed := results[1].Interface().(error); failed {
		return nil, err
	}
	return results[0].Interface().(http.Handler), nil
}
