package agent

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

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
// suspect. The picture already has the change; old is what programs were.
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

// fewFlows is how many tracked connections are dumped as a whole sooner than
// picked out by the kernel: a pick walks the table's buckets, of which there can be
// far more, twice for each suspect.
const fewFlows = 20_000

// ask says which connections to look at: all, or those of single addresses.
func (s *suspects) ask() ([]netip.Addr, error) {
	n, err := conntrack.Count()
	switch {
	case err != nil || n == 0:
		return nil, err
	case s.everyone || n <= fewFlows || len(s.addrs) > 2:
		return []netip.Addr{{}}, nil
	}
	return slices.SortedFunc(maps.Keys(s.addrs), netip.Addr.Compare), nil
}

// cut removes the suspects' connections that the picture denies and says how
// many. The caller holds applyMu; the rules are already in the kernel.
func (a *Agent) cut(s suspects) (n int, err error) {
	if s.empty() {
		return 0, nil
	}
	ask, err := s.ask()
	if err != nil || len(ask) == 0 {
		return 0, err
	}
	own, err := a.host.Addresses()
	if err != nil {
		return 0, err
	}
	court := a.court(own)
	var denied []conntrack.Flow
	seen := map[conntrack.Tuple]bool{}
	for _, addr := range ask {
		flows, err := a.flows.Flows(addr)
		if err != nil {
			return 0, err
		}
		for _, f := range flows {
			if seen[f.Orig] || !s.everyone && !s.addrs[f.Orig.Src] && !s.addrs[f.Reply.Src] {
				continue
			}
			seen[f.Orig] = true
			if court.denies(f) {
				denied = append(denied, f)
			}
		}
	}
	if len(denied) == 0 {
		return 0, nil
	}
	n, err = a.flows.Cut(denied)
	const show = 20
	for i, f := range denied {
		if i == show {
			a.log.Info("connections cut, more of them", "count", len(denied)-show)
			break
		}
		a.log.Info("connection cut: no policy allows it any more", "connection", f.String())
	}
	return n, err
}

// court knows what the kernel's rules would say now to a connection's first
// packet.
type court struct {
	own      map[netip.Addr]bool
	failsafe []uint16
	local    map[netip.Addr]*work.Program // attached endpoints; nil closes one
	sets     *verdict.State
}

func (a *Agent) court(own map[netip.Addr]bool) *court {
	c := &court{own: own, failsafe: a.cfg.Failsafe, local: map[netip.Addr]*work.Program{}, sets: verdict.Of(a.state.Sets)}
	for _, w := range a.wires() {
		c.local[w.Address] = nil
		if p, ok := a.state.Programs[w.Posture]; ok && !a.fw.Closed(w.Posture) {
			c.local[w.Address] = &p
		}
	}
	return c
}

func (c *court) denies(f conntrack.Flow) bool {
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
		if !failsafe && (sender == nil || !verdict.Allows(sender.Egress, p, c.sets)) {
			return true
		}
	}
	return toHere && (receiver == nil || !verdict.Allows(receiver.Ingress, p, c.sets))
}

// secondLook is for connections that the first could not see: a packet that
// passed the old rules in the very moment that they changed, and was tracked only
// after the look.
type secondLook struct {
	suspects
	since time.Time
}

const secondLookAfter = time.Second

func (a *Agent) lookAgain() {
	a.applyMu.Lock()
	defer a.applyMu.Unlock()
	if a.again.empty() || time.Since(a.again.since) < secondLookAfter {
		return
	}
	s := a.again.suspects
	a.again = secondLook{}
	if _, err := a.cut(s); err != nil {
		a.log.Error("the second look at tracked connections failed", "error", err)
	}
}
