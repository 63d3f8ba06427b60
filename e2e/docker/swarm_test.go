package docker

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ownSwarm is a label on this node if the swarm was made by these tests.
const ownSwarm = "mirror-test"

// gateway is a network that joining a swarm makes, and leaving does not remove.
const gateway = "docker_gwbridge"

// In a swarm the labels are the service's: a change restarts nothing.
func TestSwarm(t *testing.T) {
	joinSwarm(t)
	e := deploy(t)
	header := http.Header{"Authorization": {"Bearer 8d1f"}, "Cookie": {"session=4706"}}
	const first, last = "2024-00117", "2024-00118"
	if err := e.book(first, invoice(first), header); err != nil {
		t.Fatal(err)
	}
	got := find(t, "billing-next", first, func() []request { return serviceRequests(t, "billing-next") })
	want := request{method: "POST", target: "/invoices", size: len(invoice(first)), credentials: []string{}, body: invoice(first),
		marker: marker("swarm"), environment: "shadow"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the shadow got %+v, want %+v", got, want)
	}
	find(t, "billing", first, func() []request { return serviceRequests(t, "billing") })

	tasks := mustDocker(t, "service", "ps", "--quiet", name+"_billing")
	load := startLoad(t, e, 2025)
	load.waitMore(t, 100)
	labelService(t, e, "percent", "0")
	load.waitMore(t, 100)
	copies := len(serviceRequests(t, "billing-next"))
	load.waitMore(t, 100)
	load.stop()
	labelService(t, e, "percent", "100")
	if err := e.book(last, invoice(last), nil); err != nil {
		t.Fatal(err)
	}
	find(t, "billing-next", last, func() []request { return serviceRequests(t, "billing-next") })

	year := func(r request) bool { return !strings.Contains(r.body, `"2025-`) }
	load.checkLive(t, func() []request { return slices.DeleteFunc(serviceRequests(t, "billing"), year) })
	load.checkShadow(t, slices.DeleteFunc(serviceRequests(t, "billing-next"), year))
	if n := len(serviceRequests(t, "billing-next")); n != copies+1 {
		t.Errorf("the shadow got %d requests after percent was 0, want the last one", n-copies)
	}
	if now := mustDocker(t, "service", "ps", "--quiet", name+"_billing"); now != tasks {
		t.Errorf("live's tasks are %q, and were %q before its labels changed", now, tasks)
	}
}

// joinSwarm makes this machine a swarm for the length of the test, unless it is
// one.
func joinSwarm(t *testing.T) {
	t.Helper()
	switch state := swarmState(t); state {
	case "active true":
		return
	case "inactive false":
	default:
		t.Fatalf("this machine is in a swarm that stacks cannot be deployed to from here (state and control: %s)", state)
	}
	if _, err := cleaning("network", "inspect", gateway); err != nil {
		t.Cleanup(func() { cleaning("network", "rm", gateway) })
	}
	mustDocker(t, "swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", fmt.Sprintf("127.0.0.1:%d", newEntrance(t).port))
	t.Cleanup(func() {
		if _, err := cleaning("swarm", "leave", "--force"); err != nil {
			t.Error(err)
		}
	})
	// For the next run, should this one be killed.
	node := strings.TrimSpace(mustDocker(t, "info", "--format", "{{.Swarm.NodeID}}"))
	mustDocker(t, "node", "update", "--label-add", ownSwarm+"=true", node)
}

func swarmState(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(mustDocker(t, "info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"))
}

// leaveOwnSwarm leaves the swarm if an earlier run has made it.
func leaveOwnSwarm() error {
	labels, err := cleaning("node", "inspect", "--format", "{{json .Spec.Labels}}", "self")
	if err != nil || !strings.Contains(labels, `"`+ownSwarm+`"`) {
		return nil // in none, or in the user's
	}
	err = removeStack()
	_, leaving := cleaning("swarm", "leave", "--force")
	return errors.Join(err, leaving)
}

// deploy deploys the example's stack for the length of the test.
func deploy(t *testing.T) entrance {
	t.Helper()
	e := newEntrance(t)
	t.Cleanup(func() {
		if t.Failed() {
			logTraefik(t, serviceFilter("traefik"))
		}
		if err := removeStack(); err != nil {
			t.Error(err)
		}
	})
	// The images have no digest that a registry could confirm.
	if _, err := command(session, []string{e.env()}, nil, "docker", "stack", "deploy", "--resolve-image", "never",
		"--compose-file", filepath.Join(exampleDir(), stackFile), name); err != nil {
		t.Fatal(err)
	}
	e.waitReady(t, "/invoices")
	eventually(t, func() error {
		services := mustDocker(t, "stack", "services", "--format", "{{.Name}} {{.Replicas}}", name)
		for _, want := range []string{"_traefik 1/1", "_billing 2/2", "_billing-next 1/1"} {
			if !strings.Contains(services, name+want) {
				return fmt.Errorf("no %q among the services %q", want, services)
			}
		}
		return nil
	})
	return e
}

// removeStack removes the stack and waits until its containers and networks
// are gone: leaving the swarm before would leave them.
func removeStack() error {
	if _, err := cleaning("stack", "rm", name); err != nil {
		return err
	}
	const filter = "label=com.docker.stack.namespace=" + name
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		containers, err := cleaning("container", "ls", "--all", "--quiet", "--filter", filter)
		if err != nil {
			return err
		}
		networks, err := cleaning("network", "ls", "--quiet", "--filter", filter)
		if err != nil || containers == "" && networks == "" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s the stack has left containers %q and networks %q", patience, containers, networks)
		}
	}
}

// serviceRequests returns what all tasks of the stack's service on this machine
// have logged. It asks their containers: docker service logs may wait for ever.
func serviceRequests(t *testing.T, service string) []request {
	t.Helper()
	var requests []request
	for _, container := range strings.Fields(mustDocker(t, "container", "ls", "--all", "--quiet", "--filter", serviceFilter(service))) {
		requests = append(requests, parseLog(t, mustDocker(t, "container", "logs", container))...)
	}
	return requests
}

func serviceFilter(service string) string {
	return "label=com.docker.swarm.service.name=" + name + "_" + service
}

// labelService changes an option of the mirror, and returns when Traefik has
// taken the change up, as label does.
func labelService(t *testing.T, e entrance, option, value string) {
	t.Helper()
	path := "/" + option + "/" + value
	mustDocker(t, "service", "update", "--detach", name+"_billing",
		"--label-add", "traefik.http.middlewares.demo-shadow.plugin.mirror."+option+"="+value,
		"--label-add", "traefik.http.routers.demo-ready.rule=Path(`"+path+"`)")
	e.waitReady(t, path)
}

func mustDocker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := docker(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
