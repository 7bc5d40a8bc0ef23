package history_test

import (
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/history/historytest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

var (
	benchEvents = flag.Uint64("history.events", 1_000_000, "events of the history that benchmarks ask")
	benchHosts  = flag.Int("history.hosts", 200, "hosts of that history")
	benchApps   = flag.Int("history.apps", 300, "apps of that history")
	benchSize   = flag.Int("history.instances", 4, "tasks of an app of that history, on average")
	benchDir    = flag.String("history.dir", "", "directory to keep that history in, or that of an earlier run; empty: a new one each time")
)

// longPast is where the history lies that the flags describe. Its size on disk
// does not count the snapshots.
func longPast(b *testing.B) (dir string, size int64) {
	b.Helper()
	dir = *benchDir
	if dir == "" {
		dir = filepath.Join(b.TempDir(), "copy")
	}
	start := time.Now()
	out, err := historytest.Write(b.Context(), dir, historytest.Options{
		Seed: 1, Events: *benchEvents, Hosts: *benchHosts, Apps: *benchApps, Instances: *benchSize,
		Progress: func(events uint64) { b.Logf("%d events after %s", events, time.Since(start).Round(time.Second)) },
	})
	switch {
	case errors.Is(err, historytest.ErrWritten):
		b.Logf("asking the history in %s", dir)
	case err != nil:
		b.Fatal(err)
	default:
		b.Logf("wrote %d events, %d items, %d reports, %d tasks at the end, in %s", out.Events, out.Items, out.Reports, out.Tasks, time.Since(start))
	}
	start = time.Now()
	n, err := history.Index(b.Context(), dir, history.CopyOptions{})
	if err != nil {
		b.Fatal(err)
	}
	snapshots := diskSize(b, filepath.Join(dir, "SNAPSHOTS"))
	b.Logf("added %d snapshots in %s; all are %d MB", n, time.Since(start), snapshots>>20)
	return dir, diskSize(b, dir) - snapshots
}

// BenchmarkPast writes a long history once, and asks it.
func BenchmarkPast(b *testing.B) {
	dir, size := longPast(b)
	defer history.CollectLess()() // as the commands do
	h, err := history.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close() //nolint:errcheck // only read

	b.Run("StateAt", func(b *testing.B) {
		rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not for secrets
		var took []time.Duration
		for b.Loop() {
			start := time.Now()
			if _, err := h.StateAt(b.Context(), 1+rnd.Uint64N(*benchEvents)); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		b.ReportMetric(slices.Max(took).Seconds(), "worst-s")
		b.ReportMetric(0, "ns/op")
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds(), "p50-s")
	})
	b.Run("SeqAt", func(b *testing.B) {
		bounds, err := h.Bounds(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not for secrets
		for b.Loop() {
			if _, err := h.SeqAt(b.Context(), bounds.From.Add(time.Duration(rnd.Int64N(int64(bounds.To.Sub(bounds.From)))))); err != nil {
				b.Fatal(err)
			}
		}
	})
	// rate gives the time that fn used, of all cores.
	rate := func(b *testing.B, fn func() error) time.Duration {
		b.ReportMetric(0, "ns/op")
		runtime.GC()
		cpu := cpuTime(b)
		for b.Loop() {
			if err := fn(); err != nil {
				b.Fatal(err)
			}
		}
		used := cpuTime(b) - cpu
		events := float64(*benchEvents) * float64(b.N)
		b.ReportMetric(events/used.Seconds(), "events/s/core")
		b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(size)/float64(*benchEvents), "disk-MB/Mevents")
		return used
	}
	b.Run("Chain", func(b *testing.B) {
		rate(b, func() error {
			rep, err := h.Verify(b.Context(), historytest.Trust)
			if err == nil && !rep.OK() {
				b.Fatal(rep.Problems[0])
			}
			return err
		})
	})
	b.Run("Fold", func(b *testing.B) {
		h.IgnoreSnapshots()
		rate(b, func() error {
			before := heap()
			s, err := h.StateAt(b.Context(), *benchEvents)
			if err != nil {
				return err
			}
			b.ReportMetric(float64(heap()-before)/1e6/float64(len(s.Endpoints()))*100_000, "heap-MB/100k-tasks")
			runtime.KeepAlive(s)
			return nil
		})
	})
	b.Run("Verify", func(b *testing.B) {
		var messages float64 // events, the items that follow from them, and the answers
		used := rate(b, func() error {
			v, err := proof.New(b.Context(), h, proof.Options{}, historytest.Trust)
			if err != nil {
				return err
			}
			rep, err := v.Run(b.Context())
			if err != nil {
				return err
			}
			if !rep.OK() {
				b.Fatalf("found %+v", rep.Findings[:min(3, len(rep.Findings))])
			}
			messages += float64(rep.Log.Records) + float64(rep.Items.Published+rep.Hosts.Reports)
			return nil
		})
		b.ReportMetric(messages/used.Seconds(), "messages/s/core")
	})
}

// cpuTime is what the process has used, of all cores: the machine may be busy.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func diskSize(b *testing.B, dir string) (n int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return n
}
