package main

import (
	"errors"
	"flag"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
)

var (
	auditEvents = flag.Uint64("audit.events", 200_000, "events of the history that the audit commands are asked about")
	auditDir    = flag.String("audit.dir", "", "directory to keep that history in, or that of an earlier run; empty: a new one each time")
)

// BenchmarkAudit runs the commands as a person does, each as a process of its
// own, with a copy of a long history of 200 hosts and 1,200 tasks: the median
// time, and of those that read all of it the most memory that one took.
func BenchmarkAudit(b *testing.B) {
	dir := *auditDir
	if dir == "" {
		dir = filepath.Join(b.TempDir(), "copy")
	}
	if _, err := historytest.Write(b.Context(), dir, historytest.Options{
		Seed: 1, Events: *auditEvents, Hosts: 200, Apps: 300, Instances: 4,
	}); err != nil && !errors.Is(err, historytest.ErrWritten) {
		b.Fatal(err)
	}
	if _, err := history.Index(b.Context(), dir, history.CopyOptions{}); err != nil {
		b.Fatal(err)
	}
	policies, err := filepath.Abs("../../e2e/story/policies")
	if err != nil {
		b.Fatal(err)
	}
	// Linux counts what a process had before it became another program: this one
	// must be small.
	debug.FreeOSMemory()
	for _, c := range []struct {
		name string
		long bool
		args []string
	}{
		{"at", false, []string{"at", "now"}},
		{"reach", false, []string{"reach", "--to", "/shop/app-0"}},
		{"explain", false, []string{"explain", "--from", "/shop/app-0", "--to", "/shop/app-4", "--port", "8080"}},
		{"timeline", true, []string{"timeline", "--app", "/shop/app-0"}},
		{"what-if", true, []string{"what-if", "--policies", policies, "--from", "-30d"}},
		{"verify", true, []string{"verify"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			var peak int64 // KiB
			for b.Loop() {
				cmd := exec.CommandContext(b.Context(), "taskwall", append(append([]string{"audit"}, c.args...), "--copy", dir)...)
				start := time.Now()
				err := cmd.Run()
				took = append(took, time.Since(start))
				var exit *exec.ExitError
				if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: the answer is no
					b.Fatal(err)
				}
				peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds(), "s")
			if c.long {
				b.ReportMetric(float64(peak)/1024, "peak-MB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
