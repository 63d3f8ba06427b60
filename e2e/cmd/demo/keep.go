package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// keepRunning leaves everything running until the context ends, and tells what the
// upstreams get.
func (d *demo) keepRunning(ctx context.Context) error {
	d.headline("7. Running until Ctrl-C")
	d.line("  %-12s  %s", "Traefik", d.traefik.URL(""))
	d.line("  %-12s  %s", "the report", d.traefik.URL(reportPath))
	tellCtx, silence := context.WithCancel(ctx)
	defer silence()
	var tellers sync.WaitGroup
	tell := func(name string, u *testbed.Upstream) {
		d.line("  %-12s  %s", name, u.URL())
		u.Reset()
		tellers.Go(func() { d.tellRequests(tellCtx, name, u) })
	}
	tell("billing", d.live)
	tell("billing-next", d.shadow)
	tell("billing-old", d.control)
	d.line("")
	d.line(howTo, d.traefik.URL("/invoices"))
	tellers.Go(func() { d.tellLog(tellCtx) })
	if d.opts.commands != nil {
		go d.obey()
	}
	select {
	case <-ctx.Done():
	case <-d.traefik.Exited():
		if ctx.Err() == nil { // Ctrl-C reaches Traefik too
			return errors.Join(errors.New("the running Traefik has ended"), d.stopTraefik())
		}
	}
	silence()
	tellers.Wait() // nothing is told after the last line
	d.line("\nStopped.")
	return nil
}

const howTo = `  In another terminal, try

    an invoice:
      curl -i %[1]s -H 'Content-Type: application/json' \
        -d '{"number":"2024-0118","total":"59.50"}'

    one whose VAT the two round differently:
      curl -i %[1]s/drafts -H 'Content-Type: application/json' \
        -d '{"number":"2024-0119","lines":[{"text":"Domain","net":"1.50"}]}'

    what an invoice comes to, of which billing-next tells a hundred times as much:
      curl -i %[1]s/2024-0117

    a chunked upload:
      seq 20000 | curl -i %[1]s/import \
        -H 'Transfer-Encoding: chunked' --data-binary @-

    an upload above maxBodySize, which is not mirrored:
      seq 200000 | curl -i %[1]s/import --data-binary @-

  Here, type a word and Enter to do something to the shadow: stop, hang, start

  What billing, billing-next and billing-old get, and what the plugin logs:
`

// tellRequests prints a line for each request that the upstream gets.
func (d *demo) tellRequests(ctx context.Context, name string, u *testbed.Upstream) {
	told := 0
	for {
		requests, err := u.Wait(ctx, told+1)
		if err != nil {
			return
		}
		for _, r := range requests[told:] {
			line := fmt.Sprintf("  %-12s  %-4s %s  %d bytes %.4x", name, r.Method, r.RequestURI, r.BodySize, r.BodySHA256)
			if by := r.Header.Get(marker); by != "" {
				line += "  " + marker + ": " + by
			}
			d.line("%s", line)
		}
		told = len(requests)
		// So that hours of traffic do not fill the memory. A request that
		// comes in just now goes untold.
		if told > 1000 {
			u.Reset()
			told = 0
		}
	}
}

// tellLog prints what the plugin logs from now on.
func (d *demo) tellLog(ctx context.Context) {
	told := len(d.pluginLog())
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
		lines := d.pluginLog()
		for ; told < len(lines); told++ {
			d.note(dim, "log: "+lines[told])
		}
	}
}

// obey does to the shadow what the user types.
func (d *demo) obey() {
	release, stopped := func() {}, false
	words := bufio.NewScanner(d.opts.commands)
	for words.Scan() {
		switch word := strings.TrimSpace(words.Text()); word {
		case "":
		case "stop":
			d.shadow.Stop()
			stopped = true
			d.line("  billing-next is down")
		case "hang", "start":
			release()
			if stopped {
				if err := d.shadow.Restart(); err != nil {
					d.line("  %v", err)
					continue
				}
				stopped = false
			}
			if word == "start" {
				d.line("  billing-next is up")
				continue
			}
			release = d.shadow.Hang()
			d.line("  billing-next takes requests and does not answer")
		default:
			d.line("  %q is not one of: stop, hang, start", word)
		}
	}
}
