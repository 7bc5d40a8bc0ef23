package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/agent/containers"
	"github.com/taskwall/taskwall/agent/docker"
	"github.com/taskwall/taskwall/agent/firewall"
	"github.com/taskwall/taskwall/events/work"
	"golang.org/x/sys/unix"
)

// Inbox hands out the host's work items in the order of their revisions. Next
// waits for one; its error ends the agent unless the context has ended.
type Inbox interface {
	Next(ctx context.Context) (*work.Item, error)
}

// Outbox takes the host's reports. An error means that it was not taken and
// will be offered again.
type Outbox interface {
	Report(ctx context.Context, r work.Report) error
	// Alive says that the agent lives. It must not wait; what is said may be lost.
	Alive(a work.Alive) error
}

// Config says where the agent finds what it works with. The zero value of a
// field that has a default means the default.
type Config struct {
	// Host is the host's name: the hostname of the Mesos agent beside it.
	Host string
	// Address is the host's own address by which other hosts reach its tasks.
	Address string
	// Version is the agent's own, for its Join report.
	Version string
	// MesosAgent is the base URL of the Mesos agent beside it, e.g.
	// "http://10.1.2.3:5051". It is said in messages.
	MesosAgent string
	// MesosUser and MesosPassword are sent to it, if it asks for a principal.
	MesosUser, MesosPassword string
	// MesosTLS is for an https URL. Default: the system's certificates.
	MesosTLS *tls.Config `json:"-"`
	// Socket is where plugins find the agent. Default: cni.DefaultSocket.
	Socket string
	// DockerSocket is where the Docker daemon listens, for tasks of the Docker
	// containerizer. Default: docker.DefaultSocket.
	DockerSocket string
	// StateDir keeps the host's picture across restarts. Default:
	// /var/lib/taskwall.
	StateDir string
	// Networks are the names of the Mesos networks that are ours; a CNI call
	// for another is refused. Default: any.
	Networks []string
	// Backend is the iptables variant: "auto" (default), "nft" or "legacy".
	Backend string
	// Failsafe are the TCP ports of the host itself that its tasks can always
	// reach, whatever a policy says. Default: the Mesos agent's port; an
	// executor lives in its task's namespace and must reach it. The host's ports are
	// never closed to others: the firewall touches only tasks' interfaces.
	Failsafe []uint16
	// BGPSecrets is the directory with the TCP MD5 keys of BGP peers, a file
	// for each. Default: none, and a peer with a key is not spoken to.
	BGPSecrets string
	// MTU is that of tasks' interfaces. Default: the kernel's (1500).
	MTU int
	// WaitTimeout bounds how long an attach waits for the Mesos agent and the
	// controller together. Default: 10 s.
	WaitTimeout time.Duration
	// CheckEvery is the time between two comparisons of the kernel with the
	// picture. Default: 10 s.
	CheckEvery time.Duration
	// SweepEvery is the time between two looks for interfaces whose container
	// is no more. Default: 30 s.
	SweepEvery time.Duration
	// AliveEvery is the time between two signs of life. Default: work.AliveEvery.
	AliveEvery time.Duration
	Logger     *slog.Logger
}

func (c Config) mesos() containers.Config {
	return containers.Config{URL: c.MesosAgent, User: c.MesosUser, Password: c.MesosPassword, TLS: c.MesosTLS}
}

// complete fills in defaults and finds what is wrong, all of it at once.
func (c Config) complete() (Config, error) {
	var errs []error
	if c.Host == "" {
		errs = append(errs, errors.New("host: missing"))
	}
	u, err := url.Parse(c.MesosAgent)
	if err == nil && u.User != nil {
		errs = append(errs, errors.New("mesosAgent: its URL must not hold a user or a password: it is said in messages"))
	} else if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		errs = append(errs, errors.New("mesosAgent: want a URL such as http://10.1.2.3:5051"))
	} else if len(c.Failsafe) == 0 {
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			port = 5051
		}
		c.Failsafe = []uint16{uint16(port)}
	}
	switch firewall.Backend(c.Backend) {
	case "", firewall.Auto, firewall.NFT, firewall.Legacy:
	default:
		errs = append(errs, fmt.Errorf("backend %q: want auto, nft or legacy", c.Backend))
	}
	if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
		errs = append(errs, fmt.Errorf("mtu %d: want 576 to 65535", c.MTU))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{{"waitTimeout", &c.WaitTimeout, 10 * time.Second}, {"checkEvery", &c.CheckEvery, 10 * time.Second}, {"sweepEvery", &c.SweepEvery, 30 * time.Second},
		{"aliveEvery", &c.AliveEvery, work.AliveEvery}} {
		if *d.value < 0 {
			errs = append(errs, fmt.Errorf("%s %s: negative", d.name, *d.value))
		}
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if c.Socket == "" {
		c.Socket = cni.DefaultSocket
	}
	if c.DockerSocket == "" {
		c.DockerSocket = docker.DefaultSocket
	}
	if c.StateDir == "" {
		c.StateDir = "/var/lib/taskwall"
	}
	if err := private(c.StateDir); err != nil {
		errs = append(errs, fmt.Errorf("stateDir: %w", err))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("host", c.Host)
	return c, errors.Join(errs...)
}

// private makes a directory that only its owner can write to, or says why one
// that is there is none: who can write there says what is in force after a restart.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if st.Mode&0o002 != 0 || st.Mode&0o020 != 0 && st.Gid != 0 || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is of user %d with mode %#o: others could write to it (chown root, chmod 700)", dir, st.Uid, st.Mode&0o7777)
	}
	return nil
}
