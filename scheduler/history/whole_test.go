package history_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/history"
)

// Whoever tells what hosts said is told where reports are missing, and goes on
// with those after it.
func TestReportsThatAreMissingAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		segments [][2]int // of the 175 reports, by index
		harm     int      // this segment's file
		from     uint64
		want     error
		told     string
		whole    int // reports that are given
	}{
		"whole":                    {segments: [][2]int{{0, 60}, {60, 120}, {120, 175}}, harm: -1, whole: 175},
		"the middle segment":       {segments: [][2]int{{0, 60}, {120, 175}}, harm: -1, want: eventlog.ErrMissing, told: "reports 61 to 120", whole: 115},
		"damage in the middle one": {segments: [][2]int{{0, 60}, {60, 120}, {120, 175}}, harm: 1, want: history.ErrDamaged, told: "reports 61 to 120", whole: 115},
		"damage in the last one":   {segments: [][2]int{{0, 60}, {60, 175}}, harm: 1, want: history.ErrDamaged, told: "reports 61 and after", whole: 60},
		"no longer kept":           {segments: [][2]int{{60, 175}}, harm: -1, want: eventlog.ErrGone, told: "reports 1 to 60", whole: 115},
		"kept from there on":       {segments: [][2]int{{60, 175}}, harm: -1, from: 61, whole: 115},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(demo, "copy"))); err != nil {
				t.Fatal(err)
			}
			var lines []string
			rewrite(t, dir, bus.ReportsStream, func(l []string) []string {
				lines = l
				return l[c.segments[0][0]:c.segments[0][1]]
			})
			for i, s := range c.segments {
				data, first, _ := history.Frame(t, lines[s[0]:s[1]])
				if i == c.harm {
					data[len(data)/2] ^= 0x10
				}
				if i > 0 || i == c.harm {
					if err := os.WriteFile(filepath.Join(dir, bus.ReportsStream, fmt.Sprintf("%020d.jsonl.zst", first)), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			h, err := history.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close() //nolint:errcheck // only read
			whole, next := 0, uint64(0)
			var bad []error
			for r, err := range h.WholeReports(t.Context(), c.from) {
				switch {
				case err != nil:
					t.Fatal(err)
				case r.Seq < next:
					t.Errorf("report %d after %d", r.Seq, next-1)
				case r.Err != nil:
					bad = append(bad, r.Err)
				default:
					whole++
				}
				next = r.Seq + 1
			}
			if whole != c.whole {
				t.Errorf("%d reports are given, not %d", whole, c.whole)
			}
			if c.want == nil && len(bad) > 0 || c.want != nil && (len(bad) != 1 || !errors.Is(bad[0], c.want) || !strings.Contains(bad[0].Error(), c.told)) {
				t.Errorf("told was %v, wanted %v: %q", bad, c.want, c.told)
			}
		})
	}
}
