package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestComposeFile checks that docker-compose takes docker-compose.yml, and
// that it describes the whole cluster. Its images are not run here.
func TestComposeFile(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "docker-compose", "-f", "../docker-compose.yml", "config")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker-compose config: %v\n%s", err, out)
	}
	for _, want := range []string{
		"zookeeper:", "mesos-master:", "mesos-agent-1:", "mesos-agent-2:", "marathon:", "nats:", "controller:",
		"taskwall-agent-1:", "taskwall-agent-2:", "MESOS_NETWORK_CNI_CONFIG_DIR: /etc/mesos/cni",
		"MESOS_NETWORK_CNI_PLUGINS_DIR: /opt/taskwall/cni", "network_mode: service:mesos-agent-1",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the cluster lacks %q", want)
		}
	}
}
