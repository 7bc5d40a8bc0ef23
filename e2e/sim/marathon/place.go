package marathon

import (
	"cmp"
	"regexp"
	"slices"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"github.com/taskwall/taskwall/e2e/sim/master"
)

// refuse is --decline_offer_duration: how long declined offers stay away.
const refuse = 120.0

func (m *Marathon) drop(offer string) {
	m.held = slices.DeleteFunc(m.held, func(o mesos.Offer) bool { return o.ID.Value == offer })
}

// revive asks for offers, for there is something to launch. They arrive on
// the queue, and place follows.
func (m *Marathon) revive() {
	m.call(&scheduler.Call{Type: scheduler.Call_REVIVE, Revive: &scheduler.Call_Revive{}})
	m.events.poke()
}

// place matches waiting instances with the offers at hand, spreading each spec
// over the hosts, and gives back what it does not need.
func (m *Marathon) place() {
	if len(m.held) == 0 {
		return
	}
	offers := m.held
	m.held = nil
	left := make([]master.Amount, len(offers))
	launches := make([][]mesos.Offer_Operation, len(offers))
	for n, o := range offers {
		left[n] = master.AmountOf(o.Resources)
	}
	now := m.cfg.Clock.Now()
	placed := map[string]map[string]int{} // spec → agent → instances
	for _, i := range m.sortedInstances() {
		if i.condition != "Scheduled" || i.stopped || now.Before(i.notBefore) {
			continue
		}
		at := placed[i.spec.id]
		if at == nil {
			at = m.countByAgent(i.spec.id)
			placed[i.spec.id] = at
		}
		n := m.choose(i, offers, left, at)
		if n < 0 {
			continue
		}
		at[offers[n].AgentID.Value]++
		op, used := m.provision(i, offers[n], left[n])
		left[n] = left[n].Minus(used)
		launches[n] = append(launches[n], op)
	}
	for n, o := range offers {
		filters := &mesos.Filters{RefuseSeconds: ptr(refuse)}
		if len(launches[n]) == 0 {
			m.call(&scheduler.Call{Type: scheduler.Call_DECLINE, Decline: &scheduler.Call_Decline{OfferIDs: []mesos.OfferID{o.ID}, Filters: filters}})
			continue
		}
		m.call(&scheduler.Call{Type: scheduler.Call_ACCEPT, Accept: &scheduler.Call_Accept{
			OfferIDs: []mesos.OfferID{o.ID}, Operations: launches[n], Filters: filters,
		}})
	}
}

// choose picks an offer for an instance: it must fit and meet the constraints;
// of those, the host with the fewest of the same spec.
func (m *Marathon) choose(i *instance, offers []mesos.Offer, left []master.Amount, at map[string]int) int {
	best, fewest := -1, 0
	need := i.spec.need()
	for n, o := range offers {
		if !left[n].Covers(need) || !m.allowed(i.spec, o) {
			continue
		}
		same := at[o.AgentID.Value]
		if best < 0 || same < fewest || same == fewest && left[n].Cpus > left[best].Cpus {
			best, fewest = n, same
		}
	}
	return best
}

// countByAgent is how many live instances of a spec each agent has.
func (m *Marathon) countByAgent(spec string) map[string]int {
	out := map[string]int{}
	for _, i := range m.bySpec[spec] {
		if i.active() {
			out[i.agentID]++
		}
	}
	return out
}

// need is what an instance takes: of the ports, those that it insists on.
func (s *runSpec) need() master.Amount {
	if !s.pod {
		return master.Amount{Cpus: s.app.Cpus, Mem: s.app.Mem, Disk: s.app.Disk, Ports: portResources(s.fixedPorts())}
	}
	need := s.executorAmount().Plus(master.Amount{Ports: portResources(s.fixedPorts())})
	for _, c := range s.podSpec.Containers {
		need = need.Plus(master.Amount{Cpus: c.Resources.Cpus, Mem: c.Resources.Mem, Disk: c.Resources.Disk})
	}
	return need
}

func (s *runSpec) fixedPorts() []int {
	var out []int
	add := func(p *int) {
		if p != nil && *p > 0 {
			out = append(out, *p)
		}
	}
	if s.app.Container != nil {
		for _, m := range s.app.Container.PortMappings {
			add(m.HostPort)
		}
	}
	if s.raw["requirePorts"] == true {
		for _, d := range s.app.PortDefinitions {
			add(&d.Port)
		}
	}
	for _, c := range s.podSpec.Containers {
		for _, e := range c.Endpoints {
			add(e.HostPort)
		}
	}
	return out
}

func (s *runSpec) executorAmount() master.Amount {
	if e := s.podSpec.ExecutorResources; e != nil {
		return master.Amount{Cpus: e.Cpus, Mem: e.Mem, Disk: e.Disk}
	}
	return master.Amount{Cpus: 0.1, Mem: 32, Disk: 10}
}

// allowed checks the constraints that the simulator knows: UNIQUE, CLUSTER,
// IS, LIKE, UNLIKE, MAX_PER on the host name or an attribute.
func (m *Marathon) allowed(s *runSpec, o mesos.Offer) bool {
	for _, c := range s.constraints() {
		if len(c) < 2 {
			continue
		}
		value := offerField(o, c[0])
		want := ""
		if len(c) > 2 {
			want = c[2]
		}
		switch c[1] {
		case "UNIQUE":
			if m.countAt(s, c[0], value) > 0 {
				return false
			}
		case "MAX_PER":
			limit := 0
			for _, r := range want {
				limit = limit*10 + int(r-'0')
			}
			if m.countAt(s, c[0], value) >= limit {
				return false
			}
		case "CLUSTER", "IS":
			if want != "" && value != want {
				return false
			}
		case "LIKE", "UNLIKE":
			re, err := regexp.Compile("^(?:" + want + ")$")
			if err != nil || re.MatchString(value) != (c[1] == "LIKE") {
				return false
			}
		}
	}
	return true
}

func (m *Marathon) countAt(s *runSpec, field, value string) int {
	n := 0
	for _, i := range m.bySpec[s.id] {
		if i.active() && field == "hostname" && i.host == value {
			n++
		}
	}
	return n
}

func offerField(o mesos.Offer, field string) string {
	if field == "hostname" || field == "@hostname" {
		return o.Hostname
	}
	for _, a := range o.Attributes {
		if a.Name == field {
			return a.GetText().GetValue()
		}
	}
	return ""
}

// provision binds an instance to an offer and builds what launches it.
func (m *Marathon) provision(i *instance, o mesos.Offer, free master.Amount) (mesos.Offer_Operation, master.Amount) {
	i.attempt++
	i.agentID, i.host = o.AgentID.Value, o.Hostname
	i.staged = m.cfg.Clock.Now()
	ports := portsOf(free)
	var op mesos.Offer_Operation
	if i.spec.pod {
		op = m.podOperation(i, o, ports)
	} else {
		op = m.appOperation(i, o, ports)
	}
	m.setCondition(i, "Provisioned")
	var used master.Amount
	if op.Launch != nil {
		used = master.AmountOf(op.Launch.TaskInfos[0].Resources)
	} else {
		used = master.AmountOf(op.LaunchGroup.Executor.Resources)
		for _, t := range op.LaunchGroup.TaskGroup.Tasks {
			used = used.Plus(master.AmountOf(t.Resources))
		}
	}
	return op, used
}

// portsOf hands out an amount's ports one by one.
func portsOf(a master.Amount) func(want int) int {
	ranges := slices.Clone(a.Ports)
	taken := map[uint64]bool{}
	return func(want int) int {
		if want > 0 {
			taken[uint64(want)] = true
			return want
		}
		for _, r := range ranges {
			for p := r.Begin; p <= r.End; p++ {
				if !taken[p] {
					taken[p] = true
					return int(p)
				}
			}
		}
		return 0
	}
}

func portResources(ports []int) []mesos.Value_Range {
	var out []mesos.Value_Range
	for _, p := range ports {
		out = append(out, mesos.Value_Range{Begin: uint64(p), End: uint64(p)})
	}
	slices.SortFunc(out, func(a, b mesos.Value_Range) int { return cmp.Compare(a.Begin, b.Begin) })
	return out
}
