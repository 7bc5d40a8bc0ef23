package mesos

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

// Source follows a Mesos master and appends what changes to the log.
type Source struct {
	cfg    Config
	client *client
	mirror *mirror.Mirror
	limits limits
	board  connect.Board[Status]
	log    *slog.Logger

	// executors is what GET_EXECUTORS or a snapshot last said, by endpoint and agent.
	executors map[string]*executor
	// pods counts the live tasks of each pod, by endpoint and agent, and away those
	// of each agent that are unreachable, or lost.
	pods, away map[string]int
	// ended tasks are in the picture until this time.
	ended map[string]time.Time
	// completed are the tasks in the master's memory of ended ones that the
	// log need not be told of (again).
	completed map[string]bool
	// absent agents are not in the master's list since this time.
	absent map[string]time.Time
	// doomed agents were marked gone by an operator.
	doomed map[string]bool
	// asked are the agents that this session has looked for by name.
	asked    map[string]bool
	lookedAt time.Time
	// touched are the agents that the stream spoke of since GET_AGENTS was
	// asked; nil when it is not under way.
	touched map[string]bool
	// heard is up to when the log has all that happened.
	heard      time.Time
	shared     []string     // the hostnames that several agents have
	complained bool         // that the master does not show all
	trouble    connect.Said // why there is no connection
	doubt      string       // why the whole state should be compared soon
}

// New returns a source that appends to sink what differs from what is known,
// the picture that the log adds up to; it keeps its own copy. nil means an
// empty log.
func New(cfg Config, sink Sink, known *events.Cluster) (*Source, error) {
	s := &Source{
		cfg:       cfg.withDefaults(),
		executors: map[string]*executor{},
		pods:      map[string]int{},
		away:      map[string]int{},
		ended:     map[string]time.Time{},
		completed: map[string]bool{},
		absent:    map[string]time.Time{},
		doomed:    map[string]bool{},
		heard:     cfg.Since,
	}
	s.log = s.cfg.Logger
	var err error
	if s.client, err = newClient(&s.cfg); err != nil {
		return nil, fmt.Errorf("mesos source: %w", err)
	}
	s.mirror = mirror.New(known, mirror.Options{
		Source: "mesos", Sink: sink, Now: s.cfg.Now, Logger: s.log,
		Retry:   backoff.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second, Rand: s.cfg.Rand},
		OnRetry: func(error) { s.board.Update(func(st *Status) { st.Counters.Retries++ }) },
	})
	now := s.cfg.Now()
	for key, t := range s.mirror.Picture().Tasks {
		if events.Terminal(t.State) {
			s.ended[key] = now.Add(s.cfg.Linger)
		}
		s.count(&t, 1)
	}
	s.board.Update(func(st *Status) { st.Since = now })
	return s, nil
}

// Run follows the leader until ctx ends, and then returns the cause. Nothing
// that a master or the network does makes it return earlier. It may be called
// once.
func (s *Source) Run(ctx context.Context) error {
	defer s.client.Close()
	wait := backoff.Backoff{Min: s.cfg.RetryMin, Max: s.cfg.RetryMax, Rand: s.cfg.Rand}
	doubts := backoff.Backoff{Min: time.Second, Max: 2 * time.Minute, Rand: s.cfg.Rand}
	for {
		ss := session{Source: s, doubts: &doubts}
		err := ss.run(ctx)
		// A master that gives its whole state and closes, time and again, is not
		// asked for it four times a second.
		if !ss.synced.IsZero() && s.cfg.Now().Sub(ss.synced) >= s.cfg.RetryMax {
			wait.Reset()
		}
		if ctx.Err() != nil {
			s.disconnected(context.Cause(ctx))
			return context.Cause(ctx)
		}
		if errors.Is(err, errResync) {
			s.board.Update(func(st *Status) { st.Counters.Resyncs++ })
			s.log.Debug("mesos: subscribing anew to compare the whole state", "reason", s.doubt)
			continue
		}
		s.disconnected(err)
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// connected and disconnected say each change of state, and each cause, once.
func (s *Source) connected(leader string) {
	now, was := s.cfg.Now(), false
	s.board.Update(func(st *Status) {
		if was = st.Connected && st.Leader == leader; !was {
			st.Connected, st.Leader, st.Since = true, leader, now
		}
		st.Counters.Connects++
	})
	s.trouble.Over()
	if !was {
		s.log.Info("mesos: following the leading master", "leader", leader)
	}
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
		s.log.Warn("mesos: not connected to a leading master: trying until one answers", "error", err)
	}
}
