package observability

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"go.yaml.in/yaml/v3"
)

// An alertRule is one rule of alerts.yml.
type alertRule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alertRules(t *testing.T) []alertRule {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alertRule }
	}
	if err := yaml.Unmarshal(readFile(t, exampleFile(t, "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	var rules []alertRule
	for _, g := range file.Groups {
		rules = append(rules, g.Rules...)
	}
	return rules
}

func TestPromtoolTakesTheFiles(t *testing.T) {
	dir := makeSecrets(t)
	if err := os.CopyFS(dir, os.DirFS(exampleFile(t, ""))); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"},
		{"test", "rules", "alerts_test.yml"},
	} {
		if out, err := promtool(t, dir, nil, args...); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}

func TestEveryAlertSaysWhatItIs(t *testing.T) {
	rules := alertRules(t)
	if len(rules) < 7 {
		t.Fatalf("found %d alerts only", len(rules))
	}
	for _, r := range rules {
		if s := r.Labels["severity"]; s != "info" && s != "warning" {
			t.Errorf("%s is of severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks a summary or a description: %v", r.Alert, r.Annotations)
		}
	}
}

// TestEveryAlertHasUnitTests wants of each alert one that it fires, and one that
// it does not.
func TestEveryAlertHasUnitTests(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert string `yaml:"alertname"`
				Want  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(readFile(t, exampleFile(t, "alerts_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Want) > 0 {
				fires[c.Alert] = true
			} else {
				silent[c.Alert] = true
			}
		}
	}
	for _, r := range alertRules(t) {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: a test in which it fires: %t, one in which it does not: %t", r.Alert, fires[r.Alert], silent[r.Alert])
		}
	}
}

// TestAlertsFire brings about what each alert is for.
func TestAlertsFire(t *testing.T) {
	tests := []struct {
		name         string
		live, shadow http.Handler
		control      http.Handler // nil: none
		drive        func(t *testing.T, s *scene)
		want         []string
	}{
		// Slow enough for a busy machine not to make one of them look slow.
		{"all is well", steady(billing{}), steady(billing{}), nil, sending(1500), nil},
		// A control tells the noise that is in every invoice.
		{"all is well but for noise", steady(billing{numbers: true}), steady(billing{numbers: true}), &billing{numbers: true}, sending(1500), nil},
		{"the shadow rounds differently", steady(billing{}), steady(billing{halfToEven: true}), nil, sending(1500), []string{"MirrorDiffers"}},
		{"nobody can tell noise", steady(billing{numbers: true}), steady(billing{numbers: true}), nil, sending(1500), []string{"MirrorUndecided"}},
		{"nothing can be compared", compressed(), compressed(), nil, sending(100), []string{"MirrorComparesNothing"}},
		{"the control is down", steady(billing{}), steady(billing{}), http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), sending(300), []string{"MirrorControlFails"}},
		{"the control has no data", steady(billing{}), steady(billing{}), http.NotFoundHandler(), sending(300), []string{"MirrorControlUnfit"}},
		{"the options have a mistake", &billing{}, &billing{}, nil, func(t *testing.T, s *scene) {
			if err := s.traefik.Reload(t.Context(), s.configuration(t, "sequenceBy: header:X-Customer-Id", "sequenceBy: heather:X-Customer-Id")); err != nil {
				t.Fatal(err)
			}
		}, []string{"MirrorMisconfigured"}},
		{"a mirror is gone", &billing{}, &billing{}, nil, func(t *testing.T, s *scene) {
			// The mirror has another name now. The one of before is removed in ten seconds.
			s.reload(t, "        - shadow-billing\n", "        - shadow-invoices\n", "    shadow-billing:\n", "    shadow-invoices:\n")
		}, []string{"MirrorGone"}},
		{"the shadow is down", &billing{}, &billing{}, nil, func(t *testing.T, s *scene) {
			s.shadow.Stop()
			s.send(t, 100)
			s.settled(t, 100)
		}, []string{"MirrorLosesRequests connect", "MirrorLosesRequests paused", "MirrorNothingMirrored", "MirrorPaused"}},
		{"the shadow does not keep up", &billing{}, &billing{}, nil, func(t *testing.T, s *scene) {
			t.Cleanup(s.shadow.Hang())
			s.send(t, 300) // three times as many as may be in flight
			s.settled(t, 300)
		}, []string{"MirrorLosesRequests full", "MirrorLosesRequests timeout", "MirrorNothingMirrored", "MirrorPaused"}},
		{"the shadow is slow", &billing{}, slowly(500 * time.Millisecond), nil, sending(90), []string{"MirrorShadowSlow"}}, // fewer than may be in flight
		{"the shadow is slower than a customer asks", &billing{}, slowly(500 * time.Millisecond), nil, func(t *testing.T, s *scene) {
			s.sendAs(t, "C-20817", 40) // fewer than a customer may have waiting
		}, []string{"MirrorCopiesWait", "MirrorShadowSlow"}},
		{"Traefik is down", &billing{}, &billing{}, nil, func(t *testing.T, s *scene) {
			if err := s.traefik.Stop(); err != nil {
				t.Fatal(err)
			}
		}, []string{"MirrorNoData", "MirrorScrapeFails"}},
	}
	fired := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := runScene(t, test.live, test.shadow)
			if test.control != nil {
				s.addControl(t, test.control)
			}
			p := runPrometheus(t, s)
			for _, r := range alertRules(t) {
				about := r.Alert != "MirrorNoData" // which is about series that there are not
				if about && (test.control != nil || !strings.HasPrefix(r.Alert, "MirrorControl")) {
					p.checkSelectors(r.Expr)
				}
			}
			test.drive(t, s)
			p.awaitAlerts(test.want)
			for _, name := range test.want {
				name, _, _ = strings.Cut(name, " ")
				fired[name] = true
			}
		})
	}
	for _, r := range alertRules(t) {
		if !fired[r.Alert] {
			t.Errorf("nothing brings %s about", r.Alert)
		}
	}
}

// sending sends so many requests of the usual mix, and waits for them to be done with.
func sending(n int64) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		s.send(t, int(n))
		s.settled(t, n)
	}
}

// steady takes long enough for a busy machine not to make one of two look slow.
func steady(b billing) *billing {
	b.typical = 20 * time.Millisecond
	return &b
}

// compressed answers in a way that nobody understands, with another body each time.
func compressed() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Encoding", "br")
		fmt.Fprint(rw, rand.Text())
	})
}

// slowly is live's answer, and the shadow's some time after.
func slowly(by time.Duration) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		time.Sleep(by)
		(&billing{}).ServeHTTP(rw, req)
	})
}

// awaitAlerts waits until these alerts fire and no others, each with its reason if it
// has one, by what has been
// scraped and looked at since it was called.
func (p *prometheus) awaitAlerts(want []string) {
	p.t.Helper()
	scraped := p.nextScrape()
	eventually(p.t, func() error {
		rules, err := p.Rules(p.t.Context())
		if err != nil {
			return err
		}
		firing := map[string]bool{}
		for _, g := range rules.Groups {
			for _, rule := range g.Rules {
				r := rule.(promapi.AlertingRule)
				if r.Health != promapi.RuleHealthGood || r.LastError != "" {
					return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
				}
				if r.LastEvaluation.Before(scraped) {
					return fmt.Errorf("%s was last looked at at %s, before the scrape at %s", r.Name, r.LastEvaluation, scraped)
				}
				for _, a := range r.Alerts {
					if a.State == promapi.AlertStateFiring {
						firing[strings.TrimSpace(r.Name+" "+string(a.Labels["reason"]))] = true
					}
				}
			}
		}
		if got := slices.Sorted(maps.Keys(firing)); !slices.Equal(got, want) {
			return fmt.Errorf("%q fire, want %q", got, want)
		}
		return nil
	})
}
