package mirror

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/compare"
)

// A parcel is one request with what only it has: path, header and body.
type parcel struct {
	instance, client, n int
	kind                int
}

const parcelKinds = 6

func (p parcel) path() string {
	return fmt.Sprintf("/tenants/%d/clients/%d/invoices/%d", p.instance, p.client, p.n)
}

func (p parcel) method() string {
	if p.kind == 0 {
		return http.MethodGet
	}
	return http.MethodPost
}

// body is 100 bytes, 200 KiB or nothing, and no two parcels' have a line in common.
func (p parcel) body() string {
	line := p.path() + ";Meyer & Söhne;119.00\n"
	if p.kind == 0 {
		return ""
	}
	if p.kind < 4 {
		return line
	}
	return strings.Repeat(line, 200<<10/len(line))
}

func (p parcel) request() *http.Request {
	req := httptest.NewRequest(p.method(), p.path(), nil)
	if p.kind != 0 {
		req = httptest.NewRequest(p.method(), p.path(), strings.NewReader(p.body()))
	}
	if p.kind%2 == 1 {
		// As a server hands on one that comes in chunks.
		req.ContentLength = -1
		req.TransferEncoding = []string{"chunked"}
		req.Body = &closeRecorder{Reader: req.Body}
	}
	req.Header.Set("X-Parcel", p.path())
	req.Header.Set(sumHeader, sum(p.body()))
	return req
}

// receipt is live's and the shadow's answer, which no two parcels have in common.
func receipt(rw http.ResponseWriter, uri, sum string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(http.StatusCreated)
	fmt.Fprintf(rw, `{"booked":%q,"sum":%q}`, uri, sum)
}

// Everything at once, in all modes: each copy arrives at its own shadow, once, with
// its own path, header and body; no other shadow has anything of it; each answer
// goes to its own client, and is compared with its own shadow's.
func TestNothingGetsMixedUp(t *testing.T) {
	const instances, clients, requests = 8, 3, 24
	live := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusTeapot)
			return
		}
		receipt(rw, req.RequestURI, sum(string(body)))
	})
	shadows := make([]*upstream, instances)
	handlers := make([]http.Handler, instances)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	name := func(i int) string { return t.Name() + strconv.Itoa(i) }
	for i := range shadows {
		shadows[i] = startUpstream(t)
		shadows[i].answer = func(rw http.ResponseWriter, req *http.Request) {
			receipt(rw, req.RequestURI, req.Header.Get(sumHeader))
		}
		config := CreateConfig()
		setOptions(config, map[string]string{"url": shadows[i].URL, "maxInFlight": strconv.Itoa(clients * requests), "timeout": "1m"})
		setOptions(config, onceModes[i%len(onceModes)].options)
		var err error
		if handlers[i], err = New(ctx, live, config, name(i)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for i := 0; i < instances; i++ {
			forget(name(i))
		}
	})
	wg := &sync.WaitGroup{}
	wg.Add(instances * clients)
	for i := 0; i < instances; i++ {
		for c := 0; c < clients; c++ {
			go sendParcels(t, handlers[i], i, c, requests, wg)
		}
	}
	wg.Wait()
	for i := range shadows {
		settled(t, name(i))
		mode := onceModes[i%len(onceModes)]
		times := map[string]int{}
		for _, got := range shadows[i].snapshot() {
			times[got.uri]++
			p := parcel{instance: -1}
			fmt.Sscanf(got.uri, "/tenants/%d/clients/%d/invoices/%d", &p.instance, &p.client, &p.n)
			p.kind = p.n % parcelKinds
			want := p.body()
			if mode.bodyless {
				want = ""
			}
			if p.instance != i || got.method != p.method() || got.body != want || got.header.Get("X-Parcel") != p.path() || got.header.Get(sumHeader) != sum(p.body()) || got.header.Get(markerHeader) != name(i) {
				t.Errorf("shadow %d (%s) got %s %s of %q for %q with %d bytes, %.60q; want %d bytes", i, mode.name, got.method, got.uri, got.header.Get("X-Parcel"), got.header.Get(markerHeader), len(got.body), got.body, len(want))
			}
		}
		for c := 0; c < clients; c++ {
			for n := 0; n < requests; n++ {
				if p := (parcel{instance: i, client: c, n: n}); times[p.path()] != 1 {
					t.Errorf("shadow %d (%s) got %s %d times, want once", i, mode.name, p.path(), times[p.path()])
				}
			}
		}
		if len(times) != clients*requests {
			t.Errorf("shadow %d (%s) got %d different requests, want %d", i, mode.name, len(times), clients*requests)
		}
		if mode.options["compare.body"] == "" {
			continue
		}
		if s := outcomes(t, name(i), clients*requests); s.Totals.Outcomes[compare.Match] != clients*requests {
			t.Errorf("instance %d (%s): outcomes %v, skipped %v; want all to match", i, mode.name, s.Totals.Outcomes, s.Totals.Skipped)
		}
	}
}

func sendParcels(t *testing.T, h http.Handler, instance, client, n int, wg *sync.WaitGroup) {
	defer wg.Done()
	for i := 0; i < n; i++ {
		p := parcel{instance: instance, client: client, n: i, kind: i % parcelKinds}
		want := fmt.Sprintf(`{"booked":%q,"sum":%q}`, p.path(), sum(p.body()))
		if rec := serve(h, p.request()); rec.Code != http.StatusCreated || rec.Body.String() != want {
			t.Errorf("%s: the client got %d %q, want %q", p.path(), rec.Code, rec.Body, want)
		}
	}
}
