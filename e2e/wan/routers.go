package wan

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/proc"
)

//go:embed bird/*.conf
var configs embed.FS

// router is a machine that runs BIRD. Its configuration is bird/<name>.conf.
type router struct {
	name  string
	links []link
}

// link is an interface of a machine on a segment.
type link struct{ segment, ifname, address string }

// Segments of the network. "direct" and "vpn" are the two ways between the
// sites; the first is preferred.
var segments = []string{"dc", "cloud", "direct", "vpn", "dmz", "legacy"}

var routers = []router{
	{"rr1", []link{{"dc", "dc0", "10.0.1.2/24"}}},
	{"rr2", []link{{"dc", "dc0", "10.0.1.3/24"}}},
	{"agg", []link{
		{"dc", "dc0", "10.0.1.1/24"}, {"direct", "direct0", "10.0.8.1/30"}, {"vpn", "vpn0", "10.0.8.5/30"}, {"dmz", "dmz0", "10.0.9.1/30"}}},
	{"cgw", []link{
		{"cloud", "cloud0", "10.0.2.1/24"}, {"direct", "direct0", "10.0.8.2/30"}, {"vpn", "vpn0", "10.0.8.6/30"}}},
	{"crr", []link{{"cloud", "cloud0", "10.0.2.2/24"}}},
}

// timers are those of the sessions between the sites.
type timers struct {
	Hold, Keepalive int  // seconds
	BFD             bool // detect a dead link in 300 ms (RFC 5880)
}

// startRouters starts BIRD on every router.
func (n *Network) startRouters(ctx context.Context) error {
	for _, r := range routers {
		if err := n.startRouter(ctx, r.name); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) startRouter(ctx context.Context, name string) error {
	t, err := template.ParseFS(configs, "bird/"+name+".conf")
	if err != nil {
		return fmt.Errorf("configuration of %s: %w", name, err)
	}
	var conf bytes.Buffer
	if err := t.Execute(&conf, n.opt.timers()); err != nil {
		return fmt.Errorf("configuration of %s: %w", name, err)
	}
	file := filepath.Join(n.Dir, name+".conf")
	if err := os.WriteFile(file, conf.Bytes(), 0o644); err != nil {
		return err
	}
	_, err = n.Procs.Start(ctx, n.machines[name], name, "bird", "-f", "-c", file, "-s", filepath.Join(n.Dir, name+".ctl"), "-P", filepath.Join(n.Dir, name+".pid"))
	return err
}

// machine makes a host of the management segment with data links.
func (n *Network) machine(name string, links ...link) (*netns.Host, error) {
	n.management++
	h, err := n.Fabric.Host(name, fmt.Sprintf("192.168.50.%d/24", 100+n.management))
	if err != nil {
		return nil, err
	}
	n.machines[name] = h
	return h, n.join(h, links...)
}

func (n *Network) join(h *netns.Host, links ...link) error {
	for _, l := range links {
		if err := h.Join(l.segment, l.ifname, l.address); err != nil {
			return err
		}
	}
	return h.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
}

// Bird asks a router's BIRD, as `birdc` does.
func (n *Network) Bird(ctx context.Context, router string, command ...string) (string, error) {
	return proc.Output(ctx, n.machines[router], "birdc", append([]string{"-s", filepath.Join(n.Dir, router+".ctl")}, command...)...)
}
