package verdict

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A side is what an upstream answers a request of some kind with.
type side struct {
	status int // 0: 200
	body   func(i int) string
	header func(i int) http.Header
	zipped bool
	does   func(rw http.ResponseWriter, req *http.Request) // in place of an answer
}

// A kind is requests that are to be treated alike.
type kind struct {
	name   string
	n      int
	router string

	// The request.
	method string // "": POST
	header http.Header
	size   int  // of the body; 0: a small one
	chunks bool // the length of the body is not announced

	live, shadow side
	cut          bool // the client gets no whole answer

	// What is to become of it.
	dropped  string // why it is not mirrored
	failed   string // how the shadow fails
	outcome  string // match, mismatch, or why it is not compared
	key      string // what differs
	liveHas  func(i int) string
	shadowIs func(i int) string // nil: the values are another with each request
}

func (k *kind) verb() string {
	if k.method == "" {
		return http.MethodPost
	}
	return k.method
}

func invoiceOf(amount string) func(i int) string {
	return func(i int) string {
		return fmt.Sprintf(`{"id":"%d","invoice":%d,"customer":"Meyer & Söhne","lines":[{"article":"A-1","amount":%d.%s},{"article":"B-2","amount":7}],"total":119.00}`, rand.Int64(), i, i, amount)
	}
}

// otherwise is the same as invoiceOf("05"), written in another way.
func otherwise(i int) string {
	return fmt.Sprintf(`{ "total": 119.0, "lines": [ {"amount":%d.050, "article":"A-1"}, {"amount":7e0,"article":"B-2"} ], "customer":"Meyer \u0026 S\u00f6hne", "invoice":%d, "id":"%d" }`, i, i, rand.Int64())
}

func text(s string) func(int) string { return func(int) string { return s } }

func fields(pairs ...string) func(int) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return func(int) http.Header { return h }
}

// abort closes the connection in the middle of an answer.
func abort(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Length", "2000")
	rw.Write(make([]byte, 1000))
	http.NewResponseController(rw).Flush()
	panic(http.ErrAbortHandler)
}

func hang(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// kinds are what comes in. Their numbers are those of the account.
func kinds() []*kind {
	const match = "match"
	json := http.Header{"Content-Type": {"application/json"}}
	good := side{body: invoiceOf("05")}
	large := side{body: text(`["` + testbed.Payload(compareLimit) + `"]`)}
	is := func(s string) func(int) string { return func(int) string { return s } }
	list := []*kind{
		{name: "same", n: 2500, live: good, shadow: good, outcome: match},
		{name: "same-elsewhere", n: 2000, router: "invoicing", live: good, shadow: good, outcome: match},
		{name: "otherwise", n: 1000, live: good, shadow: side{body: otherwise}, outcome: match},
		{name: "head", n: 200, method: "HEAD", live: good, shadow: good, outcome: match},
		{name: "get", n: 500, method: "GET", live: good, shadow: good, outcome: match},
		{name: "zipped", n: 300, live: good, shadow: side{body: invoiceOf("05"), zipped: true}, outcome: match},
		{name: "trailer", n: 100, chunks: true, header: http.Header{"Trailer": {"X-Checksum"}}, live: good, shadow: good, outcome: match},
		{name: "not-found", n: 200, live: side{status: 404, body: text(`{}`)}, shadow: side{status: 404, body: text(`{ }`)}, outcome: match},
		{name: "unavailable", n: 100, live: side{status: 503, body: text("busy")}, shadow: side{status: 503, body: text("busy")}, outcome: match},
		{name: "moved", n: 50, live: side{status: 302, header: fields("Location", "/x"), body: text("")}, shadow: side{status: 302, body: text("")}, outcome: "mismatch", key: "header Location", liveHas: is("/x"), shadowIs: is("missing")},

		{name: "rounded", n: 300, live: good, shadow: side{body: invoiceOf("04")}, outcome: "mismatch", key: "$.lines[*].amount",
			liveHas: func(i int) string { return fmt.Sprintf("%d.05", i) }, shadowIs: func(i int) string { return fmt.Sprintf("%d.04", i) }},
		{name: "fewer", n: 100, live: good, shadow: side{body: func(i int) string {
			return strings.Replace(invoiceOf("05")(i), `"customer":"Meyer & Söhne",`, "", 1)
		}}, outcome: "mismatch", key: "$.customer", liveHas: is(`"Meyer & Söhne"`), shadowIs: is("missing")},
		{name: "fails", n: 150, live: good, shadow: side{status: 500, body: text("oops")}, outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("500")},
		{name: "healed", n: 50, live: side{status: 500, body: text("oops")}, shadow: good, outcome: "mismatch", key: "status", liveHas: is("500"), shadowIs: is("200")},
		{name: "ledger", n: 60, live: side{body: invoiceOf("05"), header: fields("X-Ledger", "north")}, shadow: side{body: invoiceOf("05"), header: fields("X-Ledger", "south", "X-Ledger", "west")},
			outcome: "mismatch", key: "header X-Ledger", liveHas: is("north"), shadowIs: is("south, west")},
		{name: "text", n: 40, live: side{body: text("settled"), header: fields("Content-Type", "text/plain")}, shadow: side{body: text("settles"), header: fields("Content-Type", "text/plain")},
			outcome: "mismatch", key: "body", liveHas: is(`text/plain, 7 bytes, from byte 6: "d"`), shadowIs: is(`text/plain, 7 bytes, from byte 6: "s"`)},

		{name: "large-answers", n: 100, method: "GET", live: large, shadow: large, outcome: match},
		{name: "other-large-answers", n: 20, method: "GET", live: large, shadow: side{body: text(`["` + testbed.Payload(compareLimit+1) + `"]`)}, outcome: "too_large"},
		{name: "large-shadow", n: 50, method: "GET", live: good, shadow: large, outcome: "mismatch", key: "body"},
		{name: "large-live", n: 20, method: "GET", live: large, shadow: good, outcome: "mismatch", key: "body"},
		{name: "zip-bomb", n: 20, method: "GET", live: good, shadow: side{body: large.body, zipped: true}, outcome: "mismatch", key: "body"},
		{name: "encoded", n: 40, live: side{body: text("a"), header: fields("Content-Encoding", "br")}, shadow: side{body: text("b"), header: fields("Content-Encoding", "br")}, outcome: "encoding"},
		{name: "events", n: 60, header: http.Header{"Accept": {"text/event-stream"}}, live: good, shadow: good, outcome: "stream"},
		{name: "events-unasked", n: 40, live: side{body: text("data: 1\n\n"), header: fields("Content-Type", "text/event-stream")}, shadow: good, outcome: "stream"},
		{name: "live-breaks", n: 30, cut: true, live: side{does: abort}, shadow: good, outcome: "live_broken"},
		{name: "live-hangs-up", n: 20, live: side{status: 502, does: hangUp}, shadow: good, outcome: "mismatch", key: "status", liveHas: is("502"), shadowIs: is("200")},
		{name: "hangs", n: 30, live: good, shadow: side{does: hang}, failed: "timeout", outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("missing")},
		{name: "hangs-up", n: 60, live: good, shadow: side{does: hangUp}, failed: "protocol", outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("missing")},
		{name: "breaks", n: 30, live: good, shadow: side{does: abort}, failed: "protocol", outcome: "mismatch", key: "status", liveHas: is("200"), shadowIs: is("missing")},

		{name: "method", n: 200, method: "DELETE", dropped: "method"},
		{name: "marked", n: 50, header: http.Header{"X-Mirrored-By": {"edge"}}, dropped: "marked"},
		{name: "grpc", n: 50, header: http.Header{"Content-Type": {"application/grpc"}}, dropped: "grpc"},
		{name: "upgrade", n: 50, method: "GET", header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"ledger/1"}}, dropped: "upgrade"},
		{name: "large", n: 50, size: limit + 1, dropped: "too_large"},
		{name: "large-in-chunks", n: 30, size: limit + 1, chunks: true, dropped: "too_large"},

		{name: "upload", n: 900, router: "uploads", size: 9000, live: good, shadow: good, outcome: match},
		{name: "upload-in-chunks", n: 300, router: "uploads", size: 9000, chunks: true, live: good, shadow: good, outcome: match},
		{name: "upload-rounded", n: 100, router: "uploads", live: good, shadow: side{body: invoiceOf("04")}, outcome: "mismatch", key: "$.lines[*].amount",
			liveHas: func(i int) string { return fmt.Sprintf("%d.05", i) }, shadowIs: func(i int) string { return fmt.Sprintf("%d.04", i) }},
		{name: "upload-large", n: 60, router: "uploads", size: limit + 1, dropped: "too_large"},
		{name: "upload-delete", n: 60, router: "uploads", method: "DELETE", live: good, shadow: good, outcome: match},
	}
	for _, k := range list {
		if k.router == "" {
			k.router = "billing"
		}
		if k.live.body == nil {
			k.live.body = good.body
		}
		if k.header == nil && k.method == "" {
			k.header = json
		}
	}
	return list
}

func (k *kind) mirror() string {
	if k.router == "uploads" {
		return uploads
	}
	return middleware
}

// A plan is who is what: the i-th request is of the i-th kind in it.
type plan struct {
	kinds    []*kind
	requests []*kind
	served   map[string]*atomic.Int64 // bytes of the shadow's answers that are whole, by mirror
}

func newPlan() *plan {
	p := &plan{kinds: kinds(), served: map[string]*atomic.Int64{middleware: {}, uploads: {}}}
	for _, k := range p.kinds {
		for range k.n {
			p.requests = append(p.requests, k)
		}
	}
	shuffle := rand.New(rand.NewPCG(1, 2))
	shuffle.Shuffle(len(p.requests), func(i, j int) { p.requests[i], p.requests[j] = p.requests[j], p.requests[i] })
	return p
}

func (p *plan) kind(req *http.Request) (*kind, int) {
	i, err := strconv.Atoi(number(req))
	if err != nil || i >= len(p.requests) {
		return p.kinds[0], 0
	}
	return p.requests[i], i
}

// answer has the side answer, and returns how many bytes of body were sent.
func (s side) answer(rw http.ResponseWriter, req *http.Request, i int) int {
	if s.does != nil {
		s.does(rw, req)
		return 0
	}
	body := []byte(s.body(i))
	rw.Header().Set("Content-Type", "application/json")
	if s.header != nil {
		maps.Copy(rw.Header(), s.header(i))
	}
	if s.zipped {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		w.Write(body)
		w.Close()
		body = zipped.Bytes()
		rw.Header().Set("Content-Encoding", "gzip")
	}
	if s.status != 0 {
		rw.WriteHeader(s.status)
	}
	n, _ := rw.Write(body)
	if req.Method == http.MethodHead {
		return 0
	}
	return n
}

func (p *plan) live(rw http.ResponseWriter, req *http.Request) {
	k, i := p.kind(req)
	k.live.answer(rw, req, i)
}

func (p *plan) shadow(rw http.ResponseWriter, req *http.Request) {
	k, i := p.kind(req)
	p.served[k.mirror()].Add(int64(k.shadow.answer(rw, req, i)))
}

// send makes the i-th request, and complains about a wrong answer.
func (p *plan) send(traefik *testbed.Traefik, i int) error {
	k := p.requests[i]
	payload := fmt.Sprintf(`{"invoice":%d,"note":"%s"}`, i, testbed.Payload(k.size))
	var body io.Reader = strings.NewReader(payload)
	if k.chunks {
		body = io.MultiReader(body) // its length is not known
	}
	if k.verb() == http.MethodGet || k.verb() == http.MethodHead {
		body = nil
	}
	header := http.Header{"X-Customer": {fmt.Sprint("C-", i%100)}}
	maps.Copy(header, k.header)
	a, err := send(traefik, k.router, k.verb(), fmt.Sprintf("/invoices/%d", i), header, body)
	if k.cut {
		if err == nil {
			return fmt.Errorf("%s: a whole answer, want one that breaks off", k.name)
		}
		return nil
	}
	status := k.live.status
	if status == 0 {
		status = 200
	}
	if err != nil || a.status != status {
		return fmt.Errorf("%s: answered %d %.100q (%v), want %d", k.name, a.status, a.body, err, status)
	}
	return nil
}

// kindOf is the kind of the request that the target is of.
func (p *plan) kindOf(target string) (*kind, int) {
	i, err := strconv.Atoi(target[strings.LastIndex(target, "/")+1:])
	if err != nil || i >= len(p.requests) {
		return p.kinds[0], -1
	}
	return p.requests[i], i
}
