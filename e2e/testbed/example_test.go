package testbed_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// A Traefik that mirrors invoices, and what each side got of one. It is compiled and not
// run with the tests, which use [testbed.RunTraefik].
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	live, err := testbed.NewUpstream(testbed.UpstreamOptions{Name: "live"})
	if err != nil {
		log.Panic(err)
	}
	defer live.Stop()
	shadow, err := testbed.NewUpstream(testbed.UpstreamOptions{Name: "shadow"})
	if err != nil {
		log.Panic(err)
	}
	defer shadow.Stop()

	traefik, err := testbed.Start(ctx, testbed.Options{Dynamic: testbed.Dynamic{}.
		Service("billing", live.URL()).
		Mirror("shadow-billing", testbed.Values{"url": shadow.URL()}).
		Router("invoices", "PathPrefix(`/invoices`)", "billing", "shadow-billing"),
	})
	if err != nil {
		log.Panic(err)
	}
	defer traefik.Stop()

	invoice := strings.NewReader(`{"invoice":"2026-0042","total":"119.00"}`)
	answer, err := traefik.Client().Post(traefik.URL("/invoices"), "application/json", invoice)
	if err != nil {
		log.Panic(err)
	}
	answer.Body.Close()
	copies, err := shadow.Wait(ctx, 1)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(answer.StatusCode == http.StatusOK, string(copies[0].Body))
}
