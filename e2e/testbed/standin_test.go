package testbed

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/dirhash"
)

// What the module proxy has in these tests: a Traefik that prints the two modules
// it is made of, and one of them. The other it does not have, and of the first one
// a package that does not compile.
var published = map[string]map[string]string{
	"github.com/traefik/traefik/v3@v3.7.99": {
		"go.mod": "module github.com/traefik/traefik/v3\n\ngo 1.26.0\n\nrequire (\n\texample.com/certs v1.2.3\n\texample.com/ext v0.0.0\n)\n",
		"cmd/traefik/main.go": `package main

import (
	"fmt"

	"example.com/certs/issue"
	"example.com/certs/providers/dns"
	"example.com/ext"
)

func main() { fmt.Println(issue.By, dns.By, ext.By) }
`,
	},
	"example.com/certs@v1.2.3": {
		"go.mod":                "module example.com/certs\n\ngo 1.26.0\n",
		"certs.go":              "package certs\n\nconst By = \"the proxy\"\n",
		"issue/issue.go":        "package issue\n\nimport \"example.com/certs\"\n\nconst By = certs.By\n",
		"providers/dns/dns.go":  "package dns\n\nimport \"example.com/gone\"\n\nconst By = gone.By\n",
		"providers/dns/more.go": "package dns\n\nfunc init() { gone.Init() }\n",
	},
}

// publish makes the go command of this test see a proxy that has just that, with a
// module cache of its own, and returns the modules' checksums.
func publish(t *testing.T) map[string]string {
	t.Helper()
	proxy := t.TempDir()
	sums := map[string]string{}
	for id, files := range published {
		path, version, _ := strings.Cut(id, "@")
		dir := filepath.Join(proxy, path, "@v")
		archive := filepath.Join(dir, version+".zip")
		write(t, filepath.Join(dir, version+".info"), fmt.Sprintf(`{"Version": %q}`, version))
		write(t, filepath.Join(dir, version+".mod"), files["go.mod"])
		out, err := os.Create(archive)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		z := zip.NewWriter(out)
		for name, text := range files {
			f, err := z.Create(id + "/" + name)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(f, text)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if sums[id], err = dirhash.HashZip(archive, dirhash.Hash1); err != nil {
			t.Fatal(err)
		}
	}
	// Go's build cache would follow XDG_CACHE_HOME, and the standard library be
	// compiled again.
	builds, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", strings.TrimSpace(string(builds)))
	t.Setenv("GOPROXY", "file://"+proxy)
	t.Setenv("GONOSUMDB", "*")
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-modcacherw") // or the test could not remove it
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	return sums
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// pinWithStandIns makes the folder of a pin of the Traefik that is published.
func pinWithStandIns(t *testing.T, sums map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "traefik")
	write(t, filepath.Join(dir, "go.mod"), `module example.com/pin

go 1.26.0

require (
	example.com/certs v1.2.3 // indirect
	example.com/ext v0.0.0 // indirect
	github.com/traefik/traefik/v3 v3.7.99 // indirect
)

tool github.com/traefik/traefik/v3/cmd/traefik

replace (
	example.com/certs => ./certs
	example.com/ext => ./ext
)
`)
	const traefik = "github.com/traefik/traefik/v3@v3.7.99"
	modSum, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(published[traefik]["go.mod"])), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "go.sum"), fmt.Sprintf(`example.com/certs v1.2.3 %s
github.com/traefik/traefik/v3 v3.7.99 %s
github.com/traefik/traefik/v3 v3.7.99/go.mod %s
`, sums["example.com/certs@v1.2.3"], sums[traefik], modSum))
	write(t, filepath.Join(dir, "ext", "go.mod"), "module example.com/ext\n\ngo 1.26.0\n")
	write(t, filepath.Join(dir, "ext", "ext.go"), "package ext\n\nconst By = \"the pin\"\n")
	write(t, filepath.Join(dir, "certs", "providers", "dns", "dns.go"), "package dns\n\nconst By = \"its part\"\n")
	return dir
}

// A Traefik that needs what the proxy does not have is built from the pin's folder
// alone, in which nothing is changed, and once, however many ask for it.
func TestBuildWithStandIns(t *testing.T) {
	dir := pinWithStandIns(t, publish(t))
	before := hashed(t, dir)
	p, err := pinIn(dir)
	if err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	var lines []string
	told := progressIn(func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, fmt.Sprintf(format, args...))
	})
	bins := make([]string, 3)
	var asking sync.WaitGroup
	for i := range bins {
		asking.Go(func() {
			var err error
			if bins[i], err = p.binary(t.Context(), told); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if bins[1] != bins[0] || bins[2] != bins[0] {
		t.Errorf("binaries %q, want one", bins)
	}
	if n := strings.Count(strings.Join(lines, "\n"), "v3.7.99 built in"); n != 1 {
		t.Errorf("built %d times, want once:\n%s", n, strings.Join(lines, "\n"))
	}
	out, err := exec.Command(bins[0]).CombinedOutput()
	if got, want := string(out), "the proxy its part the pin\n"; err != nil || got != want {
		t.Errorf("the binary prints %q (%v), want %q", got, err, want)
	}
	if hashed(t, dir) != before {
		t.Errorf("the build has changed files in %s", dir)
	}
	rest, err := os.ReadDir(filepath.Dir(bins[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range rest {
		if entry.Name() != "traefik" && entry.Name() != "lock" {
			t.Errorf("the build has left %s beside the binary", entry.Name())
		}
	}
}

// What an interrupted build has left does not get into the next one.
func TestLayOutAnew(t *testing.T) {
	p, err := pinIn(pinWithStandIns(t, publish(t)))
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	for _, left := range []string{"certs/providers/dns/old.go", "ext/old.go", "go.work"} {
		write(t, filepath.Join(work, left), "old")
	}
	if err := p.layOut(t.Context(), work); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pattern := range []string{"*", "*/*", "*/*/*", "*/*/*/*"} {
		paths, err := filepath.Glob(filepath.Join(work, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				got = append(got, strings.TrimPrefix(path, work+"/"))
			}
		}
	}
	const want = "go.mod go.sum certs/certs.go certs/go.mod ext/ext.go ext/go.mod certs/issue/issue.go certs/providers/dns/dns.go"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("laid out %s, want %s", text, want)
	}
}

// The name of the cache folder changes with everything that a binary is built of.
func TestCacheOfStandIns(t *testing.T) {
	sums := publish(t)
	seen := map[string]string{}
	for _, change := range []struct{ name, file, old, text string }{
		{"as it is", "go.mod", "", ""},
		{"a requirement", "go.mod", "v3.7.99", "v3.7.98"},
		{"a file of a whole module", "ext/ext.go", "the pin", "another"},
		{"a file of a part", "certs/providers/dns/dns.go", "its part", "another"},
		{"a checksum", "go.sum", "certs v1.2.3 h1:", "certs v1.2.3 h1:x"},
	} {
		dir := pinWithStandIns(t, sums)
		edit(t, filepath.Join(dir, change.file), change.old, change.text)
		p, err := pinIn(dir)
		if err != nil {
			t.Fatal(err)
		}
		folder, err := p.cache(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[folder]; ok {
			t.Errorf("%s and %s are both built into %s", change.name, other, folder)
		}
		seen[folder] = change.name
	}
}

func TestStandInsRefused(t *testing.T) {
	sums := publish(t)
	for _, test := range []struct{ name, file, old, text, says string }{
		{"another checksum", "go.sum", "certs v1.2.3 h1:", "certs v1.2.3 h1:x", "example.com/certs v1.2.3: the checksum is h1:"},
		{"no checksum", "go.sum", "certs v1.2.3 h1:", "certs v1.2.2 h1:", "of which go.sum has no checksum"},
		{"no folder", "go.mod", "./ext", "./exts", "the stand-in for example.com/ext"},
		{"elsewhere", "go.mod", "./ext", "../ext", "../ext stands for example.com/ext, and is no folder of the pin"},
		{"does not compile", "ext/ext.go", "By", "From", "undefined: ext.By"},
	} {
		dir := pinWithStandIns(t, sums)
		edit(t, filepath.Join(dir, test.file), test.old, test.text)
		p, err := pinIn(dir)
		if err == nil {
			_, err = p.binary(t.Context(), progressIn(t.Logf))
		}
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %v, want %q in it", test.name, err, test.says)
		}
	}
}

// A part of a module whose version the proxy does not have.
func TestStandInsOfWhatIsNotPublished(t *testing.T) {
	dir := pinWithStandIns(t, publish(t))
	for _, file := range []string{"go.mod", "go.sum"} {
		edit(t, filepath.Join(dir, file), "example.com/certs v1.2.3", "example.com/certs v1.2.2")
	}
	p, err := pinIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.binary(t.Context(), progressIn(t.Logf))
	if err == nil || !strings.Contains(err.Error(), "example.com/certs v1.2.2") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v, want the proxy's", err)
	}
}

func edit(t *testing.T, path, old, text string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got), old) {
		t.Fatalf("no %q in %s", old, path)
	}
	write(t, path, strings.ReplaceAll(string(got), old, text))
}

func hashed(t *testing.T, dir string) string {
	t.Helper()
	hash, err := dirhash.HashDir(dir, "", dirhash.Hash1)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
