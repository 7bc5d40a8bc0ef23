package agent_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events/work"
)

var bothBackends = []string{"nft", "legacy"}

// A task's first packet meets its policy, at both ends, for every protocol,
// and of a task that ended nothing is left.
func TestLifeOfATask(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			l := newLab(t, func(c *agent.Config) { c.Backend = backend })
			l.must(work.Item{
				Sets: []work.Set{nets("web", "10.0.0.1"), nets("db", "10.0.0.2")},
				Programs: []work.Program{
					posture("web", nil, tier(to(allow(6, "db", 5432)), to(allow(17, "db", 5432)), to(allow(1, "db")))),
					posture("db", tier(allow(6, "web", 5432), allow(17, "web", 5432), allow(1, "web")), nil),
					posture("rogue", nil, tier(allow(0, ""))),
				},
			})
			web, db := l.run("web", "10.0.0.1", "web"), l.run("db", "10.0.0.2", "db")
			rogue, closed := l.run("rogue", "10.0.0.3", "rogue"), l.run("closed", "10.0.0.4", "")
			for _, n := range []string{"tcp", "udp"} {
				db.Serve(n, "10.0.0.2:5432")
				db.Serve(n, "10.0.0.2:22")
				web.Serve(n, "10.0.0.1:80")
			}
			for _, n := range []string{"tcp", "udp"} {
				web.reaches(n, "10.0.0.2:5432")
				web.blocked(n, "10.0.0.2:22")     // no such port in either policy
				rogue.blocked(n, "10.0.0.2:5432") // its egress allows, the server's ingress does not
				db.blocked(n, "10.0.0.1:80")      // the server has no egress policy
				closed.blocked(n, "10.0.0.2:5432")
			}
			web.reaches("icmp", "10.0.0.2")
			db.blocked("icmp", "10.0.0.1")
			rogue.blocked("icmp", "10.0.0.2")

			// The task ends: closed at once, gone at DEL.
			l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/web"}}})
			web.blocked("tcp", "10.0.0.2:5432")
			if err := netlab.ReachHere("tcp", "10.0.0.1:80"); err != nil {
				t.Errorf("the host must reach an ended executor until DEL: %v", err)
			}
			web.del()
			l.await("web detached", detached("fw/web"))
			for _, tk := range []*task{db, rogue, closed} {
				l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + tk.executor}}})
				tk.del()
				tk.del() // a second time is as good
				l.await(tk.executor+" detached", detached("fw/"+tk.executor))
			}
			l.must(work.Item{Delete: &work.Deletions{Programs: []string{"web", "db", "rogue"}, Sets: []string{"web", "db"}}})
			nothingLeft(t, l, backend)
		})
	}
}

// nothingLeft looks for traces of tasks on the host.
func nothingLeft(t *testing.T, l *lab, backend string) {
	t.Helper()
	for _, c := range []struct{ command, trace string }{
		{"ip -o link", "tw"},
		{"ip route", "10.0.0."},
		{"ip neigh", "10.0.0."},
		{"conntrack -L", "10.0.0."},
		{"ipset save", "add "},
		{"ipset save", "tw-s-"},
		{"iptables-" + backend + "-save", "tw-e-"},
		{"iptables-" + backend + "-save", "tw-i-"},
		{"iptables-" + backend + "-save", "tw-d-"},
		{"ls " + l.cfg.StateDir + "/attachments", "tw"},
	} {
		out, err := exec.Command("sh", "-c", c.command).Output()
		if err != nil {
			t.Fatalf("%s: %v", c.command, err)
		}
		if strings.Contains(string(out), c.trace) {
			t.Errorf("%s shows %q:\n%s", c.command, c.trace, out)
		}
	}
}

// The result has the only form from which Mesos reads an address, and newer
// callers get theirs.
func TestResults(t *testing.T) {
	l := newLab(t)
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("a", "10.0.0.1", "")}})
	tk := l.container("a")
	for version, want := range map[string]string{
		"0.2.0": `{"cniVersion":"0.2.0","dns":{},"ip4":{"gateway":"169.254.1.1","ip":"10.0.0.1/32","routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}}`,
		"":      `{"cniVersion":"0.2.0","dns":{},"ip4":{"gateway":"169.254.1.1","ip":"10.0.0.1/32","routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}}`,
		"1.0.0": `{"cniVersion":"1.0.0","interfaces":[{"name":"VETH"},{"name":"eth0","sandbox":"NS"}],"ips":[{"address":"10.0.0.1/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}`,
	} {
		conf := tk.config(version, "taskwall")
		if version == "" {
			conf = strings.Replace(conf, `"cniVersion":"",`, "", 1)
		}
		out, exit := tk.plugin("ADD", conf)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil || exit != 0 {
			t.Fatalf("%s: %v in %q", version, err, out)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.NewReplacer(tk.Path, "NS").Replace(string(b))
		if i := strings.Index(got, `"name":"tw`); i > 0 {
			got = got[:i+8] + "VETH" + got[i+8+13:]
		}
		if got != want {
			t.Errorf("cniVersion %q:\ngot  %s\nwant %s", version, got, want)
		}
	}
}

// What cannot be attached fails in words for the task's owner, and at once
// where waiting would not help.
func TestRefusals(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.WaitTimeout = 300e6 })
	refused := endpoint("refused", "10.0.0.1", "")
	refused.Refused = "pool default is full"
	l.must(work.Item{Endpoints: []work.Endpoint{refused, endpoint("a", "10.0.0.2", "")}})
	for _, tc := range []struct {
		name, network, want string
		task                func() *task
	}{
		{"refused by the controller", "taskwall", "pool default is full", func() *task { return l.container("refused") }},
		{"not announced", "taskwall", "the controller has not announced the task", func() *task { return l.container("late") }},
		{"another network", "other", `named \"other\"`, func() *task { return l.container("a") }},
		{"unknown container", "taskwall", "the Mesos agent does not know the container", func() *task {
			tk := l.container("x")
			l.mesos.remove(tk.container)
			return tk
		}},
	} {
		tk := tc.task()
		out, exit := tk.plugin("ADD", tk.config("0.2.0", tc.network))
		var e struct {
			Version string `json:"cniVersion"`
			Code    int    `json:"code"`
			Msg     string `json:"msg"`
		}
		if err := json.Unmarshal([]byte(out), &e); err != nil || exit == 0 || e.Code == 0 || e.Version != "0.2.0" {
			t.Errorf("%s: exit %d, %v: %s", tc.name, exit, err, out)
		}
		if !strings.Contains(out, tc.want) {
			t.Errorf("%s: %q is not in %s", tc.name, tc.want, out)
		}
		tk.del() // of what was never attached
	}
	tk := l.container("a")
	tk.mustAdd()
}

// The real plugin is a process of its own, with just the environment that
// Mesos gives it.
func TestPluginProcess(t *testing.T) {
	l := newLab(t)
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("a", "10.0.0.1", "")}})
	tk := l.container("a")
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + tk.container, "CNI_NETNS=" + tk.Path, "CNI_IFNAME=eth0", "CNI_PATH=/x", "PATH=/bin"}
	cmd.Stdin = strings.NewReader(tk.config("0.2.0", "taskwall"))
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), `"10.0.0.1/32"`) {
		t.Fatalf("%v: %s", err, out)
	}
	tk.Serve("tcp", "10.0.0.1:80")
	if err := netlab.ReachHere("tcp", "10.0.0.1:80"); err != nil {
		t.Errorf("the host cannot reach its task: %v", err)
	}
}

// An item that comes twice, or a picture that is older than what was applied,
// changes nothing.
func TestOldItemsChangeNothing(t *testing.T) {
	l := newLab(t, func(c *agent.Config) { c.Backend = "nft" })
	old := l.wanted.Item("h1")
	l.must(work.Item{Programs: []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))}})
	a, b := l.run("a", "10.0.0.1", "open"), l.run("b", "10.0.0.2", "open")
	a.Serve("tcp", "10.0.0.1:80")
	before := kernel(t, "nft")
	l.items <- old
	l.items <- &work.Item{Host: "h1", Rev: 2, Delete: &work.Deletions{Endpoints: []string{"fw/a"}, Programs: []string{"open"}}}
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint("later", "10.0.0.3", "")}}) // the others were seen before it
	if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
		t.Error(d)
	}
	b.reaches("tcp", "10.0.0.1:80")
}

// An item that leaves a gap is not applied: the agent asks for the whole
// picture, once, and goes on from it.
func TestGapAsksForThePicture(t *testing.T) {
	l := newLab(t)
	have := l.rev
	l.rev += 5
	l.wanted.Rev += 5
	l.items <- &work.Item{Host: "h1", Rev: l.rev, Endpoints: []work.Endpoint{endpoint("a", "10.0.0.1", "")}}
	r := l.await("a join", func(r work.Report) bool { return r.Join != nil })
	if !strings.Contains(r.Join.Reason, "missing") {
		t.Errorf("reason %q", r.Join.Reason)
	}
	if r.Join.Rev != have {
		t.Errorf("it says that it has revision %d instead of %d", r.Join.Rev, have)
	}
	l.snapshot()
	l.run("b", "10.0.0.2", "")
}
