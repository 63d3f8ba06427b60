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

// keepRunning serves on the ports that the example files name until the context
// ends, and tells what the upstreams get.
func (d *demo) keepRunning(ctx context.Context) error {
	d.headline("6. Running until Ctrl-C")
	var fronts []*front
	for _, f := range []struct{ name, address, to string }{
		{"Traefik", d.example.webAddress, d.traefik.Addr(testbed.Web)},
		{"billing", d.example.liveURL, d.live.Addr()},
		{"billing-next", d.example.shadowURL, d.shadow.Addr()},
	} {
		front, err := d.publish(f.name, f.address, f.to)
		if err != nil {
			return err
		}
		defer front.close()
		fronts = append(fronts, front)
	}
	web, live, shadow := fronts[0], fronts[1], fronts[2]

	d.example.pointAt("http://"+live.from, "http://"+shadow.from)
	if err := d.traefik.Reload(ctx, d.example.dynamic); err != nil {
		return err
	}
	if err := d.traefik.CheckRouters(ctx); err != nil {
		return err
	}
	d.line("  %-12s  http://%s%s", "the report", web.from, reportPath)
	// The shadow has another address now, and so the report begins anew.
	if !d.sendDrafts(ctx) {
		return errWrong
	}
	d.line("")
	d.line(howTo, "http://"+web.from+"/invoices")

	d.live.Reset()
	d.shadow.Reset()
	tellCtx, silence := context.WithCancel(ctx)
	defer silence()
	var tellers sync.WaitGroup
	tellers.Go(func() { d.tellRequests(tellCtx, "billing", d.live) })
	tellers.Go(func() { d.tellRequests(tellCtx, "billing-next", d.shadow) })
	tellers.Go(func() { d.tellLog(tellCtx) })
	if d.opts.commands != nil {
		go d.obey(shadow)
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

// publish opens a front on the port of the address, or on a free one where that
// is taken.
func (d *demo) publish(name, address, to string) (*front, error) {
	port, err := portOf(address)
	if err != nil {
		return nil, fmt.Errorf("the example's address of %s: %w", name, err)
	}
	f, err := newFront(port, to)
	if err == nil {
		d.line("  %-12s  http://%s", name, f.from)
		return f, nil
	}
	if f, err = newFront("0", to); err != nil {
		return nil, err
	}
	d.line("  %-12s  http://%s, because port %s is taken", name, f.from, port)
	return f, nil
}

const howTo = `  In another terminal, try

    an invoice:
      curl -i %[1]s -H 'Content-Type: application/json' \
        -d '{"number":"2024-0118","total":"59.50"}'

    one whose VAT the two round differently:
      curl -i %[1]s/drafts -H 'Content-Type: application/json' \
        -d '{"number":"2024-0119","lines":[{"text":"Domain","net":"1.50"}]}'

    a chunked upload:
      seq 20000 | curl -i %[1]s/import \
        -H 'Transfer-Encoding: chunked' --data-binary @-

    an upload above maxBodySize, which is not mirrored:
      seq 200000 | curl -i %[1]s/import --data-binary @-

  Here, type a word and Enter to do something to the shadow: stop, hang, start

  What billing and billing-next get, and what the plugin logs:
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
func (d *demo) obey(shadow *front) {
	release := func() {}
	words := bufio.NewScanner(d.opts.commands)
	for words.Scan() {
		switch word := strings.TrimSpace(words.Text()); word {
		case "":
		case "stop":
			shadow.close()
			d.line("  billing-next is down")
		case "hang":
			if err := shadow.open(); err != nil {
				d.line("  %v", err)
				continue
			}
			release()
			release = d.shadow.Hang()
			d.line("  billing-next takes requests and does not answer")
		case "start":
			release()
			if err := shadow.open(); err != nil {
				d.line("  %v", err)
				continue
			}
			d.line("  billing-next is up")
		default:
			d.line("  %q is not one of: stop, hang, start", word)
		}
	}
}
