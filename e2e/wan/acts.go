package wan

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/scheduler"
)

// Measure starts a flow of a datagram each millisecond between two apps' tasks.
func (n *Network) Measure(ctx context.Context, from, to string) (*Meter, error) {
	a, err := n.Task(from, "")
	if err != nil {
		return nil, err
	}
	b, err := n.Task(to, "")
	if err != nil {
		return nil, err
	}
	return StartMeter(ctx, a.Netns, b.Address, 8125)
}

// Cut makes a link lose everything, silently.
func (n *Network) Cut(link string) error { return n.Fabric.Cut(link) }

// Mend ends a Cut.
func (n *Network) Mend(link string) error { return n.Fabric.Mend(link) }

// Path is the link by which the aggregation router sends to an app's task in
// the cloud: "direct" or "vpn".
func (n *Network) Path(ctx context.Context, app string) (string, error) {
	t, err := n.Task(app, "")
	if err != nil {
		return "", err
	}
	out, err := proc.Output(ctx, n.machines["agg"], "ip", "-o", "route", "get", t.Address)
	if err != nil {
		return "", err
	}
	for _, link := range []string{"direct", "vpn"} {
		if strings.Contains(out, "dev "+link+"0 ") {
			return link, nil
		}
	}
	return "", fmt.Errorf("no link of the two: %s", out)
}

// StartRouter starts a router again.
func (n *Network) StartRouter(ctx context.Context, name string) error {
	return n.startRouter(ctx, name)
}

// Revive starts a host's agent again.
func (n *Network) Revive(ctx context.Context, name string) error {
	i := slices.IndexFunc(hosts, func(h host) bool { return h.name == name })
	if i < 0 {
		return fmt.Errorf("no host %s", name)
	}
	return n.StartAgent(ctx, name, hosts[i].address())
}

// Grow adds a host to the cloud site: a machine, a Mesos agent, our agent.
// No router is told.
func (n *Network) Grow(ctx context.Context) error {
	h := spareHost()
	node, err := n.Cluster.AddHost(n.simHost(h, "192.168.50.30/24"))
	if err != nil {
		return err
	}
	if err := n.join(node.NS, n.dataLinks(h)...); err != nil {
		return err
	}
	if err := n.StartAgent(ctx, h.name, h.address()); err != nil {
		return err
	}
	return n.WaitReady(ctx, len(hosts)+1)
}

// Restart replaces an app's tasks by new ones.
func (n *Network) Restart(ctx context.Context, app string) error {
	old, err := n.Task(app, "")
	if err != nil {
		return err
	}
	if err := n.Cluster.UpdateApp(ctx, app, fmt.Sprintf(`{"env":{"AFTER":%q}}`, old.ID)); err != nil {
		return err
	}
	if err := n.Cluster.Settle(ctx); err != nil {
		return err
	}
	if now, err := n.Task(app, ""); err != nil || now.ID == old.ID {
		return fmt.Errorf("%s still runs as %s: %w", app, old.ID, err)
	}
	_, err = n.WaitAttached(ctx, app, 1)
	return err
}

// Scale changes the number of an app's tasks and waits for them.
func (n *Network) Scale(ctx context.Context, app string, to int) error {
	if err := n.Cluster.UpdateApp(ctx, app, fmt.Sprintf(`{"instances":%d}`, to)); err != nil {
		return err
	}
	_, err := n.WaitAttached(ctx, app, to)
	return err
}

// WaitRoutes waits until every host knows the way to every task, and both sites
// to the legacy network.
func (n *Network) WaitRoutes(ctx context.Context) error {
	return n.Until(ctx, "routes to all tasks", func() (bool, error) {
		for _, h := range hosts {
			for _, to := range append(n.addresses(), legacyDatabase) {
				if _, err := proc.Output(ctx, n.Cluster.Host(h.name).NS, "ip", "route", "get", to); err != nil {
					return false, err
				}
			}
		}
		return true, nil
	})
}

func (n *Network) addresses() []string {
	var all []string
	for _, t := range n.Cluster.Tasks() {
		all = append(all, t.Address)
	}
	return all
}

// Sessions are all BGP sessions as the log knows them.
func (n *Network) Sessions(ctx context.Context) (scheduler.BGPView, error) {
	var v scheduler.BGPView
	out, err := n.Taskwall(ctx, "status", "bgp", "-o", "json")
	if out == "" { // with output, the exit status says that a session is down
		return v, err
	}
	return v, json.Unmarshal([]byte(out), &v)
}

// WaitSessions waits until so many sessions are established.
func (n *Network) WaitSessions(ctx context.Context, want int) error {
	return n.Until(ctx, fmt.Sprintf("%d BGP sessions", want), func() (bool, error) {
		v, err := n.Sessions(ctx)
		up := 0
		for _, h := range v.Hosts {
			for _, s := range h.Sessions {
				if s.State == "established" {
					up++
				}
			}
		}
		return up == want, err
	})
}

// NewBlock gives h1 a block of a pool that is new, for the task of a new app,
// and says how long it takes from the app's creation until every other host,
// across reflectors and sites, has the route in its kernel.
func (n *Network) NewBlock(ctx context.Context, i int) (time.Duration, error) {
	name := fmt.Sprintf("new-%d", i)
	file := filepath.Join(n.Dir, name+".yaml")
	pool := fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: %s\n  annotations: {taskwall/selector: tier == '%s'}\nspec: {cidr: 10.11.%d.0/24, blockSize: 26}\n", name, name, i)
	if err := os.WriteFile(file, []byte(pool), 0o644); err != nil {
		return 0, err
	}
	if _, err := n.Taskwall(ctx, "policy", "apply", "-f", file, "--author", "net@security", "--wait", "20s"); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := n.create(ctx, App{ID: "/" + name, Site: "dc", Host: "h1", Labels: production(name, "")}); err != nil {
		return 0, err
	}
	for _, h := range hosts[1:] {
		for known := false; !known; {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			err := n.Cluster.Host(h.name).NS.Do(func() error {
				routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
				known = slices.ContainsFunc(routes, func(r netlink.Route) bool {
					return r.Dst != nil && strings.HasPrefix(r.Dst.String(), fmt.Sprintf("10.11.%d.", i))
				})
				return err
			})
			if err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}

// Firewall are the rules of the legacy firewall.
func (n *Network) Firewall(ctx context.Context) (string, error) {
	return proc.Output(ctx, n.machines["fw"], "iptables", "-w", "-S")
}
