package cni

import (
	"context"
	"errors"
	"sync"
)

// errCalledOff ends an ADD whose container is being removed.
var errCalledOff = errors.New("the container was removed while its network was made")

// adds are the ADDs under way. A plugin may be killed, or outlive the Mesos
// agent that started it, while its ADD waits; the container's DEL comes all the same,
// and what is attached after it nobody would ask to detach.
type adds struct {
	mu    sync.Mutex
	calls map[iface]map[*adding]struct{}
}

// iface is what CNI calls an attachment: one interface of one container.
type iface struct{ container, name string }

type adding struct {
	off  context.CancelCauseFunc
	done chan struct{}
}

// begin notes an ADD. Its context ends when it is called off; end is called when
// it is over.
func (a *adds) begin(ctx context.Context, at Attachment) (_ context.Context, end func()) {
	ctx, off := context.WithCancelCause(ctx)
	c, key := &adding{off, make(chan struct{})}, iface{at.Container, at.Iface}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == nil {
		a.calls = map[iface]map[*adding]struct{}{}
	}
	if a.calls[key] == nil {
		a.calls[key] = map[*adding]struct{}{}
	}
	a.calls[key][c] = struct{}{}
	return ctx, func() {
		off(nil)
		close(c.done)
		a.mu.Lock()
		defer a.mu.Unlock()
		if delete(a.calls[key], c); len(a.calls[key]) == 0 {
			delete(a.calls, key)
		}
	}
}

// callOff ends the interface's ADDs that are under way, and waits until they are over.
func (a *adds) callOff(ctx context.Context, at Attachment) error {
	a.mu.Lock()
	var under []*adding
	for c := range a.calls[iface{at.Container, at.Iface}] {
		under = append(under, c)
	}
	a.mu.Unlock()
	for _, c := range under {
		c.off(errCalledOff)
	}
	for _, c := range under {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
