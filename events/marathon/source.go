package marathon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/backoff"
	"github.com/taskwall/taskwall/events/connect"
	"github.com/taskwall/taskwall/events/mirror"
)

// Source follows a Marathon cluster and appends what changes to the log.
type Source struct {
	cfg    Config
	client *client
	mirror *mirror.Mirror
	limits limits
	board  connect.Board[Status]
	log    *slog.Logger

	// versions are the app versions that were asked for: they never change.
	versions map[string]bool
	// ahead are the versions that are being deployed and were read by their
	// names: Marathon may not show them as current yet.
	ahead map[string]version
	// behind are the apps that Marathon shows in an older version than is
	// known, and since when.
	behind map[string]time.Time
	// clients are the addresses that posted versions of apps whose deployments
	// are not known yet.
	clients map[posted]string
	// ended are the deployments whose end was told, and when: an answer that
	// is older must not bring one back.
	ended map[string]time.Time
	// missing are the deployments that Marathon no longer lists, and since
	// when: the event of their end may be on its way.
	missing map[string]time.Time

	// absent are the apps whose tasks run and that Marathon does not show, and
	// since when.
	absent map[string]time.Time

	trouble connect.Said // why there is no connection
	odd     connect.Said // answers that are none
}

// New returns a source that appends to sink what differs from what is known,
// the picture that the log adds up to; it keeps its own copy. nil means an
// empty log.
func New(cfg Config, sink Sink, known *events.Cluster) (*Source, error) {
	s := &Source{
		cfg:      cfg.withDefaults(),
		versions: map[string]bool{},
		ahead:    map[string]version{},
		behind:   map[string]time.Time{},
		clients:  map[posted]string{},
		ended:    map[string]time.Time{},
		missing:  map[string]time.Time{},
	}
	s.log = s.cfg.Logger
	var err error
	if s.client, err = newClient(&s.cfg); err != nil {
		return nil, fmt.Errorf("marathon source: %w", err)
	}
	s.mirror = mirror.New(known, mirror.Options{
		Source: "marathon", Sink: sink, Now: s.cfg.Now, Logger: s.log,
		Retry:   backoff.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second, Rand: s.cfg.Rand},
		OnRetry: func(error) { s.board.Update(func(st *Status) { st.Counters.Retries++ }) },
	})
	s.board.Update(func(st *Status) { st.Since = s.cfg.Now() })
	return s, nil
}

// Run follows the leader until ctx ends, and then returns the cause. Nothing
// that a Marathon or the network does makes it return earlier. It may be
// called once.
func (s *Source) Run(ctx context.Context) error {
	defer s.client.Close()
	wait := backoff.Backoff{Min: s.cfg.RetryMin, Max: s.cfg.RetryMax, Rand: s.cfg.Rand}
	for {
		ss := session{Source: s}
		err := ss.run(ctx)
		// A Marathon that gives everything and closes, time and again, is not
		// asked for it twice a second.
		if !ss.synced.IsZero() && s.cfg.Now().Sub(ss.synced) >= s.cfg.RetryMax {
			wait.Reset()
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		s.disconnected(err)
		if ctx.Err() != nil {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// connected and disconnected say each change of state, and each cause, once.
func (s *Source) connected(leader string) {
	now := s.cfg.Now()
	s.board.Update(func(st *Status) {
		st.Connected, st.Leader, st.Since = true, leader, now
		st.Counters.Connects++
	})
	s.trouble.Over()
	s.log.Info("marathon: following the leader", "leader", leader)
}

func (s *Source) disconnected(err error) {
	now := s.cfg.Now()
	s.board.Update(func(st *Status) {
		if st.Connected {
			st.Connected, st.Since = false, now
		}
		st.LastError, st.LastErrorAt = err.Error(), now
		st.Counters.Failures++
	})
	if !errors.Is(err, context.Canceled) && s.trouble.New(err.Error(), now) {
		s.log.Warn("marathon: not connected to a leader: trying until one answers", "error", err)
	}
}
