package docker

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// marker is what the example's mirror is called under the provider's name.
func marker(provider string) string { return "demo-shadow@" + provider }

// The example does what its README says, under every Compose that is here.
func TestCompose(t *testing.T) {
	for _, c := range installed {
		t.Run(c.String(), func(t *testing.T) {
			p := up(t, c)
			t.Run("a request reaches both with its body", func(t *testing.T) { testBoth(t, p) })
			t.Run("the READMEs say what happens", func(t *testing.T) { testReadmes(t, p) })
			t.Run("the shadow stops and starts under load", func(t *testing.T) { testShadowStops(t, p) })
			t.Run("percent follows its label", func(t *testing.T) { testPercent(t, p) })
		})
	}
}

// A running project.
type running struct {
	project
	entrance
}

// up brings the example up for the length of the test, with more files if there are any.
func up(t *testing.T, c composer, more ...string) running {
	t.Helper()
	e := newEntrance(t)
	p := running{project{composer: c, files: append([]string{composeFile}, more...), env: []string{e.env()}}, e}
	t.Cleanup(func() {
		if t.Failed() {
			logTraefik(t, "label=com.docker.compose.project="+name, "label=com.docker.compose.service=traefik")
		}
		if err := p.down(); err != nil {
			t.Error(err)
		}
	})
	p.must(t, "up", "--detach")
	p.waitReady(t, "/invoices")
	return p
}

// logTraefik shows the end of the log of the Traefik that the filters select.
func logTraefik(t *testing.T, filters ...string) {
	list := []string{"container", "ls", "--all", "--quiet"}
	for _, filter := range filters {
		list = append(list, "--filter", filter)
	}
	ids, _ := cleaning(list...)
	for _, id := range strings.Fields(ids) {
		text, err := exec.Command("docker", "container", "logs", "--tail", "30", id).CombinedOutput()
		t.Logf("the end of Traefik's log (%v):\n%s", err, text)
	}
}

// down ends the example with its own Compose and complains if that leaves
// something.
func (p running) down() error {
	if session.Err() == nil {
		if _, err := p.run("down", "--volumes", "--timeout", "5"); err != nil {
			return errors.Join(err, removeProject())
		}
	}
	left, err := cleaning("container", "ls", "--all", "--quiet", "--filter", "label=com.docker.compose.project="+name)
	if err == nil && left != "" && session.Err() == nil {
		err = fmt.Errorf("%s down has left the containers %q", p.composer, left)
	}
	return errors.Join(err, removeProject())
}

// must is run for commands that are to succeed.
func (p running) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.run(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// container returns the id of the service's container, stopped or not.
func (p running) container(t *testing.T, service string) string {
	t.Helper()
	out, err := cleaning("container", "ls", "--all", "--quiet",
		"--filter", "label=com.docker.compose.project="+name, "--filter", "label=com.docker.compose.service="+service)
	id := strings.TrimSpace(out)
	if err != nil || id == "" || strings.Contains(id, "\n") {
		t.Fatalf("containers of %s: %q (%v), want one", service, id, err)
	}
	return id
}

// requests returns what the service's container has logged since it was made.
func (p running) requests(t *testing.T, service string) []request {
	t.Helper()
	text, err := docker("container", "logs", p.container(t, service))
	if err != nil {
		t.Fatal(err)
	}
	return parseLog(t, text)
}

// find waits until the service has logged a request whose body contains text.
func (p running) find(t *testing.T, service, text string) request {
	t.Helper()
	return find(t, service, text, func() []request { return p.requests(t, service) })
}

func find(t *testing.T, service, text string, requests func() []request) request {
	t.Helper()
	var found request
	eventually(t, func() error {
		all := requests()
		i := slices.IndexFunc(all, func(r request) bool { return strings.Contains(r.body, text) })
		if i < 0 {
			return fmt.Errorf("%s has logged %d requests and none with %s", service, len(all), text)
		}
		found = all[i]
		return nil
	})
	return found
}

var (
	curlCommand = regexp.MustCompile("(?m)^curl ((?:-H '[^']+' )?)-d '([^']+)' http://localhost:8000/invoices$")
	printedLine = regexp.MustCompile(`(?m)^(billing(?:-next)?)-1 +\| (.+)$`)
)

// What the READMEs print is what their first request makes the example print.
func testReadmes(t *testing.T, p running) {
	for _, file := range []string{"../../README.md", "README.md"} {
		text, err := os.ReadFile(filepath.Join(exampleDir(), file))
		if err != nil {
			t.Fatal(err)
		}
		command := curlCommand.FindSubmatchIndex(text)
		if command == nil {
			t.Fatalf("%s has no request", file)
		}
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}} // curl's
		if name, value, found := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(string(text[command[2]:command[3]]), "-H '"), "' "), ": "); found {
			header.Set(name, value)
		}
		body := string(text[command[4]:command[5]])
		_, answer, err := p.do(http.MethodPost, "/invoices", body, header)
		if err != nil {
			t.Fatal(err)
		}
		_, printed, found := strings.Cut(string(text[command[1]:]), "```text\n")
		printed, _, _ = strings.Cut(printed, "```")
		if !found || !strings.HasPrefix(printed, strings.TrimSpace(answer)+"\n") {
			t.Errorf("%s prints\n%s\nwant it to begin with %s", file, printed, answer)
		}
		lines := printedLine.FindAllStringSubmatch(printed, -1)
		if len(lines) != 2 {
			t.Errorf("%s prints %q, want a line of each upstream", file, lines)
		}
		for _, line := range lines {
			service, want := line[1], line[2]
			eventually(t, func() error {
				log, err := docker("container", "logs", p.container(t, service))
				if err == nil && !slices.Contains(strings.Split(log, "\n"), want) {
					err = fmt.Errorf("%s: %s has logged\n%s\nwant the line\n%s", file, service, log, want)
				}
				return err
			})
		}
	}
}

func testBoth(t *testing.T, p running) {
	tests := []struct {
		name, number, body string
		shown              string // of the body, in the log
	}{
		{"short", "2024-00117", invoice("2024-00117"), invoice("2024-00117")},
		{"200 KB", "2024-00118", largeInvoice("2024-00118"), largeInvoice("2024-00118")[:300] + "..."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{"Authorization": {"Bearer 8d1f"}, "Cookie": {"session=4706"}}
			if err := p.book(tt.number, tt.body, header); err != nil {
				t.Fatal(err)
			}
			live := request{method: "POST", target: "/invoices", size: len(tt.body), credentials: []string{"Authorization", "Cookie"}, body: tt.shown}
			shadow := request{method: "POST", target: "/invoices", size: len(tt.body), credentials: []string{}, body: tt.shown,
				marker: marker("docker"), environment: "shadow"}
			for service, want := range map[string]request{"billing": live, "billing-next": shadow} {
				if got := p.find(t, service, tt.number); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s got %+v, want %+v", service, got, want)
				}
			}
		})
	}
}

func testShadowStops(t *testing.T, p running) {
	load := startLoad(t, p.entrance, 2025)
	load.waitMore(t, 200)
	p.must(t, "stop", "billing-next")
	load.waitMore(t, 500)
	before := len(p.requests(t, "billing-next"))
	p.must(t, "start", "billing-next")
	eventually(t, func() error {
		if n := len(p.requests(t, "billing-next")); n < before+100 {
			return fmt.Errorf("the shadow has logged %d requests, %d of them before it was stopped", n, before)
		}
		return nil
	})
	posted := len(load.stop())

	year := func(r request) bool { return !strings.Contains(r.body, `"2025-`) }
	load.checkLive(t, func() []request { return slices.DeleteFunc(p.requests(t, "billing"), year) })
	copies := load.checkShadow(t, slices.DeleteFunc(p.requests(t, "billing-next"), year))
	if copies >= posted {
		t.Errorf("the shadow got %d copies of %d requests, although it was stopped", copies, posted)
	}
	t.Logf("%d requests, %d copies", posted, copies)
}

func testPercent(t *testing.T, p running) {
	p.label(t, "percent", "0")
	for i := range 50 {
		number := fmt.Sprintf("2026-%05d", i)
		if err := p.book(number, invoice(number), nil); err != nil {
			t.Fatal(err)
		}
	}
	p.label(t, "percent", "100")
	const last = "2026-00050"
	if err := p.book(last, invoice(last), nil); err != nil {
		t.Fatal(err)
	}
	p.find(t, "billing-next", last)
	copies := slices.DeleteFunc(p.requests(t, "billing-next"), func(r request) bool { return !strings.Contains(r.body, `"2026-`) })
	if len(copies) != 1 {
		t.Errorf("the shadow got %d of the invoices, the first %s, want only the one that was posted at 100 percent", len(copies), copies[0].body)
	}
}

// label changes an option of the mirror and returns when Traefik has taken the
// change up: one more label, which routes a path, tells.
func (p running) label(t *testing.T, option, value string) {
	t.Helper()
	path := "/" + option + "/" + value
	file := filepath.Join(t.TempDir(), "docker-compose.override.yml")
	text := fmt.Sprintf(`services:
  billing:
    labels:
      - traefik.http.middlewares.demo-shadow.plugin.mirror.%s=%s
      - traefik.http.routers.demo-ready.rule=Path(%s)
`, option, value, "`"+path+"`")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.files = []string{composeFile, file}
	// Live alone: Compose v1 would make Traefik anew as well, since joining files
	// changes the order of what they say of it.
	traefik := p.container(t, "traefik")
	p.must(t, "up", "--detach", "billing")
	p.waitReady(t, path)
	if now := p.container(t, "traefik"); now != traefik {
		t.Errorf("Traefik's container is %s and was %s: it has not read the label, but started with it", now, traefik)
	}
}
