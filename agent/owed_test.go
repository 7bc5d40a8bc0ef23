package agent_test

import (
	"context"
	"errors"
	"testing"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/events/work"
)

// An endpoint ends while its ADD is at work, and the ADD is called off, too: that it
// is detached is said all the same. Nobody else would, and its address would stay taken.
func TestEndDuringAnAddThatIsCalledOff(t *testing.T) {
	at, on := make(chan struct{}), make(chan struct{})
	agent.AtSteps(func(where string) {
		if where == "interface made" {
			at <- struct{}{}
			<-on
		}
	})
	t.Cleanup(func() { agent.AtSteps(func(string) {}) }) // after the agent's end
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	var a *agent.Agent
	l.stop()
	l.prepare = func(it *agent.Agent) { a = it }
	l.start()
	l.snapshot()
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("a", "10.0.0.1", "")}})
	tk := l.container("a")
	ctx, callOff := context.WithCancel(context.Background())
	added := make(chan error, 1)
	go func() {
		_, err := a.Add(ctx, cni.Attachment{Container: tk.container, Namespace: tk.Path, Iface: "eth0", Network: "taskwall"})
		added <- err
	}()
	<-at
	l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/a"}}})
	callOff()
	close(on)
	if err := <-added; !errors.Is(err, agent.ErrGone) {
		t.Errorf("ADD: %v", err)
	}
	l.await("detached", detached("fw/a"))
	nothingLeft(t, l, "nft")
}
