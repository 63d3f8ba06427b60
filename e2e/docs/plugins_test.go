package docs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// blockWith returns the first block of the language in the page that has the text in it.
func blockWith(t *testing.T, page, language, text string) string {
	t.Helper()
	d, err := Read(testbed.MustRepoRoot(t), page)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range d.Blocks {
		if b.Language() == language && strings.Contains(b.Text, text) {
			return b.Text
		}
	}
	t.Fatalf("%s has no block of %s with %q", page, language, text)
	return ""
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What its page says that yaegivet prints about somebody's plugin is what it prints.
func TestYaegivetPage(t *testing.T) {
	const page = "e2e/yaegivet/README.md"
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"go.mod":    "module github.com/acme/invoices\n\ngo 1.22\n",
		"worker.go": blockWith(t, page, "go", "package invoices"),
	})
	bin := filepath.Join(t.TempDir(), "yaegivet")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin, "./cmd/yaegivet")
	build.Dir = filepath.Join(testbed.MustRepoRoot(t), "e2e")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	status := func(arguments ...string) (out string, code int) {
		cmd := exec.CommandContext(t.Context(), bin, arguments...)
		cmd.Dir = dir
		text, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(text), cmd.ProcessState.ExitCode()
	}
	out, code := status("./...")
	if want := blockWith(t, page, "text", "worker.go"); out != want || code != 1 {
		t.Errorf("yaegivet ends with %d and prints\n%s\nand the page says 1 and\n%s", code, out, want)
	}

	allow := strings.TrimSpace(blockWith(t, page, "go", "//yaegivet:allow"))
	writeFiles(t, dir, map[string]string{"worker.go": "package invoices\n\nfunc work(quit chan bool) {\n\t" + allow + "\n\tselect {\n\tcase <-quit:\n\t}\n}\n"})
	if out, code := status("./..."); out != "" || code != 0 {
		t.Errorf("with %q yaegivet ends with %d and prints %s, want nothing", allow, code, out)
	}
	writeFiles(t, dir, map[string]string{"worker.go": "package invoices\n\nfunc work() { unknown() }\n"})
	if out, code := status("./..."); out != "" || code != 2 {
		t.Errorf("of what does not compile yaegivet prints %q and ends with %d, want nothing and 2", out, code)
	}
}

// The test of somebody's plugin on the page of the test bed passes with that plugin, and
// fails with another.
func TestTestbedPage(t *testing.T) {
	root := testbed.MustRepoRoot(t)
	sums, err := os.ReadFile(filepath.Join(root, "e2e", "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	plugin := `// Package myplugin sets a header on requests.
package myplugin

import (
	"context"
	"net/http"
)

type Config struct{ Header, Value string }

func CreateConfig() *Config { return &Config{} }

func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		req.Header.Set(config.Header, config.Value)
		next.ServeHTTP(rw, req)
	}), nil
}
`
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"go.mod":             "module github.com/acme/myplugin\n\ngo 1.22\n",
		".traefik.yml":       "displayName: My plugin\ntype: middleware\nimport: github.com/acme/myplugin\nsummary: Sets a header.\ntestData:\n  header: X-Ledger\n",
		"myplugin.go":        plugin,
		"e2e/plugin_test.go": blockWith(t, "e2e/testbed/README.md", "go", "func Test"),
		"e2e/go.sum":         string(sums),
		"e2e/go.mod": "module github.com/acme/myplugin/e2e\n\ngo 1.26.0\n\n" +
			"require github.com/trafficshadow/mirror/e2e v0.0.0\n\n" +
			"replace github.com/trafficshadow/mirror => " + root + "\n\n" +
			"replace github.com/trafficshadow/mirror/e2e => " + filepath.Join(root, "e2e") + "\n",
	})
	run := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", "test", "-mod=mod", "-count=1", "./...")
		cmd.Dir = filepath.Join(dir, "e2e")
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	writeFiles(t, dir, map[string]string{"myplugin.go": strings.Replace(plugin, "config.Value)", `"south")`, 1)})
	if out, err := run(); err == nil || !strings.Contains(out, `X-Ledger is "south", want north`) {
		t.Errorf("with a plugin that sets another value: %v\n%s", err, out)
	}
}
