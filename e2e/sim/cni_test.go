package sim_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/e2e/sim/master"
)

// cniCluster is one agent in a namespace with the recordings' plugin, driven by
// a framework of its own.
type cniCluster struct {
	*sim.Cluster
	*scheduler
	t     *testing.T
	agent *sim.Node
	dir   string // bin, conf, log and the plugin's orders
}

func startCNI(t *testing.T, prefix string) *cniCluster {
	t.Helper()
	f, err := netns.New(prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		if left := netns.Leftovers(prefix); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	dir := t.TempDir()
	for _, d := range []string{"bin", "conf", "log"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "rectest"), readFile(t, "testdata/rectest"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeConf(t, filepath.Join(dir, "conf"), "recnet", `{"name":"recnet","type":"rectest","cniVersion":"0.2.0","vendorKey":{"nested":["kept?",1,true]},"args":{"ourown":{"x":"y"}}}`)
	writeConf(t, filepath.Join(dir, "conf"), "recnet2", `{"cniVersion":"0.4.0","name":"recnet2","type":"rectest","dns":{"nameservers":["9.9.9.9"]}}`)
	writeConf(t, filepath.Join(dir, "conf"), "aaa-list", `{"cniVersion":"0.4.0","name":"recnet","plugins":[{"type":"rectest"}]}`) // skipped: a list
	c, err := sim.Start(testContext(t), sim.Config{
		Fabric: f, NoMarathon: true, Seed: 3, DomainSockets: true, PingTimeout: time.Hour,
		CNIConf: filepath.Join(dir, "conf"), CNIPlugins: filepath.Join(dir, "bin"),
		Hosts: []sim.Host{{Name: "h1", Address: "192.168.60.11/24",
			Resources: master.Amount{Cpus: 4, Mem: 2048, Disk: 4096, Ports: []mesos.Value_Range{{Begin: 31000, End: 31100}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := newScheduler(t, c.MasterURL(), fmt.Sprintf(subscribeCall, "0"))
	return &cniCluster{Cluster: c, scheduler: s, t: t, agent: c.Host("h1"), dir: dir}
}

// run launches a task on networks.
func (c *cniCluster) run(id, cmd string, networks ...string) {
	c.t.Helper()
	var infos []any
	for _, n := range networks {
		infos = append(infos, map[string]any{"name": n, "labels": map[string]any{"labels": []any{map[string]any{"key": "net-app", "value": id}, map[string]any{"key": "net", "value": n}}}})
	}
	call, _ := json.Marshal(map[string]any{"type": "ACCEPT", "framework_id": nil, "accept": map[string]any{"operations": []any{map[string]any{
		"type": "LAUNCH", "launch": map[string]any{"task_infos": []any{map[string]any{
			"name": id, "task_id": map[string]any{"value": id}, "agent_id": nil, "command": map[string]any{"value": cmd},
			"resources": []any{
				map[string]any{"name": "cpus", "type": "SCALAR", "scalar": map[string]any{"value": 0.1}},
				map[string]any{"name": "mem", "type": "SCALAR", "scalar": map[string]any{"value": 32}},
			},
			"container": map[string]any{"type": "MESOS", "network_infos": infos},
		}}},
	}}}})
	c.launch(call)
}

// order leaves a file for the plugin, cancel removes it.
func (c *cniCluster) order(name, body string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(body), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cniCluster) cancel(name string) {
	c.t.Helper()
	if err := os.Remove(filepath.Join(c.dir, name)); err != nil {
		c.t.Fatal(err)
	}
}

// calls lists what the plugin was asked: "ADD <container>", begun or done.
func (c *cniCluster) calls(state string) []string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "log", state))
	return strings.Fields(strings.ReplaceAll(string(b), " ", ":"))
}

func (c *cniCluster) awaitCalls(state, command string, n int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("%d %s %s", n, command, state), func() bool {
		return len(slices.DeleteFunc(c.calls(state), func(s string) bool { return !strings.HasPrefix(s, command) })) == n
	})
}

// logged are the plugin's inputs with a suffix, by content.
func (c *cniCluster) logged(suffix string) []string {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "log", "*"+suffix))
	if err != nil {
		c.t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, string(readFile(c.t, f)))
	}
	return out
}

// TestPluginGetsWhatMesosGives: standard input and environment are those that a
// real agent gave its plugin for the same tasks.
func TestPluginGetsWhatMesosGives(t *testing.T) {
	c := startCNI(t, "twsb")
	c.accept("fw1", "web.1")
	c.accept("fw2", "g1")
	c.accept("fw2", "h1")
	for _, task := range []string{"web.1", "failing.1", "finishing.1", "g1", "g2", "h1", "h2"} {
		c.saw(task, "TASK_RUNNING")
	}
	c.run("two.1", "sleep 100", "recnet2", "recnet")
	c.saw("two.1", "TASK_RUNNING")
	c.kill("web.1")
	c.saw("web.1", "TASK_KILLED")
	c.awaitCalls("done", "DEL", 1)

	stdins := c.logged("*.stdin.json")
	for _, name := range []string{"web.1", "failing.1", "finishing.1", "grp", "grp2", "h1", "two.1-recnet", "two.1-recnet2", "web.1-DEL"} {
		want := string(readFile(t, "testdata/recorded/cni/"+name+".stdin.json"))
		if !slices.Contains(stdins, want) {
			t.Errorf("no plugin call got what the recorded %s got:\n%s\nbut:\n%s", name, want, strings.Join(stdins, "\n"))
		}
	}
	var shapes []string
	for _, e := range c.logged(".env") {
		shapes = append(shapes, environment(e))
	}
	for _, name := range []string{"web.1", "h1", "web.1-DEL", "two.1-recnet"} {
		if want := environment(string(readFile(t, "testdata/recorded/cni/"+name+".env"))); !slices.Contains(shapes, want) {
			t.Errorf("no plugin call had the environment of the recorded %s:\n%s\nbut:\n%s", name, want, strings.Join(shapes, "\n"))
		}
	}
}

// environment is a plugin's environment without what differs between machines.
func environment(env string) string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(env), "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "PATH", "CNI_PATH":
			value = "-"
		case "CNI_NETNS":
			value = value[strings.Index(value, "/run/isolators"):]
		}
		out = append(out, key+"="+value)
	}
	slices.Sort(out)
	return normal([]byte(strings.Join(out, "\n")))
}

// TestPluginFailures: what a task's last status says when its plugin fails, and
// that DEL follows a failed ADD.
func TestPluginFailures(t *testing.T) {
	c := startCNI(t, "twsc")
	plugin := filepath.Join(c.dir, "bin", "rectest")
	for _, tt := range []struct {
		task, order, body, answer, network string
		reason, words                      string
		adds                               int
	}{
		{"err.1", "fail-ADD", `{"cniVersion":"0.3.0","code":11,"msg":"recording plugin told to fail","details":"behaviour=error"}` + "\n", "", "recnet",
			"REASON_CONTAINER_LAUNCH_FAILED",
			`Failed to launch container: Collect failed: The CNI plugin '` + plugin + `' failed to attach container UUID to CNI network 'recnet': stdout='{"cniVersion":"0.3.0","code":11,"msg":"recording plugin told to fail","details":"behaviour=error"}` + "\n" + `', stderr=''`, 1},
		{"errtext.1", "text-ADD", "plain text on stderr\n", "", "recnet", "REASON_CONTAINER_LAUNCH_FAILED",
			`Failed to launch container: Collect failed: The CNI plugin '` + plugin + `' failed to attach container UUID to CNI network 'recnet': stdout='', stderr='plain text on stderr` + "\n" + `'`, 1},
		{"ips.1", "answer", `{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.213.0.16/24"}]}`, "", "recnet", "REASON_EXECUTOR_TERMINATED", "Executor terminated", 1},
		{"empty.1", "answer", `{}`, "", "recnet", "REASON_EXECUTOR_TERMINATED", "Executor terminated", 1},
		{"unknownnet.1", "", "", "", "nosuchnet", "REASON_CONTAINER_LAUNCH_FAILED", "Failed to launch container: Unknown CNI network 'nosuchnet'", 0},
	} {
		t.Run(tt.task, func(t *testing.T) {
			before := len(c.calls("begun"))
			if tt.order != "" {
				c.order(tt.order, tt.body)
				defer c.cancel(tt.order)
			}
			c.run(tt.task, "sleep 100", tt.network)
			status := c.saw(tt.task, "TASK_FAILED")
			if got := normal([]byte(status["message"].(string))); got != tt.words || status["reason"] != tt.reason || status["source"] != "SOURCE_AGENT" {
				t.Errorf("%v %v\ngot  %s\nwant %s", status["source"], status["reason"], got, tt.words)
			}
			if status["container_status"] != nil || status["executor_id"] == nil || status["uuid"] == nil {
				t.Errorf("status %v", status)
			}
			calls := c.calls("begun")[before:]
			if tt.adds == 0 && len(calls) != 0 || tt.adds == 1 && (len(calls) != 2 || !strings.HasPrefix(calls[0], "ADD") || !strings.HasPrefix(calls[1], "DEL")) {
				t.Errorf("plugin calls before the status: %v", calls)
			}
		})
	}
}

// TestKillDuringAttach: the task is killed at once; ADD runs on, then DEL.
// Meanwhile the agent's API already knows whose container it is.
func TestKillDuringAttach(t *testing.T) {
	c := startCNI(t, "twsd")
	c.order("hang-ADD", "")
	c.run("slowkill.1", "sleep 100", "recnet")
	c.awaitCalls("begun", "ADD", 1)
	var during struct {
		GetContainers struct{ Containers []map[string]any } `json:"get_containers"`
	}
	body := c.agentPost(`{"type":"GET_CONTAINERS"}`)
	if err := json.Unmarshal(body, &during); err != nil {
		t.Fatal(err)
	}
	list := during.GetContainers.Containers
	if len(list) != 1 || value(list[0]["executor_id"]) != "slowkill.1" || value(list[0]["framework_id"]) != c.framework() ||
		dig(list[0], "container_status", "network_infos") != nil || dig(list[0], "container_status", "executor_pid") == nil {
		t.Errorf("GET_CONTAINERS during ADD: %s", body)
	}
	want := withoutStatistics(string(readFile(t, "testdata/recorded/agent-during-add.json")))
	if got := withoutStatistics(string(body)); strings.ReplaceAll(got, "slowkill.1", "slow.1") != strings.ReplaceAll(strings.Replace(want, "sleep 5", "sleep 100", 1), "0002", "0000") {
		t.Errorf("GET_CONTAINERS during ADD\nrecorded  %s\nsimulated %s", want, got)
	}
	c.kill("slowkill.1")
	status := c.saw("slowkill.1", "TASK_KILLED")
	if status["message"] != "Killed before delivery to the executor" || status["reason"] != "REASON_TASK_KILLED_DURING_LAUNCH" {
		t.Errorf("%v", status)
	}
	if done := c.calls("done"); len(done) != 0 {
		t.Errorf("ADD should still run: %v", done)
	}
	c.cancel("hang-ADD")
	c.awaitCalls("done", "DEL", 1)
	eventually(t, "the network state to go", func() bool { return len(c.agent.Agent.Attachments()) == 0 })
}

// TestFailedDetach: the namespace stays until the agent starts again, which
// tries once more.
func TestFailedDetach(t *testing.T) {
	c := startCNI(t, "twse")
	c.order("fail-DEL", "no")
	c.run("delerr.1", "exit 0", "recnet")
	c.saw("delerr.1", "TASK_FINISHED")
	eventually(t, "the container to go", func() bool { return string(c.agentPost(`{"type":"GET_CONTAINERS"}`)) == `{"type":"GET_CONTAINERS"}` })
	left := c.agent.Agent.Attachments()
	if len(left) != 1 {
		t.Fatalf("network state: %v", left)
	}
	c.cancel("fail-DEL")
	c.agent.Agent.Kill()
	if err := c.agent.Agent.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the retry", func() bool { return len(c.agent.Agent.Attachments()) == 0 })
	if calls := c.calls("begun"); len(calls) != 3 || calls[1] != calls[2] {
		t.Errorf("want ADD, DEL and the same DEL again: %v", calls)
	}
	// A live container is left alone by a restart.
	c.run("stay.1", "sleep 100", "recnet")
	c.saw("stay.1", "TASK_RUNNING")
	c.agent.Agent.Kill()
	if err := c.agent.Agent.Start(); err != nil {
		t.Fatal(err)
	}
	if tasks := c.Tasks(); len(tasks) != 1 || tasks[0].ID != "stay.1" {
		t.Errorf("tasks after a restart of the agent: %v", tasks)
	}
	if calls := c.calls("begun"); len(calls) != 4 {
		t.Errorf("plugin calls: %v", calls)
	}
}

// TestRebootAndWipe: after a reboot nothing was detached and the task is gone;
// after the loss of the work directory the task runs on as an orphan until the
// agent starts.
func TestRebootAndWipe(t *testing.T) {
	c := startCNI(t, "twsm")
	c.run("one", "sleep 100", "recnet")
	c.saw("one", "TASK_RUNNING")
	id := c.agent.Agent.ID()
	c.agent.Agent.Reboot()
	if left := c.agent.Agent.Attachments(); len(left) != 0 || len(c.Tasks()) != 0 {
		t.Errorf("after a reboot: %v %v", left, c.Tasks())
	}
	if err := c.agent.Agent.Start(); err != nil {
		t.Fatal(err)
	}
	c.saw("one", "TASK_DROPPED", "Reconciliation: task unknown to the agent")
	if calls := c.calls("begun"); len(calls) != 1 || c.agent.Agent.ID() != id {
		t.Errorf("plugin calls %v, agent %s was %s", calls, c.agent.Agent.ID(), id)
	}
	c.run("two", "sleep 100", "recnet")
	c.saw("two", "TASK_RUNNING")
	c.agent.Agent.Wipe()
	if tasks := c.Tasks(); len(tasks) != 1 || tasks[0].Pid == 0 {
		t.Errorf("an orphan should run on: %v", tasks)
	}
	if err := c.agent.Agent.Start(); err != nil {
		t.Fatal(err)
	}
	c.saw("two", "TASK_LOST", "a new agent registered at the same address")
	c.awaitCalls("done", "DEL", 1)
	eventually(t, "the orphan to go", func() bool { return len(c.Tasks()) == 0 && c.agent.Agent.ID() != id })
}
