package examples

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// examples are the folders of the examples that this package drives. Those
// without a traefik.yml of their own share a Traefik with the one above them.
var examples = []struct {
	folder string
	drive  func(t *testing.T, traefik *testbed.Traefik)
}{
	{"dark-launch", driveDarkLaunch},
	{"credentials", driveCredentials},
	{"writes-only", driveWritesOnly},
	{"several-shadows", driveSeveralShadows},
	{"on-a-service", driveOnAService},
	{"mutual-tls", driveMutualTLS},
	{"uploads", driveUploads},
	{"grpc", driveGRPC},
	{"gate", driveGate},
	{"load-balanced-shadow", driveLoadBalancedShadow},
}

// elsewhere are the folders whose tests are in other packages.
var elsewhere = map[string]string{
	".":             "e2e/cmd/demo",
	"docker":        "e2e/docker",
	"kubernetes":    "e2e/kubernetes",
	"observability": "e2e/observability",
}

func TestExamples(t *testing.T) {
	shared := runTraefik(t, folder(t, "traefik.yml"), nil)
	for _, example := range examples {
		t.Run(example.folder, func(t *testing.T) {
			traefik := shared
			if _, err := os.Stat(folder(t, example.folder, "traefik.yml")); err == nil {
				traefik = nil // it starts its own
			}
			example.drive(t, traefik)
		})
	}
}

func TestEveryExampleHasATest(t *testing.T) {
	root := folder(t)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".md") {
			return err
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		top, _, nested := strings.Cut(filepath.ToSlash(file), "/")
		if !nested {
			top = "."
		}
		if !tested(t, top) {
			t.Errorf("examples/%s has no test: add its folder to the table", file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tested reports whether the table has the folder, or another package that is
// there and has tests.
func tested(t *testing.T, top string) bool {
	t.Helper()
	for _, example := range examples {
		if example.folder == top {
			return true
		}
	}
	if elsewhere[top] == "" {
		return false
	}
	tests, err := filepath.Glob(folder(t, "..", filepath.FromSlash(elsewhere[top]), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return len(tests) > 0
}
