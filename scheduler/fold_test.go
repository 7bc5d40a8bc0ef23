package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// world feeds events to a fold and keeps what came of them.
type world struct {
	t     *testing.T
	state *State
	seq   uint64
	now   time.Time
	log   []events.Entry
	items []*work.Item
	hosts map[string]*work.State // as the agents would have them
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, state: NewState(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		hosts: map[string]*work.State{},
	}
}

// say folds one event and returns its items by host.
func (w *world) say(ev events.Event) map[string]*work.Item {
	w.t.Helper()
	w.seq++
	ev.Schema, ev.ID = events.Schema, fmt.Sprint(w.seq)
	ev.Time, ev.Received = w.now, w.now
	entry := events.Entry{Seq: w.seq, Event: ev}
	w.log = append(w.log, entry)
	made := map[string]*work.Item{}
	for _, it := range w.state.Apply(entry) {
		w.items = append(w.items, it)
		made[it.Host] = it
		if w.hosts[it.Host] == nil {
			w.hosts[it.Host] = work.NewState()
		}
		if err := w.hosts[it.Host].Apply(it); err != nil {
			w.t.Fatalf("host %s: %v", it.Host, err)
		}
	}
	return made
}

func (w *world) host(name string) {
	w.say(events.Event{Kind: events.HostPut, Host: &events.Host{
		Agent: "agent-" + name, Name: name, Address: hostAddress(name), Reachable: true,
		Attributes: map[string]string{"rack": "r1"},
	}})
	w.say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: name, Address: hostAddress(name)}})
}

func hostAddress(name string) string { return "192.168.50." + strings.TrimPrefix(name, "h") }

func task(id, host, state string, labels ...string) *events.Task {
	t := &events.Task{
		Framework: "fw", ID: id, Executor: id, Name: id, Agent: "agent-" + host, State: state,
		Containerizer: "mesos", Networks: []events.Network{{Name: "taskwall"}}, Labels: map[string]string{},
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		t.Labels[k] = v
	}
	return t
}

func (w *world) task(id, host, state string, labels ...string) map[string]*work.Item {
	w.t.Helper()
	return w.say(events.Event{Kind: events.TaskPut, Task: task(id, host, state, labels...)})
}

func (w *world) detached(host, id string) map[string]*work.Item {
	return w.say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{
		Host: host, Endpoint: "fw/" + id, State: events.Detached}})
}

func (w *world) apply(resources ...string) map[string]*work.Item {
	w.t.Helper()
	change := &events.PolicyChange{Author: "ann"}
	for _, text := range resources {
		change.Put = append(change.Put, parse(w.t, text))
	}
	return w.say(events.Event{Kind: events.PolicyApply, Policy: change})
}

// parse makes a policy resource of JSON.
func parse(t *testing.T, text string) events.Resource {
	t.Helper()
	var head struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
	}
	if err := json.Unmarshal([]byte(text), &head); err != nil {
		t.Fatal(err)
	}
	return events.Resource{
		ResourceKey: events.ResourceKey{Kind: head.Kind, Namespace: head.Metadata.Namespace, Name: head.Metadata.Name},
		Body:        json.RawMessage(text),
	}
}

func pool(name, cidr string, size int, selector string) string {
	annotations := ""
	if selector != "" {
		annotations = fmt.Sprintf(`,"annotations":{"taskwall/selector":%q}`, selector)
	}
	return fmt.Sprintf(`{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":%q%s},"spec":{"cidr":%q,"blockSize":%d}}`,
		name, annotations, cidr, size)
}

const (
	webToDB = `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"web"},"spec":{
		"selector":"app == 'web'","types":["Egress"],"egress":[{"action":"Allow","protocol":"TCP",
		"destination":{"selector":"app == 'db'","ports":[5432]}}]}}`
	dbFromWeb = `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkPolicy","metadata":{"name":"db"},"spec":{
		"selector":"app == 'db'","types":["Ingress"],"ingress":[{"action":"Allow","protocol":"TCP",
		"source":{"selector":"app == 'web'"},"destination":{"ports":[5432]}}]}}`
)

// threeHosts is a world with pools, policies and hosts h1 to h3.
func threeHosts(t *testing.T) *world {
	w := newWorld(t)
	w.apply(pool("main", "10.8.0.0/24", 28, ""), webToDB, dbFromWeb)
	for _, h := range []string{"h1", "h2", "h3"} {
		w.host(h)
	}
	return w
}

func (w *world) endpoint(host, id string) work.Endpoint {
	w.t.Helper()
	e, ok := w.hosts[host].Endpoints["fw/"+id]
	if !ok {
		w.t.Fatalf("host %s was not told of task %s", host, id)
	}
	return e
}

func TestStagedTaskReachesItsHostAndItsPeersBeforeItStarts(t *testing.T) {
	w := threeHosts(t)
	w.task("web.1", "h1", "TASK_STAGING", "app=web")
	made := w.task("db.1", "h2", "TASK_STAGING", "app=db")

	db := w.endpoint("h2", "db.1")
	if !db.Address.IsValid() || db.Posture == "" {
		t.Fatalf("the staged task has address %v and posture %q", db.Address, db.Posture)
	}
	if made["h3"] != nil && (len(made["h3"].Sets)+len(made["h3"].Members)+len(made["h3"].Endpoints) > 0) {
		t.Errorf("h3 has no part in it and was told %+v", made["h3"])
	}
	if !holds(w.hosts["h1"], db.Address.String()) {
		t.Error("the client's host does not know the new server's address")
	}
	web := w.endpoint("h1", "web.1")
	if !holds(w.hosts["h2"], web.Address.String()) {
		t.Error("the server's host does not know the client's address")
	}
	route, ok := w.hosts["h3"].Routes[netip.PrefixFrom(db.Address, 28).Masked()]
	if !ok || route.Via != netip.MustParseAddr("192.168.50.2") {
		t.Errorf("h3's route to the server's block is %+v", route)
	}
	if own := w.hosts["h2"].Routes[netip.PrefixFrom(db.Address, 28).Masked()]; own.Via.IsValid() {
		t.Errorf("h2 sends its own block to %v", own.Via)
	}
}

// holds reports whether any set of the host has the member.
func holds(s *work.State, member string) bool {
	for _, set := range s.Sets {
		if _, ok := set.Members[member]; ok {
			return true
		}
	}
	return false
}

func TestRunningTaskIsNoNewsForHosts(t *testing.T) {
	w := threeHosts(t)
	w.task("db.1", "h2", "TASK_STAGING", "app=db")
	for _, state := range []string{"TASK_STARTING", "TASK_RUNNING", "TASK_RUNNING", "TASK_UNREACHABLE", "TASK_RUNNING"} {
		if made := w.task("db.1", "h2", state, "app=db"); len(made) != 0 {
			t.Errorf("%s made items for %d hosts", state, len(made))
		}
	}
}

func TestAddressIsKeptUntilItsHostIsDoneWithIt(t *testing.T) {
	w := threeHosts(t)
	w.apply(pool("main", "10.8.0.0/28", 30, "")) // four addresses a host
	w.task("a", "h1", "TASK_RUNNING")
	first := w.endpoint("h1", "a").Address

	made := w.task("a", "h1", "TASK_KILLED")
	if d := made["h1"].Delete; d == nil || !cmp.Equal(d.Endpoints, []string{"fw/a"}) {
		t.Fatalf("the killed task's host was told %+v", made["h1"])
	}
	seen := map[netip.Addr]bool{}
	use := func(id string) work.Endpoint {
		w.task(id, "h1", "TASK_STAGING")
		e := w.endpoint("h1", id)
		if e.Address.IsValid() && seen[e.Address] {
			t.Fatalf("address %v is in two hands", e.Address)
		}
		seen[e.Address] = true
		return e
	}
	for i := range 3 {
		if e := use(fmt.Sprint("b", i)); e.Address == first {
			t.Fatal("the address was given away before its host was done with it")
		}
	}
	// Each host holds a block of four; the pool has four blocks.
	for i := range 12 {
		use(fmt.Sprint("c", i))
	}
	full := use("d")
	if full.Address.IsValid() || !strings.Contains(full.Refused, "pool main") {
		t.Fatalf("a full pool gave %+v", full)
	}
	w.detached("h1", "a")
	if e := w.endpoint("h1", "d"); e.Address.IsValid() {
		t.Fatal("the released address was not held back")
	}
	w.now = w.now.Add(2 * time.Minute)
	w.task("b0", "h1", "TASK_KILLED")
	w.detached("h1", "b0") // any release lets those who wait try again
	if e := w.endpoint("h1", "d"); e.Address != first || e.Refused != "" {
		t.Errorf("after the hold the waiting task has %+v, want address %v", e, first)
	}
}

func TestDetachedBeforeTheTaskEnds(t *testing.T) {
	w := threeHosts(t)
	w.task("a", "h1", "TASK_STAGING")
	w.detached("h1", "a") // the attach failed: Mesos called DEL before the terminal update
	w.task("a", "h1", "TASK_FAILED")
	if n := w.state.View().Hosts[0].Ending; n != 0 {
		t.Errorf("%d endpoints are still waited for", n)
	}
}

func TestRepeatedReportIsPassedOver(t *testing.T) {
	w := threeHosts(t)
	w.task("a", "h1", "TASK_STAGING")
	say := func(place uint64, state events.WiringState) {
		w.say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{
			Host: "h1", Endpoint: "fw/a", State: state, Report: place}})
	}
	say(1, events.Detached) // of a first attempt that failed
	say(2, events.Attached)
	say(1, events.Detached) // again, after a controller died
	w.task("a", "h1", "TASK_KILLED")
	if n := w.state.View().Hosts[0].Ending; n != 1 {
		t.Fatal("a repeated report released the address of a task that is still attached")
	}
	say(3, events.Detached)
	if n := w.state.View().Hosts[0].Ending; n != 0 {
		t.Error("the end of the task was not taken in")
	}
}

func TestHostThatIsGoneReleasesItsAddressesAndItsBlocks(t *testing.T) {
	w := threeHosts(t)
	w.apply(pool("main", "10.8.0.0/30", 30, "")) // one block in all
	w.task("a", "h1", "TASK_RUNNING")
	w.task("b", "h2", "TASK_STAGING")
	if e := w.endpoint("h2", "b"); e.Address.IsValid() {
		t.Fatalf("h2 got %v out of h1's block", e.Address)
	}
	w.say(events.Event{Kind: events.HostPut, Host: &events.Host{Agent: "agent-h1", Name: "h1", Reachable: false}})
	w.task("b2", "h2", "TASK_STAGING")
	if e := w.endpoint("h2", "b2"); e.Address.IsValid() {
		t.Fatal("an unreachable host lost its addresses")
	}
	w.say(events.Event{Kind: events.HostGone, Gone: &events.Gone{Key: "agent-h1"}})
	w.now = w.now.Add(2 * time.Minute)
	w.task("b3", "h2", "TASK_STAGING")
	if e := w.endpoint("h2", "b3"); !e.Address.IsValid() {
		t.Errorf("the gone host's block was not taken over: %s", e.Refused)
	}
}

func TestPoolIsChosenByLabels(t *testing.T) {
	w := newWorld(t)
	w.apply(pool("aaa-rest", "10.9.0.0/24", 28, ""), pool("prod", "10.8.0.0/24", 28, "taskwall.environment == 'production'"))
	w.host("h1")
	w.task("p", "h1", "TASK_STAGING", "taskwall.environment=production")
	w.task("x", "h1", "TASK_STAGING")
	if a := w.endpoint("h1", "p").Address; !netip.MustParsePrefix("10.8.0.0/24").Contains(a) {
		t.Errorf("the production task has %v", a)
	}
	if a := w.endpoint("h1", "x").Address; !netip.MustParsePrefix("10.9.0.0/24").Contains(a) {
		t.Errorf("the other task has %v", a)
	}
}

func TestUsersCannotClaimFacts(t *testing.T) {
	w := threeHosts(t)
	w.say(events.Event{Kind: events.FrameworkPut, Framework: &events.Framework{ID: "fw", Name: "chronos"}})
	w.task("prod_db.instance-0f3e5b7e-0000-11e9-8000-000000000000._app.1", "h1", "TASK_STAGING",
		"taskwall/app=/prod/db", "taskwall/role=root", "taskwall.uses=db-orders, ledger")
	got := w.state.View().Endpoints[0].Labels
	want := map[string]string{
		"taskwall.uses": "db-orders, ledger", "uses/db-orders": "", "uses/ledger": "",
		"taskwall/app":       "chronos:prod_db.instance-0f3e5b7e-0000-11e9-8000-000000000000._app.1",
		"taskwall/framework": "chronos", "taskwall/host": "h1", "taskwall/host/rack": "r1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	w.say(events.Event{Kind: events.MarathonPut, Marathon: &events.Marathon{Framework: "fw"}})
	got = w.state.View().Endpoints[0].Labels
	if got["taskwall/app"] != "/prod/db" || got["taskwall/group"] != "/prod" {
		t.Errorf("once Marathon owns the framework the app is %q in group %q", got["taskwall/app"], got["taskwall/group"])
	}
}

func TestPodSharesOneAddress(t *testing.T) {
	w := threeHosts(t)
	for i, name := range []string{"main", "sidecar"} {
		tk := task("shop_pod.instance-1."+name+".1", "h1", "TASK_STAGING", "app=db", fmt.Sprint("part=", i))
		tk.Executor = "instance-shop_pod.1"
		tk.ExecutorLabels = map[string]string{"tier": "back"}
		w.say(events.Event{Kind: events.TaskPut, Task: tk})
	}
	v := w.state.View()
	if len(v.Endpoints) != 1 {
		t.Fatalf("the pod has %d endpoints", len(v.Endpoints))
	}
	l := v.Endpoints[0].Labels
	if l["app"] != "db" || l["tier"] != "back" {
		t.Errorf("labels %v", l)
	}
	if _, ok := l["part"]; ok {
		t.Error("a label on which the tasks differ was kept")
	}
	end := task("shop_pod.instance-1.main.1", "h1", "TASK_FINISHED")
	end.Executor = "instance-shop_pod.1"
	w.say(events.Event{Kind: events.TaskPut, Task: end})
	if n := len(w.state.View().Endpoints); n != 1 {
		t.Errorf("the pod ended with its first task")
	}
}

// Mesos wants an executor's id to be unique on an agent only: the same one on
// two hosts are two endpoints, with the labels of the tasks there, and each keeps
// its name and address for as long as it lives.
func TestExecutorsOfOneIdOnTwoHosts(t *testing.T) {
	w := threeHosts(t)
	say := func(id, host, state string) {
		tk := task(id, host, state, "app=db", "at="+host)
		tk.Executor, tk.ExecutorLabels = "default", map[string]string{"of": host}
		w.say(events.Event{Kind: events.TaskPut, Task: tk})
	}
	check := func(want map[string]string) {
		t.Helper()
		got := map[string]string{}
		addrs := map[netip.Addr]bool{}
		for _, e := range w.state.View().Endpoints {
			got[e.ID] = e.Host
			if !e.Address.IsValid() || addrs[e.Address] || e.Labels["at"] != e.Host || e.Labels["of"] != e.Host || w.hosts[e.Host].Endpoints[e.ID].Address != e.Address {
				t.Errorf("%s on %s: address %v, labels %v", e.ID, e.Host, e.Address, e.Labels)
			}
			addrs[e.Address] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("endpoints %v, want %v", got, want)
		}
	}
	say("b", "h2", "TASK_RUNNING")
	check(map[string]string{"fw/default": "h2"})
	say("a", "h1", "TASK_STAGING") // comes first in order, and second in time
	say("c", "h3", "TASK_STAGING")
	all := map[string]string{"fw/default": "h2", "fw/default/@h1": "h1", "fw/default/@h3": "h3"}
	check(all)
	say("b", "h2", "TASK_UNREACHABLE")
	check(all)
	say("b", "h2", "TASK_FAILED")
	check(map[string]string{"fw/default/@h1": "h1", "fw/default/@h3": "h3"})
	say("d", "h2", "TASK_RUNNING")
	check(all)
	w.say(events.Event{Kind: events.HostGone, Gone: &events.Gone{Key: "agent-h1"}})
	check(map[string]string{"fw/default": "h2", "fw/default/@h3": "h3"})
}

func TestPolicyChangeGoesToItsSpanOnly(t *testing.T) {
	w := threeHosts(t)
	w.task("web.1", "h1", "TASK_RUNNING", "app=web")
	w.task("db.1", "h2", "TASK_RUNNING", "app=db")
	made := w.apply(strings.Replace(webToDB, "5432", "5433", 1))
	if len(made) != 1 || made["h1"] == nil || len(made["h1"].Programs) != 1 {
		t.Fatalf("a change of the client's policy went to %v", made)
	}
	if it := made["h1"]; len(it.Endpoints)+len(it.Sets)+len(it.Members) != 0 || it.Delete != nil {
		t.Errorf("it said more than the new program: %+v", it)
	}
}

func TestInvalidPolicyChangeIsRefusedAsAWhole(t *testing.T) {
	w := threeHosts(t)
	before, _ := json.Marshal(w.state.Resources())
	bad := strings.Replace(webToDB, "app == 'db'", "app = 'db'", 1)
	w.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{
		Put: []events.Resource{parse(t, pool("other", "10.10.0.0/24", 28, "")), parse(t, bad)}}})
	after, _ := json.Marshal(w.state.Resources())
	if string(before) != string(after) {
		t.Error("a part of the change was applied")
	}
	if r := w.state.View().Refusal; r == nil || r.Seq != w.seq {
		t.Errorf("the refusal is not on record: %+v", r)
	}
}

func TestJoinGetsTheWholePicture(t *testing.T) {
	w := threeHosts(t)
	w.task("web.1", "h1", "TASK_RUNNING", "app=web")
	w.task("db.1", "h2", "TASK_RUNNING", "app=db")
	w.task("old", "h1", "TASK_RUNNING", "app=web")
	w.task("old", "h1", "TASK_KILLED", "app=web")
	before := w.hosts["h1"].Item("h1")
	made := w.say(events.Event{Kind: events.AgentJoin, Join: &events.Join{Host: "h1", Address: hostAddress("h1")}})
	it := made["h1"]
	if !it.Snapshot {
		t.Fatal("the answer to a join is no snapshot")
	}
	if d := it.Delete; d == nil || !cmp.Equal(d.Endpoints, []string{"fw/old"}) {
		t.Errorf("it does not ask after the ended endpoint: %+v", d)
	}
	after := w.hosts["h1"].Item("h1")
	after.Rev = before.Rev
	if d := cmp.Diff(mustJSON(t, before), mustJSON(t, after)); d != "" {
		t.Errorf("the snapshot differs from what the items added up to:\n%s", d)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Who answers for a policy is who last changed what it says; who moves it in
// its file is named beside.
func TestCommitsNameWhoChangedAPolicy(t *testing.T) {
	w := newWorld(t)
	say := func(author, commit, text string, line int) {
		r := parse(t, text)
		r.File, r.Line = "shop.yaml", line
		w.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: author, Commit: commit, Put: []events.Resource{r}}})
	}
	expect := func(want events.Origin) {
		t.Helper()
		want.Time = w.now
		restored := NewState()
		data, err := json.Marshal(w.state)
		if err == nil {
			err = restored.UnmarshalJSON(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*State{w.state, restored} {
			if diff := cmp.Diff(map[string]events.Origin{"GlobalNetworkPolicy web": want}, s.Commits()); diff != "" {
				t.Error(diff)
			}
		}
	}
	say("ann", "c1", webToDB, 10)
	expect(events.Origin{Author: "ann", Commit: "c1", Seq: 1})
	say("bob", "c2", webToDB, 12)
	expect(events.Origin{Author: "ann", Commit: "c1", Seq: 1, Placed: "c2"})
	say("bob", "c3", strings.Replace(webToDB, "5432", "5433", 1), 12)
	expect(events.Origin{Author: "bob", Commit: "c3", Seq: 3})
	say("eve", "c4", strings.Replace(webToDB, "Allow", "Alow", 1), 12) // refused: nothing changes
	expect(events.Origin{Author: "bob", Commit: "c3", Seq: 3})
	w.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "eve", Delete: []events.ResourceKey{{Kind: "GlobalNetworkPolicy", Name: "web"}}}})
	if left := w.state.Commits(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
