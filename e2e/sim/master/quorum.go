package master

import (
	"slices"
	"strconv"
	"sync"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Quorum is what masters of one cluster share: who leads, and the registry of
// agents that outlives a leader.
type Quorum struct {
	mu      sync.Mutex
	members []*Master
	leader  *Master
	elected time.Time
	changed chan struct{}

	admitted    map[string]mesos.AgentInfo
	order       []string // of admission
	unreachable map[string]mesos.TimeInfo
	gone        map[string]bool
}

// NewQuorum makes an empty registry.
func NewQuorum() *Quorum {
	return &Quorum{
		changed:     make(chan struct{}),
		admitted:    map[string]mesos.AgentInfo{},
		unreachable: map[string]mesos.TimeInfo{},
		gone:        map[string]bool{},
	}
}

// Leader is the leading master, nil when there is none. The channel of
// LeaderChanged tells when to ask again.
func (q *Quorum) Leader() *Master {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leader
}

// LeaderChanged is closed at the next change of leader.
func (q *Quorum) LeaderChanged() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

func (q *Quorum) join(m *Master) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.members = append(q.members, m)
	if q.leader == nil {
		q.elect(m)
	}
}

func (q *Quorum) leave(m *Master) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.members = slices.DeleteFunc(q.members, func(o *Master) bool { return o == m })
	if q.leader == m {
		var next *Master
		if len(q.members) > 0 {
			next = q.members[0]
		}
		q.elect(next)
	}
}

func (q *Quorum) elect(m *Master) {
	q.leader = m
	if m != nil {
		q.elected = m.cfg.Clock.Now()
	}
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *Quorum) admit(info mesos.AgentInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	id := info.ID.Value
	if _, known := q.admitted[id]; !known {
		q.order = append(q.order, id)
	}
	q.admitted[id] = info
	delete(q.unreachable, id)
}

// expel takes an agent out of the registry's admitted ones.
func (q *Quorum) expel(id string, unreachable *mesos.TimeInfo, gone bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.admitted, id)
	delete(q.unreachable, id)
	q.order = slices.DeleteFunc(q.order, func(o string) bool { return o == id })
	if unreachable != nil {
		q.unreachable[id] = *unreachable
	}
	if gone {
		q.gone[id] = true
	}
}

func (q *Quorum) isGone(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gone[id]
}

func (q *Quorum) isUnreachable(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.unreachable[id]
	return ok
}

// recovered are the admitted agents that a leader has not heard of yet.
func (q *Quorum) recovered(known func(id string) bool) []mesos.AgentInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	var infos []mesos.AgentInfo
	for _, id := range q.order {
		if !known(id) {
			infos = append(infos, q.admitted[id])
		}
	}
	return infos
}

func itoa(n int) string { return strconv.Itoa(n) }

func (q *Quorum) isAdmitted(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.admitted[id]
	return ok
}

func (q *Quorum) electedAt() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.elected
}
