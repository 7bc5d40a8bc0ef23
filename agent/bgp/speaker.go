package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"google.golang.org/protobuf/proto"
)

// Reporter takes what the speaker has to say. It must not wait.
type Reporter interface {
	Session(events.Session)
	Refused(events.RouteRefusal)
}

// Config says what a speaker works with.
type Config struct {
	// Secrets is the directory with the peers' passwords, a file for each.
	Secrets string
	Reports Reporter
	// Changed is called when Sync would find something to do, or when the
	// speaker has settled. It must not wait.
	Changed func()
	// SettleTime bounds how long routes of an earlier process are kept
	// when not all peers say End-of-RIB. Default: 45 s.
	SettleTime time.Duration
	// PauseTime is how long a peer is left alone that offered too many
	// prefixes. Default: 5 min.
	PauseTime time.Duration
	Logger    *slog.Logger

	now func() time.Time
}

// Speaker speaks BGP for the host. Between a process that ends and the next,
// the kernel's routes stay.
type Speaker struct {
	cfg    Config
	log    *slog.Logger
	kernel *kernel
	stir   chan struct{} // the host's own routes, links or addresses changed

	mu        sync.Mutex // guards all that follows
	conf      *work.BGP  // in force; nil: no BGP is spoken
	engine    *engine    // nil: not running
	applied   bool       // Apply was called
	admission admission
	policies  *api.SetPoliciesRequest
	peers     map[netip.Addr]*peer
	tasks     map[netip.Addr]struct{} // the addresses of the host's endpoints

	learned map[netip.Prefix]map[source]netip.Addr // the best paths' next hops
	dirty   map[netip.Prefix]struct{}              // whose paths changed; empty between calls
	hops    map[netip.Addr]resolved
	have    map[netip.Prefix][]hop    // in the kernel
	stale   map[netip.Prefix]struct{} // of those, from an earlier process and not confirmed
	broken  map[netip.Prefix]error    // that the kernel did not take
	waiting map[netip.Addr]struct{}   // peers that have not said End-of-RIB
	settled bool
	settle0 time.Time // when it settles at the latest
	writes  uint64    // to the kernel

	refusals *refusals
	countAt  time.Time
}

// peer is a session and what it was made of.
type peer struct {
	*session
	conf     work.BGPPeer
	password string
	// out says that the engine does not have the peer: its password cannot be
	// read, or it is paused until back.
	out  bool
	back time.Time
}

// New prepares a speaker in the calling thread's network namespace. It speaks
// once Apply says what.
func New(cfg Config) (*Speaker, error) {
	if cfg.SettleTime <= 0 {
		cfg.SettleTime = 45 * time.Second
	}
	if cfg.PauseTime <= 0 {
		cfg.PauseTime = 5 * time.Minute
	}
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	s := &Speaker{
		cfg: cfg, log: cfg.Logger, kernel: k, stir: make(chan struct{}, 1),
		peers: map[netip.Addr]*peer{}, tasks: map[netip.Addr]struct{}{},
		learned: map[netip.Prefix]map[source]netip.Addr{}, dirty: map[netip.Prefix]struct{}{}, hops: map[netip.Addr]resolved{},
		stale: map[netip.Prefix]struct{}{}, broken: map[netip.Prefix]error{}, waiting: map[netip.Addr]struct{}{},
		refusals: newRefusals(),
	}
	if s.have, err = k.list(); err != nil {
		k.close()
		return nil, err
	}
	return s, nil
}

// Close ends all sessions so that the peers keep the host's routes for a while
// (graceful restart), and leaves the kernel as it is.
func (s *Speaker) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine != nil {
		s.engine.close(true)
		s.engine = nil
	}
	s.kernel.close()
}

// Taken and Freed say which addresses belong to endpoints of this host: no
// peer can have them.
func (s *Speaker) Taken(addrs ...netip.Addr) { s.own(addrs, true) }

// Freed is the end of Taken.
func (s *Speaker) Freed(addrs ...netip.Addr) { s.own(addrs, false) }

func (s *Speaker) own(addrs []netip.Addr, taken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		if !a.IsValid() {
			continue // one that was refused an address
		}
		if taken {
			s.tasks[a] = struct{}{}
		} else {
			delete(s.tasks, a)
		}
		if p := netip.PrefixFrom(a, a.BitLen()); s.conf != nil {
			s.install(p)
		}
	}
}

// Has says whether the kernel holds a learned route to just this network.
func (s *Speaker) Has(p netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.have[p]
	return ok
}

// Speaks says whether the host speaks BGP, and Settled whether it has heard
// all peers, or waited long enough for them, since it began to.
func (s *Speaker) Speaks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf != nil
}

// Settled is described at Speaks.
func (s *Speaker) Settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conf == nil || s.settled
}

// Apply makes a configuration the one in force, and changes no more sessions
// than it must; nil ends BGP on the host and removes what was learned. What
// could not be applied is answered, and the rest is in force.
func (s *Speaker) Apply(ctx context.Context, b *work.BGP) (failed []work.Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := check(b); err != nil {
		return []work.Failure{{Key: "bgp", Error: err.Error()}}
	}
	first := !s.applied
	s.applied = true
	if b == nil {
		s.end()
		return nil
	}
	restarting := s.engine != nil
	if restarting && (b.ASN != s.conf.ASN || b.RouterID != s.conf.RouterID || b.Port != s.conf.Port) {
		// The engine takes these only once. Its successor restarts gracefully.
		s.engine.close(true)
		s.engine = nil
	}
	if s.engine == nil {
		if !restarting && first {
			kept, err := s.kernel.kept()
			if err != nil {
				return []work.Failure{{Key: "bgp", Error: err.Error()}}
			}
			restarting = kept
		}
		if err := s.begin(ctx, b, restarting); err != nil {
			return []work.Failure{{Key: "bgp", Error: err.Error()}}
		}
	}
	old := s.conf
	s.conf = b
	if err := s.lookAtHost(); err != nil {
		failed = append(failed, work.Failure{Key: "bgp", Error: err.Error()})
	}
	failed = append(failed, s.applyPeers(old, b)...)
	failed = append(failed, s.announce(old, b)...)
	for p := range s.have {
		if _, ok := s.stale[p]; ok && s.refuse(p) != "" {
			s.install(p) // it must not wait for the peers
		}
	}
	if len(s.waiting) == 0 {
		s.settle("there is no peer to wait for")
	}
	return failed
}

// begin starts an engine. What the kernel has stays until the peers have
// spoken. The caller holds mu.
func (s *Speaker) begin(ctx context.Context, b *work.BGP, restarting bool) error {
	e, err := startEngine(ctx, b, s.log)
	if err != nil {
		return err
	}
	e.restarting = restarting
	s.engine, s.conf, s.policies = e, nil, nil
	clear(s.peers)
	clear(s.learned)
	clear(s.waiting)
	clear(s.hops)
	for p := range s.have {
		s.stale[p] = struct{}{}
	}
	s.settled, s.settle0 = false, s.cfg.now().Add(s.cfg.SettleTime)
	if err := e.watch(ctx, s); err != nil {
		e.close(true)
		s.engine = nil
		return err
	}
	return nil
}

// end stops speaking for good. The caller holds mu.
func (s *Speaker) end() {
	if s.engine != nil {
		s.engine.close(false)
	}
	s.engine, s.conf, s.policies, s.settled = nil, nil, nil, false
	clear(s.peers)
	clear(s.learned)
	clear(s.waiting)
	clear(s.stale)
	for p := range s.have {
		s.install(p)
	}
}

func check(b *work.BGP) error {
	if b == nil {
		return nil
	}
	if b.ASN == 0 || !b.RouterID.Is4() {
		return fmt.Errorf("number %d, router %s: %w", b.ASN, b.RouterID, ErrConfig)
	}
	seen := map[netip.Addr]bool{}
	for _, p := range b.Peers {
		if !p.Address.Is4() || p.ASN == 0 || seen[p.Address] || p.Source.IsValid() && !p.Source.Is4() {
			return fmt.Errorf("peer %s (%s, number %d): %w", p.Name, p.Address, p.ASN, ErrConfig)
		}
		seen[p.Address] = true
	}
	for _, list := range [][]netip.Prefix{b.Accept, b.Pools} {
		for _, p := range list {
			if !p.IsValid() || !p.Addr().Is4() {
				return fmt.Errorf("network %s: %w", p, ErrConfig)
			}
		}
	}
	for _, a := range b.Announce {
		if !a.Prefix.IsValid() || !a.Prefix.Addr().Is4() {
			return fmt.Errorf("announced network %s: %w", a.Prefix, ErrConfig)
		}
	}
	return nil
}

// lookAtHost learns the host's addresses, and gives the engine the policies
// when they changed. The caller holds mu.
func (s *Speaker) lookAtHost() error {
	if s.conf == nil {
		return nil
	}
	addrs, err := s.kernel.addresses()
	if err != nil {
		return err
	}
	was, a := s.admission, admission{accept: s.conf.Accept, pools: s.conf.Pools, announce: s.conf.Announce, host: addrs}
	if !slices.Contains(addrs, s.conf.RouterID) {
		a.host = append(a.host, s.conf.RouterID)
	}
	s.admission = a
	req := policies(&a, s.conf)
	if s.policies != nil && proto.Equal(req, s.policies) {
		return nil
	}
	if err := s.engine.setPolicies(req, s.policies == nil); err != nil {
		return err
	}
	first := s.policies == nil
	s.policies = req
	if first || reflect.DeepEqual(was, a) {
		return nil // no peer yet; or only peers' own policies changed
	}
	return s.engine.softReset("", api.ResetPeerRequest_DIRECTION_IN)
}

// applyPeers adds, changes and removes sessions. The caller holds mu.
func (s *Speaker) applyPeers(old, b *work.BGP) (failed []work.Failure) {
	now := s.cfg.now()
	want := map[netip.Addr]work.BGPPeer{}
	for _, p := range b.Peers {
		want[p.Address] = p
	}
	for addr, p := range s.peers {
		if w, ok := want[addr]; !ok || !sameSession(p.conf, w) {
			if !p.out {
				if err := s.engine.removePeer(s.conf, p); err != nil {
					failed = append(failed, work.Failure{Key: "peer " + p.name, Error: err.Error()})
				}
			}
			delete(s.peers, addr)
			delete(s.waiting, addr)
		}
	}
	for _, w := range b.Peers {
		p := s.peers[w.Address]
		if p == nil {
			p = &peer{session: newSession(w.Name, w.Address, now), conf: w, out: true}
			s.peers[w.Address] = p
			if !s.settled {
				s.waiting[w.Address] = struct{}{}
			}
			if err := s.startPeer(p, old == nil); err != nil {
				p.err = err.Error()
				failed = append(failed, work.Failure{Key: "peer " + p.name, Error: err.Error()})
			}
			continue
		}
		was := p.conf
		p.conf, p.name = w, w.Name
		if err := s.adjust(p, was); err != nil {
			failed = append(failed, work.Failure{Key: "peer " + p.name, Error: err.Error()})
		}
	}
	return failed
}

// adjust changes what needs no new session. The caller holds mu.
func (s *Speaker) adjust(p *peer, was work.BGPPeer) error {
	if p.out {
		return nil
	}
	if was.MaxPrefixes != p.conf.MaxPrefixes {
		if err := s.engine.updatePeer(s.conf, p); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(was.Import, p.conf.Import) || was.LocalPref != p.conf.LocalPref {
		if err := s.engine.softReset(p.address.String(), api.ResetPeerRequest_DIRECTION_IN); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(was.Export, p.conf.Export) || was.KeepNextHop != p.conf.KeepNextHop {
		return s.engine.softReset(p.address.String(), api.ResetPeerRequest_DIRECTION_OUT)
	}
	return nil
}

// startPeer gives a peer to the engine. The caller holds mu.
func (s *Speaker) startPeer(p *peer, first bool) error {
	password, err := secret(s.cfg.Secrets, p.conf.Password)
	if err != nil {
		return err
	}
	p.password = password
	if err := s.engine.addPeer(s.conf, p, s.engine.restarting && first); err != nil {
		return err
	}
	p.out, p.back = false, time.Time{}
	return nil
}

// retryPeers starts those whose password could not be read, and starts those
// anew whose password changed. The caller holds mu.
func (s *Speaker) retryPeers() (failed []work.Failure) {
	if s.engine == nil {
		return nil
	}
	for _, p := range s.peers {
		if p.conf.Password == "" || !p.back.IsZero() {
			continue
		}
		password, err := secret(s.cfg.Secrets, p.conf.Password)
		switch {
		case err != nil && p.out:
			failed = append(failed, work.Failure{Key: "peer " + p.name, Error: err.Error()})
			continue
		case err != nil || !p.out && password == p.password:
			continue // a session that is up does not end because its file is being replaced
		case !p.out:
			if err := s.engine.removePeer(s.conf, p); err != nil {
				s.log.Error("a peer could not be taken out", "peer", p.name, "error", err)
			}
			p.out = true
		}
		if err := s.startPeer(p, false); err != nil {
			failed = append(failed, work.Failure{Key: "peer " + p.name, Error: err.Error()})
		}
	}
	return failed
}

// announce brings what is announced up to date. The caller holds mu.
func (s *Speaker) announce(old, b *work.BGP) (failed []work.Failure) {
	have := map[netip.Prefix]work.Announcement{}
	if old != nil {
		for _, a := range old.Announce {
			have[a.Prefix] = a
		}
	}
	for _, a := range b.Announce {
		was, ok := have[a.Prefix]
		delete(have, a.Prefix)
		if ok && reflect.DeepEqual(was, a) && old.Drain == b.Drain {
			continue
		}
		if err := s.engine.announce(a, b.Drain); err != nil {
			failed = append(failed, work.Failure{Key: "announcement " + a.Prefix.String(), Error: err.Error()})
		}
	}
	for _, a := range have {
		if err := s.engine.withdraw(a); err != nil {
			failed = append(failed, work.Failure{Key: "announcement " + a.Prefix.String(), Error: err.Error()})
		}
	}
	return failed
}
