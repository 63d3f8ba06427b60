package verdict

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// A path may name a customer, or be a key to something. It is shown as far as it is the
// endpoint's pattern, and only with compare.show: values as it is.
func TestPathsAreShownAsPatterns(t *testing.T) {
	private := []string{"erika", "abcdefghijklmnopqrstuv", "mustermann", "4711"}
	for _, show := range []string{"hashes", "none", "values"} {
		t.Run(show, func(t *testing.T) {
			r := invoiceRelease(150)
			r.compare = testbed.Values{"show": show}
			r.ask = func(i int) request {
				return request{target: []string{"/customers/erika-example/invoices", "/reset/abcdefghijklmnopqrstuv", "/customers/4711/mustermann", "/customers/erika.example@example.com/invoices"}[min(i%30, 3)]}
			}
			r.wrong = []change{{do: remove("number")}}
			tr, _ := runTrial(t, r)
			c := settled(t, tr.traefik, tr.name).Comparison
			if c.Compared != 150 || c.Agreeing != 0 {
				t.Fatalf("%d compared, %d agree, want 150 that differ", c.Compared, c.Agreeing)
			}
			page, document := reported(t, tr.traefik, "/"), reported(t, tr.traefik, "/report.json")
			var d report.Document
			if err := json.Unmarshal([]byte(document), &d); err != nil {
				t.Fatal(err)
			}
			for _, text := range private {
				shown := strings.Contains(page+document, text)
				if shown != (show == "values") {
					t.Errorf("%q is shown: %t", text, shown)
				}
			}
			if !strings.Contains(page, "GET /customers/*/invoices") || !strings.Contains(document, "GET /customers/*/invoices") {
				t.Errorf("the endpoint is not named: %+v", c.Endpoints)
			}
		})
	}
}
