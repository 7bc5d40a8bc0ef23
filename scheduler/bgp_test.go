package scheduler

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

const (
	meshOn = `{"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration","metadata":{"name":"default"},"spec":{}}`
	// By racks: who has the attribute rack: r2 keeps static routes.
	meshOfR1   = `{"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration","metadata":{"name":"default","annotations":{"taskwall/hosts":"rack == 'r1'"}},"spec":{}}`
	reflectors = `{"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration","metadata":{"name":"default","annotations":{
		"taskwall/route-reflectors":"taskwall/host in {'h1','h2'}","taskwall/route-reflector-cluster-id":"10.0.0.1"}},"spec":{"nodeToNodeMeshEnabled":false}}`
	toReflectors = `{"apiVersion":"projectcalico.org/v3","kind":"BGPPeer","metadata":{"name":"reflectors"},"spec":{"nodeSelector":"all()","peerSelector":"has(taskwall/route-reflector)"}}`
)

func peers(b *work.BGP) []string {
	var names []string
	if b != nil {
		for _, p := range b.Peers {
			names = append(names, p.Name)
		}
	}
	return names
}

func hostsOf(items map[string]*work.Item) []string { return events.SortedKeys(items) }

func (w *world) gone(host string) map[string]*work.Item {
	return w.say(events.Event{Kind: events.HostGone, Gone: &events.Gone{Key: "agent-" + host}})
}

// Hosts go from static routes to BGP and back. A host that changes is told by a
// snapshot; between two hosts there is a static route unless both speak BGP.
func TestFromStaticRoutesToBGPAndBack(t *testing.T) {
	w := newWorld(t)
	for _, h := range []string{"h1", "h2", "h3"} {
		w.host(h)
	}
	w.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-h3", Name: "h3", Address: hostAddress("h3"), Reachable: true,
		Attributes: map[string]string{"rack": "r2"}}})
	w.apply(pool("main", "10.8.0.0/24", 28, ""))
	for i, h := range []string{"h1", "h2", "h3"} {
		w.task(string(rune('a'+i)), h, "TASK_RUNNING", "app=web")
	}
	routes := func(host string) []string {
		var all []string
		for _, p := range sortedPrefixes(w.hosts[host].Routes) {
			all = append(all, p.String()+" "+w.hosts[host].Routes[p].Host)
		}
		return all
	}
	static := []string{"10.8.0.0/28 h1", "10.8.0.16/28 h2", "10.8.0.32/28 h3"}
	if diff := cmp.Diff(static, routes("h1")); diff != "" || w.hosts["h1"].BGP != nil {
		t.Fatal("without a BGPConfiguration", diff)
	}

	items := w.apply(meshOfR1)
	if !items["h1"].Snapshot || !items["h2"].Snapshot || items["h3"] != nil {
		t.Errorf("the change went to %v", hostsOf(items))
	}
	if diff := cmp.Diff([]string{"10.8.0.0/28 h1", "10.8.0.32/28 h3"}, routes("h1")); diff != "" {
		t.Error("h1 speaks BGP with h2 and not with h3:", diff)
	}
	if diff := cmp.Diff(static, routes("h3")); diff != "" {
		t.Error("h3 stays static:", diff)
	}
	if diff := cmp.Diff(&work.BGP{
		ASN: 64512, RouterID: netip.MustParseAddr("192.168.50.1"), Port: 179,
		Announce: []work.Announcement{{Prefix: netip.MustParsePrefix("10.8.0.0/28")}},
		Accept:   []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}, Pools: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")},
		Peers: []work.BGPPeer{{Name: "mesh/h2", Address: netip.MustParseAddr("192.168.50.2"), ASN: 64512}},
	}, w.hosts["h1"].BGP, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}

	items = w.apply(meshOn) // now h3 as well: the others learn what they need no static route to
	if d := items["h1"].Delete; items["h1"].Snapshot || d == nil || !slices.Equal(d.Routes, []netip.Prefix{netip.MustParsePrefix("10.8.0.32/28")}) {
		t.Errorf("h1 was told %+v", items["h1"])
	}
	if diff := cmp.Diff([]string{"10.8.0.32/28 h3"}, routes("h3")); diff != "" {
		t.Error(diff)
	}

	w.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "ann",
		Delete: []events.ResourceKey{{Kind: "BGPConfiguration", Name: "default"}}}})
	for _, h := range []string{"h1", "h2", "h3"} {
		if diff := cmp.Diff(static, routes(h)); diff != "" || w.hosts[h].BGP != nil {
			t.Errorf("%s is static again, with %v: %s", h, w.hosts[h].BGP, diff)
		}
	}
}

// With route reflectors, whoever joins or leaves concerns itself and them only,
// and nobody else is told.
func TestReflectorsSpareTheOtherHosts(t *testing.T) {
	w := newWorld(t)
	w.apply(pool("main", "10.8.0.0/24", 28, ""), reflectors, toReflectors)
	for _, h := range []string{"h1", "h2", "h3", "h4"} {
		w.host(h)
	}
	if diff := cmp.Diff([]string{"reflectors/h1", "reflectors/h2"}, peers(w.hosts["h4"].BGP)); diff != "" {
		t.Error("a client:", diff)
	}
	if diff := cmp.Diff([]string{"reflectors/h2", "reflectors/h3", "reflectors/h4"}, peers(w.hosts["h1"].BGP)); diff != "" {
		t.Error("a reflector:", diff)
	}
	for _, p := range w.hosts["h1"].BGP.Peers {
		if client := p.Name != "reflectors/h2"; client != p.ClusterID.IsValid() {
			t.Errorf("%s is a client: %v; reflectors of one cluster are none to each other", p.Name, p.ClusterID.IsValid())
		}
	}
	items := w.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-h5", Name: "h5", Address: hostAddress("h5"), Reachable: true}})
	if len(items) != 0 {
		t.Errorf("a host without an agent of ours concerns %v", hostsOf(items))
	}
	items = w.say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: "h5", Address: hostAddress("h5")}})
	if diff := cmp.Diff([]string{"h1", "h2", "h5"}, hostsOf(items)); diff != "" {
		t.Error("who joins concerns", diff)
	}
	if diff := cmp.Diff([]string{"h5"}, hostsOf(w.task("a", "h5", "TASK_STAGING", "app=web"))); diff != "" {
		t.Error("a new block concerns its host only:", diff)
	}
	if diff := cmp.Diff([]string{"h1", "h2", "h5"}, hostsOf(w.gone("h5"))); diff != "" {
		t.Error("who leaves concerns", diff)
	}
	if b := w.hosts["h5"].BGP; b == nil || len(b.Peers)+len(b.Announce) != 0 {
		t.Errorf("a host that left is told to announce %+v", b)
	}
}

// A block of a host that is gone goes to another, which announces it; who had a
// static route to it loses that.
func TestBlockTakenOverIsAnnouncedByItsNewHost(t *testing.T) {
	w := newWorld(t)
	w.apply(pool("main", "10.8.0.0/29", 29, ""), meshOfR1)
	w.host("h1")
	w.host("h2")
	w.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-h3", Name: "h3", Address: hostAddress("h3"), Reachable: true,
		Attributes: map[string]string{"rack": "r2"}}})
	block := netip.MustParsePrefix("10.8.0.0/29")
	w.task("a", "h3", "TASK_RUNNING", "app=web")
	if r := w.hosts["h1"].Routes[block]; r.Host != "h3" {
		t.Fatalf("the way to a static host is %+v", r)
	}
	w.gone("h3")
	if r := w.hosts["h1"].Routes[block]; r.Host != "h3" {
		t.Errorf("nobody has it yet, and the way became %+v", r)
	}
	w.now = w.now.Add(time.Hour)
	w.task("b", "h2", "TASK_RUNNING", "app=web")
	if a := w.hosts["h2"].BGP.Announce; len(a) != 1 || a[0].Prefix != block {
		t.Errorf("h2 announces %v", a)
	}
	if r, still := w.hosts["h1"].Routes[block]; still {
		t.Errorf("h1 has a static route beside what it learns: %+v", r)
	}
}

// A task whose address lies in a block that is another host's by now is reached
// by a route to the address alone.
func TestStrayAddressIsAnnouncedByItself(t *testing.T) {
	w := newWorld(t)
	w.apply(pool("main", "10.8.0.0/24", 28, ""), meshOn)
	w.host("h1")
	w.host("h2")
	w.task("a", "h1", "TASK_RUNNING", "app=web")
	b := w.state.addrs.blocks[netip.MustParsePrefix("10.8.0.0/28")]
	w.state.addrs.drop(b)
	b.Host = "h2"
	w.state.addrs.put(b)
	w.state.bgp.all = true
	w.task("b", "h2", "TASK_RUNNING", "app=web")
	announced := func(h string) (all []string) {
		for _, a := range w.hosts[h].BGP.Announce {
			all = append(all, a.Prefix.String())
		}
		return all
	}
	if diff := cmp.Diff([]string{"10.8.0.0/32"}, announced("h1")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"10.8.0.0/28"}, announced("h2")); diff != "" {
		t.Error(diff)
	}
	w.task("a", "h1", "TASK_KILLED", "app=web")
	if a := announced("h1"); a != nil {
		t.Errorf("after its task ended h1 announces %v", a)
	}
}

func TestDrain(t *testing.T) {
	w := newWorld(t)
	w.apply(meshOn)
	w.host("h1")
	w.host("h2")
	drain := func(on bool) map[string]*work.Item {
		return w.say(events.Event{Kind: events.HostDrain, Drain: &events.Drain{Host: "h1", On: on, By: "ann"}})
	}
	if items := drain(true); !w.hosts["h1"].BGP.Drain || len(items) != 1 {
		t.Errorf("draining made %v", items)
	}
	if items := drain(true); len(items) != 0 {
		t.Errorf("draining again made %v", items)
	}
	if drain(false); w.hosts["h1"].BGP.Drain {
		t.Error("h1 is still drained")
	}
	if items := w.say(events.Event{Kind: events.HostDrain, Drain: &events.Drain{Host: "nobody", On: true}}); len(items) != 0 {
		t.Errorf("draining nobody made %v", items)
	}
}

// What a host says of its sessions is kept for the peers that it has, once.
func TestSessions(t *testing.T) {
	w := newWorld(t)
	w.apply(meshOn)
	w.host("h1")
	w.host("h2")
	say := func(report uint64, peer, state string, flaps int) {
		w.now = w.now.Add(time.Second)
		w.say(events.Event{Kind: events.BGPSession, Session: &events.Session{Host: "h1", Peer: peer, State: state, Received: 4, Accepted: 3, Sent: 2, Flaps: flaps, Report: report}})
	}
	say(1, "mesh/h2", "established", 1)
	up := w.now
	say(2, "mesh/h2", "established", 0) // only the counts changed
	say(2, "mesh/h2", "idle", 5)        // heard before
	say(3, "mesh/h9", "established", 1) // nobody's peer
	got := w.state.hosts["h1"].sessions
	if diff := cmp.Diff(map[string]session{"mesh/h2": {State: "established", Since: up, Heard: up.Add(time.Second), Received: 4, Accepted: 3, Sent: 2, Flaps: 1}}, got); diff != "" {
		t.Error(diff)
	}
	w.gone("h2")
	if len(got) != 0 {
		t.Errorf("the peer is gone, and its session is %v", got)
	}
}

// A site's hosts have their own AS number by a selector, so that one that joins
// the site needs nobody's hand; a host's own configuration counts before it.
func TestSiteHasItsOwnASNumber(t *testing.T) {
	w := newWorld(t)
	for _, h := range []string{"h1", "h2", "h3"} {
		w.host(h)
	}
	inCloud := func(h string) {
		w.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-" + h, Name: h, Address: hostAddress(h), Reachable: true,
			Attributes: map[string]string{"site": "cloud"}}})
	}
	inCloud("h2")
	w.apply(meshOn)
	w.apply(`{"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration","metadata":{"name":"cloud","annotations":{"taskwall/hosts":"site == 'cloud'"}},"spec":{"asNumber":64513}}`)
	numbers := func() []uint32 { return []uint32{w.hosts["h1"].BGP.ASN, w.hosts["h2"].BGP.ASN, w.hosts["h3"].BGP.ASN} }
	if got := numbers(); !slices.Equal(got, []uint32{64512, 64513, 64512}) {
		t.Errorf("AS numbers %v", got)
	}
	inCloud("h3")
	if got := numbers(); !slices.Equal(got, []uint32{64512, 64513, 64513}) {
		t.Errorf("with h3 in the cloud: %v", got)
	}
	if peer := w.hosts["h1"].BGP.Peers[1]; peer.Name != "mesh/h3" || peer.ASN != 64513 {
		t.Errorf("h1 knows h3 as %+v", peer)
	}
	w.apply(`{"apiVersion":"projectcalico.org/v3","kind":"BGPConfiguration","metadata":{"name":"node.h3"},"spec":{"asNumber":64514}}`)
	if got := numbers(); !slices.Equal(got, []uint32{64512, 64513, 64514}) {
		t.Errorf("with h3's own: %v", got)
	}
}

// A host must not become the way from one router to another: what it learned is
// passed on to another AS only if it lies in a pool, or a filter says so.
func TestHostsAreNoTransit(t *testing.T) {
	w := newWorld(t)
	router := func(name, address, rest string) string {
		return `{"apiVersion":"projectcalico.org/v3","kind":"BGPPeer","metadata":{"name":"` + name + `"},"spec":{"peerIP":"` + address + `",` + rest + `}}`
	}
	w.apply(pool("main", "10.8.0.0/24", 28, ""), meshOn,
		`{"apiVersion":"projectcalico.org/v3","kind":"BGPFilter","metadata":{"name":"and-legacy"},"spec":{"exportV4":[{"action":"Accept","cidr":"192.0.2.0/24","matchOperator":"In"}]}}`,
		router("abroad", "198.51.100.1", `"asNumber":64601,"filters":["and-legacy"]`), router("at-home", "198.51.100.2", `"asNumber":64512`))
	w.host("h1")
	want := []work.BGPFilter{
		{Accept: true, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Match: "In", Filter: "and-legacy"},
		{Accept: true, Prefix: netip.MustParsePrefix("10.8.0.0/24"), Match: "In", Filter: noTransit},
		{Origin: "RemotePeers", Filter: noTransit, Index: 1},
	}
	b := w.hosts["h1"].BGP
	if diff := cmp.Diff(want, b.Peers[0].Export, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if b.Peers[1].Name != "at-home" || b.Peers[1].Export != nil {
		t.Errorf("in the same AS: %+v", b.Peers[1])
	}
}

// A session that broke and came back between two reports is as old as its
// return.
func TestASessionThatCameBackIsNew(t *testing.T) {
	w := newWorld(t)
	w.apply(meshOn)
	w.host("h1")
	w.host("h2")
	for report, changes := range []int{1, 2} {
		w.now = w.now.Add(time.Minute)
		w.say(events.Event{Kind: events.BGPSession, Session: &events.Session{Host: "h1", Peer: "mesh/h2", State: "established", Flaps: changes, Report: uint64(report + 1)}})
	}
	if got := w.state.hosts["h1"].sessions["mesh/h2"]; !got.Since.Equal(w.now) || got.Flaps != 3 {
		t.Errorf("%+v, now %v", got, w.now)
	}
}
