package history

import (
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
	snapshotDir    = "SNAPSHOTS"
	snapshotEnding = ".json.zst"
	// maxSnapshot bounds a snapshot, in bytes.
	maxSnapshot = 4 << 30
)

func snapshotPath(dir string, seq uint64) string {
	return filepath.Join(dir, snapshotDir, fmt.Sprintf("%020d%s", seq, snapshotEnding))
}

// Snapshot adds a state of the fold after a record.
func (w *Writer) Snapshot(seq uint64, state []byte) error {
	_, err := writeSnapshot(w.dir, seq, state)
	return err
}

// writeSnapshot gives the size that the snapshot takes.
func writeSnapshot(dir string, seq uint64, state []byte) (int, error) {
	path, packed := snapshotPath(dir, seq), encoder().EncodeAll(state, nil)
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = replace(path, packed)
	}
	if err != nil {
		return 0, fmt.Errorf("writing the snapshot at %d: %w", seq, err)
	}
	return len(packed), nil
}

// snapshotsIn are the sequences of the snapshots of a copy, in order.
func snapshotsIn(dir string) ([]uint64, error) {
	found, err := os.ReadDir(filepath.Join(dir, snapshotDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the snapshots: %w", err)
	}
	var seqs []uint64
	for _, f := range found {
		if name, ok := strings.CutSuffix(f.Name(), snapshotEnding); ok {
			if seq, err := strconv.ParseUint(name, 10, 64); err == nil {
				seqs = append(seqs, seq)
			}
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}

// snapshot passes over one that is damaged: the log is what counts.
func (d *disk) snapshot(_ context.Context, notAfter uint64) (uint64, []byte, bool, error) {
	seqs, err := snapshotsIn(d.dir)
	if err != nil {
		return 0, nil, false, err
	}
	for _, seq := range slices.Backward(seqs) {
		if seq > notAfter {
			continue
		}
		packed, err := os.ReadFile(snapshotPath(d.dir, seq))
		if err != nil {
			return 0, nil, false, fmt.Errorf("reading the snapshot at %d: %w", seq, err)
		}
		if data, err := decoder().DecodeAll(packed, nil); err == nil {
			return seq, data, true, nil
		}
	}
	return 0, nil, false, nil
}
