package work_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

// A controller's key, and then an agent's, is revoked while they work, and given
// back: both connect again by themselves, with what they had subscribed to, and
// nothing that was said meanwhile is lost. Nothing of theirs gets through before.
func TestKeysAreRevokedAndGivenBack(t *testing.T) {
	ctx := bustest.Context(t)
	key := func() ([]byte, string) {
		seed, public, err := bus.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		return seed, public
	}
	controllerSeed, controllerKey := key()
	agentSeed, agentKey := key()
	_, nobody := key()
	_, otherAgent := key()
	all := bus.Users{Controller: controllerKey, Agents: map[string]string{"a": agentKey, "b": otherAgent}}
	srv := bustest.Server(t, func(o *bus.ServerOptions) { o.Users = &all })
	controller := bustest.Connect(t, srv, func(o *bus.Options) { o.Server, o.URLs, o.NKeySeed = nil, []string{srv.URL()}, controllerSeed })
	agent := bustest.Connect(t, srv, func(o *bus.Options) { o.Server, o.URLs, o.NKeySeed, o.Host = nil, []string{srv.URL()}, agentSeed, "a" })
	if err := bus.EnsureStreams(ctx, controller.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	catchup(t, controller)
	p := publisher(t, controller, 1)
	publish(t, p, snapshot("a", 1))
	host := subscribe(t, agent, "a", work.Position{})
	publish(t, p, snapshot("a", 2))
	wantNext(t, host, 2)
	set := func(u bus.Users) {
		t.Helper()
		if err := srv.SetUsers(&u); err != nil {
			t.Fatal(err)
		}
	}

	set(bus.Users{Controller: nobody, Agents: all.Agents})
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := p.Publish(short, item("a", 3)); err == nil || errors.Is(err, work.ErrFenced) || errors.Is(err, work.ErrGap) {
		t.Errorf("publishing with a key that was revoked: %v", err)
	}
	set(all)
	for err := p.Publish(ctx, item("a", 3)); err != nil; err = p.Publish(ctx, item("a", 3)) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	wantNext(t, host, 3)

	set(bus.Users{Controller: controllerKey, Agents: map[string]string{"b": otherAgent}})
	publish(t, p, item("a", 4), item("a", 5))
	reported := make(chan error, 1)
	go func() {
		reported <- work.NewReporter(agent, "a").Report(ctx, work.Report{Time: time.Now().UTC(), Join: &events.Join{Host: "a"}})
	}()
	select {
	case err := <-reported:
		t.Errorf("reporting with a key that was revoked: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if state, err := bus.StreamState(ctx, controller.JS, bus.ReportsStream); err != nil || state.Msgs != 0 {
		t.Errorf("%d reports are stored, %v", state.Msgs, err)
	}
	set(all)
	if err := <-reported; err != nil {
		t.Error(err)
	}
	wantNext(t, host, 4, 5)
	if got := stored(t, controller); len(got) != 5 {
		t.Errorf("stored are %v", got)
	}
}
