package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/mitchellh/mapstructure"
	"github.com/traefik/yaegi/interp"
	"github.com/traefik/yaegi/stdlib"
)

// limit is how long the validator lets a plugin load and New run.
const limit = 10 * time.Second

// childGoPath is set for the process that runs a plugin: the GOPATH in which the
// plugin is. childModule is the path of its module.
const (
	childGoPath = "CATALOG_CHILD_GOPATH"
	childModule = "CATALOG_CHILD_MODULE"
)

// ServeChild runs a plugin and ends the process, if this is the process that
// [Check] has started for that. Otherwise it does nothing.
func ServeChild() {
	gopath := os.Getenv(childGoPath)
	if gopath == "" {
		return
	}
	err := forbidSockets()
	if err == nil {
		err = interpretManifest(gopath, os.Getenv(childModule))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runChild runs the plugin in dir in a copy of this process that has nothing but
// the plugin: no environment, and a GOPATH with no other package.
func runChild(ctx context.Context, dir, modulePath string) error {
	gopath, err := os.MkdirTemp("", "mirror-catalog-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(gopath)
	source := filepath.Join(gopath, "src", filepath.FromSlash(modulePath))
	if err := os.CopyFS(source, os.DirFS(dir)); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// The child keeps the limit itself; this is for one that cannot.
	ctx, cancel := context.WithTimeout(ctx, 3*limit)
	defer cancel()
	var verdict, output bytes.Buffer
	cmd := exec.CommandContext(ctx, self)
	cmd.Dir = source // the validator's working directory
	cmd.Env = []string{childGoPath + "=" + gopath, childModule + "=" + modulePath}
	cmd.Stdout, cmd.Stderr = &verdict, &output
	return explain(cmd.Run(), verdict.String(), output.String())
}

// explain turns the end of the child into the rule that the plugin broke.
func explain(err error, verdict, output string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGSYS {
		return errors.New("the plugin opens a socket while it is loaded or in New; there is no network")
	}
	if verdict = strings.TrimSpace(verdict); verdict != "" {
		return errors.New(verdict)
	}
	return fmt.Errorf("the plugin ended the process: %w\n%s", err, output)
}

func interpretManifest(gopath, modulePath string) error {
	m, err := ReadManifest(filepath.Join(gopath, "src", filepath.FromSlash(modulePath)))
	if err != nil {
		return err
	}
	return interpret(gopath, m)
}

// interpret loads the plugin, fills its configuration with the manifest's
// testData and calls New, as the validator does.
func interpret(gopath string, m *Manifest) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic from yaegi: %v", v)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()

	// Standard output is for the verdict.
	i := interp.New(interp.Options{GoPath: gopath, Stdout: os.Stderr, Stderr: os.Stderr})
	if err := i.Use(stdlib.Symbols); err != nil {
		return fmt.Errorf("load of stdlib symbols: %w", err)
	}
	if _, err := i.EvalWithContext(ctx, fmt.Sprintf("import %q", m.Import)); err != nil {
		return fmt.Errorf("the load of the plugin takes too much time (%s), or an error, inside the plugin, occurs during the load: %w", limit, err)
	}
	pkg := basePackage(m)
	config, err := i.EvalWithContext(ctx, pkg+".CreateConfig()")
	if err != nil {
		return fmt.Errorf("failed to eval `CreateConfig` function: %w", err)
	}
	if err := decode(m.TestData, config.Interface()); err != nil {
		return fmt.Errorf("plugin: failed to decode configuration: %w", err)
	}
	newPlugin, err := i.EvalWithContext(ctx, pkg+".New")
	if err != nil {
		return fmt.Errorf("failed to eval `New` function: %w", err)
	}
	if err := checkSignature(newPlugin.Type(), config.Type()); err != nil {
		return fmt.Errorf("the signature of the function `New` is invalid: %w", err)
	}
	return callNew(ctx, newPlugin, config)
}

// decode fills config, a pointer to a plugin's Config, as Traefik does and the
// validator too.
func decode(data map[string]any, config any) error {
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		DecodeHook:       mapstructure.StringToSliceHookFunc(","),
		WeaklyTypedInput: true,
		Result:           config,
	})
	if err != nil {
		return err
	}
	return decoder.Decode(data)
}

var (
	contextType = reflect.TypeFor[context.Context]()
	handlerType = reflect.TypeFor[http.Handler]()
	errorType   = reflect.TypeFor[error]()
)

func checkSignature(f, config reflect.Type) error {
	switch {
	case f.Kind() != reflect.Func:
		return fmt.Errorf("it is a %s", f.Kind())
	case f.NumIn() != 4:
		return fmt.Errorf("invalid input arguments: got %d arguments expected 4", f.NumIn())
	case !f.In(0).Implements(contextType):
		return errors.New("invalid input arguments: the 1st argument must have the type context.Context")
	case !f.In(1).Implements(handlerType):
		return errors.New("invalid input arguments: the 2nd argument must have the type http.Handler")
	case !f.In(2).AssignableTo(config):
		return errors.New("invalid input arguments: the 3rd argument must have the same type as the Config structure")
	case f.In(3).Kind() != reflect.String:
		return errors.New("invalid input arguments: the 4th argument must have the type string")
	case f.NumOut() != 2:
		return fmt.Errorf("invalid output arguments: got %d arguments expected 2", f.NumOut())
	case !f.Out(0).Implements(handlerType):
		return errors.New("invalid output arguments: the 1st argument must have the type http.Handler")
	case !f.Out(1).Implements(errorType):
		return errors.New("invalid output arguments: the 2nd argument must have the type error")
	}
	return nil
}

// callNew fails when New has not returned in the time that is left.
func callNew(ctx context.Context, newPlugin, config reflect.Value) error {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	args := []reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(next), config, reflect.ValueOf("test")}
	done := make(chan error, 1)
	go func() { done <- call(newPlugin, args) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the function `New` has failed: %w", ctx.Err())
	}
}

func call(newPlugin reflect.Value, args []reflect.Value) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the function `New` produces a panic: %v", v)
		}
	}()
	results := newPlugin.Call(args)
	if err, failed := results[1].Interface().(error); failed {
		return fmt.Errorf("failed to create a new plugin instance: %w", err)
	}
	if _, ok := results[0].Interface().(http.Handler); !ok {
		return fmt.Errorf("invalid handler type: %T", results[0].Interface())
	}
	return nil
}
