package firewall

import (
	"fmt"
	"net/netip"

	"github.com/taskwall/taskwall/agent/ipset"
)

// Wire is an endpoint's address at its interface, and what governs it.
type Wire struct {
	Address netip.Addr
	Iface   string
	// Posture is the endpoint's; "" closes it to all but the host itself.
	Posture string
}

// Wire vouches for endpoints: from its return on, packets of that address may
// pass that interface as the posture says. A posture that is not (yet)
// programmed closes the endpoint. A wire that is there gets its new posture in one step.
func (f *Firewall) Wire(ws ...Wire) error {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	if err := f.quick.Apply(f.edits(ws, false)...); err != nil {
		return fmt.Errorf("wiring: %w", err)
	}
	return nil
}

// Unwire takes the word back: the interfaces carry nothing. One that was not
// wired changes nothing.
func (f *Firewall) Unwire(ws ...Wire) error {
	f.wiresMu.Lock()
	defer f.wiresMu.Unlock()
	if err := f.quick.Apply(f.edits(ws, true)...); err != nil {
		return fmt.Errorf("unwiring: %w", err)
	}
	return nil
}

func (f *Firewall) edits(ws []Wire, remove bool) []ipset.Edit {
	src := ipset.Edit{Set: setSrc, Type: ipset.NetIface, Remove: remove}
	dst := ipset.Edit{Set: setDst, Type: ipset.NetIface, Remove: remove}
	own := ipset.Edit{Set: setOwn, Type: ipset.Net, Remove: remove}
	for _, w := range ws {
		src.Entries = append(src.Entries, f.entry(w, egress))
		dst.Entries = append(dst.Entries, f.entry(w, ingress))
		own.Entries = append(own.Entries, ipset.Entry{Prefix: netip.PrefixFrom(w.Address, 32)})
	}
	return []ipset.Edit{own, src, dst}
}

func (f *Firewall) entry(w Wire, d direction) ipset.Entry {
	e := ipset.Entry{Prefix: netip.PrefixFrom(w.Address, 32), Iface: w.Iface, Mask: d.mask()}
	if p := f.standing(w.Posture); f.ready[p] {
		e.Mark = uint32(f.postures.index[p]) << d.shift
	}
	return e
}
