package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
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
	mu      sync.Mutex
	rng     *rand.Rand
	seq     uint64
	failing float64
	delay   time.Duration // the most that an append takes
	counts  logCounts
	ids     map[string]bool
	tasks   map[string]bool
	cluster *events.Cluster
	fold    *scheduler.State
	hostsOf map[string]*wiredHost
	held    map[netip.Addr]string // by which endpoint, on which host
	had     map[netip.Addr]string // by which endpoint before, or still
	given   map[string]netip.Addr // the last address of each task
	trouble []string
}

// logCounts says what a log went through.
type logCounts struct{ Stored, Refused, Delayed, Reused int }

func (c *logCounts) add(d logCounts) {
	c.Stored += d.Stored
	c.Refused += d.Refused
	c.Delayed += d.Delayed
	c.Reused += d.Reused
}

// wiredHost is a host that answers its work items in its own time.
type wiredHost struct {
	name    string
	picture *work.State
	leaving []string // endpoints that were deleted, and are not yet detached
}

var errLogFails = errors.New("the log fails")

// testPools are of many addresses, and of so few that they are soon used again
// or run out.
var testPools = []string{
	`{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"main"},"spec":{"cidr":"172.16.0.0/20","blockSize":28}}`,
	`{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"main"},"spec":{"cidr":"172.16.0.0/27","blockSize":30}}`,
}

func newReconcileLog(seed uint64) *reconcileLog {
	l := &reconcileLog{
		rng: rand.New(rand.NewPCG(seed, 9)), ids: map[string]bool{}, tasks: map[string]bool{},
		cluster: events.NewCluster(), fold: scheduler.NewState(), hostsOf: map[string]*wiredHost{}, held: map[netip.Addr]string{}, had: map[netip.Addr]string{}, given: map[string]netip.Addr{},
	}
	key := events.ResourceKey{Kind: "IPPool", Name: "main"}
	l.take(events.Event{ID: "policy", Kind: events.PolicyApply, Policy: &events.PolicyChange{
		Author: "test", Put: []events.Resource{{ResourceKey: key, Body: json.RawMessage(testPools[l.rng.IntN(len(testPools))])}},
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
	l.failing = share
}

// slow makes each append take up to so long from now on.
func (l *reconcileLog) slow(most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = most
}

// wait is as long as an append takes.
func (l *reconcileLog) wait() {
	l.mu.Lock()
	var d time.Duration
	if l.delay > 0 {
		d = time.Duration(l.rng.Int64N(int64(l.delay)))
		l.counts.Delayed++
	}
	l.mu.Unlock()
	time.Sleep(d)
}

// Append stores events, each id once.
func (l *reconcileLog) Append(_ context.Context, evs ...events.Event) error {
	l.wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.rng.Float64() < l.failing {
		l.counts.Refused++
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
		l.cry("an event that must not be: %s, %v", text, err)
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
	for key, t := range l.cluster.Tasks {
		h := l.hostsOf[l.cluster.Hosts[t.Agent].Name]
		if h == nil {
			continue
		}
		for id, at := range h.picture.Endpoints {
			if work.ExecutorOf(id) == t.Framework+"/"+t.Executor && at.Address.IsValid() && len(t.Networks) > 0 && !events.Terminal(t.State) {
				l.given[key] = at.Address
			}
		}
	}
}

// work is a host's taking of an item: it wires addresses at once, and
// detaches what it no longer has later.
func (l *reconcileLog) work(h *wiredHost, it *work.Item) {
	if err := h.picture.Apply(it); err != nil {
		l.cry("item %d of %s: %v", it.Rev, h.name, err)
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
			l.cry("address %v is given to %s while %s has it", e.Address, who, other)
		}
		if before, ok := l.had[e.Address]; ok && before != who {
			l.counts.Reused++
		}
		l.held[e.Address], l.had[e.Address] = who, who
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
	p := picture{Tasks: map[string]sim.Task{}, Endpoints: map[string]bool{}, Hosts: map[string]string{},
		Apps: map[string]string{}, Deploying: len(l.cluster.Deployments)}
	for name, h := range l.hostsOf {
		for id := range h.picture.Endpoints {
			p.Endpoints[work.ExecutorOf(id)+" on "+name] = true
		}
	}
	for key, t := range l.cluster.Tasks {
		if events.Terminal(t.State) {
			continue
		}
		v := sim.Task{
			ID: t.ID, Framework: t.Framework, Executor: t.Executor, Name: t.Name, State: t.State,
			Agent: t.Agent, Host: l.cluster.Hosts[t.Agent].Name, Container: t.Container, Labels: map[string]string{},
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

// untold are those of the tasks that are not in the log though it works.
func (l *reconcileLog) untold(tasks map[string]bool) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]bool{}
	if l.failing > 0 || l.delay > 0 {
		return out
	}
	for key := range tasks {
		if !l.tasks[key] {
			out[key] = true
		}
	}
	return out
}

// over are the tasks that the log told of, and that have ended by it.
func (l *reconcileLog) over() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]bool{}
	for key := range l.tasks {
		if t, ok := l.cluster.Tasks[key]; !ok || events.Terminal(t.State) {
			out[key] = true
		}
	}
	return out
}

// apart complains of endpoints whose tasks live and were given one address.
func (l *reconcileLog) apart(living map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	by := map[netip.Addr]string{}
	for _, task := range events.SortedKeys(living) {
		addr, ok := l.given[task]
		if !ok {
			continue
		}
		if other, taken := by[addr]; taken && other != living[task] {
			l.cry("address %v is of %s and of %s, and tasks of both live", addr, other, living[task])
		}
		by[addr] = living[task]
	}
}

// complain notes that something is wrong.
func (l *reconcileLog) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cry(format, args...)
}

func (l *reconcileLog) cry(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(l.trouble) < 20 && !slices.Contains(l.trouble, text) {
		l.trouble = append(l.trouble, text)
	}
}

func (l *reconcileLog) troubles() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble
}

func (l *reconcileLog) counted() logCounts {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Stored = int(l.seq)
	return l.counts
}
