package main

import (
	"strings"
	"testing"
	"time"

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
		"  host node-2:  [2Jall is well \n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %q:\n%s", want, got)
		}
	}
	if strings.ContainsRune(got, '\x1b') || strings.Contains(got, "no more") {
		t.Errorf("it says\n%q", got)
	}
}
