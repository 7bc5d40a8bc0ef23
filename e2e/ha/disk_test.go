package ha

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// diskVariable holds the size of a disk of its own for a NATS server of the
// tests, in bytes.
const diskVariable = "TASKWALL_HA_DISK"

// mountDisk gives the process a disk at dir that nobody else sees.
func mountDisk(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syscall.Mount("disk", dir, "tmpfs", 0, "size="+os.Getenv(diskVariable))
}

// diskDoes has something happen to the disk.
func diskDoes(what, dir string) error {
	ballast := filepath.Join(dir, "ballast")
	switch what {
	case "fill":
		f, err := os.Create(ballast)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		return f.Close()
	case "free":
		return os.Remove(ballast)
	case "fail": // no file may grow
		signal.Ignore(syscall.SIGXFSZ)
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1, Max: unlimited})
	case "work":
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: unlimited, Max: unlimited})
	}
	return fmt.Errorf("nothing is known of %q", what)
}

// unlimited is RLIM_INFINITY.
const unlimited = 1<<64 - 1

var fills = flag.Int("fills", 1, "times that TestDisk fills the disk, and has it fail")

// TestDisk fills the disk of NATS while controllers write, agents report, tasks
// and policies change, until there is room again; and has it refuse all writes for
// a while. Nobody does more: what was acknowledged is there, and all goes on.
func TestDisk(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1, 2, *faultSeed, func(p *place) { p.disk = 64 << 20 })
	tell := func(what string) {
		t.Helper()
		if _, err := fmt.Fprintln(p.nodes[0].in, what); err != nil {
			t.Fatal(err)
		}
	}
	for range *fills {
		for _, trouble := range []struct{ begin, end string }{{"fill", "free"}, {"fail", "work"}} {
			p.awaitProgress(time.Now())
			begin := time.Now()
			tell(trouble.begin)
			p.until(takeoverBound, "word of the disk", func() bool {
				said := p.saidSince(begin)
				return strings.Contains(said, "cannot append events to the log") || strings.Contains(said, "could not try for the lead")
			})
			time.Sleep(time.Duration(p.rng.IntN(4000)) * time.Millisecond) // the leader gives up its lead, or does not
			tell(trouble.end)
			stall := p.awaitProgress(time.Now())
			t.Logf("%s: goes on %s after the disk was well again", trouble.begin, stall.Round(time.Millisecond))
		}
	}
	p.check()
}
