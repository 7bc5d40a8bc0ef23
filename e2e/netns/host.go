package netns

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Host is a machine on the fabric.
type Host struct {
	Name string
	IP   net.IP // its address on the segment
	Path string // its namespace, for anything that takes a netns path

	fabric *Fabric
}

// Do runs f inside the host: see the function Do.
func (h *Host) Do(f func() error) error { return Do(h.Path, f) }

// Listen opens a listener inside the host. An address without a host part
// listens on the host's own address.
func (h *Host) Listen(network, addr string) (l net.Listener, err error) {
	if host, port, e := net.SplitHostPort(addr); e == nil && host == "" {
		addr = net.JoinHostPort(h.IP.String(), port)
	}
	e := h.Do(func() error {
		l, err = net.Listen(network, addr)
		return err
	})
	if e != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, e)
	}
	return l, nil
}

// DialContext connects from inside the host. It dials the literal address:
// names are not resolved there.
func (h *Host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return Dial(ctx, h.Path, network, addr)
}

// Client is an HTTP client whose connections start inside the host.
func (h *Host) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: h.DialContext}}
}

// Command prepares a process that runs inside the host, in a process group of
// its own that the context's end kills. Start it with its Start or Run.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Command {
	return NewCommand(ctx, h.Path, name, args...)
}

// Dial connects from inside the namespace that path names.
func Dial(ctx context.Context, path, network, addr string) (conn net.Conn, err error) {
	// One address and no fallback: the connect then happens on this thread.
	d := net.Dialer{FallbackDelay: -1}
	err = Do(path, func() error {
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Command is an exec.Cmd that is started inside a namespace.
type Command struct {
	*exec.Cmd
	path string
}

// NewCommand prepares a process for the namespace that path names.
func NewCommand(ctx context.Context, path, name string, args ...string) *Command {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return &Command{Cmd: cmd, path: path}
}

// Start starts the process inside its namespace.
func (c *Command) Start() error { return Start(c.path, c.Cmd) }

// Run starts the process and waits for it.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Route adds a route inside the host: to a network in CIDR form, by way of a
// neighbour's address.
func (h *Host) Route(dst, via string) error {
	_, network, err := net.ParseCIDR(dst)
	if err != nil {
		return fmt.Errorf("host %s: route: %w", h.Name, err)
	}
	return h.Do(func() error {
		err := netlink.RouteReplace(&netlink.Route{Dst: network, Gw: net.ParseIP(via)})
		if err != nil {
			return fmt.Errorf("host %s: route %s via %s: %w", h.Name, dst, via, err)
		}
		return nil
	})
}
