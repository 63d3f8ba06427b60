package observability

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// jobLabels are those that Prometheus gives every series.
var jobLabels = []model.LabelName{"job", "instance"}

// Prometheus is a running one.
type prometheus struct {
	promapi.API
	t *testing.T
}

// runPrometheus starts Prometheus with the example's files. Changed are only the
// target, the interval, and that alerts fire without having to last.
func runPrometheus(t *testing.T, s *scene) *prometheus {
	t.Helper()
	dir := t.TempDir()
	config := loadExample(t, "prometheus.yml", "127.0.0.1:8002", s.monitoring, "mirror-password", s.passwordFile)
	config["global"] = map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"}
	writeYAML(t, filepath.Join(dir, "prometheus.yml"), config)
	writeYAML(t, filepath.Join(dir, "alerts.yml"), withoutFor(loadExample(t, "alerts.yml")))

	address := testbed.FreeAddress(t)
	cmd := exec.Command(prometheusPath, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+address, "--log.level=warn")
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// What the test leaves behind when it is killed, the kernel ends.
	cmd.SysProcAttr = endWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus's output:\n%s", out.Bytes())
		}
	})
	eventually(t, func() error {
		resp, err := http.Get("http://" + address + "/-/ready")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("Prometheus is not ready: %s", resp.Status)
		}
		return nil
	})
	client, err := api.NewClient(api.Config{Address: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	p := &prometheus{promapi.NewAPI(client), t}
	// What is counted before the first scrape is in no rate.
	eventually(t, func() error {
		if len(p.query("mirror_eligible_requests_total")) == 0 {
			return fmt.Errorf("Prometheus has no metrics yet")
		}
		return nil
	})
	return p
}

// withoutFor takes out how long an alert has to last, where it has to.
func withoutFor(alerts map[string]any) map[string]any {
	for _, group := range alerts["groups"].([]any) {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			delete(rule.(map[string]any), "for")
		}
	}
	return alerts
}

func writeYAML(t *testing.T, file string, tree any) {
	t.Helper()
	text, err := yaml.Marshal(tree)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// query returns what the expression is now.
func (p *prometheus) query(expr string) model.Vector {
	p.t.Helper()
	value, _, err := p.Query(p.t.Context(), expr, time.Now())
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		p.t.Fatalf("%s: a %s, want a vector", expr, value.Type())
	}
	return vector
}

// series returns every series of the mirrors as it is now, by its name and its
// own labels.
func (p *prometheus) series() map[string]float64 {
	p.t.Helper()
	all := map[string]float64{}
	for _, sample := range p.query(`{__name__=~"mirror_.+"}`) {
		for _, name := range jobLabels {
			if sample.Metric[name] == "" {
				p.t.Errorf("%s has no label %s", sample.Metric, name)
			}
			delete(sample.Metric, name)
		}
		all[sample.Metric.String()] = float64(sample.Value)
	}
	return all
}

// nextScrape waits for a scrape that begins from now on, and returns when it did.
func (p *prometheus) nextScrape() (began time.Time) {
	p.t.Helper()
	since := model.Now()
	eventually(p.t, func() error {
		got := p.query(`timestamp(up{job="mirror"})`)
		if len(got) != 1 || model.TimeFromUnixNano(int64(got[0].Value*1e9)).Before(since) {
			return fmt.Errorf("nothing scraped since %s: %v", since, got)
		}
		began = model.TimeFromUnixNano(int64(got[0].Value * 1e9)).Time()
		return nil
	})
	return began
}

// awaitScraped waits until n requests have been scraped. The metrics are made once a
// second at most, so the next scrape may not have them yet.
func (p *prometheus) awaitScraped(n int) {
	p.t.Helper()
	eventually(p.t, func() error {
		p.nextScrape()
		got := p.query(`mirror_eligible_requests_total`)
		if len(got) != 1 || int(got[0].Value) != n {
			return fmt.Errorf("scraped %v, want %d requests", got, n)
		}
		return nil
	})
}

// checkSelectors fails the test for each selector in the expression that selects
// nothing: a name or a label value that there is not.
func (p *prometheus) checkSelectors(expr string) {
	p.t.Helper()
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		p.t.Errorf("%s: %v", expr, err)
		return
	}
	count := 0
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			count++
			if len(p.query(selector.String())) == 0 {
				p.t.Errorf("%s: %s selects nothing", expr, selector)
			}
		}
		return nil
	})
	if count == 0 {
		p.t.Errorf("%s selects no series at all", expr)
	}
}

// promtool runs promtool in the folder.
func promtool(t *testing.T, dir string, input []byte, args ...string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), promtoolPath, args...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
