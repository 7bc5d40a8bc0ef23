package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/server"
	"github.com/taskwall/taskwall/events/work"
)

// engine is a running GoBGP.
type engine struct {
	srv        *server.BgpServer
	restarting bool // its first peers are told that it restarted
	closed     bool // guarded by Speaker.mu: later words of it are old
	over       *atomic.Bool
	unwatch    context.CancelFunc
}

// startEngine starts an engine without peers. All its sockets are made in the
// network namespace of the process.
func startEngine(ctx context.Context, b *work.BGP, log *slog.Logger) (*engine, error) {
	over := new(atomic.Bool)
	srv := server.NewBgpServer(server.LoggerOption(slog.New(quiet{log.Handler(), over}), nil))
	go srv.Serve() // until StopBgp
	port := int32(b.Port)
	if port == 0 {
		port = -1 // nowhere
	}
	err := srv.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: b.ASN, RouterId: b.RouterID.String(), ListenPort: port, ListenAddresses: []string{"0.0.0.0"}, UseMultiplePaths: true,
	}})
	if err != nil {
		srv.Stop()
		return nil, fmt.Errorf("starting BGP as %d on port %d: %w", b.ASN, b.Port, err)
	}
	return &engine{srv: srv, over: over, unwatch: func() {}}, nil
}

// close ends all sessions: gracefully, without a word, so that the peers keep
// what they learned, or with a notification. The caller holds Speaker.mu.
func (e *engine) close(gracefully bool) {
	e.closed = true
	e.unwatch()
	// It fails only when the engine has stopped. Stop ends what StopBgp leaves.
	_ = e.srv.StopBgp(context.Background(), &api.StopBgpRequest{AllowGracefulRestart: gracefully})
	e.over.Store(true) // Stop complains that there is nothing to stop
	e.srv.Stop()
}

// watch lets the speaker hear of the engine's paths and sessions, in order.
func (e *engine) watch(ctx context.Context, s *Speaker) error {
	heard := func(f func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !e.closed {
			f()
		}
	}
	ctx, e.unwatch = context.WithCancel(context.WithoutCancel(ctx))
	err := e.srv.WatchEvent(ctx, server.WatchEventMessageCallbacks{
		OnBestPath:   func(ps []*apiutil.Path, _ time.Time) { heard(func() { s.best(ps) }) },
		OnPathUpdate: func(ps []*apiutil.Path, _ time.Time) { heard(func() { s.judged(ps, s.cfg.now()) }) },
		OnPathEor:    func(p *apiutil.Path, _ time.Time) { heard(func() { s.eor(p.PeerAddress) }) },
		OnPeerUpdate: func(p *apiutil.WatchEventMessage_PeerEvent, _ time.Time) { heard(func() { s.peerChanged(p) }) },
	}, server.WatchBestPath(true), server.WatchPostUpdate(false, "", ""), server.WatchEor(false), server.WatchPeer())
	if err != nil {
		return fmt.Errorf("watching BGP: %w", err)
	}
	return nil
}

func (e *engine) setPolicies(req *api.SetPoliciesRequest, first bool) error {
	if err := e.srv.SetPolicies(context.Background(), req); err != nil {
		return fmt.Errorf("setting BGP policies: %w", err)
	}
	if !first {
		return nil // the assignments stay
	}
	for name, direction := range map[string]api.PolicyDirection{
		importPolicy: api.PolicyDirection_POLICY_DIRECTION_IMPORT, exportPolicy: api.PolicyDirection_POLICY_DIRECTION_EXPORT,
	} {
		err := e.srv.SetPolicyAssignment(context.Background(), &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction, Policies: []*api.Policy{{Name: name}}, DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
		}})
		if err != nil {
			return fmt.Errorf("assigning the BGP policy %s: %w", name, err)
		}
	}
	return nil
}

// softReset decides again about all that a peer offers or is offered; "" means
// every peer.
func (e *engine) softReset(peer string, d api.ResetPeerRequest_Direction) error {
	err := e.srv.ResetPeer(context.Background(), &api.ResetPeerRequest{Address: peer, Soft: true, Direction: d})
	if err != nil {
		return fmt.Errorf("applying BGP policies to what is there: %w", err)
	}
	return nil
}

func (e *engine) addPeer(b *work.BGP, p *peer, restarting bool) error {
	if err := e.srv.AddPeer(context.Background(), &api.AddPeerRequest{Peer: neighbor(b, p.conf, p.password, restarting)}); err != nil {
		return fmt.Errorf("adding peer %s: %w", p.name, err)
	}
	return nil
}

// updatePeer changes what needs no new session.
func (e *engine) updatePeer(b *work.BGP, p *peer) error {
	if _, err := e.srv.UpdatePeer(context.Background(), &api.UpdatePeerRequest{Peer: neighbor(b, p.conf, p.password, false)}); err != nil {
		return fmt.Errorf("changing peer %s: %w", p.name, err)
	}
	return nil
}

// removePeer ends a session. DeletePeer does not take the peer's MD5 key off
// the listening socket, a change of the password does.
func (e *engine) removePeer(b *work.BGP, p *peer) error {
	if p.password != "" {
		if _, err := e.srv.UpdatePeer(context.Background(), &api.UpdatePeerRequest{Peer: neighbor(b, p.conf, "", false)}); err != nil {
			return fmt.Errorf("taking back the password of peer %s: %w", p.name, err)
		}
	}
	if err := e.srv.DeletePeer(context.Background(), &api.DeletePeerRequest{Address: p.address.String()}); err != nil {
		return fmt.Errorf("removing peer %s: %w", p.name, err)
	}
	return nil
}

func (e *engine) announce(a work.Announcement, drain bool) error {
	p, err := path(a, drain)
	if err != nil {
		return err
	}
	if _, err := e.srv.AddPath(apiutil.AddPathRequest{Paths: []*apiutil.Path{p}}); err != nil {
		return fmt.Errorf("announcing %s: %w", a.Prefix, err)
	}
	return nil
}

func (e *engine) withdraw(a work.Announcement) error {
	p, err := path(work.Announcement{Prefix: a.Prefix}, false)
	if err != nil {
		return err
	}
	if err := e.srv.DeletePath(apiutil.DeletePathRequest{Paths: []*apiutil.Path{p}}); err != nil {
		return fmt.Errorf("withdrawing %s: %w", a.Prefix, err)
	}
	return nil
}

// quiet passes on what the engine logs as less than it says: what matters of
// it is reported by the speaker.
type quiet struct {
	slog.Handler
	over *atomic.Bool // and nothing any more
}

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo && !q.over.Load() && q.Handler.Enabled(ctx, l-4)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level -= 4
	r.Message = "bgp engine: " + r.Message
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(as []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(as), q.over} }
func (q quiet) WithGroup(name string) slog.Handler    { return quiet{q.Handler.WithGroup(name), q.over} }
