package catalog

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"
)

// Archive writes the committed tree of the checkout in root to w as GitHub and
// the catalog deliver it: a zip in which everything is below one folder, named
// after the repository and the commit.
func Archive(ctx context.Context, root string, w io.Writer) error {
	commit, err := git(ctx, root, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return fmt.Errorf("catalog: the plugin is tested as it is delivered, from the last commit, and there is none in %s: %w", root, err)
	}
	prefix := "trafficshadow-mirror-" + strings.TrimSpace(commit) + "/"
	text, err := git(ctx, root, "archive", "--format=zip", "--prefix="+prefix, "HEAD")
	if err != nil {
		return fmt.Errorf("catalog: the archive of %s: %w", root, err)
	}
	_, err = io.WriteString(w, text)
	return err
}

// ModuleZip writes the committed tree of the checkout in root to w as the Go
// proxy delivers it, and refuses what the go command does: names that some
// system cannot have or tell apart, and what is too large.
func ModuleZip(root string, mod module.Version, w io.Writer) error {
	if err := modzip.CreateFromVCS(w, mod, root, "HEAD", ""); err != nil {
		return fmt.Errorf("catalog: the module zip of %s: %w", root, err)
	}
	return nil
}

// Unpack unpacks an archive of [Archive]'s into dir as Traefik does: without the
// folder that is around everything.
func Unpack(archive, dir string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	defer r.Close()
	for _, f := range r.File {
		_, name, _ := strings.Cut(f.Name, "/")
		if name == "" || strings.HasSuffix(name, "/") {
			continue // folders are made for what is in them
		}
		if !filepath.IsLocal(name) {
			return fmt.Errorf("catalog: %s: %s leads out of the archive", archive, f.Name)
		}
		if err := unpackFile(f, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return fmt.Errorf("catalog: %s: %w", archive, err)
		}
	}
	return nil
}

func unpackFile(f *zip.File, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}

// CheckNames returns an error for the first name that not every system can have,
// or can tell apart from another. [ModuleZip] does so for the plugin's module; a
// checkout has the nested modules too.
func CheckNames(names []string) error {
	seen := map[string]string{}
	for _, name := range names {
		if err := module.CheckFilePath(name); err != nil {
			return err
		}
		folded := strings.ToLower(name)
		if other, found := seen[folded]; found {
			return fmt.Errorf("%s and %s are one file where the case of letters does not count", other, name)
		}
		seen[folded] = name
	}
	return nil
}

// CheckVendor returns an error if the vendor folder in dir does not hold all that
// the module's packages and their tests import, at the versions that its go.mod
// requires. Nothing outside of dir is asked.
func CheckVendor(ctx context.Context, dir string) error {
	mod, err := readModule(dir)
	if err != nil || len(mod.Require) == 0 {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "vendor", "modules.txt")); err != nil {
		return fmt.Errorf("go.mod requires %s, and there is no vendor folder: %w", mod.Require[0].Mod.Path, err)
	}
	cache, err := os.MkdirTemp("", "mirror-modcache-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(cache)
	cmd := exec.CommandContext(ctx, "go", "list", "-mod=vendor", "-deps", "-test", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off", "GOMODCACHE="+cache)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the vendor folder: %w\n%s", err, out)
	}
	return nil
}

// git returns what git prints, and in an error what it complains about.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.String(), nil
}
