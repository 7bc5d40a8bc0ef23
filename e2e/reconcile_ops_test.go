package e2e

import (
	"context"
	"fmt"
	"time"

	mesosmaster "github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/e2e/sim"
)

// step does one thing to the cluster: what its users do, or what goes wrong.
func (h *history) step(ctx context.Context) {
	h.choose([]op{
		{"create app", 8, func() { h.create(ctx, false) }},
		{"create pod", 4, func() { h.create(ctx, true) }},
		{"scale", 5, func() { h.change(ctx, fmt.Sprintf(`{"instances":%d}`, h.rng.IntN(5))) }},
		{"relabel", 5, func() { h.change(ctx, fmt.Sprintf(`{"labels":{"v":"%d"}}`, h.rng.IntN(1000))) }},
		{"roll back", 2, func() { h.rollback(ctx) }},
		{"delete", 4, func() { h.delete(ctx) }},
		{"a task ends", 4, h.endTask},
		{"lossy Mesos stream", 3, func() { h.c.TamperMesos(h.chaos()) }},
		{"lossy Marathon stream", 3, func() { h.c.TamperMarathon(h.chaos()) }},
		{"cut streams", 3, h.c.CutStreams},
		{"evict streams", 2, h.c.EvictStreams},
		{"mute heartbeats", 1, func() { h.c.MuteMesos(h.rng.IntN(2) == 0) }},
		{"restart master", 2, func() { _ = h.c.RestartMaster() }},
		{"stop master", 1, func() { _ = h.c.StopMaster() }},
		{"start masters", 2, func() { _ = h.c.StartMasters() }},
		{"change Marathon's leader", 2, func() { h.c.Marathon.ChangeLeader() }},
		{"Marathon without a leader", 1, func() { h.c.Marathon.SetLeaderless(h.rng.IntN(2) == 0) }},
		{"Marathon overloaded", 1, func() { h.c.Marathon.Overload(h.rng.IntN(2) == 0) }},
		{"Marathon hides apps", 2, func() { h.c.Marathon.Hide([][]string{nil, {"/g0"}, {"/"}}[h.rng.IntN(3)]...) }},
		{"hold acknowledgements", 1, func() { h.c.Marathon.HoldAcks(h.rng.IntN(2) == 0) }},
		{"agent unreachable", 3, func() { h.c.Unreachable(h.host().Name) }},
		{"agent reachable", 4, func() { h.c.Reachable(h.host().Name) }},
		{"agent partitioned", 2, func() { h.host().Agent.Partition(true) }},
		{"agent killed", 2, func() { h.host().Agent.Kill() }},
		{"agent started", 3, func() { _ = h.host().Agent.Start() }},
		{"agent loses its id", 1, func() { n := h.host(); h.wipe(n); _ = n.Agent.Start() }},
		{"agent unregisters", 1, h.unregister},
		{"agent marked gone", 1, h.markGone},
		{"all agents return late to a new master", 1, h.failOver},
		{"agent drained", 2, func() { h.drain(h.host(), h.rng.IntN(3) > 0) }},
		{"Marathon's leader leaves in a deployment", 2, func() { h.create(ctx, h.rng.IntN(3) == 0); h.abdicate() }},
		{"and while it changes an app", 1, func() { h.change(ctx, fmt.Sprintf(`{"labels":{"v":"%d"}}`, h.rng.IntN(1000))); h.abdicate() }},
		{"another framework's task", 5, h.second.launch},
		{"another framework is torn down", 1, h.second.teardown},
		{"the log fails", 3, func() { h.log.fail(h.rng.Float64() * 0.8) }},
		{"the log is slow", 2, func() { h.log.slow(time.Duration(h.rng.Int64N(int64(time.Second)))) }},
		{"the log recovers", 4, func() { h.log.fail(0); h.log.slow(0) }},
	})
}

// op is something that may happen, the likelier the greater its weight.
type op struct {
	name   string
	weight int
	do     func()
}

// choose does one of the operations.
func (h *history) choose(ops []op) {
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	for n := h.rng.IntN(total); ; ops = ops[1:] {
		if n -= ops[0].weight; n < 0 {
			h.ops[ops[0].name]++
			ops[0].do()
			return
		}
	}
}

// calm ends everything that is wrong with the cluster.
func (h *history) calm(ctx context.Context) {
	h.log.fail(0)
	h.log.slow(0)
	h.c.TamperMesos(sim.Chaos{})
	h.c.TamperMarathon(sim.Chaos{})
	h.c.MuteMesos(false)
	if err := h.c.StartMasters(); err != nil {
		h.t.Errorf("history %d: %v", h.seed, err)
	}
	h.c.Marathon.SetLeaderless(false)
	h.c.Marathon.Overload(false)
	h.c.Marathon.Hide()
	h.c.Marathon.HoldAcks(false)
	for _, n := range h.c.Hosts() {
		h.drain(n, false)
		h.c.Reachable(n.Name)
		if h.gone[n.Agent.ID()] { // it was away when it was marked, and does not know
			h.wipe(n)
		}
		_ = n.Agent.Start() // if it is not running
	}
	for _, n := range h.c.Hosts() {
		if !h.registers(n, 300*time.Millisecond) { // as one that is not answered for long starts anew
			n.Agent.Kill()
			_ = n.Agent.Start()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if h.c.Settle(ctx) != nil {
		h.ops["a deployment without an end"]++ // the picture must be right during one, too
	}
}

// failOver has a new master lead while all agents are cut off from it. They come
// back as they are let, one by one.
func (h *history) failOver() {
	for _, n := range h.c.Hosts() {
		n.Agent.Partition(true)
	}
	_ = h.c.RestartMaster() // there may be none
}

// drain has a host's agent get no new tasks, or again.
func (h *history) drain(n *sim.Node, on bool) {
	if m := h.c.Master(); m != nil {
		m.SetDeactivated(n.Agent.ID(), on)
	}
}

// abdicate has Marathon's leader leave while it deploys.
func (h *history) abdicate() {
	time.Sleep(time.Duration(h.rng.Int64N(int64(20 * time.Millisecond))))
	h.c.Marathon.ChangeLeader()
}

// registers waits for the master to list a host's agent.
func (h *history) registers(n *sim.Node, patience time.Duration) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		m := h.c.Master()
		if m == nil {
			continue
		}
		for _, a := range m.Get(mesosmaster.Call_GET_AGENTS, false).GetAgents.Agents {
			if a.Active && a.AgentInfo.ID.Value == n.Agent.ID() {
				return true
			}
		}
	}
	return false
}

// markGone gives a host up; what runs there is ended by the operator's hand
// when the Mesos agent is not there to do it.
func (h *history) markGone() {
	n := h.host()
	h.mu.Lock() // before the fold can be told
	defer h.mu.Unlock()
	h.bury(n)
	if id := n.Agent.ID(); h.c.MarkGone(n.Name) {
		h.gone[id] = true
	}
}

// unregister shuts a host's agent down, and with it what runs there.
func (h *history) unregister() {
	n := h.host()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bury(n)
	n.Agent.Unregister()
}

func (h *history) chaos() sim.Chaos {
	return sim.Chaos{Drop: h.rng.Float64() * 0.4, Duplicate: h.rng.Float64() * 0.3, Delay: h.rng.Float64() * 0.3}
}

func (h *history) host() *sim.Node {
	hosts := h.c.Hosts()
	return hosts[h.rng.IntN(len(hosts))]
}

const appSpec = `{"id":%q,"cmd":"x","instances":%d,"cpus":0.1,"mem":16,"labels":{"v":"%d","taskwall.environment":"test"},
	"networks":[{"mode":"container","name":"taskwall"}],"env":{"SECRET":"hunter2"}}`

const podSpec = `{"id":%q,"labels":{"v":"%[3]d","taskwall.environment":"test"},"networks":[{"mode":"container","name":"taskwall"}],
	"scaling":{"kind":"fixed","instances":%[2]d},"containers":[
	{"name":"a","exec":{"command":{"shell":"x"}},"resources":{"cpus":0.1,"mem":16}},
	{"name":"b","exec":{"command":{"shell":"x"}},"resources":{"cpus":0.1,"mem":16}}]}`

// groups hold the apps and pods. Marathon lists the apps of /g1 when it is asked
// for the second.
var groups = []string{"/g0", "/g1/apps", "/g2"}

// create asks Marathon for an app or pod. Marathon may be unable to answer:
// then there is none, or there is one that we do not change any more.
func (h *history) create(ctx context.Context, pod bool) {
	h.next++
	id, instances, label := fmt.Sprintf("%s/app%d", groups[h.rng.IntN(len(groups))], h.next), 1+h.rng.IntN(3), h.rng.IntN(1000)
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	var err error
	if pod {
		err = h.c.CreatePod(ctx, fmt.Sprintf(podSpec, id, instances, label))
	} else {
		err = h.c.CreateApp(ctx, fmt.Sprintf(appSpec, id, instances, label))
	}
	if err == nil {
		h.apps[id] = pod
	}
}

// some is the id of an app, or of a pod.
func (h *history) some(pod bool) (id string, ok bool) {
	var ids []string
	for n := range h.next {
		for _, g := range groups {
			id := fmt.Sprintf("%s/app%d", g, n+1)
			if is, ok := h.apps[id]; ok && is == pod {
				ids = append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return "", false
	}
	return ids[h.rng.IntN(len(ids))], true
}

func (h *history) change(ctx context.Context, change string) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if id, ok := h.some(false); ok {
		_ = h.c.UpdateApp(ctx, id, change)
	}
}

// rollback undoes whatever Marathon is deploying.
func (h *history) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	var running []struct{ ID string }
	if err := h.c.Get(ctx, "/v2/deployments", &running); err != nil || len(running) == 0 {
		return
	}
	_ = h.c.Rollback(ctx, running[h.rng.IntN(len(running))].ID)
}

func (h *history) delete(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	pod := h.rng.IntN(3) == 0
	id, ok := h.some(pod)
	if !ok {
		return
	}
	if pod {
		_ = h.c.DeletePod(ctx, id)
	} else {
		_ = h.c.DeleteApp(ctx, id)
	}
	delete(h.apps, id)
}

func (h *history) endTask() {
	for _, n := range h.c.Hosts() {
		if tasks := n.Agent.Tasks(); len(tasks) > 0 {
			_ = n.Agent.Exit(tasks[h.rng.IntN(len(tasks))].ID, h.rng.IntN(2))
			return
		}
	}
}
