package catalog

import (
	"bytes"
	"image"
	_ "image/png"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/traefik/paerser/file"
	"github.com/traefik/paerser/parser"
	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror"
	"github.com/trafficshadow/mirror/e2e/testbed"
)

func manifest(t *testing.T) *Manifest {
	t.Helper()
	m, err := ReadManifest(testbed.MustRepoRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestManifestHasNoUnknownKeys(t *testing.T) {
	decoder := yaml.NewDecoder(strings.NewReader(read(t, ManifestName)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&Manifest{}); err != nil {
		t.Error(err)
	}
}

// The catalog says nothing of sizes. It shows the icon small, and hands the
// banner to social networks, which take two to one. It links to the files at
// raw.githubusercontent.com, which does not serve SVG as a picture.
func TestManifestsPicturesAreThere(t *testing.T) {
	m := manifest(t)
	for _, tt := range []struct {
		key, path     string
		width, height int
	}{
		{"iconPath", m.IconPath, 512, 512},
		{"bannerPath", m.BannerPath, 1280, 640},
	} {
		if tt.path == "" {
			t.Errorf("%s: not set", tt.key)
			continue
		}
		picture := read(t, tt.path)
		config, format, err := image.DecodeConfig(strings.NewReader(picture))
		if err != nil {
			t.Errorf("%s: %s: %v", tt.key, tt.path, err)
			continue
		}
		if format != "png" || config.Width != tt.width || config.Height != tt.height {
			t.Errorf("%s: %s is a %s of %d x %d pixels, want a png of %d x %d", tt.key, tt.path, format, config.Width, config.Height, tt.width, tt.height)
		}
		if _, _, err := image.Decode(strings.NewReader(picture)); err != nil {
			t.Errorf("%s: %s: %v", tt.key, tt.path, err)
		}
		if len(picture) > 64<<10 {
			t.Errorf("%s: %s has %d bytes, want 64 KiB at most", tt.key, tt.path, len(picture))
		}
	}
}

// snippet is the example that the catalog shows: the name of the middleware is
// made from that of the repository.
func snippet(testData map[string]any) map[string]any {
	return map[string]any{"http": map[string]any{"middlewares": map[string]any{
		"my-mirror": map[string]any{"plugin": map[string]any{"mirror": testData}},
	}}}
}

// dynamic is what Traefik's file and label parsers fill.
type dynamic struct {
	HTTP struct {
		Middlewares map[string]struct {
			Plugin map[string]map[string]any
		}
	}
}

// config returns the plugin's configuration as Traefik makes it.
func (d *dynamic) config(t *testing.T) *mirror.Config {
	t.Helper()
	config := mirror.CreateConfig()
	if err := decode(d.HTTP.Middlewares["my-mirror"].Plugin["mirror"], config); err != nil {
		t.Fatal(err)
	}
	return config
}

// Users copy the example in one form and go on in another.
func TestExampleMeansTheSameInEveryForm(t *testing.T) {
	testData := manifest(t).TestData
	want := mirror.CreateConfig()
	if err := decode(testData, want); err != nil {
		t.Fatal(err)
	}
	if headers, _ := want.Options["customRequestHeaders"].(map[string]any); headers["X-Environment"] == nil {
		t.Fatalf("the manifest's parser has lost headers: %v", want.Options)
	}

	yamlText, err := yaml.Marshal(snippet(testData))
	if err != nil {
		t.Fatal(err)
	}
	var tomlText bytes.Buffer
	if err := toml.NewEncoder(&tomlText).Encode(snippet(testData)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		read func(*dynamic) error
	}{
		{"YAML", func(d *dynamic) error { return file.DecodeContent(string(yamlText), ".yaml", d) }},
		{"TOML", func(d *dynamic) error { return file.DecodeContent(tomlText.String(), ".toml", d) }},
		{"labels", func(d *dynamic) error {
			return parser.Decode(labels(t, "traefik.http.middlewares.my-mirror.plugin.mirror", testData), d, "traefik", "traefik.http")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &dynamic{}
			if err := tt.read(d); err != nil {
				t.Fatal(err)
			}
			if got := d.config(t); !sameConfig(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// sameConfig ignores the case of headers' names, which labels do not keep.
func sameConfig(a, b *mirror.Config) bool {
	return reflect.DeepEqual(lower(a.Options), lower(b.Options))
}

// lower returns the options with their names in lower case, those within a map too.
func lower(options map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range options {
		if within, ok := value.(map[string]any); ok {
			value = lower(within)
		}
		all[strings.ToLower(name)] = value
	}
	return all
}

// labels are the options as labels, which hold text only.
func labels(t *testing.T, prefix string, options map[string]any) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, value := range options {
		switch v := value.(type) {
		case string:
			all[prefix+"."+name] = v
		case map[string]any:
			maps.Copy(all, labels(t, prefix+"."+name, v))
		default:
			t.Errorf("%s.%s is a %T: a value in quotes can be copied into any form", prefix, name, value)
		}
	}
	return all
}
