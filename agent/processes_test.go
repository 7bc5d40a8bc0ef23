package agent_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// dockerDaemon answers inspections, as the Docker daemon does.
type dockerDaemon struct {
	socket string
	mu     sync.Mutex
	by     map[string]inspection // by name
	said   func(name string)     // called after each answer, when not nil
}

type inspection struct {
	pid  int
	mode string
}

func newDockerDaemon(t testing.TB) *dockerDaemon {
	t.Helper()
	d := &dockerDaemon{socket: filepath.Join(t.TempDir(), "docker.sock"), by: map[string]inspection{}}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/containers/"), "/json")
		d.mu.Lock()
		c, ok := d.by[name]
		said := d.said
		d.mu.Unlock()
		if said != nil {
			defer said(name)
		}
		if !ok {
			http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, `{"Id":"d-%s","State":{"Running":%v,"Pid":%d},"HostConfig":{"NetworkMode":%q}}`, name, c.pid != 0, c.pid, c.mode)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return d
}

func (d *dockerDaemon) set(container string, pid int, mode string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.by["mesos-"+container] = inspection{pid, mode}
}

// dockerTask is a process as Docker starts it.
type dockerTask struct {
	*task
	cmd *exec.Cmd
	end func()
}

// dockerRun starts a container's process; with mode "none" in a namespace of its
// own with loopback only, which is up, as Docker leaves it.
func (l *lab) dockerRun(d *dockerDaemon, executor, mode string) *dockerTask {
	l.t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if mode != "host" {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	dt := &dockerTask{task: &task{Namespace: netlab.OfPID(l.t, cmd.Process.Pid), l: l, executor: executor, container: "c-" + executor}, cmd: cmd}
	dt.end = sync.OnceFunc(func() {
		dt.Remove() // the test's own hold on the namespace
		cmd.Process.Kill()
		cmd.Wait()
		d.set(dt.container, 0, mode)
	})
	l.t.Cleanup(dt.end)
	if mode != "host" {
		run(l.t, "nsenter", "--net=/proc/"+strconv.Itoa(cmd.Process.Pid)+"/ns/net", "ip", "link", "set", "lo", "up")
	}
	l.mesos.add(dt.container, executor)
	d.set(dt.container, cmd.Process.Pid, mode)
	return dt
}

func dockerEndpoint(executor, addr, posture string) work.Endpoint {
	ep := endpoint(executor, addr, posture)
	ep.Docker = true
	return ep
}

func attached(id string) func(work.Report) bool {
	return func(r work.Report) bool {
		return r.Wiring != nil && r.Wiring.Endpoint == id && r.Wiring.State == events.Attached
	}
}

// A Docker task on network "none" gets its interface and its policy when its
// process runs; the agent may be killed meanwhile; with the process all goes.
func TestDockerTask(t *testing.T) {
	for _, backend := range bothBackends {
		t.Run(backend, func(t *testing.T) {
			d := newDockerDaemon(t)
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.DockerSocket = backend, d.socket })
			l.must(work.Item{
				Sets: []work.Set{nets("web", "10.0.0.1")},
				Programs: []work.Program{
					posture("db", tier(allow(6, "web", 80)), nil), posture("out", nil, tier(allow(0, ""))),
				},
				Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "db")},
			})
			web, other := l.run("web", "10.0.0.1", "out"), l.run("other", "10.0.0.2", "out")
			img := l.dockerRun(d, "img", "none")
			if l.await("attached", attached("fw/img")); img.Reach("tcp", "10.0.0.1:80") == nil {
				t.Error("the task reaches what no policy allows")
			}
			img.Serve("tcp", "10.0.0.7:80")
			img.Serve("tcp", "10.0.0.7:81")
			meets := func(when string) {
				t.Helper()
				web.reaches("tcp", "10.0.0.7:80")
				web.blocked("tcp", "10.0.0.7:81")
				other.blocked("tcp", "10.0.0.7:80")
				if err := netlab.ReachHere("tcp", "10.0.0.7:80"); err != nil {
					t.Errorf("%s: the host cannot reach its task: %v", when, err)
				}
			}
			meets("attached")
			conn := web.hold("tcp", "10.0.0.7:80")
			l.kill()
			l.start()
			l.snapshot()
			meets("after a kill")
			if err := netlab.Echo(conn, netlab.Wait); err != nil {
				t.Errorf("the connection broke: %v", err)
			}
			// It ended while nobody looked: the next agent finds out.
			l.kill()
			img.end()
			l.start()
			l.await("detached", detached("fw/img"))
			l.snapshot()
			l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/img"}}})
			for _, tk := range []*task{web, other} {
				l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/" + tk.executor}}})
				tk.gone()
			}
			l.must(work.Item{Delete: &work.Deletions{Programs: []string{"db", "out"}, Sets: []string{"web"}}})
			nothingLeft(t, l, backend)
		})
	}
}

// A Docker task that already runs cannot send before the firewall lets it: it is
// told so at once. A SYN that were lost would be sent again only after a second.
func TestDockerTaskSendsNothingThatIsLost(t *testing.T) {
	var early atomic.Pointer[error]
	var probe atomic.Pointer[func() error]
	agent.AtSteps(func(where string) {
		if f := probe.Load(); f != nil && where == "interface made" {
			err := (*f)()
			early.Store(&err)
		}
	})
	t.Cleanup(func() { agent.AtSteps(func(string) {}) }) // after the agent's end
	d := newDockerDaemon(t)
	l := newLab(t, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	l.must(work.Item{Programs: []work.Program{open("open")}, Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "open")}})
	web := l.run("web", "10.0.0.1", "open")
	web.Serve("tcp", "10.0.0.1:80")
	img := l.dockerRun(d, "img", "none")
	reach := func() error { return img.Reach("tcp", "10.0.0.1:80") }
	probe.Store(&reach)
	l.await("attached", attached("fw/img"))
	img.reaches("tcp", "10.0.0.1:80")
	if err := early.Load(); err == nil {
		t.Error("nobody tried before the firewall vouched for it")
	} else if !errors.Is(*err, syscall.ENETUNREACH) {
		t.Errorf("before the firewall vouched for it: %v", *err)
	}
}

// The agent is killed at each step of the attach of a Docker task, for which nobody
// asks again: the next agent completes it.
func TestDockerTaskKilledWhileAttached(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	l.must(work.Item{Programs: []work.Program{open("open")}})
	web := l.run("web", "10.0.0.1", "open")
	web.Serve("tcp", "10.0.0.1:80")
	for i, where := range []string{"attachment on disk", "interface made", "wired", "led out"} {
		name := fmt.Sprint("img", i)
		var img *dockerTask
		l.dies(where, func() {
			l.post(work.Item{Endpoints: []work.Endpoint{dockerEndpoint(name, fmt.Sprintf("10.0.0.%d", 10+i), "open")}})
			img = l.dockerRun(d, name, "none")
		})
		l.post(*l.wanted.Item(l.cfg.Host)) // its report and the attachment's have no order
		l.await("attached", attached("fw/"+name))
		img.reaches("tcp", "10.0.0.1:80")
		img.end()
		l.await("detached", detached("fw/"+name))
	}
}

// A task whose policy ends before its process is closed at once, and goes with
// the process; one that ended before its process ran leaves nothing.
func TestDockerTaskEnds(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	l.must(work.Item{
		Programs:  []work.Program{posture("open", tier(allow(0, "")), tier(allow(0, "")))},
		Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "open"), dockerEndpoint("early", "10.0.0.8", "open")},
	})
	l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/early"}}})
	web := l.run("web", "10.0.0.1", "open")
	web.Serve("tcp", "10.0.0.1:80")
	img := l.dockerRun(d, "img", "none")
	l.await("attached", attached("fw/img"))
	img.reaches("tcp", "10.0.0.1:80")
	l.must(work.Item{Delete: &work.Deletions{Endpoints: []string{"fw/img"}}})
	img.blocked("tcp", "10.0.0.1:80")
	img.end()
	l.await("detached", detached("fw/img"))
}

// What is not alone in a namespace of its own is refused, in words, and left
// as it is.
func TestDockerTaskRefused(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	for i, tt := range []struct {
		name, mode, says string
		shared           bool // the daemon says "none", and it is not so
	}{
		{name: "host", mode: "host", says: `is "host" and must be "none"`},
		{name: "bridge", mode: "bridge", says: `is "bridge"`},
		{name: "liar", mode: "host", says: "the host's own network namespace", shared: true},
	} {
		tk := l.dockerRun(d, tt.name, tt.mode)
		if tt.shared {
			d.set(tk.container, tk.cmd.Process.Pid, "none")
		}
		l.must(work.Item{Endpoints: []work.Endpoint{dockerEndpoint(tt.name, fmt.Sprintf("10.0.0.%d", 1+i), "")}})
		r := l.await("a failure", func(r work.Report) bool {
			return r.Wiring != nil && r.Wiring.Endpoint == "fw/"+tt.name && r.Wiring.State == events.Failed
		})
		if !strings.Contains(r.Wiring.Error, tt.says) {
			t.Errorf("%s: %s", tt.name, r.Wiring.Error)
		}
	}
	// Another interface in the namespace would be a way around the firewall.
	tk := l.dockerRun(d, "two", "none")
	netlab.Join(t, "other0", "10.9.9.1/24", tk.Namespace, "eth7", "10.9.9.2/24")
	l.must(work.Item{Endpoints: []work.Endpoint{dockerEndpoint("two", "10.0.0.9", "")}})
	r := l.await("a failure", func(r work.Report) bool {
		return r.Wiring != nil && r.Wiring.Endpoint == "fw/two" && r.Wiring.State == events.Failed
	})
	if !strings.Contains(r.Wiring.Error, "eth7") {
		t.Error(r.Wiring.Error)
	}
	if names := veths(t); len(names) > 0 {
		t.Errorf("interfaces were made: %v", names)
	}
}

// Between the daemon's answer and the opening of the namespace the process
// ended, and a stranger got its process id: the stranger is left alone.
func TestDockerProcessIDGivenAgain(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	stranger := l.dockerRun(d, "img", "none") // has the process id of the daemon's first answer
	other := l.dockerRun(d, "other", "none")
	var once sync.Once
	d.mu.Lock()
	d.said = func(name string) {
		if name == "mesos-"+stranger.container {
			once.Do(func() { d.set(stranger.container, other.cmd.Process.Pid, "none") })
		}
	}
	d.mu.Unlock()
	l.must(work.Item{Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "")}})
	l.await("attached", attached("fw/img"))
	has := func(tk *dockerTask) (found bool) {
		tk.Do(func() error {
			_, err := net.InterfaceByName("eth0")
			found = err == nil
			return nil
		})
		return found
	}
	if has(stranger) || !has(other) {
		t.Errorf("the stranger has an interface: %v; the container: %v", has(stranger), has(other))
	}
}

// The agent's records are lost while a Docker task runs: it keeps its interface
// and loses no packet, and is known by its process again.
func TestDockerTaskWithoutRecords(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
	l.must(work.Item{Programs: []work.Program{open("open")}, Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "open")}})
	web := l.run("web", "10.0.0.1", "open")
	img := l.dockerRun(d, "img", "none")
	l.await("attached", attached("fw/img"))
	img.Serve("udp", "10.0.0.7:80")
	flow := startStream(t, web.hold("udp", "10.0.0.7:80"))
	l.kill()
	if err := os.RemoveAll(l.cfg.StateDir); err != nil {
		t.Fatal(err)
	}
	before := kernel(t, "nft")
	l.start()
	l.post(*l.wanted.Item(l.cfg.Host)) // the reports of it and of what was found have no order
	l.await("attached", attached("fw/img"))
	if d := cmp.Diff(before, kernel(t, "nft")); d != "" {
		t.Errorf("it was attached anew:\n%s", d)
	}
	if sent, lost := flow.end(); lost > 0 {
		t.Errorf("lost %d of %d packets", lost, sent)
	}
	img.end()
	l.await("detached", detached("fw/img"))
}

// The agent is killed when a Docker task has its interface and no way out yet, and
// its records are lost: the next one leads it out.
func TestDockerTaskWithoutAWayOut(t *testing.T) {
	for _, lost := range []string{"attachments", "."} {
		t.Run(lost, func(t *testing.T) {
			d := newDockerDaemon(t)
			l := newLab(t, inProcess, func(c *agent.Config) { c.Backend, c.DockerSocket = "nft", d.socket })
			l.must(work.Item{Programs: []work.Program{open("open")}})
			web := l.run("web", "10.0.0.1", "open")
			web.Serve("tcp", "10.0.0.1:80")
			img := l.dockerRun(d, "img", "none")
			l.ends("wired", func() {
				l.post(work.Item{Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "open")}})
			})
			if err := os.RemoveAll(filepath.Clean(filepath.Join(l.cfg.StateDir, lost))); err != nil {
				t.Fatal(err)
			}
			l.start()
			l.post(*l.wanted.Item(l.cfg.Host))
			l.await("attached", attached("fw/img"))
			img.reaches("tcp", "10.0.0.1:80")
			img.Serve("tcp", "10.0.0.7:80")
			web.reaches("tcp", "10.0.0.7:80")
			img.end()
			l.await("detached", detached("fw/img"))
		})
	}
}

// The Docker daemon hangs while tasks wait for it: one that ends is detached all
// the same.
func TestDockerTaskEndsWhileTheDaemonHangs(t *testing.T) {
	d := newDockerDaemon(t)
	l := newLab(t, func(c *agent.Config) { c.Backend, c.DockerSocket, c.WaitTimeout = "nft", d.socket, time.Hour })
	l.must(work.Item{Endpoints: []work.Endpoint{dockerEndpoint("img", "10.0.0.7", "")}})
	img := l.dockerRun(d, "img", "none")
	l.await("attached", attached("fw/img"))
	hangs, over := make(chan string, 1), make(chan struct{})
	t.Cleanup(func() { close(over) })
	d.mu.Lock()
	d.said = func(name string) {
		select {
		case hangs <- name:
		default:
		}
		<-over
	}
	d.mu.Unlock()
	// Each is waited for for 2 s, longer than the test has patience in all.
	var waits []work.Endpoint
	for i := range 30 {
		name := fmt.Sprint("waits", i)
		l.mesos.add("c-"+name, name)
		waits = append(waits, dockerEndpoint(name, fmt.Sprintf("10.0.1.%d", i), ""))
	}
	l.must(work.Item{Endpoints: waits})
	<-hangs
	img.end()
	l.await("detached", detached("fw/img"))
}
