package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler"
)

// livePast is the past as the streams hold it.
type livePast struct {
	conn *bus.Conn
	log  *eventlog.Log
}

func openLive(ctx context.Context, conn *bus.Conn) (*livePast, error) {
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{})
	if err != nil {
		return nil, err
	}
	return &livePast{conn, log}, nil
}

func (l *livePast) Now() time.Time { return time.Now() }

func (l *livePast) Checkpoints(ctx context.Context) ([]eventlog.Checkpoint, error) {
	return l.log.Checkpoints(ctx)
}

func (l *livePast) Records(ctx context.Context, from uint64) iter.Seq2[*eventlog.Record, error] {
	return l.log.Records(ctx, from)
}

func (l *livePast) Items(ctx context.Context, from uint64) iter.Seq2[work.Stored, error] {
	return work.ReadItems(ctx, l.conn.JS, from)
}

func (l *livePast) Reports(ctx context.Context, from uint64) iter.Seq2[work.StoredReport, error] {
	return work.ReadReports(ctx, l.conn.JS, from)
}

// Start is the earliest snapshot from which the log can be folded on.
func (l *livePast) Start(ctx context.Context, first uint64) (*scheduler.State, error) {
	last, err := l.log.Last(ctx)
	if err != nil {
		return nil, err
	}
	var best *scheduler.State
	for low, high := first-1, last; low <= high; { // halving: snapshots are large
		middle := low + (high-low)/2
		seq, data, ok, err := l.log.LatestSnapshot(ctx, middle)
		if err != nil {
			return nil, err
		}
		if !ok || seq+1 < first {
			low = middle + 1
			continue
		}
		s := scheduler.NewState()
		if err := json.Unmarshal(data, s); err != nil {
			return nil, fmt.Errorf("reading the snapshot at record %d: %w", seq, err)
		}
		if best = s; seq == 0 {
			break
		}
		high = seq - 1
	}
	if best == nil {
		return nil, fmt.Errorf("no snapshot is kept from record %d on", first-1)
	}
	return best, nil
}
