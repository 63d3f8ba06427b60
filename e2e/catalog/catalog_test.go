package catalog

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// patience is for a check, most of which is the compiler's symbols being loaded.
const patience = time.Minute

func TestThePluginIsAccepted(t *testing.T) {
	t.Run("as it is here", func(t *testing.T) {
		contents := map[string]string{}
		for _, name := range files(t) {
			contents[name] = read(t, name)
		}
		accept(t, tree(t, contents), true)
	})
	for _, d := range deliveries {
		t.Run("as "+d.name+" of the last commit", func(t *testing.T) {
			dir := t.TempDir()
			d.unpack(t, d.archive(t), dir)
			accept(t, dir, d.vendor)
		})
	}
}

func accept(t *testing.T, dir string, vendor bool) {
	t.Helper()
	mod, err := readModule(dir)
	if err != nil {
		t.Fatal(err)
	}
	// The host, the owner and the name.
	repository := strings.Join(strings.SplitN(mod.Module.Mod.Path, "/", 4)[:3], "/")
	if err := Check(testbed.Within(t, patience), dir, repository); err != nil {
		t.Errorf("the catalog would refuse the plugin: %v", err)
	}
	if !vendor {
		return
	}
	if err := CheckVendor(testbed.Within(t, patience), dir); err != nil {
		t.Error(err)
	}
}

const (
	repository = "github.com/acme/request-id"

	goodManifest = `displayName: Request id
type: middleware
import: github.com/acme/request-id
summary: Gives every request an id.
testData:
  header: X-Request-Id
  length: 16
`

	goodModule = "module github.com/acme/request-id\n\ngo 1.22\n"

	goodPlugin = `// Package request_id gives every request an id.
package request_id

import (
	"context"
	"net/http"
)

type Config struct {
	Header string
	Length int
}

func CreateConfig() *Config { return &Config{} }

func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {
	return next, nil
}
`
)

// plugin returns the files of a good plugin with one of them changed: text takes
// the place of old, which has to be there; without old, of the whole file.
func plugin(t *testing.T, name, old, text string) map[string]string {
	t.Helper()
	good := map[string]string{
		"README.md":     "# Request id\n",
		ManifestName:    goodManifest,
		"go.mod":        goodModule,
		"request_id.go": goodPlugin,
	}
	changed := maps.Clone(good)
	switch {
	case name == "":
	case old == "" && text == "":
		delete(changed, name)
	case old == "":
		changed[name] = text
	case !strings.Contains(good[name], old):
		t.Fatalf("%s does not contain %q", name, old)
	default:
		changed[name] = strings.Replace(good[name], old, text, 1)
	}
	return changed
}

func TestAGoodPluginIsAccepted(t *testing.T) {
	for _, tt := range []struct{ name, file, old, text string }{
		{name: "as it is"},
		{"its manifest names the interpreter", ManifestName, "type:", "runtime: yaegi\ntype:"},
		{"its manifest has pictures", ManifestName, "summary:", "iconPath: .assets/icon.png\nbannerPath: .assets/banner.png\nsummary:"},
		{"it requires something", "go.mod", "go 1.22", "go 1.22\n\nrequire github.com/traefik/paerser v0.2.2"},
		{"New needs some time", "request_id.go", `(http.Handler, error) {`, "(http.Handler, error) {\n\tfor i := 0; i < 1000; i++ {\n\t}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if err := Check(testbed.Within(t, patience), tree(t, plugin(t, tt.file, tt.old, tt.text)), repository); err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
}

func TestWhatTheValidatorRefuses(t *testing.T) {
	const (
		body  = "\treturn next, nil\n"
		bases = "import (\n"
	)
	for _, tt := range []struct{ name, file, old, text, want string }{
		{"no readme", "README.md", "", "", "readme"},
		{"no manifest", ManifestName, "", "", "missing manifest"},
		{"a manifest that is no YAML", ManifestName, "", "displayName: [", "failed to read manifest content"},
		{"no name", ManifestName, "displayName: Request id\n", "", "missing DisplayName"},
		{"no type", ManifestName, "type: middleware\n", "", "unsupported type"},
		{"another type", ManifestName, "type: middleware", "type: provider", "unsupported type: provider"},
		{"another runtime", ManifestName, "type:", "runtime: wasm\ntype:", "unsupported runtime: wasm"},
		{"no import", ManifestName, "import: github.com/acme/request-id\n", "", "missing import"},
		{"no summary", ManifestName, "summary: Gives every request an id.\n", "", "missing Summary"},
		{"no testData", ManifestName, "testData:\n  header: X-Request-Id\n  length: 16\n", "", "missing TestData"},
		{"restricted packages", ManifestName, "type:", "useUnsafe: true\ntype:", "useUnsafe"},
		{"the import of another module", ManifestName, "import: github.com/acme/request-id", "import: github.com/acme/trace-id", "must be related to the module name"},
		{"an import with the underscore of the package", ManifestName, "acme/request-id", "acme/request_id", "must begin with the module name"},
		{"no go.mod", "go.mod", "", "", "missing go.mod"},
		{"a go.mod that is none", "go.mod", "", "modul github.com/acme/request-id\n", "unknown directive"},
		{"a module that is none", "go.mod", "", "go 1.22\n", "names no module"},
		{"a module of another repository", "go.mod", "acme/request-id", "acme/request", "doesn't contain the GitHub repository name"},
		{"Traefik required", "go.mod", "go 1.22", "go 1.22\n\nrequire github.com/traefik/traefik/v3 v3.7.13", "cannot have a dependence to: github.com/traefik/traefik/v3"},
		{"the interpreter required", "go.mod", "go 1.22", "go 1.22\n\nrequire github.com/traefik/yaegi v0.16.1", "cannot have a dependence to: github.com/traefik/yaegi"},
		{"the interpreter's old name required", "go.mod", "go 1.22", "go 1.22\n\nrequire github.com/containous/yaegi v0.9.0", "cannot have a dependence to: github.com/containous/yaegi"},
		{"no package", "request_id.go", "", "", "inside the plugin, occurs during the load"},
		{"a package of another name", "request_id.go", "package request_id\n", "package requestid\n", "failed to eval `CreateConfig` function"},
		{"a package that does not compile", "request_id.go", body, "\treturn nxt, nil\n", "undefined: nxt"},
		{"unsafe imported", "request_id.go", bases, bases + "\t_ \"unsafe\"\n", "unsafe"},
		{"syscall imported", "request_id.go", bases, bases + "\t_ \"syscall\"\n", "syscall"},
		{"something imported that is not delivered", "request_id.go", bases, bases + "\t_ \"github.com/traefik/paerser/parser\"\n", "paerser"},
		{"a panic while it is loaded", "request_id.go", "", goodPlugin + "\nfunc init() { panic(\"no licence\") }\n", "no licence"},
		{"no CreateConfig", "request_id.go", "func CreateConfig()", "func MakeConfig()", "failed to eval `CreateConfig` function"},
		{"testData that Config cannot hold", ManifestName, "length: 16", "length: long", "failed to decode configuration"},
		{"no New", "request_id.go", "func New(", "func Make(", "failed to eval `New` function"},
		{"New is no function", "request_id.go", "func New(ctx context.Context, next http.Handler, config *Config, name string) (http.Handler, error) {\n" + body + "}\n", "var New context.Context\nvar _ http.Handler\n", "the signature of the function `New` is invalid"},
		{"New takes less", "request_id.go", ", name string", "", "got 3 arguments expected 4"},
		{"New takes no context", "request_id.go", "ctx context.Context,", "ctx int,", "the 1st argument must have the type context.Context"},
		{"New takes no handler", "request_id.go", "next http.Handler, config *Config, name string) (http.Handler, error) {\n\treturn next", "next http.ResponseWriter, config *Config, name string) (http.Handler, error) {\n\treturn http.NotFoundHandler()", "the 2nd argument must have the type http.Handler"},
		{"New takes another configuration", "request_id.go", "config *Config,", "config *http.Client,", "the 3rd argument must have the same type as the Config structure"},
		{"New takes no name", "request_id.go", "name string", "name int", "the 4th argument must have the type string"},
		{"New returns no error", "request_id.go", "(http.Handler, error) {\n" + body, "http.Handler {\n\treturn next\n", "got 1 arguments expected 2"},
		{"New returns an error", "request_id.go", body, "\treturn nil, context.Canceled\n", "failed to create a new plugin instance: context canceled"},
		{"New returns no handler", "request_id.go", body, "\treturn nil, nil\n", "invalid handler type"},
		{"New panics", "request_id.go", body, "\tpanic(\"no \" + name)\n", "produces a panic: no test"},
		{"New panics in a goroutine", "request_id.go", body, "\tgo func() { panic(\"no \" + name) }()\n\t<-ctx.Done()\n" + body, "the plugin ended the process"},
		{"New blocks", "request_id.go", body, "\t<-make(chan bool)\n" + body, "the function `New` has failed: context deadline exceeded"},
		{"New asks a server", "request_id.go", body, "\tif _, err := http.Get(\"http://192.0.2.1/licence\"); err != nil {\n\t\treturn nil, err\n\t}\n" + body, "opens a socket"},
		{"New asks a server and does not mind its silence", "request_id.go", body, "\thttp.Get(\"http://licences.example.com\")\n" + body, "opens a socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := tree(t, plugin(t, tt.file, tt.old, tt.text))
			refused(t, Check(testbed.Within(t, patience), dir, repository), tt.want)
		})
	}
}

func TestPackageMayBeNamedByTheManifest(t *testing.T) {
	files := plugin(t, "request_id.go", "package request_id\n", "package requestid\n")
	files[ManifestName] = strings.Replace(goodManifest, "summary:", "basePkg: requestid\nsummary:", 1)
	if err := Check(testbed.Within(t, patience), tree(t, files), repository); err != nil {
		t.Errorf("refused: %v", err)
	}
}
