package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	out := &output{}
	begun := time.Now()
	if err := run(t.Context(), out, options{}); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("took %s", time.Since(begun).Round(time.Millisecond))
	// The answers to what sections 1 to 4 send are compared too, and have to agree,
	// which the demo checks in sections 1 and 5.
	//
	// In one line, because what the plugin logs may be broken anywhere.
	text := strings.Join(strings.Fields(out.String()), " ")
	for want, times := range map[string]int{
		" same ":                                     6,
		" nothing above maxBodySize":                 2,
		" nothing live untouched":                    5,
		" live untouched":                            10,
		"connection refused":                         1,
		"within the timeout":                         1,
		"The shadow gets copies again":               1,
		"of 120 POST /invoices/drafts real":          3,
		"120 of 120 POST /invoices/drafts noise":     2,
		"compare.ignore: - $.createdAt - $.id":       1,
		" answers really differ (9.":                 1, // 12 of 120 and those of section 4
		" ×100 120 of 120 GET /invoices/* undecided": 1,
		" ×100 120 of 120 GET /invoices/* real":      1,
		"undecided: 120 of 120 answers differ in what cannot be decided (100%) because 120 pairs differ in what cannot be told from noise": 1,
		"differs: 120 of 120 answers really differ (100%)": 1,
		"All as it should be":                              1,
		faultSign:                                          0,
		"\x1b":                                             0,
	} {
		if n := strings.Count(text, want); n != times {
			t.Errorf("the output has %q %d times, not %d", want, n, times)
		}
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if n := utf8.RuneCountInString(line); n >= 100 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// A demo that cannot fail shows nothing: with each of these faults in the
// plugin it has to.
func TestDemoFails(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		find, replace string
		file          string // added to the plugin
		says          string
	}{
		"the copy lacks its last byte": {
			find: `\bsize = out\.ContentLength`, replace: "out = shortened(out)\n\t\tsize = out.ContentLength",
			file: `package mirror

import (
	"bytes"
	"io"
	"net/http"
)

func shortened(out *http.Request) *http.Request {
	if out.Body == nil {
		return out
	}
	body, _ := io.ReadAll(out.Body)
	if len(body) > 0 {
		body = body[:len(body)-1]
	}
	out.Body = io.NopCloser(bytes.NewReader(body))
	out.ContentLength = int64(len(body))
	return out
}
`,
			says: "the body differs",
		},
		"live waits for the shadow": {
			find: `take := taker\(m, o\)`, replace: "take := waiting(m, taker(m, o))",
			file: `package mirror

import (
	"net/http"
	"time"
)

func waiting(m *middleware, take func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(rw http.ResponseWriter, req *http.Request) bool {
		served := take(rw, req)
		for end := time.Now().Add(3 * time.Second); m.shadow.mirror.inFlight.Load() > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		return served
	}
}
`,
			says: "live was held up",
		},
		"nothing is mirrored": {
			find: `take := taker\(m, o\)`, replace: "take := untaken(m)",
			file: `package mirror

import "net/http"

func untaken(m *middleware) func(http.ResponseWriter, *http.Request) bool {
	return func(_ http.ResponseWriter, _ *http.Request) bool {
		releasePlace(m.shadow.mirror)
		return false
	}
}
`,
			says: "not mirrored",
		},
		"nothing is compared":             {find: `\bm\.verdict\.Add\(`, replace: `ignored(`, file: ignored, says: "5 answers should have been compared"},
		"all JSON is taken for equal":     {find: `if reflect\.DeepEqual\(live, shadow\) \{`, replace: `if reflect.DeepEqual(live, live) {`, says: "differs, and was not found"},
		"nothing is ignored":              {find: `return matchSteps\(p\.steps, path, true\)`, replace: `return false && matchSteps(p.steps, path, true)`, says: "5 answers should have been compared, and agree"},
		"nothing is taken for noise":      {find: `if !e\.Safe \|\| e\.Changes \{`, replace: `if e.Pairs < 0 {`, says: "not taken for noise"},
		"what some answers have is noise": {find: `(?s)(if float64\(e\.Pairs\) < nearlyAll.+?)return Real`, replace: "${1}return Noise", says: "not taken for real"},
		"the shadow's is shown as live's": {find: `\bLive: d\.Live\.Shown\(`, replace: `Live: d.Shadow.Shown(`, says: "$.lines[*].vat is "},

		// Those of what differs in every answer.
		"it is noise without a control":           {find: `(?s)(if float64\(e\.Pairs\) < nearlyAll.+?return Real\s+\}\s+return )Undecided`, replace: "${1}Noise", says: "not taken for undecided"},
		"it may agree without a control":          {find: `few := allowed\.Undecided\.Allows\(a\.Undecided, a\.Compared\)`, replace: "few := true", says: "it should say undecided: 120 of 120"},
		"the control's answers are not looked at": {find: `if total\(e\.control\) > 0 \{`, replace: "if total(e.control) < 0 {", says: "not taken for real billing-old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := faultyPlugin(t, fault.find, fault.replace, fault.file)
			out := &output{}
			err := run(t.Context(), out, options{mirrorDir: dir})
			text := strings.Join(strings.Fields(out.String()), " ")
			if !errors.Is(err, errWrong) || !strings.Contains(text, faultSign+fault.says) {
				t.Errorf("run: %v; want %v and %q in\n%s", err, errWrong, faultSign+fault.says, out)
			}
		})
	}
}

// ignored takes what the verdict should get.
const ignored = `package mirror

import "github.com/trafficshadow/mirror/compare"

func ignored(*compare.Rules, *compare.Request, *compare.Answer, *compare.Answer, *compare.Finding) {}
`

// faultyPlugin returns a folder with a copy of the plugin in which the one
// place that matches find is replaced.
func faultyPlugin(t *testing.T, find, replace, file string) string {
	dir := t.TempDir()
	if err := testbed.CopyPlugin("", dir); err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(find)
	places := 0
	for _, name := range []string{"*.go", "*/*.go"} {
		sources, err := filepath.Glob(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range sources {
			text, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			places += len(pattern.FindAll(text, -1))
			if err := os.WriteFile(source, pattern.ReplaceAll(text, []byte(replace)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if places != 1 {
		t.Fatalf("%d places in the plugin's source match %s; this test needs the one to put a fault in", places, find)
	}
	if file != "" {
		if err := os.WriteFile(filepath.Join(dir, "fault.go"), []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestKeep(t *testing.T) {
	t.Parallel()
	out := &output{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	typed, keyboard := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, out, options{keep: true, commands: typed}) }()

	out.waitFor(t, "what the plugin logs:\n")
	url := regexp.MustCompile(`Traefik +(http://[0-9.:]+)`).FindStringSubmatch(out.String())[1] + "/invoices"
	page := regexp.MustCompile(`the report +(http://[0-9.:]+/mirror/)`).FindStringSubmatch(out.String())[1]
	testbed.Eventually(t, 10*time.Second, func() error {
		res, err := http.Get(page)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if want := "120 of 120 answers really differ (100%)"; err == nil && !strings.Contains(string(text), want) {
			return fmt.Errorf("%s, %s does not say %q:\n%s", page, res.Status, want, text)
		}
		return err
	})
	post := func() {
		t.Helper()
		res, err := http.Post(url, "application/json", strings.NewReader(`{"number":"2024-0118"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			t.Error(res.Status)
		}
	}
	post()
	out.waitFor(t, "billing       POST /invoices  22 bytes 721e2a84\n")
	out.waitFor(t, "billing-next  POST /invoices  22 bytes 721e2a84  X-Mirrored-By: shadow-billing@file\n")
	io.WriteString(keyboard, "hang\n")
	out.waitFor(t, "takes requests and does not answer")
	post()
	io.WriteString(keyboard, "stop\n")
	out.waitFor(t, "billing-next is down")
	post()
	io.WriteString(keyboard, "start\n")
	out.waitFor(t, "billing-next is up")
	post()

	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(out.String(), "\nStopped.\n") {
		t.Error(out)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	out := &output{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, out, options{}) }()
	out.waitFor(t, "2. The shadow is stopped")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || strings.Contains(out.String(), faultSign) {
		t.Errorf("run: %v\n%s", err, out)
	}
}

// output is what a demo has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *output) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !strings.Contains(o.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in\n%s", text, o)
		}
	}
}
