package ha

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
)

var losses = flag.Int("losses", 3, "faults of NATS servers that TestNodes makes, one after the other")

// nodeBound is what a slow machine may need until a cluster of two servers
// works again: they wait four to nine seconds before they elect a leader.
const nodeBound = 90 * time.Second

// TestNodes kills one of three NATS servers after the other, first the one that
// leads the log, stops and resumes one, and kills all at once, while tasks and
// policies change: the controllers go on, and nothing is lost or doubled.
func TestNodes(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 3, 2, *faultSeed)
	var stalls []time.Duration
	for i := range *losses {
		time.Sleep(time.Duration(p.rng.IntN(1000)) * time.Millisecond) // at any moment
		victim := p.nodes[p.rng.IntN(len(p.nodes))]
		if p.rng.IntN(2) == 0 || i == 0 {
			victim = p.leads(bus.EventsStream)
		}
		begin := time.Now()
		what, mend := p.strike(i, victim)
		stall := p.awaitProgress(begin)
		stalls = append(stalls, stall)
		t.Logf("%s; the longest stall of the fold was %s", what, stall.Round(time.Millisecond))
		mend()
		p.awaitReplicas()
	}
	p.check()
	joins := 0
	for _, h := range p.hosts {
		joins += h.joins
	}
	slices.Sort(stalls)
	t.Logf("%d faults; stalls p50 %s, max %s; hosts asked %d times for their whole picture", len(stalls),
		stalls[len(stalls)/2].Round(time.Millisecond), stalls[len(stalls)-1].Round(time.Millisecond), joins)
}

// strike does something to a server, or to all.
func (p *place) strike(i int, victim *process) (what string, mend func()) {
	switch i % 3 {
	case 0:
		victim.kill()
		return victim.name + " was killed", victim.start
	case 1: // its connections stay open, and nobody answers
		victim.signal(syscall.SIGSTOP)
		return victim.name + " was stopped", func() { victim.signal(syscall.SIGCONT) }
	default:
		for _, n := range p.nodes {
			n.kill()
		}
		for _, n := range p.nodes {
			n.start()
		}
		return "all were killed", func() {}
	}
}

// leads is the server that leads a stream.
func (p *place) leads(stream string) *process {
	p.t.Helper()
	var found *process
	p.until(nodeBound, "leader of "+stream, func() bool {
		info, ok := p.streamInfo(stream)
		if !ok || info.Cluster == nil {
			return false
		}
		i := slices.IndexFunc(p.nodes, func(n *process) bool { return n.name == info.Cluster.Leader })
		if i >= 0 {
			found = p.nodes[i]
		}
		return found != nil
	})
	return found
}

func (p *place) streamInfo(stream string) (*jetstream.StreamInfo, bool) {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	s, err := p.conn.JS.Stream(ctx, stream)
	if err != nil {
		return nil, false
	}
	return s.CachedInfo(), true
}

// awaitProgress waits until the fold goes on steadily after a loss, and returns
// the longest time in which it did not.
func (p *place) awaitProgress(begin time.Time) (stall time.Duration) {
	p.t.Helper()
	last, at, steady := uint64(0), begin, begin
	p.until(nodeBound, "progress of the fold", func() bool {
		now := time.Now()
		st, ok := p.status()
		if ok && st.Log.Folded > last {
			last, at = st.Log.Folded, now
		}
		stall = max(stall, now.Sub(at))
		if now.Sub(at) > time.Second {
			steady = now
		}
		return now.Sub(steady) > 4*time.Second && now.Sub(at) < time.Second
	})
	return stall
}

// awaitReplicas waits until every stream has all its replicas again, so that
// the next loss is again the loss of one.
func (p *place) awaitReplicas() {
	p.t.Helper()
	streams := []string{bus.EventsStream, bus.WorkStream, bus.ReportsStream, bus.SnapshotsStream, bus.PositionsStream, bus.CheckpointsStream, "KV_LEASES"}
	why := ""
	defer func() {
		if p.t.Failed() {
			p.t.Log(why)
		}
	}()
	p.until(nodeBound, "replicas", func() bool {
		for _, stream := range streams {
			info, ok := p.streamInfo(stream)
			if !ok || info.Cluster == nil || info.Cluster.Leader == "" {
				why = "no leader of " + stream
				return false
			}
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline {
					why = fmt.Sprintf("replica %s of %s lags", r.Name, stream)
					return false
				}
			}
		}
		return true
	})
}
