package firewall

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/work"
)

// Whoever speaks for the controller can say what a host's tasks may do, and
// nothing else: no name of a set or a posture becomes a line of its own among
// the rules, nor a program that iptables would run.
func TestHostileNames(t *testing.T) {
	for _, b := range backends {
		t.Run(string(b), func(t *testing.T) {
			f := open(t, b)
			ctx := context.Background()
			ran := filepath.Join(t.TempDir(), "ran")
			trap := filepath.Join(t.TempDir(), "trap")
			if err := os.WriteFile(trap, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			any := []work.Tier{{Name: "t", Rules: []work.Rule{{Action: work.Allow, Policy: "p"}}}}
			p := sample()
			settled(t, f, p)
			before := run(t, "iptables-"+string(b)+"-save")
			var names []string
			for _, id := range []string{
				"x\n-A FORWARD -j ACCEPT\n-A tw-i-db", "x -j ACCEPT", "x\nCOMMIT\n*nat\n-A PREROUTING -j ACCEPT\nCOMMIT\n*filter",
				"x -M " + trap + " -m nosuch -j ACCEPT", "", "../../etc", "a-b", "UPPER", "\x00", "averyverylongnamethatfitsinnochain", "é",
			} {
				names = append(names, id)
				put := []work.Program{
					{ID: id, Ingress: any}, // a posture's name
					{ID: "uses", Ingress: []work.Tier{{Name: "t", Rules: []work.Rule{{Action: work.Allow, Policy: "p", Source: work.Match{Sets: []string{id}}}}}}},
				}
				if failed := f.PutSets([]work.Set{{ID: id, Type: work.Nets, Members: []string{"10.0.0.1"}}}); len(failed) != 1 {
					t.Errorf("set %q: %v", id, failed)
				}
				failed, err := f.Programs(ctx, put, nil)
				if err != nil || len(failed) != 2 || !f.Closed(id) || !f.Closed("uses") {
					t.Errorf("%q: %v, %v", id, failed, err)
				}
				if _, err := f.Programs(ctx, nil, []string{"uses", id}); err != nil {
					t.Errorf("%q: %v", id, err)
				}
			}
			for _, id := range names { // and in a whole picture
				p.Programs[id] = work.Program{ID: id, Ingress: any}
				p.Sets[id] = &work.SetState{Type: work.Nets, Members: map[string]struct{}{"10.0.0.1": {}}}
			}
			if _, failed, err := f.Sync(ctx, p); err != nil || len(failed) != 2*len(names) {
				t.Errorf("%d failures, %v", len(failed), err)
			}
			if after := run(t, "iptables-"+string(b)+"-save"); rulesOf(after) != rulesOf(before) {
				t.Errorf("the rules became\n%s\ninstead of\n%s", rulesOf(after), rulesOf(before))
			}
			if _, err := os.Stat(ran); err == nil {
				t.Error("a program of the controller's choice ran")
			}
		})
	}
}

// rulesOf leaves the lines of a save that are rules.
func rulesOf(save string) string {
	var out strings.Builder
	for line := range strings.Lines(save) {
		if strings.HasPrefix(line, "-A ") {
			out.WriteString(line)
		}
	}
	return out.String()
}
