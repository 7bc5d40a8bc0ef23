package history_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler/history"
	"github.com/taskwall/taskwall/scheduler/pasttest"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// Of a log without its beginning, verify begins with the first snapshot, wherever
// it lies.
func TestALogWithoutItsBeginningIsFoldedFromItsFirstSnapshot(t *testing.T) {
	t.Parallel()
	conn, _ := saved(t) // snapshots after 4, 6 and 8 of 10 records
	for _, c := range []struct {
		first uint64
		want  uint64
	}{{first: 8, want: 8}, {first: 9, want: 8}, {first: 6, want: 6}, {first: 3, want: 4}} {
		dir := filepath.Join(t.TempDir(), "copy")
		if _, err := history.Copy(t.Context(), conn.JS, dir, history.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		h := tampered(t, dir, bus.EventsStream, func(lines []string) []string { return lines[c.first-1:] })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		v, err := proof.New(ctx, h, proof.Options{}, pasttest.Trust)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := v.Run(ctx)
		if err != nil {
			t.Errorf("from %d on: %v", c.first, err)
			continue
		}
		if !rep.OK() || rep.Log.Start != c.want {
			t.Errorf("from %d on it begins with %d: %v", c.first, rep.Log.Start, problems(rep))
		}
	}
}
