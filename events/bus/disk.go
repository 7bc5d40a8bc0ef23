package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// diskLook is how often a server looks whether it still stores.
	diskLook = time.Second
	// diskRoom is what must fit onto a disk, in bytes, before a server that could
	// not write begins again: more than its next few messages.
	diskRoom = 16 << 20
)

// watchDisk begins again with a new instance when the one that runs stores no
// more, since its disk was full or failed, and the disk can be written again. NATS
// does not: it turns JetStream off, or refuses each message of a stream, until it
// is started anew.
func (s *Server) watchDisk(ctx context.Context, dir string) {
	said := false
	look := time.NewTicker(diskLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if i := s.running.Load(); i.JetStreamEnabled() && !i.failed.Load() {
			continue
		}
		err := tryDisk(dir)
		if err == nil {
			err = s.restart()
		}
		if err == nil {
			s.log.Warn("the message bus stores again")
		} else if !said {
			s.log.Error("the message bus stores nothing: its disk is full or cannot be written; it begins again by itself when it can", "error", err)
		}
		said = err != nil
	}
}

// tryDisk fails when no file of diskRoom can be written in dir.
func tryDisk(dir string) error {
	f, err := os.CreateTemp(dir, "try-*")
	if err != nil {
		return fmt.Errorf("trying the disk of the message bus: %w", err)
	}
	_, err = f.Write(make([]byte, diskRoom))
	if err = errors.Join(err, f.Sync(), f.Close(), os.Remove(filepath.Clean(f.Name()))); err != nil {
		return fmt.Errorf("trying the disk of the message bus: %w", err)
	}
	return nil
}

// restart ends the instance that runs and starts another, at the same address.
// Clients connect to it by themselves.
func (s *Server) restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.running.Load()
	if addr := i.Addr(); addr != nil { // the port may have been chosen
		s.opts.Listen = addr.String()
	}
	i.end()
	next, err := startInstance(s.opts, s.log)
	if err == nil {
		s.running.Store(next)
	}
	return err
}
