package bustest

import (
	"fmt"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/freeport"
)

// Node is a server that can be stopped and started again, with its files and
// on its port.
type Node struct {
	t   testing.TB
	o   bus.ServerOptions
	srv *bus.Server
}

// NewNode starts a server that is not part of a cluster.
func NewNode(t testing.TB) *Node {
	t.Helper()
	n := newNode(t, t.Name())
	n.Start()
	return n
}

// Cluster starts servers that are one cluster, and returns when they have
// found each other.
func Cluster(t testing.TB, size int) []*Node {
	t.Helper()
	nodes := make([]*Node, size)
	var routes []string
	for i := range nodes {
		nodes[i] = newNode(t, fmt.Sprintf("%s-%d", t.Name(), i))
		listen := freeAddress(t)
		nodes[i].o.Cluster = &bus.ClusterOptions{Name: t.Name(), Listen: listen}
		routes = append(routes, "nats://"+listen)
	}
	for _, n := range nodes {
		n.o.Cluster.Routes = routes
	}
	done := make(chan error, size)
	for _, n := range nodes { // a server of a cluster is ready only when most are there
		go func() {
			var err error
			n.srv, err = bus.StartServer(n.o, nil)
			done <- err
		}()
	}
	for range nodes {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	c := ConnectNodes(t, nodes)
	ctx := Context(t)
	for bus.EnsureStreams(ctx, c.JS, bus.Retention{}, size) != nil { // until the cluster has a leader
		select {
		case <-ctx.Done():
			t.Fatal("the cluster does not come up")
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nodes
}

func newNode(t testing.TB, name string) *Node {
	n := &Node{t: t, o: bus.ServerOptions{Name: name, Dir: t.TempDir(), Listen: freeAddress(t)}}
	t.Cleanup(n.Stop)
	return n
}

// Start starts the server again after Stop.
func (n *Node) Start() {
	n.t.Helper()
	var err error
	if n.srv, err = bus.StartServer(n.o, nil); err != nil {
		n.t.Fatal(err)
	}
}

// Stop stops the server, if it runs.
func (n *Node) Stop() {
	if n.srv != nil {
		n.srv.Shutdown()
		n.srv = nil
	}
}

// ConnectNodes connects over sockets, to whichever node is there.
func ConnectNodes(t testing.TB, nodes []*Node) *bus.Conn {
	t.Helper()
	o := bus.Options{Name: t.Name()}
	for _, n := range nodes {
		o.URLs = append(o.URLs, "nats://"+n.o.Listen)
	}
	c, err := bus.Connect(Context(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// freeAddress is an address on loopback that was free a moment ago.
func freeAddress(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Name is the server's.
func (n *Node) Name() string { return n.o.Name }
