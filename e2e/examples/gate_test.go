package examples

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
	"github.com/trafficshadow/mirror/report"
)

// failed is what curl ends with, and so the script, where the answer is no.
const failed = 22

func driveGate(t *testing.T, traefik *testbed.Traefik) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "" {
				t.Skipf("examples/gate/gate.sh is not run: %v", err)
			}
			t.Fatal(err)
		}
	}
	live, good := runUpstream(t, "billing"), runUpstream(t, "billing-next")
	bad := testbed.RunUpstream(t, testbed.UpstreamOptions{Name: "billing-next", Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprint(rw, `{"upstream":"billing-next","total":"11900"}`)
	})})
	ask := func(n int) {
		t.Helper()
		for i := range n {
			send(t, traefik, "GET", fmt.Sprint("/invoices/", i), "")
		}
	}

	load(t, traefik, "gate", map[string]string{liveAddress: live.Addr(), shadowAddress: good.Addr()})
	ask(30)
	if code, g := runGate(t, traefik, "2", "shadow-billing"); code != failed || g.Pass || g.State != "early" {
		t.Errorf("after 30 pairs: ends with %d, %+v; want %d and that it is too early", code, g, failed)
	}
	if code, g := runGate(t, traefik, "60", "shadow-billing", "min=20", "max-lost=0.5%", "endpoint=GET /invoices/*"); code != 0 || !g.Pass || g.Endpoint != "GET /invoices/*" {
		t.Errorf("where 20 are enough: ends with %d, %+v; want 0", code, g)
	}
	ask(90) // of which the report that is asked, a second old at most, need not have all
	if code, g := runGate(t, traefik, "60", "shadow-billing"); code != 0 || !g.Pass || g.State != "agrees" || g.Compared < 100 || g.Epoch != "build 4711" {
		t.Errorf("a good release: ends with %d, %+v; want 0", code, g)
	}
	for _, question := range [][]string{{"shadow-biling"}, {"shadow-billing", "max_real=1"}, {"shadow-billing", "max-real=1e9"}} {
		if code, g := runGate(t, traefik, "2", question...); code != failed || g.Pass {
			t.Errorf("%q: ends with %d, %+v; want %d", question, code, g, failed)
		}
	}

	load(t, traefik, "gate", map[string]string{liveAddress: live.Addr(), shadowAddress: bad.Addr()})
	ask(120)
	code, g := runGate(t, traefik, "60", "shadow-billing")
	if code != failed || g.Pass || g.State != "differs" || !strings.Contains(strings.Join(g.Reasons, " "), "GET /invoices/* $.total in ") {
		t.Errorf("a bad release: ends with %d, %+v; want %d and what differs", code, g, failed)
	}
	// Nobody gets in without the password, and that is no yes.
	cmd := exec.CommandContext(t.Context(), "sh", folder(t, "gate", "gate.sh"), "shadow-billing", "max-real=100%")
	cmd.Env = append(os.Environ(), "GATE="+traefik.URL("/mirror/gate"), "GATE_USER=", "GATE_WAIT=2")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "401") {
		t.Errorf("without a password: %v, %s; want 401", err, out)
	}
}

// runGate runs the script, and returns what it ends with and has printed.
func runGate(t *testing.T, traefik *testbed.Traefik, wait string, arguments ...string) (int, *report.Gate) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), folder(t, "gate", "gate.sh"), arguments...)
	cmd.Env = append(os.Environ(), "GATE="+traefik.URL("/mirror/gate"), "GATE_USER=release:test", "GATE_WAIT="+wait)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	g := &report.Gate{}
	if err := json.Unmarshal(out, g); err != nil {
		t.Fatalf("%q ends with %d and prints %q: %v\n%s", arguments, cmd.ProcessState.ExitCode(), out, err, complaints.String())
	}
	return cmd.ProcessState.ExitCode(), g
}
