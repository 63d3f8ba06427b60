// Package observability tests examples/observability, and the page that the
// plugin serves, with the programs that look at them: the real Prometheus and a
// real browser.
package observability

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// patience bounds waits for what should come soon. It is long because only a
// test that fails waits for its end.
const patience = 60 * time.Second

// programs are what this needs, with the names that they may have. Both of the
// first are in Debian's package prometheus.
var programs = []struct {
	names []string
	found *string
}{
	{[]string{"prometheus"}, &prometheusPath},
	{[]string{"promtool"}, &promtoolPath},
	{[]string{"chromium", "chromium-browser", "google-chrome"}, &browserPath},
	{[]string{"openssl"}, new(string)}, // in the commands of the README
}

var prometheusPath, promtoolPath, browserPath string

func TestMain(m *testing.M) {
	if missing := findPrograms(); len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "observability: not found: %s. On Debian: apt-get install prometheus chromium openssl\n", strings.Join(missing, ", "))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func findPrograms() (missing []string) {
	for _, p := range programs {
		for _, name := range p.names {
			if path, err := exec.LookPath(name); err == nil {
				*p.found = path
				break
			}
		}
		if *p.found == "" {
			missing = append(missing, strings.Join(p.names, " or "))
		}
	}
	return missing
}

// eventually is testbed.Eventually with this package's patience.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	testbed.Eventually(t, patience, check)
}

// exampleFile is a file of the example.
func exampleFile(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(testbed.MustRepoRoot(t), "examples", "observability", name)
}

// loadExample reads a file of the example, with texts in it replaced, each of
// which has to be there once. edits are what is there and what is to be, in turn.
func loadExample(t *testing.T, name string, edits ...string) map[string]any {
	t.Helper()
	text := string(readFile(t, exampleFile(t, name)))
	for i := 0; i < len(edits); i += 2 {
		if n := strings.Count(text, edits[i]); n != 1 {
			t.Fatalf("%s has %q %d times, want once", name, edits[i], n)
		}
		text = strings.Replace(text, edits[i], edits[i+1], 1)
	}
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return tree
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
