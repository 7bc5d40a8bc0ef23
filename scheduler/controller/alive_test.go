package controller

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// at asks a controller that has heard itself all along.
func (c *Controller) at(now time.Time) map[string]AgentStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hearing.last = now
	return c.agentsNow(now)
}

// silentHosts is the metric.
func (c *Controller) silentHosts(t *testing.T) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c.Metrics())
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "taskwall_hosts_silent" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no such metric")
	return 0
}

// look has it look who is silent, as at.
func (c *Controller) look(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hearing.last = now
	c.lookForSilent(now)
}

// TestASilentAgentIsSeen: an agent that lives is heard by all controllers, also by
// one that begins to lead; of one that says nothing any more the status, the
// metrics and the log speak, and nothing of it is in the log of events.
func TestASilentAgentIsSeen(t *testing.T) {
	p := newPlace(t)
	a, stopA := p.start("a", 1000)
	defer stopA()
	b, stopB := p.start("b", 1000)
	defer stopB()
	var said lines
	a.log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelInfo}))
	b.log = a.log
	resign := p.lead(a, p.newTerm(1))
	p.populate(a)
	p.until("the word at b", func() bool { return settled(b) == p.status().Log.Last })
	last := p.status().Log.Last

	h1 := work.NewReporter(p.conn, "h1")
	if err := h1.Alive(work.Alive{Version: "1.2", Rev: 1, Trouble: []string{"the disk"}}); err != nil {
		t.Fatal(err)
	}
	// It is nobody's: a host that was never seen is not made by saying so.
	if err := work.NewReporter(p.conn, "stranger").Alive(work.Alive{Rev: 1}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Controller{a, b} {
		p.until("h1 heard by "+c.cfg.Name, func() bool {
			st := c.at(time.Now())["h1"]
			return !st.Heard.IsZero() && st.Version == "1.2" && st.Applied == 1 && st.Silent == 0 && len(st.Trouble) == 1
		})
		if n := len(c.at(time.Now())); n != 1 {
			t.Errorf("%s knows %d agents", c.cfg.Name, n)
		}
	}
	if got := said.take(); strings.Count(got, "the disk") != 1 {
		t.Errorf("the leader says\n%s", got)
	}
	heard := p.status().Agents["h1"].Heard
	now := heard.Add(work.SilentAfter - time.Second)
	if st := a.at(now)["h1"]; st.Silent != 0 {
		t.Errorf("silent for %s already", st.Silent)
	}
	a.look(now)
	now = heard.Add(2 * time.Minute)
	if st := a.at(now)["h1"]; st.Silent != 2*time.Minute {
		t.Errorf("silent for %s", st.Silent)
	}
	for range 2 {
		a.look(now)
		b.look(now)
	}
	if got := said.take(); strings.Count(got, "nothing is heard") != 1 || !strings.Contains(got, "host=h1") {
		t.Errorf("of the silence is said\n%s", got)
	}
	if a, b := a.silentHosts(t), b.silentHosts(t); a != 1 || b != 1 {
		t.Errorf("the metrics count %v and %v", a, b)
	}

	resign()
	defer p.lead(b, p.newTerm(2))()
	if st := b.at(now)["h1"]; st.Silent < work.SilentAfter || st.Applied != 1 || len(st.Trouble) != 1 {
		t.Errorf("the new leader says %+v", st)
	}
	b.look(now)
	if got := said.take(); strings.Count(got, "nothing is heard") != 1 {
		t.Errorf("the new leader says\n%s", got)
	}
	b.agentLives("h1", work.Alive{Version: "1.2", Rev: 1}, now)
	b.look(now)
	if got := said.take(); strings.Count(got, "is heard again") != 1 || b.silentHosts(t) != 0 {
		t.Errorf("when it is back the new leader says\n%s", got)
	}
	if st := b.at(now)["h1"]; st.Silent != 0 || len(st.Trouble) != 0 {
		t.Errorf("when it is back: %+v", st)
	}
	if end := p.status().Log.Last; end != last+1 {
		t.Errorf("the log has %d more entries, and should have the new term's only", end-last)
	}
}

// Who cannot hear says of nobody that he is silent, and counts from when it hears.
func TestAControllerThatHearsNothingBlamesNoAgent(t *testing.T) {
	p := newPlace(t)
	c, end := p.term(1, 1000)
	defer end()
	p.populate(c)
	begin := time.Now()
	for _, tc := range []struct {
		name        string
		since, last time.Duration // of hearing, before now
		silent      bool
	}{
		{"it hears", time.Hour, time.Second, true},
		{"it has heard nothing, itself neither", time.Hour, time.Minute, false},
		{"it hears again", 10 * time.Second, time.Second, false},
		{"it hears again for long", time.Minute, time.Second, true},
	} {
		now := begin.Add(time.Hour)
		c.mu.Lock()
		c.hearing.since, c.hearing.last = now.Add(-tc.since), now.Add(-tc.last)
		if got := c.silent("h1", now) > 0; got != tc.silent {
			t.Errorf("%s: silent %v", tc.name, got)
		}
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := begin.Add(2 * time.Hour)
	c.hearing.since, c.hearing.last = begin, now.Add(-time.Minute)
	c.hearing.heardMyself(now)
	c.hearing.heardMyself(now.Add(time.Second))
	if c.hearing.since != now {
		t.Errorf("after a gap it counts from %s", c.hearing.since)
	}
}

// A host that does not take part, or that Mesos has lost, is not blamed again; and
// a whole cluster that is gone does not fill the log.
func TestManySilentHostsAreCounted(t *testing.T) {
	p := newPlace(t)
	c, end := p.term(1, 1000)
	defer end()
	var said lines
	c.mu.Lock()
	c.log = slog.New(slog.NewTextHandler(&said, nil))
	c.mu.Unlock()
	const n = 3 * maxSaid
	var evs []events.Event
	for i := range n {
		name := fmt.Sprintf("n%03d", i)
		evs = append(evs,
			events.Event{ID: name, Kind: events.HostPut, Host: &events.Host{Agent: "a-" + name, Name: name, Reachable: i != 0}},
			events.Event{ID: "j-" + name, Kind: events.AgentJoin, Join: &events.Join{Host: name}})
	}
	evs = append(evs, events.Event{ID: "bare", Kind: events.HostPut, Host: &events.Host{Agent: "a", Name: "bare", Reachable: true}})
	p.say(c, evs...)
	p.until("all hosts", func() bool { return len(p.status().Hosts) == n+1 })
	said.take()
	now := time.Now().Add(time.Hour)
	all := c.at(now)
	if len(all) != n-1 || all["n001"].Silent == 0 {
		t.Errorf("%d hosts are silent, should be %d", len(all), n-1)
	}
	c.look(now)
	if got := said.take(); strings.Count(got, "\n") != maxSaid+1 || !strings.Contains(got, fmt.Sprintf("silent=%d", n-1)) {
		t.Errorf("the log says\n%s", got)
	}
}
