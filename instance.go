package mirror

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"time"
)

// notInName matches what is in no host's name, nor in that of a file. It stands before
// instanceName, because the interpreter makes variables in the order in which they are written.
var notInName = regexp.MustCompile(`[^0-9A-Za-z._-]+`)

// instanceName is what reports call this start of the plugin, and instanceSince is when it
// began. Where several Traefiks take turns behind a load balancer, a reader sees by it which
// of them speaks, and that all counts of one before it are gone. Neither is changed again.
var (
	instanceName  = newInstance(os.Hostname)
	instanceSince = time.Now()
)

// newInstance returns the name of the host, which in Kubernetes is that of the pod, and a
// number that is another at each start: traefik-7f9c-3f2a1b.
func newInstance(hostname func() (string, error)) string {
	host, err := hostname()
	host = strings.Trim(notInName.ReplaceAllString(host, "-"), ".-")
	if err != nil || host == "" {
		host = "traefik"
	}
	if len(host) > 64 {
		host = host[:64]
	}
	start := make([]byte, 3)
	rand.Read(start)
	return host + "-" + hex.EncodeToString(start)
}
