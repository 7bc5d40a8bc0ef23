package marathon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/sim/master"
)

// The mapping of specs to what Mesos gets: CLUSTER-API 2.4.

func labelsOf(m map[string]string) *mesos.Labels {
	out := &mesos.Labels{}
	for _, k := range sortedKeys(m) {
		out.Labels = append(out.Labels, mesos.Label{Key: k, Value: ptr(m[k])})
	}
	return out
}

// appOperation launches an app's task.
func (m *Marathon) appOperation(i *instance, o mesos.Offer, port func(int) int) mesos.Offer_Operation {
	app := &i.spec.app
	t := &task{id: taskID(i, ""), status: mesos.TASK_STAGING.String(), condition: "Provisioned"}
	info := mesos.TaskInfo{
		Name: reversed(i.spec.id), TaskID: mesos.TaskID{Value: t.id}, AgentID: o.AgentID,
		Labels: labelsOf(app.Labels),
	}
	var mappings []mesos.NetworkInfo_PortMapping
	var discovered []mesos.Port
	if app.Container != nil && len(app.Container.PortMappings) > 0 {
		for _, p := range app.Container.PortMappings {
			host := 0
			if p.HostPort != nil {
				host = port(*p.HostPort)
				t.ports = append(t.ports, host)
			}
			container := cmp.Or(p.ContainerPort, host)
			for protocol := range strings.SplitSeq(cmp.Or(p.Protocol, "tcp"), ",") {
				if host != 0 {
					mappings = append(mappings, mesos.NetworkInfo_PortMapping{HostPort: uint32(host), ContainerPort: uint32(container), Protocol: ptr(protocol)})
				}
				discovered = append(discovered, discoveryPort(p.Name, container, host, protocol, p.Labels, app.Networks, p.NetworkNames))
			}
		}
	} else {
		for _, p := range app.PortDefinitions {
			want := 0
			if i.spec.raw["requirePorts"] == true {
				want = p.Port
			}
			host := port(want)
			t.ports = append(t.ports, host)
			for protocol := range strings.SplitSeq(cmp.Or(p.Protocol, "tcp"), ",") {
				discovered = append(discovered, discoveryPort(p.Name, host, host, protocol, p.Labels, nil, nil))
			}
		}
	}
	info.Discovery = &mesos.DiscoveryInfo{Visibility: mesos.FRAMEWORK, Name: ptr(reversed(i.spec.id)), Ports: &mesos.Ports{Ports: discovered}}
	info.Resources = master.Amount{Cpus: app.Cpus, Mem: app.Mem, Disk: app.Disk, Ports: portResources(t.ports)}.Resources("", i.spec.role(), false)
	info.Container = m.appContainer(app, mappings)
	info.Command = command(app.Cmd, app.Args, cmp.Or(app.User, m.cfg.User), m.appEnv(i, t, app))
	info.HealthCheck = mesosHealthCheck(app.HealthChecks, t.ports)
	if app.KillGrace > 0 {
		info.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(app.KillGrace * 1e9)}}
	}
	i.tasks = []*task{t}
	return mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH, Launch: &mesos.Offer_Operation_Launch{TaskInfos: []mesos.TaskInfo{info}}}
}

func command(cmd string, args []string, user string, env map[string]string) *mesos.CommandInfo {
	c := &mesos.CommandInfo{User: &user, Environment: &mesos.Environment{}}
	switch {
	case cmd != "":
		c.Value = &cmd
	case len(args) > 0:
		c.Shell, c.Value, c.Arguments = ptr(false), &args[0], args
	default:
		c.Shell = ptr(false)
	}
	for _, k := range sortedKeys(env) {
		c.Environment.Variables = append(c.Environment.Variables, mesos.Environment_Variable{Name: k, Value: ptr(env[k])})
	}
	return c
}

// appContainer is the container of an app: one of the Mesos containerizer has
// its networks as NetworkInfos with their labels; Docker loses the labels.
func (m *Marathon) appContainer(app *appSpec, mappings []mesos.NetworkInfo_PortMapping) *mesos.ContainerInfo {
	docker := app.Container != nil && app.Container.Type == "DOCKER" && app.Container.Docker != nil
	if docker {
		d := app.Container.Docker
		out := &mesos.ContainerInfo_DockerInfo{
			Image: d.Image, Privileged: &d.Privileged, ForcePullImage: &d.ForcePullImage,
			Network: mesos.ContainerInfo_DockerInfo_HOST.Enum(),
		}
		for _, p := range d.Parameters {
			out.Parameters = append(out.Parameters, mesos.Parameter{Key: p.Key, Value: p.Value})
		}
		for _, p := range mappings {
			out.PortMappings = append(out.PortMappings, mesos.ContainerInfo_DockerInfo_PortMapping(p))
		}
		info := &mesos.ContainerInfo{Type: mesos.ContainerInfo_DOCKER.Enum(), Docker: out}
		for _, n := range app.Networks {
			switch n.Mode {
			case "container/bridge":
				out.Network = mesos.ContainerInfo_DockerInfo_BRIDGE.Enum()
			case "container":
				out.Network = mesos.ContainerInfo_DockerInfo_USER.Enum()
				info.NetworkInfos = []mesos.NetworkInfo{{Name: ptr(n.Name)}}
			}
		}
		return info
	}
	infos := m.networkInfos(app.Networks, mappings, true)
	if len(infos) == 0 && app.Container == nil {
		return nil
	}
	return &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: infos}
}

// networkInfos are the CNI networks of an app or pod. Apps ask for an address
// with an empty IPAddress, pods with nothing; labels are always there.
func (m *Marathon) networkInfos(networks []network, mappings []mesos.NetworkInfo_PortMapping, ask bool) []mesos.NetworkInfo {
	var out []mesos.NetworkInfo
	for _, n := range networks {
		name := n.Name
		switch n.Mode {
		case "host":
			continue
		case "container/bridge":
			name = m.cfg.BridgeName
		}
		info := mesos.NetworkInfo{Name: &name, Labels: labelsOf(n.Labels)}
		if ask {
			info.IPAddresses = []mesos.NetworkInfo_IPAddress{{Protocol: mesos.IPv4.Enum()}}
		}
		if len(out) == 0 {
			info.PortMappings = mappings
		}
		out = append(out, info)
	}
	return out
}

func discoveryPort(name string, container, host int, protocol string, labels map[string]string, networks []network, names []string) mesos.Port {
	p := mesos.Port{Number: uint32(container), Protocol: &protocol}
	if name != "" {
		p.Name = &name
	}
	all := map[string]string{}
	for k, v := range labels {
		all[k] = v
	}
	all["network-scope"] = "container"
	if host != 0 {
		p.Number, all["network-scope"] = uint32(host), "host"
	}
	if host == 0 {
		for _, n := range networks {
			if n.Mode == "container" && (len(names) == 0 || slices.Contains(names, n.Name)) {
				all["network-name"] = n.Name
				break
			}
		}
	}
	p.Labels = labelsOf(all)
	return p
}

// appEnv is what Marathon puts into a task's environment. Secrets are left out.
func (m *Marathon) appEnv(i *instance, t *task, app *appSpec) map[string]string {
	env := m.baseEnv(i, app.Labels, app.Env)
	env["MESOS_TASK_ID"] = t.id
	env["MARATHON_APP_RESOURCE_CPUS"] = fmt.Sprint(app.Cpus)
	env["MARATHON_APP_RESOURCE_MEM"] = fmt.Sprint(app.Mem)
	env["MARATHON_APP_RESOURCE_DISK"] = fmt.Sprint(app.Disk)
	env["HOST"] = i.host
	for n, p := range t.ports {
		env[fmt.Sprintf("PORT%d", n)] = fmt.Sprint(p)
	}
	if len(t.ports) > 0 {
		env["PORT"] = fmt.Sprint(t.ports[0])
		env["PORTS"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(t.ports), " ", ","), "[]")
	}
	return env
}

func (m *Marathon) baseEnv(i *instance, labels map[string]string, vars ...map[string]any) map[string]string {
	env := map[string]string{
		"MARATHON_APP_ID":      i.spec.id,
		"MARATHON_APP_VERSION": stamp(i.spec.version),
	}
	var keys []string
	for _, k := range sortedKeys(labels) {
		key := strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
				return r
			}
			return '_'
		}, strings.ToUpper(k))
		keys = append(keys, key)
		env["MARATHON_APP_LABEL_"+key] = labels[k]
	}
	env["MARATHON_APP_LABELS"] = strings.Join(keys, " ")
	for _, set := range vars {
		for k, v := range set {
			if s, ok := v.(string); ok {
				env[k] = s
			}
		}
	}
	return env
}

// podOperation launches a pod: the default executor with the pod's labels and
// networks, and a task per container.
func (m *Marathon) podOperation(i *instance, o mesos.Offer, port func(int) int) mesos.Offer_Operation {
	pod := &i.spec.podSpec
	executor := mesos.ExecutorInfo{
		Type: mesos.ExecutorInfo_DEFAULT, ExecutorID: mesos.ExecutorID{Value: executorID(i.id)},
		FrameworkID: &mesos.FrameworkID{Value: m.framework}, Labels: labelsOf(pod.Labels),
		Resources: i.spec.executorAmount().Resources("", i.spec.role(), false),
	}
	i.tasks = nil
	var mappings []mesos.NetworkInfo_PortMapping
	group := mesos.TaskGroupInfo{}
	for _, c := range pod.Containers {
		t := &task{id: taskID(i, c.Name), container: c.Name, status: mesos.TASK_STAGING.String(), condition: "Provisioned"}
		i.tasks = append(i.tasks, t)
		info := mesos.TaskInfo{Name: c.Name, TaskID: mesos.TaskID{Value: t.id}, AgentID: o.AgentID, Labels: labelsOf(c.Labels)}
		var discovered []mesos.Port
		for _, e := range c.Endpoints {
			host := 0
			if e.HostPort != nil {
				host = port(*e.HostPort)
				t.ports = append(t.ports, host)
			}
			protocols := e.Protocol
			if len(protocols) == 0 {
				protocols = []string{"tcp"}
			}
			for _, protocol := range protocols {
				if host != 0 && e.ContainerPort != 0 {
					mappings = append(mappings, mesos.NetworkInfo_PortMapping{HostPort: uint32(host), ContainerPort: uint32(e.ContainerPort), Protocol: ptr(protocol)})
				}
				discovered = append(discovered, discoveryPort(e.Name, cmp.Or(e.ContainerPort, host), host, protocol, e.Labels, pod.Networks, e.NetworkNames))
			}
		}
		info.Discovery = &mesos.DiscoveryInfo{Visibility: mesos.FRAMEWORK, Name: ptr(reversed(i.spec.id)), Ports: &mesos.Ports{Ports: discovered}}
		info.Resources = master.Amount{Cpus: c.Resources.Cpus, Mem: c.Resources.Mem, Disk: c.Resources.Disk, Ports: portResources(t.ports)}.Resources("", i.spec.role(), false)
		labels := map[string]string{}
		for k, v := range pod.Labels {
			labels[k] = v
		}
		for k, v := range c.Labels {
			labels[k] = v
		}
		env := m.baseEnv(i, labels, pod.Environment, c.Environment)
		env["MESOS_TASK_ID"] = t.id
		env["MESOS_EXECUTOR_ID"] = executor.ExecutorID.Value
		env["MARATHON_CONTAINER_ID"] = c.Name
		var shell string
		var argv []string
		if c.Exec != nil {
			shell, argv = c.Exec.Command.Shell, c.Exec.Command.Argv
		}
		info.Command = command(shell, argv, cmp.Or(c.User, pod.User, m.cfg.User), env)
		info.HealthCheck = podHealthCheck(c.HealthCheck, c.Endpoints, t.ports)
		if g := c.Lifecycle.KillGracePeriodSeconds; g > 0 {
			info.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: int64(g * 1e9)}}
		}
		group.Tasks = append(group.Tasks, info)
	}
	if infos := m.networkInfos(pod.Networks, mappings, false); len(infos) > 0 {
		executor.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), NetworkInfos: infos}
	}
	return mesos.Offer_Operation{Type: mesos.Offer_Operation_LAUNCH_GROUP, LaunchGroup: &mesos.Offer_Operation_LaunchGroup{Executor: executor, TaskGroup: group}}
}
