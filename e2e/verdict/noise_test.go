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

	"github.com/trafficshadow/mirror/compare"
	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// At first nobody knows whether what is made anew for each answer would be another one in
// the next answer of live's, too. When the same is asked again it is known to be noise. The
// lines that the page has for it are put into the configuration, and what is left, of what
// was compared before too, is what really differs.
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
			Mirror(middleware, testbed.Values{"url": shadow.URL(), "maxInFlight": 1000, "compare": options}).
			Router("billing", testbed.RuleOf("billing"), "billing", middleware)
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config(testbed.Values{})})
	load := func() {
		inParallel(t, n, func(i int) error {
			_, err := send(traefik, "billing", "GET", fmt.Sprint("/invoices/", i), nil, nil)
			return err
		})
	}

	counts := func(what string, want report.Comparison) *report.Comparison {
		t.Helper()
		c := settled(t, traefik, middleware).Comparison
		if c.State != compare.StateDiffers || c.Compared != want.Compared || c.Real != want.Real || c.Undecided != want.Undecided || c.Noise != want.Noise || c.Ignored != want.Ignored || c.Headline != want.Headline {
			t.Errorf("%s: %s, %d compared, %d really differ, %d undecided, %d noise, %d ignored, %q; want %+v: %+v",
				what, c.State, c.Compared, c.Real, c.Undecided, c.Noise, c.Ignored, c.Headline, want, c.Differences)
		}
		return c
	}
	// lines are those for what is judged so.
	lines := func(c *report.Comparison, judgement string) []string {
		var found []string
		for _, d := range c.Differences {
			if d.Judgement == judgement {
				found = append(found, d.Ignore)
			}
		}
		return slices.Sorted(slices.Values(found))
	}

	load()
	const real = n / everyNth
	made := []string{"$.id", "$.lines[*].updatedAt", "$['trace.id']"}
	c := counts("asked once", report.Comparison{Compared: n, Real: real, Undecided: n - real,
		Headline: "20 of 200 answers really differ (10%), 180 more cannot be decided"})
	if got := lines(c, compare.Undecided); !slices.Equal(got, made) {
		t.Errorf("undecided are %q, want %q", got, made)
	}
	load()
	c = counts("asked again", report.Comparison{Compared: 2 * n, Real: 2 * real, Noise: 2 * (n - real), Headline: "40 of 400 answers really differ (10%)"})
	if got := lines(c, compare.Noise); !slices.Equal(got, made) {
		t.Errorf("the report says to ignore %q, want %q", got, made)
	}
	if d := c.Differences[0]; d.Key != "$.total" || d.Judgement != compare.Real || d.Count != 2*real {
		t.Errorf("the first difference is %+v, want the real one, $.total, in %d pairs", d, 2*real)
	}

	// The page has them as YAML and as a label of Docker Compose.
	page := mirrorPage(t, traefik, middleware, "noise")
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
	counts("ignored", report.Comparison{Compared: 2 * n, Real: 2 * real, Ignored: 2 * (n - real), Headline: "40 of 400 answers really differ (10%)"})
	traefik.MustReload(t, config(testbed.Values{}))
	counts("no longer ignored", report.Comparison{Compared: 2 * n, Real: 2 * real, Noise: 2 * (n - real), Headline: "40 of 400 answers really differ (10%)"})
}

func noisy(invoice, total string) string {
	id := func() string { return fmt.Sprintf("%016x", rand.Int64()) }
	at := func() string { return time.Now().Add(time.Duration(rand.IntN(1e9))).Format(time.RFC3339Nano) }
	return fmt.Sprintf(`{"id":%q,"invoice":%q,"trace.id":%q,"lines":[{"article":"A-1","updatedAt":%q},{"article":"B-2","updatedAt":%q}],"total":%s}`,
		id(), invoice, id(), at(), at(), total)
}
