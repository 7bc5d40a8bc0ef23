package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mesoslib "github.com/mesos/mesos-go/api/v1/lib"
	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/marathon"
	"github.com/taskwall/taskwall/events/mesos"
)

var (
	histories = flag.Int("histories", 12, "random histories that TestReconciliation plays")
	firstSeed = flag.Uint64("history", 1, "seed of the first of them")
	abreast   = flag.Int("abreast", 4, "histories played at the same time")
)

// settleTime is how long a task may live without being in the log, besides the
// time in which the log refused appends. longestRetry is how long a source then
// waits before it offers events again.
const (
	settleTime   = 6 * time.Second
	longestRetry = 5 * time.Second
)

// TestReconciliation plays random histories of a cluster in which everything
// that can go wrong does: events are lost, doubled, late and out of order,
// streams are cut, evicted and held up, masters and Marathons are replaced,
// agents vanish, return, lose their ids and are given up, the log fails and
// loses its acknowledgements. After each, the log must add up to what is true.
//
//	go test ./e2e -run TestReconciliation -histories 1000 -history 1
func TestReconciliation(t *testing.T) {
	var (
		wg    sync.WaitGroup
		slots = make(chan struct{}, *abreast)
		sum   tally
	)
	for i := range *histories {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			seed := *firstSeed + uint64(i)
			h := &history{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7))}
			h.play()
			if n := sum.add(h); n%100 == 0 {
				t.Logf("%d histories played", n)
			}
		})
		if t.Failed() {
			break
		}
	}
	wg.Wait()
	t.Logf("%d histories, %d operations and faults, %d events in the log, %d refused appends: %v",
		sum.histories, sum.total(), sum.events, sum.refused, sum.ops)
}

// history is one random life of a cluster.
type history struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand

	c        *sim.Cluster
	log      *reconcileLog
	mesos    *mesos.Source
	marathon *marathon.Source
	ops      map[string]int
	apps     map[string]bool // by path: pod
	gone     map[string]bool // Mesos agent ids that were marked gone
	lost     map[string]bool // tasks that the master does not know of
	next     int
}

func (h *history) play() {
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Minute)
	defer cancel()
	h.ops, h.apps, h.gone, h.lost = map[string]int{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	if err := h.start(ctx); err != nil {
		h.t.Errorf("history %d: %v", h.seed, err)
		return
	}
	defer h.c.Close()
	stop := h.follow()
	seen := h.watch(ctx)
	for range 20 + h.rng.IntN(30) {
		h.step(ctx)
		time.Sleep(time.Duration(h.rng.IntN(20)) * time.Millisecond)
	}
	h.calm(ctx)
	h.settle(ctx)
	h.check(seen())
	stop()
}

func (h *history) start(ctx context.Context) (err error) {
	cfg := sim.Config{
		Seed: h.seed, Masters: 1 + h.rng.IntN(2), Marathons: 1 + h.rng.IntN(2), TaskKilling: h.rng.IntN(2) == 0,
		LegacyTaskIDs: h.rng.IntN(4) == 0,
		RootLag:       time.Duration(h.rng.IntN(20)) * time.Millisecond, AttachLag: time.Duration(h.rng.IntN(20)) * time.Millisecond,
		KeepAlive: 200 * time.Millisecond, Heartbeat: 200 * time.Millisecond, PingTimeout: 300 * time.Millisecond,
		NotReadyFor: time.Duration(h.rng.IntN(50)) * time.Millisecond, Outstanding: 4 + h.rng.IntN(1000),
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
		PollAgents: 100 * time.Millisecond, Resync: 300 * time.Millisecond, Linger: 500 * time.Millisecond,
		RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond,
	}, h.log, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	as, err := marathon.New(marathon.Config{
		Members: h.c.MarathonURLs(), CallTimeout: 2 * time.Second, Silence: 10 * time.Second, Resync: 300 * time.Millisecond,
		Settle: 5 * time.Millisecond, RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond,
	}, h.log, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.mesos, h.marathon = ms, as
	var wg sync.WaitGroup
	wg.Go(func() { _ = ms.Run(ctx) })
	wg.Go(func() { _ = as.Run(ctx) })
	wg.Go(func() { h.log.hosts(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// watch notes when each task was first and last seen to live, until the
// returned function is called.
func (h *history) watch(ctx context.Context) func() map[string]span {
	ctx, cancel := context.WithCancel(ctx)
	lives := map[string]span{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			now := time.Now()
			for _, task := range h.c.Tasks() {
				key := events.TaskKey(task.Framework, task.ID)
				s, ok := lives[key]
				if !ok {
					s.first = now
				}
				s.last = now
				lives[key] = s
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() map[string]span { cancel(); <-done; return lives }
}

type span struct{ first, last time.Time }

// check holds the log against all that was seen to live.
func (h *history) check(lives map[string]span) {
	told, limit := h.log.told(), settleTime+h.log.hindered()
	for key, s := range lives {
		if s.last.Sub(s.first) > limit && !told[key] && !h.lost[key] {
			h.t.Errorf("history %d: task %s lived for %v and is not in the log", h.seed, key, s.last.Sub(s.first))
		}
	}
	for _, p := range h.log.troubles() {
		h.t.Errorf("history %d: %s", h.seed, p)
	}
}

// settle waits for the log to add up to the truth.
func (h *history) settle(ctx context.Context) {
	deadline := time.Now().Add(time.Minute)
	for {
		truth, err := h.truth(ctx)
		diff := ""
		if err == nil {
			told := h.log.picture()
			h.orphans(truth, told)
			diff = cmp.Diff(truth, told)
		}
		switch {
		case err == nil && diff == "":
			return
		case time.Now().After(deadline) || ctx.Err() != nil:
			h.t.Errorf("history %d did not settle: %v\ntruth (-), log (+)\n%s\n%s", h.seed, err, diff, h.masterSays())
			return
		}
		time.Sleep(5 * time.Millisecond)
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

// orphans are the pods' tasks whose executor the master has forgotten, because
// a former executor of the same id has exited: nothing that the master says has
// their labels and networks. Both pictures are compared without.
func (h *history) orphans(ps ...picture) {
	m := h.c.Master()
	if m == nil {
		return
	}
	listed := map[string]bool{}
	for _, x := range m.Get(mesosmaster.Call_GET_EXECUTORS, false).GetExecutors.Executors {
		listed[x.ExecutorInfo.FrameworkID.Value+"/"+x.ExecutorInfo.ExecutorID.Value] = true
	}
	for _, p := range ps {
		for key, t := range p.Tasks {
			if t.Executor != t.ID && !listed[t.Framework+"/"+t.Executor] {
				t.Labels, t.Addresses = nil, nil
				p.Tasks[key] = t
			}
		}
	}
}

// picture is what the log adds up to, and what is true, in comparable form.
type picture struct {
	Tasks     map[string]sim.Task
	Hosts     map[string]string // reachable agents: host name and address
	Apps      map[string]string // versions
	Framework string
	Connected bool
	Deploying int
}

func (h *history) truth(ctx context.Context) (picture, error) {
	p := picture{Tasks: map[string]sim.Task{}, Hosts: map[string]string{}, Apps: map[string]string{}, Connected: true}
	m := h.c.Master()
	if m == nil {
		return p, errors.New("there is no master")
	}
	listed := map[string]bool{}
	for _, t := range m.Get(mesosmaster.Call_GET_TASKS, false).GetTasks.Tasks {
		listed[events.TaskKey(t.FrameworkID.Value, t.TaskID.Value)] = true
	}
	for _, t := range h.c.Tasks() {
		// A launch that overtook its agent's return leaves a task that no
		// master knows of: nobody can be told of it.
		if key := events.TaskKey(t.Framework, t.ID); !listed[key] {
			h.lost[key] = true
			continue
		}
		t.App, t.Address, t.Netns, t.Pid, t.Host = "", "", "", 0, ""
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
	mu                         sync.Mutex
	histories, events, refused int
	ops                        map[string]int
}

// add counts a history in, and says how many there are now.
func (s *tally) add(h *history) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.histories++
	n, refused := h.log.counts()
	s.events, s.refused = s.events+n, s.refused+refused
	if s.ops == nil {
		s.ops = map[string]int{}
	}
	for op, n := range h.ops {
		s.ops[op] += n
	}
	return s.histories
}

func (s *tally) total() (n int) {
	for _, k := range s.ops {
		n += k
	}
	return n
}
