package eventlog

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/bustest"
	"github.com/taskwall/taskwall/events/work"
)

// leaderOf is the node that leads a stream.
func leaderOf(t *testing.T, js jetstream.JetStream, stream string, nodes []*bustest.Node) *bustest.Node {
	t.Helper()
	s, err := js.Stream(bustest.Context(t), stream)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Name() == s.CachedInfo().Cluster.Leader {
			return n
		}
	}
	t.Fatalf("%s is led by %q", stream, s.CachedInfo().Cluster.Leader)
	return nil
}

// Of three servers one dies, the one that leads the log: the writer, the
// follower, the publisher and the host go on, and nothing is lost or doubled.
func TestClusterSurvivesTheLossOfANode(t *testing.T) {
	nodes := bustest.Cluster(t, 3)
	c := bustest.ConnectNodes(t, nodes)
	l, err := Open(bustest.Context(t), c.JS, Options{Epoch: 1, Key: testKey("log"), CheckpointEvery: 20})
	if err != nil {
		t.Fatal(err)
	}
	p, err := work.NewPublisher(bustest.Context(t), c.JS, 1)
	if err != nil {
		t.Fatal(err)
	}
	serve, stopServing := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		for serve.Err() == nil {
			_ = work.ServeCatchup(serve, c, nil) // while the cluster has no leader it can't begin
		}
	}()
	defer func() { stopServing(); <-served }()
	host, err := work.Subscribe(bustest.Context(t), bustest.ConnectNodes(t, nodes), "h", work.Position{}, bustest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close() //nolint:errcheck // the test is over
	f := follow(t, l, 1)

	const n = 60
	var stall time.Duration
	for i := range n {
		if i == n/2 {
			leaderOf(t, c.JS, bus.EventsStream, nodes).Stop()
		}
		start := time.Now()
		appendThrough(t, l, taskEvent(fmt.Sprint(i)))
		it := &work.Item{Host: "h", Rev: uint64(i + 1), Snapshot: i == 0}
		for err := p.Publish(bustest.Context(t), it); err != nil; err = p.Publish(bustest.Context(t), it) {
			if time.Since(start) > 40*time.Second {
				t.Fatal(err)
			}
		}
		stall = max(stall, time.Since(start))
	}
	t.Logf("the longest stall was %s", stall)
	f.until(t, 1, n)
	for rev := uint64(1); rev <= n; rev++ {
		it, err := host.Next(bustest.Context(t))
		if err != nil || it.Rev != rev {
			t.Fatalf("the host got %+v, %v where %d was due", it, err, rev)
		}
	}
	for i, id := range ids(t, l, 1) {
		if id != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i+1, id)
		}
	}
	wantProblems(t, verify(t, l))
}
