package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	mesoslib "github.com/mesos/mesos-go/api/v1/lib"
	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/e2e/sim/memnet"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/marathon"
	"github.com/taskwall/taskwall/events/mesos"
)

var (
	histories = flag.Int("histories", 40, "random histories that TestReconciliation plays")
	firstSeed = flag.Uint64("history", 1, "seed of the first of them")
)

// settleTime is how long a task may live, with a master that lists it and a log
// that works, without being in the log. After a log that refused most appends,
// the sources wait up to five seconds before the next; and then it may take four
// until they see that their stream is silent, and another answers.
const settleTime = 10 * time.Second

// TestReconciliation plays random histories of a cluster in which everything
// that can go wrong does: events are lost, doubled, late and out of order,
// streams are cut, evicted and held up, masters and Marathons are replaced,
// agents vanish, return, lose their ids and are given up, frameworks are torn
// down, tasks have odd ids and ids of other frameworks' tasks, the log fails, is slow
// and loses its acknowledgements. After each, the log must add up to what is
// true. Each history lives in a time of its own, on a network in memory: it
// takes what it computes, and nothing depends on how busy the machine is.
//
//	go test ./e2e -run TestReconciliation -histories 3000 -history 1
func TestReconciliation(t *testing.T) {
	sum := &tally{}
	t.Cleanup(func() { t.Log(sum) })
	for i := range *histories {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprint("history=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHistory(t, seed)
				h.play()
				sum.add(h)
			})
		})
	}
}

// history is one random life of a cluster.
type history struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand

	c        *sim.Cluster
	net      *memnet.Network
	log      *reconcileLog
	mesos    *mesos.Source
	marathon *marathon.Source
	began    time.Time
	resync   time.Duration // between comparisons of the whole state
	slack    int           // events that a stream may be behind before Marathon cuts it
	ops      map[string]int
	apps     map[string]bool // by path: pod
	second   *second

	mu   sync.Mutex
	gone map[string]bool // Mesos agent ids that were marked gone
	dead map[string]bool // tasks of agents that were marked gone, unregistered or lost their ids

	next int
}

func newHistory(t *testing.T, seed uint64) *history {
	rng := rand.New(rand.NewPCG(seed, 7))
	h := &history{
		t: t, seed: seed, rng: rng, began: time.Now(), resync: 500 * time.Millisecond, slack: 1 << (2 + rng.IntN(8)),
		ops: map[string]int{}, apps: map[string]bool{}, gone: map[string]bool{}, dead: map[string]bool{},
	}
	h.second = newSecond(h)
	return h
}

func (h *history) play() {
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	if err := h.start(ctx); err != nil {
		h.t.Errorf("history %d: %v", h.seed, err)
		return
	}
	defer h.c.Close()
	stop := h.follow()
	seen := h.watch(ctx)
	for range 20 + h.rng.IntN(30) {
		h.step(ctx)
		time.Sleep(h.pause())
	}
	h.calm(ctx)
	h.settle(ctx, time.Minute)
	seen()
	stop()
	for _, p := range h.log.troubles() {
		h.t.Errorf("history %d: %s", h.seed, p)
	}
}

// pause is short most of the time, so that things happen while others are under
// way, and sometimes long enough for all timeouts.
func (h *history) pause() time.Duration {
	longest := 20 * time.Millisecond
	switch n := h.rng.IntN(20); {
	case n == 0:
		longest = 15 * time.Second
	case n < 6:
		longest = 500 * time.Millisecond
	}
	return time.Duration(h.rng.Int64N(int64(longest)))
}

func (h *history) start(ctx context.Context) (err error) {
	h.net = memnet.New(1 << (8 + h.rng.IntN(12)))
	cfg := sim.Config{
		Network: h.net,
		Seed:    h.seed, Masters: 1 + h.rng.IntN(2), Marathons: 1 + h.rng.IntN(2), TaskKilling: h.rng.IntN(2) == 0,
		LegacyTaskIDs: h.rng.IntN(4) == 0,
		RootLag:       time.Duration(h.rng.IntN(20)) * time.Millisecond, AttachLag: time.Duration(h.rng.IntN(20)) * time.Millisecond,
		KeepAlive: 200 * time.Millisecond, Heartbeat: 200 * time.Millisecond, PingTimeout: 300 * time.Millisecond,
		NotReadyFor: time.Duration(h.rng.IntN(50)) * time.Millisecond, Outstanding: h.slack,
		PaperIP: func(host string, n int) string {
			return fmt.Sprintf("10.%s.%d.%d", strings.TrimPrefix(host, "h"), n>>8&0xff, n&0xff)
		},
	}
	h.log = newReconcileLog(h.seed)
	for i := range 2 + h.rng.IntN(3) {
		cfg.Hosts = append(cfg.Hosts, sim.Host{Name: fmt.Sprintf("h%d", i+1), Resources: master.Amount{Cpus: 100, Mem: 1 << 20, Disk: 1 << 20, Ports: []mesoslib.Value_Range{{Begin: 31000, End: 32000}}}})
		h.log.join(cfg.Hosts[i].Name)
	}
	h.c, err = sim.Start(ctx, cfg)
	return err
}

// follow runs both sources until it is told to stop.
func (h *history) follow() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	encoding := mesos.Protobuf
	if h.rng.IntN(2) == 0 {
		encoding = mesos.JSON
	}
	ms, err := mesos.New(mesos.Config{
		Masters: h.c.MasterURLs(), Encoding: encoding, CallTimeout: 2 * time.Second, Heartbeats: 2,
		PollAgents: 200 * time.Millisecond, Resync: h.resync, Linger: 500 * time.Millisecond,
		RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond, Dial: h.net.DialContext,
	}, h.log, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	as, err := marathon.New(marathon.Config{
		Members: h.c.MarathonURLs(), CallTimeout: 2 * time.Second, Silence: 10 * time.Second, Resync: h.resync,
		Settle: 5 * time.Millisecond, RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond, Dial: h.net.DialContext,
	}, h.log, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.mesos, h.marathon = ms, as
	var wg sync.WaitGroup
	wg.Go(func() { _ = ms.Run(ctx) })
	wg.Go(func() { _ = as.Run(ctx) })
	wg.Go(func() { h.log.hosts(ctx) })
	wg.Go(func() { h.second.run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// watch complains of tasks that are not told of in time, of live tasks that the
// log has given up, and of live tasks that share an address, until the returned
// function is called.
func (h *history) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		since := map[string]time.Time{} // when each task began to be seen without a break
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			over := h.log.over() // first: what the log says to be over is over by then
			living := h.living()
			for key := range living {
				if over[key] {
					h.log.complain("task %s lives, and the log says that it is over", key)
				}
			}
			h.log.apart(living)
			untold := h.log.untold(h.listed())
			for key := range since {
				if !untold[key] {
					delete(since, key)
				}
			}
			for key := range untold {
				if _, ok := since[key]; !ok {
					since[key] = time.Now()
				} else if d := time.Since(since[key]); d > settleTime {
					h.log.complain("task %s lives for %v and is not in the log", key, d)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// living are the tasks that live, and their endpoints. Those whose framework was
// torn down, whose agent was declared gone or lost its id count as dead: a partition, or the time until the
// agent's next start, may let them run on.
func (h *history) living() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]string{}
	for _, t := range h.c.Tasks() {
		key := events.TaskKey(t.Framework, t.ID)
		if h.gone[t.Agent] || h.second.ended(t.Framework) {
			h.dead[key] = true
		}
		if !h.dead[key] {
			out[key] = endpointOf(t)
		}
	}
	return out
}

// bury counts what runs on a host as dead. The lock is held.
func (h *history) bury(n *sim.Node) {
	for _, t := range n.Agent.Tasks() {
		h.dead[events.TaskKey(t.Framework, t.ID)] = true
	}
}

// wipe has a host's agent lose its id.
func (h *history) wipe(n *sim.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n.Agent.Kill()
	h.bury(n)
	n.Agent.Wipe()
}

// endpointOf says which executor a task is of, and where: another host may have
// one of the same id.
func endpointOf(t sim.Task) string { return t.Framework + "/" + t.Executor + " on " + t.Host }

// listed are the tasks that live and that the leading master lists. A launch
// that overtook its agent's return leaves a task that no master knows of:
// nobody can be told of it.
func (h *history) listed() map[string]bool {
	m := h.c.Master()
	if m == nil {
		return nil
	}
	live := map[string]bool{}
	for _, t := range h.c.Tasks() {
		live[events.TaskKey(t.Framework, t.ID)] = true
	}
	listed := map[string]bool{}
	for _, t := range m.Get(mesosmaster.Call_GET_TASKS, false).GetTasks.Tasks {
		if key := events.TaskKey(t.FrameworkID.Value, t.TaskID.Value); live[key] {
			listed[key] = true
		}
	}
	return listed
}

// settle waits for the log to add up to the truth.
func (h *history) settle(ctx context.Context, patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		truth, err := h.truth(ctx)
		told := h.log.picture()
		h.orphans(truth, told)
		switch {
		case err == nil && reflect.DeepEqual(truth, told):
			return true
		case time.Now().After(deadline) || ctx.Err() != nil:
			h.t.Errorf("history %d did not settle: %v\ntruth (-), log (+)\n%s\n%s", h.seed, err, cmp.Diff(truth, told), h.masterSays())
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// masterSays is what the leading master knows of agents, for who must find out
// why a history did not settle.
func (h *history) masterSays() string {
	m := h.c.Master()
	if m == nil {
		return "there is no master"
	}
	var said []string
	agents := m.Get(mesosmaster.Call_GET_AGENTS, false).GetAgents
	for _, a := range agents.Agents {
		said = append(said, fmt.Sprintf("%s active %v", a.AgentInfo.ID.Value, a.Active))
	}
	for _, a := range agents.RecoveredAgents {
		said = append(said, a.ID.Value+" recovered")
	}
	for _, list := range [][]mesoslib.Task{m.Get(mesosmaster.Call_GET_TASKS, false).GetTasks.Tasks, m.Get(mesosmaster.Call_GET_TASKS, false).GetTasks.UnreachableTasks} {
		for _, t := range list {
			said = append(said, fmt.Sprintf("%s %v", t.TaskID.Value, t.State))
		}
	}
	return "the master's agents and tasks: " + strings.Join(said, ", ") + fmt.Sprintf("\nsources: %+v\n%+v", h.mesos.Status(), h.marathon.Status())
}

// orphans are left out of both pictures: tasks of agents that the master found in the registry and has not heard of since it started: we keep them,
// for such agents usually come back, and these never will.
func (h *history) orphans(ps ...picture) {
	m := h.c.Master()
	if m == nil {
		return
	}
	recovered := map[string]bool{}
	for _, a := range m.Get(mesosmaster.Call_GET_AGENTS, false).GetAgents.RecoveredAgents {
		recovered[a.ID.Value] = true
	}
	for _, p := range ps {
		for key, t := range p.Tasks {
			if recovered[t.Agent] {
				delete(p.Endpoints, endpointOf(t))
				delete(p.Tasks, key)
			}
		}
	}
}

// picture is what the log adds up to, and what is true, in comparable form.
type picture struct {
	Tasks     map[string]sim.Task
	Endpoints map[string]bool   // that a host is told to wire: its executor, and where
	Hosts     map[string]string // reachable agents: host name and address
	Apps      map[string]string // versions
	Framework string
	Connected bool
	Deploying int
}

func (h *history) truth(ctx context.Context) (picture, error) {
	p := picture{Tasks: map[string]sim.Task{}, Endpoints: map[string]bool{}, Hosts: map[string]string{}, Apps: map[string]string{}, Connected: true}
	if h.c.Master() == nil {
		return p, errors.New("there is no master")
	}
	for _, t := range h.c.Tasks() {
		p.Endpoints[endpointOf(t)] = true
		t.App, t.Address, t.Netns, t.Pid = "", "", "", 0
		p.Tasks[events.TaskKey(t.Framework, t.ID)] = t
	}
	for _, n := range h.c.Hosts() {
		p.Hosts[n.Agent.ID()] = n.Name + " " + n.IP
	}
	var apps struct {
		Apps []struct{ ID, Version string }
	}
	var pods, deployments []struct{ ID, Version string }
	if err := h.c.Get(ctx, "/v2/apps", &apps); err != nil {
		return p, err
	}
	if err := h.c.Get(ctx, "/v2/pods", &pods); err != nil {
		return p, err
	}
	if err := h.c.Get(ctx, "/v2/deployments", &deployments); err != nil {
		return p, err
	}
	p.Deploying = len(deployments)
	for _, a := range append(apps.Apps, pods...) {
		p.Apps[a.ID] = a.Version
	}
	p.Framework = h.c.Marathon.FrameworkID()
	return p, nil
}

// tally sums histories up.
type tally struct {
	mu        sync.Mutex
	histories int
	time      time.Duration
	log       logCounts
	tampered  sim.Tampered
	slow      int
	ops       map[string]int
}

func (s *tally) add(h *history) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histories++
	s.time += time.Since(h.began)
	s.log.add(h.log.counted())
	did := h.c.Tampered()
	s.tampered.Dropped += did.Dropped
	s.tampered.Doubled += did.Doubled
	s.tampered.Delayed += did.Delayed
	s.tampered.Overtaken += did.Overtaken
	s.slow += h.c.Marathon.SlowStreams()
	if s.ops == nil {
		s.ops = map[string]int{}
	}
	for op, n := range h.ops {
		s.ops[op] += n
	}
}

func (s *tally) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := 0
	for _, n := range s.ops {
		total += n
	}
	return fmt.Sprintf("%d histories of %v; %d operations and faults: %v; stream events %+v, %d streams cut for slowness; the log %+v",
		s.histories, s.time.Round(time.Second), total, s.ops, s.tampered, s.slow, s.log)
}
