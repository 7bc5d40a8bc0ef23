package scheduler

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

var writeGolden = flag.Bool("golden", false, "write testdata/ anew: a log, and the snapshots of the state that it makes")

// The files were written once. Logs, signed states and snapshots of years ago
// must go on to be read and to be made alike, so only who raises a version of
// the form may write them anew.
var (
	goldenLog    = filepath.Join("testdata", "log.jsonl")
	goldenBinary = filepath.Join("testdata", "state-"+binaryVersion+".bin")
	goldenJSON   = filepath.Join("testdata", "state.json")
)

// goldenWorld has something of everything.
func goldenWorld(t *testing.T) *world {
	w := someWorld(t)
	for _, text := range bgpPut {
		w.apply(text)
	}
	w.apply(pool("web", "10.9.0.0/28", 30, "app == 'web'"))
	w.now = w.now.Add(time.Hour)
	pod := task("pod.1", "h2", "TASK_RUNNING", "app=web", "taskwall.uses=db, legacy")
	pod.Executor, pod.ExecutorLabels, pod.Role, pod.Container = "pod", map[string]string{"tier": "front"}, "shop", "c1"
	pod.Ports = []events.Port{{Name: "http", Number: 8080, Protocol: "tcp"}, {Name: "dns", Number: 53, Protocol: "udp,tcp"}}
	pod.Networks = []events.Network{{Name: "taskwall", Labels: map[string]string{"x": "y"}, Addresses: []string{"10.9.0.1"}}}
	pod.Healthy, pod.Since = new(true), w.now.Add(123456789)
	w.say(events.Event{Kind: events.TaskPut, Task: pod})
	elsewhere := task("pod.2", "h3", "TASK_RUNNING")
	elsewhere.Executor, elsewhere.Healthy, elsewhere.Message, elsewhere.Reason = "pod", new(false), "<ü>", "REASON_X"
	w.say(events.Event{Kind: events.TaskPut, Task: elsewhere})
	w.say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{Host: "h2", Endpoint: "fw/pod", State: events.Attached, Report: 7}})
	w.say(events.Event{Kind: events.EndpointState, Wiring: &events.Wiring{Host: "h3", Endpoint: "fw/pod/@h3", State: events.Failed, Error: "no netns", Report: 8}})
	w.task("web.1", "h1", "TASK_KILLED") // its end is not heard yet
	w.say(events.Event{Kind: events.BGPSession, Session: &events.Session{Host: "h3", Peer: "tor", Address: netip.MustParseAddr("192.0.2.1"),
		State: "established", Received: 3, Accepted: 2, Sent: 1, Flaps: 4}})
	w.say(events.Event{Kind: events.BGPRefused, Refused: &events.RouteRefusal{Host: "h3", Peer: "tor", Prefix: netip.MustParsePrefix("8.8.8.0/24"),
		Reason: "no network that may be learned", Count: 2, Report: 9}})
	w.say(events.Event{Kind: events.HostDrain, Drain: &events.Drain{Host: "h2", On: true, By: "ann", Reason: "a new kernel"}})
	w.say(events.Event{Kind: events.MarathonPut, Marathon: &events.Marathon{Framework: "fw", Name: "marathon", Version: "1.11.24"}})
	w.say(events.Event{Kind: events.AppPut, App: &events.App{ID: "/web", Version: "2026-03-01T12:00:00Z", Instances: 2, Labels: map[string]string{"app": "web"}}})
	w.say(events.Event{Kind: events.PolicyApply, Policy: &events.PolicyChange{Author: "bo", Put: []events.Resource{
		{ResourceKey: events.ResourceKey{Kind: "GlobalNetworkPolicy", Name: "broken"}, Body: []byte(`{"kind":"GlobalNetworkPolicy"}`)}}}})
	return w
}

// TestGolden folds a log of long ago, and reads its snapshots.
func TestGolden(t *testing.T) {
	if *writeGolden {
		writeAnew(t)
	}
	want, err := os.ReadFile(goldenBinary)
	if err != nil {
		t.Fatalf("%v: a new form of snapshots needs new golden files (-golden)", err)
	}
	text, err := os.ReadFile(goldenJSON)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]*State{"the log": NewState(), "the binary snapshot": NewState(), "the JSON snapshot": NewState()}
	log, err := os.Open(goldenLog)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(log)
	for seq := uint64(1); lines.Scan(); seq++ {
		var ev events.Event
		if err := events.Decode(lines.Bytes(), &ev); err != nil {
			t.Fatalf("record %d: %v", seq, err)
		}
		states["the log"].Apply(events.Entry{Seq: seq, Event: ev})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if err := states["the binary snapshot"].UnmarshalBinary(want); err != nil {
		t.Fatal(err)
	}
	if err := states["the JSON snapshot"].UnmarshalBinary(text); err != nil {
		t.Fatal(err)
	}
	for of, s := range states {
		if got, err := s.MarshalBinary(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s makes another state than it did (%v): what was signed of it would be taken for altered", of, err)
		}
		if len(s.Endpoints()) != 3 || s.Seq() < 20 {
			t.Errorf("%s has %d endpoints and %d records: it is no test of much", of, len(s.Endpoints()), s.Seq())
		}
	}
}

func writeAnew(t *testing.T) {
	w := goldenWorld(t)
	var log bytes.Buffer
	for _, e := range w.log {
		line, err := json.Marshal(e.Event)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(append(line, '\n'))
	}
	data, err := w.state.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	text, err := w.state.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o750); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{goldenLog: log.Bytes(), goldenBinary: data, goldenJSON: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
