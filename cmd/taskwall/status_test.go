package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/marathon"
	"github.com/taskwall/taskwall/events/mesos"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// What is wrong on a host stands in the status, in words that a host cannot use
// to write elsewhere on the terminal.
func TestStatusShowsTroubleOfHosts(t *testing.T) {
	st := controller.Status{Agents: map[string]controller.AgentStatus{
		"node-1": {Applied: 7, Trouble: []string{"the picture is not on disk: no space left on device"}, Failed: []string{"program p: no"}},
		"node-2": {Applied: 7, Trouble: []string{"\x1b[2Jall is well\n"}},
		"gone":   {Applied: 7, Trouble: []string{"of a host that is no more"}},
	}}
	st.Hosts = []scheduler.HostView{{Name: "node-1"}, {Name: "node-2"}}
	var out strings.Builder
	if err := printStatus(&out, st, time.Now()); err != nil {
		t.Fatal(err)
	}
	got := out.String()
	for _, want := range []string{
		"\nProblems:\n  host node-1: the picture is not on disk: no space left on device\n",
		"  host node-1 could not apply a part of revision 7: program p: no\n",
		"  host node-2: \\u001b[2Jall is well\\u000a\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	if strings.ContainsRune(got, '\x1b') || strings.Contains(got, "no more") {
		t.Errorf("it says\n%q", got)
	}
}

// An agent that ended, hangs or is cut off is not "ready, lag 0".
func TestStatusShowsSilentAgents(t *testing.T) {
	now := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)
	st := controller.Status{Agents: map[string]controller.AgentStatus{
		"node-1": {Applied: 7, Took: time.Millisecond, Heard: now.Add(-9 * time.Second)},
		"node-2": {Applied: 7, Heard: now.Add(-3 * time.Minute), Silent: 3 * time.Minute},
		"node-3": {Silent: time.Hour},
	}}
	for _, name := range []string{"node-1", "node-2", "node-3", "node-4"} {
		st.Hosts = append(st.Hosts, scheduler.HostView{Name: name, State: "ready", Rev: 7})
	}
	var out strings.Builder
	if err := printStatus(&out, st, now); err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(` +`).ReplaceAllString(out.String(), " ")
	for _, want := range []string{
		"node-1 - ready 0 0 0 0 7 0 1ms -\n", "node-2 - ready, SILENT 3m 0 0 0 0 7 0 - -\n", "node-3 - ready, SILENT 1h 0 0 0 0 7 - - -\n",
		"node-4 - ready, not heard yet 0 0 0 0 7 - - -\n",
		"\nProblems:\n host node-2: nothing is heard of its taskwall agent, last 3m ago: what is in its kernel stays in force,",
		"\n host node-3: nothing is heard of its taskwall agent, not since this controller began to listen, 1h ago:",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
}

// What a source cannot see stands in the status, though it is connected.
func TestStatusShowsWhatSourcesDoNotSee(t *testing.T) {
	st := controller.Status{Sources: []controller.SourceStatus{
		{Name: "mesos", Connected: true, Peer: "m1:5050", Trouble: mesosTrouble(mesos.Status{Hidden: 3, Shared: []string{"node-1"}})},
		{Name: "marathon", Connected: true, Peer: "m1:8080", Trouble: marathonTrouble(marathon.Status{Hidden: 1, HiddenApps: []string{"/a\x1b[2J"}})},
	}}
	var out strings.Builder
	if err := printStatus(&out, st, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nProblems:\n  source mesos: on 3 Mesos agents more runs than the master shows:",
		"must be allowed to view all frameworks, tasks, executors and roles\n",
		"\n  source mesos: several Mesos agents have the hostname node-1:",
		"\n  source marathon: tasks run of 1 apps that Marathon does not show (/a\\u001b[2J): ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
	if none := append(mesosTrouble(mesos.Status{Connected: true}), marathonTrouble(marathon.Status{})...); len(none) > 0 {
		t.Errorf("trouble without cause: %q", none)
	}
}

// A controller that starts from a snapshot knows which policy change was refused,
// not why: the log tells.
func TestStatusShowsARefusedPolicyChange(t *testing.T) {
	for why, want := range map[string]string{
		"no such tier": "The policy change at log entry 35 was refused: no such tier\n",
		"":             "was refused: see 'taskwall audit timeline --policy NAME --from seq:35 --to seq:35'\n",
	} {
		var out strings.Builder
		st := controller.Status{View: scheduler.View{Refusal: &scheduler.Refusal{Seq: 35, Error: why}}}
		if err := printStatus(&out, st, time.Now()); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %q:\n%s", want, out.String())
		}
	}
}
