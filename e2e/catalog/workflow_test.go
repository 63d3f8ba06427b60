package catalog

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const workflowName = ".github/workflows/ci.yml"

type workflow struct {
	On          map[string]any
	Permissions map[string]string
	Jobs        map[string]struct {
		Permissions    map[string]string
		RunsOn         string `yaml:"runs-on"`
		TimeoutMinutes int    `yaml:"timeout-minutes"`
		Steps          []struct {
			Uses string
			Run  string
			With map[string]any
		}
	}
}

// pinned matches an action at a major version or a commit.
var pinned = regexp.MustCompile(`^[a-z-]+/[a-z-]+@(v\d+|[0-9a-f]{40})$`)

func TestWorkflowRunsWhatEverybodyRuns(t *testing.T) {
	var w workflow
	if err := yaml.Unmarshal([]byte(read(t, workflowName)), &w); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(w.On)), []string{"pull_request", "push"}; !slices.Equal(got, want) {
		t.Errorf("runs on %q, want %q", got, want)
	}
	if want := map[string]string{"contents": "read"}; !maps.Equal(w.Permissions, want) {
		t.Errorf("permissions %q, want %q", w.Permissions, want)
	}
	ran := 0
	for name, job := range w.Jobs {
		if job.Permissions != nil {
			t.Errorf("%s: permissions of its own: %q", name, job.Permissions)
		}
		if job.TimeoutMinutes == 0 {
			t.Errorf("%s: no timeout", name)
		}
		for _, step := range job.Steps {
			switch {
			case step.Run == ".ci/run":
				ran++
			case step.Run != "":
				t.Errorf("%s: runs %q: what is not in .ci/run nobody runs elsewhere", name, step.Run)
			case !pinned.MatchString(step.Uses):
				t.Errorf("%s: %s is not pinned to a major version or a commit", name, step.Uses)
			}
		}
	}
	if ran != 1 {
		t.Errorf(".ci/run is run %d times, want once", ran)
	}
	if info, err := os.Stat(filepath.Join(testbed.MustRepoRoot(t), ".ci", "run")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/run cannot be run: %v", err)
	}
}

// The tests look at tags, and a build of Traefik takes minutes.
func TestWorkflowHasTagsAndTraefik(t *testing.T) {
	var w workflow
	if err := yaml.Unmarshal([]byte(read(t, workflowName)), &w); err != nil {
		t.Fatal(err)
	}
	var depth, kept any
	for _, job := range w.Jobs {
		for _, step := range job.Steps {
			if d, found := step.With["fetch-depth"]; found {
				depth = d
			}
			if p, found := step.With["path"]; found {
				kept = p
			}
		}
	}
	if depth != 0 {
		t.Errorf("fetch-depth is %v, want 0: all commits and tags", depth)
	}
	// See binaryCache in e2e/testbed.
	if want := "~/.cache/trafficshadow-mirror"; kept != want {
		t.Errorf("keeps %v, want %v", kept, want)
	}
}

// A bug cannot be looked into without these.
func TestBugFormAsks(t *testing.T) {
	var form struct {
		Name, Description string
		Body              []struct {
			Type        string
			ID          string
			Attributes  struct{ Label string }
			Validations struct{ Required bool }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, ".github/ISSUE_TEMPLATE/bug.yml")), &form); err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, field := range form.Body {
		if field.Validations.Required {
			required[field.Attributes.Label] = true
		}
	}
	for _, want := range []string{"Traefik version", "Plugin version", "Configuration", "Log lines"} {
		if !required[want] {
			t.Errorf("%q is not required; required are %q", want, slices.Sorted(maps.Keys(required)))
		}
	}
}
