package agent

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/agent/verdict"
	"github.com/taskwall/taskwall/events/work"
)

// suspects are the addresses whose tracked connections may be denied by what
// just changed. The rules let an established connection pass without asking
// again, so the agent asks again for these, and cuts what is denied now.
type suspects struct {
	everyone bool
	addrs    map[netip.Addr]bool
}

func (s *suspects) add(a netip.Addr) {
	if s.addrs == nil {
		s.addrs = map[netip.Addr]bool{}
	}
	s.addrs[a] = true
}

func (s *suspects) empty() bool { return !s.everyone && len(s.addrs) == 0 }

// names says whether one of the connection's ends is a suspect.
func (s *suspects) names(f conntrack.Flow) bool {
	return s.everyone || s.addrs[f.Orig.Src] || s.addrs[f.Reply.Src]
}

func (s *suspects) join(o suspects) {
	s.everyone = s.everyone || o.everyone
	for a := range o.addrs {
		s.add(a)
	}
}

// users knows, for each set, the postures that refer to it and how.
type users map[string]map[string]verdict.Polarity

func (u users) put(p *work.Program) {
	u.drop(p.ID)
	for set, pol := range verdict.Polarities(p) {
		if u[set] == nil {
			u[set] = map[string]verdict.Polarity{}
		}
		u[set][p.ID] = pol
	}
}

func (u users) drop(program string) {
	for set, m := range u {
		delete(m, program)
		if len(m) == 0 {
			delete(u, set)
		}
	}
}

// suspect says whose connections a change may deny. Most changes only grant (a
// task's address enters the sets of those who may meet it) and make no one a
// suspect. The change is applied, so that a task which was attached meanwhile is among
// them; old is what programs were.
func (a *Agent) suspect(c *change, old map[string]work.Program) (s suspects) {
	postures := map[string]bool{}
	for _, p := range c.programs {
		if _, was := old[p.ID]; was {
			postures[p.ID] = true
		}
	}
	for _, e := range c.edits {
		for posture, pol := range a.users[e.ID] {
			members := []string{}
			if pol.Grants {
				members = append(members, e.Remove...)
			}
			if pol.Denies {
				members = append(members, e.Add...)
			}
			for _, m := range members {
				m, _, _ = strings.Cut(m, ",")
				if addr, err := netip.ParseAddr(strings.TrimSuffix(m, "/32")); err == nil {
					s.add(addr)
				} else {
					postures[posture] = true // a network: look at its peers here
				}
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, ep := range c.endpoints {
		if at := a.attachments[ep.ID]; at != nil {
			s.add(at.Address)
		}
	}
	for _, id := range c.ended {
		if at := a.attachments[id]; at != nil {
			s.add(at.Address)
		}
	}
	if len(postures) > 0 {
		for id, at := range a.attachments {
			if postures[a.endpoints[id].Posture] {
				s.add(at.Address)
			}
		}
	}
	return s
}

// court knows what the kernel's rules say to a connection's first packet, as
// of the moment that it was called. It holds no lock, and what it knows does not change.
type court struct {
	failsafe []uint16
	local    map[netip.Addr]*work.Program // attached endpoints; nil closes one
	sets     map[string]*work.SetState
}

// court takes what the kernel holds now. The caller holds applyMu, and calls
// unshare before it changes a set of the picture.
func (a *Agent) court() *court {
	c := &court{failsafe: a.cfg.Failsafe, local: map[netip.Addr]*work.Program{}, sets: maps.Clone(a.state.Sets)}
	for _, w := range a.wires() {
		c.local[w.Address] = nil
		if p, ok := a.state.Programs[w.Posture]; ok && !a.fw.Closed(w.Posture) {
			c.local[w.Address] = &p
		}
	}
	return c
}

// session is a court that judges connections, with what it looks up once.
type session struct {
	*court
	own     map[netip.Addr]bool // the host's own addresses
	members *verdict.State
}

func (c session) denies(f conntrack.Flow) bool {
	p := verdict.Packet{
		Proto: f.Orig.Proto, Src: f.Orig.Src, Dst: f.Reply.Src, SrcPort: f.Orig.SrcPort, DstPort: f.Reply.SrcPort,
		ICMPType: f.Orig.Type, ICMPCode: f.Orig.Code,
	}
	if c.own[p.Src] {
		return false // the host reaches its own tasks
	}
	sender, fromHere := c.local[p.Src]
	receiver, toHere := c.local[p.Dst]
	if fromHere {
		failsafe := c.own[p.Dst] && p.Proto == 6 && slices.Contains(c.failsafe, p.DstPort)
		if !failsafe && (sender == nil || !verdict.Allows(sender.Egress, p, c.members)) {
			return true
		}
	}
	return toHere && (receiver == nil || !verdict.Allows(receiver.Ingress, p, c.members))
}
