package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/semver"
)

func TestChangelog(t *testing.T) {
	if err := checkChangelog(read(t, "CHANGELOG.md"), tags(t)); err != nil {
		t.Errorf("CHANGELOG.md: %v", err)
	}
}

// kinds are the headings that keepachangelog.com has below a version.
var kinds = []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

var (
	released  = regexp.MustCompile(`^\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})( \[YANKED\])?$`)
	reference = regexp.MustCompile(`(?m)^\[([^\]]+)\]: https://\S+$`)
)

// checkChangelog returns everything that is not as keepachangelog.com has it,
// and the newest tag if it has no heading.
func checkChangelog(text string, tags []string) error {
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }

	links := map[string]bool{}
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		links[m[1]] = true
	}
	var versions []string
	inVersion := false
	for i, line := range strings.Split(text, "\n") {
		level, heading, found := strings.Cut(line, " ")
		switch {
		case i == 0 && line != "# Changelog":
			mistake("begins with %q, want # Changelog", line)
		case !found || strings.Trim(level, "#") != "" || i == 0:
			continue
		case level == "##" && !inVersion:
			inVersion = true
			if heading != "[Unreleased]" {
				mistake("line %d: the first heading is %q, want [Unreleased]", i+1, heading)
			}
		case level == "##":
			v, err := checkRelease(heading, versions)
			if err != nil {
				mistake("line %d: %w", i+1, err)
			}
			versions = append(versions, v)
		case level == "###" && inVersion:
			if !slices.Contains(kinds, heading) {
				mistake("line %d: %q: takes one of %s", i+1, heading, strings.Join(kinds, ", "))
			}
		default:
			mistake("line %d: a heading out of place: %q", i+1, line)
		}
	}
	if !inVersion {
		mistake("has no heading ## [Unreleased]")
	}
	for _, name := range append([]string{"Unreleased"}, versions...) {
		if name != "" && !links[name] {
			mistake("[%s] has no link at the end", name)
		}
	}
	if len(tags) > 0 && !slices.Contains(versions, strings.TrimPrefix(tags[0], "v")) {
		mistake("has no heading for the tag %s", tags[0])
	}
	return errors.Join(mistakes...)
}

// checkRelease returns the version of a heading that comes after those of newer
// versions.
func checkRelease(heading string, newer []string) (string, error) {
	m := released.FindStringSubmatch(heading)
	if m == nil {
		return "", fmt.Errorf("%q: takes [X.Y.Z] - YYYY-MM-DD", heading)
	}
	if _, err := time.Parse(time.DateOnly, m[2]); err != nil {
		return m[1], fmt.Errorf("%q: %w", heading, err)
	}
	if len(newer) > 0 && semver.Compare("v"+newer[len(newer)-1], "v"+m[1]) <= 0 {
		return m[1], fmt.Errorf("%s comes after %s: the newest is first", m[1], newer[len(newer)-1])
	}
	return m[1], nil
}

func TestCheckChangelog(t *testing.T) {
	const good = `# Changelog

What changes.

## [Unreleased]

### Fixed

- A thing.

## [0.10.0] - 2026-11-30

### Added

- Another thing.

## [0.9.0] - 2026-10-01

[Unreleased]: https://example.com/compare/v0.10.0...HEAD
[0.10.0]: https://example.com/compare/v0.9.0...v0.10.0
[0.9.0]: https://example.com/tags/v0.9.0
`
	if err := checkChangelog(good, []string{"v0.10.0", "v0.9.0"}); err != nil {
		t.Errorf("refused: %v", err)
	}
	for _, tt := range []struct{ name, old, text, tag, want string }{
		{name: "no title", old: "# Changelog", text: "# Changes", want: "want # Changelog"},
		{name: "nothing unreleased", old: "## [Unreleased]\n", text: "", want: "heading out of place"},
		{name: "a release first", old: "## [Unreleased]\n", text: "## [0.11.0] - 2026-12-01\n", want: "want [Unreleased]"},
		{name: "no date", old: "[0.9.0] - 2026-10-01", text: "[0.9.0]", want: "takes [X.Y.Z] - YYYY-MM-DD"},
		{name: "a date of another form", old: "2026-10-01", text: "01.10.2026", want: "takes [X.Y.Z] - YYYY-MM-DD"},
		{name: "a date that there is not", old: "2026-10-01", text: "2026-10-32", want: "day out of range"},
		{name: "the tag's name", old: "## [0.9.0]", text: "## [v0.9.0]", want: "takes [X.Y.Z] - YYYY-MM-DD"},
		{name: "the oldest first", old: "## [0.10.0]", text: "## [0.8.0]", want: "the newest is first"},
		{name: "a kind that there is not", old: "### Added", text: "### New", want: "takes one of Added, Changed"},
		{name: "a version without a link", old: "[0.9.0]: https", text: "0.9.0: https", want: "[0.9.0] has no link"},
		{name: "a tag without a heading", tag: "v0.11.0", want: "has no heading for the tag v0.11.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tags := []string{"v0.10.0", "v0.9.0"}
			if tt.tag != "" {
				tags = append([]string{tt.tag}, tags...)
			}
			refused(t, checkChangelog(strings.Replace(good, tt.old, tt.text, 1), tags), tt.want)
		})
	}
}
