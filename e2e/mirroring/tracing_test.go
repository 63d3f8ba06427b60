package mirroring

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/trafficshadow/mirror/e2e/docs"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

// needTracing skips the test in a Traefik whose tracing is not the documented one:
// before v3.6 what the client has decided is not heeded, and v2 knows no OpenTelemetry.
func needTracing(t *testing.T) {
	t.Helper()
	if release := testbed.MustUsedRelease(t); !release.Has("v3.6.0") {
		t.Skipf("%s traces otherwise", release)
	}
}

// A collector is where Traefik sends its spans, by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*tracepb.Span
}

func runCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if err := c.take(req); err != nil {
			t.Error(err)
			rw.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(req *http.Request) error {
	unzipped, err := gzip.NewReader(req.Body)
	if err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	body, err := io.ReadAll(unzipped)
	if err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	// The same on the wire as the request of the collector's service.
	var data tracepb.TracesData
	if err := proto.Unmarshal(body, &data); err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range data.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			c.spans = append(c.spans, scope.GetSpans()...)
		}
	}
	return nil
}

func (c *collector) all() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// in returns the spans of the trace, once there are n or more.
func (c *collector) in(t *testing.T, id trace.TraceID, n int) []*tracepb.Span {
	t.Helper()
	var spans []*tracepb.Span
	testbed.Eventually(t, patience, func() error {
		spans = slices.DeleteFunc(c.all(), func(s *tracepb.Span) bool { return trace.TraceID(s.GetTraceId()) != id })
		if len(spans) < n {
			return fmt.Errorf("Traefik has sent %d spans of the trace %s, want %d", len(spans), id, n)
		}
		return nil
	})
	return spans
}

// about returns the spans whose attributes have the address.
func (c *collector) about(address string) []*tracepb.Span {
	_, port, _ := net.SplitHostPort(address)
	return slices.DeleteFunc(c.all(), func(s *tracepb.Span) bool { return !strings.Contains(prototext.Format(s), port) })
}

// names shows spans in a failure.
func names(spans []*tracepb.Span) string {
	list := []string{}
	for _, s := range spans {
		list = append(list, fmt.Sprintf("%s %x in %x", s.GetName(), s.GetSpanId(), s.GetTraceId()))
	}
	return fmt.Sprintf("%q", list)
}

// options have Traefik send its spans, a share of those that no client has decided on.
func (c *collector) options(sampleRate float64) testbed.Options {
	return testbed.Options{
		Static: testbed.Values{"tracing": testbed.Values{
			"sampleRate": sampleRate,
			"otlp":       testbed.Values{"http": testbed.Values{"endpoint": c.URL + "/v1/traces"}},
		}},
		Env: []string{"OTEL_BSP_SCHEDULE_DELAY=50"}, // milliseconds between two deliveries
	}
}

// tracer are the headers that tracers read.
var tracer = []string{
	"Traceparent", "Tracestate", "Baggage", "B3", "X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags",
}

// traceHeaders are those of the request.
func traceHeaders(h http.Header) http.Header {
	found := http.Header{}
	for _, name := range tracer {
		if values, ok := h[name]; ok {
			found[name] = values
		}
	}
	return found
}

var (
	w3c     = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	zipkins = b3.New() // reads both of its forms
)

// caller is what the request says of the span that it comes from.
func caller(from propagation.TextMapPropagator, h http.Header) trace.SpanContext {
	return trace.SpanContextFromContext(from.Extract(context.Background(), propagation.HeaderCarrier(h)))
}

// byDefault has OpenTelemetry's SDK use the sampler that it has unless it is told
// otherwise: it asks the parent, and takes what has none.
const byDefault = "parentbased_always_on"

// spanOf is the span that OpenTelemetry's SDK makes of the request, with the sampler that
// OTEL_TRACES_SAMPLER names.
func spanOf(t *testing.T, from propagation.TextMapPropagator, sampler string, h http.Header) trace.SpanContext {
	t.Helper()
	t.Setenv("OTEL_TRACES_SAMPLER", sampler)
	ctx := from.Extract(context.Background(), propagation.HeaderCarrier(h))
	_, span := sdktrace.NewTracerProvider().Tracer("billing-next").Start(ctx, "POST /invoices", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	return span.SpanContext()
}

// The ids of clients' traces; the i-th has a trace and a span of its own.
func clientTrace(i int) string { return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04x", i) }
func clientSpan(i int) string  { return fmt.Sprintf("00f067aa0ba9%04x", i) }

// tracedLines are header lines of the i-th client: all kinds, with the flag "00" or "01".
func tracedLines(i int, flag string) []string {
	return []string{
		"traceparent: 00-" + clientTrace(i) + "-" + clientSpan(i) + "-" + flag,
		"tracestate: meyer=t61rcWkgMzE",
		"baggage: tenant=meyer",
		"b3: " + clientTrace(i) + "-" + clientSpan(i) + "-" + flag[1:],
		"X-B3-TraceId: " + clientTrace(i),
		"X-B3-SpanId: " + clientSpan(i),
		"X-B3-Sampled: " + flag[1:],
	}
}

func headerOf(lines []string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// The copy has what the client sent, whatever Traefik's tracing adds to live's request,
// and Traefik has no span of it.
func TestTraceOfTheCopyIsTheClients(t *testing.T) {
	needTracing(t)
	const fresh, clients = "of Traefik's", "of the client's"
	clientsSend := []struct{ name, flag string }{{"no trace", ""}, {"sampled", "01"}, {"not sampled", "00"}}
	tests := []struct {
		name     string
		rate     float64 // below 0: tracing is off
		env      string
		b3       bool     // Traefik reads B3, and adds its own
		live     []string // whose trace live's request is in, by what the client sends
		recorded []bool   // whether Traefik samples it
	}{
		{"off", -1, "", false, []string{"", clients, clients}, nil},
		{"all", 1, "", false, []string{fresh, clients, clients}, []bool{true, true, false}},
		{"none", 0, "", false, []string{fresh, clients, clients}, []bool{false, true, false}},
		{"b3", 1, "OTEL_PROPAGATORS=tracecontext,baggage,b3multi", true, []string{fresh, clients, clients}, []bool{true, true, false}},
	}
	for _, test := range tests {
		t.Run("tracing "+test.name, func(t *testing.T) {
			spans := runCollector(t)
			s := setup{}
			if test.rate >= 0 {
				s.traefik = spans.options(test.rate)
			}
			if test.env != "" {
				s.traefik.Env = append(s.traefik.Env, test.env)
			}
			b := run(t, s)
			for i, client := range clientsSend {
				var lines []string
				if client.flag != "" {
					lines = tracedLines(i, client.flag)
				}
				sent := headerOf(lines)
				b.live.Reset()
				b.shadow.Reset()
				expect(t, b.Traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice, lines...))
				live, copied := recorded(t, b.live, 1)[0].Header, recorded(t, b.shadow, 1)[0].Header

				if got := traceHeaders(copied); !maps.EqualFunc(got, sent, slices.Equal) {
					t.Errorf("%s: the copy has %q, want what the client sent, %q", client.name, got, sent)
				}
				if test.recorded == nil {
					if got := traceHeaders(live); !maps.EqualFunc(got, sent, slices.Equal) {
						t.Errorf("%s: live got %q, want what the client sent, %q", client.name, got, sent)
					}
					continue
				}
				parent := caller(w3c, live)
				if !parent.IsValid() || parent.SpanID().String() == clientSpan(i) {
					t.Errorf("%s: live got traceparent %q, want one of Traefik's", client.name, live["Traceparent"])
				}
				if got := parent.TraceID().String() == clientTrace(i); got != (test.live[i] == clients) {
					t.Errorf("%s: live's trace is %s, want one %s", client.name, parent.TraceID(), test.live[i])
				}
				if parent.IsSampled() != test.recorded[i] {
					t.Errorf("%s: live got traceparent %q, want sampled %t", client.name, live["Traceparent"], test.recorded[i])
				}
				for _, name := range []string{"Tracestate", "Baggage"} {
					if !slices.Equal(live[name], sent[name]) {
						t.Errorf("%s: live got %s %q, want %q", client.name, name, live[name], sent[name])
					}
				}
				if wrote := live.Get("X-B3-SpanId") == parent.SpanID().String(); wrote != test.b3 {
					t.Errorf("%s: live got X-B3-SpanId %q beside %q, want Traefik's %t", client.name, live["X-B3-Spanid"], live["Traceparent"], test.b3)
				}
				if test.recorded[i] {
					// One for the request that came and one for the request to live.
					if got := spans.in(t, parent.TraceID(), 2); len(got) != 2 {
						t.Errorf("%s: Traefik has sent %d spans, want 2: %s", client.name, len(got), names(got))
					}
				}
			}
			if got := spans.about(b.shadow.Addr()); len(got) > 0 {
				t.Errorf("Traefik has sent spans of copies: %s", names(got))
			}
			if test.rate == 1 && len(spans.about(b.live.Addr())) == 0 {
				t.Error("Traefik has sent no span of a request to live")
			}
		})
	}
}

// documentedHeaders returns the customRequestHeaders in the YAML block of
// docs/tracing.md that has the words.
func documentedHeaders(t *testing.T, words string) map[string]any {
	t.Helper()
	var tree struct {
		HTTP struct {
			Middlewares map[string]struct {
				Plugin struct {
					Mirror struct {
						CustomRequestHeaders map[string]any `yaml:"customRequestHeaders"`
					}
				}
			}
		}
	}
	readPage(t, words, &tree)
	headers := tree.HTTP.Middlewares[middleware].Plugin.Mirror.CustomRequestHeaders
	if len(headers) == 0 {
		t.Fatalf("the block of docs/tracing.md with %q sets no headers", words)
	}
	return headers
}

// readPage reads the one YAML block of docs/tracing.md that has the words.
func readPage(t *testing.T, words string, into any) {
	t.Helper()
	root := testbed.MustRepoRoot(t)
	page, err := docs.Read(root, "docs/tracing.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := slices.DeleteFunc(page.Blocks, func(b docs.Block) bool { return !strings.Contains(b.Text, words) })
	if len(blocks) != 1 {
		t.Fatalf("docs/tracing.md has %d blocks with %q, want 1", len(blocks), words)
	}
	if err := yaml.Unmarshal([]byte(blocks[0].Text), into); err != nil {
		t.Fatalf("%s: %v", blocks[0], err)
	}
}

// What docs/tracing.md says to set does what it says, and the constant traceparent that
// it warns of does what it warns of.
func TestTracingAsDocumented(t *testing.T) {
	needTracing(t)
	const constant = "00-4bf92f3577b34da6a3ce929d0e0effff-00f067aa0ba9ffff-00"
	spans := runCollector(t)
	m := newMirrors(t, testbed.UpstreamOptions{}, testbed.UpstreamOptions{})
	m.add("join", nil)
	m.add("strip", testbed.Values{"customRequestHeaders": documentedHeaders(t, `X-B3-ParentSpanId: ""`)})
	m.add("unsample", testbed.Values{"customRequestHeaders": documentedHeaders(t, `X-B3-Sampled: "0"`)})
	m.add("constant", testbed.Values{"customRequestHeaders": testbed.Values{"traceparent": constant}})
	m.add("begin", nil)
	m.config.Middleware("begins", "headers", testbed.Values{"customRequestHeaders": testbed.Values{"traceparent": constant}}).
		Router("begin", testbed.RuleOf("begin"), "billing", "begins", "begin")
	m.start(t, spans.options(1))

	// Each middleware gets the requests of two clients; spans are what the shadow makes
	// of the copies.
	copied := func(name string, linesOf func(i int) []string) (headers []http.Header) {
		t.Helper()
		m.shadow.Reset()
		for i := 1; i <= 2; i++ {
			expect(t, m.Traefik, http.StatusOK, sized("POST", "/invoices", testbed.HostOf(name), invoice, linesOf(i)...))
			r := recorded(t, m.shadow, i)[i-1]
			headers = append(headers, r.Header)
		}
		return headers
	}
	all := func(i int) []string { return tracedLines(i, "01") }

	t.Run("strip", func(t *testing.T) {
		ids := map[trace.TraceID]bool{}
		for _, h := range copied("strip", all) {
			if got := traceHeaders(h); len(got) > 0 {
				t.Errorf("the copy has %q", got)
			}
			for _, propagator := range []propagation.TextMapPropagator{w3c, zipkins} {
				span := spanOf(t, propagator, byDefault, h)
				if !span.IsSampled() || strings.HasPrefix(span.TraceID().String(), clientTrace(0)[:28]) {
					t.Errorf("the shadow's span is in %s, sampled %t; want a trace of its own", span.TraceID(), span.IsSampled())
				}
				if span := spanOf(t, propagator, "parentbased_always_off", h); span.IsSampled() {
					t.Error("the shadow's span is recorded against its own sampler")
				}
				ids[span.TraceID()] = true
			}
		}
		if len(ids) != 4 {
			t.Errorf("4 spans are in %d traces", len(ids))
		}
	})
	t.Run("join", func(t *testing.T) {
		for i, h := range copied("join", all) {
			for _, propagator := range []propagation.TextMapPropagator{w3c, zipkins} {
				if parent, span := caller(propagator, h), spanOf(t, propagator, byDefault, h); !span.IsSampled() ||
					span.TraceID().String() != clientTrace(i+1) || parent.SpanID().String() != clientSpan(i+1) {
					t.Errorf("the shadow's span is in %s below %s, sampled %t; want the client's trace", span.TraceID(), parent.SpanID(), span.IsSampled())
				}
			}
			if spanOf(t, w3c, "always_off", h).IsSampled() {
				t.Error("always_off records")
			}
		}
	})
	t.Run("a middleware before the mirror begins no trace for both", func(t *testing.T) {
		m.live.Reset()
		h := copied("begin", func(int) []string { return nil })[0]
		if got := h.Get("traceparent"); got != constant {
			t.Errorf("the copy has traceparent %q, want the middleware's", got)
		}
		of := caller(w3c, arrived(t, m.live, 1)[0].Header)
		if !of.IsValid() || of.TraceID() == caller(w3c, h).TraceID() {
			t.Errorf("live's trace is %s, want one that Traefik has begun", of.TraceID())
		}
	})
	t.Run("unsample", func(t *testing.T) {
		for i, h := range copied("unsample", all) {
			if span := spanOf(t, zipkins, byDefault, h); span.IsSampled() || span.TraceID().String() != clientTrace(i+1) {
				t.Errorf("the shadow's span is in %s, sampled %t; want the client's trace, not sampled", span.TraceID(), span.IsSampled())
			}
		}
		debug := func(i int) []string {
			return []string{"X-B3-TraceId: " + clientTrace(i), "X-B3-SpanId: " + clientSpan(i), "X-B3-Flags: 1"}
		}
		for _, h := range copied("unsample", debug) {
			if spanOf(t, zipkins, byDefault, h).IsSampled() {
				t.Errorf("with the client's debug flag the shadow's span is sampled, by %q", traceHeaders(h))
			}
		}
		// A decision without ids is in the copy, and nothing to OpenTelemetry.
		for _, h := range copied("unsample", func(int) []string { return nil }) {
			if got := h.Get("X-B3-Sampled"); got != "0" || !spanOf(t, zipkins, byDefault, h).IsSampled() {
				t.Errorf("without ids the copy has X-B3-Sampled %q, sampled %t; want 0 and that it is not heeded", got, spanOf(t, zipkins, byDefault, h).IsSampled())
			}
		}
	})
	t.Run("constant", func(t *testing.T) {
		ids := map[trace.TraceID]bool{}
		for _, h := range copied("constant", all) {
			if spanOf(t, w3c, byDefault, h).IsSampled() {
				t.Error("the shadow's span is recorded by a sampler that asks the parent")
			}
			span := spanOf(t, w3c, "always_on", h)
			if !span.IsSampled() {
				t.Error("the shadow's span is not recorded by a sampler that asks no parent")
			}
			ids[span.TraceID()] = true
		}
		if len(ids) != 1 {
			t.Errorf("the copies are in %d traces, want 1", len(ids))
		}
	})
}

// The labels of docs/tracing.md strip as the block for a file does.
func TestTracingLabelsAsDocumented(t *testing.T) {
	needTracing(t)
	var compose struct {
		Services map[string]struct{ Labels []string }
	}
	readPage(t, "customRequestHeaders.traceparent=", &compose)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	labels := map[string]string{}
	for _, label := range compose.Services["billing"].Labels {
		name, value, _ := strings.Cut(label, "=")
		switch {
		case strings.HasSuffix(name, ".server.port"):
			name, value = strings.TrimSuffix(name, "port")+"url", live.URL()
		case strings.HasSuffix(name, ".url"):
			value = shadow.URL()
		}
		labels[name] = value
	}
	traefik := runLabels(t, map[string]map[string]string{"billing": labels}, testbed.Options{})

	expect(t, traefik, http.StatusOK, sized("POST", "/invoices", "billing", invoice, tracedLines(1, "01")[:2]...))
	if got := traceHeaders(recorded(t, shadow, 1)[0].Header); len(got) > 0 {
		t.Errorf("the copy has %q", got)
	}
	if got := traceHeaders(recorded(t, live, 1)[0].Header); len(got) != 2 {
		t.Errorf("live got %q, want what the client sent", got)
	}
}

// Copies that go through an entry point pass Traefik's tracing a second time, unless it
// is off there.
func TestTracingOfAShadowBehindAnEntryPoint(t *testing.T) {
	needTracing(t)
	var static struct {
		EntryPoints map[string]testbed.Values `yaml:"entryPoints"`
	}
	readPage(t, "tracing: false", &static)
	for name, point := range map[string]testbed.Values{"tracing on": {}, "tracing off": static.EntryPoints["shadow"]} {
		t.Run(name, func(t *testing.T) {
			on := name == "tracing on"
			spans := runCollector(t)
			live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
			shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
			opts := spans.options(1)
			inner := testbed.FreeAddress(t)
			point["address"] = inner
			opts.Static.(testbed.Values)["entryPoints"] = testbed.Values{"shadow": point}
			opts.Dynamic = billing(live).Service("billing-next", shadow.URL()).
				Mirror(middleware, testbed.Values{"url": "http://" + inner}).
				Router("mirrored", testbed.HostRule(mirrorHost), "billing", middleware).
				Set([]string{testbed.Web}, "http", "routers", "mirrored", "entryPoints").
				Router("shadow", "PathPrefix(`/`)", "billing-next").
				Set([]string{"shadow"}, "http", "routers", "shadow", "entryPoints")
			traefik := testbed.MustServe(t, opts)

			expect(t, traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice))
			parent := caller(w3c, recorded(t, shadow, 1)[0].Header)
			of := caller(w3c, recorded(t, live, 1)[0].Header)
			if parent.IsValid() != on || parent.TraceID() == of.TraceID() {
				t.Errorf("no trace of the client's: the shadow got %s, live %s", parent.TraceID(), of.TraceID())
			}

			expect(t, traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice, tracedLines(1, "01")...))
			parent = caller(w3c, recorded(t, shadow, 2)[1].Header)
			if parent.TraceID().String() != clientTrace(1) || (parent.SpanID().String() == clientSpan(1)) == on {
				t.Errorf("a client's trace: the shadow got %s of %s, want a span of Traefik's %t in the client's trace", parent.SpanID(), parent.TraceID(), on)
			}
			want := 2 // live's
			if on {
				want = 4
			}
			if got := spans.in(t, parent.TraceID(), want); len(got) != want {
				t.Errorf("Traefik has sent %d spans, want %d: %s", len(got), want, names(got))
			}
			if got := spans.about(shadow.Addr()); (len(got) > 0) != on {
				t.Errorf("Traefik has sent spans of requests to the shadow: %s", names(got))
			}
		})
	}
}

// Traefik's own mirroring has the shadow in live's trace, always.
func TestTracingOfMirroring(t *testing.T) {
	needTracing(t)
	spans := runCollector(t)
	live := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "live"})
	shadow := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "shadow"})
	opts := spans.options(1)
	opts.Dynamic = billing(live).Service("billing-next", shadow.URL()).
		Mirroring("billing-mirrored", "billing", 100, "billing-next").
		Router("mirrored", testbed.HostRule(mirrorHost), "billing-mirrored")
	traefik := testbed.MustServe(t, opts)
	for i, lines := range [][]string{nil, tracedLines(1, "01")} {
		expect(t, traefik, http.StatusOK, sized("POST", "/invoices", mirrorHost, invoice, lines...))
		of := caller(w3c, recorded(t, live, i+1)[i].Header)
		parent := caller(w3c, recorded(t, shadow, i+1)[i].Header)
		if !parent.IsValid() || parent.TraceID() != of.TraceID() || parent.SpanID() == of.SpanID() {
			t.Errorf("the shadow got %s of %s, live %s of %s; want another span of the same trace", parent.SpanID(), parent.TraceID(), of.SpanID(), of.TraceID())
		}
		if got := spans.in(t, parent.TraceID(), 3); len(got) != 3 {
			t.Errorf("Traefik has sent %d spans, want 3: %s", len(got), names(got))
		}
	}
}
