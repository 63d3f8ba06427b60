package testbed

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

// LoadYAML reads a configuration file into maps, which the caller may change
// before [Start] gets them.
func LoadYAML(file string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return tree, nil
}

// Take removes the text at the path, which is of map keys, and returns it. What is gone
// from a static configuration cannot replace what [Start] sets, such as the address of an
// entry point.
func Take(tree map[string]any, path []any) (string, error) {
	last := len(path) - 1
	for _, step := range path[:last] {
		tree, _ = tree[step.(string)].(map[string]any)
	}
	key := path[last].(string)
	text, ok := tree[key].(string)
	if !ok {
		return "", fmt.Errorf("no text at %v but %v", path, tree[key])
	}
	delete(tree, key)
	return text, nil
}
