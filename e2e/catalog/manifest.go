package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/traefik/paerser/file"
	"go.yaml.in/yaml/v3"
)

// ManifestName is the manifest's place in a plugin's repository.
const ManifestName = ".traefik.yml"

// Manifest is what the catalog and Traefik know of a manifest. They ignore
// everything else.
type Manifest struct {
	DisplayName   string         `yaml:"displayName"`
	Type          string         `yaml:"type"`
	Runtime       string         `yaml:"runtime"`
	WasmPath      string         `yaml:"wasmPath"`
	Import        string         `yaml:"import"`
	BasePkg       string         `yaml:"basePkg"`
	Compatibility string         `yaml:"compatibility"`
	Summary       string         `yaml:"summary"`
	IconPath      string         `yaml:"iconPath"`
	BannerPath    string         `yaml:"bannerPath"`
	UseUnsafe     bool           `yaml:"useUnsafe"`
	TestData      map[string]any `yaml:"testData"`
}

// ReadManifest returns the manifest of the plugin in dir, or the first of the
// validator's rules for manifests that it breaks. Plugins that are not
// interpreted middlewares break one here.
func ReadManifest(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("missing manifest")
	}
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := yaml.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("failed to read manifest content: %w", err)
	}
	if len(m.TestData) > 0 {
		// As Traefik reads dynamic configuration.
		again := &Manifest{}
		if err := file.DecodeContent(string(text), ".yaml", again); err != nil {
			return nil, fmt.Errorf("failed to read testdata from manifest: %w", err)
		}
		m.TestData = again.TestData
	}
	return m, checkManifest(m)
}

func checkManifest(m *Manifest) error {
	switch {
	case m.Type != "middleware":
		return fmt.Errorf("unsupported type: %s", m.Type)
	case m.Runtime != "" && m.Runtime != "yaegi":
		return fmt.Errorf("unsupported runtime: %s", m.Runtime)
	case m.UseUnsafe:
		// The validator takes these unseen, and Traefik loads them only where
		// the user has allowed it.
		return errors.New("useUnsafe: the plugin needs nothing of unsafe and syscall")
	case m.Import == "":
		return errors.New("missing import")
	case m.DisplayName == "":
		return errors.New("missing DisplayName")
	case m.Summary == "":
		return errors.New("missing Summary")
	case m.TestData == nil:
		return errors.New("missing TestData")
	}
	return nil
}
