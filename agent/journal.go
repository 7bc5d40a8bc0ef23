package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/taskwall/taskwall/events/work"
)

// journal keeps the host's picture on disk: a whole picture, and the items
// since. An item is written before the kernel is changed, so what is read
// back is never behind the kernel. It is not synced to the disk: losing the machine's memory loses
// the kernel's state as well.
//
// A disk that is full, broken or read-only stops nothing. What it can no longer
// follow it forgets: a start without a picture waits for the controller's and touches
// nothing until then, but one with an old picture would undo what is right.
type journal struct {
	dir    string
	log    *slog.Logger
	items  *os.File // nil when it could not be opened
	size   int64    // of the items
	base   int64    // of the whole picture
	behind error    // why the disk does not hold the picture; nil when it does
}

const (
	pictureFile = "picture.json"
	itemsFile   = "items.jsonl"
	// compactAt is how large the items grow, in bytes, before the picture is
	// written anew, at least; a large picture waits until they are as large.
	compactAt = 1 << 20
)

// openJournal reads the picture on disk; an empty one when there is none, or
// none that can be trusted.
func openJournal(dir string, log *slog.Logger) (*journal, *work.State) {
	j := &journal{dir: dir, log: log}
	state, err := j.read()
	if err == nil {
		err = j.open()
	} else {
		log.Error("the picture on disk cannot be trusted and is left out: the kernel stays as it is until the controller's comes", "error", err)
		state = work.NewState()
	}
	j.behind = err
	return j, state
}

// read returns the picture with the items since. One that is cut short at the end
// never came to the kernel; damage before that means that what is
// left may be older than the kernel, and is an error.
func (j *journal) read() (*work.State, error) {
	state := work.NewState()
	b, err := os.ReadFile(filepath.Join(j.dir, pictureFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading the picture: %w", err)
	default:
		var it work.Item
		if err := json.Unmarshal(b, &it); err != nil {
			return nil, fmt.Errorf("reading the picture: %w", err)
		}
		if !it.Snapshot {
			return nil, errors.New("reading the picture: it is not a whole one")
		}
		if err := state.Apply(&it); err != nil {
			return nil, fmt.Errorf("reading the picture: %w", err)
		}
		j.base = int64(len(b))
	}
	f, err := os.Open(filepath.Join(j.dir, itemsFile))
	if errors.Is(err, os.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the items: %w", err)
	}
	defer f.Close()
	return state, j.replay(f, state)
}

func (j *journal) replay(f io.Reader, state *work.State) error {
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				j.log.Warn("the last item on disk is cut short and left out")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the items: %w", err)
		}
		var it work.Item
		if err := json.Unmarshal(line, &it); err != nil {
			return fmt.Errorf("reading the item at byte %d: %w", j.size, err)
		}
		if err := state.Apply(&it); err != nil {
			return fmt.Errorf("the item of revision %d does not follow: %w", it.Rev, err)
		}
		j.size += int64(len(line))
	}
}

// open opens the items to write on after what was read.
func (j *journal) open() (err error) {
	if j.items == nil {
		if j.items, err = os.OpenFile(filepath.Join(j.dir, itemsFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return fmt.Errorf("opening the items on disk: %w", err)
		}
	}
	return j.cut(j.size)
}

// cut leaves the first bytes of the items.
func (j *journal) cut(size int64) error {
	if err := j.items.Truncate(size); err != nil {
		return fmt.Errorf("cutting the items on disk: %w", err)
	}
	if _, err := j.items.Seek(size, io.SeekStart); err != nil {
		return fmt.Errorf("cutting the items on disk: %w", err)
	}
	j.size = size
	return nil
}

// append writes an item; state is the picture with it applied. After an error
// the disk is behind, until a later append or retry writes the whole picture.
func (j *journal) append(it *work.Item, state *work.State) error {
	if j.behind != nil || it.Snapshot || j.size > max(compactAt, j.base) {
		return j.rewrite(state)
	}
	b, err := work.AppendItem(nil, it)
	if err != nil {
		return fmt.Errorf("encoding item %d: %w", it.Rev, err)
	}
	n, err := j.items.Write(append(b, '\n'))
	j.size += int64(n)
	if err == nil {
		return nil
	}
	j.behind = fmt.Errorf("writing item %d: %w", it.Rev, err)
	return j.rewrite(state)
}

// retry writes the picture of a disk that is behind.
func (j *journal) retry(state *work.State) {
	if j.behind == nil || state.Rev == 0 {
		return
	}
	if err := j.rewrite(state); err != nil {
		j.log.Error("the picture is still not on disk; it will be tried again", "error", err)
		return
	}
	j.log.Info("the picture is on disk again", "rev", state.Rev)
}

// rewrite writes the whole picture instead of what is there. When that fails it
// forgets the old, which is behind the kernel from here on, and tries once more
// in the room that it took.
func (j *journal) rewrite(state *work.State) error {
	err := j.compact(state)
	if err != nil {
		j.behind = err
		if j.forget() {
			err = j.compact(state)
		}
	}
	j.behind = err
	return err
}

// forget removes the picture and the items, and says whether there were any.
func (j *journal) forget() (some bool) {
	some = j.base+j.size > 0
	for _, f := range []string{pictureFile, itemsFile} { // the items say nothing without the picture
		if err := os.Remove(filepath.Join(j.dir, f)); err != nil && !errors.Is(err, os.ErrNotExist) {
			j.log.Error("an old picture stays on disk: a restart without the controller would go back", "error", err)
			return false
		}
	}
	j.close() // gives their room back
	j.items, j.size, j.base = nil, 0, 0
	return some
}

// compact writes the whole picture and forgets the items. Killed in between,
// the items are older than the picture and change nothing.
func (j *journal) compact(state *work.State) error {
	b, err := work.AppendItem(nil, state.Item(""))
	if err != nil {
		return fmt.Errorf("encoding the picture: %w", err)
	}
	if err := writeFile(filepath.Join(j.dir, pictureFile), b); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	j.base = int64(len(b))
	if j.items == nil {
		j.size = 0
		return j.open()
	}
	return j.cut(0)
}

func (j *journal) close() {
	if j.items != nil {
		j.items.Close()
	}
}

// writeFile replaces a file as a whole. What could not be written takes no room.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	err := os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp) //nolint:errcheck // the first error says it
	}
	return err
}
