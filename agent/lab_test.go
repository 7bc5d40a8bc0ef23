package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/agent"
	"github.com/taskwall/taskwall/agent/cni"
	"github.com/taskwall/taskwall/agent/internal/netlab"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/work"
)

// The test process is the host under test: a machine of its own (netlab).
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" { // the test binary as the plugin
		os.Exit(cni.Plugin(os.Getenv, os.Stdin, os.Stdout, os.Stderr))
	}
	if c := os.Getenv(agentProcess); c != "" { // the test binary as the agent
		os.Exit(runAgentProcess(c))
	}
	netlab.Main(m)
}

// lab is one host: an agent, the Mesos agent beside it, and the controller's
// end of its inbox and outbox.
type lab struct {
	t      testing.TB
	cfg    agent.Config
	mesos  *mesosAgent
	items  chan *work.Item
	rev    uint64
	wanted *work.State // what the controller wants

	mu      sync.Mutex
	reports []work.Report
	news    chan struct{}
	alive   work.Alive // the last sign of life
	deaf    error      // the answer to it

	prepare func(*agent.Agent)  // before it runs
	hear    func(r work.Report) // hears each report

	stop func()
	kill func() // as stop, without a chance to tidy up; only with process
	// process runs the agent as a process of its own.
	process bool
	pid     int               // of that process
	at      *netlab.Namespace // where it runs: another host; nil: the one under test
}

// newLab starts an agent on this host and gives it an empty picture.
func newLab(t testing.TB, adjust ...func(*agent.Config)) *lab {
	t.Helper()
	l := newBareLab(t, adjust...)
	l.snapshot()
	return l
}

// newBareLab is newLab without a picture.
func newBareLab(t testing.TB, adjust ...func(*agent.Config)) *lab {
	t.Helper()
	return newBareLabAt(t, nil, adjust...)
}

// newBareLabAt is newBareLab on another host, whose agent is a process.
func newBareLabAt(t testing.TB, at *netlab.Namespace, adjust ...func(*agent.Config)) *lab {
	t.Helper()
	l := &lab{t: t, at: at, mesos: newMesosAgent(t, at), wanted: work.NewState(), news: make(chan struct{})}
	dir := t.TempDir()
	l.cfg = agent.Config{
		Host: "h1", MesosAgent: l.mesos.URL, Socket: filepath.Join(dir, "agent.sock"), StateDir: filepath.Join(dir, "state"),
		Networks: []string{"taskwall"}, WaitTimeout: 2 * time.Second, CheckEvery: time.Hour, SweepEvery: time.Hour,
		Logger: slog.New(slog.NewTextHandler(logWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	for _, f := range adjust {
		f(&l.cfg)
	}
	if l.cfg.Logger == nil {
		l.process = true
	}
	if at == nil {
		t.Cleanup(func() { wipe(t) })
	}
	l.start()
	return l
}

// wipe gives the next test a fresh host.
func wipe(t testing.TB) {
	out, err := exec.Command("sh", "-c", `
		for b in nft legacy; do for v in iptables ip6tables; do for t in filter mangle; do
			$v-$b -t $t -F; $v-$b -t $t -X; done; done; done
		for l in $(ip -o link | grep -o 'tw[a-z0-9]\{11\}' | sort -u); do ip link del $l; done
		ip route flush proto 84; ipset destroy; conntrack -F`).CombinedOutput()
	if err != nil {
		t.Errorf("wiping the host: %v: %s", err, out)
	}
}

// start runs an agent until stop.
func (l *lab) start() {
	l.t.Helper()
	l.items = make(chan *work.Item, 100)
	if l.process {
		l.startProcess()
		l.await("a join", func(r work.Report) bool { return r.Join != nil })
		return
	}
	a, err := agent.New(l.cfg, inbox(l.items), l)
	if err != nil {
		l.t.Fatal(err)
	}
	if l.prepare != nil {
		l.prepare(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("the agent ended with %v", err)
		}
	})
	l.t.Cleanup(l.stop)
	l.await("a join", func(r work.Report) bool { return r.Join != nil })
}

type inbox chan *work.Item

func (in inbox) Next(ctx context.Context) (*work.Item, error) {
	select {
	case it := <-in:
		return it, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Report makes the lab the agent's outbox.
func (l *lab) Report(_ context.Context, r work.Report) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reports = append(l.reports, r)
	if l.hear != nil {
		l.hear(r)
	}
	close(l.news)
	l.news = make(chan struct{})
	return nil
}

// Alive keeps the last sign of life.
func (l *lab) Alive(a work.Alive) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alive = a
	return l.deaf
}

// await waits for a report and takes all up to it.
func (l *lab) await(what string, match func(work.Report) bool) work.Report {
	l.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		for i, r := range l.reports {
			if match(r) {
				l.reports = l.reports[i+1:]
				l.mu.Unlock()
				return r
			}
		}
		news := l.news
		l.mu.Unlock()
		select {
		case <-news:
		case <-limit:
			l.t.Fatalf("no report of %s came; there were %s", what, l.dump())
		}
	}
}

func (l *lab) dump() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := json.Marshal(l.reports[max(0, len(l.reports)-10):])
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// send gives the agent the next item and waits until it is applied.
func (l *lab) send(it work.Item) work.Applied {
	l.t.Helper()
	l.post(it)
	r := l.await(fmt.Sprintf("applied %d", l.rev), func(r work.Report) bool { return r.Applied != nil && r.Applied.Rev >= l.rev })
	return *r.Applied
}

// post gives the agent the next item.
func (l *lab) post(it work.Item) {
	l.t.Helper()
	l.rev++
	it.Host, it.Rev = l.cfg.Host, l.rev
	b, err := json.Marshal(it) // as on the wire: nothing is shared
	if err != nil {
		l.t.Fatal(err)
	}
	var mine, theirs work.Item
	if err := json.Unmarshal(b, &mine); err != nil {
		l.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &theirs); err != nil {
		l.t.Fatal(err)
	}
	if err := l.wanted.Apply(&mine); err != nil {
		l.t.Fatal(err)
	}
	l.items <- &theirs
}

// must is send, and nothing may fail.
func (l *lab) must(it work.Item) {
	l.t.Helper()
	a := l.send(it)
	if len(a.Failed) > 0 {
		l.t.Fatalf("item %d: %+v", a.Rev, a.Failed)
	}
	if want := l.wanted.Digest(); a.Digest != want {
		l.t.Fatalf("item %d: digest %s, want %s", a.Rev, a.Digest, want)
	}
}

// snapshot sends the whole picture.
func (l *lab) snapshot() {
	l.t.Helper()
	l.must(*l.wanted.Item(l.cfg.Host))
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// mesosAgent answers GET_CONTAINERS and GET_TASKS.
type mesosAgent struct {
	*httptest.Server
	mu         sync.Mutex
	containers map[string]string    // container id: executor id
	nested     map[string][2]string // "parent.child": executor id and task id
	answer     []byte               // written when they change: its time is not the agent's
	asked      chan struct{}        // one for each answer, while somebody counts
}

// newMesosAgent starts one beside an agent: on another host, or the one under test.
func newMesosAgent(t testing.TB, at *netlab.Namespace) *mesosAgent {
	m := &mesosAgent{containers: map[string]string{}, asked: make(chan struct{})}
	m.write()
	m.Server = httptest.NewUnstartedServer(http.HandlerFunc(m.serve))
	if at != nil {
		m.Listener.Close()
		at.Do(func() (err error) { m.Listener, err = net.Listen("tcp4", "127.0.0.1:0"); return err })
	}
	m.Start()
	t.Cleanup(m.Close)
	return m
}

func (m *mesosAgent) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var req struct {
		Type string `json:"type"`
	}
	if err != nil || r.URL.Path != "/api/v1" || json.Unmarshal(body, &req) != nil || req.Type != "GET_CONTAINERS" && req.Type != "GET_TASKS" {
		http.Error(w, "unexpected request", http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	answer := m.answer
	if req.Type == "GET_TASKS" {
		answer = m.tasks()
	}
	m.mu.Unlock()
	w.Write(answer)
	select {
	case m.asked <- struct{}{}:
	default:
	}
}

// write writes the answer. The caller holds mu, unless nobody else knows m.
func (m *mesosAgent) write() {
	type id struct {
		Value string `json:"value"`
	}
	type container struct {
		Framework id `json:"framework_id"`
		Executor  id `json:"executor_id"`
		Container id `json:"container_id"`
	}
	list := []container{}
	for c, e := range m.containers {
		list = append(list, container{id{"fw"}, id{e}, id{c}})
	}
	m.answer, _ = json.Marshal(map[string]any{"type": "GET_CONTAINERS", "get_containers": map[string]any{"containers": list}})
}

// tasks is the answer to GET_TASKS.
func (m *mesosAgent) tasks() []byte {
	type j map[string]any
	list := []j{}
	for c, of := range m.nested {
		parent, child, _ := strings.Cut(c, ".")
		list = append(list, j{
			"framework_id": j{"value": "fw"}, "executor_id": j{"value": of[0]}, "task_id": j{"value": of[1]},
			"statuses": []j{{"state": "TASK_STARTING", "container_status": j{"container_id": j{"value": child, "parent": j{"value": parent}}}}},
		})
	}
	b, _ := json.Marshal(j{"type": "GET_TASKS", "get_tasks": j{"launched_tasks": list}})
	return b
}

// nest has an executor's task start in a container within the executor's.
func (m *mesosAgent) nest(container, executor, task string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nested == nil {
		m.nested = map[string][2]string{}
	}
	m.nested[container] = [2]string{executor, task}
}

func (m *mesosAgent) add(container, executor string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.containers[container] = executor
	m.write()
}

func (m *mesosAgent) remove(container string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.containers, container)
	m.write()
}

// task is a running task: a namespace and a container.
type task struct {
	*netlab.Namespace
	l         *lab
	executor  string
	container string
	addr      string
}

func endpoint(executor, addr, posture string) work.Endpoint {
	return work.Endpoint{ID: "fw/" + executor, Network: "taskwall", Address: netip.MustParseAddr(addr), Posture: posture, App: "/" + executor, Task: executor}
}

// container gives an executor a container that is not attached yet.
func (l *lab) container(executor string) *task {
	l.t.Helper()
	tk := &task{Namespace: netlab.New(l.t), l: l, executor: executor, container: "c-" + executor}
	l.mesos.add(tk.container, executor)
	return tk
}

// run starts a task: the controller announces it, Mesos attaches it.
func (l *lab) run(executor, addr, posture string) *task {
	l.t.Helper()
	l.must(work.Item{Endpoints: []work.Endpoint{endpoint(executor, addr, posture)}})
	tk := l.container(executor)
	tk.addr = addr
	tk.mustAdd()
	return tk
}

const netConf = `{"cniVersion":"%s","name":"%s","type":"taskwall-cni","socket":"%s","args":{"org.apache.mesos":{"network_info":{"name":"taskwall"}}}}`

func (tk *task) config(version, network string) string {
	return fmt.Sprintf(netConf, version, network, tk.l.cfg.Socket)
}

// plugin runs the plugin's code as Mesos would run its binary.
func (tk *task) plugin(command, config string) (stdout string, exit int) {
	env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": tk.container, "CNI_NETNS": tk.Path, "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni"}
	var out, errs bytes.Buffer
	exit = cni.Plugin(func(k string) string { return env[k] }, bytes.NewReader([]byte(config)), &out, &errs)
	return out.String(), exit
}

func (tk *task) add() (string, int) { return tk.plugin("ADD", tk.config("0.2.0", "taskwall")) }

func (tk *task) mustAdd() {
	tk.l.t.Helper()
	if out, exit := tk.add(); exit != 0 {
		tk.l.t.Fatalf("ADD of %s: %s", tk.executor, out)
	}
}

func (tk *task) del() {
	tk.l.t.Helper()
	if out, exit := tk.plugin("DEL", tk.config("0.2.0", "taskwall")); exit != 0 || out != "" {
		tk.l.t.Fatalf("DEL of %s: %d %s", tk.executor, exit, out)
	}
	tk.l.mesos.remove(tk.container)
}

// gone is del, and waits until nothing of the task is left on the host.
func (tk *task) gone() {
	tk.l.t.Helper()
	tk.del()
	tk.l.await(tk.executor+" detached", detached("fw/"+tk.executor))
}

// reaches and blocked say what a probe must find.
func (tk *task) reaches(network, addr string) {
	tk.l.t.Helper()
	if err := tk.Reach(network, addr); err != nil {
		tk.l.t.Errorf("%s cannot reach %s %s: %v", tk.executor, network, addr, err)
	}
}

func (tk *task) blocked(network, addr string) {
	tk.l.t.Helper()
	if tk.Reach(network, addr) == nil {
		tk.l.t.Errorf("%s reaches %s %s and must not", tk.executor, network, addr)
	}
}

// Shorthand for policies.

func allow(proto int, peer string, ports ...uint16) work.Rule {
	r := work.Rule{Action: work.Allow, Protocol: proto, Policy: "NetworkPolicy production/test"}
	if peer != "" {
		r.Source.Sets = []string{peer}
	}
	for _, p := range ports {
		r.Dest.Ports = append(r.Dest.Ports, work.PortRange{First: p, Last: p})
	}
	return r
}

// to turns an ingress rule's peer into an egress rule's.
func to(r work.Rule) work.Rule {
	r.Source.Sets, r.Dest.Sets = nil, r.Source.Sets
	return r
}

func tier(rules ...work.Rule) []work.Tier { return []work.Tier{{Name: "default", Rules: rules}} }

func posture(id string, ingress, egress []work.Tier) work.Program {
	return work.Program{ID: id, Policies: []string{"NetworkPolicy production/test"}, Ingress: ingress, Egress: egress}
}

func nets(id string, members ...string) work.Set {
	slices.Sort(members)
	return work.Set{ID: id, Type: work.Nets, Origin: "test", Members: members}
}

func detached(id string) func(work.Report) bool {
	return func(r work.Report) bool {
		return r.Wiring != nil && r.Wiring.Endpoint == id && r.Wiring.State == events.Detached
	}
}
