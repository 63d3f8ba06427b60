package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trafficshadow/mirror/e2e/testbed"
)

// The detector sees what interpreted code does wrong, by itself or through the
// interpreter, and keeps quiet about the one race that no code can avoid.
func TestRacesAreSeen(t *testing.T) {
	root := testbed.MustRepoRoot(t)
	env, err := exec.Command("go", "env", "CGO_ENABLED", "CC").Output()
	if err != nil {
		t.Fatal(err)
	}
	cgo, compiler, _ := strings.Cut(strings.TrimSpace(string(env)), "\n")
	if _, err := exec.LookPath(strings.Fields(compiler + " cc")[0]); cgo != "1" || err != nil {
		t.Skip("there is no C compiler, which the race detector needs")
	}
	yaegi := filepath.Join(t.TempDir(), "yaegi")
	if err := buildYaegi(root, yaegi, true); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		source string // of use, which eight goroutines run at once
		races  bool
	}{
		{"nothing shared", `func use(l *Ledger) { n := 1; n++ }`, false},
		{"a field under a lock", `func use(l *Ledger) { l.mu.Lock(); l.n++; l.mu.Unlock() }`, false},
		{"a field", `func use(l *Ledger) { l.n++ }`, true},
		{"a map", `func use(l *Ledger) { l.totals["north"] = 119 }`, true},
		{"select", `func use(l *Ledger) {
			for i := 0; i < 100; i++ {
				select {
				case <-l.jobs:
				case l.jobs <- 1:
				}
			}
		}`, true},
		// The call reads the whole of a struct to see what it is.
		{"a method of a field that is a struct", `
			func (c *Counts) add() { c.n.Add(1) }
			func use(l *Ledger) { l.counts.add() }`, true},
		{"a function with a field that is a struct", `
			func add(c *Counts) { c.n.Add(1) }
			func use(l *Ledger) { add(&l.counts) }`, false},
		// The end of a function literal puts back what was in the variable's place
		// before, so that a loop may start the one of another turn, or none.
		{"a function literal that is started in a loop", `
			func use(l *Ledger) {
				for i := 0; i < 200; i++ {
					l.group.Add(1)
					go func() { l.group.Done() }()
				}
				l.group.Wait()
			}`, true},
		{"the first use of a method", `
			func (b *Book) Write(p *Page) { b.check(p) }
			func (b *Book) check(p *Page) bool { return p != nil }
			func use(l *Ledger) { defer func() { l.book.Write(&Page{}) }() }`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(file, []byte(strings.Replace(program, "FUNC_USE", tt.source, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			// Several times, for goroutines that happen to run one after the other
			// are ordered by the interpreter's own locks.
			raced := 0
			for range 5 {
				cmd := exec.Command(yaegi, "run", file)
				cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
				out, err := cmd.CombinedOutput()
				if seen := strings.Contains(string(out), "WARNING: DATA RACE"); seen && err == nil {
					t.Fatalf("a race does not fail the run:\n%s", out)
				} else if !seen && err != nil && !tt.races {
					t.Fatalf("%v\n%s", err, out)
				} else if seen && !tt.races {
					t.Fatalf("a race where there is none:\n%s", out)
				} else if seen {
					raced++
				}
			}
			if tt.races && raced == 0 {
				t.Error("no race was reported in five runs, want one")
			}
		})
	}
}

const program = `package main

import (
	"sync"
	"sync/atomic"
)

type Page struct{ lines []string }
type Book struct{ pages int }
type Counts struct{ n atomic.Int64 }

type Ledger struct {
	mu     sync.Mutex
	n      int
	totals map[string]int
	jobs   chan int
	counts Counts
	book   *Book
	group  sync.WaitGroup
}

FUNC_USE

func start(l *Ledger, gate chan bool, all *sync.WaitGroup) {
	<-gate
	use(l)
	all.Done()
}

func main() {
	l := &Ledger{totals: map[string]int{}, jobs: make(chan int, 1), book: &Book{}}
	gate := make(chan bool)
	all := &sync.WaitGroup{}
	all.Add(8)
	for i := 0; i < 8; i++ {
		go start(l, gate, all)
	}
	close(gate)
	all.Wait()
}
`
