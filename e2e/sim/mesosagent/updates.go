package mesosagent

import (
	"context"
	"slices"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim/master"
)

// updates is the agent's status update manager: per task, an update is sent
// again and again until it is acknowledged, and only then the next one.
type updates struct {
	a *Agent

	// sending keeps updates in order on their way to the master.
	sending sync.Mutex

	mu      sync.Mutex
	streams map[[2]string]*stream
	order   [][2]string
}

type stream struct {
	queue  []mesos.TaskStatus // the first one is on its way
	latest mesos.TaskState
	acked  chan struct{} // closed when the terminal update is acknowledged
	sent   time.Time
}

func newUpdates(a *Agent) *updates {
	return &updates{a: a, streams: map[[2]string]*stream{}}
}

// add queues an update. The channel is closed when it is acknowledged, if it is
// a terminal one.
func (u *updates) add(framework string, s mesos.TaskStatus) <-chan struct{} {
	u.mu.Lock()
	key := [2]string{framework, s.TaskID.Value}
	st := u.streams[key]
	if st == nil {
		st = &stream{acked: make(chan struct{})}
		u.streams[key] = st
		u.order = append(u.order, key)
	}
	st.queue = append(st.queue, s)
	st.latest = *s.State
	first := len(st.queue) == 1
	u.mu.Unlock()
	if first {
		u.send(key)
	}
	return st.acked
}

// send passes the first waiting update to the master, if there is a connection.
func (u *updates) send(key [2]string) {
	u.sending.Lock()
	defer u.sending.Unlock()
	u.a.mu.Lock()
	leader, id := u.a.leader, u.a.id
	u.a.mu.Unlock()
	u.mu.Lock()
	st := u.streams[key]
	if st == nil || len(st.queue) == 0 || leader == nil {
		u.mu.Unlock()
		return
	}
	st.sent = u.a.now()
	up := master.Update{Framework: key[0], Status: st.queue[0], Latest: st.latest}
	u.mu.Unlock()
	leader.Update(id, up)
}

func (u *updates) acknowledge(framework, task string, uuid []byte) {
	key := [2]string{framework, task}
	u.mu.Lock()
	st := u.streams[key]
	if st == nil || len(st.queue) == 0 || string(st.queue[0].UUID) != string(uuid) {
		u.mu.Unlock()
		return
	}
	ended := terminal(*st.queue[0].State)
	st.queue = st.queue[1:]
	more := len(st.queue) > 0
	if ended {
		close(st.acked)
		u.drop(key)
	}
	u.mu.Unlock()
	if more && !ended {
		u.send(key)
	}
}

func (u *updates) drop(key [2]string) {
	delete(u.streams, key)
	u.order = slices.DeleteFunc(u.order, func(k [2]string) bool { return k == key })
}

// dropFramework forgets what a removed framework will never acknowledge.
func (u *updates) dropFramework(framework string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for key := range u.streams {
		if key[0] == framework {
			u.drop(key)
		}
	}
}

// forget drops everything: the agent has lost its state.
func (u *updates) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.streams = map[[2]string]*stream{}
	u.order = nil
}

// pending reports whether something of a task still waits.
func (u *updates) pending(framework, task string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	st := u.streams[[2]string{framework, task}]
	return st != nil && len(st.queue) > 0
}

// Unacknowledged is how many updates wait for their acknowledgement.
func (a *Agent) Unacknowledged() (n int) {
	a.updates.mu.Lock()
	defer a.updates.mu.Unlock()
	for _, st := range a.updates.streams {
		n += len(st.queue)
	}
	return n
}

// resend starts over after a registration.
func (u *updates) resend() {
	u.mu.Lock()
	keys := slices.Clone(u.order)
	u.mu.Unlock()
	for _, key := range keys {
		u.send(key)
	}
}

// retry sends again what was not acknowledged in time.
func (u *updates) retry(ctx context.Context) {
	for {
		fired, stop := u.a.cfg.Clock.After(u.a.cfg.AckRetry)
		select {
		case <-ctx.Done():
			stop()
			return
		case <-fired:
		}
		limit := u.a.now().Add(-u.a.cfg.AckRetry)
		u.mu.Lock()
		var late [][2]string
		for _, key := range u.order {
			if st := u.streams[key]; len(st.queue) > 0 && !st.sent.After(limit) {
				late = append(late, key)
			}
		}
		u.mu.Unlock()
		for _, key := range late {
			u.send(key)
		}
	}
}

func terminal(s mesos.TaskState) bool {
	switch s {
	case mesos.TASK_FINISHED, mesos.TASK_FAILED, mesos.TASK_KILLED, mesos.TASK_ERROR,
		mesos.TASK_LOST, mesos.TASK_DROPPED, mesos.TASK_GONE, mesos.TASK_GONE_BY_OPERATOR:
		return true
	}
	return false
}
