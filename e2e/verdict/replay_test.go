package verdict

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// The command of an example asks for what the client has asked for, and a shell that runs it
// does nothing else, whatever the client has written.
func TestCommandsOfExamplesRepeatTheRequest(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "" {
				t.Skip(err)
			}
			t.Fatal(err)
		}
	}
	book := func(total string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, `{"total":"`+total+`"}`) }
	}
	live, shadow := upstream(t, "live", book("1546.94")), upstream(t, "shadow", book("154694"))
	traefik := testbed.MustServe(t, testbed.Options{Dynamic: testbed.Dynamic{}.
		Service("billing", live.URL()).
		Report().
		Mirror(middleware, testbed.Values{"url": shadow.URL(), "compare": testbed.Values{"show": "values", "examples": examples}}).
		Router("billing", testbed.RuleOf("billing"), "billing", middleware)})
	targets := []string{
		"/invoices/4711?currency=EUR&page=2",
		"/invoices?q='$(touch${IFS}hit)'",
		"/invoices?q=`touch${IFS}hit`&';touch${IFS}hit;'=1",
		`/invoices?q="$HOME"\'&a=[1-3]&b={x,y}`,
		"/invoices?q=%27%20-o%20hit%20%27",
		"/invoices/it's?a=b#c",
	}
	for _, target := range targets {
		if _, err := testbed.Exchange(t.Context(), traefik.Addr(testbed.Web),
			[]byte("GET "+target+" HTTP/1.1\r\nHost: "+testbed.HostOf("billing")+"\r\nCookie: session=keks\r\nConnection: close\r\n\r\n"), testbed.RawOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if r := settled(t, traefik, middleware); r.Comparison.Compared != int64(len(targets)) {
		t.Fatalf("%d compared, want %d", r.Comparison.Compared, len(targets))
	}
	var want []string
	for _, target := range targets {
		want = append(want, strings.ReplaceAll(target, "#", "%23")) // curl sends nothing from a # on
	}

	again := upstream(t, "again", nil)
	dir := t.TempDir()
	for line := range strings.Lines(reported(t, traefik, "/mismatches.ndjson")) {
		var x struct{ Curl string }
		if err := json.Unmarshal([]byte(line), &x); err != nil || x.Curl == "" {
			t.Fatalf("no command in %s (%v)", line, err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", x.Curl)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "BASE="+again.URL(), "COOKIE=session=mine")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v, %s", x.Curl, err, out)
		}
	}
	var got []string
	for _, r := range again.Requests() {
		got = append(got, r.RequestURI)
		if cookie := r.Header.Get("Cookie"); cookie != "session=mine" {
			t.Errorf("%s came with the cookie %q, want that of the environment", r.RequestURI, cookie)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the commands ask for\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("the commands have made %v", fmt.Sprint(left))
	}
}
