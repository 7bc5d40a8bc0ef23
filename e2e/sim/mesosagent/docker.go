package mesosagent

import (
	"encoding/json"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A task of the Docker containerizer never touches CNI. Its wiring would be
// libnetwork's; here it has a namespace with loopback only, or the host's.

// dockerNetwork is the network of docker run: a parameter comes after what the
// network says, and wins.
func dockerNetwork(info *mesos.ContainerInfo) string {
	for _, p := range info.GetDocker().GetParameters() {
		if p.Key == "net" || p.Key == "network" {
			return p.Value
		}
	}
	switch info.GetDocker().GetNetwork() {
	case mesos.ContainerInfo_DockerInfo_BRIDGE:
		return "bridge"
	case mesos.ContainerInfo_DockerInfo_NONE:
		return "none"
	case mesos.ContainerInfo_DockerInfo_USER:
		if len(info.NetworkInfos) > 0 {
			return info.NetworkInfos[0].GetName()
		}
	}
	return "host"
}

func dockerOnHost(info *mesos.ContainerInfo) bool { return dockerNetwork(info) == "host" }

// dockerIP is the address that docker inspect would show, "" for none.
func dockerIP(c *container) string {
	switch dockerNetwork(c.executor.Container) {
	case "none", "host":
		return ""
	}
	return "172.17.0.2" // local to the host: every host has one
}

// dockerInfos are the addresses in a Docker task's status: the container's
// with TASK_RUNNING only, else the agent's, which is wrong but so
// (CLUSTER-API 1.5).
func (a *Agent) dockerInfos(c *container, state mesos.TaskState) []mesos.NetworkInfo {
	ip := a.cfg.Host
	if own := dockerIP(c); own != "" && state == mesos.TASK_RUNNING {
		ip = own
	}
	return []mesos.NetworkInfo{{IPAddresses: []mesos.NetworkInfo_IPAddress{ipAddress(ip, mesos.IPv4)}}}
}

// dockerInspect is the data of a Docker task's TASK_RUNNING: the output of
// docker inspect, with the whole environment (CLUSTER-API 3.2).
func (a *Agent) dockerInspect(c *container, t *taskRun) []byte {
	if !c.docker {
		return nil
	}
	pid := 0
	if c.proc != nil {
		pid = c.proc.pid()
	}
	mode := dockerNetwork(c.executor.Container)
	ip := dockerIP(c)
	b, _ := json.Marshal([]any{map[string]any{
		"Id":         c.id,
		"Name":       "/mesos-" + c.id,
		"State":      map[string]any{"Running": true, "Pid": pid},
		"Config":     map[string]any{"Env": a.environment(c, t), "Labels": map[string]string{"MESOS_TASK_ID": t.id}},
		"HostConfig": map[string]any{"NetworkMode": mode},
		"NetworkSettings": map[string]any{
			"IPAddress": ip, "Networks": map[string]any{mode: map[string]any{"IPAddress": ip}},
		},
	}})
	return b
}
