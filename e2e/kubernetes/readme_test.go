package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	shellBlock = regexp.MustCompile("(?s)\n```sh\n(.*?)\n```")
	fileOption = regexp.MustCompile(`(?:-f|--patch-file) (\S+\.yaml)`)
	linkTarget = regexp.MustCompile(`\]\(([^):#]+)\)`)
)

// The customers that the README names are those that the README's loop mirrors.
func TestCustomersInREADME(t *testing.T) {
	var in []string
	for id := 1; id <= 50; id++ {
		if place(id) < 10 {
			in = append(in, strconv.Itoa(id))
		}
	}
	last := len(in) - 1
	want := "customers " + strings.Join(in[:last], ", ") + " and " + in[last] + ":"
	text := readExample(t, "README.md")
	if !strings.Contains(text, want) || !strings.Contains(text, "$(seq 1 50)") {
		t.Errorf("README.md does not say that seq 1 50 mirrors the %s", want)
	}
}

func TestCommandsInREADME(t *testing.T) {
	text := readExample(t, "README.md")
	blocks := shellBlock.FindAllStringSubmatch(text, -1)
	if len(blocks) < 5 {
		t.Fatalf("README.md has %d blocks of commands", len(blocks))
	}
	for _, b := range blocks {
		check := exec.Command("sh", "-n")
		check.Stdin = strings.NewReader(b[1])
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s\n%v: %s", b[1], err, out)
		}
	}
	for _, pattern := range []*regexp.Regexp{fileOption, linkTarget} {
		matches := pattern.FindAllStringSubmatch(text, -1)
		if len(matches) == 0 {
			t.Errorf("README.md has nothing like %s", pattern)
		}
		for _, match := range matches {
			if _, err := os.Stat(filepath.Join(exampleDir(t), match[1])); err != nil {
				t.Errorf("README.md: %v", err)
			}
		}
	}
}
