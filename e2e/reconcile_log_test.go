package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// reconcileLog is a log in memory that fails at will, the fold of it, and the
// hosts that do what the fold's work items say.
type reconcileLog struct {
	mu       sync.Mutex
	rng      *rand.Rand
	seq      uint64
	failing  float64
	since    time.Time     // of failing
	impaired time.Duration // in all, before since
	refused  int
	ids      map[string]bool
	tasks    map[string]bool
	cluster  *events.Cluster
	fold     *scheduler.State
	hostsOf  map[string]*wiredHost
	held     map[netip.Addr]string // by which endpoint, on which host
	trouble  []string
}

// wiredHost is a host that answers its work items in its own time.
type wiredHost struct {
	name    string
	picture *work.State
	leaving []string // endpoints that were deleted, and are not yet detached
}

var errLogFails = errors.New("the log fails")

const testPool = `{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"main"},"spec":{"cidr":"172.16.0.0/20","blockSize":28}}`

func newReconcileLog(seed uint64) *reconcileLog {
	l := &reconcileLog{
		rng: rand.New(rand.NewPCG(seed, 9)), ids: map[string]bool{}, tasks: map[string]bool{},
		cluster: events.NewCluster(), fold: scheduler.NewState(), hostsOf: map[string]*wiredHost{}, held: map[netip.Addr]string{},
	}
	key := events.ResourceKey{Kind: "IPPool", Name: "main"}
	l.take(events.Event{ID: "policy", Kind: events.PolicyApply, Policy: &events.PolicyChange{
		Author: "test", Put: []events.Resource{{ResourceKey: key, Body: json.RawMessage(testPool)}},
	}})
	l.take(events.Event{ID: "settings", Kind: events.SettingsPut, Settings: &events.Settings{
		Networks: []string{"taskwall"}, EnvironmentLabel: "taskwall.environment", Hold: 10 * time.Millisecond,
	}})
	return l
}

func (l *reconcileLog) join(host string) {
	l.hostsOf[host] = &wiredHost{name: host, picture: work.NewState()}
	l.take(events.Event{ID: "join " + host, Kind: events.AgentJoin, Join: &events.Join{Host: host}})
}

// fail makes so many of the appends fail from now on: before anything of them
// is stored, or with a part stored, or with all stored and the answer lost.
func (l *reconcileLog) fail(share float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.failing > 0 {
		l.impaired += now.Sub(l.since)
	}
	l.failing, l.since = share, now
}

// hindered is for how long the log refused appends, and its last refusal may
// have kept a source waiting.
func (l *reconcileLog) hindered() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused == 0 {
		return 0
	}
	return l.impaired + longestRetry
}

// Append stores events, each id once.
func (l *reconcileLog) Append(_ context.Context, evs ...events.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.rng.Float64() < l.failing {
		l.refused++
		evs, err = evs[:l.rng.IntN(len(evs)+1)], errLogFails
	}
	for _, e := range evs {
		if !l.ids[e.ID] {
			l.take(e)
		}
	}
	return err
}

// take folds an event, and gives the hosts their items.
func (l *reconcileLog) take(e events.Event) {
	l.ids[e.ID] = true
	if e.Received.IsZero() {
		e.Schema, e.Received = events.Schema, time.Now().UTC()
	}
	text, err := json.Marshal(e)
	if err != nil || strings.Contains(string(text), "hunter2") {
		l.trouble = append(l.trouble, fmt.Sprintf("an event that must not be: %s, %v", text, err))
	}
	l.seq++
	l.cluster.Apply(e)
	if e.Kind == events.TaskPut {
		l.tasks[e.Task.Key()] = true
	}
	items := l.fold.Apply(events.Entry{Seq: l.seq, Event: e})
	if e.Kind == events.HostGone {
		l.settled()
	}
	for _, it := range items {
		l.work(l.hostsOf[it.Host], it)
	}
}

// work is a host's taking of an item: it wires addresses at once, and
// detaches what it no longer has later.
func (l *reconcileLog) work(h *wiredHost, it *work.Item) {
	if err := h.picture.Apply(it); err != nil {
		l.trouble = append(l.trouble, fmt.Sprintf("item %d of %s: %v", it.Rev, h.name, err))
	}
	if it.Delete != nil {
		h.leaving = append(h.leaving, it.Delete.Endpoints...)
	}
	for _, e := range it.Endpoints {
		if !e.Address.IsValid() {
			continue
		}
		who := h.name + " " + e.ID
		if other, taken := l.held[e.Address]; taken && other != who {
			l.trouble = append(l.trouble, fmt.Sprintf("address %v is given to %s while %s has it", e.Address, who, other))
		}
		l.held[e.Address] = who
	}
}

// settled frees the addresses of hosts that have no agent any more: nobody is
// left to say that they are detached.
func (l *reconcileLog) settled() {
	for name, h := range l.hostsOf {
		gone := true
		for _, m := range l.cluster.Hosts {
			gone = gone && m.Name != name
		}
		if gone {
			for _, id := range h.leaving {
				l.free(name, id)
			}
			h.leaving = nil
		}
	}
}

func (l *reconcileLog) free(host, endpoint string) {
	for addr, who := range l.held {
		if who == host+" "+endpoint {
			delete(l.held, addr)
		}
	}
}

// hosts reports what the hosts have detached, until ctx ends.
func (l *reconcileLog) hosts(ctx context.Context) {
	for tick := time.NewTicker(3 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		for _, name := range events.SortedKeys(l.hostsOf) {
			h := l.hostsOf[name]
			if len(h.leaving) == 0 || l.rng.IntN(3) > 0 {
				continue
			}
			id := h.leaving[0]
			h.leaving = h.leaving[1:]
			if _, back := h.picture.Endpoints[id]; back {
				continue // it was given again before it was detached
			}
			l.free(name, id)
			l.take(events.Event{ID: fmt.Sprint("detached ", l.seq), Kind: events.EndpointState,
				Wiring: &events.Wiring{Host: name, Endpoint: id, State: events.Detached}})
		}
		l.mu.Unlock()
	}
}

// picture is what the log adds up to.
func (l *reconcileLog) picture() picture {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := picture{Tasks: map[string]sim.Task{}, Hosts: map[string]string{}, Apps: map[string]string{}, Deploying: len(l.cluster.Deployments)}
	for key, t := range l.cluster.Tasks {
		if events.Terminal(t.State) {
			continue
		}
		v := sim.Task{
			ID: t.ID, Framework: t.Framework, Executor: t.Executor, Name: t.Name, State: t.State,
			Agent: t.Agent, Container: t.Container, Labels: map[string]string{},
		}
		for k, x := range t.ExecutorLabels {
			v.Labels[k] = x
		}
		for k, x := range t.Labels {
			v.Labels[k] = x
		}
		for _, n := range t.Networks {
			v.Addresses = append(v.Addresses, n.Addresses...)
		}
		p.Tasks[key] = v
	}
	for id, h := range l.cluster.Hosts {
		if h.Reachable {
			p.Hosts[id] = h.Name + " " + h.Address
		}
	}
	for id, a := range l.cluster.Apps {
		p.Apps[id] = a.Version
	}
	if m := l.cluster.Marathon; m != nil {
		p.Framework = m.Framework
		p.Connected = l.cluster.Frameworks[m.Framework].Connected
	}
	return p
}

func (l *reconcileLog) told() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tasks
}

func (l *reconcileLog) troubles() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble
}

func (l *reconcileLog) counts() (stored, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.seq), l.refused
}
