package agent_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/events/work"
)

// troubled waits for a report that has, or has not, a trouble with the words.
func (l *lab) troubled(words string, is bool) {
	l.t.Helper()
	l.await("trouble: "+words, func(r work.Report) bool {
		return r.Applied != nil && is == slices.ContainsFunc(r.Applied.Trouble, func(s string) bool { return strings.Contains(s, words) })
	})
}

// What is wrong on the host is reported when it becomes so, with each answer
// while it is, and when it is over.
func TestTroubleIsReported(t *testing.T) {
	l := newLab(t, disk(t, "256k"), func(c *agent.Config) { c.CheckEvery = 100 * time.Millisecond })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	free := fill(t, l.cfg.StateDir)
	const disk = "the picture is not on disk"
	many := make([]string, 3000) // more than what is on disk takes
	for i := range many {
		many[i] = "10.9." + strconv.Itoa(i/250) + "." + strconv.Itoa(i%250)
	}
	if a := l.send(work.Item{Sets: []work.Set{nets("many", many...)}}); len(a.Trouble) != 1 || !strings.Contains(a.Trouble[0], disk) || !strings.Contains(a.Trouble[0], "no space") {
		t.Errorf("with a full disk an item is answered with %q", a.Trouble)
	}
	free()
	l.troubled(disk, false)
	l.must(work.Item{Delete: &work.Deletions{Sets: []string{"many"}}})

	g := l.gated()
	now, err := g.Tracking.Usage()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		usage conntrack.Usage
		words string
		is    bool
	}{
		{conntrack.Usage{Count: 950, Max: 1000, Dropped: now.Dropped}, "nearly full", true},
		{conntrack.Usage{Count: 900, Max: 1000, Dropped: now.Dropped}, "tracked connections", false},
		{conntrack.Usage{Count: 1000, Max: 1000, Dropped: now.Dropped + 1}, "new connections are dropped", true},
	} {
		g.mu.Lock()
		g.usage = &tc.usage
		g.mu.Unlock()
		l.troubled(tc.words, tc.is)
	}
}

// What is cut for length stays text: half a character would be another text when it
// comes out of JSON.
func TestTroubleIsCutBetweenCharacters(t *testing.T) {
	for text, want := range map[string]string{"": "", "abcde": "abcde", "abcdef": "abcde", "äöü": "äö", "aäöü": "aäö", "日本": "日", "a😀b": "a😀", "ab😀": "ab"} {
		if got := agent.Clip(text, 5); got != want {
			t.Errorf("%q is cut to %q, want %q", text, got, want)
		}
	}
}
