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

// LookUp returns the text at the path, which is of map keys and list indexes.
func LookUp(tree any, path []any) (string, error) {
	for _, step := range path {
		switch at := tree.(type) {
		case map[string]any:
			key, _ := step.(string)
			tree = at[key]
		case []any:
			i, ok := step.(int)
			if !ok || i >= len(at) {
				return "", fmt.Errorf("nothing at %v", path)
			}
			tree = at[i]
		default:
			return "", fmt.Errorf("nothing at %v", path)
		}
	}
	text, ok := tree.(string)
	if !ok {
		return "", fmt.Errorf("no text at %v but %v", path, tree)
	}
	return text, nil
}

// Take removes the text at the path, whose last step is a map's key, and
// returns it. What is gone from a static configuration cannot replace what
// [Start] sets, such as the address of an entry point.
func Take(tree map[string]any, path []any) (string, error) {
	text, err := LookUp(tree, path)
	if err == nil {
		delete(parent(tree, path), path[len(path)-1].(string))
	}
	return text, err
}

// Set replaces the text at the path, at which LookUp has found one.
func Set(tree map[string]any, path []any, text string) {
	parent(tree, path)[path[len(path)-1].(string)] = text
}

func parent(tree any, path []any) map[string]any {
	for _, step := range path[:len(path)-1] {
		if i, ok := step.(int); ok {
			tree = tree.([]any)[i]
		} else {
			tree = tree.(map[string]any)[step.(string)]
		}
	}
	return tree.(map[string]any)
}
