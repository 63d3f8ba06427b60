package catalog

import (
	"fmt"
	"regexp"
)

// release matches the tags that may be in the repository. The validator takes
// whatever is a semantic version, v1.2.0-rc.1 too, and offers the first tag of
// GitHub's list as the latest release: a suffix would make it that. It refuses
// the plugin for any other tag, and tags of nested modules (e2e/v1.2.0) are such.
var release = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$`)

// CheckTags returns an error for the first tag with which the catalog would not
// import the plugin, or would take it for a release that it is not.
func CheckTags(tags []string) error {
	for _, tag := range tags {
		if !release.MatchString(tag) {
			return fmt.Errorf("invalid tag: %s: takes vX.Y.Z, without anything before or after it", tag)
		}
	}
	return nil
}
