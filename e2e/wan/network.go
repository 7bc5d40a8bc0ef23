package wan

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler/controller"
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
	Prefix string // of the namespaces' names; unique on the machine
	Bin    string // directory with the binaries taskwall, taskwall-cni and peer
	Log    io.Writer
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
	opt        Options
	dir        string
	fabric     *netns.Fabric
	procs      proc.Group
	machines   map[string]*netns.Host
	management int // machines on the management segment
	Cluster    *sim.Cluster
}

const controlAddress = "192.168.50.2"

// Set builds the network and starts everything in it, and returns when all
// hosts are ready.
func Set(ctx context.Context, opt Options) (n *Network, err error) {
	n = &Network{opt: opt, machines: map[string]*netns.Host{}, procs: proc.Group{Log: opt.Log}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Strike())
			n = nil
		}
	}()
	if n.dir, err = os.MkdirTemp("", opt.Prefix+"-"); err != nil {
		return n, err
	}
	if n.fabric, err = netns.New(opt.Prefix); err != nil {
		return n, err
	}
	for _, s := range segments {
		if err = n.fabric.Segment(s); err != nil {
			return n, err
		}
	}
	for _, start := range []func(context.Context) error{n.startLegacy, n.makeRouters, n.startRouters, n.startCluster, n.startController} {
		if err = start(ctx); err != nil {
			return n, err
		}
	}
	for _, h := range hosts {
		if err = n.startAgent(ctx, h); err != nil {
			return n, err
		}
	}
	return n, n.waitReady(ctx, len(hosts))
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
		{"-A", "FORWARD", "-s", ProductionPool, "-d", "172.16.0.10", "-p", "tcp", "--dport", "1521", "-j", "ACCEPT"},
	} {
		if _, err := proc.Output(ctx, fw, "iptables", append([]string{"-w"}, rule...)...); err != nil {
			return err
		}
	}
	db, err := n.machine("db", link{"legacy", "legacy0", LegacyDatabase + "/24"})
	if err != nil {
		return err
	}
	if err := db.Route("0.0.0.0/0", "172.16.0.1"); err != nil {
		return err
	}
	_, err = n.procs.Start(ctx, db, "db", filepath.Join(n.opt.Bin, "peer"), "--name", "db", "--tcp", "1521")
	return err
}

// Addresses that the outside world knows.
const (
	ProductionPool = "10.8.0.0/16"
	LegacyDatabase = "172.16.0.10"
)

func (n *Network) simHost(h host, management string) sim.Host {
	return sim.Host{Name: h.name, Address: management, Attributes: map[string]string{"site": h.site.name}}
}

func (n *Network) startCluster(ctx context.Context) error {
	cfg := sim.Config{
		Fabric: n.fabric, Control: sim.Host{Name: "ctl", Address: controlAddress + "/24"},
		CNIPlugins: n.opt.Bin, HostCNIConf: map[string]string{}, TaskPath: n.opt.Bin, DialBack: true, TaskKilling: true,
	}
	for i, h := range hosts {
		if err := n.writeCNI(h.name); err != nil {
			return err
		}
		cfg.HostCNIConf[h.name] = n.cni(h.name)
		cfg.Hosts = append(cfg.Hosts, n.simHost(h, fmt.Sprintf("192.168.50.%d/24", 11+i)))
	}
	spare := spareHost()
	if err := n.writeCNI(spare.name); err != nil {
		return err
	}
	cfg.HostCNIConf[spare.name] = n.cni(spare.name)
	var err error
	if n.Cluster, err = sim.Start(ctx, cfg); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
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

func (n *Network) cni(host string) string    { return filepath.Join(n.dir, host, "cni") }
func (n *Network) socket(host string) string { return filepath.Join(n.dir, host, "agent.sock") }
func (n *Network) key(name string) string    { return filepath.Join(n.dir, name+".nk") }

func (n *Network) writeCNI(host string) error {
	if err := os.MkdirAll(n.cni(host), 0o755); err != nil {
		return err
	}
	network := fmt.Sprintf(`{"cniVersion":"0.2.0","name":"taskwall","type":"taskwall-cni","socket":%q}`, n.socket(host))
	return os.WriteFile(filepath.Join(n.cni(host), "taskwall.json"), []byte(network), 0o644)
}

func (n *Network) startController(ctx context.Context) error {
	users := bus.Users{Agents: map[string]string{}}
	names := []string{"controller", spareHost().name}
	for _, h := range hosts {
		names = append(names, h.name)
	}
	for _, name := range names {
		seed, public, err := bus.NewKey()
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.key(name), seed, 0o600); err != nil {
			return err
		}
		if name == "controller" {
			users.Controller = public
		} else {
			users.Agents[name] = public
		}
	}
	file := filepath.Join(n.dir, "users.yaml")
	if err := users.Save(file); err != nil {
		return err
	}
	_, err := n.procs.Start(ctx, n.Cluster.Control, "controller", n.taskwall(), "controller",
		"--mesos", n.Cluster.MasterURL(), "--marathon", n.Cluster.MarathonURL(),
		"--data-dir", filepath.Join(n.dir, "controller"), "--address-hold", "5s",
		"--nats-listen", controlAddress+":4222", "--nats-users", file, "--nats-nkey", n.key("controller"))
	return err
}

func (n *Network) taskwall() string { return filepath.Join(n.opt.Bin, "taskwall") }

func (n *Network) startAgent(ctx context.Context, h host) error {
	node := n.Cluster.Host(h.name)
	_, err := n.procs.Start(ctx, node.NS, agentName(h.name), n.taskwall(), "agent",
		"--host", h.name, "--address", h.address(), "--nats-url", "nats://"+controlAddress+":4222", "--nats-nkey", n.key(h.name),
		"--mesos-agent", "http://"+node.IP+":5051", "--socket", n.socket(h.name),
		"--state-dir", filepath.Join(n.dir, h.name, "state"))
	return err
}

func agentName(host string) string { return "agent " + host }

// Taskwall runs a taskwall command beside the controller.
func (n *Network) Taskwall(ctx context.Context, args ...string) (string, error) {
	return proc.Output(ctx, n.Cluster.Control, n.taskwall(),
		append(args, "--nats-url", "nats://"+controlAddress+":4222", "--nats-nkey", n.key("controller"))...)
}

// Apply applies the network's policies: pools, peers, and who may talk to whom.
func (n *Network) Apply(ctx context.Context) error {
	dir := filepath.Join(n.dir, "policies")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := fs.ReadDir(policies, "policies")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := policies.ReadFile("policies/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	_, err = n.Taskwall(ctx, "policy", "apply", "-f", dir, "--author", "net@security", "--commit", "b6e41aa", "--wait", "20s")
	return err
}

// Status asks the controller.
func (n *Network) Status(ctx context.Context) (controller.Status, error) {
	var st controller.Status
	out, err := n.Taskwall(ctx, "status", "-o", "json")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal([]byte(out), &st)
}

func (n *Network) waitReady(ctx context.Context, want int) error {
	return n.Until(ctx, "all hosts to be ready", func() (bool, error) {
		st, err := n.Status(ctx)
		if err != nil {
			return false, err
		}
		ready := 0
		for _, h := range st.Hosts {
			if h.State == "ready" && st.Agents[h.Name].Applied > 0 {
				ready++
			}
		}
		return ready == want, nil
	})
}

// Until asks again and again until the answer is yes. An error counts as a no
// that the end of the wait explains.
func (n *Network) Until(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // longer than a hold time
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w%s", what, errors.Join(ctx.Err(), err), n.procs.LastWords())
		}
	}
}

// Strike ends every process and removes everything; it can be called twice.
func (n *Network) Strike() error {
	var errs []error
	if n.Cluster != nil {
		errs = append(errs, n.Cluster.Close())
		n.Cluster = nil
	}
	errs = append(errs, n.procs.StopAll())
	if n.fabric != nil {
		errs = append(errs, n.fabric.Close())
	}
	if n.dir != "" {
		errs = append(errs, os.RemoveAll(n.dir))
	}
	return errors.Join(errs...)
}
