package examples

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strconv"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// place is where the README says that a customer stands, from 0 to 100.
func place(customer string) uint64 {
	sum := sha256.Sum256([]byte(customer))
	return uint64(binary.BigEndian.Uint32(sum[:4])) * 100 >> 32
}

func driveDarkLaunch(t *testing.T, traefik *testbed.Traefik) {
	live, shadow := runUpstream(t, "billing"), runUpstream(t, "billing-next")
	load(t, traefik, "dark-launch", map[string]string{liveAddress: live.Addr(), shadowAddress: shadow.Addr()})

	var want []string
	const customers, rounds = 300, 2
	for round := range rounds {
		for i := range customers {
			customer := strconv.Itoa(4700 + i)
			target := "/invoices/" + strconv.Itoa(round) + "/" + customer
			send(t, traefik, "POST", target, invoice, "X-Customer-Id", customer)
			if place(customer) < 5 {
				want = append(want, "POST "+target)
			}
		}
	}
	if len(want) < 10 || len(want) > 60 {
		t.Fatalf("%d requests are to be mirrored, which is not about 5 percent of %d", len(want), rounds*customers)
	}
	got := copies(t, shadow, len(want), func(end string) {
		send(t, traefik, "GET", "/invoices"+end, "", "X-Customer-Id", "4742") // at place 0
	})
	same(t, "the shadow", got, want...)
	if n := live.Count(); n != rounds*customers+1 {
		t.Errorf("live got %d requests, want %d", n, rounds*customers+1)
	}
}

func driveCredentials(t *testing.T, traefik *testbed.Traefik) {
	live, shadow := runUpstream(t, "billing"), runUpstream(t, "billing-next")
	load(t, traefik, "credentials", map[string]string{liveAddress: live.Addr(), shadowAddress: shadow.Addr()})

	credentials := []string{"Authorization", "Basic bWV5ZXI6c2VjcmV0", "Cookie", "session=4f1c", "X-Api-Key", "8d2a"}
	send(t, traefik, "POST", "/invoices", invoice, append(credentials, "X-Tenant", "meyer")...)
	mirrored := only(t, "the shadow", copies(t, shadow, 1, func(end string) { send(t, traefik, "GET", "/invoices"+end, "") }))
	served := live.Requests()[0]
	for i := 0; i < len(credentials); i += 2 {
		name, value := credentials[i], credentials[i+1]
		if got := served.Header.Get(name); got != value {
			t.Errorf("live got %s %q, want %q", name, got, value)
		}
		if got, there := mirrored.Header[name]; there {
			t.Errorf("the shadow got %s %q, want none", name, got)
		}
	}
	for name, want := range map[string]string{"X-Environment": "shadow", "X-Tenant": "meyer", testbed.MarkerHeader: "shadow-billing@file"} {
		if got := mirrored.Header.Get(name); got != want {
			t.Errorf("the shadow got %s %q, want %q", name, got, want)
		}
	}
	if got, there := served.Header["X-Environment"]; there {
		t.Errorf("live got X-Environment %q, want none", got)
	}
	if string(mirrored.Body) != invoice {
		t.Errorf("the shadow got body %q, want %q", mirrored.Body, invoice)
	}
}

func driveWritesOnly(t *testing.T, traefik *testbed.Traefik) {
	live, shadow := runUpstream(t, "billing"), runUpstream(t, "billing-next")
	load(t, traefik, "writes-only", map[string]string{liveAddress: live.Addr(), shadowAddress: shadow.Addr()})

	const target = "/invoices/2024-00117"
	var all []string
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"} {
		send(t, traefik, method, target, "")
		all = append(all, method+" "+target)
	}
	same(t, "live", live.Requests(), all...)
	got := copies(t, shadow, 4, func(end string) { send(t, traefik, "PUT", "/invoices"+end, invoice) })
	same(t, "the shadow", got, "POST "+target, "PUT "+target, "PATCH "+target, "DELETE "+target)
}

func driveSeveralShadows(t *testing.T, traefik *testbed.Traefik) {
	live, next, audit := runUpstream(t, "billing"), runUpstream(t, "billing-next"), runUpstream(t, "audit")
	load(t, traefik, "several-shadows", map[string]string{
		liveAddress: live.Addr(), shadowAddress: next.Addr(), secondAddress: audit.Addr(),
	})
	last := func(end string) { send(t, traefik, "POST", "/invoices"+end, invoice) }

	send(t, traefik, "POST", "/invoices", invoice)
	send(t, traefik, "GET", "/invoices", "")
	toNext, toAudit := copies(t, next, 2, last), copies(t, audit, 1, last)
	same(t, "billing-next", toNext, "POST /invoices", "GET /invoices")
	same(t, "audit", toAudit, "POST /ledger/invoices")
	checkShadow := func(who, middleware string, requests []testbed.Request) {
		for _, r := range requests {
			if r.Method == "POST" && string(r.Body) != invoice {
				t.Errorf("%s got body %q, want %q", who, r.Body, invoice)
			}
			if got, want := r.Header.Get(testbed.MarkerHeader), testbed.Marker(middleware); got != want {
				t.Errorf("%s got marker %q, want %q", who, got, want)
			}
		}
	}
	checkShadow("billing-next", "shadow-billing-next", toNext)
	checkShadow("audit", "shadow-audit", toAudit)

	// One that hangs holds up neither live nor the other.
	defer audit.Hang()()
	next.Reset()
	send(t, traefik, "POST", "/invoices", invoice)
	same(t, "billing-next", copies(t, next, 1, last), "POST /invoices")
}

func driveOnAService(t *testing.T, traefik *testbed.Traefik) {
	live, shadow := runUpstream(t, "billing"), runUpstream(t, "billing-next")
	load(t, traefik, "on-a-service", map[string]string{liveAddress: live.Addr(), shadowAddress: shadow.Addr()})

	const right, wrong = "Basic cmVsZWFzZTp0ZXN0", "Basic cmVsZWFzZTp3cm9uZw=="
	send(t, traefik, "POST", "/billing/invoices/1", invoice, "Authorization", right)
	send(t, traefik, "GET", "/invoices/2", "")
	if got := status(t, traefik.Client(), "GET", traefik.URL("/billing/invoices/3"), "", "Authorization", wrong); got != http.StatusUnauthorized {
		t.Errorf("a wrong password is answered %d, want 401", got)
	}
	got := copies(t, shadow, 2, func(end string) { send(t, traefik, "GET", "/invoices"+end, "") })
	same(t, "the shadow", got, "POST /invoices/1", "GET /invoices/2")
	same(t, "live", live.Requests()[:2], "POST /invoices/1", "GET /invoices/2")
	for _, r := range got {
		if r.Method == "POST" && string(r.Body) != invoice {
			t.Errorf("the shadow got body %q, want %q", r.Body, invoice)
		}
		if password, there := r.Header["Authorization"]; there || r.Header.Get(testbed.MarkerHeader) != "shadow-billing@file" {
			t.Errorf("the shadow got Authorization %q and marker %q", password, r.Header.Get(testbed.MarkerHeader))
		}
	}
}
