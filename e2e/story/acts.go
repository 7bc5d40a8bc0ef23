package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	marathon "github.com/gambol99/go-marathon"

	"github.com/taskwall/taskwall/e2e/probe"
	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/scheduler"
	"github.com/taskwall/taskwall/scheduler/controller"
	"github.com/taskwall/taskwall/scheduler/proof"
)

// Deploy creates the story's apps through Marathon and waits until they run.
func (s *Stage) Deploy(ctx context.Context) error {
	for _, app := range Apps {
		if err := s.create(app); err != nil {
			return fmt.Errorf("creating app %s: %w", app.ID, err)
		}
	}
	for _, app := range Apps {
		if err := s.WaitRunning(ctx, app.ID, 1); err != nil {
			return err
		}
	}
	return s.routeOutside(ctx)
}

func (s *Stage) create(app App) error {
	cmd := "peer"
	join := func(ports []int) string {
		return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ports)), ","), "[]")
	}
	if len(app.TCP) > 0 {
		cmd += " --tcp " + join(app.TCP)
	}
	if len(app.UDP) > 0 {
		cmd += " --udp " + join(app.UDP)
	}
	return s.createWith(app.ID, "exec "+cmd, app.Labels)
}

// createWith creates an app of one instance on the network "taskwall".
func (s *Stage) createWith(id, cmd string, labels map[string]string) error {
	a := marathon.NewDockerApplication()
	a.Container = nil
	a.Name(id).Command(cmd).Count(1).CPU(0.1).Memory(32)
	for _, k := range events.SortedKeys(labels) {
		a.AddLabel(k, labels[k])
	}
	// The client predates Marathon's networks; Marathon still takes this form.
	a.IPAddressPerTask = &marathon.IPAddressPerTask{NetworkName: "taskwall"}
	_, err := s.Marathon.CreateApplication(a)
	return err
}

// DeployDocker creates an app of one instance of the Docker containerizer on
// Docker's network "none", and waits until its host has attached it. Mesos
// reports no address of such a task: the controller knows it.
func (s *Stage) DeployDocker(ctx context.Context, app App) error {
	a := marathon.NewDockerApplication()
	a.Container.Docker.Container("shop/image").AddParameter("net", "none")
	a.Name(app.ID).Command(fmt.Sprintf("exec peer --tcp %d", app.TCP[0])).Count(1).CPU(0.1).Memory(32)
	for _, k := range events.SortedKeys(app.Labels) {
		a.AddLabel(k, app.Labels[k])
	}
	if _, err := s.Marathon.CreateApplication(a); err != nil {
		return fmt.Errorf("creating app %s: %w", app.ID, err)
	}
	if err := s.WaitRunning(ctx, app.ID, 1); err != nil {
		return err
	}
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	for _, e := range st.Endpoints {
		if e.Task == s.tasks[app.ID][0].ID {
			s.tasks[app.ID][0].Address = e.Address.String()
		}
	}
	return nil
}

// Address is that of an app's first task.
func (s *Stage) Address(app string) string { return s.tasks[app][0].Address }

// Probe opens a real connection between apps or machines.
func (s *Stage) Probe(ctx context.Context, f Flow) Observation { return s.observe(ctx, f) }

// WaitRunning waits until an app has n running tasks that their hosts report
// as attached.
func (s *Stage) WaitRunning(ctx context.Context, app string, n int) error {
	tasks, err := s.WaitAttached(ctx, app, n)
	if tasks != nil {
		s.tasks[app] = tasks
	}
	return err
}

// routeOutside tells the machines outside the way to the tasks, as a router of
// the legacy network would: block by block, to the hosts that hold them.
func (s *Stage) routeOutside(ctx context.Context) error {
	st, err := s.Status(ctx)
	if err != nil {
		return err
	}
	for _, m := range machines {
		for _, h := range st.Hosts {
			for _, b := range h.Blocks {
				if _, err := proc.Output(ctx, s.outside[m.Name], "ip", "route", "replace", b.String(),
					"via", h.Address.String(), "src", m.Address); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Observation is what became of one flow.
type Observation struct {
	Flow
	Expected bool
	probe.Result
	// Source is the client's own address; the server saw Result.Source.
	Client string
}

// Right reports whether the verdict was the expected one, and, for a flow that
// passed, whether the server saw the client's own address.
func (o Observation) Right() bool {
	return o.Open() == o.Expected && (!o.Open() || o.Source() == o.Client)
}

// Observe opens a real connection for every flow of the story.
func (s *Stage) Observe(ctx context.Context, changed bool) []Observation {
	flows := allFlows()
	result := make([]Observation, len(flows))
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for i, f := range flows {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			result[i] = s.observe(ctx, f)
			result[i].Expected = allowed[f]
			if verdict, ok := Change[f]; changed && ok {
				result[i].Expected = verdict
			}
		})
	}
	wg.Wait()
	return result
}

func (s *Stage) observe(ctx context.Context, f Flow) Observation {
	from, client := s.end(f.From)
	_, to := s.end(f.To)
	o := Observation{Flow: f, Client: client}
	if f.Protocol == "udp" {
		o.Result = probe.UDP(ctx, from, to, f.Port)
	} else {
		o.Result = probe.TCP(ctx, from, to, f.Port)
	}
	return o
}

// end is the namespace and the address of one end of a flow.
func (s *Stage) end(name string) (ns, address string) {
	for _, m := range machines {
		if m.Name == name {
			return s.outside[name].Path, m.Address
		}
	}
	task := s.tasks[name][0]
	return task.Netns, task.Address
}

// Apply applies the policies of a directory as the security team's pipeline
// does, and waits until every host that they concern has them in its kernel.
func (s *Stage) Apply(ctx context.Context, dir, author, commit string) (controller.ApplyResult, error) {
	var result controller.ApplyResult
	out, err := s.Taskwall(ctx, "policy", "apply", "-f", dir, "--author", author, "--commit", commit, "--wait", "10s", "-o", "json")
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal([]byte(out), &result)
}

// Scale changes the number of an app's instances and waits for it.
func (s *Stage) Scale(ctx context.Context, app string, n int) error {
	if _, err := s.Marathon.ScaleApplicationInstances(app, n, false); err != nil {
		return fmt.Errorf("scaling %s to %d: %w", app, n, err)
	}
	return s.WaitRunning(ctx, app, n)
}

// Victim is a task about to be killed, with all that its host holds for it.
type Victim struct {
	sim.Task
	Endpoint scheduler.EndpointView
}

// Pick chooses the first task of an app that was not in use before.
func (s *Stage) Pick(ctx context.Context, app string) (Victim, error) {
	st, err := s.Status(ctx)
	if err != nil {
		return Victim{}, err
	}
	tasks := s.tasks[app]
	task := tasks[len(tasks)-1]
	i := slices.IndexFunc(st.Endpoints, func(e scheduler.EndpointView) bool { return e.Task == task.ID })
	if i < 0 {
		return Victim{}, fmt.Errorf("the controller does not know task %s", task.ID)
	}
	return Victim{Task: task, Endpoint: st.Endpoints[i]}, nil
}

// Kill removes an app and waits until its hosts are done with its tasks.
func (s *Stage) Kill(ctx context.Context, app string) error {
	if _, err := s.Marathon.DeleteApplication(app, true); err != nil {
		return fmt.Errorf("deleting %s: %w", app, err)
	}
	delete(s.tasks, app)
	return s.Until(ctx, "the end of "+app, func() (bool, error) {
		st, err := s.Status(ctx)
		if err != nil {
			return false, err
		}
		for _, e := range st.Endpoints {
			if e.App == app {
				return false, nil
			}
		}
		for _, h := range st.Hosts {
			if h.Ending > 0 || st.Agents[h.Name].Applied < h.Rev {
				return false, nil
			}
		}
		return true, nil
	})
}

// Traces looks for an address on all hosts and in the controller: interfaces
// and routes, rules, set members, tracked connections, an address in use. What
// it finds is returned in words.
func (s *Stage) Traces(ctx context.Context, address string) ([]string, error) {
	var found []string
	for _, name := range Hosts {
		for _, look := range []struct {
			what string
			argv []string
		}{
			{"route", []string{"ip", "route"}},
			{"neighbour", []string{"ip", "neighbour"}},
			{"set element", []string{"ipset", "save"}},
			{"filter rule", []string{"iptables-save"}},
			{"tracked connection", []string{"conntrack", "-L"}},
		} {
			out, err := proc.Output(ctx, s.Cluster.Host(name).NS, look.argv[0], look.argv[1:]...)
			if err != nil {
				return nil, err
			}
			for line := range strings.Lines(out) {
				if mentions(line, address) {
					found = append(found, fmt.Sprintf("%s: %s: %s", name, look.what, strings.TrimSpace(line)))
				}
			}
		}
	}
	st, err := s.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range st.Endpoints {
		if e.Address.IsValid() && e.Address.String() == address {
			found = append(found, "controller: in use by "+e.Task)
		}
	}
	return found, nil
}

// mentions reports whether a line has the address as a whole word. A block
// that starts with the address (10.8.0.128/26) is another thing: its route
// stays while the host has other tasks in it.
func mentions(line, address string) bool {
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return !strings.ContainsRune("0123456789./", r) }) {
		if word == address || word == address+"/32" {
			return true
		}
	}
	return false
}

// Interfaces counts the task interfaces of a host.
func (s *Stage) Interfaces(ctx context.Context, host string) (int, error) {
	out, err := proc.Output(ctx, s.Cluster.Host(host).NS, "ip", "-o", "link")
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], "tw") {
			n++
		}
	}
	return n, nil
}

// Verify proves the log to its end; see 'taskwall audit verify'. A checkpoint
// follows what it signs, and an answer the item, so that takes a moment: it
// returns what was said last.
func (s *Stage) Verify(ctx context.Context) (text string, err error) {
	verify := []string{"audit", "verify", "--trust", s.CheckpointPublic()}
	waited := s.Until(ctx, "the whole log to be signed and proven", func() (bool, error) {
		out, err := s.Taskwall(ctx, append(verify, "-o", "json")...)
		if err != nil {
			return false, err
		}
		var r proof.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			return false, err
		}
		return r.Log.Signed == r.Log.Last && r.Items.Pending == 0 && r.Items.Equal > 0, nil
	})
	text, err = s.Taskwall(ctx, verify...)
	return text, errors.Join(waited, err)
}

// First starts a task with the labels whose first act, before anything else,
// is to connect to an app's first task. It returns whether that connection,
// tried once and for less time than TCP takes to send its first packet again,
// came about.
func (s *Stage) First(ctx context.Context, id string, labels map[string]string, to string, port int) (open bool, err error) {
	verdict := filepath.Join(s.Dir, strings.ReplaceAll(id, "/", "_"))
	try := fmt.Sprintf("timeout 0.8 bash -c 'exec 3<>/dev/tcp/%s/%d'", s.tasks[to][0].Address, port)
	cmd := fmt.Sprintf("if %s; then echo open > %s; else echo closed > %s; fi; exec sleep 1000", try, verdict, verdict)
	if err := s.createWith(id, cmd, labels); err != nil {
		return false, err
	}
	var said []byte
	err = s.Until(ctx, "the verdict of "+id, func() (bool, error) {
		said, err = os.ReadFile(verdict)
		return len(said) > 0, err
	})
	return strings.TrimSpace(string(said)) == "open", err
}
