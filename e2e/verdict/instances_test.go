package verdict

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// Each mirror of many compares its own pairs: live's answer to a request with its
// own shadow's answer to the same one, and with no other.
func TestMirrorsCompareTheirOwnPairs(t *testing.T) {
	const mirrors, requests = 8, 400
	// Each answer says whose it is and which. One side's differ now and then.
	book := func(side string) http.HandlerFunc {
		return func(rw http.ResponseWriter, req *http.Request) {
			i := number(req)
			tenant, _, _ := strings.Cut(req.Host, ".")
			total := "119.00"
			if side == "shadow" && (strings.HasSuffix(i, "00") || strings.HasSuffix(i, "50")) {
				total = fmt.Sprintf("%q", tenant+" "+i)
			}
			rw.Header().Set("X-Ledger", tenant+"/"+i)
			writeJSON(rw, fmt.Sprintf(`{"tenant":%q,"invoice":%q,"note":%q,"total":%s}`, tenant, i, strings.Repeat(tenant+i, 200), total))
		}
	}
	live := upstream(t, "live", book("live"))
	config := testbed.Dynamic{}.Service("billing", live.URL()).Report()
	name := func(i int) string { return fmt.Sprint("tenant-", i%mirrors) }
	for i := range mirrors {
		mode := []string{"buffer", "stream"}[i%2]
		config.Mirror(name(i), testbed.Values{
			"url": upstream(t, name(i), book("shadow")).URL(), "bodyMode": mode, "maxInFlight": 1000, "timeout": "60s",
			"compare": testbed.Values{"headers": "X-Ledger", "show": "values", "examples": examples},
		}).Router(name(i), testbed.RuleOf(name(i)), "billing", name(i))
	}
	traefik := testbed.MustServe(t, testbed.Options{LogLevel: "ERROR", Dynamic: config})
	inParallel(t, mirrors*requests, func(i int) error {
		a, err := send(traefik, name(i), "POST", fmt.Sprint("/invoices/", i/mirrors), nil, strings.NewReader("{}"))
		if want := fmt.Sprintf(`{"tenant":%q,"invoice":"%d",`, name(i), i/mirrors); err == nil && !strings.HasPrefix(a.body, want) {
			err = fmt.Errorf("answered %.100q, want %q", a.body, want)
		}
		return err
	})
	for i := range mirrors {
		c := settled(t, traefik, name(i)).Comparison
		want := int64(0)
		for n := range requests {
			if s := fmt.Sprint(n); strings.HasSuffix(s, "00") || strings.HasSuffix(s, "50") {
				want++
			}
		}
		if c.Compared != requests || c.Real != want || c.Agreeing != requests-want || len(c.Differences) != 1 || c.Differences[0].Key != "$.total" {
			t.Errorf("%s: %d compared, %d really differ in %+v; want %d and %d in $.total", name(i), c.Compared, c.Real, c.Differences, requests, want)
		}
		if len(c.Differences) != 1 {
			continue
		}
		if n := int64(len(c.Differences[0].Examples)); n != want {
			t.Errorf("%s: %d examples, want all %d", name(i), n, want)
		}
		for _, x := range c.Differences[0].Examples {
			n := x.Path[strings.LastIndex(x.Path, "/")+1:]
			if want := fmt.Sprintf("%q", name(i)+" "+n); x.Shadow != want || x.Live != "119.00" {
				t.Errorf("%s: %s differs in %s and %s, want 119.00 and %s", name(i), x.Path, x.Live, x.Shadow, want)
			}
		}
	}
}
