package mirror

import (
	"net/http"
	"testing"
)

// An endpoint whose requests have no copies is in the verdict all the same: nobody knows
// how the shadow answers there.
func TestRequestsWithoutCopiesAreInTheVerdict(t *testing.T) {
	shadow := startUpstream(t)
	for _, mode := range []string{"buffer", "stream"} {
		h := comparingTo(t, shadow.URL, echoLive, func(c *Config) {
			c.set("bodyMode", mode)
			c.set("maxBodySize", "10")
			c.set("compare.epoch", mode)
		})
		m := mirrorCalled(t, t.Name())
		for i := 0; i < 25; i++ {
			req := postInvoice()
			req.Method = http.MethodPut
			req.URL.Path = "/scans/2026-0042"
			req.RequestURI = req.URL.Path
			serve(h, req)
		}
		eventually(t, "the drops in the verdict", func() bool {
			a := m.verdict.Snapshot().Account
			return len(a.Endpoints) == 1 && a.Endpoints[0].Name == "PUT /scans/*" && a.Endpoints[0].Dropped["too_large"] == 25
		})
	}
}
