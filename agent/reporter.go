package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// reporter sends reports in order without making anyone wait. While the outbox
// is away it keeps the newest word about each thing, so that what it holds is
// bounded by the host, not by the time.
type reporter struct {
	host   string
	outbox Outbox
	log    *slog.Logger
	start  int64

	mu    sync.Mutex
	queue []pending
	n     int
	wake  chan struct{}
}

type pending struct {
	key    string // a later report with the same key takes this one's place; "" is kept
	report work.Report
}

// maxLoose bounds how many reports without a key (drift, logged packets) wait;
// of more, the oldest go.
const maxLoose = 200

func newReporter(host string, outbox Outbox, log *slog.Logger) *reporter {
	return &reporter{host: host, outbox: outbox, log: log, start: time.Now().UnixNano(), wake: make(chan struct{}, 1)}
}

func (r *reporter) join(j events.Join) { r.add("join", work.Report{Join: &j}) }

func (r *reporter) applied(a work.Applied) { r.add("applied", work.Report{Applied: &a}) }

func (r *reporter) wiring(w events.Wiring) {
	w.Host = r.host
	r.add("wiring "+w.Endpoint, work.Report{Wiring: &w})
}

func (r *reporter) drift(what string) {
	r.log.Warn("drift mended", "what", what)
	r.add("", work.Report{Drift: &work.Drift{What: what}})
}

func (r *reporter) logged(l work.Logged) { r.add("", work.Report{Logged: &l}) }

// speech lets the BGP speaker report.
type speech struct{ *reporter }

func (r speech) Session(s events.Session) {
	s.Host = r.host
	r.add("session "+s.Peer, work.Report{Session: &s})
}

func (r speech) Refused(f events.RouteRefusal) {
	f.Host = r.host
	r.add("", work.Report{Refused: &f})
}

func (r *reporter) add(key string, rep work.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	rep.ID, rep.Host, rep.Time = fmt.Sprintf("%s-%d-%d", r.host, r.start, r.n), r.host, time.Now().UTC()
	loose, first := 0, -1
	for i, p := range r.queue {
		if key != "" && p.key == key {
			// An applied item that could not all be applied, or cut connections, is
			// news of its own.
			if p.report.Applied == nil || len(p.report.Applied.Failed) == 0 && p.report.Applied.Cut == 0 {
				r.queue = append(r.queue[:i], r.queue[i+1:]...)
				break
			}
		}
		if p.key == "" {
			if first < 0 {
				first = i
			}
			loose++
		}
	}
	if key == "" && loose >= maxLoose {
		r.queue = append(r.queue[:first], r.queue[first+1:]...)
	}
	r.queue = append(r.queue, pending{key, rep})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) run(ctx context.Context) error {
	const longest = 5 * time.Second
	backoff := 50 * time.Millisecond
	for {
		p, ok := r.take()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-r.wake:
			}
			continue
		}
		err := r.outbox.Report(ctx, p.report)
		if err == nil {
			backoff = 50 * time.Millisecond
			continue
		}
		r.putBack(p)
		if ctx.Err() != nil {
			return nil
		}
		r.log.Debug("a report was not taken", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, longest)
	}
}

func (r *reporter) take() (pending, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return pending{}, false
	}
	p := r.queue[0]
	r.queue = r.queue[1:]
	return p, true
}

// putBack returns a report to the head of the queue, unless a newer word about
// the same thing waits there.
func (r *reporter) putBack(p pending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.key != "" {
		for _, q := range r.queue {
			if q.key == p.key {
				return
			}
		}
	}
	r.queue = append([]pending{p}, r.queue...)
}
