package eventlog

import (
	"context"
	"time"

	"github.com/taskwall/taskwall/events/bus"
)

// warnEvery is how often a warning that persists is repeated.
const warnEvery = 24 * time.Hour

// retention remembers what was said about the limits of the streams.
type retention struct {
	first  uint64               // the log's oldest record when last looked
	warned map[string]time.Time // by stream
}

// CheckRetention warns, in the log, when a stream that audits need nears a
// limit of its retention, at most once a day for each, and says what retention
// has removed from the event log since the last call. It is done with each
// checkpoint; a program calls it on a timer too. It returns how full each
// stream is, the log first.
func (l *Log) CheckRetention(ctx context.Context) ([]bus.Usage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkRetention(ctx, time.Now())
}

func (l *Log) checkRetention(ctx context.Context, now time.Time) ([]bus.Usage, error) {
	var all []bus.Usage
	for _, stream := range []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream} {
		u, err := bus.StreamUsage(ctx, l.js, stream)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
		if stream == bus.EventsStream {
			if was := l.limits.first; was != 0 && u.First > was {
				l.log.Warn("retention has removed records of the event log", "from", was, "to", u.First-1)
			}
			l.limits.first = u.First
		}
		warnings := u.Warnings(now)
		if len(warnings) == 0 || now.Sub(l.limits.warned[stream]) < warnEvery {
			continue
		}
		for _, w := range warnings {
			l.log.Warn(w)
		}
		if l.limits.warned == nil {
			l.limits.warned = map[string]time.Time{}
		}
		l.limits.warned[stream] = now
	}
	return all, nil
}
