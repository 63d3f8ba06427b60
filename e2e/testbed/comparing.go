package testbed

import "testing"

// Comparing returns options of a mirror that has answers compared.
func Comparing() Values {
	return Values{"compare": Values{
		"body":    "json",
		"headers": []string{"Content-Type", "Etag", "Set-Cookie", "X-Ledger"},
		"ignore":  []string{"$.id", "$..updatedAt"},
	}}
}

// InBothModes runs test twice, with the options of a mirror that compares
// nothing and of one that compares answers, which is to change nothing for live.
func InBothModes(t *testing.T, test func(t *testing.T, options Values)) {
	t.Helper()
	t.Run("mirroring", func(t *testing.T) { test(t, Values{}) })
	t.Run("comparing", func(t *testing.T) { test(t, Comparing()) })
}
