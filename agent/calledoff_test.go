package agent_test

import (
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// addLater begins an ADD that waits for the announcement, and returns once the
// agent has asked whose container it is.
func (tk *task) addLater() (answer chan string) {
	answer = make(chan string, 1)
	asked := make(chan struct{})
	go func() {
		<-tk.l.mesos.asked
		close(asked)
	}()
	go func() {
		out, _ := tk.add()
		answer <- out
	}()
	<-asked
	return answer
}

// A container is removed while its ADD still waits, as when the Mesos agent was
// restarted and the plugin lives on: nothing is attached afterwards.
func TestDelWhileAddWaits(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend, c.WaitTimeout = "nft", time.Minute })
	tk := l.container("late")
	answer := tk.addLater()
	out := ""
	for out == "" { // what the agent was asked first may have been the sweep's question
		if said, exit := tk.plugin("DEL", tk.config("0.2.0", "taskwall")); exit != 0 {
			t.Fatalf("DEL: %s", said)
		}
		select {
		case out = <-answer:
		case <-time.After(10 * time.Millisecond):
		}
	}
	if !strings.Contains(out, "the container was removed") {
		t.Errorf("ADD: %s", out)
	}
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("late", "10.0.0.1", "")}})
	if left, files := veths(t), attachments(t, l); len(left)+len(files) > 0 {
		t.Errorf("left after DEL: %v, %v", left, files)
	}
	failed := func(r work.Report) bool { return r.Wiring != nil && r.Wiring.State == events.Failed }
	l.mu.Lock()
	for _, r := range l.reports {
		if failed(r) {
			t.Errorf("a failure is reported: %+v", r.Wiring)
		}
	}
	l.mu.Unlock()
	l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/late"}}})
	nothingLeft(t, l, "nft")
}

// The agent is stopped, as for an upgrade, while an ADD waits: the task does
// not fail for it, the next agent answers.
func TestStoppedDuringAttach(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend, c.WaitTimeout = "nft", time.Minute })
	tk := l.container("late")
	answer := tk.addLater()
	l.stop()
	l.start()
	l.snapshot()
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("late", "10.0.0.1", "")}})
	if out := <-answer; !strings.Contains(out, `"10.0.0.1/32"`) {
		t.Fatalf("ADD: %s", out)
	}
	tk.Serve("tcp", "10.0.0.1:80")
	if err := netlab.ReachHere("tcp", "10.0.0.1:80"); err != nil {
		t.Error(err)
	}
}
