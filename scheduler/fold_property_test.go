package scheduler

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/policy"
)

// step draws one event of a small cluster, so that things collide often.
func step(t *rapid.T, now *time.Time) events.Event {
	*now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "seconds")) * time.Second)
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	host := pick("host", "h1", "h2", "h3")
	id := pick("task", "a", "b", "c", "d", "e", "f")
	ev := events.Event{Schema: events.Schema, Time: *now, Received: *now}
	switch pick("kind", "task", "task", "task", "task", "gone", "host", "lost", "join", "wiring", "wiring", "policy", "marathon", "bgp", "bgp", "session", "drain") {
	case "task":
		tk := task(id, host, pick("state", "TASK_STAGING", "TASK_RUNNING", "TASK_RUNNING", "TASK_UNREACHABLE", "TASK_KILLED", "TASK_LOST"),
			"app="+pick("app", "web", "db", "other"))
		if id >= "d" { // tasks of one executor, or of several of one id
			tk.Executor = "pod"
		}
		if id >= "e" && rapid.Bool().Draw(t, "nested") { // with a network of its own, beside its executor's or not
			tk.Nested = true
			if rapid.Bool().Draw(t, "executor's") {
				tk.ExecutorNetworks = tk.Networks
			}
		}
		ev.Kind, ev.Task = events.TaskPut, tk
	case "gone":
		ev.Kind, ev.Gone = events.TaskGone, &events.Gone{Key: "fw/" + id}
	case "host":
		ev.Kind, ev.Host = events.HostPut, &events.Host{Agent: "agent-" + host, Name: host,
			Address: hostAddress(host), Reachable: rapid.Bool().Draw(t, "reachable"),
			Attributes: map[string]string{"rack": pick("rack", "a", "b")}}
	case "lost":
		ev.Kind, ev.Gone = events.HostGone, &events.Gone{Key: "agent-" + host}
	case "join":
		ev.Kind, ev.Join = events.AgentJoin, &events.Join{Host: host, Address: hostAddress(host)}
	case "wiring":
		endpoint := "fw/" + id
		if id >= "d" {
			endpoint = pick("endpoint", "fw/pod", "fw/pod", "fw/pod/@"+host, `fw/pod\`+id)
		}
		ev.Kind, ev.Wiring = events.EndpointState, &events.Wiring{Host: host, Endpoint: endpoint,
			State: events.WiringState(pick("wiring", "attached", "detached", "detached"))}
	case "policy":
		change := &events.PolicyChange{Author: "ann"}
		switch pick("change", "pools", "small", "web", "db", "no web", "no db") {
		case "pools":
			change.Put = append(change.Put, must(pool("main", "10.8.0.0/26", 29, "")), must(pool("web", "10.9.0.0/28", 30, "app == 'web'")))
		case "small":
			change.Put = append(change.Put, must(pool("main", "10.8.0.0/29", 30, "")))
		case "web":
			change.Put = append(change.Put, must(webToDB))
		case "db":
			change.Put = append(change.Put, must(dbFromWeb))
		case "no web":
			change.Delete = append(change.Delete, events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "web"})
		case "no db":
			change.Delete = append(change.Delete, events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "db"})
		}
		ev.Kind, ev.Policy = events.PolicyApply, change
	case "bgp":
		ev.Kind, ev.Policy = events.PolicyApply, bgpStep(t)
	case "session":
		ev.Kind, ev.Session = events.BGPSession, &events.Session{Host: host, Peer: pick("peer", "mesh/h1", "mesh/h2", "tor", "racks/h1"),
			State: pick("state", "established", "idle"), Received: 3, Flaps: 1}
	case "drain":
		ev.Kind, ev.Drain = events.HostDrain, &events.Drain{Host: host, On: rapid.Bool().Draw(t, "on"), By: "ann"}
	case "marathon":
		ev.Kind, ev.Marathon = events.MarathonPut, &events.Marathon{Framework: pick("framework", "fw", "other")}
	}
	return ev
}

// history draws a history of some events, most often one that begins with hosts,
// pools, policies and tasks, so that what comes then has something to change.
func history(t *rapid.T, now *time.Time, most int) []events.Event {
	var all []events.Event
	say := func(ev events.Event) {
		*now = now.Add(time.Second)
		ev.Schema, ev.Time, ev.Received = events.Schema, *now, *now
		all = append(all, ev)
	}
	if rapid.IntRange(0, 4).Draw(t, "from nothing") > 0 {
		settings := events.DefaultSettings()
		settings.Hold = time.Duration(rapid.SampledFrom([]int{1, 60}).Draw(t, "hold")) * time.Second
		say(events.Event{Kind: events.SettingsPut, Settings: &settings})
		main := rapid.SampledFrom([]string{pool("main", "10.8.0.0/26", 29, ""), pool("main", "10.8.0.0/29", 31, "")}).Draw(t, "pool")
		say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "ann", Put: []events.Resource{must(main), must(webToDB), must(dbFromWeb)}}})
		for _, host := range []string{"h1", "h2", "h3"} {
			say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-" + host, Name: host, Address: hostAddress(host), Reachable: true}})
			say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: host, Address: hostAddress(host)}})
		}
		for _, of := range [][3]string{{"a", "h1", "web"}, {"b", "h2", "db"}, {"d", "h3", "web"}} {
			tk := task(of[0], of[1], "TASK_RUNNING", "app="+of[2])
			if of[0] == "d" {
				tk.Executor = "pod"
			}
			say(events.Event{Kind: events.TaskPut, Task: tk})
		}
	}
	for range rapid.IntRange(1, most).Draw(t, "events") {
		if rapid.IntRange(0, 7).Draw(t, "another") > 0 {
			all = append(all, step(t, now))
			continue
		}
		// One task ends, and another gets what it had.
		host, id := rapid.SampledFrom([]string{"h1", "h2"}).Draw(t, "host"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "ends")
		say(events.Event{Kind: events.TaskPut, Task: task(id, host, "TASK_KILLED")})
		say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{Host: host, Endpoint: "fw/" + id, State: events.Detached}})
		*now = now.Add(time.Minute)
		say(events.Event{Kind: events.TaskPut, Task: task(id+"2", host, "TASK_RUNNING", "app="+rapid.SampledFrom([]string{"web", "db"}).Draw(t, "app"))})
		say(events.Event{Kind: events.TaskPut, Task: task(id+"3", host, "TASK_RUNNING", "app=db")})
	}
	return all
}

func must(text string) events.Resource {
	var t testing.T
	return parse(&t, text)
}

// TestFoldOfAnyHistory draws histories and checks, after each event: no address
// is in two hands; each host's items add up to what a resolver that never saw
// the history says it needs; and a state restored from a snapshot in the middle
// makes the same items, byte for byte, as the one that went on.
func TestFoldOfAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		live, restored := NewState(), NewState()
		hosts := map[string]*work.State{}
		all := history(t, &now, 60)
		n := len(all)
		cut := rapid.IntRange(0, n).Draw(t, "snapshot after")
		for seq := 1; seq <= n; seq++ {
			entry := events.Entry{Seq: uint64(seq), Event: all[seq-1]}
			items := live.Apply(entry)
			if seq > cut {
				again := restored.Apply(entry)
				if a, b := encode(t, items), encode(t, again); !bytes.Equal(a, b) {
					t.Fatalf("after the snapshot at %d, event %d makes\n%s\nand live\n%s", cut, seq, b, a)
				}
			}
			if seq == cut {
				data := encode(t, live)
				form := data
				if rapid.Bool().Draw(t, "binary") {
					var err error
					if form, err = live.MarshalBinary(); err != nil {
						t.Fatal(err)
					}
				}
				if err := restored.UnmarshalBinary(form); err != nil {
					t.Fatal(err)
				}
				if again := encode(t, restored); !bytes.Equal(data, again) {
					t.Fatalf("a snapshot of the restored state differs:\n%s\n%s", data, again)
				}
				if diff := cmp.Diff(derived(live), derived(restored), cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
					t.Fatalf("what is not in the snapshot differs, live (-) and restored (+):\n%s", diff)
				}
			}
			for _, it := range items {
				if hosts[it.Host] == nil {
					hosts[it.Host] = work.NewState()
				}
				if err := hosts[it.Host].Apply(it); err != nil {
					t.Fatalf("host %s: %v", it.Host, err)
				}
			}
			checkAddresses(t, live)
			checkHosts(t, live, hosts)
		}
	})
}

// derived is what a snapshot does not hold, since it follows from the rest.
func derived(s *State) any {
	type hostHas struct {
		Endpoints      map[string]work.Endpoint
		Programs, Sets map[string]int
		Speaks         bool
		BGP            *work.BGP
	}
	hosts := map[string]hostHas{}
	for name, h := range s.hosts {
		hosts[name] = hostHas{h.endpoints, h.programs, h.sets, h.speaks, h.bgp}
	}
	type used struct {
		work.Program
		Sets, Hosts []string
	}
	names := func(hosts map[*host]bool) (list []string) {
		for _, h := range sortedHosts(hosts) {
			list = append(list, h.name)
		}
		return list
	}
	programs, sets := map[string]used{}, map[string][]string{}
	for id, p := range s.span.programs {
		programs[id] = used{p.Program, p.sets, names(p.hosts)}
	}
	for id, hosts := range s.span.sets {
		sets[id] = names(hosts)
	}
	return []any{hosts, programs, sets, s.tasks, s.byAgent, s.byFramework, s.byExecutor, s.waiting}
}

func encode(t *rapid.T, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkAddresses(t *rapid.T, s *State) {
	holder := map[netip.Addr]string{}
	hold := func(a netip.Addr, who string) {
		if !a.IsValid() {
			return
		}
		if other, taken := holder[a]; taken {
			t.Fatalf("address %v is held by %s and by %s", a, other, who)
		}
		holder[a] = who
	}
	for id, e := range s.endpoints {
		hold(e.address, e.host.name+" "+id)
	}
	for _, h := range s.hosts {
		for id, a := range h.ending {
			hold(a, h.name+" "+id+" (ending)")
		}
	}
	for p, b := range s.addrs.blocks {
		for a, id := range b.Used {
			if _, held := holder[a]; !held {
				t.Fatalf("address %v of block %v is in use by %s, who does not hold it", a, p, id)
			}
		}
	}
}

// checkHosts compares what the hosts were told with what a fresh resolver says.
func checkHosts(t *rapid.T, s *State, hosts map[string]*work.State) {
	fresh := policy.NewResolver()
	if err := fresh.Apply(s.Resources(), nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.endpoints {
		fresh.PutEndpoint(e.resolved())
	}
	fresh.Flush()
	want := map[string]*work.State{}
	for name, h := range s.hosts {
		if !h.joined {
			continue
		}
		w := work.NewState()
		it := &work.Item{Rev: h.rev, Snapshot: true, BGP: bgpOracle(s, h)}
		for p, b := range s.addrs.blocks {
			r := work.Route{Prefix: p, Host: b.Host}
			if b.Host != name {
				r.Via = s.hosts[b.Host].address
			}
			if b.Host == name || r.Via.IsValid() && !(speaksOracle(s, h) && speaksOracle(s, s.hosts[b.Host])) {
				it.Routes = append(it.Routes, r)
			}
		}
		if err := w.Apply(it); err != nil {
			t.Fatal(err)
		}
		want[name] = w
	}
	for id, e := range s.endpoints {
		w := want[e.host.name]
		if w == nil {
			continue
		}
		w.Endpoints[id] = e.told(fresh.Posture(id))
		if fresh.Posture(id) == "" {
			continue
		}
		p, _ := fresh.Program(fresh.Posture(id))
		w.Programs[p.ID] = p
		for _, set := range p.SetIDs() {
			full, ok := fresh.Set(set)
			if !ok {
				t.Fatalf("no set %s", set)
			}
			it := &work.Item{Rev: w.Rev + 1, Sets: []work.Set{full}}
			if err := w.Apply(it); err != nil {
				t.Fatal(err)
			}
			w.Rev--
		}
	}
	for name, w := range want {
		have := hosts[name]
		if have == nil {
			t.Fatalf("host %s joined and was told nothing", name)
		}
		if a, b := string(encode(t, w.Item(name))), string(encode(t, have.Item(name))); a != b {
			t.Fatalf("host %s needs\n%s\nand was told\n%s", name, a, b)
		}
	}
}
