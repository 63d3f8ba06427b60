package docs

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// printed is a value that the text after a block says it prints.
var printed = regexp.MustCompile("[Pp]rints[^`\n]{0,40}`([^`\n]+)`")

// TestSamplingCommands runs the commands that compute where a value of sampleBy
// stands, and compares what they print with what the document says they do.
func TestSamplingCommands(t *testing.T) {
	count := 0
	for _, d := range documents(t) {
		for i, b := range d.Blocks {
			if b.Language() != "sh" || !strings.Contains(b.Text, "sha256sum") {
				continue
			}
			count++
			var want string
			if match := printed.FindStringSubmatch(b.After); match != nil {
				want = match[1]
			} else if i+1 < len(d.Blocks) && d.Blocks[i+1].Language() == "text" {
				want = d.Blocks[i+1].Text
			} else {
				t.Errorf("%s: neither the text after this command says that it prints `something`, nor is its output in a block of text", b)
				continue
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", b.Text)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v\n%s", b, err, out)
			}
			if got := strings.TrimSpace(string(out)); got != strings.TrimSpace(want) {
				t.Errorf("%s: prints\n%s\nand the document says\n%s", b, got, want)
			}
		}
	}
	if count == 0 {
		t.Error("no document has the command with sha256sum any more")
	}
}
