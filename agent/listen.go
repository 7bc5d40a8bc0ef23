package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	t := newTally()
	var teller sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	teller.Go(func() { a.tellLogged(ctx, t) })
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

// tellLogged tells each second of what was seen.
func (a *Agent) tellLogged(ctx context.Context, t *tally) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		names := a.names()
		for _, l := range t.take() {
			l.SourceTask, l.DestTask = names[l.Source], names[l.Dest]
			a.log.Info("packets logged", "action", l.Action, "direction", l.Direction, "policy", l.Policy, "rule", l.Index,
				"source", l.Source, "dest", l.Dest, "protocol", l.Protocol, "port", l.Port, "from", l.SourceTask, "to", l.DestTask, "count", l.Count)
			a.report.logged(l)
		}
		if n := t.left(time.Now()); n > 0 {
			a.log.Warn("packets of further kinds were logged that are not told one by one", "packets", n)
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
