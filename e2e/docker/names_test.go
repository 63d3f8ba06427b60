package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// When the shadow's name is given to another container, copies go there within a
// minute, though the old one still answers, on the connections that Traefik has kept.
func TestNameThatMoves(t *testing.T) {
	const (
		oldAddress = "172.31.77.100"
		newAddress = "172.31.77.101"
		limit      = 100 * time.Second // a connection is used for a minute at most
	)
	file := filepath.Join(t.TempDir(), "docker-compose.override.yml")
	text := fmt.Sprintf(`services:
  billing-next:
    networks:
      shadow:
        ipv4_address: %s
networks:
  shadow:
    ipam:
      config:
        - subnet: 172.31.77.0/24
`, oldAddress)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := up(t, installed[0], file)
	sent := 0
	arrived := func(container string) int {
		text, err := docker("container", "logs", container)
		if err != nil {
			t.Fatal(err)
		}
		return len(posts(parseLog(t, text)))
	}
	arrives := func(container string, n int) {
		t.Helper()
		var err error
		for end := time.Now().Add(limit); time.Now().Before(end) && session.Err() == nil; {
			for range 10 {
				sent++
				number := fmt.Sprintf("2027-%05d", sent)
				if err := p.book(number, invoice(number), nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			got := arrived(container)
			if got >= n {
				return
			}
			err = fmt.Errorf("%s has logged %d copies, want %d", container, got, n)
		}
		t.Fatalf("after %s: %v", limit, err)
	}
	old := p.container(t, "billing-next")
	arrives(old, 20)

	// Whoever has the name answers to it in this network. Reconnected, the old container
	// has its address again, and with it its connections, but not the name.
	network := name + "_shadow"
	mustDocker(t, "network", "disconnect", network, old)
	next := strings.TrimSpace(mustDocker(t, "container", "run", "--detach", "--label", "com.docker.compose.project="+name,
		"--network", network, "--network-alias", "billing-next", "--ip", newAddress, "--env", "SERVICE=billing-next", "mirror-demo/billing:2"))
	mustDocker(t, "network", "connect", "--ip", oldAddress, network, old)
	t.Cleanup(func() { cleaning("container", "rm", "--force", next) })
	before := arrived(old)
	arrives(next, 20)
	t.Logf("the old container has got %d copies since it lost the name", arrived(old)-before)
	last := arrived(old)
	arrives(next, arrived(next)+20)
	for end := time.Now().Add(limit); arrived(old) > last && time.Now().Before(end); {
		last = arrived(old)
		arrives(next, arrived(next)+20)
	}
	if n := arrived(old) - last; n > 0 {
		t.Errorf("the old container still gets copies, %d of the latest", n)
	}
}
