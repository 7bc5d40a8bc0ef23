package wan

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/taskwall/taskwall/e2e/probe"
	"github.com/taskwall/taskwall/e2e/sim"
)

// App is an app of the story, at one site.
type App struct {
	ID        string
	Site      string
	Host      string // where it must run; any of the site when empty
	Labels    map[string]string
	TCP, UDP  int // the port that it listens on; 0: none
	Instances int
}

// Apps are deployed in this order.
var Apps = []App{
	{ID: "/pay/db", Site: "dc", TCP: 5432, Labels: production("db", "")},
	{ID: "/pay/api", Site: "dc", TCP: 8443, UDP: 8125, Labels: production("api", "oracle")},
	{ID: "/pay/web", Site: "cloud", TCP: 8080, Instances: 2, Labels: production("web", "")},
	{ID: "/pay/sync", Site: "cloud", Labels: production("sync", "oracle")},
	{ID: "/pay/meter", Site: "cloud", Labels: production("meter", "")},
	{ID: "/pay/meter-dc", Site: "dc", Labels: production("meter", "")},
	{ID: "/lab/job", Site: "dc", TCP: 9000, Labels: map[string]string{"taskwall.environment": "staging", "taskwall.uses": "oracle"}},
	{ID: "/lab/remote", Site: "cloud", TCP: 9000, Labels: map[string]string{"taskwall.environment": "staging"}},
}

func production(tier, uses string) map[string]string {
	labels := map[string]string{"taskwall.environment": "production", "tier": tier}
	if uses != "" {
		labels["taskwall.uses"] = uses
	}
	return labels
}

// Oracle stands for the legacy database in a Flow.
const Oracle = "oracle"

// Flow is a connection that is to pass, or not.
type Flow struct {
	From, To string
	UDP      bool
	Port     int
	Open     bool
	Host     string // where the client runs; any when empty
}

// Flows cross every boundary of the diagram.
var Flows = []Flow{
	{From: "/pay/web", To: "/pay/api", Port: 8443, Open: true}, // cloud to data centre
	{From: "/pay/meter", To: "/pay/api", UDP: true, Port: 8125, Open: true},
	{From: "/pay/api", To: "/pay/db", Port: 5432, Open: true}, // within the data centre
	{From: "/pay/api", To: Oracle, Port: 1521, Open: true},    // into the legacy network
	{From: "/pay/sync", To: Oracle, Port: 1521, Open: true},   // from the cloud into it
	{From: "/lab/job", To: Oracle, Port: 1521},                // our policy permits it, the firewall's ACL does not
	{From: "/pay/web", To: Oracle, Port: 1521},
	{From: "/pay/web", To: "/pay/db", Port: 5432},
	{From: "/lab/remote", To: "/pay/api", Port: 8443},
	{From: "/lab/job", To: "/pay/db", Port: 5432},
	{From: "/pay/db", To: "/lab/job", Port: 9000},
	{From: "/pay/api", To: "/pay/web", Port: 8080}, // only the other way
}

// Deploy creates the apps and waits until they run and their hosts have
// attached them.
func (n *Network) Deploy(ctx context.Context) error {
	for _, a := range Apps {
		if err := n.create(ctx, a); err != nil {
			return fmt.Errorf("creating %s: %w", a.ID, err)
		}
	}
	for _, a := range Apps {
		if _, err := n.WaitAttached(ctx, a.ID, max(a.Instances, 1)); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) create(ctx context.Context, a App) error {
	cmd := "exec peer"
	if a.TCP != 0 {
		cmd += fmt.Sprintf(" --tcp %d", a.TCP)
	}
	if a.UDP != 0 {
		cmd += fmt.Sprintf(" --udp %d", a.UDP)
	}
	where := []any{[]string{"site", "LIKE", a.Site}, []string{"hostname", "UNIQUE"}}
	if a.Host != "" {
		where = append(where, []string{"hostname", "LIKE", a.Host})
	}
	spec, err := json.Marshal(map[string]any{
		"id": a.ID, "cmd": cmd, "instances": max(a.Instances, 1), "cpus": 0.1, "mem": 32, "labels": a.Labels,
		"networks":    []any{map[string]any{"mode": "container", "name": "taskwall"}},
		"constraints": where,
	})
	if err != nil {
		return err
	}
	return n.Cluster.CreateApp(ctx, string(spec))
}

// Task is an app's first task on a host; any host when none is named.
func (n *Network) Task(app, host string) (sim.Task, error) {
	tasks := n.Cluster.TasksOf(app)
	i := slices.IndexFunc(tasks, func(t sim.Task) bool { return host == "" || t.Host == host })
	if i < 0 {
		return sim.Task{}, fmt.Errorf("no task of %s on %q", app, host)
	}
	return tasks[i], nil
}

// Observation is what became of a flow.
type Observation struct {
	Flow
	probe.Result
	Client string // the client's own address; the server saw Result.Source
}

// Right reports whether the flow was as it must be: open with the client's own
// address seen by the server, or closed.
func (o Observation) Right() bool {
	return o.Result.Open() == o.Flow.Open && (!o.Flow.Open || o.Source() == o.Client)
}

// Observe opens a real connection for a flow.
func (n *Network) Observe(ctx context.Context, f Flow) (Observation, error) {
	o := Observation{Flow: f}
	from, err := n.Task(f.From, f.Host)
	if err != nil {
		return o, err
	}
	to := legacyDatabase
	if f.To != Oracle {
		t, err := n.Task(f.To, "")
		if err != nil {
			return o, err
		}
		to = t.Address
	}
	o.Client = from.Address
	if f.UDP {
		o.Result = probe.UDP(ctx, from.Netns, to, f.Port)
	} else {
		o.Result = probe.TCP(ctx, from.Netns, to, f.Port)
	}
	return o, nil
}
