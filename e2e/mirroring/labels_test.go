package mirroring

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// runLabels starts a Traefik that reads the labels of these containers, by name, and
// returns when it has applied them.
func runLabels(t *testing.T, containers map[string]map[string]string, opts testbed.Options) *testbed.Traefik {
	t.Helper()
	engine := testbed.RunEngine(t)
	// Asked for last, so that it is there only when all else is.
	const last = "/.labels/applied"
	all := map[string]map[string]string{"last": {
		"traefik.http.routers.last.rule":    "Path(`" + last + "`)",
		"traefik.http.routers.last.service": "ping@internal",
	}}
	for name, labels := range containers {
		all[name] = labels
	}
	engine.Run(all)
	opts.Static = testbed.Values{"providers": engine.Providers()}
	opts.Env = append(opts.Env, "DOCKER_HOST=") // set, it would be asked in place of the engine
	traefik := testbed.MustServe(t, opts)
	testbed.Eventually(t, patience, func() error {
		if status := exchange(t, traefik, head("GET", last, "labels")).Status(); status != http.StatusOK {
			return fmt.Errorf("the labels are not applied: answered %d; the end of Traefik's log:\n%s", status, traefik.LogTail(10))
		}
		return nil
	})
	return traefik
}
