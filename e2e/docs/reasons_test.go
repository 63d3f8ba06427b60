package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// fates are the words of the table for what became of a request.
var fates = map[report.Fate]string{
	report.Unfit: "not to be mirrored", report.Unchosen: "left out", report.Dropped: "lost: no copy sent", report.Failed: "lost: no whole answer",
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	root := testbed.MustRepoRoot(t)
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The documentation has the words of the code, all of them, in its order, with the same
// meaning and remedy.
func TestReasonsAreThoseOfTheCode(t *testing.T) {
	var table strings.Builder
	table.WriteString("| word | | means | what to do |\n|---|---|---|---|\n")
	for _, r := range report.Reasons {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", r.Word, fates[r.Fate], r.Meaning, r.Remedy)
	}
	if page := readPage(t, "docs/troubleshooting.md"); !strings.Contains(page, "\n\n"+table.String()+"\n") {
		t.Errorf("docs/troubleshooting.md lacks this table:\n%s", table.String())
	}
}

// An alert says what its reason means and what to do, in the words of the code.
func TestAlertSaysEveryReasonThatIsALoss(t *testing.T) {
	alerts := readPage(t, "examples/observability/alerts.yml")
	n := 0
	for _, r := range report.Reasons {
		branch := fmt.Sprintf("if eq $labels.reason %q }}%s %s\n", r.Word, r.Meaning, r.Remedy)
		if strings.Contains(alerts, branch) != r.Lost() {
			t.Errorf("%s: alerts.yml has %q: %t, want %t", r.Word, branch, !r.Lost(), r.Lost())
		}
		if r.Lost() {
			n++
		}
	}
	if got := strings.Count(alerts, "if eq $labels.reason "); got != n {
		t.Errorf("alerts.yml has %d reasons, want %d", got, n)
	}
}
