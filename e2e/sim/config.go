package sim

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/sim/clock"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// Host is a machine of the cluster.
type Host struct {
	Name string
	// Address is the host's own, in CIDR form; without a fabric it may be
	// empty, and is made up.
	Address    string
	Attributes map[string]string
	Resources  master.Amount // zero: 4 cpus, 2 GiB, 4 GiB disk, ports 31000-32000
}

// Network is where processes listen and are reached.
type Network interface {
	Listen(network, addr string) (net.Listener, error)
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// loopback is the caller's namespace.
type loopback struct{ net.Dialer }

func (*loopback) Listen(network, addr string) (net.Listener, error) { return net.Listen(network, addr) }

// Config describes a cluster. The zero value is a master and a Marathon on
// loopback, without agents.
type Config struct {
	// Fabric is where hosts are made; nil: no namespaces, tasks on paper.
	Fabric *netns.Fabric
	// Control is the host on which masters and Marathons listen; without a
	// name they listen on Network.
	Control Host
	// Network is where masters and Marathons without a Control host are reached;
	// nil: loopback of the caller's namespace.
	Network Network
	Hosts   []Host

	// CNIConf and CNIPlugins are the Mesos agents' directories of network
	// configurations and plugins. A directory for one host only:
	// HostCNIConf[name].
	CNIConf, CNIPlugins string
	HostCNIConf         map[string]string
	// HostCNIPlugins likewise.
	HostCNIPlugins map[string]string
	// HostDocker are the sockets of the hosts' Docker daemons, by host.
	HostDocker map[string]string
	// TaskPath is put before the PATH of tasks: where the peer binary is.
	TaskPath string
	// Dir is for state and sandboxes; empty: a temporary directory, removed by
	// Close.
	Dir string

	Masters   int // 1
	Marathons int // 1
	// NoMarathon leaves Marathon out: Mesos alone.
	NoMarathon bool

	// Seed makes ids and faults reproducible.
	Seed  uint64
	Clock clock.Clock
	Log   *slog.Logger

	Heartbeat           time.Duration // Mesos streams, 15 s
	PingTimeout         time.Duration // until an agent is unreachable, 75 s
	Streams             int           // operator stream limit, 1000
	RegistrationTimeout time.Duration // of executors, 1 min
	DialBack            bool          // agents connect back to command executors
	DomainSockets       bool          // executors need no network to reach their agent

	// MesosUsers and MarathonUsers turn on Basic authentication.
	MesosUsers, MarathonUsers map[string]string
	// TLS makes masters and Marathons speak HTTPS; Client does not verify it.
	TLS *tls.Config
	// AgentHTTP opens HTTP for agents on paper too, each on a loopback port.
	AgentHTTP bool
	// PaperIP gives tasks on paper their addresses.
	PaperIP func(host string, n int) string

	DefaultNetwork string        // Marathon's, "taskwall"
	TaskKilling    bool          // Marathon's task_killing feature
	LegacyTaskIDs  bool          // see marathon.Config
	Backoff        time.Duration // before Marathon starts a failed task again; 0: at once
	RootLag        time.Duration // see marathon.Config, like the next ones
	AttachLag      time.Duration
	KeepAlive      time.Duration
	Outstanding    int
	NotReadyFor    time.Duration
}
