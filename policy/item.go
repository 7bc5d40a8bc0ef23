package policy

import (
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy/selector"
)

// item is what carries labels: an endpoint or a network set.
type item struct {
	Endpoint                   // as put; of a network set only ID and Labels
	labels   map[string]string // Labels without the claims that guards refuse
	env      string            // Environment, or "" if its claim is refused
	nets     []member          // of a network set
	isSet    bool
	placed   bool // it is in the index
	gone     bool
	matched  []*query // that it is a member of
	twin     *item    // see roster

	posture *posture // nil: no policy selects it
	told    string   // the posture that the last Delta gave
	fresh   bool     // no Delta gave one yet
	dirty   bool     // its posture must be found again
	touched bool     // it may be in the next Delta
	term    uint32   // see posted
}

// Get is the value of a label as selectors see it. The namespace is a fact that
// no label can forge.
func (it *item) Get(key string) (string, bool) {
	if key == selector.Namespace {
		return it.env, it.env != ""
	}
	v, ok := it.labels[key]
	return v, ok
}

// give tells each of the item's members of a set.
func (it *item) give(s *set, to func(member)) {
	switch {
	case it.isSet:
		if s.kind == work.Nets {
			for _, m := range it.nets {
				to(m)
			}
		}
	case s.kind == work.Nets:
		if m, ok := hostMember(it.Address); ok {
			to(m)
		}
	default:
		m, ok := hostMember(it.Address)
		if !ok {
			return
		}
		for _, p := range it.Ports {
			if p.Name == s.port && p.Number > 0 && p.Number < 1<<16 && speaks(p.Protocol, s.proto) {
				m.proto, m.port = s.proto, uint16(p.Number)
				to(m)
			}
		}
	}
}
