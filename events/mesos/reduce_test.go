package mesos

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/mirror"
)

func TestPortsAreThoseInsideTheTasksNamespace(t *testing.T) {
	scope := func(s string) wireLabels {
		return wireLabels{Labels: []mirror.Label{{Key: "network-scope", Value: s}}}
	}
	mapped := []wirePortMapping{{31000, 80, "tcp"}, {31001, 53, "udp"}, {31002, 53, ""}, {31003, 443, "TCP"}}
	for name, tt := range map[string]struct {
		in   wirePort
		want []events.Port
	}{
		"no mapping":                  {wirePort{Number: 8080, Name: "http", Protocol: "tcp"}, []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}}},
		"mapped host port":            {wirePort{Number: 31000, Name: "http", Protocol: "tcp"}, []events.Port{{Name: "http", Number: 80, Protocol: "tcp"}}},
		"host scope":                  {wirePort{Number: 31000, Protocol: "tcp", Labels: scope("host")}, []events.Port{{Number: 80, Protocol: "tcp"}}},
		"container scope":             {wirePort{Number: 31000, Protocol: "tcp", Labels: scope("container")}, []events.Port{{Number: 31000, Protocol: "tcp"}}},
		"mapped for another protocol": {wirePort{Number: 31001, Protocol: "tcp"}, []events.Port{{Number: 31001, Protocol: "tcp"}}},
		"mapped for any protocol":     {wirePort{Number: 31002, Protocol: "udp"}, []events.Port{{Number: 53, Protocol: "udp"}}},
		"protocols in capitals":       {wirePort{Number: 31003, Protocol: "Tcp"}, []events.Port{{Number: 443, Protocol: "tcp"}}},
		"both protocols": {wirePort{Number: 31001, Name: "dns", Protocol: "udp,tcp"},
			[]events.Port{{Name: "dns", Number: 31001, Protocol: "tcp"}, {Name: "dns", Number: 53, Protocol: "udp"}}},
		"no protocol":      {wirePort{Number: 80}, []events.Port{{Number: 80, Protocol: "tcp"}}},
		"another protocol": {wirePort{Number: 80, Protocol: "sctp"}, nil},
		"no port number":   {wirePort{Number: 70000, Protocol: "tcp"}, nil},
	} {
		var l limits
		if d := cmp.Diff(tt.want, l.ports([]wirePort{tt.in}, mapped)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
}

func TestAddressesOfNetworks(t *testing.T) {
	two := []events.Network{{Name: "a", Addresses: []string{"10.0.0.9"}}, {Name: "b"}}
	for name, tt := range map[string]struct {
		have          []events.Network
		said          []wireNetwork
		containerizer string
		want          []events.Network
	}{
		"by name, in any order": {two,
			[]wireNetwork{{Name: "b", Addresses: []wireAddress{{"10.0.2.1"}}}, {Name: "a", Addresses: []wireAddress{{"10.0.1.1"}}}}, "mesos",
			[]events.Network{{Name: "a", Addresses: []string{"10.0.1.1"}}, {Name: "b", Addresses: []string{"10.0.2.1"}}}},
		"IPv6 comes with a prefix length": {[]events.Network{{Name: "a"}},
			[]wireNetwork{{Name: "a", Addresses: []wireAddress{{"10.0.1.1"}, {"fd00::0:1/64"}}}}, "mesos",
			[]events.Network{{Name: "a", Addresses: []string{"10.0.1.1", "fd00::1"}}}},
		"what is no address is left out": {[]events.Network{{Name: "a"}},
			[]wireNetwork{{Name: "a", Addresses: []wireAddress{{""}, {"localhost"}, {"10.0.0.256"}, {"fe80::1%eth0"}}}}, "mesos",
			[]events.Network{{Name: "a"}}},
		"the host's network has no name": {nil, []wireNetwork{{Addresses: []wireAddress{{"10.0.0.1"}}}}, "mesos", nil},
		"the agent's address is not the task's": {[]events.Network{{Name: "a"}},
			[]wireNetwork{{Addresses: []wireAddress{{"10.0.0.1"}}}}, "mesos", []events.Network{{Name: "a"}}},
		"Docker does not repeat the name": {[]events.Network{{Name: "a"}},
			[]wireNetwork{{Addresses: []wireAddress{{"10.0.1.1"}}}}, "docker", []events.Network{{Name: "a", Addresses: []string{"10.0.1.1"}}}},
		"nothing said": {two, nil, "mesos", two},
		"nothing said of one": {two,
			[]wireNetwork{{Name: "b", Addresses: []wireAddress{{"10.0.2.1"}}}}, "mesos",
			[]events.Network{{Name: "a", Addresses: []string{"10.0.0.9"}}, {Name: "b", Addresses: []string{"10.0.2.1"}}}},
		"named without an address": {two, []wireNetwork{{Name: "a"}}, "mesos", two},
	} {
		var l limits
		got := l.addresses(tt.have, tt.said, tt.containerizer)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
	}
	if two[0].Addresses[0] != "10.0.0.9" || two[1].Addresses != nil {
		t.Errorf("the former networks were changed: %v", two)
	}
}

func TestHosts(t *testing.T) {
	var l limits
	got := l.host(&wireAgent{
		Info: wireAgentInfo{ID: value{"a1"}, Hostname: "node1.example.com", Port: 5051, Attributes: []wireAttribute{
			{Name: "rack", Text: &value{"r1"}},
			{Name: "cores", Scalar: &wireScalar{8}},
			{Name: "ratio", Scalar: &wireScalar{0.25}},
			{Name: "ports", Ranges: &wireRanges{[]wireRange{{1, 5}, {9, 9}}}},
			{Name: "disks", Set: &wireSet{[]string{"ssd", "hdd"}}},
			{Name: "strange"},
		}},
		Active: true, PID: "slave(1)@10.0.0.7:5052", Registered: wireTime{1e18}, Reregistered: wireTime{2e18},
	})
	want := events.Host{
		Agent: "a1", Name: "node1.example.com", Address: "10.0.0.7", Port: 5052, Reachable: true,
		Attributes: map[string]string{"rack": "r1", "cores": "8", "ratio": "0.25", "ports": "[1-5,9-9]", "disks": "{ssd,hdd}", "strange": ""},
		Since:      time.Unix(2e9, 0).UTC(),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for pid, addr := range map[string]string{
		"slave(1)@[fd00::7]:5051": "fd00::7", "slave(1)@::ffff:10.0.0.1:5051": "", "slave(1)@[::ffff:10.0.0.1]:5051": "10.0.0.1",
		"slave(1)": "", "": "", "slave(1)@host:5051": "", "@": "", "slave(1)@10.0.0.1:99999": "",
	} {
		if got := l.host(&wireAgent{PID: pid}).Address; got != addr {
			t.Errorf("the address in %q is %q, want %q", pid, got, addr)
		}
	}
}

func TestTimestampsThatAreNone(t *testing.T) {
	for _, s := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300, 1e18} {
		if got := seconds(s); !got.IsZero() {
			t.Errorf("%v is %v", s, got)
		}
	}
	if got := seconds(1795396004.028013); got.UnixMicro() != 1795396004028013 {
		t.Errorf("got %v", got)
	}
}

func TestContainerIds(t *testing.T) {
	nested := &wireContainerID{Value: "child", Parent: &wireContainerID{Value: "parent"}}
	if got := containerID(nested); got != "parent.child" {
		t.Errorf("got %q", got)
	}
	loop := &wireContainerID{Value: "x"}
	loop.Parent = loop
	if got := containerID(loop); len(got) > 2*maxNesting {
		t.Errorf("%d bytes", len(got))
	}
	if got := containerID(nil); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestRoles(t *testing.T) {
	allocated := wireResource{Role: "old"}
	allocated.Allocation.Role = "web"
	for want, rs := range map[string][]wireResource{
		"web": {{Role: "static"}, allocated},
		"old": {{}, {Role: "old"}},
		"*":   {{}},
		"":    nil,
	} {
		if got := role(rs); got != want {
			t.Errorf("%v: %q, want %q", rs, got, want)
		}
	}
}

// Whose the networks of a pod's task are: those that it names itself are its
// own with Mesos's default executor alone.
func TestNetworksOfPods(t *testing.T) {
	network := func(name string) *wireContainer {
		return &wireContainer{Type: "MESOS", Networks: []wireNetwork{{Name: name}}}
	}
	for name, c := range map[string]struct {
		task, executor *wireContainer
		kind           string // of the executor
		nested         bool
		want, beside   string
	}{
		"the executor's":                          {nil, network("pods"), "DEFAULT", false, "pods", ""},
		"its own":                                 {network("own"), network("pods"), "DEFAULT", true, "own", "pods"},
		"its own, the executor has the host's":    {network("own"), nil, "DEFAULT", true, "own", ""},
		"a container, with no network named":      {&wireContainer{Type: "MESOS"}, network("pods"), "DEFAULT", false, "pods", ""},
		"of a framework's executor":               {network("own"), network("pods"), "CUSTOM", false, "own", ""},
		"of an executor of whose kind is no word": {network("own"), network("pods"), "", false, "own", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var x wireExecutor
			x.Info.Type, x.Info.Container = c.kind, c.executor
			var l limits
			got := l.task(&wireTask{ID: value{"t"}, Framework: value{"f"}, Agent: value{"a"}, Executor: &value{"x"}, State: "TASK_STAGING", Container: c.task}, l.executor(&x))
			names := func(ns []events.Network) (all string) {
				for _, n := range ns {
					all += n.Name
				}
				return all
			}
			if got.Nested != c.nested || names(got.Networks) != c.want || names(got.ExecutorNetworks) != c.beside {
				t.Errorf("nested %v, networks %v, the executor's %v", got.Nested, got.Networks, got.ExecutorNetworks)
			}
		})
	}
}

// An id with a separator would make another's key of two.
func TestIDsAreNoPaths(t *testing.T) {
	var l limits
	for id, ok := range map[string]bool{"web.instance-1._app.1": true, "a/b": false, `a\b`: false, "": false, "@h1": true} {
		if got := l.id(id); got != ok {
			t.Errorf("%q: %v", id, got)
		}
	}
}

// While a framework does not acknowledge, the status that the master passes on
// is behind the task's latest state: the latter is where the task is, the former
// what is known of its address (CLUSTER-API 3.3).
func TestAStatusBehindTheLatestState(t *testing.T) {
	story(t, Config{}, func(m *fakeMaster, _ *Source, l *log) {
		w := wTask("t2", "a1", "TASK_STAGING")
		w.Container = &wireContainer{Type: "MESOS", Networks: []wireNetwork{{Name: "taskwall"}}}
		m.say(added(w))
		behind := withStatus(wTask("t2", "a1", "TASK_RUNNING"), 2000, "10.1.0.2").Statuses[0]
		m.say(wireEvent{Type: "TASK_UPDATED", TaskUpdated: &wireTaskUpdated{Framework: value{"fw"}, Status: behind, State: "TASK_KILLED"}})
		l.Until(t, "the task has ended", taskIs("fw/t2", "TASK_KILLED"))
		if got := l.Folded().Tasks["fw/t2"].Networks[0].Addresses; len(got) != 1 || got[0] != "10.1.0.2" {
			t.Errorf("addresses %v", got)
		}
		// The same in a whole state.
		ahead := withStatus(wTask("t3", "a1", "TASK_RUNNING"), 3000, "")
		ahead.State = "TASK_FAILED"
		m.say(added(ahead))
		l.Until(t, "a task that is added as ended", taskIs("fw/t3", "TASK_FAILED"))
	})
}
