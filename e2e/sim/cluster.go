package sim

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/sim/clock"
	"github.com/taskwall/taskwall/e2e/sim/ids"
	"github.com/taskwall/taskwall/e2e/sim/marathon"
	"github.com/taskwall/taskwall/e2e/sim/master"
	"github.com/taskwall/taskwall/e2e/sim/mesosagent"
	"github.com/taskwall/taskwall/events/bus/freeport"
)

// Cluster is a running simulated cluster.
type Cluster struct {
	Quorum   *master.Quorum
	Marathon *marathon.Marathon
	// Control is the host that masters and Marathons listen on, nil for
	// loopback.
	Control *netns.Host

	cfg     Config
	net     Network // of masters and Marathons
	ids     *ids.Source
	prefix  string
	tempDir string
	hosts   []*Node
	work    sync.WaitGroup
	mesos   *chaos
	events  *chaos

	mu        sync.Mutex
	masters   []*server
	marathons []*server
}

// Node is a host with its Mesos agent.
type Node struct {
	Name  string
	IP    string
	NS    *netns.Host // nil without a fabric
	Agent *mesosagent.Agent
	// AgentURL is the agent's HTTP, "" when it has none.
	AgentURL string

	docker *http.Server // the Docker daemon's; nil without one
}

// server is a process with an HTTP server that can be killed and started.
type server struct {
	addr string
	http *http.Server
	// handler and stop are of the current run.
	master *master.Master
	member *marathon.Member
}

// Start brings a cluster up. Everything that it started ends with Close.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg.Masters, cfg.Marathons = max(cfg.Masters, 1), max(cfg.Marathons, 1)
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{cfg: cfg, net: cfg.Network, ids: ids.New(cfg.Seed), Quorum: master.NewQuorum(), prefix: "sim"}
	if c.net == nil {
		c.net = &loopback{}
	}
	if cfg.Fabric != nil {
		c.prefix = cfg.Fabric.Prefix()
	}
	c.mesos, c.events = newChaos(cfg.Seed+1), newChaos(cfg.Seed+2)
	if err := c.start(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if c.cfg.Dir == "" {
		dir, err := os.MkdirTemp("", c.prefix+"-*")
		if err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
		c.cfg.Dir, c.tempDir = dir, dir
	}
	if c.cfg.Control.Name != "" {
		host, err := c.cfg.Fabric.Host(c.cfg.Control.Name, c.cfg.Control.Address)
		if err != nil {
			return fmt.Errorf("control host: %w", err)
		}
		c.Control, c.net = host, host
	}
	for range c.cfg.Masters {
		if err := c.addMaster(); err != nil {
			return err
		}
	}
	if !c.cfg.NoMarathon {
		if err := c.startMarathon(); err != nil {
			return err
		}
	}
	for n, h := range c.cfg.Hosts {
		if err := c.addHost(n, h); err != nil {
			return err
		}
	}
	return c.waitRegistered(ctx)
}

func (c *Cluster) startMarathon() error {
	c.Marathon = marathon.New(marathon.Config{
		Quorum: c.Quorum, Clock: c.cfg.Clock, IDs: c.ids, Log: c.cfg.Log,
		DefaultNetwork: c.cfg.DefaultNetwork, TaskKilling: c.cfg.TaskKilling, LegacyTaskIDs: c.cfg.LegacyTaskIDs, Backoff: c.cfg.Backoff,
		RootLag: c.cfg.RootLag, AttachLag: c.cfg.AttachLag, KeepAlive: c.cfg.KeepAlive, NotReadyFor: c.cfg.NotReadyFor,
		Outstanding: c.cfg.Outstanding, Users: c.cfg.MarathonUsers, Tamper: c.events.marathon, Scheme: strings.TrimSuffix(c.scheme(), "://"),
		Dial: c.dialFromControl(),
	})
	for n := range c.cfg.Marathons {
		l, err := c.listen(8080 + n)
		if err != nil {
			return err
		}
		member := c.Marathon.AddMember(l.Addr().String(), c.Client())
		s := &server{addr: l.Addr().String(), member: member}
		c.serve(s, l, member)
		c.marathons = append(c.marathons, s)
	}
	return nil
}

// dialFromControl connects from the control host, where hosts have their names;
// nil when the cluster's tasks exist on paper only.
func (c *Cluster) dialFromControl() marathon.Dial {
	if c.Control == nil {
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		for _, h := range c.hosts {
			if h.Name == host {
				host = h.IP
			}
		}
		c.mu.Unlock()
		return c.Control.DialContext(ctx, network, net.JoinHostPort(host, port))
	}
}

// listen opens a port on the control host, or any port elsewhere.
func (c *Cluster) listen(port int) (net.Listener, error) {
	if c.Control == nil {
		return c.net.Listen("tcp", "127.0.0.1:0")
	}
	return c.Control.Listen("tcp", ":"+strconv.Itoa(port))
}

func (c *Cluster) serve(s *server, l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h}
	s.http = srv
	if c.cfg.TLS != nil {
		l = tls.NewListener(l, c.cfg.TLS)
	}
	c.work.Go(func() { _ = srv.Serve(l) })
}

func (c *Cluster) addMaster() error {
	l, err := c.listen(5050 + len(c.masters))
	if err != nil {
		return fmt.Errorf("master: %w", err)
	}
	s := &server{addr: l.Addr().String()}
	c.masters = append(c.masters, s)
	c.runMaster(s, l)
	return nil
}

func (c *Cluster) runMaster(s *server, l net.Listener) {
	host, port, _ := net.SplitHostPort(s.addr)
	n, _ := strconv.Atoi(port)
	s.master = master.New(master.Config{
		Host: host, Port: n, Quorum: c.Quorum, Clock: c.cfg.Clock, IDs: c.ids, Log: c.cfg.Log,
		Heartbeat: c.cfg.Heartbeat, PingTimeout: c.cfg.PingTimeout, Streams: c.cfg.Streams,
		Users: c.cfg.MesosUsers, Tamper: c.mesos.master,
	})
	c.serve(s, l, s.master)
	s.master.Start()
}

func (c *Cluster) addHost(n int, h Host) error {
	node := &Node{Name: h.Name}
	cfg := mesosagent.Config{
		Hostname: h.Name, Attributes: h.Attributes, Resources: h.Resources,
		CNIConf: c.cfg.CNIConf, CNIPlugins: c.cfg.CNIPlugins,
		Dir:    filepath.Join(c.cfg.Dir, c.prefix+"-"+h.Name),
		Quorum: c.Quorum, Clock: c.cfg.Clock, IDs: c.ids, Log: c.cfg.Log,
		RegistrationTimeout: c.cfg.RegistrationTimeout, DialBack: c.cfg.DialBack,
		DomainSockets: c.cfg.DomainSockets,
		PaperIP:       c.cfg.PaperIP, TaskPath: c.cfg.TaskPath, Users: c.cfg.MesosUsers,
	}
	cfg.CNIConf = cmp.Or(c.cfg.HostCNIConf[h.Name], cfg.CNIConf)
	cfg.CNIPlugins = cmp.Or(c.cfg.HostCNIPlugins[h.Name], cfg.CNIPlugins)
	switch {
	case c.cfg.Fabric != nil:
		ns, err := c.cfg.Fabric.Host(h.Name, h.Address)
		if err != nil {
			return err
		}
		node.NS, node.IP = ns, ns.IP.String()
		cfg.NS, cfg.Host, cfg.Port = ns.Path, node.IP, 5051
		cfg.Listen = func() (net.Listener, error) { return ns.Listen("tcp", ":5051") }
	case c.cfg.AgentHTTP:
		at, err := freeport.Address() // the agent opens it at each start
		if err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
		node.IP, cfg.Host, cfg.Port = "127.0.0.1", "127.0.0.1", int(netip.MustParseAddrPort(at).Port())
		cfg.Listen = func() (net.Listener, error) { return net.Listen("tcp", at) }
	default:
		node.IP = fmt.Sprintf("10.%d.%d.%d", 200+n>>16, n>>8&0xff, n&0xff)
		if ip, _, err := net.ParseCIDR(h.Address); err == nil {
			node.IP = ip.String()
		}
		cfg.Host = node.IP
	}
	if cfg.Listen != nil {
		node.AgentURL = "http://" + net.JoinHostPort(cfg.Host, strconv.Itoa(cmp.Or(cfg.Port, 5051)))
	}
	node.Agent = mesosagent.New(cfg)
	if socket := c.cfg.HostDocker[h.Name]; socket != "" {
		l, err := net.Listen("unix", socket)
		if err != nil {
			return fmt.Errorf("host %s: Docker daemon: %w", h.Name, err)
		}
		node.docker = &http.Server{Handler: node.Agent.Docker()}
		c.work.Go(func() { _ = node.docker.Serve(l) })
	}
	c.mu.Lock()
	c.hosts = append(c.hosts, node)
	c.mu.Unlock()
	if err := node.Agent.Start(); err != nil {
		return err
	}
	return nil
}

// Close ends the cluster: no process, namespace handle or goroutine of it is
// left. The fabric is the caller's. It is safe to call it twice.
func (c *Cluster) Close() error {
	if c.Marathon != nil {
		c.Marathon.Close()
	}
	c.mu.Lock()
	servers := append(append([]*server(nil), c.masters...), c.marathons...)
	c.mu.Unlock()
	for _, s := range servers {
		if s.master != nil {
			s.master.Stop()
		}
		if s.http != nil {
			s.http.Close()
		}
	}
	var wg sync.WaitGroup
	for _, h := range c.hosts {
		wg.Go(h.Agent.Close)
	}
	wg.Wait()
	for _, h := range c.hosts {
		if h.docker != nil {
			h.docker.Close()
		}
	}
	c.work.Wait()
	var err error
	if c.tempDir != "" {
		err = os.RemoveAll(c.tempDir)
	}
	return err
}

// MasterURL is the leading master's URL, as seen from the control host.
func (c *Cluster) MasterURL() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	leader := c.Quorum.Leader()
	for _, s := range c.masters {
		if s.master == leader {
			return c.scheme() + s.addr
		}
	}
	return c.scheme() + c.masters[0].addr
}

func (c *Cluster) scheme() string {
	if c.cfg.TLS != nil {
		return "https://"
	}
	return "http://"
}

// MasterURLs are all masters' URLs, the first started first.
func (c *Cluster) MasterURLs() []string { return c.urls(c.masters) }

// MarathonURL is the first Marathon's URL, as seen from the control host.
func (c *Cluster) MarathonURL() string { return c.scheme() + c.marathons[0].addr }

// MarathonURLs are all members' URLs.
func (c *Cluster) MarathonURLs() []string { return c.urls(c.marathons) }

func (c *Cluster) urls(list []*server) []string {
	var out []string
	for _, s := range list {
		out = append(out, c.scheme()+s.addr)
	}
	return out
}

// Client is an HTTP client that can reach masters and Marathons: its
// connections start on the control host, or on the Network.
func (c *Cluster) Client() *http.Client {
	t := &http.Transport{DialContext: c.net.DialContext}
	if c.cfg.TLS != nil {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return &http.Client{Transport: t}
}

// Host is the node with that name; it panics when there is none.
func (c *Cluster) Host(name string) *Node {
	for _, h := range c.hosts {
		if h.Name == name {
			return h
		}
	}
	panic("sim: no host " + name)
}

// Hosts are all nodes.
func (c *Cluster) Hosts() []*Node { return c.hosts }

var errNotStarted = errors.New("no such server")

// AddHost adds a machine to the running cluster.
func (c *Cluster) AddHost(h Host) (*Node, error) {
	if err := c.addHost(len(c.hosts), h); err != nil {
		return nil, err
	}
	n := c.hosts[len(c.hosts)-1]
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return n, c.waitRegistered(ctx)
}

// startTimeout bounds the registration of a host, which takes milliseconds.
const startTimeout = 30 * time.Second
