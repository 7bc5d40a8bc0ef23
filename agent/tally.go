package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/taskwall/taskwall/events/work"
)

// tally counts what was logged and is not told yet. A report is kept for as long as
// the audit's records are, so a task that scans ports must not make one of each
// port, and must not hide what others do: each task of the host has room for some
// kinds of packets, and they take turns.
type tally struct {
	mu      sync.Mutex
	seen    map[netip.Addr]map[work.Logged]int // by whose packets they are, see whose
	told    map[netip.Addr]uint64              // the turn at which each was last told, of those that wait
	turn    uint64
	tokens  int // how many may be told now
	skipped int // packets of kinds for which there was no room
	said    time.Time
}

const (
	// maxKinds bounds the kinds of packets of one task that wait to be told, and
	// maxWhose the tasks.
	maxKinds = 20
	maxWhose = 1000
	// tellBurst is how many kinds are told in a second after a quiet time, and
	// tellRate how many in each second when it never is quiet: some 40 MB a day.
	tellBurst = 50
	tellRate  = 2
	// leftEvery is how often it is said that there were more.
	leftEvery = time.Minute
)

func newTally() *tally {
	return &tally{seen: map[netip.Addr]map[work.Logged]int{}, told: map[netip.Addr]uint64{}, tokens: tellBurst}
}

// whose is the address of the task of this host that a policy decided about. Of
// what no policy decides, the addresses may be forged: that counts as of one.
func whose(l work.Logged) (a netip.Addr) {
	switch l.Direction {
	case "egress":
		a = l.Source
	case "ingress":
		a = l.Dest
	}
	return a
}

func (t *tally) add(l work.Logged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	who := whose(l)
	kinds, ok := t.seen[who]
	if !ok && len(t.seen) < maxWhose {
		kinds = map[work.Logged]int{}
		t.seen[who] = kinds
	}
	if _, ok := kinds[l]; kinds == nil || !ok && len(kinds) >= maxKinds {
		t.skipped++
		return
	}
	kinds[l]++
}

// take is called each second, and gives what may be told now, with its counts.
func (t *tally) take() (all []work.Logged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; t.tokens > 0 && len(t.seen) > 0; t.tokens-- {
		// Who was not told for longest, and of him the first in a fixed order.
		who := slices.MinFunc(slices.Collect(maps.Keys(t.seen)), func(a, b netip.Addr) int {
			return cmp.Or(cmp.Compare(t.told[a], t.told[b]), a.Compare(b))
		})
		l := slices.MinFunc(slices.Collect(maps.Keys(t.seen[who])), func(x, y work.Logged) int {
			return cmp.Or(x.Source.Compare(y.Source), x.Dest.Compare(y.Dest), cmp.Compare(x.Port, y.Port), cmp.Compare(x.Protocol, y.Protocol),
				cmp.Compare(x.Action, y.Action), cmp.Compare(x.Policy, y.Policy), cmp.Compare(x.Index, y.Index))
		})
		n := t.seen[who][l]
		if delete(t.seen[who], l); len(t.seen[who]) == 0 {
			delete(t.seen, who)
		}
		t.turn++
		t.told[who] = t.turn
		l.Count = n
		all = append(all, l)
	}
	if len(t.seen) == 0 {
		clear(t.told)
	}
	t.tokens = min(t.tokens+tellRate, tellBurst)
	return all
}

// left is how many packets there was no room for, once in a while.
func (t *tally) left(now time.Time) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.said) < leftEvery || t.skipped == 0 {
		return 0
	}
	n, t.skipped, t.said = t.skipped, 0, now
	return n
}
