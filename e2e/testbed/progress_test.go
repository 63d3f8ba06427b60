package testbed

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// On a terminal one line counts, whatever its length, and is a line of its own in
// the end; before and after it are lines that stay.
func TestProgressOnATerminal(t *testing.T) {
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	defer tty.Close()
	told := progressOn(tty)
	if told.interval != time.Second {
		t.Errorf("the line is rewritten every %s, want every second", told.interval)
	}
	told.say("building")
	told.update("1m59s so far")
	told.update("2m0s so far")
	told.update("2m1s so far")
	told.end()
	told.say("built in 2m2s")
	told.say("done")

	// The terminal makes \r\n of each \n.
	const want = "building\r\n1m59s so far\r2m0s so far \r2m1s so far\r\nbuilt in 2m2s\r\ndone\r\n"
	var got strings.Builder
	in := bufio.NewReader(screen)
	for strings.Count(got.String(), "\n") < strings.Count(want, "\n") {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString(line)
	}
	if got.String() != want {
		t.Errorf("the terminal got %q, want %q", got.String(), want)
	}
}

// Elsewhere there is a line at each interval, of a minute.
func TestProgressElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	told := progressOn(f)
	if told.interval != time.Minute {
		t.Errorf("there is a line every %s, want every minute", told.interval)
	}
	told.interval = time.Millisecond
	minutes := 0
	enough := make(chan struct{})
	told.say("building")
	stop := told.keepSaying(func() string {
		if minutes++; minutes == 3 {
			close(enough)
		}
		return fmt.Sprintf("%dm0s so far", minutes)
	})
	<-enough
	stop()
	told.say("built")

	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "building\n1m0s so far\n2m0s so far\n3m0s so far\n", "built\n"
	if text := string(got); !strings.HasPrefix(text, begin) || !strings.HasSuffix(text, end) || strings.Contains(text, "\r") {
		t.Errorf("the file got %q, want %q, perhaps some more, and %q", text, begin, end)
	}
}

// A build that says so in a test's log is one of those.
func TestProgressInALog(t *testing.T) {
	var lines []string
	told := progressIn(func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
	told.keepSaying(func() string { return "nothing in the first minute" })()
	told.say("built in %s", time.Minute)
	if got := strings.Join(lines, "\n"); got != "built in 1m0s" {
		t.Errorf("the log got %q", got)
	}
}
