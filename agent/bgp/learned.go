package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/taskwall/taskwall/events/work"
)

// source tells the paths to a network apart.
type source struct {
	peer netip.Addr
	id   uint32
}

// best takes in what changed of the paths that the engine chose: for each
// network those that are equally good. The caller holds mu.
func (s *Speaker) best(paths []*apiutil.Path) {
	for _, p := range paths {
		prefix, ok := prefixOf(p)
		if !ok || !p.PeerAddress.IsValid() {
			continue // our own
		}
		from := source{p.PeerAddress, p.RemoteID}
		if next := nextHop(p); !p.Withdrawal && next.IsValid() {
			if s.learned[prefix] == nil {
				s.learned[prefix] = map[source]netip.Addr{}
			}
			s.learned[prefix][from] = next
		} else {
			delete(s.learned[prefix], from)
			if len(s.learned[prefix]) == 0 {
				delete(s.learned, prefix)
			}
		}
		s.dirty[prefix] = struct{}{}
	}
	for p := range s.dirty {
		s.install(p)
	}
	clear(s.dirty)
}

// judged looks at what a peer announced, after the policies, for what was not
// taken. The engine says so by a withdrawal that has attributes; that of a peer
// has none. The caller holds mu.
func (s *Speaker) judged(paths []*apiutil.Path, now time.Time) {
	for _, path := range paths {
		p, ok := prefixOf(path)
		peer := s.peers[path.PeerAddress]
		if !ok || peer == nil {
			continue
		}
		reason := ""
		if gone := path.Withdrawal && (path.Stale || len(path.Attrs) == 0); !gone && !loops(path, s.conf.ASN, int(peer.conf.AllowOwnASN)) {
			reason = s.refuse(p)
			if reason == "" {
				if ok, by := decide(peer.conf.Import, p, true); !ok {
					reason = "rejected by " + by
				}
			}
		}
		if reason == "" {
			delete(peer.refused, p)
			continue
		}
		// It is also judged again as the peer goes, and when policies change.
		if peer.refused[p] != reason {
			peer.refused[p] = reason
			s.refusals.add(peer.name, p, reason, now)
		}
	}
}

// refuse says why a network must not be in the kernel as a learned one.
func (s *Speaker) refuse(p netip.Prefix) string {
	if reason := s.admission.refuse(p); reason != "" {
		return reason
	}
	if _, taken := s.tasks[p.Addr()]; taken && p.IsSingleIP() {
		return "it is the address of a task of this host"
	}
	return ""
}

// install brings the kernel to what is learned of one network. The caller
// holds mu.
func (s *Speaker) install(p netip.Prefix) {
	refused := s.refuse(p)
	var want []hop
	if refused == "" {
		want = s.ways(p)
	}
	had, exists := s.have[p]
	if _, old := s.stale[p]; old && refused == "" && missesSome(want, had) && (len(want) == 0 || sharesSome(want, had)) {
		return // the peers have not all spoken yet
	}
	delete(s.stale, p)
	var err error
	switch {
	case len(want) == 0 && exists:
		if err = s.kernel.del(p); err == nil {
			delete(s.have, p)
		}
	case len(want) > 0 && !slices.Equal(want, had):
		if err = s.kernel.put(p, want, exists); err == nil {
			s.have[p] = want
			s.writes++
		}
	}
	if err == nil {
		delete(s.broken, p)
		return
	}
	if s.broken[p] == nil {
		s.log.Error("a learned route is not in the kernel; it will be tried again", "prefix", p, "error", err)
	}
	s.broken[p] = err
}

// ways are the hops to a network over all paths that are equally good and
// whose next hop can be reached.
func (s *Speaker) ways(p netip.Prefix) (all []hop) {
	for from, next := range s.learned[p] {
		hs, err := s.resolve(next)
		if err != nil {
			if peer := s.peers[from.peer]; peer != nil {
				s.refusals.add(peer.name, p, err.Error(), s.cfg.now())
			}
			continue
		}
		all = append(all, hs...)
	}
	slices.SortFunc(all, hop.compare)
	all = slices.Compact(all)
	return all[:min(len(all), maxHops)]
}

type resolved struct {
	hops []hop
	err  error
}

func (s *Speaker) resolve(next netip.Addr) ([]hop, error) {
	if r, ok := s.hops[next]; ok {
		return r.hops, r.err
	}
	hs, err := s.kernel.resolve(next)
	s.hops[next] = resolved{hs, err}
	return hs, err
}

func missesSome(want, had []hop) bool {
	return slices.ContainsFunc(had, func(h hop) bool { return !slices.Contains(want, h) })
}

func sharesSome(want, had []hop) bool {
	return slices.ContainsFunc(had, func(h hop) bool { return slices.Contains(want, h) })
}

// eor notes that a peer has said all that it knows. The caller holds mu.
func (s *Speaker) eor(peer netip.Addr) {
	delete(s.waiting, peer)
	if len(s.waiting) == 0 {
		s.settle("all peers have said what they know")
	}
}

// settle ends the time after a start in which nothing is removed.
func (s *Speaker) settle(why string) {
	if s.settled {
		return
	}
	s.settled = true
	left := len(s.stale)
	for p := range s.stale {
		delete(s.stale, p)
		s.install(p)
	}
	s.log.Info("BGP has settled", "because", why, "routes", len(s.have), "checked", left)
	s.cfg.Changed()
}

// Sync makes the kernel's learned routes just those that are wanted, and says
// in words what was not so. It also reads again what may have changed by
// itself: the host's addresses, the way to next hops, passwords.
func (s *Speaker) Sync() (drift []string, failures []work.Failure, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.applied {
		return nil, nil, nil // nobody has said yet what is wanted
	}
	actual, err := s.kernel.list()
	if err != nil {
		return nil, nil, err
	}
	for p, hs := range actual {
		if mine, ok := s.have[p]; !ok || !slices.Equal(mine, hs) {
			if !ok {
				drift = append(drift, fmt.Sprintf("learned route %s was there but not wanted", p))
			} else {
				drift = append(drift, fmt.Sprintf("learned route %s was another", p))
			}
			s.dirty[p] = struct{}{}
		}
	}
	for p := range s.have {
		if _, ok := actual[p]; !ok {
			drift = append(drift, fmt.Sprintf("learned route %s was missing", p))
			s.dirty[p] = struct{}{}
		}
	}
	s.have = actual
	if err := s.refresh(); err != nil {
		return drift, nil, err
	}
	for p, err := range s.broken {
		failures = append(failures, work.Failure{Key: "route " + p.String(), Error: err.Error()})
	}
	failures = append(failures, s.retryPeers()...)
	slices.Sort(drift)
	slices.SortFunc(failures, func(a, b work.Failure) int { return strings.Compare(a.Key, b.Key) })
	return drift, failures, nil
}

// refresh looks anew at the host and brings the kernel to what is learned.
func (s *Speaker) refresh() error {
	if err := s.lookAtHost(); err != nil {
		return err
	}
	clear(s.hops)
	for p := range s.learned {
		s.dirty[p] = struct{}{}
	}
	for p := range s.broken {
		s.dirty[p] = struct{}{}
	}
	for p := range s.dirty {
		s.install(p)
	}
	clear(s.dirty)
	return nil
}

func prefixOf(p *apiutil.Path) (netip.Prefix, bool) {
	n, ok := p.Nlri.(*bgp.IPAddrPrefix)
	if !ok || p.Family != bgp.RF_IPv4_UC {
		return netip.Prefix{}, false
	}
	return n.Prefix.Masked(), true
}

// loops reports whether a path has passed here already: it has the host's
// number more often than allowed. Peers send such paths all the time. One with the
// number 0 is nobody's (RFC 7607). The policies refuse both.
func loops(p *apiutil.Path, own uint32, allowed int) bool {
	for _, a := range p.Attrs {
		path, ok := a.(*bgp.PathAttributeAsPath)
		if !ok {
			continue
		}
		for _, segment := range path.Value {
			for _, n := range segment.GetAS() {
				switch n {
				case 0:
					return true
				case own:
					allowed--
				}
			}
		}
	}
	return allowed < 0
}

func nextHop(p *apiutil.Path) netip.Addr {
	for _, a := range p.Attrs {
		switch a := a.(type) {
		case *bgp.PathAttributeNextHop:
			return a.Value.Unmap()
		case *bgp.PathAttributeMpReachNLRI:
			return a.Nexthop.Unmap()
		}
	}
	return netip.Addr{}
}
