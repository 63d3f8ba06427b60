package verdict

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// At first nothing agrees, but for reasons that the report takes for noise. The
// lines that its page has are put into the configuration, and what is left is
// what really differs.
func TestNoiseGoesInTwoSteps(t *testing.T) {
	const n, everyNth = 200, 10
	book := func(total string) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			if i := number(req); !strings.HasSuffix(i, "0") {
				total := "119.00"
				writeJSON(rw, noisy(i, total))
				return
			}
			writeJSON(rw, noisy(number(req), total))
		}
	}
	live, shadow := upstream(t, "live", book("119.00")), upstream(t, "shadow", book("118.99"))
	config := func(options testbed.Values) testbed.Dynamic {
		options["headers"] = "X-Request-Id"
		return testbed.Dynamic{}.
			Service("billing", live.URL()).
			Report().
			Mirror(middleware, testbed.Values{"url": shadow.URL(), "compare": options}).
			Router("billing", host("billing"), "billing", middleware)
	}
	traefik := runTraefik(t, testbed.Options{LogLevel: "ERROR", Dynamic: config(testbed.Values{})})
	load := func() {
		inParallel(t, n, func(i int) error {
			_, err := send(traefik, "billing", "GET", fmt.Sprint("/invoices/", i), nil, nil)
			return err
		})
	}

	load()
	first := settled(t, traefik, middleware).Comparison
	if first.Compared != n || first.Matched != 0 || first.OnlyNoise != n-n/everyNth {
		t.Errorf("%d compared, %d match, %d differ only in noise, want %d, 0 and %d: %+v", first.Compared, first.Matched, first.OnlyNoise, n, n-n/everyNth, first.Differences)
	}
	want := []string{"$.id", "$.lines[*].updatedAt", "$['trace.id']"}
	if got := slices.Sorted(slices.Values(first.Ignore)); !slices.Equal(got, want) {
		t.Errorf("the report says to ignore %q, want %q", got, want)
	}
	if real := first.Differences[0]; real.Key != "$.total" || real.Noise || real.Count != n/everyNth {
		t.Errorf("the first difference is %+v, want the real one, $.total, in %d pairs", real, n/everyNth)
	}

	// The page has them as YAML and as a label of Docker Compose.
	page := readPage(t, reported(t, traefik, "/")).mirror(t, middleware)
	blocks := page.all("pre", "")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks to copy on the page, want YAML and a label", len(blocks))
	}
	var copied struct {
		Compare struct{ Ignore []string }
	}
	if err := yaml.Unmarshal([]byte(blocks[0].text()), &copied); err != nil {
		t.Fatal(err)
	}
	var labels []string
	if err := yaml.Unmarshal([]byte(blocks[1].text()), &labels); err != nil || len(labels) != 1 {
		t.Fatalf("label %q (%v)", blocks[1].text(), err)
	}
	label, value, _ := strings.Cut(strings.ReplaceAll(labels[0], "$$", "$"), "=")
	if label != "traefik.http.middlewares."+middleware+".plugin.mirror.compare.ignore" || !slices.Equal(strings.Split(value, ","), copied.Compare.Ignore) {
		t.Errorf("label %q with %q, want the same paths as %q", label, value, copied.Compare.Ignore)
	}

	traefik.MustReload(t, config(testbed.Values{"ignore": copied.Compare.Ignore}))
	if c := traefik.MustReport(t, middleware).Comparison; c.Compared != 0 {
		t.Errorf("%d pairs in the new account before the first, want none", c.Compared)
	}
	load()
	r := settled(t, traefik, middleware)
	second := r.Comparison
	if second.Matched != n-n/everyNth || second.Mismatched != n/everyNth || second.OnlyNoise != 0 || len(second.Ignore) != 0 {
		t.Errorf("%d match, %d differ, %d only in noise, to ignore %q; want %d, %d, 0 and nothing", second.Matched, second.Mismatched, second.OnlyNoise, second.Ignore, n-n/everyNth, n/everyNth)
	}
	if len(second.Differences) != 1 || second.Differences[0].Key != "$.total" {
		t.Errorf("differences %+v, want $.total only", second.Differences)
	}
	if want := "90% of 200 answers agree; 20 real differences; "; !strings.HasPrefix(second.Verdict, want) {
		t.Errorf("verdict %q, want %q", second.Verdict, want)
	}
	if r.Compared["match"]+r.Compared["mismatch"] != 2*n {
		t.Errorf("compared since the start: %v, want %d", r.Compared, 2*n)
	}
}

func noisy(invoice, total string) string {
	id := func() string { return fmt.Sprintf("%016x", rand.Int64()) }
	at := func() string { return time.Now().Add(time.Duration(rand.IntN(1e9))).Format(time.RFC3339Nano) }
	return fmt.Sprintf(`{"id":%q,"invoice":%q,"trace.id":%q,"lines":[{"article":"A-1","updatedAt":%q},{"article":"B-2","updatedAt":%q}],"total":%s}`,
		id(), invoice, id(), at(), at(), total)
}
