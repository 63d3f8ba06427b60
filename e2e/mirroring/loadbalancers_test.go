package mirroring

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A load balancer sends what all its clients say over one connection: many requests at
// once, heads that refer to earlier ones, cookies in crumbs, bodies without a length,
// trailers. Each copy is of one request and has all of it.
func TestManyRequestsOverOneConnection(t *testing.T) {
	const n = 40 // bodies whose length is not known have half of the places
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	modes := map[string]testbed.Values{"mirroring": nil, "comparing": testbed.Comparing(), "streaming": {"bodyMode": "stream"}, "no-body": {"mirrorBody": false}}
	for name, options := range modes {
		m.add(name, options)
	}
	m.start(t, withHTTP3(testbed.Options{}))
	for _, client := range corpusClients(m.Traefik) {
		if client.dial == nil {
			continue
		}
		for mode := range modes {
			t.Run(client.name+"/"+mode, func(t *testing.T) {
				m.live.Reset()
				m.shadow.Reset()
				conn, err := client.dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				sent := map[string]testbed.FramedRequest{}
				var group sync.WaitGroup
				for i := range n {
					request := balanced(testbed.HostOf(mode), i)
					sent[request.Fields[3].Value] = request
					group.Go(func() {
						if answer, err := conn.Exchange(t.Context(), request); err != nil || answer.Status() != "200" {
							t.Errorf("%s: answered %s (%v), want 200", request.Fields[3], answer, err)
						}
					})
				}
				group.Wait()
				live, copies := byTarget(recorded(t, m.live, n)), byTarget(recorded(t, m.shadow, n))
				for target, request := range sent {
					checkBalanced(t, "live", live[target], request, true)
					checkBalanced(t, "the shadow", copies[target], request, mode != "no-body")
					if got, want := trailerNames(copies[target]), trailerNames(live[target]); mode != "no-body" && !slices.Equal(got, want) {
						t.Errorf("%s: the shadow got trailers %q, live %q", target, got, want)
					}
				}
			})
		}
	}
}

// balanced is the request with number i of a load balancer's.
func balanced(host string, i int) testbed.FramedRequest {
	r := testbed.FramedRequest{
		Fields: []testbed.Field{
			{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host},
			{Name: ":path", Value: fmt.Sprintf("/invoices/%d?ledger=north", i)},
			{Name: "user-agent", Value: "billing-batch/4.1"}, {Name: "via", Value: "2 balancer"},
			{Name: "cookie", Value: "session=9f86d081"}, {Name: "x-request-id", Value: fmt.Sprint(i)}, {Name: "cookie", Value: "ledger=north"},
		},
		Body:   []byte(fmt.Sprint(i, " ", testbed.Payload(i*700))),
		Pieces: 1000,
	}
	switch i % 4 {
	case 1:
		r.Fields = append(r.Fields, testbed.Field{Name: "content-length", Value: fmt.Sprint(len(r.Body))})
	case 2:
		r.Fields = append(r.Fields, testbed.Field{Name: "trailer", Value: "x-checksum"})
		r.Trailers = []testbed.Field{{Name: "x-checksum", Value: "ab12"}}
	case 3:
		r.Fields[0].Value, r.Body = "GET", nil
	}
	return r
}

func byTarget(requests []testbed.Request) map[string]testbed.Request {
	all := map[string]testbed.Request{}
	for _, r := range requests {
		all[r.RequestURI] = r
	}
	return all
}

func trailerNames(r testbed.Request) []string {
	var names []string
	for name := range r.Trailer {
		names = append(names, name)
	}
	return names
}

// checkBalanced complains if what arrived is not what was sent.
func checkBalanced(t *testing.T, who string, got testbed.Request, want testbed.FramedRequest, withBody bool) {
	t.Helper()
	target, body := want.Fields[3].Value, want.Body
	if !withBody {
		body = nil
	}
	if got.Method != want.Fields[0].Value || got.Host != want.Fields[2].Value || got.BodySHA256 != sha256.Sum256(body) || got.BodyErr != nil {
		t.Errorf("%s: %s got %q for %q with a body of %d bytes (%v), want %s with %d", target, who, got.Method, got.Host, got.BodySize, got.BodyErr, want.Fields[0].Value, len(body))
	}
	header := http.Header{}
	for _, f := range want.Fields {
		switch f.Name {
		case "user-agent", "via", "x-request-id":
			header.Set(f.Name, f.Value)
		case "cookie":
			header.Set(f.Name, strings.TrimPrefix(header.Get(f.Name)+"; "+f.Value, "; "))
		}
	}
	for name, values := range header {
		if !slices.Equal(got.Header[name], values) {
			t.Errorf("%s: %s got %s %q, want %q", target, who, name, got.Header[name], values)
		}
	}
}
