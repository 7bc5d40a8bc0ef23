package placement

import (
	"fmt"
	"math"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// idPrefix begins the ids of our tasks: PREFIX.SPEC.AGENT.UNIQUE.
const idPrefix = "taskwall-agent."

func (f *fleet) id(agent string) string { return idPrefix + f.spec + "." + agent + "." + f.newID() }

// parseID is what a task's id says.
func parseID(id string) (spec, agent string, ours bool) {
	rest, ours := strings.CutPrefix(id, idPrefix)
	spec, rest, ok := strings.Cut(rest, ".")
	end := strings.LastIndexByte(rest, '.')
	if !ours || !ok || end < 0 {
		return "", "", false
	}
	return spec, rest[:end], true
}

// info is the task as it is launched.
func (f *fleet) info(id string, agent mesos.AgentID, res []mesos.Resource) mesos.TaskInfo {
	cmd := &mesos.CommandInfo{Value: &f.task.Command, User: &f.task.User}
	yes, no := true, false
	for _, u := range f.task.URIs {
		cmd.URIs = append(cmd.URIs, mesos.CommandInfo_URI{Value: u, Executable: &yes, Extract: &no})
	}
	return mesos.TaskInfo{Name: "taskwall-agent", TaskID: mesos.TaskID{Value: id}, AgentID: agent, Command: cmd, Resources: res}
}

// take are the resources of an offer that the task needs, or in words what it
// lacks. Each keeps the offer's allocation and reservation, without which the
// master refuses the launch (CLUSTER-API 4).
func take(o *mesos.Offer, t *Task) (res []mesos.Resource, lacks string) {
	for _, need := range []struct {
		name, unit string
		amount     float64
	}{{"cpus", "", t.CPUs}, {"mem", " MiB", t.Memory}} {
		left, offered := need.amount, 0.0
		for _, r := range o.Resources {
			if r.Name != need.name || r.GetType() != mesos.SCALAR || r.Scalar == nil || r.Revocable != nil || r.Shared != nil || r.Disk != nil {
				continue
			}
			offered += r.Scalar.Value
			if part := min(left, r.Scalar.Value); left > tiny && part > tiny {
				r.Scalar = &mesos.Value_Scalar{Value: part}
				res, left = append(res, r), left-part
			}
		}
		if left > tiny {
			return nil, fmt.Sprintf("its task needs %s %s%s, and %s%s are free", need.name, amount(need.amount), need.unit, amount(offered), need.unit)
		}
	}
	return res, ""
}

// tiny is less than a resource can be: Mesos counts thousandths.
const tiny = 0.0005

func amount(v float64) string { return fmt.Sprint(math.Round(v*1000) / 1000) }
