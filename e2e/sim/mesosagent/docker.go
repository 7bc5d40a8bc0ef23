package mesosagent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// A task of the Docker containerizer never touches CNI. Its wiring would be
// libnetwork's; here it has a namespace with loopback only, which is up as Docker
// leaves it, or the host's.

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
	b, _ := json.Marshal([]any{a.inspection(c, t)})
	return b
}

func (a *Agent) inspection(c *container, t *taskRun) map[string]any {
	pid := 0
	if c.proc != nil {
		pid = c.proc.pid()
	}
	mode := dockerNetwork(c.executor.Container)
	ip := dockerIP(c)
	return map[string]any{
		"Id":         c.id,
		"Name":       dockerPrefix + c.id,
		"State":      map[string]any{"Running": true, "Pid": pid},
		"Config":     map[string]any{"Env": a.environment(c, t), "Labels": map[string]string{"MESOS_TASK_ID": t.id}},
		"HostConfig": map[string]any{"NetworkMode": mode},
		"NetworkSettings": map[string]any{
			"IPAddress": ip, "Networks": map[string]any{mode: map[string]any{"IPAddress": ip}},
		},
	}
}

// dockerPrefix goes before a container's id in its Docker name.
const dockerPrefix = "/mesos-"

// Docker is the host's Docker daemon, as far as it tells of one container:
// GET /containers/NAME/json. A container is there once its process runs and until
// it has ended.
func (a *Agent) Docker() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, inspect := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/containers"), "/json")
		id, mesos := strings.CutPrefix(name, dockerPrefix)
		a.mu.Lock()
		c := a.containers[id]
		var found map[string]any
		if inspect && mesos && c != nil && c.docker && c.phase == running && !c.proc.ended() {
			found = a.inspection(c, c.tasks[0])
		}
		a.mu.Unlock()
		if found == nil {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"message":"No such container: %s"}`, id)
			return
		}
		_ = json.NewEncoder(w).Encode(found)
	})
}
