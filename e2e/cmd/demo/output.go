package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// width is where paragraphs are broken, so that no line reaches column 100.
const width = 98

// A printer writes the demo's text. It may be used by several goroutines.
type printer struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

// in returns the text in a colour or weight, or as it is.
func (p *printer) in(code, text string) string {
	if !p.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// headline says what is shown next.
func (p *printer) headline(text string) { p.line("\n%s\n", p.in(bold, text)) }

// note prints a paragraph below a headline.
func (p *printer) note(code, text string) {
	for _, l := range wrap(text, width-2) {
		p.line("  %s", p.in(code, l))
	}
}

// quote prints a paragraph of somebody else's, further in.
func (p *printer) quote(text string) {
	for _, l := range wrap(text, width-6) {
		p.line("      %s", l)
	}
}

// table prints rows in columns; the first row is the header. The last column is
// the verdict, in which a fault begins with faultSign.
func (p *printer) table(rows [][]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i, row := range rows {
		// Colour in the last column alone does not shift the others: tabwriter
		// counts its bytes but aligns nothing behind them.
		last := len(row) - 1
		verdict := row[last]
		switch {
		case strings.HasPrefix(verdict, faultSign):
			verdict = p.in(red, verdict)
		case i > 0:
			verdict = p.in(green, verdict)
		}
		fmt.Fprintln(w, "  "+strings.Join(row[:last], "\t")+"\t"+verdict)
	}
	w.Flush()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Write(b.Bytes())
}

const faultSign = "WRONG: "

// waiting says what is being waited for, two seconds from now and every two
// seconds after that, until stop is called.
func (p *printer) waiting(what string) (stop func()) {
	begun := time.Now()
	ticker := time.NewTicker(2 * time.Second)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				p.note(dim, fmt.Sprintf("... %s, %s so far", what, time.Since(begun).Round(time.Second)))
			case <-done:
				return
			}
		}
	}()
	return func() { ticker.Stop(); close(done) }
}

// until waits until the condition holds and reports whether it does, at the
// latest when limit has passed.
func (p *printer) until(ctx context.Context, limit time.Duration, what string, condition func() bool) bool {
	defer p.waiting(what)()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !condition() {
		select {
		case <-ctx.Done():
			return condition()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return true
}

// wrap breaks text at blanks into lines of at most n bytes where it can.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > n {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
