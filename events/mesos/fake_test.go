package mesos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events"
)

// fakeMaster is a master that does what a test says, on a network in memory,
// so that it can run in a synctest bubble.
type fakeMaster struct {
	t testing.TB

	mu      sync.Mutex
	state   wireState // what SUBSCRIBED and the GET calls say
	beats   float64   // announced heartbeat interval, in seconds
	status  int       // if not 0, the answer to everything
	header  http.Header
	mute    bool // no heartbeats
	streams []*fakeStream
	subs    int
	calls   map[string]int
	failing map[string]bool // GET calls that are answered 503
	held    chan struct{}   // if not nil: answers to GET calls wait for its end
	begun   bool            // … after their headers
	auths   []string        // Authorization headers seen
	opened  chan struct{}
}

type fakeStream struct {
	records chan string
	end     chan struct{}
}

func newFakeMaster(t testing.TB) *fakeMaster {
	return &fakeMaster{t: t, beats: 15, calls: map[string]int{}, failing: map[string]bool{}, opened: make(chan struct{}, 1000)}
}

// change changes what the master would say, silently.
func (m *fakeMaster) change(f func(*fakeMaster)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// say sends a record to all subscribers.
func (m *fakeMaster) say(ev wireEvent) { m.raw(frame(encode(m.t, ev))) }

func (m *fakeMaster) raw(b string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.streams {
		s.records <- b
	}
}

// drop ends all streams.
func (m *fakeMaster) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.streams {
		close(s.end)
	}
	m.streams = nil
}

func (m *fakeMaster) count(call string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[call]
}

func (m *fakeMaster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var call struct{ Type string }
	_ = json.Unmarshal(body, &call)
	m.mu.Lock()
	m.calls[call.Type]++
	m.auths = append(m.auths, r.Header.Get("Authorization"))
	status, header := m.status, m.header
	if m.failing[call.Type] {
		status = http.StatusServiceUnavailable
	}
	state := m.state
	var resp wireResponse
	switch call.Type {
	case "GET_AGENTS":
		resp = wireResponse{Type: call.Type, GetAgents: &state.Agents}
	case "GET_EXECUTORS":
		resp = wireResponse{Type: call.Type, GetExecutors: &state.Executors}
	}
	held, begun := m.held, m.begun
	m.mu.Unlock()
	if held != nil && call.Type != "SUBSCRIBE" {
		if begun {
			w.Header().Set("Content-Type", "application/json")
			w.(http.Flusher).Flush()
		}
		<-held
	}
	if status != 0 {
		for k, v := range header {
			w.Header()[k] = v
		}
		http.Error(w, "not now", status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if call.Type == "SUBSCRIBE" {
		m.serveStream(w, r)
		return
	}
	_, _ = io.WriteString(w, encode(m.t, resp))
}

func (m *fakeMaster) serveStream(w http.ResponseWriter, r *http.Request) {
	s := &fakeStream{records: make(chan string, 10_000), end: make(chan struct{})}
	m.mu.Lock()
	state := m.state
	s.records <- frame(encode(m.t, wireEvent{Type: "SUBSCRIBED", Subscribed: &wireSubscribed{State: &state, HeartbeatInterval: m.beats}}))
	m.streams = append(m.streams, s)
	m.subs++
	interval, mute := time.Duration(m.beats*float64(time.Second)), m.mute
	m.mu.Unlock()
	m.opened <- struct{}{}
	beat := time.NewTicker(max(interval, time.Second))
	defer beat.Stop()
	for {
		select {
		case b := <-s.records:
			_, _ = io.WriteString(w, b)
		case <-beat.C:
			if mute {
				continue
			}
			_, _ = io.WriteString(w, frame(`{"type":"HEARTBEAT"}`))
		case <-s.end:
			return
		case <-r.Context().Done():
			return
		}
		w.(http.Flusher).Flush()
	}
}

func frame(b string) string { return fmt.Sprintf("%d\n%s", len(b), b) }

func encode(t testing.TB, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// network connects hosts in memory.
type network struct {
	mu    sync.Mutex
	hosts map[string]*listener
}

func newNetwork() *network { return &network{hosts: map[string]*listener{}} }

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.hosts[addr]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("connect to %s: connection refused", addr)
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, fmt.Errorf("connect to %s: connection refused", addr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve makes h answer at addr until the test ends, or the function that it
// returns is called.
func (n *network) serve(t testing.TB, addr string, h http.Handler) func() {
	l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	n.hosts[addr] = l
	n.mu.Unlock()
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	stop := sync.OnceFunc(func() {
		n.mu.Lock()
		delete(n.hosts, addr)
		n.mu.Unlock()
		_ = srv.Close()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// one is a source that follows one fake master on a network in memory, in a
// synctest bubble.
func one(t testing.TB, cfg Config, m *fakeMaster, known *events.Cluster) (*Source, *log) {
	n, l := newNetwork(), newLog()
	l.Patience = time.Hour
	n.serve(t, "m1:5050", m)
	cfg.Masters, cfg.Encoding, cfg.Dial = []string{"m1:5050"}, JSON, n.dial
	return start(t, cfg, l, known), l
}

// Things for a master to say.

func wAgent(id, host string) wireAgent {
	return wireAgent{
		Info: wireAgentInfo{ID: value{id}, Hostname: host, Port: 5051}, Active: true, PID: "slave(1)@10.0.0." + strings.TrimLeft(host, "h") + ":5051",
		Total: wResources(4, 2048),
	}
}

func wResources(cpus, mem float64) []wireResource {
	return []wireResource{{Name: "cpus", Scalar: wireScalar{cpus}}, {Name: "mem", Scalar: wireScalar{mem}}}
}

func wFramework(id string) wireFramework {
	return wireFramework{Info: wireFrameworkInfo{ID: value{id}, Name: "name-" + id, Roles: []string{"*"}}, Active: true, Connected: true}
}

func wTask(id, agent, state string) wireTask {
	return wireTask{ID: value{id}, Name: id, Framework: value{"fw"}, Agent: value{agent}, State: state}
}

func withStatus(w wireTask, at float64, addr string) wireTask {
	s := wireStatus{TaskID: w.ID, State: w.State, Timestamp: at, Container: wireContainerStatus{ID: &wireContainerID{Value: "c-" + w.ID.Value}}}
	if addr != "" {
		s.Container.Networks = []wireNetwork{{Name: "taskwall", Addresses: []wireAddress{{addr}}}}
	}
	w.Statuses = append(w.Statuses, s)
	return w
}

func updated(id, state string, at float64) wireEvent {
	return wireEvent{Type: "TASK_UPDATED", TaskUpdated: &wireTaskUpdated{
		Framework: value{"fw"}, State: state, Status: wireStatus{TaskID: value{id}, State: state, Timestamp: at},
	}}
}

func added(w wireTask) wireEvent {
	return wireEvent{Type: "TASK_ADDED", TaskAdded: &wireTaskAdded{Task: w}}
}

func agentAdded(a wireAgent) wireEvent {
	return wireEvent{Type: "AGENT_ADDED", AgentAdded: &wireAgentAdded{Agent: a}}
}

// running is a master with agent a1 on host h1, framework fw, and task t1 of
// it on a1.
func running(t testing.TB) *fakeMaster {
	m := newFakeMaster(t)
	m.state.Agents.Agents = []wireAgent{wAgent("a1", "h1")}
	m.state.Frameworks.Frameworks = []wireFramework{wFramework("fw")}
	m.state.Tasks.Tasks = []wireTask{withStatus(wTask("t1", "a1", "TASK_RUNNING"), 1000, "")}
	return m
}

func taskIs(key, state string) func(*events.Cluster) bool {
	return func(c *events.Cluster) bool { return c.Tasks[key].State == state }
}
