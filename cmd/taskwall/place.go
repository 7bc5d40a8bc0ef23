package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/taskwall/taskwall/events/mesos"
	"github.com/taskwall/taskwall/scheduler/controller"
	"github.com/taskwall/taskwall/scheduler/placement"
)

func placementFlags(f *pflag.FlagSet) {
	f.String("place-command", "", "keep an agent on every Mesos host by running this shell `command` there as a task; none: agents come otherwise")
	f.StringSlice("place-uri", nil, "`URI`s of files that the command needs, fetched beside it and made executable")
	f.String("place-user", "root", "`user` of the host who runs the command")
	f.Float64("place-cpus", 0.5, "cores that the command is given: all that it gets, where Mesos enforces quotas")
	f.Float64("place-memory", 256, "memory that the command is given, in MiB")
	f.String("place-role", "*", "`role` whose resources are used")
	f.String("place-framework", "taskwall", "`name` by which Mesos shows the framework that places agents")
}

// placementConfig is nil when no agents are to be placed.
func placementConfig(f *pflag.FlagSet, m *mesos.Config) (*placement.Config, error) {
	c := &placement.Config{Masters: m.Masters, TLS: m.TLS, User: m.User, Password: m.Password, Token: m.Token, Logger: m.Logger}
	c.Task.Command, _ = f.GetString("place-command")
	if c.Task.Command == "" {
		for _, flag := range []string{"place-uri", "place-user", "place-cpus", "place-memory", "place-role", "place-framework"} {
			if f.Changed(flag) {
				return nil, usageError{errors.New("--" + flag + " says how to place agents: give --place-command, too")}
			}
		}
		return nil, nil
	}
	c.Task.URIs, _ = f.GetStringSlice("place-uri")
	c.Task.User, _ = f.GetString("place-user")
	c.Task.CPUs, _ = f.GetFloat64("place-cpus")
	c.Task.Memory, _ = f.GetFloat64("place-memory")
	c.Role, _ = f.GetString("place-role")
	c.Name, _ = f.GetString("place-framework")
	if c.Task.CPUs < 0.01 || c.Task.Memory < 32 { // Mesos takes no less
		return nil, usageError{fmt.Errorf("--place-cpus %v, --place-memory %v: at least 0.01 cores and 32 MiB", c.Task.CPUs, c.Task.Memory)}
	}
	return c, nil
}

// placementSource shows the placement among the sources: it follows the leading
// master as they do, though it adds nothing to the log.
type placementSource struct{ *placement.Placement }

func (p placementSource) Status() controller.SourceStatus {
	st := p.Placement.Status()
	doing := fmt.Sprintf("agents run on %d of %d hosts", st.Running, st.Hosts)
	if st.Outdated > 0 {
		doing += fmt.Sprintf(", %d of them are to be replaced", st.Outdated)
	}
	return controller.SourceStatus{Name: "placement", Connected: st.Leader != "", Peer: st.Leader, Since: st.Since, Error: st.Error, Doing: doing, Trouble: st.Trouble}
}

func (p placementSource) counters() (string, bool, any) {
	st := p.Placement.Status()
	return "placement", st.Leader != "", st.Counters
}

func (p placementSource) gauges() []gauge {
	st := p.Placement.Status()
	return []gauge{
		{"hosts", "Hosts that Mesos offers, or that have an agent's task.", st.Hosts},
		{"agents_running", "Of those hosts, the ones whose agent's task runs. Less than all for long: see taskwall status.", st.Running},
		{"agents_outdated", "Agents' tasks that are to be replaced. The same for long: a new one does not run.", st.Outdated},
	}
}
