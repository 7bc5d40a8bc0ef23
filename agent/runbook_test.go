package agent_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/events/work"
)

// The runbook's way to remove it all does, and leaves what others have.
func TestRunbookRemovesItAll(t *testing.T) {
	doc, err := os.ReadFile("../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, ok := strings.Cut(string(doc), "systemctl stop taskwall-agent\n")
	script, _, ok2 := strings.Cut(script, "rm -r ")
	if !ok || !ok2 {
		t.Fatal("docs/agent.md has no such script any more")
	}
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{Sets: []work.Set{nets("x", "10.0.0.9")}, Programs: []work.Program{posture("open", tier(allow(0, "x")), tier(allow(0, "")))}, Routes: blocks()[:1]})
			l.run("a", "10.0.0.1", "open")
			l.stop()
			theirs := strings.ReplaceAll("iptables-B -A FORWARD -s 1.2.3.4 -j DROP; iptables-B -N theirs; ipset create theirs hash:ip; ip6tables-B -A INPUT -s 2001:db8::1 -j DROP", "B", backend)
			// "with the backend's own names"
			script := strings.NewReplacer("$t-save", "$t-"+backend+"-save", "$t-restore", "$t-"+backend+"-restore").Replace(script)
			for _, do := range []string{theirs, script} {
				if out, err := exec.Command("bash", "-ec", do).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			left := kernel(t, backend)
			six, err := exec.Command("ip6tables-" + backend + "-save").Output()
			if err != nil {
				t.Fatal(err)
			}
			left += string(six)
			for line := range strings.Lines(left) {
				if strings.Contains(line, "tw") || strings.Contains(line, "proto 84") {
					t.Errorf("left: %s", line)
				}
			}
			for _, want := range []string{"-A FORWARD -s 1.2.3.4/32 -j DROP", "create theirs", "-A INPUT -s 2001:db8::1/128 -j DROP"} {
				if !strings.Contains(left, want) {
					t.Errorf("not left: %s", want)
				}
			}
		})
	}
}

// What an image waits with, by the docs, is over when the task has its way out, and
// not when there is only an interface.
func TestImageWaitsForItsWayOut(t *testing.T) {
	doc, err := os.ReadFile("../docs/agent.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, ok := strings.Cut(string(doc), "  `until ")
	script, _, ok2 := strings.Cut(script, " exec …`")
	if !ok || !ok2 {
		t.Fatal("docs/agent.md has no such script any more")
	}
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("a", "10.0.0.1", "")}})
	tk := l.container("a")
	waits := func(seconds string) (ended bool) {
		cmd := exec.Command("nsenter", "--net="+tk.Path, "timeout", seconds, "sh", "-c", "until "+script)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState.ExitCode() != 124 {
			t.Fatalf("%v: %s", err, out)
		}
		return err == nil
	}
	inside := func(args string) {
		run(t, append([]string{"nsenter", "--net=" + tk.Path, "ip"}, strings.Fields(args)...)...)
	}
	inside("link add eth0 type veth peer name other")
	inside("addr add 10.0.0.1/32 dev eth0")
	inside("link set eth0 up")
	if waits("0.2") {
		t.Error("it is over with an interface that has no way out")
	}
	inside("link del eth0")
	tk.mustAdd()
	if !waits("60") {
		t.Error("it does not end")
	}
}
