package ha

import (
	"errors"
	"flag"
	"fmt"
	"os"
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
	}
	return fmt.Errorf("nothing is known of %q", what)
}

var fills = flag.Int("fills", 1, "times that TestDisk fills the disk")

// TestDisk fills the disk of NATS while controllers write, agents report, tasks
// and policies change; then there is room again, and the server is started anew.
// What was acknowledged is there, and all goes on.
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
		p.awaitProgress(time.Now())
		begin := time.Now()
		tell("fill")
		p.until(takeoverBound, "word of the disk", func() bool { return strings.Contains(p.saidSince(begin), "cannot append events to the log") })
		time.Sleep(time.Duration(p.rng.IntN(4000)) * time.Millisecond) // the leader gives up its lead, or does not
		tell("free")
		tell("restart")
		stall := p.awaitProgress(time.Now())
		t.Logf("goes on %s after there was room again", stall.Round(time.Millisecond))
	}
	p.check()
}
