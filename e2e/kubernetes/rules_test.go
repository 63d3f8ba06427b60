package kubernetes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"
)

// rules are what an API server refuses objects by: for Traefik's kinds the
// schemas that Traefik publishes, for Kubernetes' own their Go types. Fields
// that do not exist are refused, as kubectl apply asks for.
type rules struct {
	custom    map[schema.GroupVersionKind]*customRules
	strict    runtime.Decoder
	resources map[schema.GroupVersionKind]schema.GroupVersionResource
	kinds     map[schema.GroupVersionResource]string
}

type customRules struct {
	fields *structural.Structural
	values validation.SchemaValidator
}

// builtIn are the kinds of Kubernetes' own that Traefik asks for.
var builtIn = map[schema.GroupVersionResource]string{
	corev1.SchemeGroupVersion.WithResource("services"):             "Service",
	corev1.SchemeGroupVersion.WithResource("secrets"):              "Secret",
	corev1.SchemeGroupVersion.WithResource("configmaps"):           "ConfigMap",
	corev1.SchemeGroupVersion.WithResource("nodes"):                "Node",
	discoveryv1.SchemeGroupVersion.WithResource("endpointslices"):  "EndpointSlice",
	networkingv1.SchemeGroupVersion.WithResource("ingresses"):      "Ingress",
	networkingv1.SchemeGroupVersion.WithResource("ingressclasses"): "IngressClass",
}

func loadRules(t *testing.T) *rules {
	t.Helper()
	r, err := readRules()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var readRules = sync.OnceValues(func() (*rules, error) {
	r := &rules{
		custom:    map[schema.GroupVersionKind]*customRules{},
		resources: map[schema.GroupVersionKind]schema.GroupVersionResource{},
		kinds:     map[schema.GroupVersionResource]string{},
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, discoveryv1.AddToScheme, networkingv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	r.strict = serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for resource, kind := range builtIn {
		r.add(resource, kind)
	}

	text, err := definitions()
	if err != nil {
		return nil, err
	}
	for _, document := range documents(text) {
		if err := r.addDefinition(document); err != nil {
			return nil, err
		}
	}
	return r, nil
})

func (r *rules) add(resource schema.GroupVersionResource, kind string) {
	r.resources[resource.GroupVersion().WithKind(kind)] = resource
	r.kinds[resource] = kind
}

// definitions returns the CustomResourceDefinitions of the Traefik that
// e2e/traefik pins.
func definitions() (string, error) {
	root, err := testbed.RepoRoot()
	if err != nil {
		return "", err
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/traefik/traefik/v3")
	list.Dir = filepath.Join(root, "e2e", "traefik")
	list.Env = append(os.Environ(), "GOWORK=off", "PWD="+list.Dir)
	list.Stderr = os.Stderr
	dir, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("where Traefik's module is: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)),
		"docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"))
	return string(text), err
}

func (r *rules) addDefinition(document string) error {
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict([]byte(document), &definition); err != nil {
		return fmt.Errorf("CustomResourceDefinition: %w", err)
	}
	for _, version := range definition.Spec.Versions {
		var props apiextensions.JSONSchemaProps
		err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", definition.Name, err)
		}
		fields, err := structural.NewStructural(&props)
		if err != nil {
			return fmt.Errorf("%s: %w", definition.Name, err)
		}
		values, _, err := validation.NewSchemaValidator(&props)
		if err != nil {
			return fmt.Errorf("%s: %w", definition.Name, err)
		}
		of := schema.GroupVersion{Group: definition.Spec.Group, Version: version.Name}
		r.custom[of.WithKind(definition.Spec.Names.Kind)] = &customRules{fields, values}
		r.add(of.WithResource(definition.Spec.Names.Plural), definition.Spec.Names.Kind)
	}
	return nil
}

// check returns why an API server would refuse the object, or nil.
func (r *rules) check(object *unstructured.Unstructured) error {
	if custom, ok := r.custom[object.GroupVersionKind()]; ok {
		return custom.check(object)
	}
	text, err := object.MarshalJSON()
	if err != nil {
		return err
	}
	_, _, err = r.strict.Decode(text, nil, nil)
	return err
}

func (c *customRules) check(object *unstructured.Unstructured) error {
	var errs []error
	if object.GetName() == "" {
		errs = append(errs, errors.New("metadata.name: required"))
	}
	unknown := pruning.PruneWithOptions(object.DeepCopy().Object, c.fields, true,
		structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		errs = append(errs, fmt.Errorf("unknown field %q", path))
	}
	for _, err := range validation.ValidateCustomResource(nil, object.Object, c.values) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
