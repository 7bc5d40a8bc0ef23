package main

import (
	"context"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/work"
)

// mailbox is an agent's inbox and outbox. It can be used before NATS is
// reached: the agent then keeps its host's last state in force meanwhile.
type mailbox struct {
	options bus.Options
	host    string

	ready    chan struct{} // closed when the two below are set
	inbox    *work.Subscription
	reporter *work.Reporter
}

func newMailbox(o bus.Options, host string) *mailbox {
	return &mailbox{options: o, host: host, ready: make(chan struct{})}
}

// run connects, and holds the connection until ctx ends.
func (m *mailbox) run(ctx context.Context) error {
	conn, err := bus.Connect(ctx, m.options)
	if err != nil {
		return err
	}
	defer conn.Close()
	inbox, err := work.Subscribe(ctx, conn, m.host, work.Position{}, m.options.Logger)
	for err != nil { // NATS may be lost again at any moment; a restart would not help
		m.options.Logger.Warn("cannot subscribe to the work items yet", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
		inbox, err = work.Subscribe(ctx, conn, m.host, work.Position{}, m.options.Logger)
	}
	defer inbox.Close()
	m.inbox, m.reporter = inbox, work.NewReporter(conn, m.host)
	close(m.ready)
	<-ctx.Done()
	return nil
}

// Next waits for the host's next work item.
func (m *mailbox) Next(ctx context.Context) (*work.Item, error) {
	select {
	case <-m.ready:
		return m.inbox.Next(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Report returns when the report is durable.
func (m *mailbox) Report(ctx context.Context, r work.Report) error {
	select {
	case <-m.ready:
		return m.reporter.Report(ctx, r)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Alive says that the agent lives, to whoever listens.
func (m *mailbox) Alive(a work.Alive) error {
	select {
	case <-m.ready:
		return m.reporter.Alive(a)
	default:
		return bus.ErrDisconnected
	}
}
