package wan

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/e2e/sim"
)

//go:embed policies
var policies embed.FS

// Site is where a host stands.
type site struct {
	name, segment, ifname, prefix string
}

var (
	dc    = site{"dc", "dc", "dc0", "10.0.1."}
	cloud = site{"cloud", "cloud", "cloud0", "10.0.2."}
)

// machine on which tasks run.
type host struct {
	name string
	site site
	last int // of its address
}

func (h host) address() string { return fmt.Sprintf("%s%d", h.site.prefix, h.last) }

var hosts = []host{{"h1", dc, 11}, {"h2", dc, 12}, {"c1", cloud, 11}, {"c2", cloud, 12}}

// Options say how to build the network.
type Options struct {
	deploy.Options
	// DefaultTimers leaves the sessions between the sites with a hold time of
	// 90 s; else a link that dies silently is noticed within 300 ms, by BFD.
	DefaultTimers bool
}

func (o Options) timers() timers {
	if o.DefaultTimers {
		return timers{Hold: 90, Keepalive: 30}
	}
	return timers{Hold: 9, Keepalive: 3, BFD: true}
}

// Network is the diagram, running.
type Network struct {
	*deploy.Deployment
	opt        Options
	machines   map[string]*netns.Host
	management int // machines on the management segment
}

// patience is longer than a hold time.
const patience = 2 * time.Minute

// Set builds the network and starts everything in it, and returns when all
// hosts are ready.
func Set(ctx context.Context, opt Options) (n *Network, err error) {
	d, err := deploy.New(opt.Options, patience)
	if err != nil {
		return nil, err
	}
	n = &Network{Deployment: d, opt: opt, machines: map[string]*netns.Host{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Strike())
			n = nil
		}
	}()
	for _, s := range segments {
		if err = n.Fabric.Segment(s); err != nil {
			return n, err
		}
	}
	for _, start := range []func(context.Context) error{n.startLegacy, n.makeRouters, n.startRouters, n.startCluster, n.startController} {
		if err = start(ctx); err != nil {
			return n, err
		}
	}
	for _, h := range hosts {
		if err = n.StartAgent(ctx, h.name, h.address()); err != nil {
			return n, err
		}
	}
	return n, n.WaitReady(ctx, len(hosts))
}

func (n *Network) makeRouters(context.Context) error {
	for _, r := range routers {
		if _, err := n.machine(r.name, r.links...); err != nil {
			return err
		}
	}
	return nil
}

// startLegacy makes the legacy network: a firewall that lets the production
// pool through to the database, and nobody else; and the database, which has
// never heard of tasks.
func (n *Network) startLegacy(ctx context.Context) error {
	fw, err := n.machine("fw", link{"dmz", "dmz0", "10.0.9.2/30"}, link{"legacy", "legacy0", "172.16.0.1/24"})
	if err != nil {
		return err
	}
	if err := fw.Route("10.8.0.0/14", "10.0.9.1"); err != nil {
		return err
	}
	for _, rule := range [][]string{
		{"-P", "FORWARD", "DROP"},
		{"-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"},
		{"-A", "FORWARD", "-s", productionPool, "-d", "172.16.0.10", "-p", "tcp", "--dport", "1521", "-j", "ACCEPT"},
	} {
		if _, err := proc.Output(ctx, fw, "iptables", append([]string{"-w"}, rule...)...); err != nil {
			return err
		}
	}
	db, err := n.machine("db", link{"legacy", "legacy0", legacyDatabase + "/24"})
	if err != nil {
		return err
	}
	if err := db.Route("0.0.0.0/0", "172.16.0.1"); err != nil {
		return err
	}
	return n.Start(ctx, db, "db", "peer", "--name", "db", "--tcp", "1521")
}

// Addresses that the outside world knows.
const (
	productionPool = "10.8.0.0/16"
	legacyDatabase = "172.16.0.10"
)

func (n *Network) simHost(h host, management string) sim.Host {
	return sim.Host{Name: h.name, Address: management, Attributes: map[string]string{"site": h.site.name}}
}

func (n *Network) startCluster(ctx context.Context) error {
	var all []sim.Host
	for i, h := range hosts {
		all = append(all, n.simHost(h, fmt.Sprintf("192.168.50.%d/24", 11+i)))
	}
	if err := n.StartCluster(ctx, all, spareHost().name); err != nil {
		return err
	}
	for _, h := range hosts {
		if err := n.join(n.Cluster.Host(h.name).NS, n.dataLinks(h)...); err != nil {
			return err
		}
	}
	return nil
}

// spareHost is a cloud host that is not there at first.
func spareHost() host { return host{"c3", cloud, 13} }

func (n *Network) dataLinks(h host) []link {
	return []link{{h.site.segment, h.site.ifname, h.address() + "/24"}}
}

func (n *Network) startController(ctx context.Context) error {
	names := []string{spareHost().name}
	for _, h := range hosts {
		names = append(names, h.name)
	}
	return n.StartController(ctx, names...)
}

// Apply applies the network's policies: pools, peers, and who may talk to whom.
func (n *Network) Apply(ctx context.Context) error {
	dir, err := n.Unpack(policies, "policies")
	if err != nil {
		return err
	}
	_, err = n.Taskwall(ctx, "policy", "apply", "-f", dir, "--author", "net@security", "--commit", "b6e41aa", "--wait", "20s")
	return err
}
