package agent_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/nflog"
	"github.com/taskwall/taskwall/events/work"
)

// "Why was this dropped?": the report names the policy and its rule, and the
// tasks at both ends.
func TestDeniedPacketsAreReported(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			const guard = "GlobalNetworkPolicy a-guard-with-a-name-so-long-that-no-log-prefix-can-hold-all-of-it"
			l.must(work.Item{
				Sets: []work.Set{nets("web", "10.0.0.1")},
				Programs: []work.Program{
					posture("open", tier(allow(0, "")), tier(allow(0, ""))),
					posture("db", tier(
						work.Rule{Action: work.Log, Protocol: 6, Policy: guard, Index: 3},
						work.Rule{Action: work.Deny, Policy: guard, Index: 4, Source: work.Match{Sets: []string{"web"}}}), nil),
				},
			})
			web := l.run("web", "10.0.0.1", "open")
			l.run("db", "10.0.0.2", "db")
			web.blocked("tcp", "10.0.0.2:5432")
			want := work.Logged{Policy: guard, Direction: "ingress", Protocol: 6, Port: 5432,
				Source: netip.MustParseAddr("10.0.0.1"), Dest: netip.MustParseAddr("10.0.0.2"), SourceTask: "fw/web", DestTask: "fw/db"}
			got := map[work.Action]work.Logged{}
			for len(got) < 2 {
				r := l.await("logged packets", func(r work.Report) bool { return r.Logged != nil })
				got[r.Logged.Action] = *r.Logged
			}
			for action, index := range map[work.Action]int{work.Log: 3, work.Deny: 4} {
				want.Action, want.Index, want.Count = action, index, max(1, got[action].Count)
				if got[action] != want {
					t.Errorf("%s:\ngot  %+v\nwant %+v", action, got[action], want)
				}
			}
			closed := l.run("closed", "10.0.0.3", "")
			closed.blocked("udp", "10.0.0.2:53")
			r := l.await("a closed task's packet", func(r work.Report) bool { return r.Logged != nil && r.Logged.SourceTask == "fw/closed" })
			if r.Logged.Direction != "" || r.Logged.Policy == "" {
				t.Errorf("%+v", *r.Logged)
			}
		})
	}
}

// Another program that has the log group keeps it only as long as it runs.
func TestLogGroupIsTakenOnceFree(t *testing.T) {
	other, err := nflog.Open(84)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l := newLab(t)
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, ""))), posture("db", nil, nil)}})
	web := l.run("web", "10.0.0.1", "open")
	l.run("db", "10.0.0.2", "db")
	other.Close()
	eventually(t, "denied packets are reported", func() bool {
		web.Reach("udp", "10.0.0.2:53") //nolint:errcheck // it is denied
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.ContainsFunc(l.reports, func(r work.Report) bool { return r.Logged != nil && r.Logged.SourceTask == "fw/web" })
	})
}
