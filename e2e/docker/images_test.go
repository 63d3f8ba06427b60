package docker

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

const (
	// ownLabel is on every image that is made here.
	ownLabel = "mirror-test"

	// kept is the repository in which the user's images wait whose names the tests
	// need.
	kept = "mirror-test-kept"
)

// makeImages makes the images that the example names: Traefik's of the binary
// that all end-to-end tests run, and the upstreams' as each Compose builds them.
// The image of Go that these start from is made too, of the Go that runs the
// tests. It returns the names, which are to be given back even after an error.
func makeImages() (names []string, err error) {
	golang, err := baseImage()
	if err != nil {
		return nil, err
	}
	example, err := loadFiles(session, nil, composeFile)
	if err != nil {
		return nil, err
	}
	names = []string{golang}
	for _, service := range example.Services {
		names = append(names, service.Image)
	}
	// What a run has left that was killed.
	if err := giveBack(names); err != nil {
		return nil, err
	}
	for _, image := range names {
		if err := keep(image); err != nil {
			return names, err
		}
	}

	binary, err := testbed.Binary(session, nil)
	if err != nil {
		return names, err
	}
	err = makeImage(example.Services["traefik"].Image, `ENTRYPOINT ["/traefik"]`,
		func(w *tar.Writer) error { return addFile(w, binary, "traefik", 0o755) })
	if err != nil {
		return names, err
	}
	if err := makeImage(golang, "ENV PATH=/usr/local/go/bin GOTOOLCHAIN=local", addGo); err != nil {
		return names, err
	}
	return names, buildUpstreams()
}

// buildUpstreams has the Composes build the upstreams' images, with ownLabel.
func buildUpstreams() error {
	dir, err := os.MkdirTemp("", "mirror-compose-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	labels := filepath.Join(dir, "labels.yml")
	text := "services:\n"
	for _, service := range []string{"billing", "billing-next"} {
		text += "  " + service + ":\n    build:\n      labels: [" + ownLabel + "=1]\n"
	}
	if err := os.WriteFile(labels, []byte(text), 0o644); err != nil {
		return err
	}
	for _, c := range installed {
		fmt.Println("building the upstreams' images with", c)
		if _, err := (project{composer: c, files: []string{composeFile, labels}}).run("build"); err != nil {
			return err
		}
	}
	return nil
}

// baseImage returns the image that the upstreams' Dockerfile starts from.
func baseImage() (string, error) {
	text, err := os.ReadFile(filepath.Join(exampleDir(), "billing", "Dockerfile"))
	if err != nil {
		return "", err
	}
	from := regexp.MustCompile(`(?m)^FROM (golang:\S+) AS build$`).FindSubmatch(text)
	if from == nil {
		return "", errors.New("billing/Dockerfile has no line FROM golang:... AS build")
	}
	return string(from[1]), nil
}

// makeImage makes an image of the files that write writes.
func makeImage(image, change string, write func(*tar.Writer) error) error {
	fmt.Println("making the image", image)
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		err := write(archive)
		if err == nil {
			err = archive.Close()
		}
		w.CloseWithError(err)
	}()
	defer r.Close()
	_, err := command(session, nil, r, "docker", "import", "--change", "LABEL "+ownLabel+"=1", "--change", change, "-", image)
	return err
}

// keep has the user's image that goes by a name, if there is one, go by another
// for the time being.
func keep(image string) error {
	state, err := inspect(image)
	if err != nil || state != theirs {
		return err
	}
	_, err = docker("image", "tag", image, keptName(image))
	return err
}

// giveBack removes the tests' images and gives their names back to the user's.
func giveBack(names []string) error {
	var failed []error
	for _, image := range names {
		failed = append(failed, giveBackName(image))
	}
	ids, err := cleaning("image", "ls", "--quiet", "--no-trunc", "--filter", "label="+ownLabel)
	failed = append(failed, err)
	for _, id := range uniqueFields(ids) {
		failed = append(failed, removeBuiltOn(id))
		_, err := cleaning("image", "rm", "--force", id)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func giveBackName(image string) error {
	waiting, err := inspect(keptName(image))
	if err != nil || waiting == missing {
		return err
	}
	now, err := inspect(image)
	if err != nil {
		return err
	}
	// A name that is the user's already has been pulled again in the meantime.
	if now != theirs {
		if _, err := cleaning("image", "tag", keptName(image), image); err != nil {
			return err
		}
	}
	_, err = cleaning("image", "rm", keptName(image)) // the name only, where the image has another
	return err
}

func keptName(image string) string {
	return kept + ":" + strings.NewReplacer("/", "_", ":", "_").Replace(image)
}

// removeBuiltOn removes the images without a name that were built on the one
// with the id: the steps of a Dockerfile, where the engine has no BuildKit.
func removeBuiltOn(id string) error {
	ids, err := cleaning("image", "ls", "--all", "--quiet", "--no-trunc")
	if err != nil || ids == "" {
		return err
	}
	const format = "{{.Id}} {{.Parent}} {{len .RepoTags}}"
	lines, err := cleaning(append([]string{"image", "inspect", "--format", format}, uniqueFields(ids)...)...)
	if err != nil && !isMissing(err) { // some may be gone since
		return err
	}
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != id || fields[2] != "0" {
			continue
		}
		child := fields[0]
		if err := removeBuiltOn(child); err != nil {
			return err
		}
		// The engine removes a step with the last one that was built on it.
		if _, err := cleaning("image", "rm", child); err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}

// isMissing reports whether the engine had no image of a name or id.
func isMissing(err error) bool { return strings.Contains(err.Error(), "No such image") }

func uniqueFields(text string) []string {
	fields := strings.Fields(text)
	slices.Sort(fields)
	return slices.Compact(fields)
}

// Whose an image is.
type owner int

const (
	missing owner = iota
	theirs        // the user's
	ours
)

func inspect(image string) (owner, error) {
	labels, err := cleaning("image", "inspect", "--format", "{{json .Config.Labels}}", image)
	switch {
	case err != nil && isMissing(err):
		return missing, nil
	case err != nil:
		return missing, err
	case strings.Contains(labels, `"`+ownLabel+`"`):
		return ours, nil
	}
	return theirs, nil
}

// addGo writes Go's tools and standard library to where the image of Go that
// Docker publishes has them. The tools are built again, without cgo: those of a
// distribution may need its C library.
func addGo(w *tar.Writer) error {
	root, err := goCommand("env", "GOROOT")
	if err != nil {
		return err
	}
	tools, err := os.MkdirTemp("", "mirror-go-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tools)
	if _, err := goCommand("build", "-trimpath", "-o", tools, "cmd/go", "cmd/compile", "cmd/asm", "cmd/link"); err != nil {
		return err
	}
	const to = "usr/local/go/"
	platform, err := goCommand("env", "GOOS", "GOARCH")
	if err != nil {
		return err
	}
	toolDir := to + "pkg/tool/" + strings.Join(strings.Fields(platform), "_") + "/"
	return errors.Join(
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}),
		addFile(w, filepath.Join(tools, "go"), to+"bin/go", 0o755),
		addFile(w, filepath.Join(tools, "compile"), toolDir+"compile", 0o755),
		addFile(w, filepath.Join(tools, "asm"), toolDir+"asm", 0o755),
		addFile(w, filepath.Join(tools, "link"), toolDir+"link", 0o755),
		addFile(w, filepath.Join(root, "VERSION"), to+"VERSION", 0o644),
		addFile(w, filepath.Join(root, "go.env"), to+"go.env", 0o644),
		addSources(w, filepath.Join(root, "pkg", "include"), to+"pkg/include/"),
		addSources(w, filepath.Join(root, "src"), to+"src/"),
	)
}

func goCommand(args ...string) (string, error) {
	out, err := command(session, []string{"CGO_ENABLED=0", "GOFLAGS="}, nil, append([]string{"go"}, args...)...)
	return strings.TrimSpace(out), err
}

// addSources writes a folder of Go's sources without what only tests and Go's
// own tools need.
func addSources(w *tar.Writer, dir, to string) error {
	dir, err := filepath.EvalSymlinks(dir) // Debian's GOROOT is made of links
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (inside == "cmd" || entry.Name() == "testdata"):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return addFile(w, path, to+filepath.ToSlash(inside), 0o644)
	})
}

func addFile(w *tar.Writer, path, to string, mode int64) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: mode, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}
