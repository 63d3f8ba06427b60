package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// clockTicks is the kernel's USER_HZ, 100 on every Linux that Go runs on.
const clockTicks = 100

// CPU returns the processor time that Traefik has used, user and system, in
// steps of 10 ms.
func (t *Traefik) CPU() (time.Duration, error) {
	stat, err := os.ReadFile(t.proc("stat"))
	if err != nil {
		return 0, fmt.Errorf("testbed: processor time: %w", err)
	}
	// The second field is the command in brackets, which may hold blanks.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("testbed: processor time: %q", stat)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("testbed: processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}

// RSS returns the memory that the process occupies, in bytes.
func (t *Traefik) RSS() (int64, error) { return t.status("VmRSS") }

// PeakRSS returns the most memory that the process has occupied, in bytes.
func (t *Traefik) PeakRSS() (int64, error) { return t.status("VmHWM") }

func (t *Traefik) status(field string) (int64, error) {
	text, err := os.ReadFile(t.proc("status"))
	if err != nil {
		return 0, fmt.Errorf("testbed: memory: %w", err)
	}
	_, value, found := strings.Cut(string(text), field+":")
	fields := strings.Fields(value)
	if !found || len(fields) == 0 {
		return 0, fmt.Errorf("testbed: memory: no %s in %s", field, t.proc("status"))
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("testbed: memory: %w", err)
	}
	return kib << 10, nil
}

// Descriptors returns how many files and sockets the process has open.
func (t *Traefik) Descriptors() (int, error) {
	entries, err := os.ReadDir(t.proc("fd"))
	if err != nil {
		return 0, fmt.Errorf("testbed: descriptors: %w", err)
	}
	return len(entries), nil
}

func (t *Traefik) proc(file string) string { return fmt.Sprintf("/proc/%d/%s", t.PID(), file) }

// Pprof returns what /debug/pprof/PATH answers; path may carry a query, as in
// "profile?seconds=5".
func (t *Traefik) Pprof(ctx context.Context, path string) ([]byte, error) {
	body, err := t.get(ctx, t.APIURL("/debug/pprof/"+path))
	if err != nil {
		return nil, fmt.Errorf("testbed: pprof: %w", err)
	}
	return body, nil
}

// HeapProfile returns the heap in pprof's format, after a collection.
func (t *Traefik) HeapProfile(ctx context.Context) ([]byte, error) {
	return t.Pprof(ctx, "heap?gc=1")
}

// Goroutines returns how many there are, those that answer the question
// included.
func (t *Traefik) Goroutines(ctx context.Context) (int, error) {
	body, err := t.Pprof(ctx, "goroutine?debug=1")
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscanf(string(body), "goroutine profile: total %d", &n); err != nil {
		return 0, fmt.Errorf("testbed: goroutines: %w", err)
	}
	return n, nil
}

// GoroutineDump returns every goroutine's stack. Interpreted functions show as
// those of Yaegi that run them.
func (t *Traefik) GoroutineDump(ctx context.Context) (string, error) {
	body, err := t.Pprof(ctx, "goroutine?debug=2")
	return string(body), err
}

// MemStats returns the Go runtime's own figures, such as the bytes and objects
// allocated so far. It collects no garbage; [Traefik.HeapProfile] does.
func (t *Traefik) MemStats(ctx context.Context) (runtime.MemStats, error) {
	var vars struct {
		MemStats runtime.MemStats `json:"memstats"`
	}
	body, err := t.get(ctx, t.APIURL("/debug/vars"))
	if err != nil {
		return vars.MemStats, fmt.Errorf("testbed: memory figures: %w", err)
	}
	if err := json.Unmarshal(body, &vars); err != nil {
		return vars.MemStats, fmt.Errorf("testbed: memory figures: %w", err)
	}
	return vars.MemStats, nil
}
