package placement

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// clocked is a fleet at a time that the test sets.
type clocked struct {
	*fleet
	t  *testing.T
	at time.Time
}

func newClocked(t *testing.T, command string) *clocked {
	t.Helper()
	c := &clocked{t: t, at: time.Unix(1e9, 0)}
	cfg := Config{Task: Task{Command: command}, Now: func() time.Time { return c.at }}
	if err := cfg.withDefaults(); err != nil {
		t.Fatal(err)
	}
	n := 0
	c.fleet = newFleet(&cfg, func() string { n++; return fmt.Sprint(n) })
	c.lasting = true
	return c
}

func offer(agent string, cpus, mem float64) mesos.Offer {
	return mesos.Offer{
		ID: mesos.OfferID{Value: "o-" + agent}, AgentID: mesos.AgentID{Value: agent}, Hostname: "host-" + agent,
		Resources: []mesos.Resource{scalar("cpus", cpus), scalar("mem", mem)},
	}
}

func scalar(name string, v float64) mesos.Resource {
	return mesos.Resource{Name: name, Type: mesos.SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: v}}
}

func status(id, agent string, state mesos.TaskState) *mesos.TaskStatus {
	s := &mesos.TaskStatus{TaskID: mesos.TaskID{Value: id}, State: &state}
	if agent != "" {
		s.AgentID = &mesos.AgentID{Value: agent}
	}
	return s
}

// words are calls, short.
func words(made []*scheduler.Call) string {
	var out []string
	for _, c := range made {
		s := c.Type.String()
		switch {
		case c.Kill != nil:
			s += " " + c.Kill.TaskID.Value
		case c.Accept != nil:
			s += " " + c.Accept.Operations[0].Launch.TaskInfos[0].TaskID.Value
		case c.Decline != nil:
			s += fmt.Sprintf(" %d for %vs", len(c.Decline.OfferIDs), *c.Decline.Filters.RefuseSeconds)
		case c.Reconcile != nil:
			s += fmt.Sprintf(" %d", len(c.Reconcile.Tasks))
		case c.Acknowledge != nil:
			s += " " + c.Acknowledge.TaskID.Value
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func (c *clocked) want(what string, made []*scheduler.Call, want string) {
	c.t.Helper()
	if got := words(made); got != want {
		c.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// runs has an agent run a task of a command.
func (c *clocked) runs(agent, command string) string {
	id := idPrefix + Spec(Task{Command: command}) + "." + agent + ".x"
	c.update(status(id, agent, mesos.TASK_RUNNING))
	return id
}

func TestAHostIsAskedAboutBeforeItGetsATask(t *testing.T) {
	c := newClocked(t, "run")
	c.want("first", c.offers([]mesos.Offer{offer("S1", 1, 1024), offer("S2", 1, 1024)}), "RECONCILE 0; DECLINE 2 for 5s")
	there := c.runs("S2", "run")
	c.want("then", c.offers([]mesos.Offer{offer("S1", 1, 1024), offer("S2", 1, 1024)}),
		"ACCEPT "+idPrefix+c.spec+".S1.1; DECLINE 1 for 3600s")
	c.want("in a new session", c.begin(), "RECONCILE 2")
	c.want("offered by the new master", c.offers([]mesos.Offer{offer("S1", 1, 1024)}), "RECONCILE 1; DECLINE 1 for 5s")
	c.want("and again", c.offers([]mesos.Offer{offer("S1", 1, 1024)}), "DECLINE 1 for 3600s")
	c.update(status(there, "", mesos.TASK_UNKNOWN)) // the master does not say where
	c.want("offered", c.offers([]mesos.Offer{offer("S2", 1, 1024)}), "RECONCILE 0; DECLINE 1 for 5s")
}

func TestUpdates(t *testing.T) {
	c := newClocked(t, "run")
	c.want("nothing is known", c.begin(), "")
	s := status("another's", "S1", mesos.TASK_RUNNING)
	s.UUID = []byte{1}
	c.want("a task that is not ours", c.update(s), "ACKNOWLEDGE another's")
	if len(c.hosts) != 0 {
		t.Error("it counts as an agent")
	}
	id := c.runs("S1", "run")
	c.want("the same again", c.update(status(id, "S1", mesos.TASK_RUNNING)), "")
	c.want("a second one", c.update(status(idPrefix+c.spec+".S1.y", "S1", mesos.TASK_RUNNING)), "KILL "+idPrefix+c.spec+".S1.y")
	c.want("unreachable", c.update(status(id, "S1", mesos.TASK_UNREACHABLE)), "")
	c.want("nothing is launched elsewhere", c.tick(), "")
	c.at = c.at.Add(reconcileEvery)
	c.want("later", c.tick(), "RECONCILE 1")
	c.want("offered again", c.offers([]mesos.Offer{offer("S1", 1, 1024)}), "RECONCILE 1; DECLINE 1 for 5s")
	c.update(status(id, "S1", mesos.TASK_GONE_BY_OPERATOR))
	if len(c.hosts) != 0 {
		t.Error("a host that is gone for good is kept")
	}
}

func TestALaunchThatIsLostIsAskedAbout(t *testing.T) {
	c := newClocked(t, "run")
	c.asked = c.at
	c.offers([]mesos.Offer{offer("S1", 1, 1024)})
	c.offers([]mesos.Offer{offer("S1", 1, 1024)})
	c.want("at once", c.tick(), "")
	c.at = c.at.Add(repeatAfter)
	c.want("after a while", c.tick(), "RECONCILE 1")
	c.want("not at once again", c.tick(), "")
	c.update(status(c.hosts["S1"].task, "", mesos.TASK_GONE))
	c.want("before its time", c.tick(), "")
	c.at = c.at.Add(2 * time.Second)
	c.want("it is wanted again", c.tick(), "REVIVE")
	c.want("offered", c.offers([]mesos.Offer{offer("S1", 1, 1024)}), "ACCEPT "+idPrefix+c.spec+".S1.2")
}

// An agent that was removed is no host any more, one that is away is.
func TestAgentsThatAreLost(t *testing.T) {
	c := newClocked(t, "new")
	c.asked = c.at.Add(24 * time.Hour)
	old := c.runs("S1", "old")
	gone, away := c.runs("S2", "new"), c.runs("S3", "new")
	c.update(status(gone, "S2", mesos.TASK_LOST))
	c.want("a host without its task holds the others up", c.replace(), "")
	c.lost("S2")
	c.update(status(away, "S3", mesos.TASK_UNREACHABLE))
	c.lost("S3")
	c.want("not one that was removed", c.replace(), "KILL "+old)
	if c.hosts["S2"] != nil || c.hosts["S3"] == nil {
		t.Errorf("hosts %v", c.hosts)
	}
	c.update(status(away, "S3", mesos.TASK_UNKNOWN)) // after weeks
	if c.hosts["S3"] != nil {
		t.Error("a host that the master does not know any more is kept")
	}
}

// One task is replaced at a time, and only while all others run.
func TestReplacement(t *testing.T) {
	c := newClocked(t, "new")
	c.asked = c.at.Add(24 * time.Hour)
	one, two := c.runs("S1", "old"), c.runs("S2", "old")
	other := c.runs("S3", "new")
	for _, h := range c.hosts {
		h.name = "same"
	}
	c.hosts["S1"].name = "first"
	c.update(status(other, "S3", mesos.TASK_FAILED))
	c.want("one has failed", c.replace(), "")
	c.runs("S3", "new")
	c.update(status(other, "S3", mesos.TASK_STARTING))
	c.want("one starts", c.replace(), "")
	c.update(status(other, "S3", mesos.TASK_UNREACHABLE))
	c.want("one is away", c.replace(), "KILL "+one)
	c.want("under way", c.replace(), "")
	c.at = c.at.Add(repeatAfter)
	c.want("it was lost", c.replace(), "KILL "+one)
	c.update(status(one, "S1", mesos.TASK_KILLED))
	c.want("no longer there", c.tick(), "REVIVE")
	c.runs("S1", "new")
	c.want("not yet steady", c.replace(), "")
	c.at = c.at.Add(c.steady)
	c.want("the next", c.replace(), "KILL "+two)
	c.update(status(two, "S2", mesos.TASK_UNREACHABLE))
	c.want("it went away", c.replace(), "")
	c.update(status(two, "S2", mesos.TASK_RUNNING))
	c.want("it is back", c.replace(), "KILL "+two)
}

func TestTake(t *testing.T) {
	role := func(r mesos.Resource, name string) mesos.Resource {
		r.Reservations = []mesos.Resource_ReservationInfo{{Role: &name}}
		return r
	}
	revocable := scalar("cpus", 4)
	revocable.Revocable = &mesos.Resource_RevocableInfo{}
	for name, tc := range map[string]struct {
		offered []mesos.Resource
		want    []string
		lacks   string
	}{
		"just enough":    {[]mesos.Resource{scalar("cpus", 0.5), scalar("mem", 256)}, []string{"cpus 0.5 of 0", "mem 256 of 0"}, ""},
		"a part":         {[]mesos.Resource{scalar("mem", 9000), scalar("cpus", 8)}, []string{"cpus 0.5 of 0", "mem 256 of 0"}, ""},
		"in two pieces":  {[]mesos.Resource{role(scalar("cpus", 0.06), "r"), scalar("cpus", 0.5), scalar("mem", 300)}, []string{"cpus 0.06 of 1", "cpus 0.44 of 0", "mem 256 of 0"}, ""},
		"too little":     {[]mesos.Resource{scalar("cpus", 1), scalar("mem", 100), scalar("mem", 50.5)}, nil, "its task needs mem 256 MiB, and 150.5 MiB are free"},
		"nothing":        {nil, nil, "its task needs cpus 0.5, and 0 are free"},
		"revocable ones": {[]mesos.Resource{revocable, scalar("mem", 300)}, nil, "its task needs cpus 0.5, and 0 are free"},
	} {
		o := mesos.Offer{Resources: tc.offered}
		task := Task{}
		task.defaults()
		res, lacks := take(&o, &task)
		var got []string
		for _, r := range res {
			got = append(got, fmt.Sprintf("%s %.4g of %d", r.Name, r.Scalar.Value, len(r.Reservations)))
		}
		if !slices.Equal(got, tc.want) || lacks != tc.lacks {
			t.Errorf("%s: %v, %q", name, got, lacks)
		}
		if len(tc.offered) > 0 && o.Resources[0].Scalar.Value != tc.offered[0].Scalar.Value {
			t.Errorf("%s: the offer was changed", name)
		}
	}
}

func TestTheIDsOfTasks(t *testing.T) {
	for id, want := range map[string]string{
		idPrefix + "0a1b2c3d.a7c1-S0.xyz":       "0a1b2c3d a7c1-S0 true",
		idPrefix + "0a1b2c3d.agent.with.dots.x": "0a1b2c3d agent.with.dots true",
		idPrefix + "0a1b2c3d":                   "  false",
		idPrefix:                                "  false",
		"pay_web.instance-1.app":                "  false",
		"":                                      "  false",
	} {
		spec, agent, ours := parseID(id)
		if got := fmt.Sprint(spec, " ", agent, " ", ours); got != want {
			t.Errorf("%q: %s, want %s", id, got, want)
		}
	}
}

func TestWhatATaskSaysIsShort(t *testing.T) {
	s := status("x", "S1", mesos.TASK_FAILED)
	long := strings.Repeat("é\n\x1b[31m", 500)
	s.Message = &long
	if said := said(s); len(said) > 300 || strings.ContainsAny(said, "\n\x1b") {
		t.Errorf("%q", said)
	}
}
