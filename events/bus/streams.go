package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Retention bounds what the streams keep. What is older, or the oldest beyond
// the size, is removed by the server; Usage.Warnings says so before.
type Retention struct {
	MaxAge   time.Duration // zero: DefaultMaxAge
	MaxBytes int64         // of each of EVENTS, WORK and REPORTS; zero: no limit
}

// DefaultMaxAge is a year, as PCI DSS 10.5.1 asks of audit logs, and a month
// to spare.
const DefaultMaxAge = 400 * 24 * time.Hour

// dedupeWindow is how long the server remembers message ids.
const dedupeWindow = 2 * time.Minute

// EnsureStreams creates the streams that do not exist and brings those that do
// to this configuration. Nothing that a stream holds is lost by it, unless the
// retention is shorter than before. Replicas is 1, or 3 on a cluster.
func EnsureStreams(ctx context.Context, js jetstream.JetStream, r Retention, replicas int) error {
	for _, cfg := range wantedStreams(js, r, replicas) {
		if err := ensureStream(ctx, js, cfg); err != nil {
			return fmt.Errorf("setting up stream %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// wantedStreams are the configurations of the streams on the connected servers.
func wantedStreams(js jetstream.JetStream, r Retention, replicas int) []jetstream.StreamConfig {
	if r.MaxAge == 0 {
		r.MaxAge = DefaultMaxAge
	}
	if r.MaxBytes == 0 {
		r.MaxBytes = -1
	}
	return streamConfigs(r, max(replicas, 1), js.Conn().ConnectedClusterName() != "")
}

func ensureStream(ctx context.Context, js jetstream.JetStream, cfg jetstream.StreamConfig) error {
	ctx, cancel := Timeout(ctx)
	defer cancel()
	old, err := js.Stream(ctx, cfg.Name)
	if err == nil {
		have := old.CachedInfo().Config
		asItIs(&cfg, have)
		if len(merge(&have, cfg)) > 0 {
			_, err = js.UpdateStream(ctx, have)
		}
		return err
	} else if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	} else if cfg.Name == ReportsStream {
		if cfg.FirstSeq, err = afterReports(ctx, js); err != nil {
			return err
		}
	}
	if _, err = js.CreateStream(ctx, cfg); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another controller was faster
	}
	return err
}

// reportsRoom is more than how far the reports that were taken up can be ahead
// of the position that is kept.
const reportsRoom = 10_000

// afterReports is where the reports of hosts go on when their stream is made
// anew: no report may have the place of one that was read. It is 0 when none was.
func afterReports(ctx context.Context, js jetstream.JetStream) (uint64, error) {
	state, err := StreamState(ctx, js, PositionsStream)
	if err != nil || state.Msgs == 0 {
		return 0, err
	}
	var first uint64
	for msg, err := range Fetch(ctx, js, PositionsStream, "", state.FirstSeq, state.LastSeq) {
		if err != nil {
			return 0, err
		}
		at, err := strconv.ParseUint(string(msg.Data), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the position on %s: %w", msg.Subject, err)
		}
		first = max(first, at+reportsRoom)
	}
	return first, nil
}

func streamConfigs(r Retention, replicas int, clustered bool) []jetstream.StreamConfig {
	base := func(name string, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Subjects: subjects, Replicas: replicas,
			Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
			Discard: jetstream.DiscardOld, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxMsgsPerSubject: -1,
			Duplicates: dedupeWindow, AllowDirect: true,
			DenyDelete: true, DenyPurge: true, // what was written stays as it was
		}
	}
	kept := func(c jetstream.StreamConfig) jetstream.StreamConfig {
		c.MaxAge, c.MaxBytes = r.MaxAge, r.MaxBytes
		c.Duplicates = min(dedupeWindow, r.MaxAge)
		return c
	}
	log := kept(base(EventsStream, EventsSubject))
	log.AllowAtomicPublish = true

	// Work items follow from the log, and the log is synced before any is sent:
	// a server alone may write them behind: what it loses when it is killed is made
	// from the log again. Atomic batches need a sync there; in
	// a cluster they are staged in memory, and single messages that are under
	// way together exclude each other. A stream can't change from one to the
	// other, nor be replicated when it is written behind.
	work := kept(base(WorkStream, AllWork, FenceSubject))
	if !clustered {
		work.PersistMode = jetstream.AsyncPersistMode
	} else {
		work.AllowAtomicPublish = true
	}
	work.RePublish = &jetstream.RePublish{Source: AllWork, Destination: livePrefix + "{{wildcard(1)}}"}

	snapshots := base(SnapshotsStream, snapshotsPrefix+"*")
	snapshots.DenyPurge = false // old snapshots make room
	positions := base(PositionsStream, positionsPrefix+"*")
	positions.MaxMsgsPerSubject = 1
	return []jetstream.StreamConfig{
		log, work, snapshots, positions,
		kept(base(ReportsStream, reportsPrefix+"*")),
		base(CheckpointsStream, CheckpointsSubject),
	}
}
