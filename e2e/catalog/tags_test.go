package catalog

import "testing"

func TestTheRepositorysTagsAreReleases(t *testing.T) {
	if err := CheckTags(tags(t)); err != nil {
		t.Error(err)
	}
}

func TestCheckTags(t *testing.T) {
	if err := CheckTags([]string{"v1.10.0", "v1.9.3", "v0.1.0"}); err != nil {
		t.Errorf("refused: %v", err)
	}
	for _, tag := range []string{
		"1.0.0", "v1", "v1.0", "v1.0.0.0", "v.1.0.0", "v01.0.0", "v0.3.0rc1", "v1.0.0-rc.1", "v1.0.0+build", "V1.0.0",
		"latest", "test-0.0.1", "e2e/v1.0.0", " v1.0.0", "",
	} {
		if err := CheckTags([]string{"v1.0.0", tag, "v0.9.0"}); err == nil {
			t.Errorf("%q: accepted", tag)
		} else {
			refused(t, err, "invalid tag: "+tag)
		}
	}
}
