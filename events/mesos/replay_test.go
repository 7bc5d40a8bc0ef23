package mesos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mesos/mesos-go/api/v1/lib/master"

	"github.com/taskwall/taskwall/events"
)

func callNamed(name string) master.Call_Type { return master.Call_Type(master.Call_Type_value[name]) }

// tape is one recorded stream, in the encodings in which it was recorded.
type tape struct {
	json, pb string
	// end holds once all of it is folded.
	end func(*events.Cluster) bool
}

const (
	fw2   = "0577f926-9936-4274-9ab1-80644fb7e12d-0002"
	s0    = "0577f926-9936-4274-9ab1-80644fb7e12d-S0"
	newS0 = "622525b8-5cb6-43a1-85c6-b0b57a71498d-S0"
	newS1 = "622525b8-5cb6-43a1-85c6-b0b57a71498d-S1"
)

// The recordings of a real master's life, in order (testdata: recorded from
// Apache Mesos 1.12): the agent is killed and returns, the master is killed
// and restarted, the agent unregisters and returns, both are killed, the agent
// comes back with a new id, is marked gone, comes back with another; the
// framework is torn down.
var tapes = []tape{
	{"1-subscribe/json.body", "1-subscribe/pb.body", func(c *events.Cluster) bool {
		return c.Tasks[fw2+"/stay.1"].State == "TASK_RUNNING" && c.Tasks[fw2+"/stay.2"].State == "TASK_RUNNING" &&
			c.Tasks[fw2+"/delslow.1"].State == "TASK_FINISHED"
	}},
	{"6-reconnect/json2.body", "6-reconnect/pb2.body", taskIs(fw2+"/stay.3", "TASK_RUNNING")},
	{"6-reconnect/json3.body", "", func(c *events.Cluster) bool { return c.Frameworks[fw2].Connected && c.Hosts[s0].Reachable }},
	{"6-reconnect/json4.body", "", taskIs(fw2+"/stay.3", "TASK_RUNNING")},
	{"6-reconnect/json7.body", "", func(c *events.Cluster) bool { return len(c.Frameworks) == 0 && c.Hosts[newS1].Reachable }},
}

// replayed folds a tape into what is known.
func replayed(t *testing.T, enc Encoding, name string, end func(*events.Cluster) bool, known *events.Cluster, write func(context.Context, io.Writer, []byte)) *log {
	t.Helper()
	ext := map[Encoding]string{JSON: "json", Protobuf: "pb"}[enc]
	r := &replay{enc: enc, stream: recording(t, name), write: write, answers: map[string][]byte{
		"GET_EXECUTORS": recording(t, "2-get/groups-GET_EXECUTORS."+ext+".body"),
	}}
	n, l := newNetwork(), newLog()
	l.Patience = 24 * time.Hour
	if known != nil {
		l.Cluster = known.Clone()
	}
	n.serve(t, "m1:5050", r)
	start(t, Config{
		Masters: []string{"m1:5050"}, Encoding: enc, Dial: n.dial,
		Linger: 1000 * time.Hour, Resync: 1000 * time.Hour, PollAgents: 1000 * time.Hour,
	}, l, known)
	l.Until(t, "the end of "+name+" is folded", end)
	synctest.Wait()
	return l
}

// summary is the picture in short: who is where in which state.
func summary(c *events.Cluster) map[string]string {
	s := map[string]string{}
	for k, task := range c.Tasks {
		s["task "+k] = task.State
		for _, n := range task.Networks {
			s["task "+k] += " " + n.Name + "=" + strings.Join(n.Addresses, ",")
		}
	}
	for k, h := range c.Hosts {
		s["host "+k] = map[bool]string{true: "reachable", false: "unreachable"}[h.Reachable]
	}
	for k, f := range c.Frameworks {
		s["framework "+k] = map[bool]string{true: "connected", false: "away"}[f.Connected]
	}
	return s
}

func TestAMastersLifeIsFolded(t *testing.T) {
	want := []map[string]string{
		nil, // checked in full by the encodings' and tasks' tests
		{
			"host " + s0:                    "reachable",
			"framework " + fw2:              "connected",
			"task " + fw2 + "/stay.3":       "TASK_RUNNING recnet=10.213.0.19",
			"task " + fw2 + "/two.1":        "TASK_FINISHED recnet=10.213.0.15 recnet2=10.213.0.14",
			"task " + fw2 + "/ip6.1":        "TASK_FINISHED recnet=10.213.0.17,fd00::17",
			"task " + fw2 + "/ips.1":        "TASK_FAILED recnet2=",
			"task " + fw2 + "/empty.1":      "TASK_FAILED recnet=",
			"task " + fw2 + "/unknownnet.1": "TASK_FAILED nosuchnet=",
		},
		{ // what had ended was not in the new master's snapshot
			"host " + s0:              "reachable",
			"framework " + fw2:        "connected",
			"task " + fw2 + "/stay.3": "TASK_RUNNING recnet=10.213.0.19",
		},
		{
			"host " + s0:              "reachable",
			"framework " + fw2:        "connected",
			"task " + fw2 + "/stay.3": "TASK_RUNNING recnet=10.213.0.19",
		},
		{
			"host " + newS1:           "reachable",
			"task " + fw2 + "/stay.4": "TASK_GONE_BY_OPERATOR recnet=10.213.0.20",
			"task " + fw2 + "/stay.5": "TASK_KILLED recnet=10.213.0.21",
		},
	}
	synctest.Test(t, func(t *testing.T) {
		var known *events.Cluster
		for i, tp := range tapes {
			l := replayed(t, JSON, tp.json, tp.end, known, nil)
			known = l.Folded()
			if want[i] == nil {
				continue
			}
			if d := cmp.Diff(want[i], summary(known)); d != "" {
				t.Errorf("after %s: (-want +got)\n%s", tp.json, d)
			}
		}
	})
}

// TestARealMasterShowsAllThatIsAllocated: what hidden takes for granted, in the
// whole states that were recorded.
func TestARealMasterShowsAllThatIsAllocated(t *testing.T) {
	for _, tp := range tapes {
		for name, enc := range map[string]Encoding{tp.json: JSON, tp.pb: Protobuf} {
			if name == "" {
				continue
			}
			b, err := NewRecordReader(bytes.NewReader(recording(t, name)), 1<<30).Next()
			if err != nil {
				t.Fatal(err)
			}
			w, err := enc.event(b)
			if err != nil || w.Subscribed == nil {
				t.Fatalf("%s begins with %q, %v", name, w.Type, err)
			}
			if h := hidden(w.Subscribed.State); len(h) != 0 {
				t.Errorf("%s: something is hidden on %v", name, h)
			}
			busy := false
			for i := range w.Subscribed.State.Agents.Agents {
				busy = busy || len(w.Subscribed.State.Agents.Agents[i].Allocated) > 0
			}
			if w.Subscribed.State.Tasks.Tasks = nil; busy && len(hidden(w.Subscribed.State)) != 1 {
				t.Errorf("%s: tasks that were left out are not missed", name)
			}
		}
	}
}

// TestRunningTasksAreNeverMissing: through all the restarts, a task that lived
// on had no moment without its entry in the log.
func TestRunningTasksAreNeverMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := replayed(t, JSON, tapes[1].json, tapes[1].end, nil, nil).Folded()
		for _, tp := range tapes[2:4] { // the master restarts without the agent, then a new stream
			l := replayed(t, JSON, tp.json, tp.end, known, nil)
			for _, e := range l.Events() {
				if e.Kind == events.TaskGone && e.Gone.Key == fw2+"/stay.3" || e.Kind == events.HostGone {
					t.Errorf("%s: %s %s", tp.json, e.Kind, e.Gone.Key)
				}
			}
			known = l.Folded()
		}
	})
}

// TestBothEncodingsOfARecordingFoldAlike: the master said the same to two
// subscribers, one in each encoding.
func TestBothEncodingsOfARecordingFoldAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var known *events.Cluster
		for _, tp := range tapes[:2] {
			fromJSON := replayed(t, JSON, tp.json, tp.end, known, nil)
			fromPB := replayed(t, Protobuf, tp.pb, tp.end, known, nil)
			if d := cmp.Diff(fromJSON.Folded(), fromPB.Folded()); d != "" {
				t.Errorf("%s (-) and %s (+) differ:\n%s", tp.json, tp.pb, d)
			}
			ids := func(l *log) (ids []string) {
				for _, e := range l.Events() {
					ids = append(ids, e.ID)
				}
				slices.Sort(ids) // what waits for the master's answers comes later, sooner or later
				return ids
			}
			if d := cmp.Diff(ids(fromJSON), ids(fromPB)); d != "" {
				t.Errorf("the ids of their events differ:\n%s", d)
			}
			known = fromJSON.Folded()
		}
	})
}

func TestATaskOfTheRecordingInFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := replayed(t, Protobuf, tapes[0].pb, tapes[0].end, nil, nil).Folded()
		const fw1, fw0 = "0577f926-9936-4274-9ab1-80644fb7e12d-0001", "0577f926-9936-4274-9ab1-80644fb7e12d-0000"
		at := func(micro int64) time.Time { return time.UnixMicro(micro).UTC() }
		for _, want := range []events.Task{
			{
				Framework: fw0, ID: "web.1", Name: "web", Executor: "web.1", Agent: s0, State: "TASK_KILLED", Role: "*",
				Labels:        map[string]string{"app": "web", "tier": "front", "novalue": ""},
				Containerizer: "mesos", Container: "fa68dfae-aaae-4c1f-9bf1-42810eba94ac",
				Networks: []events.Network{{Name: "recnet", Labels: map[string]string{"net-app": "web", "net-tier": "front"}, Addresses: []string{"10.213.0.3"}}},
				Ports:    []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}},
				Message:  "Command terminated with signal Terminated", Since: at(1795395639831427),
			},
			{ // of a group whose executor has the network
				Framework: fw1, ID: "g1", Name: "g1", Executor: "grp-exec", Agent: s0, State: "TASK_KILLED", Role: "*",
				Labels: map[string]string{"app": "g1"}, ExecutorLabels: map[string]string{"exec": "lbl"},
				Containerizer: "mesos", Container: "41b48f5d-9ab9-4aeb-a33b-b3f77f1e4580.61fa5cec-3473-4040-aa6a-b749f38c14df",
				Networks: []events.Network{{Name: "recnet", Labels: map[string]string{"net-app": "group"}, Addresses: []string{"10.213.0.5"}}},
				Message:  "Command terminated with signal Terminated", Since: at(1795395775345807),
			},
			{ // of a group, with a network of its own
				Framework: fw1, ID: "h1", Name: "h1", Executor: "grp2-exec", Agent: s0, State: "TASK_KILLED", Role: "*",
				Labels:        map[string]string{"app": "h1"},
				Containerizer: "mesos", Container: "2211a7d4-a885-45e4-a8d1-709d619faa5e.095d470d-b4ad-4830-84cc-123869eeae87",
				Nested:           true,
				Networks:         []events.Network{{Name: "recnet", Labels: map[string]string{"net-app": "h1-own"}, Addresses: []string{"10.213.0.7"}}},
				ExecutorNetworks: []events.Network{{Name: "recnet", Labels: map[string]string{"net-app": "group2"}}},
				Reason:           "REASON_FRAMEWORK_REMOVED", Message: "Framework " + fw1 + " removed", Since: at(1795395783240498),
			},
		} {
			got := c.Tasks[want.Key()]
			if want.ID != "g1" { // their exact times are of no matter
				want.Since = got.Since
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: (-want +got)\n%s", want.ID, d)
			}
		}
		host := c.Hosts[s0]
		want := events.Host{
			Agent: s0, Name: "127.0.0.1", Address: "127.0.0.1", Port: 5051, Reachable: true,
			Attributes: map[string]string{"rack": "r1", "zone": "z1"}, Since: time.Unix(0, 1795395603028024832).UTC(),
		}
		if d := cmp.Diff(want, host); d != "" {
			t.Errorf("host: (-want +got)\n%s", d)
		}
	})
}

// TestARecordingIsReadHoweverItArrives: byte by byte, and as slowly as it was
// said.
func TestARecordingIsReadHoweverItArrives(t *testing.T) {
	for enc, name := range map[Encoding]string{JSON: tapes[0].json, Protobuf: tapes[0].pb} {
		synctest.Test(t, func(t *testing.T) {
			want := replayed(t, enc, name, tapes[0].end, nil, nil).Folded()
			bytewise := replayed(t, enc, name, tapes[0].end, nil, func(ctx context.Context, w io.Writer, b []byte) {
				for i := range 1024 {
					_, _ = w.Write(b[i : i+1])
					w.(http.Flusher).Flush()
				}
				_, _ = w.Write(b[1024:])
			})
			if d := cmp.Diff(want, bytewise.Folded()); d != "" {
				t.Errorf("%s byte by byte:\n%s", enc, d)
			}
			slowly := replayed(t, enc, name, tapes[0].end, nil, func(ctx context.Context, w io.Writer, b []byte) {
				for pause := time.NewTicker(14 * time.Second); len(b) > 0; {
					n := min(len(b), 397)
					_, _ = w.Write(b[:n])
					w.(http.Flusher).Flush()
					b = b[n:]
					select {
					case <-pause.C:
					case <-ctx.Done():
						return
					}
				}
			})
			if d := cmp.Diff(want, slowly.Folded()); d != "" {
				t.Errorf("%s slowly:\n%s", enc, d)
			}
		})
	}
}

// TestARecordingIsReadWhereverItIsCut in two.
func TestARecordingIsReadWhereverItIsCut(t *testing.T) {
	for _, name := range []string{tapes[0].json, tapes[0].pb} {
		stream := recording(t, name)
		want, err := records(bytes.NewReader(stream), 1<<20)
		if !errors.Is(err, io.EOF) || len(want) < 90 {
			t.Fatalf("%d records, then %v", len(want), err)
		}
		for cut := range len(stream) {
			if cut > 2000 && cut%29 != 0 {
				continue // every byte near the start, then every place in a number of all lengths
			}
			rr := NewRecordReader(io.MultiReader(bytes.NewReader(stream[:cut]), bytes.NewReader(stream[cut:])), 1<<20)
			for i := range want {
				if b, err := rr.Next(); err != nil || string(b) != want[i] {
					t.Fatalf("%s cut at %d: record %d: %v", name, cut, i, err)
				}
			}
		}
	}
}

// TestTheRecordedAnswersAreRead: GET_AGENTS and GET_EXECUTORS alike in both
// encodings, and by mesos-go.
func TestTheRecordedAnswersAreRead(t *testing.T) {
	for _, name := range []string{"2-get/groups-GET_EXECUTORS", "6-reconnect/agent-unreachable-GET_AGENTS"} {
		fromJSON, err := JSON.response(recording(t, name+".json.body"))
		if err != nil {
			t.Fatal(err)
		}
		fromPB, err := Protobuf.response(recording(t, name+".pb.body"))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(fromJSON, fromPB, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: JSON (-), protobuf (+)\n%s", name, d)
		}
	}
}
