package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
)

const (
	manifestFile = "copy.json"
	copyName     = "copy of the past"
	copyVersion  = 1

	segmentEnding = ".jsonl.zst"
	// fullSegment is the size in bytes from which a segment is closed.
	fullSegment = 256 << 20
)

// manifest is copy.json.
type manifest struct {
	Taskwall string            `json:"taskwall"`
	Version  int               `json:"version"`
	Streams  map[string]extent `json:"streams"`
}

// extent is what of a stream is durably in a copy, and up to where it was read:
// the last messages of WORK may be claims, which are not in it.
type extent struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Read  uint64 `json:"read"`
}

func readManifest(dir string) (manifest, error) {
	var m manifest
	data, err := os.ReadFile(filepath.Join(dir, manifestFile)) //nolint:gosec // the user names it
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil || m.Taskwall != copyName {
		return m, fmt.Errorf("%s is not of a copy: %w", filepath.Join(dir, manifestFile), ErrDamaged)
	}
	if m.Version != copyVersion {
		return m, fmt.Errorf("the copy in %s has version %d, this program reads %d", dir, m.Version, copyVersion)
	}
	return m, nil
}

// Writer writes a copy, or goes on with one. What was written before the last
// Sync stays whatever happens. It is for one goroutine.
type Writer struct {
	dir      string
	manifest manifest
	streams  map[string]*appender
	cause    uint64 // of the items so far
}

// Create makes a copy in a directory, which is new or empty, or holds a copy to
// go on with. Half a frame that an interrupted writer left is removed.
func Create(dir string) (*Writer, error) {
	w := &Writer{dir: dir, streams: map[string]*appender{}}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making a copy: %w", err)
	}
	var err error
	switch w.manifest, err = readManifest(dir); {
	case errors.Is(err, fs.ErrNotExist):
		if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
			return nil, fmt.Errorf("making a copy in %s: it is not empty and holds no copy: %w", dir, cmp.Or(err, fs.ErrExist))
		}
		w.manifest = manifest{copyName, copyVersion, map[string]extent{}}
	case err != nil:
		return nil, fmt.Errorf("going on with a copy: %w", err)
	}
	for _, name := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream, bus.CheckpointsStream} {
		a, err := openAppender(filepath.Join(dir, name), w.manifest.Streams[name])
		if err != nil {
			return nil, errors.Join(fmt.Errorf("going on with a copy: %w", err), w.close())
		}
		w.streams[name] = a
	}
	return w, w.Sync()
}

// read is how far a stream was read into the copy.
func (w *Writer) read(stream string) uint64 { return w.streams[stream].Read }

// Record adds a record of the log, which was received at a time.
func (w *Writer) Record(r *eventlog.Record, received time.Time) error {
	l := line{Seq: r.Seq, Prev: r.Prev, Epoch: r.Epoch, Writer: r.Writer}
	if r.Foreign() {
		l.Time = received.UTC()
	}
	if r.Err != nil {
		l.Error = r.Err.Error()
	}
	return w.streams[bus.EventsStream].add(l, "event", r.Data, r.Seq, received)
}

// Item adds a work item as it was published for a host; cause is the item's.
func (w *Writer) Item(seq uint64, stored time.Time, host string, epoch, cause uint64, item []byte) error {
	w.cause = max(w.cause, cause)
	return w.streams[bus.WorkStream].add(line{Seq: seq, Time: stored.UTC(), Host: host, Epoch: epoch}, "item", item, cause, stored)
}

// Unreadable adds what was published for a host and is no work item, and why.
func (w *Writer) Unreadable(seq uint64, stored time.Time, host string, why error, data []byte) error {
	return w.streams[bus.WorkStream].add(line{Seq: seq, Time: stored.UTC(), Host: host, Error: why.Error()}, "item", data, w.cause, stored)
}

// Report adds a report as a host sent it.
func (w *Writer) Report(seq uint64, stored time.Time, host string, report []byte) error {
	return w.streams[bus.ReportsStream].add(line{Seq: seq, Time: stored.UTC(), Host: host}, "report", report, seq, stored)
}

// Checkpoint adds a checkpoint of the log as it was written.
func (w *Writer) Checkpoint(seq uint64, stored time.Time, checkpoint []byte) error {
	return w.streams[bus.CheckpointsStream].add(line{Seq: seq, Time: stored.UTC()}, "checkpoint", checkpoint, seq, stored)
}

// passed notes that a stream was read up to a sequence.
func (w *Writer) passed(stream string, seq uint64) {
	a := w.streams[stream]
	a.Read = max(a.Read, seq)
}

// Flush ends the frames that were begun.
func (w *Writer) Flush() error {
	for _, a := range w.streams {
		if err := a.flush(); err != nil {
			return fmt.Errorf("writing the copy: %w", err)
		}
	}
	return nil
}

// Sync makes durable what was added so far.
func (w *Writer) Sync() error {
	for name, a := range w.streams {
		if err := a.sync(); err != nil {
			return fmt.Errorf("writing the copy: %w", err)
		}
		if a.Read > 0 {
			w.manifest.Streams[name] = a.extent
		}
	}
	data, err := json.MarshalIndent(w.manifest, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the copy: %w", err)
	}
	if err := replace(filepath.Join(w.dir, manifestFile), append(data, '\n')); err != nil {
		return fmt.Errorf("writing the copy: %w", err)
	}
	return nil
}

// Close makes all durable and ends the writing.
func (w *Writer) Close() error { return errors.Join(w.Sync(), w.close()) }

func (w *Writer) close() error {
	var errs []error
	for _, a := range w.streams {
		if a.file != nil {
			errs = append(errs, a.file.Close())
		}
	}
	return errors.Join(errs...)
}

// appender writes the segments of one stream.
type appender struct {
	extent
	dir  string
	file *os.File // the last segment
	size int64

	buf  []byte // the lines of the next frame
	next frame
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d%s", first, segmentEnding))
}

// openAppender goes on after the last frame that is whole. One that the copy
// claims to have and that is not there is ErrDamaged.
func openAppender(dir string, was extent) (*appender, error) {
	a := &appender{dir: dir, extent: was}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	all, err := segmentsIn(dir)
	if err != nil || len(all) == 0 {
		if err == nil && was.Last > 0 {
			err = fmt.Errorf("%s: %w: no segments", dir, ErrDamaged)
		}
		return a, err
	}
	path := all[len(all)-1]
	if a.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil { //nolint:gosec // the user names it
		return nil, err
	}
	info, err := a.file.Stat()
	if err != nil {
		return nil, errors.Join(err, a.file.Close())
	}
	var found uint64
	for {
		f, next, err := readFrame(a.file, a.size, info.Size())
		if err == nil && f.Last > was.Last { // written after the last Sync: is it whole?
			_, err = f.lines(a.file)
		}
		if err != nil {
			break
		}
		if a.size, found = next, f.Last; a.First == 0 {
			a.First = f.First
		}
	}
	if found < was.Last {
		return nil, errors.Join(fmt.Errorf("%s: %w at byte %d: records %d to %d are not there; make a new copy",
			path, ErrDamaged, a.size, max(found+1, was.First), was.Last), a.file.Close())
	}
	a.Last, a.Read = max(found, was.Last), max(found, was.Read)
	if err := a.file.Truncate(a.size); err != nil {
		return nil, errors.Join(err, a.file.Close())
	}
	return a, nil
}

func (a *appender) add(l line, name string, body []byte, key uint64, at time.Time) error {
	if l.Seq <= max(a.Last, a.next.Last) {
		return fmt.Errorf("%s: %d after %d", a.dir, l.Seq, max(a.Last, a.next.Last))
	}
	var err error
	if a.buf, err = l.append(a.buf, name, body); err != nil {
		return err
	}
	a.next.add(l.Seq, key, at)
	if len(a.buf) >= fullFrame {
		return a.flush()
	}
	return nil
}

func (a *appender) flush() error {
	if len(a.buf) == 0 {
		return nil
	}
	if a.file != nil && a.size >= fullSegment {
		if err := errors.Join(a.file.Sync(), a.file.Close()); err != nil {
			return err
		}
		a.file = nil
	}
	if a.file == nil {
		var err error
		if a.file, err = os.OpenFile(segmentPath(a.dir, a.next.First), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640); err != nil { //nolint:gosec // the user names it
			return err
		}
		a.size = 0
		if err := syncDir(a.dir); err != nil {
			return err
		}
	}
	packed, err := a.next.pack(a.buf)
	if err != nil {
		return err
	}
	if _, err := a.file.WriteAt(packed, a.size); err != nil {
		return err
	}
	a.size += int64(len(packed))
	if a.First == 0 {
		a.First = a.next.First
	}
	a.Last, a.Read = a.next.Last, max(a.Read, a.next.Last)
	a.buf, a.next = a.buf[:0], frame{}
	return nil
}

func (a *appender) sync() error {
	if err := a.flush(); err != nil || a.file == nil {
		return err
	}
	return a.file.Sync()
}

func segmentsIn(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*"+segmentEnding)) // sorted
	if err != nil {
		return nil, err
	}
	return all, nil
}

// replace writes a file so that it has either its old or its new content.
func replace(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // the user names it
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
