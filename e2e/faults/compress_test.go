package faults

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// runLiveInParts starts a live upstream that speaks HTTP/2 without TLS. It answers
// with 600 bytes of a known length in two parts, about a millisecond apart, and with
// trailers, many of them, so that a flush that comes meanwhile is sure to meet one.
func runLiveInParts(t *testing.T) (url string, answer []byte) {
	t.Helper()
	answer = bytes.Repeat([]byte("2026-0042;Meyer;119.00\r\n"), 25)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int64
	live := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		rw.Header().Set("Content-Type", "text/csv")
		rw.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		rw.Write(answer[:300])
		rw.(http.Flusher).Flush()
		// Now a little less than a millisecond and now a little more: the trailers
		// are to come when the mirror flushes the first part.
		time.Sleep(time.Duration(400+served.Add(1)%8*100) * time.Microsecond)
		rw.Write(answer[300:])
		for i := range 40 {
			rw.Header().Set(http.TrailerPrefix+"X-Checksum-"+strconv.Itoa(i), "9f86d081")
		}
	})}
	live.Protocols.SetUnencryptedHTTP2(true)
	go live.Serve(listener)
	t.Cleanup(func() { live.Close() })
	return "h2c://" + listener.Addr().String(), answer
}

// Traefik's compress, in front of a mirror that compares, changes the header map
// when it is flushed, and its proxy does so too for trailers: were the two to do it
// at once, Traefik would end.
func TestTrailersBehindCompressDoNotEndTraefik(t *testing.T) {
	const (
		connections = 24
		requests    = 500 // each
	)
	url, answer := runLiveInParts(t)
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: testbed.Dynamic{}.
		Service("live", url).
		Middleware("compress", "compress", nil).
		Mirror("shadow-compared", testbed.Values{"url": shadow.URL(), "maxPause": "0", "compare": testbed.Values{"body": "json"}}).
		Router("compared", testbed.RuleOf("compared"), "live", "compress", "shadow-compared")})
	transport := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	get := func() error {
		req, err := http.NewRequest(http.MethodGet, traefik.URL("/invoices.csv"), nil)
		if err != nil {
			return err
		}
		req.Host = testbed.HostOf("compared")
		req.Header.Set("Accept-Encoding", "br")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		// What encoding it has depends on when it was flushed; brotli's bytes are
		// another test's business.
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Encoding") == "" && !bytes.Equal(body, answer) {
			return fmt.Errorf("%d and %d bytes, want 200 and %d", res.StatusCode, len(body), len(answer))
		}
		return nil
	}
	var (
		failed atomic.Int64
		group  sync.WaitGroup
	)
	for range connections {
		group.Go(func() {
			for range requests {
				if err := get(); err != nil {
					if failed.Add(1) <= 3 {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case <-traefik.Exited():
		t.Errorf("Traefik has ended")
	default:
	}
	if _, rest, found := strings.Cut(traefik.Log(), "fatal error"); found {
		text, _, _ := strings.Cut(rest, "\n")
		t.Errorf("Traefik's log has: fatal error%s", text)
	}
}
