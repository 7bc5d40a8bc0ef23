package agent_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/agent/ipset"
	"github.com/taskwall/taskwall/events/work"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The figures that the host agent is judged by. Each case also measures the
// kernel's own cost of the same change, in the same run, as "raw-…"; "x-raw"
// is the ratio of the medians.

// medians collects durations by name and reports their medians.
type medians map[string][]time.Duration

func (m medians) time(name string, f func()) {
	started := time.Now()
	f()
	m[name] = append(m[name], time.Since(started))
}

func (m medians) median(name string) time.Duration {
	d := slices.Sorted(slices.Values(m[name]))
	if len(d) == 0 {
		return 0
	}
	return d[len(d)/2]
}

func (m medians) report(b *testing.B, name, raw string) {
	b.ReportMetric(float64(m.median(name).Microseconds())/1000, "ms")
	b.ReportMetric(float64(slices.Max(m[name]).Microseconds())/1000, "worst-ms")
	if raw != "" {
		b.ReportMetric(float64(m.median(raw).Microseconds())/1000, "raw-ms")
		b.ReportMetric(float64(m.median(name))/float64(m.median(raw)), "x-raw")
	}
	b.ReportMetric(0, "ns/op")
}

// policies is a picture with n policies in force for 100 endpoints: each
// endpoint's posture has its share of them.
func policies(n int) work.Item {
	it := work.Item{Sets: []work.Set{nets("peers", "10.9.0.1", "10.9.0.2")}}
	postures := min(n, 100)
	for i := range postures {
		p := work.Program{ID: fmt.Sprintf("p%d", i)}
		for j := i; j < n; j += postures {
			name := fmt.Sprintf("NetworkPolicy production/policy-%d", j)
			p.Policies = append(p.Policies, name)
			r := allow(6, "peers", uint16(1000+j%60000), uint16(2000+j%60000))
			r.Policy = name
			for _, tiers := range []*[]work.Tier{&p.Ingress, &p.Egress} {
				if len(*tiers) == 0 {
					*tiers = tier()
				}
				(*tiers)[0].Rules = append((*tiers)[0].Rules, r)
			}
		}
		it.Programs = append(it.Programs, p)
	}
	return it
}

// benchLab is a lab with a picture and 100 endpoints attached.
func benchLab(b *testing.B, backend string, n int) *lab {
	b.Helper()
	l := newLab(b, func(c *agent.Config) {
		c.Backend, c.Logger = backend, slog.New(slog.NewTextHandler(io.Discard, nil))
	})
	l.must2(policies(n))
	for i := range 100 {
		addr := fmt.Sprintf("10.0.%d.%d", i/250, 1+i%250)
		l.must2(work.Item{Endpoints: []work.Endpoint{endpoint(fmt.Sprintf("t%d", i), addr, fmt.Sprintf("p%d", i%min(n, 100)))}})
		tk := l.container(fmt.Sprintf("t%d", i))
		tk.mustAdd()
	}
	return l
}

// must2 is must for pictures so large that the digest comes later.
func (l *lab) must2(it work.Item) work.Applied {
	l.t.Helper()
	a := l.send(it)
	if len(a.Failed) > 0 {
		l.t.Fatalf("%+v", a.Failed)
	}
	return a
}

// BenchmarkEndpointAdded: an endpoint with a posture that the host knows, from
// the plugin's call to its answer, the Mesos agent's answer included; raw: the
// least that the kernel must be told for such an interface and its elements of
// sets (rawEndpoint), of which pair-ms is the making of the interface alone.
func BenchmarkEndpointAdded(b *testing.B) {
	for _, backend := range bothBackends {
		for _, n := range []int{100, 1000, 5000} {
			b.Run(fmt.Sprintf("backend=%s/policies=%d", backend, n), func(b *testing.B) {
				l := benchLab(b, backend, n)
				host, set := rawHost(b)
				m := medians{}
				for i := 0; b.Loop(); i++ {
					name := fmt.Sprintf("new%d", i)
					l.must2(work.Item{Endpoints: []work.Endpoint{endpoint(name, "10.1.0.1", "p7")}})
					tk := l.container(name)
					m.time("add", tk.mustAdd)
					tk.gone()
					tk.Remove()
					l.must2(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + name}}})

					ns := netlab.New(b)
					raw := newRawEndpoint(b, host, set, ns, netip.MustParseAddr("10.1.0.1"))
					m.time("raw", func() {
						m.time("pair", func() { raw.makePair(b) })
						raw.program(b)
					})
					raw.remove(b)
					raw.close()
					ns.Remove()
				}
				b.ReportMetric(float64(m.median("pair").Microseconds())/1000, "pair-ms")
				m.report(b, "add", "raw")
			})
		}
	}
}

// rawHost opens what rawEndpoint needs.
func rawHost(b *testing.B) (*mdlayher.Conn, *ipset.Conn) {
	b.Helper()
	set, err := ipset.Dial()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { set.Close() })
	for name, typ := range rawSets {
		if err := set.Create(name, typ); err != nil {
			b.Fatal(err)
		}
	}
	host, err := mdlayher.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { host.Close() })
	return host, set
}

// BenchmarkMemberAdded: a member enters a set, from the item's arrival to the
// last kernel change as reported; raw: the same element by netlink.
func BenchmarkMemberAdded(b *testing.B) {
	for _, members := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			l := newLab(b, func(c *agent.Config) { c.Backend, c.Logger = "nft", slog.New(slog.NewTextHandler(io.Discard, nil)) })
			all := make([]string, members)
			for i := range all {
				all[i] = netip.AddrFrom4([4]byte{10, 64 + byte(i>>16), byte(i >> 8), byte(i)}).String()
			}
			l.must2(work.Item{Sets: []work.Set{nets("peers", all...)}, Programs: []work.Program{posture("p", tier(allow(6, "peers")), nil)}})
			set, err := ipset.Dial()
			if err != nil {
				b.Fatal(err)
			}
			defer set.Close()
			m := medians{}
			for i := 0; b.Loop(); i++ {
				addr := netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)})
				a := l.must2(work.Item{Members: []work.SetEdit{{ID: "peers", Add: []string{addr.String()}}}})
				m["add"] = append(m["add"], a.Took)
				e := ipset.Edit{Set: "tw-s-peers", Type: ipset.Net, Entries: []ipset.Entry{{Prefix: netip.PrefixFrom(addr, 32)}}}
				e.Entries[0].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 17, byte(i >> 8), byte(i)}), 32)
				m.time("raw", func() {
					if err := set.Apply(e); err != nil {
						b.Fatal(err)
					}
				})
			}
			m.report(b, "add", "raw")
		})
	}
}

// BenchmarkNewPosture: an endpoint comes with a posture that the host did not
// know, from its item's arrival to the last kernel change;
// raw: one iptables-restore --noflush of the same lines into the same table.
func BenchmarkNewPosture(b *testing.B) {
	for _, backend := range bothBackends {
		b.Run("backend="+backend+"/policies=1000", func(b *testing.B) {
			l := benchLab(b, backend, 1000)
			m := medians{}
			for i := 0; b.Loop(); i++ {
				id := fmt.Sprintf("new%d", i)
				r := allow(6, "peers", 80, 443)
				p := work.Program{ID: id, Policies: []string{r.Policy}, Ingress: tier(r), Egress: tier(r)}
				before := chainsOf(b, backend)
				a := l.must2(work.Item{Programs: []work.Program{p}, Endpoints: []work.Endpoint{endpoint(id, "10.1.0.1", id)}})
				m["new"] = append(m["new"], a.Took)
				lines := newLines(before, chainsOf(b, backend))
				m.time("raw", func() {
					cmd := exec.Command("iptables-"+backend+"-restore", "--noflush", "-w", "30")
					cmd.Stdin = strings.NewReader(lines)
					if out, err := cmd.CombinedOutput(); err != nil {
						b.Fatalf("%v: %s\n%s", err, out, lines)
					}
				})
			}
			m.report(b, "new", "raw")
		})
	}
}

func chainsOf(b *testing.B, backend string) map[string]string {
	b.Helper()
	out, err := exec.Command("iptables-"+backend+"-save", "-t", "filter").Output()
	if err != nil {
		b.Fatal(err)
	}
	chains := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "-A" && strings.HasPrefix(f[1], "tw-") {
			chains[f[1]] += line
		}
	}
	return chains
}

// newLines is the restore input for the chains that differ.
func newLines(before, after map[string]string) string {
	declare, fill := "", ""
	for name, rules := range after {
		if before[name] != rules {
			declare += ":" + name + " - [0:0]\n"
			fill += rules
		}
	}
	return "*filter\n" + declare + fill + "COMMIT\n"
}

// BenchmarkColdStart: the first picture with 1,000 policies on an empty host;
// raw: one iptables-restore of the same tables and the sets before it.
func BenchmarkColdStart(b *testing.B) {
	for _, backend := range bothBackends {
		b.Run("backend="+backend+"/policies=1000", func(b *testing.B) {
			m := medians{}
			for b.Loop() {
				l := newLab(b, func(c *agent.Config) { c.Backend, c.Logger = backend, slog.New(slog.NewTextHandler(io.Discard, nil)) })
				l.stop()
				wipe(b)
				l.cfg.StateDir = filepath.Join(b.TempDir(), "state")
				l.wanted = work.NewState()
				it := policies(1000)
				it.Rev = 1
				if err := l.wanted.Apply(&it); err != nil {
					b.Fatal(err)
				}
				l.rev = 1
				l.start()
				a := l.must2(*l.wanted.Item("h1"))
				m["start"] = append(m["start"], a.Took)
				save := func(table string) string {
					out, err := exec.Command("iptables-"+backend+"-save", "-t", table).Output()
					if err != nil {
						b.Fatal(err)
					}
					return string(out)
				}
				rules := save("filter") + save("mangle")
				sets, err := exec.Command("ipset", "save").Output()
				if err != nil {
					b.Fatal(err)
				}
				l.stop()
				wipe(b)
				m.time("raw", func() {
					for _, c := range []struct {
						args []string
						in   string
					}{{[]string{"ipset", "restore"}, string(sets)}, {[]string{"iptables-" + backend + "-restore", "-w", "30"}, rules}} {
						cmd := exec.Command(c.args[0], c.args[1:]...)
						cmd.Stdin = strings.NewReader(c.in)
						if out, err := cmd.CombinedOutput(); err != nil {
							b.Fatalf("%v: %s", err, out)
						}
					}
				})
				wipe(b)
			}
			m.report(b, "start", "raw")
		})
	}
}

// BenchmarkBurst: 200 endpoints added one each 5 ms, each from its item to the
// plugin's answer.
func BenchmarkBurst(b *testing.B) {
	l := benchLab(b, "nft", 1000)
	m := medians{}
	for round := 0; b.Loop(); round++ {
		if round > 0 {
			time.Sleep(3 * time.Second) // the kernel drops the last round's namespaces in its own time
		}
		tasks := make([]*task, 200)
		for i := range tasks {
			tasks[i] = l.container(fmt.Sprintf("b%d-%d", round, i))
		}
		took := make(chan time.Duration, len(tasks))
		tick := time.NewTicker(5 * time.Millisecond)
		for i, tk := range tasks {
			<-tick.C
			l.rev++
			it := &work.Item{Host: "h1", Rev: l.rev, Endpoints: []work.Endpoint{endpoint(tk.executor, fmt.Sprintf("10.2.%d.%d", i/200, 1+i%200), "p7")}}
			if err := l.wanted.Apply(it); err != nil {
				b.Fatal(err)
			}
			started := time.Now()
			l.items <- it
			go func() {
				if out, exit := tk.add(); exit != 0 {
					b.Error(out)
				}
				took <- time.Since(started)
			}()
		}
		tick.Stop()
		for range tasks {
			m["burst"] = append(m["burst"], <-took)
		}
		gone := []string{}
		for _, tk := range tasks {
			tk.del()
			tk.Remove()
			gone = append(gone, "fw/"+tk.executor)
		}
		l.must2(work.Item{Delete: &work.Deletions{Endpoints: gone}})
	}
	m.report(b, "burst", "")
}

// BenchmarkEndpointRemoved: an endpoint's DEL with 50,000 tracked connections
// on the host, of others or all its own; gone-ms is until nothing of it is left and
// that is reported; raw: removing its interface alone, as the kernel does it.
func BenchmarkEndpointRemoved(b *testing.B) {
	addr := netip.MustParseAddr("10.1.0.1")
	for _, of := range []string{"others", "own"} {
		b.Run("flows="+of, func(b *testing.B) {
			l := benchLab(b, "nft", 100)
			host, set := rawHost(b)
			if of == "others" {
				fillConntrack(b, netip.MustParseAddr("10.200.0.1"), 50_000)
			}
			m := medians{}
			for i := 0; b.Loop(); i++ {
				name := fmt.Sprintf("gone%d", i)
				l.must2(work.Item{Endpoints: []work.Endpoint{endpoint(name, addr.String(), "p7")}})
				tk := l.container(name)
				tk.mustAdd()
				if of == "own" {
					fillConntrack(b, addr, 50_000)
				}
				m.time("gone", func() {
					m.time("del", tk.del)
					l.await("detached", detached("fw/"+name))
				})
				tk.Remove()
				l.must2(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + name}}})
				ns := netlab.New(b)
				raw := newRawEndpoint(b, host, set, ns, addr)
				raw.makePair(b)
				m.time("raw", func() { raw.remove(b) })
				raw.close()
				ns.Remove()
			}
			b.ReportMetric(float64(m.median("gone").Microseconds())/1000, "gone-ms")
			m.report(b, "del", "raw")
		})
	}
}

// fillConntrack tracks n connections from an address to others that no task has.
func fillConntrack(b *testing.B, from netip.Addr, n int) {
	b.Helper()
	for i := range n {
		to := []byte{10, 201, byte(i >> 8), byte(i)}
		flow := netlink.ConntrackFlow{FamilyType: 2, TimeOut: 3600}
		flow.Forward = netlink.IPTuple{Protocol: 17, SrcIP: from.AsSlice(), DstIP: to, SrcPort: uint16(1 + i>>16), DstPort: 53}
		flow.Reverse = netlink.IPTuple{Protocol: 17, SrcIP: to, DstIP: from.AsSlice(), SrcPort: 53, DstPort: uint16(1 + i>>16)}
		if err := netlink.ConntrackCreate(netlink.ConntrackTable, 2, &flow); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPlugin: a whole CNI ADD as Mesos sees it, a process and all, from a
// namespace to the answer.
func BenchmarkPlugin(b *testing.B) {
	bin := filepath.Join(b.TempDir(), "taskwall-cni")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/taskwall/taskwall/cmd/taskwall-cni").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	l := benchLab(b, "nft", 1000)
	m := medians{}
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("cni%d", i)
		l.must2(work.Item{Endpoints: []work.Endpoint{endpoint(name, "10.1.0.1", "p7")}})
		tk := l.container(name)
		cmd := exec.Command(bin)
		cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + tk.container, "CNI_NETNS=" + tk.Path, "CNI_IFNAME=eth0", "CNI_PATH=/x", "PATH=/bin"}
		cmd.Stdin = strings.NewReader(tk.config("0.2.0", "taskwall"))
		m.time("add", func() {
			if out, err := cmd.Output(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		})
		tk.gone() // to remove an interface the kernel holds the lock that the next one needs
		tk.Remove()
		l.must2(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + name}}})
	}
	m.report(b, "add", "")
}
