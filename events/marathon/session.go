package marathon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/taskwall/taskwall/events/connect"
	"github.com/taskwall/taskwall/events/marathon/sse"
)

// maxQueued bounds the events that are read but not yet looked at. Marathon
// itself cuts a reader off that is 1024 behind; the snapshot that follows then
// makes good what was missed.
const maxQueued = 4096

// session is one stream: from finding the leader to losing it.
type session struct {
	*Source
	synced time.Time // when the snapshot was in the log
	// last is when the last comparison of everything ended, and took how long it
	// took.
	last time.Time
	took time.Duration

	cancel context.CancelCauseFunc
	queue  *connect.Queue[wireEvent]
	wants  wants
	wg     sync.WaitGroup
}

// run returns why the session ended.
func (s *session) run(ctx context.Context) error {
	ctx, s.cancel = context.WithCancelCause(ctx)
	resp, err := s.client.events(ctx)
	if err != nil {
		s.cancel(nil)
		return err
	}
	defer resp.Body.Close()
	defer s.wg.Wait()
	defer s.cancel(nil)
	leader := s.client.leader.Host
	s.queue = connect.NewQueue[wireEvent](maxQueued, int64(s.cfg.MaxEvent))
	s.wg.Go(func() { s.queue.End(s.read(ctx, resp.Body)) })
	err = s.follow(ctx)
	s.client.Served(!s.synced.IsZero())
	return fmt.Errorf("stream from %s: %w", leader, err)
}

// read decodes events into the queue until the stream ends, and returns why.
func (s *session) read(ctx context.Context, body io.Reader) error {
	r := sse.NewReader(&connect.Watch{R: body, Patience: s.cfg.Silence, Expired: func() { s.cancel(ErrSilent) }}, s.cfg.MaxEvent)
	var odd connect.Said
	for {
		e, err := r.Next()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var w wireEvent
		switch {
		case errors.Is(err, sse.ErrTooLarge):
		case err != nil:
			return err
		default:
			err = lenient(json.Unmarshal(e.Data, &w))
		}
		s.board.Update(func(st *Status) {
			st.Counters.Received++
			st.Counters.Bytes += uint64(len(e.Data))
			if err != nil {
				st.Counters.Malformed++
			}
		})
		if err != nil {
			if odd.New(err.Error(), s.cfg.Now()) {
				s.log.Warn("marathon: an event could not be decoded: reading everything", "type", e.Type[:min(len(e.Type), 100)], "error", err)
			}
			w = wireEvent{}
		}
		if w.Type == "" {
			w.Type = e.Type
		}
		if err != nil {
			w.Type = malformed
		}
		if err := s.queue.Put(ctx, w, int64(len(e.Data))); err != nil {
			return err
		}
	}
}

// follow waits for the stream to be attached, compares everything, and then
// looks at what events point to, until something fails.
func (s *session) follow(ctx context.Context) error {
	attach := time.NewTimer(s.cfg.CallTimeout) // blank lines alone would keep us waiting
	defer attach.Stop()
	select {
	case <-s.queue.Filled():
	case <-attach.C:
		return ErrNotAttached
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if s.queue.Len() == 0 {
		_, err := s.queue.Take()
		return fmt.Errorf("%w: %w", ErrNotAttached, err)
	}
	if err := s.snapshot(ctx); err != nil {
		return err
	}
	s.synced = s.cfg.Now()
	s.connected(s.client.leader.Host)

	queued := s.queue.Filled()
	again := make(chan struct{}, 1) // the token that announced the first event was taken above
	again <- struct{}{}
	settle := time.NewTimer(0)
	if !settle.Stop() {
		<-settle.C
	}
	defer settle.Stop()
	settling := false
	resync := time.NewTimer(s.jittered(s.cfg.Resync))
	defer resync.Stop()
	tidy := time.NewTicker(missingFor / 2)
	defer tidy.Stop()
	for {
		if !s.wants.empty() && !settling {
			settling = true
			settle.Reset(s.cfg.Settle)
		}
		var err error
		select {
		case <-again:
			err = s.take()
		case <-queued:
			err = s.take()
		case <-settle.C:
			if wait := s.tooSoon(); wait > 0 {
				settle.Reset(wait)
				break
			}
			settling = false
			err = s.fetch(ctx)
		case <-resync.C:
			err = s.snapshot(ctx)
			resync.Reset(s.jittered(s.cfg.Resync))
		case <-tidy.C:
			s.tidy()
			s.doubts()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err == nil {
			err = s.flush(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// rest is how many times as long as reading everything took no event makes us
// read it again: of a big cluster that is tens of megabytes, which its leader
// writes anew each time.
const rest = 4

// tooSoon is how long to wait before what events ask for may be read.
func (s *session) tooSoon() time.Duration {
	if !s.wants.many() {
		return 0
	}
	return min(rest*s.took, s.cfg.Resync) - s.cfg.Now().Sub(s.last)
}

// take looks at the events that wait.
func (s *session) take() error {
	evs, err := s.queue.Take()
	for i := range evs {
		s.hint(&evs[i], &s.wants)
		if s.wants.many() {
			s.wants = wants{all: true} // the rest would only wait in memory
		}
	}
	return err
}

// flush makes the pending events durable, and says so.
func (s *session) flush(ctx context.Context) error {
	if err := s.mirror.Flush(ctx); err != nil {
		return err
	}
	now := s.cfg.Now()
	s.board.Update(func(st *Status) {
		st.Heard, st.Queued = now, s.queue.Len()
		st.Counters.Events = s.mirror.Appended()
		st.Counters.Dropped = s.limits.Dropped()
	})
	return nil
}

// jittered is d, up to a tenth more.
func (s *session) jittered(d time.Duration) time.Duration {
	return d + time.Duration(s.cfg.Rand()*float64(d)/10)
}
