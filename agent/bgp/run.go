package bgp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/taskwall/taskwall/agent/attach"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Run reports, watches the host's own routes, links and addresses, and lets
// time pass for the speaker until the context ends. Then the sessions are
// still there: Close ends them.
func (s *Speaker) Run(ctx context.Context) error {
	for {
		err := s.run(ctx)
		if !errors.Is(err, errClosed) {
			return err
		}
		s.touch() // for what was missed meanwhile
		s.cfg.Changed()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// The netlink library gives a subscription up when the kernel had more to say
// than its socket holds, as when thousands of routes are learned at once.
var errClosed = errors.New("the subscription ended")

// roomFor is that socket's size in bytes: some 20,000 notifications.
const roomFor = 4 << 20

func (s *Speaker) run(ctx context.Context) error {
	done := make(chan struct{})
	defer close(done)
	lost := func(error) { s.touch(); s.cfg.Changed() }
	routes, links, addrs := make(chan netlink.RouteUpdate, 256), make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	if err := netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: lost, ReceiveBufferSize: roomFor, ReceiveBufferForceSize: true}); err != nil {
		return fmt.Errorf("watching routes: %w", err)
	}
	if err := netlink.LinkSubscribeWithOptions(links, done, netlink.LinkSubscribeOptions{ErrorCallback: lost, ReceiveBufferSize: roomFor, ReceiveBufferForceSize: true}); err != nil {
		return fmt.Errorf("watching interfaces: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrs, done, netlink.AddrSubscribeOptions{ErrorCallback: lost, ReceiveBufferSize: roomFor, ReceiveBufferForceSize: true}); err != nil {
		return fmt.Errorf("watching addresses: %w", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r, ok := <-routes:
			if !ok {
				return fmt.Errorf("watching routes: %w", errClosed)
			}
			s.routeChanged(r)
		case l, ok := <-links:
			if !ok {
				return fmt.Errorf("watching interfaces: %w", errClosed)
			}
			s.linkChanged(l.Attrs().Index)
		case _, ok := <-addrs:
			if !ok {
				return fmt.Errorf("watching addresses: %w", errClosed)
			}
			s.touch()
		case <-tick.C:
			s.tick()
		}
	}
}

// touch has what depends on the host's own routes looked at again soon.
func (s *Speaker) touch() {
	select {
	case s.stir <- struct{}{}:
	default:
	}
}

// linkChanged has routes compared that go over a link: the kernel drops them
// with it and says nothing of them.
func (s *Speaker) linkChanged(link int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.hops {
		if slices.ContainsFunc(r.hops, func(h hop) bool { return h.link == link }) || r.err != nil {
			s.touch()
			s.cfg.Changed()
			return
		}
	}
}

func (s *Speaker) routeChanged(r netlink.RouteUpdate) {
	switch {
	case r.Table != unix.RT_TABLE_MAIN || r.Protocol == attach.Protocol:
	case r.Protocol != Protocol:
		s.touch()
	case r.Type == unix.RTM_DELROUTE:
		if p, ok := attach.Prefix(r.Dst); ok && s.Has(p) {
			s.cfg.Changed() // someone else removed it, or it is old word
		}
	}
}

// tick does what is due.
func (s *Speaker) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil {
		return
	}
	now := s.cfg.now()
	select {
	case <-s.stir:
		if err := s.refresh(); err != nil {
			s.log.Error("the host cannot be looked at", "error", err)
		}
	default:
	}
	if !s.settled && !now.Before(s.settle0) {
		s.settle(fmt.Sprintf("%d peers did not say End-of-RIB in time", len(s.waiting)))
	}
	if !now.Before(s.countAt) {
		s.count("")
		s.countAt = now.Add(countsEvery / 6)
	}
	for _, p := range s.peers {
		if !p.back.IsZero() && !now.Before(p.back) {
			s.log.Info("trying a peer again that offered too much", "peer", p.name)
			if err := s.startPeer(p, false); err != nil {
				p.err, p.back = err.Error(), now.Add(s.cfg.PauseTime)
			}
		}
		if r, ok := p.report(now); ok {
			s.cfg.Reports.Session(r)
		}
	}
	for _, r := range s.refusals.report(now) {
		s.log.Warn("a route is refused", "peer", r.Peer, "prefix", r.Prefix, "because", r.Reason, "times", r.Count)
		s.cfg.Reports.Refused(r)
	}
}

// peerChanged hears of a session. The caller holds mu.
func (s *Speaker) peerChanged(ev *apiutil.WatchEventMessage_PeerEvent) {
	p := s.peers[ev.Peer.State.NeighborAddress]
	if ev.Type != apiutil.PEER_EVENT_STATE || p == nil || p.out {
		return
	}
	now, was := s.cfg.now(), p.state
	state := strings.ToLower(strings.TrimPrefix(ev.Peer.State.SessionState.String(), "BGP_FSM_"))
	why := ""
	if ev.Peer.State.SessionState == bgp.BGP_FSM_IDLE {
		why = reason(ev.Peer.State)
	}
	if ev.Peer.State.AdminState == api.PeerState_ADMIN_STATE_PFX_CT {
		limit := p.conf.MaxPrefixes
		if limit == 0 {
			limit = defaultMaxPrefixes
		}
		why = fmt.Sprintf("it offered more than %d prefixes", limit)
	}
	p.enter(state, why, now)
	if p.state == established && was != established {
		s.log.Info("BGP session is up", "peer", p.name, "address", p.address)
		s.count(p.address.String())
	}
	if was == established && p.state != established {
		s.log.Warn("BGP session ended", "peer", p.name, "address", p.address, "because", why)
	}
	if ev.Peer.State.AdminState == api.PeerState_ADMIN_STATE_PFX_CT {
		s.pausePeer(p, now)
	}
}

// pausePeer takes a peer out that offered too much. The engine would keep it
// for good, and what it had offered for its restart time.
func (s *Speaker) pausePeer(p *peer, now time.Time) {
	if err := s.engine.removePeer(s.conf, p); err != nil {
		s.log.Error("a peer could not be taken out", "peer", p.name, "error", err)
		return
	}
	p.out, p.back = true, now.Add(s.cfg.PauseTime)
	s.eor(p.address)
}

// reason is why a session ended, or could not begin, in words.
func reason(st apiutil.PeerState) string {
	switch st.DisconnectReason {
	case api.PeerState_DISCONNECT_REASON_UNSPECIFIED, api.PeerState_DISCONNECT_REASON_IDLE_TIMER_EXPIRED:
		return ""
	case api.PeerState_DISCONNECT_REASON_GRACEFUL_RESTART:
		return "the connection was lost; its routes are kept for its restart time"
	case api.PeerState_DISCONNECT_REASON_RESTART_TIMER_EXPIRED:
		return "it did not come back within its restart time"
	}
	return st.DisconnectMessage
}

// count asks how many prefixes peers offer and are offered; "" asks of all.
// The caller holds mu.
func (s *Speaker) count(address string) {
	// What is sent costs a walk over all routes: only when a session began.
	err := s.engine.srv.ListPeer(context.Background(), &api.ListPeerRequest{Address: address, EnableAdvertised: address != ""}, func(n *api.Peer) {
		a, err := netip.ParseAddr(n.GetConf().GetNeighborAddress())
		p := s.peers[a]
		if err != nil || p == nil || p.state != established || len(n.AfiSafis) == 0 {
			return
		}
		st := n.AfiSafis[0].GetState()
		p.counts.received = int(st.GetReceived())
		p.counts.accepted = max(p.counts.received-len(p.refused), 0)
		if address != "" {
			p.counts.sent = int(st.GetAdvertised())
		}
	})
	if err != nil {
		s.log.Error("the peers' prefixes cannot be counted", "error", err)
	}
}
