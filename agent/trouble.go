package agent

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/taskwall/taskwall/events/work"
)

// trouble is what is wrong on the host now, by where it was seen. It goes with
// each answer to an item, and is reported anew when it changes.
type trouble struct {
	mu      sync.Mutex
	by      map[string][]string
	changed bool
}

// What of it is reported: so many, each of so many bytes.
const (
	maxTroubles = 20
	maxTrouble  = 500
)

// set says what is wrong now of one kind; nothing, when nothing is.
func (t *trouble) set(kind string, what ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Equal(t.by[kind], what) {
		return
	}
	t.changed = true
	if len(what) == 0 {
		delete(t.by, kind)
		return
	}
	if t.by == nil {
		t.by = map[string][]string{}
	}
	t.by[kind] = what
}

// due says whether it changed since it was last told.
func (t *trouble) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// tell is all of it, in a fixed order, and told with it.
func (t *trouble) tell() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = false
	return t.all()
}

// now is what tell would say.
func (t *trouble) now() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all()
}

// all is called with the lock held.
func (t *trouble) all() (all []string) {
	for _, kind := range slices.Sorted(maps.Keys(t.by)) {
		for _, what := range t.by[kind] {
			if len(all) == maxTroubles {
				return append(all, "and more: see the agent's log")
			}
			all = append(all, clip(what, maxTrouble))
		}
	}
	return all
}

// clip is the start of a text, of at most n bytes, with no character cut in two.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// kinds counts it by kind.
func (t *trouble) kinds() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := map[string]int{}
	for kind, what := range t.by {
		n[kind] = len(what)
	}
	return n
}

func saidOf(what string, err error) []string {
	if err == nil {
		return nil
	}
	return []string{what + ": " + err.Error()}
}

// answer reports that an item was applied, with what is wrong on the host.
func (a *Agent) answer(applied work.Applied) {
	a.applied.Store(applied.Rev)
	applied.Trouble = a.trouble.tell()
	a.report.applied(applied)
}

// full is what has been seen of a full table of connections.
type full struct {
	dropped uint64
	known   bool      // dropped is of this process's time
	at      time.Time // packets were last dropped
}

const (
	// fullFrom is the part of the table that may be taken before it is said, in
	// percent: a burst of new connections fills the rest in no time.
	fullFrom = 95
	// fullFor is how long after the last dropped packet it is said.
	fullFor = time.Minute
)

// lookFull looks how full the table of tracked connections is. The kernel drops
// what begins a connection when it has no room: what is allowed then fails, and
// nothing else would say why.
func (a *Agent) lookFull() {
	u, err := a.flows.Usage()
	if err != nil {
		a.trouble.set("connections", saidOf("how full the table of tracked connections is cannot be told", err)...)
		return
	}
	now, seen := time.Now(), &a.full
	if seen.known && u.Dropped > seen.dropped {
		a.log.Error("new connections were dropped: the table of tracked connections has no room", "packets", u.Dropped-seen.dropped, "tracked", u.Count, "limit", u.Max)
		seen.at = now
	}
	seen.dropped, seen.known = u.Dropped, true
	const look = "net.netfilter.nf_conntrack_max"
	switch {
	case now.Sub(seen.at) < fullFor:
		a.trouble.set("connections", fmt.Sprintf("new connections are dropped: the table of tracked connections (%s, %d) has no room", look, u.Max))
	case u.Max > 0 && u.Count >= cmp.Or(u.Max*fullFrom/100, 1):
		a.trouble.set("connections", fmt.Sprintf("the table of tracked connections (%s, %d) is nearly full", look, u.Max))
	default:
		a.trouble.set("connections")
	}
}
