package mesos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events/backoff"
	"github.com/taskwall/taskwall/events/connect"
)

// heartbeat is the interval assumed until the master has announced its own,
// and the longest one that is believed is four times that.
const heartbeat = 15 * time.Second

// calm is how long a session must have gone well for a doubt to be the first.
const calm = 2 * time.Minute

// maxQueued bounds the records that are read but not yet reduced, and
// maxQueuedBytes what they were on the wire; a full queue makes the master hold
// back what it has to say.
const (
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20
)

// session is one subscription: from finding the leader to losing it.
type session struct {
	*Source
	doubts *backoff.Backoff // between subscriptions made anew on doubt
	synced time.Time        // when the snapshot was in the log

	leader *url.URL
	cancel context.CancelCauseFunc
	queue  *connect.Queue[wireEvent]
	polled chan polled
	look   lookup
	wg     sync.WaitGroup
	resync *time.Timer
	rushed bool // resync is set to an early time, because of a doubt
}

// polled is an answer to GET_AGENTS.
type polled struct {
	agents *wireAgents
	err    error
}

// run returns why the session ended: errResync if another should follow at once.
func (s *session) run(ctx context.Context) error {
	ctx, s.cancel = context.WithCancelCause(ctx)
	resp, leader, err := s.client.subscribe(ctx)
	if err != nil {
		s.cancel(nil)
		return err
	}
	defer resp.Body.Close()
	defer s.wg.Wait()
	defer s.cancel(nil)
	s.leader, s.touched, s.asked = leader, nil, map[string]bool{}
	defer func() { s.client.Served(!s.synced.IsZero()) }()
	enc, err := encodingOf(resp.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("stream from %s: %w", s.leader.Host, err)
	}
	s.queue = connect.NewQueue[wireEvent](maxQueued, maxQueuedBytes)
	s.polled = make(chan polled, 1)
	s.wg.Go(func() { s.queue.End(s.read(ctx, resp.Body, enc)) })
	if err := s.first(ctx); err != nil {
		return fmt.Errorf("stream from %s: %w", s.leader.Host, err)
	}
	s.synced = s.cfg.Now()
	s.connected(s.leader.Host)
	if err := s.follow(ctx); !errors.Is(err, errResync) {
		return fmt.Errorf("stream from %s: %w", s.leader.Host, err)
	}
	return errResync
}

// read decodes records into the queue until the stream ends, and returns why.
func (s *session) read(ctx context.Context, body io.Reader, enc Encoding) error {
	w := &connect.Watch{R: body, Patience: time.Duration(s.cfg.Heartbeats) * heartbeat, Expired: func() { s.cancel(ErrSilent) }}
	records := NewRecordReader(w, s.cfg.MaxRecord)
	var complained time.Time
	for {
		b, err := records.Next()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		ev, err := enc.event(b)
		s.board.Update(func(st *Status) {
			st.Counters.Records++
			st.Counters.Bytes += uint64(len(b))
			if err != nil {
				st.Counters.Malformed++
			}
		})
		if err != nil {
			if now := s.cfg.Now(); now.Sub(complained) > 10*time.Second {
				complained = now
				s.log.Warn("mesos: a record could not be decoded", "bytes", len(b), "error", err)
			}
			if ev.partial = errors.As(err, new(errPartial)); !ev.partial {
				ev = wireEvent{Type: malformed}
			}
		}
		if ev.Type == "HEARTBEAT" {
			continue
		}
		if ev.Subscribed != nil {
			w.Patience = time.Duration(s.cfg.Heartbeats) * interval(ev.Subscribed.HeartbeatInterval)
		}
		if err := s.queue.Put(ctx, ev, int64(len(b))); err != nil {
			return err
		}
	}
}

// interval is the announced heartbeat interval, if it is believable.
func interval(seconds float64) time.Duration {
	if !(seconds > 0) {
		return heartbeat
	}
	return time.Duration(min(max(seconds, 1), 4*heartbeat.Seconds()) * float64(time.Second))
}

// first compares the snapshot that a subscription begins with.
func (s *session) first(ctx context.Context) error {
	for {
		select {
		case <-s.queue.Filled():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		recs, err := s.queue.Take()
		if err != nil {
			return err
		}
		if len(recs) == 0 {
			continue
		}
		if recs[0].Subscribed == nil || recs[0].Subscribed.State == nil {
			return fmt.Errorf("first record is %q, not a snapshot", recs[0].Type)
		}
		s.doubt = ""
		s.snapshot(recs[0].Subscribed.State, recs[0].partial)
		if err := s.flush(ctx); err != nil {
			return err
		}
		s.board.Update(func(st *Status) {
			st.Counters.Snapshots++
			st.Synced = s.cfg.Now()
		})
		return s.take(ctx, recs[1:])
	}
}

// follow reduces records as they come, until it is time for another session.
func (s *session) follow(ctx context.Context) error {
	began, until := s.cfg.Now(), s.cfg.jittered(s.cfg.Resync)
	s.resync = time.NewTimer(until)
	defer s.resync.Stop()
	poll := time.NewTimer(s.cfg.jittered(s.cfg.PollAgents))
	defer poll.Stop()
	sweep := time.NewTicker(max(s.cfg.Linger/8, time.Second))
	defer sweep.Stop()
	for {
		if s.doubt != "" && !s.rushed {
			lasted := s.cfg.Now().Sub(began)
			if s.rushed = true; lasted > calm {
				s.doubts.Reset()
			}
			s.resync.Reset(min(s.doubts.Next(), until-lasted)) // sooner, never later
		}
		filled := s.queue.Filled()
		if len(s.look.held) >= maxQueued {
			filled = nil // the answer comes first
		}
		select {
		case <-filled:
			recs, err := s.queue.Take()
			if err != nil {
				return err
			}
			if err := s.take(ctx, recs); err != nil {
				return err
			}
		case f := <-s.look.done:
			if err := s.looked(ctx, f); err != nil {
				return err
			}
		case <-poll.C:
			s.touched = map[string]bool{}
			s.wg.Go(func() {
				w, err := s.client.get(ctx, s.leader, master.Call_GET_AGENTS)
				s.polled <- polled{w.GetAgents, err}
			})
		case p := <-s.polled:
			s.answered(p.err)
			if p.err == nil && p.agents != nil {
				s.agents(p.agents, s.touched, false)
			} else {
				s.suspect("GET_AGENTS failed")
			}
			s.touched = nil
			if err := s.flush(ctx); err != nil {
				return err
			}
			poll.Reset(s.cfg.jittered(s.cfg.PollAgents))
		case now := <-sweep.C:
			s.sweep(now)
			if err := s.flush(ctx); err != nil {
				return err
			}
		case <-s.resync.C:
			return errResync
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take reduces records and makes their differences durable.
func (s *session) take(ctx context.Context, recs []wireEvent) error {
	s.board.Update(func(st *Status) { st.Queued = len(recs) + s.queue.Len() })
	recs = s.admit(recs)
	s.ask(ctx)
	for i := range recs {
		s.record(&recs[i])
	}
	s.endDoomed()
	return s.flush(ctx)
}

// flush makes the pending events durable, and says so.
func (s *session) flush(ctx context.Context) error {
	if err := s.mirror.Flush(ctx); err != nil {
		return err
	}
	if len(s.look.held) == 0 {
		s.heard = s.cfg.Now()
	}
	s.board.Update(func(st *Status) {
		st.Heard, st.Queued = s.heard, s.queue.Len()
		st.Counters.Events = s.mirror.Appended()
		st.Counters.Dropped = s.limits.Dropped()
	})
	return nil
}

// answered counts an answer to a GET call, or its failure.
func (s *Source) answered(err error) {
	if err != nil {
		s.log.Debug("mesos: a call to the master failed", "error", err)
	}
	s.board.Update(func(st *Status) {
		if err != nil {
			st.Counters.PollFails++
		} else {
			st.Counters.Polls++
		}
	})
}
