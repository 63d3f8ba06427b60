package docker

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const version = "MIRROR_VERSION=v1.2.3"

// loadFiles reads files of the example as Compose v2 does.
func loadFiles(ctx context.Context, env []string, files ...string) (*types.Project, error) {
	var paths []string
	for _, file := range files {
		paths = append(paths, filepath.Join(exampleDir(), file))
	}
	options, err := cli.NewProjectOptions(paths, cli.WithName(name), cli.WithWorkingDirectory(exampleDir()), cli.WithEnv(env))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(ctx)
}

func mustLoad(t *testing.T, files ...string) *types.Project {
	t.Helper()
	p, err := loadFiles(session, []string{version}, files...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFilesAreValid(t *testing.T) {
	for _, files := range [][]string{{composeFile}, {composeFile, catalogFile}, {stackFile}} {
		for _, c := range installed {
			t.Run(fmt.Sprint(files, " for ", c), func(t *testing.T) {
				p := project{composer: c, files: files, env: []string{version}}
				if _, err := p.run("config", "--quiet"); err != nil {
					t.Error(err)
				}
			})
		}
		t.Run(fmt.Sprint(files, " for Compose v2's loader"), func(t *testing.T) { mustLoad(t, files...) })
	}
}

func TestCatalogFileAsksForTheVersion(t *testing.T) {
	const want = "set it to a version in the plugin catalog"
	env := []string{"MIRROR_VERSION="}
	for _, c := range installed {
		p := project{composer: c, files: []string{composeFile, catalogFile}, env: env}
		if _, err := p.run("config", "--quiet"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: without MIRROR_VERSION the error is %v, want one with %q", c, err, want)
		}
	}
	if _, err := loadFiles(session, env, composeFile, catalogFile); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without MIRROR_VERSION the error is %v, want one with %q", err, want)
	}
}

// The files say the same thing but for what each is there to show.
func TestFilesDoNotDrift(t *testing.T) {
	base, catalog, stack := mustLoad(t, composeFile), mustLoad(t, composeFile, catalogFile), mustLoad(t, stackFile)

	local := base.Services["traefik"].Command
	if local = slices.DeleteFunc(slices.Clone(local), isPluginFlag); len(local) != len(base.Services["traefik"].Command)-1 {
		t.Errorf("%s loads the plugin with other than one flag: %q", composeFile, base.Services["traefik"].Command)
	}
	got := slices.DeleteFunc(slices.Clone(catalog.Services["traefik"].Command), isPluginFlag)
	if !slices.Equal(got, local) {
		t.Errorf("%s: flags %q, want %q", catalogFile, got, local)
	}
	for _, flag := range []string{
		"--experimental.plugins.mirror.moduleName=" + module(t, base),
		"--experimental.plugins.mirror.version=v1.2.3",
	} {
		if !slices.Contains(catalog.Services["traefik"].Command, flag) {
			t.Errorf("%s has no flag %s", catalogFile, flag)
		}
	}

	got = slices.Clone(stack.Services["traefik"].Command)
	for i := range got {
		got[i] = strings.Replace(got[i], "--providers.swarm", "--providers.docker", 1)
	}
	if want := base.Services["traefik"].Command; !slices.Equal(got, want) {
		t.Errorf("%s: flags %q, want %q", stackFile, got, want)
	}
	if got, want := stack.Services["billing"].Deploy.Labels, base.Services["billing"].Labels; !maps.Equal(got, want) {
		t.Errorf("%s: labels %q, want %q", stackFile, got, want)
	}
	for service := range base.Services {
		if got, want := stack.Services[service].Image, base.Services[service].Image; got != want {
			t.Errorf("%s: image of %s %q, want %q", stackFile, service, got, want)
		}
	}
}

func isPluginFlag(flag string) bool {
	return strings.HasPrefix(flag, "--experimental.plugins.") || strings.HasPrefix(flag, "--experimental.localPlugins.")
}

// module returns the plugin's module as the file has it.
func module(t *testing.T, p *types.Project) string {
	t.Helper()
	for _, flag := range p.Services["traefik"].Command {
		if name, found := strings.CutPrefix(flag, "--experimental.localPlugins.mirror.moduleName="); found {
			return name
		}
	}
	t.Fatalf("%s loads no plugin: %q", composeFile, p.Services["traefik"].Command)
	return ""
}

// A label without a value is how a header is removed.
func TestEmptyLabelsStayEmpty(t *testing.T) {
	labels := mustLoad(t, composeFile).Services["billing"].Labels
	for _, header := range []string{"Authorization", "Cookie"} {
		key := "traefik.http.middlewares.demo-shadow.plugin.mirror.customRequestHeaders." + header
		if value, ok := labels[key]; !ok || value != "" {
			t.Errorf("%s is %q (set: %t), want empty and set", key, value, ok)
		}
	}
}

// Whoever can reach Docker's socket rules the machine, and the example's Traefik
// is to serve nobody but its own machine.
func TestComposeFileIsCautious(t *testing.T) {
	p := mustLoad(t, composeFile)
	traefik := p.Services["traefik"]
	for _, v := range traefik.Volumes {
		if !v.ReadOnly {
			t.Errorf("%s is mounted writable", v.Source)
		}
	}
	for _, port := range traefik.Ports {
		if port.HostIP != "127.0.0.1" {
			t.Errorf("port %s is published on %q, want on 127.0.0.1 only", port.Published, port.HostIP)
		}
	}
	if !slices.Contains(traefik.Command, "--providers.docker.exposedByDefault=false") {
		t.Error("containers are exposed by default")
	}
	if !p.Networks["shadow"].Internal {
		t.Error("the shadow's network leads outside")
	}
	for service := range p.Services["billing-next"].Networks {
		if service != "shadow" {
			t.Errorf("the shadow is on the network %s", service)
		}
	}
}
