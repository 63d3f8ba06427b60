package kubernetes

import (
	"path/filepath"
	"strings"
	"testing"
)

// manifests are the examples' objects.
var manifests = []string{"middleware.yaml", "middleware-tls.yaml", "ingressroute.yaml", "ingressroute-service.yaml", "ingress.yaml"}

func TestManifestsAreValid(t *testing.T) {
	rules := loadRules(t)
	for _, name := range manifests {
		t.Run(name, func(t *testing.T) {
			if err := rules.check(object(t, name)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Every file of the examples is an object that is checked, or one of those that
// other tests read.
func TestEveryExampleIsTested(t *testing.T) {
	tested := map[string]bool{"values-catalog.yaml": true, "values-local.yaml": true, "deployment-patch.yaml": true}
	for _, name := range manifests {
		tested[name] = true
	}
	files, err := filepath.Glob(filepath.Join(exampleDir(t), "*.y*ml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("examples: %d files, error %v", len(files), err)
	}
	for _, file := range files {
		if name := filepath.Base(file); !tested[name] {
			t.Errorf("%s is in no test", name)
		}
	}
}

func TestMistakesInManifestsAreRefused(t *testing.T) {
	rules := loadRules(t)
	for _, tt := range []struct {
		mistake string
		file    string
		right   string
		wrong   string
		refused string
	}{
		{
			mistake: "a kind of middleware that does not exist",
			file:    "middleware.yaml",
			right:   "\n  plugin:\n",
			wrong:   "\n  plugins:\n",
			refused: `unknown field "spec.plugins"`,
		},
		{
			mistake: "options outside plugin",
			file:    "middleware.yaml",
			right:   "\n  plugin:\n    mirror:",
			wrong:   "\n  mirror:",
			refused: `unknown field "spec.mirror"`,
		},
		{
			mistake: "a plugin that is no object",
			file:    "middleware.yaml",
			right:   "\n  plugin:\n",
			wrong:   "\n  plugin: mirror\n  headers:\n",
			refused: `spec.plugin: Invalid value: "string"`,
		},
		{
			mistake: "a route's field misspelt",
			file:    "ingressroute.yaml",
			right:   "\n      middlewares:\n",
			wrong:   "\n      middleware:\n",
			refused: `unknown field "spec.routes[0].middleware"`,
		},
		{
			mistake: "a route without a rule",
			file:    "ingressroute.yaml",
			right:   "      match: ",
			wrong:   "      # match: ",
			refused: "spec.routes[0].match: Required value",
		},
		{
			mistake: "an unknown kind of route",
			file:    "ingressroute.yaml",
			right:   "kind: Rule",
			wrong:   "kind: Rules",
			refused: `spec.routes[0].kind: Unsupported value: "Rules"`,
		},
		{
			mistake: "a backend as Ingresses had it before v1",
			file:    "ingress.yaml",
			right:   "\n              service:\n",
			wrong:   "\n              serviceName: billing\n              service:\n",
			refused: `unknown field "spec.rules[0].http.paths[0].backend.serviceName"`,
		},
		{
			mistake: "a port's name where its number is meant",
			file:    "ingress.yaml",
			right:   "number: 8080",
			wrong:   "number: http",
			refused: "number",
		},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			text := readExample(t, tt.file)
			if strings.Count(text, tt.right) != 1 {
				t.Fatalf("%s has %q %d times, want once", tt.file, tt.right, strings.Count(text, tt.right))
			}
			err := rules.check(parse(t, strings.Replace(text, tt.right, tt.wrong, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("refused with %v, want %s", err, tt.refused)
			}
		})
	}
}
