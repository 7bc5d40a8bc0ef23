package proof

import (
	"fmt"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// A key signs whatever its controller folded: verify folds it again.
func TestSignedStatesAreComparedWithTheFold(t *testing.T) {
	t.Parallel()
	past := func(change func(*eventlog.StateMark)) *pasttest.Past {
		p := pasttest.Shop(t)
		p.Snapshot()
		p.Task("web.2", "web", "h2", "TASK_RUNNING", map[string]string{"app": "web"})
		p.Checkpoint()
		last := &p.Signed[len(p.Signed)-1]
		change(last.State)
		*last = eventlog.Sign(pasttest.Key, *last)
		return p
	}
	text := func(r *Report) string {
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			fmt.Fprintln(&b, f.Kind, f.Problem, f.First, f.What)
		}
		return b.String()
	}
	// before is a state as programs signed it that had the form before this one.
	before := func(m *eventlog.StateMark) {
		p := pasttest.Shop(t)
		p.Snapshot()
		s := scheduler.NewState()
		if err := s.UnmarshalBinary(p.Snapshots[m.Seq]); err != nil {
			t.Fatal(err)
		}
		data, err := s.MarshalForm("taskwall-state 3")
		if err != nil {
			t.Fatal(err)
		}
		*m = eventlog.MarkState(m.Seq, data)
	}
	for name, c := range map[string]struct {
		change func(*eventlog.StateMark)
		ok     bool
		want   string
	}{
		"in the form before": {before, true, "its states are those that checkpoints of trusted keys vouch for (1)"},
		"another state in the form before": {func(m *eventlog.StateMark) { before(m); m.Hash[0]++ }, false,
			"log true 10 the state that the checkpoint of 2026-03-01T"},
		"as it was": {func(*eventlog.StateMark) {}, true, "its states are those that checkpoints of trusted keys vouch for (1)"},
		"another state": {func(m *eventlog.StateMark) { m.Hash[0]++ }, false,
			"log true 10 the state that the checkpoint of 2026-03-01T"},
		"of another record": {func(m *eventlog.StateMark) { m.Seq-- }, false, "log true 9 the state that the checkpoint of"},
		"in a form of another version": {func(m *eventlog.StateMark) { m.Form, m.Hash = "taskwall-state 2", eventlog.Hash{} }, true,
			`log false 10 the state here was signed in the form "taskwall-state 2"`},
	} {
		rep := verify(t, past(c.change), Options{})
		if got := text(rep); rep.OK() != c.ok || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
