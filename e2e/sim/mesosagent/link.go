package mesosagent

import (
	"context"
	"sync"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// mailbox is an unbounded queue of work, done in order by one goroutine.
type mailbox struct {
	mu    sync.Mutex
	queue []func()
	wake  chan struct{}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (b *mailbox) put(f func()) {
	b.mu.Lock()
	b.queue = append(b.queue, f)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *mailbox) run(ctx context.Context) {
	for {
		b.mu.Lock()
		batch := b.queue
		b.queue = nil
		b.mu.Unlock()
		for _, f := range batch {
			if ctx.Err() != nil {
				return
			}
			f()
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return
		}
	}
}

// link is the master's way to one run of the agent: what comes after the agent
// was killed or cut off is lost.
type link struct {
	a     *Agent
	inbox *mailbox
}

func (l link) put(f func()) {
	l.inbox.put(func() {
		l.a.mu.Lock()
		cut := l.a.partitioned
		l.a.mu.Unlock()
		if !cut {
			f()
		}
	})
}

// RunTasks is part of master.Agent, like the methods below.
func (l link) RunTasks(fw mesos.FrameworkInfo, tasks []mesos.TaskInfo) {
	l.put(func() {
		for _, t := range tasks {
			l.a.launchTask(fw, t)
		}
	})
}

func (l link) RunGroup(fw mesos.FrameworkInfo, executor mesos.ExecutorInfo, launch bool, tasks []mesos.TaskInfo) {
	l.put(func() { l.a.launchGroup(fw, executor, launch, tasks) })
}

func (l link) Reconcile(fw mesos.FrameworkInfo, task mesos.Task) {
	l.put(func() { l.a.reconcile(fw, task) })
}

func (l link) KillTask(framework, task string) {
	l.put(func() { l.a.killTask(framework, task) })
}

func (l link) Acknowledge(framework, task string, uuid []byte) {
	l.put(func() { l.a.updates.acknowledge(framework, task, uuid) })
}

func (l link) ShutdownFramework(framework string) {
	l.put(func() { l.a.shutdownFramework(framework) })
}

func (l link) Shutdown(string) {
	l.put(func() {
		// On a goroutine of its own: Kill waits for the mailbox that runs this.
		l.a.running.Go(func() {
			l.a.Kill()
			l.a.mu.Lock()
			l.a.id = ""
			l.a.mu.Unlock()
			l.a.updates.forget()
			l.a.destroyAll()
		})
	})
}
