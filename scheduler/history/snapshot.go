package history

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	snapshotDir = "SNAPSHOTS"
	// The name of a snapshot says its form. Earlier versions wrote JSON.
	snapshotEnding, jsonEnding = ".state.zst", ".json.zst"
	// maxSnapshot bounds a snapshot, in bytes.
	maxSnapshot = 4 << 30
)

// kept is a snapshot of a copy.
type kept struct {
	seq  uint64
	path string
}

// Snapshot adds a state of the fold after a record.
func (w *Writer) Snapshot(seq uint64, state []byte) error {
	_, err := writeSnapshot(w.dir, seq, state)
	return err
}

// writeSnapshot gives the size that the snapshot takes.
func writeSnapshot(dir string, seq uint64, state []byte) (int, error) {
	ending := snapshotEnding
	if bytes.HasPrefix(state, []byte("{")) {
		ending = jsonEnding
	}
	path, packed := filepath.Join(dir, snapshotDir, fmt.Sprintf("%020d%s", seq, ending)), encoder().EncodeAll(state, nil)
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = replace(path, packed)
	}
	if err != nil {
		return 0, fmt.Errorf("writing the snapshot at %d: %w", seq, err)
	}
	return len(packed), nil
}

// snapshotsIn are the snapshots of a copy, in order.
func snapshotsIn(dir string) ([]kept, error) {
	found, err := os.ReadDir(filepath.Join(dir, snapshotDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the snapshots: %w", err)
	}
	var all []kept
	for _, f := range found {
		name, ending, _ := strings.Cut(f.Name(), ".")
		if ending = "." + ending; ending != snapshotEnding && ending != jsonEnding {
			continue
		}
		if seq, err := strconv.ParseUint(name, 10, 64); err == nil {
			all = append(all, kept{seq, filepath.Join(dir, snapshotDir, f.Name())})
		}
	}
	slices.SortStableFunc(all, func(a, b kept) int { return cmp.Compare(a.seq, b.seq) }) // of two of one record the binary one is the last
	return all, nil
}

func (d *disk) stored(context.Context) ([]uint64, error) {
	all, err := snapshotsIn(d.dir)
	var seqs []uint64
	for _, s := range all {
		seqs = append(seqs, s.seq)
	}
	return slices.Compact(seqs), err
}

// snapshot is, of two of one record, the last that can be read.
func (d *disk) snapshot(_ context.Context, seq uint64) (data []byte, whole bool, err error) {
	all, err := snapshotsIn(d.dir)
	if err != nil {
		return nil, false, err
	}
	for _, s := range slices.Backward(all) {
		if s.seq != seq {
			continue
		}
		packed, err := os.ReadFile(s.path)
		if err != nil {
			return nil, false, fmt.Errorf("reading the snapshot at %d: %w", s.seq, err)
		}
		if data, err := decoder().DecodeAll(packed, nil); err == nil {
			return data, true, nil
		}
	}
	return nil, false, nil
}
