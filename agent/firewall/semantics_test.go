package firewall_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
	"github.com/taskwall/taskwall/policy/oracle"
	"github.com/taskwall/taskwall/policy/policytest"
	"github.com/taskwall/taskwall/policy/resource"
	"github.com/taskwall/taskwall/scheduler"
)

var (
	seedFlag     = flag.Uint64("semantics.seed", 0, "`seed` of the random clusters; 0: by the clock")
	clustersFlag = flag.Int("semantics.clusters", 8, "`number` of random clusters for each kind of iptables")
)

// TestTheKernelMeansWhatThePoliciesSay takes random clusters and policies all
// the way: events, fold, work items, this firewall, the kernel. Then real
// packets try it, and each must fare as the oracle says, which knows nothing of
// all that. One host's kernel is under test: packets between two of its tasks
// meet both ends there, those of other hosts' tasks and of the world outside
// the end that is here.
func TestTheKernelMeansWhatThePoliciesSay(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-semantics.seed=%d", seed)
	for _, b := range []firewall.Backend{firewall.NFT, firewall.Legacy} {
		t.Run(string(b), func(t *testing.T) {
			s := newSite(t, b)
			for i := range uint64(*clustersFlag) {
				s.cluster(seed + i)
				for range 3 {
					s.packets()
					s.change()
				}
				if s.packets(); t.Failed() {
					t.Fatalf("found with -semantics.seed=%d -semantics.clusters=1", seed+i)
				}
			}
			t.Logf("%d packets, %d passed; of them by protocol %v", s.sent, s.passed, s.by)
			if s.passed < s.sent/20 || s.passed > s.sent*19/20 {
				t.Errorf("%d of %d packets passed: the random clusters are too plain", s.passed, s.sent)
			}
		})
	}
}

// site is a controller's fold, and the host h1 that it tells what to do.
type site struct {
	t      *testing.T
	ctx    context.Context
	ether  *ether
	fw     *firewall.Firewall
	gen    *policytest.Gen
	seed   uint64
	fold   *scheduler.State
	seq    uint64
	now    time.Time
	host   *work.State
	wired  map[string]firewall.Wire // by endpoint
	free   []link
	at     map[netip.Addr]link // where each address of the cluster is
	tasks  map[int]*events.Task
	sent   int
	passed int
	by     map[int]int
}

// maxTasks is how many tasks a random cluster has at most, on two hosts.
const maxTasks = 9

func newSite(t *testing.T, b firewall.Backend) *site {
	t.Helper()
	s := &site{t: t, ctx: context.Background(), ether: newEther(t, maxTasks), by: map[int]int{}}
	var err error
	s.fw, err = firewall.Open(s.ctx, firewall.Config{Backend: b, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		empty := firewall.Picture{Wires: func(do func([]firewall.Wire) error) error { return do(nil) }}
		if _, _, err := s.fw.Sync(s.ctx, empty); err != nil {
			t.Error(err)
		}
		s.fw.Close()
		for _, tool := range []string{"iptables-" + string(b), "ip6tables-" + string(b)} {
			for _, table := range []string{"filter", "mangle"} {
				for _, what := range []string{"-F", "-X"} {
					if out, err := exec.Command(tool, "-t", table, what).CombinedOutput(); err != nil {
						t.Errorf("%s: %s", tool, out)
					}
				}
			}
		}
		if out, err := exec.Command("ipset", "destroy").CombinedOutput(); err != nil {
			t.Errorf("ipset: %s", out)
		}
	})
	return s
}

// cluster begins anew with another random cluster.
func (s *site) cluster(seed uint64) {
	s.t.Helper()
	s.seed, s.gen = seed, policytest.Seeded(seed)
	s.fold, s.seq, s.now = scheduler.NewState(), 0, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s.host, s.wired, s.tasks, s.at = work.NewState(), map[string]firewall.Wire{}, map[int]*events.Task{}, map[netip.Addr]link{}
	s.free = slices.Clone(s.ether.wire)
	s.ether.outside(policytest.Outside()...)
	s.say(events.Event{Kind: events.FrameworkPut, Framework: &events.Framework{ID: "m", Name: "marathon"}})
	s.say(events.Event{Kind: events.MarathonPut, Marathon: &events.Marathon{Framework: "m"}})
	random := s.gen.Cluster(maxTasks, 8)
	resources := append(random.Resources, policytest.Pool())
	s.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "ann", Put: resources}})
	for i := range random.Endpoints {
		s.task(i)
	}
	for i, name := range []string{"h1", "h2"} {
		s.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: name, Name: name, Address: fmt.Sprintf("192.168.50.%d", 11+i), Reachable: true}})
	}
	s.say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: "h1"}}) // its whole picture
	if s.fold.View().Refusal != nil {
		s.t.Fatal(s.fold.View().Refusal)
	}
}

// task starts a random task with a number, or changes it.
func (s *site) task(i int) {
	s.t.Helper()
	t := &events.Task{Framework: "other", ID: fmt.Sprintf("task-%d", i), State: "TASK_RUNNING", Containerizer: "mesos",
		Agent: []string{"h1", "h1", "h2"}[s.gen.Pick(3)], Networks: []events.Network{{Name: "taskwall"}}, Labels: s.gen.Labels(), Ports: s.gen.Ports()}
	if app := s.gen.App(); app != "" {
		t.Framework, t.ID = "m", fmt.Sprintf("%s.instance-%d._app.1", strings.ReplaceAll(app[1:], "/", "_"), i)
	}
	t.Executor = t.ID
	if env := s.gen.Environment(); env != "" {
		t.Labels["taskwall.environment"] = env
	}
	if old := s.tasks[i]; old != nil { // what a task is stays, what it says of itself may change
		t.Framework, t.ID, t.Executor, t.Agent = old.Framework, old.ID, old.Executor, old.Agent
	}
	s.tasks[i] = t
	s.say(events.Event{Kind: events.TaskPut, Task: t})
}

// change makes random changes of tasks and policies.
func (s *site) change() {
	s.t.Helper()
	for range 1 + s.gen.Pick(3) {
		i := s.gen.Pick(maxTasks)
		switch s.gen.Pick(6) {
		case 0, 1, 2:
			s.task(i)
		case 3:
			if t := s.tasks[i]; t != nil {
				delete(s.tasks, i)
				s.say(events.Event{Kind: events.TaskGone, Gone: &events.Gone{Key: t.Key()}})
			}
		default:
			next := s.gen.Policy(i)
			switch s.gen.Pick(4) {
			case 0:
				next = s.gen.Set(i)
			case 1:
				next = s.gen.Tier(append(policytest.Tiers, resource.DefaultTier)[i%3])
			}
			s.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "ann", Put: []events.Resource{next}}})
		}
	}
}

// say folds an event and does on the host what follows from it.
func (s *site) say(ev events.Event) {
	s.t.Helper()
	s.seq++
	s.now = s.now.Add(time.Second)
	ev.Schema, ev.ID, ev.Time, ev.Received = events.Schema, fmt.Sprint(s.seq), s.now, s.now
	for _, it := range s.fold.Apply(events.Entry{Seq: s.seq, Event: ev}) {
		if it.Host == "h1" {
			s.apply(it)
		}
	}
}

// apply does what an agent does with an item, in the same order.
func (s *site) apply(it *work.Item) {
	s.t.Helper()
	if err := s.host.Apply(it); err != nil {
		s.t.Fatal(err)
	}
	for _, ep := range it.Endpoints {
		s.wire(ep)
	}
	if it.Snapshot {
		picture := firewall.Picture{Sets: s.host.Sets, Programs: s.host.Programs, Wires: func(do func([]firewall.Wire) error) error {
			return do(slices.Collect(maps.Values(s.wired)))
		}}
		if _, failures, err := s.fw.Sync(s.ctx, picture); err != nil || len(failures) > 0 {
			s.t.Fatal(err, failures)
		}
		return
	}
	wants := func(set, member string) bool {
		if have := s.host.Sets[set]; have != nil {
			_, in := have.Members[member]
			return in
		}
		return false
	}
	gone := it.Delete
	if gone == nil {
		gone = &work.Deletions{}
	}
	failed := s.fw.PutSets(it.Sets)
	failed = append(failed, s.fw.Edit(it.Members, false, wants)...)
	more, err := s.fw.Programs(s.ctx, it.Programs, nil)
	failed = append(failed, more...)
	for _, ep := range it.Endpoints {
		if err == nil && s.wired[ep.ID].Iface != "" {
			err = s.fw.Wire(s.wired[ep.ID])
		}
	}
	for _, id := range gone.Endpoints {
		if w, ok := s.wired[id]; ok && err == nil {
			err = s.fw.Unwire(w)
			s.free = append(s.free, s.at[w.Address])
			delete(s.at, w.Address)
			delete(s.wired, id)
		}
	}
	failed = append(failed, s.fw.Edit(it.Members, true, wants)...)
	if err == nil {
		more, err = s.fw.Programs(s.ctx, nil, gone.Programs)
		failed = append(failed, more...)
	}
	failed = append(failed, s.fw.DropSets(gone.Sets)...)
	if err != nil || len(failed) > 0 {
		s.t.Fatal(err, failed)
	}
	for _, id := range gone.Endpoints {
		s.say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{Host: "h1", Endpoint: id, State: events.Detached}})
	}
}

// wire gives an endpoint of the host a wire, or the one it has its new posture.
func (s *site) wire(ep work.Endpoint) {
	s.t.Helper()
	if !ep.Address.IsValid() {
		return
	}
	w, has := s.wired[ep.ID]
	if !has {
		l := s.free[0]
		s.free = s.free[1:]
		s.ether.place(ep.Address, l)
		s.at[ep.Address] = l
		w = firewall.Wire{Address: ep.Address, Iface: l.host.Attrs().Name}
	}
	w.Posture = ep.Posture
	s.wired[ep.ID] = w
}

// packets sends random packets and compares what becomes of them with what the
// oracle says.
func (s *site) packets() {
	s.t.Helper()
	now := policytest.Cluster{Resources: s.fold.Resources()}
	addresses := map[string]netip.Addr{}
	for _, e := range s.fold.View().Endpoints {
		now.Endpoints = append(now.Endpoints, policy.Endpoint{ID: e.ID, Labels: e.Labels, Environment: e.Environment, Address: e.Address, Ports: e.Ports})
		addresses[e.ID] = e.Address
		if _, here := s.at[e.Address]; !here {
			s.ether.outside(e.Address)
		}
	}
	if len(now.Endpoints) == 0 {
		return
	}
	truth, err := oracle.New(now.Resources, now.Endpoints)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := now.Resolver()
	if err != nil {
		s.t.Fatal(err)
	}
	for range 2 {
		shots := s.shots(r, now.Endpoints, addresses)
		if err := netlink.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
			s.t.Fatal(err)
		}
		s.ether.send(shots)
		for i := range shots {
			sh := &shots[i]
			out, in := truth.Ends(sh.Packet)
			want := s.due(sh, out, in)
			s.sent++
			if sh.arrived {
				s.passed++
				s.by[sh.Protocol]++
			}
			if sh.arrived != want {
				v := r.Explain(sh.Packet)
				s.t.Fatalf("-semantics.seed=%d: passed: %v, and should: %v; from interface %d to %d\n%s > %s %+v\nthe resolver: egress %+v\ningress %+v\n%s",
					s.seed, sh.arrived, want, sh.from.far, sh.to.far, sh.src, sh.dst, sh.Packet, v.Egress, v.Ingress, now.Text())
			}
		}
	}
}

// begins says whether connection tracking takes the packet for the beginning
// of something. It takes only requests for that among the ICMP messages: an
// answer or an error that belongs to nothing never passes.
func begins(p policy.Packet) bool {
	return p.Protocol != 1 || p.ICMPType == 8 || p.ICMPType == 13
}

// due says whether a packet should pass the host, by what its ends say.
func (s *site) due(sh *shot, out, in bool) bool {
	_, fromHere := s.at[sh.src]
	_, toHere := s.at[sh.dst]
	return (!fromHere || out) && (!toHere || in) && begins(sh.Packet)
}

// shots makes packets that go through the host, no two of one connection. Few
// random packets would pass: of those that would not, as far as the resolver
// knows, it leaves most out.
func (s *site) shots(r *policy.Resolver, endpoints []policy.Endpoint, addresses map[string]netip.Addr) []shot {
	type flow struct {
		protocol int
		a, b     netip.AddrPort
	}
	seen := map[flow]bool{}
	var shots []shot
	side := func(p policy.Party) (netip.Addr, link) {
		a := p.Address
		if p.Endpoint != "" {
			a = addresses[p.Endpoint]
		}
		l, here := s.at[a]
		if !here {
			return a, s.ether.out
		}
		return a, l
	}
	for range 300 {
		sh := shot{Packet: s.gen.Packet(endpoints)}
		sh.src, sh.from = side(sh.From)
		sh.dst, sh.to = side(sh.To)
		if !sh.src.IsValid() || !sh.dst.IsValid() || sh.from.far == sh.to.far {
			continue
		}
		f := flow{sh.Protocol, netip.AddrPortFrom(sh.src, sh.SrcPort), netip.AddrPortFrom(sh.dst, sh.DstPort)}
		if f.a.Compare(f.b) > 0 {
			f.a, f.b = f.b, f.a
		}
		if seen[f] {
			continue
		}
		v := r.Verdict(sh.Packet)
		out, in := v.Egress == nil || v.Egress.Allowed, v.Ingress == nil || v.Ingress.Allowed
		if s.due(&sh, out, in) || s.gen.Pick(5) == 0 {
			seen[f] = true
			shots = append(shots, sh)
		}
	}
	return shots
}
