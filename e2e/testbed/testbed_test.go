package testbed

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const invoice = `{"invoice":"2024-00117","customer":"Meyer & Söhne","total":"119.00"}`

func passThrough(t *testing.T) Plugin {
	p, err := PassThrough()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func strictPlugin(t *testing.T) Plugin {
	return Plugin{Key: "strict", Dir: filepath.Join("testdata", "strict")}
}

func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func billing(live *Upstream) Dynamic {
	return Dynamic{}.
		Service("billing", live.URL()).
		Plugin("as-is", "passthrough", nil).
		Router("invoices", "PathPrefix(`/invoices`)", "billing", "as-is")
}

func TestRequestIsRecordedAsSent(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	traefik := MustServe(t, Options{
		WithoutMirror: true,
		Plugins:       []Plugin{passThrough(t)},
		Dynamic:       billing(live),
	})

	answers, err := Exchange(t.Context(), traefik.Addr(Web), []byte(
		"POST /invoices/a%2Fb?paid=no&&x=%20 HTTP/1.1\r\nHost: billing.example.com\r\n"+
			"x-request-ID: 7f3a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n"+
			"5\r\n"+invoice[:5]+"\r\n3f\r\n"+invoice[5:68]+"\r\n0\r\nX-Checksum: ab\r\n\r\n"),
		RawOptions{Pieces: 40, Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	body, err := answers.Body()
	if answers.Status() != 200 || string(body) != `{"upstream":"live"}` || err != nil {
		t.Errorf("answer %d %q, %v", answers.Status(), body, err)
	}
	if !strings.HasPrefix(string(answers.Raw), "HTTP/1.1 200 OK\r\n") {
		t.Errorf("raw answer %q", answers.Raw)
	}

	requests, err := live.Wait(Within(t, 5*time.Second), 1)
	if err != nil {
		t.Fatal(err)
	}
	got := requests[0]
	if got.Method != "POST" || got.RequestURI != "/invoices/a%2Fb?paid=no&&x=%20" || got.Host != "billing.example.com" {
		t.Errorf("recorded %s %s for %s", got.Method, got.RequestURI, got.Host)
	}
	if string(got.Body) != invoice[:68] || got.BodySize != 68 || got.BodySHA256 != sha256.Sum256([]byte(invoice[:68])) || got.BodyErr != nil {
		t.Errorf("body %q of %d bytes, %v", got.Body, got.BodySize, got.BodyErr)
	}
	if !slices.Equal(got.TransferEncoding, []string{"chunked"}) || got.ContentLength != -1 {
		t.Errorf("transfer encoding %q, content length %d", got.TransferEncoding, got.ContentLength)
	}
	if !slices.Contains(got.RawHeaders(), "X-Request-Id: 7f3a") {
		t.Errorf("raw headers %q", got.RawHeaders())
	}
	if live.Count() != 1 {
		t.Errorf("count %d", live.Count())
	}
}

func TestReload(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	next := RunUpstream(t, UpstreamOptions{Name: "next"})
	traefik := RunTraefik(t, Options{WithoutMirror: true, Plugins: []Plugin{passThrough(t)}, Dynamic: billing(live)})

	// Each answer has to come from the configuration that Reload says is on.
	quickest := time.Hour // without the throttle that Traefik has by default, which is 2 s
	for i := range 20 {
		want := []*Upstream{next, live}[i%2]
		begun := time.Now()
		traefik.MustReload(t, billing(want))
		quickest = min(quickest, time.Since(begun))
		resp, err := traefik.Client().Post(traefik.URL("/invoices"), "application/json", strings.NewReader(invoice))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(body), want.opts.Name) {
			t.Fatalf("reload %d: answer %s, want it from %s", i, body, want.opts.Name)
		}
	}

	if quickest > 2*time.Second {
		t.Errorf("the quickest reload took %s", quickest)
	}

	// The same once more is applied as well.
	traefik.MustReload(t, billing(live))
	traefik.MustReload(t, billing(live))

	if err := traefik.WriteDynamic("http: [not, a, map]"); err != nil {
		t.Fatal(err)
	}
	if err := traefik.WaitLog(Within(t, 5*time.Second), "cannot be a standalone element"); err != nil {
		t.Error(err)
	}
	if _, err := Raw(t.Context(), traefik.Addr(Web), []byte("GET /invoices HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		t.Errorf("the last good configuration is gone: %v", err)
	}
}

func TestRefusedConfigurationShows(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	traefik := RunTraefik(t, Options{
		WithoutMirror: true,
		Plugins:       []Plugin{strictPlugin(t)},
		Dynamic: Dynamic{}.
			Service("billing", live.URL()).
			Plugin("known", "strict", Values{"ledger": "invoices"}).
			Plugin("unknown", "strict", Values{"ledger": "petty cash"}).
			Router("good", "PathPrefix(`/good`)", "billing", "known").
			Router("bad", "PathPrefix(`/bad`)", "billing", "unknown"),
	})
	routers, err := traefik.Routers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(routers) != 2 || routers["good"].Status != "enabled" || routers["bad"].Status != "disabled" {
		t.Errorf("routers %+v", routers)
	}
	const reason = `ledger: "petty cash" is not known`
	if !strings.Contains(strings.Join(routers["bad"].Errors, "\n"), reason) {
		t.Errorf("errors %q", routers["bad"].Errors)
	}
	if err := traefik.CheckRouters(t.Context()); err == nil || !strings.Contains(err.Error(), "router bad is disabled") {
		t.Errorf("check: %v", err)
	}
	if err := traefik.WaitLog(Within(t, 5*time.Second), "petty cash"); err != nil {
		t.Error(err)
	}
	answers, err := Exchange(t.Context(), traefik.Addr(Web), []byte("GET /bad HTTP/1.1\r\nHost: a\r\n\r\n"), RawOptions{})
	if err != nil || answers.Status() != 404 {
		t.Errorf("a router that was left out answers %d, %v", answers.Status(), err)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	traefik, err := Start(t.Context(), Options{WithoutMirror: true})
	if err != nil {
		t.Fatal(err)
	}
	pid, dir := traefik.PID(), traefik.Dir()
	begun := time.Now()
	for range 2 {
		if err := traefik.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("stop took %s", took)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if !strings.Contains(traefik.Log(), "Traefik version") {
		t.Error("the log is gone")
	}
}

func TestCrashShows(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	traefik, err := Start(t.Context(), Options{
		WithoutMirror: true,
		Plugins:       []Plugin{strictPlugin(t)},
		Dynamic: Dynamic{}.
			Service("billing", live.URL()).
			Plugin("known", "strict", Values{"ledger": "invoices"}).
			Router("all", "PathPrefix(`/`)", "billing", "known"),
	})
	if err != nil {
		t.Fatal(err)
	}
	Raw(t.Context(), traefik.Addr(Web), []byte("GET /crash HTTP/1.1\r\nHost: a\r\n\r\n"))
	select {
	case <-traefik.Exited():
	case <-time.After(5 * time.Second):
		t.Error("Traefik survived a panic in a goroutine")
	}
	if err := traefik.Stop(); err == nil || !strings.Contains(err.Error(), "ledger closed") {
		t.Errorf("stop: %v", err)
	}
}

func TestStartFailureTellsWhy(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":       "module github.com/trafficshadow/broken\n",
		".traefik.yml": "displayName: Broken\ntype: middleware\nimport: github.com/trafficshadow/broken\nsummary: Does not parse.\ntestData: {a: b}\n",
		"broken.go":    "package broken\n\nfunc New( {\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Start(t.Context(), Options{WithoutMirror: true, Plugins: []Plugin{{Key: "broken", Dir: dir}}})
	if err == nil || !strings.Contains(err.Error(), "broken.go:3") {
		t.Errorf("error %v", err)
	}
}

func TestTLSAndHTTP2(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	traefik := MustServe(t, Options{WithoutMirror: true, TLS: true, Plugins: []Plugin{passThrough(t)}, Dynamic: billing(live)})
	for url, proto := range map[string]string{traefik.URL("/invoices"): "HTTP/1.1", traefik.SecureURL("/invoices"): "HTTP/2.0"} {
		resp, err := traefik.Client().Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.Proto != proto {
			t.Errorf("%s: %s %s", url, resp.Proto, resp.Status)
		}
	}
	routers, err := traefik.Routers(t.Context())
	if err != nil || len(routers) != 2 || routers["websecure-invoices"].Status != "enabled" {
		t.Errorf("routers %+v, %v", routers, err)
	}
}

func TestFigures(t *testing.T) {
	traefik := RunTraefik(t, Options{WithoutMirror: true, DescriptorLimit: 200})
	ctx := Within(t, 10*time.Second)
	limits, err := os.ReadFile(traefik.proc("limits"))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max open files 200 200") {
		t.Errorf("limits %s, %v", limits, err)
	}
	if n, err := traefik.Descriptors(); err != nil || n < 5 || n > 50 {
		t.Errorf("descriptors %d, %v", n, err)
	}
	if n, err := traefik.Goroutines(ctx); err != nil || n < 5 || n > 200 {
		t.Errorf("goroutines %d, %v", n, err)
	}
	if cpu, err := traefik.CPU(); err != nil || cpu < 10*time.Millisecond || cpu > time.Minute {
		t.Errorf("processor time %s, %v", cpu, err)
	}
	rss, err := traefik.RSS()
	peak, err2 := traefik.PeakRSS()
	if err != nil || err2 != nil || rss < 20<<20 || peak < rss {
		t.Errorf("memory %d, peak %d, %v, %v", rss, peak, err, err2)
	}
	if dump, err := traefik.GoroutineDump(ctx); err != nil || !strings.Contains(dump, "goroutine 1 [") {
		t.Errorf("goroutine dump %.200s, %v", dump, err)
	}
	if profile, err := traefik.HeapProfile(ctx); err != nil || len(profile) < 1000 {
		t.Errorf("heap profile of %d bytes, %v", len(profile), err)
	}
	if stats, err := traefik.MemStats(ctx); err != nil || stats.TotalAlloc == 0 || stats.Mallocs == 0 {
		t.Errorf("memory figures %+v, %v", stats.TotalAlloc, err)
	}
}

// Several testbeds at once must not get in each other's way.
func TestManyAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			live, err := NewUpstream(UpstreamOptions{Name: "live"})
			if err != nil {
				t.Error(err)
				return
			}
			defer live.Stop()
			traefik, err := Start(t.Context(), Options{WithoutMirror: true, Dynamic: Dynamic{}.
				Service("billing", live.URL()).Router("all", "PathPrefix(`/`)", "billing")})
			if err != nil {
				t.Error(err)
				return
			}
			defer traefik.Stop()
			if _, err := Raw(t.Context(), traefik.Addr(Web), []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
				t.Error(err)
			}
			if live.Count() != 1 {
				t.Errorf("count %d", live.Count())
			}
		}()
	}
	wg.Wait()
}

func TestUpstreamRawHeads(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live", BodyLimit: 8})
	heads := []string{
		"POST /invoices HTTP/1.1\r\nhost: a\r\nX-B: 2\r\nx-a:1\r\nX-B:  3\r\nContent-Length: 68\r\n\r\n",
		"PUT /invoices/1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /last HTTP/1.1\r\nHost: a\r\n\r\n",
	}
	answers, err := Exchange(t.Context(), live.Addr(), []byte(
		heads[0]+invoice[:68]+heads[1]+"4\r\nGET \r\n0\r\nX-Sum: 1\r\n\r\n"+heads[2]+heads[3]), RawOptions{Answers: 4})
	if err != nil {
		t.Fatal(err)
	}
	if len(answers.Final) != 4 {
		t.Fatalf("%d answers", len(answers.Final))
	}
	requests, err := live.Wait(Within(t, time.Second), 4)
	if err != nil {
		t.Fatal(err)
	}
	for i, head := range heads {
		if string(requests[i].RawHead) != head {
			t.Errorf("head %d %q, want %q", i, requests[i].RawHead, head)
		}
	}
	if want := []string{"host: a", "X-B: 2", "x-a:1", "X-B:  3", "Content-Length: 68"}; !slices.Equal(requests[0].RawHeaders(), want) {
		t.Errorf("headers %q, want %q", requests[0].RawHeaders(), want)
	}
	if r := requests[0]; string(r.Body) != invoice[:8] || r.BodySize != 68 || r.BodySHA256 != sha256.Sum256([]byte(invoice[:68])) {
		t.Errorf("body %q of %d", r.Body, r.BodySize)
	}
	if requests[1].Trailer.Get("X-Sum") != "1" {
		t.Errorf("trailer %v", requests[1].Trailer)
	}
	if accepted, _ := live.Connections(); accepted != 1 {
		t.Errorf("%d connections", accepted)
	}
}

func TestUpstreamBrokenBody(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		live := RunUpstream(t, UpstreamOptions{Name: "live", Streaming: streaming})
		_, err := Exchange(t.Context(), live.Addr(), []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"+invoice),
			RawOptions{Abort: true, Linger: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		requests, err := live.Wait(Within(t, 5*time.Second), 1)
		if err != nil {
			t.Fatal(err)
		}
		if r := requests[0]; string(r.Body) != invoice || r.BodyErr == nil {
			t.Errorf("streaming %t: body %q, %v", streaming, r.Body, r.BodyErr)
		}
	}
}

func TestUpstreamStopAndRestart(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	addr, request := live.Addr(), []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	live.Stop()
	if _, err := Raw(t.Context(), addr, request); err == nil {
		t.Error("a stopped upstream answers")
	}
	if err := live.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := Raw(t.Context(), addr, request); err != nil {
		t.Error(err)
	}
	if live.Addr() != addr || live.Count() != 1 {
		t.Errorf("address %s, want %s; count %d", live.Addr(), addr, live.Count())
	}
	live.Reset()
	if live.Count() != 0 || len(live.Requests()) != 0 {
		t.Error("reset left something")
	}
}

func TestUpstreamHang(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	release := live.Hang()
	answered := make(chan error, 1)
	go func() {
		_, err := Raw(t.Context(), live.Addr(), []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		answered <- err
	}()
	if _, err := live.Wait(Within(t, 5*time.Second), 1); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		t.Errorf("a hanging upstream answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	release()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestUpstreamProtocols(t *testing.T) {
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, secure := range []bool{false, true} {
		for _, h2 := range []bool{false, true} {
			opts := UpstreamOptions{Name: "live", HTTP2: h2}
			if secure {
				opts.TLS = serverTLS(cert)
			}
			live := RunUpstream(t, opts)
			client := newClient(ca)
			transport := client.Transport.(*http.Transport)
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetHTTP2(h2 && secure)
			transport.Protocols.SetUnencryptedHTTP2(h2 && !secure)
			transport.Protocols.SetHTTP1(!h2)
			resp, err := client.Post(live.URL(), "application/json", strings.NewReader(invoice))
			if err != nil {
				t.Fatalf("secure %t, h2 %t: %v", secure, h2, err)
			}
			resp.Body.Close()
			client.CloseIdleConnections()
			r := live.Requests()[0]
			if (resp.ProtoMajor == 2) != h2 || (r.Proto == "HTTP/2.0") != h2 || string(r.Body) != invoice || (r.TLS != nil) != secure {
				t.Errorf("secure %t, h2 %t: %s, recorded %s %q", secure, h2, resp.Proto, r.Proto, r.Body)
			}
		}
	}
}

func TestRawUpstream(t *testing.T) {
	shadow := RunRawUpstream(t, func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
	})
	answers, err := Exchange(t.Context(), shadow.Addr(), []byte("GET / HTTP/1.1\r\n\r\n"), RawOptions{})
	if err == nil {
		t.Error("a cut answer is no error")
	}
	body, bodyErr := answers.Body()
	if answers.Status() != 200 || len(answers.Informational) != 1 || string(body) != "short" || bodyErr == nil {
		t.Errorf("answer %d, %d informational, %q, %v", answers.Status(), len(answers.Informational), body, bodyErr)
	}
	if shadow.Count() != 1 {
		t.Errorf("count %d", shadow.Count())
	}
	shadow.Stop()
	if shadow.Open() != 0 {
		t.Errorf("%d connections are open", shadow.Open())
	}
}

func TestExchangeToTheEnd(t *testing.T) {
	live := RunUpstream(t, UpstreamOptions{Name: "live"})
	request := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	answers, err := Exchange(t.Context(), live.Addr(), bytes.Repeat(request, 3), RawOptions{Answers: -1, CloseWrite: true})
	if err != nil || len(answers.Final) == 0 {
		t.Errorf("%d answers, %v", len(answers.Final), err)
	}
	answers, err = Exchange(Within(t, 2*time.Second), live.Addr(), request, RawOptions{Answers: -1})
	if err != nil || len(answers.Final) != 1 {
		t.Errorf("%d answers by the deadline, %v", len(answers.Final), err)
	}
}

func TestBinaryGiven(t *testing.T) {
	t.Setenv("TRAEFIK_BIN", filepath.Join(t.TempDir(), "missing"))
	if _, err := Binary(t.Context(), t.Logf); err == nil || !strings.Contains(err.Error(), "TRAEFIK_BIN") {
		t.Errorf("missing: %v", err)
	}
	file := filepath.Join(t.TempDir(), "traefik")
	os.WriteFile(file, nil, 0o644)
	t.Setenv("TRAEFIK_BIN", file)
	if _, err := Binary(t.Context(), t.Logf); err == nil || !strings.Contains(err.Error(), "not an executable") {
		t.Errorf("not executable: %v", err)
	}
}

// TestKilledProgramLeavesNoTraefik runs itself a second time, as the program
// that is killed.
func TestKilledProgramLeavesNoTraefik(t *testing.T) {
	const child = "TESTBED_CHILD"
	if os.Getenv(child) != "" {
		traefik, err := Start(t.Context(), Options{WithoutMirror: true})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d in %s\n", traefik.PID(), traefik.Dir())
		time.Sleep(time.Minute)
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child of its parent's death")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	_, err = fmt.Fscanf(out, "pid %d in %s\n", &pid, &dir)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for deadline := time.Now().Add(5 * time.Second); !gone(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("Traefik %d outlived the program that started it", pid)
		}
	}
}

// gone reports whether there is no such process, or only one that nobody has
// waited for.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
