package testbed

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A progress tells what takes long. Where the last line can be rewritten, on a
// terminal, that line counts the seconds; elsewhere, as in the log of a CI job,
// which keeps every line, there is one a minute.
type progress struct {
	logf     func(format string, args ...any) // writes a line
	interval time.Duration                    // between two calls of what keepSaying was given

	terminal io.Writer // where the last line can be rewritten; nil for none
	mu       sync.Mutex
	unended  int // bytes of the last line on the terminal, as long as it can be rewritten
}

// progressIn tells by lines.
func progressIn(logf func(format string, args ...any)) *progress {
	return &progress{logf: logf, interval: time.Minute}
}

// progressOn tells on f, which may be a terminal.
func progressOn(f *os.File) *progress {
	if !isTerminal(f) {
		return progressIn(func(format string, args ...any) { fmt.Fprintf(f, format+"\n", args...) })
	}
	return &progress{terminal: f, interval: time.Second}
}

// isTerminal reports whether f has a window, as only a terminal does.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// say tells something that stays.
func (p *progress) say(format string, args ...any) {
	if p.terminal == nil {
		p.logf(format, args...)
		return
	}
	p.update(fmt.Sprintf(format, args...))
	p.end()
}

// keepSaying tells at intervals what text returns, until the function it returns
// is called.
func (p *progress) keepSaying(text func() string) (stop func()) {
	ticker := time.NewTicker(p.interval)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-ticker.C:
				p.update(text())
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-stopped
		p.end()
	}
}

// update writes text over the last line, if that can be rewritten.
func (p *progress) update(text string) {
	if p.terminal == nil {
		p.logf("%s", text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unended > 0 {
		fmt.Fprint(p.terminal, "\r")
	}
	// Blanks cover what a longer text has left behind.
	fmt.Fprintf(p.terminal, "%-*s", p.unended, text)
	p.unended = len(text)
}

// end makes the last line one that stays.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unended > 0 {
		fmt.Fprintln(p.terminal)
		p.unended = 0
	}
}
