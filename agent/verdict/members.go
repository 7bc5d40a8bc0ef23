package verdict

import (
	"fmt"
	"net/netip"

	"github.com/taskwall/taskwall/events/work"
)

// State answers membership from a host's picture. It remembers its answers, so
// it is good for one look at many connections while the picture stays as it is.
type State struct {
	sets map[string]*work.SetState
	nets map[netKey]bool
}

type netKey struct {
	set  string
	addr netip.Addr
}

// Of returns the membership in a picture's sets.
func Of(sets map[string]*work.SetState) *State {
	return &State{sets: sets, nets: map[netKey]bool{}}
}

// HasNet tries the address and every network that could hold it, of which
// there are 33.
func (s *State) HasNet(set string, a netip.Addr) bool {
	k := netKey{set, a}
	if has, ok := s.nets[k]; ok {
		return has
	}
	has := false
	if st := s.sets[set]; st != nil && st.Type == work.Nets {
		_, has = st.Members[a.String()]
		for bits := a.BitLen(); bits >= 0 && !has; bits-- {
			p, err := a.Prefix(bits)
			if err != nil {
				break // bits is in range: cannot be
			}
			_, has = st.Members[p.String()]
		}
	}
	s.nets[k] = has
	return has
}

var protoNames = map[uint8]string{6: "tcp", 17: "udp", 132: "sctp"}

// HasPort looks up a member as it is written.
func (s *State) HasPort(set string, a netip.Addr, proto uint8, port uint16) bool {
	st := s.sets[set]
	name, ok := protoNames[proto]
	if st == nil || !ok || st.Type != work.Ports {
		return false
	}
	_, has := st.Members[fmt.Sprintf("%s,%s:%d", a, name, port)]
	return has
}
