package eventlog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
)

// A server without room keeps what it has. It does not answer a batch, and stores
// its beginning: what is appended again once it has room is there once.
func TestServerIsFull(t *testing.T) {
	o := bus.ServerOptions{Name: t.Name(), Dir: t.TempDir(), Listen: "127.0.0.1:-1", MaxStore: 1 << 20}
	s, err := bus.StartServer(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := bustest.Connect(t, s)
	ctx := bustest.Context(t)
	if err := bus.EnsureStreams(ctx, c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	l, err := Open(ctx, c.JS, Options{Epoch: 1, Key: testKey("log"), Logger: bustest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	stored := 0
	for ; stored < 100 && err == nil; stored++ {
		_, err = l.Append(ctx, taskEvents(fmt.Sprint("b", stored), 50)...)
	}
	stored--
	if err == nil || errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "a server that is full") {
		t.Fatalf("after %d batches: %v", stored, err)
	}
	_, err = l.Append(ctx, taskEvent("one"))
	if err == nil || errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "insufficient resources") {
		t.Errorf("a single event: %v", err)
	}
	if n := len(ids(t, l, 1)); n < 50*stored || n >= 50*(stored+1) { // it stores the beginning of a batch
		t.Errorf("%d records are stored, of %d batches of 50", n, stored)
	}
	s.Shutdown()

	o.MaxStore = 1 << 30
	if s, err = bus.StartServer(o, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	c = bustest.Connect(t, s)
	next, err := Open(ctx, c.JS, Options{Epoch: 2, Key: testKey("log"), Logger: bustest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, next, taskEvents(fmt.Sprint("b", stored), 50)...)
	for i, id := range ids(t, next, 1) {
		if want := fmt.Sprintf("b%d-%d", i/50, i%50); id != want {
			t.Fatalf("record %d is %s instead of %s", i+1, id, want)
		}
	}
	if n := len(ids(t, next, 1)); n != 50*(stored+1) {
		t.Errorf("%d records are stored", n)
	}
	if err := next.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, verify(t, next))
}
