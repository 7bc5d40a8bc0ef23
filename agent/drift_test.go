package agent_test

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/conntrack"
	"github.com/taskwall/taskwall/events/work"
)

// What others break on the host is found, mended and reported: by the kernel's
// word where it gives one, else by the check.
func TestDrift(t *testing.T) {
	veth := attach.Name("fw/a", "taskwall")
	for name, tc := range map[string]struct {
		backend, harm, says string
		told                bool // the kernel tells; no check is needed
	}{
		"nft rules flushed":    {"nft", "iptables-nft -F", "tw-forward", true},
		"nft rule inserted":    {"nft", "iptables-nft -I FORWARD -j ACCEPT", "stood before the jump", true},
		"legacy rules flushed": {"legacy", "iptables-legacy -F", "tw-forward", true},
		"legacy rule inserted": {"legacy", "iptables-legacy -I FORWARD -j ACCEPT", "stood before the jump", true},
		"legacy mark flushed":  {"legacy", "iptables-legacy -t mangle -F", "tw-mark", true},
		"set flushed":          {"nft", "ipset flush tw-src", "tw-src", false},
		"block's route":        {"nft", "ip route del unreachable 10.0.0.0/24", "10.0.0.0/24", true},
		"other host's route":   {"nft", "ip route del 10.0.1.0/24", "10.0.1.0/24", true},
		"task's route":         {"nft", "ip route del 10.0.0.1", "10.0.0.1", true},
		"interface set down":   {"nft", "ip link set " + veth + " down", veth, true},
		"forwarding off":       {"nft", "echo 0 >/proc/sys/net/ipv4/ip_forward", "ip_forward", true},
		"its forwarding off":   {"nft", "echo 0 >/proc/sys/net/ipv4/conf/" + veth + "/forwarding", "forwarding of " + veth, false},
		"ARP for others":       {"nft", "echo 1 >/proc/sys/net/ipv4/conf/" + veth + "/proxy_arp", "proxy_arp of " + veth, false},
		"ARP on":               {"nft", "ip link set arp on dev " + veth, "ARP of " + veth, false},
		"forged sources":       {"nft", "echo 0 >/proc/sys/net/ipv4/conf/" + veth + "/rp_filter", "rp_filter of " + veth, false},
		"source routes":        {"nft", "echo 1 >/proc/sys/net/ipv4/conf/" + veth + "/accept_source_route", "accept_source_route of " + veth, false},
		"IPv6 on":              {"nft", "echo 0 >/proc/sys/net/ipv6/conf/" + veth + "/disable_ipv6", "disable_ipv6 of " + veth, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) {
				c.Backend = tc.backend
				if !tc.told {
					c.CheckEvery = 200 * time.Millisecond
				}
			})
			neighbourHost(t)
			l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}, Routes: blocks()})
			a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
			a.Serve("tcp", "10.0.0.1:80")
			b.reaches("tcp", "10.0.0.1:80")
			before := kernel(t, tc.backend) + settings(t, veth)
			started := time.Now()
			if out, err := exec.Command("sh", "-c", tc.harm).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			r := l.await("drift", func(r work.Report) bool { return r.Drift != nil && strings.Contains(r.Drift.What, tc.says) })
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("found after %s", took)
			}
			now := func() string { // what was inserted is not ours to remove
				return strings.ReplaceAll(kernel(t, tc.backend), "-A FORWARD -j ACCEPT\n", "") + settings(t, veth)
			}
			for limit := time.Now().Add(5 * time.Second); now() != before && time.Now().Before(limit); { // one may follow on another
				time.Sleep(10 * time.Millisecond)
			}
			if d := cmp.Diff(before, now()); d != "" {
				t.Errorf("not mended (%s):\n%s", r.Drift.What, d)
			}
			awaitCarrier(t, veth)
			b.reaches("tcp", "10.0.0.1:80")
		})
	}
}

// settings are what somebody may have changed of the host's and an interface's.
func settings(t *testing.T, veth string) (all string) {
	t.Helper()
	for _, path := range []string{
		"ipv4/ip_forward", "ipv4/conf/VETH/forwarding", "ipv4/conf/VETH/proxy_arp", "ipv4/conf/VETH/rp_filter",
		"ipv4/conf/VETH/accept_source_route", "ipv6/conf/VETH/disable_ipv6",
	} {
		b, err := os.ReadFile("/proc/sys/net/" + strings.ReplaceAll(path, "VETH", veth))
		if err != nil {
			t.Fatal(err)
		}
		all += path + " = " + string(b)
	}
	return all
}

// Connections are tracked also while somebody has emptied the filter table: else the
// kernel would know them by halves when it is mended, and take what comes on an idle
// one for invalid.
func TestConnectionsAreTrackedWithoutRules(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{Programs: []work.Program{open("open")}})
			a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
			b.Serve("udp", "10.0.0.2:53")
			l.stop() // who would mend it
			if out, err := exec.Command("iptables-"+backend, "-F").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			flows, err := conntrack.Dial()
			if err != nil {
				t.Fatal(err)
			}
			defer flows.Close()
			a.reaches("udp", "10.0.0.2:53")
			if tracked, err := flows.Flows(netip.MustParseAddr("10.0.0.2")); err != nil || len(tracked) == 0 {
				t.Errorf("tracked: %v, %v", tracked, err)
			}
		})
	}
}

// A chain that someone emptied lets nothing pass that was not allowed before,
// also before it is mended.
func TestEmptiedChainCloses(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "legacy" })
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, ""))), posture("shut", nil, tier(allow(0, "")))}})
	a, b, shut := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open"), l.run("shut", "10.0.0.3", "shut")
	b.Serve("udp", "10.0.0.2:53")
	shut.Serve("udp", "10.0.0.3:53")
	l.stop() // who would mend it
	for _, chain := range []string{"filter tw-i-open", "filter tw-i-shut", "filter tw-e-open", "filter tw-egress", "filter tw-ingress", "filter tw-task", "filter tw-allowed", "filter tw-accept", "mangle tw-mark"} {
		table, name, _ := strings.Cut(chain, " ")
		save, err := exec.Command("iptables-legacy-save").Output()
		if err != nil {
			t.Fatal(err)
		}
		a.reaches("udp", "10.0.0.2:53")
		if out, err := exec.Command("iptables-legacy", "-t", table, "-F", name).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", chain, err, out)
		}
		a.blocked("udp", "10.0.0.3:53")
		if chain != "filter tw-i-shut" {
			a.blocked("udp", "10.0.0.2:53")
		}
		restore := exec.Command("iptables-legacy-restore")
		restore.Stdin = strings.NewReader(string(save))
		if out, err := restore.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
