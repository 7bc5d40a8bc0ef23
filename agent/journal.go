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
type journal struct {
	dir   string
	items *os.File
	size  int64 // of the items
	base  int64 // of the whole picture
}

const (
	pictureFile = "picture.json"
	itemsFile   = "items.jsonl"
	// compactAt is how large the items grow, in bytes, before the picture is
	// written anew, at least; a large picture waits until they are as large.
	compactAt = 1 << 20
)

func openJournal(dir string, log *slog.Logger) (*journal, *work.State, error) {
	j := &journal{dir: dir}
	state := work.NewState()
	b, err := os.ReadFile(filepath.Join(dir, pictureFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, nil, fmt.Errorf("reading the picture on disk: %w", err)
	default:
		var it work.Item
		if err := json.Unmarshal(b, &it); err != nil || !it.Snapshot {
			log.Error("the picture on disk cannot be read; starting without it", "error", err)
			break
		}
		if err := state.Apply(&it); err != nil {
			return nil, nil, fmt.Errorf("the picture on disk: %w", err)
		}
		j.base = int64(len(b))
	}
	if j.items, err = os.OpenFile(filepath.Join(dir, itemsFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, fmt.Errorf("opening the items on disk: %w", err)
	}
	if err := j.replay(state, log); err != nil {
		j.close()
		return nil, nil, err
	}
	return j, state, nil
}

// replay applies the items on disk. It stops at the first that is cut short
// or does not follow, and forgets the rest.
func (j *journal) replay(state *work.State, log *slog.Logger) error {
	r := bufio.NewReader(j.items)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(line) > 0 {
				log.Warn("the last item on disk is cut short and left out")
			}
			break
		}
		if err != nil {
			return fmt.Errorf("reading the items on disk: %w", err)
		}
		var it work.Item
		if err := json.Unmarshal(line, &it); err != nil {
			log.Warn("an item on disk cannot be read; it and later ones are left out", "error", err)
			break
		}
		if err := state.Apply(&it); err != nil {
			log.Warn("an item on disk does not follow; it and later ones are left out", "rev", it.Rev, "error", err)
			break
		}
		j.size += int64(len(line))
	}
	if err := j.items.Truncate(j.size); err != nil {
		return fmt.Errorf("cutting the items on disk: %w", err)
	}
	if _, err := j.items.Seek(j.size, io.SeekStart); err != nil {
		return fmt.Errorf("cutting the items on disk: %w", err)
	}
	return nil
}

// append writes an item; state is the picture with it applied.
func (j *journal) append(it *work.Item, state *work.State) error {
	if it.Snapshot || j.size > max(compactAt, j.base) {
		return j.compact(state)
	}
	b, err := json.Marshal(it)
	if err != nil {
		return fmt.Errorf("encoding item %d: %w", it.Rev, err)
	}
	n, err := j.items.Write(append(b, '\n'))
	j.size += int64(n)
	if err != nil {
		return fmt.Errorf("writing item %d: %w", it.Rev, err)
	}
	return nil
}

// compact writes the whole picture and forgets the items. Killed in between,
// the items are older than the picture and change nothing.
func (j *journal) compact(state *work.State) error {
	b, err := json.Marshal(state.Item(""))
	if err != nil {
		return fmt.Errorf("encoding the picture: %w", err)
	}
	if err := writeFile(filepath.Join(j.dir, pictureFile), b); err != nil {
		return fmt.Errorf("writing the picture: %w", err)
	}
	j.base = int64(len(b))
	if err := j.items.Truncate(0); err != nil {
		return fmt.Errorf("forgetting old items: %w", err)
	}
	if _, err := j.items.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("forgetting old items: %w", err)
	}
	j.size = 0
	return nil
}

func (j *journal) close() { j.items.Close() }

// writeFile replaces a file as a whole.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
