package docs

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// A kind is what a block configures.
type kind string

const (
	dynamic    kind = "dynamic configuration"
	static     kind = "static configuration"
	compose    kind = "Compose file"
	kubernetes kind = "Kubernetes objects"
	arguments  kind = "values of Traefik's Helm chart, with arguments"
)

// kinds are recognised by their keys: a block is of the first kind that has a
// name for each of the block's own.
var kinds = []struct {
	kind kind
	keys []string
}{
	{dynamic, []string{"http", "tcp", "udp", "tls"}},
	{static, []string{
		"accessLog", "api", "certificatesResolvers", "core", "entryPoints", "experimental", "global", "hostResolver",
		"log", "metrics", "ocsp", "ping", "providers", "serversTransport", "spiffe", "tcpServersTransport", "tracing",
	}},
	{compose, []string{"services", "networks", "volumes", "configs", "secrets", "name", "version"}},
	{kubernetes, []string{"apiVersion", "kind", "metadata", "spec", "data", "stringData", "type"}},
	{arguments, []string{"additionalArguments", "additionalVolumeMounts", "volumes", "deployment", "env"}},
}

// needed are keys without which a block is not of the kind.
var needed = map[kind]string{compose: "services", kubernetes: "kind", arguments: "additionalArguments"}

// Languages of blocks that configure nothing. Blocks of any other are read as
// configuration, in the languages that Traefik's is written in.
var otherLanguages = []string{"sh", "console", "text", "go", "promql", "diff"}

// uncheckedRemark at the beginning of what an info string says besides the
// language keeps a block from being loaded; after it comes the reason.
const uncheckedRemark = "unchecked:"

// A config is a block of configuration.
type config struct {
	Block
	kind  kind
	trees []map[string]any // one, or one for each YAML document
}

// recognise returns what the block configures, nil if it is none or says that it
// is not to be checked.
func recognise(b Block) (*config, error) {
	if slices.Contains(otherLanguages, b.Language()) {
		return nil, nil
	}
	if reason, ok := strings.CutPrefix(b.Remark(), uncheckedRemark); ok {
		if strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("%s is not followed by a reason", uncheckedRemark)
		}
		return nil, nil
	}
	trees, err := decode(b)
	if err != nil {
		return nil, err
	}
	c := &config{Block: b, trees: trees}
	for _, tree := range trees {
		k, err := kindOf(tree)
		if err != nil {
			return nil, err
		}
		if c.kind != "" && c.kind != k {
			return nil, fmt.Errorf("has both %s and %s", c.kind, k)
		}
		c.kind = k
	}
	return c, nil
}

func decode(b Block) ([]map[string]any, error) {
	switch b.Language() {
	case "yaml", "yml", "json": // JSON is YAML
		return decodeYAML(b.Text)
	case "toml":
		var tree map[string]any
		if err := toml.Unmarshal([]byte(b.Text), &tree); err != nil {
			return nil, err
		}
		return []map[string]any{tree}, nil
	case "":
		return nil, errors.New("does not say its language after the fence; output is text")
	}
	return nil, fmt.Errorf("is of the language %q, about which this test knows nothing", b.Language())
}

func decodeYAML(text string) ([]map[string]any, error) {
	var trees []map[string]any
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var tree map[string]any
		err := decoder.Decode(&tree)
		if errors.Is(err, io.EOF) {
			return trees, nil
		}
		if err != nil {
			return nil, err
		}
		if tree != nil {
			trees = append(trees, tree)
		}
	}
}

func kindOf(tree map[string]any) (kind, error) {
	own := slices.Sorted(maps.Keys(tree))
	for _, k := range kinds {
		foreign := slices.ContainsFunc(own, func(key string) bool { return !slices.Contains(k.keys, key) })
		if tree[needed[k.kind]] == nil && needed[k.kind] != "" || foreign || len(own) == 0 {
			continue
		}
		return k.kind, nil
	}
	return "", fmt.Errorf("is of no known kind, with the keys %s; if nothing can check it, write after the language: %s and why",
		strings.Join(own, ", "), uncheckedRemark)
}
