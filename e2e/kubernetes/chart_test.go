package kubernetes

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// chartValues are the values of Traefik's Helm chart (v40 and v41) that the
// examples use. The chart refuses values that it does not know, and so does the
// strict decoding into this type.
type chartValues struct {
	Experimental struct {
		AbortOnPluginFailure bool                    `json:"abortOnPluginFailure"`
		Plugins              map[string]remotePlugin `json:"plugins"`
		LocalPlugins         map[string]localPlugin  `json:"localPlugins"`
	} `json:"experimental"`
	Deployment struct {
		AdditionalVolumes []corev1.Volume    `json:"additionalVolumes"`
		InitContainers    []corev1.Container `json:"initContainers"`
	} `json:"deployment"`
	AdditionalArguments    []string             `json:"additionalArguments"`
	AdditionalVolumeMounts []corev1.VolumeMount `json:"additionalVolumeMounts"`
	Volumes                []struct {
		Name      string `json:"name"`
		MountPath string `json:"mountPath"`
		Type      string `json:"type"`
	} `json:"volumes"`
}

type remotePlugin struct {
	ModuleName string `json:"moduleName"`
	Version    string `json:"version"`
}

type localPlugin struct {
	ModuleName string `json:"moduleName"`
	MountPath  string `json:"mountPath"`
	Type       string `json:"type"`
	VolumeName string `json:"volumeName"`
}

func readValues(t *testing.T, name string) chartValues {
	t.Helper()
	var values chartValues
	if err := yaml.UnmarshalStrict([]byte(readExample(t, name)), &values); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return values
}

// A pod is Traefik's, as far as the examples decide on it.
type pod struct {
	init    []corev1.Container
	args    []string
	mounts  []corev1.VolumeMount
	volumes []corev1.Volume
}

// pod is what the chart makes of the values.
func (v chartValues) pod(t *testing.T) pod {
	t.Helper()
	p := pod{
		init:    v.Deployment.InitContainers,
		mounts:  v.AdditionalVolumeMounts,
		volumes: v.Deployment.AdditionalVolumes,
		args:    v.AdditionalArguments,
	}
	if v.Experimental.AbortOnPluginFailure {
		p.args = append(p.args, "--experimental.abortOnPluginFailure=true")
	}
	for name, plugin := range v.Experimental.Plugins {
		p.args = append(p.args,
			fmt.Sprintf("--experimental.plugins.%s.moduleName=%s", name, plugin.ModuleName),
			fmt.Sprintf("--experimental.plugins.%s.version=%s", name, plugin.Version))
	}
	for name, plugin := range v.Experimental.LocalPlugins {
		if plugin.Type != "localPath" {
			t.Fatalf("local plugin %s is of type %q, want localPath", name, plugin.Type)
		}
		p.args = append(p.args, fmt.Sprintf("--experimental.localPlugins.%s.moduleName=%s", name, plugin.ModuleName))
		p.mounts = append(p.mounts, corev1.VolumeMount{Name: plugin.VolumeName, MountPath: plugin.MountPath, ReadOnly: true})
	}
	return p
}

// static is the static configuration that the arguments say.
func (p pod) static(t *testing.T) map[string]any {
	t.Helper()
	static := map[string]any{}
	for _, arg := range p.args {
		path, value, ok := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !ok || !strings.HasPrefix(arg, "--") {
			t.Fatalf("argument %q, want --NAME=VALUE", arg)
		}
		at := static
		keys := strings.Split(path, ".")
		// A module's path has dots, but only values have module paths.
		for _, key := range keys[:len(keys)-1] {
			if at[key] == nil {
				at[key] = map[string]any{}
			}
			at = at[key].(map[string]any)
		}
		at[keys[len(keys)-1]] = value
	}
	return static
}

func (p pod) volume(t *testing.T, name string) corev1.Volume {
	t.Helper()
	for _, v := range p.volumes {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("there is no volume %q", name)
	return corev1.Volume{}
}

// localPod is that of values-local.yaml.
func localPod(t *testing.T) pod {
	t.Helper()
	return readValues(t, "values-local.yaml").pod(t)
}

// olderChartPod is localPod with what the README has for older charts.
func olderChartPod(t *testing.T) pod {
	t.Helper()
	values := readValues(t, "values-local.yaml")
	values.Experimental.AbortOnPluginFailure = false
	values.Experimental.LocalPlugins = nil
	if err := yaml.UnmarshalStrict([]byte(block(t, "yaml", "additionalArguments")), &values); err != nil {
		t.Fatal(err)
	}
	return values.pod(t)
}

// deployed is a Traefik as it may have been deployed without the chart.
const deployed = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: traefik, namespace: traefik}
spec:
  selector: {matchLabels: {app: traefik}}
  template:
    metadata: {labels: {app: traefik}}
    spec:
      serviceAccountName: traefik
      containers:
        - name: traefik
          image: docker.io/traefik:v3.7.13
          args: [--entryPoints.web.address=:8000, --providers.kubernetescrd=true, --providers.kubernetesingress=true]
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, emptyDir: {}}]
`

// patchedPod is that of the Deployment after the README's two patches.
func patchedPod(t *testing.T) pod {
	t.Helper()
	before, err := yaml.YAMLToJSONStrict([]byte(deployed))
	if err != nil {
		t.Fatal(err)
	}
	patch, err := yaml.YAMLToJSONStrict([]byte(readExample(t, "deployment-patch.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	after = patchArguments(t, after)
	if err := loadRules(t).check(parse(t, string(after))); err != nil {
		t.Errorf("the patched Deployment: %v", err)
	}
	var deployment appsv1.Deployment
	if err := json.Unmarshal(after, &deployment); err != nil {
		t.Fatal(err)
	}
	spec := deployment.Spec.Template.Spec
	if len(spec.Containers) != 1 || len(spec.Containers[0].VolumeMounts) != 2 || len(spec.Containers[0].Args) != 4 {
		t.Fatalf("the patched Deployment has the containers %+v, want one with what it had and what was added", spec.Containers)
	}
	return pod{init: spec.InitContainers, args: spec.Containers[0].Args[3:], mounts: spec.Containers[0].VolumeMounts, volumes: spec.Volumes}
}

var patchOption = regexp.MustCompile(`kubectl patch deployment traefik -n traefik --type=json -p '([^']*)'`)

func patchArguments(t *testing.T, deployment []byte) []byte {
	t.Helper()
	match := patchOption.FindStringSubmatch(block(t, "sh", "kubectl patch"))
	if match == nil {
		t.Fatal("README.md has no patch for the arguments")
	}
	patch, err := jsonpatch.DecodePatch([]byte(match[1]))
	if err == nil {
		deployment, err = patch.Apply(deployment)
	}
	if err != nil {
		t.Fatal(err)
	}
	return deployment
}
