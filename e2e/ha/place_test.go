package ha

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mesoslib "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/bus/freeport"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/controller"
)

const hosts, apps = 4, 3

// place is everything: a simulated cluster whose tasks come and go, NATS,
// controllers and hosts.
type place struct {
	t   *testing.T
	rng *rand.Rand
	ctx context.Context

	sim         *sim.Cluster
	key         ed25519.PublicKey
	disk        int        // of each node, in bytes; 0: the machine's
	nodes       []*process // NATS
	urls        []string   // of the nodes
	conn        *bus.Conn  // to all nodes, by no proxy
	controllers []*contender
	hosts       []*host

	stopChurn func()
	scaled    int
	applied   []string // commits of policy changes that were acknowledged
	takeovers []time.Duration
}

// contender is a controller, with the network between it and NATS.
type contender struct {
	*process
	net *proxy // nil: none
}

func newPlace(t *testing.T, nodes, contenders int, seed uint64, opts ...func(*place)) *place {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	t.Cleanup(cancel)
	p := &place{t: t, rng: rand.New(rand.NewPCG(seed, 1)), ctx: ctx}
	for _, f := range opts {
		f(p)
	}
	p.startNATS(nodes)
	p.startSim(seed)
	key := p.writeKey()
	for i := range contenders {
		c := &contender{}
		urls := p.urls
		if nodes == 1 { // a server of a cluster tells its clients of the others: they would go around
			c.net = newProxy(t, p.urls[0][len("nats://"):])
			urls = []string{c.net.url()}
		}
		args := []string{"controller", "--checkpoint-key", key, "--checkpoint-every", "1s", "--snapshot-every", "200",
			"--address-hold", "1s", "--replicas", fmt.Sprint(nodes), "--marathon", p.sim.MarathonURL(), "--log-format", "json"}
		for _, u := range p.sim.MasterURLs() {
			args = append(args, "--mesos", u)
		}
		for _, u := range urls {
			args = append(args, "--nats-url", u)
		}
		c.process = newProcess(t, fmt.Sprintf("controller-%d", i), taskwall, args...)
		p.controllers = append(p.controllers, c)
		c.start()
	}
	p.leader(60 * time.Second)
	p.startHosts()
	p.applyPolicies(0)
	for i := range apps {
		spec := fmt.Sprintf(`{"id":"/app-%d","cmd":"sleep 1000","cpus":0.01,"mem":1,"instances":2,
			"networks":[{"mode":"container","name":"taskwall"}],"labels":{"app":"app-%d"}}`, i, i)
		if err := p.sim.CreateApp(ctx, spec); err != nil {
			t.Fatal(err)
		}
	}
	p.startChurn(seed)
	return p
}

func (p *place) startNATS(n int) {
	listen, routes := make([]string, n), make([]string, n)
	for i := range n {
		listen[i], routes[i] = freeAddress(p.t), freeAddress(p.t)
		p.urls = append(p.urls, "nats://"+listen[i])
	}
	for i := range n {
		o := bus.ServerOptions{Name: fmt.Sprintf("nats-%d", i), Dir: filepath.Join(p.t.TempDir(), "nats"), Listen: listen[i]}
		if n > 1 {
			o.Cluster = &bus.ClusterOptions{Name: "nats", Listen: routes[i]}
			for _, r := range routes {
				o.Cluster.Routes = append(o.Cluster.Routes, "nats://"+r)
			}
		}
		node := natsServer(p.t, o)
		if p.disk > 0 {
			node.env = append(node.env, fmt.Sprintf("%s=%d", diskVariable, p.disk))
			node.mounts = true
		}
		node.start()
		p.nodes = append(p.nodes, node)
	}
	p.conn = p.connect()
}

// natsServer is a NATS server in a process of its own.
func natsServer(t testing.TB, o bus.ServerOptions) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	node := newProcess(t, o.Name, exe)
	node.env = []string{natsVariable + "=" + string(text)}
	return node
}

func (p *place) connect() *bus.Conn {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	c, err := bus.Connect(ctx, bus.Options{URLs: p.urls, Name: p.t.Name()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(c.Close)
	return c
}

func (p *place) startSim(seed uint64) {
	cfg := sim.Config{
		Seed: seed, TaskKilling: true,
		PaperIP: func(host string, n int) string { return fmt.Sprintf("10.99.%d.%d", n>>8&0xff, n&0xff) },
	}
	for i := range hosts {
		cfg.Hosts = append(cfg.Hosts, sim.Host{Name: fmt.Sprintf("h%d", i), Resources: master.Amount{
			Cpus: 100, Mem: 1 << 20, Disk: 1 << 20, Ports: []mesoslib.Value_Range{{Begin: 31000, End: 32000}}}})
	}
	var err error
	if p.sim, err = sim.Start(p.ctx, cfg); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := p.sim.Close(); err != nil {
			p.t.Error(err)
		}
	})
}

// writeKey makes the key that signs checkpoints.
func (p *place) writeKey() string {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(p.t.TempDir(), "checkpoint.key")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.key = public
	return file
}

func (p *place) startHosts() {
	ctx, cancel := context.WithCancel(p.ctx)
	var wg sync.WaitGroup
	for i := range hosts {
		h := &host{name: fmt.Sprintf("h%d", i), state: work.NewState()}
		conn := p.connect()
		p.hosts = append(p.hosts, h)
		wg.Go(func() {
			if err := h.follow(ctx, conn); err != nil && ctx.Err() == nil {
				p.t.Errorf("host %s: %v", h.name, err)
			}
		})
	}
	p.t.Cleanup(func() { cancel(); wg.Wait() })
}

// applyPolicies puts a pool and a policy per app into force; n makes each
// change another.
func (p *place) applyPolicies(n int) {
	resource := func(kind, name, spec string) events.Resource {
		return events.Resource{ResourceKey: events.ResourceKey{Kind: kind, Name: name}, File: "p.yaml", Line: 1,
			Body: json.RawMessage(fmt.Sprintf(`{"apiVersion":"projectcalico.org/v3","kind":%q,"metadata":{"name":%q},"spec":%s}`, kind, name, spec))}
	}
	change := events.PolicyChange{Author: "ann", Commit: fmt.Sprintf("commit-%d", n), Put: []events.Resource{
		resource("IPPool", "main", `{"cidr":"10.8.0.0/16"}`),
		resource("GlobalNetworkPolicy", "ring", fmt.Sprintf(`{"selector":"has(app)","types":["Ingress"],"ingress":[
			{"action":"Allow","protocol":"TCP","source":{"selector":"app == 'app-%d'"},"destination":{"ports":[%d]}}]}`, n%apps, 1000+n%1000)),
	}}
	ctx, cancel := context.WithTimeout(p.ctx, 2*time.Second)
	defer cancel()
	_, err := controller.Call[controller.ApplyResult](ctx, p.conn, controller.SubjectApply, controller.ApplyRequest{Change: change})
	if err == nil {
		p.applied = append(p.applied, change.Commit)
	}
}

// startChurn has tasks come and go, and policies change, until stopChurn.
func (p *place) startChurn(seed uint64) {
	ctx, cancel := context.WithCancel(p.ctx)
	rng := rand.New(rand.NewPCG(seed, 2))
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			// A deployment under way refuses another: then the next one does it.
			if p.sim.UpdateApp(ctx, fmt.Sprintf("/app-%d", rng.IntN(apps)), fmt.Sprintf(`{"instances":%d}`, rng.IntN(12))) == nil {
				p.scaled++
			}
			if n%8 == 0 {
				p.applyPolicies(n)
			}
			select {
			case <-time.After(time.Duration(20+rng.IntN(60)) * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	p.stopChurn = sync.OnceFunc(func() { cancel(); wg.Wait() })
	p.t.Cleanup(p.stopChurn)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// status asks whoever leads; ok is false when nobody answers.
func (p *place) status() (st controller.Status, ok bool) {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	st, err := controller.Call[controller.Status](ctx, p.conn, controller.SubjectStatus, struct{}{})
	return st, err == nil && len(st.Controllers) > 0
}

// leader waits for one that leads and returns it with its epoch.
func (p *place) leader(patience time.Duration) (*contender, uint64) {
	p.t.Helper()
	return p.leaderAfter(0, patience)
}

// leaderAfter waits for one of a later epoch.
func (p *place) leaderAfter(epoch uint64, patience time.Duration) (*contender, uint64) {
	p.t.Helper()
	var found *contender
	var its uint64
	p.until(patience, fmt.Sprintf("a leader after term %d", epoch), func() bool {
		st, ok := p.status()
		if !ok || st.Controllers[0].Epoch <= epoch {
			return false
		}
		for _, c := range p.controllers {
			if c.cmd != nil && st.Controllers[0].Name == fmt.Sprintf("%s/%d", hostname(), c.cmd.Process.Pid) {
				found, its = c, st.Controllers[0].Epoch
			}
		}
		return found != nil
	})
	return found, its
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

func (p *place) until(patience time.Duration, what string, yes func() bool) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for !yes() {
		if time.Now().After(deadline) {
			p.t.Fatalf("no %s within %s", what, patience)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
