package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestComposeFile checks that docker-compose takes docker-compose.yml, that it
// describes the whole cluster, and that what it mounts is there. Its images are
// not run here.
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
		"TASKWALL_NATS_NKEY: /credentials/controller.nk", "TASKWALL_CHECKPOINT_KEY: /credentials/checkpoint.key",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the cluster lacks %q", want)
		}
	}
	if n := strings.Count(string(out), "TASKWALL_NATS_NKEY: /credentials/agent.nk"); n != 2 {
		t.Errorf("%d agents have a key, want 2", n)
	}
	mounts := regexp.MustCompile(`(?m)^ *- (/[^:\n]*/e2e/[^:\n]+):`).FindAllStringSubmatch(string(out), -1)
	if len(mounts) == 0 {
		t.Error("no file of ours is mounted")
	}
	for _, m := range mounts {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("mounted, and not there: %v", err)
		}
	}
}

// TestComposeCredentials makes the cluster's keys as its first service does,
// and has a NATS server read what comes of it.
func TestComposeCredentials(t *testing.T) {
	bin, root := t.TempDir(), t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../cmd/taskwall").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	for _, dir := range []string{"controller", "agent-1", "agent-2", "accounts"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	make := func() string {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "sh", "compose/credentials.sh", root).CombinedOutput(); err != nil {
			t.Fatalf("credentials.sh: %v\n%s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(root, "accounts", "accounts.conf"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	accounts := make()
	if again := make(); again != accounts {
		t.Error("a second start made other keys")
	}
	conf, err := os.ReadFile("compose/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "nats.conf"), conf, 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(filepath.Join(root, "nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if len(opts.Nkeys) != 5 || !opts.JetStream || !opts.SyncAlways {
		t.Errorf("the server has %d users, JetStream %v, writes synced %v", len(opts.Nkeys), opts.JetStream, opts.SyncAlways)
	}
	for _, secret := range []string{"controller/controller.nk", "controller/operator.nk", "controller/checkpoint.key", "agent-1/agent.nk", "agent-2/agent.nk"} {
		st, err := os.Stat(filepath.Join(root, secret))
		if err != nil {
			t.Error(err)
		} else if st.Mode().Perm() != 0o600 {
			t.Errorf("%s can be read by others: %s", secret, st.Mode())
		}
	}
}
