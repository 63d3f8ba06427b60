// Judge has the plugin judge thousands of comparisons of which it is known whether there
// is a bug in them, and writes docs/judgement.md: how often it is wrong.
package main

import (
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/trafficshadow/mirror/compare"
)

const (
	pairs    = 2000 // of a run
	lookEach = 50   // pairs: somebody looks at the verdict, and a real difference that was there once is an alarm
	keys     = 20   // of the endpoint, of which this is one
	values   = 11   // distinct ones on live's side, or more
)

// A world is what a run is like.
type world struct {
	noise   float64 // share of the pairs of two instances without a bug that differ
	bug     float64 // share of the answers of the shadow's that are wrong
	control bool
	marked  bool // what differs without a bug is a UUID or the like
}

// A result is what became of many runs. The last two are the same of Diffy's rule: a fifth
// more, and more than three in ten thousand.
type result struct{ alarms, missed, green, diffyAlarms, diffyMissed int }

// simulate judges runs of a world. Each side's value is another than it would be with the
// same chance, so that two differ in the share of the pairs that noise says.
func simulate(random *rand.Rand, w world, runs int) result {
	side := 1 - math.Sqrt(1-w.noise)
	var r result
	for range runs {
		e := &compare.Evidence{Values: values, Keys: keys, Shaped: true}
		alarm, last := false, ""
		diffy, diffyAlarm := false, false
		for i := 1; i <= pairs; i++ {
			live, shadow, control := random.Float64() < side, random.Float64() < side, random.Float64() < side
			wrong := random.Float64() < w.bug
			shadowDiffers, controlDiffers := live || shadow || wrong, live || control
			e.Present++
			if shadowDiffers {
				e.Pairs++
				if w.marked && !wrong {
					e.Made++
				}
			}
			if w.control {
				e.Triples++
				switch {
				case shadowDiffers && controlDiffers:
					e.Both++
				case shadowDiffers:
					e.ShadowOnly++
				case controlDiffers:
					e.ControlOnly++
				}
			}
			if i%lookEach == 0 && e.Pairs > 0 {
				last = compare.JudgeDifference(e)
				alarm = alarm || last == compare.Real
				raw, noise := float64(e.Pairs), float64(e.ControlOnly+e.Both)
				diffy = math.Abs(raw-noise) > 0.2*(raw+noise) && raw > 0.0003*float64(i)
				diffyAlarm = diffyAlarm || diffy
			}
		}
		if diffyAlarm {
			r.diffyAlarms++
		}
		if !diffy {
			r.diffyMissed++
		}
		if alarm {
			r.alarms++
		}
		if last != compare.Real {
			r.missed++
		}
		if last == compare.Noise || last == "" {
			r.green++
		}
	}
	return r
}

var (
	noises = []float64{0, 0.001, 0.01, 0.05, 0.1, 0.5, 0.9, 0.99, 1}
	bugs   = []float64{0.005, 0.01, 0.05, 0.1, 0.5, 1}
)

func percent(share float64) string { return fmt.Sprintf("%.3g %%", 100*share) }

// tables writes all results.
func tables(random *rand.Rand, runs int) string {
	var b strings.Builder
	of := func(n int) string { return percent(float64(n) / float64(runs)) }
	b.WriteString("## Without a bug\n\nHow many runs are called real at any of the looks, and how many end as noise.\n\n| differ without a bug | with a control | end as noise | by Diffy's rule | without a control | end as noise | without, UUIDs and the like | end as noise |\n|---|---|---|---|---|---|---|---|\n")
	for _, noise := range noises[1:] {
		with := simulate(random, world{noise: noise, control: true}, runs)
		alone := simulate(random, world{noise: noise}, runs)
		marked := simulate(random, world{noise: noise, marked: true}, runs)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", percent(noise), of(with.alarms), of(with.green), of(with.diffyAlarms), of(alone.alarms), of(alone.green), of(marked.alarms), of(marked.green))
	}
	for _, control := range []bool{true, false} {
		title := "With a bug, and a control"
		if !control {
			title = "With a bug, and no control"
		}
		fmt.Fprintf(&b, "\n## %s\n\nHow many runs are not called real at their end; behind the comma, those of them that are called noise, or have nothing to judge, so that they do not keep the verdict from *agrees*.\n\n| differ without a bug |", title)
		for _, bug := range bugs {
			fmt.Fprintf(&b, " %s wrong |", percent(bug))
		}
		columns := len(bugs)
		if control {
			b.WriteString(" 5 % wrong, Diffy's rule |")
			columns++
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", columns) + "\n")
		for _, noise := range noises {
			fmt.Fprintf(&b, "| %s |", percent(noise))
			for _, bug := range bugs {
				r := simulate(random, world{noise: noise, bug: bug, control: control}, runs)
				fmt.Fprintf(&b, " %s, %s |", of(r.missed), of(r.green))
			}
			if control {
				r := simulate(random, world{noise: noise, bug: 0.05, control: true}, runs)
				fmt.Fprintf(&b, " %s |", of(r.diffyMissed))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

const page = `# How often the verdict is wrong

Written by ` + "`make judgement`" + `, with the rules of [compare/judgement.go](../compare/judgement.go). Each cell is %d runs of %d pairs, of one value among %d that differ at its endpoint; it has more than ten values on live's side, so it is no flag. The verdict is looked at after every %d pairs. Diffy's rule, 20 %% relative and 0.03 %% absolute, stands beside it. Each side's value is another than it would be with the same chance, independently of the others. Seed: %d.

%s
## What it says

- With a control, what differs by chance is hardly ever called real, at whatever rate and however often one looks. A bug is, unless it is as rare as the noise that it is in, or rarer: then it is undecided, or called noise. In a value that differs in nearly all answers anyway, whether it differs tells nothing: there its [relation](equality.md#relations) has to, or nothing does.
- Without one, only the mark of being made anew makes noise. What has none and differs now and then is called real, bug or not. What differs in nearly every answer is undecided: never green, and never certain.
`

func main() {
	runs := flag.Int("runs", 2000, "runs of each cell")
	seed := flag.Uint64("seed", 4711, "of chance")
	out := flag.String("o", "", "the file to write; none: standard output")
	flag.Parse()
	text := fmt.Sprintf(page, *runs, pairs, keys, lookEach, *seed, tables(rand.New(rand.NewPCG(*seed, 0)), *runs))
	if *out == "" {
		fmt.Print(text)
		return
	}
	if err := os.WriteFile(*out, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
}
