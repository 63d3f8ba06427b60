// Bench measures, in real Traefiks on this machine, what mirroring costs: with
// this plugin, with Traefik's own mirroring service, with a plugin that does
// nothing and with no middleware at all. It writes a report with tables, targets
// and a plot.
//
// Each competitor has a Traefik process of its own, and all of them run from the
// beginning of a case to its end. They are measured in turn, round by round, so
// that a machine that is busy for a while disturbs all alike; ratios are formed
// within a round, and the report gives their medians.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// options say what to measure, how long, and where the report goes.
type options struct {
	rounds   int
	duration time.Duration // of the run at a fixed rate, of each competitor in each round
	limited  time.Duration // of the run with few descriptors
	routers  int           // how many there are in that case
	cases    *regexp.Regexp
	against  string // folder of another state of the plugin; "" is none
	out      string // folder of the report; "" writes none
	command  string // as the report quotes it
	progress io.Writer
}

func main() {
	short := flag.Bool("short", false, "one short round: shows that it works, not how fast it is; writes no report unless -out is given")
	rounds := flag.Int("rounds", 7, "how often each competitor is measured in each case")
	duration := flag.Duration("duration", 1700*time.Millisecond, "length of a run at a fixed rate; a saturated one takes half of it")
	limited := flag.Duration("limited", time.Minute, "length of the run with few descriptors")
	against := flag.String("against", "", "`folder` of a checkout of another commit, whose plugin is measured too")
	out := flag.String("out", "", "folder of the report (default ../docs)")
	cases := flag.String("cases", ".", "regular expression of the cases: "+strings.Join(caseNames(), ", "))
	flag.Parse()

	o := options{rounds: *rounds, duration: *duration, limited: *limited, routers: 1000, against: *against, out: *out, command: command(), progress: os.Stdout}
	if *short {
		o.rounds, o.duration, o.limited = 1, 500*time.Millisecond, 4*time.Second
	} else if o.out == "" {
		root, err := testbed.RepoRoot()
		if err != nil {
			fail(err)
		}
		o.out = filepath.Join(root, "docs")
	}
	var err error
	if o.cases, err = regexp.Compile(*cases); err != nil {
		fail(fmt.Errorf("-cases: %w", err))
	}
	if o.rounds < 1 || o.duration <= 0 || o.limited <= 0 {
		fail(errors.New("-rounds, -duration and -limited must be above 0"))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if _, err := run(ctx, o); err != nil {
		fail(err)
	}
	fmt.Println("\nWhat a change to the plugin costs in microseconds and bytes, without Traefik:\n" +
		"  go test -C e2e -run '^$' -bench . -benchmem ./interpreted")
}

// command is how the report says that it was made. Where the other plugin is, is
// nobody's business.
func command() string {
	text, more := "make bench", ""
	flag.Visit(func(f *flag.Flag) {
		if f.Name == "against" {
			text += " AGAINST=FOLDER"
			more += " -against FOLDER"
			return
		}
		more += " -" + f.Name + "=" + f.Value.String()
		text = "go run -C e2e ./cmd/bench"
	})
	if strings.HasPrefix(text, "make") {
		return text
	}
	return "go run -C e2e ./cmd/bench" + more
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// run measures the cases one after the other and writes the report.
func run(ctx context.Context, o options) (*report, error) {
	// The load shares the machine with what it measures: less collecting.
	defer debug.SetGCPercent(debug.SetGCPercent(400))

	r := &report{options: o, machine: thisMachine(), began: time.Now()}
	var err error
	if r.traefik, err = traefikVersion(ctx); err != nil {
		return nil, err
	}
	if o.against != "" {
		if r.against, err = commitOf(ctx, o.against); err != nil {
			return nil, fmt.Errorf("-against: %w", err)
		}
	}
	if o.cases.MatchString(limitedName) {
		fmt.Fprintf(o.progress, "%s: %d descriptors, the shadow hangs, %d requests/s for %s\n", limitedName, descriptorLimit, limitedRate, o.limited)
		if r.limited, err = measureLimited(ctx, o); err != nil {
			return nil, fmt.Errorf("%s: %w", limitedName, err)
		}
	}
	if o.cases.MatchString(routersName) {
		fmt.Fprintf(o.progress, "%s: %d routers, %d rounds of %d reloads\n", routersName, o.routers, o.rounds, reloadsPerRound)
		if r.routers, err = measureRouters(ctx, o); err != nil {
			return nil, fmt.Errorf("%s: %w", routersName, err)
		}
	}
	for _, c := range cases {
		if !o.cases.MatchString(c.name()) {
			continue
		}
		fmt.Fprintf(o.progress, "%s, %d requests/s, %d rounds\n", c.name(), c.rate, o.rounds)
		result, err := measure(ctx, o, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name(), err)
		}
		r.results = append(r.results, result)
	}
	if len(r.results) == 0 && len(r.limited) == 0 && r.routers == nil {
		return nil, fmt.Errorf("no case is called %s; there are %s", o.cases, strings.Join(caseNames(), ", "))
	}
	r.took = time.Since(r.began)
	fmt.Fprint(o.progress, "\n", r.verdict())
	if o.out == "" {
		return r, nil
	}
	if err := r.write(o.out); err != nil {
		return nil, err
	}
	fmt.Fprintf(o.progress, "\nThe report is %s.\n", filepath.Join(o.out, reportFile))
	return r, nil
}
