package ha

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// host does what an agent does with work items and reports, without a kernel:
// it adds the items up and answers each.
type host struct {
	name string

	mu     sync.Mutex
	state  *work.State
	items  int
	joins  int
	faults []string // what must not happen
}

// follow works until ctx ends.
func (h *host) follow(ctx context.Context, conn *bus.Conn) error {
	sub, err := work.Subscribe(ctx, conn, h.name, work.Position{}, nil)
	if err != nil {
		return err
	}
	defer sub.Close() //nolint:errcheck // the test is over
	reporter := work.NewReporter(conn, h.name)
	join := func() error {
		h.mu.Lock()
		h.joins++
		h.mu.Unlock()
		return reporter.Report(ctx, work.Report{Time: time.Now().UTC(), Join: &events.Join{Host: h.name, Address: "192.0.2.1"}})
	}
	if err := join(); err != nil {
		return err
	}
	for {
		it, err := sub.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, work.ErrGap):
			if err := join(); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if err := h.apply(it); err != nil {
			return err
		}
		for _, r := range answers(h.name, it) {
			if err := reporter.Report(ctx, r); err != nil {
				return err
			}
		}
	}
}

// apply adds an item up. Each revision must come once, in order.
func (h *host) apply(it *work.Item) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !it.Snapshot && it.Rev != h.state.Rev+1 || it.Snapshot && it.Rev <= h.state.Rev {
		h.faults = append(h.faults, fmt.Sprintf("revision %d (snapshot: %v) after %d", it.Rev, it.Snapshot, h.state.Rev))
	}
	h.items++
	return h.state.Apply(it)
}

// answers are what an agent reports of an item.
func answers(name string, it *work.Item) []work.Report {
	now := time.Now().UTC()
	var all []work.Report
	wired := func(endpoint, address string, state events.WiringState) {
		all = append(all, work.Report{Time: now, Wiring: &events.Wiring{Host: name, Endpoint: endpoint, Address: address, State: state}})
	}
	for _, e := range it.Endpoints {
		if e.Refused == "" {
			wired(e.ID, e.Address.String(), events.Attached)
		}
	}
	if it.Delete != nil {
		for _, id := range it.Delete.Endpoints {
			wired(id, "", events.Detached)
		}
	}
	return append(all, work.Report{Time: now, Applied: &work.Applied{Rev: it.Rev, Took: time.Millisecond}})
}

func (h *host) rev() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.Rev
}
