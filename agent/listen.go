package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/agent/nflog"
	"github.com/taskwall/taskwall/events/work"
)

// listen turns the packets that the firewall logs into reports, a few a second
// for each kind, with the tasks' names.
func (a *Agent) listen(ctx context.Context) error {
	c, err := nflog.Open(firewall.LogGroup)
	if err != nil {
		return fmt.Errorf("packets are not reported: the log group cannot be had: %w", err)
	}
	defer c.Close()
	t := tally{seen: map[work.Logged]int{}}
	var teller sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	teller.Go(func() { t.tell(ctx, a) })
	defer teller.Wait()
	defer stop()
	for {
		ps, err := c.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nflog.ErrLost):
			continue
		case err != nil:
			return err
		}
		for _, p := range ps {
			if r, ok := a.fw.Reason(p.Prefix); ok {
				t.add(work.Logged{Action: r.Action, Direction: r.Direction, Policy: r.Policy, Index: r.Index,
					Source: p.Src, Dest: p.Dst, Protocol: int(p.Proto), Port: p.DstPort})
			}
		}
	}
}

// tally counts what was seen since it was last told.
type tally struct {
	mu   sync.Mutex
	seen map[work.Logged]int
}

// maxKinds bounds how many kinds of packets are told at a time; a port scan
// has many.
const maxKinds = 50

func (t *tally) add(l work.Logged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[l]; ok || len(t.seen) < maxKinds {
		t.seen[l]++
	}
}

func (t *tally) tell(ctx context.Context, a *Agent) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.mu.Lock()
		seen := t.seen
		t.seen = map[work.Logged]int{}
		t.mu.Unlock()
		if len(seen) == 0 {
			continue
		}
		names := a.names()
		for _, l := range slices.SortedFunc(maps.Keys(seen), func(x, y work.Logged) int {
			return cmp.Or(x.Source.Compare(y.Source), x.Dest.Compare(y.Dest), cmp.Compare(x.Port, y.Port))
		}) {
			n := seen[l]
			l.Count, l.SourceTask, l.DestTask = n, names[l.Source], names[l.Dest]
			a.log.Info("packets logged", "action", l.Action, "direction", l.Direction, "policy", l.Policy, "rule", l.Index,
				"source", l.Source, "dest", l.Dest, "protocol", l.Protocol, "port", l.Port, "from", l.SourceTask, "to", l.DestTask, "count", n)
			a.report.logged(l)
		}
	}
}

// names are the endpoints of this host by address.
func (a *Agent) names() map[netip.Addr]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := map[netip.Addr]string{}
	for _, at := range a.attachments {
		names[at.Address] = at.Endpoint
	}
	return names
}
