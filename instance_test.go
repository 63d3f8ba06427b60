package mirror

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/trafficshadow/mirror/report"
)

func TestInstancesAreNamedAfterTheirHostAndStart(t *testing.T) {
	tests := []struct {
		name, host string
		err        error
		want       string // in front of the number
	}{
		{"a pod", "traefik-7f9c", nil, "traefik-7f9c"},
		{"a name with a domain", "edge-1.example.com", nil, "edge-1.example.com"},
		{"no name", "", nil, "traefik"},
		{"an error", "edge-1", errors.New("no such file"), "traefik"},
		{"what is in no file's name", "../<edge> 1\n", nil, "edge-1"},
		{"nothing else", "//", nil, "traefik"},
		{"a long one", strings.Repeat("edge", 30), nil, strings.Repeat("edge", 16)},
	}
	for _, test := range tests {
		hostname := func() (string, error) { return test.host, test.err }
		one, two := newInstance(hostname), newInstance(hostname)
		form := regexp.MustCompile("^" + regexp.QuoteMeta(test.want) + "-[0-9a-f]{6}$")
		if !form.MatchString(one) || !form.MatchString(two) || one == two {
			t.Errorf("%s: %q and %q, want %s and two numbers", test.name, one, two, test.want)
		}
	}
	here := newInstance(os.Hostname)
	if host := here[:len(here)-len("-3f2a1b")]; !strings.HasPrefix(instanceName, host+"-") || instanceName == here {
		t.Errorf("this one is %q, want %s and another number than in %q", instanceName, host, here)
	}
}

// All that one start says has one name, whatever is reloaded meanwhile.
func TestReportSaysWhoSpeaks(t *testing.T) {
	for i := 0; i < 2; i++ {
		h := reporterFor(t)
		mirrorTo(t, "http://billing-next:8080", echoLive, func(c *Config) { c.set("percent", []string{"10", "20"}[i]) })
		d := &report.Document{}
		if err := json.Unmarshal(get(h, "/report.json").Body.Bytes(), d); err != nil {
			t.Fatal(err)
		}
		if d.Instance != instanceName || !d.Since.Equal(instanceSince) || time.Since(d.Since) > time.Hour {
			t.Errorf("%q since %s, want %q since %s", d.Instance, d.Since, instanceName, instanceSince)
		}
	}
}
