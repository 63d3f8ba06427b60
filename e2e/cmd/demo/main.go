// Demo shows the plugin at work in a real Traefik, with the configuration of
// the examples folder: what live gets, what the shadow gets, that live does not
// notice a shadow that is down or hangs, and in what their answers differ. It
// checks all that it shows and exits with status 1 where something is not as it
// should be.
//
// With -keep it leaves everything running until Ctrl-C, for trying by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running until Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// From the first signal on a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Stdout, options{keep: *keep, commands: os.Stdin, colour: colourful(os.Stdout)})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything that it had started is stopped")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// colourful reports whether f is a terminal whose user wants colour
// (no-color.org).
func colourful(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
