package mirroring

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// breaks are ways of live's to break off in the middle of its answer.
var breaks = []struct {
	name string
	sent string // before it breaks off

	// after is how long live waits then; heard has it wait for the client to get what
	// was sent, too.
	after time.Duration
	heard bool

	// notHTTP3 is for what comes just before the break: the reset of a stream of HTTP/3
	// overtakes it or not.
	notHTTP3 bool
}{
	{name: "at once", sent: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 600\r\n\r\n" + strings.Repeat("2026-0042;119.00;EUR;paid;ok\r\n", 10)},
	{name: "after 20 ms", after: 20 * time.Millisecond, sent: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 600\r\n\r\n" + strings.Repeat("2026-0042;119.00;EUR;paid;ok\r\n", 10)},
	{name: "behind the head, after 20 ms", after: 20 * time.Millisecond, sent: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 600\r\n\r\n"},
	{name: "after 300 ms", after: 300 * time.Millisecond, heard: true, sent: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 600\r\n\r\n" + strings.Repeat("2026-0042;119.00;EUR;paid;ok\r\n", 10)},
	{name: "between chunks", heard: true, sent: "HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\n\r\n12c\r\n" + strings.Repeat("2026-0042;119.00;EUR;paid;ok\r\n", 10) + "\r\n"},
	{name: "in a chunk", heard: true, notHTTP3: true, sent: "HTTP/1.1 200 OK\r\n" + dated + "Transfer-Encoding: chunked\r\n\r\n258\r\n" + strings.Repeat("2026-0042;119.00;EUR;paid;ok\r\n", 10)},
	{name: "of a large answer", heard: true, sent: "HTTP/1.1 200 OK\r\n" + dated + "Content-Length: 100000\r\n\r\n" + testbed.Payload(20_000)},
	{name: "of events", heard: true, sent: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n14\r\ndata: invoice booked\r\n"},
}

// Where live breaks off, a client gets as much of the answer from a router that has
// answers compared as from one without: no head where Traefik's proxy has sent none
// yet, and otherwise the head and what came of the body.
func TestLiveThatBreaksOffByEveryProtocol(t *testing.T) {
	s := &stage{heard: map[string]chan struct{}{}, early: map[string]bool{}}
	live := testbed.RunRawUpstream(t, func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(req.URL.Query().Get("break"))
		io.WriteString(conn, breaks[n].sent)
		time.Sleep(breaks[n].after)
		if breaks[n].heard {
			s.mu.Lock()
			heard := s.heard[req.URL.Query().Get("id")]
			s.mu.Unlock()
			select {
			case <-heard:
			case <-time.After(heardTime):
			}
		}
	})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	traefik := testbed.MustServe(t, withHTTP3(testbed.Options{LogLevel: "ERROR", Dynamic: inProtocols(live.URL(), shadow.URL())}))
	for _, p := range clientProtocols() {
		for _, at := range []string{"alone", "alone-compress"} {
			t.Run(p.name+"/"+at, func(t *testing.T) {
				t.Parallel() // they wait most of the time
				for n, test := range breaks {
					if test.notHTTP3 && p.major == 3 {
						continue
					}
					t.Run(test.name, func(t *testing.T) {
						ask := func(mode string) (got received) {
							t.Helper()
							// HTTP/1.1 has a connection for each, for net/http sends a request again
							// where one that was used before is closed without an answer.
							transport := p.openTransport(t, traefik)
							testbed.Eventually(t, patience, func() error {
								if p.major == 1 {
									transport = p.openTransport(t, traefik)
								}
								id := strconv.FormatInt(probes.Add(1), 10)
								req := p.request(t, traefik, "", fmt.Sprintf("/invoices?break=%d&id=%s", n, id), mode+"-"+at+".example.com", nil)
								began := time.Now()
								var err error
								if got, err = p.receive(testbed.Within(t, patience), transport, req, false, s.attend(id)); err != nil {
									t.Fatalf("%s: %v", mode, err)
								}
								// A machine that stops for a moment makes another break of it.
								if took := time.Since(began); !test.heard && took >= flushTime {
									return fmt.Errorf("the exchange takes %s, too long to tell anything", took)
								}
								return nil
							})
							if p.major == 3 {
								got.body = "" // the reset of the stream may overtake the end of it
							}
							return got
						}
						want := ask("plain")
						for mode := range comparingModes {
							if got := ask(mode); got != want {
								t.Errorf("%s: answer\n%s\nwant\n%s", mode, got, want)
							}
						}
					})
				}
			})
		}
	}
}
