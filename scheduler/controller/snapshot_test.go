package controller

import "testing"

// A snapshot's cost grows with the cluster; the entries between two pay for it.
func TestSnapshotsOfLargeClustersLieFurtherApart(t *testing.T) {
	for size, want := range map[int]uint64{0: 10_000, 10_000_000: 10_000, 60_000_000: 60_000} {
		if got := snapshotApart(10_000, size); got != want {
			t.Errorf("of %d bytes they are %d entries apart, want %d", size, got, want)
		}
	}
}
