// Traefik prints the path of the Traefik that the tests run, which it builds
// first if need be, and on standard error which release it is. Tests that find
// it there do not count its build against their own time.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	path, err := testbed.Binary(ctx, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	release, err := testbed.UsedRelease(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, release)
	fmt.Println(path)
}
